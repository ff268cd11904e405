/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The table a vendor's backend fills. Owns the contract between the common code
 * and svm/ and vmx/; common code calls only through it and never asks which
 * vendor it runs on. Each operation states the context it is called in.
 */
#ifndef LODGE_BACKEND_H
#define LODGE_BACKEND_H

#include <linux/types.h>

struct lodge_vm;
struct lodge_vcpu;

/* Bits of one stage-2 entry, in the backend's page-table format. */
struct lodge_stage2_format {
	u64 present;		/* set in every entry that is not empty */
	u64 table;		/* further bits of an entry that points to a table */
	u64 leaf;		/* further bits of a leaf, every level */
	u64 large;		/* marks a leaf above level 1 */
	u64 writable;
	u64 accessed;
	u64 dirty;
	u64 memtype_wb;		/* leaf: ordinary memory */
	u64 memtype_uc;		/* leaf: device memory of the host */
	u64 small_only;		/* rights that no leaf above level 1 may give: to fetch, or none */
	unsigned int max_level;	/* largest leaf: 1 = 4K, 2 = 2M, 3 = 1G */
	bool logs;		/* it notes a page as it sets that bit: lodge_dirty_logged() */
	bool no_accessed;	/* the CPU sets no such bit: that a page is used shows by a fault */
	bool host_levels;	/* the CPU walks as many levels as the host's own paging has */
};

/* Outcome of a tier of exit handling. Negative values are errnos for KVM_RUN. */
enum lodge_next {
	LODGE_TO_USER = 0,	/* kvm_run is filled: return 0 from KVM_RUN */
	LODGE_REENTER = 1,	/* handled: enter the guest again */
	LODGE_SLOW = 2,		/* fast tier only: end the window, call ->exit() */
	LODGE_ENDED = 3,	/* fast tier only: end the window, for what the host has to do */
};

struct lodge_backend {
	const char *name;		/* "SVM" */
	const char *rival;		/* module that may hold the hardware: "kvm_amd" */
	struct lodge_stage2_format stage2;
	bool delivers;			/* a LAPIC may be ->direct */
	bool shares;			/* ->cpu_on() may be told to leave the CPU to others */
	bool lapic_page;		/* ... with its registers in memory, too: lapic_page.c */
	bool deadline_timer;		/* ->enter() ends at the deadline of a ->watched LAPIC */
	u64 microcode;			/* revision that a guest is told */
	u64 mcg_cap;			/* flags of IA32_MCG_CAP that only this vendor has */
	u64 half_reserved;		/* bits of TSC_AUX and SYSCALL_MASK that no write may set */
	u64 table_reserved;		/* bits of a guest's entry for a table of 1G or more */
	bool keeps_pdptes;		/* PAE: CR3's four entries are registers, not memory */
	unsigned int lacks[4];		/* X86_FEATURE_* that only the host can use; up to a 0 */
	unsigned int vcpu_size;		/* bytes of backend-private data behind each vCPU */

	/* Module load, once. 0, or -EOPNOTSUPP after one pr_err() line that says what lacks. */
	int (*probe)(void);
	void (*remove)(void);

	/*
	 * Takes or gives back this CPU's virtualization hardware. IRQs off, on the CPU.
	 * @share: take it in each window only. 0, 1 when it is lent by somebody else, who
	 * answers for it in a crash; -EBUSY when somebody else holds it, -EOPNOTSUPP when an
	 * outer hypervisor refuses.
	 */
	int (*cpu_on)(unsigned int cpu, bool share);
	void (*cpu_off)(unsigned int cpu);

	/* Process context. vcpu_create leaves every state group dirty. 0 or -ENOMEM. */
	int (*vcpu_create)(struct lodge_vcpu *vcpu);
	void (*vcpu_destroy)(struct lodge_vcpu *vcpu);

	/*
	 * Before a window on another CPU than vcpu->cpu: preemption off, IRQs on. May be NULL.
	 */
	void (*come)(struct lodge_vcpu *vcpu);

	/* The window: IRQs off, preemption off, on the CPU that will run the guest. */
	void (*window_open)(struct lodge_vcpu *vcpu);
	void (*window_close)(struct lodge_vcpu *vcpu);

	/* One world switch, inside the window. Commits dirty state; fills vcpu->exit. */
	void (*enter)(struct lodge_vcpu *vcpu);

	/*
	 * Inside the window, right after ->enter(): LODGE_REENTER or LODGE_TO_USER when the
	 * exit was handled here, else LODGE_SLOW. Must not sleep.
	 */
	enum lodge_next (*exit_fast)(struct lodge_vcpu *vcpu);

	/* After the window, preemptible: LODGE_REENTER, LODGE_TO_USER or an errno. */
	int (*exit)(struct lodge_vcpu *vcpu);

	/* Copies state groups (LODGE_ST_*) from the control block to vcpu->st. */
	void (*fetch)(struct lodge_vcpu *vcpu, u32 groups);

	/* Model-specific MSRs of the vendor. 0, LODGE_MSR_REFUSED or LODGE_MSR_UNKNOWN. */
	int (*get_msr)(struct lodge_vcpu *vcpu, u32 index, u64 *data);
	int (*set_msr)(struct lodge_vcpu *vcpu, u32 index, u64 data, bool host);

	/* Queues an event for the next entry (inside the window, vcpu->ev says which). */
	void (*inject)(struct lodge_vcpu *vcpu);

	/* Makes the guest exit as soon as it can take an interrupt / an NMI. */
	void (*open_irq_window)(struct lodge_vcpu *vcpu);
	void (*open_nmi_window)(struct lodge_vcpu *vcpu);

	/* An interrupt waits for the TPR: writes to CR8 must exit, or no longer. */
	void (*tpr_window)(struct lodge_vcpu *vcpu, bool on);

	/*
	 * Has @cpu take what was posted for the LAPIC that it works, if it is in a guest: any
	 * context, preemption off. NULL where it cannot.
	 */
	void (*notify)(int cpu);

	/* Recomputes intercepts after CPUID, the MSR filter or debug state changed. */
	void (*update_intercepts)(struct lodge_vcpu *vcpu);

	/* Puts what the control block says of a failed entry into the log (debug aid). */
	void (*dump)(struct lodge_vcpu *vcpu);
};

extern const struct lodge_backend lodge_svm_backend;
extern struct lodge_backend lodge_vmx_backend;	/* constant after its probe */

/* The one backend that probed; constant after module load. */
extern const struct lodge_backend *lodge_backend;

#endif
