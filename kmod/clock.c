// SPDX-License-Identifier: GPL-2.0-only
/*
 * Time as a guest sees it: its TSC, and kvmclock built on it. Called by msr.c, run.c,
 * vm.c, vcpu.c and the LAPIC's timer. vm->clock is guarded by its raw lock, a vCPU's
 * own fields by vcpu->mutex.
 */
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <asm/pvclock-abi.h>
#include <asm/pvclock.h>
#include <asm/tsc.h>

#include "kernel_compat.h"
#include "state.h"
#include "vm.h"

#define CLOCK_FLAGS	(KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC)

/* A rate this near the host's is the host's, which then is the true one: as in KVM. */
#define TSC_TOLERANCE_PPM	250

/* Longest stretch handed to a timer, years: the guest chooses, and sums must not overflow. */
#define DEADLINE_MAX_MS		BIT_ULL(40)

/* On an unstable TSC a page older than this is written again, for its drift. */
#define CLOCK_REFRESH		(HZ)

/*
 * Cycles by which the host's TSC fell back in suspends. Adding it to the TSC gives a
 * counter that never restarts; each offset is brought up to date at the next entry.
 */
u64 lodge_tsc_lost;
static u64 tsc_at_suspend;

static u32 host_tsc_khz(void)
{
	/* 0: the kernel could not calibrate it. Any rate is as good as another then. */
	return tsc_khz ?: 1000000;
}

/*
 * Do all CPUs' TSCs run in step, at one rate? The kernel takes that back when it finds
 * them apart, or changes the frequency of a CPU whose TSC follows it.
 */
static bool host_tsc_stable(void)
{
	return !check_tsc_unstable();
}

/*
 * These two in whole milliseconds and the rest. A guest's rate may be anything, and a
 * division of 128 bits traps when its result has more than 64.
 */
static u64 ns_to_cycles(u64 ns, u32 khz)
{
	u64 ms;
	u32 rest;

	ms = div_u64_rem(ns, NSEC_PER_MSEC, &rest);
	return ms * khz + div_u64((u64)rest * khz, NSEC_PER_MSEC);
}

static u64 cycles_to_ns(u64 cycles, u32 khz)
{
	u64 ms;
	u32 rest;

	ms = min(div_u64_rem(cycles, khz, &rest), DEADLINE_MAX_MS);
	return ms * NSEC_PER_MSEC + div_u64((u64)rest * NSEC_PER_MSEC, khz);
}

/*
 * TSC scaling: a guest's TSC is the host's times a ratio, and then its offset is added.
 * The ratio's fraction has tsc_ratio_bits; a vCPU whose ratio is 0 runs at the host's rate.
 */
static u8 tsc_ratio_bits __ro_after_init;
static u64 tsc_ratio_max __ro_after_init;

void lodge_tsc_scaling(u8 bits, u64 max)
{
	tsc_ratio_bits = bits;
	tsc_ratio_max = max;
}

bool lodge_has_tsc_scaling(void)
{
	return tsc_ratio_max;
}

static u64 scale_by(u64 ratio, u64 host_cycles)
{
	return likely(!ratio) ? host_cycles :
				mul_u64_u64_shr(host_cycles, ratio, tsc_ratio_bits);
}

/* Cycles of the host as cycles of the guest. */
static u64 scale(const struct lodge_vcpu *vcpu, u64 host_cycles)
{
	return scale_by(READ_ONCE(vcpu->tsc_ratio), host_cycles);
}

/* What the guest's TSC really ticks at: the host's rate has more precision where it is that. */
static u32 guest_tsc_khz(const struct lodge_vcpu *vcpu)
{
	return vcpu->tsc_ratio ? vcpu->tsc_khz : host_tsc_khz();
}

/*
 * Factor and shift of the pvclock ABI: ns = ((cycles << shift) * mul) >> 32, with a
 * negative shift to the right.
 */
static void tsc_scale(u32 khz, u32 *mul, s8 *shift)
{
	u64 scaled = (u64)NSEC_PER_MSEC << 32;
	s8 s = 0;

	while (div_u64(scaled, khz) > U32_MAX) {
		scaled >>= 1;
		s++;
	}
	while (div_u64(scaled, khz) < BIT(31)) {
		scaled <<= 1;
		s--;
	}
	*mul = div_u64(scaled, khz);
	*shift = s;
}

u64 lodge_read_guest_tsc(const struct lodge_vcpu *vcpu)
{
	/* Right after a suspend, too, before the offset knows of it. */
	return scale(vcpu, rdtsc() + READ_ONCE(lodge_tsc_lost) - READ_ONCE(vcpu->tsc_lost)) +
	       READ_ONCE(vcpu->st.tsc_offset);
}

u64 lodge_tsc_deadline_ns(const struct lodge_vcpu *vcpu, u64 deadline)
{
	u64 now = lodge_read_guest_tsc(vcpu);

	if (deadline <= now)
		return 0;
	return cycles_to_ns(deadline - now, guest_tsc_khz(vcpu));
}

void lodge_await_deadline(struct lodge_vcpu *vcpu, u8 vector)
{
	u64 deadline = lapic_given_deadline(vcpu->lapic, vector);
	u64 now, ns;

	if (!deadline)
		return;
	now = lodge_read_guest_tsc(vcpu);
	if (deadline <= now) {
		lapic_deadline_was(vcpu->lapic, cycles_to_ns(now - deadline, guest_tsc_khz(vcpu)));
		return;
	}
	ns = cycles_to_ns(deadline - now, guest_tsc_khz(vcpu));
	/* Somebody set the guest's TSC since: whatever it waits for, not here. */
	if (ns > LAPIC_MAX_ADVANCE_NS)
		return;
	lapic_deadline_was(vcpu->lapic, -(s64)ns);
	/* Since now: behind a deadline at the end of the TSC's range it begins anew. */
	while (lodge_read_guest_tsc(vcpu) - now < deadline - now)
		cpu_relax();
}

/* The VM's kvmclock --------------------------------------------------------- */

/* kvmclock in ns at host TSC @tsc, which is about now. Needs clock->lock. */
static u64 kvmclock_at(const struct lodge_clock *clock, u64 tsc)
{
	u32 mul;
	s8 shift;

	if (!clock->stable)
		return ktime_get_boottime_ns() + clock->kvmclock_offset;
	tsc_scale(host_tsc_khz(), &mul, &shift);
	return clock->master_ns + clock->kvmclock_offset +
	       pvclock_scale_delta(tsc - clock->master_tsc, mul, shift);
}

/* Lets kvmclock go on from here with the host's boottime. Needs clock->lock. */
static void set_master(struct lodge_clock *clock)
{
	clock->master_tsc = rdtsc_ordered();
	clock->master_ns = ktime_get_boottime_ns();
}

/*
 * The host slept: kvmclock counts the night as boottime does, but never falls behind
 * what the TSC alone says has passed.
 */
static void make_up_clock(struct lodge_clock *clock)
{
	u64 lost = READ_ONCE(lodge_tsc_lost);
	u64 least = 0;

	if (likely(clock->tsc_lost == lost))
		return;
	if (clock->stable)
		least = kvmclock_at(clock, rdtsc_ordered() + lost - clock->tsc_lost);
	clock->last_tsc_offset += scale_by(clock->last_tsc_ratio, lost - clock->tsc_lost);
	clock->tsc_lost = lost;
	set_master(clock);
	if (clock->master_ns + clock->kvmclock_offset < least)
		clock->kvmclock_offset = least - clock->master_ns;
}

static unsigned long lock_clock(struct lodge_clock *clock)
	__acquires(&clock->lock)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&clock->lock, flags);
	make_up_clock(clock);
	return flags;
}

static void unlock_clock(struct lodge_clock *clock, unsigned long flags)
	__releases(&clock->lock)
{
	raw_spin_unlock_irqrestore(&clock->lock, flags);
}

/*
 * Decides anew whether kvmclock can be a function of the TSC. A vCPU's vDSO may read
 * another one's page, so that every offset must be the same. True when it changed;
 * the clock itself does not jump. Needs clock->lock.
 */
static bool update_stable(struct lodge_vm *vm)
{
	struct lodge_clock *clock = &vm->clock;
	u64 lost = READ_ONCE(lodge_tsc_lost);
	bool stable = host_tsc_stable();
	struct lodge_vcpu *vcpu;
	u64 first = 0, first_ratio = 0, now;

	lodge_for_each_vcpu(vcpu, vm) {
		u64 offset = READ_ONCE(vcpu->st.tsc_offset) +
			     scale(vcpu, lost - READ_ONCE(vcpu->tsc_lost));
		u64 ratio = READ_ONCE(vcpu->tsc_ratio);

		if (!vcpu->index) {
			first = offset;
			first_ratio = ratio;
		}
		if (offset != first || ratio != first_ratio)
			stable = false;
	}
	if (stable == clock->stable)
		return false;

	if (stable) {
		set_master(clock);
	} else {
		now = kvmclock_at(clock, rdtsc_ordered());
		clock->kvmclock_offset = now - ktime_get_boottime_ns();
	}
	WRITE_ONCE(clock->stable, stable);
	return true;
}

/*
 * Every vCPU writes its page before it enters the guest again, and none is in the guest
 * when this returns: no two vCPUs run with pages of before and after. Process context.
 */
static void update_all_pages(struct lodge_vm *vm)
{
	struct lodge_vcpu *vcpu;

	lodge_for_each_vcpu(vcpu, vm) {
		lodge_make_request(vcpu, LODGE_REQ_CLOCK);
		/* One that sleeps, too: another's vDSO may read its page. */
		lodge_vcpu_kick(vcpu);
	}
	lodge_kick_all_and_wait(vm);
}

void lodge_clock_init(struct lodge_vm *vm)
{
	struct lodge_clock *clock = &vm->clock;

	raw_spin_lock_init(&clock->lock);
	clock->tsc_khz = host_tsc_khz();
	clock->stable = host_tsc_stable();
	clock->tsc_lost = READ_ONCE(lodge_tsc_lost);
	set_master(clock);
	/* kvmclock begins at 0 with the VM. */
	clock->kvmclock_offset = -clock->master_ns;
}

void lodge_get_clock(struct lodge_vm *vm, struct kvm_clock_data *data)
{
	struct lodge_clock *clock = &vm->clock;
	unsigned long flags;
	bool changed;

	memset(data, 0, sizeof(*data));
	flags = lock_clock(clock);
	/* The host may have given up its TSC since a vCPU looked last. */
	changed = update_stable(vm);
	data->host_tsc = rdtsc_ordered();
	data->clock = kvmclock_at(clock, data->host_tsc);
	if (clock->stable) {
		data->realtime = ktime_get_real_ns();
		data->flags = CLOCK_FLAGS;
	} else {
		data->host_tsc = 0;
	}
	unlock_clock(clock, flags);
	if (changed)
		update_all_pages(vm);
}

int lodge_set_clock(struct lodge_vm *vm, const struct kvm_clock_data *data)
{
	struct lodge_clock *clock = &vm->clock;
	u64 value = data->clock, now_real;
	unsigned long flags;

	if (data->flags & ~CLOCK_FLAGS)
		return -EINVAL;

	flags = lock_clock(clock);
	/* Time has passed since the value was taken, on another host perhaps. */
	if (data->flags & KVM_CLOCK_REALTIME) {
		now_real = ktime_get_real_ns();
		if (now_real > data->realtime)
			value += now_real - data->realtime;
	}
	set_master(clock);
	clock->kvmclock_offset = value - clock->master_ns;
	unlock_clock(clock, flags);
	update_all_pages(vm);
	return 0;
}

/*
 * Version odd, contents, version even: a guest that reads in between tries again. The
 * version goes on from what the guest's page has.
 */
static void write_page(struct lodge_vcpu *vcpu, u64 gpa, struct pvclock_vcpu_time_info *info)
{
	struct pvclock_vcpu_time_info old;

	if (lodge_read_gpa(vcpu->vm, gpa, &old, sizeof(old)))
		return;
	info->version = (old.version | 1) + (old.version & 1 ? 2 : 0);
	/* The guest clears this one itself, once it has seen it. */
	info->flags |= old.flags & PVCLOCK_GUEST_STOPPED;

	if (lodge_write_gpa(vcpu, gpa, &info->version, sizeof(info->version)))
		return;
	smp_wmb();	/* odd before the contents; pairs with the guest's reads */
	if (lodge_write_gpa(vcpu, gpa, info, sizeof(*info)))
		return;
	smp_wmb();	/* the contents before even */
	info->version++;
	lodge_write_gpa(vcpu, gpa, &info->version, sizeof(info->version));
}

void lodge_kvmclock_update(struct lodge_vcpu *vcpu)
{
	struct lodge_clock *clock = &vcpu->vm->clock;
	struct pvclock_vcpu_time_info info = {};
	unsigned long flags;
	bool changed;

	flags = lock_clock(clock);
	changed = update_stable(vcpu->vm);
	if (clock->stable) {
		info.tsc_timestamp = scale(vcpu, clock->master_tsc) + vcpu->st.tsc_offset;
		info.system_time = clock->master_ns + clock->kvmclock_offset;
		info.flags = PVCLOCK_TSC_STABLE_BIT;
	} else {
		info.tsc_timestamp = scale(vcpu, rdtsc_ordered()) + vcpu->st.tsc_offset;
		info.system_time = ktime_get_boottime_ns() + clock->kvmclock_offset;
	}
	unlock_clock(clock, flags);
	if (changed)
		update_all_pages(vcpu->vm);
	if (!(vcpu->kvmclock.msr & 1))
		return;

	tsc_scale(guest_tsc_khz(vcpu), &info.tsc_to_system_mul, &info.tsc_shift);
	if (vcpu->kvmclock.guest_stopped) {
		info.flags |= PVCLOCK_GUEST_STOPPED;
		vcpu->kvmclock.guest_stopped = false;
	}
	vcpu->kvmclock.refreshed = jiffies;
	write_page(vcpu, vcpu->kvmclock.msr & ~1ull, &info);
}

int lodge_kvmclock_set_msr(struct lodge_vcpu *vcpu, u64 data)
{
	vcpu->kvmclock.msr = data;
	lodge_make_request(vcpu, LODGE_REQ_CLOCK);
	return 0;
}

/* The time of day when kvmclock was 0, with the version protocol of the other page. */
int lodge_wall_clock_set_msr(struct lodge_vcpu *vcpu, u64 data)
{
	struct lodge_clock *clock = &vcpu->vm->clock;
	struct pvclock_wall_clock wall;
	unsigned long flags;
	u64 boot_ns;
	u32 nsec;

	clock->wall_clock_msr = data;
	if (!data || lodge_read_gpa(vcpu->vm, data, &wall, sizeof(wall)))
		return 0;

	flags = lock_clock(clock);
	boot_ns = ktime_get_real_ns() - kvmclock_at(clock, rdtsc_ordered());
	unlock_clock(clock, flags);

	wall.version = (wall.version | 1) + (wall.version & 1 ? 2 : 0);
	wall.sec = div_u64_rem(boot_ns, NSEC_PER_SEC, &nsec);
	wall.nsec = nsec;
	if (lodge_write_gpa(vcpu, data, &wall.version, sizeof(wall.version)))
		return 0;
	smp_wmb();	/* odd before the contents; pairs with the guest's reads */
	lodge_write_gpa(vcpu, data, &wall, sizeof(wall));
	smp_wmb();	/* the contents before even */
	wall.version++;
	lodge_write_gpa(vcpu, data, &wall.version, sizeof(wall.version));
	return 0;
}

int lodge_kvmclock_ctrl(struct lodge_vcpu *vcpu)
{
	if (!(vcpu->kvmclock.msr & 1))
		return -EINVAL;
	vcpu->kvmclock.guest_stopped = true;
	lodge_make_request(vcpu, LODGE_REQ_CLOCK);
	return 0;
}

/* The guest's TSC ------------------------------------------------------------- */

/* From now on the guest's TSC is the host's plus @offset, which makes it @value. */
static void set_offset(struct lodge_vcpu *vcpu, u64 offset, u64 value, u64 now_ns)
{
	WRITE_ONCE(vcpu->st.tsc_offset, offset);
	vcpu->st_valid |= LODGE_ST_TSC;
	vcpu->st_dirty |= LODGE_ST_TSC;
	vcpu->tsc_set = value;
	vcpu->tsc_set_ns = now_ns;
	lodge_make_request(vcpu, LODGE_REQ_CLOCK);
}

/* After the offset changed: who depends on it. */
static void offset_changed(struct lodge_vcpu *vcpu)
{
	struct lodge_clock *clock = &vcpu->vm->clock;
	unsigned long flags;
	bool changed;

	flags = lock_clock(clock);
	changed = update_stable(vcpu->vm);
	unlock_clock(clock, flags);
	if (changed)
		update_all_pages(vcpu->vm);
	if (vcpu->lapic)
		lapic_tsc_changed(vcpu->lapic);
}

/* Is a write of @value at @now_ns meant to be what the other vCPUs' TSCs are now? */
static bool meant_to_match(const struct lodge_vcpu *vcpu, u64 value, u64 now_ns)
{
	const struct lodge_clock *clock = &vcpu->vm->clock;
	u64 second = vcpu->tsc_khz * 1000ull;
	u64 expected;

	if (vcpu->tsc_khz != clock->last_tsc_khz)
		return false;
	if (!value)
		return true;	/* a vCPU after its reset */
	/* A VMM's first value must not pass for the 0 that the vCPU began with. */
	if (!clock->tsc_by_user)
		return false;
	expected = clock->last_tsc_write +
		   ns_to_cycles(now_ns - clock->last_tsc_ns, vcpu->tsc_khz);
	return value < expected + second && value + second > expected;
}

static void note_write(struct lodge_vcpu *vcpu, u64 value, u64 offset, u64 now_ns)
{
	struct lodge_clock *clock = &vcpu->vm->clock;

	clock->last_tsc_ns = now_ns;
	clock->last_tsc_write = value;
	clock->last_tsc_offset = offset;
	clock->last_tsc_ratio = vcpu->tsc_ratio;
	clock->last_tsc_khz = vcpu->tsc_khz;
}

/*
 * A VMM restores the TSCs of its vCPUs one after the other, with values that were all
 * taken at about one time. Written as they are they would come to differ by the time
 * between the ioctls; so values that lie near each other get one offset, as in KVM.
 */
static void synchronize(struct lodge_vcpu *vcpu, u64 value, bool by_user)
{
	struct lodge_clock *clock = &vcpu->vm->clock;
	unsigned long flags;
	u64 offset, now_ns;

	flags = lock_clock(clock);
	now_ns = ktime_get_boottime_ns();
	offset = value - scale(vcpu, rdtsc());
	if (meant_to_match(vcpu, value, now_ns)) {
		if (host_tsc_stable()) {
			offset = clock->last_tsc_offset;
		} else {
			value += ns_to_cycles(now_ns - clock->last_tsc_ns, vcpu->tsc_khz);
			offset = value - scale(vcpu, rdtsc());
		}
	}
	note_write(vcpu, value, offset, now_ns);
	clock->tsc_by_user |= by_user;
	WRITE_ONCE(vcpu->tsc_lost, clock->tsc_lost);
	set_offset(vcpu, offset, scale(vcpu, rdtsc()) + offset, now_ns);
	unlock_clock(clock, flags);
	offset_changed(vcpu);
}

static void adjust_offset(struct lodge_vcpu *vcpu, u64 change)
{
	u64 offset = vcpu->st.tsc_offset + change;

	set_offset(vcpu, offset, scale(vcpu, rdtsc()) + offset, ktime_get_boottime_ns());
	offset_changed(vcpu);
}

void lodge_tsc_write(struct lodge_vcpu *vcpu, u64 value, bool host)
{
	u64 change;

	if (host) {
		synchronize(vcpu, value, true);
		return;
	}
	/* Intel SDM volume 3, "IA32_TSC_ADJUST MSR": it moves by as much as the TSC. */
	change = value - lodge_read_guest_tsc(vcpu);
	vcpu->tsc_adjust += change;
	adjust_offset(vcpu, change);
}

/* A VMM restores TSC and TSC_ADJUST both: the second must not move the first. */
void lodge_tsc_adjust_write(struct lodge_vcpu *vcpu, u64 value, bool host)
{
	u64 change = value - vcpu->tsc_adjust;

	if (!lodge_guest_has(vcpu, X86_FEATURE_TSC_ADJUST))
		return;
	vcpu->tsc_adjust = value;
	if (!host)
		adjust_offset(vcpu, change);
}

/* The ratio that gives *@khz, where 0 means the host's rate. -EINVAL: there is none. */
static int find_ratio(u32 *khz, u64 *ratio)
{
	u32 host = host_tsc_khz();
	u32 tolerance = mul_u64_u32_div(host, TSC_TOLERANCE_PPM, 1000000);

	*ratio = 0;
	if (!*khz)
		*khz = host;
	if (*khz >= host - tolerance && *khz <= host + tolerance)
		return 0;
	if (!lodge_has_tsc_scaling())
		return -EINVAL;
	*ratio = mul_u64_u32_div(BIT_ULL(tsc_ratio_bits), *khz, host);
	return *ratio && *ratio <= tsc_ratio_max ? 0 : -EINVAL;
}

void lodge_clock_vcpu_init(struct lodge_vcpu *vcpu)
{
	vcpu->tsc_khz = READ_ONCE(vcpu->vm->clock.tsc_khz);
	find_ratio(&vcpu->tsc_khz, &vcpu->tsc_ratio);	/* it was checked */
	vcpu->tsc_adjust = 0;
	synchronize(vcpu, 0, false);
}

int lodge_get_tsc_khz(struct lodge_vcpu *vcpu)
{
	return vcpu->tsc_khz;
}

/* As in KVM the offset stays: a VMM sets the rate first, and then the TSC. */
int lodge_set_tsc_khz(struct lodge_vcpu *vcpu, u32 khz)
{
	u64 ratio;
	int r = find_ratio(&khz, &ratio);

	if (r)
		return r;
	vcpu->tsc_khz = khz;
	WRITE_ONCE(vcpu->tsc_ratio, ratio);
	adjust_offset(vcpu, 0);
	return 0;
}

int lodge_vm_get_tsc_khz(struct lodge_vm *vm)
{
	return READ_ONCE(vm->clock.tsc_khz);
}

int lodge_vm_set_tsc_khz(struct lodge_vm *vm, u32 khz)
{
	u64 unused;
	int r = find_ratio(&khz, &unused);

	if (!r)
		WRITE_ONCE(vm->clock.tsc_khz, khz);
	return r;
}

/* The host's TSC ---------------------------------------------------------------- */

void lodge_clock_suspend(void)
{
	tsc_at_suspend = rdtsc_ordered();
}

void lodge_clock_resume(void)
{
	u64 now = rdtsc_ordered();

	if (now < tsc_at_suspend)
		WRITE_ONCE(lodge_tsc_lost, lodge_tsc_lost + tsc_at_suspend - now);
}

/* The host slept: the guest's TSC goes on where it was. */
static void make_up_for_suspend(struct lodge_vcpu *vcpu)
{
	struct lodge_clock *clock = &vcpu->vm->clock;
	u64 lost = READ_ONCE(lodge_tsc_lost);
	unsigned long flags;
	u64 offset;

	flags = lock_clock(clock);
	offset = vcpu->st.tsc_offset + scale(vcpu, lost - vcpu->tsc_lost);
	WRITE_ONCE(vcpu->tsc_lost, lost);
	set_offset(vcpu, offset, scale(vcpu, rdtsc()) + offset, ktime_get_boottime_ns());
	unlock_clock(clock, flags);
}

/*
 * This CPU's TSC may be ahead of or behind the last one's. What the guest's TSC should
 * be follows from the time since it was set; a little more or less is the drift
 * between the two, which no correction must make visible.
 */
static void make_up_for_move(struct lodge_vcpu *vcpu)
{
	u64 now_ns = ktime_get_boottime_ns();
	u64 elapsed = ns_to_cycles(now_ns - vcpu->tsc_set_ns, vcpu->tsc_khz);
	u64 expected = vcpu->tsc_set + elapsed;
	u64 tolerance = vcpu->tsc_khz + (elapsed >> 11);	/* 1 ms and 488 ppm */
	s64 error = expected - lodge_read_guest_tsc(vcpu);

	if (abs(error) > tolerance)
		set_offset(vcpu, vcpu->st.tsc_offset + error, expected, now_ns);
	lodge_make_request(vcpu, LODGE_REQ_CLOCK);
}

void __lodge_clock_enter(struct lodge_vcpu *vcpu, int cpu)
{
	if (unlikely(vcpu->tsc_lost != READ_ONCE(lodge_tsc_lost)))
		make_up_for_suspend(vcpu);
	if (likely(host_tsc_stable()))
		return;
	/* The first to notice tells all, whether it has a page itself or not. */
	if (READ_ONCE(vcpu->vm->clock.stable))
		lodge_make_request(vcpu, LODGE_REQ_CLOCK);
	if (cpu != vcpu->cpu && vcpu->cpu != -1)
		make_up_for_move(vcpu);
	else if ((vcpu->kvmclock.msr & 1) &&
		 time_after(jiffies, vcpu->kvmclock.refreshed + CLOCK_REFRESH))
		lodge_make_request(vcpu, LODGE_REQ_CLOCK);
}

/* Device attributes ---------------------------------------------------------------- */

int lodge_vcpu_has_attr(struct lodge_vcpu *vcpu, const struct kvm_device_attr *attr)
{
	return attr->group == KVM_VCPU_TSC_CTRL && attr->attr == KVM_VCPU_TSC_OFFSET ?
	       0 : -ENXIO;
}

int lodge_vcpu_get_attr(struct lodge_vcpu *vcpu, const struct kvm_device_attr *attr)
{
	u64 __user *user = u64_to_user_ptr(attr->addr);
	int ret = lodge_vcpu_has_attr(vcpu, attr);

	return ret ?: put_user(vcpu->st.tsc_offset, user);
}

int lodge_vcpu_set_attr(struct lodge_vcpu *vcpu, const struct kvm_device_attr *attr)
{
	struct lodge_clock *clock = &vcpu->vm->clock;
	u64 __user *user = u64_to_user_ptr(attr->addr);
	int ret = lodge_vcpu_has_attr(vcpu, attr);
	unsigned long flags;
	u64 offset, now_ns;

	if (ret)
		return ret;
	if (get_user(offset, user))
		return -EFAULT;

	flags = lock_clock(clock);
	now_ns = ktime_get_boottime_ns();
	note_write(vcpu, scale(vcpu, rdtsc()) + offset, offset, now_ns);
	clock->tsc_by_user = true;
	WRITE_ONCE(vcpu->tsc_lost, clock->tsc_lost);
	set_offset(vcpu, offset, scale(vcpu, rdtsc()) + offset, now_ns);
	unlock_clock(clock, flags);
	offset_changed(vcpu);
	return 0;
}
