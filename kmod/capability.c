// SPDX-License-Identifier: GPL-2.0-only
/*
 * What KVM_CHECK_EXTENSION answers, and what KVM_ENABLE_CAP switches on: the one place
 * that knows every capability. Called by main.c, vm.c and vcpu.c. The answers take no
 * lock; each switch is guarded as its owner says.
 */
#include <linux/cpumask.h>
#include <linux/minmax.h>
#include <linux/uaccess.h>
#include <asm/cpufeature.h>

#include "kernel_compat.h"
#include "capability.h"
#include "debug.h"
#include "dirty_ring.h"
#include "pv.h"
#include "state.h"
#include "vm.h"

#define MSR_EXIT_REASONS	(KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | \
				 KVM_MSR_EXIT_REASON_FILTER)

/* Those that are there or not. Documentation/api.rst lists them. */
static bool is_there(long ext)
{
	switch (ext) {
	/* memory */
	case KVM_CAP_USER_MEMORY:
	case KVM_CAP_DESTROY_MEMORY_REGION_WORKS:
	case KVM_CAP_JOIN_MEMORY_REGIONS_WORKS:
	case KVM_CAP_READONLY_MEM:
	case KVM_CAP_SYNC_MMU:
	case KVM_CAP_USER_MEMORY2:
	case KVM_CAP_PRE_FAULT_MEMORY:
	case KVM_CAP_MEMORY_FAULT_INFO:
	case KVM_CAP_MMU_SHADOW_CACHE_CONTROL:
	/* interrupts */
	case KVM_CAP_IRQCHIP:
	case KVM_CAP_PIT2:
	case KVM_CAP_PIT_STATE2:
	case KVM_CAP_REINJECT_CONTROL:
	case KVM_CAP_IRQ_INJECT_STATUS:
	case KVM_CAP_SPLIT_IRQCHIP:
	case KVM_CAP_VAPIC:
	case KVM_CAP_SIGNAL_MSI:
	case KVM_CAP_IRQFD:
	case KVM_CAP_IRQFD_RESAMPLE:
	case KVM_CAP_IOEVENTFD:
	case KVM_CAP_IOEVENTFD_ANY_LENGTH:
	case KVM_CAP_IOEVENTFD_NO_LENGTH:
	case KVM_CAP_COALESCED_PIO:
	case KVM_CAP_IOAPIC_POLARITY_IGNORED:
	case KVM_CAP_USER_NMI:
	case KVM_CAP_TSC_DEADLINE_TIMER:
	/* vCPUs */
	case KVM_CAP_HLT:
	case KVM_CAP_MP_STATE:
	case KVM_CAP_VCPU_EVENTS:
	case KVM_CAP_EXCEPTION_PAYLOAD:
	case KVM_CAP_X86_TRIPLE_FAULT_EVENT:
	case KVM_CAP_DEBUGREGS:
	case KVM_CAP_SET_GUEST_DEBUG:
	case KVM_CAP_X86_ROBUST_SINGLESTEP:
	case KVM_CAP_XSAVE:
	case KVM_CAP_XCRS:
	case KVM_CAP_SREGS2:
	case KVM_CAP_INTR_SHADOW:
	case KVM_CAP_IMMEDIATE_EXIT:
	case KVM_CAP_INTERNAL_ERROR_DATA:
	case KVM_CAP_EXIT_ON_EMULATION_FAILURE:
	case KVM_CAP_SET_BOOT_CPU_ID:
	case KVM_CAP_VCPU_ATTRIBUTES:
	/* CPUID, MSRs, time */
	case KVM_CAP_EXT_CPUID:
	case KVM_CAP_EXT_EMUL_CPUID:
	case KVM_CAP_GET_MSR_FEATURES:
	case KVM_CAP_X86_USER_SPACE_MSR:
	case KVM_CAP_X86_MSR_FILTER:
	case KVM_CAP_MSR_PLATFORM_INFO:
	case KVM_CAP_NOP_IO_DELAY:
	case KVM_CAP_CLOCKSOURCE:
	case KVM_CAP_KVMCLOCK_CTRL:
	case KVM_CAP_GET_TSC_KHZ:
	/* the machine */
	case KVM_CAP_SET_TSS_ADDR:
	case KVM_CAP_SET_IDENTITY_MAP_ADDR:
	case KVM_CAP_BINARY_STATS_FD:
	case KVM_CAP_CHECK_EXTENSION_VM:
	case KVM_CAP_SYS_ATTRIBUTES:
	case KVM_CAP_ENABLE_CAP:
	case KVM_CAP_ENABLE_CAP_VM:
	case KVM_CAP_ENFORCE_PV_FEATURE_CPUID:
	case KVM_CAP_DISABLE_QUIRKS:
		return true;
	default:
		return false;
	}
}

/*
 * What may run without an exit. In MWAIT the CPU must wake up by itself from any state:
 * its timer must not stop.
 */
static u64 direct_exits(void)
{
	u64 exits = KVM_X86_DISABLE_EXITS_PAUSE | KVM_X86_DISABLE_EXITS_HLT;

	if (boot_cpu_has(X86_FEATURE_MWAIT) && boot_cpu_has(X86_FEATURE_ARAT) &&
	    !boot_cpu_has_bug(X86_BUG_MONITOR))
		exits |= KVM_X86_DISABLE_EXITS_MWAIT;
	return exits;
}

int lodge_check_extension(struct lodge_vm *vm, long ext)
{
	switch (ext) {
	case KVM_CAP_NR_MEMSLOTS:
		return LODGE_MAX_SLOTS;
	case KVM_CAP_MULTI_ADDRESS_SPACE:
		return 1;	/* without SMM */
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
		return LODGE_MANUAL_LOG;
	case KVM_CAP_DIRTY_LOG_RING:
	case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
		return LODGE_RING_MAX_BYTES;
	case KVM_CAP_IRQ_ROUTING:
		return IRQCHIP_MAX_ROUTES;
	case KVM_CAP_COALESCED_MMIO:
		return LODGE_COALESCED_PAGE;
	case KVM_CAP_X2APIC_API:
		/* This one wants user space's IOAPIC: as in KVM, a VM without says so. */
		return vm && READ_ONCE(vm->ic.kind) != IRQCHIP_SPLIT ?
		       IRQCHIP_X2APIC_API & ~KVM_X2APIC_ENABLE_SUPPRESS_EOI_BROADCAST :
		       IRQCHIP_X2APIC_API;
	case KVM_CAP_X86_APIC_BUS_CYCLES_NS:
		return IRQCHIP_BUS_NS;
	case KVM_CAP_NR_VCPUS:
		return min_t(unsigned int, num_online_cpus(), LODGE_MAX_VCPUS);
	case KVM_CAP_MAX_VCPUS:
		return LODGE_MAX_VCPUS;
	case KVM_CAP_MAX_VCPU_ID:
		return LODGE_MAX_VCPU_ID;
	case KVM_CAP_SYNC_REGS:
		return KVM_SYNC_X86_VALID_FIELDS;
	case KVM_CAP_VM_TYPES:
		return BIT(KVM_X86_DEFAULT_VM);
	case KVM_CAP_TSC_CONTROL:
	case KVM_CAP_VM_TSC_CONTROL:
		return lodge_has_tsc_scaling();
	case KVM_CAP_STEAL_TIME:
		return IS_ENABLED(CONFIG_SCHED_INFO);
	case KVM_CAP_XSAVE2:
		return lodge_xsave_size();
	case KVM_CAP_X86_DISABLE_EXITS:
		return direct_exits();
	case KVM_CAP_EXIT_HYPERCALL:
		return LODGE_HYPERCALL_EXITS;
	case KVM_CAP_DISABLE_QUIRKS2:
		return LODGE_QUIRKS;
	case KVM_CAP_SET_GUEST_DEBUG2:
		return LODGE_GUEST_DEBUG;
	case KVM_CAP_MCE:
		return LODGE_MCE_BANKS;
	case KVM_CAP_ADJUST_CLOCK:
		return KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC | KVM_CLOCK_TSC_STABLE;
	default:
		return is_there(ext);
	}
}

/* For good. 0; -EINVAL: not allowed here. */
static int disable_exits(struct lodge_vm *vm, u64 exits)
{
	if (exits & ~direct_exits())
		return -EINVAL;
	mutex_lock(&vm->lock);
	WRITE_ONCE(vm->direct, vm->direct | exits);
	lodge_vm_update_intercepts(vm);
	mutex_unlock(&vm->lock);
	return 0;
}

/* All quirks but @off. The next call, as with Linux 6.1, is not about these any more. */
static void disable_quirks(struct lodge_vm *vm, u64 off)
{
	mutex_lock(&vm->lock);
	WRITE_ONCE(vm->quirks, LODGE_QUIRKS & ~off);
	WRITE_ONCE(vm->ic.lint0_quirk, !(off & KVM_X86_QUIRK_LINT0_REENABLED));
	lodge_vm_update_intercepts(vm);
	mutex_unlock(&vm->lock);
}

int lodge_vm_enable_cap(struct lodge_vm *vm, const struct kvm_enable_cap *cap)
{
	if (cap->flags)
		return -EINVAL;
	switch (cap->cap) {
	case KVM_CAP_DISABLE_QUIRKS2:
		if (cap->args[0] & ~(u64)LODGE_QUIRKS)
			return -EINVAL;
		fallthrough;
	case KVM_CAP_DISABLE_QUIRKS:
		disable_quirks(vm, cap->args[0]);
		return 0;
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
		return lodge_dirty_log_manual(vm, cap->args[0]);
	case KVM_CAP_DIRTY_LOG_RING:
	case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
		return lodge_ring_enable(vm, cap->args[0]);
	case KVM_CAP_EXCEPTION_PAYLOAD:
		WRITE_ONCE(vm->exception_payload, cap->args[0]);
		return 0;
	case KVM_CAP_X86_USER_SPACE_MSR:
		if (cap->args[0] & ~(u64)MSR_EXIT_REASONS)
			return -EINVAL;
		WRITE_ONCE(vm->msr_exits, cap->args[0]);
		return 0;
	case KVM_CAP_X86_DISABLE_EXITS:
		return disable_exits(vm, cap->args[0]);
	case KVM_CAP_EXIT_HYPERCALL:
		if (cap->args[0] & ~(u64)LODGE_HYPERCALL_EXITS)
			return -EINVAL;
		WRITE_ONCE(vm->hypercall_exits, cap->args[0]);
		return 0;
	case KVM_CAP_EXIT_ON_EMULATION_FAILURE:
		if (cap->args[0] & ~1ull)
			return -EINVAL;
		WRITE_ONCE(vm->exit_on_emulation_failure, cap->args[0]);
		return 0;
	case KVM_CAP_MSR_PLATFORM_INFO:
		WRITE_ONCE(vm->platform_info_hidden, !cap->args[0]);
		return 0;
	case KVM_CAP_X86_TRIPLE_FAULT_EVENT:
		WRITE_ONCE(vm->triple_fault_event, cap->args[0]);
		return 0;
	case KVM_CAP_SPLIT_IRQCHIP:
		return lodge_create_split_irqchip(vm, cap->args[0]);
	case KVM_CAP_X2APIC_API:
		return irqchip_set_x2apic_api(&vm->ic, cap->args[0]);
	case KVM_CAP_X86_APIC_BUS_CYCLES_NS:
		return lodge_set_apic_bus_ns(vm, cap->args[0]);
	case KVM_CAP_MAX_VCPU_ID:
		return lodge_set_max_vcpu_id(vm, cap->args[0]);
	default:
		return -EINVAL;
	}
}

int lodge_vcpu_enable_cap(struct lodge_vcpu *vcpu, const struct kvm_enable_cap *cap)
{
	if (cap->flags)
		return -EINVAL;
	switch (cap->cap) {
	case KVM_CAP_ENFORCE_PV_FEATURE_CPUID:
		vcpu->pv.enforce = cap->args[0];
		return 0;
	default:
		return -EINVAL;
	}
}
