/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The VMX backend's private state. Everything here belongs to the vCPU's thread
 * (vcpu->mutex) or, per CPU, to code with interrupts off on that CPU.
 */
#ifndef LODGE_VMX_H
#define LODGE_VMX_H

#include <linux/list.h>
#include <linux/percpu.h>
#include <asm/desc_defs.h>
#include <asm/processor-flags.h>

#include "../backend.h"
#include "../host_cpu.h"
#include "../vcpu.h"
#include "../vm.h"
#include "insn.h"
#include "vmcs.h"

/* What vmx/entry.S needs for one world switch; offsets are checked in vmx/run.c. */
struct vmx_switch {
	u64 *gpr;		/* 0: vcpu->st.gpr */
	u64 host_rsp;		/* 8: what the VMCS has */
	u32 host_spec_ctrl;	/* 16 */
	u32 guest_spec_ctrl;	/* 20 */
	u32 swap_spec_ctrl;	/* 24: write SPEC_CTRL on the way in and out */
	u32 save_spec_ctrl;	/* 28: the guest may have written it: read it back */
	u32 launched;		/* 32: VMRESUME, not VMLAUNCH */
	u32 failed;		/* 36: set when the instruction failed */
	u32 verw;		/* 40: clear the CPU's buffers before the guest */
};

/* The controls, in vmx->control[] and lodge_vmx.allowed1[]. */
enum vmx_control {
	VMX_PIN, VMX_CPU, VMX_CPU2, VMX_EXIT, VMX_ENTRY, VMX_EXCEPTIONS, VMX_NR_CONTROLS
};

/* What a window finds in the CPU, and leaves there; VMCS has some of it, too. */
struct vmx_host {
	u64 cr3, cr4;
	u64 fs_base, kernel_gs_base;
	u64 star, lstar, sfmask, tsc_aux;
	u64 debugctl, perf_global, pebs, test_ctrl;
	struct lodge_host_drs drs;
	u16 ds, es, fs, gs, ldt;
	struct desc_ptr gdt, idt;
	bool syscall_saved;	/* the CPU has the guest's STAR, LSTAR and SFMASK */
	bool tsc_aux_saved;	/* ... its TSC_AUX */
};

struct vmx_vcpu {
	void *vmcs;
	u64 vmcs_pa;
	void *msr_bitmap;
	/* Its TPR is the guest's CR8, unless the LAPIC is ->direct; in front is lapic->pid. */
	void *apic_page;
	u64 *pml;		/* where the CPU notes pages that the guest writes, or NULL */
	struct vmx_switch sw;
	struct vmx_host host;

	struct list_head active_link;	/* in vmx_cpu.active of */
	int active_cpu;		/* ... the CPU that caches the VMCS; -1: none */
	bool in_window;		/* the VMCS is current on this CPU */
	bool lost;		/* ... or it should be, but the CPU refused */
	bool cleared;		/* VMCLEAR has made the VMCS a valid one */
	bool filled;		/* it has its constant fields */
	int last_cpu;		/* host fields and VPID hold on this CPU only */
	u64 vpid_generation;	/* of the CPU it was taken on; 0: take a new one */
	u16 vpid;

	u32 control[VMX_NR_CONTROLS];	/* as they should be ... */
	u32 written[VMX_NR_CONTROLS];	/* ... and in the VMCS */
	bool control_changed;

	/* In the VMCS, as of the last exit. */
	u64 rip, rsp, rflags;
	u32 interruptibility;
	u8 exit_was_fault_like;	/* or 0: "pending debug exceptions" may not be clear */
	u32 tpr_threshold;
	u64 tsc_ratio;
	u64 dr7;

	u32 exit_interruption;	/* of an exit because of an exception */
	u8 host_vector;		/* ... of an interrupt: the CPU took it from the host's APIC */
	u64 kernel_gs_base;	/* the guest's, while it is not in the CPU */
	bool msrs_changed;	/* the CPU must be given STAR and the like */
	bool drs_loaded;	/* the guest's debug registers are in the CPU */
	bool tpr_window;
	bool halted;		/* by a HLT that did not exit */
	bool split_lock;	/* the next window lets such a one be */
	bool direct;		/* the VMCS has the LAPIC's page, and no apic_page */
	u64 eoi_exits[4];	/* in the VMCS, too */
	u32 inject;		/* VMCS_ENTRY_INTERRUPTION of the next entry */
};

struct vmx_cpu {
	struct page *region;	/* of VMXON */
	bool kept;		/* in VMX operation from cpu_on() to cpu_off() */
	bool borrowed;		/* in a window: VMX operation is another's */
	bool entered;		/* in a window: it is ours, for the window only */
	unsigned long cr4;	/* of before that */
	u64 theirs;		/* the VMCS that was current */
	struct vmx_vcpu *loaded;	/* the current VMCS, if it is one of ours */
	struct list_head active;	/* of vmx_vcpu.active_link */
	bool stale;		/* nothing is known of what the CPU has cached */
	u64 vpid_generation;
	u32 next_vpid;
	const struct lodge_vcpu *last_vcpu;	/* IBPB when another one comes */
};

DECLARE_PER_CPU(struct vmx_cpu, lodge_vmx_cpu);

/* Filled once by probe. */
struct vmx_features {
	u32 revision;
	u32 allowed1[VMX_NR_CONTROLS];	/* bits that may be 1 */
	u32 allowed0[VMX_NR_CONTROLS];	/* bits that must be 1 */
	u64 basic, misc;	/* the MSR; VMX_MISC_USED of it */
	u64 cr0_fixed1, cr4_fixed0, cr4_fixed1;
	u64 ept_caps;
	bool ept_ad;
	bool vpid;
	bool perf_global;	/* host's counters can be stopped in the guest */
	bool pebs;		/* ... which is too late for a record on its way */
	bool split_lock;	/* the host has them raise #AC, in guests, too */
	bool tsc_scaling;
	bool posts;		/* a LAPIC may have a ->pid */
	u8 timer_rate;		/* the preemption timer ticks as this bit of the TSC changes */
	bool io_info;		/* VMCS_EXIT_INSN_INFO tells of INS and OUTS */
	bool empty_soft_event;	/* a soft interrupt of no length can be injected */
	bool flush_l1d;		/* before each window */
	bool verw;		/* before each entry */
	bool write_ibrs;	/* SPEC_CTRL after each exit, even if it has the right value */
};

extern struct vmx_features lodge_vmx __ro_after_init;

/* Not the kernel's knowledge of it: what it is now. */
static inline unsigned long vmx_read_cr4(void)
{
	unsigned long cr4;

	asm volatile("mov %%cr4, %0" : "=r" (cr4) : : "memory");
	return cr4;
}

static inline struct vmx_vcpu *to_vmx(struct lodge_vcpu *vcpu)
{
	return (struct vmx_vcpu *)vcpu->backend;
}

static inline bool vmx_can(enum vmx_control which, u32 bits)
{
	return (lodge_vmx.allowed1[which] & bits) == bits;
}

/* Takes effect at the next entry. */
static inline void vmx_control(struct vmx_vcpu *vmx, enum vmx_control which, u32 bits, bool on)
{
	u32 value = on ? vmx->control[which] | bits : vmx->control[which] & ~bits;

	if (value != vmx->control[which]) {
		vmx->control[which] = value;
		vmx->control_changed = true;
	}
}

/*
 * The guest changes these bits without an exit: nothing depends on them here. The others
 * are read from the shadow, and exit when they change.
 */
#define CR0_GUEST_OWNED	(X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_WP | X86_CR0_AM)

#define VMX_TSC_RATIO_BITS	48
#define VMX_TSC_RATIO_ONE	BIT_ULL(VMX_TSC_RATIO_BITS)

/*
 * vcpu->exit.code of an entry that VMLAUNCH or VMRESUME refused: with VMCS_INSN_ERROR.
 * Otherwise it is VMCS_EXIT_REASON.
 */
#define VMX_EXIT_VMFAIL		BIT_ULL(32)

/* vmx/entry.S: interrupts off, the VMCS current. */
asmlinkage void lodge_vmx_switch(struct vmx_switch *sw);
extern char lodge_vmx_exited[];
/* ... what follows an interrupt of the host, whose gate has @handler. Interrupts off. */
asmlinkage void lodge_vmx_host_interrupt(unsigned long handler);

/* vmx/cpu.c */
bool vmx_cpu_fits(void);
int vmx_alloc_cpus(void);
void vmx_free_cpus(void);
int vmx_cpu_on(unsigned int cpu, bool share);
void vmx_cpu_off(unsigned int cpu);
/* Preemption off, interrupts on: no CPU but @here (-1: none) has the VMCS in its cache. */
void vmx_call_in(struct vmx_vcpu *vmx, int here);
bool vmx_acquire_anew(struct vmx_vcpu *vmx);
/*
 * After that: makes the VMCS current on this CPU, and gives the CPU back as it was.
 * Interrupts off from before the first to after the second. False: the CPU is not to be
 * had. @keep: this is vcpu->cpu, where the VMCS may stay.
 */
static inline bool vmx_acquire(struct vmx_vcpu *vmx)
{
	const struct vmx_cpu *vc = this_cpu_ptr(&lodge_vmx_cpu);

	return likely(vc->kept && vc->loaded == vmx) || vmx_acquire_anew(vmx);
}

void vmx_release(struct vmx_vcpu *vmx, bool keep);

/* vmx/host.c: in the window */
void vmx_host_open(struct lodge_vcpu *vcpu);
void vmx_host_close(struct lodge_vcpu *vcpu);
/* ... and after it: has the host take the interrupt that the exit took from its APIC. */
void vmx_host_interrupt(struct vmx_host *h, u8 vector);
/* The guest's system-call MSRs into the CPU, after they changed. */
void vmx_load_msrs(struct lodge_vcpu *vcpu);

/* vmx/run.c */
void vmx_come(struct lodge_vcpu *vcpu);
void vmx_window_open(struct lodge_vcpu *vcpu);
void vmx_window_close(struct lodge_vcpu *vcpu);
void vmx_enter(struct lodge_vcpu *vcpu);
void vmx_inject(struct lodge_vcpu *vcpu);
void vmx_open_irq_window(struct lodge_vcpu *vcpu);
void vmx_open_nmi_window(struct lodge_vcpu *vcpu);
void vmx_tpr_window(struct lodge_vcpu *vcpu, bool on);

static inline u64 vmx_eptp(const struct lodge_vcpu *vcpu)
{
	return vcpu->vm->mem.root_pa | VMX_EPTP_WB | VMX_EPTP_4_LEVELS |
	       (lodge_vmx.ept_ad ? VMX_EPTP_AD : 0);
}

/* vmx/state.c */
void vmx_fetch(struct lodge_vcpu *vcpu, u32 groups);
void vmx_commit(struct lodge_vcpu *vcpu);
/* What RIP becomes of @next, by the mode. In the window. */
u64 vmx_wrapped_rip(struct lodge_vcpu *vcpu, u64 next);

/*
 * The address of the instruction that is @len bytes behind RIP. RIP is 64 bits wide in 64-bit
 * mode only. That it wraps shows by a carry out of the low 16 bits, so the mode is seldom
 * asked for. In the window.
 */
static inline u64 vmx_next_rip(struct lodge_vcpu *vcpu, u32 len)
{
	u64 rip = vcpu->st.rip, next = rip + len;

	return likely(!((rip ^ next) >> 16)) ? next : vmx_wrapped_rip(vcpu, next);
}

/* vmx/exit.c */
enum lodge_next vmx_exit_fast(struct lodge_vcpu *vcpu);
int vmx_exit(struct lodge_vcpu *vcpu);

/* vmx/check.c: the log says which rules the VMCS breaks; in the window */
void vmx_explain_failed_entry(struct lodge_vcpu *vcpu);
/* How many. */
unsigned int vmx_check_entry(struct lodge_vcpu *vcpu);

/* vmx/vmx.c */
void vmx_fill(struct lodge_vcpu *vcpu);
void vmx_update_intercepts(struct lodge_vcpu *vcpu);

#endif
