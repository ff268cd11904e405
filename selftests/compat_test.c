// SPDX-License-Identifier: GPL-2.0-only
/*
 * ioctls of a 32-bit program: it has them in the kernel's compatible entry, with arguments
 * whose pointers are of 32 bits. The same entry is open to this one (INT 80h), whose
 * variables are all below 4 GiB.
 */
#include <kselftest_harness.h>

#include <signal.h>
#include <sys/wait.h>

#include "guest.h"
#include "test_vm.h"

#define MSR_FS_BASE	0xc0000100

#define NR32_GETPID	20
#define NR32_IOCTL	54

static long syscall32(u32 nr, u32 a, u32 b, u32 c)
{
	u32 r;

	asm volatile("int $0x80" : "=a"(r) : "0"(nr), "b"(a), "c"(b), "d"(c)
		     : "memory", "r8", "r9", "r10", "r11");
	return (int)r;
}

static long ioctl32(int fd, u32 cmd, const void *arg)
{
	return syscall32(NR32_IOCTL, fd, cmd, (uintptr_t)arg);
}

FIXTURE(compat) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

static void no_entry(int signal)
{
	_exit(signal);
}

/* Without the entry, INT 80h is a fault. */
static bool has_entry(void)
{
	int status = 0;
	pid_t child = fork();

	if (!child) {
		signal(SIGSEGV, no_entry);
		_exit(syscall32(NR32_GETPID, 0, 0, 0) != getpid());
	}
	return child > 0 && waitpid(child, &status, 0) == child && !status;
}

FIXTURE_SETUP(compat)
{
	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	vcpu_set_supported_cpuid(&self->vcpu);
}

FIXTURE_TEARDOWN(compat)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static void write_page(u64 gpa)
{
	VOLATILE(u8, gpa) = 1;
}

/* The upper half of the pointer's place is anything. */
TEST_F(compat, dirty_log)
{
	static struct kvm_dirty_log log = { .slot = 1 };
	static struct kvm_clear_dirty_log clear = { .slot = 1, .num_pages = 64 };
	static struct kvm_enable_cap manual = {
		.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
		.args[0] = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE,
	};
	static u64 bitmap[1];
	void *pages = mmap(NULL, 64 * TEST_PAGE_SIZE, PROT_READ | PROT_WRITE,
			   MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);

	if (!has_entry())
		SKIP(return, "this kernel runs no 32-bit programs");
	ASSERT_NE(MAP_FAILED, pages);
	ASSERT_EQ(0, ioctl32(self->vm.fd, KVM_ENABLE_CAP, &manual));
	vm_set_slot(&self->vm, 1, KVM_MEM_LOG_DIRTY_PAGES, GUEST_HOLE, 64 * TEST_PAGE_SIZE,
		    pages);
	vcpu_setup_long(&self->vcpu, write_page, GUEST_HOLE + 5 * TEST_PAGE_SIZE);
	vcpu_run_to_done(&self->vcpu);

	log.padding2 = 0xdead000000000000 | (uintptr_t)bitmap;
	EXPECT_EQ(-EFAULT, __vm_ioctl(&self->vm, KVM_GET_DIRTY_LOG, &log));
	EXPECT_EQ(0, ioctl32(self->vm.fd, KVM_GET_DIRTY_LOG, &log));
	EXPECT_EQ(1UL << 5, bitmap[0]);
	clear.padding2 = log.padding2;
	EXPECT_EQ(-EFAULT, __vm_ioctl(&self->vm, KVM_CLEAR_DIRTY_LOG, &clear));
	EXPECT_EQ(0, ioctl32(self->vm.fd, KVM_CLEAR_DIRTY_LOG, &clear));
	EXPECT_EQ(0, ioctl32(self->vm.fd, KVM_GET_DIRTY_LOG, &log));
	EXPECT_EQ(0, bitmap[0]);
}

struct msr_filter32 {
	u32 flags;
	struct {
		u32 flags, nmsrs, base, bitmap;
	} ranges[KVM_MSR_FILTER_MAX_RANGES];
};

#define SET_MSR_FILTER32	_IOW(KVMIO, 0xc6, struct msr_filter32)

static void read_base(u64 arg __maybe_unused)
{
	u64 v;

	GUEST_ASSERT_EQ(rdmsr_try(MSR_FS_BASE, &v), 13);
	GUEST_ASSERT_EQ(rdmsr_try(MSR_FS_BASE + 1, &v), GUEST_NO_FAULT);
}

TEST_F(compat, msr_filter)
{
	static u64 allowed = 2;
	static struct msr_filter32 filter = {
		.ranges[3] = {
			.flags = KVM_MSR_FILTER_READ,
			.nmsrs = 2,
			.base = MSR_FS_BASE,
		},
	};

	if (!has_entry())
		SKIP(return, "this kernel runs no 32-bit programs");
	/* A program of 64 bits has no such ioctl. */
	EXPECT_EQ(-ENOTTY, __vm_ioctl(&self->vm, SET_MSR_FILTER32, &filter));
	EXPECT_EQ(-EFAULT, ioctl32(self->vm.fd, SET_MSR_FILTER32, &filter));
	filter.ranges[3].bitmap = (uintptr_t)&allowed;
	filter.ranges[3].flags = 4;
	EXPECT_EQ(-EINVAL, ioctl32(self->vm.fd, SET_MSR_FILTER32, &filter));
	filter.ranges[3].flags = KVM_MSR_FILTER_READ;
	EXPECT_EQ(0, ioctl32(self->vm.fd, SET_MSR_FILTER32, &filter));
	vcpu_setup_long(&self->vcpu, read_base, 0);
	vcpu_run_to_done(&self->vcpu);
}

TEST_HARNESS_MAIN
