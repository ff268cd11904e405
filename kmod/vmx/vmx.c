// SPDX-License-Identifier: GPL-2.0-only
/*
 * VMX: what the CPU offers, the VMCS of a vCPU and what it makes exit. Called by common
 * code through lodge_vmx_backend. What is found at load is constant; the rest belongs to
 * the vCPU's thread.
 */
#define pr_fmt(fmt) "lodge: " fmt

#include <linux/bitmap.h>
#include <linux/cpu.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <asm/apic.h>
#include <asm/cpufeature.h>
#include <asm/irq_vectors.h>
#include <asm/mce.h>
#include <asm/msr.h>
#include <asm/processor.h>
#include <asm/processor-flags.h>
#include <asm/segment.h>
#include <asm/trapnr.h>

#include "../kernel_compat.h"
#include "../state.h"
#include "vmx.h"

/* Two PAUSEs at most so many cycles apart are one loop, which exits after so many. */
#define PLE_GAP		128
#define PLE_WINDOW	4096

#define LODGE_CAN_POST	(LODGE_HAVE_APIC && LODGE_HAVE_POSTED_VECTOR)

struct vmx_features lodge_vmx __ro_after_init;

static int apicv = -1;
module_param(apicv, bint, 0444);
MODULE_PARM_DESC(apicv, "Intel: let the CPU work guests' local APICs: 0 never, 1 if it can (default: if it has posted interrupts, too)");

struct named_bit {
	u32 bit;
	const char *name;
};

/* Intel SDM volume 3, "VM-Execution Control Fields", by their names there. */
static const struct named_bit pin_musts[] = {
	{ VMX_PIN_EXTERNAL_INTERRUPT, "external-interrupt exiting" },
	{ VMX_PIN_NMI, "NMI exiting" },
	{ VMX_PIN_VIRTUAL_NMI, "virtual NMIs" },
	{}
};

static const struct named_bit cpu_musts[] = {
	{ VMX_CPU_INTERRUPT_WINDOW, "interrupt-window exiting" },
	{ VMX_CPU_TSC_OFFSET, "use TSC offsetting" },
	{ VMX_CPU_HLT, "HLT exiting" },
	{ VMX_CPU_MWAIT, "MWAIT exiting" },
	{ VMX_CPU_RDPMC, "RDPMC exiting" },
	{ VMX_CPU_CR8_LOAD, "CR8-load exiting" },
	{ VMX_CPU_CR8_STORE, "CR8-store exiting" },
	{ VMX_CPU_TPR_SHADOW, "use TPR shadow" },
	{ VMX_CPU_NMI_WINDOW, "NMI-window exiting" },
	{ VMX_CPU_MOV_DR, "MOV-DR exiting" },
	{ VMX_CPU_ALL_IO, "unconditional I/O exiting" },
	{ VMX_CPU_MONITOR_TRAP, "monitor trap flag" },
	{ VMX_CPU_MSR_BITMAP, "use MSR bitmaps" },
	{ VMX_CPU_MONITOR, "MONITOR exiting" },
	{ VMX_CPU_SECONDARY, "activate secondary controls" },
	{}
};

static const struct named_bit cpu2_musts[] = {
	{ VMX_CPU2_EPT, "enable EPT" },
	{ VMX_CPU2_UNRESTRICTED, "unrestricted guest" },
	{}
};

static const struct named_bit exit_musts[] = {
	{ VMX_EXIT_SAVE_DEBUG, "save debug controls" },
	{ VMX_EXIT_HOST_64, "host address-space size" },
	{ VMX_EXIT_LOAD_PAT, "load IA32_PAT (exit)" },
	{ VMX_EXIT_LOAD_EFER, "load IA32_EFER (exit)" },
	{}
};

static const struct named_bit entry_musts[] = {
	{ VMX_ENTRY_LOAD_DEBUG, "load debug controls" },
	{ VMX_ENTRY_GUEST_64, "IA-32e mode guest" },
	{ VMX_ENTRY_LOAD_PAT, "load IA32_PAT (entry)" },
	{ VMX_ENTRY_LOAD_EFER, "load IA32_EFER (entry)" },
	{}
};

/* Controls that must be possible, but must not be forced: the guest would pay for each. */
#define CPU_MUST_NOT	(VMX_CPU_INVLPG | VMX_CPU_RDTSC | VMX_CPU_CR3_LOAD | VMX_CPU_CR3_STORE)

static const u32 control_msrs[] = {
	[VMX_PIN]   = MSR_IA32_VMX_TRUE_PINBASED_CTLS,
	[VMX_CPU]   = MSR_IA32_VMX_TRUE_PROCBASED_CTLS,
	[VMX_CPU2]  = MSR_IA32_VMX_PROCBASED_CTLS2,
	[VMX_EXIT]  = MSR_IA32_VMX_TRUE_EXIT_CTLS,
	[VMX_ENTRY] = MSR_IA32_VMX_TRUE_ENTRY_CTLS,
};

/* Where there is no such MSR, it can nothing. */
static u64 read_capability(u32 msr)
{
	u64 value;

	return rdmsrl_safe(msr, &value) ? 0 : value;
}

/* Reads what @which may be, and checks the must-haves: false after a line that names one. */
static bool probe_control(enum vmx_control which, const struct named_bit *musts)
{
	u64 value = read_capability(control_msrs[which]);

	lodge_vmx.allowed0[which] = (u32)value;
	lodge_vmx.allowed1[which] = value >> 32;
	for (; musts->name; musts++) {
		if (vmx_can(which, musts->bit))
			continue;
		pr_err("this CPU's VMX lacks \"%s\", which lodge needs\n", musts->name);
		return false;
	}
	return true;
}

static bool probe_controls(void)
{
	if (!probe_control(VMX_PIN, pin_musts) ||
	    !probe_control(VMX_CPU, cpu_musts) ||
	    !probe_control(VMX_CPU2, cpu2_musts) ||
	    !probe_control(VMX_EXIT, exit_musts) ||
	    !probe_control(VMX_ENTRY, entry_musts))
		return false;
	if (lodge_vmx.allowed0[VMX_CPU] & CPU_MUST_NOT) {
		pr_err("this CPU's VMX forces an exit on INVLPG, RDTSC or MOV CR3\n");
		return false;
	}
	return true;
}

static bool probe_basic(void)
{
	struct vmx_features *f = &lodge_vmx;
	u64 basic = read_capability(MSR_IA32_VMX_BASIC);
	u64 misc = read_capability(MSR_IA32_VMX_MISC);
	const char *lack = NULL;

	f->basic = basic;
	f->misc = misc & VMX_MISC_USED;
	f->cr0_fixed1 = read_capability(MSR_IA32_VMX_CR0_FIXED1);
	f->cr4_fixed0 = read_capability(MSR_IA32_VMX_CR4_FIXED0);
	f->cr4_fixed1 = read_capability(MSR_IA32_VMX_CR4_FIXED1);
	f->revision = VMX_BASIC_REVISION(basic);
	f->io_info = basic & VMX_BASIC_IO_INFO;
	f->empty_soft_event = misc & VMX_MISC_EMPTY_SOFT_EVENT;
	f->timer_rate = VMX_MISC_TIMER_RATE(misc);

	if (!(basic & VMX_BASIC_TRUE_CONTROLS))
		lack = "true control MSRs";
	else if (VMX_BASIC_SIZE(basic) > PAGE_SIZE)
		lack = "a VMCS of one page";
	else if (basic & VMX_BASIC_32BIT_ADDRESSES)
		lack = "64-bit addresses of VMCSs";
	else if (VMX_BASIC_MEMTYPE(basic) != 6)
		lack = "a VMCS in write-back memory";
	if (lack)
		pr_err("this CPU's VMX lacks %s, which lodge needs\n", lack);
	return !lack;
}

static bool probe_ept(void)
{
	struct vmx_features *f = &lodge_vmx;
	struct lodge_stage2_format *s2 = &lodge_vmx_backend.stage2;
	u64 caps = read_capability(MSR_IA32_VMX_EPT_VPID_CAP);

	f->ept_caps = caps;
	if (!(caps & VMX_EPT_CAP_4_LEVELS) || !(caps & VMX_EPT_CAP_WB) ||
	    !(caps & VMX_EPT_CAP_INVEPT) || !(caps & VMX_EPT_CAP_INVEPT_ALL)) {
		pr_err("this CPU's EPT lacks 4 levels, write-back tables or INVEPT, which lodge needs\n");
		return false;
	}
	f->ept_ad = caps & VMX_EPT_CAP_AD;
	s2->no_accessed = !f->ept_ad;
	s2->logs = f->ept_ad && vmx_can(VMX_CPU2, VMX_CPU2_PML);
	f->vpid = vmx_can(VMX_CPU2, VMX_CPU2_VPID) && (caps & VMX_EPT_CAP_INVVPID) &&
		  (caps & VMX_EPT_CAP_INVVPID_ALL);
	s2->max_level = caps & VMX_EPT_CAP_2M ? 2 : 1;
	if (s2->max_level == 2 && (caps & VMX_EPT_CAP_1G))
		s2->max_level = 3;
	return true;
}

/* Can this CPU all that the one can on which lodge was loaded, and does it force no more? */
bool vmx_cpu_fits(void)
{
	const struct vmx_features *f = &lodge_vmx;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(control_msrs); i++) {
		u64 value = read_capability(control_msrs[i]);

		if (((u32)value & ~f->allowed0[i]) || (f->allowed1[i] & ~(u32)(value >> 32)))
			return false;
	}
	return read_capability(MSR_IA32_VMX_BASIC) == f->basic &&
	       (read_capability(MSR_IA32_VMX_MISC) & VMX_MISC_USED) == f->misc &&
	       !(f->ept_caps & ~read_capability(MSR_IA32_VMX_EPT_VPID_CAP)) &&
	       read_capability(MSR_IA32_VMX_CR0_FIXED1) == f->cr0_fixed1 &&
	       read_capability(MSR_IA32_VMX_CR4_FIXED0) == f->cr4_fixed0 &&
	       read_capability(MSR_IA32_VMX_CR4_FIXED1) == f->cr4_fixed1;
}

/*
 * VERW clears the buffers that MDS, TAA, RFDS and the like read: where the kernel does it for
 * itself, or, without need of that, for guests that reach devices (MMIO Stale Data).
 */
static bool wants_verw(void)
{
#ifdef X86_FEATURE_CLEAR_CPU_BUF_VM
	if (boot_cpu_has(X86_FEATURE_CLEAR_CPU_BUF_VM))
		return true;
#endif
#ifdef X86_FEATURE_CLEAR_CPU_BUF
	if (boot_cpu_has(X86_FEATURE_CLEAR_CPU_BUF))
		return true;
#endif
	return boot_cpu_has_bug(X86_BUG_MMIO_STALE_DATA) && !cpu_mitigations_off();
}

/* Is what the host has in its L1 data cache open to guests (L1TF)? */
static bool wants_l1d_flush(void)
{
	u64 caps = 0;

	if (!boot_cpu_has_bug(X86_BUG_L1TF) || cpu_mitigations_off())
		return false;
#if LODGE_HAVE_L1TF
	if (l1tf_mitigation == L1TF_MITIGATION_OFF)
		return false;
#endif
	if (boot_cpu_has(X86_FEATURE_ARCH_CAPABILITIES))
		rdmsrl_safe(MSR_IA32_ARCH_CAPABILITIES, &caps);
	return !(caps & ARCH_CAP_SKIP_VMENTRY_L1DFLUSH);
}

/* What this CPU needs against guests, where the kernel's boot parameters do not say no. */
static void probe_mitigations(void)
{
	struct vmx_features *f = &lodge_vmx;
	struct lodge_stage2_format *s2 = &lodge_vmx_backend.stage2;

	f->verw = wants_verw();
	f->flush_l1d = wants_l1d_flush();
	if (f->flush_l1d && !boot_cpu_has(X86_FEATURE_FLUSH_L1D)) {
		f->flush_l1d = false;
		pr_warn("the L1 data cache is open to guests (L1TF), and the CPU's microcode cannot flush it\n");
	}
	/*
	 * Intel, "Indirect Branch Restricted Speculation": where it is not the enhanced kind,
	 * only a write after the exit keeps the guest's branches from steering the host's.
	 */
	f->write_ibrs = boot_cpu_has(X86_FEATURE_KERNEL_IBRS);
	/* A guest that changes the size of a page it executes from stops the whole machine. */
	if (boot_cpu_has_bug(X86_BUG_ITLB_MULTIHIT) && !cpu_mitigations_off())
		s2->small_only = VMX_EPTE_EXEC;
}

/* Instructions that are not there for a guest: "Other Causes of VM Exits". */
static void probe_instructions(void)
{
	unsigned int *lacks = lodge_vmx_backend.lacks;

	if (!vmx_can(VMX_CPU2, VMX_CPU2_RDTSCP)) {
		*lacks++ = X86_FEATURE_RDTSCP;
		*lacks++ = X86_FEATURE_RDPID;
	}
	if (!vmx_can(VMX_CPU2, VMX_CPU2_INVPCID))
		*lacks++ = X86_FEATURE_INVPCID;
}

/* CPUID says so, but the firmware or the kernel may have said no. */
static bool has_vmx(void)
{
	if (!(cpuid_ecx(1) & BIT(5)))
		return false;
	if (boot_cpu_has(X86_FEATURE_VMX))
		return true;
	pr_err("VMX is disabled by the firmware: enable it in the BIOS set-up\n");
	return false;
}

/*
 * "VMX-Preemption Timer Does Not Count Down at the Rate Specified": errata of Intel's
 * specification updates, for those with unrestricted guest.
 */
static bool timer_is_wrong(void)
{
	static const u32 signatures[] = { 0x20652, 0x20655, 0x306a8 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(signatures); i++)
		if (cpuid_eax(1) == signatures[i])
			return true;
	return false;
}

/* The kernel's own vector for that, which KVM shares: one too many does no harm. */
static void vmx_notify(int cpu)
{
#if LODGE_CAN_POST
	apic->send_IPI(cpu, POSTED_INTR_VECTOR);
#endif
}

/* Who works local APICs: the CPU, if it can and is to, and how much of that. */
static void probe_apicv(void)
{
	struct lodge_backend *b = &lodge_vmx_backend;
	bool posts = vmx_can(VMX_PIN, VMX_PIN_POSTED_INTERRUPTS);

	if (apicv < 0)
		apicv = posts;
	b->delivers = apicv && vmx_can(VMX_CPU2, VMX_CPU2_DIRECT) &&
		      vmx_can(VMX_CPU2, VMX_CPU2_X2APIC);
	b->lapic_page = b->delivers && vmx_can(VMX_CPU2, VMX_CPU2_APIC_ACCESSES);
	lodge_vmx.posts = LODGE_CAN_POST && b->delivers && posts &&
			  vmx_can(VMX_EXIT, VMX_EXIT_ACK_INTERRUPT);
	if (lodge_vmx.posts)
		b->notify = vmx_notify;
}

static int vmx_probe(void)
{
	struct vmx_features *f = &lodge_vmx;

	if (!has_vmx())
		return -ENODEV;		/* not a VMX CPU: the caller says so */
#ifdef X86_FEATURE_FRED
	if (boot_cpu_has(X86_FEATURE_FRED)) {
		pr_err("this kernel uses FRED, which keeps lodge from handing NMIs to it: boot it with fred=off\n");
		return -EOPNOTSUPP;
	}
#endif
	if (!probe_basic() || !probe_controls() || !probe_ept())
		return -EOPNOTSUPP;

	f->perf_global = boot_cpu_has(X86_FEATURE_ARCH_PERFMON) &&
			 (cpuid_eax(10) & 0xff) >= 2 &&
			 vmx_can(VMX_EXIT, VMX_EXIT_LOAD_PERF_GLOBAL) &&
			 vmx_can(VMX_ENTRY, VMX_ENTRY_LOAD_PERF_GLOBAL);
	/* Newer CPUs, and some with new microcode, keep guest and host apart by themselves. */
	f->pebs = boot_cpu_has(X86_FEATURE_PEBS) && (cpuid_eax(10) & 0xff) <= 4;
	f->split_lock = boot_cpu_has(X86_FEATURE_SPLIT_LOCK_DETECT);
	f->tsc_scaling = vmx_can(VMX_CPU2, VMX_CPU2_TSC_SCALING);
	if (f->tsc_scaling)
		lodge_tsc_scaling(VMX_TSC_RATIO_BITS, ~0ull);
	probe_mitigations();
	probe_instructions();
	probe_apicv();
	lodge_vmx_backend.deadline_timer = vmx_can(VMX_PIN, VMX_PIN_PREEMPTION_TIMER) &&
					   !timer_is_wrong();

	if (vmx_alloc_cpus()) {
		vmx_free_cpus();
		return -ENOMEM;
	}
	return 0;
}

/* The fields that stay as they are; in the first window. The others are zero. */
void vmx_fill(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	unsigned int i;

	vmx->filled = true;
	vmx->last_cpu = -1;
	for (i = 0; i < VMX_NR_CONTROLS; i++)
		vmx->written[i] = ~vmx->control[i];
	vmx->control_changed = true;

	vmx_write(VMCS_LINK_POINTER, ~0ull);
	vmx_write(VMCS_PAGE_FAULT_MASK, 0);
	vmx_write(VMCS_PAGE_FAULT_MATCH, 0);
	vmx_write(VMCS_CR3_TARGET_COUNT, 0);
	vmx_write(VMCS_EXIT_MSR_STORE_COUNT, 0);
	vmx_write(VMCS_EXIT_MSR_LOAD_COUNT, 0);
	vmx_write(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
	vmx_write(VMCS_ENTRY_INTERRUPTION, 0);
	vmx_write(VMCS_MSR_BITMAP, virt_to_phys(vmx->msr_bitmap));
	vmx_write(VMCS_VIRTUAL_APIC_ADDR, virt_to_phys(vmx->apic_page));
	vmx_write(VMCS_TPR_THRESHOLD, 0);
	if (lodge_vmx_backend.lapic_page)
		vmx_write(VMCS_APIC_ACCESS_ADDR, page_to_phys(vcpu->vm->mem.lapic_page));
	if (lodge_vmx_backend.delivers) {
		vmx_write(VMCS_GUEST_INTERRUPT_STATUS, 0);
		for (i = 0; i < ARRAY_SIZE(vmx->eoi_exits); i++)
			vmx_write(VMCS_EOI_EXIT_BITMAP0 + 2 * i, vmx->eoi_exits[i]);
	}
#if LODGE_CAN_POST
	if (lodge_vmx.posts) {
		vmx_write(VMCS_NOTIFICATION_VECTOR, POSTED_INTR_VECTOR);
		vmx_write(VMCS_POSTED_ADDR, virt_to_phys(vmx->apic_page));
	}
#endif
	vmx_write(VMCS_EPT_POINTER, vmx_eptp(vcpu));
	if (vmx_can(VMX_CPU2, VMX_CPU2_ENCLS))
		vmx_write(VMCS_ENCLS_BITMAP, ~0ull);
	if (vmx->pml) {
		vmx_write(VMCS_PML_ADDRESS, virt_to_phys(vmx->pml));
		vmx_write(VMCS_PML_INDEX, VMX_PML_ENTRIES - 1);
	}
	if (vmx_can(VMX_CPU2, VMX_CPU2_PAUSE_LOOP)) {
		vmx_write(VMCS_PLE_GAP, PLE_GAP);
		vmx_write(VMCS_PLE_WINDOW, PLE_WINDOW);
	}

	vmx_write(VMCS_CR0_MASK, ~CR0_GUEST_OWNED);
	vmx_write(VMCS_CR4_MASK, ~0ull);
	vmx_write(VMCS_GUEST_ACTIVITY, VMX_ACTIVE);
	vmx_write(VMCS_GUEST_INTERRUPTIBILITY, 0);
	vmx_write(VMCS_GUEST_PENDING_DEBUG, 0);
	vmx_write(VMCS_GUEST_DEBUGCTL, 0);
	if (lodge_vmx.perf_global)
		vmx_write(VMCS_GUEST_PERF_GLOBAL_CTRL, 0);
	/* write_registers() compares with these. */
	vmx_write(VMCS_GUEST_RIP, 0);
	vmx_write(VMCS_GUEST_RSP, 0);
	vmx_write(VMCS_GUEST_RFLAGS, X86_EFLAGS_FIXED);
	vmx->rflags = X86_EFLAGS_FIXED;

	vmx_write(VMCS_HOST_CS_SELECTOR, __KERNEL_CS);
	vmx_write(VMCS_HOST_SS_SELECTOR, __KERNEL_DS);
	vmx_write(VMCS_HOST_DS_SELECTOR, 0);
	vmx_write(VMCS_HOST_ES_SELECTOR, 0);
	vmx_write(VMCS_HOST_FS_SELECTOR, 0);
	vmx_write(VMCS_HOST_GS_SELECTOR, 0);
	vmx_write(VMCS_HOST_TR_SELECTOR, GDT_ENTRY_TSS * 8);
	vmx_write(VMCS_HOST_RIP, (unsigned long)lodge_vmx_exited);
}

/* A bit an MSR, reads in the first half, writes in the second: "MSR-Bitmap Address". */
static void msr_direct(struct lodge_vcpu *vcpu, u32 msr, bool read, bool write)
{
	unsigned int bit = (msr & 0x1fff) + (msr >> 31 ? 0x2000 : 0);
	unsigned long *bitmap = to_vmx(vcpu)->msr_bitmap;

	/* As far as the VMM's filter does not want an exit. */
	read &= lodge_msr_allowed(vcpu->vm, msr, KVM_MSR_FILTER_READ);
	write &= lodge_msr_allowed(vcpu->vm, msr, KVM_MSR_FILTER_WRITE);
	__assign_bit(bit, bitmap, !read);
	__assign_bit(bit + 0x4000, bitmap, !write);
}

/*
 * MSRs that an entry and an exit move, and one that a window does. Not STAR and the like: a
 * guest writes them once, and they are its own only while it has SYSCALL enabled.
 */
static const u32 moved_msrs[] = {
	MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE,
	MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
};

/*
 * "Virtualizing MSR-Based APIC Accesses": what the CPU finds in the LAPIC's page, and does
 * on its own.
 */
static void update_lapic_msrs(struct lodge_vcpu *vcpu, bool direct)
{
	static const u32 writes[] = { LAPIC_TPR, LAPIC_EOI, LAPIC_SELF_IPI };
	unsigned int i;
	u32 reg;

	for (reg = 0; reg <= LAPIC_SELF_IPI; reg += 16) {
		bool write = false;

		for (i = 0; i < ARRAY_SIZE(writes); i++)
			write |= reg == writes[i];
		msr_direct(vcpu, LAPIC_MSR_FIRST + (reg >> 4),
			   direct && lapic_reads_plainly(reg), direct && write);
	}
}

/*
 * A debugger that keeps interrupts back has to see them; a TPR that is in guest memory
 * (KVM_SET_VAPIC_ADDR) is not the LAPIC's.
 */
static void update_lapic(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct lapic *l = vcpu->lapic;
	bool direct, x2apic, page;

	if (!l)
		return;
	direct = lapic_wants_direct(l) && !(vcpu->debug & KVM_GUESTDBG_BLOCKIRQ) &&
		 !(vcpu->apic_memory & LODGE_APIC_TPR);
	WRITE_ONCE(l->direct, direct);	/* others look at it */
	vmx_control(vmx, VMX_PIN, VMX_PIN_POSTED_INTERRUPTS, direct && lodge_vmx.posts);
	x2apic = direct && lapic_mode(l) == LAPIC_X2APIC;
	page = direct && lapic_wants_page(l) && lodge_backend->lapic_page;
	vmx_control(vmx, VMX_CPU2, VMX_CPU2_DIRECT, direct);
	vmx_control(vmx, VMX_CPU2, VMX_CPU2_X2APIC, x2apic);
	vmx_control(vmx, VMX_CPU2, VMX_CPU2_APIC_ACCESSES, page);
	/* "Guidelines for Use of INVEPT": what the CPU cached of the page was without that. */
	if (page && !vcpu->uses_lapic_page)
		vcpu->stage2_flushed = READ_ONCE(vcpu->vm->mem.flush_gen) - 1;
	lodge_lapic_page_use(vcpu, page);
	update_lapic_msrs(vcpu, x2apic);
}

/* What runs without an exit where user space wants it so. */
static void update_direct(struct vmx_vcpu *vmx, u64 direct)
{
	vmx_control(vmx, VMX_CPU, VMX_CPU_HLT, !(direct & KVM_X86_DISABLE_EXITS_HLT));
	vmx_control(vmx, VMX_CPU, VMX_CPU_MWAIT | VMX_CPU_MONITOR,
		    !(direct & KVM_X86_DISABLE_EXITS_MWAIT));
	if (vmx_can(VMX_CPU2, VMX_CPU2_PAUSE_LOOP))
		vmx_control(vmx, VMX_CPU2, VMX_CPU2_PAUSE_LOOP,
			    !(direct & KVM_X86_DISABLE_EXITS_PAUSE));
}

/*
 * #AC and #DB always exit: a guest could otherwise keep the CPU in microcode for ever by
 * faulting in their delivery (CVE-2015-5307, CVE-2015-8104). #MC is the host's. #UD may be
 * AMD's hypercall, which becomes Intel's.
 */
void vmx_update_intercepts(struct lodge_vcpu *vcpu)
{
	const u32 always = BIT(X86_TRAP_DB) | BIT(X86_TRAP_AC) | BIT(X86_TRAP_MC);
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	bool direct = vcpu->has_spec_ctrl;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(moved_msrs); i++)
		msr_direct(vcpu, moved_msrs[i], true, true);
	/*
	 * Until CPUID announces it the guest has none, and runs with the host's, or with 0
	 * where the host's must be written anew after each exit.
	 */
	msr_direct(vcpu, MSR_IA32_SPEC_CTRL, direct, direct);
	vmx->sw.save_spec_ctrl = direct;
	vmx->sw.swap_spec_ctrl = direct || lodge_vmx.write_ibrs;

	update_direct(vmx, READ_ONCE(vcpu->vm->direct));
	update_lapic(vcpu);
	vmx_control(vmx, VMX_EXCEPTIONS, always, true);
	vmx_control(vmx, VMX_EXCEPTIONS, BIT(X86_TRAP_UD),
		    lodge_has_quirk(vcpu->vm, KVM_X86_QUIRK_FIX_HYPERCALL_INSN));
	vmx_control(vmx, VMX_EXCEPTIONS, BIT(X86_TRAP_BP),
		    vcpu->debug & KVM_GUESTDBG_USE_SW_BP);
	vmx_control(vmx, VMX_CPU, VMX_CPU_MONITOR_TRAP,
		    vcpu->debug & KVM_GUESTDBG_SINGLESTEP);

	/* Without the control the instruction is not there: "Other Causes of VM Exits". */
	vmx_control(vmx, VMX_CPU2, VMX_CPU2_RDTSCP,
		    vmx_can(VMX_CPU2, VMX_CPU2_RDTSCP) &&
		    (lodge_guest_has(vcpu, X86_FEATURE_RDTSCP) ||
		     lodge_guest_has(vcpu, X86_FEATURE_RDPID)));
	vmx_control(vmx, VMX_CPU2, VMX_CPU2_INVPCID,
		    vmx_can(VMX_CPU2, VMX_CPU2_INVPCID) &&
		    lodge_guest_has(vcpu, X86_FEATURE_INVPCID));
}

/* Bits that must be 1 are: "Algorithms for Determining VMX Capabilities". */
static void init_controls(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	u32 *control = vmx->control;
	unsigned int i;

	control[VMX_PIN] = VMX_PIN_EXTERNAL_INTERRUPT | VMX_PIN_NMI | VMX_PIN_VIRTUAL_NMI;
	control[VMX_CPU] = VMX_CPU_TSC_OFFSET | VMX_CPU_RDPMC | VMX_CPU_MOV_DR |
			   VMX_CPU_ALL_IO | VMX_CPU_MSR_BITMAP | VMX_CPU_SECONDARY;
	/* Whose local APIC is in user space wants to know of each write. */
	control[VMX_CPU] |= vcpu->lapic ? VMX_CPU_TPR_SHADOW :
					  VMX_CPU_CR8_LOAD | VMX_CPU_CR8_STORE;

	control[VMX_CPU2] = VMX_CPU2_EPT | VMX_CPU2_UNRESTRICTED;
	if (lodge_vmx.vpid)
		control[VMX_CPU2] |= VMX_CPU2_VPID;
	if (lodge_vmx.tsc_scaling)
		control[VMX_CPU2] |= VMX_CPU2_TSC_SCALING;
	if (vmx->pml)
		control[VMX_CPU2] |= VMX_CPU2_PML;
	if (vmx_can(VMX_CPU2, VMX_CPU2_WBINVD))
		control[VMX_CPU2] |= VMX_CPU2_WBINVD;
	/* SGX is not the guest's, whatever memory its VMM gives it. */
	if (vmx_can(VMX_CPU2, VMX_CPU2_ENCLS))
		control[VMX_CPU2] |= VMX_CPU2_ENCLS;

	control[VMX_EXIT] = VMX_EXIT_SAVE_DEBUG | VMX_EXIT_HOST_64 | VMX_EXIT_LOAD_PAT |
			    VMX_EXIT_LOAD_EFER;
	control[VMX_ENTRY] = VMX_ENTRY_LOAD_DEBUG | VMX_ENTRY_LOAD_PAT | VMX_ENTRY_LOAD_EFER;
	if (lodge_vmx.posts)
		control[VMX_EXIT] |= VMX_EXIT_ACK_INTERRUPT;
	if (lodge_vmx.perf_global) {
		control[VMX_EXIT] |= VMX_EXIT_LOAD_PERF_GLOBAL;
		control[VMX_ENTRY] |= VMX_ENTRY_LOAD_PERF_GLOBAL;
	}
	for (i = 0; i < VMX_EXCEPTIONS; i++)
		control[i] |= lodge_vmx.allowed0[i];
}

static int vmx_vcpu_create(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	vmx->active_cpu = -1;
	vmx->vmcs = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	vmx->msr_bitmap = (void *)__get_free_page(GFP_KERNEL_ACCOUNT);
	vmx->apic_page = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!vmx->vmcs || !vmx->msr_bitmap || !vmx->apic_page)
		return -ENOMEM;
	if (lodge_cpu_logs(&vcpu->vm->mem)) {
		vmx->pml = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
		if (!vmx->pml)
			return -ENOMEM;
	}
	memset(vmx->msr_bitmap, 0xff, PAGE_SIZE);
	*(u32 *)vmx->vmcs = lodge_vmx.revision;
	vmx->vmcs_pa = virt_to_phys(vmx->vmcs);
	vmx->sw.gpr = vcpu->st.gpr;
	vmx->sw.verw = lodge_vmx.verw;
	if (vcpu->lapic && lodge_vmx.posts)
		vcpu->lapic->pid = vmx->apic_page;
	init_controls(vcpu);
	return 0;
}

/* Also after vcpu_create() failed, or was not called: then there is no VMCS. */
static void vmx_vcpu_destroy(struct lodge_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	unsigned int cpu;

	if (vmx->vmcs) {
		preempt_disable();
		vmx_call_in(vmx, -1);
		preempt_enable();
	}

	/* Another vCPU may get this address: it must not pass for this one. */
	for_each_possible_cpu(cpu)
		cmpxchg(per_cpu_ptr(&lodge_vmx_cpu.last_vcpu, cpu), vcpu, NULL);

	free_page((unsigned long)vmx->vmcs);
	free_page((unsigned long)vmx->msr_bitmap);
	free_page((unsigned long)vmx->apic_page);
	free_page((unsigned long)vmx->pml);
}

/* Intel-only MSRs that a Linux guest touches and that need no hardware behind them. */
static int vmx_get_msr(struct lodge_vcpu *vcpu, u32 index, u64 *data)
{
	switch (index) {
	case MSR_IA32_FEAT_CTL:
		*data = FEAT_CTL_LOCKED;	/* no nested virtualization */
		return 0;
	case MSR_IA32_DEBUGCTLMSR:
		*data = 0;	/* BTF and LBR are not virtualized */
		return 0;
	}
	return LODGE_MSR_UNKNOWN;
}

static int vmx_set_msr(struct lodge_vcpu *vcpu, u32 index, u64 data, bool host)
{
	switch (index) {
	case MSR_IA32_FEAT_CTL:
		return !host || data != FEAT_CTL_LOCKED;
	case MSR_IA32_DEBUGCTLMSR:
		/* As in KVM: guests write them, and would not expect a #GP. */
		return (data & ~(u64)(DEBUGCTLMSR_LBR | DEBUGCTLMSR_BTF)) != 0;
	}
	return LODGE_MSR_UNKNOWN;
}

static void vmx_dump(struct lodge_vcpu *vcpu)
{
	const struct lodge_state *st = &vcpu->st;
	const struct vmx_vcpu *vmx = to_vmx(vcpu);

	pr_err_ratelimited("vCPU %u: exit %#llx info %#llx %#llx inject %#x blocked %#x controls %#x %#x %#x\n",
			   vcpu->id, vcpu->exit.code, vcpu->exit.info1, vcpu->exit.info2,
			   vmx->inject, vmx->interruptibility, vmx->control[VMX_CPU],
			   vmx->control[VMX_CPU2], vmx->control[VMX_ENTRY]);
	lodge_state_get(vcpu, LODGE_ST_SEGS | LODGE_ST_CRS);
	pr_err_ratelimited("  rip %#llx rflags %#llx cr0 %#llx cr3 %#llx cr4 %#llx efer %#llx cs %#x cpl %u\n",
			   st->rip, st->rflags, st->cr0, st->cr3, st->cr4, st->efer,
			   st->seg[LODGE_CS].selector, st->cpl);
}

/* Not constant before load has seen how large EPT's pages may be. */
struct lodge_backend lodge_vmx_backend __ro_after_init = {
	.name = "VMX",
	.rival = "kvm_intel",
	.shares = true,
	.stage2 = {
		/* Intel SDM volume 3, "EPT Translation Mechanism" */
		.present = VMX_EPTE_READ,
		.table = VMX_EPTE_WRITE | VMX_EPTE_EXEC,
		.leaf = VMX_EPTE_EXEC,
		.large = VMX_EPTE_LARGE,
		.writable = VMX_EPTE_WRITE,
		.accessed = VMX_EPTE_ACCESSED,
		.dirty = VMX_EPTE_DIRTY,
		/* Ordinary memory is cached whatever the guest's PAT says. */
		.memtype_wb = VMX_EPTE_WB | VMX_EPTE_IGNORE_PAT,
	},
	.microcode = 0x100000000,
	.mcg_cap = MCG_CMCI_P,
	.half_reserved = GENMASK_ULL(63, 32),
	.keeps_pdptes = true,	/* Intel SDM volume 3, "Checks on Guest PDPTEs" */
	.vcpu_size = sizeof(struct vmx_vcpu),
	.probe = vmx_probe,
	.remove = vmx_free_cpus,
	.cpu_on = vmx_cpu_on,
	.cpu_off = vmx_cpu_off,
	.vcpu_create = vmx_vcpu_create,
	.vcpu_destroy = vmx_vcpu_destroy,
	.come = vmx_come,
	.window_open = vmx_window_open,
	.window_close = vmx_window_close,
	.enter = vmx_enter,
	.exit_fast = vmx_exit_fast,
	.exit = vmx_exit,
	.fetch = vmx_fetch,
	.get_msr = vmx_get_msr,
	.set_msr = vmx_set_msr,
	.inject = vmx_inject,
	.open_irq_window = vmx_open_irq_window,
	.open_nmi_window = vmx_open_nmi_window,
	.tpr_window = vmx_tpr_window,
	.update_intercepts = vmx_update_intercepts,
	.dump = vmx_dump,
};
