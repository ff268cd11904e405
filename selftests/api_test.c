// SPDX-License-Identifier: GPL-2.0-only
/*
 * The node and the three kinds of file descriptor: versions, capabilities,
 * calls on the wrong descriptor, creation, the vCPU's mapping. No guest runs.
 */
#include <kselftest_harness.h>

#include "test_vm.h"

FIXTURE(api) {
	int device;
	struct test_vm vm;
	struct test_vcpu vcpu;
};

FIXTURE_SETUP(api)
{
	self->device = device_open();
	vm_create_bare(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
}

FIXTURE_TEARDOWN(api)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
	close(self->device);
}

TEST_F(api, version)
{
	ASSERT_EQ(KVM_API_VERSION,
		  __dev_ioctl(self->device, KVM_GET_API_VERSION, 0));
	/* It takes no argument, and says so. */
	ASSERT_EQ(-EINVAL, __dev_ioctl(self->device, KVM_GET_API_VERSION, 1));
}

/* What a VMM can rely on, in one row per capability: at least this value. */
static const struct {
	long cap;
	int least;
} caps[] = {
	{ KVM_CAP_IRQCHIP, 1 },
	{ KVM_CAP_HLT, 1 },
	{ KVM_CAP_USER_MEMORY, 1 },
	{ KVM_CAP_SET_TSS_ADDR, 1 },
	{ KVM_CAP_EXT_CPUID, 1 },
	{ KVM_CAP_NR_VCPUS, 1 },
	{ KVM_CAP_MAX_VCPUS, 1 },
	{ KVM_CAP_MAX_VCPU_ID, 1 },
	{ KVM_CAP_NR_MEMSLOTS, 32 },
	{ KVM_CAP_NOP_IO_DELAY, 1 },
	{ KVM_CAP_PIT2, 1 },
	{ KVM_CAP_PIT_STATE2, 1 },
	{ KVM_CAP_MP_STATE, 1 },
	{ KVM_CAP_DESTROY_MEMORY_REGION_WORKS, 1 },
	{ KVM_CAP_JOIN_MEMORY_REGIONS_WORKS, 1 },
	{ KVM_CAP_USER_NMI, 1 },
	{ KVM_CAP_IRQ_ROUTING, 1 },
	{ KVM_CAP_IRQ_INJECT_STATUS, 1 },
	{ KVM_CAP_SPLIT_IRQCHIP, 1 },
	{ KVM_CAP_X2APIC_API, 3 },
	{ KVM_CAP_VAPIC, 1 },
	{ KVM_CAP_IRQFD, 1 },
	{ KVM_CAP_IOEVENTFD, 1 },
	{ KVM_CAP_ADJUST_CLOCK, 1 },
	{ KVM_CAP_INTERNAL_ERROR_DATA, 1 },
	{ KVM_CAP_VCPU_EVENTS, 1 },
	{ KVM_CAP_DEBUGREGS, 1 },
	{ KVM_CAP_XSAVE, 1 },
	{ KVM_CAP_XSAVE2, 576 },
	{ KVM_CAP_XCRS, 1 },
	{ KVM_CAP_GET_TSC_KHZ, 1 },
	{ KVM_CAP_SET_IDENTITY_MAP_ADDR, 1 },
	{ KVM_CAP_TSC_DEADLINE_TIMER, 1 },
	{ KVM_CAP_SIGNAL_MSI, 1 },
	{ KVM_CAP_READONLY_MEM, 1 },
	{ KVM_CAP_IMMEDIATE_EXIT, 1 },
	{ KVM_CAP_CHECK_EXTENSION_VM, 1 },
	{ KVM_CAP_GET_MSR_FEATURES, 1 },
	{ KVM_CAP_IOEVENTFD_ANY_LENGTH, 1 },
};

TEST_F(api, capabilities)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(caps); i++) {
		EXPECT_LE(caps[i].least,
			  __dev_ioctl(self->device, KVM_CHECK_EXTENSION,
				      caps[i].cap)) {
			TH_LOG("device, capability %ld", caps[i].cap);
		}
		EXPECT_LE(caps[i].least,
			  __vm_ioctl(&self->vm, KVM_CHECK_EXTENSION,
				     caps[i].cap)) {
			TH_LOG("VM, capability %ld", caps[i].cap);
		}
	}
	EXPECT_EQ(0, device_cap(self->device, 0x7fffffff));
	EXPECT_EQ(0, vm_cap(&self->vm, 0x7fffffff));
	EXPECT_EQ(0, device_cap(self->device, -1));
	EXPECT_LE(device_cap(self->device, KVM_CAP_NR_VCPUS),
		  device_cap(self->device, KVM_CAP_MAX_VCPUS));
	EXPECT_LE(device_cap(self->device, KVM_CAP_MAX_VCPUS),
		  device_cap(self->device, KVM_CAP_MAX_VCPU_ID));
	/* Another architecture's. */
	EXPECT_EQ(0, device_cap(self->device, KVM_CAP_S390_UCONTROL));
}

/*
 * Each descriptor refuses what it does not know, and what is another's. KVM's
 * VM says -ENOTTY there, its node and its vCPU say -EINVAL.
 */
TEST_F(api, unknown_ioctls)
{
	unsigned long none = _IO(KVMIO, 0xff), foreign = _IO('z', 0x00);
	struct kvm_regs regs;

	EXPECT_EQ(-EINVAL, __dev_ioctl(self->device, none, 0));
	EXPECT_EQ(-EINVAL, __dev_ioctl(self->device, foreign, 0));
	EXPECT_EQ(-EINVAL, __dev_ioctl(self->device, KVM_RUN, 0));
	EXPECT_EQ(-EINVAL, __dev_ioctl(self->device, KVM_CREATE_VCPU, 0));

	EXPECT_EQ(-ENOTTY, __vm_ioctl(&self->vm, none, 0));
	EXPECT_EQ(-ENOTTY, __vm_ioctl(&self->vm, foreign, 0));
	EXPECT_EQ(-ENOTTY, __vm_ioctl(&self->vm, KVM_RUN, 0));
	EXPECT_EQ(-ENOTTY, __vm_ioctl(&self->vm, KVM_GET_REGS, &regs));
	EXPECT_EQ(-ENOTTY, __vm_ioctl(&self->vm, KVM_CREATE_VM, 0));

	EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, none, 0));
	EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, foreign, 0));
	EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_CREATE_VCPU, 1));
	EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_CREATE_VM, 0));
}

TEST_F(api, create_vm_type)
{
	EXPECT_EQ(-EINVAL, __dev_ioctl(self->device, KVM_CREATE_VM, 77));
	EXPECT_EQ(-EINVAL, __dev_ioctl(self->device, KVM_CREATE_VM, -1L));
}

TEST_F(api, vcpu_mmap_size)
{
	int size = __dev_ioctl(self->device, KVM_GET_VCPU_MMAP_SIZE, 0);

	ASSERT_LE((int)sizeof(struct kvm_run), size);
	ASSERT_EQ(0, size % getpagesize());
	ASSERT_EQ(-EINVAL,
		  __dev_ioctl(self->device, KVM_GET_VCPU_MMAP_SIZE, 1));
}

/* A pointer that faults: -EFAULT, on each descriptor. */
TEST_F(api, bad_pointers)
{
	void *bad = mmap(NULL, TEST_PAGE_SIZE, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, bad);
	EXPECT_EQ(-EFAULT,
		  __dev_ioctl(self->device, KVM_GET_SUPPORTED_CPUID, bad));
	EXPECT_EQ(-EFAULT,
		  __dev_ioctl(self->device, KVM_GET_MSR_INDEX_LIST, bad));
	EXPECT_EQ(-EFAULT,
		  __vm_ioctl(&self->vm, KVM_SET_USER_MEMORY_REGION, bad));
	EXPECT_EQ(-EFAULT, __vm_ioctl(&self->vm, KVM_GET_CLOCK, bad));
	EXPECT_EQ(-EFAULT, __vm_ioctl(&self->vm, KVM_IRQFD, bad));
	EXPECT_EQ(-EFAULT, __vm_ioctl(&self->vm, KVM_IOEVENTFD, bad));
	EXPECT_EQ(-EFAULT, __vm_ioctl(&self->vm, KVM_SET_GSI_ROUTING, bad));
	EXPECT_EQ(-EFAULT, __vcpu_ioctl(&self->vcpu, KVM_GET_REGS, bad));
	EXPECT_EQ(-EFAULT, __vcpu_ioctl(&self->vcpu, KVM_SET_REGS, bad));
	EXPECT_EQ(-EFAULT, __vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, bad));
	EXPECT_EQ(-EFAULT, __vcpu_ioctl(&self->vcpu, KVM_SET_SREGS, bad));
	EXPECT_EQ(-EFAULT, __vcpu_ioctl(&self->vcpu, KVM_GET_FPU, bad));
	EXPECT_EQ(-EFAULT, __vcpu_ioctl(&self->vcpu, KVM_SET_FPU, bad));
	EXPECT_EQ(-EFAULT, __vcpu_ioctl(&self->vcpu, KVM_GET_MSRS, bad));
	EXPECT_EQ(-EFAULT, __vcpu_ioctl(&self->vcpu, KVM_SET_CPUID2, bad));
	EXPECT_EQ(-EFAULT, __vcpu_ioctl(&self->vcpu, KVM_INTERRUPT, bad));
	EXPECT_EQ(-EFAULT, __vcpu_ioctl(&self->vcpu, KVM_GET_MP_STATE, bad));
	EXPECT_EQ(-EFAULT, __vcpu_ioctl(&self->vcpu, KVM_SET_SIGNAL_MASK, bad));
}

TEST_F(api, set_tss_addr)
{
	/* Three pages must fit below 4 GiB. */
	EXPECT_EQ(0, __vm_ioctl(&self->vm, KVM_SET_TSS_ADDR, 0xfffbd000));
	EXPECT_EQ(-EINVAL, __vm_ioctl(&self->vm, KVM_SET_TSS_ADDR, 0xffffe000));
}

TEST_F(api, set_identity_map_addr)
{
	u64 addr = 0xfffbc000;
	struct test_vm vm;

	/* Too late: the VM has a vCPU. */
	EXPECT_EQ(-EINVAL,
		  __vm_ioctl(&self->vm, KVM_SET_IDENTITY_MAP_ADDR, &addr));
	vm_create_bare(&vm);
	EXPECT_EQ(0, __vm_ioctl(&vm, KVM_SET_IDENTITY_MAP_ADDR, &addr));
	EXPECT_EQ(-EFAULT, __vm_ioctl(&vm, KVM_SET_IDENTITY_MAP_ADDR, 1));
	vm_destroy(&vm);
}

/* The mapping is shared: both see what either writes. */
TEST_F(api, vcpu_mapping)
{
	struct kvm_run *again;

	again = mmap(NULL, self->vcpu.run_size, PROT_READ | PROT_WRITE,
		     MAP_SHARED, self->vcpu.fd, 0);
	ASSERT_NE(MAP_FAILED, again);
	self->vcpu.run->immediate_exit = 1;
	EXPECT_EQ(1, again->immediate_exit);
	EXPECT_EQ(-EINTR, __vcpu_run(&self->vcpu));
	again->immediate_exit = 0;
	EXPECT_EQ(0, self->vcpu.run->immediate_exit);
	ASSERT_EQ(0, munmap(again, self->vcpu.run_size));
}

/* Reads one byte the way that reports a fault instead of dying of it. */
static bool readable(const void *p)
{
	int fds[2], ret;

	if (pipe(fds))
		TEST_DIE("pipe: %m");
	ret = write(fds[1], p, 1);
	close(fds[0]);
	close(fds[1]);
	return ret == 1;
}

/* Each page of the size is there; a page far behind the last is not. */
TEST_F(api, vcpu_mapping_bounds)
{
	size_t size = self->vcpu.run_size;
	size_t i;
	char *map;

	for (i = 0; i < size; i += TEST_PAGE_SIZE) {
		map = mmap(NULL, TEST_PAGE_SIZE, PROT_READ | PROT_WRITE,
			   MAP_SHARED, self->vcpu.fd, (off_t)i);
		ASSERT_NE(MAP_FAILED, map);
		EXPECT_TRUE(readable(map));
		munmap(map, TEST_PAGE_SIZE);
	}
	i = (size_t)device_cap(self->device, KVM_CAP_COALESCED_MMIO);
	EXPECT_LT(i * TEST_PAGE_SIZE, size);

	map = mmap(NULL, TEST_PAGE_SIZE, PROT_READ, MAP_SHARED,
		   self->vcpu.fd, 1L << 30);
	if (map != MAP_FAILED)
		EXPECT_FALSE(readable(map));
}

TEST_F(api, vcpu_ids)
{
	int max = device_cap(self->device, KVM_CAP_MAX_VCPU_ID);
	struct test_vcpu vcpu;

	EXPECT_EQ(-EEXIST, __vcpu_create(&self->vm, &vcpu, 0));
	EXPECT_EQ(-EINVAL, __vcpu_create(&self->vm, &vcpu, (unsigned int)max));
	EXPECT_EQ(-EINVAL, __vcpu_create(&self->vm, &vcpu, ~0U));
	/* Not truncated; KVM does that before Linux 6.11. */
	if (!test_device_is_kvm())
		EXPECT_EQ(-EINVAL, __vm_ioctl(&self->vm, KVM_CREATE_VCPU, 1UL << 32 | 5));
	/* A failure changes nothing; ids need not be in order. */
	EXPECT_EQ(0, __vcpu_create(&self->vm, &vcpu, (unsigned int)max - 1));
	vcpu_destroy(&vcpu);
	EXPECT_EQ(0, __vcpu_create(&self->vm, &vcpu, 1));
	vcpu_destroy(&vcpu);
	/* The vCPU lives as long as its VM: its id stays taken. */
	EXPECT_EQ(-EEXIST, __vcpu_create(&self->vm, &vcpu, 1));
}

TEST_F(api, boot_cpu_id)
{
	unsigned long max = device_cap(self->device, KVM_CAP_MAX_VCPU_ID);
	struct test_vm vm;

	EXPECT_EQ(-EBUSY, __vm_ioctl(&self->vm, KVM_SET_BOOT_CPU_ID, 0));
	vm_create_bare(&vm);
	/* Checked since Linux 6.11. */
	if (!test_device_is_kvm()) {
		EXPECT_EQ(-EINVAL, __vm_ioctl(&vm, KVM_SET_BOOT_CPU_ID, max + 1));
		EXPECT_EQ(-EINVAL, __vm_ioctl(&vm, KVM_SET_BOOT_CPU_ID, 1UL << 32));
	}
	EXPECT_EQ(0, __vm_ioctl(&vm, KVM_SET_BOOT_CPU_ID, max - 1));
	vm_destroy(&vm);
}

/* Each vCPU that there may be, and not one more. */
TEST_F(api, max_vcpus)
{
	unsigned int max = device_cap(self->device, KVM_CAP_MAX_VCPUS), i;
	struct test_vcpu vcpu;

	if (test_device_is_kvm())
		SKIP(return, "1024 vCPUs of KVM's take the bed a minute");
	/* The fixture has made one. */
	for (i = 1; i < max; i++) {
		ASSERT_EQ(0, __vcpu_create(&self->vm, &vcpu, i));
		vcpu_destroy(&vcpu);
	}
	ASSERT_EQ(-EINVAL, __vcpu_create(&self->vm, &vcpu, i));
}

/* QEMU says at each reset that there is no such page, and dies of a refusal. */
TEST_F(api, no_vapic_page)
{
	struct kvm_vapic_addr none = {};
	struct test_vcpu vcpu;
	struct test_vm vm;

	EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_VAPIC_ADDR, &none));
	vm_create_bare(&vm);
	vm_create_irqchip(&vm);
	vcpu_create(&vm, &vcpu, 0);
	EXPECT_EQ(0, __vcpu_ioctl(&vcpu, KVM_SET_VAPIC_ADDR, &none));
	EXPECT_EQ(-EFAULT, __vcpu_ioctl(&vcpu, KVM_SET_VAPIC_ADDR, 1));
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

/* User space may promise that ids stay small. */
TEST(max_vcpu_id)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MAX_VCPU_ID };
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_create_bare(&vm);
	cap.args[0] = (u64)vm_cap(&vm, KVM_CAP_MAX_VCPU_ID) + 1;
	EXPECT_EQ(-EINVAL, __vm_ioctl(&vm, KVM_ENABLE_CAP, &cap));
	cap.args[0] = 7;
	EXPECT_EQ(0, __vm_ioctl(&vm, KVM_ENABLE_CAP, &cap));
	EXPECT_EQ(0, __vm_ioctl(&vm, KVM_ENABLE_CAP, &cap));
	cap.args[0] = 8;
	EXPECT_EQ(-EINVAL, __vm_ioctl(&vm, KVM_ENABLE_CAP, &cap));
	EXPECT_EQ(-EINVAL, __vcpu_create(&vm, &vcpu, 7));
	EXPECT_EQ(0, __vcpu_create(&vm, &vcpu, 6));
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

TEST_F(api, close_on_exec)
{
	EXPECT_TRUE(fcntl(self->vm.fd, F_GETFD) & FD_CLOEXEC);
	EXPECT_TRUE(fcntl(self->vcpu.fd, F_GETFD) & FD_CLOEXEC);
}

TEST_HARNESS_MAIN
