/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small machine around the emulator, for its unit tests and fuzzers: one
 * window of memory, ports, registers, and the record that lets an access be
 * completed later. Single-threaded.
 */
#ifndef EMULATE_MACHINE_H
#define EMULATE_MACHINE_H

#include <stdint.h>
#include "kmod/emulate/emulate.h"

#define MACHINE_PAGE	4096
#define MACHINE_PAGES	4
#define MACHINE_BYTES	(MACHINE_PAGES * MACHINE_PAGE)

/* What a completed access returned, or that it may complete now. */
struct machine_record {
	bool ready;
	bool done;
	u8 data[MACHINE_PAGE];
};

/**
 * struct machine - one processor and its memory
 * @ctxt: the emulator's context, its callbacks in place
 * @regs: registers
 * @segments: segment registers
 * @vec: YMM registers
 * @base: linear address of @memory
 * @memory: MACHINE_BYTES of memory; every other address faults
 * @readonly: bit n: page n of @memory may not be written
 * @mmio: bit n: accesses to page n of @memory need user space
 * @exit_mask: bit n: access n of each iteration needs user space, wherever it goes
 * @ports: what ports return, and where output goes; used again from the start when full
 * @port_count: bytes moved through @ports
 * @last_port: the last port access
 * @fault_address: after EMUL_FAULT, the first byte that faulted
 * @fault_write: it was a write
 * @contended: how many compare-and-exchanges shall still lose the race
 * @mmio_accesses: accesses to MMIO pages that were performed
 * @record: accesses of the iteration under way
 * @pending: the access that waits for user space
 */
struct machine {
	struct emul_ctxt ctxt;
	struct emul_regs regs;
	struct kvm_segment segments[EMUL_NR_SEG];
	u8 vec[16][32];
	u64 base;
	u8 memory[MACHINE_BYTES];
	u32 readonly;
	u32 mmio;
	u32 exit_mask;
	u8 ports[MACHINE_PAGE];
	u32 port_count;
	struct emul_pio last_port;
	u64 fault_address;
	bool fault_write;
	unsigned int contended;
	unsigned int mmio_accesses;
	struct machine_record record[EMUL_MAX_ACCESSES];
	unsigned int pending;
	u8 io_buf[MACHINE_PAGE];
};

/* A machine in @mode with flat segments, paging thought on, CPL 3 and AVX enabled. */
void machine_init(struct machine *m, enum emul_mode mode, u64 base);

/* Let the access complete for which the last EMUL_EXIT asked. */
void machine_complete(struct machine *m);

/* emul_execute(), forgetting the record where the interface says so. */
int machine_execute(struct machine *m, const struct emul_insn *insn);

/*
 * Execute to the end: complete what asks for user space, call again after
 * EMUL_AGAIN. Aborts if registers or memory change at an EMUL_EXIT.
 */
int machine_run(struct machine *m, const struct emul_insn *insn);

#endif
