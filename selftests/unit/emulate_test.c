// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unit tests of the instruction emulator: lengths, faults, accesses that user
 * space completes, REP and port batches, and the modes that the fuzzer cannot
 * reach from a process. Prints TAP.
 */
#include <stdio.h>
#include "kmod/emulate/internal.h"
#include "emulate_machine.h"

#define BASE		0x10000u
#define BYTES(...)	((const u8[]){ __VA_ARGS__ })
#define DECODE(...)	decode(BYTES(__VA_ARGS__), sizeof(BYTES(__VA_ARGS__)))
#define IS_INVALID(...)	is_invalid(BYTES(__VA_ARGS__), sizeof(BYTES(__VA_ARGS__)))
#define ONCE(...)	once(BYTES(__VA_ARGS__), sizeof(BYTES(__VA_ARGS__)))
#define RUN(...)	run(BYTES(__VA_ARGS__), sizeof(BYTES(__VA_ARGS__)))

static struct machine m;
static unsigned int failures, line_failed;
static const char *expression;

#define CHECK(condition) do {						\
	if (!(condition) && !failures++) {				\
		line_failed = __LINE__;					\
		expression = #condition;				\
	}								\
} while (0)

static void start(enum emul_mode mode)
{
	unsigned int i;

	machine_init(&m, mode, BASE);
	m.regs.gpr[EMUL_RBX] = BASE;
	m.regs.gpr[EMUL_RSP] = BASE + 0x800;
	m.regs.rip = 0x1000;
	if (mode == EMUL_MODE_16) {
		/* Real mode, with all segments over the machine's memory. */
		m.ctxt.cr0 &= ~1ull;
		m.ctxt.cpl = 0;
		for (i = 0; i < EMUL_NR_SEG; i++)
			m.segments[i].base = BASE;
		m.regs.gpr[EMUL_RSP] = 0x800;
	}
}

static struct emul_insn decode(const u8 *bytes, unsigned int length)
{
	struct emul_insn insn;

	CHECK(emul_decode(&insn, bytes, length, m.ctxt.mode) == (int)length);
	return insn;
}

/* One call of the executor: EMUL_EXIT and EMUL_AGAIN come back. */
static int once(const u8 *bytes, unsigned int length)
{
	struct emul_insn insn = decode(bytes, length);

	return machine_execute(&m, &insn);
}

static int run(const u8 *bytes, unsigned int length)
{
	struct emul_insn insn = decode(bytes, length);

	return machine_run(&m, &insn);
}

static bool raised(int result, unsigned int vector, bool has_error_code)
{
	return result == EMUL_EXCEPTION && m.ctxt.exception.vector == vector &&
	       m.ctxt.exception.has_error_code == has_error_code &&
	       !m.ctxt.exception.error_code;
}

static u64 memory_at(u32 offset, unsigned int size)
{
	u64 value = 0;

	memcpy(&value, m.memory + offset, size);
	return value;
}

static void set_memory(u32 offset, u64 value, unsigned int size)
{
	memcpy(m.memory + offset, &value, size);
}

struct length_case {
	const char *name;
	u8 length;
	u8 modes;
	u8 bytes[EMUL_MAX_INSN_BYTES];
};

#define IN16	BIT(EMUL_MODE_16)
#define IN32	BIT(EMUL_MODE_32)
#define IN64	BIT(EMUL_MODE_64)
#define LEGACY	(IN16 | IN32)
#define ALL	(LEGACY | IN64)

/* What can cause an intercept, and prefixes that change the length. */
static const struct length_case lengths[] = {
	{ "CPUID", 2, ALL, { 0x0f, 0xa2 } },
	{ "CPUID with prefixes", 5, ALL, { 0x66, 0xf2, 0x2e, 0x0f, 0xa2 } },
	{ "HLT", 1, ALL, { 0xf4 } },
	{ "REX HLT", 2, IN64, { 0x48, 0xf4 } },
	{ "RDMSR", 2, ALL, { 0x0f, 0x32 } },
	{ "WRMSR", 2, ALL, { 0x0f, 0x30 } },
	{ "RDTSC", 2, ALL, { 0x0f, 0x31 } },
	{ "RDTSCP", 3, ALL, { 0x0f, 0x01, 0xf9 } },
	{ "RDPMC", 2, ALL, { 0x0f, 0x33 } },
	{ "INVD", 2, ALL, { 0x0f, 0x08 } },
	{ "WBINVD", 2, ALL, { 0x0f, 0x09 } },
	{ "WBNOINVD", 3, ALL, { 0xf3, 0x0f, 0x09 } },
	{ "INVLPG [rax]", 3, IN32 | IN64, { 0x0f, 0x01, 0x38 } },
	{ "INVLPG [rip+d]", 7, IN32 | IN64, { 0x0f, 0x01, 0x3d, 1, 2, 3, 4 } },
	{ "INVLPG [d16]", 5, IN16, { 0x0f, 0x01, 0x3e, 1, 2 } },
	{ "INVLPGA", 3, ALL, { 0x0f, 0x01, 0xdf } },
	{ "INVPCID", 5, ALL, { 0x66, 0x0f, 0x38, 0x82, 0x07 } },
	{ "MOV CR3, RAX", 3, ALL, { 0x0f, 0x22, 0xd8 } },
	{ "MOV CR8, RAX", 4, IN64, { 0x44, 0x0f, 0x22, 0xc0 } },
	{ "MOV RAX, CR0 with mod 0", 3, ALL, { 0x0f, 0x20, 0x04 } },
	{ "MOV DR7, RAX", 3, ALL, { 0x0f, 0x23, 0xf8 } },
	{ "LMSW AX", 3, ALL, { 0x0f, 0x01, 0xf0 } },
	{ "SMSW [ESP+d8]", 5, IN32 | IN64, { 0x0f, 0x01, 0x64, 0x24, 8 } },
	{ "CLTS", 2, ALL, { 0x0f, 0x06 } },
	{ "IN AL, imm8", 2, ALL, { 0xe4, 0x60 } },
	{ "IN EAX, DX", 2, ALL, { 0x66, 0xed } },
	{ "OUT imm8, EAX", 2, ALL, { 0xe7, 0x80 } },
	{ "OUT DX, AL", 1, ALL, { 0xee } },
	{ "REP INSB", 2, ALL, { 0xf3, 0x6c } },
	{ "REP OUTSD addr32", 4, ALL, { 0xf3, 0x67, 0x66, 0x6f } },
	{ "VMMCALL", 3, ALL, { 0x0f, 0x01, 0xd9 } },
	{ "VMCALL", 3, ALL, { 0x0f, 0x01, 0xc1 } },
	{ "VMRUN", 3, ALL, { 0x0f, 0x01, 0xd8 } },
	{ "VMLOAD", 3, ALL, { 0x0f, 0x01, 0xda } },
	{ "VMSAVE", 3, ALL, { 0x0f, 0x01, 0xdb } },
	{ "STGI", 3, ALL, { 0x0f, 0x01, 0xdc } },
	{ "CLGI", 3, ALL, { 0x0f, 0x01, 0xdd } },
	{ "SKINIT", 3, ALL, { 0x0f, 0x01, 0xde } },
	{ "XSETBV", 3, ALL, { 0x0f, 0x01, 0xd1 } },
	{ "MONITOR", 3, ALL, { 0x0f, 0x01, 0xc8 } },
	{ "MWAIT", 3, ALL, { 0x0f, 0x01, 0xc9 } },
	{ "MONITORX", 3, ALL, { 0x0f, 0x01, 0xfa } },
	{ "RDPRU", 3, ALL, { 0x0f, 0x01, 0xfd } },
	{ "PAUSE", 2, ALL, { 0xf3, 0x90 } },
	{ "LGDT [RAX]", 3, IN32 | IN64, { 0x0f, 0x01, 0x10 } },
	{ "LIDT [BX+d16]", 5, IN16, { 0x0f, 0x01, 0x9f, 1, 2 } },
	{ "SGDT [RAX+d8]", 4, ALL, { 0x0f, 0x01, 0x40, 8 } },
	{ "LLDT AX", 3, ALL, { 0x0f, 0x00, 0xd0 } },
	{ "LTR AX", 3, ALL, { 0x0f, 0x00, 0xd8 } },
	{ "INT 0x80", 2, ALL, { 0xcd, 0x80 } },
	{ "INT3", 1, ALL, { 0xcc } },
	{ "INT1", 1, ALL, { 0xf1 } },
	{ "INTO", 1, LEGACY, { 0xce } },
	{ "IRET", 1, ALL, { 0xcf } },
	{ "IRETQ", 2, IN64, { 0x48, 0xcf } },
	{ "PUSHF", 1, ALL, { 0x9c } },
	{ "POPF", 2, ALL, { 0x66, 0x9d } },
	{ "RSM", 2, ALL, { 0x0f, 0xaa } },
	{ "CALL far", 7, IN32, { 0x9a, 1, 2, 3, 4, 5, 6 } },
	{ "JMP far", 5, IN16, { 0xea, 1, 2, 3, 4 } },
	{ "JMP far, 32-bit offset", 8, IN16, { 0x66, 0xea, 1, 2, 3, 4, 5, 6 } },
	{ "JMP far [RAX]", 3, IN64, { 0x48, 0xff, 0x28 } },
	{ "RET far imm16", 3, ALL, { 0xca, 4, 0 } },
	{ "ENTER", 4, ALL, { 0xc8, 1, 2, 3 } },
	{ "MOV r64, imm64", 10, IN64, { 0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8 } },
	{ "MOV AL, moffs64", 9, IN64, { 0xa0, 1, 2, 3, 4, 5, 6, 7, 8 } },
	{ "MOV AL, moffs32", 6, IN64, { 0x67, 0xa0, 1, 2, 3, 4 } },
	{ "MOV AL, moffs16", 3, IN16, { 0xa0, 1, 2 } },
	{ "TEST EAX-form of group 3", 6, IN32 | IN64, { 0xf7, 0xc8, 1, 2, 3, 4 } },
	{ "NOT of group 3", 2, ALL, { 0xf7, 0xd0 } },
	{ "EXTRQ", 6, ALL, { 0x66, 0x0f, 0x78, 0xc0, 1, 2 } },
	{ "3DNow!", 4, ALL, { 0x0f, 0x0f, 0xc0, 0x9e } },
	{ "VZEROUPPER", 3, ALL, { 0xc5, 0xf8, 0x77 } },
	{ "VPBLENDVB", 6, ALL, { 0xc4, 0xe3, 0x79, 0x4c, 0xc1, 0x20 } },
	{ "LDS [d32]", 6, IN32, { 0xc5, 0x05, 1, 2, 3, 4 } },
	{ "EVEX VMOVDQU64", 6, IN64, { 0x62, 0xf1, 0xfe, 0x48, 0x6f, 0x00 } },
	{ "BOUND", 2, LEGACY, { 0x62, 0x07 } },
	{ "XOP VPROTB", 6, ALL, { 0x8f, 0xe8, 0x78, 0xc0, 0xc1, 4 } },
	{ "XOP BEXTR imm32", 9, ALL, { 0x8f, 0xea, 0x78, 0x10, 0xc1, 1, 2, 3, 4 } },
	{ "fourteen prefixes", 15, ALL, { 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
					  0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0xf4 } },
};

static void test_lengths(void)
{
	struct emul_insn insn;
	unsigned int i, mode, cut;

	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		const struct length_case *c = &lengths[i];

		for (mode = EMUL_MODE_16; mode <= EMUL_MODE_64; mode++) {
			int length;

			if (!(c->modes & BIT(mode)))
				continue;
			length = emul_decode(&insn, c->bytes, sizeof(c->bytes), mode);
			if (length != c->length)
				printf("# %s in mode %u: %d\n", c->name, mode, length);
			CHECK(length == c->length);
			for (cut = 0; cut < c->length; cut++)
				CHECK(emul_decode(&insn, c->bytes, cut, mode) == EMUL_DECODE_MORE);
		}
	}
}

/* In 64-bit code. */
static bool is_invalid(const u8 *bytes, unsigned int length)
{
	struct emul_insn insn;

	return emul_decode(&insn, bytes, length, EMUL_MODE_64) == EMUL_DECODE_INVALID;
}

static void test_bad_code(void)
{
	static const u8 prefixes[15] = { 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
					 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66 };
	static const u8 not_in_64[] = { 0x06, 0x0e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61,
					0x82, 0x9a, 0xce, 0xd4, 0xd5, 0xd6, 0xea };
	struct emul_insn insn;
	unsigned int i;

	CHECK(emul_decode(&insn, prefixes, 15, EMUL_MODE_64) == EMUL_DECODE_TOO_LONG);
	CHECK(emul_decode(&insn, prefixes, 14, EMUL_MODE_64) == EMUL_DECODE_MORE);
	CHECK(IS_INVALID(0x0f, 0x0a, 0, 0));
	CHECK(IS_INVALID(0x66, 0xc5, 0xf8, 0x77));
	CHECK(IS_INVALID(0x48, 0xc5, 0xf8, 0x77));
	for (i = 0; i < sizeof(not_in_64); i++) {
		u8 bytes[15] = { not_in_64[i] };

		CHECK(emul_decode(&insn, bytes, 15, EMUL_MODE_64) == EMUL_DECODE_INVALID);
		CHECK(emul_decode(&insn, bytes, 15, EMUL_MODE_32) > 0);
	}
}

static void test_control_registers(void)
{
	struct emul_insn insn;

	start(EMUL_MODE_64);
	insn = DECODE(0x0f, 0x22, 0xdf);
	CHECK(emul_reg(&insn) == 3 && emul_rm(&insn) == EMUL_RDI && insn.op_bytes == 8);
	insn = DECODE(0x45, 0x0f, 0x20, 0x04);
	CHECK(emul_reg(&insn) == 8 && emul_rm(&insn) == EMUL_R12 && !emul_is_mem(&insn));
	CHECK(machine_run(&m, &insn) == EMUL_UNHANDLED);

	start(EMUL_MODE_32);
	insn = DECODE(0xf0, 0x0f, 0x20, 0xc1);
	CHECK(emul_reg(&insn) == 8 && emul_rm(&insn) == EMUL_RCX);
}

static void test_helpers(void)
{
	struct emul_insn insn;
	u64 value;

	start(EMUL_MODE_64);
	m.segments[EMUL_GS].base = 0x5000;
	insn = DECODE(0x65, 0x0f, 0x01, 0x7c, 0x8b, 0x10);	/* INVLPG GS:[RBX+RCX*4+16] */
	m.regs.gpr[EMUL_RCX] = 3;
	CHECK(emul_linear(&m.ctxt, &insn) == 0x5000 + BASE + 12 + 16);

	insn = DECODE(0x0f, 0x01, 0x33);				/* LMSW [RBX] */
	set_memory(0, 0x12345678, 4);
	CHECK(emul_read_rm(&m.ctxt, &insn, 2, &value) == EMUL_DONE && value == 0x5678);
	insn = DECODE(0x0f, 0x01, 0xf1);				/* LMSW CX */
	CHECK(emul_read_rm(&m.ctxt, &insn, 2, &value) == EMUL_DONE && value == 3);
	insn = DECODE(0x0f, 0x01, 0xe2);				/* SMSW EDX */
	m.regs.gpr[EMUL_RDX] = ~0ull;
	CHECK(emul_write_rm(&m.ctxt, &insn, 4, 0x80000011) == EMUL_DONE);
	CHECK(m.regs.gpr[EMUL_RDX] == 0x80000011);
	CHECK(emul_next_rip(&m.ctxt, &insn) == 0x1003);

	start(EMUL_MODE_16);
	m.regs.rip = 0xfffe;
	insn = DECODE(0x0f, 0x01, 0xe2);
	CHECK(emul_next_rip(&m.ctxt, &insn) == 1);
}

static void test_mmio_read(void)
{
	struct emul_insn insn;

	start(EMUL_MODE_64);
	m.mmio = 1;
	set_memory(0, 0x1122334455667788, 8);
	m.regs.rflags |= FLAG_RF | FLAG_TF;
	insn = DECODE(0x8b, 0x03);				/* MOV EAX, [RBX] */
	CHECK(machine_execute(&m, &insn) == EMUL_EXIT);
	CHECK(!m.regs.gpr[EMUL_RAX] && m.regs.rip == 0x1000 && !m.ctxt.retired);
	machine_complete(&m);
	CHECK(machine_execute(&m, &insn) == EMUL_DONE);
	CHECK(m.regs.gpr[EMUL_RAX] == 0x55667788 && m.regs.rip == 0x1002);
	CHECK(m.mmio_accesses == 1 && m.ctxt.retired == 1 && m.ctxt.single_step);
	CHECK(!(m.regs.rflags & FLAG_RF));
}

static void test_mmio_modify(void)
{
	struct emul_insn insn;

	start(EMUL_MODE_64);
	m.mmio = 1;
	set_memory(0, 40, 4);
	insn = DECODE(0x83, 0x03, 0x02);				/* ADD dword [RBX], 2 */
	CHECK(machine_execute(&m, &insn) == EMUL_EXIT && m.pending == 0);
	machine_complete(&m);
	CHECK(machine_execute(&m, &insn) == EMUL_EXIT && m.pending == 1);
	CHECK(memory_at(0, 4) == 40 && m.regs.rip == 0x1000);
	machine_complete(&m);
	CHECK(machine_execute(&m, &insn) == EMUL_DONE);
	CHECK(memory_at(0, 4) == 42 && m.mmio_accesses == 2);
}

/* The device changes between the two attempts: the first answer counts. */
static void test_replay_is_stable(void)
{
	struct emul_insn insn;

	start(EMUL_MODE_64);
	m.exit_mask = 2;
	set_memory(0, 1, 4);
	insn = DECODE(0xff, 0x03);				/* INC dword [RBX] */
	CHECK(machine_execute(&m, &insn) == EMUL_EXIT);
	set_memory(0, 100, 4);
	machine_complete(&m);
	CHECK(machine_execute(&m, &insn) == EMUL_DONE);
	CHECK(memory_at(0, 4) == 2);
}

static void test_page_crossing(void)
{
	start(EMUL_MODE_64);
	m.mmio = 2;
	m.regs.gpr[EMUL_RBX] = BASE + MACHINE_PAGE - 2;
	m.regs.gpr[EMUL_RAX] = 0x11223344;
	CHECK(RUN(0x89, 0x03) == EMUL_DONE);			/* MOV [RBX], EAX */
	CHECK(memory_at(MACHINE_PAGE - 2, 4) == 0x11223344 && m.mmio_accesses == 1);

	m.regs.gpr[EMUL_RBX] = BASE + MACHINE_BYTES - 2;
	CHECK(RUN(0x89, 0x03) == EMUL_FAULT);
	CHECK(m.fault_address == BASE + MACHINE_BYTES && m.fault_write);
	CHECK(memory_at(MACHINE_BYTES - 2, 2) == 0);
}

/* A read-modify-write of a read-only page faults at once, as a write. */
static void test_modify_faults_as_write(void)
{
	start(EMUL_MODE_64);
	m.readonly = 1;
	m.mmio = 1;
	CHECK(RUN(0xff, 0x03) == EMUL_FAULT && m.fault_write);
	CHECK(!m.mmio_accesses);
	CHECK(RUN(0x39, 0x03) == EMUL_DONE);			/* CMP only reads */
}

static void test_string_mmio(void)
{
	u64 *gpr = m.regs.gpr;

	start(EMUL_MODE_64);
	m.mmio = 3;
	gpr[EMUL_RCX] = 3;
	gpr[EMUL_RSI] = BASE;
	gpr[EMUL_RDI] = BASE + MACHINE_PAGE;
	set_memory(0, 0xaabbccddeeff, 6);
	CHECK(ONCE(0xf3, 0x66, 0xa5) == EMUL_EXIT);		/* REP MOVSW */
	CHECK(gpr[EMUL_RCX] == 3);
	CHECK(RUN(0xf3, 0x66, 0xa5) == EMUL_DONE);
	CHECK(!gpr[EMUL_RCX] && gpr[EMUL_RSI] == BASE + 6 && m.regs.rip == 0x1003);
	CHECK(memory_at(MACHINE_PAGE, 6) == 0xaabbccddeeff && m.mmio_accesses == 6);
}

static void test_rep_limit(void)
{
	u64 *gpr = m.regs.gpr;

	start(EMUL_MODE_64);
	m.ctxt.rep_limit = 4;
	gpr[EMUL_RCX] = 10;
	gpr[EMUL_RDI] = BASE;
	gpr[EMUL_RAX] = 0x5a;
	CHECK(ONCE(0xf3, 0xaa) == EMUL_AGAIN);			/* REP STOSB */
	CHECK(gpr[EMUL_RCX] == 6 && gpr[EMUL_RDI] == BASE + 4 && m.regs.rip == 0x1000);
	CHECK(m.ctxt.retired == 4);
	CHECK(ONCE(0xf3, 0xaa) == EMUL_AGAIN);
	CHECK(ONCE(0xf3, 0xaa) == EMUL_DONE);
	CHECK(!gpr[EMUL_RCX] && m.regs.rip == 0x1002 && m.memory[9] == 0x5a && !m.memory[10]);
	CHECK(ONCE(0xf3, 0xaa) == EMUL_DONE && m.regs.rip == 0x1004);
	CHECK(gpr[EMUL_RDI] == BASE + 10);
}

/* Iterations before the fault stay done. */
static void test_rep_fault(void)
{
	u64 *gpr = m.regs.gpr;

	start(EMUL_MODE_64);
	gpr[EMUL_RCX] = 8;
	gpr[EMUL_RDI] = BASE + MACHINE_BYTES - 12;
	gpr[EMUL_RAX] = ~0ull;
	CHECK(ONCE(0xf3, 0xab) == EMUL_FAULT);			/* REP STOSD */
	CHECK(gpr[EMUL_RCX] == 5 && gpr[EMUL_RDI] == BASE + MACHINE_BYTES);
	CHECK(m.regs.rip == 0x1000 && m.fault_address == BASE + MACHINE_BYTES);
}

static void test_rep_compare(void)
{
	u64 *gpr = m.regs.gpr;

	start(EMUL_MODE_64);
	memcpy(m.memory, "hello", 6);
	gpr[EMUL_RCX] = 100;
	gpr[EMUL_RDI] = BASE;
	CHECK(RUN(0xf2, 0xae) == EMUL_DONE);			/* REPNE SCASB */
	CHECK(gpr[EMUL_RCX] == 94 && gpr[EMUL_RDI] == BASE + 6 && m.regs.rflags & FLAG_ZF);
}

static void fill_ports(void)
{
	unsigned int i;

	for (i = 0; i < sizeof(m.ports); i++)
		m.ports[i] = 7 * i + 1;
}

static void test_port(void)
{
	start(EMUL_MODE_32);
	fill_ports();
	m.exit_mask = 1;
	m.regs.gpr[EMUL_RAX] = 0x12345678;
	CHECK(ONCE(0xe4, 0x60) == EMUL_EXIT);			/* IN AL, 0x60 */
	CHECK(RUN(0xe4, 0x60) == EMUL_DONE);
	CHECK(m.regs.gpr[EMUL_RAX] == 0x12345601 && m.last_port.port == 0x60);
	m.port_count = 0;
	m.regs.gpr[EMUL_RDX] = 0x1234cf8;
	CHECK(RUN(0xef) == EMUL_DONE);				/* OUT DX, EAX */
	CHECK(m.last_port.port == 0x4cf8 && m.last_port.size == 4 && m.last_port.count == 1);
	CHECK(!memcmp(m.ports, &(u32){ 0x12345601 }, 4));

	start(EMUL_MODE_64);
	CHECK(RUN(0x48, 0xef) == EMUL_DONE && m.last_port.size == 4);
}

static void test_ins_batch(void)
{
	u64 *gpr = m.regs.gpr;

	start(EMUL_MODE_64);
	fill_ports();
	m.exit_mask = 1;
	gpr[EMUL_RDX] = 0x1f0;
	gpr[EMUL_RCX] = 300;
	gpr[EMUL_RDI] = BASE + MACHINE_PAGE - 512;
	CHECK(ONCE(0xf3, 0x66, 0x6d) == EMUL_EXIT);		/* REP INSW */
	CHECK(gpr[EMUL_RCX] == 300 && !m.port_count);
	machine_complete(&m);
	CHECK(ONCE(0xf3, 0x66, 0x6d) == EMUL_EXIT);
	CHECK(m.last_port.count == 256 && m.last_port.size == 2 && m.last_port.port == 0x1f0);
	CHECK(gpr[EMUL_RCX] == 44 && gpr[EMUL_RDI] == BASE + MACHINE_PAGE);
	CHECK(RUN(0xf3, 0x66, 0x6d) == EMUL_DONE);
	CHECK(m.last_port.count == 44 && !gpr[EMUL_RCX]);
	CHECK(!memcmp(m.memory + MACHINE_PAGE - 512, m.ports, 600));
}

static void test_outs_batch(void)
{
	u64 *gpr = m.regs.gpr;
	unsigned int i;

	start(EMUL_MODE_64);
	for (i = 0; i < 64; i++)
		m.memory[i] = 3 * i + 5;
	gpr[EMUL_RDX] = 0x3f8;
	gpr[EMUL_RSI] = BASE;
	gpr[EMUL_RCX] = 64;
	m.ctxt.io_buf_size = 48;
	CHECK(RUN(0xf3, 0x6e) == EMUL_DONE);			/* REP OUTSB */
	CHECK(m.last_port.count == 16 && m.port_count == 64 && !memcmp(m.ports, m.memory, 64));

	/* Backwards they go one by one. */
	gpr[EMUL_RCX] = 2;
	gpr[EMUL_RSI] = BASE + 1;
	m.regs.rflags |= FLAG_DF;
	m.port_count = 0;
	CHECK(RUN(0xf3, 0x6e) == EMUL_DONE);
	CHECK(m.last_port.count == 1 && m.ports[0] == m.memory[1] && m.ports[1] == m.memory[0]);
	CHECK(gpr[EMUL_RSI] == BASE - 1);
}

/* Input is not taken from the port if memory cannot take it. */
static void test_ins_fault(void)
{
	start(EMUL_MODE_64);
	m.readonly = 1;
	m.regs.gpr[EMUL_RDI] = BASE;
	CHECK(RUN(0x6c) == EMUL_FAULT && m.fault_write && !m.port_count);
}

/* DI wraps at 64 KiB, and a batch stops there. */
static void test_ins_wrap_16(void)
{
	start(EMUL_MODE_16);
	m.segments[EMUL_ES].base = BASE - 0xfff0;
	m.regs.gpr[EMUL_RDI] = 0xabcdfff0;
	m.regs.gpr[EMUL_RCX] = 0x20;
	m.regs.gpr[EMUL_RDX] = 0x60;
	fill_ports();
	CHECK(RUN(0xf3, 0x6c) == EMUL_FAULT);			/* element 16 lies below BASE */
	CHECK((m.regs.gpr[EMUL_RCX] & 0xffff) == 0x10 && m.port_count == 16);
	CHECK(m.regs.gpr[EMUL_RDI] == 0xabcd0000);
	CHECK(!memcmp(m.memory, m.ports, 16));
}

static void test_canonical(void)
{
	start(EMUL_MODE_64);
	m.regs.gpr[EMUL_RBX] = 0x800000000000;
	CHECK(raised(RUN(0x8b, 0x03), VECTOR_GP, true));
	m.regs.gpr[EMUL_RBP] = 0x800000000000;
	CHECK(raised(RUN(0x8b, 0x45, 0x00), VECTOR_SS, true));
	m.regs.gpr[EMUL_RBX] = 0x7ffffffffffe;
	CHECK(raised(RUN(0x8b, 0x03), VECTOR_GP, true));
	/* With five-level paging it is only not mapped. */
	m.ctxt.cr4 |= 1 << 12;
	CHECK(RUN(0x8b, 0x03) == EMUL_FAULT);
}

static void test_segment_limits(void)
{
	start(EMUL_MODE_32);
	m.segments[EMUL_DS].limit = BASE + 7;
	m.regs.gpr[EMUL_RBX] = BASE + 4;
	CHECK(RUN(0x8b, 0x03) == EMUL_DONE);
	m.regs.gpr[EMUL_RBX] = BASE + 5;
	CHECK(raised(RUN(0x8b, 0x03), VECTOR_GP, true));
	CHECK(RUN(0x26, 0x8b, 0x03) == EMUL_DONE);		/* ES */
	m.segments[EMUL_SS].limit = BASE;
	CHECK(raised(RUN(0x8b, 0x04, 0x24), VECTOR_SS, true));
	CHECK(raised(RUN(0x50), VECTOR_SS, true));
}

static void test_segment_types(void)
{
	start(EMUL_MODE_32);
	m.segments[EMUL_DS].type = 1;					/* read-only */
	CHECK(RUN(0x8b, 0x03) == EMUL_DONE);
	CHECK(raised(RUN(0x89, 0x03), VECTOR_GP, true));
	CHECK(raised(RUN(0x2e, 0x89, 0x03), VECTOR_GP, true));	/* CS */
	CHECK(RUN(0x2e, 0x8b, 0x03) == EMUL_DONE);
	m.segments[EMUL_CS].type = 9;					/* execute-only */
	CHECK(raised(RUN(0x2e, 0x8b, 0x03), VECTOR_GP, true));
	m.segments[EMUL_DS].unusable = 1;
	CHECK(raised(RUN(0x8b, 0x03), VECTOR_GP, true));

	m.segments[EMUL_ES].type = 7;					/* expand-down */
	m.segments[EMUL_ES].limit = BASE;
	CHECK(raised(RUN(0x26, 0x8b, 0x03), VECTOR_GP, true));
	m.regs.gpr[EMUL_RBX]++;
	CHECK(RUN(0x26, 0x8b, 0x03) == EMUL_DONE);
}

static void test_real_mode_addresses(void)
{
	u64 *gpr = m.regs.gpr;

	start(EMUL_MODE_16);
	gpr[EMUL_RBX] = 0xffff0100;
	gpr[EMUL_RSI] = 0x20;
	gpr[EMUL_RBP] = 0x200;
	m.segments[EMUL_SS].base = BASE + MACHINE_PAGE;
	set_memory(0x123, 0xbeef, 2);
	set_memory(MACHINE_PAGE + 0x220, 0xcafe, 2);
	CHECK(RUN(0x8b, 0x40, 0x03) == EMUL_DONE);		/* MOV AX, [BX+SI+3] */
	CHECK(gpr[EMUL_RAX] == 0xbeef);
	CHECK(RUN(0x8b, 0x0a) == EMUL_DONE);			/* MOV CX, [BP+SI] */
	CHECK(gpr[EMUL_RCX] == 0xcafe);
	CHECK(RUN(0x3e, 0x8b, 0x8e, 0x23, 0xff) == EMUL_DONE);	/* MOV CX, DS:[BP-0xdd] */
	CHECK(gpr[EMUL_RCX] == 0xbeef);
	CHECK(RUN(0x67, 0x8b, 0x0d, 0x23, 0x01, 0, 0) == EMUL_DONE);
	CHECK(gpr[EMUL_RCX] == 0xbeef && m.regs.rip == 0x1000 + 3 + 2 + 5 + 7);
	CHECK(raised(RUN(0x8b, 0x0e, 0xff, 0xff), VECTOR_GP, true));
	CHECK(RUN(0xa1, 0x23, 0x01) == EMUL_DONE && gpr[EMUL_RAX] == 0xbeef);
}

static void test_stack_16(void)
{
	u64 *gpr = m.regs.gpr;

	start(EMUL_MODE_16);
	gpr[EMUL_RSP] = 0x55550002;
	gpr[EMUL_RAX] = 0x12345678;
	CHECK(RUN(0x50) == EMUL_DONE);				/* PUSH AX */
	CHECK(gpr[EMUL_RSP] == 0x55550000 && memory_at(0, 2) == 0x5678);
	CHECK(RUN(0x8f, 0x06, 0x10, 0x00) == EMUL_DONE);		/* POP word [0x10] */
	CHECK(gpr[EMUL_RSP] == 0x55550002 && memory_at(0x10, 2) == 0x5678);
	gpr[EMUL_RSP] = 0x55550000;
	CHECK(RUN(0x50) == EMUL_FAULT);				/* SP wraps to 0xfffe */
	CHECK(m.fault_address == BASE + 0xfffe && gpr[EMUL_RSP] == 0x55550000);
}

static void test_branches(void)
{
	start(EMUL_MODE_32);
	set_memory(0, 0x4444, 4);
	m.segments[EMUL_CS].limit = 0x5000;
	CHECK(RUN(0xff, 0x13) == EMUL_DONE);			/* CALL [EBX] */
	CHECK(m.regs.rip == 0x4444 && memory_at(0x7fc, 4) == 0x1002);
	CHECK(m.regs.gpr[EMUL_RSP] == BASE + 0x7fc);
	set_memory(0, 0x5001, 4);
	CHECK(raised(RUN(0xff, 0x23), VECTOR_GP, true));		/* JMP [EBX] */
	CHECK(m.regs.rip == 0x4444);
	CHECK(RUN(0xff, 0x1b) == EMUL_UNHANDLED);			/* CALL far */
}

static void test_lock(void)
{
	u64 *gpr = m.regs.gpr;

	start(EMUL_MODE_64);
	CHECK(raised(RUN(0xf0, 0x01, 0xc0), VECTOR_UD, false));	/* a register */
	CHECK(raised(RUN(0xf0, 0x39, 0x03), VECTOR_UD, false));	/* CMP */
	CHECK(raised(RUN(0xf0, 0x8b, 0x03), VECTOR_UD, false));	/* MOV */
	gpr[EMUL_RAX] = 5;
	m.contended = 1;
	CHECK(ONCE(0xf0, 0x01, 0x03) == EMUL_AGAIN);
	CHECK(!memory_at(0, 4) && m.regs.rip == 0x1000);
	CHECK(ONCE(0xf0, 0x01, 0x03) == EMUL_DONE && memory_at(0, 4) == 5);
	m.contended = 1;
	gpr[EMUL_RAX] = 6;
	CHECK(ONCE(0x87, 0x03) == EMUL_AGAIN && gpr[EMUL_RAX] == 6);
	CHECK(ONCE(0x87, 0x03) == EMUL_DONE && gpr[EMUL_RAX] == 5 && memory_at(0, 4) == 6);
	gpr[EMUL_RBX] += 8;
	CHECK(raised(RUN(0xf0, 0x48, 0x0f, 0xc7, 0x0b), VECTOR_GP, true));
}

static void test_divide(void)
{
	start(EMUL_MODE_64);
	CHECK(raised(RUN(0xf7, 0x33), VECTOR_DE, false));		/* DIV dword [RBX], 0 */
	set_memory(0, ~0ull, 8);
	m.regs.gpr[EMUL_RAX] = 0x8000000000000000;
	m.regs.gpr[EMUL_RDX] = ~0ull;
	CHECK(raised(RUN(0x48, 0xf7, 0x3b), VECTOR_DE, false));	/* IDIV by -1 overflows */
	m.regs.gpr[EMUL_RAX]++;
	CHECK(RUN(0x48, 0xf7, 0x3b) == EMUL_DONE);
	CHECK(m.regs.gpr[EMUL_RAX] == 0x7fffffffffffffff && !m.regs.gpr[EMUL_RDX]);
}

static void test_vector_enabled(void)
{
	start(EMUL_MODE_64);
	CHECK(RUN(0x0f, 0x10, 0x03) == EMUL_DONE);		/* MOVUPS */
	m.ctxt.cr0 |= 8;
	CHECK(raised(RUN(0x0f, 0x10, 0x03), VECTOR_NM, false));
	CHECK(raised(RUN(0xc5, 0xf8, 0x10, 0x03), VECTOR_NM, false));
	m.ctxt.cr0 |= 4;
	CHECK(raised(RUN(0x0f, 0x10, 0x03), VECTOR_UD, false));
	m.ctxt.cr0 &= ~12ull;
	m.ctxt.cr4 &= ~(1ull << 9);
	CHECK(raised(RUN(0x0f, 0x10, 0x03), VECTOR_UD, false));
	CHECK(RUN(0xc5, 0xf8, 0x10, 0x03) == EMUL_DONE);
	m.ctxt.xcr0 = 3;
	CHECK(raised(RUN(0xc5, 0xf8, 0x10, 0x03), VECTOR_UD, false));

	start(EMUL_MODE_16);
	CHECK(raised(RUN(0xc5, 0xf8, 0x10, 0x07), VECTOR_UD, false));
}

static void test_vector_mmio(void)
{
	unsigned int i;

	start(EMUL_MODE_64);
	m.mmio = 3;
	for (i = 0; i < 32; i++)
		m.memory[MACHINE_PAGE - 16 + i] = i + 1;
	memset(m.vec[9], 0xee, 32);
	m.regs.gpr[EMUL_RBX] = BASE + MACHINE_PAGE - 16;
	CHECK(ONCE(0xc5, 0x7e, 0x6f, 0x0b) == EMUL_EXIT);		/* VMOVDQU YMM9, [RBX] */
	CHECK(m.vec[9][0] == 0xee);
	CHECK(RUN(0xc5, 0x7e, 0x6f, 0x0b) == EMUL_DONE);
	CHECK(m.vec[9][0] == 1 && m.vec[9][31] == 32);
	CHECK(raised(RUN(0xc5, 0x7d, 0x6f, 0x0b), VECTOR_GP, true));
	CHECK(RUN(0x66, 0x44, 0x0f, 0x6f, 0x0b) == EMUL_DONE);	/* MOVDQA keeps the rest */
	CHECK(m.vec[9][16] == 17);
	CHECK(RUN(0xc5, 0x79, 0x6f, 0x0b) == EMUL_DONE);		/* VMOVDQA clears it */
	CHECK(m.vec[9][15] == 16 && !m.vec[9][16]);
}

static void test_no_ops(void)
{
	start(EMUL_MODE_64);
	m.mmio = 1;
	CHECK(RUN(0x0f, 0x18, 0x0b) == EMUL_DONE);		/* PREFETCHT0 */
	CHECK(RUN(0x0f, 0xae, 0x3b) == EMUL_DONE);		/* CLFLUSH */
	CHECK(RUN(0x0f, 0x1f, 0x03) == EMUL_DONE);		/* NOP */
	CHECK(!m.mmio_accesses && m.regs.rip == 0x1009);
	CHECK(raised(RUN(0x0f, 0x01, 0x3b), VECTOR_GP, true));	/* INVLPG */
	m.ctxt.cpl = 0;
	CHECK(RUN(0x0f, 0x01, 0x3b) == EMUL_DONE);
	CHECK(RUN(0x0f, 0xae, 0x03) == EMUL_UNHANDLED);		/* FXSAVE */
}

static void test_fetch(void)
{
	static const u8 code[] = { 0x48, 0xc7, 0x03, 1, 2, 3, 4 };	/* MOV [RBX], imm32 */
	struct emul_insn insn;

	start(EMUL_MODE_64);
	memcpy(m.memory + MACHINE_PAGE - 3, code, sizeof(code));
	m.regs.rip = BASE + MACHINE_PAGE - 3;
	CHECK(emul_fetch(&m.ctxt, &insn) == EMUL_DONE && insn.length == 7);
	CHECK(!memcmp(insn.bytes, code, 7));

	/* The last page ends where the instruction does. */
	memcpy(m.memory + MACHINE_BYTES - 7, code, sizeof(code));
	m.regs.rip = BASE + MACHINE_BYTES - 7;
	CHECK(emul_fetch(&m.ctxt, &insn) == EMUL_DONE);
	memcpy(m.memory + MACHINE_BYTES - 6, code, 6);
	m.regs.rip++;
	CHECK(emul_fetch(&m.ctxt, &insn) == EMUL_FAULT);
	CHECK(m.fault_address == BASE + MACHINE_BYTES);

	memset(m.memory, 0x66, 20);
	m.regs.rip = BASE;
	CHECK(raised(emul_fetch(&m.ctxt, &insn), VECTOR_GP, true));
	m.memory[0] = 0x06;
	CHECK(raised(emul_fetch(&m.ctxt, &insn), VECTOR_UD, false));
	m.regs.rip = 0x800000000000;
	CHECK(raised(emul_fetch(&m.ctxt, &insn), VECTOR_GP, true));

	start(EMUL_MODE_16);
	m.segments[EMUL_CS].limit = 0x101;
	memcpy(m.memory + 0x100, code + 1, 6);
	m.regs.rip = 0x100;
	CHECK(raised(emul_fetch(&m.ctxt, &insn), VECTOR_GP, true));
	m.segments[EMUL_CS].limit = 0x103;
	CHECK(emul_fetch(&m.ctxt, &insn) == EMUL_DONE && insn.length == 4);
}

static void test_prefixes(void)
{
	struct emul_insn insn;

	start(EMUL_MODE_64);
	insn = DECODE(0x64, 0x3e, 0x8b, 0x03);
	CHECK(insn.segment == EMUL_FS);
	insn = DECODE(0x48, 0x66, 0x8b, 0x03);
	CHECK(!insn.rex && insn.op_bytes == 2);
	insn = DECODE(0x66, 0x48, 0x8b, 0x03);
	CHECK(insn.op_bytes == 8);
	insn = DECODE(0x41, 0x8b, 0x44, 0x24, 0x08);		/* [R12+8] */
	CHECK(insn.segment == EMUL_DS);
	insn = DECODE(0x8b, 0x44, 0x24, 0x08);			/* [RSP+8] */
	CHECK(insn.segment == EMUL_SS);
}

/* One access to memory that is everywhere: loads give @moved_value. */
static struct emul_access moved;
static u64 moved_value;
static unsigned int moves;

static int move_read(void *opaque, const struct emul_access *access, void *buf)
{
	(void)opaque;
	moved = *access;
	moves++;
	memcpy(buf, &moved_value, access->size);
	return EMUL_DONE;
}

static int move_write(void *opaque, const struct emul_access *access, const void *buf)
{
	(void)opaque;
	moved = *access;
	moves++;
	moved_value = 0;
	memcpy(&moved_value, buf, access->size);
	return EMUL_DONE;
}

/* What emul_is_move() says of @bytes is what emul_execute() does; true if it is a move. */
static bool move_is_right(const u8 *bytes)
{
	static const struct emul_ops ops = { .read = move_read, .write = move_write };
	const u64 load = 0x8182838485868788;
	struct emul_move move;
	struct emul_insn insn;
	struct emul_regs regs;
	unsigned int i;

	start(EMUL_MODE_64);
	m.ctxt.ops = &ops;
	for (i = 0; i < EMUL_NR_GPR; i++)
		m.regs.gpr[i] = 0x1122334400 + 0x01010203 * i;
	regs = m.regs;
	if (emul_decode(&insn, bytes, EMUL_MAX_INSN_BYTES, EMUL_MODE_64) <= 0 ||
	    !emul_is_move(&insn, &regs, &move))
		return false;
	moves = 0;
	moved_value = load;
	if (emul_execute(&m.ctxt, &insn) == EMUL_EXCEPTION) {
		/* The CPU would have raised it, too. */
		CHECK(!moves && !emul_is_canonical(&m.ctxt, move.linear));
		return true;
	}
	CHECK(moves == 1);
	CHECK(moved.linear == move.linear && moved.size == move.size);
	CHECK(move.write == !!(moved.flags & EMUL_ACCESS_WRITE));
	if (move.write)
		CHECK(move.value == moved_value);
	else
		emul_finish_load(&insn, &regs, load & size_mask(move.size));
	regs.rip += insn.length;
	CHECK(!memcmp(&regs, &m.regs, sizeof(regs)));
	return true;
}

/* All forms of an address, with each REX and without, and of 16, 32 and 64 bits. */
static unsigned int count_moves(bool map_0f, u8 opcode)
{
	u8 bytes[EMUL_MAX_INSN_BYTES + 1];
	unsigned int modrm, sib, rex, prefix, n, count = 0;

	for (modrm = 0; modrm < 256; modrm++)
		for (sib = 0; sib < 256; sib += 5)
			for (rex = 0x3f; rex < 0x50; rex++)
				for (prefix = 0; prefix < 3; prefix++) {
					n = 0;
					memset(bytes, 0x91, sizeof(bytes));
					if (prefix)
						bytes[n++] = prefix == 1 ? 0x66 : 0x67;
					if (rex >= 0x40)
						bytes[n++] = rex;
					if (map_0f)
						bytes[n++] = 0x0f;
					bytes[n++] = opcode;
					bytes[n++] = modrm;
					bytes[n] = sib;
					count += move_is_right(bytes);
				}
	return count;
}

static void test_moves(void)
{
	const unsigned int each = 52 * 17 * 3;	/* SIBs, REX and none, prefixes */

	CHECK(count_moves(false, 0x88) == each * 192);
	CHECK(count_moves(false, 0x89) == each * 192);
	CHECK(count_moves(false, 0x8a) == each * 192);
	CHECK(count_moves(false, 0x8b) == each * 192);
	CHECK(count_moves(true, 0xb6) == each * 192);
	CHECK(count_moves(true, 0xb7) == each * 192);
	/* /0 only. */
	CHECK(count_moves(false, 0xc6) == each * 24);
	CHECK(count_moves(false, 0xc7) == each * 24);
	/* With the address in place of ModRM. */
	CHECK(count_moves(false, 0xa0) == each * 256);
	CHECK(count_moves(false, 0xa1) == each * 256);
	CHECK(count_moves(false, 0xa2) == each * 256);
	CHECK(count_moves(false, 0xa3) == each * 256);
	/* MOV to a register or from a segment, LEA, ADD, MOVSX, XCHG: not these. */
	CHECK(!count_moves(false, 0xb8) && !count_moves(false, 0x8c) &&
	      !count_moves(false, 0x8d) && !count_moves(false, 0x01) &&
	      !count_moves(true, 0xbe) && !count_moves(false, 0x87));

	CHECK(!move_is_right(BYTES(0x64, 0x8b, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)));
	CHECK(!move_is_right(BYTES(0x65, 0x8b, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)));
	CHECK(!move_is_right(BYTES(0xf0, 0x89, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)));
	CHECK(move_is_right(BYTES(0x3e, 0x8b, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)));
}

static const struct {
	const char *name;
	void (*function)(void);
} tests[] = {
	{ "length of what can be intercepted", test_lengths },
	{ "code that is no instruction", test_bad_code },
	{ "prefixes", test_prefixes },
	{ "control registers", test_control_registers },
	{ "helpers of the backends", test_helpers },
	{ "fetch", test_fetch },
	{ "MMIO read", test_mmio_read },
	{ "MMIO read-modify-write", test_mmio_modify },
	{ "replay keeps the first answer", test_replay_is_stable },
	{ "access across pages", test_page_crossing },
	{ "read-modify-write faults as a write", test_modify_faults_as_write },
	{ "REP MOVS between devices", test_string_mmio },
	{ "REP limit", test_rep_limit },
	{ "fault inside REP", test_rep_fault },
	{ "REPNE SCAS", test_rep_compare },
	{ "IN and OUT", test_port },
	{ "REP INS in batches", test_ins_batch },
	{ "REP OUTS in batches", test_outs_batch },
	{ "INS does not lose input", test_ins_fault },
	{ "INS at the end of a 16-bit segment", test_ins_wrap_16 },
	{ "canonical addresses", test_canonical },
	{ "segment limits", test_segment_limits },
	{ "segment types", test_segment_types },
	{ "real-mode addresses", test_real_mode_addresses },
	{ "16-bit stack", test_stack_16 },
	{ "branches through memory", test_branches },
	{ "LOCK", test_lock },
	{ "divide errors", test_divide },
	{ "vector state enabled", test_vector_enabled },
	{ "vector moves and MMIO", test_vector_mmio },
	{ "no-ops", test_no_ops },
	{ "moves that need no executor", test_moves },
};

int main(void)
{
	unsigned int i, failed = 0;

	printf("TAP version 13\n1..%zu\n", ARRAY_SIZE(tests));
	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		failures = 0;
		tests[i].function();
		printf("%sok %u %s\n", failures ? "not " : "", i + 1, tests[i].name);
		if (failures)
			printf("# line %u: %s\n", line_failed, expression);
		failed += !!failures;
	}
	return failed ? 1 : 0;
}
