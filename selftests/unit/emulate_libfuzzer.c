// SPDX-License-Identifier: GPL-2.0-only
/*
 * libFuzzer target: bytes are a mode and code, decoded in pieces and executed
 * in a small machine. Built by `make -C selftests/unit fuzz-decode` (clang).
 *
 * Looks for what sanitizers see, and for broken promises of the interface:
 * lengths that depend on what follows, registers that change at an exit.
 */
#include <stdlib.h>
#include "emulate_machine.h"

#define BASE	0x10000u

static void check(bool condition)
{
	if (!condition)
		abort();
}

static void check_lengths(const u8 *code, unsigned int size, enum emul_mode mode, int length)
{
	struct emul_insn insn;
	unsigned int cut;

	check(length <= EMUL_MAX_INSN_BYTES && length <= (int)size);
	for (cut = 0; cut < (unsigned int)length; cut++)
		check(emul_decode(&insn, code, cut, mode) == EMUL_DECODE_MORE);
	check(emul_decode(&insn, code, length, mode) == length);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct machine m;
	struct emul_insn insn;
	enum emul_mode mode;
	unsigned int i;
	int length;

	if (size < 3)
		return 0;
	mode = data[0] % 3;
	machine_init(&m, mode, mode == EMUL_MODE_16 ? 0 : BASE);
	m.exit_mask = data[1] & 3;
	m.mmio = data[1] >> 4;
	m.ctxt.rep_limit = 1 + (data[1] >> 2 & 3);
	for (i = 0; i < EMUL_NR_GPR; i++)
		m.regs.gpr[i] = m.base + 64 * i;
	length = emul_decode(&insn, data + 2, size - 2, mode);
	if (length <= 0)
		return 0;
	check_lengths(data + 2, size - 2, mode, length);
	machine_run(&m, &insn);
	return 0;
}
