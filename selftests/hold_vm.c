// SPDX-License-Identifier: GPL-2.0-only
/*
 * hold_vm [VCPUS]: for the shell tests. Creates a VM whose vCPUs run for ever,
 * each in a thread of its own, says "ready" once they all do, and keeps that
 * up until standard input ends or somebody kills it. Every 100 ms it looks
 * that each vCPU still makes progress. Exit status: 0, or 1 if one stood still,
 * or 2 and the error's name if the VM cannot be created.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdio.h>

#include "guest.h"
#include "test_vm.h"

#define MAX_VCPUS	8

static volatile u64 progress[MAX_VCPUS];

static void guest_counts(u64 id)
{
	/* Bochs lets no interrupt of the host's end a guest that began with IF clear. */
	guest_sti();
	for (;;) {
		progress[id]++;
		VOLATILE(u64, GUEST_SCRATCH +
			 (progress[id] & 63) * TEST_PAGE_SIZE) = id;
	}
}

static void *run_thread(void *arg)
{
	struct test_vcpu *vcpu = arg;
	int ret;

	do {
		ret = __vcpu_run(vcpu);
	} while (ret == -EINTR);
	fprintf(stderr, "hold_vm: vCPU %u: %s\n", vcpu->id, strerror(-ret));
	dump_exit(vcpu);
	_exit(1);
}

static void try_create(void)
{
	int device = device_open(), fd;

	fd = __dev_ioctl(device, KVM_CREATE_VM, 0);
	if (fd < 0) {
		printf("%s\n", strerrorname_np(-fd));
		exit(2);
	}
	close(fd);
	close(device);
}

int main(int argc, char **argv)
{
	struct pollfd input = { .fd = 0, .events = POLLIN };
	int n = argc > 1 ? atoi(argv[1]) : 1, i, still = 0;
	struct test_vcpu vcpus[MAX_VCPUS];
	u64 last[MAX_VCPUS] = { 0 }, now;
	bool said = false, all;
	struct test_vm vm;
	pthread_t t;
	char c;

	if (n < 1 || n > MAX_VCPUS)
		TEST_DIE("1 to %d vCPUs", MAX_VCPUS);
	try_create();
	vm_create(&vm);
	for (i = 0; i < n; i++) {
		vcpu_create(&vm, &vcpus[i], (unsigned int)i);
		vcpu_setup_long(&vcpus[i], guest_counts, (u64)i);
		if (pthread_create(&t, NULL, run_thread, &vcpus[i]))
			TEST_DIE("no thread");
	}
	/* A busy machine may starve a vCPU for a while: 10 s are too long. */
	for (still = 0; still < 100; still++) {
		if (poll(&input, 1, 100) && read(0, &c, 1) <= 0)
			return 0;
		for (all = true, i = 0; i < n; i++) {
			now = guest_var(&vm, progress[i]);
			all &= now != last[i];
		}
		if (!all)
			continue;
		for (i = 0; i < n; i++)
			last[i] = guest_var(&vm, progress[i]);
		still = 0;
		if (!said) {
			puts("ready");
			fflush(stdout);
			said = true;
		}
	}
	fprintf(stderr, "hold_vm: no progress\n");
	return 1;
}
