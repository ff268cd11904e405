/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Everything that gets, sets, checks and virtualizes a vCPU's architectural state:
 * state.c control.c cpuid.c msr.c fpu.c clock.c. Called by main.c, vm.c, vcpu.c, run.c,
 * exits.c, emulation.c and the backends.
 *
 * Unless it says otherwise, a function with a vCPU is called with vcpu->mutex held,
 * outside the window, in process context. "Any tier" means inside the window as well:
 * it does not sleep and takes no sleeping lock.
 *
 * What can be refused to a guest returns 0, or 1: then the caller injects #GP(0) and
 * nothing has changed. What serves an ioctl returns 0 or KVM's errno, and changes
 * nothing when it fails.
 */
#ifndef LODGE_STATE_H
#define LODGE_STATE_H

#include <asm/cpufeatures.h>
#include <linux/kvm.h>
#include <linux/rcupdate.h>
#include <linux/types.h>

#include "vcpu.h"
#include "vm.h"

/* state.c ------------------------------------------------------------------ */

/* KVM_GET_REGS, KVM_SET_REGS. Setting drops a pending exception, as in KVM. */
void lodge_get_regs(struct lodge_vcpu *vcpu, struct kvm_regs *regs);
void lodge_set_regs(struct lodge_vcpu *vcpu, const struct kvm_regs *regs);

/* KVM_GET_SREGS, KVM_SET_SREGS: 0 or -EINVAL. */
void lodge_get_sregs(struct lodge_vcpu *vcpu, struct kvm_sregs *sregs);
int lodge_set_sregs(struct lodge_vcpu *vcpu, const struct kvm_sregs *sregs);

/* KVM_GET_SREGS2, KVM_SET_SREGS2: 0 or -EINVAL. */
void lodge_get_sregs2(struct lodge_vcpu *vcpu, struct kvm_sregs2 *sregs);
int lodge_set_sregs2(struct lodge_vcpu *vcpu, const struct kvm_sregs2 *sregs);

/* KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS: 0 or -EINVAL. */
void lodge_get_debugregs(struct lodge_vcpu *vcpu, struct kvm_debugregs *regs);
int lodge_set_debugregs(struct lodge_vcpu *vcpu, const struct kvm_debugregs *regs);

/*
 * KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS: 0 or -EINVAL. Payloads and the triple
 * fault are shown and taken when vm->exception_payload and vm->triple_fault_event
 * (KVM_ENABLE_CAP) are set.
 */
void lodge_get_events(struct lodge_vcpu *vcpu, struct kvm_vcpu_events *events);
int lodge_set_events(struct lodge_vcpu *vcpu, const struct kvm_vcpu_events *events);

/* KVM_GET_MP_STATE, KVM_SET_MP_STATE: 0 or -EINVAL. */
void lodge_get_mp_state(struct lodge_vcpu *vcpu, struct kvm_mp_state *mp);
int lodge_set_mp_state(struct lodge_vcpu *vcpu, const struct kvm_mp_state *mp);

/*
 * KVM_CAP_SYNC_REGS, at the start of KVM_RUN (0 or -EINVAL) and at its end: what
 * kvm_dirty_regs and kvm_valid_regs name goes by way of kvm_run.
 */
int lodge_sync_regs_in(struct lodge_vcpu *vcpu);
void lodge_sync_regs_out(struct lodge_vcpu *vcpu);

/*
 * Moves the payload of a pending #DB or #PF into DR6 or CR2; nothing without one.
 * Called when the exception is delivered, and before user space reads it. Any tier.
 */
void lodge_deliver_payload(struct lodge_vcpu *vcpu);

/* control.c ---------------------------------------------------------------- */

/* Guest's view of a control register: @n is 0, 2, 3, 4 or 8. Any tier. */
u64 lodge_get_cr(struct lodge_vcpu *vcpu, unsigned int n);

/*
 * MOV to control register @n (0, 2, 3, 4, 8) of a whole value: 0, or 1 for #GP. The
 * caller has checked that there is such a register (#UD) and the CPL. Keeps EFER.LMA
 * and flush_tlb in step. May sleep (reads PDPTEs of a PAE guest).
 */
int lodge_set_cr(struct lodge_vcpu *vcpu, unsigned int n, u64 value);

/* CLTS and LMSW, after the CPL check: 0, or 1 for #GP. */
int lodge_clts(struct lodge_vcpu *vcpu);
int lodge_lmsw(struct lodge_vcpu *vcpu, u16 value);

/*
 * Write to EFER by the guest (@host false) or a VMM: 0, or 1 for #GP. @value of a
 * guest may carry any LMA: it keeps its own.
 */
int lodge_set_efer(struct lodge_vcpu *vcpu, u64 value, bool host);

/* XSETBV with ECX = @index, after #UD (CR4.OSXSAVE) and CPL checks: 0, or 1 for #GP. */
int lodge_set_xcr(struct lodge_vcpu *vcpu, u32 index, u64 value);

/* Does the guest's CPUID allow these values? For SREGS, snapshots and nested loads. */
bool lodge_cr0_valid(u64 cr0);
bool lodge_cr4_valid(struct lodge_vcpu *vcpu, u64 cr4);
bool lodge_efer_valid(struct lodge_vcpu *vcpu, u64 efer);

/* Reads the four PDPTEs that @cr3 points to: 0, or 1 when one has reserved bits set. */
int lodge_load_pdptrs(struct lodge_vcpu *vcpu, u64 cr3, u64 pdptr[4]);

/* PAE paging without long mode: CR0.PG, CR4.PAE, not EFER.LMA. Needs LODGE_ST_CRS. */
bool lodge_is_pae(const struct lodge_vcpu *vcpu);

/*
 * The task priority in CR8's form (0..15): the LAPIC's, or the vCPU's own without one.
 * Any tier. The setter returns 1 for #GP.
 */
static inline u64 lodge_get_cr8(const struct lodge_vcpu *vcpu)
{
	return vcpu->lapic ? lapic_get_cr8(vcpu->lapic) : vcpu->cr8;
}

int lodge_set_cr8(struct lodge_vcpu *vcpu, u64 value);

/* After an entry: @cr8 is the guest's now, which it may have moved without an exit. */
static inline void lodge_take_cr8(struct lodge_vcpu *vcpu, u8 cr8)
{
	if (likely(cr8 == vcpu->cr8))
		return;
	vcpu->cr8 = cr8;
	if (vcpu->lapic)
		lapic_set_cr8(vcpu->lapic, cr8);
}

/*
 * IA32_APIC_BASE: 0, or 1 for #GP. A VMM (@host) may make every transition of modes.
 * The check alone changes nothing.
 */
static inline u64 lodge_get_apic_base(const struct lodge_vcpu *vcpu)
{
	return vcpu->lapic ? vcpu->lapic->base : vcpu->apic_base;
}

bool lodge_apic_base_valid(struct lodge_vcpu *vcpu, u64 value, bool host);
int lodge_set_apic_base(struct lodge_vcpu *vcpu, u64 value, bool host);

/*
 * Is @va canonical for the guest's number of linear address bits? The other makes it so
 * from its low bits. Any tier.
 */
u64 lodge_make_canonical(const struct lodge_vcpu *vcpu, u64 va);
bool lodge_is_canonical(const struct lodge_vcpu *vcpu, u64 va);

/* cpuid.c ------------------------------------------------------------------ */

/* Module load, after lodge_fpu_probe() and the backend's probe. */
void lodge_cpuid_probe(void);

/* vCPU creation and destruction. Without KVM_SET_CPUID2 the guest has no features. */
void lodge_cpuid_init(struct lodge_vcpu *vcpu);
void lodge_cpuid_free(struct lodge_vcpu *vcpu);

/*
 * KVM_GET_SUPPORTED_CPUID and (@emulated: an empty list) KVM_GET_EMULATED_CPUID, whole:
 * 0, -EFAULT, -E2BIG (nent too small), -ENOMEM.
 */
int lodge_get_supported_cpuid(struct kvm_cpuid2 __user *user, bool emulated);

/*
 * KVM_SET_CPUID2, KVM_GET_CPUID2 and KVM_SET_CPUID, whole: 0, -EFAULT, -E2BIG, -ENOMEM,
 * or -EINVAL: impossible, or other than before after the vCPU has run.
 */
int lodge_set_cpuid2(struct lodge_vcpu *vcpu, struct kvm_cpuid2 __user *user);
int lodge_get_cpuid2(struct lodge_vcpu *vcpu, struct kvm_cpuid2 __user *user);
int lodge_set_cpuid(struct lodge_vcpu *vcpu, struct kvm_cpuid __user *user);

/* EAX of leaf 1, or 0. */
u32 lodge_cpuid_signature(const struct lodge_vcpu *vcpu);

/* Was the guest given X86_FEATURE_*? Only for features that CPUID reports. Any tier. */
static inline bool lodge_guest_has(const struct lodge_vcpu *vcpu, unsigned int feature)
{
	return vcpu->cpuid_features[feature / 32] & BIT(feature % 32);
}

/* Can lodge virtualize X86_FEATURE_* on this host? Any context. */
bool lodge_supports(unsigned int feature);

/* msr.c -------------------------------------------------------------------- */

/* Module load, after lodge_cpuid_probe(): finds which MSRs there are. */
void lodge_msr_probe(void);

/* Power-up values of everything msr.c owns (@init: what INIT leaves alone stays). */
void lodge_msr_reset(struct lodge_vcpu *vcpu, bool init);

/*
 * KVM_GET_MSR_INDEX_LIST, KVM_GET_MSR_FEATURE_INDEX_LIST (@features), whole: 0, -EFAULT,
 * -E2BIG (nmsrs then says how many there are).
 */
int lodge_get_msr_index_list(struct kvm_msr_list __user *user, bool features);

/* KVM_GET_MSRS on the node: the number read, -EFAULT, -E2BIG, -ENOMEM. */
int lodge_get_feature_msrs(struct kvm_msrs __user *user);

/* KVM_GET_MSRS, KVM_SET_MSRS on a vCPU: the number done before the first refused one. */
int lodge_get_msrs(struct lodge_vcpu *vcpu, struct kvm_msrs __user *user);
int lodge_set_msrs(struct lodge_vcpu *vcpu, struct kvm_msrs __user *user);

/* Why an access to an MSR is refused. To a guest all of them are #GP. */
enum {
	LODGE_MSR_REFUSED = 1,	/* this value, or not with this CPUID */
	LODGE_MSR_UNKNOWN,	/* there is no such MSR */
	LODGE_MSR_FILTERED,	/* the VMM's filter denies it to the guest */
};

/*
 * RDMSR and WRMSR by the guest (@host false) or a VMM: 0, LODGE_MSR_REFUSED or
 * LODGE_MSR_UNKNOWN. Nothing has changed then. Reading: any tier. Writing may sleep
 * (kvmclock's wall clock lives in guest memory).
 */
int lodge_msr_read(struct lodge_vcpu *vcpu, u32 index, u64 *data, bool host);
int lodge_msr_write(struct lodge_vcpu *vcpu, u32 index, u64 data, bool host);

/* msr_filter.c ------------------------------------------------------------- */

int lodge_set_msr_filter(struct lodge_vm *vm, const struct kvm_msr_filter *user);
void lodge_msr_filter_destroy(struct lodge_vm *vm);

/*
 * Does the VMM let the guest itself read or write (KVM_MSR_FILTER_READ, _WRITE) MSR
 * @index? Any tier. LODGE_REQ_INTERCEPTS comes when the answers change.
 */
bool __lodge_msr_allowed(struct lodge_vm *vm, u32 index, u32 access);

static inline bool lodge_msr_allowed(struct lodge_vm *vm, u32 index, u32 access)
{
	return likely(!rcu_access_pointer(vm->msr_filter)) ||
	       __lodge_msr_allowed(vm, index, access);
}

/* KVM_X86_GET_MCE_CAP_SUPPORTED (the value), KVM_X86_SETUP_MCE, KVM_X86_SET_MCE. */
u64 lodge_mce_cap_supported(void);
int lodge_setup_mce(struct lodge_vcpu *vcpu, u64 mcg_cap);
int lodge_set_mce(struct lodge_vcpu *vcpu, const struct kvm_x86_mce *mce);

/* fpu.c -------------------------------------------------------------------- */

/* Module load, first of all: 0, or -EOPNOTSUPP after one pr_err(): no working XSAVE. */
int lodge_fpu_probe(void);

/* User features of XCR0 that a guest may have, and bytes of their XSAVE area. */
u64 lodge_fpu_features(void);
u32 lodge_fpu_xstate_size(u64 features, bool compacted);

/* vCPU creation (0, -ENOMEM) and destruction; reset gives power-up or INIT state. */
int lodge_fpu_create(struct lodge_vcpu *vcpu);
void lodge_fpu_destroy(struct lodge_vcpu *vcpu);
void lodge_fpu_reset(struct lodge_vcpu *vcpu, bool init);

/*
 * Around a window, preemptible; preemption is off in between. @first: it is the first one of
 * this KVM_RUN, and may well be the last.
 */
void lodge_fpu_begin(struct lodge_vcpu *vcpu, bool first);
void lodge_fpu_end(struct lodge_vcpu *vcpu);

/*
 * Window: IRQs off, between the above. Load puts the guest's registers, XCR0 and PKRU into
 * the CPU; save does the reverse.
 */
void lodge_fpu_load(struct lodge_vcpu *vcpu);
void lodge_fpu_save(struct lodge_vcpu *vcpu);

/* KVM_GET_FPU, KVM_SET_FPU. */
void lodge_get_fpu(struct lodge_vcpu *vcpu, struct kvm_fpu *fpu);
void lodge_set_fpu(struct lodge_vcpu *vcpu, const struct kvm_fpu *fpu);

/*
 * KVM_GET_XSAVE(2), KVM_SET_XSAVE: @buf of lodge_xsave_size() bytes, at least 4096, the
 * value of KVM_CAP_XSAVE2. Setting: 0 or -EINVAL.
 */
u32 lodge_xsave_size(void);
void lodge_get_xsave(struct lodge_vcpu *vcpu, void *buf);
int lodge_set_xsave(struct lodge_vcpu *vcpu, const void *buf);

/* The guest's PKRU, outside the window. */
u32 lodge_fpu_pkru(const struct lodge_vcpu *vcpu);

/* KVM_GET_XCRS, KVM_SET_XCRS: 0 or -EINVAL. */
void lodge_get_xcrs(struct lodge_vcpu *vcpu, struct kvm_xcrs *xcrs);
int lodge_set_xcrs(struct lodge_vcpu *vcpu, const struct kvm_xcrs *xcrs);

/*
 * XMM/YMM register @n (0..15) for the emulator; @len 16 or 32 bytes. A write of 16 bytes
 * leaves the upper part alone (@zero_upper false: legacy SSE) or clears everything
 * above (VEX); one of 32 bytes always clears above bit 255.
 */
void lodge_fpu_read_reg(struct lodge_vcpu *vcpu, unsigned int n, void *buf, unsigned int len);
void lodge_fpu_write_reg(struct lodge_vcpu *vcpu, unsigned int n, const void *buf,
			 unsigned int len, bool zero_upper);

/* clock.c ------------------------------------------------------------------ */

/* VM creation; vCPU creation (after it is in vm->vcpus, or just before). */
void lodge_clock_init(struct lodge_vm *vm);
void lodge_clock_vcpu_init(struct lodge_vcpu *vcpu);

/*
 * Host suspend and resume, once, with IRQs off or on one CPU: the TSC may restart.
 */
void lodge_clock_suspend(void);
void lodge_clock_resume(void);

/*
 * At the opening of every window, IRQs off, with the vCPU's new CPU, before vcpu->cpu
 * is set to it: keeps the guest's TSC going over a change of CPUs where the host's TSCs
 * are not in step, and over a suspend. May set LODGE_ST_TSC dirty and make
 * LODGE_REQ_CLOCK.
 */
void __lodge_clock_enter(struct lodge_vcpu *vcpu, int cpu);

extern u64 lodge_tsc_lost;	/* cycles, by the host in suspends */

static inline void lodge_clock_enter(struct lodge_vcpu *vcpu, int cpu)
{
	if (unlikely(vcpu->tsc_lost != READ_ONCE(lodge_tsc_lost) || check_tsc_unstable()))
		__lodge_clock_enter(vcpu, cpu);
}

/* Serves LODGE_REQ_CLOCK: writes the vCPU's kvmclock page. */
void lodge_kvmclock_update(struct lodge_vcpu *vcpu);

/* MSR_KVM_SYSTEM_TIME(_NEW), MSR_KVM_WALL_CLOCK(_NEW); for msr.c. */
int lodge_kvmclock_set_msr(struct lodge_vcpu *vcpu, u64 data);
int lodge_wall_clock_set_msr(struct lodge_vcpu *vcpu, u64 data);

/* KVM_GET_CLOCK, KVM_SET_CLOCK (0 or -EINVAL), KVM_KVMCLOCK_CTRL (0 or -EINVAL). */
void lodge_get_clock(struct lodge_vm *vm, struct kvm_clock_data *data);
int lodge_set_clock(struct lodge_vm *vm, const struct kvm_clock_data *data);
int lodge_kvmclock_ctrl(struct lodge_vcpu *vcpu);

/*
 * Module load, by a backend whose CPU scales the guest's TSC: how many bits a ratio has
 * behind its point, and the largest one.
 */
void lodge_tsc_scaling(u8 bits, u64 max);
bool lodge_has_tsc_scaling(void);

/* The guest's TSC now. Any tier; from another thread only as an estimate. */
u64 lodge_read_guest_tsc(const struct lodge_vcpu *vcpu);

/*
 * IA32_TSC is written. By a VMM: a value that is 0 or near what the other vCPUs' TSCs
 * should be now gives this vCPU their offset. By the guest: exactly, and TSC_ADJUST
 * moves along.
 */
void lodge_tsc_write(struct lodge_vcpu *vcpu, u64 value, bool host);
void lodge_tsc_adjust_write(struct lodge_vcpu *vcpu, u64 value, bool host);

/* Nanoseconds from now until the guest's TSC reaches @deadline; 0: it has. Any tier. */
u64 lodge_tsc_deadline_ns(const struct lodge_vcpu *vcpu, u64 deadline);
/*
 * @vector is going into the guest: if it is the interrupt of a deadline that is not quite there,
 * waits for that. Fast tier.
 */
void lodge_await_deadline(struct lodge_vcpu *vcpu, u8 vector);

/* KVM_GET_TSC_KHZ (the value) and KVM_SET_TSC_KHZ (0, or -EINVAL: no such rate). */
int lodge_get_tsc_khz(struct lodge_vcpu *vcpu);
int lodge_set_tsc_khz(struct lodge_vcpu *vcpu, u32 khz);
/* The same on the VM, for the vCPUs that are created from then on. */
int lodge_vm_get_tsc_khz(struct lodge_vm *vm);
int lodge_vm_set_tsc_khz(struct lodge_vm *vm, u32 khz);

/* KVM_HAS/GET/SET_DEVICE_ATTR on a vCPU (group KVM_VCPU_TSC_CTRL): 0, -ENXIO, -EFAULT. */
int lodge_vcpu_has_attr(struct lodge_vcpu *vcpu, const struct kvm_device_attr *attr);
int lodge_vcpu_get_attr(struct lodge_vcpu *vcpu, const struct kvm_device_attr *attr);
int lodge_vcpu_set_attr(struct lodge_vcpu *vcpu, const struct kvm_device_attr *attr);

#endif
