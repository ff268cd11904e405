// SPDX-License-Identifier: GPL-2.0-only
/*
 * The executor: its entry points, the table of instruction families, and the
 * families that move data, jump or do nothing.  Called by guest_access.c and
 * the backends, on the vCPU's thread.  No state of its own, no lock.
 */
#include "internal.h"

static unsigned int opcode_reg(const struct emul_insn *insn)
{
	return (insn->opcode & 7) | (insn->rex & 1) << 3;
}

static int load_reg(struct exec *x, unsigned int size)
{
	u64 value;
	int ret;

	ret = emul_rm_get(x, size, &value);
	if (!ret)
		emul_reg_set(x, emul_reg(x->insn), x->insn->op_bytes, value);
	return ret;
}

static int load_acc(struct exec *x)
{
	u64 value;
	int ret;

	ret = emul_rm_get(x, x->insn->op_bytes, &value);
	if (!ret)
		emul_acc_set(x, x->insn->op_bytes, value);
	return ret;
}

static int store_reg(struct exec *x)
{
	unsigned int size = x->insn->op_bytes;

	return emul_rm_set(x, size, emul_reg_get(x, emul_reg(x->insn), size));
}

static int exec_mov(struct exec *x)
{
	unsigned int size = x->insn->op_bytes;

	switch (x->insn->attr & A_FORM) {
	case A_RM_R:
		return store_reg(x);
	case A_R_RM:
		return load_reg(x, size);
	case A_RM_I:
		if (modrm_reg(x->insn))
			return emul_raise(x, VECTOR_UD);
		return emul_rm_set(x, size, x->insn->imm & size_mask(size));
	case A_OPREG:
		emul_reg_set(x, opcode_reg(x->insn), size, x->insn->imm);
		return EMUL_DONE;
	case A_ACC_M:
		return load_acc(x);
	default:
		return emul_rm_set(x, size, emul_acc_get(x, size));
	}
}

static int exec_mov_from_sreg(struct exec *x)
{
	struct kvm_segment seg = { .selector = 0 };
	unsigned int index = modrm_reg(x->insn);

	if (index >= EMUL_NR_SEG)
		return emul_raise(x, VECTOR_UD);
	x->ctxt->ops->segment(x->ctxt->opaque, index, &seg);
	return emul_rm_set(x, emul_is_mem(x->insn) ? 2 : x->insn->op_bytes, seg.selector);
}

static int exec_movzx(struct exec *x)
{
	return load_reg(x, x->insn->opcode & 1 ? 2 : 1);
}

static int load_sign_extended(struct exec *x, unsigned int size)
{
	u64 value;
	int ret;

	ret = emul_rm_get(x, size, &value);
	if (!ret)
		emul_reg_set(x, emul_reg(x->insn), x->insn->op_bytes, sign_extend(value, size));
	return ret;
}

static int exec_movsx(struct exec *x)
{
	return load_sign_extended(x, x->insn->opcode & 1 ? 2 : 1);
}

static int exec_movsxd(struct exec *x)
{
	if (x->insn->mode != EMUL_MODE_64)
		return EMUL_UNHANDLED;		/* ARPL */
	return load_sign_extended(x, x->insn->op_bytes == 2 ? 2 : 4);
}

static u64 reverse_bytes(u64 value, unsigned int size)
{
	return __builtin_bswap64(value) >> (64 - 8 * size);
}

static int exec_movbe(struct exec *x)
{
	unsigned int size = x->insn->op_bytes, reg = emul_reg(x->insn);
	u64 value;
	int ret;

	if (x->insn->rep)
		return EMUL_UNHANDLED;		/* CRC32 */
	if (!emul_is_mem(x->insn))
		return emul_raise(x, VECTOR_UD);
	if (x->insn->opcode & 1)
		return emul_rm_set(x, size, reverse_bytes(emul_reg_get(x, reg, size), size));
	ret = emul_rm_get(x, size, &value);
	if (!ret)
		emul_reg_set(x, reg, size, reverse_bytes(value, size));
	return ret;
}

static int exec_movnti(struct exec *x)
{
	if (x->insn->opsize || x->insn->rep)
		return EMUL_UNHANDLED;
	if (!emul_is_mem(x->insn))
		return emul_raise(x, VECTOR_UD);
	return store_reg(x);
}

static int exec_lea(struct exec *x)
{
	if (!emul_is_mem(x->insn))
		return emul_raise(x, VECTOR_UD);
	emul_reg_set(x, emul_reg(x->insn), x->insn->op_bytes, emul_offset(x));
	return EMUL_DONE;
}

/* Width of the stack pointer. */
static unsigned int stack_bytes(const struct exec *x)
{
	struct kvm_segment ss = { .db = 0 };

	if (x->insn->mode == EMUL_MODE_64)
		return 8;
	x->ctxt->ops->segment(x->ctxt->opaque, EMUL_SS, &ss);
	return ss.db ? 4 : 2;
}

static int push(struct exec *x, unsigned int size, u64 value)
{
	unsigned int width = stack_bytes(x);
	u64 linear;
	int ret;

	emul_reg_step(x, EMUL_RSP, width, -(s64)size);
	ret = emul_linearize(x, EMUL_SS, x->regs.gpr[EMUL_RSP] & size_mask(width), size,
			     EMUL_ACCESS_WRITE, &linear);
	if (ret)
		return ret;
	return emul_mem_write(x, linear, size, &value);
}

static int pop(struct exec *x, unsigned int size, u64 *value)
{
	unsigned int width = stack_bytes(x);
	u64 linear;
	int ret;

	*value = 0;
	ret = emul_linearize(x, EMUL_SS, x->regs.gpr[EMUL_RSP] & size_mask(width), size, 0,
			     &linear);
	if (!ret)
		ret = emul_mem_read(x, linear, size, 0, value);
	if (!ret)
		emul_reg_step(x, EMUL_RSP, width, size);
	return ret;
}

static int exec_push(struct exec *x)
{
	unsigned int size = x->insn->op_bytes;

	if ((x->insn->attr & A_FORM) == A_OPREG)
		return push(x, size, emul_reg_get(x, opcode_reg(x->insn), size));
	return push(x, size, x->insn->imm);
}

/* The address of a memory operand counts from the stack pointer after the pop. */
static int exec_pop(struct exec *x)
{
	unsigned int size = x->insn->op_bytes;
	u64 value;
	int ret;

	ret = pop(x, size, &value);
	if (ret)
		return ret;
	if (x->insn->has_modrm)
		return emul_rm_set(x, size, value);
	emul_reg_set(x, opcode_reg(x->insn), size, value);
	return EMUL_DONE;
}

enum {
	GROUP_5_INC,
	GROUP_5_DEC,
	GROUP_5_CALL,
	GROUP_5_CALL_FAR,
	GROUP_5_JMP,
	GROUP_5_JMP_FAR,
	GROUP_5_PUSH,
};

/* CALL, JMP and PUSH of group 5 have 64-bit operands in 64-bit code. */
static int near_branch_or_push(struct exec *x, unsigned int operation)
{
	const struct emul_insn *insn = x->insn;
	unsigned int size = insn->op_bytes;
	u64 value;
	int ret;

	if (insn->mode == EMUL_MODE_64)
		size = insn->op_bytes == 2 ? 2 : 8;
	/* Vendors disagree about 16-bit branches in 64-bit code. */
	if (insn->mode == EMUL_MODE_64 && insn->opsize && operation != GROUP_5_PUSH)
		return EMUL_UNHANDLED;

	ret = emul_rm_get(x, size, &value);
	if (ret)
		return ret;
	if (operation == GROUP_5_PUSH)
		return push(x, size, value);
	if (operation == GROUP_5_CALL) {
		ret = push(x, size, x->next_rip);
		if (ret)
			return ret;
	}
	return emul_set_rip(x, value);
}

static int exec_group_5(struct exec *x)
{
	unsigned int operation = modrm_reg(x->insn);

	switch (operation) {
	case GROUP_5_INC:
	case GROUP_5_DEC:
		return emul_exec_inc_dec(x);
	case GROUP_5_CALL:
	case GROUP_5_JMP:
	case GROUP_5_PUSH:
		return near_branch_or_push(x, operation);
	case GROUP_5_CALL_FAR:
	case GROUP_5_JMP_FAR:
		return EMUL_UNHANDLED;
	default:
		return emul_raise(x, VECTOR_UD);
	}
}

/* The source is read, and a 32-bit destination zero-extended, in any case. */
static int exec_cmov(struct exec *x)
{
	unsigned int size = x->insn->op_bytes, reg = emul_reg(x->insn);
	u64 value;
	int ret;

	ret = emul_rm_get(x, size, &value);
	if (ret)
		return ret;
	if (!emul_condition(x->regs.rflags, x->insn->opcode & 15))
		value = emul_reg_get(x, reg, size);
	emul_reg_set(x, reg, size, value);
	return EMUL_DONE;
}

static int exec_setcc(struct exec *x)
{
	return emul_rm_set(x, 1, emul_condition(x->regs.rflags, x->insn->opcode & 15));
}

/* PREFETCHW with a register is #UD or nothing, depending on the vendor. */
static int exec_nop(struct exec *x)
{
	if (x->insn->opcode == 0x0d && !emul_is_mem(x->insn))
		return EMUL_UNHANDLED;
	return EMUL_DONE;
}

/* CLFLUSH, CLFLUSHOPT and CLWB have nothing to flush here. */
static int exec_cache(struct exec *x)
{
	unsigned int operation = modrm_reg(x->insn);

	if (!emul_is_mem(x->insn) || x->insn->rep)
		return EMUL_UNHANDLED;
	if (operation == 7 || (operation == 6 && x->insn->opsize))
		return emul_operand_linear(x, 1, 0);
	return EMUL_UNHANDLED;
}

/* INVLPG of an address that has no memory behind it. */
static int exec_system(struct exec *x)
{
	if (!emul_is_mem(x->insn) || modrm_reg(x->insn) != 7)
		return EMUL_UNHANDLED;
	if (x->ctxt->cpl)
		return emul_raise_code0(x, VECTOR_GP);
	return EMUL_DONE;
}

static const exec_fn families[NR_OPS] = {
	[OP_ALU] = emul_exec_alu,
	[OP_TEST] = emul_exec_test,
	[OP_XCHG] = emul_exec_xchg,
	[OP_MOV] = exec_mov,
	[OP_MOV_FROM_SREG] = exec_mov_from_sreg,
	[OP_MOVZX] = exec_movzx,
	[OP_MOVSX] = exec_movsx,
	[OP_MOVSXD] = exec_movsxd,
	[OP_MOVBE] = exec_movbe,
	[OP_MOVNTI] = exec_movnti,
	[OP_LEA] = exec_lea,
	[OP_PUSH] = exec_push,
	[OP_POP] = exec_pop,
	[OP_SHIFT] = emul_exec_shift,
	[OP_SHIFT_DOUBLE] = emul_exec_shift_double,
	[OP_UNARY] = emul_exec_unary,
	[OP_INC_DEC] = emul_exec_inc_dec,
	[OP_GROUP_5] = exec_group_5,
	[OP_IMUL] = emul_exec_imul,
	[OP_BIT_TEST] = emul_exec_bit_test,
	[OP_BIT_SCAN] = emul_exec_bit_scan,
	[OP_POPCNT] = emul_exec_popcnt,
	[OP_CMPXCHG] = emul_exec_cmpxchg,
	[OP_CMPXCHG_PAIR] = emul_exec_cmpxchg_pair,
	[OP_XADD] = emul_exec_xadd,
	[OP_CMOV] = exec_cmov,
	[OP_SETCC] = exec_setcc,
	[OP_NOP] = exec_nop,
	[OP_CACHE] = exec_cache,
	[OP_SYSTEM] = exec_system,
	[OP_IN] = emul_exec_in,
	[OP_OUT] = emul_exec_out,
	[OP_MOVS] = emul_exec_string,
	[OP_CMPS] = emul_exec_string,
	[OP_STOS] = emul_exec_string,
	[OP_LODS] = emul_exec_string,
	[OP_SCAS] = emul_exec_string,
	[OP_INS] = emul_exec_string,
	[OP_OUTS] = emul_exec_string,
	[OP_VECTOR] = emul_exec_vector,
};

/* AMD APM volume 3, "Lock Prefix": a read-modify-write of memory, or #UD. */
static bool lock_is_legal(const struct emul_insn *insn)
{
	unsigned int reg = modrm_reg(insn);

	if (!(insn->attr & A_LOCK) || !emul_is_mem(insn))
		return false;
	switch (insn->op) {
	case OP_ALU:
		return ((insn->attr & A_FORM) == A_RM_I ? reg : insn->opcode >> 3) != ALU_CMP;
	case OP_UNARY:
		return reg == 2 || reg == 3;
	case OP_INC_DEC:
	case OP_GROUP_5:
		return reg < 2;
	case OP_BIT_TEST:
		return (insn->attr & A_FORM) != A_RM_I || reg > 4;
	default:
		return true;
	}
}

static void exec_init(struct exec *x, struct emul_ctxt *ctxt, const struct emul_insn *insn)
{
	memset(x, 0, sizeof(*x));
	x->ctxt = ctxt;
	x->insn = insn;
	x->regs = *ctxt->regs;
	x->next_rip = emul_next_rip(ctxt, insn);
}

int emul_execute(struct emul_ctxt *ctxt, const struct emul_insn *insn)
{
	exec_fn family = families[insn->op];
	struct exec x;
	int ret;

	ctxt->retired = 0;
	ctxt->single_step = ctxt->regs->rflags & FLAG_TF;
	if (!family)
		return EMUL_UNHANDLED;

	exec_init(&x, ctxt, insn);
	if (insn->lock && !lock_is_legal(insn))
		return emul_raise(&x, VECTOR_UD);
	ret = family(&x);
	if (!ret)
		emul_finish(&x);
	return ret;
}

u64 emul_next_rip(const struct emul_ctxt *ctxt, const struct emul_insn *insn)
{
	static const u64 mask[] = {
		[EMUL_MODE_16] = 0xffff, [EMUL_MODE_32] = 0xffffffff, [EMUL_MODE_64] = ~0ull,
	};

	return (ctxt->regs->rip + insn->length) & mask[insn->mode];
}

u64 emul_linear(struct emul_ctxt *ctxt, const struct emul_insn *insn)
{
	struct kvm_segment seg = { .base = 0 };
	struct exec x;
	u64 linear;

	exec_init(&x, ctxt, insn);
	if (insn->mode != EMUL_MODE_64 || insn->segment >= EMUL_FS)
		ctxt->ops->segment(ctxt->opaque, insn->segment, &seg);
	linear = seg.base + emul_offset(&x);
	return insn->mode == EMUL_MODE_64 ? linear : (u32)linear;
}

int emul_read_rm(struct emul_ctxt *ctxt, const struct emul_insn *insn, unsigned int size,
		 u64 *value)
{
	struct exec x;

	exec_init(&x, ctxt, insn);
	return emul_rm_get(&x, size, value);
}

int emul_write_rm(struct emul_ctxt *ctxt, const struct emul_insn *insn, unsigned int size,
		  u64 value)
{
	struct exec x;
	int ret;

	exec_init(&x, ctxt, insn);
	ret = emul_rm_set(&x, size, value);
	if (!ret)
		*ctxt->regs = x.regs;
	return ret;
}
