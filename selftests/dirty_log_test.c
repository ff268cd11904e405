// SPDX-License-Identifier: GPL-2.0-only
/*
 * The dirty log as a bitmap: what a live migration relies on. Who copies the pages
 * that the log names, again and again, while vCPUs write, has all of memory in the end.
 */
#include <kselftest_harness.h>

#include <pthread.h>
#include <sys/sysinfo.h>

#include "guest.h"
#include "migrate.h"
#include "test_vm.h"

#define CAP KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2
#define ENABLE KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE
#define INITIALLY KVM_DIRTY_LOG_INITIALLY_SET

FIXTURE(dirty_log) {
	struct test_vm vm;
	struct test_vcpu vcpu;
	char *mem;
};

FIXTURE_SETUP(dirty_log)
{
	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	self->mem = migrate_memory();
}

FIXTURE_TEARDOWN(dirty_log)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
	munmap(self->mem, MIGRATE_SIZE);
}

static void set_slot(struct test_vm *vm, u32 flags, u64 pages, char *mem)
{
	vm_set_slot(vm, 1, flags, MIGRATE_GPA, pages * TEST_PAGE_SIZE, mem);
}

static int enable(struct test_vm *vm, u64 arg)
{
	struct kvm_enable_cap cap = { .cap = CAP, .args = { arg } };

	return __vm_ioctl(vm, KVM_ENABLE_CAP, &cap);
}

static int get(struct test_vm *vm, u32 slot, void *bitmap)
{
	struct kvm_dirty_log log = { .slot = slot, .dirty_bitmap = bitmap };

	return __vm_ioctl(vm, KVM_GET_DIRTY_LOG, &log);
}

static int clear(struct test_vm *vm, u32 slot, u64 first, u32 nr, void *bitmap)
{
	struct kvm_clear_dirty_log log = {
		.slot = slot,
		.first_page = first,
		.num_pages = nr,
		.dirty_bitmap = bitmap,
	};

	return __vm_ioctl(vm, KVM_CLEAR_DIRTY_LOG, &log);
}

TEST_F(dirty_log, enable)
{
	struct test_vm *vm = &self->vm;
	struct kvm_enable_cap cap = { .cap = CAP, .flags = 1 };

	ASSERT_EQ(ENABLE | INITIALLY, vm_cap(vm, CAP));
	EXPECT_EQ(-EINVAL, __vm_ioctl(vm, KVM_ENABLE_CAP, &cap));
	EXPECT_EQ(-EINVAL, enable(vm, INITIALLY));
	EXPECT_EQ(-EINVAL, enable(vm, ENABLE | 4));
	EXPECT_EQ(0, enable(vm, ENABLE));
	EXPECT_EQ(0, enable(vm, ENABLE | INITIALLY));
	EXPECT_EQ(0, enable(vm, 0));
}

static u64 free_memory(void)
{
	struct sysinfo info;

	if (sysinfo(&info))
		TEST_DIE("sysinfo: %m");
	return info.freeram * info.mem_unit;
}

/* A bitmap that nobody can use any more costs nobody memory: not even for a while. */
TEST_F_TIMEOUT(dirty_log, end_gives_memory_back, 200)
{
	const u64 size = 1UL << 39, bitmap = size / TEST_PAGE_SIZE / 8;
	void *hva = (void *)(1UL << 40);	/* nothing is there */
	struct test_vm *vm = &self->vm;
	u64 before = free_memory(), now;
	int i;

	for (i = 0; i < 100; i++) {
		vm_set_slot(vm, 1, KVM_MEM_LOG_DIRTY_PAGES, MIGRATE_GPA, size, hva);
		/* Once with the slot, once without. */
		if (i & 1)
			vm_set_slot(vm, 1, 0, MIGRATE_GPA, size, hva);
		vm_set_slot(vm, 1, 0, MIGRATE_GPA, 0, hva);
		now = free_memory();
		if (now < before)
			ASSERT_LT(before - now, 32 * bitmap);
	}
}

TEST_F(dirty_log, refused)
{
	struct test_vm *vm = &self->vm;
	u64 bitmap[3] = {};
	void *bad = (void *)16;

	EXPECT_EQ(-ENOENT, get(vm, 1, bitmap));
	EXPECT_EQ(-ENOENT, clear(vm, 1, 0, 64, bitmap));
	set_slot(vm, 0, 130, self->mem);
	EXPECT_EQ(-ENOENT, get(vm, 1, bitmap));
	EXPECT_EQ(-ENOENT, clear(vm, 1, 0, 64, bitmap));
	set_slot(vm, KVM_MEM_LOG_DIRTY_PAGES, 130, self->mem);
	EXPECT_EQ(-EINVAL, get(vm, 0xffff, bitmap));
	EXPECT_EQ(-EINVAL, get(vm, 2 << 16 | 1, bitmap));
	EXPECT_EQ(-EFAULT, get(vm, 1, bad));
	EXPECT_EQ(0, get(vm, 1, bitmap));

	EXPECT_EQ(-EINVAL, clear(vm, 0xffff, 0, 64, bitmap));
	EXPECT_EQ(-EINVAL, clear(vm, 2 << 16 | 1, 0, 64, bitmap));
	EXPECT_EQ(-EFAULT, clear(vm, 1, 0, 64, bad));
	/* The first page, and the count but at the end, are multiples of 64. */
	EXPECT_EQ(-EINVAL, clear(vm, 1, 1, 64, bitmap));
	EXPECT_EQ(-EINVAL, clear(vm, 1, 32, 64, bitmap));
	EXPECT_EQ(-EINVAL, clear(vm, 2, 1, 64, bitmap));
	EXPECT_EQ(-EINVAL, clear(vm, 1, 0, 63, bitmap));
	EXPECT_EQ(-EINVAL, clear(vm, 1, 64, 65, bitmap));
	EXPECT_EQ(-EINVAL, clear(vm, 1, 128, 1, bitmap));
	EXPECT_EQ(-EINVAL, clear(vm, 1, 128, 64, bitmap));
	EXPECT_EQ(-EINVAL, clear(vm, 1, 192, 0, bitmap));
	EXPECT_EQ(-EINVAL, clear(vm, 1, 1UL << 63, 64, bitmap));
	EXPECT_EQ(-EINVAL, clear(vm, 1, 64, 0xffffffc0, bitmap));
	EXPECT_EQ(0, clear(vm, 1, 128, 2, bitmap));
	EXPECT_EQ(0, clear(vm, 1, 64, 66, bitmap));
	EXPECT_EQ(0, clear(vm, 1, 0, 130, bitmap));
	EXPECT_EQ(0, clear(vm, 1, 0, 128, bitmap));
	EXPECT_EQ(0, clear(vm, 1, 0, 0, bad));
}

static void guest_touches(u64 arg __maybe_unused)
{
	u64 round, i;

	for (round = 0;; round++) {
		for (i = round & 1; i < 130; i += 2 + round)
			VOLATILE(u64, MIGRATE_GPA + i * TEST_PAGE_SIZE) = round;
		GUEST_SYNC(round);
	}
}

#define EVEN 0x5555555555555555UL
#define THIRD0 0x2492492492492492UL	/* 1, 4, 7, ... of all 130 */
#define THIRD1 0x9249249249249249UL

/* A failed call must not have taken pages out of the log. */
TEST_F(dirty_log, bad_pointer_loses_nothing)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct test_vm *vm = &self->vm;
	u64 bitmap[3];

	set_slot(vm, KVM_MEM_LOG_DIRTY_PAGES, 130, self->mem);
	vcpu_setup_long(vcpu, guest_touches, 0);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	if (test_device_is_kvm())
		SKIP(return, "KVM loses them");
	ASSERT_EQ(-EFAULT, get(vm, 1, (void *)16));
	ASSERT_EQ(0, get(vm, 1, bitmap));
	ASSERT_EQ(EVEN, bitmap[0]);
	ASSERT_EQ(1, bitmap[2]);
}

TEST_F(dirty_log, manual)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct test_vm *vm = &self->vm;
	u64 bitmap[3], take[3] = { ~0UL, 0, ~0UL };

	ASSERT_EQ(0, enable(vm, ENABLE));
	set_slot(vm, KVM_MEM_LOG_DIRTY_PAGES, 130, self->mem);
	ASSERT_EQ(0, get(vm, 1, bitmap));
	ASSERT_EQ(0, bitmap[0] | bitmap[1] | bitmap[2]);
	vcpu_setup_long(vcpu, guest_touches, 0);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));

	/* Reading does not clear. */
	ASSERT_EQ(0, get(vm, 1, bitmap));
	ASSERT_EQ(0, get(vm, 1, bitmap));
	ASSERT_EQ(EVEN, bitmap[0]);
	ASSERT_EQ(EVEN, bitmap[1]);
	ASSERT_EQ(1, bitmap[2]);
	/* Clearing does, what was asked for. */
	ASSERT_EQ(0, clear(vm, 1, 0, 130, take));
	ASSERT_EQ(0, get(vm, 1, bitmap));
	ASSERT_EQ(0, bitmap[0]);
	ASSERT_EQ(EVEN, bitmap[1]);
	ASSERT_EQ(0, bitmap[2]);
	take[0] = 1UL << 2 | 1UL << 3;
	ASSERT_EQ(0, clear(vm, 1, 64, 64, take));
	ASSERT_EQ(0, get(vm, 1, bitmap));
	ASSERT_EQ(EVEN & ~4UL, bitmap[1]);

	/* And what is written after that comes back. */
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(0, get(vm, 1, bitmap));
	ASSERT_EQ(THIRD0, bitmap[0]);
	ASSERT_EQ((EVEN & ~4UL) | THIRD1, bitmap[1]);
	ASSERT_EQ(0, bitmap[2]);

	/* Without the capability, reading clears again. */
	ASSERT_EQ(0, enable(vm, 0));
	ASSERT_EQ(0, get(vm, 1, bitmap));
	ASSERT_EQ(THIRD0, bitmap[0]);
	ASSERT_EQ(0, get(vm, 1, bitmap));
	ASSERT_EQ(0, bitmap[0] | bitmap[1] | bitmap[2]);
	ASSERT_EQ(2, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(0, get(vm, 1, bitmap));
	ASSERT_EQ(0x1111111111111111UL, bitmap[0]);
}

TEST_F(dirty_log, initially_set)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct test_vm *vm = &self->vm;
	u64 bitmap[3], all[3] = { ~0UL, ~0UL, ~0UL };

	ASSERT_EQ(0, enable(vm, ENABLE | INITIALLY));
	set_slot(vm, 0, 130, self->mem);
	vcpu_setup_long(vcpu, guest_touches, 0);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	set_slot(vm, KVM_MEM_LOG_DIRTY_PAGES, 130, self->mem);
	ASSERT_EQ(0, get(vm, 1, bitmap));
	ASSERT_EQ(~0UL, bitmap[0]);
	ASSERT_EQ(~0UL, bitmap[1]);
	ASSERT_EQ(3, bitmap[2]);
	ASSERT_EQ(0, clear(vm, 1, 64, 66, all));
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(0, get(vm, 1, bitmap));
	ASSERT_EQ(~0UL, bitmap[0]);
	ASSERT_EQ(THIRD1, bitmap[1]);
	ASSERT_EQ(0, bitmap[2]);
}

/*
 * What the kernel itself writes into guest memory: paravirtual clocks, the data of
 * string I/O, accessed and dirty bits when the emulator walks the guest's tables.
 */
#define PAGE_CLOCK	3
#define PAGE_WALL	5
#define PAGE_INS	7
#define PAGE_INS_NEXT	8
#define MSR_KVM_WALL	0x4b564d00
#define MSR_KVM_CLOCK	0x4b564d01

static void guest_lets_kernel_write(u64 arg __maybe_unused)
{
	u64 to;

	for (;;) {
		GUEST_SYNC(0);
		wrmsr(MSR_KVM_CLOCK, (MIGRATE_GPA + PAGE_CLOCK * TEST_PAGE_SIZE) | 1);
		GUEST_SYNC(1);
		wrmsr(MSR_KVM_WALL, MIGRATE_GPA + PAGE_WALL * TEST_PAGE_SIZE);
		GUEST_SYNC(2);
		/* Across the border of two pages. */
		to = MIGRATE_GPA + PAGE_INS_NEXT * TEST_PAGE_SIZE - 2;
		asm volatile("insl" : "+D"(to) : "d"(MIGRATE_PORT) : "memory");
		GUEST_SYNC(3);
	}
}

TEST_F(dirty_log, kernel_writes)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct test_vm *vm = &self->vm;
	u64 bitmap[3];
	int i;

	vcpu_set_supported_cpuid(vcpu);
	set_slot(vm, KVM_MEM_LOG_DIRTY_PAGES, 130, self->mem);
	vcpu_setup_long(vcpu, guest_lets_kernel_write, 0);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
		ASSERT_EQ(0, get(vm, 1, bitmap));
		ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
		ASSERT_EQ(0, get(vm, 1, bitmap));
		ASSERT_EQ(1UL << PAGE_CLOCK, bitmap[0]);
		ASSERT_EQ(2, vcpu_run_to_sync(vcpu));
		ASSERT_EQ(0, get(vm, 1, bitmap));
		/* The clock may have been refreshed. */
		ASSERT_EQ(1UL << PAGE_WALL, bitmap[0] & ~(1UL << PAGE_CLOCK));
		vcpu_run_expect(vcpu, KVM_EXIT_IO);
		*(u32 *)io_data(vcpu) = 0x12345678;
		ASSERT_EQ(3, vcpu_run_to_sync(vcpu));
		ASSERT_EQ(0, get(vm, 1, bitmap));
		ASSERT_EQ(1UL << PAGE_INS | 1UL << PAGE_INS_NEXT,
			  bitmap[0] & ~(1UL << PAGE_CLOCK));
	}
}

/* A slot under the log that has no page yet, is moved, and deleted. */
TEST_F(dirty_log, moved)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct test_vm *vm = &self->vm;
	u64 bitmap[3];

	vcpu_setup_long(vcpu, guest_touches, 0);
	vm_set_slot(vm, 1, KVM_MEM_LOG_DIRTY_PAGES, MIGRATE_GPA + MIGRATE_SIZE,
		    130 * TEST_PAGE_SIZE, self->mem);
	set_slot(vm, KVM_MEM_LOG_DIRTY_PAGES, 130, self->mem);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(0, get(vm, 1, bitmap));
	ASSERT_EQ(EVEN, bitmap[0]);
	/* Off and on again is a new log. */
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	set_slot(vm, 0, 130, self->mem);
	set_slot(vm, KVM_MEM_LOG_DIRTY_PAGES, 130, self->mem);
	ASSERT_EQ(0, get(vm, 1, bitmap));
	ASSERT_EQ(0, bitmap[0] | bitmap[1] | bitmap[2]);
	ASSERT_EQ(2, vcpu_run_to_sync(vcpu));
	vm_set_slot(vm, 1, 0, 0, 0, NULL);
	ASSERT_EQ(-ENOENT, get(vm, 1, bitmap));
}

static void guest_writes_each(u64 arg __maybe_unused)
{
	u64 i;

	for (;;) {
		for (i = 0; i < MIGRATE_PAGES; i += 64)
			VOLATILE(u64, MIGRATE_GPA + i * TEST_PAGE_SIZE) = i;
		GUEST_SYNC(0);
	}
}

/* Under the log there are small leaves, all at once; after it there are large ones. */
TEST_F(dirty_log, large_leaves)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct test_vm *vm = &self->vm;
	u64 take[MIGRATE_PAGES / 64] = { 1 };
	u64 large, small;

	if (vm_stat(vm, "pages_2m") == ~0UL)
		SKIP(return, "no such statistics");
	if (madvise(self->mem, MIGRATE_SIZE, MADV_HUGEPAGE))
		SKIP(return, "no transparent huge pages");
	memset(self->mem, 1, MIGRATE_SIZE);
	set_slot(vm, 0, MIGRATE_PAGES, self->mem);
	vcpu_setup_long(vcpu, guest_writes_each, 0);
	vcpu_run_to_sync(vcpu);
	large = vm_stat(vm, "pages_2m");
	small = vm_stat(vm, "pages_4k");
	if (large < MIGRATE_PAGES / 512)
		SKIP(return, "the host has no large pages now");

	set_slot(vm, KVM_MEM_LOG_DIRTY_PAGES, MIGRATE_PAGES, self->mem);
	EXPECT_EQ(large - MIGRATE_PAGES / 512, vm_stat(vm, "pages_2m"));
	EXPECT_EQ(small + MIGRATE_PAGES, vm_stat(vm, "pages_4k"));
	set_slot(vm, 0, MIGRATE_PAGES, self->mem);
	vcpu_run_to_sync(vcpu);
	EXPECT_EQ(large, vm_stat(vm, "pages_2m"));

	/* With all pages dirty at first, only where one is cleared. */
	ASSERT_EQ(0, enable(vm, ENABLE | INITIALLY));
	set_slot(vm, KVM_MEM_LOG_DIRTY_PAGES, MIGRATE_PAGES, self->mem);
	EXPECT_EQ(large, vm_stat(vm, "pages_2m"));
	ASSERT_EQ(0, clear(vm, 1, 512, 64, take));
	/* KVM of 6.1 leaves that to the first write. */
	if (!test_device_is_kvm())
		EXPECT_EQ(large - 1, vm_stat(vm, "pages_2m"));
	set_slot(vm, 0, MIGRATE_PAGES, self->mem);
	vcpu_run_to_sync(vcpu);
	EXPECT_EQ(large, vm_stat(vm, "pages_2m"));
}

static void guest_writes_every(u64 arg __maybe_unused)
{
	u64 i;

	for (;;) {
		for (i = 0; i < MIGRATE_PAGES; i++)
			VOLATILE(u64, MIGRATE_GPA + i * TEST_PAGE_SIZE) = i;
		GUEST_SYNC(0);
	}
}

/* Intel's page-modification logging, as the kernel tells it. */
static bool cpu_logs(void)
{
	char line[4096];
	FILE *f = fopen("/proc/cpuinfo", "r");
	bool found = false;

	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f))
		found = !strncmp(line, "vmx flags", 9) && strstr(line, " pml");
	fclose(f);
	return found;
}

/* More pages than a CPU notes by itself at a time; if it does, few of them cost an exit. */
TEST_F(dirty_log, many_pages)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct test_vm *vm = &self->vm;
	u64 bitmap[MIGRATE_PAGES / 64], exits, i, round;

	memset(self->mem, 1, MIGRATE_SIZE);
	set_slot(vm, 0, MIGRATE_PAGES, self->mem);
	vcpu_setup_long(vcpu, guest_writes_every, 0);
	vcpu_run_to_sync(vcpu);
	set_slot(vm, KVM_MEM_LOG_DIRTY_PAGES, MIGRATE_PAGES, self->mem);
	for (round = 0; round < 3; round++) {
		exits = vcpu_stat(vcpu, "exits");
		vcpu_run_to_sync(vcpu);
		exits = vcpu_stat(vcpu, "exits") - exits;
		/* The host's timer interrupts are among them. */
		if (cpu_logs())
			EXPECT_GT(MIGRATE_PAGES / 2, exits);
		ASSERT_EQ(0, get(vm, 1, bitmap));
		for (i = 0; i < MIGRATE_PAGES / 64; i++)
			ASSERT_EQ(~0UL, bitmap[i]);
		ASSERT_EQ(0, get(vm, 1, bitmap));
		for (i = 0; i < MIGRATE_PAGES / 64; i++)
			ASSERT_EQ(0, bitmap[i]);
	}
}

#define MOVED_GPA	(MIGRATE_GPA + 4 * MIGRATE_SIZE)

static volatile u64 page_to_write, page_written;

/* No PAUSE: it may end the guest, as it must not at these moments. */
static void guest_writes_told(u64 arg)
{
	u64 page;

	(void)arg;
	guest_sti();
	while ((page = page_to_write) != ~0UL) {
		if (page == page_written)
			continue;
		/* A read has it mapped, so that the write needs no help. */
		(void)VOLATILE(u64, page);
		VOLATILE(u64, page) = page;
		page_written = page;
	}
}

static void *run_to_done(void *vcpu)
{
	vcpu_run_to_done(vcpu);
	return NULL;
}

/* What a CPU has noted, but not yet told, goes along with a slot that moves. */
TEST_F(dirty_log, moves_with_slot)
{
	volatile u64 *order = vm_ptr(&self->vm, (uintptr_t)&page_to_write);
	volatile u64 *written = vm_ptr(&self->vm, (uintptr_t)&page_written);
	u64 bitmap[MIGRATE_PAGES / 64], gpa = MIGRATE_GPA, page;
	pthread_t thread;

	if (get_nprocs() < 2)
		SKIP(return, "one CPU only");
	vm_set_slot(&self->vm, 1, KVM_MEM_LOG_DIRTY_PAGES, gpa, MIGRATE_SIZE, self->mem);
	vcpu_setup_long(&self->vcpu, guest_writes_told, 0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, run_to_done, &self->vcpu));
	for (page = 1; page < 20; page++) {
		*order = gpa + page * TEST_PAGE_SIZE;
		while (*written != *order)
			;
		gpa = gpa == MIGRATE_GPA ? MOVED_GPA : MIGRATE_GPA;
		vm_set_slot(&self->vm, 1, KVM_MEM_LOG_DIRTY_PAGES, gpa, MIGRATE_SIZE, self->mem);
		ASSERT_EQ(0, get(&self->vm, 1, bitmap));
		EXPECT_EQ(1UL << page, bitmap[0]);
	}
	*order = ~0UL;
	ASSERT_EQ(0, pthread_join(thread, NULL));
}

/* Two vCPUs write while a third party migrates. */
FIXTURE(writers) {
	struct migrate m;
};

FIXTURE_VARIANT(writers) {
	u64 manual;
	bool huge;
	u64 skew;	/* pages that slot begins later and ends earlier */
};

FIXTURE_VARIANT_ADD(writers, plain) {
};

FIXTURE_VARIANT_ADD(writers, plain_huge) {
	.huge = true,
};

FIXTURE_VARIANT_ADD(writers, plain_skewed) {
	.skew = 5,
};

FIXTURE_VARIANT_ADD(writers, manual) {
	.manual = ENABLE,
};

FIXTURE_VARIANT_ADD(writers, manual_huge) {
	.manual = ENABLE, .huge = true,
};

FIXTURE_VARIANT_ADD(writers, initially) {
	.manual = ENABLE | INITIALLY,
};

FIXTURE_VARIANT_ADD(writers, initially_huge) {
	.manual = ENABLE | INITIALLY, .huge = true,
};

FIXTURE_VARIANT_ADD(writers, initially_skewed) {
	.manual = ENABLE | INITIALLY, .huge = true, .skew = 69,
};

FIXTURE_SETUP(writers)
{
	migrate_setup(&self->m, variant->huge, variant->skew, variant->skew / 2);
	ASSERT_EQ(0, enable(&self->m.vm, variant->manual));
}

FIXTURE_TEARDOWN(writers)
{
	migrate_destroy(&self->m);
}

static void harvest(struct migrate *m, u64 manual, unsigned int round)
{
	unsigned int i, words = (m->pages + 63) / 64;

	if (get(&m->vm, 1, m->bitmap))
		TEST_DIE("KVM_GET_DIRTY_LOG");
	migrate_check(m);
	if (!manual)
		return;
	/* Sometimes part of it, in the middle. */
	if (round % 3 == 1) {
		for (i = 0; i < words; i++)
			m->bitmap[i] &= i % 3 == round % 9 / 3 ? 0x123456789abcdef0 : ~0UL;
	} else if (round % 3 == 2) {
		for (i = 0; i < words / 4; i++)
			m->bitmap[i] = 0;
		for (i = words / 4 + words / 2; i < words; i++)
			m->bitmap[i] = 0;
		i = words / 4;
		if (clear(&m->vm, 1, i * 64, words / 2 * 64, &m->bitmap[i]))
			TEST_DIE("KVM_CLEAR_DIRTY_LOG of the middle");
		return;
	}
	if (clear(&m->vm, 1, 0, (u32)m->pages, m->bitmap))
		TEST_DIE("KVM_CLEAR_DIRTY_LOG");
}

TEST_F(writers, nothing_is_lost)
{
	struct migrate *m = &self->m;
	unsigned int log, round;

	migrate_start(m);
	for (log = 0; log < 3; log++) {
		migrate_slot(m, KVM_MEM_LOG_DIRTY_PAGES);
		/* All is dirty, or nothing is since now. */
		if (!(variant->manual & INITIALLY))
			migrate_copy_all(m);
		else
			migrate_forget(m);
		for (round = 0; migrate_goes_on(m, round, 30); round++) {
			migrate_look(m);
			harvest(m, variant->manual, round);
			migrate_copy(m);
			usleep(1000 * (round % 4));
		}
		if (log < 2)
			migrate_slot(m, 0);
	}
	migrate_stop(m);
	migrate_look(m);
	harvest(m, variant->manual, 0);
	migrate_copy(m);
	migrate_compare(m);
	TH_LOG("%lu pages copied in %u rounds", m->copied, m->rounds);
}

TEST_HARNESS_MAIN
