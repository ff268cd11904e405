// SPDX-License-Identifier: GPL-2.0-only
/*
 * Time: GET and SET of the VM's clock and of the TSC, its rate, and the
 * kvmclock page as the guest reads it.
 */
#include <kselftest_harness.h>

#include <time.h>

#include "guest.h"
#include "test_vm.h"

#define MSR_KVM_WALL_CLOCK_NEW	0x4b564d00
#define MSR_KVM_SYSTEM_TIME_NEW	0x4b564d01
#define SECOND			1000000000UL
#define PVCLOCK			GUEST_SCRATCH
#define WALL_CLOCK		(GUEST_SCRATCH + 0x100)

struct pvclock {
	u32 version;
	u32 pad0;
	u64 tsc_timestamp;
	u64 system_time;
	u32 tsc_to_system_mul;
	s8 tsc_shift;
	u8 flags;
	u8 pad[2];
} __packed;

FIXTURE(clock) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

FIXTURE_SETUP(clock)
{
	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
}

FIXTURE_TEARDOWN(clock)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static u64 vm_clock(struct test_vm *vm)
{
	struct kvm_clock_data data;

	memset(&data, 0, sizeof(data));
	vm_ioctl(vm, KVM_GET_CLOCK, &data);
	return data.clock;
}

TEST_F(clock, get_set)
{
	struct kvm_clock_data data = { .clock = 1000 * SECOND };
	u64 a, b;

	a = vm_clock(&self->vm);
	usleep(1000);
	b = vm_clock(&self->vm);
	ASSERT_LT(a, b);
	ASSERT_GT(60 * SECOND, b);
	ASSERT_EQ(0, __vm_ioctl(&self->vm, KVM_SET_CLOCK, &data));
	a = vm_clock(&self->vm);
	ASSERT_LE(1000 * SECOND, a);
	ASSERT_GT(1010 * SECOND, a);
	data.clock = SECOND;
	ASSERT_EQ(0, __vm_ioctl(&self->vm, KVM_SET_CLOCK, &data));
	a = vm_clock(&self->vm);
	ASSERT_LE(SECOND, a);
	ASSERT_GT(11 * SECOND, a);
	data.flags = 1U << 31;
	ASSERT_EQ(-EINVAL, __vm_ioctl(&self->vm, KVM_SET_CLOCK, &data));
}

TEST_F(clock, realtime)
{
	int flags = vm_cap(&self->vm, KVM_CAP_ADJUST_CLOCK);
	struct kvm_clock_data data;
	struct timespec now;
	u64 a;

	memset(&data, 0, sizeof(data));
	vm_ioctl(&self->vm, KVM_GET_CLOCK, &data);
	if (!(flags & KVM_CLOCK_REALTIME) || !(data.flags & KVM_CLOCK_REALTIME))
		SKIP(return, "no KVM_CLOCK_REALTIME");
	clock_gettime(CLOCK_REALTIME, &now);
	a = (u64)now.tv_sec * SECOND + (u64)now.tv_nsec;
	ASSERT_LE(data.realtime, a);
	ASSERT_GT(10 * SECOND, a - data.realtime);
	/* Stopped for 100 seconds of wall time: the clock makes up for it. */
	data.clock = 5 * SECOND;
	data.realtime = a - 100 * SECOND;
	data.flags = KVM_CLOCK_REALTIME;
	ASSERT_EQ(0, __vm_ioctl(&self->vm, KVM_SET_CLOCK, &data));
	a = vm_clock(&self->vm);
	ASSERT_LE(105 * SECOND, a);
	ASSERT_GT(115 * SECOND, a);
}

/* The guest's clock by the page, as its own kernel would read it. */
static u64 pvclock_now(void)
{
	volatile struct pvclock *p = (struct pvclock *)PVCLOCK;
	u64 delta, ns, high;
	u32 version;

	do {
		version = p->version;
		asm volatile("" : : : "memory");
		delta = rdtsc() - p->tsc_timestamp;
		if (p->tsc_shift >= 0)
			delta <<= p->tsc_shift;
		else
			delta >>= -p->tsc_shift;
		asm("mulq %3" : "=a"(ns), "=d"(high)
		    : "0"(delta), "r"((u64)p->tsc_to_system_mul));
		ns = ns >> 32 | high << 32;
		ns += p->system_time;
		asm volatile("" : : : "memory");
	} while ((version & 1) || version != p->version);
	return ns;
}

static void guest_kvmclock(u64 arg __maybe_unused)
{
	volatile u32 *wall = (volatile u32 *)WALL_CLOCK;
	u64 last = 0, now;
	int i;

	wrmsr(MSR_KVM_SYSTEM_TIME_NEW, PVCLOCK | 1);
	GUEST_ASSERT_EQ(rdmsr(MSR_KVM_SYSTEM_TIME_NEW), PVCLOCK | 1);
	wrmsr(MSR_KVM_WALL_CLOCK_NEW, WALL_CLOCK);
	GUEST_SYNC(wall[1]);
	for (i = 0; i < 1000; i++) {
		now = pvclock_now();
		GUEST_ASSERT(now >= last);
		last = now;
	}
	for (;;)
		GUEST_SYNC(pvclock_now());
}

TEST_F(clock, kvmclock)
{
	struct kvm_clock_data data = { .clock = 500 * SECOND };
	struct test_vcpu *vcpu = &self->vcpu;
	struct pvclock *p;
	u64 before, guest, after;
	int i;

	vcpu_setup_long(vcpu, guest_kvmclock, 0);
	/* The wall clock is the time at which the VM's clock was 0. */
	guest = vcpu_run_to_sync(vcpu);
	EXPECT_LE(guest, (u64)time(NULL));
	EXPECT_LE((u64)time(NULL) - 60, guest);
	p = vm_ptr(&self->vm, PVCLOCK);
	EXPECT_EQ(0, p->version & 1);
	EXPECT_NE(0, p->tsc_to_system_mul);
	for (i = 0; i < 10; i++) {
		before = vm_clock(&self->vm);
		guest = vcpu_run_to_sync(vcpu);
		after = vm_clock(&self->vm);
		ASSERT_LE(before, guest + 1000000);
		ASSERT_LE(guest, after + 1000000);
	}
	/* The VMM's SET_CLOCK reaches the page. */
	vm_ioctl(&self->vm, KVM_SET_CLOCK, &data);
	guest = vcpu_run_to_sync(vcpu);
	ASSERT_LE(500 * SECOND - 1000000, guest);
	ASSERT_GT(510 * SECOND, guest);
}

static void guest_tsc(u64 arg __maybe_unused)
{
	u64 v;

	for (;;) {
		GUEST_SYNC(rdtsc());
		GUEST_SYNC(rdmsr(MSR_TSC));
		v = rdtsc();
		GUEST_ASSERT(rdmsr(MSR_TSC) >= v);
		GUEST_ASSERT(rdtsc() >= v);
	}
}

TEST_F(clock, tsc)
{
	struct test_vcpu *vcpu = &self->vcpu;
	u64 khz = (u64)vcpu_ioctl(vcpu, KVM_GET_TSC_KHZ, 0);
	u64 a, b, start = 1UL << 50;

	ASSERT_LT(1000, khz);
	vcpu_setup_long(vcpu, guest_tsc, 0);
	a = vcpu_run_to_sync(vcpu);
	/* A new VM's TSC begins at 0. */
	ASSERT_GT(60000 * khz, a);
	b = vcpu_run_to_sync(vcpu);
	ASSERT_LT(a, b);
	vcpu_set_msr(vcpu, MSR_TSC, start);
	a = vcpu_get_msr(vcpu, MSR_TSC);
	ASSERT_LE(start, a);
	ASSERT_GT(start + 10000 * khz, a);
	b = vcpu_run_to_sync(vcpu);
	ASSERT_LE(a, b);
	ASSERT_GT(start + 10000 * khz, b);
}

/*
 * A restored TSC holds, also if the new vCPU's own is within a second of it, which a later
 * value is taken for the same as. KVM before Linux 6.7 takes the first so, too.
 */
TEST_F(clock, first_tsc)
{
	struct test_vcpu *vcpu = &self->vcpu;
	u64 khz = (u64)vcpu_ioctl(vcpu, KVM_GET_TSC_KHZ, 0);
	u64 before = vcpu_get_msr(vcpu, MSR_TSC), start = before + 900 * khz;

	vcpu_set_msr(vcpu, MSR_TSC, start);
	if (test_device_is_kvm() && vcpu_get_msr(vcpu, MSR_TSC) < start)
		SKIP(return, "an older KVM");
	EXPECT_LE(start, vcpu_get_msr(vcpu, MSR_TSC));
	vcpu_set_msr(vcpu, MSR_TSC, start - 900 * khz);
	EXPECT_LE(start, vcpu_get_msr(vcpu, MSR_TSC));
}

/* The guest's own write of the TSC, and TSC_ADJUST with it. */
static void guest_sets_tsc(u64 arg __maybe_unused)
{
	u64 v;

	wrmsr(MSR_TSC, 1UL << 45);
	v = rdtsc();
	GUEST_ASSERT(v >= 1UL << 45 && v < 1UL << 46);
	v = rdmsr(MSR_TSC_ADJUST);
	wrmsr(MSR_TSC_ADJUST, v + (1UL << 46));
	v = rdtsc();
	GUEST_ASSERT(v >= (1UL << 45) + (1UL << 46));
}

TEST_F(clock, guest_sets_tsc)
{
	vcpu_setup_long(&self->vcpu, guest_sets_tsc, 0);
	vcpu_run_to_done(&self->vcpu);
}

TEST_F(clock, tsc_khz)
{
	int khz = __vcpu_ioctl(&self->vcpu, KVM_GET_TSC_KHZ, 0);

	ASSERT_LT(0, khz);
	ASSERT_EQ(0, __vcpu_ioctl(&self->vcpu, KVM_SET_TSC_KHZ, khz));
	/* 0: the host's own rate. */
	ASSERT_EQ(0, __vcpu_ioctl(&self->vcpu, KVM_SET_TSC_KHZ, 0));
	ASSERT_EQ(khz, __vcpu_ioctl(&self->vcpu, KVM_GET_TSC_KHZ, 0));
	if (!vm_cap(&self->vm, KVM_CAP_TSC_CONTROL)) {
		/* Nobody can make a TSC slower without scaling. */
		ASSERT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_TSC_KHZ,
						khz / 2));
		/* KVM 6.1 remembers the rate that it refused. */
		if (!test_device_is_kvm())
			ASSERT_EQ(khz, __vcpu_ioctl(&self->vcpu,
						    KVM_GET_TSC_KHZ, 0));
	}
}

/* The VM's rate is that of the vCPUs to come. */
TEST_F(clock, vm_tsc_khz)
{
	int khz = __vm_ioctl(&self->vm, KVM_GET_TSC_KHZ, 0), near = khz + khz / 10000;
	struct test_vcpu second;

	ASSERT_EQ(khz, __vcpu_ioctl(&self->vcpu, KVM_GET_TSC_KHZ, 0));
	ASSERT_EQ(0, __vm_ioctl(&self->vm, KVM_SET_TSC_KHZ, near));
	ASSERT_EQ(near, __vm_ioctl(&self->vm, KVM_GET_TSC_KHZ, 0));
	ASSERT_EQ(khz, __vcpu_ioctl(&self->vcpu, KVM_GET_TSC_KHZ, 0));
	vcpu_create(&self->vm, &second, 1);
	ASSERT_EQ(near, __vcpu_ioctl(&second, KVM_GET_TSC_KHZ, 0));
	vcpu_destroy(&second);
	/* KVM notices only when it creates a vCPU that it cannot serve this. */
	if (!test_device_is_kvm() && !vm_cap(&self->vm, KVM_CAP_TSC_CONTROL)) {
		ASSERT_EQ(-EINVAL, __vm_ioctl(&self->vm, KVM_SET_TSC_KHZ, khz / 2));
		ASSERT_EQ(near, __vm_ioctl(&self->vm, KVM_GET_TSC_KHZ, 0));
	}
	ASSERT_EQ(0, __vm_ioctl(&self->vm, KVM_SET_TSC_KHZ, 0));
	ASSERT_EQ(khz, __vm_ioctl(&self->vm, KVM_GET_TSC_KHZ, 0));
}

TEST_HARNESS_MAIN
