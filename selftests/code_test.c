// SPDX-License-Identifier: GPL-2.0-only
/*
 * What exits is the code that is there now: code that the guest rewrites, maps elsewhere or
 * lets cross a page, and whose memory user space replaces, where the same address exited
 * before.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

#define HOLE		GUEST_HOLE
#define TIMES		3	/* each, so that what is remembered is there to be wrong */
#define CODE		GUEST_SCRATCH
#define CODE_SLOT	0x20000000UL
#define VALUE		0x1122334455667788UL
#define MSR_FS_BASE	0xc0000100

/* A second mapping of the scratch area, by tables of its own. */
#define LINEAR		(1UL << 39)
#define PDPT		(GUEST_SCRATCH + 0x10000)
#define PD		(GUEST_SCRATCH + 0x11000)
#define PT		(GUEST_SCRATCH + 0x12000)
#define PT2		(GUEST_SCRATCH + 0x13000)
#define PML4_2		(GUEST_SCRATCH + 0x14000)
#define PDPT_2		(GUEST_SCRATCH + 0x15000)
#define PD_2		(GUEST_SCRATCH + 0x16000)
#define PT_2		(GUEST_SCRATCH + 0x17000)
#define PAGE_A		(GUEST_SCRATCH + 0x20000)
#define PAGE_B		(GUEST_SCRATCH + 0x22000)	/* does not follow */

#define PRESENT		3UL	/* and writable */
#define LARGE		0x80UL

struct piece {
	u8 length;
	u8 bytes[16];
	u8 size, offset;	/* of the access to HOLE */
	u64 value;
};

/* A function each, called with HOLE in RDI and VALUE in RAX. */
static const struct piece stores[] = {
	{ 3, { 0x89, 0x07, 0xc3 }, 4, 0, 0x55667788 },
	{ 3, { 0x88, 0x07, 0xc3 }, 1, 0, 0x88 },
	{ 4, { 0x66, 0x89, 0x07, 0xc3 }, 2, 0, 0x7788 },
	{ 4, { 0x48, 0x89, 0x07, 0xc3 }, 8, 0, VALUE },
	{ 4, { 0x89, 0x47, 0x04, 0xc3 }, 4, 4, 0x55667788 },
	{ 4, { 0x89, 0x47, 0x08, 0xc3 }, 4, 8, 0x55667788 },
	{ 3, { 0x88, 0x27, 0xc3 }, 1, 0, 0x77 },			/* AH */
	{ 7, { 0xc7, 0x07, 1, 2, 3, 4, 0xc3 }, 4, 0, 0x04030201 },
	{ 7, { 0xc7, 0x07, 1, 2, 3, 5, 0xc3 }, 4, 0, 0x05030201 },
	/* Alike in their first eight bytes. */
	{ 12, { 0x48, 0xc7, 0x87, 0x10, 0, 0, 0, 6, 0, 0, 0, 0xc3 }, 8, 16, 6 },
	{ 12, { 0x48, 0xc7, 0x87, 0x10, 0, 0, 0, 6, 0, 0, 1, 0xc3 }, 8, 16, 0x1000006 },
	{ 10, { 0xa3, 0, 0, 0, 0x10, 0, 0, 0, 0, 0xc3 }, 4, 0, 0x55667788 },
	{ 8, { 0x89, 0x04, 0x25, 0, 0, 0, 0x10, 0xc3 }, 4, 0, 0x55667788 },
};

/* The same, which give in RAX what was read: user space answers VALUE. */
static const struct piece loads[] = {
	{ 3, { 0x8b, 0x07, 0xc3 }, 4, 0, 0x55667788 },
	{ 3, { 0x8a, 0x07, 0xc3 }, 1, 0, 0xffffffffffffff88 },
	{ 3, { 0x8a, 0x27, 0xc3 }, 1, 0, 0xffffffffffff88ff },	/* AH */
	{ 4, { 0x66, 0x8b, 0x07, 0xc3 }, 2, 0, 0xffffffffffff7788 },
	{ 4, { 0x48, 0x8b, 0x07, 0xc3 }, 8, 0, VALUE },
	{ 4, { 0x0f, 0xb6, 0x07, 0xc3 }, 1, 0, 0x88 },
	{ 4, { 0x0f, 0xb7, 0x07, 0xc3 }, 2, 0, 0x7788 },
	{ 4, { 0x0f, 0xbe, 0x07, 0xc3 }, 1, 0, 0xffffff88 },
	{ 5, { 0x66, 0x0f, 0xb6, 0x07, 0xc3 }, 1, 0, 0xffffffffffff0088 },
	{ 10, { 0xa1, 0, 0, 0, 0x10, 0, 0, 0, 0, 0xc3 }, 4, 0, 0x55667788 },
	{ 8, { 0x8b, 0x04, 0x25, 4, 0, 0, 0x10, 0xc3 }, 4, 4, 0x55667788 },
};

FIXTURE(code) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

FIXTURE_SETUP(code)
{
	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	vcpu_set_supported_cpuid(&self->vcpu);
}

FIXTURE_TEARDOWN(code)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static void expect_mmio(struct test_vcpu *vcpu, bool write, const struct piece *piece)
{
	struct kvm_run *run = vcpu->run;
	u64 value = VALUE;

	vcpu_run_expect(vcpu, KVM_EXIT_MMIO);
	if (write) {
		value = 0;
		memcpy(&value, run->mmio.data, piece->size);
	} else {
		memcpy(run->mmio.data, &value, piece->size);
		value = piece->value;
	}
	if (run->mmio.is_write != write || run->mmio.phys_addr != HOLE + piece->offset ||
	    run->mmio.len != piece->size || value != piece->value) {
		dump_exit(vcpu);
		TEST_DIE("expected %u bytes at +%u: %#lx, not %#lx", piece->size, piece->offset,
			 (unsigned long)piece->value, (unsigned long)value);
	}
}

static void expect_stores(struct test_vcpu *vcpu, const struct piece *piece)
{
	int i;

	for (i = 0; i < TIMES; i++)
		expect_mmio(vcpu, true, piece);
}

/* Guest: the bytes to @at, one by one, as they may cross a page of another mapping. */
static void put(u64 at, const struct piece *piece)
{
	u8 i;

	for (i = 0; i < piece->length; i++)
		VOLATILE(u8, at + i) = piece->bytes[i];
}

static u64 call_at(u64 code, u64 rax)
{
	u64 rdi = HOLE;

	asm volatile("call *%2" : "+a"(rax), "+D"(rdi) : "r"(code)
		     : "rbx", "rcx", "rdx", "rsi", "memory", "cc");
	return rax;
}

static void call_times(u64 code)
{
	int i;

	for (i = 0; i < TIMES; i++)
		call_at(code, VALUE);
}

static void guest_rewritten(u64 arg __maybe_unused)
{
	u32 i, n;

	for (i = 0; i < ARRAY_SIZE(stores); i++) {
		put(CODE, &stores[i]);
		call_times(CODE);
	}
	for (i = 0; i < ARRAY_SIZE(loads); i++) {
		put(CODE, &loads[i]);
		for (n = 0; n < TIMES; n++)
			GUEST_ASSERT_EQ(call_at(CODE, ~0UL), loads[i].value);
	}
}

TEST_F(code, rewritten)
{
	u32 i, n;

	vcpu_setup_long(&self->vcpu, guest_rewritten, 0);
	for (i = 0; i < ARRAY_SIZE(stores); i++)
		expect_stores(&self->vcpu, &stores[i]);
	for (i = 0; i < ARRAY_SIZE(loads); i++)
		for (n = 0; n < TIMES; n++)
			expect_mmio(&self->vcpu, false, &loads[i]);
	vcpu_run_to_done(&self->vcpu);
}

/* A store has happened when user space sees it; a load has not. */
TEST_F(code, where_rip_is)
{
	struct kvm_regs regs;
	u32 i;

	vcpu_setup_long(&self->vcpu, guest_rewritten, 0);
	expect_mmio(&self->vcpu, true, &stores[0]);
	expect_mmio(&self->vcpu, true, &stores[0]);
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	ASSERT_EQ(CODE + 2, regs.rip);
	expect_mmio(&self->vcpu, true, &stores[0]);
	for (i = 1; i < ARRAY_SIZE(stores); i++)
		expect_stores(&self->vcpu, &stores[i]);
	expect_mmio(&self->vcpu, false, &loads[0]);
	expect_mmio(&self->vcpu, false, &loads[0]);
	vcpu_ioctl(&self->vcpu, KVM_GET_REGS, &regs);
	ASSERT_EQ(CODE, regs.rip);
}

static void invalidate(u64 linear)
{
	asm volatile("invlpg (%0)" : : "r"(linear) : "memory");
}

static void map_linear(void)
{
	VOLATILE(u64, PT) = PAGE_A | PRESENT;
	VOLATILE(u64, PT + 8) = PAGE_B | PRESENT;
	VOLATILE(u64, PT2) = PAGE_B | PRESENT;
	VOLATILE(u64, PD) = PT | PRESENT;
	VOLATILE(u64, PDPT) = PD | PRESENT;
	VOLATILE(u64, GUEST_PML4 + 8) = PDPT | PRESENT;
	/* Another root, where the same address is page B. */
	VOLATILE(u64, PT_2) = PAGE_B | PRESENT;
	VOLATILE(u64, PD_2) = PT_2 | PRESENT;
	VOLATILE(u64, PDPT_2) = PD_2 | PRESENT;
	VOLATILE(u64, PML4_2) = VOLATILE(u64, GUEST_PML4);
	VOLATILE(u64, PML4_2 + 8) = PDPT_2 | PRESENT;
}

static void guest_remapped(u64 arg __maybe_unused)
{
	map_linear();
	put(PAGE_A, &stores[0]);
	put(PAGE_B, &stores[1]);
	call_times(LINEAR);

	VOLATILE(u64, PT) = PAGE_B | PRESENT;
	invalidate(LINEAR);
	call_times(LINEAR);

	VOLATILE(u64, PT2) = PAGE_A | PRESENT;
	VOLATILE(u64, PD) = PT2 | PRESENT;
	invalidate(LINEAR);
	call_times(LINEAR);

	write_cr3(PML4_2);
	call_times(LINEAR);
	write_cr3(GUEST_PML4);
	call_times(LINEAR);
	write_cr3(PML4_2);

	/* A large page, and a page of it. */
	VOLATILE(u64, PD_2) = LARGE | PRESENT;
	invalidate(LINEAR);
	call_times(LINEAR + PAGE_A);
	put(PAGE_A, &stores[2]);
	call_times(LINEAR + PAGE_A);
}

TEST_F(code, remapped)
{
	static const u8 order[] = { 0, 1, 0, 1, 0, 0, 2 };
	u32 i;

	vcpu_setup_long(&self->vcpu, guest_remapped, 0);
	for (i = 0; i < ARRAY_SIZE(order); i++)
		expect_stores(&self->vcpu, &stores[order[i]]);
	vcpu_run_to_done(&self->vcpu);
}

/* RDMSR in place of CPUID, and the other way: both leave something in EAX. */
static const struct piece cpuid_piece = { 3, { 0x0f, 0xa2, 0xc3 }, 0, 0, 0 };
static const struct piece long_cpuid_piece = { 5, { 0x66, 0x48, 0x0f, 0xa2, 0xc3 }, 0, 0, 0 };
static const struct piece rdmsr_piece = {
	8, { 0xb9, MSR_APICBASE, 0, 0, 0, 0x0f, 0x32, 0xc3 }, 0, 0, 0
};

static const struct piece hlt_piece = { 2, { 0xf4, 0xc3 }, 0, 0, 0 };

/* To where it ends @past bytes into the second page of LINEAR. */
static u64 put_across(const struct piece *piece, u32 past)
{
	u64 start = TEST_PAGE_SIZE + past - piece->length, at;
	u8 i;

	for (i = 0; i < piece->length; i++) {
		at = start + i;
		VOLATILE(u8, at < TEST_PAGE_SIZE ? PAGE_A + at : PAGE_B + at - TEST_PAGE_SIZE) =
			piece->bytes[i];
	}
	return LINEAR + start;
}

static void guest_across(u64 arg __maybe_unused)
{
	u32 past, i, n, regs[4];
	u64 base = (u32)rdmsr(MSR_APICBASE);

	map_linear();
	guest_cpuid(0, 0, regs);
	for (n = 0; n < TIMES; n++) {
		for (past = 0; past < cpuid_piece.length; past++)
			GUEST_ASSERT_EQ(call_at(put_across(&cpuid_piece, past), 0), regs[0]);
		for (past = 0; past < long_cpuid_piece.length; past++)
			GUEST_ASSERT_EQ(call_at(put_across(&long_cpuid_piece, past), 0), regs[0]);
		for (past = 0; past < rdmsr_piece.length; past++)
			GUEST_ASSERT_EQ(call_at(put_across(&rdmsr_piece, past), 0), base);
		for (past = 0; past < hlt_piece.length; past++)
			call_at(put_across(&hlt_piece, past), 0);
	}
	for (i = 0; i < ARRAY_SIZE(stores); i++)
		for (past = 0; past < stores[i].length; past++)
			call_times(put_across(&stores[i], past));
}

TEST_F(code, across_pages)
{
	struct test_vcpu *vcpu = &self->vcpu;
	u32 i, n, past;

	vcpu_setup_long(vcpu, guest_across, 0);
	for (n = 0; n < TIMES; n++)
		for (past = 0; past < hlt_piece.length; past++)
			vcpu_run_expect(vcpu, KVM_EXIT_HLT);
	for (i = 0; i < ARRAY_SIZE(stores); i++)
		for (past = 0; past < stores[i].length; past++)
			expect_stores(vcpu, &stores[i]);
	vcpu_run_to_done(vcpu);
}

static void guest_replaced(u64 arg __maybe_unused)
{
	int i;

	for (i = 0; i < 3; i++) {
		call_times(CODE_SLOT);
		GUEST_SYNC(i);
	}
}

/* Other memory at the same place, while the old one still is there. */
TEST_F(code, slot_replaced)
{
	struct test_vcpu *vcpu = &self->vcpu;
	void *memory;
	u32 i;

	vcpu_setup_long(vcpu, guest_replaced, 0);
	for (i = 0; i < 3; i++) {
		memory = mmap(NULL, TEST_PAGE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(MAP_FAILED, memory);
		memcpy(memory, stores[i].bytes, stores[i].length);
		if (i)
			vm_set_slot(&self->vm, 1, 0, CODE_SLOT, 0, NULL);
		vm_set_slot(&self->vm, 1, 0, CODE_SLOT, TEST_PAGE_SIZE, memory);
		expect_stores(vcpu, &stores[i]);
		ASSERT_EQ(i, vcpu_run_to_sync(vcpu));
	}
	vcpu_run_to_done(vcpu);
}

static void guest_filled(u64 arg __maybe_unused)
{
	int i;

	put(CODE, &stores[0]);
	for (i = 0; i < 4; i++) {
		call_times(CODE);
		GUEST_SYNC(i);
	}
}

/* Memory comes where a device was, goes, and comes again. */
TEST_F(code, slot_comes)
{
	struct test_vcpu *vcpu = &self->vcpu;
	u32 *memory;
	u32 i;

	memory = mmap(NULL, TEST_PAGE_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, memory);
	vcpu_setup_long(vcpu, guest_filled, 0);
	for (i = 0; i < 4; i++) {
		*memory = 0;
		if (i % 2) {
			vm_set_slot(&self->vm, 1, 0, HOLE, TEST_PAGE_SIZE, memory);
			ASSERT_EQ(i, vcpu_run_to_sync(vcpu));
			ASSERT_EQ(0x55667788, *memory);
			vm_set_slot(&self->vm, 1, 0, HOLE, 0, NULL);
		} else {
			expect_stores(vcpu, &stores[0]);
			ASSERT_EQ(i, vcpu_run_to_sync(vcpu));
			ASSERT_EQ(0, *memory);
		}
	}
	vcpu_run_to_done(vcpu);
}

static void guest_segment(u64 arg __maybe_unused)
{
	static const struct piece piece = { 4, { 0x64, 0x89, 0x07, 0xc3 }, 0, 0, 0 };

	put(CODE, &piece);
	call_times(CODE);
	wrmsr(MSR_FS_BASE, 0x40);
	call_times(CODE);
	wrmsr(MSR_FS_BASE, 0);
}

/* The same bytes mean another address. */
TEST_F(code, segment_base)
{
	static const struct piece far = { 0, { 0 }, 4, 0x40, 0x55667788 };

	vcpu_setup_long(&self->vcpu, guest_segment, 0);
	expect_stores(&self->vcpu, &stores[0]);
	expect_stores(&self->vcpu, &far);
	vcpu_run_to_done(&self->vcpu);
}

TEST_HARNESS_MAIN
