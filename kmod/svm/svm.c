// SPDX-License-Identifier: GPL-2.0-only
/*
 * SVM: what the CPU offers, switching it on and off, the control block of a vCPU and
 * its intercepts. Called by common code through lodge_svm_backend. Per-CPU data is
 * touched on its own CPU with interrupts off; the rest belongs to the vCPU's thread.
 */
#define pr_fmt(fmt) "lodge: " fmt

#include <linux/bitmap.h>
#include <linux/io.h>
#include <linux/mem_encrypt.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <asm/cpufeature.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>
#include <asm/special_insns.h>
#include <asm/trapnr.h>

#include "../kernel_compat.h"
#include "../state.h"
#include "svm.h"

#ifndef MSR_VM_CR
#define MSR_VM_CR	0xc0010114
#endif
#ifndef MSR_VM_HSAVE_PA
#define MSR_VM_HSAVE_PA	0xc0010117
#endif
#define VM_CR_SVMDIS	BIT_ULL(4)

#define IOPM_ORDER	2	/* 3 pages: AMD APM volume 2, "IOIO Intercepts" */
#define MSRPM_ORDER	1	/* 2 pages: "MSR Intercepts" */

#define PAUSE_FILTER_COUNT	3000

DEFINE_PER_CPU(struct svm_cpu, lodge_svm_cpu);

struct svm_features lodge_svm_features __ro_after_init;

/* All ports exit: one map, never written after load, for every vCPU. */
static struct page *svm_iopm;

/* CPUID Fn8000_000A_EDX */
#define CPUID_SVM_NP		BIT(0)
#define CPUID_SVM_NRIP		BIT(3)
#define CPUID_SVM_TSC_RATE	BIT(4)
#define CPUID_SVM_VMCB_CLEAN	BIT(5)
#define CPUID_SVM_FLUSH_ASID	BIT(6)
#define CPUID_SVM_DECODE	BIT(7)
#define CPUID_SVM_PAUSE_FILTER	BIT(10)
#define CPUID_SVM_V_SPEC_CTRL	BIT(20)

/* Switching SVM on must not fail for want of memory: CPUs may come at any time. */
static int svm_alloc_cpus(void)
{
	struct svm_cpu *sc;
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		sc = per_cpu_ptr(&lodge_svm_cpu, cpu);
		sc->hsave = alloc_pages_node(cpu_to_node(cpu), GFP_KERNEL | __GFP_ZERO, 0);
		sc->host_vmcb = alloc_pages_node(cpu_to_node(cpu), GFP_KERNEL | __GFP_ZERO, 0);
		if (!sc->hsave || !sc->host_vmcb)
			return -ENOMEM;
		sc->host_pa = __sme_set(page_to_phys(sc->host_vmcb));
	}
	return 0;
}

static void svm_remove(void)
{
	struct svm_cpu *sc;
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		sc = per_cpu_ptr(&lodge_svm_cpu, cpu);
		if (sc->hsave)
			__free_page(sc->hsave);
		if (sc->host_vmcb)
			__free_page(sc->host_vmcb);
		sc->hsave = NULL;
		sc->host_vmcb = NULL;
	}
	__free_pages(svm_iopm, IOPM_ORDER);
}

static int svm_probe(void)
{
	struct svm_features *f = &lodge_svm_features;
	u32 eax, ebx, ecx, edx;
	u64 vm_cr;

	if (!boot_cpu_has(X86_FEATURE_SVM))
		return -ENODEV;		/* not an SVM CPU: the caller says so */

	if (!rdmsrl_safe(MSR_VM_CR, &vm_cr) && (vm_cr & VM_CR_SVMDIS)) {
		pr_err("SVM is disabled by the firmware: enable it in the BIOS set-up\n");
		return -EOPNOTSUPP;
	}

	cpuid(0x8000000a, &eax, &ebx, &ecx, &edx);
	if (!(edx & CPUID_SVM_NP)) {
		pr_err("this CPU has SVM but no nested paging (NPT), which lodge needs\n");
		return -EOPNOTSUPP;
	}
	if (ebx < 2) {
		pr_err("this CPU reports %u ASIDs, lodge needs 2\n", ebx);
		return -EOPNOTSUPP;
	}

	f->nr_asids = ebx;
	f->nrip_save = edx & CPUID_SVM_NRIP;
	f->vmcb_clean = edx & CPUID_SVM_VMCB_CLEAN;
	f->flush_by_asid = edx & CPUID_SVM_FLUSH_ASID;
	f->decode_assists = edx & CPUID_SVM_DECODE;
	f->pause_filter = edx & CPUID_SVM_PAUSE_FILTER;
	f->v_spec_ctrl = edx & CPUID_SVM_V_SPEC_CTRL;
	f->tsc_ratio = edx & CPUID_SVM_TSC_RATE;
	f->host_mce = native_read_cr4() & X86_CR4_MCE;
	if (f->tsc_ratio)
		lodge_tsc_scaling(SVM_TSC_RATIO_BITS, SVM_TSC_RATIO_MAX);

	svm_iopm = alloc_pages(GFP_KERNEL, IOPM_ORDER);
	if (!svm_iopm)
		return -ENOMEM;
	memset(page_address(svm_iopm), 0xff, PAGE_SIZE << IOPM_ORDER);
	if (svm_alloc_cpus()) {
		svm_remove();
		return -ENOMEM;
	}
	return 0;
}

/*
 * AMD APM volume 2, "Enabling SVM": EFER.SVME, then VM_HSAVE_PA. EFER.SVME already
 * set means that another hypervisor module uses this CPU.
 */
static int svm_cpu_on(unsigned int cpu, bool share)
{
	struct svm_cpu *sc = per_cpu_ptr(&lodge_svm_cpu, cpu);
	u64 efer;

	rdmsrl(MSR_EFER, efer);
	if (efer & EFER_SVME)
		return -EBUSY;

	sc->asid_generation++;
	sc->next_asid = lodge_svm_features.nr_asids;	/* the first entry flushes all */
	sc->last_vcpu = NULL;
	sc->has_tsc_aux = !rdmsrl_safe(MSR_TSC_AUX, &sc->host_tsc_aux);

	if (wrmsrl_safe(MSR_EFER, efer | EFER_SVME))
		return -EOPNOTSUPP;
	wrmsrl(MSR_VM_HSAVE_PA, __sme_set(page_to_phys(sc->hsave)));
	if (lodge_svm_features.tsc_ratio) {
		sc->tsc_ratio = SVM_TSC_RATIO_ONE;
		wrmsrl(MSR_AMD64_TSC_RATIO, sc->tsc_ratio);
	}
	sc->on = true;
	return 0;
}

static void svm_cpu_off(unsigned int cpu)
{
	struct svm_cpu *sc = per_cpu_ptr(&lodge_svm_cpu, cpu);
	u64 efer;

	if (!sc->on)
		return;
	sc->on = false;

	/*
	 * STGI before SVME goes: with GIF off the CPU would take no INIT (AMD APM
	 * volume 2, "Global Interrupt Flag"), and STGI needs SVME.
	 */
	asm volatile("stgi" ::: "memory");
	wrmsrl(MSR_VM_HSAVE_PA, 0);
	if (sc->tsc_ratio && sc->tsc_ratio != SVM_TSC_RATIO_ONE) {
		sc->tsc_ratio = SVM_TSC_RATIO_ONE;
		wrmsrl(MSR_AMD64_TSC_RATIO, sc->tsc_ratio);
	}
	rdmsrl(MSR_EFER, efer);
	wrmsrl(MSR_EFER, efer & ~EFER_SVME);
}

/* Two bits an MSR, read and write: AMD APM volume 2, "MSR Intercepts". */
static int svm_msrpm_bit(u32 msr)
{
	static const u32 ranges[] = { 0, 0xc0000000, 0xc0010000 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ranges); i++)
		if (msr >= ranges[i] && msr < ranges[i] + 0x2000)
			return (i * 0x2000 + (msr - ranges[i])) * 2;
	return -1;
}

static void svm_msr_passthrough(struct svm_vcpu *svm, u32 msr, bool read, bool write)
{
	int bit = svm_msrpm_bit(msr);

	if (WARN_ON_ONCE(bit < 0))
		return;
	__assign_bit(bit, svm->msrpm, !read);
	__assign_bit(bit + 1, svm->msrpm, !write);
	svm_touch(svm, SVM_CLEAN_PERMISSIONS);
}

/* MSRs that VMLOAD and VMSAVE move: the guest reaches them without an exit. */
static const u32 svm_direct_msrs[] = {
	MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE,
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SYSCALL_MASK,
	MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
};

/*
 * Why each is intercepted: see the exit's handler in svm/exit.c. #AC and #DB always
 * exit: a guest could otherwise keep the CPU in microcode for ever by faulting in
 * their delivery (CVE-2015-5307, CVE-2015-8104). Task switches are left to the CPU.
 */
static const u16 svm_intercepts[] = {
	SVM_ICPT_CR0_SELECTIVE, SVM_ICPT_CR4_WRITE,
	SVM_ICPT_INTR, SVM_ICPT_NMI, SVM_ICPT_SMI, SVM_ICPT_INIT,
	SVM_ICPT_RDPMC, SVM_ICPT_CPUID, SVM_ICPT_RSM, SVM_ICPT_INVD,
	SVM_ICPT_INVLPGA, SVM_ICPT_IOIO, SVM_ICPT_MSR, SVM_ICPT_FERR_FREEZE,
	SVM_ICPT_SHUTDOWN,
	SVM_ICPT_VMRUN, SVM_ICPT_VMMCALL, SVM_ICPT_VMLOAD, SVM_ICPT_VMSAVE,
	SVM_ICPT_STGI, SVM_ICPT_CLGI, SVM_ICPT_SKINIT, SVM_ICPT_WBINVD,
	SVM_ICPT_XSETBV, SVM_ICPT_RDPRU,
	SVM_ICPT_INVLPGB, SVM_ICPT_MCOMMIT, SVM_ICPT_TLBSYNC,
};

/* The debug registers of the guest are loaded only once it touches or uses them. */
void svm_intercept_drs(struct svm_vcpu *svm, bool on)
{
	unsigned int i;

	for (i = 0; i < 16; i++) {
		svm_intercept(svm, SVM_ICPT_DR_READ + i, on);
		svm_intercept(svm, SVM_ICPT_DR_WRITE + i, on);
	}
}

/*
 * While user space steps, every exception exits: its frame must not show our TF, and its
 * handler is where the step ends. Not 2, which is the NMI's. For the same reason INTn
 * exits. QEMU's CPU takes INT3 for INTn, and has no NRIP save: faults in the delivery of
 * what is injected in their place must exit, too, for the instruction's own RIP.
 */
static void svm_update_debug(struct lodge_vcpu *vcpu)
{
	u32 always = BIT(X86_TRAP_DB) | BIT(X86_TRAP_AC) | BIT(X86_TRAP_MC);
	struct svm_vcpu *svm = to_svm(vcpu);
	u32 *icpt = &svm->vmcb->control.intercepts[SVM_ICPT_EXCEPTION / 32];
	bool intn;

	if (lodge_has_quirk(vcpu->vm, KVM_X86_QUIRK_FIX_HYPERCALL_INSN))
		always |= BIT(X86_TRAP_UD);
	*icpt = always;
	svm->step &= ~SVM_STEP_DEBUG;
	intn = vcpu->debug & KVM_GUESTDBG_SINGLESTEP;
	if (vcpu->debug & KVM_GUESTDBG_USE_SW_BP) {
		*icpt |= BIT(X86_TRAP_BP);
		if (!lodge_svm_features.nrip_save) {
			*icpt |= BIT(X86_TRAP_TS) | BIT(X86_TRAP_NP) | BIT(X86_TRAP_SS) |
				 BIT(X86_TRAP_GP);
			intn = true;
		}
	}
	if (vcpu->debug & KVM_GUESTDBG_SINGLESTEP) {
		*icpt = ~(u32)BIT(X86_TRAP_NMI);
		svm->step |= SVM_STEP_DEBUG;
	}
	svm_intercept(svm, SVM_ICPT_INTN, intn);
}

/* Without an exit, as far as the VMM's filter does not want one. */
static void svm_msr_direct(struct lodge_vcpu *vcpu, u32 msr, bool direct)
{
	svm_msr_passthrough(to_svm(vcpu), msr,
			    direct && lodge_msr_allowed(vcpu->vm, msr, KVM_MSR_FILTER_READ),
			    direct && lodge_msr_allowed(vcpu->vm, msr, KVM_MSR_FILTER_WRITE));
}

/*
 * What runs without an exit where user space wants it so. "Pause Intercept Filtering":
 * exit after so many PAUSEs, which is a spin lock whose holder does not run. Without the
 * filter each one would exit.
 */
static void svm_update_direct(struct svm_vcpu *svm, u64 direct)
{
	bool pause = lodge_svm_features.pause_filter && !(direct & KVM_X86_DISABLE_EXITS_PAUSE);
	bool mwait = direct & KVM_X86_DISABLE_EXITS_MWAIT;

	svm_intercept(svm, SVM_ICPT_HLT, !(direct & KVM_X86_DISABLE_EXITS_HLT));
	svm_intercept(svm, SVM_ICPT_MONITOR, !mwait);
	svm_intercept(svm, SVM_ICPT_MWAIT, !mwait);
	svm_intercept(svm, SVM_ICPT_PAUSE, pause);
}

/*
 * SPEC_CTRL is handed to the guest once user space announced it in CPUID; the exit
 * path then reads it back. Until then the guest has none, and runs with the host's.
 */
void svm_update_intercepts(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	bool direct = vcpu->has_spec_ctrl;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(svm_direct_msrs); i++)
		svm_msr_direct(vcpu, svm_direct_msrs[i], true);
	svm_msr_direct(vcpu, MSR_IA32_SPEC_CTRL, direct);
	svm->sw.swap_spec_ctrl = direct && !lodge_svm_features.v_spec_ctrl;
	svm_update_direct(svm, READ_ONCE(vcpu->vm->direct));
	svm_update_debug(vcpu);
}

static int svm_vcpu_create(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb_control *c;
	struct page *page;
	unsigned int i;

	svm->vmcb = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!svm->vmcb)
		return -ENOMEM;
	page = alloc_pages(GFP_KERNEL_ACCOUNT, MSRPM_ORDER);
	if (!page) {
		free_page((unsigned long)svm->vmcb);
		svm->vmcb = NULL;
		return -ENOMEM;
	}
	svm->msrpm = page_address(page);
	memset(svm->msrpm, 0xff, PAGE_SIZE << MSRPM_ORDER);
	for (i = 0; i < ARRAY_SIZE(svm_intercepts); i++)
		svm_intercept(svm, svm_intercepts[i], true);
	svm_intercept_drs(svm, true);

	c = &svm->vmcb->control;
	c->iopm_pa = __sme_set(page_to_phys(svm_iopm));
	c->msrpm_pa = __sme_set(page_to_phys(page));
	c->vintr = SVM_V_INTR_MASKING;
	c->nested_control = SVM_NESTED_PAGING;
	c->nested_cr3 = vcpu->vm->mem.root_pa;
	c->pause_filter_count = PAUSE_FILTER_COUNT;

	svm->sw.gpr = vcpu->st.gpr;
	svm->sw.guest_pa = __sme_set(virt_to_phys(svm->vmcb));
	svm->last_cpu = -1;
	return 0;
}

static void svm_vcpu_destroy(struct lodge_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	unsigned int cpu;

	/* Another vCPU may get this address: it must not pass for this one. */
	for_each_possible_cpu(cpu)
		cmpxchg(per_cpu_ptr(&lodge_svm_cpu.last_vcpu, cpu), vcpu, NULL);

	if (svm->msrpm)
		free_pages((unsigned long)svm->msrpm, MSRPM_ORDER);
	free_page((unsigned long)svm->vmcb);
}

/* AMD-only MSRs that a Linux guest touches and that need no hardware behind them. */
static int svm_get_msr(struct lodge_vcpu *vcpu, u32 index, u64 *data)
{
	switch (index) {
	case MSR_VM_CR:
	case MSR_VM_HSAVE_PA:
		*data = 0;	/* no nested virtualization */
		return 0;
	case MSR_IA32_DEBUGCTLMSR:
		*data = to_svm(vcpu)->vmcb->save.debug_ctl;
		return 0;
	}
	return LODGE_MSR_UNKNOWN;
}

static int svm_set_msr(struct lodge_vcpu *vcpu, u32 index, u64 data, bool host)
{
	switch (index) {
	case MSR_VM_CR:
	case MSR_VM_HSAVE_PA:
		return data != 0;
	case MSR_IA32_DEBUGCTLMSR:
		/* BTF and LBR are not virtualized: what has no effect must not stick. */
		return data != 0;
	}
	return LODGE_MSR_UNKNOWN;
}

static void svm_dump(struct lodge_vcpu *vcpu)
{
	struct vmcb *v = to_svm(vcpu)->vmcb;

	pr_err_ratelimited("vCPU %u: exit %#llx info %#llx %#llx int_info %#llx inject %#llx shadow %#llx vintr %#x\n",
			   vcpu->id, v->control.exit_code, v->control.exit_info1,
			   v->control.exit_info2, v->control.exit_int_info,
			   v->control.event_inject, v->control.interrupt_shadow,
			   v->control.vintr);
	pr_err_ratelimited("  rip %#llx rflags %#llx cr0 %#llx cr3 %#llx cr4 %#llx efer %#llx cs %#x/%#x cpl %u asid %u\n",
			   v->save.rip, v->save.rflags, v->save.cr0, v->save.cr3,
			   v->save.cr4, v->save.efer, v->save.cs.selector,
			   v->save.cs.attributes, v->save.cpl, v->control.asid);
}

const struct lodge_backend lodge_svm_backend = {
	.name = "SVM",
	.rival = "kvm_amd",
	.stage2 = {
		/* AMD APM volume 2, "Nested Table Walk": entries are user pages */
		.present = BIT_ULL(0) | BIT_ULL(2),
		.table = BIT_ULL(1) | BIT_ULL(5),
		.writable = BIT_ULL(1),
		.large = BIT_ULL(7),
		.accessed = BIT_ULL(5),
		.dirty = BIT_ULL(6),
		.memtype_uc = BIT_ULL(3) | BIT_ULL(4),
		.max_level = 2,
		.host_levels = true,	/* "Nested Paging": the host's CR4 counts */
	},
	.microcode = 0x01000065,
	/* AMD APM volume 2, "Long-Mode Page Translation": bit 8 of a PDPE and above */
	.table_reserved = BIT_ULL(8),
	.vcpu_size = sizeof(struct svm_vcpu),
	.probe = svm_probe,
	.remove = svm_remove,
	.cpu_on = svm_cpu_on,
	.cpu_off = svm_cpu_off,
	.vcpu_create = svm_vcpu_create,
	.vcpu_destroy = svm_vcpu_destroy,
	.window_open = svm_window_open,
	.window_close = svm_window_close,
	.enter = svm_enter,
	.exit_fast = svm_exit_fast,
	.exit = svm_exit,
	.fetch = svm_fetch,
	.get_msr = svm_get_msr,
	.set_msr = svm_set_msr,
	.inject = svm_inject,
	.open_irq_window = svm_open_irq_window,
	.open_nmi_window = svm_open_nmi_window,
	.tpr_window = svm_tpr_window,
	.update_intercepts = svm_update_intercepts,
	.dump = svm_dump,
};
