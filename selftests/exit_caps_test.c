// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a VMM decides about exits: which the guest does without (X86_DISABLE_EXITS), and
 * those of an instruction that nobody can emulate. And KVM_TRANSLATE, which asks.
 */
#include <signal.h>
#include <unistd.h>

#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

#define KVM_CPUID_FEATURES	0x40000001
#define FEATURE_PV_UNHALT	7

FIXTURE(exit_caps) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

FIXTURE_SETUP(exit_caps)
{
	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
}

FIXTURE_TEARDOWN(exit_caps)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static void nop_handler(struct guest_regs *regs __maybe_unused)
{
}

/* With interrupts on: Bochs looks at IF before an interrupt of the host's ends a HLT. */
static void guest_halts_once(u64 arg __maybe_unused)
{
	GUEST_SYNC(1);
	asm volatile("sti\n\thlt\n\tcli" : : : "memory");
}

/*
 * No KVM_EXIT_HLT. On SVM any interrupt of the host's ends the HLT; on VMX only an event
 * for the guest does: an NMI, once a signal has ended KVM_RUN in the middle of it.
 */
static void run_over_halt(struct test_vcpu *vcpu)
{
	struct sigaction action = { .sa_handler = host_signal_noop };
	struct guest_call *call;
	int r;

	if (sigaction(SIGALRM, &action, NULL))
		TEST_DIE("sigaction: %m");
	guest_var(vcpu->vm, guest_handlers[2]) = nop_handler;
	ualarm(50000, 50000);
	r = __vcpu_run(vcpu);
	ualarm(0, 0);
	if (r == -EINTR) {
		vcpu_ioctl(vcpu, KVM_NMI, 0);
		vcpu_run_to_done(vcpu);
		return;
	}
	call = r ? NULL : vcpu_guest_call(vcpu);
	if (!call || call->kind != GUEST_CALL_DONE)
		TEST_DIE("KVM_RUN: %d, exit %u", r, vcpu->run->exit_reason);
}

/* Sets @cpuid, which shows PV_UNHALT, and tells whether that is still there. */
static bool keeps_unhalt(struct test_vcpu *vcpu, struct kvm_cpuid2 *cpuid)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(cpuid, KVM_CPUID_FEATURES, 0);

	e->eax |= 1 << FEATURE_PV_UNHALT;
	vcpu_ioctl(vcpu, KVM_SET_CPUID2, cpuid);
	vcpu_ioctl(vcpu, KVM_GET_CPUID2, cpuid);
	return e->eax & 1 << FEATURE_PV_UNHALT;
}

TEST_F(exit_caps, disable_exits)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_X86_DISABLE_EXITS };
	struct test_vcpu vcpu;
	struct test_vm vm;
	int can = vm_cap(&self->vm, KVM_CAP_X86_DISABLE_EXITS);
	int device = device_open();
	struct kvm_cpuid2 *cpuid;

	ASSERT_EQ(KVM_X86_DISABLE_EXITS_HLT | KVM_X86_DISABLE_EXITS_PAUSE,
		  can & (KVM_X86_DISABLE_EXITS_HLT | KVM_X86_DISABLE_EXITS_PAUSE));
	vm_create(&vm);
	cap.args[0] = 1 << 10;
	EXPECT_EQ(-EINVAL, __vm_ioctl(&vm, KVM_ENABLE_CAP, &cap));
	cap.args[0] = KVM_X86_DISABLE_EXITS_HLT;
	EXPECT_EQ(0, __vm_ioctl(&vm, KVM_ENABLE_CAP, &cap));
	vcpu_create(&vm, &vcpu, 0);
	/* A kick could not end it. */
	cpuid = cpuid_supported(device);
	close(device);
	ASSERT_TRUE(keeps_unhalt(&self->vcpu, cpuid));
	ASSERT_FALSE(keeps_unhalt(&vcpu, cpuid));
	vcpu_setup_long(&vcpu, guest_halts_once, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(&vcpu));
	/* The same again after an entry. */
	ASSERT_FALSE(keeps_unhalt(&vcpu, cpuid));
	free(cpuid);
	run_over_halt(&vcpu);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);

	/* A vCPU that is there already follows. KVM's do not, or it refuses (Linux 6.14). */
	if (test_device_is_kvm())
		return;
	vcpu_setup_long(&self->vcpu, guest_halts_once, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	vcpu_run_expect(&self->vcpu, KVM_EXIT_HLT);
	EXPECT_EQ(0, __vm_ioctl(&self->vm, KVM_ENABLE_CAP, &cap));
	vcpu_setup_long(&self->vcpu, guest_halts_once, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	run_over_halt(&self->vcpu);
}

static void guest_unknown_mmio(u64 addr)
{
	asm volatile("paddd (%0), %%xmm0" : : "a"(addr) : "xmm0", "memory");
}

TEST_F(exit_caps, exit_on_emulation_failure)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE, .args[0] = 2 };
	struct kvm_run *run = self->vcpu.run;
	struct kvm_vcpu_events events;

	ASSERT_EQ(1, vm_cap(&self->vm, KVM_CAP_EXIT_ON_EMULATION_FAILURE));
	EXPECT_EQ(-EINVAL, __vm_ioctl(&self->vm, KVM_ENABLE_CAP, &cap));
	cap.args[0] = 1;
	vm_ioctl(&self->vm, KVM_ENABLE_CAP, &cap);
	vcpu_setup_long(&self->vcpu, guest_unknown_mmio, GUEST_HOLE);
	vcpu_run_expect(&self->vcpu, KVM_EXIT_INTERNAL_ERROR);
	ASSERT_EQ(KVM_INTERNAL_ERROR_EMULATION, run->internal.suberror);
	ASSERT_EQ(8, run->internal.ndata);
	ASSERT_EQ(KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES,
		  run->emulation_failure.flags);
	/* An EPT violation, or a nested page fault, at the hole */
	ASSERT_EQ(test_cpu_has_vmcall ? 48 : 0x400, run->internal.data[3]);
	ASSERT_EQ(GUEST_HOLE, run->internal.data[5]);
	/* No #UD is on its way. */
	vcpu_ioctl(&self->vcpu, KVM_GET_VCPU_EVENTS, &events);
	ASSERT_EQ(0, events.exception.injected | events.exception.pending);
}

TEST_F(exit_caps, translate)
{
	struct kvm_translation tr = { .linear_address = 0x401234 };
	u64 *pd = vm_ptr(&self->vm, GUEST_PD);

	vcpu_setup_long(&self->vcpu, guest_unknown_mmio, 0);
	vcpu_ioctl(&self->vcpu, KVM_TRANSLATE, &tr);
	ASSERT_EQ(1, tr.valid);
	ASSERT_EQ(0x401234, tr.physical_address);
	pd[2] = 0;
	vcpu_ioctl(&self->vcpu, KVM_TRANSLATE, &tr);
	ASSERT_EQ(0, tr.valid);
	ASSERT_EQ(~0ULL, tr.physical_address);
	ASSERT_EQ(-EFAULT, __vcpu_ioctl(&self->vcpu, KVM_TRANSLATE, 1));
}

TEST_HARNESS_MAIN
