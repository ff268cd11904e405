// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guests outside 64-bit mode: real mode, flat 32-bit, 32-bit paging, PAE, the
 * way from real mode up to 64-bit mode; and ring 3.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

#define PORT	0x511

FIXTURE(modes) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

FIXTURE_SETUP(modes)
{
	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
}

FIXTURE_TEARDOWN(modes)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static u32 expect_out(struct test_vcpu *vcpu)
{
	return vcpu_run_to_out32(vcpu, PORT);
}

GUEST_CODE(real_code, ".code16",
	   "movw $0x511, %dx\n"
	   "movl $0x12345678, %eax\n"
	   "outl %eax, %dx\n"
	   /* An interrupt by the IVT: its handler adds one to EAX. */
	   "int $0x21\n"
	   "outl %eax, %dx\n"
	   /* Segment arithmetic: 0x2000:0x10 is 0x20010. */
	   "movw $0x2000, %bx\n"
	   "movw %bx, %ds\n"
	   "movl %eax, 0x10\n"
	   "movl $0, %eax\n"
	   "movl 0x10, %eax\n"
	   "outl %eax, %dx\n"
	   /* The stack, and a string to another segment. */
	   "pushl %eax\n"
	   "movw $0x3000, %bx\n"
	   "movw %bx, %es\n"
	   "xorw %di, %di\n"
	   "movw $0x10, %si\n"
	   "movw $2, %cx\n"
	   "cld\n"
	   "rep movsw\n"
	   "popl %ecx\n"
	   "movl %es:0, %eax\n"
	   "subl %ecx, %eax\n"
	   "outl %eax, %dx\n"
	   "hlt\n"
	   ".balign 256\n"
	   "incl %eax\n"
	   "iretw");

TEST_F(modes, real)
{
	struct test_vcpu *vcpu = &self->vcpu;

	vm_place(&self->vm, GUEST_BLOB, real_code, real_code_end);
	/* int 0x21 to 0x1000:0x100 */
	*(u32 *)vm_ptr(&self->vm, 0x21 * 4) = 0x1000 << 16 | 0x100;
	vcpu_setup_real(vcpu, 0x1000, 0);
	ASSERT_EQ(0x12345678, expect_out(vcpu));
	ASSERT_EQ(0x12345679, expect_out(vcpu));
	ASSERT_EQ(0x12345679, expect_out(vcpu));
	ASSERT_EQ(0x12345679, *(u32 *)vm_ptr(&self->vm, 0x20010));
	ASSERT_EQ(0, expect_out(vcpu));
	vcpu_run_expect(vcpu, KVM_EXIT_HLT);
}

/* KVM_INTERRUPT goes by the IVT, too. */
GUEST_CODE(real_irq_code, ".code16",
	   "xorl %eax, %eax\n"
	   "sti\n"
	   "hlt\n"
	   "movw $0x511, %dx\n"
	   "outl %eax, %dx\n"
	   "hlt\n"
	   ".balign 256\n"
	   "movl $0x600d, %eax\n"
	   "iretw");

TEST_F(modes, real_interrupt)
{
	struct kvm_interrupt irq = { .irq = 0x30 };
	struct test_vcpu *vcpu = &self->vcpu;

	vm_place(&self->vm, GUEST_BLOB, real_irq_code, real_irq_code_end);
	*(u32 *)vm_ptr(&self->vm, 0x30 * 4) = 0x1000 << 16 | 0x100;
	vcpu_setup_real(vcpu, 0x1000, 0);
	vcpu_run_expect(vcpu, KVM_EXIT_HLT);
	vcpu_ioctl(vcpu, KVM_INTERRUPT, &irq);
	ASSERT_EQ(0x600d, expect_out(vcpu));
}

/* MMIO and string I/O with 16-bit addresses and a segment base. */
GUEST_CODE(real_mmio_code, ".code16",
	   "movw $0xffff, %bx\n"
	   "movw %bx, %ds\n"
	   "movl $0xcafe, %eax\n"
	   "addr32 movl %eax, 0x0fff0010\n"
	   "hlt");

TEST_F(modes, real_mmio)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct kvm_sregs sregs;

	vm_place(&self->vm, GUEST_BLOB, real_mmio_code, real_mmio_code_end);
	vcpu_setup_real(vcpu, 0x1000, 0);
	/* Big real mode: limits of 4 GiB, as boot loaders leave them. */
	vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);
	sregs.ds.limit = 0xffffffff;
	sregs.ds.g = 1;
	vcpu_ioctl(vcpu, KVM_SET_SREGS, &sregs);
	vcpu_run_expect(vcpu, KVM_EXIT_MMIO);
	ASSERT_EQ(0xffff0 + 0x0fff0010, vcpu->run->mmio.phys_addr);
	ASSERT_EQ(0xcafe, *(u32 *)vcpu->run->mmio.data);
	vcpu_run_expect(vcpu, KVM_EXIT_HLT);
}

GUEST_CODE(prot_code, ".code32",
	   "movl $0x511, %edx\n"
	   "movl $0x87654321, %eax\n"
	   "outl %eax, %dx\n"
	   "movl %eax, 0x100000\n"
	   "movl 0x10000000, %eax\n"
	   "outl %eax, %dx\n"
	   "pushl %eax\n"
	   "popl %eax\n"
	   "incl %eax\n"
	   "outl %eax, %dx\n"
	   "hlt");

static void run_prot(struct test_vm *vm, struct test_vcpu *vcpu)
{
	u32 v = 0x1000;

	if (expect_out(vcpu) != 0x87654321)
		TEST_DIE("first out");
	vcpu_run_expect(vcpu, KVM_EXIT_MMIO);
	if (vcpu->run->mmio.phys_addr != GUEST_HOLE || vcpu->run->mmio.is_write)
		TEST_DIE("MMIO at %#llx", vcpu->run->mmio.phys_addr);
	memcpy(vcpu->run->mmio.data, &v, 4);
	if (expect_out(vcpu) != 0x1000 || expect_out(vcpu) != 0x1001)
		TEST_DIE("value of the MMIO read");
	vcpu_run_expect(vcpu, KVM_EXIT_HLT);
	if (*(u32 *)vm_ptr(vm, GUEST_SCRATCH) != 0x87654321)
		TEST_DIE("store to memory");
}

TEST_F(modes, protected)
{
	vm_place(&self->vm, GUEST_BLOB, prot_code, prot_code_end);
	vcpu_setup_prot32(&self->vcpu, GUEST_BLOB);
	run_prot(&self->vm, &self->vcpu);
}

/* Only of the other segments does a CPU ask whether they are usable. */
TEST_F(modes, code_segment_marked_unusable)
{
	struct kvm_sregs sregs;

	if (test_device_is_kvm())
		SKIP(return, "KVM runs it on Intel only: on AMD it ends in a shutdown");
	vm_place(&self->vm, GUEST_BLOB, prot_code, prot_code_end);
	vcpu_setup_prot32(&self->vcpu, GUEST_BLOB);
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs.unusable = 1;
	vcpu_ioctl(&self->vcpu, KVM_SET_SREGS, &sregs);
	run_prot(&self->vm, &self->vcpu);
}

/* Two levels, 4 KiB pages for the first 4 MiB and a 4 MiB page for the hole. */
TEST_F(modes, paging_32bit)
{
	u32 *dir = vm_ptr(&self->vm, GUEST_FREE);
	u32 *table = vm_ptr(&self->vm, GUEST_FREE + TEST_PAGE_SIZE);
	struct kvm_sregs sregs;
	u32 i;

	for (i = 0; i < 1024; i++)
		table[i] = i << 12 | 7;
	dir[0] = (GUEST_FREE + TEST_PAGE_SIZE) | 7;
	dir[GUEST_HOLE >> 22] = GUEST_HOLE | 0x87;
	vm_place(&self->vm, GUEST_BLOB, prot_code, prot_code_end);
	vcpu_setup_prot32(&self->vcpu, GUEST_BLOB);
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &sregs);
	sregs.cr3 = GUEST_FREE;
	sregs.cr4 = 0x10;
	sregs.cr0 |= 0x80000000;
	vcpu_ioctl(&self->vcpu, KVM_SET_SREGS, &sregs);
	run_prot(&self->vm, &self->vcpu);
	/* The walk has set accessed and dirty bits. */
	ASSERT_EQ(0x60, table[GUEST_SCRATCH >> 12] & 0x60);
	ASSERT_EQ(0x20, table[GUEST_BLOB >> 12] & 0x60);
}

TEST_F(modes, paging_pae)
{
	u64 *pdpt = vm_ptr(&self->vm, GUEST_FREE);
	struct kvm_sregs sregs;
	int i;

	for (i = 0; i < 4; i++)
		pdpt[i] = (GUEST_PD + (u64)i * TEST_PAGE_SIZE) | 1;
	vm_place(&self->vm, GUEST_BLOB, prot_code, prot_code_end);
	vcpu_setup_prot32(&self->vcpu, GUEST_BLOB);
	vcpu_ioctl(&self->vcpu, KVM_GET_SREGS, &sregs);
	sregs.cr3 = GUEST_FREE;
	sregs.cr4 = 0x20;
	sregs.cr0 |= 0x80000000;
	vcpu_ioctl(&self->vcpu, KVM_SET_SREGS, &sregs);
	run_prot(&self->vm, &self->vcpu);
}

/* The table's memory changes behind CR3's back. A read of ordinary memory, then of a device. */
GUEST_CODE(pae_code, ".code32",
	   "movl $0x511, %edx\n"
	   "outl %eax, %dx\n"
	   "movl 0x40100000, %eax\n"
	   "outl %eax, %dx\n"
	   "movl 0x50000000, %eax\n"
	   "outl %eax, %dx\n"
	   "movl %cr3, %eax\n"
	   "movl %eax, %cr3\n"
	   "movl 0x40100000, %eax\n"
	   "outl %eax, %dx\n"
	   "hlt");

/*
 * Intel's CPUs load the four entries of the top table with CR3 and keep them; AMD's read
 * them again whenever they walk nested tables. Nobody else may do otherwise.
 */
TEST_F(modes, pae_top_entries_are_kept)
{
	u64 *pdpt = vm_ptr(&self->vm, GUEST_FREE);
	u64 *dir = vm_ptr(&self->vm, GUEST_FREE + TEST_PAGE_SIZE);
	struct test_vcpu *vcpu = &self->vcpu;
	struct kvm_sregs2 sregs2;
	struct kvm_sregs sregs;
	u64 kept;
	u32 v = 0x1000;
	int i;

	if (!test_cpu_has_vmcall)
		SKIP(return, "this CPU does not keep them");
	/* The second gigabyte is the first one once more; an empty one comes in its place. */
	for (i = 0; i < 4; i++)
		pdpt[i] = GUEST_PD | 1;
	memset(dir, 0, TEST_PAGE_SIZE);
	kept = pdpt[1];
	*(u32 *)vm_ptr(&self->vm, GUEST_SCRATCH) = 0x600d;
	vm_place(&self->vm, GUEST_BLOB, pae_code, pae_code_end);
	vcpu_setup_prot32(vcpu, GUEST_BLOB);
	vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);
	sregs.cr3 = GUEST_FREE;
	sregs.cr4 = 0x20;
	sregs.idt.limit = 0;
	sregs.cr0 |= 0x80000000;
	vcpu_ioctl(vcpu, KVM_SET_SREGS, &sregs);
	expect_out(vcpu);
	pdpt[1] = (uintptr_t)(GUEST_FREE + TEST_PAGE_SIZE) | 1;

	if (vm_cap(&self->vm, KVM_CAP_SREGS2)) {
		vcpu_ioctl(vcpu, KVM_GET_SREGS2, &sregs2);
		EXPECT_EQ(kept, sregs2.pdptrs[1]);
		EXPECT_EQ(0, __vcpu_ioctl(vcpu, KVM_SET_SREGS2, &sregs2));
	}
	ASSERT_EQ(0x600d, expect_out(vcpu));
	vcpu_run_expect(vcpu, KVM_EXIT_MMIO);
	ASSERT_EQ(GUEST_HOLE, vcpu->run->mmio.phys_addr);
	memcpy(vcpu->run->mmio.data, &v, 4);
	ASSERT_EQ(0x1000, expect_out(vcpu));
	/* There is no IDT for what comes of the new entry. */
	vcpu_run_expect(vcpu, KVM_EXIT_SHUTDOWN);
}

/* From real mode by the guest's own hand, as a boot loader does it. */
GUEST_CODE(ladder_code, ".code16",
	   "lgdtl %cs:(1f - ladder_code)\n"
	   "movl %cr0, %eax\n"
	   "orl $1, %eax\n"
	   "movl %eax, %cr0\n"
	   "ljmpl $0x18, $(0x10000 + 2f - ladder_code)\n"
	   "1: .word 0x4f\n"
	   ".long 0x1000\n"
	   ".code32\n"
	   "2: movw $0x10, %ax\n"
	   "movw %ax, %ds\n"
	   "movw %ax, %es\n"
	   "movw %ax, %ss\n"
	   "movl $0x32, %eax\n"
	   "movl $0x511, %edx\n"
	   "outl %eax, %dx\n"
	   "movl %cr4, %eax\n"
	   "orl $0x620, %eax\n"
	   "movl %eax, %cr4\n"
	   "movl $0x4000, %eax\n"
	   "movl %eax, %cr3\n"
	   "movl $0xc0000080, %ecx\n"
	   "rdmsr\n"
	   "orl $0x100, %eax\n"
	   "wrmsr\n"
	   "movl %cr0, %eax\n"
	   "orl $0x80000000, %eax\n"
	   "movl %eax, %cr0\n"
	   "ljmpl $0x08, $(0x10000 + 3f - ladder_code)\n"
	   ".code64\n"
	   "3: movl $0x511, %edx\n"
	   "movq $0x6400000000, %rax\n"
	   "shrq $32, %rax\n"
	   "outl %eax, %dx\n"
	   "hlt");

TEST_F(modes, ladder)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct kvm_sregs sregs;

	vm_place(&self->vm, GUEST_BLOB, ladder_code, ladder_code_end);
	vcpu_setup_real(vcpu, 0x1000, 0);
	ASSERT_EQ(0x32, expect_out(vcpu));
	vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);
	ASSERT_EQ(1, sregs.cr0 & 0x80000001);
	ASSERT_EQ(1, sregs.cs.db);
	ASSERT_EQ(0x64, expect_out(vcpu));
	vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);
	ASSERT_EQ(0x500, sregs.efer & 0x500);
	ASSERT_EQ(1, sregs.cs.l);
	ASSERT_EQ(GUEST_PML4, sregs.cr3);
	vcpu_run_expect(vcpu, KVM_EXIT_HLT);
}

/*
 * TR has a 16-bit TSS until long mode is there, as it has with a loader that is in no hurry
 * to change it. (Intel's CPUs refuse this, KVM's guests may.)
 */
TEST_F(modes, ladder_with_small_tss)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct kvm_sregs sregs;

	vm_place(&self->vm, GUEST_BLOB, ladder_code, ladder_code_end);
	vcpu_setup_real(vcpu, 0x1000, 0);
	ASSERT_EQ(0x32, expect_out(vcpu));
	vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);
	sregs.tr = (struct kvm_segment) {
		.base = GUEST_TSS, .limit = 0x2b, .selector = GUEST_TSS_SEL, .type = 3,
		.present = 1,
	};
	vcpu_ioctl(vcpu, KVM_SET_SREGS, &sregs);
	ASSERT_EQ(0x64, expect_out(vcpu));
	vcpu_run_expect(vcpu, KVM_EXIT_HLT);
}

/* Ring 3: no privileged instruction, no port, no kernel page. */
GUEST_TEXT(user_code,
	   "movl $0x5ca11, %eax\n"
	   "1: outl %eax, $0x80\n"
	   "jmp 1b\n");

static volatile u64 user_rip, user_cs;

static void user_faulted(struct guest_regs *regs)
{
	user_rip = regs->rip;
	user_cs = regs->cs;
	GUEST_SYNC(regs->rax);
}

static void guest_to_user(u64 arg __maybe_unused)
{
	asm volatile("ltr %w0" : : "r"(GUEST_TSS_SEL));
	asm volatile("pushq %0\n\tpushq %1\n\tpushq $2\n\tpushq %2\n\t"
		     "pushq %3\n\tiretq"
		     : : "r"((u64)GUEST_USER_DATA | 3), "r"(GUEST_STACKS),
		     "r"((u64)GUEST_USER_CODE64 | 3),
		     "r"((u64)(uintptr_t)user_code) : "memory");
}

TEST_F(modes, ring3)
{
	struct test_vcpu *vcpu = &self->vcpu;
	u64 *gdt = vm_ptr(&self->vm, GUEST_GDT);
	struct kvm_sregs sregs;

	guest_var(&self->vm, guest_handlers[13]) = user_faulted;
	/* An available TSS, for the guest's own LTR. */
	gdt[GUEST_TSS_SEL / 8] &= ~(2UL << 40);
	vcpu_setup_long(vcpu, guest_to_user, 0);
	ASSERT_EQ(0x5ca11, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(GUEST_USER_CODE64 | 3, guest_var(&self->vm, user_cs));
	ASSERT_EQ((uintptr_t)user_code + 5, guest_var(&self->vm, user_rip));
	vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);
	ASSERT_EQ(GUEST_TSS_SEL, sregs.tr.selector);
	ASSERT_EQ(11, sregs.tr.type);
}

TEST_HARNESS_MAIN
