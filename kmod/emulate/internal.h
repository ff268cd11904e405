/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the executor share: the state of one execution, operand
 * access (operand.c), flag arithmetic (alu.c) and the instruction families.
 * Private to the emulator.  The state lives on the caller's stack, no lock.
 */
#ifndef LODGE_EMULATE_INTERNAL_H
#define LODGE_EMULATE_INTERNAL_H

#include "decode.h"

#define FLAG_CF		BIT_ULL(0)
#define FLAG_PF		BIT_ULL(2)
#define FLAG_AF		BIT_ULL(4)
#define FLAG_ZF		BIT_ULL(6)
#define FLAG_SF		BIT_ULL(7)
#define FLAG_TF		BIT_ULL(8)
#define FLAG_DF		BIT_ULL(10)
#define FLAG_OF		BIT_ULL(11)
#define FLAG_IOPL_SHIFT	12
#define FLAG_RF		BIT_ULL(16)
#define FLAG_VM		BIT_ULL(17)
#define FLAGS_STATUS	(FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

#define VECTOR_DE	0
#define VECTOR_UD	6
#define VECTOR_NM	7
#define VECTOR_SS	12
#define VECTOR_GP	13

#define BIT_CR0_PE	BIT_ULL(0)
#define BIT_CR0_EM	BIT_ULL(2)
#define BIT_CR0_TS	BIT_ULL(3)
#define BIT_CR4_OSFXSR	BIT_ULL(9)
#define BIT_CR4_LA57	BIT_ULL(12)
#define BIT_CR4_OSXSAVE	BIT_ULL(18)
#define BITS_XCR0_AVX	6ull	/* SSE and AVX */

/**
 * struct exec - one call of emul_execute()
 * @ctxt: the caller's context
 * @insn: the instruction
 * @regs: working copy; becomes the guest's when the iteration retires
 * @next_rip: RIP once the instruction is finished
 * @displace: added to the offset of the ModRM operand (bit strings)
 * @index: number of the next access
 * @linear: where the ModRM operand lies, once it was read or probed
 * @old: what a read-modify-write found there
 * @vec: new value of a vector register
 * @vec_reg: its number
 * @vec_size: bytes of @vec to write when the iteration retires, 0 for none
 */
struct exec {
	struct emul_ctxt *ctxt;
	const struct emul_insn *insn;
	struct emul_regs regs;
	u64 next_rip;
	u64 displace;
	u8 index;
	u64 linear;
	u8 old[16];
	u8 vec[32];
	u8 vec_reg;
	u8 vec_size;
};

typedef int (*exec_fn)(struct exec *x);

static inline u64 size_mask(unsigned int size)
{
	return ~0ull >> (64 - 8 * size);
}

static inline u64 sign_bit(unsigned int size)
{
	return 1ull << (8 * size - 1);
}

static inline s64 sign_extend(u64 value, unsigned int size)
{
	unsigned int shift = 64 - 8 * size;

	return (s64)(value << shift) >> shift;
}

static inline unsigned int modrm_reg(const struct emul_insn *insn)
{
	return (insn->modrm >> 3) & 7;
}

/* operand.c: registers, addresses, memory. */
u64 emul_reg_get(const struct exec *x, unsigned int reg, unsigned int size);
void emul_reg_set(struct exec *x, unsigned int reg, unsigned int size, u64 value);
u64 emul_acc_get(const struct exec *x, unsigned int size);
void emul_acc_set(struct exec *x, unsigned int size, u64 value);
void emul_reg_step(struct exec *x, unsigned int reg, unsigned int size, s64 step);

int emul_raise(struct exec *x, unsigned int vector);
int emul_raise_code0(struct exec *x, unsigned int vector);

u64 emul_offset(const struct exec *x);
int emul_linearize(struct exec *x, unsigned int segment, u64 offset, unsigned int size,
		   unsigned int flags, u64 *linear);
int emul_operand_linear(struct exec *x, unsigned int size, unsigned int flags);
int emul_mem_read(struct exec *x, u64 linear, unsigned int size, unsigned int flags, void *buf);
int emul_mem_write(struct exec *x, u64 linear, unsigned int size, const void *buf);
int emul_mem_cmpxchg(struct exec *x, u64 linear, unsigned int size,
		     const void *old, const void *new);

int emul_rm_get(struct exec *x, unsigned int size, u64 *value);
int emul_rm_set(struct exec *x, unsigned int size, u64 value);
unsigned int emul_modify_flags(const struct exec *x);
int emul_rm_modify_begin(struct exec *x, unsigned int size, u64 *value);
int emul_rm_modify_end(struct exec *x, unsigned int size, u64 value);

int emul_set_rip(struct exec *x, u64 rip);
bool emul_is_protected(const struct exec *x);
bool emul_is_canonical(const struct emul_ctxt *ctxt, u64 address);
void emul_retire(struct exec *x);
void emul_finish(struct exec *x);

/* alu.c: values and status flags; operands are zero-extended from @size bytes. */
u64 emul_alu(u64 *flags, unsigned int operation, unsigned int size, u64 a, u64 b);
void emul_flags_logic(u64 *flags, unsigned int size, u64 result);
u64 emul_inc_dec(u64 *flags, bool dec, unsigned int size, u64 a);
u64 emul_neg(u64 *flags, unsigned int size, u64 a);
u64 emul_shift(u64 *flags, unsigned int operation, unsigned int size, u64 a, unsigned int count);
u64 emul_shift_double(u64 *flags, bool right, unsigned int size, u64 a, u64 fill,
		      unsigned int count);
void emul_mul(u64 *flags, bool is_signed, unsigned int size, u64 a, u64 b, u64 *low, u64 *high);
bool emul_div(bool is_signed, unsigned int size, u64 low, u64 high, u64 divisor,
	      u64 *quotient, u64 *remainder);
bool emul_condition(u64 flags, unsigned int condition);

enum { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };

/* The instruction families. */
int emul_exec_string(struct exec *x);
int emul_exec_in(struct exec *x);
int emul_exec_out(struct exec *x);
int emul_exec_vector(struct exec *x);
int emul_exec_bit_test(struct exec *x);
int emul_exec_bit_scan(struct exec *x);
int emul_exec_popcnt(struct exec *x);
int emul_exec_shift(struct exec *x);
int emul_exec_shift_double(struct exec *x);
int emul_exec_alu(struct exec *x);
int emul_exec_test(struct exec *x);
int emul_exec_unary(struct exec *x);
int emul_exec_inc_dec(struct exec *x);
int emul_exec_imul(struct exec *x);
int emul_exec_xchg(struct exec *x);
int emul_exec_xadd(struct exec *x);
int emul_exec_cmpxchg(struct exec *x);
int emul_exec_cmpxchg_pair(struct exec *x);

#endif
