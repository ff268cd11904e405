// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mapping guest memory before the guest asks for it (KVM_PRE_FAULT_MEMORY), and what
 * KVM_RUN tells of memory that cannot be mapped (KVM_CAP_MEMORY_FAULT_INFO).
 */
#include <kselftest_harness.h>

#include <sys/syscall.h>

#include "guest.h"
#include "test_vm.h"

#ifndef KVM_CAP_MEMORY_FAULT_INFO
#define KVM_CAP_MEMORY_FAULT_INFO	232
#define KVM_EXIT_MEMORY_FAULT		39
#endif

#define SLOT_GPA	0x20000000UL
#define SLOT_SIZE	0x800000UL
#define PAGE(n)		((n) * TEST_PAGE_SIZE)
#define SLOT_PAGES	(SLOT_SIZE / TEST_PAGE_SIZE)

FIXTURE(prefault) {
	struct test_vm vm;
	struct test_vcpu vcpu;
	char *mem;
	struct kvm_pre_fault_memory left;
};

FIXTURE_SETUP(prefault)
{
	int fd = (int)syscall(SYS_memfd_create, "guest", 0);

	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	if (fd < 0 || ftruncate(fd, SLOT_SIZE))
		TEST_DIE("memfd");
	self->mem = mmap(NULL, SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (self->mem == MAP_FAILED)
		TEST_DIE("mmap");
	close(fd);
	vm_set_slot(&self->vm, 1, 0, SLOT_GPA, SLOT_SIZE, self->mem);
}

FIXTURE_TEARDOWN(prefault)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
	munmap(self->mem, SLOT_SIZE);
}

static int prefault(struct test_vcpu *vcpu, u64 gpa, u64 size, u64 flags,
		    struct kvm_pre_fault_memory *left)
{
	*left = (struct kvm_pre_fault_memory){ .gpa = gpa, .size = size, .flags = flags };
	return __vcpu_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, left);
}

/* How many pages of the slot the host has, from page @first on. */
static u64 populated(const char *mem, u64 first)
{
	static unsigned char there[SLOT_PAGES];
	u64 n;

	if (mincore((void *)mem, SLOT_SIZE, there))
		TEST_DIE("mincore");
	for (n = first; n < SLOT_PAGES && there[n] & 1; n++)
		;
	return n - first;
}

#define NEEDS_CAP()							\
	do {								\
		if (!vm_cap(&self->vm, KVM_CAP_PRE_FAULT_MEMORY))	\
			SKIP(return, "no KVM_CAP_PRE_FAULT_MEMORY");	\
	} while (0)

TEST_F(prefault, announced)
{
	if (test_device_is_kvm())
		SKIP(return, "younger than this KVM, perhaps");
	EXPECT_EQ(1, vm_cap(&self->vm, KVM_CAP_PRE_FAULT_MEMORY));
	EXPECT_EQ(1, vm_cap(&self->vm, KVM_CAP_MEMORY_FAULT_INFO));
}

TEST_F(prefault, refused)
{
	struct kvm_pre_fault_memory *left = &self->left;
	struct test_vcpu *vcpu = &self->vcpu;

	NEEDS_CAP();
	EXPECT_EQ(-EINVAL, prefault(vcpu, SLOT_GPA, PAGE(1), 1, left));
	EXPECT_EQ(-EINVAL, prefault(vcpu, SLOT_GPA, 0, 0, left));
	EXPECT_EQ(-EINVAL, prefault(vcpu, SLOT_GPA + 8, PAGE(1), 0, left));
	EXPECT_EQ(-EINVAL, prefault(vcpu, SLOT_GPA, 8, 0, left));
	EXPECT_EQ(-EINVAL, prefault(vcpu, -PAGE(1), PAGE(2), 0, left));
	EXPECT_EQ(-EFAULT, __vcpu_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, 16));
	EXPECT_EQ(0, populated(self->mem, 0));
	EXPECT_EQ(-ENOENT, prefault(vcpu, GUEST_HOLE, PAGE(1), 0, left));
	EXPECT_EQ(GUEST_HOLE, left->gpa);
	EXPECT_EQ(PAGE(1), left->size);
	/* No memory behind the slot. */
	ASSERT_EQ(0, mprotect(self->mem, PAGE(1), PROT_NONE));
	EXPECT_EQ(-EFAULT, prefault(vcpu, SLOT_GPA, PAGE(1), 0, left));
	EXPECT_EQ(SLOT_GPA, left->gpa);
}

static void guest_reads(u64 arg __maybe_unused)
{
	u64 i, sum = 0;

	for (i = 0; i < SLOT_PAGES; i++)
		sum += VOLATILE(u64, SLOT_GPA + PAGE(i));
	GUEST_SYNC(sum);
	VOLATILE(u64, SLOT_GPA + PAGE(3)) = 1;
	GUEST_SYNC(0);
}

TEST_F(prefault, maps)
{
	struct kvm_pre_fault_memory *left = &self->left;
	struct test_vcpu *vcpu = &self->vcpu;
	u64 i, sum = 0;

	NEEDS_CAP();
	ASSERT_EQ(0, prefault(vcpu, SLOT_GPA + PAGE(8), PAGE(4), 0, left));
	EXPECT_EQ(SLOT_GPA + PAGE(12), left->gpa);
	EXPECT_EQ(0, left->size);
	EXPECT_EQ(0, populated(self->mem, 0));
	EXPECT_EQ(4, populated(self->mem, 8));
	/* Again, over what is there. */
	ASSERT_EQ(0, prefault(vcpu, SLOT_GPA, SLOT_SIZE, 0, left));
	EXPECT_EQ(0, left->size);
	EXPECT_EQ(SLOT_PAGES, populated(self->mem, 0));
	/* As far as there is memory; then nothing. */
	ASSERT_EQ(0, prefault(vcpu, SLOT_GPA + SLOT_SIZE - PAGE(2), PAGE(5), 0, left));
	EXPECT_EQ(SLOT_GPA + SLOT_SIZE, left->gpa);
	EXPECT_EQ(PAGE(3), left->size);
	EXPECT_EQ(-ENOENT, prefault(vcpu, left->gpa, left->size, 0, left));
	EXPECT_EQ(PAGE(3), left->size);

	for (i = 0; i < SLOT_PAGES; i++) {
		*(u64 *)(self->mem + PAGE(i)) = i * i;
		sum += i * i;
	}
	vcpu_setup_long(vcpu, guest_reads, 0);
	ASSERT_EQ(sum, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(1, *(u64 *)(self->mem + PAGE(3)));
}

/* A large page counts as far as it was asked for. */
TEST_F(prefault, large_pages)
{
	struct kvm_pre_fault_memory *left = &self->left;
	u64 gpa = 2 * SLOT_GPA, two = 2UL << 20;
	char *mem, *area;

	NEEDS_CAP();
	area = mmap(NULL, 3 * two, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, area);
	mem = (char *)(((uintptr_t)area + two - 1) & ~(two - 1));
	if (madvise(mem, two, MADV_HUGEPAGE))
		SKIP(return, "no transparent huge pages");
	*mem = 1;
	vm_set_slot(&self->vm, 2, 0, gpa, two, mem);
	ASSERT_EQ(0, prefault(&self->vcpu, gpa + PAGE(5), PAGE(3), 0, left));
	EXPECT_EQ(gpa + PAGE(8), left->gpa);
	ASSERT_EQ(0, prefault(&self->vcpu, gpa + PAGE(5), two, 0, left));
	EXPECT_EQ(gpa + two, left->gpa);
	EXPECT_EQ(PAGE(5), left->size);
	vm_set_slot(&self->vm, 2, 0, 0, 0, NULL);
	munmap(area, 3 * two);
}

TEST_F(prefault, memory_fault)
{
	struct { u64 flags, gpa, size; } *fault = (void *)self->vcpu.run->padding;
	struct test_vcpu *vcpu = &self->vcpu;

	vcpu_setup_long(vcpu, guest_reads, 0);
	ASSERT_EQ(0, mprotect(self->mem + PAGE(5), PAGE(1), PROT_NONE));
	ASSERT_EQ(-EFAULT, __vcpu_run(vcpu));
	if (!test_device_is_kvm()) {
		/* KVM of 6.12 says so of private memory alone. */
		ASSERT_EQ(KVM_EXIT_MEMORY_FAULT, vcpu->run->exit_reason);
		EXPECT_EQ(SLOT_GPA + PAGE(5), fault->gpa);
		EXPECT_EQ(PAGE(1), fault->size);
		EXPECT_EQ(0, fault->flags);
	}
	/* Mended, the guest goes on. */
	ASSERT_EQ(0, mprotect(self->mem + PAGE(5), PAGE(1), PROT_READ));
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
}

TEST_HARNESS_MAIN
