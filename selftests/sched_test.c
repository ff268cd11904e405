// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the host's scheduler has of a thread that runs a vCPU: that it gives way when it is
 * told to and tells the guest so, and whose time its time is.
 */
#include <kselftest_harness.h>

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "guest.h"
#include "test_vm.h"

#define MSR_KVM_STEAL_TIME	0x4b564d03
#define PREEMPTED_AT		16		/* in struct kvm_steal_time */
#define STEAL			GUEST_SCRATCH

#define SECONDS			2
/* A tick of the host's ends a window; some hosts have a thousand in a second. */
#define WINDOWS_PER_SECOND	4000

FIXTURE(sched) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

/* Without PAUSE, by which a CPU may leave the guest, but with interrupts on, for Bochs. */
static void guest_spins(u64 arg __maybe_unused)
{
	guest_sti();
	for (;;)
		asm volatile("");
}

FIXTURE_SETUP(sched)
{
	struct sigaction action = { .sa_handler = host_signal_noop };

	if (host_stay_on_first_cpu() || sigaction(SIGUSR1, &action, NULL))
		TEST_DIE("%m");
	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	vcpu_setup_long(&self->vcpu, guest_spins, 0);
}

FIXTURE_TEARDOWN(sched)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *end_it(void *arg)
{
	pthread_t *runner = arg;

	sleep(SECONDS);
	pthread_kill(*runner, SIGUSR1);
	return NULL;
}

/* Runs the guest until a signal comes; the seconds that took. */
static double run_for_a_while(struct test_vcpu *vcpu)
{
	pthread_t self = pthread_self(), other;
	double start = now();

	if (pthread_create(&other, NULL, end_it, &self))
		TEST_DIE("no thread");
	if (__vcpu_run(vcpu) != -EINTR)
		TEST_DIE("the guest ended");
	pthread_join(other, NULL);
	return now() - start;
}

/* In ticks, this process's: field 14, 15 and 43 of its stat file. */
static void read_times(u64 *user, u64 *kernel, u64 *guest)
{
	FILE *file = fopen("/proc/self/stat", "r");
	char text[1024], *word;
	u64 values[64];
	int n = 3;

	if (!file || !fgets(text, sizeof(text), file))
		TEST_DIE("/proc/self/stat: %m");
	fclose(file);
	/* The second field is a name, in parentheses. */
	strtok(strrchr(text, ')') + 2, " ");
	while ((word = strtok(NULL, " ")) && ++n < 64)
		values[n] = strtoul(word, NULL, 10);
	*user = values[14];
	*kernel = values[15];
	*guest = values[43];
}

TEST_F(sched, time_of_the_guest)
{
	u64 user[2], kernel[2], guest[2];

	read_times(&user[0], &kernel[0], &guest[0]);
	run_for_a_while(&self->vcpu);
	read_times(&user[1], &kernel[1], &guest[1]);
	/* The guest's is a part of user's. */
	EXPECT_LT((user[1] - user[0] + kernel[1] - kernel[0]) / 2, guest[1] - guest[0]);
	EXPECT_LE(guest[1] - guest[0], user[1] - user[0]);
}

struct rival {
	volatile bool stop;
	volatile u8 *preempted;
	u64 looks, seen;
};

static void *compete(void *arg)
{
	struct rival *rival = arg;

	while (!rival->stop) {
		rival->looks++;
		rival->seen += *rival->preempted;
	}
	return NULL;
}

/* Another thread of this CPU's gets its share, at once, and sees why the vCPU does not run. */
TEST_F(sched, gives_way)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct rival rival = {
		.preempted = (u8 *)vm_ptr(&self->vm, STEAL) + PREEMPTED_AT,
	};
	pthread_t other;
	double seconds;
	u64 windows;

	if (vcpu_get_msr(vcpu, MSR_KVM_STEAL_TIME) ||
	    __vcpu_set_msr(vcpu, MSR_KVM_STEAL_TIME, STEAL | 1) != 1)
		SKIP(return, "no steal time");
	windows = vcpu_stat(vcpu, "host_state_reload");
	ASSERT_EQ(0, pthread_create(&other, NULL, compete, &rival));
	seconds = run_for_a_while(vcpu);
	rival.stop = true;
	pthread_join(other, NULL);
	windows = vcpu_stat(vcpu, "host_state_reload") - windows;
	TH_LOG("%lu windows in %.1f s, preempted in %lu of %lu looks", (unsigned long)windows,
	       seconds, (unsigned long)rival.seen, (unsigned long)rival.looks);
	EXPECT_LT(windows, (u64)(seconds * WINDOWS_PER_SECOND));
	EXPECT_LT(rival.looks / 4 * 3, rival.seen);
}

TEST_HARNESS_MAIN
