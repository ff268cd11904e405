// SPDX-License-Identifier: GPL-2.0-only
/*
 * Registers by way of kvm_run (KVM_CAP_SYNC_REGS): in, out, what is refused, and user
 * space that changes them under the kernel's hands.
 */
#include <kselftest_harness.h>

#include <pthread.h>

#include "guest.h"
#include "test_vm.h"

#define ALL		(KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)
#define BAD_FIELD	(1UL << 31)
#define CR4_UNDEFINED	(1UL << 31)

FIXTURE(sync) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

/* R8 counts the rounds; nothing else changes. */
GUEST_TEXT(guest_count,
	   "1:	inc %r8\n"
	   "	outb %al, $0x80\n"
	   "	jmp 1b\n");

FIXTURE_SETUP(sync)
{
	vm_create(&self->vm);
	vm_create_irqchip(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	vcpu_set_supported_cpuid(&self->vcpu);
	vcpu_setup_long(&self->vcpu, (void (*)(u64))(uintptr_t)guest_count, 0);
}

FIXTURE_TEARDOWN(sync)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

TEST_F(sync, capability)
{
	EXPECT_EQ(ALL, vm_cap(&self->vm, KVM_CAP_SYNC_REGS));
}

TEST_F(sync, unknown_fields)
{
	struct kvm_run *run = self->vcpu.run;

	run->kvm_valid_regs = BAD_FIELD;
	EXPECT_EQ(-EINVAL, __vcpu_run(&self->vcpu));
	run->kvm_valid_regs = BAD_FIELD | ALL;
	EXPECT_EQ(-EINVAL, __vcpu_run(&self->vcpu));
	run->kvm_valid_regs = 0;
	run->kvm_dirty_regs = 1UL << 40;
	EXPECT_EQ(-EINVAL, __vcpu_run(&self->vcpu));
	/* Nothing was taken from there. */
	run->s.regs.regs.r8 = 77;
	run->kvm_dirty_regs = BAD_FIELD | ALL;
	EXPECT_EQ(-EINVAL, __vcpu_run(&self->vcpu));
	run->kvm_dirty_regs = 0;
	run->kvm_valid_regs = KVM_SYNC_X86_REGS;
	vcpu_run_expect(&self->vcpu, KVM_EXIT_IO);
	EXPECT_EQ(1, run->s.regs.regs.r8);
}

TEST_F(sync, out)
{
	struct kvm_run *run = self->vcpu.run;
	struct kvm_vcpu_events events;
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	/* Only what is asked for. */
	memset(&run->s, 0x5a, sizeof(run->s));
	memset(&run->s.regs.sregs, 0, sizeof(sregs));	/* KVM leaves padding alone */
	run->kvm_valid_regs = KVM_SYNC_X86_SREGS;
	vcpu_run_expect(&self->vcpu, KVM_EXIT_IO);
	EXPECT_EQ(0x5a5a5a5a5a5a5a5a, run->s.regs.regs.r8);
	EXPECT_EQ(0x5a, run->s.regs.events.exception.nr);
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &sregs);
	EXPECT_EQ(0, memcmp(&sregs, &run->s.regs.sregs, sizeof(sregs)));

	memset(&run->s, 0, sizeof(run->s));
	run->kvm_valid_regs = ALL;
	vcpu_run_expect(&self->vcpu, KVM_EXIT_IO);
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	EXPECT_EQ(2, regs.r8);
	EXPECT_EQ(0, memcmp(&regs, &run->s.regs.regs, sizeof(regs)));
	vcpu_ioctl(&self->vcpu, KVM_GET_VCPU_EVENTS, &events);
	EXPECT_EQ(0, memcmp(&events, &run->s.regs.events, sizeof(events)));

	/* At a return without an exit, too. */
	run->s.regs.regs.r8 = 0;
	run->immediate_exit = 1;
	EXPECT_EQ(-EINTR, __vcpu_run(&self->vcpu));
	EXPECT_EQ(2, run->s.regs.regs.r8);
}

TEST_F(sync, in)
{
	struct kvm_run *run = self->vcpu.run;
	struct kvm_vcpu_events events;
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	run->kvm_valid_regs = ALL;
	vcpu_run_expect(&self->vcpu, KVM_EXIT_IO);
	run->s.regs.regs.r8 = 0x1000;
	run->s.regs.sregs.fs.base = 0x123000;
	run->s.regs.events.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING;
	run->s.regs.events.nmi.masked = 1;
	run->s.regs.events.nmi.pending = 1;
	run->kvm_valid_regs = 0;
	run->kvm_dirty_regs = ALL;
	vcpu_run_expect(&self->vcpu, KVM_EXIT_IO);
	/* What was taken is no longer dirty. */
	EXPECT_EQ(0, run->kvm_dirty_regs);
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	EXPECT_EQ(0x1001, regs.r8);
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &sregs);
	EXPECT_EQ(0x123000, sregs.fs.base);
	vcpu_ioctl(&self->vcpu, KVM_GET_VCPU_EVENTS, &events);
	EXPECT_EQ(1, events.nmi.masked);
	EXPECT_EQ(1, events.nmi.pending);

	/* Neither way now. */
	run->s.regs.regs.r8 = 0xbad;
	vcpu_run_expect(&self->vcpu, KVM_EXIT_IO);
	EXPECT_EQ(0xbad, run->s.regs.regs.r8);
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	EXPECT_EQ(0x1002, regs.r8);
}

TEST_F(sync, refused)
{
	struct kvm_run *run = self->vcpu.run;
	struct kvm_sregs sregs;

	run->kvm_valid_regs = ALL;
	vcpu_run_expect(&self->vcpu, KVM_EXIT_IO);
	run->s.regs.sregs.cr4 |= CR4_UNDEFINED;
	run->s.regs.sregs.fs.base = 0x123000;
	run->kvm_dirty_regs = KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS;
	EXPECT_EQ(-EINVAL, __vcpu_run(&self->vcpu));
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &sregs);
	EXPECT_EQ(0, sregs.fs.base);

	run->s.regs.events.flags = 0x80000000;
	run->kvm_dirty_regs = KVM_SYNC_X86_EVENTS;
	EXPECT_EQ(-EINVAL, __vcpu_run(&self->vcpu));
}

static volatile bool racing;

static void *race(void *arg)
{
	struct kvm_run *run = arg;

	while (racing) {
		*(volatile u64 *)&run->kvm_dirty_regs = KVM_SYNC_X86_SREGS;
		*(volatile u64 *)&run->s.regs.sregs.cr4 ^= CR4_UNDEFINED;
	}
	return NULL;
}

/* A check that looks twice would let CR4 through, which then fails the entry. */
TEST_F(sync, race)
{
	struct kvm_run *run = self->vcpu.run;
	unsigned int i, good = 0, bad = 0;
	struct kvm_sregs sregs;
	pthread_t thread;
	int r;

	run->kvm_valid_regs = ALL;
	vcpu_run_expect(&self->vcpu, KVM_EXIT_IO);
	racing = true;
	ASSERT_EQ(0, pthread_create(&thread, NULL, race, run));
	for (i = 0; i < 2000 || !good || !bad; i++) {
		r = __vcpu_run(&self->vcpu);
		if (r) {
			ASSERT_EQ(-EINVAL, r);
			bad++;
		} else {
			ASSERT_EQ(KVM_EXIT_IO, run->exit_reason);
			good++;
		}
		vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &sregs);
		ASSERT_EQ(0, sregs.cr4 & CR4_UNDEFINED);
		if (i > 2000000)
			TEST_DIE("%u runs, %u refused", good, bad);
	}
	racing = false;
	pthread_join(thread, NULL);
}

TEST_HARNESS_MAIN
