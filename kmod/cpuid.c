// SPDX-License-Identifier: GPL-2.0-only
/*
 * CPUID: what lodge can virtualize on this host, what a VMM gave a guest, and what the
 * guest reads. Called by main.c, vcpu.c and the exit handlers. The host's tables are
 * constant after module load; a vCPU's are guarded by vcpu->mutex.
 */
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <asm/cpufeature.h>
#include <asm/fpu/types.h>
#include <asm/kvm_para.h>
#include <asm/processor-flags.h>
#include <asm/processor.h>

#include "backend.h"
#include "exits.h"
#include "kernel_compat.h"
#include "pv.h"
#include "state.h"
#include "trace.h"
#include "vm.h"

#define CPUID_MAX_ENTRIES	256	/* KVM_MAX_CPUID_ENTRIES */

/* The stage-2 tables have four levels. */
#define MAX_GUEST_PHYS_BITS	48

/* Before KVM_SET_CPUID2 nothing says more: AMD APM volume 3, "Fn8000_0008_EAX". */
#define DEFAULT_PHYS_BITS	36

enum out_reg { OUT_EAX, OUT_EBX, OUT_ECX, OUT_EDX };

/* Words of the kernel's X86_FEATURE_* that are CPUID registers as they are. */
static const struct leaf_word {
	u32 function, index;
	u8 reg;
	u8 word;
} cpuid_words[] = {
	{ 0x00000001, 0, OUT_EDX, X86_FEATURE_FPU / 32 },
	{ 0x80000001, 0, OUT_EDX, X86_FEATURE_SYSCALL / 32 },
	{ 0x00000001, 0, OUT_ECX, X86_FEATURE_XMM3 / 32 },
	{ 0x80000001, 0, OUT_ECX, X86_FEATURE_LAHF_LM / 32 },
	{ 0x00000007, 0, OUT_EBX, X86_FEATURE_FSGSBASE / 32 },
	{ 0x0000000d, 1, OUT_EAX, X86_FEATURE_XSAVEOPT / 32 },
	{ 0x00000007, 1, OUT_EAX, X86_FEATURE_AVX_VNNI / 32 },
	{ 0x80000008, 0, OUT_EBX, X86_FEATURE_CLZERO / 32 },
	{ 0x00000007, 0, OUT_ECX, X86_FEATURE_UMIP / 32 },
	{ 0x00000007, 0, OUT_EDX, X86_FEATURE_SPEC_CTRL / 32 },
};

#define F(name)		BIT(X86_FEATURE_##name % 32)

/*
 * Per word: features that need nothing of lodge but to let them through, or that it
 * provides with the host's help. The host's CPUID limits them further.
 */
static const u32 cpuid_passed[LODGE_CPUID_WORDS] = {
	[X86_FEATURE_FPU / 32] =
		F(FPU) | F(VME) | F(DE) | F(PSE) | F(TSC) | F(MSR) | F(PAE) | F(MCE) |
		F(CX8) | F(APIC) | F(SEP) | F(MTRR) | F(PGE) | F(MCA) | F(CMOV) | F(PAT) |
		F(PSE36) | F(CLFLUSH) | F(MMX) | F(FXSR) | F(XMM) | F(XMM2) | F(SELFSNOOP),
	/* Its low bits repeat those of leaf 1 on AMD. */
	[X86_FEATURE_SYSCALL / 32] =
		F(FPU) | F(VME) | F(DE) | F(PSE) | F(TSC) | F(MSR) | F(PAE) | F(MCE) |
		F(CX8) | F(APIC) | F(MTRR) | F(PGE) | F(MCA) | F(CMOV) | F(PAT) | F(PSE36) |
		F(MMX) | F(FXSR) | F(SYSCALL) | F(NX) | F(MMXEXT) | F(FXSR_OPT) |
		F(GBPAGES) | F(RDTSCP) | F(LM) | F(3DNOWEXT) | F(3DNOW),
	[X86_FEATURE_XMM3 / 32] =
		F(XMM3) | F(PCLMULQDQ) | F(SSSE3) | F(FMA) | F(CX16) | F(PCID) | F(XMM4_1) |
		F(XMM4_2) | F(MOVBE) | F(POPCNT) | F(AES) | F(XSAVE) | F(AVX) | F(F16C) |
		F(RDRAND),
	[X86_FEATURE_LAHF_LM / 32] =
		F(LAHF_LM) | F(CMP_LEGACY) | F(CR8_LEGACY) | F(ABM) | F(SSE4A) |
		F(MISALIGNSSE) | F(3DNOWPREFETCH) | F(XOP) | F(FMA4) | F(TBM) | F(TOPOEXT),
	[X86_FEATURE_FSGSBASE / 32] =
		F(FSGSBASE) | F(BMI1) | F(HLE) | F(AVX2) | F(FDP_EXCPTN_ONLY) | F(SMEP) |
		F(BMI2) | F(ERMS) | F(INVPCID) | F(RTM) | F(ZERO_FCS_FDS) | F(AVX512F) |
		F(AVX512DQ) | F(RDSEED) | F(ADX) | F(SMAP) | F(AVX512IFMA) | F(CLFLUSHOPT) |
		F(CLWB) | F(AVX512CD) | F(SHA_NI) | F(AVX512BW) | F(AVX512VL),
	[X86_FEATURE_XSAVEOPT / 32] = F(XSAVEOPT) | F(XSAVEC) | F(XGETBV1),
	[X86_FEATURE_AVX_VNNI / 32] =
		F(AVX_VNNI) | F(AVX512_BF16) | BIT(10) /* FZRM */ | BIT(11) /* FSRS */ |
		BIT(12) /* FSRC */ | BIT(23) /* AVX-IFMA */,
	[X86_FEATURE_CLZERO / 32] =
		F(CLZERO) | F(XSAVEERPTR) | F(WBNOINVD) | F(AMD_IBPB) | F(AMD_IBRS) |
		F(AMD_STIBP) | F(AMD_STIBP_ALWAYS_ON) | F(AMD_SSBD) | F(AMD_SSB_NO) |
		F(BTC_NO),
	[X86_FEATURE_UMIP / 32] =
		F(AVX512VBMI) | F(UMIP) | F(PKU) | F(AVX512_VBMI2) | F(GFNI) | F(VAES) |
		F(VPCLMULQDQ) | F(AVX512_VNNI) | F(AVX512_BITALG) | F(AVX512_VPOPCNTDQ) |
		F(LA57) | F(RDPID) | F(CLDEMOTE) | F(MOVDIRI) | F(MOVDIR64B),
	[X86_FEATURE_SPEC_CTRL / 32] =
		F(FSRM) | F(AVX512_VP2INTERSECT) | F(MD_CLEAR) | F(SERIALIZE) |
		F(TSXLDTRK) | F(AVX512_FP16) | F(SPEC_CTRL) | F(INTEL_STIBP) |
		F(ARCH_CAPABILITIES) | F(SPEC_CTRL_SSBD),
};

/* cpuid_passed, less what the host lacks, plus what needs no host. */
static u32 cpuid_supported[LODGE_CPUID_WORDS] __ro_after_init;

bool lodge_supports(unsigned int feature)
{
	return cpuid_supported[feature / 32] & BIT(feature % 32);
}

static void clear_feature(unsigned int feature)
{
	cpuid_supported[feature / 32] &= ~BIT(feature % 32);
}

static void set_feature(unsigned int feature)
{
	cpuid_supported[feature / 32] |= BIT(feature % 32);
}

static u32 cpuid_reg_of(const struct kvm_cpuid_entry2 *e, u8 reg)
{
	switch (reg) {
	case OUT_EAX:
		return e->eax;
	case OUT_EBX:
		return e->ebx;
	case OUT_ECX:
		return e->ecx;
	default:
		return e->edx;
	}
}

static void host_cpuid(u32 function, u32 index, struct kvm_cpuid_entry2 *e)
{
	*e = (struct kvm_cpuid_entry2) { .function = function, .index = index };
	cpuid_count(function, index, &e->eax, &e->ebx, &e->ecx, &e->edx);
}

/* Highest leaf of the host in the range that begins at @base. */
static u32 host_max_leaf(u32 base)
{
	u32 max = cpuid_eax(base);

	return max >= base && max < base + 0x10000 ? max : base;
}

void lodge_cpuid_probe(void)
{
	static const unsigned int avx_features[] = {
		X86_FEATURE_AVX, X86_FEATURE_AVX2, X86_FEATURE_FMA, X86_FEATURE_F16C,
		X86_FEATURE_XOP, X86_FEATURE_FMA4, X86_FEATURE_VAES,
		X86_FEATURE_VPCLMULQDQ, X86_FEATURE_AVX_VNNI, 12 * 32 + 23,
	};
	static const unsigned int avx512_features[] = {
		X86_FEATURE_AVX512F, X86_FEATURE_AVX512DQ, X86_FEATURE_AVX512IFMA,
		X86_FEATURE_AVX512CD, X86_FEATURE_AVX512BW, X86_FEATURE_AVX512VL,
		X86_FEATURE_AVX512VBMI, X86_FEATURE_AVX512_VBMI2,
		X86_FEATURE_AVX512_VNNI, X86_FEATURE_AVX512_BITALG,
		X86_FEATURE_AVX512_VPOPCNTDQ, X86_FEATURE_AVX512_VP2INTERSECT,
		X86_FEATURE_AVX512_FP16, X86_FEATURE_AVX512_BF16,
	};
	u64 xfeatures = lodge_fpu_features();
	struct kvm_cpuid_entry2 e;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cpuid_words); i++) {
		const struct leaf_word *w = &cpuid_words[i];

		if (w->function > host_max_leaf(w->function & 0x80000000))
			continue;
		host_cpuid(w->function, w->index, &e);
		cpuid_supported[w->word] = cpuid_passed[w->word] & cpuid_reg_of(&e, w->reg);
	}

	/* What the kernel has switched off, it has a reason for. */
	if (!boot_cpu_has(X86_FEATURE_NX))
		clear_feature(X86_FEATURE_NX);
	if (!boot_cpu_has(X86_FEATURE_RTM)) {
		clear_feature(X86_FEATURE_RTM);
		clear_feature(X86_FEATURE_HLE);
	}
	if (!(xfeatures & XFEATURE_MASK_PKRU))
		clear_feature(X86_FEATURE_PKU);
	if (!(xfeatures & XFEATURE_MASK_YMM))
		for (i = 0; i < ARRAY_SIZE(avx_features); i++)
			clear_feature(avx_features[i]);
	if (!(xfeatures & XFEATURE_MASK_AVX512))
		for (i = 0; i < ARRAY_SIZE(avx512_features); i++)
			clear_feature(avx512_features[i]);

	for (i = 0; i < ARRAY_SIZE(lodge_backend->lacks) && lodge_backend->lacks[i]; i++)
		clear_feature(lodge_backend->lacks[i]);

	/*
	 * Provided by lodge itself. The TSC deadline timer needs an in-kernel LAPIC, so
	 * KVM_CAP_TSC_DEADLINE_TIMER tells of it and not CPUID, as in KVM; a VMM adds
	 * that bit, and the one that says "hypervisor".
	 */
	set_feature(X86_FEATURE_X2APIC);
	set_feature(X86_FEATURE_TSC_ADJUST);
	set_feature(X86_FEATURE_ARCH_CAPABILITIES);

	/* One MSR, two vendors' names for its bits: a guest may look for either. */
	if (boot_cpu_has(X86_FEATURE_IBPB) && boot_cpu_has(X86_FEATURE_IBRS))
		set_feature(X86_FEATURE_SPEC_CTRL);
	if (boot_cpu_has(X86_FEATURE_STIBP))
		set_feature(X86_FEATURE_INTEL_STIBP);
	if (boot_cpu_has(X86_FEATURE_AMD_SSBD))
		set_feature(X86_FEATURE_SPEC_CTRL_SSBD);
}

/* What the guest's leaf 0xD says, as far as the host has it. */
static u64 guest_xfeatures(const struct kvm_cpuid_entry2 *e)
{
	return (e->eax | (u64)e->edx << 32) & lodge_fpu_features();
}

/* Tables ------------------------------------------------------------------- */

struct leaf_table {
	struct kvm_cpuid_entry2 *entries;
	unsigned int nr, capacity;
	bool full;
};

static struct kvm_cpuid_entry2 *add_entry(struct leaf_table *t, u32 function, u32 index)
{
	if (t->nr == t->capacity) {
		t->full = true;
		return NULL;
	}
	return &t->entries[t->nr++];
}

static struct kvm_cpuid_entry2 *add_host_entry(struct leaf_table *t, u32 function)
{
	struct kvm_cpuid_entry2 *e = add_entry(t, function, 0);

	if (e)
		host_cpuid(function, 0, e);
	return e;
}

static struct kvm_cpuid_entry2 *add_host_subleaf(struct leaf_table *t, u32 function, u32 index)
{
	struct kvm_cpuid_entry2 *e = add_entry(t, function, index);

	if (e) {
		host_cpuid(function, index, e);
		e->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	}
	return e;
}

static struct kvm_cpuid_entry2 *add_zero_entry(struct leaf_table *t, u32 function)
{
	struct kvm_cpuid_entry2 *e = add_entry(t, function, 0);

	if (e)
		*e = (struct kvm_cpuid_entry2) { .function = function };
	return e;
}

/* Cache parameters: subleaves up to one of type 0 (leaf 4, Fn8000_001D). */
static void add_cache_leaf(struct leaf_table *t, u32 function)
{
	struct kvm_cpuid_entry2 *e;
	u32 index = 0;

	do {
		e = add_host_subleaf(t, function, index++);
	} while (e && (e->eax & 0x1f) && index < 32);
}

static void add_features_leaf7(struct leaf_table *t)
{
	struct kvm_cpuid_entry2 *e = add_host_subleaf(t, 7, 0);
	u32 subleaves;

	if (!e)
		return;
	subleaves = min(e->eax, 1u);
	e->eax = subleaves;
	e->ebx = cpuid_supported[X86_FEATURE_FSGSBASE / 32];
	e->ecx = cpuid_supported[X86_FEATURE_UMIP / 32];
	e->edx = cpuid_supported[X86_FEATURE_SPEC_CTRL / 32];
	if (!subleaves)
		return;
	e = add_host_subleaf(t, 7, 1);
	if (e) {
		e->eax = cpuid_supported[X86_FEATURE_AVX_VNNI / 32];
		e->ebx = 0;
		e->ecx = 0;
		e->edx = 0;
	}
}

/* Intel SDM volume 2, "CPUID", leaf 0DH. EBX is kept up to date for each guest. */
static void add_xsave_leaf(struct leaf_table *t)
{
	struct kvm_cpuid_entry2 *e = add_host_subleaf(t, 0xd, 0);
	u64 features = lodge_fpu_features();
	u32 i;

	if (!e)
		return;
	e->eax = features;
	e->edx = features >> 32;
	e->ebx = lodge_fpu_xstate_size(features, false);
	e->ecx = e->ebx;

	e = add_host_subleaf(t, 0xd, 1);
	if (!e)
		return;
	e->eax = cpuid_supported[X86_FEATURE_XSAVEOPT / 32];
	e->ebx = e->eax & F(XSAVEC) ? lodge_fpu_xstate_size(features, true) : 0;
	e->ecx = 0;	/* no supervisor states */
	e->edx = 0;

	for (i = 2; i < 64; i++)
		if ((features & BIT_ULL(i)) && !add_host_subleaf(t, 0xd, i))
			return;
}

static void add_basic_leaf(struct leaf_table *t, u32 function)
{
	struct kvm_cpuid_entry2 *e;

	switch (function) {
	case 1:
		e = add_host_entry(t, function);
		if (e) {
			e->ebx &= 0x0000ff00;	/* CLFLUSH size; the rest is topology */
			e->ecx = cpuid_supported[X86_FEATURE_XMM3 / 32];
			e->edx = cpuid_supported[X86_FEATURE_FPU / 32];
		}
		break;
	case 2:
		add_host_entry(t, function);
		break;
	case 4:
		add_cache_leaf(t, function);
		break;
	case 6:
		e = add_zero_entry(t, function);
		if (e)
			e->eax = BIT(2);	/* ARAT: the APIC timer never stops */
		break;
	case 7:
		add_features_leaf7(t);
		break;
	case 0xb:
	case 0x1f:
		/* A valid topology would have a subleaf 1: that is the VMM's to say. */
		e = add_zero_entry(t, function);
		if (e)
			e->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		break;
	case 0xd:
		add_xsave_leaf(t);
		break;
	default:
		add_zero_entry(t, function);
		break;
	}
}

static void add_address_sizes(struct leaf_table *t)
{
	struct kvm_cpuid_entry2 *e = add_host_entry(t, 0x80000008);
	u32 phys, virt;

	if (!e)
		return;
	phys = min(e->eax & 0xff, (u32)MAX_GUEST_PHYS_BITS);
	virt = max((e->eax >> 8) & 0xff, 48u);
	if (!lodge_supports(X86_FEATURE_LA57))
		virt = 48;
	e->eax = phys | virt << 8;
	e->ebx = cpuid_supported[X86_FEATURE_CLZERO / 32];
	e->ecx &= 0xf0ff;	/* number of threads, size of the APIC id */
	e->edx = 0;
}

/*
 * Speculative return stack overflow: what the kernel found out about this CPU, and the
 * barrier that a guest may use against it. Bits of leaf 0x80000021's EAX.
 */
static u32 srso_bits(void)
{
	u32 bits = 0;

#ifdef X86_FEATURE_SBPB
	if (boot_cpu_has(X86_FEATURE_SBPB))
		bits |= BIT(27);
	if (boot_cpu_has(X86_FEATURE_IBPB_BRTYPE))
		bits |= BIT(28);
	if (boot_cpu_has(X86_FEATURE_SRSO_NO))
		bits |= BIT(29);
#endif
#ifdef X86_FEATURE_SRSO_USER_KERNEL_NO
	if (boot_cpu_has(X86_FEATURE_SRSO_USER_KERNEL_NO))
		bits |= BIT(30);
#endif
	return bits;
}

static void add_extended_leaf(struct leaf_table *t, u32 function)
{
	struct kvm_cpuid_entry2 *e;

	switch (function) {
	case 0x80000001:
		e = add_host_entry(t, function);
		if (e) {
			e->ebx &= ~GENMASK(27, 16);
			e->ecx = cpuid_supported[X86_FEATURE_LAHF_LM / 32];
			e->edx = cpuid_supported[X86_FEATURE_SYSCALL / 32];
		}
		break;
	case 0x80000002 ... 0x80000006:
		add_host_entry(t, function);
		break;
	case 0x80000007:
		e = add_host_entry(t, function);
		if (e) {
			/* Only what the kernel, too, believes: invariant TSC. */
			e->edx &= boot_cpu_data.x86_power & BIT(8);
			e->eax = 0;
			e->ebx = 0;
			e->ecx = 0;
		}
		break;
	case 0x80000008:
		add_address_sizes(t);
		break;
	case 0x80000019:
		e = add_host_entry(t, function);
		if (e) {
			e->ecx = 0;
			e->edx = 0;
		}
		break;
	case 0x8000001a:
		e = add_host_entry(t, function);
		if (e) {
			e->eax &= GENMASK(2, 0);
			e->ebx = 0;
			e->ecx = 0;
			e->edx = 0;
		}
		break;
	case 0x8000001d:
		if (lodge_supports(X86_FEATURE_TOPOEXT))
			add_cache_leaf(t, function);
		else
			add_zero_entry(t, function);
		break;
	case 0x80000021:
		e = add_zero_entry(t, function);
		if (e) {
			/* No nested data breakpoints; LFENCE serializes; NULL clears base */
			e->eax = cpuid_eax(function) & (BIT(0) | BIT(2) | BIT(6));
			e->eax |= srso_bits();
			if (boot_cpu_has(X86_FEATURE_LFENCE_RDTSC))
				e->eax |= BIT(2);
			if (!boot_cpu_has_bug(X86_BUG_NULL_SEG))
				e->eax |= BIT(6);
		}
		break;
	default:
		add_zero_entry(t, function);
		break;
	}
}

static void add_paravirt_leaves(struct leaf_table *t)
{
	struct kvm_cpuid_entry2 *e = add_zero_entry(t, KVM_CPUID_SIGNATURE);

	if (e) {
		e->eax = KVM_CPUID_FEATURES;
		memcpy(&e->ebx, KVM_SIGNATURE, 4);
		memcpy(&e->ecx, &KVM_SIGNATURE[4], 4);
		memcpy(&e->edx, &KVM_SIGNATURE[8], 4);
	}
	e = add_zero_entry(t, KVM_CPUID_FEATURES);
	if (e)
		e->eax = lodge_pv_features();
}

/* Everything KVM_GET_SUPPORTED_CPUID reports; t->full when it did not fit. */
static void build_supported(struct leaf_table *t)
{
	struct kvm_cpuid_entry2 *e;
	u32 max, function;

	e = add_host_entry(t, 0);
	if (!e)
		return;
	max = min(e->eax, 0x1fu);
	e->eax = max;
	for (function = 1; function <= max && !t->full; function++)
		add_basic_leaf(t, function);

	add_paravirt_leaves(t);

	e = add_host_entry(t, 0x80000000);
	if (!e)
		return;
	max = min(host_max_leaf(0x80000000), 0x80000021u);
	/* The two bits of leaf 0x80000021 save a guest work where they hold. */
	if (max >= 0x8000001d && boot_cpu_has(X86_FEATURE_LFENCE_RDTSC))
		max = 0x80000021;
	e->eax = max;
	for (function = 0x80000001; function <= max && !t->full; function++)
		add_extended_leaf(t, function);
}

int lodge_get_supported_cpuid(struct kvm_cpuid2 __user *user, bool emulated)
{
	struct leaf_table t = {};
	struct kvm_cpuid2 head;
	int ret;

	if (copy_from_user(&head, user, sizeof(head)))
		return -EFAULT;
	if (!head.nent)
		return -E2BIG;
	head.nent = min_t(u32, head.nent, CPUID_MAX_ENTRIES);
	t.capacity = head.nent;
	t.entries = kvcalloc(head.nent, sizeof(*t.entries), GFP_KERNEL_ACCOUNT);
	if (!t.entries)
		return -ENOMEM;
	/* An instruction that the CPU lacks is #UD: none is emulated in its place. */
	if (!emulated)
		build_supported(&t);

	ret = -E2BIG;
	if (t.full)
		goto out;
	head.nent = t.nr;
	ret = -EFAULT;
	if (copy_to_user(user->entries, t.entries, t.nr * sizeof(*t.entries)) ||
	    copy_to_user(user, &head, sizeof(head)))
		goto out;
	ret = 0;
out:
	kvfree(t.entries);
	return ret;
}

/* A vCPU's CPUID ----------------------------------------------------------- */

static struct kvm_cpuid_entry2 *find_entry(struct kvm_cpuid_entry2 *entries, unsigned int nr,
					   u32 function, u32 index)
{
	struct kvm_cpuid_entry2 *e;

	for (e = entries; e < entries + nr; e++)
		if (e->function == function &&
		    (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == index))
			return e;
	return NULL;
}

/* Entries with bits that follow the guest's registers instead of what the VMM wrote. */
static bool follows_registers(const struct kvm_cpuid_entry2 *e)
{
	return e->function < 32 && (BIT(e->function) & (BIT(1) | BIT(7) | BIT(0xd)));
}

static noinline void do_refresh(struct lodge_vcpu *vcpu, struct kvm_cpuid_entry2 *e)
{
	const struct lodge_state *st = &vcpu->st;

	switch (e->function) {
	case 1:
		e->ecx &= ~F(OSXSAVE);
		if ((st->cr4 & X86_CR4_OSXSAVE) && (e->ecx & F(XSAVE)))
			e->ecx |= F(OSXSAVE);
		e->edx &= ~F(APIC);
		if (lodge_get_apic_base(vcpu) & LAPIC_BASE_ENABLE)
			e->edx |= F(APIC);
		if (!lodge_has_quirk(vcpu->vm, KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT)) {
			e->ecx &= ~F(MWAIT);
			if (vcpu->msr_misc_enable & MSR_IA32_MISC_ENABLE_MWAIT)
				e->ecx |= F(MWAIT);
		}
		break;
	case 7:
		if (e->index)
			break;
		e->ecx &= ~F(OSPKE);
		if ((st->cr4 & X86_CR4_PKE) && (e->ecx & F(PKU)))
			e->ecx |= F(OSPKE);
		break;
	case 0xd:
		if (e->index == 0)
			e->ebx = lodge_fpu_xstate_size(st->xcr0, false);
		else if (e->index == 1 && (e->eax & (F(XSAVEC) | F(XSAVES))))
			e->ebx = lodge_fpu_xstate_size(st->xcr0, true);
		break;
	}
}

/* Before anybody reads an entry. */
static __always_inline void refresh(struct lodge_vcpu *vcpu, struct kvm_cpuid_entry2 *e)
{
	if (follows_registers(e))
		do_refresh(vcpu, e);
}

/*
 * A leaf above the highest one: AMD CPUs answer with zeros; others as if the highest
 * basic leaf had been asked (Intel SDM volume 2, "CPUID"), also above the highest of a
 * hypervisor's or the extended range. *@asked becomes the leaf that answers.
 */
static struct kvm_cpuid_entry2 *out_of_range(struct lodge_vcpu *vcpu, u32 *asked, u32 index)
{
	struct kvm_cpuid_entry2 *basic = find_entry(vcpu->cpuid, vcpu->nr_cpuid, 0, 0);
	struct kvm_cpuid_entry2 *range;
	u32 function = *asked;
	u32 base = function & 0x80000000;

	if (!basic)
		return NULL;
	/* "Auth"enticAMD, "Hygo"nGenuine, "AMDi"sbetter! */
	if (basic->ebx == 0x68747541 || basic->ebx == 0x6f677948 || basic->ebx == 0x69444d41)
		return NULL;
	if (function >= 0x40000000 && function <= 0x4fffffff)
		base = function & 0xffffff00;
	else if (function >= 0xc0000000)
		base = 0xc0000000;
	range = base ? find_entry(vcpu->cpuid, vcpu->nr_cpuid, base, 0) : basic;
	if (range && function <= range->eax)
		return NULL;
	*asked = basic->eax;
	return find_entry(vcpu->cpuid, vcpu->nr_cpuid, basic->eax, index);
}

/*
 * No leaf answers: zeros. But topology leaves give the x2APIC id and the subleaf's number for
 * every subleaf where the leaf exists at all: Intel SDM volume 2, "CPUID", leaf 0BH.
 */
static noinline void answer_nothing(struct lodge_vcpu *vcpu, u32 function, u32 index)
{
	const struct kvm_cpuid_entry2 *e = NULL;
	u64 *gpr = vcpu->st.gpr;

	if (function == 0xb || function == 0x1f)
		e = find_entry(vcpu->cpuid, vcpu->nr_cpuid, function, 1);
	gpr[GPR_RAX] = 0;
	gpr[GPR_RBX] = 0;
	gpr[GPR_RCX] = e ? index & 0xff : 0;
	gpr[GPR_RDX] = e ? e->edx : 0;
}

void lodge_do_cpuid(struct lodge_vcpu *vcpu, u64 next_rip)
{
	u64 *gpr = vcpu->st.gpr;
	u32 asked = gpr[GPR_RAX], index = gpr[GPR_RCX], function = asked;
	struct kvm_cpuid_entry2 *e;

	if (unlikely(vcpu->msr_misc_features)) {
		/* Intel "Virtualization Technology FlexMigration": only CPL 0 may ask. */
		lodge_state_get(vcpu, LODGE_ST_SEGS);
		if (vcpu->st.cpl) {
			lodge_queue_gp(vcpu);
			return;
		}
	}
	e = find_entry(vcpu->cpuid, vcpu->nr_cpuid, function, index);
	if (unlikely(!e))
		e = out_of_range(vcpu, &function, index);
	if (likely(e)) {
		refresh(vcpu, e);
		gpr[GPR_RAX] = e->eax;
		gpr[GPR_RBX] = e->ebx;
		gpr[GPR_RCX] = e->ecx;
		gpr[GPR_RDX] = e->edx;
	} else {
		answer_nothing(vcpu, function, index);
	}
	if (trace_lodge_cpuid_enabled())
		trace_lodge_cpuid(vcpu->id, asked, index, gpr[GPR_RAX], gpr[GPR_RBX],
				  gpr[GPR_RCX], gpr[GPR_RDX]);
	lodge_retire(vcpu, next_rip);
}

/* EAX of leaf 1: family, model, stepping; 0 if there is no such leaf. */
u32 lodge_cpuid_signature(const struct lodge_vcpu *vcpu)
{
	const struct kvm_cpuid_entry2 *e = find_entry(vcpu->cpuid, vcpu->nr_cpuid, 1, 0);

	return e ? e->eax : 0;
}

static void update_features(struct lodge_vcpu *vcpu)
{
	const struct kvm_cpuid_entry2 *e;
	unsigned int i;

	memset(vcpu->cpuid_features, 0, sizeof(vcpu->cpuid_features));
	for (i = 0; i < ARRAY_SIZE(cpuid_words); i++) {
		const struct leaf_word *w = &cpuid_words[i];

		e = find_entry(vcpu->cpuid, vcpu->nr_cpuid, w->function, w->index);
		if (e)
			vcpu->cpuid_features[w->word] = cpuid_reg_of(e, w->reg);
	}
}

/* Bits of CR4 and the feature without which they are reserved. */
static u64 guest_cr4_reserved(const struct lodge_vcpu *vcpu)
{
	static const struct {
		u64 bit;
		u16 feature;
	} optional[] = {
		{ X86_CR4_OSXSAVE, X86_FEATURE_XSAVE },
		{ X86_CR4_SMEP, X86_FEATURE_SMEP },
		{ X86_CR4_SMAP, X86_FEATURE_SMAP },
		{ X86_CR4_FSGSBASE, X86_FEATURE_FSGSBASE },
		{ X86_CR4_PKE, X86_FEATURE_PKU },
		{ X86_CR4_LA57, X86_FEATURE_LA57 },
		{ X86_CR4_UMIP, X86_FEATURE_UMIP },
		{ X86_CR4_PCIDE, X86_FEATURE_PCID },
	};
	u64 defined = X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE |
		      X86_CR4_PAE | X86_CR4_MCE | X86_CR4_PGE | X86_CR4_PCE |
		      X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;
	unsigned int i;

	/* Until a VMM has set CPUID, KVM holds only the host's limits against it. */
	for (i = 0; i < ARRAY_SIZE(optional); i++)
		if (lodge_supports(optional[i].feature) &&
		    (!vcpu->cpuid || lodge_guest_has(vcpu, optional[i].feature)))
			defined |= optional[i].bit;
	return ~defined;
}

static u8 guest_phys_bits(struct lodge_vcpu *vcpu)
{
	const struct kvm_cpuid_entry2 *e;

	e = find_entry(vcpu->cpuid, vcpu->nr_cpuid, 0x80000000, 0);
	if (!e || e->eax < 0x80000008)
		return DEFAULT_PHYS_BITS;
	e = find_entry(vcpu->cpuid, vcpu->nr_cpuid, 0x80000008, 0);
	return e ? clamp(e->eax & 0xff, 32u, 52u) : DEFAULT_PHYS_BITS;
}

/*
 * The leaf of KVM_FEATURE_*. KVM's leaves lie above those of another hypervisor, if a VMM
 * shows one as well.
 */
static struct kvm_cpuid_entry2 *find_pv_leaf(struct kvm_cpuid_entry2 *entries, unsigned int nr)
{
	const struct kvm_cpuid_entry2 *e;
	u32 base;

	for (base = KVM_CPUID_SIGNATURE; base < KVM_CPUID_SIGNATURE + 0x10000; base += 0x100) {
		e = find_entry(entries, nr, base, 0);
		if (!e || memcmp(&e->ebx, KVM_SIGNATURE, 4) ||
		    memcmp(&e->ecx, &KVM_SIGNATURE[4], 4) || memcmp(&e->edx, &KVM_SIGNATURE[8], 4))
			continue;
		return find_entry(entries, nr, base + KVM_CPUID_FEATURES - KVM_CPUID_SIGNATURE,
				  0);
	}
	return NULL;
}

/* Everything that hangs on CPUID, after it changed. */
static void update_dependents(struct lodge_vcpu *vcpu)
{
	const struct kvm_cpuid_entry2 *e;

	update_features(vcpu);
	e = find_pv_leaf(vcpu->cpuid, vcpu->nr_cpuid);
	vcpu->pv.features = e ? e->eax : 0;
	vcpu->maxphyaddr = guest_phys_bits(vcpu);
	vcpu->phys_reserved = ~(BIT_ULL(vcpu->maxphyaddr) - 1);
	vcpu->cr4_reserved = guest_cr4_reserved(vcpu);

	e = find_entry(vcpu->cpuid, vcpu->nr_cpuid, 0x80000021, 0);
	vcpu->has_sbpb = e && (e->eax & srso_bits() & BIT(27));

	e = find_entry(vcpu->cpuid, vcpu->nr_cpuid, 0xd, 0);
	vcpu->xcr0_supported = e ? guest_xfeatures(e) : 0;

	vcpu->has_spec_ctrl = boot_cpu_has(X86_FEATURE_MSR_SPEC_CTRL) &&
			      (lodge_guest_has(vcpu, X86_FEATURE_SPEC_CTRL) ||
			       lodge_guest_has(vcpu, X86_FEATURE_INTEL_STIBP) ||
			       lodge_guest_has(vcpu, X86_FEATURE_SPEC_CTRL_SSBD) ||
			       lodge_guest_has(vcpu, X86_FEATURE_AMD_IBRS) ||
			       lodge_guest_has(vcpu, X86_FEATURE_AMD_STIBP) ||
			       lodge_guest_has(vcpu, X86_FEATURE_AMD_SSBD));
	if (vcpu->lapic)
		lapic_set_cpuid(vcpu->lapic, lodge_guest_has(vcpu, X86_FEATURE_X2APIC),
				lodge_guest_has(vcpu, X86_FEATURE_TSC_DEADLINE_TIMER),
				vcpu->phys_reserved);
}

void lodge_cpuid_init(struct lodge_vcpu *vcpu)
{
	vcpu->cpuid = NULL;
	vcpu->nr_cpuid = 0;
	update_dependents(vcpu);
}

void lodge_cpuid_free(struct lodge_vcpu *vcpu)
{
	kvfree(vcpu->cpuid);
	vcpu->cpuid = NULL;
	vcpu->nr_cpuid = 0;
}

/* After the first entry the guest may rely on what it saw. */
static int check_unchanged(struct lodge_vcpu *vcpu, struct kvm_cpuid_entry2 *entries,
			   unsigned int nr)
{
	unsigned int i;

	if (nr != vcpu->nr_cpuid)
		return -EINVAL;
	for (i = 0; i < nr; i++) {
		struct kvm_cpuid_entry2 *old = &vcpu->cpuid[i], *new = &entries[i];

		refresh(vcpu, old);
		refresh(vcpu, new);
		if (old->function != new->function || old->index != new->index ||
		    old->flags != new->flags || old->eax != new->eax || old->ebx != new->ebx ||
		    old->ecx != new->ecx || old->edx != new->edx)
			return -EINVAL;
	}
	return 0;
}

/* Takes over @entries when it returns 0. */
static int install_cpuid(struct lodge_vcpu *vcpu, struct kvm_cpuid_entry2 *entries,
			 unsigned int nr)
{
	struct kvm_cpuid_entry2 *e;
	u32 virt;
	int ret;

	/* Where HLT does not exit, nobody could end it by a kick. */
	e = find_pv_leaf(entries, nr);
	if (e && READ_ONCE(vcpu->vm->direct) & KVM_X86_DISABLE_EXITS_HLT)
		e->eax &= ~(u32)BIT(KVM_FEATURE_PV_UNHALT);

	if (vcpu->cpu != -1) {
		ret = check_unchanged(vcpu, entries, nr);
		if (!ret)
			kvfree(entries);
		return ret;
	}

	/* The number of linear address bits decides what is canonical. */
	e = find_entry(entries, nr, 0x80000008, 0);
	virt = e ? (e->eax >> 8) & 0xff : 0;
	if (virt && virt != 48 && virt != 57)
		return -EINVAL;

	kvfree(vcpu->cpuid);
	vcpu->cpuid = entries;
	vcpu->nr_cpuid = nr;
	update_dependents(vcpu);
	lodge_backend->update_intercepts(vcpu);
	return 0;
}

/* The entries of either form, as those of the newer one. NULL for none, or an errno. */
static struct kvm_cpuid_entry2 *copy_entries(const void __user *user, unsigned int nr, bool old)
{
	const struct kvm_cpuid_entry __user *from = user;
	struct kvm_cpuid_entry2 *entries;
	struct kvm_cpuid_entry e;
	unsigned int i;

	if (nr > CPUID_MAX_ENTRIES)
		return ERR_PTR(-E2BIG);
	if (!nr)
		return NULL;
	if (!old)
		return vmemdup_user(user, nr * sizeof(*entries));
	entries = kvcalloc(nr, sizeof(*entries), GFP_KERNEL_ACCOUNT);
	if (!entries)
		return ERR_PTR(-ENOMEM);
	for (i = 0; i < nr; i++) {
		if (copy_from_user(&e, &from[i], sizeof(e))) {
			kvfree(entries);
			return ERR_PTR(-EFAULT);
		}
		entries[i] = (struct kvm_cpuid_entry2) {
			.function = e.function,
			.eax = e.eax, .ebx = e.ebx, .ecx = e.ecx, .edx = e.edx,
		};
	}
	return entries;
}

/* struct kvm_cpuid and kvm_cpuid2 begin alike. */
static_assert(offsetof(struct kvm_cpuid, entries) == offsetof(struct kvm_cpuid2, entries));

static int set_cpuid(struct lodge_vcpu *vcpu, struct kvm_cpuid2 __user *user, bool old)
{
	struct kvm_cpuid_entry2 *entries;
	struct kvm_cpuid2 head;
	int ret;

	if (copy_from_user(&head, user, sizeof(head)))
		return -EFAULT;
	entries = copy_entries(user->entries, head.nent, old);
	if (IS_ERR(entries))
		return PTR_ERR(entries);
	ret = install_cpuid(vcpu, entries, head.nent);
	if (ret)
		kvfree(entries);
	return ret;
}

int lodge_set_cpuid2(struct lodge_vcpu *vcpu, struct kvm_cpuid2 __user *user)
{
	return set_cpuid(vcpu, user, false);
}

int lodge_set_cpuid(struct lodge_vcpu *vcpu, struct kvm_cpuid __user *user)
{
	return set_cpuid(vcpu, (struct kvm_cpuid2 __user *)user, true);
}

int lodge_get_cpuid2(struct lodge_vcpu *vcpu, struct kvm_cpuid2 __user *user)
{
	struct kvm_cpuid2 head;
	unsigned int i;

	if (copy_from_user(&head, user, sizeof(head)))
		return -EFAULT;
	if (head.nent < vcpu->nr_cpuid)
		return -E2BIG;
	for (i = 0; i < vcpu->nr_cpuid; i++) {
		struct kvm_cpuid_entry2 *e = &vcpu->cpuid[i];

		refresh(vcpu, e);
		if (copy_to_user(&user->entries[i], e, sizeof(*e)))
			return -EFAULT;
	}
	head.nent = vcpu->nr_cpuid;
	return copy_to_user(user, &head, sizeof(head)) ? -EFAULT : 0;
}
