// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's x87, SSE, AVX, AVX-512 and PKRU state, in an XSAVE area of our own: the
 * kernel keeps its guest FPU helpers for KVM. Called by run.c in the window and by the
 * ioctls and the emulator outside it. Guarded by vcpu->mutex.
 */
#define pr_fmt(fmt) "lodge: " fmt

#include <linux/log2.h>
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <asm/asm.h>
#include <asm/cpufeature.h>
#include <asm/fpu/api.h>
#include <asm/fpu/types.h>
#include <asm/fpu/xcr.h>
#include <asm/msr.h>
#include <asm/processor.h>
#include <asm/special_insns.h>

#include "kernel_compat.h"
#include "state.h"
#include "vm.h"

/*
 * What a guest may have: user state that XSAVE alone moves. AMX would need XFD and
 * the scheduler's help, supervisor states need XSAVES.
 */
#define FPU_FEATURES_WANTED	(XFEATURE_MASK_FP | XFEATURE_MASK_SSE | XFEATURE_MASK_YMM | \
				 XFEATURE_MASK_AVX512 | XFEATURE_MASK_PKRU)
#define FPU_NR_FEATURES		(XFEATURE_PKRU + 1)

/* Legacy region and header, the same in both formats. */
#define FPU_LEGACY_SIZE		((u32)sizeof(struct xregs_state))

#define FPU_INIT_FCW		0x37f
#define FPU_INIT_MXCSR		0x1f80
/* Where MXCSR_MASK is stored as 0: Intel SDM volume 1, "Guidelines for Writing to MXCSR". */
#define FPU_DEFAULT_MXCSR_MASK	0xffbf

/* In the standard (not compacted) format; as long as fpu_alloc says. */
struct lodge_fpu {
	struct xregs_state x;
};

static struct {
	u32 offset, size;
	bool aligned;			/* in the compacted format */
} fpu_component[FPU_NR_FEATURES] __ro_after_init;

static u64 fpu_features __ro_after_init;
static u32 fpu_area_size __ro_after_init;
static u32 fpu_alloc_size __ro_after_init;
static u32 fpu_mxcsr_mask __ro_after_init;
static u64 fpu_host_xcr0 __ro_after_init;
static u64 fpu_host_xss __ro_after_init;
static bool fpu_has_pkru __ro_after_init;

/* The PKRU of the task whose window is open on this CPU. */
static DEFINE_PER_CPU(u32, fpu_host_pkru);

u64 lodge_fpu_features(void)
{
	return fpu_features;
}

/* Intel SDM volume 1, "Standard Format" and "Compacted Format of XSAVE Area". */
u32 lodge_fpu_xstate_size(u64 features, bool compacted)
{
	u32 size = FPU_LEGACY_SIZE;
	unsigned int i;

	features &= fpu_features;
	for (i = XFEATURE_YMM; i < FPU_NR_FEATURES; i++) {
		if (!(features & BIT_ULL(i)))
			continue;
		if (!compacted) {
			size = max(size, fpu_component[i].offset + fpu_component[i].size);
			continue;
		}
		if (fpu_component[i].aligned)
			size = ALIGN(size, 64);
		size += fpu_component[i].size;
	}
	return size;
}

u32 lodge_xsave_size(void)
{
	return max_t(u32, fpu_area_size, sizeof(struct kvm_xsave));
}

static void fpu_probe_mxcsr(void)
{
	/* Only the mask is looked at: whose registers these are does not matter. */
	static struct fxregs_state fx __aligned(16);

	asm volatile("fxsave64 %0" : "=m" (fx));
	fpu_mxcsr_mask = fx.mxcsr_mask ?: FPU_DEFAULT_MXCSR_MASK;
}

int lodge_fpu_probe(void)
{
	u32 eax, ebx, ecx, edx;
	unsigned int i;

	if (!boot_cpu_has(X86_FEATURE_FPU) || !boot_cpu_has(X86_FEATURE_XSAVE) ||
	    !boot_cpu_has(X86_FEATURE_FXSR) ||
	    !cpu_has_xfeatures(XFEATURE_MASK_FPSSE, NULL)) {
		pr_err("the CPU or the kernel has no working XSAVE, which lodge needs\n");
		return -EOPNOTSUPP;
	}

	fpu_host_xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK);
	fpu_has_pkru = boot_cpu_has(X86_FEATURE_OSPKE);
	fpu_features = fpu_host_xcr0 & FPU_FEATURES_WANTED;
	if (!fpu_has_pkru)
		fpu_features &= ~XFEATURE_MASK_PKRU;
	/* AVX-512 is one feature to a guest: all of it or nothing. */
	if ((fpu_features & XFEATURE_MASK_AVX512) != XFEATURE_MASK_AVX512)
		fpu_features &= ~XFEATURE_MASK_AVX512;

	for (i = XFEATURE_YMM; i < FPU_NR_FEATURES; i++) {
		if (!(fpu_features & BIT_ULL(i)))
			continue;
		cpuid_count(0xd, i, &eax, &ebx, &ecx, &edx);
		if (!eax || ebx < FPU_LEGACY_SIZE || ebx + eax > PAGE_SIZE) {
			pr_err("the CPU reports no sane XSAVE layout for component %u\n", i);
			return -EOPNOTSUPP;
		}
		fpu_component[i].size = eax;
		fpu_component[i].offset = ebx;
		fpu_component[i].aligned = ecx & BIT(1);
	}
	fpu_area_size = lodge_fpu_xstate_size(fpu_features, false);
	/* kmalloc() aligns powers of two to themselves: XSAVE wants 64 bytes. */
	fpu_alloc_size = roundup_pow_of_two(fpu_area_size);

	/*
	 * The guest can execute XRSTORS. With the host's IA32_XSS it would reach the
	 * host task's supervisor state (CET, PASID) through it.
	 */
	if (boot_cpu_has(X86_FEATURE_XSAVES) && rdmsrl_safe(MSR_IA32_XSS, &fpu_host_xss))
		fpu_host_xss = 0;

	fpu_probe_mxcsr();
	return 0;
}

static void fpu_set_init(struct lodge_fpu *fpu)
{
	memset(fpu, 0, fpu_area_size);
	fpu->x.i387.cwd = FPU_INIT_FCW;
	fpu->x.i387.mxcsr = FPU_INIT_MXCSR;
	fpu->x.i387.mxcsr_mask = fpu_mxcsr_mask;
}

int lodge_fpu_create(struct lodge_vcpu *vcpu)
{
	vcpu->fpu = kzalloc(2 * fpu_alloc_size, GFP_KERNEL_ACCOUNT);
	if (!vcpu->fpu)
		return -ENOMEM;
	fpu_set_init(vcpu->fpu);
	vcpu->st.xcr0 = XFEATURE_MASK_FP;
	return 0;
}

void lodge_fpu_destroy(struct lodge_vcpu *vcpu)
{
	kfree_sensitive(vcpu->fpu);
	vcpu->fpu = NULL;
}

/* INIT leaves FPU, SSE and XCR0 alone: Intel SDM volume 3, "Processor State After Reset". */
void lodge_fpu_reset(struct lodge_vcpu *vcpu, bool init)
{
	if (init)
		return;
	fpu_set_init(vcpu->fpu);
	vcpu->st.xcr0 = XFEATURE_MASK_FP;
}

/*
 * Some AMD CPUs load the x87 pointers only when an exception is pending, and would show
 * those of whoever ran before (X86_BUG_FXSAVE_LEAK): load harmless ones first.
 */
static void fpu_clear_pointers(struct lodge_fpu *fpu)
{
	if (boot_cpu_has_bug(X86_BUG_FXSAVE_LEAK))
		asm volatile("fnclex\n\temms\n\tfildl %0" : : "m" (fpu->x.i387.cwd));
}

/* False when the CPU refused the area; then no register has changed. */
static __always_inline bool fpu_xrstor(struct lodge_fpu *fpu)
{
	int failed = 1;

	asm volatile("1: xrstor64 %[area]\n\t"
		     "xorl %[failed], %[failed]\n"
		     "2:\n"
		     _ASM_EXTABLE(1b, 2b)
		     : [failed] "+r" (failed)
		     : [area] "m" (*fpu), "a" ((u32)fpu_features),
		       "d" ((u32)(fpu_features >> 32))
		     : "memory");
	return !failed;
}

/* Everything in the area was checked when it came in: this cannot happen. */
static noinline void fpu_load_failed(struct lodge_vcpu *vcpu)
{
	fpu_set_init(vcpu->fpu);
	fpu_xrstor(vcpu->fpu);
	lodge_vm_kill(vcpu->vm, "the guest's XSAVE area cannot be loaded");
}

static __always_inline void fpu_xsave(struct lodge_fpu *fpu)
{
	/*
	 * Not XSAVEOPT: it trusts the CPU's memory of the last XRSTOR from this linear
	 * address, and a guest can have done one from the same address.
	 */
	asm volatile("xsave64 %0"
		     : "+m" (fpu->x)
		     : "a" ((u32)fpu_features), "d" ((u32)(fpu_features >> 32))
		     : "memory");
}

/* Where the task's registers are while the guest's are in the CPU, behind the guest's. */
static struct lodge_fpu *fpu_of_task(struct lodge_vcpu *vcpu)
{
	return (void *)vcpu->fpu + fpu_alloc_size;
}

/*
 * The kernel saves the task's registers once, and loads them again on the way to user
 * space: the right thing for a thread that does not go there between its windows. What we
 * do ourselves nobody can notice, as interrupts are off: the registers are as they were.
 *
 * Once the kernel has saved them the registers are nobody's, and with preemption off that
 * stays so. Its section does not go on around the window: newer kernels have bottom halves
 * off in it, and the tick would take the guest's time for that of one.
 */
static noinline void take_registers(void)
{
	kernel_fpu_begin_mask(0);
	kernel_fpu_end();
}

void lodge_fpu_begin(struct lodge_vcpu *vcpu, bool first)
{
	bool own = first && !test_thread_flag(TIF_NEED_FPU_LOAD);

	vcpu->fpu_own = own;
	preempt_disable();
	if (!own)
		take_registers();
}

void lodge_fpu_end(struct lodge_vcpu *vcpu)
{
	preempt_enable();
}

void lodge_fpu_load(struct lodge_vcpu *vcpu)
{
	struct lodge_fpu *fpu = vcpu->fpu;

	if (vcpu->fpu_own)
		fpu_xsave(fpu_of_task(vcpu));
	else if (fpu_has_pkru)
		__this_cpu_write(fpu_host_pkru, rdpkru());
	if (unlikely(fpu_host_xss))
		wrmsrl(MSR_IA32_XSS, 0);
	fpu_clear_pointers(fpu);
	if (unlikely(!fpu_xrstor(fpu)))
		fpu_load_failed(vcpu);
	if (vcpu->st.xcr0 != fpu_host_xcr0)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, vcpu->st.xcr0);
}

void lodge_fpu_save(struct lodge_vcpu *vcpu)
{
	if (vcpu->st.xcr0 != fpu_host_xcr0)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, fpu_host_xcr0);
	fpu_xsave(vcpu->fpu);
	if (unlikely(fpu_host_xss))
		wrmsrl(MSR_IA32_XSS, fpu_host_xss);
	if (vcpu->fpu_own) {
		fpu_clear_pointers(fpu_of_task(vcpu));
		fpu_xrstor(fpu_of_task(vcpu));
	} else if (fpu_has_pkru && rdpkru() != __this_cpu_read(fpu_host_pkru)) {
		wrpkru(__this_cpu_read(fpu_host_pkru));
	}
}

/*
 * Makes the memory of component @i hold its value, when XSTATE_BV says that it is in
 * its initial configuration. MXCSR is always there.
 */
static void fpu_materialize(struct lodge_fpu *fpu, unsigned int i)
{
	if (fpu->x.header.xfeatures & BIT_ULL(i))
		return;
	switch (i) {
	case XFEATURE_FP:
		memset(&fpu->x.i387, 0, offsetof(struct fxregs_state, mxcsr));
		memset(fpu->x.i387.st_space, 0, sizeof(fpu->x.i387.st_space));
		fpu->x.i387.cwd = FPU_INIT_FCW;
		break;
	case XFEATURE_SSE:
		memset(fpu->x.i387.xmm_space, 0, sizeof(fpu->x.i387.xmm_space));
		break;
	default:
		memset((u8 *)fpu + fpu_component[i].offset, 0, fpu_component[i].size);
		break;
	}
	fpu->x.header.xfeatures |= BIT_ULL(i);
}

/*
 * MXCSR is not part of it: KVM neither reports nor takes the field, and a VMM that
 * leaves it zero would otherwise unmask every SSE exception.
 */
void lodge_get_fpu(struct lodge_vcpu *vcpu, struct kvm_fpu *fpu)
{
	struct fxregs_state *fx = &vcpu->fpu->x.i387;

	fpu_materialize(vcpu->fpu, XFEATURE_FP);
	fpu_materialize(vcpu->fpu, XFEATURE_SSE);
	memset(fpu, 0, sizeof(*fpu));
	memcpy(fpu->fpr, fx->st_space, sizeof(fpu->fpr));
	fpu->fcw = fx->cwd;
	fpu->fsw = fx->swd;
	fpu->ftwx = fx->twd;
	fpu->last_opcode = fx->fop;
	fpu->last_ip = fx->rip;
	fpu->last_dp = fx->rdp;
	memcpy(fpu->xmm, fx->xmm_space, sizeof(fpu->xmm));
}

void lodge_set_fpu(struct lodge_vcpu *vcpu, const struct kvm_fpu *fpu)
{
	struct fxregs_state *fx = &vcpu->fpu->x.i387;

	memcpy(fx->st_space, fpu->fpr, sizeof(fpu->fpr));
	fx->cwd = fpu->fcw;
	fx->swd = fpu->fsw;
	fx->twd = fpu->ftwx;
	fx->fop = fpu->last_opcode;
	fx->rip = fpu->last_ip;
	fx->rdp = fpu->last_dp;
	memcpy(fx->xmm_space, fpu->xmm, sizeof(fpu->xmm));
	vcpu->fpu->x.header.xfeatures |= XFEATURE_MASK_FPSSE;
}

void lodge_get_xsave(struct lodge_vcpu *vcpu, void *buf)
{
	const struct lodge_fpu *fpu = vcpu->fpu;
	struct xregs_state *to = buf;
	u64 present = fpu->x.header.xfeatures & fpu_features;
	unsigned int i;

	memset(buf, 0, lodge_xsave_size());
	if (present & XFEATURE_MASK_FP)
		memcpy(to, fpu, offsetof(struct fxregs_state, xmm_space));
	else
		to->i387.cwd = FPU_INIT_FCW;
	if (present & XFEATURE_MASK_SSE)
		memcpy(to->i387.xmm_space, fpu->x.i387.xmm_space,
		       sizeof(to->i387.xmm_space));
	to->i387.mxcsr = fpu->x.i387.mxcsr;
	to->i387.mxcsr_mask = fpu_mxcsr_mask;
	to->header.xfeatures = present;
	for (i = XFEATURE_YMM; i < FPU_NR_FEATURES; i++)
		if (present & BIT_ULL(i))
			memcpy(buf + fpu_component[i].offset,
			       (const u8 *)fpu + fpu_component[i].offset,
			       fpu_component[i].size);
}

int lodge_set_xsave(struct lodge_vcpu *vcpu, const void *buf)
{
	const u64 mxcsr_users = XFEATURE_MASK_FPSSE | XFEATURE_MASK_YMM;
	const struct xregs_state *from = buf;
	struct lodge_fpu *fpu = vcpu->fpu;
	u64 given = from->header.xfeatures;
	u64 kept = fpu->x.header.xfeatures & XFEATURE_MASK_PKRU & ~given;
	unsigned int i;

	if ((given & ~fpu_features) || from->header.xcomp_bv ||
	    memchr_inv(from->header.reserved, 0, sizeof(from->header.reserved)))
		return -EINVAL;
	if ((given & mxcsr_users) && (from->i387.mxcsr & ~fpu_mxcsr_mask))
		return -EINVAL;

	if (given & XFEATURE_MASK_FP) {
		memcpy(fpu, from, offsetof(struct fxregs_state, mxcsr));
		memcpy(fpu->x.i387.st_space, from->i387.st_space,
		       sizeof(from->i387.st_space));
	}
	if (given & XFEATURE_MASK_SSE)
		memcpy(fpu->x.i387.xmm_space, from->i387.xmm_space,
		       sizeof(from->i387.xmm_space));
	if (given & mxcsr_users)
		fpu->x.i387.mxcsr = from->i387.mxcsr;
	for (i = XFEATURE_YMM; i < FPU_NR_FEATURES; i++)
		if (given & BIT_ULL(i))
			memcpy((u8 *)fpu + fpu_component[i].offset,
			       buf + fpu_component[i].offset, fpu_component[i].size);
	/* What is not given goes to its initial state, but PKRU stays: KVM's rule. */
	fpu->x.header.xfeatures = given | kept;
	return 0;
}

/* In the initial state, which XSAVE does not write, no key denies anything. */
u32 lodge_fpu_pkru(const struct lodge_vcpu *vcpu)
{
	const struct lodge_fpu *fpu = vcpu->fpu;
	u32 pkru = 0;

	if (fpu->x.header.xfeatures & fpu_features & XFEATURE_MASK_PKRU)
		memcpy(&pkru, (const u8 *)fpu + fpu_component[XFEATURE_PKRU].offset,
		       sizeof(pkru));
	return pkru;
}

void lodge_get_xcrs(struct lodge_vcpu *vcpu, struct kvm_xcrs *xcrs)
{
	memset(xcrs, 0, sizeof(*xcrs));
	xcrs->nr_xcrs = 1;
	xcrs->xcrs[0].xcr = XCR_XFEATURE_ENABLED_MASK;
	xcrs->xcrs[0].value = vcpu->st.xcr0;
}

/* Only XCR0 exists; others in the list are passed over, as in KVM. */
int lodge_set_xcrs(struct lodge_vcpu *vcpu, const struct kvm_xcrs *xcrs)
{
	unsigned int i;

	if (xcrs->nr_xcrs > KVM_MAX_XCRS || xcrs->flags)
		return -EINVAL;
	for (i = 0; i < xcrs->nr_xcrs; i++)
		if (xcrs->xcrs[i].xcr == XCR_XFEATURE_ENABLED_MASK)
			return lodge_set_xcr(vcpu, XCR_XFEATURE_ENABLED_MASK,
					     xcrs->xcrs[i].value) ? -EINVAL : 0;
	return 0;
}

/* The upper half of YMM @n, or NULL on a host without AVX. */
static u8 *fpu_ymm_high(struct lodge_fpu *fpu, unsigned int n)
{
	if (!(fpu_features & XFEATURE_MASK_YMM))
		return NULL;
	return (u8 *)fpu + fpu_component[XFEATURE_YMM].offset + n * 16;
}

void lodge_fpu_read_reg(struct lodge_vcpu *vcpu, unsigned int n, void *buf, unsigned int len)
{
	struct lodge_fpu *fpu = vcpu->fpu;
	u8 *high;

	n = array_index_nospec(n & 15, 16);
	fpu_materialize(fpu, XFEATURE_SSE);
	memcpy(buf, &fpu->x.i387.xmm_space[n * 4], 16);
	if (len <= 16)
		return;
	high = fpu_ymm_high(fpu, n);
	if (high) {
		fpu_materialize(fpu, XFEATURE_YMM);
		memcpy(buf + 16, high, 16);
	} else {
		memset(buf + 16, 0, 16);
	}
}

void lodge_fpu_write_reg(struct lodge_vcpu *vcpu, unsigned int n, const void *buf,
			 unsigned int len, bool zero_upper)
{
	struct lodge_fpu *fpu = vcpu->fpu;
	u8 *high;

	n = array_index_nospec(n & 15, 16);
	fpu_materialize(fpu, XFEATURE_SSE);
	memcpy(&fpu->x.i387.xmm_space[n * 4], buf, 16);
	if (len <= 16 && !zero_upper)
		return;

	high = fpu_ymm_high(fpu, n);
	if (high) {
		fpu_materialize(fpu, XFEATURE_YMM);
		if (len > 16)
			memcpy(high, buf + 16, 16);
		else
			memset(high, 0, 16);
	}
	/* Bits 511:256 of ZMM0 to ZMM15, 32 bytes each; absent means zero already. */
	if (fpu->x.header.xfeatures & XFEATURE_MASK_ZMM_Hi256)
		memset((u8 *)fpu + fpu_component[XFEATURE_ZMM_Hi256].offset + n * 32, 0, 32);
}
