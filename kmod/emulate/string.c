// SPDX-License-Identifier: GPL-2.0-only
/*
 * String instructions with their REP prefixes, and port I/O.  Called through
 * the executor's table.  Works on the caller's struct exec, no lock.
 *
 * Each iteration retires by itself.  INS and OUTS move as many elements in one
 * iteration as fit into a page of guest memory and the caller's buffer.
 */
#include "internal.h"

#define PAGE_BYTES	4096u

/**
 * struct strand - one iteration
 * @size: bytes of an element
 * @count: elements, above 1 for INS and OUTS only
 * @source: linear address of DS:rSI
 * @dest: linear address of ES:rDI
 */
struct strand {
	unsigned int size;
	u32 count;
	u64 source;
	u64 dest;
};

static int source_linear(struct exec *x, unsigned int bytes, u64 *linear)
{
	u64 offset = x->regs.gpr[EMUL_RSI] & size_mask(x->insn->addr_bytes);

	return emul_linearize(x, x->insn->segment, offset, bytes, 0, linear);
}

static int dest_linear(struct exec *x, unsigned int bytes, unsigned int flags, u64 *linear)
{
	u64 offset = x->regs.gpr[EMUL_RDI] & size_mask(x->insn->addr_bytes);

	return emul_linearize(x, EMUL_ES, offset, bytes, flags, linear);
}

static void step(struct exec *x, const struct strand *s, unsigned int reg)
{
	s64 bytes = (s64)s->size * s->count;

	emul_reg_step(x, reg, x->insn->addr_bytes, x->regs.rflags & FLAG_DF ? -bytes : bytes);
}

/* Both addresses are checked before anything is read: reading may have effects. */
static int movs(struct exec *x, struct strand *s)
{
	u64 value = 0;
	int ret;

	ret = source_linear(x, s->size, &s->source);
	if (!ret)
		ret = dest_linear(x, s->size, EMUL_ACCESS_WRITE, &s->dest);
	if (!ret)
		ret = emul_mem_read(x, s->source, s->size, 0, &value);
	if (!ret)
		ret = emul_mem_write(x, s->dest, s->size, &value);
	if (ret)
		return ret;
	step(x, s, EMUL_RSI);
	step(x, s, EMUL_RDI);
	return EMUL_DONE;
}

static int cmps(struct exec *x, struct strand *s)
{
	u64 a = 0, b = 0;
	int ret;

	ret = source_linear(x, s->size, &s->source);
	if (!ret)
		ret = dest_linear(x, s->size, 0, &s->dest);
	if (!ret)
		ret = emul_mem_read(x, s->source, s->size, 0, &a);
	if (!ret)
		ret = emul_mem_read(x, s->dest, s->size, 0, &b);
	if (ret)
		return ret;
	emul_alu(&x->regs.rflags, ALU_CMP, s->size, a, b);
	step(x, s, EMUL_RSI);
	step(x, s, EMUL_RDI);
	return EMUL_DONE;
}

static int stos(struct exec *x, struct strand *s)
{
	u64 value = emul_acc_get(x, s->size);
	int ret;

	ret = dest_linear(x, s->size, EMUL_ACCESS_WRITE, &s->dest);
	if (!ret)
		ret = emul_mem_write(x, s->dest, s->size, &value);
	if (!ret)
		step(x, s, EMUL_RDI);
	return ret;
}

static int lods(struct exec *x, struct strand *s)
{
	u64 value = 0;
	int ret;

	ret = source_linear(x, s->size, &s->source);
	if (!ret)
		ret = emul_mem_read(x, s->source, s->size, 0, &value);
	if (ret)
		return ret;
	emul_acc_set(x, s->size, value);
	step(x, s, EMUL_RSI);
	return EMUL_DONE;
}

static int scas(struct exec *x, struct strand *s)
{
	u64 value = 0;
	int ret;

	ret = dest_linear(x, s->size, 0, &s->dest);
	if (!ret)
		ret = emul_mem_read(x, s->dest, s->size, 0, &value);
	if (ret)
		return ret;
	emul_alu(&x->regs.rflags, ALU_CMP, s->size, emul_acc_get(x, s->size), value);
	step(x, s, EMUL_RDI);
	return EMUL_DONE;
}

/*
 * May the guest use these ports?  In virtual-8086 mode and above IOPL the
 * bitmap of its TSS decides, which is the caller's business.
 */
static int check_port(struct exec *x, u16 port, u8 size)
{
	const struct emul_ops *ops = x->ctxt->ops;
	unsigned int iopl = (x->regs.rflags >> FLAG_IOPL_SHIFT) & 3;

	if (!(x->ctxt->cr0 & BIT_CR0_PE) || !ops->io_permission)
		return EMUL_DONE;
	if (x->ctxt->cpl <= iopl && !(x->regs.rflags & FLAG_VM))
		return EMUL_DONE;
	return ops->io_permission(x->ctxt->opaque, port, size);
}

/* REX.W does not make ports wider. */
static unsigned int port_size(const struct emul_insn *insn)
{
	return insn->op_bytes == 8 ? 4 : insn->op_bytes;
}

static int pio_in(struct exec *x, u16 port, unsigned int size, u32 count, void *buf)
{
	struct emul_pio pio = {
		.port = port, .size = size, .count = count, .index = x->index++,
	};

	return x->ctxt->ops->pio_in(x->ctxt->opaque, &pio, buf);
}

static int pio_out(struct exec *x, u16 port, unsigned int size, u32 count, const void *buf)
{
	struct emul_pio pio = {
		.port = port, .size = size, .count = count, .index = x->index++,
	};

	return x->ctxt->ops->pio_out(x->ctxt->opaque, &pio, buf);
}

/*
 * How many elements one iteration may move, given the linear address of the
 * first: up to the end of the page, of the buffer, of rCX and of the address size.
 */
static u32 batch(const struct exec *x, unsigned int size, u64 linear, u64 offset)
{
	u64 address_mask = size_mask(x->insn->addr_bytes);
	u64 count = x->regs.gpr[EMUL_RCX] & address_mask;
	u64 to_end = (address_mask - (offset & address_mask)) / size;
	u32 in_page = (PAGE_BYTES - (linear & (PAGE_BYTES - 1))) / size;

	if (!x->insn->rep || x->regs.rflags & FLAG_DF)
		return 1;
	if (count > in_page)
		count = in_page;
	if (count > x->ctxt->io_buf_size / size)
		count = x->ctxt->io_buf_size / size;
	if (count > to_end)
		count = to_end;
	return count ? count : 1;
}

static int ins(struct exec *x, struct strand *s)
{
	const struct emul_ops *ops = x->ctxt->ops;
	u16 port = x->regs.gpr[EMUL_RDX];
	int ret;

	ret = check_port(x, port, s->size);
	if (!ret)
		ret = dest_linear(x, s->size, EMUL_ACCESS_WRITE, &s->dest);
	if (ret)
		return ret;
	s->count = batch(x, s->size, s->dest, x->regs.gpr[EMUL_RDI]);
	/* The limit may cut the batch: leave the exception to its own element. */
	if (dest_linear(x, s->size * s->count, EMUL_ACCESS_WRITE, &s->dest))
		s->count = 1;
	if (ops->probe_write)
		ret = ops->probe_write(x->ctxt->opaque, s->dest, s->size * s->count);
	if (!ret)
		ret = pio_in(x, port, s->size, s->count, x->ctxt->io_buf);
	if (!ret)
		ret = emul_mem_write(x, s->dest, s->size * s->count, x->ctxt->io_buf);
	if (!ret)
		step(x, s, EMUL_RDI);
	return ret;
}

static int outs(struct exec *x, struct strand *s)
{
	u16 port = x->regs.gpr[EMUL_RDX];
	int ret;

	ret = check_port(x, port, s->size);
	if (!ret)
		ret = source_linear(x, s->size, &s->source);
	if (ret)
		return ret;
	s->count = batch(x, s->size, s->source, x->regs.gpr[EMUL_RSI]);
	if (source_linear(x, s->size * s->count, &s->source))
		s->count = 1;
	ret = emul_mem_read(x, s->source, s->size * s->count, 0, x->ctxt->io_buf);
	if (!ret)
		ret = pio_out(x, port, s->size, s->count, x->ctxt->io_buf);
	if (!ret)
		step(x, s, EMUL_RSI);
	return ret;
}

static int iterate(struct exec *x, struct strand *s)
{
	static int (*const iteration[])(struct exec *x, struct strand *s) = {
		[OP_MOVS - OP_MOVS] = movs,
		[OP_CMPS - OP_MOVS] = cmps,
		[OP_STOS - OP_MOVS] = stos,
		[OP_LODS - OP_MOVS] = lods,
		[OP_SCAS - OP_MOVS] = scas,
		[OP_INS - OP_MOVS] = ins,
		[OP_OUTS - OP_MOVS] = outs,
	};

	return iteration[x->insn->op - OP_MOVS](x, s);
}

/* REPE and REPNE of CMPS and SCAS end on ZF. */
static bool comparison_ends(const struct exec *x)
{
	bool equal = x->regs.rflags & FLAG_ZF;

	if (x->insn->op != OP_CMPS && x->insn->op != OP_SCAS)
		return false;
	return x->insn->rep == 0xf3 ? !equal : equal;
}

static u64 repetitions(const struct exec *x)
{
	return x->regs.gpr[EMUL_RCX] & size_mask(x->insn->addr_bytes);
}

static int repeat(struct exec *x, struct strand *s)
{
	u32 done;
	int ret;

	for (done = 0; repetitions(x); done++) {
		if (done >= x->ctxt->rep_limit)
			return EMUL_AGAIN;
		s->count = 1;
		ret = iterate(x, s);
		if (ret)
			return ret;
		emul_reg_step(x, EMUL_RCX, x->insn->addr_bytes, -(s64)s->count);
		/* The last iteration retires with the instruction. */
		if (!repetitions(x) || comparison_ends(x))
			break;
		emul_retire(x);
	}
	return EMUL_DONE;
}

int emul_exec_string(struct exec *x)
{
	struct strand s = { .size = x->insn->op_bytes, .count = 1 };

	if (x->insn->op == OP_INS || x->insn->op == OP_OUTS)
		s.size = port_size(x->insn);
	return x->insn->rep ? repeat(x, &s) : iterate(x, &s);
}

static u16 port_number(const struct exec *x)
{
	return x->insn->attr & A_IMM ? x->insn->imm & 0xff : x->regs.gpr[EMUL_RDX];
}

int emul_exec_in(struct exec *x)
{
	unsigned int size = port_size(x->insn);
	u64 value = 0;
	int ret;

	ret = check_port(x, port_number(x), size);
	if (!ret)
		ret = pio_in(x, port_number(x), size, 1, &value);
	if (!ret)
		emul_acc_set(x, size, value);
	return ret;
}

int emul_exec_out(struct exec *x)
{
	unsigned int size = port_size(x->insn);
	u64 value = emul_acc_get(x, size);
	int ret;

	ret = check_port(x, port_number(x), size);
	if (!ret)
		ret = pio_out(x, port_number(x), size, 1, &value);
	return ret;
}
