// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest of lodge's and one of KVM's take turns on one CPU: each must find its own
 * registers and MSRs, and the host its own. Where both cannot have guests at the same
 * time, lodge says EBUSY, and the test is skipped.
 */
#include <fcntl.h>
#include <stdlib.h>

#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

#define KVM_NODE		"/dev/kvm"
#define SWITCHES		1000

#define MSR_LSTAR		0xc0000082
#define MSR_STAR		0xc0000081
#define MSR_KERNEL_GS_BASE	0xc0000102
#define MSR_SYSENTER_EIP	0x176
#define PORT			0x80

/* Counts, and looks whether everything else is as it was left. */
static void guest_counts(u64 own)
{
	u64 xmm, i;

	wrmsr(MSR_STAR, own << 32);
	wrmsr(MSR_LSTAR, own);
	wrmsr(MSR_KERNEL_GS_BASE, own + 1);
	wrmsr(MSR_SYSENTER_EIP, own + 2);
	asm volatile("movq %0, %%xmm7" : : "r"(own + 3));
	for (i = 0;; i++) {
		port_out8(PORT, i);
		GUEST_ASSERT_EQ(own << 32, rdmsr(MSR_STAR));
		GUEST_ASSERT_EQ(own, rdmsr(MSR_LSTAR));
		GUEST_ASSERT_EQ(own + 1, rdmsr(MSR_KERNEL_GS_BASE));
		GUEST_ASSERT_EQ(own + 2, rdmsr(MSR_SYSENTER_EIP));
		asm volatile("movq %%xmm7, %0" : "=r"(xmm));
		GUEST_ASSERT_EQ(own + 3, xmm);
	}
}

/* A VM on @node; false: somebody else has the hardware. */
static bool create_on(const char *node, struct test_vm *vm, struct test_vcpu *vcpu, u64 own)
{
	int device = open(node, O_RDWR | O_CLOEXEC), fd;

	if (device < 0)
		return false;
	fd = __dev_ioctl(device, KVM_CREATE_VM, 0);
	close(device);
	if (fd < 0)
		return false;
	close(fd);
	setenv("LODGE_DEVICE", node, 1);
	vm_with_vcpu(vm, vcpu, guest_counts, own);
	return true;
}

static void take_turns(struct __test_metadata *_metadata, struct test_vcpu vcpu[2])
{
	unsigned int i, n;

	for (i = 0; i < SWITCHES; i++) {
		for (n = 0; n < 2; n++) {
			vcpu_run_expect(&vcpu[n], KVM_EXIT_IO);
			ASSERT_EQ(PORT, vcpu[n].run->io.port);
			ASSERT_EQ(i & 0xff, *(u8 *)io_data(&vcpu[n]));
		}
	}
}

/* KVM's first: lodge finds the hardware in use, as after KVM took it at its load. */
TEST(turns)
{
	char *own = strdup(test_device());
	struct test_vcpu vcpu[2];
	struct test_vm vm[2];

	if (test_device_is_kvm())
		SKIP(return, "KVM is not the one under test");
	ASSERT_EQ(0, host_stay_on_first_cpu());
	if (!create_on(KVM_NODE, &vm[0], &vcpu[0], 0x1000))
		SKIP(return, "no KVM here that works");
	if (!create_on(own, &vm[1], &vcpu[1], 0x2000)) {
		vcpu_destroy(&vcpu[0]);
		vm_destroy(&vm[0]);
		SKIP(return, "only one of them can have guests");
	}
	take_turns(_metadata, vcpu);

	/* KVM goes, and with it what it had switched on for both. */
	vcpu_destroy(&vcpu[0]);
	vm_destroy(&vm[0]);
	vcpu_run_expect(&vcpu[1], KVM_EXIT_IO);
	ASSERT_EQ(SWITCHES & 0xff, *(u8 *)io_data(&vcpu[1]));

	/* It comes back, if it can while lodge has guests. */
	if (create_on(KVM_NODE, &vm[0], &vcpu[0], 0x3000)) {
		vcpu_run_expect(&vcpu[0], KVM_EXIT_IO);
		vcpu_run_expect(&vcpu[1], KVM_EXIT_IO);
		ASSERT_EQ((SWITCHES + 1) & 0xff, *(u8 *)io_data(&vcpu[1]));
		vcpu_run_expect(&vcpu[0], KVM_EXIT_IO);
		ASSERT_EQ(1, *(u8 *)io_data(&vcpu[0]));
		vcpu_destroy(&vcpu[0]);
		vm_destroy(&vm[0]);
	}
	vcpu_destroy(&vcpu[1]);
	vm_destroy(&vm[1]);
	free(own);
}

/* Up to 6.11 a KVM that is loaded takes the hardware with its first VM only. */
TEST(lodge_first)
{
	char *own = strdup(test_device());
	struct test_vcpu vcpu[2];
	struct test_vm vm[2];

	if (test_device_is_kvm() || access(KVM_NODE, F_OK))
		SKIP(return, "no KVM beside the one under test");
	ASSERT_EQ(0, host_stay_on_first_cpu());
	if (!create_on(own, &vm[1], &vcpu[1], 0x2000))
		SKIP(return, "KVM has the hardware");
	if (!create_on(KVM_NODE, &vm[0], &vcpu[0], 0x1000)) {
		vcpu_destroy(&vcpu[1]);
		vm_destroy(&vm[1]);
		/* AMD's hardware has one owner. */
		ASSERT_FALSE(test_cpu_has_vmcall);
		SKIP(return, "only one of them can have guests");
	}
	take_turns(_metadata, vcpu);
	vcpu_destroy(&vcpu[0]);
	vm_destroy(&vm[0]);
	vcpu_destroy(&vcpu[1]);
	vm_destroy(&vm[1]);
	free(own);
}

TEST_HARNESS_MAIN
