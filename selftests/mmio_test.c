// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_EXIT_MMIO: loads and stores of each size on a hole, accesses that cross
 * from memory into the hole and over its pages, read-modify-write, strings.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

#define HOLE	GUEST_HOLE

FIXTURE(mmio) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

FIXTURE_SETUP(mmio)
{
	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
}

FIXTURE_TEARDOWN(mmio)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static void expect_mmio(struct test_vcpu *vcpu, bool write, u64 gpa,
			u32 len)
{
	struct kvm_run *run = vcpu->run;

	vcpu_run_expect(vcpu, KVM_EXIT_MMIO);
	if (run->mmio.is_write != write || run->mmio.phys_addr != gpa ||
	    run->mmio.len != len) {
		dump_exit(vcpu);
		TEST_DIE("expected %s of %u at %#lx",
			 write ? "write" : "read", len, (unsigned long)gpa);
	}
}

static u64 expect_write(struct test_vcpu *vcpu, u64 gpa, u32 len)
{
	u64 v = 0;

	expect_mmio(vcpu, true, gpa, len);
	memcpy(&v, vcpu->run->mmio.data, len);
	return v;
}

static void answer_read(struct test_vcpu *vcpu, u64 gpa, u32 len,
			u64 v)
{
	expect_mmio(vcpu, false, gpa, len);
	memcpy(vcpu->run->mmio.data, &v, len);
}

static void guest_writes(u64 arg __maybe_unused)
{
	VOLATILE(u8, HOLE) = 0x11;
	VOLATILE(u16, HOLE + 2) = 0x2222;
	VOLATILE(u32, HOLE + 4) = 0x33333333;
	VOLATILE(u64, HOLE + 8) = 0x4444444455555555;
	/* An immediate of 32 bits is extended to 64. */
	asm volatile("movq $-2, (%0)" : : "r"(HOLE + 16) : "memory");
	asm volatile("movb $7, 1(%0)" : : "r"(HOLE) : "memory");
	asm volatile("movb %%ah, (%0)" : : "r"(HOLE), "a"(0xab00) : "memory");
}

TEST_F(mmio, write_sizes)
{
	struct test_vcpu *vcpu = &self->vcpu;

	vcpu_setup_long(vcpu, guest_writes, 0);
	ASSERT_EQ(0x11, expect_write(vcpu, HOLE, 1));
	ASSERT_EQ(0x2222, expect_write(vcpu, HOLE + 2, 2));
	ASSERT_EQ(0x33333333, expect_write(vcpu, HOLE + 4, 4));
	ASSERT_EQ(0x4444444455555555, expect_write(vcpu, HOLE + 8, 8));
	ASSERT_EQ(-2UL, expect_write(vcpu, HOLE + 16, 8));
	ASSERT_EQ(7, expect_write(vcpu, HOLE + 1, 1));
	ASSERT_EQ(0xab, expect_write(vcpu, HOLE, 1));
	vcpu_run_to_done(vcpu);
}

static void guest_reads(u64 arg __maybe_unused)
{
	u64 v = ~0UL;

	asm volatile("movb (%1), %b0" : "+a"(v) : "r"(HOLE));
	GUEST_ASSERT_EQ(v, 0xffffffffffffff81);
	v = ~0UL;
	asm volatile("movw (%1), %w0" : "+a"(v) : "r"(HOLE + 2));
	GUEST_ASSERT_EQ(v, 0xffffffffffff8282);
	asm volatile("movl (%1), %k0" : "+a"(v) : "r"(HOLE + 4));
	GUEST_ASSERT_EQ(v, 0x83838383);
	asm volatile("movq (%1), %0" : "+a"(v) : "r"(HOLE + 8));
	GUEST_ASSERT_EQ(v, 0x8484848485858585);
	asm volatile("movzbl (%1), %k0" : "+a"(v) : "r"(HOLE));
	GUEST_ASSERT_EQ(v, 0x81);
	asm volatile("movsbq (%1), %0" : "+a"(v) : "r"(HOLE));
	GUEST_ASSERT_EQ(v, 0xffffffffffffff81);
	asm volatile("movswl (%1), %k0" : "+a"(v) : "r"(HOLE));
	GUEST_ASSERT_EQ(v, 0xffff8281);
	/* r9: a register that needs REX. */
	asm volatile("movl (%1), %%r9d\n\tmovq %%r9, %0"
		     : "=a"(v) : "r"(HOLE) : "r9");
	GUEST_ASSERT_EQ(v, 0x12345678);
}

TEST_F(mmio, read_sizes)
{
	struct test_vcpu *vcpu = &self->vcpu;

	vcpu_setup_long(vcpu, guest_reads, 0);
	answer_read(vcpu, HOLE, 1, 0x81);
	answer_read(vcpu, HOLE + 2, 2, 0x8282);
	answer_read(vcpu, HOLE + 4, 4, 0x83838383);
	answer_read(vcpu, HOLE + 8, 8, 0x8484848485858585);
	answer_read(vcpu, HOLE, 1, 0x81);
	answer_read(vcpu, HOLE, 1, 0x81);
	answer_read(vcpu, HOLE, 2, 0x8281);
	answer_read(vcpu, HOLE, 4, 0x12345678);
	vcpu_run_to_done(vcpu);
}

static void guest_crossing(u64 arg __maybe_unused)
{
	u64 v;

	/* Over the boundary of two pages that are both holes. */
	VOLATILE(u32, HOLE + TEST_PAGE_SIZE - 1) = 0x04030201;
	v = VOLATILE(u64, HOLE + TEST_PAGE_SIZE - 4);
	GUEST_ASSERT_EQ(v, 0x8877665544332211);
	/* Out of the last page of memory, four bytes of it in the hole. */
	VOLATILE(u64, GUEST_MEM_SIZE - 4) = 0xddddddddcccccccc;
	v = VOLATILE(u64, GUEST_MEM_SIZE - 4);
	GUEST_ASSERT_EQ(v, 0xeeeeeeeecccccccc);
}

TEST_F(mmio, page_crossing)
{
	struct test_vcpu *vcpu = &self->vcpu;
	u64 next = HOLE + TEST_PAGE_SIZE;

	vcpu_setup_long(vcpu, guest_crossing, 0);
	ASSERT_EQ(0x01, expect_write(vcpu, next - 1, 1));
	ASSERT_EQ(0x040302, expect_write(vcpu, next, 3));
	answer_read(vcpu, next - 4, 4, 0x44332211);
	answer_read(vcpu, next, 4, 0x88776655);
	ASSERT_EQ(0xdddddddd, expect_write(vcpu, GUEST_MEM_SIZE, 4));
	ASSERT_EQ(0xcccccccc, *(u32 *)vm_ptr(&self->vm,
					     GUEST_MEM_SIZE - 4));
	answer_read(vcpu, GUEST_MEM_SIZE, 4, 0xeeeeeeee);
	vcpu_run_to_done(vcpu);
}

static void guest_modify(u64 arg __maybe_unused)
{
	u64 flags, v;

	asm volatile("addl $1, (%1)\n\tpushfq\n\tpopq %0"
		     : "=r"(flags) : "r"(HOLE) : "memory", "cc");
	GUEST_ASSERT_EQ(flags & 0x41, 0x41);		/* ZF, CF */
	asm volatile("orb $0x80, (%0)" : : "r"(HOLE) : "memory", "cc");
	v = 0x77;
	asm volatile("xchgl %k0, (%1)" : "+r"(v) : "r"(HOLE) : "memory");
	GUEST_ASSERT_EQ(v, 0x99);
	asm volatile("testb $4, (%1)\n\tpushfq\n\tpopq %0"
		     : "=r"(flags) : "r"(HOLE) : "memory", "cc");
	GUEST_ASSERT_EQ(flags & 0x40, 0);
	asm volatile("cmpw $5, (%1)\n\tpushfq\n\tpopq %0"
		     : "=r"(flags) : "r"(HOLE) : "memory", "cc");
	GUEST_ASSERT_EQ(flags & 0x40, 0x40);
}

TEST_F(mmio, read_modify_write)
{
	struct test_vcpu *vcpu = &self->vcpu;

	vcpu_setup_long(vcpu, guest_modify, 0);
	answer_read(vcpu, HOLE, 4, 0xffffffff);
	ASSERT_EQ(0, expect_write(vcpu, HOLE, 4));
	answer_read(vcpu, HOLE, 1, 0x01);
	ASSERT_EQ(0x81, expect_write(vcpu, HOLE, 1));
	answer_read(vcpu, HOLE, 4, 0x99);
	ASSERT_EQ(0x77, expect_write(vcpu, HOLE, 4));
	answer_read(vcpu, HOLE, 1, 0x06);
	answer_read(vcpu, HOLE, 2, 5);
	vcpu_run_to_done(vcpu);
}

static void guest_strings(u64 arg __maybe_unused)
{
	u64 n = 4, i;
	u32 *to = (u32 *)GUEST_SCRATCH, *from = (u32 *)HOLE;

	asm volatile("rep movsl" : "+S"(from), "+D"(to), "+c"(n) : : "memory");
	GUEST_ASSERT_EQ(n, 0);
	for (i = 0; i < 4; i++)
		GUEST_ASSERT_EQ(VOLATILE(u32, GUEST_SCRATCH + i * 4),
				0x100 + i);
	n = 3;
	to = (u32 *)HOLE;
	from = (u32 *)GUEST_SCRATCH;
	asm volatile("rep movsl" : "+S"(from), "+D"(to), "+c"(n) : : "memory");
	n = 2;
	to = (u32 *)HOLE;
	asm volatile("rep stosl" : "+D"(to), "+c"(n) : "a"(0x5555) : "memory");
	GUEST_ASSERT_EQ(to, HOLE + 8);
}

TEST_F(mmio, strings)
{
	struct test_vcpu *vcpu = &self->vcpu;
	u64 i;

	vcpu_setup_long(vcpu, guest_strings, 0);
	for (i = 0; i < 4; i++)
		answer_read(vcpu, HOLE + i * 4, 4, 0x100 + i);
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0x100 + i, expect_write(vcpu, HOLE + i * 4, 4));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0x5555, expect_write(vcpu, HOLE + i * 4, 4));
	vcpu_run_to_done(vcpu);
}

/* A store of 16 bytes comes as two of 8. */
static void guest_sse(u64 arg __maybe_unused)
{
	u64 v[2] __aligned(16) = { 1, 2 };

	asm volatile("movdqa %0, %%xmm0\n\tmovdqu %%xmm0, (%1)"
		     : : "m"(v), "r"(HOLE) : "memory", "xmm0");
	asm volatile("movups (%1), %%xmm1\n\tmovdqa %%xmm1, %0"
		     : "=m"(v) : "r"(HOLE) : "memory", "xmm1");
	GUEST_ASSERT_EQ(v[0], 0x1111);
	GUEST_ASSERT_EQ(v[1], 0x2222);
}

TEST_F(mmio, sse)
{
	struct test_vcpu *vcpu = &self->vcpu;

	vcpu_setup_long(vcpu, guest_sse, 0);
	ASSERT_EQ(1, expect_write(vcpu, HOLE, 8));
	ASSERT_EQ(2, expect_write(vcpu, HOLE + 8, 8));
	answer_read(vcpu, HOLE, 8, 0x1111);
	answer_read(vcpu, HOLE + 8, 8, 0x2222);
	vcpu_run_to_done(vcpu);
}

/* Page tables where there is no memory are as good as none. */
#define LOST	0x200000000UL	/* by the 8th entry of its table */
#define NOWHERE	0x1000000000UL

static void guest_loses_tables(u64 arg __maybe_unused)
{
	u64 vector, value;

	vector = GUEST_TRY("movq (%1), %0", OUTS("=&r"(value)), INS("r"(LOST)));
	GUEST_ASSERT_EQ(vector, 14);
	GUEST_ASSERT_EQ(guest_fault_addr, LOST);
	GUEST_ASSERT_EQ(guest_fault_error & 1, 0);
	vector = GUEST_TRY("movq %0, (%1)", OUTS(), INS("r"(1UL), "r"(LOST + 8)));
	GUEST_ASSERT_EQ(vector, 14);
	GUEST_ASSERT_EQ(guest_fault_addr, LOST + 8);
	GUEST_ASSERT_EQ(guest_fault_error & 3, 2);
}

TEST_F(mmio, tables_without_memory)
{
	u64 *pdpt = vm_ptr(&self->vm, GUEST_PDPT);

	if (test_device_is_kvm())
		SKIP(return, "KVM may ask user space for the table as if it were the data");
	pdpt[LOST >> 30] = NOWHERE | 7;
	vcpu_setup_long(&self->vcpu, guest_loses_tables, 0);
	vcpu_run_to_done(&self->vcpu);
}

TEST_HARNESS_MAIN
