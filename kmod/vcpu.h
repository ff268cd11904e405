/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A virtual CPU: the guest's architectural state as common code sees it, its queue
 * of events, and its place in the run loop. Guarded by vcpu->mutex (one ioctl at
 * a time) but for the fields marked as shared.
 */
#ifndef LODGE_VCPU_H
#define LODGE_VCPU_H

#include <linux/kvm.h>
#include <linux/mutex.h>
#include <linux/rcuwait.h>
#include <linux/types.h>

#include "dirty_ring.h"
#include "emulate/emulate.h"
#include "irqchip/irqchip.h"
#include "memory.h"
#include "stats.h"

struct lodge_vm;

#define LODGE_PIO_PAGE		1	/* page of the mapping that has port I/O data */
#define LODGE_RUN_PAGES		2	/* a vCPU's own */
#define LODGE_COALESCED_PAGE	2	/* the VM's ring of coalesced.c */
#define LODGE_MAP_PAGES		3

/*
 * State groups. A group is *valid* when vcpu->st holds the guest's current values,
 * *dirty* when the control block must be given them before the next entry. Entering
 * the guest invalidates all groups; lodge_state_get() fetches one again. GPRs, RIP,
 * RFLAGS, XCR0, EFER and CR4 are always valid (every guest write to them exits or
 * is copied at the exit).
 */
#define LODGE_ST_SEGS	BIT(0)	/* seg[], gdt, idt, cpl */
#define LODGE_ST_CRS	BIT(1)	/* cr0, cr2, cr3, cr4, efer */
#define LODGE_ST_DRS	BIT(2)	/* dr[], dr6, dr7 */
#define LODGE_ST_MSRS	BIT(3)	/* star .. pat */
#define LODGE_ST_TSC	BIT(4)	/* tsc_offset */
#define LODGE_ST_ALL	(BIT(5) - 1)

#define LODGE_CPUID_WORDS	19	/* words 0..18 of the kernel's X86_FEATURE_* */
#define LODGE_MCE_BANKS		32

enum lodge_seg {		/* order of the x86 encoding, then the system segments */
	LODGE_ES, LODGE_CS, LODGE_SS, LODGE_DS, LODGE_FS, LODGE_GS,
	LODGE_LDTR, LODGE_TR, LODGE_NR_SEGS
};

struct lodge_state {
	union {
		struct emul_regs regs;	/* the same, as the emulator names them */
		struct {
			u64 gpr[16];	/* rax rcx rdx rbx rsp rbp rsi rdi r8..r15 */
			u64 rip, rflags;
		};
	};

	struct kvm_segment seg[LODGE_NR_SEGS];
	struct kvm_dtable gdt, idt;
	u8 cpl;

	u64 cr0, cr2, cr3, cr4, efer;
	u64 dr[4], dr6, dr7;
	u64 xcr0;
	u64 pdptr[4];		/* PAE: as last loaded by us; SVM reads its own from memory */

	u64 star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 pat, tsc_aux, spec_ctrl;

	u64 tsc_offset;
};

/* What the last exit was; code and info are the backend's. */
struct lodge_exit {
	u64 code, info1, info2;
	u64 next_rip;		/* 0: not known */
	u8 nr_bytes;		/* instruction bytes the CPU gave us */
	u8 bytes[15];
};

struct lodge_exception {
	bool pending;		/* to be delivered; may yet be merged to #DF */
	bool injected;		/* delivery began and must be repeated as it is */
	bool has_error;
	bool has_payload;	/* payload (CR2, DR6) not yet in its register */
	u8 vector;
	u32 error;
	u64 payload;
};

struct lodge_events {
	struct lodge_exception ex;
	bool irq_injected;	/* delivery of an interrupt began: repeat it */
	bool irq_soft;
	u8 irq_vector;
	bool nmi_injected;
	bool nmi_masked;	/* blocked until IRET */
	u8 nmi_pending;		/* taken from nmi_queued, at most 2 */
	u8 shadow;		/* KVM_X86_SHADOW_INT_STI | _MOV_SS */
	bool soft;		/* the event comes from INTn, INT3 or INTO, where RIP is now */
	bool soft_sized;	/* and soft_rip is behind that instruction */
	bool soft_injected;	/* it went in: RIP was soft_from before */
	u64 soft_rip, soft_from;
	int user_irq;		/* KVM_INTERRUPT without an in-kernel PIC: vector, or -1 */
	atomic_t nmi_queued;	/* shared: KVM_NMI, LAPIC */
};

enum lodge_vcpu_mode {
	LODGE_OUTSIDE,		/* not in a window */
	LODGE_IN_GUEST,		/* a kick must interrupt the CPU */
	LODGE_EXITING,		/* a kick was sent */
};

/* vcpu->requests: shared, atomic bits; each says what must happen before an entry. */
enum lodge_request {
	LODGE_REQ_EVENT,	/* look at the interrupt sources again */
	LODGE_REQ_KICK,		/* leave the window, look at everything */
	LODGE_REQ_CLOCK,	/* write the kvmclock page */
	LODGE_REQ_TRIPLE_FAULT,
	LODGE_REQ_IOAPIC_EOI,	/* KVM_EXIT_IOAPIC_EOI for eoi_vector */
	LODGE_REQ_TPR_ACCESS,	/* KVM_EXIT_TPR_ACCESS for tpr_rip */
	LODGE_REQ_RING_FULL,	/* the dirty ring was too full, perhaps still is */
	LODGE_REQ_DEBUG,	/* KVM_EXIT_DEBUG: a step is done */
	LODGE_REQ_INTERCEPTS,	/* backend->update_intercepts() */
};

/*
 * One piece of an access of the instruction under emulation: within one page. The
 * record of an iteration's pieces lets it start over (see emulate/emulate.h).
 */
struct lodge_fragment {
	u64 gpa;
	u32 len;
	u8 data[32];
};

#define LODGE_MAX_FRAGMENTS	(EMUL_MAX_ACCESSES * 2)

struct lodge_emulation {		/* emulation.c */
	bool write;			/* direction of the piece that is with user space */
	bool port;			/* it is string I/O; its data is in pio_data */
	bool small;			/* string I/O in batches that fit a fragment */
	u32 done;			/* bytes of the piece that user space has served */
	struct emul_insn insn;
	unsigned int nr;		/* complete pieces */
	unsigned int cursor;		/* pieces this attempt has passed */
	struct lodge_fragment fragment[LODGE_MAX_FRAGMENTS];
};

/* exits.c: the instruction at @rip is with user space; the next KVM_RUN ends it. */
struct lodge_unfinished {
	int (*finish)(struct lodge_vcpu *vcpu);	/* as an exit handler; NULL: there is none */
	u64 rip, next_rip;
	u8 size;			/* of an IN */
};

#define LODGE_KNOWN_INSNS_BITS	4

/* What the instruction to be stepped over does to RFLAGS, where a step's TF shows. */
enum lodge_step_insn {
	LODGE_STEP_PLAIN,
	LODGE_STEP_PUSHF,
	LODGE_STEP_LOADS_FLAGS,		/* POPF, IRET */
	LODGE_STEP_SYSCALL,
	LODGE_STEP_SYSRET,
};

struct lodge_debug {			/* debug.c */
	u64 dr[4], dr7;			/* user space's, with KVM_GUESTDBG_USE_HW_BP */
	u64 done_rip;			/* where the step of LODGE_REQ_DEBUG ended */
	enum lodge_step_insn insn;	/* at RIP, as KVM_RUN began */
};

struct lodge_kvmclock {			/* clock.c */
	u64 msr;			/* MSR_KVM_SYSTEM_TIME value; bit 0: enabled */
	unsigned long refreshed;	/* jiffies of the last update */
	bool guest_stopped;		/* KVM_KVMCLOCK_CTRL: tell the guest once */
};

struct lodge_pv {			/* pv.c */
	u64 eoi_msr;			/* MSR_KVM_PV_EOI_EN: vapic.c */
	u64 steal_msr;			/* MSR_KVM_STEAL_TIME */
	u64 run_delay;			/* ns that @task had waited at the last update */
	const void *task;		/* only to be compared */
	bool preempted;			/* the guest's page says so, and may ask for a flush */
	bool unhalted;			/* shared: KVM_HC_KICK_CPU came */
	bool enforce;			/* KVM_CAP_ENFORCE_PV_FEATURE_CPUID */
	u32 features;			/* KVM_FEATURE_* in the guest's CPUID */
};

/* vcpu->apic_memory: what of the local APIC's state is in guest memory now. */
#define LODGE_APIC_TPR	BIT(0)		/* KVM_SET_VAPIC_ADDR */
#define LODGE_APIC_EOI	BIT(1)		/* the guest ends its interrupt by a write there */

struct lodge_vcpu {
	/* --- the hot part: every entry reads these --- */
	struct lodge_vm *vm;
	unsigned long requests;		/* shared */
	int mode;			/* shared: enum lodge_vcpu_mode */
	int cpu;			/* CPU of the current or last window, -1: none */
	u32 st_valid, st_dirty;
	bool flush_tlb;			/* guest translations of this vCPU are stale */
	bool dr_touched;		/* load the guest's DRs in the next window */
	bool tpr_window;		/* backend->tpr_window() is on */
	u32 debug;			/* KVM_GUESTDBG_*; 0: nobody debugs the guest */
	bool user_pic;			/* no PIC in the kernel: KVM_INTERRUPT may come */
	u8 cr8;				/* the guest's TPR >> 4; the LAPIC has the full one */
	u64 stage2_flushed;		/* mem.flush_gen this vCPU has acted on */
	u8 apic_memory;			/* LODGE_APIC_*: vapic.c */
	struct kvm_run *run;
	struct lodge_exit exit;
	struct lodge_events ev;
	struct lodge_state st;
	struct lodge_vcpu_stats stats;

	/* --- the rest --- */
	struct mutex mutex;
	unsigned int index;		/* in vm->vcpus */
	u32 id;				/* as given to KVM_CREATE_VCPU: the APIC id */
	int mp_state;			/* KVM_MP_STATE_*; written by the vCPU thread */
	struct task_struct *task;	/* shared: who is in KVM_RUN, for yield_to(); RCU */
	unsigned int yielded_to;	/* index of the vCPU that the last PAUSE favoured */
	struct rcuwait wait;		/* shared: a halted vCPU sleeps here */

	struct lapic *lapic;		/* &lapic_storage; NULL without an in-kernel irqchip */
	struct lapic lapic_storage;
	bool uses_lapic_page;		/* lapic_page.c */
	unsigned long pending_init_sipi;/* shared: bits for INIT and SIPI */
	u8 sipi_vector;
	u8 eoi_vector;			/* split irqchip: of LODGE_REQ_IOAPIC_EOI */
	bool tpr_write;			/* these three: vapic.c */
	u64 tpr_rip;
	u64 vapic_addr;			/* KVM_SET_VAPIC_ADDR */

	struct lodge_fpu *fpu;		/* fpu.c */
	struct kvm_cpuid_entry2 *cpuid;	/* cpuid.c */
	unsigned int nr_cpuid;
	u64 cr4_reserved;		/* cpuid.c: bits the guest may not set */
	u64 xcr0_supported;
	u8 maxphyaddr;
	bool has_sbpb;		/* the guest may set PRED_CMD.SBPB */
	bool has_spec_ctrl;		/* the guest may use MSR_IA32_SPEC_CTRL */
	u64 phys_reserved;		/* bits from maxphyaddr up */

	u32 cpuid_features[LODGE_CPUID_WORDS];	/* by X86_FEATURE_*: lodge_guest_has() */

	/* msr.c */
	u64 msr_misc_enable, msr_mtrr_def, mtrr_var[16], mtrr_fix[11];
	u64 msr_mcg_cap, msr_mcg_status, msr_mcg_ctl;
	u64 mce_bank[LODGE_MCE_BANKS * 4];	/* CTL, STATUS, ADDR, MISC of each */
	u32 mce_ctl2[LODGE_MCE_BANKS];		/* with MCG_CMCI_P */
	u64 msr_arch_capabilities, msr_ucode_rev, msr_hwcr, msr_de_cfg;
	u64 msr_power_ctl, msr_platform_info, msr_misc_features;

	/* clock.c */
	u64 tsc_adjust;
	u64 tsc_lost;			/* by the host in suspends, as far as made up for */
	u64 tsc_set, tsc_set_ns;	/* value and boottime when the offset was last set */
	u64 apic_base;			/* without an in-kernel LAPIC */
	u64 tsc_ratio;			/* 0: the host's rate; else clock.c's fixed point */
	u32 tsc_khz;
	struct lodge_kvmclock kvmclock;
	struct lodge_pv pv;

	void *pio_data;			/* the page behind kvm_run, shared with user space */
	struct lodge_unfinished unfinished;
	struct lodge_emulation emul;
	struct lodge_ring ring;		/* dirty_ring.c */
	struct lodge_debug dbg;
	struct lodge_slot_hint slot_hint;	/* slots.c */
	struct lodge_slot_hint code_hint;	/* guest_walk.c: of tables and code */
	struct lodge_no_slot no_slot[LODGE_NO_SLOTS];
	struct lodge_code_page code_page[LODGE_CODE_PAGES];
	struct emul_insn code[1 << LODGE_KNOWN_INSNS_BITS];	/* mmio.c: by a hash of RIP */

	sigset_t sigmask;
	bool fpu_own;			/* fpu.c: the window keeps the task's registers itself */
	bool sigmask_set;
	bool rseq_due;			/* run.c: TIF_NOTIFY_RESUME is to be set again */

	/* backend->vcpu_size bytes */
	unsigned char backend[] __aligned(64);
};

static inline bool lodge_test_request(struct lodge_vcpu *vcpu, enum lodge_request r)
{
	return test_bit(r, &vcpu->requests);
}

/* Consumes request @r; what the requester wrote before it is visible after. */
static inline bool lodge_take_request(struct lodge_vcpu *vcpu, enum lodge_request r)
{
	if (!test_bit(r, &vcpu->requests))
		return false;
	clear_bit(r, &vcpu->requests);
	smp_mb__after_atomic();	/* pairs with lodge_make_request() */
	return true;
}

/* Makes a request; follow with lodge_vcpu_kick() when the vCPU must notice soon. */
static inline void lodge_make_request(struct lodge_vcpu *vcpu, enum lodge_request r)
{
	smp_wmb();	/* pairs with lodge_take_request() */
	set_bit(r, &vcpu->requests);
}

/* vcpu.c: wakes the vCPU if it sleeps, interrupts it if it runs. Any context. */
void lodge_vcpu_kick(struct lodge_vcpu *vcpu);

/* vcpu.c: serves KVM_CREATE_VCPU: an fd, or an errno. */
int lodge_vcpu_create(struct lodge_vm *vm, unsigned long id);
void lodge_vcpu_free(struct lodge_vcpu *vcpu);
/* vcpu.c: puts the vCPU into its state after power-up, or after INIT. */
void lodge_vcpu_reset(struct lodge_vcpu *vcpu, bool init);

static inline bool lodge_state_has(struct lodge_vcpu *vcpu, u32 groups)
{
	return (vcpu->st_valid & groups) == groups;
}

/* state.c: makes @groups valid in vcpu->st, fetching them when they are not. */
void __lodge_state_get(struct lodge_vcpu *vcpu, u32 groups);

static inline void lodge_state_get(struct lodge_vcpu *vcpu, u32 groups)
{
	if (!lodge_state_has(vcpu, groups))
		__lodge_state_get(vcpu, groups);
}

/* A group fetched before it is changed, and given back at the next entry. */
static inline void lodge_state_edit(struct lodge_vcpu *vcpu, u32 groups)
{
	lodge_state_get(vcpu, groups);
	vcpu->st_dirty |= groups;
}

/* Common code asks these of state it has made valid. */
static inline bool lodge_is_paging(const struct lodge_vcpu *vcpu)
{
	return vcpu->st.cr0 & (1ul << 31);
}

static inline bool lodge_is_long_mode(const struct lodge_vcpu *vcpu)
{
	return vcpu->st.efer & (1ul << 10);
}

/* CS.L counts only with LMA. Needs LODGE_ST_SEGS. */
static inline bool lodge_is_64bit(const struct lodge_vcpu *vcpu)
{
	return lodge_is_long_mode(vcpu) && vcpu->st.seg[LODGE_CS].l;
}

/* run.c */
int lodge_vcpu_run(struct lodge_vcpu *vcpu);

/*
 * events.c: queue an exception for the guest, with KVM's rules for #DF and triple
 * fault when one is already on its way.
 */
void lodge_queue_exception(struct lodge_vcpu *vcpu, u8 vector);
void lodge_queue_exception_error(struct lodge_vcpu *vcpu, u8 vector, u32 error);
void lodge_queue_page_fault(struct lodge_vcpu *vcpu, u64 cr2, u32 error);
void lodge_queue_debug(struct lodge_vcpu *vcpu, u64 dr6_bits);
/*
 * #BP or #OF of an instruction at RIP: @next is behind it. As for INTn, @vector may be
 * any, with @irq.
 */
void lodge_queue_soft(struct lodge_vcpu *vcpu, u8 vector, bool irq, u64 next);
void lodge_queue_emul_exception(struct lodge_vcpu *vcpu, const struct emul_exception *ex);
static inline void lodge_queue_gp(struct lodge_vcpu *vcpu)
{
	lodge_queue_exception_error(vcpu, 13, 0);
}

#endif
