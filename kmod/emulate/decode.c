// SPDX-License-Identifier: GPL-2.0-only
/*
 * The instruction decoder: from bytes to struct emul_insn.  Called through
 * emul_decode() and emul_fetch().  Touches nothing but its arguments, no lock.
 */
#include "decode.h"

#define REX_B	0x01
#define REX_X	0x02
#define REX_R	0x04
#define REX_W	0x08

/* The bytes being decoded.  Past their end, reads give 0 and @error is set. */
struct cursor {
	const u8 *bytes;
	unsigned int avail;
	unsigned int pos;
	int error;
};

static bool at_end(struct cursor *c)
{
	if (c->pos < c->avail)
		return false;
	if (!c->error)
		c->error = c->pos >= EMUL_MAX_INSN_BYTES ? EMUL_DECODE_TOO_LONG : EMUL_DECODE_MORE;
	return true;
}

static u8 peek(struct cursor *c)
{
	return at_end(c) ? 0 : c->bytes[c->pos];
}

static u8 next(struct cursor *c)
{
	return at_end(c) ? 0 : c->bytes[c->pos++];
}

static u64 next_unsigned(struct cursor *c, unsigned int size)
{
	u64 value = 0;
	unsigned int i;

	for (i = 0; i < size; i++)
		value |= (u64)next(c) << (8 * i);
	return value;
}

static s64 next_signed(struct cursor *c, unsigned int size)
{
	unsigned int shift = 64 - 8 * size;

	return (s64)(next_unsigned(c, size) << shift) >> shift;
}

static bool is_segment_prefix(u8 byte, enum emul_mode mode, u8 *segment)
{
	switch (byte) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
		/* In 64-bit code they mean nothing, and do not undo FS or GS. */
		if (mode != EMUL_MODE_64)
			*segment = (byte >> 3) & 3;
		return true;
	case 0x64:
	case 0x65:
		*segment = byte & 7;
		return true;
	}
	return false;
}

/* Legacy prefixes and REX.  Returns the segment override, or EMUL_NR_SEG. */
static u8 decode_prefixes(struct emul_insn *insn, struct cursor *c)
{
	u8 segment = EMUL_NR_SEG;

	for (;; next(c)) {
		u8 byte = peek(c);

		if (insn->mode == EMUL_MODE_64 && (byte & 0xf0) == 0x40) {
			insn->rex = byte;
			continue;
		}
		if (byte == 0xf0)
			insn->lock = true;
		else if (byte == 0xf2 || byte == 0xf3)
			insn->rep = byte;
		else if (byte == 0x66)
			insn->opsize = true;
		else if (byte == 0x67)
			insn->addrsize = true;
		else if (!is_segment_prefix(byte, insn->mode, &segment))
			return segment;
		/* REX counts only right before the opcode. */
		insn->rex = 0;
	}
}

/* VEX, EVEX and XOP keep the meaning of 66, F3 and F2 in two bits. */
static void decode_pp(struct emul_insn *insn, u8 pp)
{
	static const u8 rep[] = { 0, 0, 0xf3, 0xf2 };

	insn->opsize = pp == 1;
	insn->rep = rep[pp];
}

/* R, X and B are stored inverted above the map; W, vvvv, L and pp follow. */
static void decode_rxb(struct emul_insn *insn, u8 byte)
{
	insn->rex = 0x40 | ((byte >> 5) ^ 7);
	/* Outside 64-bit code these bits tell the prefix from LES, LDS and BOUND. */
	if (insn->mode != EMUL_MODE_64)
		insn->rex = 0x40;
}

static void decode_wvlp(struct emul_insn *insn, u8 byte)
{
	if (byte & 0x80 && insn->mode == EMUL_MODE_64)
		insn->rex |= REX_W;
	insn->vex_reg = (~byte >> 3) & 0xf;
	insn->vex_l = (byte >> 2) & 1;
	decode_pp(insn, byte & 3);
}

static u8 extended_map(unsigned int map)
{
	return map >= EMUL_MAP_0F && map <= EMUL_MAP_0F3A ? map : EMUL_MAP_OTHER;
}

static void decode_vex(struct emul_insn *insn, struct cursor *c, u8 first)
{
	insn->encoding = EMUL_VEX;
	if (first == 0xc5) {
		u8 byte = next(c);

		insn->map = EMUL_MAP_0F;
		decode_rxb(insn, byte | 0x60);
		decode_wvlp(insn, byte & 0x7f);
	} else {
		u8 byte = next(c);

		insn->map = extended_map(byte & 0x1f);
		decode_rxb(insn, byte);
		decode_wvlp(insn, next(c));
	}
	insn->opcode = next(c);
}

static void decode_xop(struct emul_insn *insn, struct cursor *c)
{
	u8 byte = next(c);

	insn->encoding = EMUL_XOP;
	insn->map = EMUL_MAP_OTHER;
	insn->imm2 = byte & 0x1f;
	if (insn->imm2 < 8 && !c->error)
		c->error = EMUL_DECODE_INVALID;
	decode_rxb(insn, byte);
	decode_wvlp(insn, next(c));
	insn->opcode = next(c);
}

static void decode_evex(struct emul_insn *insn, struct cursor *c)
{
	u8 byte = next(c);

	insn->encoding = EMUL_EVEX;
	insn->map = extended_map(byte & 7);
	decode_rxb(insn, byte);
	decode_wvlp(insn, next(c));
	next(c);
	insn->opcode = next(c);
}

/*
 * C4, C5, 62 and 8F are old instructions too.  Outside 64-bit code a second
 * byte that would name registers, which LES, LDS and BOUND forbid, tells them
 * apart; POP has 0 in ModRM.reg, which no map number of XOP leaves so.
 */
static bool decode_extended(struct emul_insn *insn, struct cursor *c, u8 first)
{
	switch (first) {
	case 0x62:
	case 0xc4:
	case 0xc5:
		if (insn->mode != EMUL_MODE_64 && peek(c) < 0xc0)
			return false;
		if (first == 0x62)
			decode_evex(insn, c);
		else
			decode_vex(insn, c, first);
		return true;
	case 0x8f:
		if (!(peek(c) & 0x38))
			return false;
		decode_xop(insn, c);
		return true;
	}
	return false;
}

/* The opcode, with whatever selects its map. */
static void decode_opcode(struct emul_insn *insn, struct cursor *c)
{
	bool prefixed = insn->lock || insn->rep || insn->opsize || insn->rex;
	u8 byte = next(c);

	if (decode_extended(insn, c, byte)) {
		if (prefixed && !c->error)
			c->error = EMUL_DECODE_INVALID;
		return;
	}
	insn->map = EMUL_MAP_1;
	if (byte == 0x0f) {
		insn->map = EMUL_MAP_0F;
		byte = next(c);
		if (byte == 0x38 || byte == 0x3a) {
			insn->map = byte == 0x38 ? EMUL_MAP_0F38 : EMUL_MAP_0F3A;
			byte = next(c);
		}
	}
	insn->opcode = byte;
}

static bool opcode_is_string_move(const struct emul_insn *insn)
{
	return insn->map == EMUL_MAP_0F && insn->opcode == 0x78 &&
	       (insn->opsize || insn->rep == 0xf2);
}

static struct opcode legacy_opcode(const struct emul_insn *insn)
{
	struct opcode entry = { .op = OP_NONE, .attr = A_MODRM | A_I8 };

	switch (insn->map) {
	case EMUL_MAP_1:
		return emul_opcode_1(insn->opcode);
	case EMUL_MAP_0F:
		entry = emul_opcode_0f(insn->opcode);
		/* EXTRQ and INSERTQ carry two byte immediates. */
		if (opcode_is_string_move(insn))
			entry.attr |= A_I16;
		return entry;
	case EMUL_MAP_0F38:
		return emul_opcode_0f38(insn->opcode);
	default:
		return entry;
	}
}

/* With VEX and EVEX nearly all have a ModRM byte, and few an immediate. */
static struct opcode extended_opcode(const struct emul_insn *insn)
{
	struct opcode entry = { .op = OP_NONE, .attr = A_MODRM };

	if (insn->encoding == EMUL_XOP) {
		if (insn->imm2 == 8)
			entry.attr |= A_I8;
		else if (insn->imm2 == 10)
			entry.attr |= A_I32;
		return entry;
	}
	switch (insn->map) {
	case EMUL_MAP_0F:
		if ((insn->opcode >= 0x70 && insn->opcode <= 0x73) ||
		    insn->opcode == 0xc2 || (insn->opcode >= 0xc4 && insn->opcode <= 0xc6))
			entry.attr |= A_I8;
		if (insn->opcode == 0x77 && insn->encoding == EMUL_VEX)
			entry.attr = 0;				/* VZEROUPPER */
		if (insn->encoding == EMUL_VEX && emul_opcode_0f(insn->opcode).op == OP_VECTOR)
			entry.op = OP_VECTOR;
		return entry;
	case EMUL_MAP_0F38:
		if (insn->encoding == EMUL_VEX && insn->opcode == 0x2a)
			entry.op = OP_VECTOR;
		return entry;
	case EMUL_MAP_0F3A:
		entry.attr |= A_I8;
		return entry;
	default:
		if (insn->encoding == EMUL_VEX)
			entry.attr = A_UNDEFINED;
		return entry;
	}
}

static void decode_sizes(struct emul_insn *insn)
{
	bool code64 = insn->mode == EMUL_MODE_64;
	bool wide = insn->mode != EMUL_MODE_16;

	if (code64)
		insn->addr_bytes = insn->addrsize ? 4 : 8;
	else
		insn->addr_bytes = wide != insn->addrsize ? 4 : 2;

	if (insn->attr & A_BYTE)
		insn->op_bytes = 1;
	else if (insn->rex & REX_W || (code64 && insn->attr & A_REGS))
		insn->op_bytes = 8;
	else if (code64 && insn->attr & A_D64)
		insn->op_bytes = insn->opsize ? 2 : 8;
	else
		insn->op_bytes = wide != insn->opsize ? 4 : 2;
}

/* AMD APM volume 3, "ModRM and SIB Bytes", 16-bit addressing. */
static void decode_address_16(struct emul_insn *insn, struct cursor *c)
{
	unsigned int mod = insn->modrm >> 6, rm = insn->modrm & 7;

	if (mod == 1)
		insn->disp = next_signed(c, 1);
	else if (mod == 2 || rm == 6)
		insn->disp = next_signed(c, 2);

	/* BP is the base. */
	if (rm == 2 || rm == 3 || (rm == 6 && mod))
		insn->segment = EMUL_SS;
}

static void decode_address_32(struct emul_insn *insn, struct cursor *c)
{
	unsigned int mod = insn->modrm >> 6, base = insn->modrm & 7;

	if (base == 4) {
		insn->sib = next(c);
		base = insn->sib & 7;
	}
	if (mod == 1)
		insn->disp = next_signed(c, 1);
	else if (mod == 2 || base == 5)
		insn->disp = next_signed(c, 4);

	/* RSP or RBP is the base; R12 and R13 are not. */
	if (!(insn->rex & REX_B) && (base == 4 || (base == 5 && mod)))
		insn->segment = EMUL_SS;
}

static void decode_modrm(struct emul_insn *insn, struct cursor *c)
{
	insn->modrm = next(c);
	insn->has_modrm = true;
	if (insn->attr & A_REGS) {
		insn->modrm |= 0xc0;
		/* AMD: LOCK MOV CR0 reaches CR8 without REX. */
		if (insn->lock && emul_reg(insn) == 0)
			insn->rex |= REX_R;
		return;
	}
	if (!emul_is_mem(insn))
		return;
	if (insn->addr_bytes == 2)
		decode_address_16(insn, c);
	else
		decode_address_32(insn, c);
}

static void decode_immediate(struct emul_insn *insn, struct cursor *c)
{
	unsigned int size_z = insn->op_bytes == 2 ? 2 : 4;

	if (insn->attr & A_UNARY && ((insn->modrm >> 3) & 7) > 1)
		return;
	switch (insn->attr & A_IMM) {
	case A_I8:
		insn->imm = next_signed(c, 1);
		break;
	case A_I16:
		insn->imm = next_unsigned(c, 2);
		break;
	case A_I32:
		insn->imm = next_signed(c, 4);
		break;
	case A_IZ:
		insn->imm = next_signed(c, size_z);
		break;
	case A_IV:
		insn->imm = next_signed(c, insn->op_bytes);
		break;
	case A_MOFFS:
		insn->imm = next_unsigned(c, insn->addr_bytes);
		break;
	case A_I16_I8:
		insn->imm = next_unsigned(c, 2);
		insn->imm2 = next(c);
		break;
	case A_FAR:
		insn->imm = next_unsigned(c, size_z);
		insn->imm2 = next_unsigned(c, 2);
		break;
	}
}

int emul_decode(struct emul_insn *insn, const u8 *bytes, unsigned int avail, enum emul_mode mode)
{
	struct cursor c = { .bytes = bytes, .avail = avail };
	struct opcode entry;
	u8 override;

	if (c.avail > EMUL_MAX_INSN_BYTES)
		c.avail = EMUL_MAX_INSN_BYTES;
	memset(insn, 0, sizeof(*insn));
	insn->mode = mode;
	insn->segment = EMUL_DS;

	override = decode_prefixes(insn, &c);
	decode_opcode(insn, &c);
	if (c.error)
		return c.error;

	entry = insn->encoding == EMUL_LEGACY ? legacy_opcode(insn) : extended_opcode(insn);
	insn->op = entry.op;
	insn->attr = entry.attr;
	if (entry.attr & A_UNDEFINED || (entry.attr & A_NO64 && mode == EMUL_MODE_64))
		return EMUL_DECODE_INVALID;

	decode_sizes(insn);
	if (entry.attr & A_MODRM)
		decode_modrm(insn, &c);
	decode_immediate(insn, &c);
	if (c.error)
		return c.error;
	if (override != EMUL_NR_SEG)
		insn->segment = override;

	insn->length = c.pos;
	memcpy(insn->bytes, bytes, insn->length);
	return insn->length;
}
