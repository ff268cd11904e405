// SPDX-License-Identifier: GPL-2.0-only
/*
 * Arithmetic of the executor: results and status flags from values alone.
 * Called by the instruction families.  Pure functions, no lock.
 *
 * Operands come zero-extended; results may have bits above the operand size,
 * which writing them drops.  Flags that the manuals leave undefined are those
 * of current AMD processors where that costs nothing.
 */
#include "internal.h"

static void set_flag(u64 *flags, u64 flag, bool value)
{
	*flags = value ? *flags | flag : *flags & ~flag;
}

static bool even_parity(u8 value)
{
	value ^= value >> 4;
	/* Bit n of the constant: does the nibble n have an even number of ones? */
	return (0x9669 >> (value & 0xf)) & 1;
}

static void set_szp(u64 *flags, unsigned int size, u64 result)
{
	set_flag(flags, FLAG_SF, result & sign_bit(size));
	set_flag(flags, FLAG_ZF, !(result & size_mask(size)));
	set_flag(flags, FLAG_PF, even_parity(result));
}

/* @carries: bit n is the carry (borrow) out of bit n of an addition (subtraction). */
static void set_carries(u64 *flags, unsigned int size, u64 carries)
{
	u64 sign = sign_bit(size);

	set_flag(flags, FLAG_CF, carries & sign);
	set_flag(flags, FLAG_OF, (carries ^ carries << 1) & sign);
	set_flag(flags, FLAG_AF, carries & 8);
}

static u64 add(u64 *flags, unsigned int size, u64 a, u64 b, bool carry)
{
	u64 result = a + b + carry;

	set_carries(flags, size, (a & b) | ((a | b) & ~result));
	set_szp(flags, size, result);
	return result;
}

static u64 subtract(u64 *flags, unsigned int size, u64 a, u64 b, bool borrow)
{
	u64 result = a - b - borrow;

	set_carries(flags, size, (~a & b) | ((~a | b) & result));
	set_szp(flags, size, result);
	return result;
}

void emul_flags_logic(u64 *flags, unsigned int size, u64 result)
{
	*flags &= ~(FLAG_CF | FLAG_OF | FLAG_AF);
	set_szp(flags, size, result);
}

/* @operation: ALU_ADD to ALU_CMP, as opcodes number them. */
u64 emul_alu(u64 *flags, unsigned int operation, unsigned int size, u64 a, u64 b)
{
	u64 result;

	switch (operation) {
	case ALU_ADD:
		return add(flags, size, a, b, false);
	case ALU_ADC:
		return add(flags, size, a, b, *flags & FLAG_CF);
	case ALU_SBB:
		return subtract(flags, size, a, b, *flags & FLAG_CF);
	case ALU_SUB:
	case ALU_CMP:
		return subtract(flags, size, a, b, false);
	case ALU_OR:
		result = a | b;
		break;
	case ALU_AND:
		result = a & b;
		break;
	default:
		result = a ^ b;
		break;
	}
	emul_flags_logic(flags, size, result);
	return result;
}

/* These leave the carry flag alone. */
u64 emul_inc_dec(u64 *flags, bool dec, unsigned int size, u64 a)
{
	u64 carry = *flags & FLAG_CF;
	u64 result = emul_alu(flags, dec ? ALU_SUB : ALU_ADD, size, a, 1);

	*flags = (*flags & ~FLAG_CF) | carry;
	return result;
}

u64 emul_neg(u64 *flags, unsigned int size, u64 a)
{
	return subtract(flags, size, 0, a, false);
}

/* Rotate left by @count, 0 to bits - 1. */
static u64 rotate_left(unsigned int bits, u64 a, unsigned int count)
{
	return count ? a << count | a >> (bits - count) : a;
}

static u64 rotate(u64 *flags, bool right, unsigned int size, u64 a, unsigned int count)
{
	unsigned int bits = 8 * size;
	unsigned int left = (right ? bits - count % bits : count) % bits;
	u64 result = rotate_left(bits, a, left);
	u64 sign = sign_bit(size);

	if (right) {
		set_flag(flags, FLAG_CF, result & sign);
		set_flag(flags, FLAG_OF, (result ^ result << 1) & sign);
	} else {
		set_flag(flags, FLAG_CF, result & 1);
		set_flag(flags, FLAG_OF, !!(result & sign) != (result & 1));
	}
	return result;
}

/* Through the carry flag, one bit at a time: at most 63 steps, and rare. */
static u64 rotate_carry(u64 *flags, bool right, unsigned int size, u64 a, unsigned int count)
{
	unsigned int top = 8 * size - 1;
	u64 carry = !!(*flags & FLAG_CF);
	u64 sign = sign_bit(size);

	for (count %= 8 * size + 1; count; count--) {
		u64 out = right ? a & 1 : (a >> top) & 1;

		a = right ? a >> 1 | carry << top : (a << 1 | carry) & size_mask(size);
		carry = out;
	}
	set_flag(flags, FLAG_CF, carry);
	if (right)
		set_flag(flags, FLAG_OF, (a ^ a << 1) & sign);
	else
		set_flag(flags, FLAG_OF, !!(a & sign) != carry);
	return a;
}

static u64 shift_left(u64 *flags, unsigned int size, u64 a, unsigned int count)
{
	u64 before = a << (count - 1);
	u64 result = before << 1;

	set_szp(flags, size, result);
	set_flag(flags, FLAG_CF, before & sign_bit(size));
	set_flag(flags, FLAG_OF, (before ^ result) & sign_bit(size));
	return result;
}

/* @a is zero-extended for SHR, sign-extended for SAR. */
static u64 shift_right(u64 *flags, unsigned int size, s64 a, bool arithmetic, unsigned int count)
{
	u64 before = arithmetic ? (u64)(a >> (count - 1)) : (u64)a >> (count - 1);
	u64 result = arithmetic ? (u64)((s64)before >> 1) : before >> 1;

	set_szp(flags, size, result);
	set_flag(flags, FLAG_CF, before & 1);
	set_flag(flags, FLAG_OF, (before ^ result) & sign_bit(size));
	return result;
}

/*
 * @operation: ModRM.reg of group 2.  The count is masked as the processor does;
 * a count of 0 changes no flag.
 */
u64 emul_shift(u64 *flags, unsigned int operation, unsigned int size, u64 a, unsigned int count)
{
	count &= size == 8 ? 63 : 31;
	if (!count)
		return a;

	switch (operation) {
	case 0:
	case 1:
		return rotate(flags, operation & 1, size, a, count);
	case 2:
	case 3:
		return rotate_carry(flags, operation & 1, size, a, count);
	case 5:
		return shift_right(flags, size, a, false, count);
	case 7:
		return shift_right(flags, size, sign_extend(a, size), true, count);
	default:
		return shift_left(flags, size, a, count);
	}
}

/*
 * SHLD, SHRD.  A 16-bit shift by more than 16 is undefined; what comes in
 * after @fill is then @a again.
 */
u64 emul_shift_double(u64 *flags, bool right, unsigned int size, u64 a, u64 fill,
		      unsigned int count)
{
	unsigned int bits = 8 * size;
	u64 before, result;

	count &= size == 8 ? 63 : 31;
	if (!count)
		return a;
	if (count > bits) {
		u64 tmp = a;

		count -= bits;
		a = fill;
		fill = tmp;
	}

	if (right) {
		before = count > 1 ? a >> (count - 1) | fill << (bits - count + 1) : a;
		result = (before & size_mask(size)) >> 1 |
			 (fill >> (count - 1) & 1) << (bits - 1);
		set_flag(flags, FLAG_CF, before & 1);
	} else {
		before = count > 1 ? a << (count - 1) | fill >> (bits - count + 1) : a;
		result = before << 1 | (fill >> (bits - count) & 1);
		set_flag(flags, FLAG_CF, before & sign_bit(size));
	}
	set_flag(flags, FLAG_OF, (before ^ result) & sign_bit(size));
	set_szp(flags, size, result);
	return result;
}

/* The product's halves; CF and OF tell whether the high one matters. */
void emul_mul(u64 *flags, bool is_signed, unsigned int size, u64 a, u64 b, u64 *low, u64 *high)
{
	unsigned __int128 product;
	bool significant;

	if (is_signed)
		product = (__int128)sign_extend(a, size) * sign_extend(b, size);
	else
		product = (unsigned __int128)a * b;
	*low = (u64)product & size_mask(size);
	*high = (u64)(product >> (8 * size)) & size_mask(size);

	if (is_signed)
		significant = (__int128)product != sign_extend(*low, size);
	else
		significant = *high;
	set_flag(flags, FLAG_CF | FLAG_OF, significant);
}

/* 128 bits by 64; the caller knows that the quotient fits. */
static u64 divide(u64 low, u64 high, u64 divisor, u64 *remainder)
{
	u64 quotient;

	asm("divq %[divisor]"
	    : "=a" (quotient), "=d" (*remainder)
	    : "a" (low), "d" (high), [divisor] "rm" (divisor)
	    : "cc");
	return quotient;
}

static unsigned __int128 negate_if(bool negative, unsigned __int128 value)
{
	return negative ? -value : value;
}

/*
 * Divide high:low by @divisor, each of @size bytes.  Returns false for #DE: a
 * divisor of 0, or a quotient too big.
 */
bool emul_div(bool is_signed, unsigned int size, u64 low, u64 high, u64 divisor,
	      u64 *quotient, u64 *remainder)
{
	bool negative = is_signed && high & sign_bit(size);
	bool negative_divisor = is_signed && divisor & sign_bit(size);
	unsigned __int128 dividend = (unsigned __int128)high << (8 * size) | low;
	u64 limit = size_mask(size);

	if (!divisor)
		return false;
	if (negative)
		dividend |= -(unsigned __int128)1 << (16 * size - 1);
	dividend = negate_if(negative, dividend);
	divisor = negative_divisor ? -(u64)sign_extend(divisor, size) : divisor;
	if (is_signed)
		limit = (limit >> 1) + (negative != negative_divisor);

	if ((u64)(dividend >> 64) >= divisor)
		return false;
	*quotient = divide(dividend, dividend >> 64, divisor, remainder);
	if (*quotient > limit)
		return false;
	*quotient = negate_if(negative != negative_divisor, *quotient);
	*remainder = negate_if(negative, *remainder);
	return true;
}

/* @condition: the low four bits of Jcc, SETcc and CMOVcc. */
bool emul_condition(u64 flags, unsigned int condition)
{
	bool less = !(flags & FLAG_SF) != !(flags & FLAG_OF);
	bool result;

	switch (condition >> 1) {
	case 0:
		result = flags & FLAG_OF;
		break;
	case 1:
		result = flags & FLAG_CF;
		break;
	case 2:
		result = flags & FLAG_ZF;
		break;
	case 3:
		result = flags & (FLAG_CF | FLAG_ZF);
		break;
	case 4:
		result = flags & FLAG_SF;
		break;
	case 5:
		result = flags & FLAG_PF;
		break;
	case 6:
		result = less;
		break;
	default:
		result = less || flags & FLAG_ZF;
		break;
	}
	return result != (condition & 1);
}
