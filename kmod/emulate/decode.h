/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the opcode tables say about an instruction.  Shared by the tables
 * (opcodes.c), the decoder and the executor; private to the emulator.
 * Constant data, no lock.
 */
#ifndef LODGE_EMULATE_DECODE_H
#define LODGE_EMULATE_DECODE_H

#include "emulate.h"

/* What the executor does; OP_NONE is known by its length alone. */
enum {
	OP_NONE,
	OP_ALU,			/* ADD OR ADC SBB AND SUB XOR CMP */
	OP_TEST,
	OP_XCHG,
	OP_MOV,
	OP_MOV_FROM_SREG,
	OP_MOVZX,
	OP_MOVSX,
	OP_MOVSXD,
	OP_MOVBE,
	OP_MOVNTI,
	OP_LEA,
	OP_PUSH,
	OP_POP,
	OP_SHIFT,
	OP_SHIFT_DOUBLE,
	OP_UNARY,		/* TEST NOT NEG MUL IMUL DIV IDIV */
	OP_INC_DEC,
	OP_GROUP_5,		/* INC DEC CALL JMP PUSH */
	OP_IMUL,
	OP_BIT_TEST,
	OP_BIT_SCAN,
	OP_POPCNT,
	OP_CMPXCHG,
	OP_CMPXCHG_PAIR,	/* CMPXCHG8B, CMPXCHG16B */
	OP_XADD,
	OP_CMOV,
	OP_SETCC,
	OP_NOP,
	OP_CACHE,		/* CLFLUSH and its kin, among the fences and XSAVE */
	OP_SYSTEM,		/* INVLPG, among group 7 */
	OP_IN,
	OP_OUT,
	OP_MOVS,
	OP_CMPS,
	OP_STOS,
	OP_LODS,
	OP_SCAS,
	OP_INS,
	OP_OUTS,
	OP_VECTOR,
	NR_OPS,
};

/* Attributes. */
#define A_MODRM		0x0001
#define A_BYTE		0x0002	/* byte operands */
#define A_D64		0x0004	/* operands of 64 bits by default in 64-bit code */
#define A_NO64		0x0008	/* #UD in 64-bit code */
#define A_LOCK		0x0010	/* LOCK may be legal */
#define A_REGS		0x0020	/* both operands are registers whatever mod says */
#define A_UNDEFINED	0x0040	/* no such instruction */
#define A_UNARY		0x0080	/* immediate for ModRM.reg 0 and 1 only */

/* Immediates. */
#define A_IMM		0x0f00
#define A_I8		0x0100
#define A_I16		0x0200
#define A_IZ		0x0300	/* 2 or 4 bytes */
#define A_IV		0x0400	/* 2, 4 or 8 bytes */
#define A_I16_I8	0x0500	/* ENTER */
#define A_FAR		0x0600	/* offset and selector */
#define A_MOFFS		0x0700	/* memory offset, as wide as addresses */
#define A_I32		0x0800

/* Operand forms: destination, source. */
#define A_FORM		0x7000
#define A_RM_R		0x1000
#define A_R_RM		0x2000
#define A_RM_I		0x3000
#define A_ACC_I		0x4000
#define A_OPREG		0x5000	/* register in the opcode's low three bits */
#define A_ACC_M		0x6000	/* accumulator and memory offset */
#define A_M_ACC		0x7000

struct opcode {
	u8 op;
	u16 attr;
};

struct opcode emul_opcode_1(u8 opcode);
struct opcode emul_opcode_0f(u8 opcode);
struct opcode emul_opcode_0f38(u8 opcode);

#endif
