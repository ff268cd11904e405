// SPDX-License-Identifier: GPL-2.0-only
/*
 * Operands of the executor: registers, effective and linear addresses with
 * their checks, numbered accesses to memory.  Called by the instruction
 * families.  Works on the caller's struct exec, no lock.
 */
#include "internal.h"

/* Without REX, byte registers 4 to 7 are the high bytes of the first four. */
static bool is_high_byte(const struct emul_insn *insn, unsigned int reg, unsigned int size)
{
	return size == 1 && reg >= 4 && reg < 8 && !insn->rex;
}

static u64 get_reg(const struct emul_insn *insn, const struct emul_regs *regs, unsigned int reg,
		   unsigned int size)
{
	if (is_high_byte(insn, reg, size))
		return (regs->gpr[reg - 4] >> 8) & 0xff;
	return regs->gpr[reg] & size_mask(size);
}

static void merge(u64 *reg, unsigned int size, u64 value)
{
	u64 mask = size_mask(size);

	if (size == 4)
		*reg = (u32)value;
	else
		*reg = (*reg & ~mask) | (value & mask);
}

static void set_reg(const struct emul_insn *insn, struct emul_regs *regs, unsigned int reg,
		    unsigned int size, u64 value)
{
	u64 *high;

	if (!is_high_byte(insn, reg, size)) {
		merge(&regs->gpr[reg], size, value);
		return;
	}
	high = &regs->gpr[reg - 4];
	*high = (*high & ~0xff00ull) | (value & 0xff) << 8;
}

u64 emul_reg_get(const struct exec *x, unsigned int reg, unsigned int size)
{
	return get_reg(x->insn, &x->regs, reg, size);
}

void emul_reg_set(struct exec *x, unsigned int reg, unsigned int size, u64 value)
{
	set_reg(x->insn, &x->regs, reg, size, value);
}

u64 emul_acc_get(const struct exec *x, unsigned int size)
{
	return x->regs.gpr[EMUL_RAX] & size_mask(size);
}

void emul_acc_set(struct exec *x, unsigned int size, u64 value)
{
	merge(&x->regs.gpr[EMUL_RAX], size, value);
}

/* Add to a pointer or counter of @size bytes. */
void emul_reg_step(struct exec *x, unsigned int reg, unsigned int size, s64 step)
{
	merge(&x->regs.gpr[reg], size, x->regs.gpr[reg] + step);
}

int emul_raise(struct exec *x, unsigned int vector)
{
	x->ctxt->exception = (struct emul_exception){ .vector = vector };
	return EMUL_EXCEPTION;
}

int emul_raise_code0(struct exec *x, unsigned int vector)
{
	x->ctxt->exception = (struct emul_exception){ .vector = vector, .has_error_code = true };
	return EMUL_EXCEPTION;
}

static u64 offset_16(const struct emul_insn *insn, const struct emul_regs *regs)
{
	/* BX+SI, BX+DI, BP+SI, BP+DI, SI, DI, BP, BX */
	static const s8 base[] = {
		EMUL_RBX, EMUL_RBX, EMUL_RBP, EMUL_RBP, EMUL_RSI, EMUL_RDI, EMUL_RBP, EMUL_RBX,
	};
	static const s8 index[] = {
		EMUL_RSI, EMUL_RDI, EMUL_RSI, EMUL_RDI, -1, -1, -1, -1,
	};
	unsigned int mod = insn->modrm >> 6, rm = insn->modrm & 7;
	u64 offset = insn->disp;

	if (mod || rm != 6)
		offset += regs->gpr[base[rm]];
	if (index[rm] >= 0)
		offset += regs->gpr[index[rm]];
	return offset;
}

static u64 offset_sib(const struct emul_insn *insn, const struct emul_regs *regs)
{
	unsigned int base = insn->sib & 7, index = (insn->sib >> 3) & 7;
	u64 offset = insn->disp;

	index |= (insn->rex & 2) << 2;
	if (base != 5 || insn->modrm >> 6)
		offset += regs->gpr[base | (insn->rex & 1) << 3];
	if (index != EMUL_RSP)
		offset += regs->gpr[index] << (insn->sib >> 6);
	return offset;
}

static u64 offset_32(const struct emul_insn *insn, const struct emul_regs *regs)
{
	unsigned int mod = insn->modrm >> 6, rm = insn->modrm & 7;

	if (rm == 4)
		return offset_sib(insn, regs);
	if (mod || rm != 5)
		return (s64)insn->disp + regs->gpr[emul_rm(insn)];
	/* A displacement alone: relative to the next instruction in 64-bit code. */
	if (insn->mode == EMUL_MODE_64)
		return (s64)insn->disp + regs->rip + insn->length;
	return insn->disp;
}

/* Offset of the memory operand in its segment, from the working registers. */
u64 emul_offset(const struct exec *x)
{
	const struct emul_insn *insn = x->insn;
	u64 offset;

	if (!insn->has_modrm)
		offset = insn->imm;
	else if (insn->addr_bytes == 2)
		offset = offset_16(insn, &x->regs);
	else
		offset = offset_32(insn, &x->regs);
	return (offset + x->displace) & size_mask(insn->addr_bytes);
}

bool emul_is_move(const struct emul_insn *insn, const struct emul_regs *regs,
		  struct emul_move *move)
{
	unsigned int form = insn->attr & A_FORM, reg = emul_reg(insn);

	if (insn->mode != EMUL_MODE_64 || insn->lock || insn->segment >= EMUL_FS)
		return false;
	move->size = insn->op_bytes;
	move->write = form == A_RM_R || form == A_RM_I || form == A_M_ACC;
	if (insn->op == OP_MOVZX)
		move->size = insn->opcode & 1 ? 2 : 1;
	else if (insn->op != OP_MOV)
		return false;

	if (form == A_ACC_M || form == A_M_ACC) {
		move->value = regs->gpr[EMUL_RAX] & size_mask(move->size);
		move->linear = insn->imm & size_mask(insn->addr_bytes);
		return true;
	}
	if (!emul_is_mem(insn) || (form == A_RM_I && modrm_reg(insn)))
		return false;
	if (form == A_RM_R)
		move->value = get_reg(insn, regs, reg, move->size);
	else
		move->value = insn->imm & size_mask(move->size);
	move->linear = offset_32(insn, regs) & size_mask(insn->addr_bytes);
	return true;
}

void emul_finish_load(const struct emul_insn *insn, struct emul_regs *regs, u64 value)
{
	if (insn->has_modrm)
		set_reg(insn, regs, emul_reg(insn), insn->op_bytes, value);
	else
		merge(&regs->gpr[EMUL_RAX], insn->op_bytes, value);
}

bool emul_is_canonical(const struct emul_ctxt *ctxt, u64 address)
{
	unsigned int shift = ctxt->cr4 & BIT_CR4_LA57 ? 64 - 57 : 64 - 48;

	return (u64)((s64)(address << shift) >> shift) == address;
}

/* Protected mode, and not virtual-8086 mode. */
bool emul_is_protected(const struct exec *x)
{
	return x->ctxt->cr0 & BIT_CR0_PE && !(x->regs.rflags & FLAG_VM);
}

/* AMD APM volume 2, "Limit Checks on Segments". */
static bool within_limit(const struct kvm_segment *seg, u64 offset, unsigned int size)
{
	u64 last = offset + size - 1;
	bool expand_down = (seg->type & 0xc) == 4;

	if (!expand_down)
		return last <= seg->limit;
	return offset > seg->limit && last <= (seg->db ? 0xffffffff : 0xffff);
}

static bool type_allows(const struct kvm_segment *seg, unsigned int flags)
{
	bool code = seg->type & 8;

	if (flags & EMUL_ACCESS_WRITE)
		return !code && seg->type & 2;
	return !code || seg->type & 2;
}

static int linearize_64(struct exec *x, unsigned int segment, u64 offset, unsigned int size,
			u64 *linear)
{
	struct kvm_segment seg = { .base = 0 };

	if (segment == EMUL_FS || segment == EMUL_GS)
		x->ctxt->ops->segment(x->ctxt->opaque, segment, &seg);
	*linear = seg.base + offset;
	if (emul_is_canonical(x->ctxt, *linear) && emul_is_canonical(x->ctxt, *linear + size - 1))
		return EMUL_DONE;
	return emul_raise_code0(x, segment == EMUL_SS ? VECTOR_SS : VECTOR_GP);
}

/*
 * Linear address of @size bytes at @offset in @segment, after the checks that
 * the processor makes before paging.  @flags: EMUL_ACCESS_WRITE or 0.
 */
int emul_linearize(struct exec *x, unsigned int segment, u64 offset, unsigned int size,
		   unsigned int flags, u64 *linear)
{
	struct kvm_segment seg = { .base = 0 };

	if (x->insn->mode == EMUL_MODE_64)
		return linearize_64(x, segment, offset, size, linear);

	x->ctxt->ops->segment(x->ctxt->opaque, segment, &seg);
	if (emul_is_protected(x) && (seg.unusable || !type_allows(&seg, flags)))
		return emul_raise_code0(x, VECTOR_GP);
	if (!within_limit(&seg, offset, size))
		return emul_raise_code0(x, segment == EMUL_SS ? VECTOR_SS : VECTOR_GP);
	*linear = (u32)(seg.base + offset);
	return EMUL_DONE;
}

/* Fill in x->linear for the memory operand. */
int emul_operand_linear(struct exec *x, unsigned int size, unsigned int flags)
{
	return emul_linearize(x, x->insn->segment, emul_offset(x), size, flags, &x->linear);
}

int emul_mem_read(struct exec *x, u64 linear, unsigned int size, unsigned int flags, void *buf)
{
	struct emul_access access = {
		.linear = linear, .size = size, .index = x->index++, .flags = flags,
	};

	return x->ctxt->ops->read(x->ctxt->opaque, &access, buf);
}

int emul_mem_write(struct exec *x, u64 linear, unsigned int size, const void *buf)
{
	struct emul_access access = {
		.linear = linear, .size = size, .index = x->index++, .flags = EMUL_ACCESS_WRITE,
	};

	return x->ctxt->ops->write(x->ctxt->opaque, &access, buf);
}

int emul_mem_cmpxchg(struct exec *x, u64 linear, unsigned int size,
		     const void *old, const void *new)
{
	struct emul_access access = {
		.linear = linear, .size = size, .index = x->index++,
		.flags = EMUL_ACCESS_WRITE | EMUL_ACCESS_LOCKED,
	};

	return x->ctxt->ops->exchange(x->ctxt->opaque, &access, old, new);
}

/* Read the ModRM operand, or that of a memory offset. */
int emul_rm_get(struct exec *x, unsigned int size, u64 *value)
{
	int ret;

	*value = 0;
	if (x->insn->has_modrm && !emul_is_mem(x->insn)) {
		*value = emul_reg_get(x, emul_rm(x->insn), size);
		return EMUL_DONE;
	}
	ret = emul_operand_linear(x, size, 0);
	if (ret)
		return ret;
	return emul_mem_read(x, x->linear, size, 0, value);
}

/* Write the ModRM operand, or that of a memory offset. */
int emul_rm_set(struct exec *x, unsigned int size, u64 value)
{
	int ret;

	if (x->insn->has_modrm && !emul_is_mem(x->insn)) {
		emul_reg_set(x, emul_rm(x->insn), size, value);
		return EMUL_DONE;
	}
	ret = emul_operand_linear(x, size, EMUL_ACCESS_WRITE);
	if (ret)
		return ret;
	return emul_mem_write(x, x->linear, size, &value);
}

/* XCHG locks without being told to. */
static bool is_locked(const struct emul_insn *insn)
{
	return insn->lock || insn->op == OP_XCHG;
}

/* Flags of the read that begins a read-modify-write. */
unsigned int emul_modify_flags(const struct exec *x)
{
	return EMUL_ACCESS_WRITE | (is_locked(x->insn) ? EMUL_ACCESS_LOCKED : 0);
}

/* Read the ModRM operand in order to change it. */
int emul_rm_modify_begin(struct exec *x, unsigned int size, u64 *value)
{
	int ret;

	*value = 0;
	if (!emul_is_mem(x->insn)) {
		*value = emul_reg_get(x, emul_rm(x->insn), size);
		return EMUL_DONE;
	}
	ret = emul_operand_linear(x, size, EMUL_ACCESS_WRITE);
	if (ret)
		return ret;
	ret = emul_mem_read(x, x->linear, size, emul_modify_flags(x), value);
	memcpy(x->old, value, size);
	return ret;
}

/* Write what emul_rm_modify_begin() read; atomically if the instruction says so. */
int emul_rm_modify_end(struct exec *x, unsigned int size, u64 value)
{
	if (!emul_is_mem(x->insn)) {
		emul_reg_set(x, emul_rm(x->insn), size, value);
		return EMUL_DONE;
	}
	if (is_locked(x->insn))
		return emul_mem_cmpxchg(x, x->linear, size, x->old, &value);
	return emul_mem_write(x, x->linear, size, &value);
}

/* Jump: the target must lie in the code segment. */
int emul_set_rip(struct exec *x, u64 rip)
{
	struct kvm_segment cs = { .base = 0 };

	if (x->insn->mode == EMUL_MODE_64) {
		if (!emul_is_canonical(x->ctxt, rip))
			return emul_raise_code0(x, VECTOR_GP);
	} else {
		x->ctxt->ops->segment(x->ctxt->opaque, EMUL_CS, &cs);
		if (rip > cs.limit)
			return emul_raise_code0(x, VECTOR_GP);
	}
	x->next_rip = rip;
	return EMUL_DONE;
}

/* Make the working registers the guest's, and begin a new transaction. */
void emul_retire(struct exec *x)
{
	const struct emul_ops *ops = x->ctxt->ops;

	*x->ctxt->regs = x->regs;
	if (x->vec_size)
		ops->vec_write(x->ctxt->opaque, x->vec_reg, x->vec, x->vec_size);
	x->vec_size = 0;
	x->index = 0;
	x->ctxt->retired++;
	if (ops->retire)
		ops->retire(x->ctxt->opaque);
}

/* Retire the instruction's last or only iteration. */
void emul_finish(struct exec *x)
{
	x->regs.rip = x->next_rip;
	x->regs.rflags &= ~FLAG_RF;
	emul_retire(x);
}
