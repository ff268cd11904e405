// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random instructions for the emulator's fuzzer: see emulate_generate.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include "kmod/emulate/decode.h"
#include "emulate_generate.h"

struct template {
	u8 map;
	u8 opcode;
	u8 op;
	u16 attr;
	bool vex;
};

static struct template templates[3 * 256];
static unsigned int nr_templates;
static u64 state;

void generate_seed(u64 seed)
{
	state = seed;
}

/* splitmix64 */
u64 random_bits(void)
{
	u64 z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

u64 random_below(u64 limit)
{
	return random_bits() % limit;
}

static bool one_in(u64 n)
{
	return !random_below(n);
}

static void add_template(u8 map, u8 opcode, struct opcode entry, bool vex)
{
	/* Ports are closed to a process; unit tests cover them. */
	if (entry.op == OP_NONE || entry.op == OP_IN || entry.op == OP_OUT ||
	    entry.op == OP_INS || entry.op == OP_OUTS)
		return;
	templates[nr_templates++] = (struct template){
		.map = map, .opcode = opcode, .op = entry.op, .attr = entry.attr, .vex = vex,
	};
}

void generate_init(bool avx)
{
	unsigned int opcode;

	for (opcode = 0; opcode < 256; opcode++) {
		struct opcode of_0f38 = emul_opcode_0f38(opcode);

		add_template(EMUL_MAP_1, opcode, emul_opcode_1(opcode), false);
		add_template(EMUL_MAP_0F, opcode, emul_opcode_0f(opcode), false);
		add_template(EMUL_MAP_0F38, opcode, of_0f38, false);
		if (!avx)
			continue;
		if (emul_opcode_0f(opcode).op == OP_VECTOR)
			add_template(EMUL_MAP_0F, opcode, emul_opcode_0f(opcode), true);
		if (of_0f38.op == OP_VECTOR)
			add_template(EMUL_MAP_0F38, opcode, of_0f38, true);
	}
}

static u64 random_value(void)
{
	static const u64 corners[] = {
		0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000,
		0xffffffff, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff,
	};
	u64 value = random_bits();

	switch (random_below(4)) {
	case 0:
		return corners[random_below(ARRAY_SIZE(corners))];
	case 1:
		return value >> random_below(64);
	case 2:
		return (s64)value >> random_below(64);
	default:
		return value;
	}
}

static bool is_string(const struct template *t)
{
	return t->op >= OP_MOVS && t->op <= OP_SCAS;
}

static bool wants_rep(const struct template *t)
{
	return is_string(t) || t->op == OP_BIT_SCAN || t->op == OP_POPCNT || t->op == OP_VECTOR;
}

static unsigned int put_prefixes(u8 *p, const struct template *t, enum emul_mode mode)
{
	static const u8 segments[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 };
	unsigned int n = 0;

	if (one_in(t->attr & A_LOCK ? 6 : 200))
		p[n++] = 0xf0;
	if (one_in(t->op == OP_VECTOR ? 2 : 6))
		p[n++] = 0x66;
	if (one_in(mode == EMUL_MODE_64 ? 8 : 30))
		p[n++] = 0x67;
	if (one_in(wants_rep(t) ? 2 : 30))
		p[n++] = 0xf2 | random_below(2);
	if (one_in(8))
		p[n++] = segments[random_below(6)];
	if (one_in(50))
		p[n++] = segments[random_below(6)];
	if (mode == EMUL_MODE_64 && one_in(2))
		p[n++] = 0x40 | random_below(16);
	return n;
}

/* VEX prefix and opcode. */
static unsigned int put_vex(u8 *p, const struct template *t)
{
	/* vvvv all ones mostly: these instructions have no third operand. */
	u8 vlpp = (one_in(20) ? random_bits() & 0x78 : 0x78) | random_below(8);
	unsigned int n = 0;

	if (one_in(8))
		p[n++] = 0x64 | random_below(2);
	if (t->map == EMUL_MAP_0F && one_in(2)) {
		p[n++] = 0xc5;
		p[n++] = (random_bits() & 0x80) | vlpp;
	} else {
		p[n++] = 0xc4;
		p[n++] = (random_bits() & 0xe0) | t->map;
		p[n++] = (random_bits() & 0x80) | vlpp;
	}
	p[n++] = t->opcode;
	return n;
}

static unsigned int put_opcode(u8 *p, const struct template *t)
{
	unsigned int n = 0;

	if (t->map != EMUL_MAP_1)
		p[n++] = 0x0f;
	if (t->map == EMUL_MAP_0F38)
		p[n++] = 0x38;
	p[n++] = t->opcode;
	return n;
}

/* Outside 64-bit code VEX is VEX with register numbers below 8 only. */
static bool vex_fits(const struct template *t, enum emul_mode mode)
{
	return !t->vex || mode == EMUL_MODE_64;
}

/* Returns where ModRM lies. */
static unsigned int make_bytes(u8 *bytes, const struct template *t, enum emul_mode mode)
{
	unsigned int n, i;

	if (t->vex) {
		n = put_vex(bytes, t);
	} else {
		n = put_prefixes(bytes, t, mode);
		n += put_opcode(bytes + n, t);
	}
	for (i = n; i < EMUL_MAX_INSN_BYTES; i++)
		bytes[i] = random_value();
	/* Memory more often than chance has it, registers less. */
	if (t->attr & A_MODRM && bytes[n] >= 0xc0 && !one_in(4))
		bytes[n] &= 0x3f | random_below(3) << 6;
	return n;
}

static u64 random_target(const struct machine *m)
{
	u64 target = random_below(MACHINE_BYTES - 64);

	if (one_in(8))
		target = MACHINE_PAGE * (1 + random_below(MACHINE_PAGES)) - random_below(40);
	else if (one_in(2))
		target &= ~31ull;
	/* The last page cannot be written: go there less often. */
	if (target >= MACHINE_BYTES - MACHINE_PAGE && !one_in(4))
		target -= MACHINE_PAGE;
	return m->base + target;
}

/* The register that, changed, moves the memory operand by as much; or NULL. */
static u64 *base_register(struct machine *m, const struct emul_insn *insn)
{
	unsigned int mod = insn->modrm >> 6, rm = insn->modrm & 7;

	if (insn->addr_bytes == 2)
		return NULL;
	if (rm == 4) {
		unsigned int base = insn->sib & 7;
		unsigned int index = ((insn->sib >> 3) & 7) | (insn->rex & 2) << 2;

		if (base == 5 && !mod)
			return NULL;
		base |= (insn->rex & 1) << 3;
		return base == index && index != EMUL_RSP ? NULL : &m->regs.gpr[base];
	}
	if (rm == 5 && !mod)
		return NULL;
	return &m->regs.gpr[emul_rm(insn)];
}

/* Is the operand a displacement that can be made to fit? */
static bool has_disp32_only(const struct emul_insn *insn)
{
	unsigned int rm = insn->modrm & 7;

	return insn->addr_bytes >= 4 && insn->modrm < 0x40 &&
	       (rm == 5 || (rm == 4 && (insn->sib & 7) == 5));
}

static void aim_modrm(struct test_case *test, struct machine *m, unsigned int modrm_at, u64 target)
{
	u64 delta = target - emul_linear(&m->ctxt, &test->insn);
	u64 *base = base_register(m, &test->insn);

	if (base) {
		*base += delta;
	} else if (has_disp32_only(&test->insn)) {
		u32 disp = test->insn.disp + delta;
		u8 *at = test->bytes + modrm_at + 1 + ((test->insn.modrm & 7) == 4);

		memcpy(at, &disp, sizeof(disp));
		emul_decode(&test->insn, test->bytes, EMUL_MAX_INSN_BYTES, m->ctxt.mode);
	}
}

static void aim_moffs(struct test_case *test, struct machine *m, unsigned int at, u64 target)
{
	u64 offset = test->insn.imm + target - emul_linear(&m->ctxt, &test->insn);

	memcpy(test->bytes + at, &offset, test->insn.addr_bytes);
	emul_decode(&test->insn, test->bytes, EMUL_MAX_INSN_BYTES, m->ctxt.mode);
}

/* Strings: short, and inside memory. */
static void aim_string(struct machine *m, const struct emul_insn *insn)
{
	u64 *gpr = m->regs.gpr;

	gpr[EMUL_RSI] = random_target(m);
	gpr[EMUL_RDI] = one_in(4) ? gpr[EMUL_RSI] + random_below(32) : random_target(m);
	gpr[EMUL_RCX] = random_below(16);
	if (insn->segment >= EMUL_FS)
		gpr[EMUL_RSI] -= m->segments[insn->segment].base;
	if (insn->addr_bytes == 4 && one_in(4)) {
		gpr[EMUL_RSI] |= random_bits() << 32;
		gpr[EMUL_RDI] |= random_bits() << 32;
		/* With ECX 0 processors disagree about the upper half. */
		if (gpr[EMUL_RCX])
			gpr[EMUL_RCX] |= random_bits() << 32;
	}
	if (one_in(2))		/* so that SCAS and CMPS sometimes go on */
		memset(m->memory + gpr[EMUL_RDI] % MACHINE_PAGE, gpr[EMUL_RAX], 8);
}

static void random_registers(struct machine *m)
{
	unsigned int i;

	for (i = 0; i < EMUL_NR_GPR; i++)
		m->regs.gpr[i] = random_value();
	if (!one_in(10))
		m->regs.gpr[EMUL_RSP] = random_target(m);
	/* Status flags and DF. */
	m->regs.rflags = 0x202 | (random_bits() & 0x8d5) | (one_in(4) ? 0x400 : 0);
}

/* 32-bit code has eight registers of 32 bits. */
static void narrow_registers(struct machine *m)
{
	unsigned int i;

	for (i = 0; i < EMUL_NR_GPR; i++)
		m->regs.gpr[i] = i < 8 ? (u32)m->regs.gpr[i] : 0;
}

/* Let comparisons succeed, divisions fit, and jumps lead somewhere, now and then. */
static void help(struct machine *m, const struct emul_insn *insn, u64 target)
{
	u64 offset = target - m->base, value, *gpr = m->regs.gpr;

	if (!one_in(2) || offset > MACHINE_BYTES - 16)
		return;
	switch (insn->op) {
	case OP_CMPXCHG:
	case OP_CMPXCHG_PAIR:
		memcpy(&gpr[EMUL_RAX], m->memory + offset, 8);
		memcpy(&gpr[EMUL_RDX], m->memory + offset + 8, 8);
		if (insn->op == OP_CMPXCHG_PAIR && insn->op_bytes != 8)
			gpr[EMUL_RDX] = gpr[EMUL_RAX] >> 32;
		break;
	case OP_UNARY:
		gpr[EMUL_RDX] = random_below(2) ? 0 : (s64)gpr[EMUL_RAX] >> 63;
		break;
	case OP_GROUP_5:
		value = m->base + random_below(MACHINE_BYTES);
		memcpy(m->memory + offset, &value, 8);
		break;
	}
}

/* A bit offset that stays in memory. */
static void aim_bit_offset(struct machine *m, const struct emul_insn *insn)
{
	if (insn->op == OP_BIT_TEST && (insn->attr & A_FORM) == A_RM_R && !one_in(10))
		m->regs.gpr[emul_reg(insn)] = (s64)random_below(4096) - 2048;
}

static void aim(struct test_case *test, struct machine *m, unsigned int modrm_at)
{
	const struct emul_insn *insn = &test->insn;
	u64 target = random_target(m);

	aim_bit_offset(m, insn);
	if (insn->op >= OP_MOVS && insn->op <= OP_SCAS)
		aim_string(m, insn);
	else if ((insn->attr & A_IMM) == A_MOFFS)
		aim_moffs(test, m, modrm_at, target);
	else if (emul_is_mem(insn) && !one_in(50))
		aim_modrm(test, m, modrm_at, target);
	help(m, insn, target);
}

void generate(struct test_case *test, struct machine *m, u64 end)
{
	enum emul_mode mode = m->ctxt.mode;
	const struct template *t;
	unsigned int modrm_at = 0;

	do {
		t = &templates[random_below(nr_templates)];
		if (!vex_fits(t, mode))
			continue;
		modrm_at = make_bytes(test->bytes, t, mode);
	} while (!vex_fits(t, mode) ||
		 emul_decode(&test->insn, test->bytes, EMUL_MAX_INSN_BYTES, mode) < 0 ||
		 test->insn.op != t->op);

	random_registers(m);
	m->regs.rip = end - test->insn.length;
	aim(test, m, modrm_at);
	if (mode != EMUL_MODE_64)
		narrow_registers(m);
}
