// SPDX-License-Identifier: GPL-2.0-only
/*
 * Posted interrupts: a guest that runs takes what another CPU sends without an exit, loses
 * none and gets none twice; and an interrupt whose end has to be known exits there.
 */
#define _GNU_SOURCE
#include <kselftest_harness.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "guest.h"
#include "test_vm.h"

#define VECTOR		0x51
#define OTHER		0x93
#define LEVEL		0x72
#define GSI		21
#define IOAPIC_BASE	0xfec00000UL
#define TIMES		200U
#define PATIENCE	(20UL * 2600000000UL)	/* cycles, about */
#define STACK(n)	(GUEST_STACKS - (n) * GUEST_STACK_SIZE)

static volatile u64 hits[256], ready, stop, naps;
static unsigned int cpus[2];	/* the sender's, and the one that takes */

FIXTURE(posted) {
	struct test_vm vm;
	struct test_vcpu vcpu[2];
	pthread_t thread;
	int stats;	/* of the vCPU that takes them: */
	long exits;	/* where they are counted */
};

static void stay_on(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		TEST_DIE("CPU %u: %m", cpu);
}

/* The first two that we may use. */
static bool find_cpus(void)
{
	unsigned int cpu, n = 0;
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		TEST_DIE("sched_getaffinity: %m");
	for (cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus[n++] = cpu;
	return n == 2;
}

/* Has a line of the file that begins with @start, apart from blanks, @word in it? */
static bool says(const char *name, const char *start, const char *word)
{
	static char line[8192];
	FILE *f = fopen(name, "r");
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		const char *text = line + strspn(line, " ");

		found = !strncmp(text, start, strlen(start)) && strstr(text, word);
	}
	if (f)
		fclose(f);
	return found;
}

/* Why none are to be expected, or NULL. */
static const char *no_posts(void)
{
	if (!says("/proc/cpuinfo", "vmx flags", " posted_intr"))
		return "the CPU has no posted interrupts";
	if (!says("/proc/interrupts", "PIN:", ""))
		return "the kernel has no vector for them";
	if (test_device_is_kvm() ?
	    !says("/sys/module/kvm_intel/parameters/enable_apicv", "Y", "") :
	    !says("/sys/module/lodge/parameters/apicv", "1", ""))
		return "the module is not to use them";
	return NULL;
}

static void count_irq(struct guest_regs *regs)
{
	hits[regs->vector]++;
	wrmsr(X2APIC_MSR(APIC_EOI), 0);
}

static void enable_apic(void)
{
	wrmsr(MSR_APICBASE, rdmsr(MSR_APICBASE) | 1 << 10);
	wrmsr(X2APIC_MSR(APIC_SPIV), 0x1ff);
}

/* PAUSE in a loop would exit. */
static void guest_takes(u64 arg __maybe_unused)
{
	enable_apic();
	guest_sti();
	ready = 1;
	while (!stop) {
		if (naps)
			guest_halt();
	}
}

static void guest_sends(u64 vector)
{
	u64 start = rdtsc();
	unsigned int i;

	enable_apic();
	for (i = 1; i <= TIMES; i++) {
		wrmsr(X2APIC_MSR(APIC_ICR), 1UL << 32 | 1 << 14 | vector);
		while (hits[vector] != i)
			GUEST_ASSERT(rdtsc() - start < PATIENCE);
	}
}

static void *run_thread(void *arg)
{
	stay_on(cpus[1]);
	vcpu_run_to_done((struct test_vcpu *)arg);
	return NULL;
}

FIXTURE_SETUP(posted)
{
	struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };
	const char *reason = no_posts();
	unsigned int i;

	if (reason)
		SKIP(return, "%s", reason);
	if (!find_cpus())
		SKIP(return, "two CPUs are needed");
	stay_on(cpus[0]);
	vm_create(&self->vm);
	vm_create_irqchip(&self->vm);
	for (i = 0; i < 2; i++) {
		vcpu_create(&self->vm, &self->vcpu[i], i);
		vcpu_set_supported_cpuid(&self->vcpu[i]);
		vcpu_ioctl(&self->vcpu[i], KVM_SET_MP_STATE, &runnable);
	}
	guest_var(&self->vm, guest_handlers[VECTOR]) = count_irq;
	guest_var(&self->vm, guest_handlers[OTHER]) = count_irq;
	guest_var(&self->vm, guest_handlers[LEVEL]) = count_irq;
	vcpu_setup_long_stack(&self->vcpu[1], guest_takes, 0, STACK(1));
	/* No ioctl of a vCPU comes back while it runs. */
	self->stats = vcpu_stat_open(&self->vcpu[1], "exits", &self->exits);
	ASSERT_EQ(0, pthread_create(&self->thread, NULL, run_thread, &self->vcpu[1]));
	while (!guest_var(&self->vm, ready))
		sched_yield();
}

static void send_msi(struct test_vm *vm, u8 vector)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000 | 1 << 12, .data = vector };

	if (__vm_ioctl(vm, KVM_SIGNAL_MSI, &msi) != 1)
		TEST_DIE("KVM_SIGNAL_MSI");
}

FIXTURE_TEARDOWN(posted)
{
	guest_var(&self->vm, stop) = 1;
	/* It may be on its way to a halt. */
	while (pthread_tryjoin_np(self->thread, NULL)) {
		send_msi(&self->vm, VECTOR);
		sched_yield();
	}
	close(self->stats);
	vcpu_destroy(&self->vcpu[0]);
	vcpu_destroy(&self->vcpu[1]);
	vm_destroy(&self->vm);
}

/* False after many seconds. */
static bool wait_for(struct test_vm *vm, u8 vector, u64 count)
{
	u64 start = rdtsc();

	while (guest_var(vm, hits[vector]) < count)
		if (rdtsc() - start > PATIENCE)
			return false;
	return true;
}

static u64 exits(int stats, long at)
{
	u64 value;

	if (pread(stats, &value, sizeof(value), at) != sizeof(value))
		TEST_DIE("read: %m");
	return value;
}

/* By a kick, each had one. The host's own interrupts end the guest now and then. */
TEST_F_TIMEOUT(posted, messages, 120)
{
	unsigned int i, quiet = 0;

	for (i = 1; i <= TIMES; i++) {
		u64 before = exits(self->stats, self->exits);

		send_msi(&self->vm, i & 1 ? VECTOR : OTHER);
		ASSERT_TRUE(wait_for(&self->vm, i & 1 ? VECTOR : OTHER, (i + 1) / 2));
		quiet += exits(self->stats, self->exits) == before;
	}
	TH_LOG("%u of %u messages without an exit", quiet, TIMES);
	EXPECT_LT(TIMES / 10, quiet);
	EXPECT_EQ(TIMES / 2, guest_var(&self->vm, hits[VECTOR]));
	EXPECT_EQ(TIMES / 2, guest_var(&self->vm, hits[OTHER]));
}

TEST_F_TIMEOUT(posted, ipis, 120)
{
	u64 taken = exits(self->stats, self->exits), sent;

	vcpu_setup_long(&self->vcpu[0], guest_sends, OTHER);
	vcpu_run_to_done(&self->vcpu[0]);
	taken = exits(self->stats, self->exits) - taken;
	sent = vcpu_stat(&self->vcpu[0], "exits");
	TH_LOG("%u IPIs: %llu exits by them, %llu by those that they met", TIMES,
	       (unsigned long long)sent, (unsigned long long)taken);
	/* Each has one where it is sent. The host's ticks are the same on both sides. */
	EXPECT_LT(taken + TIMES / 2, sent);
	EXPECT_EQ(TIMES, guest_var(&self->vm, hits[OTHER]));
}

/* Between the look and the halt as well as in it, it must wake up. */
TEST_F_TIMEOUT(posted, sleepers_wake, 120)
{
	unsigned int i;

	guest_var(&self->vm, naps) = 1;
	for (i = 1; i <= TIMES; i++) {
		send_msi(&self->vm, VECTOR);
		ASSERT_TRUE(wait_for(&self->vm, VECTOR, i));
	}
	EXPECT_EQ(TIMES, guest_var(&self->vm, hits[VECTOR]));
	guest_var(&self->vm, naps) = 0;
}

static void guest_routes(u64 arg __maybe_unused)
{
	VOLATILE(u32, IOAPIC_BASE) = 0x10 + 2 * GSI + 1;
	VOLATILE(u32, IOAPIC_BASE + 0x10) = 1 << 24;
	VOLATILE(u32, IOAPIC_BASE) = 0x10 + 2 * GSI;
	VOLATILE(u32, IOAPIC_BASE + 0x10) = 1 << 15 | LEVEL;
}

/* A level stays until its EOI was seen, among others that are posted. */
TEST_F_TIMEOUT(posted, levels_end, 120)
{
	int fd = eventfd(0, EFD_CLOEXEC), resample = eventfd(0, EFD_CLOEXEC);
	struct kvm_irqfd irqfd = {
		.fd = (u32)fd, .gsi = GSI, .flags = KVM_IRQFD_FLAG_RESAMPLE,
		.resamplefd = (u32)resample,
	};
	u64 one = 1, value;
	unsigned int i;

	vcpu_setup_long(&self->vcpu[0], guest_routes, 0);
	vcpu_run_to_done(&self->vcpu[0]);
	vm_ioctl(&self->vm, KVM_IRQFD, &irqfd);
	for (i = 1; i <= TIMES; i++) {
		send_msi(&self->vm, OTHER);
		ASSERT_EQ((ssize_t)sizeof(one), write(fd, &one, sizeof(one)));
		send_msi(&self->vm, VECTOR);
		ASSERT_EQ((ssize_t)sizeof(value), read(resample, &value, sizeof(value)));
		ASSERT_TRUE(wait_for(&self->vm, OTHER, i));
		ASSERT_TRUE(wait_for(&self->vm, VECTOR, i));
	}
	EXPECT_EQ(TIMES, guest_var(&self->vm, hits[LEVEL]));
	close(fd);
	close(resample);
}

/*
 * With posted interrupts an exit takes the host's interrupt off its local APIC. Who serves it
 * then has to leave the host as that interrupt would: with its next timer set.
 */
TEST_F_TIMEOUT(posted, host_keeps_its_tick, 120)
{
	char digit[] = "0";
	unsigned int i;

	for (; digit[0] <= '9'; digit[0]++)
		if (says("/sys/devices/system/cpu/nohz_full", digit, ""))
			SKIP(return, "the CPU may have no tick");
	for (i = 0; i < 20; i++) {
		u64 before = exits(self->stats, self->exits);

		usleep(100000);
		ASSERT_LT(before, exits(self->stats, self->exits));
	}
}

TEST_HARNESS_MAIN
