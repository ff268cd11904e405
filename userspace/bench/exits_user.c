// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rows about exits to user space: what it takes from one to the next, on the VMM's side.
 * Called by bench.c in a process of its own; no lock.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define OUTSB_BYTES	64

/* Whether the exit is the one that the row is about; as quick as a VMM's look at it. */
static inline bool is_expected(const struct kvm_run *run, u64 op)
{
	switch (op) {
	case OP_OUT:
	case OP_OUTSB:
		return run->exit_reason == KVM_EXIT_IO && run->io.port == PORT_ROW &&
		       run->io.direction == KVM_EXIT_IO_OUT;
	case OP_IN:
		return run->exit_reason == KVM_EXIT_IO && run->io.port == PORT_ROW &&
		       run->io.direction == KVM_EXIT_IO_IN;
	case OP_MMIO_WRITE:
		return run->exit_reason == KVM_EXIT_MMIO && run->mmio.is_write;
	case OP_MMIO_READ:
		return run->exit_reason == KVM_EXIT_MMIO && !run->mmio.is_write;
	default:
		return run->exit_reason == KVM_EXIT_HLT;
	}
}

/*
 * KVM_RUNs until the guest has done it once more: one, but for a string of which the device
 * gives less at a time.
 */
static inline bool run_once(struct bench_vcpu *vcpu, u64 op)
{
	unsigned int bytes = 0;

	do {
		if (ioctl(vcpu->fd, KVM_RUN, 0) || !is_expected(vcpu->run, op))
			return false;
		if (op != OP_OUTSB)
			return true;
		bytes += vcpu->run->io.count;
	} while (bytes < OUTSB_BYTES);
	return bytes == OUTSB_BYTES;
}

static void measure_exits(struct bench *bench, const struct row *row)
{
	struct bench_vcpu *vcpu;
	struct bench_vm vm;
	u64 ticks;

	/* Without interrupt chips HLT is the VMM's affair. */
	bench_vm_create(bench, &vm, 1, row->op != OP_HALT);
	vcpu = &vm.vcpus[0];
	bench_call(bench, vcpu);
	vcpu->shared->op = row->op;
	vcpu->shared->argument = row->argument;
	bench_watch(bench, vcpu, 0);
	do {
		MEASURE_BEGIN();
		ticks = read_tsc();
		for (u64 i = 0; i < row->count; i++)
			if (!run_once(vcpu, row->op))
				row_fail(bench, "unexpected exit: %s (%u)",
					 exit_name(vcpu->run->exit_reason), vcpu->run->exit_reason);
		ticks = read_tsc() - ticks;
		MEASURE_END();
	} while (row_sample(bench, ticks, row->count));
}

static void on_signal(int number)
{
	(void)number;
}

/*
 * A timer's signal ends KVM_RUN while the guest runs: from the guest's last look at the
 * TSC to the return of KVM_RUN with EINTR, after the signal's handler.
 */
static void measure_kick(struct bench *bench, const struct row *row)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec soon = { .it_value.tv_nsec = 300000 };
	struct bench_vcpu *vcpu;
	struct bench_vm vm;
	timer_t timer;
	u64 ticks;

	(void)row;
	bench_vm_create(bench, &vm, 1, true);
	vcpu = &vm.vcpus[0];
	bench_align_tsc(bench, &vm, 0);
	bench_call(bench, vcpu);
	vcpu->shared->op = OP_SPIN;
	sigaction(SIGUSR1, &action, NULL);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer))
		row_fail(bench, "timer_create: %m");
	do {
		vcpu->shared->now = 0;
		timer_settime(timer, 0, &soon, NULL);
		if (!ioctl(vcpu->fd, KVM_RUN, 0) || errno != EINTR)
			row_fail(bench, "KVM_RUN did not end with EINTR");
		ticks = read_tsc() - vcpu->shared->now;
		if (!vcpu->shared->now)
			row_fail(bench, "the signal came before the guest ran");
	} while (row_sample(bench, ticks, 1));
}

const struct row user_rows[] = {
	{ "out", "OUT to user space", measure_exits, OP_OUT, .count = 32 },
	{ "in", "IN from user space", measure_exits, OP_IN, .count = 32 },
	{ "mmio-read", "MMIO read by user space", measure_exits, OP_MMIO_READ, GUEST_HOLE, 32 },
	{ "mmio-write", "MMIO write to user space", measure_exits, OP_MMIO_WRITE, GUEST_HOLE, 32 },
	{ "rep-outsb-64", "REP OUTSB of 64 bytes to user space", measure_exits, OP_OUTSB,
	  .count = 8 },
	{ "hlt-user", "HLT without interrupt chips, to user space", measure_exits, OP_HALT,
	  .count = 32 },
	{ "signal-kick", "a signal that ends KVM_RUN", .measure = measure_kick },
	{ },
};
