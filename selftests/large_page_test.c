// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest memory in the host's large pages: that stage 2 has them, too, and what a guest that
 * executes from one does to it. CPUs with the erratum of the iTLB must not fetch through a large
 * leaf: there the kernel says itlb_multihit among the bugs, and mitigations=off gives it up.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

#define LARGE		(2UL << 20)
#define SLOT_GPA	0x20000000UL
#define SLOT_SIZE	(2 * LARGE)
#define SMALL_PER_LARGE	512

FIXTURE(large_page) {
	struct test_vm vm;
	struct test_vcpu vcpu;
	char *mem;
};

FIXTURE_SETUP(large_page)
{
	uintptr_t at;

	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	at = (uintptr_t)mmap(NULL, SLOT_SIZE + LARGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if ((void *)at == MAP_FAILED)
		TEST_DIE("mmap: %m");
	self->mem = (char *)((at + LARGE - 1) & -LARGE);
	vm_set_slot(&self->vm, 1, 0, SLOT_GPA, SLOT_SIZE, self->mem);
}

FIXTURE_TEARDOWN(large_page)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
	munmap(self->mem, SLOT_SIZE);
}

/* The last place of @word in the file: for a boot parameter the one that counts. */
static bool last_in_file(const char *path, const char *word, char *rest, size_t size)
{
	static char text[1 << 20];
	FILE *file = fopen(path, "r");
	char *at = text, *found = NULL;

	if (!file)
		TEST_DIE("%s: %m", path);
	text[fread(text, 1, sizeof(text) - 1, file)] = 0;
	fclose(file);
	for (; (at = strstr(at, word)); at++)
		found = at;
	if (found)
		snprintf(rest, size, "%s", found + strlen(word));
	return found;
}

static bool large_fetches_are_bad(void)
{
	char rest[4];

	return last_in_file("/proc/cpuinfo", "itlb_multihit", rest, sizeof(rest)) &&
	       !(last_in_file("/proc/cmdline", "mitigations=", rest, sizeof(rest)) &&
		 !strcmp(rest, "off"));
}

/* MOV EAX, @value; RET */
static void place_code(char *at, u32 value)
{
	at[0] = (char)0xb8;
	memcpy(at + 1, &value, sizeof(value));
	at[5] = (char)0xc3;
}

static u64 call(u64 address)
{
	return ((u32 (*)(void))address)();
}

static void guest_fetches(u64 arg __maybe_unused)
{
	u64 gpa = SLOT_GPA, sum;

	/* The large leaves come by data. */
	VOLATILE(u64, gpa + 0x1000) = 1;
	VOLATILE(u64, gpa + LARGE + 0x1000) = 2;
	GUEST_SYNC(0);
	sum = call(gpa + 0x3000);
	GUEST_SYNC(sum);
	/* The rest of that page, and what was written to it before and is after. */
	sum = call(gpa + LARGE - 0x1000) + VOLATILE(u64, gpa + 0x1000);
	VOLATILE(u64, gpa + 0x5000) = sum;
	GUEST_SYNC(sum);
	GUEST_SYNC(call(gpa + LARGE + 0x2000));
}

/* What is fetched from is small; what is not, stays large. */
TEST_F(large_page, fetch)
{
	u64 split = large_fetches_are_bad() ? 1 : 0;
	struct test_vcpu *vcpu = &self->vcpu;
	struct test_vm *vm = &self->vm;
	u64 large, small, faults;

	if (vm_stat(vm, "pages_2m") == ~0UL)
		SKIP(return, "no such statistics");
	if (madvise(self->mem, SLOT_SIZE, MADV_HUGEPAGE))
		SKIP(return, "no transparent huge pages");
	memset(self->mem, 0, SLOT_SIZE);
	place_code(self->mem + 0x3000, 30);
	place_code(self->mem + LARGE - 0x1000, 500);
	place_code(self->mem + LARGE + 0x2000, 7000);
	vcpu_setup_long(vcpu, guest_fetches, 0);
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	large = vm_stat(vm, "pages_2m");
	small = vm_stat(vm, "pages_4k");
	if (large < SLOT_SIZE / LARGE)
		SKIP(return, "the host has no large pages now");

	EXPECT_EQ(30, vcpu_run_to_sync(vcpu));
	EXPECT_EQ(large - split, vm_stat(vm, "pages_2m"));
	/* Each page of it may be fetched from then, where KVM maps one. */
	if (!test_device_is_kvm())
		EXPECT_EQ(small + split * SMALL_PER_LARGE, vm_stat(vm, "pages_4k"));
	faults = vcpu_stat(vcpu, "pf_taken");
	EXPECT_EQ(501, vcpu_run_to_sync(vcpu));
	if (!test_device_is_kvm())
		EXPECT_EQ(faults, vcpu_stat(vcpu, "pf_taken"));
	EXPECT_EQ(501, *(u64 *)(self->mem + 0x5000));
	EXPECT_EQ(large - split, vm_stat(vm, "pages_2m"));
	EXPECT_EQ(7000, vcpu_run_to_sync(vcpu));
	EXPECT_EQ(large - 2 * split, vm_stat(vm, "pages_2m"));
}

TEST_HARNESS_MAIN
