// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rows about guest memory: first touches, dirty logs, slots, and what the host's memory
 * management takes back.  Called by bench.c in a process of its own; no lock.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "bench.h"

#define PAGE		4096ull
#define HUGE_PAGE	MIB(2)
#define AREA_SLOT	1
#define SPARE_SLOT	2
#define FIRST_OTHER_SLOT	3
#define SPARE		(GUEST_AREA + GIB(1))	/* where slots are added and moved to */
#define OTHERS		(SPARE + MIB(512))
#define SLOT_SIZE	MIB(1)

/* Have the guest write to @count pages, @step apart; returns the ticks. */
static u64 touch(struct bench *bench, struct bench_vm *vm, u64 gpa, u64 count, u64 step)
{
	struct guest_shared *shared = vm->vcpus[0].shared;

	shared->op = OP_TOUCH;
	shared->argument = gpa;
	shared->count = count;
	shared->step = step;
	bench_call(bench, &vm->vcpus[0]);
	return shared->ticks;
}

/* As KVM backs memory by what the host has there, the host's has to be what the row says. */
static void check_huge(struct bench *bench, u64 size)
{
	FILE *file = fopen("/proc/self/smaps_rollup", "re");
	unsigned long long kib = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "AnonHugePages: %llu", &kib) == 1)
			break;
	if (file)
		fclose(file);
	if (kib << 10 < size)
		row_skip(bench, "the host gave %llu of %llu MiB as huge pages", kib >> 10,
			 (unsigned long long)(size >> 20));
}

/* Pages that the guest has not touched yet: row->op is their size, argument: present. */
static void measure_touch(struct bench *bench, const struct row *row)
{
	u64 size = row->op * row->count * (MAX_SAMPLES + WARM_UP), at = GUEST_AREA;
	struct bench_vm vm;
	u8 *memory;

	bench_vm_create(bench, &vm, 1, true);
	bench_call(bench, &vm.vcpus[0]);
	memory = bench_memory(bench, size, row->op == HUGE_PAGE);
	if (row->argument)
		memset(memory, 1, size);
	bench_slot(bench, &vm, AREA_SLOT, 0, GUEST_AREA, size, memory);
	bench_watch(bench, &vm.vcpus[0], 1);
	do {
		u64 ticks = touch(bench, &vm, at, row->count, row->op);
		bool more = row_sample(bench, ticks, row->count);

		at += row->count * row->op;
		if (!more)
			break;
	} while (true);
	if (row->op == HUGE_PAGE)
		check_huge(bench, size);
	for (u64 i = 0; i < size; i += row->op)
		if (*(u64 *)(memory + i) != 1)
			row_fail(bench, "the guest did not write to each page");
}

/* --- dirty logs --- */

struct logged {
	struct bench_vm vm;
	u64 pages;
	u8 *memory;
	u64 *bitmap;
};

static void make_logged(struct bench *bench, struct logged *logged, u64 pages, u32 flags)
{
	bench_vm_create(bench, &logged->vm, 1, true);
	bench_call(bench, &logged->vm.vcpus[0]);
	logged->pages = pages;
	logged->memory = bench_memory(bench, pages * PAGE, false);
	logged->bitmap = calloc(1, pages / 8);
	memset(logged->memory, 1, pages * PAGE);
	bench_slot(bench, &logged->vm, AREA_SLOT, flags, GUEST_AREA, pages * PAGE,
		   logged->memory);
	touch(bench, &logged->vm, GUEST_AREA, pages, PAGE);
}

/* Fetch the log, which is to have all pages if @full; returns the ticks. */
static u64 get_log(struct bench *bench, struct logged *logged, bool full)
{
	struct kvm_dirty_log log = { .slot = AREA_SLOT, .dirty_bitmap = logged->bitmap };
	u64 ticks;

	MEASURE_BEGIN();
	ticks = read_tsc();
	must_ioctl(bench, logged->vm.fd, KVM_GET_DIRTY_LOG, &log);
	ticks = read_tsc() - ticks;
	MEASURE_END();
	for (u64 i = 0; full && i < logged->pages / 64; i++)
		if (~logged->bitmap[i])
			row_fail(bench, "the log lacks pages that the guest wrote to");
	return ticks;
}

static void measure_log_write(struct bench *bench, const struct row *row)
{
	struct logged logged;
	u64 ticks;

	make_logged(bench, &logged, row->count, KVM_MEM_LOG_DIRTY_PAGES);
	get_log(bench, &logged, true);
	bench_watch(bench, &logged.vm.vcpus[0], 1);
	do {
		ticks = touch(bench, &logged.vm, GUEST_AREA, row->count, PAGE);
		get_log(bench, &logged, true);
	} while (row_sample(bench, ticks, row->count));
}

/* row->argument: pages, all of them dirty; row->op: how many samples. */
static void measure_log_get(struct bench *bench, const struct row *row)
{
	struct logged logged;
	u64 ticks;

	make_logged(bench, &logged, row->argument, KVM_MEM_LOG_DIRTY_PAGES);
	get_log(bench, &logged, true);
	do {
		touch(bench, &logged.vm, GUEST_AREA, logged.pages, PAGE);
		ticks = get_log(bench, &logged, true);
	} while (row_sample_of(bench, ticks, 1, (unsigned int)row->op));
}

static void measure_log_enable(struct bench *bench, const struct row *row)
{
	struct logged logged;
	u64 ticks;

	make_logged(bench, &logged, row->argument, 0);
	do {
		MEASURE_BEGIN();
		ticks = read_tsc();
		bench_slot(bench, &logged.vm, AREA_SLOT, KVM_MEM_LOG_DIRTY_PAGES, GUEST_AREA,
			   logged.pages * PAGE, logged.memory);
		ticks = read_tsc() - ticks;
		MEASURE_END();
		touch(bench, &logged.vm, GUEST_AREA, logged.pages, PAGE);
		get_log(bench, &logged, true);
		bench_slot(bench, &logged.vm, AREA_SLOT, 0, GUEST_AREA, logged.pages * PAGE,
			   logged.memory);
		touch(bench, &logged.vm, GUEST_AREA, logged.pages, PAGE);
	} while (row_sample(bench, ticks, 1));
}

/* --- slots --- */

/* A VM that has run, with row->argument slots in all. */
static void make_slots(struct bench *bench, struct bench_vm *vm, const struct row *row)
{
	u64 others = row->argument - 1;
	u8 *memory = bench_memory(bench, MIB(2), false);

	bench_vm_create(bench, vm, 1, true);
	bench_call(bench, &vm->vcpus[0]);
	/* Gaps between them, and the same memory, as nobody looks. */
	for (u64 i = 0; i < others; i++)
		bench_slot(bench, vm, FIRST_OTHER_SLOT + (u32)i, 0, OTHERS + i * 2 * PAGE, PAGE,
			   memory);
}

enum slot_change { SLOT_ADD, SLOT_MOVE, SLOT_DELETE };

static void measure_slot(struct bench *bench, const struct row *row)
{
	u8 *memory = bench_memory(bench, SLOT_SIZE, false);
	struct bench_vm vm;
	u64 ticks[3];

	make_slots(bench, &vm, row);
	do {
		for (enum slot_change i = SLOT_ADD; i <= SLOT_DELETE; i++) {
			u64 gpa = i == SLOT_ADD ? SPARE : SPARE + MIB(16);

			if (row->op == i)
				MEASURE_BEGIN();
			ticks[i] = read_tsc();
			bench_slot(bench, &vm, SPARE_SLOT, 0, gpa,
				   i == SLOT_DELETE ? 0 : SLOT_SIZE, memory);
			ticks[i] = read_tsc() - ticks[i];
			if (row->op == i)
				MEASURE_END();
			/* The guest uses it, but where it is about to go for good. */
			if (i != SLOT_DELETE)
				touch(bench, &vm, gpa, 4, PAGE);
		}
	} while (row_sample(bench, ticks[row->op], 1));
}

/* An exit for MMIO, which has to find that no slot is there. */
static void measure_mmio(struct bench *bench, const struct row *row)
{
	struct bench_vcpu *vcpu;
	struct bench_vm vm;
	u64 ticks;

	make_slots(bench, &vm, row);
	vcpu = &vm.vcpus[0];
	vcpu->shared->op = OP_MMIO_WRITE;
	vcpu->shared->argument = OTHERS + (row->argument / 2 * 2 + 1) * PAGE;
	bench_watch(bench, vcpu, 0);
	do {
		MEASURE_BEGIN();
		ticks = read_tsc();
		for (u64 i = 0; i < row->count; i++)
			if (ioctl(vcpu->fd, KVM_RUN, 0) ||
			    vcpu->run->exit_reason != KVM_EXIT_MMIO)
				row_fail(bench, "unexpected exit: %s",
					 exit_name(vcpu->run->exit_reason));
		ticks = read_tsc() - ticks;
		MEASURE_END();
	} while (row_sample(bench, ticks, row->count));
}

/* --- the MMU notifier --- */

/* Have the guest read each page; returns its exits, without the one at the end. */
static u64 look(struct bench *bench, struct bench_vm *vm, u64 gpa, u64 count, u64 step)
{
	struct guest_shared *shared = vm->vcpus[0].shared;
	u64 exits = bench_exits(&vm->vcpus[0]);

	shared->op = OP_LOOK;
	shared->argument = gpa;
	shared->count = count;
	shared->step = step;
	bench_call(bench, &vm->vcpus[0]);
	return exits ? bench_exits(&vm->vcpus[0]) - exits - 1 : 0;
}

/*
 * The host takes back what the guest has: row->argument bytes, as huge pages.  Reading is
 * enough to have them, and needs no memory: they are all the one of zeros.
 */
static void measure_zap(struct bench *bench, const struct row *row)
{
	u64 size = row->argument, pages = size / HUGE_PAGE, ticks;
	struct bench_vm vm;
	u8 *memory;

	bench_vm_create(bench, &vm, 1, true);
	bench_call(bench, &vm.vcpus[0]);
	memory = bench_memory(bench, size, true);
	bench_slot(bench, &vm, AREA_SLOT, 0, GUEST_AREA, size, memory);
	bench_watch(bench, &vm.vcpus[0], 0);
	look(bench, &vm, GUEST_AREA, pages, HUGE_PAGE);
	if (look(bench, &vm, GUEST_AREA + HUGE_PAGE / 2, pages, HUGE_PAGE) > pages / 2)
		row_skip(bench, "this host does not let the guest have huge pages");
	do {
		MEASURE_BEGIN();
		ticks = read_tsc();
		if (mprotect(memory, size, PROT_NONE))
			row_fail(bench, "mprotect: %m");
		ticks = read_tsc() - ticks;
		MEASURE_END();
		if (mprotect(memory, size, PROT_READ | PROT_WRITE))
			row_fail(bench, "mprotect: %m");
		if (look(bench, &vm, GUEST_AREA, pages, HUGE_PAGE) < pages && bench->watched)
			row_fail(bench, "the guest kept a page that the host had taken back");
		bench->watched_exits = bench_exits(&vm.vcpus[0]);
	} while (row_sample_of(bench, ticks, 1, (unsigned int)row->op));
	bench->result->has_exits = false;
}

const struct row memory_rows[] = {
	{ "touch-4k", "first touch of 4K, host page present", measure_touch, PAGE, true, 16 },
	{ "touch-4k-absent", "first touch of 4K, host page absent", measure_touch, PAGE, false,
	  16 },
	{ "touch-2m", "first touch of 2M, host page present", measure_touch, HUGE_PAGE, true, 2 },
	{ "touch-2m-absent", "first touch of 2M, host page absent", measure_touch, HUGE_PAGE,
	  false, 1 },
	{ "log-enable-256", "dirty log: switch it on for 256 pages", measure_log_enable, 0, 256,
	  1 },
	{ "log-write", "dirty log: write to a page", measure_log_write, 0, 0, 256 },
	{ "log-get-256", "dirty log: fetch it, 256 pages, all dirty", measure_log_get, 15, 256,
	  1 },
	{ "log-get-65536", "dirty log: fetch it, 65,536 pages, all dirty", measure_log_get, 3,
	  65536, 1 },
	{ "slot-add", "add a slot to 1", measure_slot, SLOT_ADD, 1, 1 },
	{ "slot-move", "move a slot beside 1", measure_slot, SLOT_MOVE, 1, 1 },
	{ "slot-delete", "delete a slot beside 1", measure_slot, SLOT_DELETE, 1, 1 },
	{ "slot-add-512", "add a slot to 512", measure_slot, SLOT_ADD, 512, 1 },
	{ "slot-move-512", "move a slot beside 512", measure_slot, SLOT_MOVE, 512, 1 },
	{ "slot-delete-512", "delete a slot beside 512", measure_slot, SLOT_DELETE, 512, 1 },
	{ "mmio-write-512", "MMIO write to user space, with 512 slots", measure_mmio, 0, 512, 32 },
	{ "zap-2m", "mprotect() of 2M that the guest has", measure_zap, 15, MIB(2), 1 },
	{ "zap-1g", "mprotect() of 1G that the guest has, as 2M pages", measure_zap, 3, GIB(1), 1 },
	{ },
};
