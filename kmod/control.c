// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's writes to control and extended control registers, EFER, the task priority
 * and IA32_APIC_BASE, with the rules by which a CPU refuses them. Called by
 * exits.c, emulation.c, msr.c and state.c. Guarded by vcpu->mutex.
 */
#include <linux/string.h>
#include <asm/cpufeature.h>
#include <asm/fpu/types.h>
#include <asm/fpu/xcr.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>

#include "kernel_compat.h"
#include "state.h"
#include "vm.h"

#define CR0_DEFINED	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | \
			 X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | \
			 X86_CR0_PG)
#define EFER_LONG	(EFER_LME | EFER_LMA)
#define CR3_PCID	0xfffull

/* Changing one of these makes the CPU of a PAE guest read the PDPTEs again. */
#define CR0_LOADS_PDPTES	(X86_CR0_CD | X86_CR0_NW | X86_CR0_PG)
#define CR4_LOADS_PDPTES	(X86_CR4_PGE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_SMEP)

/* Bits of CR4 that change what cached translations mean. */
#define CR4_TRANSLATION		(CR4_LOADS_PDPTES | X86_CR4_PCIDE | X86_CR4_LA57 | \
				 X86_CR4_SMAP | X86_CR4_PKE)

bool lodge_is_pae(const struct lodge_vcpu *vcpu)
{
	return lodge_is_paging(vcpu) && (vcpu->st.cr4 & X86_CR4_PAE) &&
	       !lodge_is_long_mode(vcpu);
}

u64 lodge_make_canonical(const struct lodge_vcpu *vcpu, u64 va)
{
	unsigned int unused = vcpu->st.cr4 & X86_CR4_LA57 ? 7 : 16;

	return (u64)((s64)(va << unused) >> unused);
}

bool lodge_is_canonical(const struct lodge_vcpu *vcpu, u64 va)
{
	return lodge_make_canonical(vcpu, va) == va;
}

/* Intel SDM volume 3, "Control Registers": what MOV CR0 refuses on its own. */
bool lodge_cr0_valid(u64 cr0)
{
	if (cr0 >> 32)
		return false;
	if ((cr0 & X86_CR0_NW) && !(cr0 & X86_CR0_CD))
		return false;
	return !(cr0 & X86_CR0_PG) || (cr0 & X86_CR0_PE);
}

bool lodge_cr4_valid(struct lodge_vcpu *vcpu, u64 cr4)
{
	return !(cr4 & vcpu->cr4_reserved);
}

/* Bits that this host's CPU would refuse, whatever the guest's CPUID says. */
static u64 efer_host_reserved(void)
{
	u64 defined = EFER_SCE | EFER_LONG;

	if (lodge_supports(X86_FEATURE_NX))
		defined |= EFER_NX;
	if (lodge_supports(X86_FEATURE_FXSR_OPT))
		defined |= EFER_FFXSR;
	return ~defined;
}

bool lodge_efer_valid(struct lodge_vcpu *vcpu, u64 efer)
{
	if (efer & efer_host_reserved())
		return false;
	if ((efer & EFER_LONG) && !lodge_guest_has(vcpu, X86_FEATURE_LM))
		return false;
	if ((efer & EFER_NX) && !lodge_guest_has(vcpu, X86_FEATURE_NX))
		return false;
	return !(efer & EFER_FFXSR) || lodge_guest_has(vcpu, X86_FEATURE_FXSR_OPT);
}

int lodge_load_pdptrs(struct lodge_vcpu *vcpu, u64 cr3, u64 pdptr[4])
{
	/* Intel SDM volume 3, "PAE Paging": bits 2:1, 8:5 and those above MAXPHYADDR. */
	u64 reserved = vcpu->phys_reserved | GENMASK_ULL(2, 1) | GENMASK_ULL(8, 5);
	u64 loaded[4];
	unsigned int i;

	if (lodge_read_gpa(vcpu->vm, cr3 & 0xffffffe0ull, loaded, sizeof(loaded)))
		return 1;
	for (i = 0; i < ARRAY_SIZE(loaded); i++)
		if ((loaded[i] & 1) && (loaded[i] & reserved))
			return 1;
	memcpy(pdptr, loaded, sizeof(loaded));
	return 0;
}

static int set_cr0(struct lodge_vcpu *vcpu, u64 cr0)
{
	struct lodge_state *st = &vcpu->st;
	u64 old = st->cr0, efer = st->efer, changed;
	u64 pdptr[4];

	if (!lodge_cr0_valid(cr0))
		return 1;
	cr0 = (cr0 & CR0_DEFINED) | X86_CR0_ET;
	changed = cr0 ^ old;

	if ((changed & cr0 & X86_CR0_PG) && (efer & EFER_LME)) {
		if (!(st->cr4 & X86_CR4_PAE) || st->seg[LODGE_CS].l)
			return 1;
		efer |= EFER_LMA;
	}
	if (!(cr0 & X86_CR0_PG)) {
		if (lodge_is_64bit(vcpu) || (st->cr4 & X86_CR4_PCIDE))
			return 1;
		efer &= ~EFER_LMA;
	}
	if ((cr0 & X86_CR0_PG) && !(efer & EFER_LMA) && (st->cr4 & X86_CR4_PAE) &&
	    (changed & CR0_LOADS_PDPTES)) {
		if (lodge_load_pdptrs(vcpu, st->cr3, pdptr))
			return 1;
		memcpy(st->pdptr, pdptr, sizeof(pdptr));
	}

	st->cr0 = cr0;
	st->efer = efer;
	vcpu->st_dirty |= LODGE_ST_CRS;
	if (changed & (X86_CR0_PG | X86_CR0_WP | X86_CR0_PE))
		vcpu->flush_tlb = true;
	return 0;
}

static int set_cr3(struct lodge_vcpu *vcpu, u64 cr3)
{
	struct lodge_state *st = &vcpu->st;
	bool flush = true;
	u64 pdptr[4];

	if (st->cr4 & X86_CR4_PCIDE) {
		flush = !(cr3 & X86_CR3_PCID_NOFLUSH);
		cr3 &= ~X86_CR3_PCID_NOFLUSH;
	}
	if (cr3 & vcpu->phys_reserved)
		return 1;
	if (lodge_is_pae(vcpu)) {
		if (lodge_load_pdptrs(vcpu, cr3, pdptr))
			return 1;
		memcpy(st->pdptr, pdptr, sizeof(pdptr));
	}

	st->cr3 = cr3;
	vcpu->st_dirty |= LODGE_ST_CRS;
	if (flush)
		vcpu->flush_tlb = true;
	return 0;
}

static int set_cr4(struct lodge_vcpu *vcpu, u64 cr4)
{
	struct lodge_state *st = &vcpu->st;
	u64 changed = cr4 ^ st->cr4;
	u64 pdptr[4];

	if (!lodge_cr4_valid(vcpu, cr4))
		return 1;
	if (lodge_is_long_mode(vcpu)) {
		if (!(cr4 & X86_CR4_PAE) || (changed & X86_CR4_LA57))
			return 1;
	} else if (lodge_is_paging(vcpu) && (cr4 & X86_CR4_PAE) &&
		   (changed & CR4_LOADS_PDPTES)) {
		if (lodge_load_pdptrs(vcpu, st->cr3, pdptr))
			return 1;
		memcpy(st->pdptr, pdptr, sizeof(pdptr));
	}
	/* Process-context identifiers need long mode, and start from identifier 0. */
	if ((changed & cr4 & X86_CR4_PCIDE) &&
	    ((st->cr3 & CR3_PCID) || !lodge_is_long_mode(vcpu)))
		return 1;

	st->cr4 = cr4;
	vcpu->st_dirty |= LODGE_ST_CRS;
	if (changed & CR4_TRANSLATION)
		vcpu->flush_tlb = true;
	return 0;
}

u64 lodge_get_cr(struct lodge_vcpu *vcpu, unsigned int n)
{
	lodge_state_get(vcpu, LODGE_ST_CRS);
	switch (n) {
	case 0:
		return vcpu->st.cr0;
	case 2:
		return vcpu->st.cr2;
	case 3:
		return vcpu->st.cr3;
	case 4:
		return vcpu->st.cr4;
	default:
		return lodge_get_cr8(vcpu);
	}
}

int lodge_set_cr(struct lodge_vcpu *vcpu, unsigned int n, u64 value)
{
	lodge_state_get(vcpu, LODGE_ST_CRS | LODGE_ST_SEGS);
	switch (n) {
	case 0:
		return set_cr0(vcpu, value);
	case 2:
		vcpu->st.cr2 = value;
		vcpu->st_dirty |= LODGE_ST_CRS;
		return 0;
	case 3:
		return set_cr3(vcpu, value);
	case 4:
		return set_cr4(vcpu, value);
	default:
		return lodge_set_cr8(vcpu, value);
	}
}

int lodge_clts(struct lodge_vcpu *vcpu)
{
	return lodge_set_cr(vcpu, 0, lodge_get_cr(vcpu, 0) & ~X86_CR0_TS);
}

/* LMSW reaches bits 3:0 only, and cannot clear PE: AMD APM volume 3, "LMSW". */
int lodge_lmsw(struct lodge_vcpu *vcpu, u16 value)
{
	u64 cr0 = lodge_get_cr(vcpu, 0);
	u64 clear = X86_CR0_MP | X86_CR0_EM | X86_CR0_TS;

	return lodge_set_cr(vcpu, 0, (cr0 & ~clear) | (value & (clear | X86_CR0_PE)));
}

int lodge_set_efer(struct lodge_vcpu *vcpu, u64 value, bool host)
{
	struct lodge_state *st = &vcpu->st;

	if (value & efer_host_reserved())
		return 1;
	lodge_state_get(vcpu, LODGE_ST_CRS);
	if (!host) {
		if (!lodge_efer_valid(vcpu, value))
			return 1;
		if (lodge_is_paging(vcpu) && ((value ^ st->efer) & EFER_LME))
			return 1;
	}

	/* LMA follows CR0.PG and LME; nobody writes it. */
	value = (value & ~EFER_LMA) | (st->efer & EFER_LMA);
	if ((value ^ st->efer) & EFER_NX)
		vcpu->flush_tlb = true;
	st->efer = value;
	vcpu->st_dirty |= LODGE_ST_CRS;
	return 0;
}

/* Intel SDM volume 1, "Enabling the XSAVE Feature Set"; AMD APM volume 2, "XCR0". */
int lodge_set_xcr(struct lodge_vcpu *vcpu, u32 index, u64 value)
{
	u64 avx512 = value & XFEATURE_MASK_AVX512;

	if (index != XCR_XFEATURE_ENABLED_MASK || !(value & XFEATURE_MASK_FP))
		return 1;
	if (value & ~(vcpu->xcr0_supported | XFEATURE_MASK_FP))
		return 1;
	if ((value & XFEATURE_MASK_YMM) && !(value & XFEATURE_MASK_SSE))
		return 1;
	if (avx512 && (avx512 != XFEATURE_MASK_AVX512 || !(value & XFEATURE_MASK_YMM)))
		return 1;
	vcpu->st.xcr0 = value;
	return 0;
}

/*
 * The LAPIC's TPR rules; vcpu->cr8 is what the CPU works with in the window, and run.c
 * copies either to the other around an entry.
 */
int lodge_set_cr8(struct lodge_vcpu *vcpu, u64 value)
{
	if (value & ~0xfull)
		return 1;
	vcpu->cr8 = value;
	if (vcpu->lapic)
		lapic_set_cr8(vcpu->lapic, value);
	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	return 0;
}

/* Intel SDM volume 3, "x2APIC State Transitions". */
bool lodge_apic_base_valid(struct lodge_vcpu *vcpu, u64 value, bool host)
{
	enum lapic_mode old = lapic_base_mode(lodge_get_apic_base(vcpu));
	enum lapic_mode new = lapic_base_mode(value);
	u64 reserved = vcpu->phys_reserved | 0x2ff;

	if (!lodge_guest_has(vcpu, X86_FEATURE_X2APIC))
		reserved |= LAPIC_BASE_X2APIC;
	if ((value & reserved) || new == LAPIC_INVALID)
		return false;
	return host || !((old == LAPIC_X2APIC && new == LAPIC_XAPIC) ||
			 (old == LAPIC_DISABLED && new == LAPIC_X2APIC));
}

int lodge_set_apic_base(struct lodge_vcpu *vcpu, u64 value, bool host)
{
	if (!lodge_apic_base_valid(vcpu, value, host))
		return 1;
	if (value == lodge_get_apic_base(vcpu))
		return 0;
	if (vcpu->lapic)
		return lapic_set_base(vcpu->lapic, value, host);
	vcpu->apic_base = value;
	return 0;
}
