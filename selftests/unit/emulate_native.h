/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runs single instructions on the real processor, in a traced child process
 * whose address space holds nothing but one page of code and a window of data.
 * For the emulator's fuzzer. Single-threaded; one child at a time.
 */
#ifndef EMULATE_NATIVE_H
#define EMULATE_NATIVE_H

#include <sys/user.h>
#include "emulate_machine.h"

/* Both lie below 4 GiB, for 32-bit code. The page after the code is not mapped. */
#define NATIVE_CODE	0x13579000ull
#define NATIVE_CODE_END	(NATIVE_CODE + MACHINE_PAGE)
#define NATIVE_DATA	0x20000000ull
/* Segment bases of 64-bit code. */
#define NATIVE_FS_BASE	0x1230ull
#define NATIVE_GS_BASE	0x7ff000ull

/**
 * struct native_event - how the instruction ended
 * @signal: SIGTRAP if it was executed
 * @code: si_code of another signal
 * @address: si_addr of SIGSEGV
 */
struct native_event {
	int signal;
	int code;
	u64 address;
};

/* Start the child. The last page of its data is read-only. Exits on failure. */
void native_start(void);
void native_stop(void);

/* The child's code and data, shared with it. */
extern u8 *native_code;
extern u8 *native_data;

bool native_has_avx(void);

/**
 * native_run() - execute one instruction that ends at NATIVE_CODE_END
 * @m: mode, registers before and after; memory is the child's
 * @insn: bytes of the instruction
 * @length: how many
 * @vectors: load and read back the vector registers too
 *
 * A REP string instruction is stepped to its end.
 */
struct native_event native_run(struct machine *m, const u8 *insn, unsigned int length,
			       bool vectors);

/* How many bytes the processor takes for the instruction; 0 if it is none (#UD). */
unsigned int native_length(enum emul_mode mode, const u8 *bytes);

#endif
