/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The x86 instruction decoder and executor: its whole interface.  Called by
 * emulation.c, exits.c and the unit tests.  It keeps no state between
 * calls and takes no lock; one context belongs to one vCPU thread.
 *
 * Decoding gives the length and the operands of an instruction.  Execution
 * works on a context that the caller fills, and reaches memory, ports and
 * vector registers through callbacks only.
 *
 * An iteration is a transaction
 * -----------------------------
 * An instruction, or one iteration of a REP string instruction, is a series
 * of accesses numbered from 0.  Order and number depend only on registers and
 * on the data that earlier accesses returned.
 *
 * - A callback that needs user space (MMIO, port I/O) returns EMUL_EXIT.
 *   emul_execute() gives up and returns EMUL_EXIT, with no register changed
 *   since the last retired iteration.  When the data is there, the caller
 *   calls emul_execute() again with the same context and instruction, and the
 *   callbacks answer each access that is already complete, known by its
 *   index, from a record.
 * - The record must hold every completed access of the iteration, ordinary
 *   memory too: a second read could see what the first attempt wrote.
 * - Writes come last: at most one write, cmpxchg or port output an iteration,
 *   and no access follows it.  Where the caller splits a write at a page
 *   boundary, it translates both pages before it stores to either; repeating
 *   a finished fragment stores the same bytes again.
 * - The record ends when ->retire() is called, and when emul_execute()
 *   returns anything but EMUL_EXIT.
 *
 * Registers, RIP and RFLAGS change when an iteration retires and at no other time.
 */
#ifndef LODGE_EMULATE_H
#define LODGE_EMULATE_H

#include <linux/kvm.h>		/* struct kvm_segment */
#include "types.h"

#define EMUL_MAX_INSN_BYTES	15
#define EMUL_MAX_ACCESSES	2	/* numbered accesses in one iteration */
#define EMUL_MAX_ACCESS_BYTES	32	/* of one access, string I/O excepted */

/* The size of code: CS.L and CS.D.  Real mode and virtual-8086 mode are 16. */
enum emul_mode {
	EMUL_MODE_16,
	EMUL_MODE_32,
	EMUL_MODE_64,
};

/* General registers and segments, in the order the hardware numbers them. */
enum {
	EMUL_RAX, EMUL_RCX, EMUL_RDX, EMUL_RBX, EMUL_RSP, EMUL_RBP, EMUL_RSI, EMUL_RDI,
	EMUL_R8, EMUL_R9, EMUL_R10, EMUL_R11, EMUL_R12, EMUL_R13, EMUL_R14, EMUL_R15,
	EMUL_NR_GPR,
};

enum {
	EMUL_ES, EMUL_CS, EMUL_SS, EMUL_DS, EMUL_FS, EMUL_GS,
	EMUL_NR_SEG,
};

/* Which table the opcode byte belongs to. */
enum emul_map {
	EMUL_MAP_1,		/* one byte */
	EMUL_MAP_0F,
	EMUL_MAP_0F38,
	EMUL_MAP_0F3A,
	EMUL_MAP_OTHER,		/* EVEX maps above 3, XOP: length only */
};

enum emul_encoding {
	EMUL_LEGACY,
	EMUL_VEX,
	EMUL_EVEX,
	EMUL_XOP,
};

/**
 * struct emul_insn - a decoded instruction
 * @bytes: the instruction itself, @length of them valid
 * @length: in bytes, 1 to 15
 * @mode: the mode it was decoded for
 * @map: opcode map
 * @opcode: last opcode byte
 * @encoding: legacy, VEX, EVEX or XOP
 * @has_modrm: @modrm is valid
 * @modrm: ModRM byte; mod is set to 3 where the processor ignores it (MOV CR/DR)
 * @sib: SIB byte, valid if the ModRM byte asks for one
 * @rex: REX byte (0x40 to 0x4f) or 0; for VEX its W, R, X, B as a REX byte would have them
 * @lock: LOCK prefix seen
 * @rep: 0xf2, 0xf3 or 0: the last of these prefixes; for VEX what its pp field stands for
 * @opsize: operand-size prefix seen, or VEX.pp says so
 * @addrsize: address-size prefix seen
 * @segment: of the memory operand, after default and override (EMUL_DS, ...)
 * @vex_l: vector length bit of VEX: 32-byte operands
 * @vex_reg: VEX.vvvv, decoded (0 when unused)
 * @op_bytes: operand size, 1, 2, 4 or 8
 * @addr_bytes: address size, 2, 4 or 8
 * @disp: displacement, sign-extended
 * @imm: immediate, sign-extended from its own size; MOV's memory offset; offset of a far pointer
 * @imm2: second immediate: selector of a far pointer, level of ENTER
 * @op: what to execute; private to the emulator, 0 when it only knows the length
 * @attr: private to the emulator
 */
struct emul_insn {
	u8 bytes[EMUL_MAX_INSN_BYTES];
	u8 length;
	u8 mode;
	u8 map;
	u8 opcode;
	u8 encoding;
	bool has_modrm;
	u8 modrm;
	u8 sib;
	u8 rex;
	bool lock;
	u8 rep;
	bool opsize;
	bool addrsize;
	u8 segment;
	u8 vex_l;
	u8 vex_reg;
	u8 op_bytes;
	u8 addr_bytes;
	s32 disp;
	u64 imm;
	u16 imm2;
	u8 op;
	u32 attr;
};

/* Negative results of emul_decode(). */
#define EMUL_DECODE_MORE	(-1)	/* the bytes end inside the instruction */
#define EMUL_DECODE_INVALID	(-2)	/* no such instruction in this mode: #UD */
#define EMUL_DECODE_TOO_LONG	(-3)	/* more than 15 bytes: #GP(0) */

/**
 * emul_decode() - decode one instruction
 * @insn: filled; contents undefined unless the result is positive
 * @bytes: the code
 * @avail: how many bytes there are; more than 15 are not looked at
 * @mode: size of the code segment
 *
 * Knows the length of every instruction, not only of those it can execute;
 * whether each bit pattern is defined (vendor, CPUID), it does not check.
 * Near branches with an operand-size prefix in 64-bit code are read as AMD
 * processors do, with a 16-bit displacement.
 *
 * Return: the length, or a negative EMUL_DECODE_*.
 */
int emul_decode(struct emul_insn *insn, const u8 *bytes, unsigned int avail, enum emul_mode mode);

/* Number of the register in ModRM.reg: the GPR, or n of CRn and DRn in MOV CR/DR. */
static inline unsigned int emul_reg(const struct emul_insn *insn)
{
	return ((insn->modrm >> 3) & 7) | ((insn->rex & 4) << 1);
}

/* Number of the register in ModRM.rm; of no meaning if emul_is_mem(). */
static inline unsigned int emul_rm(const struct emul_insn *insn)
{
	return (insn->modrm & 7) | ((insn->rex & 1) << 3);
}

/*
 * Does ModRM name memory?  Never for MOV CR/DR: the processor ignores their mod
 * field, and the decoder sets it to 3.
 */
static inline bool emul_is_mem(const struct emul_insn *insn)
{
	return insn->has_modrm && insn->modrm < 0xc0;
}

/* What callbacks and emul_execute() return. */
enum emul_result {
	EMUL_DONE,		/* executed; registers and RIP are the new ones */
	EMUL_AGAIN,		/* not finished, RIP not advanced: enter the guest or call again */
	EMUL_EXIT,		/* user space must complete an access first */
	EMUL_FAULT,		/* a callback has recorded an exception (#PF) */
	EMUL_EXCEPTION,		/* the emulator raises ctxt->exception */
	EMUL_UNHANDLED,		/* it cannot execute this instruction */
};

#define EMUL_ACCESS_WRITE	0x01	/* writes, or reads in order to write the same bytes */
#define EMUL_ACCESS_LOCKED	0x02	/* part of a locked read-modify-write */

/**
 * struct emul_access - one access to memory
 * @linear: linear address of the first byte; segment checks are done
 * @size: bytes; the access may cross one page boundary
 * @index: number within the iteration, from 0
 * @flags: EMUL_ACCESS_*; a read-modify-write faults at its read as a write does
 */
struct emul_access {
	u64 linear;
	u32 size;
	u8 index;
	u8 flags;
};

/**
 * struct emul_pio - one access to a port, or several to the same port
 * @port: the port
 * @size: bytes each: 1, 2 or 4
 * @count: how often; above 1 for string I/O only
 * @index: number within the iteration
 */
struct emul_pio {
	u16 port;
	u8 size;
	u8 index;
	u32 count;
};

/**
 * struct emul_ops - how the emulator reaches the rest of the machine
 *
 * Those that return int give EMUL_DONE, EMUL_EXIT, EMUL_FAULT or
 * EMUL_UNHANDLED.  @exchange also gives EMUL_AGAIN.  Any result but EMUL_DONE
 * ends emul_execute() with it.
 *
 * @fetch: read code; used by emul_fetch() only.  Never crosses a page.
 * @read: read memory
 * @write: write memory
 * @exchange: write @new if memory still holds @old, atomically; EMUL_AGAIN if
 *	it does not.  On MMIO it writes @new.  Size 1, 2, 4, 8 or 16.
 * @probe_write: would a write fault?  Not numbered, no side effect.  May be
 *	NULL; asked before a port is read into memory, so that no input is lost.
 * @pio_in: read a port into @buf
 * @pio_out: write @buf to a port
 * @io_permission: is the port open to a guest above IOPL (TSS bitmap)?  Records
 *	the #GP itself.  NULL when the intercept came after the check.
 * @segment: fill in segment register @index (EMUL_ES, ...)
 * @vec_read: all 32 bytes of YMM @reg; the upper half undefined without AVX
 * @vec_write: @size 16 keeps what is above; 32 clears what is above
 * @retire: registers of an iteration are committed: forget its accesses.  May be NULL.
 */
struct emul_ops {
	int (*fetch)(void *opaque, u64 linear, u32 size, void *buf);
	int (*read)(void *opaque, const struct emul_access *access, void *buf);
	int (*write)(void *opaque, const struct emul_access *access, const void *buf);
	int (*exchange)(void *opaque, const struct emul_access *access,
			const void *old, const void *new);
	int (*probe_write)(void *opaque, u64 linear, u32 size);
	int (*pio_in)(void *opaque, const struct emul_pio *pio, void *buf);
	int (*pio_out)(void *opaque, const struct emul_pio *pio, const void *buf);
	int (*io_permission)(void *opaque, u16 port, u8 size);
	void (*segment)(void *opaque, unsigned int index, struct kvm_segment *segment);
	void (*vec_read)(void *opaque, unsigned int reg, void *buf);
	void (*vec_write)(void *opaque, unsigned int reg, const void *buf, unsigned int size);
	void (*retire)(void *opaque);
};

struct emul_regs {
	u64 gpr[EMUL_NR_GPR];
	u64 rip;
	u64 rflags;
};

/**
 * struct emul_move - one MOV or MOVZX between memory and a register or an immediate
 * @linear: linear address of the memory operand
 * @value: what a store writes, zero-extended
 * @size: bytes in memory: 1, 2, 4 or 8
 * @write: it is a store
 */
struct emul_move {
	u64 linear;
	u64 value;
	u8 size;
	bool write;
};

/*
 * Is @insn such a move, of 64-bit code and without FS and GS? Fills @move. What the CPU
 * checks before such an access is not checked: it has been made.
 */
bool emul_is_move(const struct emul_insn *insn, const struct emul_regs *regs,
		  struct emul_move *move);
/* A load of @insn got @value: into its register. RIP and RFLAGS are the caller's. */
void emul_finish_load(const struct emul_insn *insn, struct emul_regs *regs, u64 value);

struct emul_exception {
	u8 vector;
	bool has_error_code;
	u32 error_code;
};

/**
 * struct emul_ctxt - the processor as the emulator sees it
 *
 * The caller fills in:
 * @ops: callbacks
 * @opaque: their first argument
 * @regs: the guest's registers, changed in place when an iteration retires
 * @mode: size of the code segment
 * @cpl: current privilege level
 * @cr0: guest's CR0
 * @cr4: guest's CR4
 * @xcr0: guest's XCR0
 * @efer: guest's EFER
 * @io_buf: where string I/O is gathered; read and written by the emulator
 *	around ->pio_in() and ->pio_out(), so it may be the page shared with user space
 * @io_buf_size: bytes of @io_buf; at least 4
 * @rep_limit: iterations of a REP instruction in one call, at least 1; a batch of
 *	string I/O is one iteration
 *
 * The emulator fills in:
 * @exception: valid after EMUL_EXCEPTION
 * @single_step: RFLAGS.TF was set when the instruction started.  After
 *	EMUL_DONE, and after EMUL_AGAIN if @retired is not 0, the caller raises
 *	the #DB trap.
 * @retired: iterations (or the instruction) that this call retired
 *
 * After EMUL_DONE the caller ends the interrupt shadow.
 */
struct emul_ctxt {
	const struct emul_ops *ops;
	void *opaque;
	struct emul_regs *regs;
	enum emul_mode mode;
	u8 cpl;
	u64 cr0;
	u64 cr4;
	u64 xcr0;
	u64 efer;
	void *io_buf;
	u32 io_buf_size;
	u32 rep_limit;

	struct emul_exception exception;
	bool single_step;
	u32 retired;
};

/**
 * emul_fetch() - fetch the instruction at CS:RIP and decode it
 * @ctxt: the context
 * @insn: filled
 *
 * Reads no further than the page of the first byte unless the instruction
 * itself does.
 *
 * Return: EMUL_DONE; EMUL_EXCEPTION for #UD, and for #GP(0) beyond the limit
 * of CS or 15 bytes; or what ->fetch() returned.
 */
int emul_fetch(struct emul_ctxt *ctxt, struct emul_insn *insn);

/**
 * emul_execute() - execute a decoded instruction
 * @ctxt: the context; RIP is that of the instruction
 * @insn: from emul_fetch() or emul_decode()
 *
 * Return: enum emul_result.  After EMUL_AGAIN iterations may have retired.
 */
int emul_execute(struct emul_ctxt *ctxt, const struct emul_insn *insn);

/**
 * emul_next_rip() - address of the following instruction
 * @ctxt: the context
 * @insn: the instruction at RIP
 *
 * Return: RIP + length, wrapped as the mode demands.
 */
u64 emul_next_rip(const struct emul_ctxt *ctxt, const struct emul_insn *insn);

/**
 * emul_linear() - linear address of the memory operand, without any check
 * @ctxt: the context
 * @insn: an instruction for which emul_is_mem() holds, such as INVLPG
 *
 * Return: the linear address.
 */
u64 emul_linear(struct emul_ctxt *ctxt, const struct emul_insn *insn);

/**
 * emul_read_rm() - read the operand that ModRM names, as LMSW or LLDT would
 * @ctxt: the context
 * @insn: the instruction
 * @size: 1, 2, 4 or 8 bytes
 * @value: zero-extended
 *
 * A read of memory has index 0.  Registers stay as they are.
 *
 * Return: enum emul_result.
 */
int emul_read_rm(struct emul_ctxt *ctxt, const struct emul_insn *insn, unsigned int size,
		 u64 *value);

/**
 * emul_write_rm() - write the operand that ModRM names, as SMSW or STR would
 * @ctxt: the context
 * @insn: the instruction
 * @size: bytes, for memory and for a register; 4 clears the upper half of a register
 * @value: what to write
 *
 * A write of memory has index 0.  A register operand is written at once;
 * RIP is not advanced.
 *
 * Return: enum emul_result.
 */
int emul_write_rm(struct emul_ctxt *ctxt, const struct emul_insn *insn, unsigned int size,
		  u64 value);

#endif
