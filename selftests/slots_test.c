// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory slots: adding, moving, deleting, what is refused, read-only slots,
 * the dirty log, and what the guest sees of all that.
 */
#include <kselftest_harness.h>

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "guest.h"
#include "test_vm.h"

#ifndef KVM_CAP_USER_MEMORY2
#define KVM_CAP_USER_MEMORY2	231
struct kvm_userspace_memory_region2 {
	__u32 slot;
	__u32 flags;
	__u64 guest_phys_addr;
	__u64 memory_size;
	__u64 userspace_addr;
	__u64 guest_memfd_offset;
	__u32 guest_memfd;
	__u32 pad1;
	__u64 pad2[14];
};

#define KVM_SET_USER_MEMORY_REGION2 \
	_IOW(KVMIO, 0x49, struct kvm_userspace_memory_region2)
#endif

#define SLOT_GPA	0x20000000UL
#define SLOT_SIZE	0x10000UL

FIXTURE(slots) {
	struct test_vm vm;
	struct test_vcpu vcpu;
	char *mem;
};

FIXTURE_SETUP(slots)
{
	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	self->mem = mmap(NULL, 2 * SLOT_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
}

FIXTURE_TEARDOWN(slots)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
	munmap(self->mem, 2 * SLOT_SIZE);
}

TEST_F(slots, refused)
{
	struct test_vm *vm = &self->vm;
	int nr = vm_cap(vm, KVM_CAP_NR_MEMSLOTS);
	int spaces = vm_cap(vm, KVM_CAP_MULTI_ADDRESS_SPACE);
	char *mem = self->mem;

	/* Alignment of size, guest address, host address. */
	EXPECT_EQ(-EINVAL, __vm_set_slot(vm, 1, 0, SLOT_GPA, 0x800, mem));
	EXPECT_EQ(-EINVAL, __vm_set_slot(vm, 1, 0, SLOT_GPA + 8, SLOT_SIZE,
					 mem));
	EXPECT_EQ(-EINVAL, __vm_set_slot(vm, 1, 0, SLOT_GPA, SLOT_SIZE,
					 mem + 8));
	/* Not the user's memory; wrap-around. */
	EXPECT_EQ(-EINVAL, __vm_set_slot(vm, 1, 0, SLOT_GPA, SLOT_SIZE,
					 (void *)0xffff888000000000));
	EXPECT_EQ(-EINVAL, __vm_set_slot(vm, 1, 0, -SLOT_SIZE, 2 * SLOT_SIZE,
					 mem));
	/* Flags, slot numbers, address spaces. */
	EXPECT_EQ(-EINVAL, __vm_set_slot(vm, 1, 1U << 30, SLOT_GPA, SLOT_SIZE,
					 mem));
	EXPECT_EQ(-EINVAL, __vm_set_slot(vm, (u32)nr, 0, SLOT_GPA, SLOT_SIZE,
					 mem));
	EXPECT_EQ(-EINVAL, __vm_set_slot(vm, 0xffff, 0, SLOT_GPA, SLOT_SIZE,
					 mem));
	EXPECT_EQ(-EINVAL, __vm_set_slot(vm, (u32)(spaces ?: 1) << 16, 0,
					 SLOT_GPA, SLOT_SIZE, mem));
	/* There is nothing to delete. */
	EXPECT_EQ(-EINVAL, __vm_set_slot(vm, 1, 0, 0, 0, NULL));
	/* After all that the number is still free, and the last one is good. */
	EXPECT_EQ(0, __vm_set_slot(vm, 1, 0, SLOT_GPA, SLOT_SIZE, mem));
	EXPECT_EQ(0, __vm_set_slot(vm, (u32)nr - 1, 0, SLOT_GPA + SLOT_SIZE,
				   SLOT_SIZE, mem));
}

TEST_F(slots, overlap)
{
	struct test_vm *vm = &self->vm;
	char *mem = self->mem;

	vm_set_slot(vm, 1, 0, SLOT_GPA, SLOT_SIZE, mem);
	EXPECT_EQ(-EEXIST, __vm_set_slot(vm, 2, 0, SLOT_GPA, SLOT_SIZE, mem));
	EXPECT_EQ(-EEXIST, __vm_set_slot(vm, 2, 0, SLOT_GPA + SLOT_SIZE -
					 TEST_PAGE_SIZE, SLOT_SIZE, mem));
	EXPECT_EQ(-EEXIST, __vm_set_slot(vm, 2, 0, SLOT_GPA - TEST_PAGE_SIZE,
					 2 * SLOT_SIZE, mem));
	EXPECT_EQ(-EEXIST, __vm_set_slot(vm, 2, 0, SLOT_GPA + TEST_PAGE_SIZE,
					 TEST_PAGE_SIZE, mem));
	/* Neighbours do not overlap; the same host memory twice is fine. */
	EXPECT_EQ(0, __vm_set_slot(vm, 2, 0, SLOT_GPA + SLOT_SIZE, SLOT_SIZE,
				   mem));
	EXPECT_EQ(0, __vm_set_slot(vm, 3, 0, SLOT_GPA - SLOT_SIZE, SLOT_SIZE,
				   mem));
	/* A move onto another is refused, onto itself it is not. */
	EXPECT_EQ(-EEXIST, __vm_set_slot(vm, 1, 0, SLOT_GPA + TEST_PAGE_SIZE,
					 SLOT_SIZE, mem));
	vm_set_slot(vm, 2, 0, 0, 0, NULL);
	EXPECT_EQ(0, __vm_set_slot(vm, 1, 0, SLOT_GPA + TEST_PAGE_SIZE,
				   SLOT_SIZE, mem));
}

/* What may change of a slot that exists: its place and its log flag. */
TEST_F(slots, change)
{
	struct test_vm *vm = &self->vm;
	char *mem = self->mem;

	vm_set_slot(vm, 1, 0, SLOT_GPA, SLOT_SIZE, mem);
	EXPECT_EQ(0, __vm_set_slot(vm, 1, 0, SLOT_GPA, SLOT_SIZE, mem));
	EXPECT_EQ(-EINVAL, __vm_set_slot(vm, 1, 0, SLOT_GPA, 2 * SLOT_SIZE,
					 mem));
	EXPECT_EQ(-EINVAL, __vm_set_slot(vm, 1, 0, SLOT_GPA, SLOT_SIZE,
					 mem + TEST_PAGE_SIZE));
	EXPECT_EQ(-EINVAL, __vm_set_slot(vm, 1, KVM_MEM_READONLY, SLOT_GPA,
					 SLOT_SIZE, mem));
	EXPECT_EQ(0, __vm_set_slot(vm, 1, KVM_MEM_LOG_DIRTY_PAGES, SLOT_GPA,
				   SLOT_SIZE, mem));
	EXPECT_EQ(0, __vm_set_slot(vm, 1, 0, SLOT_GPA, SLOT_SIZE, mem));
	vm_set_slot(vm, 1, 0, 0, 0, NULL);
	EXPECT_EQ(0, __vm_set_slot(vm, 1, KVM_MEM_READONLY, SLOT_GPA,
				   2 * SLOT_SIZE, mem));
}

static void guest_reads_slot(u64 arg __maybe_unused)
{
	for (;;) {
		GUEST_SYNC(VOLATILE(u64, SLOT_GPA));
		GUEST_SYNC(VOLATILE(u64, SLOT_GPA + SLOT_SIZE));
	}
}

static u64 read_mmio(struct test_vcpu *vcpu, u64 gpa, u64 v)
{
	vcpu_run_expect(vcpu, KVM_EXIT_MMIO);
	if (vcpu->run->mmio.phys_addr != gpa || vcpu->run->mmio.is_write)
		TEST_DIE("read of %#llx", vcpu->run->mmio.phys_addr);
	memcpy(vcpu->run->mmio.data, &v, 8);
	return vcpu_run_to_sync(vcpu);
}

TEST_F(slots, move_and_delete)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct test_vm *vm = &self->vm;
	u64 there = SLOT_GPA + SLOT_SIZE;

	*(u64 *)self->mem = 0x1234;
	vcpu_setup_long(vcpu, guest_reads_slot, 0);
	/* No slot, here, there, none. */
	ASSERT_EQ(0x55, read_mmio(vcpu, SLOT_GPA, 0x55));
	ASSERT_EQ(0x66, read_mmio(vcpu, there, 0x66));
	vm_set_slot(vm, 1, 0, SLOT_GPA, SLOT_SIZE, self->mem);
	ASSERT_EQ(0x1234, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(0x77, read_mmio(vcpu, there, 0x77));
	vm_set_slot(vm, 1, 0, there, SLOT_SIZE, self->mem);
	ASSERT_EQ(0x88, read_mmio(vcpu, SLOT_GPA, 0x88));
	ASSERT_EQ(0x1234, vcpu_run_to_sync(vcpu));
	vm_set_slot(vm, 1, 0, 0, 0, NULL);
	ASSERT_EQ(0x99, read_mmio(vcpu, SLOT_GPA, 0x99));
	ASSERT_EQ(0xaa, read_mmio(vcpu, there, 0xaa));
	/* The number is free again, for other memory. */
	*(u64 *)(self->mem + SLOT_SIZE) = 0x5678;
	vm_set_slot(vm, 1, 0, SLOT_GPA, SLOT_SIZE, self->mem + SLOT_SIZE);
	ASSERT_EQ(0x5678, vcpu_run_to_sync(vcpu));
}

static void guest_read_only(u64 arg __maybe_unused)
{
	GUEST_ASSERT_EQ(VOLATILE(u64, SLOT_GPA), 0x1234);
	VOLATILE(u32, SLOT_GPA + 4) = 0xdeadbeef;
	GUEST_ASSERT_EQ(VOLATILE(u64, SLOT_GPA), 0x1234);
	/* A locked access is a write, too. */
	asm volatile("lock addl $1, (%0)" : : "r"(SLOT_GPA) : "memory");
	GUEST_ASSERT_EQ(VOLATILE(u64, SLOT_GPA), 0x1234);
}

TEST_F(slots, read_only)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct kvm_run *run = vcpu->run;

	*(u64 *)self->mem = 0x1234;
	vm_set_slot(&self->vm, 1, KVM_MEM_READONLY, SLOT_GPA, SLOT_SIZE,
		    self->mem);
	vcpu_setup_long(vcpu, guest_read_only, 0);
	vcpu_run_expect(vcpu, KVM_EXIT_MMIO);
	ASSERT_EQ(1, run->mmio.is_write);
	ASSERT_EQ(SLOT_GPA + 4, run->mmio.phys_addr);
	ASSERT_EQ(4, run->mmio.len);
	ASSERT_EQ(0xdeadbeef, *(u32 *)run->mmio.data);
	vcpu_run_expect(vcpu, KVM_EXIT_MMIO);
	ASSERT_EQ(1, run->mmio.is_write);
	ASSERT_EQ(SLOT_GPA, run->mmio.phys_addr);
	ASSERT_EQ(0x1235, *(u32 *)run->mmio.data);
	vcpu_run_to_done(vcpu);
	ASSERT_EQ(0x1234, *(u64 *)self->mem);
}

static void guest_dirties(u64 arg __maybe_unused)
{
	u64 sum = 0, i;

	/* Populate, so that a write finds its page mapped. */
	for (i = 0; i < 16; i++)
		sum += VOLATILE(u64, SLOT_GPA + i * TEST_PAGE_SIZE);
	GUEST_SYNC(sum);
	VOLATILE(u8, SLOT_GPA + TEST_PAGE_SIZE) = 1;
	VOLATILE(u8, SLOT_GPA + 5 * TEST_PAGE_SIZE) = 1;
	GUEST_SYNC(2);
	VOLATILE(u8, SLOT_GPA + 5 * TEST_PAGE_SIZE) = 2;
	VOLATILE(u64, SLOT_GPA + 9 * TEST_PAGE_SIZE - 4) = 3;
	GUEST_SYNC(3);
	VOLATILE(u8, SLOT_GPA + 7 * TEST_PAGE_SIZE) = 1;
}

static u64 dirty_bits(struct test_vm *vm)
{
	u64 bitmap[1] = { ~0UL };
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = bitmap };

	vm_ioctl(vm, KVM_GET_DIRTY_LOG, &log);
	return bitmap[0];
}

TEST_F(slots, dirty_log)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct test_vm *vm = &self->vm;
	struct kvm_dirty_log log = { .slot = 1 };
	u64 bitmap;

	log.dirty_bitmap = &bitmap;
	EXPECT_EQ(-ENOENT, __vm_ioctl(vm, KVM_GET_DIRTY_LOG, &log));
	vm_set_slot(vm, 1, 0, SLOT_GPA, SLOT_SIZE, self->mem);
	EXPECT_EQ(-ENOENT, __vm_ioctl(vm, KVM_GET_DIRTY_LOG, &log));
	log.slot = 0xffff;
	EXPECT_EQ(-EINVAL, __vm_ioctl(vm, KVM_GET_DIRTY_LOG, &log));

	vcpu_setup_long(vcpu, guest_dirties, 0);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	vm_set_slot(vm, 1, KVM_MEM_LOG_DIRTY_PAGES, SLOT_GPA, SLOT_SIZE,
		    self->mem);
	ASSERT_EQ(0, dirty_bits(vm));
	ASSERT_EQ(2, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(1U << 1 | 1U << 5, dirty_bits(vm));
	/* Reading it has cleared it. */
	ASSERT_EQ(0, dirty_bits(vm));
	ASSERT_EQ(3, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(1U << 5 | 1U << 8 | 1U << 9, dirty_bits(vm));
	log.slot = 1;
	log.dirty_bitmap = (void *)16;
	EXPECT_EQ(-EFAULT, __vm_ioctl(vm, KVM_GET_DIRTY_LOG, &log));
	vm_set_slot(vm, 1, 0, SLOT_GPA, SLOT_SIZE, self->mem);
	vcpu_run_to_done(vcpu);
	ASSERT_EQ(1, self->mem[7 * TEST_PAGE_SIZE]);
}

TEST_F(slots, region2)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = 1,
		.guest_phys_addr = SLOT_GPA,
		.memory_size = SLOT_SIZE,
		.userspace_addr = (uintptr_t)self->mem,
	};
	struct test_vm *vm = &self->vm;

	if (!vm_cap(vm, KVM_CAP_USER_MEMORY2)) {
		EXPECT_EQ(-ENOTTY, __vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION2,
					      &region));
		SKIP(return, "no SET_USER_MEMORY_REGION2");
	}
	region.flags = 1U << 30;
	EXPECT_EQ(-EINVAL, __vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION2,
				      &region));
	/* KVM_MEM_GUEST_MEMFD: an ordinary VM has no private memory. */
	region.flags = 1U << 2;
	region.guest_memfd = 0;
	EXPECT_EQ(-EINVAL, __vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION2,
				      &region));
	region.flags = 0;
	ASSERT_EQ(0, __vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &region));
	*(u64 *)self->mem = 0x4321;
	vcpu_setup_long(&self->vcpu, guest_reads_slot, 0);
	ASSERT_EQ(0x4321, vcpu_run_to_sync(&self->vcpu));
	/* Both calls speak of the same slots. */
	ASSERT_EQ(-EEXIST, __vm_set_slot(vm, 2, 0, SLOT_GPA, SLOT_SIZE,
					 self->mem));
	ASSERT_EQ(0, __vm_set_slot(vm, 1, 0, 0, 0, NULL));
}

/* Many slots over the same few pages, which come, move and go. */
#define MANY		500
#define MANY_GPA(n)	(SLOT_GPA + (u64)(n) * 4 * TEST_PAGE_SIZE)

static volatile u64 many_gpa[MANY];
static volatile u64 many_nr;

static void guest_sums(u64 arg __maybe_unused)
{
	u64 i, sum;

	for (;;) {
		for (i = sum = 0; i < many_nr; i++)
			sum = sum * 3 + VOLATILE(u64, many_gpa[i]);
		GUEST_SYNC(sum);
	}
}

static u64 many_sum(struct test_vm *vm, const u64 *gpa, int nr, const char *mem)
{
	u64 sum = 0;
	int i;

	guest_var(vm, many_nr) = (u64)nr;
	for (i = 0; i < nr; i++) {
		guest_var(vm, many_gpa[i]) = gpa[i];
		sum = sum * 3 + *(u64 *)(mem + i % 16 * TEST_PAGE_SIZE);
	}
	return sum;
}

TEST_F(slots, many)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct test_vm *vm = &self->vm;
	char *mem = self->mem;
	static u64 gpa[MANY];
	u64 sum;
	int i;

	for (i = 0; i < 16; i++)
		*(u64 *)(mem + i * TEST_PAGE_SIZE) = 0x1000 + (u64)i;
	/* In an order of their own: 7 and MANY have no factor in common. */
	for (i = 0; i < MANY; i++)
		gpa[i] = MANY_GPA(i * 7 % MANY);
	for (i = 0; i < MANY; i++)
		vm_set_slot(vm, (u32)i + 1, 0, gpa[i], TEST_PAGE_SIZE,
			    mem + i % 16 * TEST_PAGE_SIZE);
	vcpu_setup_long(vcpu, guest_sums, 0);
	sum = many_sum(vm, gpa, MANY, mem);
	ASSERT_EQ(sum, vcpu_run_to_sync(vcpu));
	/* One page changes behind all slots that have it. */
	ASSERT_EQ(0, madvise(mem + 3 * TEST_PAGE_SIZE, TEST_PAGE_SIZE, MADV_DONTNEED));
	sum = many_sum(vm, gpa, MANY, mem);
	ASSERT_EQ(sum, vcpu_run_to_sync(vcpu));

	/* None fits on or across another; each moves by less than its distance. */
	for (i = 0; i < MANY; i++) {
		ASSERT_EQ(-EEXIST, __vm_set_slot(vm, (u32)i + 1, 0, gpa[(i + 1) % MANY],
						 TEST_PAGE_SIZE, mem + i % 16 * TEST_PAGE_SIZE));
		gpa[i] += (u64)(i % 4) * TEST_PAGE_SIZE;
		vm_set_slot(vm, (u32)i + 1, 0, gpa[i], TEST_PAGE_SIZE,
			    mem + i % 16 * TEST_PAGE_SIZE);
	}
	ASSERT_EQ(-EEXIST, __vm_set_slot(vm, MANY + 1, 0, SLOT_GPA, MANY * 4 * TEST_PAGE_SIZE,
					 mem));
	sum = many_sum(vm, gpa, MANY, mem);
	ASSERT_EQ(sum, vcpu_run_to_sync(vcpu));
	for (i = 0; i < MANY; i++) {
		vm_set_slot(vm, (u32)i + 1, 0, 0, 0, NULL);
		if (i % 50)
			continue;
		/* The first that is left, and what was. */
		sum = many_sum(vm, &gpa[i + 1], 1, mem);
		sum = *(u64 *)(mem + (i + 1) % 16 * TEST_PAGE_SIZE);
		ASSERT_EQ(sum, vcpu_run_to_sync(vcpu));
		many_sum(vm, &gpa[i], 1, mem);
		vcpu_run_expect(vcpu, KVM_EXIT_MMIO);
		ASSERT_EQ(gpa[i], vcpu->run->mmio.phys_addr);
		vcpu_run_to_sync(vcpu);
	}
	ASSERT_EQ(0, __vm_set_slot(vm, 1, 0, SLOT_GPA, 2 * SLOT_SIZE, mem));
}

/* A slot that goes while a vCPU looks it up for one page after the other. */
#define LEAVING_SIZE	0x2000000UL
#define LEAVING_TIMES	1000
#define LEAVING_SECONDS	8

struct leaving {
	struct test_vm *vm;
	void *mem;
	volatile u64 exits;
	volatile bool done;
	unsigned int times;
};

static void guest_reads_pages(u64 arg __maybe_unused)
{
	u64 gpa;

	/* Bochs lets no interrupt of the host's end a guest that began with IF clear. */
	guest_sti();
	for (;;)
		for (gpa = SLOT_GPA; gpa < SLOT_GPA + LEAVING_SIZE; gpa += TEST_PAGE_SIZE)
			VOLATILE(u64, gpa);
}

static void *come_and_go(void *arg)
{
	struct leaving *l = arg;
	struct timespec begin, now;
	u64 exits;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		vm_set_slot(l->vm, 1, 0, SLOT_GPA, LEAVING_SIZE, l->mem);
		usleep(l->times % 16 * 50);
		exits = l->exits;
		vm_set_slot(l->vm, 1, 0, 0, 0, NULL);
		/* One may be from before. A vCPU that still believes in the slot has no more. */
		while (l->exits < exits + 2)
			sched_yield();
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (++l->times < LEAVING_TIMES && now.tv_sec - begin.tv_sec < LEAVING_SECONDS);
	l->done = true;
	return NULL;
}

TEST_F(slots, leave_under_faults)
{
	struct leaving l = { .vm = &self->vm };
	pthread_t thread;

	/* Pages that nobody has written cost the host nothing. */
	l.mem = mmap(NULL, LEAVING_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, l.mem);
	ASSERT_EQ(0, madvise(l.mem, LEAVING_SIZE, MADV_NOHUGEPAGE));
	vcpu_setup_long(&self->vcpu, guest_reads_pages, 0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, come_and_go, &l));
	while (!l.done) {
		vcpu_run_expect(&self->vcpu, KVM_EXIT_MMIO);
		l.exits++;
	}
	ASSERT_EQ(0, pthread_join(thread, NULL));
	TH_LOG("a slot left %u times", l.times);
	munmap(l.mem, LEAVING_SIZE);
}

/* A slot that moves by a page while a vCPU reads what its two places have in common. */
#define MOVING_PAGES	16
#define MOVING_TIMES	20000

static volatile u64 moving_done;

static void guest_reads_moving(u64 arg __maybe_unused)
{
	u64 i;

	/* As above. */
	guest_sti();
	while (!moving_done)
		for (i = 1; i < MOVING_PAGES; i++)
			VOLATILE(u64, SLOT_GPA + i * TEST_PAGE_SIZE);
	GUEST_SYNC(1);
}

static void *move_to_and_fro(void *arg)
{
	struct leaving *l = arg;
	struct timespec begin, now;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		vm_set_slot(l->vm, 1, 0, SLOT_GPA + (l->times + 1) % 2 * TEST_PAGE_SIZE,
			    MOVING_PAGES * TEST_PAGE_SIZE, l->mem);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (++l->times < MOVING_TIMES && now.tv_sec - begin.tv_sec < LEAVING_SECONDS);
	guest_var(l->vm, moving_done) = 1;
	return NULL;
}

TEST_F(slots, move_under_faults)
{
	struct leaving l = { .vm = &self->vm, .mem = self->mem };
	pthread_t thread;

	vm_set_slot(&self->vm, 1, 0, SLOT_GPA, MOVING_PAGES * TEST_PAGE_SIZE, self->mem);
	vcpu_setup_long(&self->vcpu, guest_reads_moving, 0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, move_to_and_fro, &l));
	/* Not once is it MMIO. */
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	TH_LOG("a slot moved %u times", l.times);
}

TEST_F(slots, shadow_pages)
{
	struct test_vm *vm = &self->vm;

	ASSERT_EQ(1, vm_cap(vm, KVM_CAP_MMU_SHADOW_CACHE_CONTROL));
	EXPECT_EQ(-EINVAL, __vm_ioctl(vm, KVM_SET_NR_MMU_PAGES, 63));
	EXPECT_EQ(0, __vm_ioctl(vm, KVM_SET_NR_MMU_PAGES, 64));
	EXPECT_EQ(0, __vm_ioctl(vm, KVM_SET_NR_MMU_PAGES, 100));
	if (!test_device_is_kvm())
		EXPECT_EQ(100, __vm_ioctl(vm, KVM_GET_NR_MMU_PAGES, 0));
}

TEST_HARNESS_MAIN
