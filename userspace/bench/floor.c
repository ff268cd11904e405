// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rows that show what cannot be saved: a system call, an ioctl, a KVM_RUN that does not
 * enter the guest.  Called by bench.c in a process of its own; no lock.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

static void measure_getpid(struct bench *bench, const struct row *row)
{
	u64 ticks;

	do {
		MEASURE_BEGIN();
		ticks = read_tsc();
		for (u64 i = 0; i < row->count; i++)
			syscall(SYS_getpid);
		ticks = read_tsc() - ticks;
		MEASURE_END();
	} while (row_sample(bench, ticks, row->count));
}

static void measure_ioctl(struct bench *bench, const struct row *row)
{
	u64 ticks;

	do {
		MEASURE_BEGIN();
		ticks = read_tsc();
		for (u64 i = 0; i < row->count; i++)
			ioctl(bench->node, KVM_GET_API_VERSION, 0);
		ticks = read_tsc() - ticks;
		MEASURE_END();
	} while (row_sample(bench, ticks, row->count));
}

/* What a VMM does that wants an exit finished, but no more of the guest. */
static void measure_immediate_exit(struct bench *bench, const struct row *row)
{
	struct bench_vcpu *vcpu;
	struct bench_vm vm;
	u64 ticks;

	bench_vm_create(bench, &vm, 1, true);
	vcpu = &vm.vcpus[0];
	bench_call(bench, vcpu);
	vcpu->run->immediate_exit = 1;
	do {
		MEASURE_BEGIN();
		ticks = read_tsc();
		for (u64 i = 0; i < row->count; i++)
			if (!ioctl(vcpu->fd, KVM_RUN, 0) || errno != EINTR)
				row_fail(bench, "KVM_RUN did not end with EINTR");
		ticks = read_tsc() - ticks;
		MEASURE_END();
	} while (row_sample(bench, ticks, row->count));
}

static void measure_vmrun(struct bench *bench, const struct row *row)
{
	(void)row;
	row_skip(bench, "no interface enters a guest for nothing; 'cpuid' and 'hypercall' come nearest");
}

const struct row floor_rows[] = {
	{ "getpid", "a system call", measure_getpid, .count = 64 },
	{ "ioctl", "an ioctl that does nothing: KVM_GET_API_VERSION", measure_ioctl, .count = 64 },
	{ "run-immediate-exit", "KVM_RUN with immediate_exit set", measure_immediate_exit,
	  .count = 64 },
	{ "vmrun", "an empty VMRUN or VMLAUNCH and back", .measure = measure_vmrun },
	{ },
};
