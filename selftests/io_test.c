// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_EXIT_IO: IN and OUT of each size, string forms with and without REP, in
 * both directions, and across a page boundary.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

#define PORT	0x510

FIXTURE(io) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

FIXTURE_SETUP(io)
{
	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
}

FIXTURE_TEARDOWN(io)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

/* Run to an IO exit of this shape and return where its data is. */
static void *expect_io(struct test_vcpu *vcpu, int direction, int size,
		       int count)
{
	struct kvm_run *run = vcpu->run;

	vcpu_run_expect(vcpu, KVM_EXIT_IO);
	vcpu_guest_call(vcpu);
	if (run->io.direction != direction || run->io.port != PORT ||
	    run->io.size != size || run->io.count != (u32)count) {
		dump_exit(vcpu);
		TEST_DIE("expected %s of %d x %d",
			 direction ? "out" : "in", count, size);
	}
	return io_data(vcpu);
}

static void guest_out(u64 arg __maybe_unused)
{
	port_out8(PORT, 0x12);
	port_out16(PORT, 0x3456);
	port_out32(PORT, 0x789abcde);
	/* The immediate form, to a port of 8 bits. */
	asm volatile("outb %%al, $0x42" : : "a"(0x5a));
}

TEST_F(io, out)
{
	vcpu_setup_long(&self->vcpu, guest_out, 0);
	ASSERT_EQ(0x12, *(u8 *)expect_io(&self->vcpu,
					 KVM_EXIT_IO_OUT, 1, 1));
	ASSERT_EQ(0x3456, *(u16 *)expect_io(&self->vcpu,
					    KVM_EXIT_IO_OUT, 2, 1));
	ASSERT_EQ(0x789abcde, *(u32 *)expect_io(&self->vcpu,
						KVM_EXIT_IO_OUT, 4, 1));
	vcpu_run_expect(&self->vcpu, KVM_EXIT_IO);
	ASSERT_EQ(0x42, self->vcpu.run->io.port);
	ASSERT_EQ(0x5a, *(u8 *)io_data(&self->vcpu));
	vcpu_run_to_done(&self->vcpu);
}

/* IN of 1 and 2 bytes leaves the rest of RAX alone, of 4 clears the top. */
static void guest_in(u64 arg __maybe_unused)
{
	u64 v = ~0UL;

	asm volatile("inb %w1, %b0" : "+a"(v) : "d"(PORT));
	GUEST_ASSERT_EQ(v, 0xffffffffffffff12);
	v = ~0UL;
	asm volatile("inw %w1, %w0" : "+a"(v) : "d"(PORT));
	GUEST_ASSERT_EQ(v, 0xffffffffffff3456);
	v = ~0UL;
	asm volatile("inl %w1, %k0" : "+a"(v) : "d"(PORT));
	GUEST_ASSERT_EQ(v, 0x89abcdef);
}

TEST_F(io, in)
{
	vcpu_setup_long(&self->vcpu, guest_in, 0);
	*(u8 *)expect_io(&self->vcpu, KVM_EXIT_IO_IN, 1, 1) = 0x12;
	*(u16 *)expect_io(&self->vcpu, KVM_EXIT_IO_IN, 2, 1) = 0x3456;
	*(u32 *)expect_io(&self->vcpu, KVM_EXIT_IO_IN, 4, 1) = 0x89abcdef;
	vcpu_run_to_done(&self->vcpu);
}

/* Until the exit is completed, the registers are the old ones or the new. */
TEST_F(io, immediate_exit_completes)
{
	struct kvm_regs regs, after;

	vcpu_setup_long(&self->vcpu, guest_in, 0);
	*(u8 *)expect_io(&self->vcpu, KVM_EXIT_IO_IN, 1, 1) = 0x12;
	self->vcpu.run->immediate_exit = 1;
	ASSERT_EQ(-EINTR, __vcpu_run(&self->vcpu));
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	ASSERT_EQ(0xffffffffffffff12, regs.rax);
	ASSERT_EQ(-EINTR, __vcpu_run(&self->vcpu));
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &after);
	ASSERT_EQ(regs.rip, after.rip);
	self->vcpu.run->immediate_exit = 0;
	*(u16 *)expect_io(&self->vcpu, KVM_EXIT_IO_IN, 2, 1) = 0x3456;
	*(u32 *)expect_io(&self->vcpu, KVM_EXIT_IO_IN, 4, 1) = 0x89abcdef;
	vcpu_run_to_done(&self->vcpu);
}

#define WORDS	16

static u16 words[WORDS];

static void guest_outs(u64 down)
{
	u64 n = WORDS;
	u16 *p = down ? words + WORDS - 1 : words;
	int i;

	for (i = 0; i < WORDS; i++)
		words[i] = (u16)(0x100 * i + i);
	if (down)
		asm volatile("std");
	asm volatile("rep outsw" : "+S"(p), "+c"(n) : "d"(PORT) : "memory");
	asm volatile("cld");
	GUEST_ASSERT_EQ(n, 0);
	GUEST_ASSERT_EQ(p, down ? words - 1 : words + WORDS);
	/* No REP: one element. RCX of 0 with REP: none. */
	p = words + 3;
	asm volatile("outsw" : "+S"(p) : "d"(PORT) : "memory");
	GUEST_ASSERT_EQ(p, words + 4);
	asm volatile("rep outsw" : "+S"(p), "+c"(n) : "d"(PORT) : "memory");
	GUEST_ASSERT_EQ(p, words + 4);
}

/*
 * How many elements come with an exit is the kernel's choice: only their sum
 * and order are the ABI.
 */
static void take_words(struct test_vcpu *vcpu, bool down)
{
	int seen = 0, want;
	u16 *data;
	u32 i;

	while (seen < WORDS) {
		vcpu_run_expect(vcpu, KVM_EXIT_IO);
		vcpu_guest_call(vcpu);
		if (vcpu->run->io.port != PORT || vcpu->run->io.size != 2 ||
		    !vcpu->run->io.direction || !vcpu->run->io.count)
			TEST_DIE("not an outsw");
		data = io_data(vcpu);
		for (i = 0; i < vcpu->run->io.count; i++, seen++) {
			want = down ? WORDS - 1 - seen : seen;
			if (data[i] != want * 0x101)
				TEST_DIE("word %d is %#x", seen, data[i]);
		}
	}
	if (seen != WORDS)
		TEST_DIE("%d words", seen);
}

TEST_F(io, outs)
{
	vcpu_setup_long(&self->vcpu, guest_outs, 0);
	take_words(&self->vcpu, false);
	ASSERT_EQ(0x303, *(u16 *)expect_io(&self->vcpu,
					   KVM_EXIT_IO_OUT, 2, 1));
	vcpu_run_to_done(&self->vcpu);
}

static void guest_outs_then_store(u64 arg __maybe_unused)
{
	const u16 *p = words;

	words[0] = 0x1234;
	asm volatile("outsw" : "+S"(p) : "d"(PORT) : "memory");
	*(volatile u32 *)GUEST_HOLE = 0x5678;
}

/* What the CPU said of the one instruction is not for the next. */
TEST_F(io, outs_then_store)
{
	struct kvm_run *run = self->vcpu.run;

	vcpu_setup_long(&self->vcpu, guest_outs_then_store, 0);
	ASSERT_EQ(0x1234, *(u16 *)expect_io(&self->vcpu, KVM_EXIT_IO_OUT, 2, 1));
	vcpu_run_expect(&self->vcpu, KVM_EXIT_MMIO);
	ASSERT_EQ(GUEST_HOLE, run->mmio.phys_addr);
	ASSERT_EQ(4, run->mmio.len);
	ASSERT_EQ(0x5678, *(u32 *)run->mmio.data);
	vcpu_run_to_done(&self->vcpu);
}

TEST_F(io, outs_down)
{
	vcpu_setup_long(&self->vcpu, guest_outs, 1);
	take_words(&self->vcpu, true);
	ASSERT_EQ(0x303, *(u16 *)expect_io(&self->vcpu,
					   KVM_EXIT_IO_OUT, 2, 1));
	vcpu_run_to_done(&self->vcpu);
}

/* The elements lie on both sides of a page boundary. */
#define INS_BYTES	64
#define INS_ADDR	(GUEST_SCRATCH + TEST_PAGE_SIZE - 33)

static void guest_ins(u64 arg __maybe_unused)
{
	u8 *p = (u8 *)INS_ADDR;
	u64 n = INS_BYTES, i;

	asm volatile("rep insb" : "+D"(p), "+c"(n) : "d"(PORT) : "memory");
	GUEST_ASSERT_EQ(n, 0);
	GUEST_ASSERT_EQ(p, INS_ADDR + INS_BYTES);
	for (i = 0; i < INS_BYTES; i++)
		GUEST_ASSERT_EQ(VOLATILE(u8, INS_ADDR + i), i + 1);
	GUEST_ASSERT_EQ(VOLATILE(u8, INS_ADDR - 1), 0);
	GUEST_ASSERT_EQ(VOLATILE(u8, INS_ADDR + INS_BYTES), 0);

	n = 5;
	p = (u8 *)INS_ADDR;
	asm volatile("rep insl" : "+D"(p), "+c"(n) : "d"(PORT) : "memory");
	GUEST_ASSERT_EQ(p, INS_ADDR + 20);
	for (i = 0; i < 5; i++)
		GUEST_ASSERT_EQ(VOLATILE(u32, INS_ADDR + i * 4),
				0xabcd0000 + i);
}

TEST_F(io, ins)
{
	struct kvm_run *run = self->vcpu.run;
	u32 i, seen = 0;
	u8 *bytes;
	u32 *longs;

	vcpu_setup_long(&self->vcpu, guest_ins, 0);
	while (seen < INS_BYTES) {
		vcpu_run_expect(&self->vcpu, KVM_EXIT_IO);
		vcpu_guest_call(&self->vcpu);
		ASSERT_EQ(PORT, run->io.port);
		ASSERT_EQ(1, run->io.size);
		ASSERT_EQ(KVM_EXIT_IO_IN, run->io.direction);
		bytes = io_data(&self->vcpu);
		for (i = 0; i < run->io.count; i++)
			bytes[i] = (u8)(++seen);
	}
	ASSERT_EQ(INS_BYTES, seen);
	seen = 0;
	while (seen < 5) {
		vcpu_run_expect(&self->vcpu, KVM_EXIT_IO);
		vcpu_guest_call(&self->vcpu);
		ASSERT_EQ(4, run->io.size);
		longs = io_data(&self->vcpu);
		for (i = 0; i < run->io.count; i++)
			longs[i] = 0xabcd0000 + seen++;
	}
	vcpu_run_to_done(&self->vcpu);
}

/* OUTS from a page that the guest has not mapped: #PF, and no exit. */
static void guest_outs_fault(u64 arg __maybe_unused)
{
	u64 p = 1UL << 40, vector;

	vector = GUEST_TRY("outsb", OUTS("+S"(p)), INS("d"(PORT)));
	GUEST_ASSERT_EQ(vector, 14);
	GUEST_ASSERT_EQ(guest_fault_addr, 1UL << 40);
	GUEST_ASSERT_EQ(p, 1UL << 40);
	/* A non-canonical address is #GP's. */
	p = 1UL << 62;
	vector = GUEST_TRY("outsb", OUTS("+S"(p)), INS("d"(PORT)));
	GUEST_ASSERT_EQ(vector, 13);
}

TEST_F(io, outs_faults)
{
	vcpu_setup_long(&self->vcpu, guest_outs_fault, 0);
	vcpu_run_to_done(&self->vcpu);
}

/* A page and a bit at once, from an odd address: more than any record of one access. */
#define LONG_BYTES	5000

#define GIB		(1UL << 30)
#define GONE		(4 * GIB + GUEST_FREE)	/* the same, where nothing is mapped at first */

/* movq $0, (%rdi); rep outsb; ud2 */
static const u8 outs_gone[] = { 0x48, 0xc7, 0x07, 0, 0, 0, 0, 0xf3, 0x6e, 0x0f, 0x0b };
#define OUTS_GONE_END	9

static void guest_outs_gone(u64 arg __maybe_unused)
{
	const char *p = "gone";
	u64 n = 4, vector;

	vector = GUEST_TRY("jmp *%%rax", OUTS("+S"(p), "+c"(n)),
			   INS("a"(GONE), "D"(GUEST_PDPT + 4 * 8), "d"(PORT)));
	GUEST_ASSERT_EQ(vector, 14);
	GUEST_ASSERT_EQ(guest_fault_addr, GONE + OUTS_GONE_END);
	GUEST_ASSERT_EQ(n, 0);
}

/*
 * The CPU may execute what the page tables no longer have. Where it says what the
 * instruction was, nobody has to look for it there.
 */
TEST_F(io, outs_gone)
{
	u64 *pdpt = vm_ptr(&self->vm, GUEST_PDPT);
	u32 r[4];

	guest_cpuid(0, 0, r);
	if (r[1] != 0x756e6547 || test_device_is_kvm())
		SKIP(return, "only on Intel's CPUs, and KVM reads the instruction");
	pdpt[4] = pdpt[0];
	memcpy(vm_ptr(&self->vm, GUEST_FREE), outs_gone, sizeof(outs_gone));
	vcpu_setup_long(&self->vcpu, guest_outs_gone, 0);
	EXPECT_EQ(0, memcmp("gone", expect_io(&self->vcpu, KVM_EXIT_IO_OUT, 1, 4), 4));
	vcpu_run_to_done(&self->vcpu);
}

static void guest_outs_long(u64 arg __maybe_unused)
{
	u8 *p = (u8 *)INS_ADDR + 7;
	u64 n = LONG_BYTES, i;

	for (i = 0; i < LONG_BYTES; i++)
		p[i] = (u8)(i * 7);
	asm volatile("rep outsb" : "+S"(p), "+c"(n) : "d"(PORT) : "memory");
	GUEST_ASSERT_EQ(n, 0);
	GUEST_ASSERT_EQ(p, INS_ADDR + 7 + LONG_BYTES);
}

TEST_F(io, outs_long)
{
	struct kvm_run *run = self->vcpu.run;
	u32 i, seen = 0;
	u8 *bytes;

	vcpu_setup_long(&self->vcpu, guest_outs_long, 0);
	while (seen < LONG_BYTES) {
		vcpu_run_expect(&self->vcpu, KVM_EXIT_IO);
		vcpu_guest_call(&self->vcpu);
		ASSERT_EQ(PORT, run->io.port);
		bytes = io_data(&self->vcpu);
		for (i = 0; i < run->io.count; i++, seen++)
			ASSERT_EQ((u8)(seen * 7), bytes[i]);
	}
	ASSERT_EQ(LONG_BYTES, seen);
	vcpu_run_to_done(&self->vcpu);
}

/* Between a port and memory-mapped I/O: each byte goes to user space twice. */
#define MMIO_BYTES	100

static void guest_string_mmio(u64 port)
{
	u8 *p = (u8 *)GUEST_HOLE;
	u64 n = MMIO_BYTES;

	asm volatile("rep insb" : "+D"(p), "+c"(n) : "d"(port) : "memory");
	GUEST_ASSERT_EQ(n, 0);
	n = MMIO_BYTES;
	p = (u8 *)GUEST_HOLE;
	asm volatile("rep outsb" : "+S"(p), "+c"(n) : "d"(PORT) : "memory");
	GUEST_ASSERT_EQ(n, 0);
}

/* Serves exits until the guest has moved @bytes on MMIO; what it wrote or reads is i. */
static void serve_string(struct test_vcpu *vcpu, bool write, u32 bytes, bool check)
{
	struct kvm_run *run = vcpu->run;
	u32 mmio = 0, in = 0, out = 0, i;
	u8 *data;

	while (mmio < bytes || (!write && out < bytes)) {
		if (__vcpu_run(vcpu))
			TEST_DIE("KVM_RUN");
		data = io_data(vcpu);
		if (run->exit_reason == KVM_EXIT_IO && write) {
			for (i = 0; i < run->io.count; i++)
				data[i] = (u8)in++;
		} else if (run->exit_reason == KVM_EXIT_IO) {
			for (i = 0; i < run->io.count; i++, out++)
				if (data[i] != (u8)out)
					TEST_DIE("byte %u is %u", out, data[i]);
		} else if (run->exit_reason == KVM_EXIT_MMIO &&
			   run->mmio.phys_addr == GUEST_HOLE + mmio &&
			   run->mmio.is_write == write) {
			for (i = 0; i < run->mmio.len; i++, mmio++) {
				if (!write)
					run->mmio.data[i] = (u8)mmio;
				else if (check && run->mmio.data[i] != (u8)mmio)
					TEST_DIE("MMIO byte %u", mmio);
			}
		} else {
			dump_exit(vcpu);
			TEST_DIE("unexpected exit");
		}
	}
	if (mmio != bytes)
		TEST_DIE("%u bytes of MMIO instead of %u", mmio, bytes);
}

TEST_F(io, string_mmio)
{
	vcpu_setup_long(&self->vcpu, guest_string_mmio, PORT);
	serve_string(&self->vcpu, true, MMIO_BYTES, true);
	serve_string(&self->vcpu, false, MMIO_BYTES, true);
	vcpu_run_to_done(&self->vcpu);
}

/* The port is one of the kernel's PIC: only the writes leave the kernel. */
TEST(string_mmio_from_kernel_port)
{
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_create(&vm);
	vm_ioctl(&vm, KVM_CREATE_IRQCHIP, 0);
	vcpu_create(&vm, &vcpu, 0);
	vcpu_setup_long(&vcpu, guest_string_mmio, 0x21);
	serve_string(&vcpu, true, MMIO_BYTES, false);
	serve_string(&vcpu, false, MMIO_BYTES, true);
	vcpu_run_to_done(&vcpu);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

TEST_HARNESS_MAIN
