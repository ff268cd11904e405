/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Random instructions that the emulator claims to know, with registers that
 * mostly lead their operands into the machine's memory. For the emulator's
 * fuzzer. Single-threaded.
 */
#ifndef EMULATE_GENERATE_H
#define EMULATE_GENERATE_H

#include "emulate_machine.h"

/**
 * struct test_case - one instruction to execute
 * @bytes: the instruction
 * @insn: the same, decoded
 */
struct test_case {
	u8 bytes[EMUL_MAX_INSN_BYTES];
	struct emul_insn insn;
};

void generate_seed(u64 seed);
u64 random_bits(void);
u64 random_below(u64 limit);

/* List what the emulator executes. @avx: the processor has AVX. */
void generate_init(bool avx);

/* Make a case for @m's mode and fill in @m's registers; RIP is @end - length. */
void generate(struct test_case *test, struct machine *m, u64 end);

#endif
