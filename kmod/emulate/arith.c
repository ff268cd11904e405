// SPDX-License-Identifier: GPL-2.0-only
/*
 * The instructions that compute: arithmetic, logic, shifts, bits, and the
 * exchanges.  Called through the executor's table.  Works on the caller's
 * struct exec, no lock.
 */
#include "internal.h"

static u64 reg_operand(const struct exec *x)
{
	return emul_reg_get(x, emul_reg(x->insn), x->insn->op_bytes);
}

static void set_reg_operand(struct exec *x, u64 value)
{
	emul_reg_set(x, emul_reg(x->insn), x->insn->op_bytes, value);
}

static u64 immediate(const struct exec *x)
{
	return x->insn->imm & size_mask(x->insn->op_bytes);
}

/* ADD to XOR, with the ModRM operand as destination. */
static int alu_to_rm(struct exec *x, unsigned int operation, u64 source)
{
	unsigned int size = x->insn->op_bytes;
	u64 value;
	int ret;

	if (operation == ALU_CMP)
		ret = emul_rm_get(x, size, &value);
	else
		ret = emul_rm_modify_begin(x, size, &value);
	if (ret)
		return ret;
	value = emul_alu(&x->regs.rflags, operation, size, value, source);
	return operation == ALU_CMP ? EMUL_DONE : emul_rm_modify_end(x, size, value);
}

static int alu_to_reg(struct exec *x, unsigned int operation)
{
	unsigned int size = x->insn->op_bytes;
	u64 value;
	int ret;

	ret = emul_rm_get(x, size, &value);
	if (ret)
		return ret;
	value = emul_alu(&x->regs.rflags, operation, size, reg_operand(x), value);
	if (operation != ALU_CMP)
		set_reg_operand(x, value);
	return EMUL_DONE;
}

static int alu_to_acc(struct exec *x, unsigned int operation)
{
	unsigned int size = x->insn->op_bytes;
	u64 value = emul_alu(&x->regs.rflags, operation, size, emul_acc_get(x, size), immediate(x));

	if (operation != ALU_CMP)
		emul_acc_set(x, size, value);
	return EMUL_DONE;
}

int emul_exec_alu(struct exec *x)
{
	unsigned int in_opcode = x->insn->opcode >> 3;

	switch (x->insn->attr & A_FORM) {
	case A_RM_R:
		return alu_to_rm(x, in_opcode, reg_operand(x));
	case A_R_RM:
		return alu_to_reg(x, in_opcode);
	case A_ACC_I:
		return alu_to_acc(x, in_opcode);
	default:
		return alu_to_rm(x, modrm_reg(x->insn), immediate(x));
	}
}

static int test_rm(struct exec *x, u64 source)
{
	u64 value;
	int ret;

	ret = emul_rm_get(x, x->insn->op_bytes, &value);
	if (!ret)
		emul_flags_logic(&x->regs.rflags, x->insn->op_bytes, value & source);
	return ret;
}

int emul_exec_test(struct exec *x)
{
	unsigned int size = x->insn->op_bytes;

	if ((x->insn->attr & A_FORM) == A_RM_R)
		return test_rm(x, reg_operand(x));
	emul_flags_logic(&x->regs.rflags, size, emul_acc_get(x, size) & immediate(x));
	return EMUL_DONE;
}

static int not_or_neg(struct exec *x, bool neg)
{
	unsigned int size = x->insn->op_bytes;
	u64 value;
	int ret;

	ret = emul_rm_modify_begin(x, size, &value);
	if (ret)
		return ret;
	value = neg ? emul_neg(&x->regs.rflags, size, value) : ~value;
	return emul_rm_modify_end(x, size, value);
}

/* The double-width operand of MUL and DIV: AX, DX:AX, EDX:EAX or RDX:RAX. */
static void set_double(struct exec *x, u64 low, u64 high)
{
	unsigned int size = x->insn->op_bytes;

	if (size == 1) {
		emul_acc_set(x, 2, low | high << 8);
		return;
	}
	emul_acc_set(x, size, low);
	emul_reg_set(x, EMUL_RDX, size, high);
}

static int multiply(struct exec *x, bool is_signed)
{
	unsigned int size = x->insn->op_bytes;
	u64 value, low, high;
	int ret;

	ret = emul_rm_get(x, size, &value);
	if (ret)
		return ret;
	emul_mul(&x->regs.rflags, is_signed, size, emul_acc_get(x, size), value, &low, &high);
	set_double(x, low, high);
	return EMUL_DONE;
}

static int divide(struct exec *x, bool is_signed)
{
	unsigned int size = x->insn->op_bytes;
	u64 value, high, quotient, remainder;
	int ret;

	ret = emul_rm_get(x, size, &value);
	if (ret)
		return ret;
	high = size == 1 ? emul_acc_get(x, 2) >> 8 : emul_reg_get(x, EMUL_RDX, size);
	if (!emul_div(is_signed, size, emul_acc_get(x, size), high, value, &quotient, &remainder))
		return emul_raise(x, VECTOR_DE);
	set_double(x, quotient & size_mask(size), remainder & size_mask(size));
	return EMUL_DONE;
}

int emul_exec_unary(struct exec *x)
{
	unsigned int operation = modrm_reg(x->insn);

	switch (operation) {
	case 0:
	case 1:
		return test_rm(x, immediate(x));
	case 2:
	case 3:
		return not_or_neg(x, operation & 1);
	case 4:
	case 5:
		return multiply(x, operation & 1);
	default:
		return divide(x, operation & 1);
	}
}

int emul_exec_inc_dec(struct exec *x)
{
	unsigned int size = x->insn->op_bytes, operation = modrm_reg(x->insn);
	u64 value;
	int ret;

	if (operation > 1)
		return emul_raise(x, VECTOR_UD);
	ret = emul_rm_modify_begin(x, size, &value);
	if (ret)
		return ret;
	value = emul_inc_dec(&x->regs.rflags, operation, size, value);
	return emul_rm_modify_end(x, size, value);
}

int emul_exec_imul(struct exec *x)
{
	unsigned int size = x->insn->op_bytes;
	u64 value, low, high;
	int ret;

	ret = emul_rm_get(x, size, &value);
	if (ret)
		return ret;
	emul_mul(&x->regs.rflags, true, size, value,
		 x->insn->map == EMUL_MAP_1 ? immediate(x) : reg_operand(x), &low, &high);
	set_reg_operand(x, low);
	return EMUL_DONE;
}

int emul_exec_shift(struct exec *x)
{
	unsigned int size = x->insn->op_bytes, count;
	u64 value;
	int ret;

	if (x->insn->attr & A_IMM)
		count = x->insn->imm & 0xff;
	else
		count = x->insn->opcode & 2 ? x->regs.gpr[EMUL_RCX] & 0xff : 1;
	ret = emul_rm_modify_begin(x, size, &value);
	if (ret)
		return ret;
	value = emul_shift(&x->regs.rflags, modrm_reg(x->insn), size, value, count);
	return emul_rm_modify_end(x, size, value);
}

int emul_exec_shift_double(struct exec *x)
{
	bool by_cl = x->insn->opcode & 1, right = x->insn->opcode & 8;
	unsigned int size = x->insn->op_bytes;
	unsigned int count = (by_cl ? x->regs.gpr[EMUL_RCX] : x->insn->imm) & 0xff;
	u64 value;
	int ret;

	ret = emul_rm_modify_begin(x, size, &value);
	if (ret)
		return ret;
	value = emul_shift_double(&x->regs.rflags, right, size, value, reg_operand(x), count);
	return emul_rm_modify_end(x, size, value);
}

enum { BIT_TEST, BIT_SET, BIT_RESET, BIT_COMPLEMENT };

/* A bit offset in a register reaches beyond a memory operand, either way. */
static unsigned int bit_offset(struct exec *x)
{
	unsigned int size = x->insn->op_bytes;
	s64 offset;

	if ((x->insn->attr & A_FORM) == A_RM_I)
		return x->insn->imm & (8 * size - 1);
	offset = sign_extend(reg_operand(x), size);
	if (emul_is_mem(x->insn))
		x->displace = (offset >> 3) & ~(u64)(size - 1);
	return offset & (8 * size - 1);
}

int emul_exec_bit_test(struct exec *x)
{
	bool in_modrm = (x->insn->attr & A_FORM) == A_RM_I;
	unsigned int operation = in_modrm ? modrm_reg(x->insn) : x->insn->opcode >> 3;
	unsigned int size = x->insn->op_bytes;
	u64 value, bit;
	int ret;

	if (in_modrm && operation < 4)
		return emul_raise(x, VECTOR_UD);
	operation &= 3;

	bit = 1ull << bit_offset(x);
	if (operation == BIT_TEST)
		ret = emul_rm_get(x, size, &value);
	else
		ret = emul_rm_modify_begin(x, size, &value);
	if (ret)
		return ret;

	x->regs.rflags &= ~FLAG_CF;
	if (value & bit)
		x->regs.rflags |= FLAG_CF;

	switch (operation) {
	case BIT_SET:
		value |= bit;
		break;
	case BIT_RESET:
		value &= ~bit;
		break;
	case BIT_COMPLEMENT:
		value ^= bit;
		break;
	default:
		return EMUL_DONE;
	}
	return emul_rm_modify_end(x, size, value);
}

/* TZCNT and LZCNT; @value is not 0. */
static unsigned int zeros(bool leading, unsigned int size, u64 value)
{
	if (leading)
		return __builtin_clzll(value) - (64 - 8 * size);
	return __builtin_ctzll(value);
}

/* BSF, BSR; with F3 TZCNT, LZCNT. */
int emul_exec_bit_scan(struct exec *x)
{
	unsigned int size = x->insn->op_bytes;
	bool reverse = x->insn->opcode & 1, count = x->insn->rep == 0xf3;
	u64 value, result = 8 * size;
	int ret;

	ret = emul_rm_get(x, size, &value);
	if (ret)
		return ret;
	if (value)
		result = zeros(reverse, size, value);

	if (count) {
		x->regs.rflags &= ~(FLAG_CF | FLAG_ZF);
		if (!value)
			x->regs.rflags |= FLAG_CF;
		if (!result)
			x->regs.rflags |= FLAG_ZF;
	} else {
		x->regs.rflags &= ~FLAG_ZF;
		if (!value) {
			/* The destination keeps all its bits. */
			x->regs.rflags |= FLAG_ZF;
			return EMUL_DONE;
		}
		if (reverse)
			result = 8 * size - 1 - result;
	}
	set_reg_operand(x, result);
	return EMUL_DONE;
}

int emul_exec_popcnt(struct exec *x)
{
	u64 value, rest;
	unsigned int ones = 0;
	int ret;

	if (x->insn->rep != 0xf3)
		return emul_raise(x, VECTOR_UD);
	ret = emul_rm_get(x, x->insn->op_bytes, &value);
	if (ret)
		return ret;
	for (rest = value; rest; rest &= rest - 1)
		ones++;
	x->regs.rflags &= ~FLAGS_STATUS;
	if (!value)
		x->regs.rflags |= FLAG_ZF;
	set_reg_operand(x, ones);
	return EMUL_DONE;
}

int emul_exec_xchg(struct exec *x)
{
	unsigned int size = x->insn->op_bytes;
	u64 value, source = reg_operand(x);
	int ret;

	ret = emul_rm_modify_begin(x, size, &value);
	if (ret)
		return ret;
	set_reg_operand(x, value);
	return emul_rm_modify_end(x, size, source);
}

int emul_exec_xadd(struct exec *x)
{
	unsigned int size = x->insn->op_bytes;
	u64 value, sum;
	int ret;

	ret = emul_rm_modify_begin(x, size, &value);
	if (ret)
		return ret;
	sum = emul_alu(&x->regs.rflags, ALU_ADD, size, value, reg_operand(x));
	set_reg_operand(x, value);
	return emul_rm_modify_end(x, size, sum);
}

/* The processor writes memory whatever the comparison says, but not a register. */
int emul_exec_cmpxchg(struct exec *x)
{
	unsigned int size = x->insn->op_bytes;
	u64 value, source = reg_operand(x);
	int ret;

	ret = emul_rm_modify_begin(x, size, &value);
	if (ret)
		return ret;
	emul_alu(&x->regs.rflags, ALU_CMP, size, emul_acc_get(x, size), value);
	if (x->regs.rflags & FLAG_ZF)
		return emul_rm_modify_end(x, size, source);
	emul_acc_set(x, size, value);
	if (!emul_is_mem(x->insn))
		return EMUL_DONE;
	return emul_rm_modify_end(x, size, value);
}

static void get_pair(const struct exec *x, unsigned int half, unsigned int low, unsigned int high,
		     u8 *pair)
{
	memcpy(pair, &x->regs.gpr[low], half);
	memcpy(pair + half, &x->regs.gpr[high], half);
}

static void set_pair(struct exec *x, unsigned int half, const u8 *pair)
{
	u64 low = 0, high = 0;

	memcpy(&low, pair, half);
	memcpy(&high, pair + half, half);
	emul_reg_set(x, EMUL_RAX, half, low);
	emul_reg_set(x, EMUL_RDX, half, high);
}

/* CMPXCHG8B and CMPXCHG16B; the rest of group 9 is not known here. */
int emul_exec_cmpxchg_pair(struct exec *x)
{
	unsigned int half = x->insn->op_bytes == 8 ? 8 : 4;
	u8 expected[16], new[16];
	int ret;

	if (modrm_reg(x->insn) != 1 || !emul_is_mem(x->insn))
		return EMUL_UNHANDLED;
	ret = emul_operand_linear(x, 2 * half, EMUL_ACCESS_WRITE);
	if (ret)
		return ret;
	if (half == 8 && x->linear & 15)
		return emul_raise_code0(x, VECTOR_GP);
	ret = emul_mem_read(x, x->linear, 2 * half, emul_modify_flags(x), x->old);
	if (ret)
		return ret;

	get_pair(x, half, EMUL_RAX, EMUL_RDX, expected);
	if (!memcmp(expected, x->old, 2 * half)) {
		x->regs.rflags |= FLAG_ZF;
		get_pair(x, half, EMUL_RBX, EMUL_RCX, new);
	} else {
		x->regs.rflags &= ~FLAG_ZF;
		set_pair(x, half, x->old);
		memcpy(new, x->old, 2 * half);
	}
	if (x->insn->lock)
		return emul_mem_cmpxchg(x, x->linear, 2 * half, x->old, new);
	return emul_mem_write(x, x->linear, 2 * half, new);
}
