// SPDX-License-Identifier: GPL-2.0-only
/*
 * Switches of tasks by hardware: far jumps and calls to a TSS, IRET back from it, task gates
 * for interrupts and exceptions, and what goes wrong in the new task.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

#define PORT		0x511

#define SEL_MAIN	0x50
#define SEL_OTHER	0x58
#define SEL_LDT		0x60
#define SEL_CODE_LOW	0x68	/* base GUEST_BLOB: 16 bits of EIP reach it */
#define SEL_ABSENT	0x70
#define SEL_BEYOND	0x100
#define GDT_LIMIT	0x7f

#define TSS_MAIN	GUEST_FREE
#define TSS_OTHER	(GUEST_FREE + TEST_PAGE_SIZE - 0x40)	/* crosses a page */
#define LDT_BASE	(GUEST_FREE + 3 * TEST_PAGE_SIZE)
#define STACK_OTHER	(GUEST_SCRATCH + 0x1000)

#define RFLAGS_IF	0x200
#define RFLAGS_NT	0x4000
#define RFLAGS_RF	0x10000
#define RFLAGS_VM	0x20000
#define RFLAGS_IOPL3	0x3000
#define CR0_TS		8

struct tss32 {
	u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags;
	u32 eax, ecx, edx, ebx, esp, ebp, esi, edi;
	u32 es, cs, ss, ds, fs, gs, ldt;
	u16 trap, iomap;
};

struct tss16 {
	u16 link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags;
	u16 ax, cx, dx, bx, sp, bp, si, di, es, cs, ss, ds, ldt;
};

/*
 * Two tasks and the handler of a fault. Each task has room for an instruction of the
 * test's: that of the first switches to the second.
 */
#define AT_OTHER	0x40
#define AT_OTHER_SLOT	0x41
#define AT_HANDLER	0x80
#define SLOT_SIZE	16

GUEST_CODE(tasks, ".code32",
	   ".fill 16, 1, 0x90\n"
	   "outl %eax, %dx\n"
	   "hlt\n"
	   ".org tasks + 0x40\n"
	   "outl %eax, %dx\n"
	   ".fill 16, 1, 0x90\n"
	   "outl %eax, %dx\n"
	   "hlt\n"
	   ".org tasks + 0x80\n"
	   "popl %eax\n"
	   "movl $0x511, %edx\n"
	   "outl %eax, %dx\n"
	   "hlt");

FIXTURE(tasks) {
	struct test_vm vm;
	struct test_vcpu vcpu;
	u64 *gdt, *idt;
	struct tss32 *main, *other;
};

static u64 tss_descriptor(u32 base, u32 limit, unsigned int type)
{
	return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 |
	       (u64)(0x80 | type) << 40 | (u64)(base >> 24) << 56;
}

static u64 gate(u16 selector, u32 offset, unsigned int type)
{
	return (offset & 0xffff) | (u64)selector << 16 | (u64)(0x80 | type) << 40 |
	       (u64)(offset >> 16) << 48;
}

static unsigned int descriptor_type(u64 desc)
{
	return desc >> 40 & 31;
}

FIXTURE_SETUP(tasks)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	self->gdt = vm_ptr(&self->vm, GUEST_GDT);
	self->idt = vm_ptr(&self->vm, GUEST_IDT);
	self->main = vm_ptr(&self->vm, TSS_MAIN);
	self->other = vm_ptr(&self->vm, TSS_OTHER);
	vm_place(&self->vm, GUEST_BLOB, tasks, tasks_end);
	vcpu_setup_prot32(&self->vcpu, GUEST_BLOB);

	self->gdt[SEL_MAIN / 8] = tss_descriptor(TSS_MAIN, 0x67, 11);
	self->gdt[SEL_OTHER / 8] = tss_descriptor(TSS_OTHER, 0x67, 9);
	self->gdt[SEL_LDT / 8] = tss_descriptor(LDT_BASE, 0xf, 2);
	self->gdt[SEL_CODE_LOW / 8] = 0x00cf9b000000ffffULL | (u64)GUEST_BLOB << 16;
	self->gdt[SEL_ABSENT / 8] = 0x00cf13000000ffffULL;
	memset(self->idt, 0, 256 * 8);
	memset(self->main, 0xee, sizeof(*self->main));
	*self->other = (struct tss32) {
		.eip = GUEST_BLOB + AT_OTHER, .eflags = 2,
		.eax = 0x22, .edx = PORT, .ecx = 0xc, .ebx = 0xb, .esp = STACK_OTHER,
		.ebp = 5, .esi = 6, .edi = 7,
		.es = GUEST_DATA, .cs = GUEST_CODE32, .ss = GUEST_DATA, .ds = GUEST_DATA,
		.iomap = 0x68,
	};

	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &sregs);
	sregs.gdt.limit = GDT_LIMIT;
	sregs.idt.limit = 0x7ff;
	sregs.tr.base = TSS_MAIN;
	sregs.tr.selector = SEL_MAIN;
	vcpu_ioctl(&self->vcpu, KVM_SET_SREGS, &sregs);
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	regs.rax = 0x11;
	regs.rdx = PORT;
	regs.rsi = SEL_BEYOND;
	regs.r15 = 0xf15;
	vcpu_ioctl(&self->vcpu, KVM_SET_REGS, &regs);
}

FIXTURE_TEARDOWN(tasks)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static u32 expect_out(struct test_vcpu *vcpu)
{
	return vcpu_run_to_out32(vcpu, PORT);
}

static void put(struct test_vm *vm, u64 offset, const char *bytes, size_t len)
{
	memset(vm_ptr(vm, GUEST_BLOB + offset), 0x90, SLOT_SIZE);
	memcpy(vm_ptr(vm, GUEST_BLOB + offset), bytes, len);
}

#define PUT(self, offset, bytes) put(&(self)->vm, offset, bytes, sizeof(bytes) - 1)

static const char iret[] = "\xcf";
static const char jmp_other[] = "\xea\0\0\0\0\x58";	/* the last byte of it is 0 */
static const char call_other[] = "\x9a\0\0\0\0\x58";
static const char jmp_main[] = "\xea\0\0\0\0\x50";

#define FAR_SIZE	7

static u64 rflags_of(struct test_vcpu *vcpu)
{
	struct kvm_regs regs;

	vcpu_ioctl(vcpu, KVM_GET_REGS, &regs);
	return regs.rflags;
}

static u16 tr_of(struct test_vcpu *vcpu)
{
	struct kvm_sregs sregs;

	vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);
	return sregs.tr.selector;
}

TEST_F(tasks, jump)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	put(&self->vm, 0, jmp_other, FAR_SIZE);
	put(&self->vm, AT_OTHER_SLOT, jmp_main, FAR_SIZE);
	self->other->ldt = SEL_LDT;
	ASSERT_EQ(0x22, expect_out(vcpu));

	vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);
	vcpu_ioctl(vcpu, KVM_GET_REGS, &regs);
	EXPECT_EQ(SEL_OTHER, sregs.tr.selector);
	EXPECT_EQ(TSS_OTHER, sregs.tr.base);
	EXPECT_EQ(11, sregs.tr.type);
	EXPECT_EQ(SEL_LDT, sregs.ldt.selector);
	EXPECT_EQ(LDT_BASE, sregs.ldt.base);
	EXPECT_EQ(CR0_TS, sregs.cr0 & CR0_TS);
	EXPECT_EQ(1, sregs.fs.unusable);
	EXPECT_EQ(STACK_OTHER, regs.rsp);
	EXPECT_EQ(0xb, regs.rbx);
	EXPECT_EQ(0xc, regs.rcx);
	EXPECT_EQ(5, regs.rbp);
	EXPECT_EQ(6, regs.rsi);
	EXPECT_EQ(7, regs.rdi);
	EXPECT_EQ(2, regs.rflags);

	/* What was saved, and what is not for a switch to change. */
	EXPECT_EQ(GUEST_BLOB + FAR_SIZE, self->main->eip);
	EXPECT_EQ(2, self->main->eflags);
	EXPECT_EQ(0x11, self->main->eax);
	EXPECT_EQ(PORT, self->main->edx);
	EXPECT_EQ(SEL_BEYOND, self->main->esi);
	EXPECT_EQ(GUEST_STACKS, self->main->esp);
	EXPECT_EQ(GUEST_CODE32, (u16)self->main->cs);
	EXPECT_EQ(GUEST_DATA, (u16)self->main->gs);
	EXPECT_EQ(0xeeeeeeee, self->main->link);
	EXPECT_EQ(0xeeeeeeee, self->main->cr3);
	EXPECT_EQ(0xeeeeeeee, self->main->ldt);
	EXPECT_EQ(9, descriptor_type(self->gdt[SEL_MAIN / 8]));
	EXPECT_EQ(11, descriptor_type(self->gdt[SEL_OTHER / 8]));

	/* And back, to the rest of the first task. */
	self->main->ldt = 0;
	self->main->trap = 0;
	ASSERT_EQ(0x11, expect_out(vcpu));
	EXPECT_EQ(SEL_MAIN, tr_of(vcpu));
	EXPECT_EQ(GUEST_BLOB + AT_OTHER_SLOT + FAR_SIZE, self->other->eip);
	EXPECT_EQ(0x22, self->other->eax);
	vcpu_run_expect(vcpu, KVM_EXIT_HLT);
}

/* The CPU's part of the work, too: it may leave some of the checks to who switches. */
static void no_tss(struct __test_metadata *_metadata, FIXTURE_DATA(tasks) * self, u64 desc,
		   u8 vector, u32 error)
{
	put(&self->vm, 0, jmp_other, FAR_SIZE);
	self->gdt[SEL_OTHER / 8] = desc;
	self->idt[vector] = gate(GUEST_CODE32, GUEST_BLOB + AT_HANDLER, 14);
	ASSERT_EQ(error, expect_out(&self->vcpu));
	EXPECT_EQ(SEL_MAIN, tr_of(&self->vcpu));
	EXPECT_EQ(0xeeeeeeee, self->main->eip);
	EXPECT_EQ(11, descriptor_type(self->gdt[SEL_MAIN / 8]));
}

TEST_F(tasks, busy)
{
	no_tss(_metadata, self, tss_descriptor(TSS_OTHER, 0x67, 11), 13, SEL_OTHER);
}

TEST_F(tasks, absent)
{
	no_tss(_metadata, self, tss_descriptor(TSS_OTHER, 0x67, 9) & ~(1ULL << 47), 11,
	       SEL_OTHER);
}

TEST_F(tasks, short_limit)
{
	no_tss(_metadata, self, tss_descriptor(TSS_OTHER, 0x66, 9), 10, SEL_OTHER);
}

TEST_F(tasks, call_and_return)
{
	struct test_vcpu *vcpu = &self->vcpu;

	put(&self->vm, 0, call_other, FAR_SIZE);
	PUT(self, AT_OTHER_SLOT, iret);
	ASSERT_EQ(0x22, expect_out(vcpu));
	EXPECT_EQ(RFLAGS_NT | 2, rflags_of(vcpu));
	EXPECT_EQ(SEL_MAIN, (u16)self->other->link);
	EXPECT_EQ(11, descriptor_type(self->gdt[SEL_MAIN / 8]));
	EXPECT_EQ(11, descriptor_type(self->gdt[SEL_OTHER / 8]));

	self->main->ldt = 0;
	self->main->trap = 0;
	ASSERT_EQ(0x11, expect_out(vcpu));
	EXPECT_EQ(2, rflags_of(vcpu));
	EXPECT_EQ(SEL_MAIN, tr_of(vcpu));
	EXPECT_EQ(2, self->other->eflags);
	EXPECT_EQ(GUEST_BLOB + AT_OTHER_SLOT + 1, self->other->eip);
	EXPECT_EQ(11, descriptor_type(self->gdt[SEL_MAIN / 8]));
	EXPECT_EQ(9, descriptor_type(self->gdt[SEL_OTHER / 8]));
}

TEST_F(tasks, soft_interrupt)
{
	struct test_vcpu *vcpu = &self->vcpu;

	self->idt[0x30] = gate(SEL_OTHER, 0, 5);
	PUT(self, 0, "\xcd\x30");
	PUT(self, AT_OTHER_SLOT, iret);
	ASSERT_EQ(0x22, expect_out(vcpu));
	EXPECT_EQ(RFLAGS_NT | 2, rflags_of(vcpu));
	EXPECT_EQ(GUEST_BLOB + 2, self->main->eip);
	EXPECT_EQ(SEL_MAIN, (u16)self->other->link);
	self->main->ldt = 0;
	self->main->trap = 0;
	ASSERT_EQ(0x11, expect_out(vcpu));
	vcpu_run_expect(vcpu, KVM_EXIT_HLT);
}

/* The error code is on the stack of the new task. */
TEST_F(tasks, exception)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct kvm_regs regs;

	if (!test_cpu_has_vmcall)
		SKIP(return, "QEMU's CPU shuts down in this switch");
	self->idt[13] = gate(SEL_OTHER, 0, 5);
	PUT(self, 0, "\x8e\xde");	/* mov %esi, %ds */
	ASSERT_EQ(0x22, expect_out(vcpu));
	EXPECT_EQ(GUEST_BLOB, self->main->eip);
	vcpu_ioctl(vcpu, KVM_GET_REGS, &regs);
	EXPECT_EQ(STACK_OTHER - 4, regs.rsp);
	EXPECT_EQ(SEL_BEYOND, *(u32 *)vm_ptr(&self->vm, STACK_OTHER - 4));
}

/* One that user space injects is in the same way of delivery. */
TEST_F(tasks, injected)
{
	struct kvm_interrupt irq = { .irq = 0x31 };
	struct test_vcpu *vcpu = &self->vcpu;

	self->idt[0x31] = gate(SEL_OTHER, 0, 5);
	PUT(self, 0, "\xfb\xf4");	/* sti; hlt */
	PUT(self, AT_OTHER_SLOT, iret);
	vcpu_run_expect(vcpu, KVM_EXIT_HLT);
	vcpu_ioctl(vcpu, KVM_INTERRUPT, &irq);
	ASSERT_EQ(0x22, expect_out(vcpu));
	EXPECT_EQ(GUEST_BLOB + 2, self->main->eip);
	EXPECT_EQ(RFLAGS_IF | 2, self->main->eflags & ~RFLAGS_RF);
	self->main->ldt = 0;
	self->main->trap = 0;
	ASSERT_EQ(0x11, expect_out(vcpu));
	EXPECT_EQ(RFLAGS_IF | 2, rflags_of(vcpu));
	vcpu_run_expect(vcpu, KVM_EXIT_HLT);
}

/* NMIs are blocked in the task that handles one, until it returns. */
TEST_F(tasks, nmi)
{
	struct kvm_vcpu_events events;
	struct test_vcpu *vcpu = &self->vcpu;

	self->idt[2] = gate(SEL_OTHER, 0, 5);
	PUT(self, AT_OTHER_SLOT, iret);
	vcpu_ioctl(vcpu, KVM_NMI, 0);
	ASSERT_EQ(0x22, expect_out(vcpu));
	vcpu_ioctl(vcpu, KVM_GET_VCPU_EVENTS, &events);
	EXPECT_EQ(1, events.nmi.masked);
	EXPECT_EQ(0, events.nmi.injected);
	EXPECT_EQ(GUEST_BLOB, self->main->eip);
	self->main->ldt = 0;
	self->main->trap = 0;
	ASSERT_EQ(0x11, expect_out(vcpu));
	vcpu_ioctl(vcpu, KVM_GET_VCPU_EVENTS, &events);
	EXPECT_EQ(0, events.nmi.masked);
}

TEST_F(tasks, task_of_16_bits)
{
	struct tss16 *other = vm_ptr(&self->vm, TSS_OTHER);
	struct test_vcpu *vcpu = &self->vcpu;
	struct kvm_sregs sregs;

	self->gdt[SEL_OTHER / 8] = tss_descriptor(TSS_OTHER, 0x2b, 1);
	*other = (struct tss16) {
		.ip = AT_OTHER, .flags = 2, .ax = 0x16, .dx = PORT, .sp = 0x8000,
		.cs = SEL_CODE_LOW, .ss = GUEST_DATA, .ds = GUEST_DATA, .es = GUEST_DATA,
	};
	put(&self->vm, 0, call_other, FAR_SIZE);
	PUT(self, AT_OTHER_SLOT, iret);
	ASSERT_EQ(0x16, expect_out(vcpu) & 0xffff);
	vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);
	EXPECT_EQ(3, sregs.tr.type);
	EXPECT_EQ(GUEST_BLOB, sregs.cs.base);
	EXPECT_EQ(1, sregs.gs.unusable);
	EXPECT_EQ(SEL_MAIN, other->link);
	self->main->ldt = 0;
	self->main->trap = 0;
	ASSERT_EQ(0x11, expect_out(vcpu));
	EXPECT_EQ(AT_OTHER_SLOT + 1, other->ip);
	EXPECT_EQ(1, descriptor_type(self->gdt[SEL_OTHER / 8]));
}

/* Each task has its own page tables. */
TEST_F(tasks, page_tables)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct kvm_sregs sregs;
	u64 page;
	u32 *dir;

	if (!test_cpu_has_vmcall)
		SKIP(return, "QEMU's CPU shuts down in this switch");
	for (page = 0; page < 2; page++) {
		dir = vm_ptr(&self->vm, GUEST_PD + page * TEST_PAGE_SIZE);
		memset(dir, 0, TEST_PAGE_SIZE);
		dir[0] = 0x87;
		/* The second 4 MiB are this, or those behind. */
		dir[1] = (page + 1) << 22 | 0x87;
	}
	self->other->cr3 = GUEST_PD + TEST_PAGE_SIZE;
	*(u32 *)vm_ptr(&self->vm, 0x800000) = 0x5ec;
	PUT(self, AT_OTHER_SLOT, "\xa1\x00\x00\x40\x00");	/* mov 0x400000, %eax */
	put(&self->vm, 0, jmp_other, FAR_SIZE);
	vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);
	sregs.cr3 = GUEST_PD;
	sregs.cr4 = 0x10;
	sregs.cr0 |= 0x80000000;
	vcpu_ioctl(vcpu, KVM_SET_SREGS, &sregs);

	ASSERT_EQ(0x22, expect_out(vcpu));
	vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);
	EXPECT_EQ(GUEST_PD + TEST_PAGE_SIZE, sregs.cr3);
	ASSERT_EQ(0x5ec, expect_out(vcpu));
}

/* What is wrong with the new task's segments is found in the new task. */
static void bad_segment(struct __test_metadata *_metadata, FIXTURE_DATA(tasks) * self,
			u8 vector, u32 error)
{
	put(&self->vm, 0, jmp_other, FAR_SIZE);
	self->idt[vector] = gate(GUEST_CODE32, GUEST_BLOB + AT_HANDLER, 14);
	ASSERT_EQ(error, expect_out(&self->vcpu));
	EXPECT_EQ(SEL_OTHER, tr_of(&self->vcpu));
	EXPECT_EQ(GUEST_BLOB + FAR_SIZE, self->main->eip);
	/* The frame of the fault: its first word was popped. QEMU's has the old task's EIP. */
	if (!test_cpu_has_vmcall)
		return;
	EXPECT_EQ(self->other->eip, *(u32 *)vm_ptr(&self->vm, STACK_OTHER - 12));
}

TEST_F(tasks, segment_absent)
{
	self->other->ds = SEL_ABSENT;
	bad_segment(_metadata, self, 11, SEL_ABSENT);
}

TEST_F(tasks, segment_beyond_table)
{
	self->other->es = SEL_BEYOND;
	bad_segment(_metadata, self, 10, SEL_BEYOND);
}

TEST_F(tasks, segment_of_wrong_type)
{
	self->other->fs = SEL_LDT;
	bad_segment(_metadata, self, 10, SEL_LDT);
}

TEST_F(tasks, eip_beyond_limit)
{
	/* A limit of one page. */
	self->gdt[SEL_CODE_LOW / 8] = 0x00409b0000000fffULL | (u64)GUEST_BLOB << 16;
	self->other->cs = SEL_CODE_LOW;
	self->other->eip = 0x1000;
	bad_segment(_metadata, self, 13, 0);
}

/* A task may be one of virtual-8086 mode; its ports are in its TSS. */
TEST_F(tasks, virtual_8086)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct kvm_sregs sregs;

	self->gdt[SEL_OTHER / 8] = tss_descriptor(TSS_OTHER, 0x68 + PORT / 8 + 2, 9);
	memset(self->other + 1, 0, PORT / 8 + 2);
	self->other->eflags = RFLAGS_VM | RFLAGS_IOPL3 | 2;
	self->other->cs = GUEST_BLOB >> 4;
	self->other->ss = 0x2000;
	self->other->eip = AT_OTHER;
	/* mov $0x86, %al; out %al, %dx */
	put(&self->vm, AT_OTHER, "\xb0\x86\xee", 3);
	put(&self->vm, 0, jmp_other, FAR_SIZE);
	vcpu_run_expect(vcpu, KVM_EXIT_IO);
	EXPECT_EQ(0x86, *(u8 *)io_data(vcpu));
	vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);
	EXPECT_EQ(GUEST_BLOB, sregs.cs.base);
	EXPECT_EQ(0x20000, sregs.ss.base);
	EXPECT_EQ(3, sregs.ss.dpl);
	EXPECT_EQ(0xffff, sregs.ds.limit);
}

/*
 * A fault before the new task's segments are loaded, on the way to virtual-8086 mode, or
 * from there: the exception must reach the guest all the same. It takes the stack of level 0
 * from the new TSS, as the CPL is 3.
 */
static void fault_between_modes(struct __test_metadata *_metadata, FIXTURE_DATA(tasks) * self)
{
	struct test_vcpu *vcpu = &self->vcpu;

	self->other->ldt = SEL_BEYOND;
	self->other->ss0 = GUEST_DATA;
	self->other->esp0 = STACK_OTHER;
	self->idt[10] = gate(GUEST_CODE32, GUEST_BLOB + AT_HANDLER, 14);
	ASSERT_EQ(SEL_BEYOND, expect_out(vcpu));
	EXPECT_EQ(SEL_OTHER, tr_of(vcpu));
}

TEST_F(tasks, fault_to_virtual_8086)
{
	if (!test_cpu_has_vmcall || test_device_is_kvm())
		SKIP(return, "QEMU's CPU shuts down in this switch, KVM's VM entry fails");
	self->other->eflags = RFLAGS_VM | 2;
	self->other->cs = GUEST_BLOB >> 4;
	self->other->ss = 0x2000;
	put(&self->vm, 0, jmp_other, FAR_SIZE);
	fault_between_modes(_metadata, self);
}

TEST_F(tasks, fault_from_virtual_8086)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct kvm_sregs sregs;
	struct kvm_segment *segs[] = {
		&sregs.cs, &sregs.ss, &sregs.ds, &sregs.es, &sregs.fs, &sregs.gs
	};
	struct kvm_regs regs;
	unsigned int i;

	if (!test_cpu_has_vmcall || test_device_is_kvm())
		SKIP(return, "QEMU's CPU shuts down in this switch, KVM's VM entry fails");
	/* INT 30H in virtual-8086 mode, with IOPL 3, takes the task gate. */
	PUT(self, 0, "\xcd\x30");
	self->idt[0x30] = gate(SEL_OTHER, 0, 5) | 3ULL << 45;
	vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);
	for (i = 0; i < ARRAY_SIZE(segs); i++)
		*segs[i] = (struct kvm_segment) {
			.base = GUEST_BLOB, .limit = 0xffff, .selector = GUEST_BLOB >> 4,
			.type = 3, .s = 1, .dpl = 3, .present = 1,
		};
	vcpu_ioctl(vcpu, KVM_SET_SREGS, &sregs);
	vcpu_ioctl(vcpu, KVM_GET_REGS, &regs);
	regs.rip = 0;
	regs.rflags = RFLAGS_VM | RFLAGS_IOPL3 | 2;
	vcpu_ioctl(vcpu, KVM_SET_REGS, &regs);
	fault_between_modes(_metadata, self);
}

/* The T flag of a TSS: a debugger wants to know of the switch. */
TEST_F(tasks, trap)
{
	struct kvm_debugregs drs;

	if (!test_cpu_has_vmcall || test_device_is_kvm())
		SKIP(return, "neither QEMU's CPU nor KVM's switch looks at the flag");
	self->other->trap = 1;
	put(&self->vm, 0, jmp_other, FAR_SIZE);
	self->idt[1] = gate(GUEST_CODE32, GUEST_BLOB + AT_HANDLER, 14);
	/* No error code: what is popped is EIP. */
	ASSERT_EQ(self->other->eip, expect_out(&self->vcpu));
	vcpu_ioctl(&self->vcpu, KVM_GET_DEBUGREGS, &drs);
	EXPECT_EQ(1 << 15, drs.dr6 & 1 << 15);
}

TEST_HARNESS_MAIN
