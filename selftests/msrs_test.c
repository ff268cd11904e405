// SPDX-License-Identifier: GPL-2.0-only
/*
 * MSRs: the two lists, GET and SET with their counts, and the guest's own
 * RDMSR and WRMSR, with the values that must raise #GP.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

#define MSR_PAT			0x277
#define MSR_DEBUGCTL		0x1d9
#define MSR_LASTBRANCHFROMIP	0x1db
#define MSR_SYSENTER_CS		0x174
#define MSR_SYSENTER_ESP	0x175
#define MSR_SYSENTER_EIP	0x176
#define MSR_STAR		0xc0000081
#define MSR_LSTAR		0xc0000082
#define MSR_CSTAR		0xc0000083
#define MSR_SFMASK		0xc0000084
#define MSR_FS_BASE		0xc0000100
#define MSR_GS_BASE		0xc0000101
#define MSR_KERNEL_GS_BASE	0xc0000102
#define MSR_TSC_AUX		0xc0000103
#define MSR_NONE		0x12345

#define NONCANONICAL		0x8000000000000000UL
#define LIST_MAX		512

struct msr_list {
	struct kvm_msr_list head;
	u32 indices[LIST_MAX];
};

struct msr_io {
	struct kvm_msrs head;
	struct kvm_msr_entry entries[4];
};

FIXTURE(msrs) {
	int device;
	struct test_vm vm;
	struct test_vcpu vcpu;
	struct msr_list *list;
};

FIXTURE_SETUP(msrs)
{
	self->device = device_open();
	vm_create(&self->vm);
	vm_create_irqchip(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	self->list = calloc(1, sizeof(*self->list));
	ASSERT_NE(NULL, self->list);
}

FIXTURE_TEARDOWN(msrs)
{
	free(self->list);
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
	close(self->device);
}

static bool list_has(const struct msr_list *list, u32 index)
{
	u32 i;

	for (i = 0; i < list->head.nmsrs; i++)
		if (list->indices[i] == index)
			return true;
	return false;
}

static void get_list(int device, unsigned long cmd, struct msr_list *list)
{
	u32 n;

	list->head.nmsrs = 0;
	if (__dev_ioctl(device, cmd, list) != -E2BIG)
		TEST_DIE("a list without room must be -E2BIG");
	n = list->head.nmsrs;
	if (n == 0 || n > LIST_MAX)
		TEST_DIE("%u MSRs", n);
	list->head.nmsrs = n - 1;
	if (__dev_ioctl(device, cmd, list) != -E2BIG)
		TEST_DIE("a list one too short must be -E2BIG");
	list->head.nmsrs = n;
	if (__dev_ioctl(device, cmd, list) || list->head.nmsrs != n)
		TEST_DIE("a list with just enough room");
}

TEST_F(msrs, index_list)
{
	static const u32 must[] = {
		MSR_TSC, MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
		MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK,
		MSR_KERNEL_GS_BASE, MSR_PAT, MSR_TSC_AUX, MSR_TSC_DEADLINE,
		0x4b564d00, 0x4b564d01,
	};
	u64 value;
	size_t i;

	get_list(self->device, KVM_GET_MSR_INDEX_LIST, self->list);
	for (i = 0; i < ARRAY_SIZE(must); i++)
		EXPECT_TRUE(list_has(self->list, must[i])) {
			TH_LOG("MSR %#x", must[i]);
		}
	/* QEMU saves and restores each one, and dies of a refusal. */
	for (i = 0; i < self->list->head.nmsrs; i++) {
		EXPECT_EQ(1, __vcpu_get_msr(&self->vcpu, self->list->indices[i],
					    &value)) {
			TH_LOG("get MSR %#x", self->list->indices[i]);
			continue;
		}
		EXPECT_EQ(1, __vcpu_set_msr(&self->vcpu, self->list->indices[i],
					    value)) {
			TH_LOG("set MSR %#x to %#lx", self->list->indices[i],
			       (unsigned long)value);
		}
	}
}

TEST_F(msrs, feature_list)
{
	struct msr_io io = { .head.nmsrs = 1 };
	u32 i;

	get_list(self->device, KVM_GET_MSR_FEATURE_INDEX_LIST, self->list);
	for (i = 0; i < self->list->head.nmsrs; i++) {
		io.entries[0].index = self->list->indices[i];
		EXPECT_EQ(1, __dev_ioctl(self->device, KVM_GET_MSRS, &io)) {
			TH_LOG("MSR %#x", self->list->indices[i]);
		}
	}
	/* The node knows no vCPU's MSRs. */
	io.entries[0].index = MSR_LSTAR;
	EXPECT_EQ(0, __dev_ioctl(self->device, KVM_GET_MSRS, &io));
}

/* The result is how many were done: up to the first that failed. */
TEST_F(msrs, counts)
{
	struct msr_io io = {
		.head.nmsrs = 3,
		.entries = {
			{ .index = MSR_LSTAR, .data = 0x1000 },
			{ .index = MSR_NONE },
			{ .index = MSR_CSTAR, .data = 0x2000 },
		},
	};

	EXPECT_EQ(1, __vcpu_ioctl(&self->vcpu, KVM_SET_MSRS, &io));
	EXPECT_EQ(0x1000, vcpu_get_msr(&self->vcpu, MSR_LSTAR));
	EXPECT_EQ(0, vcpu_get_msr(&self->vcpu, MSR_CSTAR));
	io.entries[0].data = 0;
	EXPECT_EQ(1, __vcpu_ioctl(&self->vcpu, KVM_GET_MSRS, &io));
	EXPECT_EQ(0x1000, io.entries[0].data);
	io.head.nmsrs = 0;
	EXPECT_EQ(0, __vcpu_ioctl(&self->vcpu, KVM_GET_MSRS, &io));
	io.head.nmsrs = 256;
	EXPECT_EQ(-E2BIG, __vcpu_ioctl(&self->vcpu, KVM_GET_MSRS, &io));
	EXPECT_EQ(-E2BIG, __vcpu_ioctl(&self->vcpu, KVM_SET_MSRS, &io));
	io.head.nmsrs = ~0U;
	EXPECT_EQ(-E2BIG, __vcpu_ioctl(&self->vcpu, KVM_GET_MSRS, &io));
}

TEST_F(msrs, bad_values)
{
	static const struct {
		u32 index;
		u64 value;
	} bad[] = {
		{ MSR_LSTAR, NONCANONICAL },
		{ MSR_FS_BASE, NONCANONICAL },
		{ MSR_KERNEL_GS_BASE, NONCANONICAL },
		{ MSR_EFER, 1UL << 63 },
		{ MSR_EFER, 1UL << 1 },
		{ MSR_PAT, 0x0202020202020202 },
		{ MSR_PAT, 0x08 },
		{ MSR_APICBASE, 0xfee00001 },
		{ MSR_NONE, 1 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(0, __vcpu_set_msr(&self->vcpu, bad[i].index,
					    bad[i].value)) {
			TH_LOG("MSR %#x", bad[i].index);
		}
	EXPECT_EQ(0x0007040600070406, vcpu_get_msr(&self->vcpu, MSR_PAT));
}

static void guest_msrs(u64 arg __maybe_unused)
{
	static const u32 plain[] = {
		MSR_LSTAR, MSR_CSTAR, MSR_FS_BASE, MSR_GS_BASE,
		MSR_KERNEL_GS_BASE, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
	};
	u64 v, high;
	u32 aux, lo;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(plain); i++) {
		GUEST_ASSERT_EQ(wrmsr_try(plain[i], 0xffff800000000000 + i),
				GUEST_NO_FAULT);
		GUEST_ASSERT_EQ(rdmsr(plain[i]), 0xffff800000000000 + i);
	}
	/*
	 * That these refuse a non-canonical address is for the CPU to do where
	 * the guest writes them itself, and emulated ones do not.
	 */
	GUEST_ASSERT_EQ(rdmsr_try(MSR_NONE, &v), 13);
	GUEST_ASSERT_EQ(guest_fault_error, 0);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_NONE, 0), 13);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_EFER, rdmsr(MSR_EFER) | 2), 13);
	/* EFER.LME is fixed while paging is on. */
	GUEST_ASSERT_EQ(wrmsr_try(MSR_EFER, rdmsr(MSR_EFER) & ~0x100UL), 13);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_PAT, 2), 13);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_PAT, 0x0007010600070106),
			GUEST_NO_FAULT);
	GUEST_ASSERT_EQ(rdmsr(MSR_PAT), 0x0007010600070106);

	/* RDMSR clears the upper halves. */
	asm volatile("mov $-1, %%rax\n\tmov $-1, %%rdx\n\trdmsr\n\t"
		     "mov %%rax, %0\n\tmov %%rdx, %1"
		     : "=&r"(v), "=&r"(high) : "c"(MSR_PAT) : "rax", "rdx");
	GUEST_ASSERT_EQ(v >> 32, 0);
	GUEST_ASSERT_EQ(high, 0x00070106);

	wrmsr(MSR_TSC_AUX, 77);
	asm volatile("rdtscp" : "=a"(lo), "=c"(aux) : : "rdx");
	GUEST_ASSERT_EQ(aux, 77);

	wrmsr(MSR_GS_BASE, 0x1000);
	wrmsr(MSR_KERNEL_GS_BASE, 0x2000);
	asm volatile("swapgs");
	GUEST_ASSERT_EQ(rdmsr(MSR_GS_BASE), 0x2000);
	GUEST_SYNC(1);
	GUEST_ASSERT_EQ(rdmsr(MSR_GS_BASE), 0x2000);
	GUEST_ASSERT_EQ(rdmsr(MSR_KERNEL_GS_BASE), 0x1000);
}

TEST_F(msrs, guest)
{
	vcpu_setup_long(&self->vcpu, guest_msrs, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	ASSERT_EQ(0x1000, vcpu_get_msr(&self->vcpu, MSR_KERNEL_GS_BASE));
	ASSERT_EQ(0x2000, vcpu_get_msr(&self->vcpu, MSR_GS_BASE));
	ASSERT_EQ(77, vcpu_get_msr(&self->vcpu, MSR_TSC_AUX));
	vcpu_run_to_done(&self->vcpu);
}

/* SYSCALL to the address in LSTAR, with the flags in SFMASK cleared. */
GUEST_TEXT(guest_syscall_entry,
	   "movq $0x5ca11, %rax\n"
	   "pushfq\n"
	   "popq %rdx\n"
	   "jmp *%rcx\n");

static void guest_syscall(u64 arg __maybe_unused)
{
	u64 rax = 0, rdx = 0;

	wrmsr(MSR_STAR, (u64)GUEST_CODE64 << 32);
	wrmsr(MSR_LSTAR, (uintptr_t)guest_syscall_entry);
	wrmsr(MSR_SFMASK, 0x1);
	asm volatile("stc\n\tsyscall" : "+a"(rax), "+d"(rdx) : :
		     "rcx", "r11", "cc", "memory");
	GUEST_ASSERT_EQ(rax, 0x5ca11);
	GUEST_ASSERT_EQ(rdx & 1, 0);
	/* With SCE off it is an invalid opcode. */
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~1UL);
	GUEST_ASSERT_EQ(GUEST_TRY("syscall", OUTS("+a"(rax)), INS()), 6);
}

TEST_F(msrs, syscall)
{
	vcpu_setup_long(&self->vcpu, guest_syscall, 0);
	vcpu_run_to_done(&self->vcpu);
}

/* Branches are neither recorded nor trapped at; to ask for it is no fault on Intel, as in KVM. */
static void guest_debugctl(u64 arg __maybe_unused)
{
	GUEST_ASSERT_EQ(GUEST_NO_FAULT, wrmsr_try(MSR_DEBUGCTL, 3));
	GUEST_ASSERT_EQ(0, rdmsr(MSR_DEBUGCTL));
	GUEST_ASSERT_EQ(GUEST_NO_FAULT, wrmsr_try(MSR_DEBUGCTL, 0));
	GUEST_ASSERT_EQ(13, wrmsr_try(MSR_DEBUGCTL, 1 << 6));
	GUEST_ASSERT_EQ(13, wrmsr_try(MSR_DEBUGCTL, 1 << 3));
}

TEST_F(msrs, debugctl)
{
	if (!test_cpu_has_vmcall)
		SKIP(return, "AMD has a register of its own kind");
	vcpu_setup_long(&self->vcpu, guest_debugctl, 0);
	vcpu_run_to_done(&self->vcpu);
}

/* What old CPUs have instead of a stack of branches; there is none. */
static void guest_last_branch(u64 arg __maybe_unused)
{
	u32 msr;

	for (msr = MSR_LASTBRANCHFROMIP; msr < MSR_LASTBRANCHFROMIP + 4; msr++) {
		u64 value = 1;

		GUEST_ASSERT_EQ(GUEST_NO_FAULT, rdmsr_try(msr, &value));
		GUEST_ASSERT_EQ(0, value);
	}
}

TEST_F(msrs, last_branch)
{
	vcpu_setup_long(&self->vcpu, guest_last_branch, 0);
	vcpu_run_to_done(&self->vcpu);
}

/* Flags have 32 bits. Intel SDM volume 4, "IA32_FMASK": the others are reserved. */
static void guest_sfmask(u64 arg __maybe_unused)
{
	wrmsr(MSR_SFMASK, 0x47700);
	GUEST_ASSERT_EQ(13, wrmsr_try(MSR_SFMASK, 1UL << 32));
	GUEST_ASSERT_EQ(13, wrmsr_try(MSR_SFMASK, ~0UL));
	GUEST_ASSERT_EQ(0x47700, rdmsr(MSR_SFMASK));
	GUEST_ASSERT_EQ(GUEST_NO_FAULT, wrmsr_try(MSR_SFMASK, 0xffffffff));
}

TEST_F(msrs, sfmask)
{
	if (!test_cpu_has_vmcall)
		SKIP(return, "AMD's VMCB has room for 64 bits");
	if (test_device_is_kvm())
		SKIP(return, "KVM leaves it to the CPU, and Bochs takes any");
	vcpu_setup_long(&self->vcpu, guest_sfmask, 0);
	vcpu_run_to_done(&self->vcpu);
	EXPECT_EQ(0, __vcpu_set_msr(&self->vcpu, MSR_SFMASK, 1UL << 32));
	EXPECT_EQ(0xffffffff, vcpu_get_msr(&self->vcpu, MSR_SFMASK));
}

TEST_HARNESS_MAIN
