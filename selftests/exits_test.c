// SPDX-License-Identifier: GPL-2.0-only
/*
 * The exits that are not I/O: HLT, SHUTDOWN, INTR and its signal mask,
 * IRQ_WINDOW_OPEN, INTERNAL_ERROR, FAIL_ENTRY, and what kvm_run says with them.
 */
#include <kselftest_harness.h>

#include <sys/syscall.h>
#include <sys/time.h>

#include "guest.h"
#include "test_vm.h"

FIXTURE(exits) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

FIXTURE_SETUP(exits)
{
	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
}

FIXTURE_TEARDOWN(exits)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static void guest_halts(u64 arg __maybe_unused)
{
	guest_halt();
	GUEST_SYNC(1);
	guest_sti();
	guest_halt();
}

TEST_F(exits, hlt)
{
	struct kvm_run *run = self->vcpu.run;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	u8 *insn;

	vcpu_setup_long(&self->vcpu, guest_halts, 0);
	vcpu_run_expect(&self->vcpu, KVM_EXIT_HLT);
	ASSERT_EQ(0, run->if_flag);
	/* RIP is behind the HLT. */
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	insn = vm_ptr(&self->vm, regs.rip);
	ASSERT_EQ(0xf4, insn[-1]);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	vcpu_run_expect(&self->vcpu, KVM_EXIT_HLT);
	ASSERT_EQ(1, run->if_flag);
	ASSERT_EQ(1, run->ready_for_interrupt_injection);
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &sregs);
	ASSERT_EQ(sregs.apic_base, run->apic_base);
	ASSERT_EQ(sregs.cr8, run->cr8);
	vcpu_run_to_done(&self->vcpu);
}

/* With no IDT the first exception becomes the third. */
static void guest_triple_fault(u64 arg __maybe_unused)
{
	struct {
		u16 limit;
		u64 base;
	} __packed idtr = { 0, 0 };

	asm volatile("lidt %0\n\tud2" : : "m"(idtr));
}

TEST_F(exits, shutdown)
{
	struct kvm_regs regs;

	vcpu_setup_long(&self->vcpu, guest_triple_fault, 0x5eed);
	vcpu_run_expect(&self->vcpu, KVM_EXIT_SHUTDOWN);
	/* AMD's manual leaves the state undefined. On Intel it tells what happened. */
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	if (test_cpu_has_vmcall) {
		EXPECT_LE((uintptr_t)guest_triple_fault, regs.rip);
		EXPECT_GT((uintptr_t)guest_triple_fault + 64, regs.rip);
	}
	/* The VMM may put the vCPU into another state and go on. */
	vcpu_setup_long(&self->vcpu, guest_halts, 0);
	vcpu_run_expect(&self->vcpu, KVM_EXIT_HLT);
}

static void guest_spins(u64 arg __maybe_unused)
{
	/* Bochs lets no interrupt of the host's end a guest that began with IF clear. */
	guest_sti();
	for (;;)
		guest_relax();
}

/* Again and again: where all is slow, the first may come before KVM_RUN. */
static void arm_timer(int ms)
{
	struct itimerval it = {
		.it_value.tv_usec = ms * 1000,
		.it_interval.tv_usec = ms * 1000,
	};
	struct sigaction sa = { .sa_handler = host_signal_noop };

	if (sigaction(SIGVTALRM, &sa, NULL) ||
	    sigaction(SIGUSR1, &sa, NULL) ||
	    sigaction(SIGPROF, &sa, NULL) ||
	    setitimer(ITIMER_PROF, &it, NULL))
		TEST_DIE("timer: %m");
}

TEST_F(exits, signal)
{
	int i;

	vcpu_setup_long(&self->vcpu, guest_spins, 0);
	for (i = 0; i < 3; i++) {
		arm_timer(20);
		self->vcpu.run->exit_reason = KVM_EXIT_UNKNOWN;
		ASSERT_EQ(-EINTR, __vcpu_run(&self->vcpu));
		ASSERT_EQ(KVM_EXIT_INTR, self->vcpu.run->exit_reason);
	}
}

TEST_F(exits, immediate_exit)
{
	struct kvm_regs before, after;

	vcpu_setup_long(&self->vcpu, guest_halts, 0);
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &before);
	self->vcpu.run->immediate_exit = 1;
	ASSERT_EQ(-EINTR, __vcpu_run(&self->vcpu));
	ASSERT_EQ(-EINTR, __vcpu_run(&self->vcpu));
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &after);
	ASSERT_EQ(0, memcmp(&before, &after, sizeof(before)));
	self->vcpu.run->immediate_exit = 0;
	vcpu_run_expect(&self->vcpu, KVM_EXIT_HLT);
}

/* @blocked: the one signal to block, 0 for none, < 0 for no mask at all. */
static int set_signal_mask(struct test_vcpu *vcpu, int blocked, u32 len)
{
	struct {
		struct kvm_signal_mask head;
		u64 set;
	} __packed mask = {
		.head.len = len,
		.set = blocked ? 1UL << (blocked - 1) : 0,
	};

	return __vcpu_ioctl(vcpu, KVM_SET_SIGNAL_MASK,
			    blocked < 0 ? NULL : &mask);
}

TEST_F(exits, signal_mask)
{
	sigset_t set, pending;

	vcpu_setup_long(&self->vcpu, guest_halts, 0);
	ASSERT_EQ(-EINVAL, set_signal_mask(&self->vcpu, SIGUSR1, 4));
	ASSERT_EQ(-EINVAL, set_signal_mask(&self->vcpu, SIGUSR1, 16));

	arm_timer(0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &set, NULL));
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));

	/* Blocked in the process and in RUN: nobody minds. */
	ASSERT_EQ(0, set_signal_mask(&self->vcpu, SIGUSR1, 8));
	vcpu_run_expect(&self->vcpu, KVM_EXIT_HLT);
	/* Let in by RUN's own mask: RUN ends, and the signal stays pending. */
	ASSERT_EQ(0, set_signal_mask(&self->vcpu, 0, 8));
	ASSERT_EQ(-EINTR, __vcpu_run(&self->vcpu));
	sigpending(&pending);
	ASSERT_TRUE(sigismember(&pending, SIGUSR1));
	/* Without a mask of its own RUN uses the thread's. */
	ASSERT_EQ(0, set_signal_mask(&self->vcpu, -1, 0));
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
}

/*
 * Sent while the vCPU runs, too, whatever the process would do with it elsewhere. Not
 * ITIMER_PROF, for which the kernel may wait until the thread is on its way out.
 */
TEST_F(exits, signal_mask_while_running)
{
	struct itimerval it = { .it_value.tv_usec = 20000 };
	sigset_t set;
	u32 i;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &set, NULL));
	ASSERT_EQ(0, set_signal_mask(&self->vcpu, 0, 8));
	for (i = 0; i < 2; i++) {
		signal(SIGALRM, i ? SIG_IGN : SIG_DFL);
		vcpu_setup_long(&self->vcpu, guest_spins, 0);
		ASSERT_EQ(0, setitimer(ITIMER_REAL, &it, NULL));
		ASSERT_EQ(-EINTR, __vcpu_run(&self->vcpu));
		ASSERT_EQ(0, sigwait(&set, &sig));
		ASSERT_EQ(SIGALRM, sig);
	}
}

static void guest_opens_window(u64 arg __maybe_unused)
{
	GUEST_SYNC(1);
	GUEST_SYNC(2);
	asm volatile("sti\n\tnop");
	GUEST_SYNC(3);
}

TEST_F(exits, irq_window)
{
	struct kvm_run *run = self->vcpu.run;

	vcpu_setup_long(&self->vcpu, guest_opens_window, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	ASSERT_EQ(0, run->ready_for_interrupt_injection);
	ASSERT_EQ(0, run->if_flag);
	run->request_interrupt_window = 1;
	/* Closed so far: the next exit is the guest's own. */
	ASSERT_EQ(2, vcpu_run_to_sync(&self->vcpu));
	vcpu_run_expect(&self->vcpu, KVM_EXIT_IRQ_WINDOW_OPEN);
	ASSERT_EQ(1, run->ready_for_interrupt_injection);
	ASSERT_EQ(1, run->if_flag);
	run->request_interrupt_window = 0;
	ASSERT_EQ(3, vcpu_run_to_sync(&self->vcpu));
	ASSERT_EQ(1, run->ready_for_interrupt_injection);
	/* It is open already: RUN says so before it enters the guest. */
	run->request_interrupt_window = 1;
	vcpu_run_expect(&self->vcpu, KVM_EXIT_IRQ_WINDOW_OPEN);
	run->request_interrupt_window = 0;
	vcpu_run_to_done(&self->vcpu);
}

/* PADDD from a hole: an access that nobody emulates. */
static void guest_unknown_mmio(u64 addr)
{
	asm volatile("paddd (%0), %%xmm0" : : "a"(addr) : "xmm0", "memory");
}

TEST_F(exits, internal_error)
{
	static const u8 insn[] = { 0x66, 0x0f, 0xfe, 0x00 };
	struct kvm_run *run = self->vcpu.run;
	struct kvm_regs regs;

	vcpu_setup_long(&self->vcpu, guest_unknown_mmio, GUEST_HOLE);
	vcpu_run_expect(&self->vcpu, KVM_EXIT_INTERNAL_ERROR);
	ASSERT_EQ(KVM_INTERNAL_ERROR_EMULATION, run->internal.suberror);
	/* RIP still at the instruction, and its bytes in the exit. */
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	ASSERT_EQ(0, memcmp(vm_ptr(&self->vm, regs.rip), insn, sizeof(insn)));
	ASSERT_LE(3, run->emulation_failure.ndata);
	ASSERT_TRUE(run->emulation_failure.flags &
		    KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES);
	ASSERT_LE(sizeof(insn), run->emulation_failure.insn_size);
	ASSERT_EQ(0, memcmp(run->emulation_failure.insn_bytes, insn,
			    sizeof(insn)));
	/* Nothing is lost: the VMM may skip it. */
	regs.rip += sizeof(insn);
	vcpu_ioctl(&self->vcpu, KVM_SET_REGS, &regs);
	vcpu_run_to_done(&self->vcpu);
}

/* The same from unprivileged code, which has no port to tell of it. */
GUEST_TEXT(user_unknown_mmio,
	   "movl $0x10000000, %eax\n"	/* GUEST_HOLE */
	   "paddd (%rax), %xmm0\n"
	   "outb %al, $0x80\n");

static void on_user_fault(struct guest_regs *regs)
{
	GUEST_SYNC(regs->vector);
}

static void guest_to_user(u64 arg __maybe_unused)
{
	asm volatile("ltr %w0" : : "r"(GUEST_TSS_SEL));
	asm volatile("pushq %0\n\tpushq %1\n\tpushq $2\n\tpushq %2\n\tpushq %3\n\tiretq"
		     : : "r"((u64)GUEST_USER_DATA | 3), "r"(GUEST_STACKS),
		     "r"((u64)GUEST_USER_CODE64 | 3), "r"((u64)(uintptr_t)user_unknown_mmio)
		     : "memory");
}

TEST_F(exits, emulation_failure_of_user_code)
{
	struct kvm_enable_cap on = {
		.cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE,
		.args[0] = 2,
	};
	struct kvm_run *run = self->vcpu.run;
	u64 *gdt = vm_ptr(&self->vm, GUEST_GDT);
	struct kvm_vcpu_events events;
	struct kvm_regs regs;

	guest_var(&self->vm, guest_handlers[6]) = on_user_fault;
	guest_var(&self->vm, guest_handlers[13]) = on_user_fault;
	gdt[GUEST_TSS_SEL / 8] &= ~(2UL << 40);	/* an available TSS */
	vcpu_setup_long(&self->vcpu, guest_to_user, 0);
	ASSERT_EQ(6, vcpu_run_to_sync(&self->vcpu));

	EXPECT_EQ(-EINVAL, __vm_ioctl(&self->vm, KVM_ENABLE_CAP, &on));
	on.args[0] = 1;
	ASSERT_EQ(0, __vm_ioctl(&self->vm, KVM_ENABLE_CAP, &on));
	gdt[GUEST_TSS_SEL / 8] &= ~(2UL << 40);
	vcpu_setup_long(&self->vcpu, guest_to_user, 0);
	vcpu_run_expect(&self->vcpu, KVM_EXIT_INTERNAL_ERROR);
	ASSERT_EQ(KVM_INTERNAL_ERROR_EMULATION, run->internal.suberror);
	/* No exception waits: the VMM may go on behind the instruction. */
	vcpu_ioctl(&self->vcpu, KVM_GET_VCPU_EVENTS, &events);
	EXPECT_EQ(0, events.exception.injected);
	EXPECT_EQ(0, events.exception.pending);
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	regs.rip += 4;
	vcpu_ioctl(&self->vcpu, KVM_SET_REGS, &regs);
	EXPECT_EQ(13, vcpu_run_to_sync(&self->vcpu));
}

/* There is no code in a hole. */
TEST_F(exits, run_in_hole)
{
	vcpu_setup_long(&self->vcpu, (void (*)(u64))GUEST_HOLE, 0);
	vcpu_run_expect(&self->vcpu, KVM_EXIT_INTERNAL_ERROR);
	ASSERT_EQ(KVM_INTERNAL_ERROR_EMULATION,
		  self->vcpu.run->internal.suberror);
}

/* CS.L and CS.D together: no CPU takes that. */
TEST_F(exits, fail_entry)
{
	struct kvm_run *run = self->vcpu.run;
	struct kvm_sregs sregs;

	vcpu_setup_long(&self->vcpu, guest_halts, 0);
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs.db = 1;
	vcpu_ioctl(&self->vcpu, KVM_SET_SREGS, &sregs);
	run->fail_entry.hardware_entry_failure_reason = 0;
	vcpu_run_expect(&self->vcpu, KVM_EXIT_FAIL_ENTRY);
	ASSERT_NE(0, run->fail_entry.hardware_entry_failure_reason);
	ASSERT_GT(sysconf(_SC_NPROCESSORS_CONF), run->fail_entry.cpu);
	/* What the failed entry left of the state is the CPU's affair. */
	vcpu_setup_long(&self->vcpu, guest_halts, 0);
	vcpu_run_expect(&self->vcpu, KVM_EXIT_HLT);
}

#define TRACING	"/sys/kernel/tracing/"

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	int r = fd < 0 ? -1 : (int)write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return r;
}

/* The rule that such a state breaks has a tracepoint. */
TEST_F(exits, fail_entry_is_explained)
{
	static const char event[] = TRACING "events/lodge/lodge_rule_broken/enable";
	static char trace[0x10000];
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	int fd;

	if (test_device_is_kvm() || write_file(event, "1") < 0)
		SKIP(return, "no tracepoint of lodge's: %m");
	write_file(TRACING "trace", "");
	vcpu_setup_long(&self->vcpu, guest_halts, 0);
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs.db = 1;
	vcpu_ioctl(&self->vcpu, KVM_SET_SREGS, &sregs);
	vcpu_run_expect(&self->vcpu, KVM_EXIT_FAIL_ENTRY);
	write_file(event, "0");
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	if (regs.rip != (uintptr_t)guest_halts)
		SKIP(return, "this CPU has lost the state that it refuses");
	fd = open(TRACING "trace", O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_LT(0, read(fd, trace, sizeof(trace) - 1));
	close(fd);
	EXPECT_TRUE(strstr(trace, "CS with L and D"));
}

/*
 * Never open: STI holds interrupts back until CLI is done. But Bochs looks at the host's
 * only where IF changes.
 */
static void guest_spins_closed(u64 arg __maybe_unused)
{
	for (;;)
		asm volatile("sti\n\tcli\n\tpause" : : : "memory");
}

/*
 * QEMU's CPU refuses this CR3 before it loads anything of the guest, and saves what it
 * has instead: the host's registers, which user space must not see, and an interrupt
 * control with which the next guest could shut the host's interrupts out.
 */
TEST_F(exits, refused_early)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	vcpu_setup_real(&self->vcpu, 0, 0);
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &sregs);
	sregs.cr3 = 1UL << 62;
	vcpu_ioctl(&self->vcpu, KVM_SET_SREGS, &sregs);
	arm_timer(20);
	if (__vcpu_run(&self->vcpu) ||
	    self->vcpu.run->exit_reason != KVM_EXIT_FAIL_ENTRY)
		SKIP(return, "this CPU ignores the upper half of CR3 in real mode");
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	ASSERT_EQ(0, regs.rip >> 63);
	ASSERT_EQ(0, regs.rsp >> 63);
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &sregs);
	ASSERT_EQ(0, sregs.gdt.base >> 63);
	ASSERT_EQ(0, sregs.idt.base >> 63);

	vcpu_setup_long(&self->vcpu, guest_spins_closed, 0);
	arm_timer(20);
	ASSERT_EQ(-EINTR, __vcpu_run(&self->vcpu));
}

TEST_HARNESS_MAIN
