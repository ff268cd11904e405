// SPDX-License-Identifier: GPL-2.0-only
/*
 * The opcode tables: which bytes follow an opcode, and what it does.  Read by
 * the decoder.  Constant data, no lock.
 *
 * AMD APM volume 3, "Opcode and Operand Encodings"; Intel SDM volume 2,
 * "Opcode Map".
 */
#include "decode.h"

#define LENGTH(attr_)	{ .op = OP_NONE, .attr = (attr_) }
#define RUN(op_, attr_)	{ .op = OP_##op_, .attr = (attr_) }
#define NO_SUCH		{ .op = OP_NONE, .attr = A_UNDEFINED }

/* ADD, OR, ADC, SBB, AND, SUB, XOR and CMP: six opcodes each, alike. */
static const struct opcode alu_row[] = {
	RUN(ALU, A_MODRM | A_RM_R | A_BYTE | A_LOCK),
	RUN(ALU, A_MODRM | A_RM_R | A_LOCK),
	RUN(ALU, A_MODRM | A_R_RM | A_BYTE),
	RUN(ALU, A_MODRM | A_R_RM),
	RUN(ALU, A_ACC_I | A_I8 | A_BYTE),
	RUN(ALU, A_ACC_I | A_IZ),
};

/*
 * One byte, from 06 on what lies between the rows above.  Prefixes and escapes
 * never get here; their entries stay zero.
 */
static const struct opcode opcodes_1[256] = {
	[0x06 ... 0x07] = LENGTH(A_NO64),
	[0x0e] = LENGTH(A_NO64),
	[0x16 ... 0x17] = LENGTH(A_NO64),
	[0x1e ... 0x1f] = LENGTH(A_NO64),
	[0x27] = LENGTH(A_NO64),			/* DAA */
	[0x2f] = LENGTH(A_NO64),			/* DAS */
	[0x37] = LENGTH(A_NO64),			/* AAA */
	[0x3f] = LENGTH(A_NO64),			/* AAS */

	[0x50 ... 0x57] = RUN(PUSH, A_OPREG | A_D64),
	[0x58 ... 0x5f] = RUN(POP, A_OPREG | A_D64),
	[0x60 ... 0x61] = LENGTH(A_NO64),		/* PUSHA, POPA */
	[0x62] = LENGTH(A_MODRM | A_NO64),		/* BOUND */
	[0x63] = RUN(MOVSXD, A_MODRM),			/* ARPL outside 64-bit code */
	[0x68] = RUN(PUSH, A_IZ | A_D64),
	[0x69] = RUN(IMUL, A_MODRM | A_IZ),
	[0x6a] = RUN(PUSH, A_I8 | A_D64),
	[0x6b] = RUN(IMUL, A_MODRM | A_I8),
	[0x6c] = RUN(INS, A_BYTE),
	[0x6d] = RUN(INS, 0),
	[0x6e] = RUN(OUTS, A_BYTE),
	[0x6f] = RUN(OUTS, 0),
	[0x70 ... 0x7f] = LENGTH(A_I8),			/* Jcc */

	[0x80] = RUN(ALU, A_MODRM | A_RM_I | A_I8 | A_BYTE | A_LOCK),
	[0x81] = RUN(ALU, A_MODRM | A_RM_I | A_IZ | A_LOCK),
	[0x82] = RUN(ALU, A_MODRM | A_RM_I | A_I8 | A_BYTE | A_LOCK | A_NO64),
	[0x83] = RUN(ALU, A_MODRM | A_RM_I | A_I8 | A_LOCK),
	[0x84] = RUN(TEST, A_MODRM | A_RM_R | A_BYTE),
	[0x85] = RUN(TEST, A_MODRM | A_RM_R),
	[0x86] = RUN(XCHG, A_MODRM | A_RM_R | A_LOCK | A_BYTE),
	[0x87] = RUN(XCHG, A_MODRM | A_RM_R | A_LOCK),
	[0x88] = RUN(MOV, A_MODRM | A_RM_R | A_BYTE),
	[0x89] = RUN(MOV, A_MODRM | A_RM_R),
	[0x8a] = RUN(MOV, A_MODRM | A_R_RM | A_BYTE),
	[0x8b] = RUN(MOV, A_MODRM | A_R_RM),
	[0x8c] = RUN(MOV_FROM_SREG, A_MODRM),
	[0x8d] = RUN(LEA, A_MODRM),
	[0x8e] = LENGTH(A_MODRM),			/* MOV to segment register */
	[0x8f] = RUN(POP, A_MODRM | A_D64),
	[0x9a] = LENGTH(A_FAR | A_NO64),		/* CALL far */
	[0x9c ... 0x9d] = LENGTH(A_D64),		/* PUSHF, POPF */

	[0xa0] = RUN(MOV, A_ACC_M | A_MOFFS | A_BYTE),
	[0xa1] = RUN(MOV, A_ACC_M | A_MOFFS),
	[0xa2] = RUN(MOV, A_M_ACC | A_MOFFS | A_BYTE),
	[0xa3] = RUN(MOV, A_M_ACC | A_MOFFS),
	[0xa4] = RUN(MOVS, A_BYTE),
	[0xa5] = RUN(MOVS, 0),
	[0xa6] = RUN(CMPS, A_BYTE),
	[0xa7] = RUN(CMPS, 0),
	[0xa8] = RUN(TEST, A_ACC_I | A_I8 | A_BYTE),
	[0xa9] = RUN(TEST, A_ACC_I | A_IZ),
	[0xaa] = RUN(STOS, A_BYTE),
	[0xab] = RUN(STOS, 0),
	[0xac] = RUN(LODS, A_BYTE),
	[0xad] = RUN(LODS, 0),
	[0xae] = RUN(SCAS, A_BYTE),
	[0xaf] = RUN(SCAS, 0),
	[0xb0 ... 0xb7] = RUN(MOV, A_OPREG | A_I8 | A_BYTE),
	[0xb8 ... 0xbf] = RUN(MOV, A_OPREG | A_IV),

	[0xc0] = RUN(SHIFT, A_MODRM | A_I8 | A_BYTE),
	[0xc1] = RUN(SHIFT, A_MODRM | A_I8),
	[0xc2] = LENGTH(A_I16),				/* RET */
	[0xc4 ... 0xc5] = LENGTH(A_MODRM | A_NO64),	/* LES, LDS */
	[0xc6] = RUN(MOV, A_MODRM | A_RM_I | A_I8 | A_BYTE),
	[0xc7] = RUN(MOV, A_MODRM | A_RM_I | A_IZ),
	[0xc8] = LENGTH(A_I16_I8 | A_D64),		/* ENTER */
	[0xca] = LENGTH(A_I16),				/* RET far */
	[0xcd] = LENGTH(A_I8),				/* INT */
	[0xce] = LENGTH(A_NO64),			/* INTO */
	[0xd0] = RUN(SHIFT, A_MODRM | A_BYTE),
	[0xd1] = RUN(SHIFT, A_MODRM),
	[0xd2] = RUN(SHIFT, A_MODRM | A_BYTE),
	[0xd3] = RUN(SHIFT, A_MODRM),
	[0xd4 ... 0xd5] = LENGTH(A_I8 | A_NO64),	/* AAM, AAD */
	[0xd6] = LENGTH(A_NO64),			/* SALC */
	[0xd8 ... 0xdf] = LENGTH(A_MODRM),		/* x87 */

	[0xe0 ... 0xe3] = LENGTH(A_I8),			/* LOOP, JCXZ */
	[0xe4] = RUN(IN, A_I8 | A_BYTE),
	[0xe5] = RUN(IN, A_I8),
	[0xe6] = RUN(OUT, A_I8 | A_BYTE),
	[0xe7] = RUN(OUT, A_I8),
	[0xe8 ... 0xe9] = LENGTH(A_IZ),			/* CALL, JMP */
	[0xea] = LENGTH(A_FAR | A_NO64),		/* JMP far */
	[0xeb] = LENGTH(A_I8),				/* JMP short */
	[0xec] = RUN(IN, A_BYTE),
	[0xed] = RUN(IN, 0),
	[0xee] = RUN(OUT, A_BYTE),
	[0xef] = RUN(OUT, 0),
	[0xf6] = RUN(UNARY, A_MODRM | A_UNARY | A_I8 | A_BYTE | A_LOCK),
	[0xf7] = RUN(UNARY, A_MODRM | A_UNARY | A_IZ | A_LOCK),
	[0xfe] = RUN(INC_DEC, A_MODRM | A_BYTE | A_LOCK),
	[0xff] = RUN(GROUP_5, A_MODRM | A_LOCK),
};

static const struct opcode opcodes_0f[256] = {
	[0x00] = LENGTH(A_MODRM),			/* SLDT STR LLDT LTR VERR VERW */
	[0x01] = RUN(SYSTEM, A_MODRM),
	[0x02 ... 0x03] = LENGTH(A_MODRM),		/* LAR, LSL */
	[0x04] = NO_SUCH,
	[0x0a] = NO_SUCH,
	[0x0c] = NO_SUCH,
	[0x0d] = RUN(NOP, A_MODRM),			/* PREFETCHW */
	[0x0f] = LENGTH(A_MODRM | A_I8),		/* 3DNow! */

	[0x10 ... 0x11] = RUN(VECTOR, A_MODRM),
	[0x12 ... 0x17] = LENGTH(A_MODRM),
	[0x18 ... 0x1f] = RUN(NOP, A_MODRM),		/* PREFETCH, hints, NOP */
	[0x20 ... 0x23] = LENGTH(A_MODRM | A_REGS),	/* MOV CR, DR */
	[0x24 ... 0x27] = NO_SUCH,
	[0x28 ... 0x29] = RUN(VECTOR, A_MODRM),
	[0x2a] = LENGTH(A_MODRM),
	[0x2b] = RUN(VECTOR, A_MODRM),
	[0x2c ... 0x2f] = LENGTH(A_MODRM),
	[0x36] = NO_SUCH,
	[0x39] = NO_SUCH,
	[0x3b ... 0x3f] = NO_SUCH,

	[0x40 ... 0x4f] = RUN(CMOV, A_MODRM | A_R_RM),
	[0x50 ... 0x6d] = LENGTH(A_MODRM),
	[0x6e ... 0x6f] = RUN(VECTOR, A_MODRM),
	[0x70 ... 0x73] = LENGTH(A_MODRM | A_I8),
	[0x74 ... 0x76] = LENGTH(A_MODRM),
	[0x78 ... 0x79] = LENGTH(A_MODRM),		/* VMREAD, EXTRQ: see decode.c */
	[0x7a ... 0x7b] = NO_SUCH,
	[0x7c ... 0x7d] = LENGTH(A_MODRM),
	[0x7e ... 0x7f] = RUN(VECTOR, A_MODRM),

	[0x80 ... 0x8f] = LENGTH(A_IZ),			/* Jcc */
	[0x90 ... 0x9f] = RUN(SETCC, A_MODRM | A_BYTE),
	[0xa0 ... 0xa1] = LENGTH(A_D64),		/* PUSH, POP FS */
	[0xa3] = RUN(BIT_TEST, A_MODRM | A_RM_R),
	[0xa4] = RUN(SHIFT_DOUBLE, A_MODRM | A_I8),
	[0xa5] = RUN(SHIFT_DOUBLE, A_MODRM),
	[0xa6 ... 0xa7] = NO_SUCH,
	[0xa8 ... 0xa9] = LENGTH(A_D64),		/* PUSH, POP GS */
	[0xab] = RUN(BIT_TEST, A_MODRM | A_RM_R | A_LOCK),
	[0xac] = RUN(SHIFT_DOUBLE, A_MODRM | A_I8),
	[0xad] = RUN(SHIFT_DOUBLE, A_MODRM),
	[0xae] = RUN(CACHE, A_MODRM),
	[0xaf] = RUN(IMUL, A_MODRM | A_R_RM),

	[0xb0] = RUN(CMPXCHG, A_MODRM | A_RM_R | A_LOCK | A_BYTE),
	[0xb1] = RUN(CMPXCHG, A_MODRM | A_RM_R | A_LOCK),
	[0xb2] = LENGTH(A_MODRM),			/* LSS */
	[0xb3] = RUN(BIT_TEST, A_MODRM | A_RM_R | A_LOCK),
	[0xb4 ... 0xb5] = LENGTH(A_MODRM),		/* LFS, LGS */
	[0xb6 ... 0xb7] = RUN(MOVZX, A_MODRM | A_R_RM),
	[0xb8] = RUN(POPCNT, A_MODRM | A_R_RM),
	[0xb9] = LENGTH(A_MODRM),			/* UD1 */
	[0xba] = RUN(BIT_TEST, A_MODRM | A_RM_I | A_I8 | A_LOCK),
	[0xbb] = RUN(BIT_TEST, A_MODRM | A_RM_R | A_LOCK),
	[0xbc ... 0xbd] = RUN(BIT_SCAN, A_MODRM | A_R_RM),
	[0xbe ... 0xbf] = RUN(MOVSX, A_MODRM | A_R_RM),

	[0xc0] = RUN(XADD, A_MODRM | A_RM_R | A_LOCK | A_BYTE),
	[0xc1] = RUN(XADD, A_MODRM | A_RM_R | A_LOCK),
	[0xc2] = LENGTH(A_MODRM | A_I8),
	[0xc3] = RUN(MOVNTI, A_MODRM | A_RM_R),
	[0xc4 ... 0xc6] = LENGTH(A_MODRM | A_I8),
	[0xc7] = RUN(CMPXCHG_PAIR, A_MODRM | A_LOCK),
	[0xd0 ... 0xd5] = LENGTH(A_MODRM),
	[0xd6] = RUN(VECTOR, A_MODRM),
	[0xd7 ... 0xe6] = LENGTH(A_MODRM),
	[0xe7] = RUN(VECTOR, A_MODRM),
	[0xe8 ... 0xef] = LENGTH(A_MODRM),
	[0xf0] = RUN(VECTOR, A_MODRM),
	[0xf1 ... 0xff] = LENGTH(A_MODRM),
};

struct opcode emul_opcode_1(u8 opcode)
{
	if (opcode < 0x40 && (opcode & 7) < ARRAY_SIZE(alu_row))
		return alu_row[opcode & 7];
	return opcodes_1[opcode];
}

struct opcode emul_opcode_0f(u8 opcode)
{
	return opcodes_0f[opcode];
}

/* This map has a ModRM byte and no immediate throughout. */
struct opcode emul_opcode_0f38(u8 opcode)
{
	struct opcode entry = LENGTH(A_MODRM);

	if (opcode == 0x2a)
		entry.op = OP_VECTOR;
	else if (opcode == 0xf0 || opcode == 0xf1)
		entry.op = OP_MOVBE;
	return entry;
}
