// SPDX-License-Identifier: GPL-2.0-only
/*
 * CPUID: what the device supports, what a VMM sets, what the guest then gets,
 * and the bits that follow the guest's own control registers.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

#define ENTRIES		256
#define CR4_OSXSAVE	0x40000UL

FIXTURE(cpuid) {
	int device;
	struct test_vm vm;
	struct test_vcpu vcpu;
	struct kvm_cpuid2 *supported;
	struct kvm_cpuid2 *room;
};

FIXTURE_SETUP(cpuid)
{
	self->device = device_open();
	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	self->supported = cpuid_supported(self->device);
	self->room = calloc(1, sizeof(*self->room) +
			    (ENTRIES + 1) * sizeof(self->room->entries[0]));
	ASSERT_NE(NULL, self->room);
}

FIXTURE_TEARDOWN(cpuid)
{
	free(self->supported);
	free(self->room);
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
	close(self->device);
}

TEST_F(cpuid, supported_counts)
{
	struct kvm_cpuid2 *room = self->room;
	u32 n = self->supported->nent;

	ASSERT_LT(10, n);
	room->nent = 0;
	EXPECT_EQ(-E2BIG,
		  __dev_ioctl(self->device, KVM_GET_SUPPORTED_CPUID, room));
	room->nent = n - 1;
	EXPECT_EQ(-E2BIG,
		  __dev_ioctl(self->device, KVM_GET_SUPPORTED_CPUID, room));
	room->nent = n;
	EXPECT_EQ(0, __dev_ioctl(self->device, KVM_GET_SUPPORTED_CPUID, room));
	EXPECT_EQ(n, room->nent);
	/* More room than anyone needs is no error. */
	room->nent = 100000;
	EXPECT_EQ(0, __dev_ioctl(self->device, KVM_GET_SUPPORTED_CPUID, room));
	EXPECT_EQ(n, room->nent);
}

TEST_F(cpuid, supported_content)
{
	struct kvm_cpuid_entry2 *e;
	char vendor[12];

	e = cpuid_find(self->supported, 0, 0);
	ASSERT_NE(NULL, e);
	EXPECT_LE(7, e->eax);
	e = cpuid_find(self->supported, 1, 0);
	ASSERT_NE(NULL, e);
	/* FPU TSC MSR PAE CX8 SEP PGE CMOV PAT FXSR SSE SSE2; SSE3 CX16. */
	EXPECT_EQ(0x0701a971 & ~0x80U, e->edx & 0x0701a971 & ~0x80U);
	EXPECT_EQ(0x2001, e->ecx & 0x2001);
	EXPECT_FALSE(e->ecx & 1U << 5);		/* no VMX */
	e = cpuid_find(self->supported, 0x80000001, 0);
	ASSERT_NE(NULL, e);
	EXPECT_TRUE(e->edx & 1U << 29);		/* long mode */
	EXPECT_TRUE(e->edx & 1U << 20);		/* NX */
	/* The hypervisor's own leaves. */
	e = cpuid_find(self->supported, 0x40000000, 0);
	ASSERT_NE(NULL, e);
	memcpy(vendor, &e->ebx, 4);
	memcpy(vendor + 4, &e->ecx, 4);
	memcpy(vendor + 8, &e->edx, 4);
	EXPECT_EQ(0, memcmp(vendor, "KVMKVMKVM\0\0\0", 12));
	EXPECT_LE(0x40000001, e->eax);
	e = cpuid_find(self->supported, 0x40000001, 0);
	ASSERT_NE(NULL, e);
	EXPECT_TRUE(e->eax & 1U << 3);		/* kvmclock by the new MSRs */
	EXPECT_TRUE(e->eax & 1U << 24);		/* and stable */
}

TEST_F(cpuid, set_get)
{
	struct kvm_cpuid2 *room = self->room;
	struct kvm_cpuid_entry2 *e;

	room->nent = ENTRIES + 1;
	EXPECT_EQ(-E2BIG, __vcpu_ioctl(&self->vcpu, KVM_SET_CPUID2, room));

	memcpy(room, self->supported, sizeof(*room) +
	       self->supported->nent * sizeof(room->entries[0]));
	e = cpuid_find(room, 0x80000002, 0);
	ASSERT_NE(NULL, e);
	memcpy(&e->eax, "lodge bed   ", 12);
	ASSERT_EQ(0, __vcpu_ioctl(&self->vcpu, KVM_SET_CPUID2, room));

	memset(room->entries, 0, ENTRIES * sizeof(room->entries[0]));
	room->nent = self->supported->nent - 1;
	EXPECT_EQ(-E2BIG, __vcpu_ioctl(&self->vcpu, KVM_GET_CPUID2, room));
	room->nent = ENTRIES;
	ASSERT_EQ(0, __vcpu_ioctl(&self->vcpu, KVM_GET_CPUID2, room));
	/* 6.1 leaves the count as it was, later kernels write it. */
	ASSERT_LE(self->supported->nent, room->nent);
	e = cpuid_find(room, 0x80000002, 0);
	ASSERT_NE(NULL, e);
	ASSERT_EQ(0, memcmp(&e->eax, "lodge bed   ", 12));

	room->nent = 0;
	EXPECT_EQ(0, __vcpu_ioctl(&self->vcpu, KVM_SET_CPUID2, room));
}

struct query {
	u32 leaf, index, r[4];
};

static struct query queries[] = {
	{ 0, 0, { 0 } },
	{ 1, 0, { 0 } },
	{ 0x80000000, 0, { 0 } },
	{ 0x80000002, 0, { 0 } },
	{ 0x80000008, 0, { 0 } },
	{ 0xd, 0, { 0 } },
	{ 0xd, 2, { 0 } },
	{ 0x40000000, 0, { 0 } },
	{ 0x40000001, 0, { 0 } },
	/* The upper half of each register comes back clear. */
	{ 7, 0, { 0 } },
};

static void guest_queries(u64 arg __maybe_unused)
{
	u64 a = ~0UL << 32, b = ~0UL, c = ~0UL << 32, d = ~0UL;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(queries); i++)
		guest_cpuid(queries[i].leaf, queries[i].index, queries[i].r);
	asm volatile("cpuid" : "+a"(a), "+b"(b), "+c"(c), "+d"(d));
	GUEST_ASSERT_EQ(a >> 32, 0);
	GUEST_ASSERT_EQ(b >> 32, 0);
	GUEST_ASSERT_EQ(c >> 32, 0);
	GUEST_ASSERT_EQ(d >> 32, 0);
}

TEST_F(cpuid, guest_executes)
{
	struct kvm_cpuid_entry2 *e;
	struct query *q;
	size_t i;

	e = cpuid_find(self->supported, 0x80000002, 0);
	ASSERT_NE(NULL, e);
	e->eax = 0x12345678;
	e->edx = 0x9abcdef0;
	vcpu_ioctl(&self->vcpu, KVM_SET_CPUID2, self->supported);
	vcpu_setup_long(&self->vcpu, guest_queries, 0);
	vcpu_run_to_done(&self->vcpu);
	for (i = 0; i < ARRAY_SIZE(queries); i++) {
		q = &guest_var(&self->vm, queries[i]);
		e = cpuid_find(self->supported, q->leaf, q->index);
		if (!e)
			continue;
		EXPECT_EQ(e->eax, q->r[0]) {
			TH_LOG("leaf %#x", q->leaf);
		}
		/* 0Dh: the size in EBX is of what XCR0 has on just now. */
		if (q->leaf != 0xd || q->index)
			EXPECT_EQ(e->ebx & 0xffff, q->r[1] & 0xffff) {
				TH_LOG("leaf %#x", q->leaf);
			}
		/* 1 and 7: the OS bits follow CR4. */
		if (q->leaf != 1 && q->leaf != 7)
			EXPECT_EQ(e->ecx, q->r[2]) {
				TH_LOG("leaf %#x", q->leaf);
			}
		if (q->leaf != 1)
			EXPECT_EQ(e->edx, q->r[3]) {
				TH_LOG("leaf %#x", q->leaf);
			}
	}
}

static u32 leaf1(int reg)
{
	u32 r[4];

	guest_cpuid(1, 0, r);
	return r[reg];
}

static void guest_dynamic(u64 arg __maybe_unused)
{
	u32 r[4];

	GUEST_ASSERT_EQ(leaf1(2) >> 27 & 1, 0);
	write_cr4(read_cr4() | CR4_OSXSAVE);
	GUEST_ASSERT_EQ(leaf1(2) >> 27 & 1, 1);
	/* Only x87 is on in XCR0 so far: 576 bytes with the header. */
	guest_cpuid(0xd, 0, r);
	GUEST_ASSERT_EQ(r[1], 576);
	asm volatile("xsetbv" : : "a"(7), "d"(0), "c"(0));
	guest_cpuid(0xd, 0, r);
	GUEST_ASSERT_EQ(r[1], 832);
	write_cr4(read_cr4() & ~CR4_OSXSAVE);
	GUEST_ASSERT_EQ(leaf1(2) >> 27 & 1, 0);

	GUEST_ASSERT_EQ(leaf1(3) >> 9 & 1, 1);
	wrmsr(MSR_APICBASE, rdmsr(MSR_APICBASE) & ~0x800UL);
	GUEST_ASSERT_EQ(leaf1(3) >> 9 & 1, 0);
}

TEST(dynamic_bits)
{
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_create(&vm);
	vm_create_irqchip(&vm);
	vcpu_create(&vm, &vcpu, 0);
	vcpu_setup_long(&vcpu, guest_dynamic, 0);
	vcpu_run_to_done(&vcpu);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

static void guest_nothing(u64 arg __maybe_unused)
{
}

/* Once the vCPU has run, its CPUID is settled. */
TEST_F(cpuid, fixed_after_run)
{
	struct kvm_cpuid_entry2 *e;

	vcpu_setup_long(&self->vcpu, guest_nothing, 0);
	vcpu_run_to_done(&self->vcpu);
	EXPECT_EQ(0, __vcpu_ioctl(&self->vcpu, KVM_SET_CPUID2,
				  self->supported));
	e = cpuid_find(self->supported, 0x80000002, 0);
	ASSERT_NE(NULL, e);
	e->eax ^= 1;
	EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_CPUID2,
					self->supported));
}

#define MSR_PLATFORM_INFO		0xce
#define PLATFORM_INFO_CPUID_FAULT	(1UL << 31)
#define MSR_MISC_FEATURES		0x140

/* Unprivileged code asks; where that faults, the handler says so. */
GUEST_TEXT(user_cpuid,
	   "xor %eax, %eax\n"
	   "cpuid\n"
	   "xor %eax, %eax\n"
	   "int3\n");

static void on_fault(struct guest_regs *regs)
{
	GUEST_SYNC(regs->vector);
}

static void guest_faulting(u64 arg __maybe_unused)
{
	/* The kernel itself is never refused. */
	wrmsr(MSR_MISC_FEATURES, arg);
	GUEST_ASSERT_EQ(rdmsr(MSR_MISC_FEATURES), arg);
	leaf1(0);
	asm volatile("ltr %w0" : : "r"(GUEST_TSS_SEL));
	asm volatile("pushq %0\n\tpushq %1\n\tpushq $2\n\tpushq %2\n\tpushq %3\n\tiretq"
		     : : "r"((u64)GUEST_USER_DATA | 3), "r"(GUEST_STACKS),
		     "r"((u64)GUEST_USER_CODE64 | 3), "r"((u64)(uintptr_t)user_cpuid)
		     : "memory");
}

static u64 run_faulting(struct test_vm *vm, struct test_vcpu *vcpu, u64 features)
{
	u64 *gdt = vm_ptr(vm, GUEST_GDT);

	guest_var(vm, guest_handlers[13]) = on_fault;
	gdt[GUEST_TSS_SEL / 8] &= ~(2UL << 40);	/* an available TSS */
	/* INT3 of unprivileged code is a #GP, too: told apart by the gate's privilege. */
	((u64 *)vm_ptr(vm, GUEST_IDT))[3 * 2] |= 3UL << 45;
	guest_var(vm, guest_handlers[3]) = on_fault;
	vcpu_setup_long(vcpu, guest_faulting, features);
	return vcpu_run_to_sync(vcpu);
}

TEST_F(cpuid, faulting)
{
	EXPECT_EQ(3, run_faulting(&self->vm, &self->vcpu, 0));
	EXPECT_EQ(13, run_faulting(&self->vm, &self->vcpu, 1));
}

static void guest_platform_info(u64 arg __maybe_unused)
{
	u64 v;

	GUEST_ASSERT_EQ(rdmsr(MSR_PLATFORM_INFO), PLATFORM_INFO_CPUID_FAULT | 0xff00);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_PLATFORM_INFO, 0), 13);
	GUEST_ASSERT_EQ(wrmsr_try(MSR_MISC_FEATURES, 2), 13);
	GUEST_SYNC(1);
	GUEST_ASSERT_EQ(rdmsr_try(MSR_PLATFORM_INFO, &v), 13);
}

TEST_F(cpuid, platform_info)
{
	struct kvm_enable_cap hide = { .cap = KVM_CAP_MSR_PLATFORM_INFO };

	EXPECT_EQ(PLATFORM_INFO_CPUID_FAULT, vcpu_get_msr(&self->vcpu, MSR_PLATFORM_INFO));
	vcpu_set_msr(&self->vcpu, MSR_PLATFORM_INFO, PLATFORM_INFO_CPUID_FAULT | 0xff00);
	vcpu_set_msr(&self->vcpu, MSR_MISC_FEATURES, 1);
	/* What is in use cannot be taken away, and what is not there not be used. */
	EXPECT_EQ(0, __vcpu_set_msr(&self->vcpu, MSR_PLATFORM_INFO, 0xff00));
	EXPECT_EQ(0, __vcpu_set_msr(&self->vcpu, MSR_MISC_FEATURES, 3));
	vcpu_set_msr(&self->vcpu, MSR_MISC_FEATURES, 0);
	vcpu_set_msr(&self->vcpu, MSR_PLATFORM_INFO, 0xff00);
	EXPECT_EQ(0, __vcpu_set_msr(&self->vcpu, MSR_MISC_FEATURES, 1));
	vcpu_set_msr(&self->vcpu, MSR_PLATFORM_INFO, PLATFORM_INFO_CPUID_FAULT | 0xff00);

	vcpu_setup_long(&self->vcpu, guest_platform_info, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	EXPECT_EQ(0, __vm_ioctl(&self->vm, KVM_ENABLE_CAP, &hide));
	vcpu_run_to_done(&self->vcpu);
	/* The VMM still sees it. */
	EXPECT_EQ(1UL << 31 | 0xff00, vcpu_get_msr(&self->vcpu, MSR_PLATFORM_INFO));
}

/* The node's attribute for programs that must ask the kernel for large XSAVE state. */
TEST_F(cpuid, guest_xcr0)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(self->supported, 0xd, 0);
	u64 xcr0 = 0;
	struct kvm_device_attr attr = {
		.attr = KVM_X86_XCOMP_GUEST_SUPP,
		.addr = (uintptr_t)&xcr0,
	};
	int device = device_open();

	ASSERT_NE(NULL, e);
	EXPECT_EQ(0, __dev_ioctl(device, KVM_HAS_DEVICE_ATTR, &attr));
	EXPECT_EQ(0, __dev_ioctl(device, KVM_GET_DEVICE_ATTR, &attr));
	EXPECT_EQ(e->eax | (u64)e->edx << 32, xcr0);
	attr.addr = 1;
	EXPECT_EQ(-EFAULT, __dev_ioctl(device, KVM_GET_DEVICE_ATTR, &attr));
	attr.attr = 77;
	EXPECT_EQ(-ENXIO, __dev_ioctl(device, KVM_HAS_DEVICE_ATTR, &attr));
	attr.group = 1;
	attr.attr = 0;
	EXPECT_EQ(-ENXIO, __dev_ioctl(device, KVM_GET_DEVICE_ATTR, &attr));
	close(device);
}

TEST_HARNESS_MAIN
