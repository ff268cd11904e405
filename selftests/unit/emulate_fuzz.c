// SPDX-License-Identifier: GPL-2.0-only
/*
 * Compares the emulator with the real processor: random instructions run
 * through both, and registers, flags, vectors, memory and exceptions must
 * agree. Also compares the lengths of random bytes taken as instructions.
 *
 *   emulate_fuzz [--count N] [--seed S] [--lengths N]
 *
 * Prints TAP; a difference is printed with the bytes and the state.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include "kmod/emulate/internal.h"
#include "emulate_generate.h"
#include "emulate_native.h"

#define MAX_REPORTS	10
#define FLAGS_COMPARED	(FLAGS_STATUS | FLAG_DF)

struct options {
	u64 count;
	u64 seed;
	u64 lengths;
};

struct statistics {
	u64 run;
	u64 unhandled;
	u64 faults;
	u64 exceptions;
	u64 differences;
};

static struct statistics stats;

static void print_bytes(const u8 *bytes, unsigned int length)
{
	unsigned int i;

	printf("#");
	for (i = 0; i < length; i++)
		printf(" %02x", bytes[i]);
	printf("\n");
}

static void print_registers(const char *what, const struct machine *m)
{
	unsigned int i;

	printf("# %s\n", what);
	for (i = 0; i < EMUL_NR_GPR; i++)
		printf("%s r%-2u %016llx%s", i % 4 ? "" : "# ", i, m->regs.gpr[i],
		       i % 4 == 3 ? "\n" : "");
	printf("#  rip %llx rflags %llx\n", m->regs.rip, m->regs.rflags);
}

static unsigned int shift_count(const struct emul_insn *insn, const struct machine *before)
{
	unsigned int count = insn->attr & A_IMM ? insn->imm : before->regs.gpr[EMUL_RCX];

	if (insn->map == EMUL_MAP_1 && (insn->opcode & 0xfe) == 0xd0)
		count = 1;
	return count & (insn->op_bytes == 8 ? 63 : 31);
}

/* Flags that the manuals leave undefined, and processors fill in as they like. */
static u64 undefined_flags(const struct emul_insn *insn, const struct machine *before)
{
	unsigned int reg = modrm_reg(insn), count, bits = 8 * insn->op_bytes;
	u64 undefined = 0;

	switch (insn->op) {
	case OP_ALU:
		if (insn->attr & A_MODRM && (insn->attr & A_FORM) == A_RM_I)
			return reg == ALU_OR || reg == ALU_AND || reg == ALU_XOR ? FLAG_AF : 0;
		reg = insn->opcode >> 3;
		return reg == ALU_OR || reg == ALU_AND || reg == ALU_XOR ? FLAG_AF : 0;
	case OP_TEST:
		return FLAG_AF;
	case OP_SHIFT:
		count = shift_count(insn, before);
		if (count > 1)
			undefined |= FLAG_OF;
		if (reg >= 4)
			undefined |= FLAG_AF;
		if (reg >= 4 && count >= bits)
			undefined |= FLAG_CF;
		return undefined;
	case OP_SHIFT_DOUBLE:
		count = shift_count(insn, before);
		if (count > bits)
			return FLAGS_STATUS;
		return FLAG_AF | (count == 1 ? 0 : FLAG_OF);
	case OP_UNARY:
		if (reg < 2)
			return FLAG_AF;
		if (reg >= 6)
			return FLAGS_STATUS;
		return reg >= 4 ? FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF : 0;
	case OP_IMUL:
		return FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF;
	case OP_BIT_TEST:
		return FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF;
	case OP_BIT_SCAN:
		undefined = FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF;
		return insn->rep == 0xf3 ? undefined : undefined | FLAG_CF;
	default:
		return 0;
	}
}

/* Is the result itself undefined? */
static bool undefined_result(const struct emul_insn *insn, const struct machine *before)
{
	return insn->op == OP_SHIFT_DOUBLE && insn->op_bytes == 2 &&
	       shift_count(insn, before) > 16;
}

/*
 * Where the emulator and processors may part without harm: it does not touch
 * what CLFLUSH names.
 */
static bool not_comparable(const struct emul_insn *insn, const struct native_event *event)
{
	return insn->op == OP_CACHE && event->signal == SIGSEGV;
}

/* Processors differ in which operand of CMPS they read first. */
static bool fault_address_varies(const struct emul_insn *insn)
{
	return insn->op == OP_CMPS;
}

/* Some push the return address before they look at the target of a CALL. */
static bool memory_varies(const struct emul_insn *insn, int result)
{
	return insn->op == OP_GROUP_5 && modrm_reg(insn) == 2 && result == EMUL_EXCEPTION;
}

/* Alignment (#GP) and a stack address that is not canonical (#SS): either comes first. */
static bool order_varies(const struct machine *emulated, const struct emul_insn *insn,
			 int result, const struct native_event *event)
{
	return (insn->op == OP_VECTOR || insn->op == OP_CMPXCHG_PAIR) && result == EMUL_EXCEPTION &&
	       emulated->ctxt.exception.vector == VECTOR_SS &&
	       event->signal == SIGSEGV && event->code == SI_KERNEL;
}

static int expected_signal(int result, unsigned int vector)
{
	if (result == EMUL_DONE)
		return SIGTRAP;
	if (result == EMUL_FAULT)
		return SIGSEGV;
	switch (vector) {
	case VECTOR_DE:
		return SIGFPE;
	case VECTOR_UD:
		return SIGILL;
	case VECTOR_SS:
		return SIGBUS;
	default:
		return SIGSEGV;
	}
}

static const char *compare_ending(const struct machine *emulated, const struct emul_insn *insn,
				  int result, const struct native_event *event)
{
	if (event->signal != expected_signal(result, emulated->ctxt.exception.vector))
		return order_varies(emulated, insn, result, event) ? NULL : "exception";
	if (result == EMUL_FAULT && event->code == SI_KERNEL)
		return "#GP where the emulator has #PF";
	if (result == EMUL_EXCEPTION && event->signal == SIGSEGV && event->code != SI_KERNEL)
		return "#PF where the emulator has #GP";
	if (result == EMUL_FAULT && event->address != emulated->fault_address &&
	    !fault_address_varies(insn))
		return "fault address";
	return NULL;
}

static const char *compare_state(const struct machine *emulated, const struct machine *native,
				 u64 undefined)
{
	u64 flags = emulated->regs.rflags ^ native->regs.rflags;

	if (memcmp(emulated->regs.gpr, native->regs.gpr, sizeof(native->regs.gpr)))
		return "registers";
	if (emulated->regs.rip != native->regs.rip)
		return "rip";
	if (flags & FLAGS_COMPARED & ~undefined)
		return "flags";
	if (memcmp(emulated->vec, native->vec, sizeof(native->vec)))
		return "vector registers";
	return NULL;
}

/* Returns what differs, or NULL. */
static const char *compare(const struct machine *emulated, const struct machine *native,
			   const struct machine *before, const struct emul_insn *insn,
			   int result, const struct native_event *event)
{
	const char *what;

	if (not_comparable(insn, event))
		return NULL;
	what = compare_ending(emulated, insn, result, event);
	if (!what)
		what = compare_state(emulated, native, undefined_flags(insn, before));
	if (!what && !memory_varies(insn, result) &&
	    memcmp(emulated->memory, native_data, MACHINE_BYTES))
		what = "memory";
	return what;
}

static void report(const char *what, const struct test_case *test, const struct machine *before,
		   const struct machine *emulated, const struct machine *native, int result,
		   const struct native_event *event)
{
	unsigned int i;

	stats.differences++;
	if (stats.differences > MAX_REPORTS)
		return;
	printf("# difference: %s\n", what);
	print_bytes(test->bytes, test->insn.length);
	print_registers("before", before);
	print_registers("emulated", emulated);
	printf("#  result %d vector %u fault %llx\n", result,
	       result == EMUL_EXCEPTION ? emulated->ctxt.exception.vector : 0,
	       result == EMUL_FAULT ? emulated->fault_address : 0);
	print_registers("native", native);
	printf("#  signal %d code %d address %llx\n", event->signal, event->code, event->address);
	for (i = 0; i < MACHINE_BYTES; i++)
		if (emulated->memory[i] != native_data[i])
			printf("#  memory[%x] emulated %02x native %02x\n", i,
			       emulated->memory[i], native_data[i]);
}

static void random_setting(struct machine *m, enum emul_mode mode)
{
	static const u16 selectors_64[] = { 0x2b, 0x33, 0x2b, 0x2b, 0, 0 };
	static const u16 selectors_32[] = { 0x2b, 0x23, 0x2b, 0x2b, 0x2b, 0x2b };
	unsigned int i;

	m->ctxt.mode = mode;
	m->ctxt.rep_limit = 1 + random_below(10);
	m->exit_mask = random_below(2) ? random_below(4) : 0;
	m->contended = !random_below(16);
	for (i = 0; i < EMUL_NR_SEG; i++) {
		m->segments[i].selector = mode == EMUL_MODE_64 ? selectors_64[i] : selectors_32[i];
		m->segments[i].base = 0;
	}
	if (mode == EMUL_MODE_64) {
		m->segments[EMUL_FS].base = NATIVE_FS_BASE;
		m->segments[EMUL_GS].base = NATIVE_GS_BASE;
	}
}

static void random_vectors(struct machine *m)
{
	unsigned int i, j;

	for (i = 0; i < 16; i++)
		for (j = 0; j < sizeof(m->vec[i]); j += sizeof(u64)) {
			u64 value = random_bits();

			memcpy(m->vec[i] + j, &value, sizeof(value));
		}
}

static void run_one(struct machine *m)
{
	static struct machine before, native;
	bool vectors;
	struct native_event event;
	struct test_case test;
	const char *what;
	int result;

	random_setting(m, random_below(4) ? EMUL_MODE_64 : EMUL_MODE_32);
	generate(&test, m, NATIVE_CODE_END);
	vectors = test.insn.op == OP_VECTOR;
	if (vectors)
		random_vectors(m);
	before.regs = m->regs;
	native.regs = m->regs;
	native.ctxt.mode = m->ctxt.mode;
	memcpy(native.vec, m->vec, sizeof(native.vec));
	memcpy(native_data, m->memory, MACHINE_BYTES);

	result = machine_run(m, &test.insn);
	if (result == EMUL_UNHANDLED || undefined_result(&test.insn, &before)) {
		stats.unhandled++;
		memcpy(m->memory, native_data, MACHINE_BYTES);
		return;
	}
	stats.run++;
	stats.faults += result == EMUL_FAULT;
	stats.exceptions += result == EMUL_EXCEPTION;

	event = native_run(&native, test.bytes, test.insn.length, vectors);
	what = compare(m, &native, &before, &test.insn, result, &event);
	if (what)
		report(what, &test, &before, m, &native, result, &event);
	if (what || memory_varies(&test.insn, result))
		memcpy(m->memory, native_data, MACHINE_BYTES);
}

static void fuzz_execution(u64 count)
{
	static struct machine m;
	unsigned int i;

	machine_init(&m, EMUL_MODE_64, NATIVE_DATA);
	m.readonly = 1u << (MACHINE_PAGES - 1);
	for (i = 0; i < MACHINE_BYTES; i++)
		m.memory[i] = random_bits();
	while (stats.run < count)
		run_one(&m);
}

/* Would running it end the process? */
static bool not_for_lengths(const struct emul_insn *insn)
{
	if (insn->map == EMUL_MAP_0F && insn->encoding == EMUL_LEGACY)
		return insn->opcode == 0x05 || insn->opcode == 0x34;	/* SYSCALL, SYSENTER */
	return insn->map == EMUL_MAP_1 && insn->opcode == 0xcd;		/* INT */
}

static void fuzz_lengths(u64 count)
{
	u64 i;

	for (i = 0; i < count; i++) {
		enum emul_mode mode = random_below(4) ? EMUL_MODE_64 : EMUL_MODE_32;
		u8 bytes[EMUL_MAX_INSN_BYTES];
		struct emul_insn insn;
		unsigned int j, native;
		int length;

		for (j = 0; j < sizeof(bytes); j++)
			bytes[j] = random_bits();
		if (random_below(2))
			bytes[random_below(3)] = 0x0f;
		length = emul_decode(&insn, bytes, sizeof(bytes), mode);
		if (length < 0 || not_for_lengths(&insn))
			continue;
		native = native_length(mode, bytes);
		if (!native || native == (unsigned int)length)
			continue;
		if (stats.differences++ >= MAX_REPORTS)
			continue;
		printf("# difference: length %d, native %u, mode %d\n", length, native, mode);
		print_bytes(bytes, sizeof(bytes));
	}
}

static bool parse(int argc, char **argv, struct options *o)
{
	static const struct option names[] = {
		{ "count", required_argument, NULL, 'c' },
		{ "seed", required_argument, NULL, 's' },
		{ "lengths", required_argument, NULL, 'l' },
		{ }
	};
	int c;

	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (c) {
		case 'c':
			o->count = strtoull(optarg, NULL, 0);
			break;
		case 's':
			o->seed = strtoull(optarg, NULL, 0);
			break;
		case 'l':
			o->lengths = strtoull(optarg, NULL, 0);
			break;
		default:
			return false;
		}
	}
	return optind == argc;
}

static bool verdict(unsigned int number, const char *what)
{
	bool ok = !stats.differences;

	printf("%sok %u %s\n", ok ? "" : "not ", number, what);
	if (!ok)
		printf("# %llu differences\n", stats.differences);
	stats.differences = 0;
	return ok;
}

int main(int argc, char **argv)
{
	struct options o = { .count = 100000, .seed = 1, .lengths = 10000 };
	bool ok;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!parse(argc, argv, &o)) {
		fprintf(stderr, "usage: %s [--count N] [--seed S] [--lengths N]\n",
			argv[0]);
		return 2;
	}
	printf("TAP version 13\n1..2\n");
	generate_seed(o.seed);
	generate_init(native_has_avx());
	native_start();

	fuzz_execution(o.count);
	printf("# seed %llu: %llu instructions, %llu #PF and %llu other exceptions among them\n",
	       o.seed, stats.run, stats.faults, stats.exceptions);
	printf("# %llu more generated, but not executed by the emulator\n", stats.unhandled);
	ok = verdict(1, "instructions agree with the processor");
	fuzz_lengths(o.lengths);
	ok &= verdict(2, "lengths agree with the processor");

	native_stop();
	return ok ? 0 : 1;
}
