// SPDX-License-Identifier: GPL-2.0-only
/*
 * General and system registers: GET and SET of REGS, SREGS, SREGS2, DEBUGREGS,
 * round trips, reset values, the guest's view, and refused values that must
 * change nothing.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

FIXTURE(regs) {
	struct test_vm vm;
	struct test_vcpu vcpu;
	struct kvm_sregs sregs;
};

static void guest_regs(u64 arg __maybe_unused);

FIXTURE_SETUP(regs)
{
	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	vcpu_setup_long(&self->vcpu, guest_regs, 0);
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &self->sregs);
}

FIXTURE_TEARDOWN(regs)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

/* Write each register to the scratch page, add one to each, and halt. */
GUEST_TEXT(guest_regs_code,
	   "movq %rax, 0x100000\n"
	   "movq %rbx, 0x100008\n"
	   "movq %rcx, 0x100010\n"
	   "movq %rdx, 0x100018\n"
	   "movq %rsi, 0x100020\n"
	   "movq %rdi, 0x100028\n"
	   "movq %rsp, 0x100030\n"
	   "movq %rbp, 0x100038\n"
	   "movq %r8, 0x100040\n"
	   "movq %r9, 0x100048\n"
	   "movq %r10, 0x100050\n"
	   "movq %r11, 0x100058\n"
	   "movq %r12, 0x100060\n"
	   "movq %r13, 0x100068\n"
	   "movq %r14, 0x100070\n"
	   "movq %r15, 0x100078\n"
	   "incq %rax\n"
	   "incq %rbx\n"
	   "incq %rcx\n"
	   "incq %rdx\n"
	   "incq %rsi\n"
	   "incq %rdi\n"
	   "incq %rbp\n"
	   "incq %r8\n"
	   "incq %r9\n"
	   "incq %r10\n"
	   "incq %r11\n"
	   "incq %r12\n"
	   "incq %r13\n"
	   "incq %r14\n"
	   "incq %r15\n"
	   "stc\n"
	   "hlt\n");

static void guest_regs(u64 arg __maybe_unused)
{
	asm volatile("jmp guest_regs_code");
}

TEST_F(regs, general)
{
	struct kvm_regs regs, seen;
	u64 *r = (u64 *)&regs, *stored;
	int i;

	/* RAX to R15 are the first 16. */
	for (i = 0; i < 16; i++)
		r[i] = 0x1122334455667700UL + (u64)i;
	regs.rsp = GUEST_STACKS;
	regs.rip = (uintptr_t)guest_regs_code;
	regs.rflags = 0x2 | 0x40;
	vcpu_ioctl(&self->vcpu, KVM_SET_REGS, &regs);
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &seen);
	ASSERT_EQ(0, memcmp(&regs, &seen, sizeof(regs)));

	vcpu_run_expect(&self->vcpu, KVM_EXIT_HLT);
	stored = vm_ptr(&self->vm, GUEST_SCRATCH);
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &seen);
	ASSERT_EQ(regs.rax, stored[0]);
	ASSERT_EQ(regs.rsi, stored[4]);
	ASSERT_EQ(regs.rsp, stored[6]);
	for (i = 8; i < 16; i++)
		ASSERT_EQ(r[i], stored[i]);
	ASSERT_EQ(regs.rbx + 1, seen.rbx);
	ASSERT_EQ(regs.rdi + 1, seen.rdi);
	ASSERT_EQ(regs.rbp + 1, seen.rbp);
	ASSERT_EQ(regs.rsp, seen.rsp);
	ASSERT_EQ(regs.r15 + 1, seen.r15);
	ASSERT_EQ(1, seen.rflags & 1);
}

/* Bit 1 of RFLAGS is fixed. */
TEST_F(regs, rflags_fixed)
{
	struct kvm_regs regs;

	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	regs.rflags = 0;
	ASSERT_EQ(0, __vcpu_ioctl(&self->vcpu, KVM_SET_REGS, &regs));
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	ASSERT_EQ(2, regs.rflags);
}

/* A CPU after reset, as the manual has it. */
TEST_F(regs, reset_state)
{
	struct kvm_sregs sregs;
	struct test_vcpu vcpu;
	struct kvm_regs regs;
	struct test_vm vm;

	vm_create_bare(&vm);
	ASSERT_EQ(0, __vcpu_create(&vm, &vcpu, 0));
	vcpu_ioctl(&vcpu, KVM_GET_SREGS, &sregs);
	vcpu_ioctl(&vcpu, KVM_GET_REGS, &regs);
	ASSERT_EQ(0xfff0, regs.rip);
	ASSERT_EQ(2, regs.rflags);
	ASSERT_EQ(0, regs.rax);
	ASSERT_EQ(0xf000, sregs.cs.selector);
	ASSERT_EQ(0xffff0000, sregs.cs.base);
	ASSERT_EQ(0xffff, sregs.cs.limit);
	ASSERT_EQ(1, sregs.cs.present);
	ASSERT_EQ(0, sregs.ds.base);
	ASSERT_EQ(0xffff, sregs.gdt.limit);
	ASSERT_EQ(0xffff, sregs.idt.limit);
	ASSERT_EQ(0x60000010, sregs.cr0);
	ASSERT_EQ(0, sregs.cr3);
	ASSERT_EQ(0, sregs.cr4);
	ASSERT_EQ(0, sregs.efer);
	ASSERT_EQ(0xfee00900, sregs.apic_base);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

TEST_F(regs, sregs_round_trip)
{
	struct kvm_sregs set = self->sregs, get;

	set.fs.base = 0x7fff12345678;
	set.gs.base = 0xffff800000001000;
	set.fs.selector = 0x33;
	set.ldt = (struct kvm_segment) {
		.base = 0x9000, .limit = 0x27, .selector = 0x48, .type = 2,
		.present = 1,
	};
	set.tr.base = 0xffff800000002000;
	set.gdt.base = 0xffff800000003000;
	set.idt.base = 0xffff800000004000;
	set.idt.limit = 0x1ff;
	set.cr2 = 0xffff800000005678;
	set.cr8 = 5;
	vcpu_ioctl(&self->vcpu, KVM_SET_SREGS, &set);
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &get);
	ASSERT_EQ(set.fs.base, get.fs.base);
	ASSERT_EQ(set.fs.selector, get.fs.selector);
	ASSERT_EQ(set.gs.base, get.gs.base);
	ASSERT_EQ(set.ldt.base, get.ldt.base);
	ASSERT_EQ(set.ldt.limit, get.ldt.limit);
	ASSERT_EQ(set.ldt.selector, get.ldt.selector);
	ASSERT_EQ(set.ldt.type, get.ldt.type);
	ASSERT_EQ(set.tr.base, get.tr.base);
	ASSERT_EQ(set.tr.type, get.tr.type);
	ASSERT_EQ(set.gdt.base, get.gdt.base);
	ASSERT_EQ(set.gdt.limit, get.gdt.limit);
	ASSERT_EQ(set.idt.base, get.idt.base);
	ASSERT_EQ(set.idt.limit, get.idt.limit);
	ASSERT_EQ(set.cr0, get.cr0);
	ASSERT_EQ(set.cr2, get.cr2);
	ASSERT_EQ(set.cr3, get.cr3);
	ASSERT_EQ(set.cr4, get.cr4);
	ASSERT_EQ(set.cr8, get.cr8);
	ASSERT_EQ(set.efer, get.efer);
	ASSERT_EQ(set.apic_base, get.apic_base);
	ASSERT_EQ(set.cs.l, get.cs.l);
	ASSERT_EQ(set.cs.db, get.cs.db);
	ASSERT_EQ(set.cs.type, get.cs.type);
	ASSERT_EQ(set.ss.dpl, get.ss.dpl);
}

TEST_F(regs, unusable_segment)
{
	struct kvm_sregs set = self->sregs, get;

	set.fs = (struct kvm_segment) { .unusable = 1 };
	set.ldt = (struct kvm_segment) { .unusable = 1 };
	vcpu_ioctl(&self->vcpu, KVM_SET_SREGS, &set);
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &get);
	ASSERT_EQ(1, get.fs.unusable);
	ASSERT_EQ(0, get.fs.present);
	ASSERT_EQ(1, get.ldt.unusable);
	ASSERT_EQ(0, get.ds.unusable);
}

struct bad_sregs {
	const char *what;
	u64 cr0, cr4, efer, cr3, apic_base;
	u8 l;
};

#define LONG_CR0	0x80010033
#define LONG_CR4	0x620
#define LONG_EFER	0xd01
#define APIC_BASE	0xfee00900

static const struct bad_sregs bad_sregs[] = {
	{ "CR0 bit 32", LONG_CR0 | 1UL << 32, LONG_CR4, LONG_EFER,
	  GUEST_PML4, APIC_BASE, 1 },
	{ "PG without PE", 0x80000010, LONG_CR4, 0, GUEST_PML4, APIC_BASE, 0 },
	{ "NW without CD", LONG_CR0 | 1UL << 29, LONG_CR4, LONG_EFER,
	  GUEST_PML4, APIC_BASE, 1 },
	{ "CR4 reserved bit", LONG_CR0, LONG_CR4 | 1UL << 15, LONG_EFER,
	  GUEST_PML4, APIC_BASE, 1 },
	{ "CR4 bit 63", LONG_CR0, LONG_CR4 | 1UL << 63, LONG_EFER,
	  GUEST_PML4, APIC_BASE, 1 },
	{ "long mode without PAE", LONG_CR0, LONG_CR4 & ~0x20UL, LONG_EFER,
	  GUEST_PML4, APIC_BASE, 1 },
	{ "LME and PG without LMA", LONG_CR0, LONG_CR4, LONG_EFER & ~0x400UL,
	  GUEST_PML4, APIC_BASE, 1 },
	{ "LMA without PG", 0x11, LONG_CR4, LONG_EFER, GUEST_PML4,
	  APIC_BASE, 0 },
	{ "CS.L without long mode", LONG_CR0, LONG_CR4, 0, GUEST_PML4,
	  APIC_BASE, 1 },
	{ "CR3 beyond the address width", LONG_CR0, LONG_CR4, LONG_EFER,
	  1UL << 62, APIC_BASE, 1 },
	{ "APIC base reserved bit", LONG_CR0, LONG_CR4, LONG_EFER,
	  GUEST_PML4, APIC_BASE | 1, 1 },
	{ "x2APIC without enable", LONG_CR0, LONG_CR4, LONG_EFER,
	  GUEST_PML4, (APIC_BASE & ~0x800UL) | 0x400, 1 },
};

TEST_F(regs, bad_sregs)
{
	struct kvm_sregs set, get;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad_sregs); i++) {
		set = self->sregs;
		set.cr0 = bad_sregs[i].cr0;
		set.cr4 = bad_sregs[i].cr4;
		set.efer = bad_sregs[i].efer;
		set.cr3 = bad_sregs[i].cr3;
		set.apic_base = bad_sregs[i].apic_base;
		set.cs.l = bad_sregs[i].l;
		set.cs.db = !set.cs.l;
		set.fs.base = 0x5555;
		EXPECT_EQ(-EINVAL,
			  __vcpu_ioctl(&self->vcpu, KVM_SET_SREGS, &set)) {
			TH_LOG("%s", bad_sregs[i].what);
		}
		/* A refusal leaves everything as it was. */
		vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &get);
		EXPECT_EQ(0, memcmp(&get, &self->sregs, sizeof(get))) {
			TH_LOG("%s changed the state", bad_sregs[i].what);
		}
	}
}

TEST_F(regs, sregs2)
{
	struct kvm_sregs2 s, t;
	u64 *pdpt;
	int i;

	if (!vm_cap(&self->vm, KVM_CAP_SREGS2))
		SKIP(return, "no SREGS2");
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS2, &s);
	ASSERT_EQ(0, s.flags);
	ASSERT_EQ(GUEST_PML4, s.cr3);
	s.flags = 2;
	ASSERT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_SREGS2, &s));
	/* PDPTRs only make sense with PAE paging. */
	s.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
	ASSERT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_SREGS2, &s));

	pdpt = vm_ptr(&self->vm, GUEST_FREE);
	for (i = 0; i < 4; i++)
		pdpt[i] = (GUEST_PD + (u64)i * TEST_PAGE_SIZE) | 1;
	s.flags = 0;
	s.cr3 = GUEST_FREE;
	s.efer = 0;
	s.cs.l = 0;
	s.cs.db = 1;
	ASSERT_EQ(0, __vcpu_ioctl(&self->vcpu, KVM_SET_SREGS2, &s));
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS2, &t);
	ASSERT_EQ(KVM_SREGS2_FLAGS_PDPTRS_VALID, t.flags);
	ASSERT_EQ(pdpt[0], t.pdptrs[0]);
	ASSERT_EQ(pdpt[3], t.pdptrs[3]);
	/* Given back as they were read, they hold. */
	ASSERT_EQ(0, __vcpu_ioctl(&self->vcpu, KVM_SET_SREGS2, &t));
}

/* A vector in the bitmap is an interrupt to inject. */
static volatile u64 irqs_seen;

static void count_irq(struct guest_regs *regs)
{
	irqs_seen |= 1UL << (regs->vector - 0x40);
}

static void guest_takes_irq(u64 arg __maybe_unused)
{
	guest_irq_window();
	GUEST_ASSERT_EQ(irqs_seen, 2);
}

TEST_F(regs, interrupt_bitmap)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	guest_var(&self->vm, guest_handlers[0x41]) = count_irq;
	vcpu_setup_long(&self->vcpu, guest_takes_irq, 0);
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	regs.rflags |= 0x200;
	vcpu_ioctl(&self->vcpu, KVM_SET_REGS, &regs);
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &sregs);
	sregs.interrupt_bitmap[1] = 1UL << 1;
	vcpu_ioctl(&self->vcpu, KVM_SET_SREGS, &sregs);
	memset(&sregs, 0, sizeof(sregs));
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &sregs);
	ASSERT_EQ(1UL << 1, sregs.interrupt_bitmap[1]);
	vcpu_run_to_done(&self->vcpu);
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &sregs);
	ASSERT_EQ(0, sregs.interrupt_bitmap[1]);
}

TEST_F(regs, debugregs)
{
	struct kvm_debugregs dr, seen;

	vcpu_ioctl(&self->vcpu, KVM_GET_DEBUGREGS, &dr);
	ASSERT_EQ(0xffff0ff0, dr.dr6);
	ASSERT_EQ(0x400, dr.dr7);
	ASSERT_EQ(0, dr.flags);
	dr.db[0] = 0x1000;
	dr.db[1] = 0x2000;
	dr.db[2] = 0x3000;
	dr.db[3] = 0xffff800000004000;
	dr.dr6 = 0xffff0ff1;
	dr.dr7 = 0x4aa;
	ASSERT_EQ(0, __vcpu_ioctl(&self->vcpu, KVM_SET_DEBUGREGS, &dr));
	vcpu_ioctl(&self->vcpu, KVM_GET_DEBUGREGS, &seen);
	ASSERT_EQ(0, memcmp(&dr, &seen, sizeof(dr)));

	dr.flags = 1;
	ASSERT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_DEBUGREGS, &dr));
	dr.flags = 0;
	dr.dr6 = 1UL << 32;
	ASSERT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_DEBUGREGS, &dr));
	dr.dr6 = 0xffff0ff0;
	dr.dr7 = 1UL << 32;
	ASSERT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_DEBUGREGS, &dr));
	vcpu_ioctl(&self->vcpu, KVM_GET_DEBUGREGS, &dr);
	ASSERT_EQ(0, memcmp(&dr, &seen, sizeof(dr)));
}

/* The guest sees what the VMM set, and the VMM what the guest wrote. */
static void guest_debugregs(u64 arg __maybe_unused)
{
	u64 v;

	asm volatile("mov %%dr0, %0" : "=r"(v));
	GUEST_ASSERT_EQ(v, 0x1234);
	asm volatile("mov %%dr3, %0" : "=r"(v));
	GUEST_ASSERT_EQ(v, 0x5678);
	asm volatile("mov %0, %%dr1" : : "r"(0x9abcUL));
	GUEST_SYNC(1);
	asm volatile("mov %%dr1, %0" : "=r"(v));
	GUEST_ASSERT_EQ(v, 0x9abc);
}

TEST_F(regs, guest_debugregs)
{
	struct kvm_debugregs dr;

	vcpu_setup_long(&self->vcpu, guest_debugregs, 0);
	vcpu_ioctl(&self->vcpu, KVM_GET_DEBUGREGS, &dr);
	dr.db[0] = 0x1234;
	dr.db[3] = 0x5678;
	vcpu_ioctl(&self->vcpu, KVM_SET_DEBUGREGS, &dr);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	vcpu_ioctl(&self->vcpu, KVM_GET_DEBUGREGS, &dr);
	ASSERT_EQ(0x9abc, dr.db[1]);
	vcpu_run_to_done(&self->vcpu);
}

#define CR4_MCE		(1UL << 6)

/* Its own, whatever the host needs in the CPU's. */
static void guest_cr4(u64 arg __maybe_unused)
{
	GUEST_ASSERT_EQ(read_cr4(), LONG_CR4);
	write_cr4(LONG_CR4 | CR4_MCE);
	GUEST_ASSERT_EQ(read_cr4(), LONG_CR4 | CR4_MCE);
	write_cr4(LONG_CR4);
	GUEST_ASSERT_EQ(read_cr4(), LONG_CR4);
}

TEST_F(regs, guest_cr4)
{
	struct kvm_sregs sregs;

	vcpu_setup_long(&self->vcpu, guest_cr4, 0);
	vcpu_run_to_done(&self->vcpu);
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &sregs);
	ASSERT_EQ(LONG_CR4, sregs.cr4);
}

TEST_HARNESS_MAIN
