/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A virtual machine: what all its vCPUs share. vm.c owns its life; each part below
 * belongs to the file named beside it, which also states that part's lock.
 */
#ifndef LODGE_VM_H
#define LODGE_VM_H

#include <linux/kvm.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/types.h>
#include <linux/xarray.h>

#include "coalesced.h"
#include "memory.h"
#include "irqchip/eventfd.h"
#include "irqchip/irqchip.h"

#define LODGE_MAX_VCPUS		512
#define LODGE_MAX_VCPU_ID	IRQCHIP_MAX_APIC_ID	/* exclusive */

/* Where KVM does not do as a CPU, and a VMM may have it so: KVM_CAP_DISABLE_QUIRKS2. */
#define LODGE_QUIRKS	(KVM_X86_QUIRK_LINT0_REENABLED | KVM_X86_QUIRK_CD_NW_CLEARED | \
			 KVM_X86_QUIRK_LAPIC_MMIO_HOLE | KVM_X86_QUIRK_OUT_7E_INC_RIP | \
			 KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT | \
			 KVM_X86_QUIRK_FIX_HYPERCALL_INSN | \
			 KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS)

struct lodge_msr_filter;
struct lodge_vcpu;

struct lodge_clock {			/* clock.c */
	raw_spinlock_t lock;		/* all of it; taken with IRQs off */
	s64 kvmclock_offset;		/* ns: guest kvmclock = boottime + offset */
	u64 wall_clock_msr;
	/*
	 * With a stable host TSC and one offset for all vCPUs, kvmclock is a function of
	 * the TSC: it was master_ns + kvmclock_offset when the host's TSC was master_tsc.
	 */
	bool stable;
	u64 master_ns, master_tsc;
	u64 tsc_lost;			/* by the host in suspends, as far as made up for */
	/* vCPUs whose TSC is written "at once" are given one offset */
	u64 last_tsc_ns;		/* of the last write, matched or not */
	u64 last_tsc_write;
	u64 last_tsc_offset;
	u64 last_tsc_ratio;
	u32 last_tsc_khz;
	bool tsc_by_user;		/* a VMM has written one */
	u32 tsc_khz;			/* of the vCPUs to come; any thread may write it */
};

struct lodge_vm {
	struct mm_struct *mm;		/* the creator's; every ioctl checks it */
	refcount_t users;		/* VM fd, each vCPU fd, statistics */
	pid_t creator;			/* thread, for the names of statistics */
	struct mutex lock;		/* creation of vCPUs, irqchip, PIT */
	bool dead;			/* a broken invariant: -EIO from every ioctl */
	bool exception_payload;		/* KVM_CAP_EXCEPTION_PAYLOAD enabled */
	bool exit_on_emulation_failure;	/* of unprivileged code, too */
	bool platform_info_hidden;	/* KVM_CAP_MSR_PLATFORM_INFO switched off */
	u32 msr_exits;			/* KVM_CAP_X86_USER_SPACE_MSR: KVM_MSR_EXIT_REASON_* */
	u32 hypercall_exits;		/* KVM_CAP_EXIT_HYPERCALL: bits KVM_HC_* */
	u64 direct;			/* KVM_X86_DISABLE_EXITS_*; written under lock */
	bool triple_fault_event;	/* KVM_CAP_X86_TRIPLE_FAULT_EVENT enabled */
	u64 quirks;			/* KVM_X86_QUIRK_* that are on; written under lock */

	/* vCPUs, in order of creation; slots are filled under lock, never emptied */
	unsigned int nr_vcpus;		/* smp_store_release() after vcpus[n] */
	struct lodge_vcpu *vcpus[LODGE_MAX_VCPUS];

	struct lodge_memory mem;	/* slots.c, stage2.c */

	struct irqchip ic;			/* irqchip/; ic.kind is set once, under lock */
	struct lodge_eventfds eventfds;		/* irqchip/eventfd.c */
	struct lodge_coalesced coalesced;

	struct lodge_msr_filter __rcu *msr_filter;	/* msr_filter.c; NULL: all allowed */
	struct lodge_clock clock;
	u32 boot_cpu_id;		/* KVM_SET_BOOT_CPU_ID: the vCPU that starts running */
	u32 max_vcpu_id;		/* KVM_CAP_MAX_VCPU_ID, exclusive; 0: not set */
	unsigned long tss_addr;
	u64 identity_map_addr;
};

/* Marks the VM dead after a broken invariant, warns once, kicks every vCPU out. */
void lodge_vm_kill(struct lodge_vm *vm, const char *why);

/* Drops one reference; the last frees the VM. Process context. */
void lodge_vm_get(struct lodge_vm *vm);
void lodge_vm_put(struct lodge_vm *vm);

/*
 * vm.c: serves KVM_CAP_SPLIT_IRQCHIP, with as many GSIs for user space's IOAPIC: 0,
 * -EINVAL (too many), -EEXIST (there is an irqchip, or a vCPU), -ENOMEM.
 */
int lodge_create_split_irqchip(struct lodge_vm *vm, u64 pins);

/*
 * vm.c: serves KVM_CAP_X86_APIC_BUS_CYCLES_NS, the nanoseconds of a cycle that LAPIC timers
 * count: 0, -ENXIO (no irqchip yet), -EINVAL (0, above 2^25, or there is a vCPU).
 */
int lodge_set_apic_bus_ns(struct lodge_vm *vm, u64 ns);

/*
 * vm.c: serves KVM_CAP_MAX_VCPU_ID, the bound of vCPU ids, which is set once: 0, or
 * -EINVAL when it is above the module's own, below the boot CPU's, or another than before.
 */
int lodge_set_max_vcpu_id(struct lodge_vm *vm, u64 max);

/*
 * vm.c: the vCPUs' intercepts depend on something of the VM that has changed: they follow
 * from their next entry on. vm->lock is held.
 */
void lodge_vm_update_intercepts(struct lodge_vm *vm);

/* vm.c: serves KVM_CREATE_VM: an fd, or an errno. */
int lodge_vm_create(unsigned long type);

/* Walks the vCPUs that exist; safe without locks, they live as long as the VM. */
static inline struct lodge_vcpu *lodge_vm_vcpu(struct lodge_vm *vm, unsigned int i)
{
	/* Pairs with create_vcpu(). */
	return i < smp_load_acquire(&vm->nr_vcpus) ? vm->vcpus[i] : NULL;
}

/* Is KVM_X86_QUIRK_* @quirk on? User space may switch it at any time. */
static inline bool lodge_has_quirk(const struct lodge_vm *vm, u64 quirk)
{
	return READ_ONCE(vm->quirks) & quirk;
}

#define lodge_for_each_vcpu(vcpu, vm) \
	for (unsigned int __i = 0; (vcpu = lodge_vm_vcpu(vm, __i)); __i++)

#endif
