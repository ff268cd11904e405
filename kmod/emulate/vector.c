// SPDX-License-Identifier: GPL-2.0-only
/*
 * SSE and AVX moves between memory and vector registers.  Called through the
 * executor's table.  Works on the caller's struct exec, no lock.
 */
#include "internal.h"

#define V_STORE		0x01	/* from the register in ModRM.reg */
#define V_ALIGNED	0x02	/* #GP if memory is not aligned to the operand */
#define V_MEMORY	0x04	/* executed with a memory operand only */
#define V_NO_256	0x08	/* VEX.L must be 0 */

/* Bytes moved; what is above them in a register becomes 0. */
#define SIZE_GPR	1	/* 4, or 8 with REX.W; the other operand may be a GPR */
#define SIZE_VECTOR	16	/* 32 with VEX.L */

enum { PP_NONE, PP_66, PP_F3, PP_F2 };

struct vector_move {
	u8 map;
	u8 pp;
	u8 opcode;
	u8 size;
	u8 flags;
};

static const struct vector_move moves[] = {
	/* MOVUPS, MOVUPD */
	{ EMUL_MAP_0F, PP_NONE, 0x10, SIZE_VECTOR, 0 },
	{ EMUL_MAP_0F, PP_NONE, 0x11, SIZE_VECTOR, V_STORE },
	{ EMUL_MAP_0F, PP_66, 0x10, SIZE_VECTOR, 0 },
	{ EMUL_MAP_0F, PP_66, 0x11, SIZE_VECTOR, V_STORE },
	/* MOVSS, MOVSD: between registers they merge, which is not done here */
	{ EMUL_MAP_0F, PP_F3, 0x10, 4, V_MEMORY },
	{ EMUL_MAP_0F, PP_F3, 0x11, 4, V_MEMORY | V_STORE },
	{ EMUL_MAP_0F, PP_F2, 0x10, 8, V_MEMORY },
	{ EMUL_MAP_0F, PP_F2, 0x11, 8, V_MEMORY | V_STORE },
	/* MOVAPS, MOVAPD */
	{ EMUL_MAP_0F, PP_NONE, 0x28, SIZE_VECTOR, V_ALIGNED },
	{ EMUL_MAP_0F, PP_NONE, 0x29, SIZE_VECTOR, V_ALIGNED | V_STORE },
	{ EMUL_MAP_0F, PP_66, 0x28, SIZE_VECTOR, V_ALIGNED },
	{ EMUL_MAP_0F, PP_66, 0x29, SIZE_VECTOR, V_ALIGNED | V_STORE },
	/* MOVNTPS, MOVNTPD */
	{ EMUL_MAP_0F, PP_NONE, 0x2b, SIZE_VECTOR, V_ALIGNED | V_STORE | V_MEMORY },
	{ EMUL_MAP_0F, PP_66, 0x2b, SIZE_VECTOR, V_ALIGNED | V_STORE | V_MEMORY },
	/* MOVD, MOVQ */
	{ EMUL_MAP_0F, PP_66, 0x6e, SIZE_GPR, V_NO_256 },
	{ EMUL_MAP_0F, PP_66, 0x7e, SIZE_GPR, V_NO_256 | V_STORE },
	{ EMUL_MAP_0F, PP_F3, 0x7e, 8, V_NO_256 },
	{ EMUL_MAP_0F, PP_66, 0xd6, 8, V_NO_256 | V_STORE },
	/* MOVDQA, MOVDQU */
	{ EMUL_MAP_0F, PP_66, 0x6f, SIZE_VECTOR, V_ALIGNED },
	{ EMUL_MAP_0F, PP_66, 0x7f, SIZE_VECTOR, V_ALIGNED | V_STORE },
	{ EMUL_MAP_0F, PP_F3, 0x6f, SIZE_VECTOR, 0 },
	{ EMUL_MAP_0F, PP_F3, 0x7f, SIZE_VECTOR, V_STORE },
	/* MOVNTDQ, MOVNTDQA, LDDQU */
	{ EMUL_MAP_0F, PP_66, 0xe7, SIZE_VECTOR, V_ALIGNED | V_STORE | V_MEMORY },
	{ EMUL_MAP_0F38, PP_66, 0x2a, SIZE_VECTOR, V_ALIGNED | V_MEMORY },
	{ EMUL_MAP_0F, PP_F2, 0xf0, SIZE_VECTOR, V_MEMORY },
};

static unsigned int mandatory_prefix(const struct emul_insn *insn)
{
	if (insn->rep)
		return insn->rep == 0xf3 ? PP_F3 : PP_F2;
	return insn->opsize ? PP_66 : PP_NONE;
}

static const struct vector_move *find_move(const struct emul_insn *insn)
{
	unsigned int pp = mandatory_prefix(insn), i;

	for (i = 0; i < ARRAY_SIZE(moves); i++)
		if (moves[i].opcode == insn->opcode && moves[i].pp == pp &&
		    moves[i].map == insn->map)
			return &moves[i];
	return NULL;
}

/* AMD APM volume 4, "Exceptions": what must be enabled. */
static int check_enabled(struct exec *x, const struct vector_move *move)
{
	const struct emul_ctxt *ctxt = x->ctxt;
	bool enabled;

	if (x->insn->encoding == EMUL_VEX)
		enabled = emul_is_protected(x) && ctxt->cr4 & BIT_CR4_OSXSAVE &&
			  (ctxt->xcr0 & BITS_XCR0_AVX) == BITS_XCR0_AVX &&
			  !x->insn->vex_reg && !(x->insn->vex_l && move->flags & V_NO_256);
	else
		enabled = !(ctxt->cr0 & BIT_CR0_EM) && ctxt->cr4 & BIT_CR4_OSFXSR;
	if (!enabled)
		return emul_raise(x, VECTOR_UD);
	if (ctxt->cr0 & BIT_CR0_TS)
		return emul_raise(x, VECTOR_NM);
	return EMUL_DONE;
}

static unsigned int move_size(const struct emul_insn *insn, const struct vector_move *move)
{
	if (move->size == SIZE_GPR)
		return insn->rex & 8 ? 8 : 4;
	if (move->size == SIZE_VECTOR && insn->vex_l)
		return 32;
	return move->size;
}

static int check_address(struct exec *x, const struct vector_move *move, unsigned int size)
{
	int ret;

	ret = emul_operand_linear(x, size, move->flags & V_STORE ? EMUL_ACCESS_WRITE : 0);
	if (!ret && move->flags & V_ALIGNED && x->linear & (size - 1))
		ret = emul_raise_code0(x, VECTOR_GP);
	return ret;
}

/* Have the low @size bytes of @data written to a register, and 0 above them. */
static void set_vector(struct exec *x, unsigned int reg, const u8 *data, unsigned int size)
{
	memset(x->vec, 0, sizeof(x->vec));
	memcpy(x->vec, data, size);
	x->vec_reg = reg;
	x->vec_size = x->insn->encoding == EMUL_VEX ? 32 : 16;
}

static int load(struct exec *x, const struct vector_move *move, unsigned int size)
{
	u8 data[32];
	u64 value;
	int ret = EMUL_DONE;

	if (emul_is_mem(x->insn)) {
		ret = check_address(x, move, size);
		if (!ret)
			ret = emul_mem_read(x, x->linear, size, 0, data);
	} else if (move->size == SIZE_GPR) {
		value = emul_reg_get(x, emul_rm(x->insn), size);
		memcpy(data, &value, size);
	} else {
		x->ctxt->ops->vec_read(x->ctxt->opaque, emul_rm(x->insn), data);
	}
	if (!ret)
		set_vector(x, emul_reg(x->insn), data, size);
	return ret;
}

static int store(struct exec *x, const struct vector_move *move, unsigned int size)
{
	u8 data[32];
	u64 value = 0;
	int ret = EMUL_DONE;

	x->ctxt->ops->vec_read(x->ctxt->opaque, emul_reg(x->insn), data);
	if (emul_is_mem(x->insn)) {
		ret = check_address(x, move, size);
		if (!ret)
			ret = emul_mem_write(x, x->linear, size, data);
	} else if (move->size == SIZE_GPR) {
		memcpy(&value, data, size);
		emul_reg_set(x, emul_rm(x->insn), size, value);
	} else {
		set_vector(x, emul_rm(x->insn), data, size);
	}
	return ret;
}

int emul_exec_vector(struct exec *x)
{
	const struct vector_move *move = find_move(x->insn);
	unsigned int size;
	int ret;

	if (!move || (move->flags & V_MEMORY && !emul_is_mem(x->insn)))
		return EMUL_UNHANDLED;
	ret = check_enabled(x, move);
	if (ret)
		return ret;
	size = move_size(x->insn, move);
	return move->flags & V_STORE ? store(x, move, size) : load(x, move, size);
}
