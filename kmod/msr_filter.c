// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's RDMSR and WRMSR, and what a VMM wants to decide of them: the filter of
 * KVM_X86_SET_MSR_FILTER, and KVM_EXIT_X86_RDMSR and _WRMSR. Called by the exit
 * handlers, the backends, run.c and vm.c. A VM's filter is replaced under vm->lock and
 * read under RCU, in any tier.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/overflow.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/msr-index.h>

#include "kernel_compat.h"
#include "backend.h"
#include "exits.h"
#include "state.h"
#include "trace.h"
#include "vm.h"

#define FILTER_ACCESS	(KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE)

struct msr_range {
	u32 access;		/* KVM_MSR_FILTER_READ, _WRITE: whom it concerns */
	u32 base, nr;
	unsigned long *allowed;	/* a bit for each */
};

struct lodge_msr_filter {
	struct rcu_head rcu;
	bool default_allow;
	unsigned int nr;
	struct msr_range range[KVM_MSR_FILTER_MAX_RANGES];
	unsigned long bits[];	/* what the ranges' bitmaps point into */
};

/* The filter ---------------------------------------------------------------------- */

/* Longs of the bitmap of a range; a range of no MSRs is one that is not given. */
static unsigned int range_longs(const struct kvm_msr_filter_range *range)
{
	return BITS_TO_LONGS((u64)range->nmsrs);
}

/* Sum of all bitmaps, or -EINVAL for a filter that KVM would refuse. */
static int filter_longs(const struct kvm_msr_filter *user)
{
	unsigned int i, longs = 0;

	if (user->flags & ~KVM_MSR_FILTER_DEFAULT_DENY)
		return -EINVAL;
	for (i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
		const struct kvm_msr_filter_range *range = &user->ranges[i];

		if (!range->nmsrs)
			continue;
		if (!range->flags || (range->flags & ~FILTER_ACCESS))
			return -EINVAL;
		if (range_longs(range) > KVM_MSR_FILTER_MAX_BITMAP_SIZE / sizeof(long))
			return -EINVAL;
		longs += range_longs(range);
	}
	/* To deny everything is to run no guest at all: more likely a mistake. */
	if (!longs && (user->flags & KVM_MSR_FILTER_DEFAULT_DENY))
		return -EINVAL;
	return longs;
}

static struct lodge_msr_filter *make_filter(const struct kvm_msr_filter *user, unsigned int longs)
{
	struct lodge_msr_filter *filter;
	unsigned long *bits;
	unsigned int i;

	filter = kvzalloc(struct_size(filter, bits, longs), GFP_KERNEL_ACCOUNT);
	if (!filter)
		return ERR_PTR(-ENOMEM);
	filter->default_allow = !(user->flags & KVM_MSR_FILTER_DEFAULT_DENY);
	bits = filter->bits;
	for (i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
		const struct kvm_msr_filter_range *range = &user->ranges[i];

		if (!range->nmsrs)
			continue;
		if (copy_from_user(bits, (void __user *)range->bitmap,
				   range_longs(range) * sizeof(long))) {
			kvfree(filter);
			return ERR_PTR(-EFAULT);
		}
		filter->range[filter->nr++] = (struct msr_range) {
			.access = range->flags,
			.base = range->base,
			/* As in KVM, what reaches the last number or wraps has no MSRs. */
			.nr = range->base + range->nmsrs > range->base ? range->nmsrs : 0,
			.allowed = bits,
		};
		bits += range_longs(range);
	}
	return filter;
}

/**
 * lodge_set_msr_filter() - serve KVM_X86_SET_MSR_FILTER
 * @vm: the VM; vm->lock is not held
 * @user: the filter, with bitmaps in user space
 *
 * The vCPUs follow it from their next entry on.
 *
 * Return: 0; -EINVAL: an unknown flag, a range for neither reads nor writes or with a
 * bitmap of more than 0x600 bytes, or nothing but "deny"; -EFAULT; -ENOMEM.
 */
int lodge_set_msr_filter(struct lodge_vm *vm, const struct kvm_msr_filter *user)
{
	struct lodge_msr_filter *filter, *old;
	int longs;

	longs = filter_longs(user);
	if (longs < 0)
		return longs;
	filter = make_filter(user, longs);
	if (IS_ERR(filter))
		return PTR_ERR(filter);

	mutex_lock(&vm->lock);
	old = rcu_replace_pointer(vm->msr_filter, filter, lockdep_is_held(&vm->lock));
	lodge_vm_update_intercepts(vm);
	mutex_unlock(&vm->lock);
	if (old)
		kvfree_rcu(old, rcu);
	return 0;
}

/* The VM goes: nobody looks at it any more. */
void lodge_msr_filter_destroy(struct lodge_vm *vm)
{
	kvfree(rcu_dereference_protected(vm->msr_filter, true));
}

bool __lodge_msr_allowed(struct lodge_vm *vm, u32 index, u32 access)
{
	const struct lodge_msr_filter *filter;
	bool allowed = true;
	unsigned int i;

	/* KVM's exception: what a LAPIC does is not for user space to emulate. */
	if (index >= LAPIC_MSR_FIRST && index <= LAPIC_MSR_LAST)
		return true;

	rcu_read_lock();
	filter = rcu_dereference(vm->msr_filter);
	if (filter) {
		allowed = filter->default_allow;
		for (i = 0; i < filter->nr; i++) {
			const struct msr_range *range = &filter->range[i];
			u32 n = index - range->base;

			if ((range->access & access) && n < range->nr) {
				allowed = test_bit(array_index_nospec(n, range->nr),
						   range->allowed);
				break;
			}
		}
	}
	rcu_read_unlock();
	return allowed;
}

/* The guest's access ---------------------------------------------------------------- */

static int guest_read(struct lodge_vcpu *vcpu, u32 index, u64 *data)
{
	*data = 0;
	if (!lodge_msr_allowed(vcpu->vm, index, KVM_MSR_FILTER_READ))
		return LODGE_MSR_FILTERED;
	return lodge_msr_read(vcpu, index, data, false);
}

static int guest_write(struct lodge_vcpu *vcpu, u32 index, u64 data)
{
	if (!lodge_msr_allowed(vcpu->vm, index, KVM_MSR_FILTER_WRITE))
		return LODGE_MSR_FILTERED;
	return lodge_msr_write(vcpu, index, data, false);
}

static u64 wrmsr_data(const struct lodge_vcpu *vcpu)
{
	return (u32)vcpu->st.gpr[GPR_RAX] | vcpu->st.gpr[GPR_RDX] << 32;
}

static void finish_read(struct lodge_vcpu *vcpu, u64 data, u64 next_rip)
{
	vcpu->st.gpr[GPR_RAX] = (u32)data;
	vcpu->st.gpr[GPR_RDX] = data >> 32;
	lodge_retire(vcpu, next_rip);
}

static void finish_write(struct lodge_vcpu *vcpu, u64 next_rip)
{
	/* It may have unmasked, acknowledged or sent an interrupt. */
	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	lodge_retire(vcpu, next_rip);
}

/*
 * The MSRs that a running guest writes all the time, none of which sleeps. But the end of
 * an interrupt may be waited for on any number of eventfds.
 */
static bool msr_is_fast(const struct lodge_vcpu *vcpu, u32 index)
{
	if (index == LAPIC_MSR_FIRST + (LAPIC_EOI >> 4))
		return vcpu->lapic && lapic_eoi_is_quiet(vcpu->lapic);
	return index == MSR_IA32_TSC_DEADLINE || index == MSR_IA32_APICBASE ||
	       (index >= LAPIC_MSR_FIRST && index <= LAPIC_MSR_LAST);
}

/* What is refused has changed nothing: the slow tier asks again, and acts on it. */
bool lodge_do_msr_fast(struct lodge_vcpu *vcpu, bool write, u64 next_rip)
{
	u32 index = vcpu->st.gpr[GPR_RCX];
	u64 data;

	if (unlikely(vcpu->apic_memory))
		return false;
	if (!write) {
		if (guest_read(vcpu, index, &data))
			return false;
		finish_read(vcpu, data, next_rip);
	} else {
		data = wrmsr_data(vcpu);
		if (!msr_is_fast(vcpu, index) || guest_write(vcpu, index, data))
			return false;
		/* What changes about interrupts, the LAPIC has asked to look at. */
		lodge_retire(vcpu, next_rip);
	}
	trace_lodge_msr(vcpu->id, write, index, data, 0);
	return true;
}

/* An access that failed for @why: does user space want to see it? */
static bool wants_exit(const struct lodge_vcpu *vcpu, int why, u32 *reason)
{
	static const u8 reasons[] = {
		[LODGE_MSR_REFUSED] = KVM_MSR_EXIT_REASON_INVAL,
		[LODGE_MSR_UNKNOWN] = KVM_MSR_EXIT_REASON_UNKNOWN,
		[LODGE_MSR_FILTERED] = KVM_MSR_EXIT_REASON_FILTER,
	};

	*reason = reasons[why];
	return READ_ONCE(vcpu->vm->msr_exits) & *reason;
}

/* KVM_RUN after KVM_EXIT_X86_RDMSR or _WRMSR. */
static int finish_rdmsr(struct lodge_vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;

	if (READ_ONCE(run->msr.error))
		lodge_queue_gp(vcpu);
	else
		finish_read(vcpu, READ_ONCE(run->msr.data), vcpu->unfinished.next_rip);
	return LODGE_REENTER;
}

static int finish_wrmsr(struct lodge_vcpu *vcpu)
{
	if (READ_ONCE(vcpu->run->msr.error))
		lodge_queue_gp(vcpu);
	else
		finish_write(vcpu, vcpu->unfinished.next_rip);
	return LODGE_REENTER;
}

static int exit_to_user(struct lodge_vcpu *vcpu, bool write, u32 reason, u64 data, u64 next_rip)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = write ? KVM_EXIT_X86_WRMSR : KVM_EXIT_X86_RDMSR;
	run->msr.error = 0;
	memset(run->msr.pad, 0, sizeof(run->msr.pad));
	run->msr.reason = reason;
	run->msr.index = vcpu->st.gpr[GPR_RCX];
	run->msr.data = data;
	return lodge_leave_unfinished(vcpu, write ? finish_wrmsr : finish_rdmsr, next_rip);
}

int lodge_exit_msr(struct lodge_vcpu *vcpu, bool write)
{
	u32 index = vcpu->st.gpr[GPR_RCX], reason;
	u64 next, data;
	int why;

	if (!lodge_next_rip(vcpu, &next))
		return LODGE_REENTER;
	if (write) {
		data = wrmsr_data(vcpu);
		why = guest_write(vcpu, index, data);
	} else {
		why = guest_read(vcpu, index, &data);
	}
	trace_lodge_msr(vcpu->id, write, index, data, why);

	if (why) {
		if (wants_exit(vcpu, why, &reason))
			return exit_to_user(vcpu, write, reason, data, next);
		lodge_queue_gp(vcpu);
	} else if (write) {
		finish_write(vcpu, next);
	} else {
		finish_read(vcpu, data, next);
	}
	return LODGE_REENTER;
}
