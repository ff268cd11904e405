// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_SET_GUEST_DEBUG: breakpoints, watchpoints and steps, over everything that an
 * instruction can do about them; and what of it the guest sees, which is nothing.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

#define DB_VECTOR	1
#define BP_VECTOR	3
#define IRQ_VECTOR	0x40
#define USER_PORT	0x5f0

#define TF		0x100UL
#define DR6_NONE	0xffff0ff0UL
#define DR6_BD		0x2000UL
#define DR6_BS		0x4000UL
#define DR7_NONE	0x400UL
#define DR7_GD		0x2000UL

/* Places in a GUEST_TEXT(), which also says .globl. */
#define GUEST_LABELS(...)	extern const char __VA_ARGS__

#define STEP		(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP)

FIXTURE(debug) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

FIXTURE_SETUP(debug)
{
	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
}

FIXTURE_TEARDOWN(debug)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static int guest_debug(struct test_vcpu *vcpu, u32 control, u64 dr0, u64 dr7)
{
	struct kvm_guest_debug debug = {
		.control = control,
		.arch.debugreg[0] = dr0,
		.arch.debugreg[7] = dr7,
	};

	return __vcpu_ioctl(vcpu, KVM_SET_GUEST_DEBUG, &debug);
}

static u64 rip_of(struct test_vcpu *vcpu)
{
	struct kvm_regs regs;

	vcpu_ioctl(vcpu, KVM_GET_REGS, &regs);
	return regs.rip;
}

static void set_rflags(struct test_vcpu *vcpu, u64 rflags)
{
	struct kvm_regs regs;

	vcpu_ioctl(vcpu, KVM_GET_REGS, &regs);
	regs.rflags = rflags;
	vcpu_ioctl(vcpu, KVM_SET_REGS, &regs);
}

/* What user space has to do for the instruction is done on the way. */
#define EXPECT_STEP(where) do {						\
	struct kvm_run *__run = self->vcpu.run;				\
	int __r;							\
									\
	do {								\
		__r = __vcpu_run(&self->vcpu);				\
		ASSERT_EQ(0, __r);					\
	} while (__run->exit_reason == KVM_EXIT_IO ||			\
		 __run->exit_reason == KVM_EXIT_MMIO);			\
	ASSERT_EQ(KVM_EXIT_DEBUG, __run->exit_reason) {			\
		dump_exit(&self->vcpu);					\
	}								\
	ASSERT_EQ(DB_VECTOR, __run->debug.arch.exception);		\
	ASSERT_EQ((u64)(uintptr_t)(where), __run->debug.arch.pc);	\
	ASSERT_EQ(__run->debug.arch.pc, rip_of(&self->vcpu));		\
	ASSERT_EQ(DR6_NONE | DR6_BS, __run->debug.arch.dr6);		\
} while (0)

TEST_F(debug, capabilities)
{
	u32 all = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_SW_BP |
		  KVM_GUESTDBG_USE_HW_BP | KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP |
		  KVM_GUESTDBG_BLOCKIRQ;

	EXPECT_EQ(1, vm_cap(&self->vm, KVM_CAP_SET_GUEST_DEBUG));
	EXPECT_EQ(1, vm_cap(&self->vm, KVM_CAP_X86_ROBUST_SINGLESTEP));
	EXPECT_EQ(all, vm_cap(&self->vm, KVM_CAP_SET_GUEST_DEBUG2));
	EXPECT_EQ(0, guest_debug(&self->vcpu, 0, 0, 0));
	EXPECT_EQ(0, guest_debug(&self->vcpu, all & ~(KVM_GUESTDBG_INJECT_DB |
						      KVM_GUESTDBG_INJECT_BP), 0, DR7_NONE));
	EXPECT_EQ(-EFAULT, __vcpu_ioctl(&self->vcpu, KVM_SET_GUEST_DEBUG, 1));
}

/* Software breakpoints ----------------------------------------------------------- */

GUEST_TEXT(sw_code, "sw_int3: int3\n"
	   "sw_after: ret\n"
	   ".globl sw_int3, sw_after");
GUEST_LABELS(sw_int3[], sw_after[]);

static volatile u64 seen_vector, seen_rip, seen_rflags, seen_dr6;

static void note(struct guest_regs *regs)
{
	seen_vector = regs->vector;
	seen_rip = regs->rip;
	seen_rflags = regs->rflags;
}

static void guest_int3(u64 arg __maybe_unused)
{
	guest_handlers[BP_VECTOR] = note;
	asm volatile("call sw_code" : : : "memory", "cc");
	GUEST_ASSERT_EQ(BP_VECTOR, seen_vector);
	GUEST_ASSERT_EQ(sw_after, seen_rip);
	GUEST_ASSERT(!(seen_rflags & TF));
}

TEST_F(debug, software_breakpoint)
{
	struct kvm_run *run = self->vcpu.run;
	int i;

	if (test_device_is_kvm())
		SKIP(return, "QEMU's CPU does not show INT3 to KVM");
	vcpu_setup_long(&self->vcpu, guest_int3, 0);
	ASSERT_EQ(0, guest_debug(&self->vcpu, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP,
				 0, 0));
	/* It is not executed, so it comes again. */
	for (i = 0; i < 2; i++) {
		vcpu_run_expect(&self->vcpu, KVM_EXIT_DEBUG);
		ASSERT_EQ(BP_VECTOR, run->debug.arch.exception);
		ASSERT_EQ((uintptr_t)sw_int3, run->debug.arch.pc);
		ASSERT_EQ(run->debug.arch.pc, rip_of(&self->vcpu));
	}
	/* It is the guest's own: handed on. */
	ASSERT_EQ(0, guest_debug(&self->vcpu, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP |
				 KVM_GUESTDBG_INJECT_BP, 0, 0));
	ASSERT_EQ(-EBUSY, guest_debug(&self->vcpu, KVM_GUESTDBG_ENABLE |
				      KVM_GUESTDBG_INJECT_BP, 0, 0));
	vcpu_run_to_done(&self->vcpu);

	/* Nobody asks for them any more. */
	vcpu_setup_long(&self->vcpu, guest_int3, 0);
	ASSERT_EQ(0, guest_debug(&self->vcpu, 0, 0, 0));
	vcpu_run_to_done(&self->vcpu);
}

static void note_db(struct guest_regs *regs)
{
	u64 dr6;

	note(regs);
	asm volatile("mov %%dr6, %0" : "=r"(dr6));
	seen_dr6 = dr6;
	regs->rflags &= ~TF;
}

static void guest_gets_db(u64 arg __maybe_unused)
{
	guest_handlers[DB_VECTOR] = note_db;
	GUEST_SYNC(1);
	GUEST_ASSERT_EQ(DB_VECTOR, seen_vector);
	GUEST_SYNC(2);
}

TEST_F(debug, inject_db)
{
	vcpu_setup_long(&self->vcpu, guest_gets_db, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	ASSERT_EQ(0, guest_debug(&self->vcpu, KVM_GUESTDBG_INJECT_DB, 0, 0));
	ASSERT_EQ(-EBUSY, guest_debug(&self->vcpu, KVM_GUESTDBG_INJECT_DB, 0, 0));
	ASSERT_EQ(2, vcpu_run_to_sync(&self->vcpu));
}

/* Steps -------------------------------------------------------------------------- */

GUEST_TEXT(st_plain,
	   "st_0: xorl %eax, %eax\n"
	   "st_1: cpuid\n"
	   "st_2: movl $0xc0000080, %ecx\n"
	   "st_3: rdmsr\n"
	   "st_4: movw $0x5f0, %dx\n"
	   "st_5: outb %al, (%dx)\n"
	   "st_6: inb (%dx), %al\n"
	   "st_7: movl %eax, (%rdi)\n"
	   "st_8: movl (%rdi), %eax\n"
	   "st_9: mov %cr0, %rax\n"
	   "st_10: mov %rax, %cr4\n"
	   "st_11: wbinvd\n"
	   "st_12: ret\n"
	   ".globl st_0, st_1, st_2, st_3, st_4, st_5, st_6, st_7, st_8, st_9\n"
	   ".globl st_10, st_11, st_12");
GUEST_LABELS(st_0[], st_1[], st_2[], st_3[], st_4[], st_5[], st_6[], st_7[]);
GUEST_LABELS(st_8[], st_9[], st_10[], st_11[], st_12[]);

static void start(struct test_vcpu *vcpu, const char *code, u64 arg)
{
	vcpu_setup_long(vcpu, (void (*)(u64))(uintptr_t)code, arg);
}

/* Over exits that lodge completes, and over those that user space does. */
TEST_F(debug, step_over_exits)
{
	start(&self->vcpu, st_plain, GUEST_HOLE);
	vcpu_set_supported_cpuid(&self->vcpu);
	ASSERT_EQ(0, guest_debug(&self->vcpu, STEP, 0, 0));
	EXPECT_STEP(st_1);
	EXPECT_STEP(st_2);
	EXPECT_STEP(st_3);
	EXPECT_STEP(st_4);
	EXPECT_STEP(st_5);
	EXPECT_STEP(st_6);
	EXPECT_STEP(st_7);
	/* KVM has no step after a read of MMIO. */
	if (test_device_is_kvm())
		return;
	EXPECT_STEP(st_8);
	EXPECT_STEP(st_9);
	EXPECT_STEP(st_10);
	ASSERT_EQ(0, guest_debug(&self->vcpu, 0, 0, 0));
}

GUEST_TEXT(st_rep,
	   "rep_0: rep movsb\n"
	   "rep_1: movl $2, %ecx\n"
	   "movl $0x10000000, %edi\n"
	   "rep_2: rep stosb\n"
	   "rep_3: hlt\n"
	   "rep_4: nop\n"
	   ".globl rep_0, rep_1, rep_2, rep_3, rep_4");
GUEST_LABELS(rep_0[], rep_1[], rep_2[], rep_3[], rep_4[]);

TEST_F(debug, step_over_rep)
{
	struct kvm_regs regs;

	start(&self->vcpu, st_rep, GUEST_SCRATCH);
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	regs.rcx = 3;
	regs.rsi = GUEST_SCRATCH;
	vcpu_ioctl(&self->vcpu, KVM_SET_REGS, &regs);
	ASSERT_EQ(0, guest_debug(&self->vcpu, STEP, 0, 0));
	EXPECT_STEP(rep_0);
	EXPECT_STEP(rep_0);
	/* QEMU's CPU looks at RCX once more. */
	vcpu_run_expect(&self->vcpu, KVM_EXIT_DEBUG);
	if (rip_of(&self->vcpu) == (uintptr_t)rep_0)
		EXPECT_STEP(rep_1);
	ASSERT_EQ((uintptr_t)rep_1, rip_of(&self->vcpu));
	EXPECT_STEP(rep_1 + 5);
	EXPECT_STEP(rep_2);
	/* The emulator's: KVM has no step between its iterations. */
	if (test_device_is_kvm())
		return;
	EXPECT_STEP(rep_2);
	EXPECT_STEP(rep_3);
	/* Without an irqchip HLT is user space's first. */
	vcpu_run_expect(&self->vcpu, KVM_EXIT_HLT);
	EXPECT_STEP(rep_4);
}

GUEST_TEXT(st_flags,
	   "fl_0: pushfq\n"
	   "fl_1: popq %rax\n"
	   "fl_2: pushq %rax\n"
	   "fl_3: popfq\n"
	   "fl_4: sti\n"
	   "fl_5: nop\n"
	   "fl_6: cli\n"
	   "fl_7: movl %ss, %ecx\n"
	   "fl_8: movl %ecx, %ss\n"
	   "fl_9: nop\n"
	   "fl_10: int $0x40\n"
	   "fl_11: nop\n"
	   "fl_12: ud2\n"
	   "fl_13: int3\n"
	   "fl_14: nop\n"
	   ".globl fl_0, fl_1, fl_2, fl_3, fl_4, fl_5, fl_6, fl_7, fl_8, fl_9, fl_10\n"
	   ".globl fl_11, fl_12, fl_13, fl_14");
GUEST_LABELS(fl_0[], fl_1[], fl_2[], fl_3[], fl_4[], fl_5[], fl_6[], fl_7[]);
GUEST_LABELS(fl_8[], fl_9[], fl_10[], fl_11[], fl_12[], fl_13[], fl_14[]);

static u64 *stack_of(struct test_vm *vm, struct test_vcpu *vcpu)
{
	struct kvm_regs regs;

	vcpu_ioctl(vcpu, KVM_GET_REGS, &regs);
	return vm_ptr(vm, regs.rsp);
}

/* The guest's frames and its copies of RFLAGS never have our TF; ours goes on. */
TEST_F(debug, step_over_flags)
{
	struct kvm_regs regs;
	u64 *stack;

	start(&self->vcpu, st_flags, 0);
	ASSERT_EQ(0, guest_debug(&self->vcpu, STEP, 0, 0));
	EXPECT_STEP(fl_1);
	if (!test_device_is_kvm())
		ASSERT_EQ(0, stack_of(&self->vm, &self->vcpu)[0] & TF);
	EXPECT_STEP(fl_2);
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	ASSERT_EQ(0, regs.rflags & TF);
	EXPECT_STEP(fl_3);
	EXPECT_STEP(fl_4);
	EXPECT_STEP(fl_5);
	EXPECT_STEP(fl_6);
	EXPECT_STEP(fl_7);
	EXPECT_STEP(fl_8);
	/* MOV SS holds the trap back for one more; VMX's monitor trap flag knows no such thing. */
	vcpu_run_expect(&self->vcpu, KVM_EXIT_DEBUG);
	if (rip_of(&self->vcpu) == (uintptr_t)fl_9)
		EXPECT_STEP(fl_10);
	ASSERT_EQ((uintptr_t)fl_10, rip_of(&self->vcpu));
	if (test_device_is_kvm())
		return;

	EXPECT_STEP(guest_vectors + 16 * 0x40);
	stack = stack_of(&self->vm, &self->vcpu);
	ASSERT_EQ((uintptr_t)fl_11, stack[0]);
	ASSERT_EQ(0, stack[2] & TF);
	/* Out of the handler. */
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	regs.rip = (uintptr_t)fl_12;
	vcpu_ioctl(&self->vcpu, KVM_SET_REGS, &regs);
	EXPECT_STEP(guest_vectors + 16 * 6);
	stack = stack_of(&self->vm, &self->vcpu);
	ASSERT_EQ((uintptr_t)fl_12, stack[0]);
	ASSERT_EQ(0, stack[2] & TF);
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	regs.rip = (uintptr_t)fl_13;
	vcpu_ioctl(&self->vcpu, KVM_SET_REGS, &regs);
	EXPECT_STEP(guest_vectors + 16 * BP_VECTOR);
	stack = stack_of(&self->vm, &self->vcpu);
	ASSERT_EQ((uintptr_t)fl_14, stack[0]);
	ASSERT_EQ(0, stack[2] & TF);
}

/* IRET to an address, with the guest's own flags. */
GUEST_TEXT(st_iret,
	   "ir_0: iretq\n"
	   "ir_1: nop\n"
	   "ir_2: nop\n"
	   ".globl ir_0, ir_1, ir_2");
GUEST_LABELS(ir_0[], ir_1[], ir_2[]);

TEST_F(debug, step_over_iret)
{
	struct kvm_regs regs;
	u64 *stack;

	if (test_device_is_kvm())
		SKIP(return, "KVM runs on");
	start(&self->vcpu, st_iret, 0);
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	regs.rsp -= 0x100;
	vcpu_ioctl(&self->vcpu, KVM_SET_REGS, &regs);
	stack = vm_ptr(&self->vm, regs.rsp);
	stack[0] = (uintptr_t)ir_1;
	stack[1] = GUEST_CODE64;
	stack[2] = 2;
	stack[3] = regs.rsp;
	stack[4] = GUEST_DATA;
	ASSERT_EQ(0, guest_debug(&self->vcpu, STEP, 0, 0));
	EXPECT_STEP(ir_1);
	EXPECT_STEP(ir_2);
}

GUEST_TEXT(st_syscall,
	   "sc_0: syscall\n"
	   "sc_1: nop\n"
	   "sc_2: nop\n"
	   "sc_3: nop\n"
	   ".globl sc_0, sc_1, sc_2, sc_3");
GUEST_LABELS(sc_0[], sc_1[], sc_2[], sc_3[]);

TEST_F(debug, step_over_syscall)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	start(&self->vcpu, st_syscall, 0);
	vcpu_set_supported_cpuid(&self->vcpu);
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &sregs);
	sregs.efer |= 1;
	vcpu_ioctl(&self->vcpu, KVM_SET_SREGS, &sregs);
	vcpu_set_msr(&self->vcpu, 0xc0000081, (u64)GUEST_CODE64 << 32);
	vcpu_set_msr(&self->vcpu, 0xc0000082, (uintptr_t)sc_2);
	vcpu_set_msr(&self->vcpu, 0xc0000084, TF | 0x200);
	if (test_device_is_kvm())
		SKIP(return, "KVM runs on: SYSCALL clears its TF");
	ASSERT_EQ(0, guest_debug(&self->vcpu, STEP, 0, 0));
	EXPECT_STEP(sc_2);
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	ASSERT_EQ((uintptr_t)sc_1, regs.rcx);
	ASSERT_EQ(0, regs.r11 & TF);
	ASSERT_EQ(TF | 0x200, vcpu_get_msr(&self->vcpu, 0xc0000084));
	EXPECT_STEP(sc_3);
}

/* Interrupts --------------------------------------------------------------------- */

GUEST_TEXT(st_irq,
	   "iq_0: sti\n"
	   "iq_1: nop\n"
	   "iq_2: nop\n"
	   "iq_3: nop\n"
	   "iq_4: nop\n"
	   ".globl iq_0, iq_1, iq_2, iq_3, iq_4");
GUEST_LABELS(iq_0[], iq_1[], iq_2[], iq_3[], iq_4[]);

TEST_F(debug, blocked_interrupts)
{
	struct kvm_interrupt irq = { .irq = IRQ_VECTOR };
	u64 *stack;

	start(&self->vcpu, st_irq, 0);
	vcpu_ioctl(&self->vcpu, KVM_INTERRUPT, &irq);
	ASSERT_EQ(0, guest_debug(&self->vcpu, STEP | KVM_GUESTDBG_BLOCKIRQ, 0, 0));
	EXPECT_STEP(iq_1);
	EXPECT_STEP(iq_2);
	vcpu_ioctl(&self->vcpu, KVM_NMI, 0);
	EXPECT_STEP(iq_3);
	if (test_device_is_kvm())
		return;
	/* Each delivery is a step of its own; the NMI goes first. */
	ASSERT_EQ(0, guest_debug(&self->vcpu, STEP, 0, 0));
	EXPECT_STEP(guest_vectors + 16 * 2);
	stack = stack_of(&self->vm, &self->vcpu);
	ASSERT_EQ((uintptr_t)iq_3, stack[0]);
	ASSERT_EQ(0, stack[2] & TF);
}

TEST_F(debug, step_into_interrupt)
{
	struct kvm_interrupt irq = { .irq = IRQ_VECTOR };
	u64 *stack;

	if (test_device_is_kvm())
		SKIP(return, "KVM runs the handler first");
	start(&self->vcpu, st_irq, 0);
	vcpu_ioctl(&self->vcpu, KVM_INTERRUPT, &irq);
	ASSERT_EQ(0, guest_debug(&self->vcpu, STEP, 0, 0));
	EXPECT_STEP(iq_1);
	/* The shadow of STI. */
	EXPECT_STEP(iq_2);
	EXPECT_STEP(guest_vectors + 16 * IRQ_VECTOR);
	stack = stack_of(&self->vm, &self->vcpu);
	ASSERT_EQ((uintptr_t)iq_2, stack[0]);
	ASSERT_EQ(0, stack[2] & TF);
	EXPECT_STEP(guest_vectors + 16 * IRQ_VECTOR + 2);
}

static volatile u64 nmis;

static void count_nmi(struct guest_regs *regs)
{
	GUEST_ASSERT(!(regs->rflags & TF));
	nmis++;
}

static void guest_counts_nmis(u64 arg __maybe_unused)
{
	guest_handlers[2] = count_nmi;
	GUEST_SYNC(1);
	while (nmis < 3)
		;
}

/* Steps through an NMI's handler, whose IRET is what lodge watches, too. */
TEST_F(debug, step_through_nmi)
{
	int i;

	if (test_device_is_kvm())
		SKIP(return, "KVM runs the handler first");
	vcpu_setup_long(&self->vcpu, guest_counts_nmis, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	ASSERT_EQ(0, guest_debug(&self->vcpu, STEP, 0, 0));
	vcpu_ioctl(&self->vcpu, KVM_NMI, 0);
	vcpu_ioctl(&self->vcpu, KVM_NMI, 0);
	/* Its handler is some 80 instructions long: that of the third is not stepped to its end. */
	for (i = 0; i < 930; i++) {
		vcpu_run_expect(&self->vcpu, KVM_EXIT_DEBUG);
		if (i == 900)
			vcpu_ioctl(&self->vcpu, KVM_NMI, 0);
	}
	ASSERT_EQ(0, guest_debug(&self->vcpu, 0, 0, 0));
	vcpu_run_to_done(&self->vcpu);
	ASSERT_EQ(3, guest_var(&self->vm, nmis));
}

TEST_F(debug, step_over_halt)
{
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_create(&vm);
	vm_create_irqchip(&vm);
	vcpu_create(&vm, &vcpu, 0);
	start(&vcpu, rep_3, 0);
	ASSERT_EQ(0, guest_debug(&vcpu, STEP, 0, 0));
	vcpu_run_expect(&vcpu, KVM_EXIT_DEBUG);
	ASSERT_EQ((uintptr_t)rep_4, vcpu.run->debug.arch.pc);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

/* The guest's own TF -------------------------------------------------------------- */

GUEST_TEXT(st_own,
	   "ow_0: nop\n"
	   "ow_1: pushfq\n"
	   "ow_2: nop\n"
	   ".globl ow_0, ow_1, ow_2");
GUEST_LABELS(ow_0[], ow_1[], ow_2[]);

/* It traps into the guest, after the debugger has seen the step. */
TEST_F(debug, both_step)
{
	struct kvm_debugregs dr;
	struct kvm_regs regs;
	u64 *stack;

	if (test_device_is_kvm())
		SKIP(return, "KVM drops the guest's own trap");
	start(&self->vcpu, st_own, 0);
	set_rflags(&self->vcpu, 2 | TF);
	ASSERT_EQ(0, guest_debug(&self->vcpu, STEP, 0, 0));
	EXPECT_STEP(ow_1);
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	ASSERT_EQ(TF, regs.rflags & TF);
	EXPECT_STEP(guest_vectors + 16 * DB_VECTOR);
	stack = stack_of(&self->vm, &self->vcpu);
	ASSERT_EQ((uintptr_t)ow_1, stack[0]);
	ASSERT_EQ(TF, stack[2] & TF);
	vcpu_ioctl(&self->vcpu, KVM_GET_DEBUGREGS, &dr);
	ASSERT_EQ(DR6_NONE | DR6_BS, dr.dr6);
	/* At PUSHF the guest's TF stays in the image. */
	start(&self->vcpu, ow_1, 0);
	set_rflags(&self->vcpu, 2 | TF);
	EXPECT_STEP(ow_2);
	ASSERT_EQ(TF, stack_of(&self->vm, &self->vcpu)[0] & TF);
}

static void guest_traps_itself(u64 arg __maybe_unused)
{
	guest_handlers[DB_VECTOR] = note_db;
	asm volatile("pushfq\n\torl $0x100, (%%rsp)\n\tpopfq\n\tnop\n"
		     "1:" : : : "memory", "cc");
	GUEST_ASSERT_EQ(DB_VECTOR, seen_vector);
	GUEST_ASSERT_EQ(DR6_BS, seen_dr6 & DR6_BS);
}

TEST_F(debug, guest_alone)
{
	vcpu_setup_long(&self->vcpu, guest_traps_itself, 0);
	vcpu_run_to_done(&self->vcpu);
	/* A debugger that does something else is not in the way. */
	vcpu_setup_long(&self->vcpu, guest_traps_itself, 0);
	ASSERT_EQ(0, guest_debug(&self->vcpu, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP,
				 0, 0));
	vcpu_run_to_done(&self->vcpu);
}

/* STI and MOV SS hold back what comes next: a CPU wants the trap flag's trap to fit that. */
GUEST_TEXT(shadow_code,
	   "pushfq\n"
	   "orl $0x100, (%rsp)\n"
	   "popfq\n"
	   "sti\n"
	   "shadow_1: nop\n"
	   "shadow_2: movl %ss, %eax\n"
	   "shadow_3: movl %eax, %ss\n"
	   "nop\n"
	   "shadow_4: nop\n"
	   "shadow_5: cli\n"
	   "ret\n"
	   ".globl shadow_1, shadow_2, shadow_3, shadow_4, shadow_5");
GUEST_LABELS(shadow_1[], shadow_2[], shadow_3[], shadow_4[], shadow_5[]);

static const char *volatile shadow_traps[8];
static volatile unsigned int nr_shadow_traps;

static void note_shadow_trap(struct guest_regs *regs)
{
	if (nr_shadow_traps < 8)
		shadow_traps[nr_shadow_traps++] = (const char *)regs->rip;
	if (regs->rip == (uintptr_t)shadow_5)
		regs->rflags &= ~TF;
}

static void guest_traps_in_shadows(u64 arg __maybe_unused)
{
	guest_handlers[DB_VECTOR] = note_shadow_trap;
	asm volatile("call shadow_code" : : : "rax", "memory", "cc");
	GUEST_ASSERT_EQ(5, nr_shadow_traps);
	GUEST_ASSERT_EQ(shadow_1, shadow_traps[0]);
	GUEST_ASSERT_EQ(shadow_2, shadow_traps[1]);
	GUEST_ASSERT_EQ(shadow_3, shadow_traps[2]);
	GUEST_ASSERT_EQ(shadow_4, shadow_traps[3]);
	GUEST_ASSERT_EQ(shadow_5, shadow_traps[4]);
}

TEST_F(debug, guest_traps_in_shadows)
{
	vcpu_setup_long(&self->vcpu, guest_traps_in_shadows, 0);
	vcpu_run_to_done(&self->vcpu);
}

/* Hardware breakpoints ------------------------------------------------------------- */

static volatile u64 watched;

GUEST_TEXT(hw_code,
	   "hw_0: nop\n"
	   "hw_1: movq $1, (%rdi)\n"
	   "hw_2: movq (%rdi), %rax\n"
	   "hw_3: mov %dr0, %rax\n"
	   "hw_4: ret\n"
	   ".globl hw_0, hw_1, hw_2, hw_3, hw_4");
GUEST_LABELS(hw_0[], hw_1[], hw_2[], hw_3[], hw_4[]);

static void guest_owns_drs(u64 arg)
{
	u64 dr0, dr6, dr7;

	asm volatile("mov %0, %%dr0" : : "r"(0x123456UL));
	asm volatile("mov %0, %%dr7" : : "r"(DR7_NONE | 0x300));
	asm volatile("call hw_code" : "=a"(dr0) : "D"(arg) : "memory", "cc");
	GUEST_ASSERT_EQ(0x123456, dr0);
	asm volatile("mov %%dr7, %0" : "=r"(dr7));
	GUEST_ASSERT_EQ(DR7_NONE | 0x300, dr7);
	asm volatile("mov %%dr6, %0" : "=r"(dr6));
	GUEST_ASSERT_EQ(DR6_NONE, dr6);
	GUEST_SYNC(1);
	asm volatile("call hw_code" : "=a"(dr0) : "D"(arg) : "memory", "cc");
	GUEST_ASSERT_EQ(0x123456, dr0);
}

TEST_F(debug, hardware_breakpoints)
{
	u32 control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
	struct kvm_run *run = self->vcpu.run;
	struct kvm_debugregs dr;

	vcpu_setup_long(&self->vcpu, guest_owns_drs, (uintptr_t)&watched);
	/* Execution */
	ASSERT_EQ(0, guest_debug(&self->vcpu, control, (uintptr_t)hw_0, DR7_NONE | 1));
	vcpu_run_expect(&self->vcpu, KVM_EXIT_DEBUG);
	ASSERT_EQ(DB_VECTOR, run->debug.arch.exception);
	ASSERT_EQ((uintptr_t)hw_0, run->debug.arch.pc);
	ASSERT_EQ(DR6_NONE | 1, run->debug.arch.dr6);
	ASSERT_EQ(DR7_NONE | 1, run->debug.arch.dr7);
	vcpu_ioctl(&self->vcpu, KVM_GET_DEBUGREGS, &dr);
	ASSERT_EQ(0x123456, dr.db[0]);
	ASSERT_EQ(DR7_NONE | 0x300, dr.dr7);
	/* A write of 8 bytes */
	ASSERT_EQ(0, guest_debug(&self->vcpu, control, (uintptr_t)&watched,
				 DR7_NONE | 1 | 0x90000));
	vcpu_run_expect(&self->vcpu, KVM_EXIT_DEBUG);
	ASSERT_EQ((uintptr_t)hw_2, run->debug.arch.pc);
	ASSERT_EQ(DR6_NONE | 1, run->debug.arch.dr6);
	/* Any access, and a step at once */
	ASSERT_EQ(0, guest_debug(&self->vcpu, control | KVM_GUESTDBG_SINGLESTEP,
				 (uintptr_t)&watched, DR7_NONE | 1 | 0xb0000));
	vcpu_run_expect(&self->vcpu, KVM_EXIT_DEBUG);
	ASSERT_EQ((uintptr_t)hw_3, run->debug.arch.pc);
	ASSERT_EQ(DR6_NONE | DR6_BS | 1, run->debug.arch.dr6);
	/* The guest's own access to its registers is not the debugger's business. */
	ASSERT_EQ(0, guest_debug(&self->vcpu, control, 0, DR7_NONE));
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	ASSERT_EQ(0, guest_debug(&self->vcpu, 0, 0, 0));
	vcpu_run_to_done(&self->vcpu);
}

GUEST_TEXT(dev_code,
	   "dev_0: movl %eax, (%rdi)\n"
	   "movl (%rdi), %eax\n"
	   "ret\n"
	   ".globl dev_0");
GUEST_LABELS(dev_0[]);

/*
 * The CPU looks for breakpoints: it stops at an instruction that reaches a device, but
 * does not see the access, which is made in its stead.
 */
TEST_F(debug, device_breakpoints)
{
	u32 control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
	struct kvm_run *run = self->vcpu.run;

	vcpu_setup_long(&self->vcpu, (void (*)(u64))(uintptr_t)dev_code, GUEST_HOLE);
	ASSERT_EQ(0, guest_debug(&self->vcpu, control, (uintptr_t)dev_0, DR7_NONE | 1));
	vcpu_run_expect(&self->vcpu, KVM_EXIT_DEBUG);
	ASSERT_EQ((uintptr_t)dev_0, run->debug.arch.pc);
	/* Any access of 4 bytes there */
	ASSERT_EQ(0, guest_debug(&self->vcpu, control, GUEST_HOLE, DR7_NONE | 1 | 0xf0000));
	vcpu_run_expect(&self->vcpu, KVM_EXIT_MMIO);
	ASSERT_EQ(1, run->mmio.is_write);
	vcpu_run_expect(&self->vcpu, KVM_EXIT_MMIO);
	ASSERT_EQ(0, run->mmio.is_write);
	vcpu_run_to_done(&self->vcpu);
}

/* DR7.GD of the debugger reports the guest's accesses. */
TEST_F(debug, general_detect)
{
	struct kvm_run *run = self->vcpu.run;

	if (test_device_is_kvm())
		SKIP(return, "KVM's SVM does not look at GD itself");
	start(&self->vcpu, hw_3, 0);
	ASSERT_EQ(0, guest_debug(&self->vcpu, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP,
				 0, DR7_NONE | DR7_GD));
	vcpu_run_expect(&self->vcpu, KVM_EXIT_DEBUG);
	ASSERT_EQ(DR6_NONE | DR6_BD, run->debug.arch.dr6);
	ASSERT_EQ((uintptr_t)hw_3, run->debug.arch.pc);
}

/* ICEBP, and a breakpoint of the guest's own, with and without a debugger. */
static void guest_breaks(u64 arg)
{
	guest_handlers[DB_VECTOR] = note_db;
	asm volatile("mov %0, %%dr0" : : "r"(&watched));
	asm volatile("mov %0, %%dr6" : : "r"(0UL));
	asm volatile("mov %0, %%dr7" : : "r"(DR7_NONE | 1 | 0x90000));
	seen_vector = 0;
	watched = arg;
	GUEST_ASSERT_EQ(DB_VECTOR, seen_vector);
	GUEST_ASSERT_EQ(DR6_NONE | 1, seen_dr6);
	asm volatile("mov %0, %%dr7" : : "r"(DR7_NONE));
	seen_vector = 0;
	asm volatile(".byte 0xf1");
	GUEST_ASSERT_EQ(DB_VECTOR, seen_vector);
}

TEST_F(debug, guest_breakpoints)
{
	vcpu_setup_long(&self->vcpu, guest_breaks, 1);
	vcpu_run_to_done(&self->vcpu);
	vcpu_setup_long(&self->vcpu, guest_breaks, 2);
	ASSERT_EQ(0, guest_debug(&self->vcpu, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP,
				 0, 0));
	vcpu_run_to_done(&self->vcpu);
}

/* A trap that could not go in at once, since the thread had a signal, still says what it was. */
GUEST_TEXT(trapped_out,
	   "pushfq\n"
	   "orl $0x100, (%rsp)\n"
	   "popfq\n"
	   "outb %al, $0xe0\n"
	   "ret");

static void guest_traps_after_out(u64 arg __maybe_unused)
{
	guest_handlers[DB_VECTOR] = note_db;
	/* Where DR7 is in use, the CPU holds the guest's debug registers. */
	asm volatile("mov %0, %%dr0" : : "r"(&watched));
	asm volatile("mov %0, %%dr7" : : "r"(DR7_NONE | 1 | 0x90000));
	asm volatile("mov %0, %%dr6" : : "r"(DR6_NONE));
	seen_vector = 0;
	asm volatile("call trapped_out" : : : "rax", "memory", "cc");
	GUEST_ASSERT_EQ(DB_VECTOR, seen_vector);
	GUEST_ASSERT_EQ(DR6_NONE | DR6_BS, seen_dr6);
}

TEST_F(debug, trap_beside_a_signal)
{
	struct {
		struct kvm_signal_mask head;
		u64 set;
	} __packed mask = { .head.len = 8 };
	struct timespec now = {};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &set, NULL));
	vcpu_ioctl(&self->vcpu, KVM_SET_SIGNAL_MASK, &mask);
	vcpu_setup_long(&self->vcpu, guest_traps_after_out, 0);
	vcpu_run_expect(&self->vcpu, KVM_EXIT_IO);
	ASSERT_EQ(0, raise(SIGUSR1));
	ASSERT_EQ(-EINTR, __vcpu_run(&self->vcpu));
	ASSERT_EQ(SIGUSR1, sigtimedwait(&set, NULL, &now));
	vcpu_run_to_done(&self->vcpu);
}

TEST_HARNESS_MAIN
