// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rows about objects: what VMs and vCPUs take to come and go, and what memory they hold.
 * Called by bench.c in a process of its own; no lock.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define SAMPLES		5
#define OTHER_VMS	100
/* Before those whose memory is measured: they use up what allocators have at hand. */
#define FILLER_VMS	256
#define FILLER_VCPUS	64
#define KEPT_BYTES	MIB(96)
#define MEASURED_VMS	64
#define MEASURED_VCPUS	128
/* What a VM leaves to be done later, after grace periods too, is done by then. */
#define SETTLE_US	100000

/* Nothing but the VM itself. */
static void create_and_close(struct bench *bench, u8 *memory)
{
	(void)memory;
	close(must_ioctl(bench, bench->node, KVM_CREATE_VM, NULL));
}

/* Interrupt chips, a slot and a vCPU; to the first exit, unless it is to stay. */
static void create_whole(struct bench *bench, struct bench_vm *vm, u8 *memory)
{
	memset(vm, 0, sizeof(*vm));
	vm->memory = memory;
	vm->irqchip = true;
	vm->nr_vcpus = 1;
	vm->fd = must_ioctl(bench, bench->node, KVM_CREATE_VM, NULL);
	must_ioctl(bench, vm->fd, KVM_CREATE_IRQCHIP, NULL);
	bench_slot(bench, vm, 0, 0, 0, GUEST_MEMORY, memory);
	bench_vcpu_open(bench, vm, 0, must_ioctl(bench, vm->fd, KVM_CREATE_VCPU, NULL));
	bench_call(bench, &vm->vcpus[0]);
}

static void create_run_close(struct bench *bench, u8 *memory)
{
	struct bench_vm vm;

	create_whole(bench, &vm, memory);
	munmap(vm.vcpus[0].run, bench->run_size);
	close(vm.vcpus[0].fd);
	close(vm.fd);
}

static u8 *guest_memory(struct bench *bench)
{
	u8 *memory = bench_memory(bench, GUEST_MEMORY, false);

	bench_vm_fill_memory(memory);
	return memory;
}

static void create_others(struct bench *bench, u8 *memory, u64 count)
{
	static struct bench_vm vms[OTHER_VMS];

	for (u64 i = 0; i < count; i++)
		create_whole(bench, &vms[i], memory);
	sleep_us(SETTLE_US);
}

enum { BARE_VM, WHOLE_VM };

static void (*const make[])(struct bench *bench, u8 *memory) = {
	[BARE_VM] = create_and_close,
	[WHOLE_VM] = create_run_close,
};

/* Until it is closed again; row->argument: other VMs alive. */
static void measure_elapsed(struct bench *bench, const struct row *row)
{
	u8 *memory = guest_memory(bench);
	u64 ticks;

	create_others(bench, memory, row->argument);
	make[row->op](bench, memory);
	do {
		sleep_us(SETTLE_US);
		MEASURE_BEGIN();
		ticks = read_tsc();
		make[row->op](bench, memory);
		ticks = read_tsc() - ticks;
		MEASURE_END();
	} while (row_sample_of(bench, ticks, 1, SAMPLES));
}

/* What all CPUs did from then on, until the host is quiet again; without VM if @op < 0. */
static u64 busy_ticks(struct bench *bench, int op, u8 *memory)
{
	u64 busy;

	sleep_us(SETTLE_US);
	busy = clock_busy_ticks(bench);
	MEASURE_BEGIN();
	if (op >= 0)
		make[op](bench, memory);
	sleep_us(SETTLE_US);
	MEASURE_END();
	return clock_busy_ticks(bench) - busy;
}

/* The work only, whoever does it, and without the waiting. */
static void measure_busy(struct bench *bench, const struct row *row)
{
	u8 *memory = guest_memory(bench);
	u64 ticks, alone;

	create_others(bench, memory, row->argument);
	make[row->op](bench, memory);
	do {
		/* The clock's own work, and the system's in such a time. */
		alone = busy_ticks(bench, -1, memory);
		ticks = busy_ticks(bench, (int)row->op, memory);
	} while (row_sample_of(bench, ticks > alone ? ticks - alone : 0, 1, SAMPLES));
}

static void measure_vcpus(struct bench *bench, const struct row *row)
{
	int fds[MAX_VCPUS];
	u64 ticks;

	do {
		int vm = must_ioctl(bench, bench->node, KVM_CREATE_VM, NULL);

		must_ioctl(bench, vm, KVM_CREATE_IRQCHIP, NULL);
		MEASURE_BEGIN();
		ticks = read_tsc();
		for (u64 i = 0; i < row->count; i++)
			fds[i] = must_ioctl(bench, vm, KVM_CREATE_VCPU, (void *)(uintptr_t)i);
		ticks = read_tsc() - ticks;
		MEASURE_END();
		for (u64 i = 0; i < row->count; i++)
			close(fds[i]);
		close(vm);
		sleep_us(SETTLE_US);
	} while (row_sample_of(bench, ticks, row->count, SAMPLES));
}

/* --- memory --- */

/*
 * Free pages that the CPUs keep for themselves do not count as free, and what comes from
 * there would not be seen.  Use them up: after boot they were 48 MiB on one machine.
 */
static void use_up_kept_pages(struct bench *bench)
{
	u8 *memory = bench_memory(bench, KEPT_BYTES, false);

	for (u64 i = 0; i < KEPT_BYTES; i += 4096)
		memory[i] = 1;
}

/* Counters lag; root can have them put right. */
static void settle_counters(void)
{
	FILE *file = fopen("/proc/sys/vm/stat_refresh", "re");
	char line[16];

	if (!file)
		return;
	(void)!fgets(line, sizeof(line), file);
	fclose(file);
}

static u64 read_free(struct bench *bench)
{
	FILE *file = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0;
	char line[256];

	if (!file)
		row_skip(bench, "cannot read /proc/meminfo: %m");
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "MemFree: %llu", &kib) == 1)
			break;
	fclose(file);
	return kib << 10;
}

/* Memory that nobody has, once what is on its way back is there. */
static u64 free_memory(struct bench *bench)
{
	u64 bytes = 0, last;
	unsigned int quiet = 0;

	for (unsigned int i = 0; i < 100 && quiet < 3; i++) {
		sleep_us(SETTLE_US);
		settle_counters();
		last = bytes;
		bytes = read_free(bench);
		quiet = bytes > last + KIB(16) || last > bytes + KIB(16) ? 0 : quiet + 1;
	}
	return bytes;
}

/* @before less what is free now, for each of @count. */
static void memory_sample(struct bench *bench, u64 before, u64 count)
{
	u64 after = free_memory(bench);

	if (after >= before)
		row_skip(bench, "other programs' use of memory hides it");
	bench->result->is_size = true;
	row_sample_of(bench, before - after, count, 1);
}

static void measure_vm_memory(struct bench *bench, const struct row *row)
{
	static struct bench_vm vms[FILLER_VMS + MEASURED_VMS];
	u8 *memory = guest_memory(bench);
	u64 before = 0;

	use_up_kept_pages(bench);
	for (u64 i = 0; i < FILLER_VMS + row->count; i++) {
		if (i == FILLER_VMS)
			before = free_memory(bench);
		create_whole(bench, &vms[i], memory);
	}
	memory_sample(bench, before, row->count);
}

static void measure_vcpu_memory(struct bench *bench, const struct row *row)
{
	struct bench_vm vm;
	u64 before = 0;

	use_up_kept_pages(bench);
	create_whole(bench, &vm, guest_memory(bench));
	for (u64 i = 1; i <= FILLER_VCPUS + row->count; i++) {
		if (i == FILLER_VCPUS + 1)
			before = free_memory(bench);
		must_ioctl(bench, vm.fd, KVM_CREATE_VCPU, (void *)(uintptr_t)i);
	}
	memory_sample(bench, before, row->count);
}

const struct row object_rows[] = {
	{ "vm-busy", "VM created and closed, the work", measure_busy, BARE_VM, 0, 1 },
	{ "vm-elapsed", "VM created and closed, the time", measure_elapsed, BARE_VM, 0, 1 },
	{ "vm-busy-100", "the same work beside 100 VMs", measure_busy, BARE_VM, OTHER_VMS, 1 },
	{ "vm-elapsed-100", "the same time beside 100 VMs", measure_elapsed, BARE_VM, OTHER_VMS,
	  1 },
	{ "first-exit-busy", "VM, chips, slot, vCPU, first exit, closed: the work", measure_busy,
	  WHOLE_VM, 0, 1 },
	{ "first-exit-elapsed", "VM, chips, slot, vCPU, first exit, closed: the time",
	  measure_elapsed, WHOLE_VM, 0, 1 },
	{ "first-exit-busy-100", "the same work beside 100 VMs", measure_busy, WHOLE_VM,
	  OTHER_VMS, 1 },
	{ "first-exit-elapsed-100", "the same time beside 100 VMs", measure_elapsed, WHOLE_VM,
	  OTHER_VMS, 1 },
	{ "vcpu-create", "each of 64 vCPUs", measure_vcpus, 0, 0, MAX_VCPUS },
	{ "memory-vm", "kernel memory of an idle VM with a vCPU and chips", measure_vm_memory, 0,
	  0, MEASURED_VMS },
	{ "memory-vcpu", "kernel memory of a vCPU", measure_vcpu_memory, 0, 0, MEASURED_VCPUS },
	{ },
};
