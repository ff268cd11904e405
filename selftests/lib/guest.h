/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What guest code may use: it is C in the test program itself, running from a
 * copy of the program's image in 64-bit mode without any C library. Calls to
 * the host go through port GUEST_CALL_PORT. Nothing here takes a lock; a
 * handler table is shared by the vCPUs of a VM.
 */
#ifndef SELFTESTS_LIB_GUEST_H
#define SELFTESTS_LIB_GUEST_H

#include "types.h"

#define GUEST_CALL_PORT		0x5e0

enum guest_call_kind {
	GUEST_CALL_SYNC = 1,
	GUEST_CALL_DONE,
	GUEST_CALL_ASSERT,
	GUEST_CALL_EXCEPTION,
};

struct guest_call {
	u64 kind;
	u64 a;
	u64 b;
	u64 line;
	const char *file;
	const char *text;
};

/* As lib/guest_entry.S pushes them. */
struct guest_regs {
	u64 r15, r14, r13, r12, r11, r10, r9, r8;
	u64 rbp, rdi, rsi, rdx, rcx, rbx, rax;
	u64 vector, error;
	u64 rip, cs, rflags, rsp, ss;
};

typedef void (*guest_handler)(struct guest_regs *regs);

/* Set by the host before vm_create(), or by the guest itself. */
extern guest_handler guest_handlers[256];
/* Where to go on at a fault (0: none expected), and what it was. */
extern volatile u64 guest_fixup_rip;
extern volatile u64 guest_fault_vector;
extern volatile u64 guest_fault_error;
extern volatile u64 guest_fault_addr;

#define GUEST_NO_FAULT		0x100

extern const char guest_vectors[];
extern const char guest_return[];
void guest_exception(struct guest_regs *regs);
void guest_done(void);
__noreturn
void guest_assert_failed(const char *file, int line, const char *text,
			 u64 a, u64 b);

static inline void port_out8(u16 port, u8 v)
{
	asm volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void port_out16(u16 port, u16 v)
{
	asm volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void port_out32(u16 port, u32 v)
{
	asm volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline u8 port_in8(u16 port)
{
	u8 v;

	asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline u16 port_in16(u16 port)
{
	u16 v;

	asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline u32 port_in32(u16 port)
{
	u32 v;

	asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline void guest_call(struct guest_call *call)
{
	port_out32(GUEST_CALL_PORT, (u32)(uintptr_t)call);
}

static inline void guest_sync(u64 value)
{
	struct guest_call call = { .kind = GUEST_CALL_SYNC, .a = value };

	guest_call(&call);
}

#define GUEST_SYNC(value) guest_sync(value)

#define GUEST_ASSERT(cond) do {						\
	if (!(cond))							\
		guest_assert_failed(__FILE__, __LINE__, #cond, 0, 0);	\
} while (0)

#define GUEST_ASSERT_EQ(a, b) do {					\
	u64 __a = (u64)(a), __b = (u64)(b);		\
	if (__a != __b)							\
		guest_assert_failed(__FILE__, __LINE__, #a " == " #b,	\
				    __a, __b);				\
} while (0)

static inline void guest_relax(void)
{
	asm volatile("pause" : : : "memory");
}

static inline void guest_halt(void)
{
	asm volatile("hlt" : : : "memory");
}

static inline void guest_cli(void)
{
	asm volatile("cli" : : : "memory");
}

static inline void guest_sti(void)
{
	asm volatile("sti" : : : "memory");
}

/* Enable interrupts and halt with no gap between the two, then disable. */
static inline void guest_sti_halt_cli(void)
{
	asm volatile("sti\n\thlt\n\tcli" : : : "memory");
}

/* Let one pending interrupt in. */
static inline void guest_irq_window(void)
{
	asm volatile("sti\n\tnop\n\tnop\n\tcli" : : : "memory");
}

static inline u64 rdtsc(void)
{
	u32 lo, hi;

	asm volatile("lfence\n\trdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (u64)hi << 32 | lo;
}

static inline void guest_cpuid(u32 leaf, u32 index, u32 r[4])
{
	asm volatile("cpuid"
		     : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
		     : "0"(leaf), "2"(index) : "memory");
}

static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;

	asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
	return (u64)hi << 32 | lo;
}

static inline void wrmsr(u32 msr, u64 v)
{
	asm volatile("wrmsr" : : "c"(msr), "a"((u32)v),
		     "d"((u32)(v >> 32)) : "memory");
}

/*
 * Run one instruction that may fault. Evaluates to the vector it raised, or
 * GUEST_NO_FAULT. @outs and @ins are operand lists in parentheses' stead:
 * GUEST_TRY("rdmsr", OUTS("=a"(lo), "=d"(hi)), INS("c"(msr))).
 */
#define OUTS(...) __VA_ARGS__
#define INS(...) __VA_ARGS__
#define GUEST_TRY(insn, outs, ins) ({					\
	guest_fault_vector = GUEST_NO_FAULT;				\
	asm volatile("movq $1f, guest_fixup_rip(%%rip)\n\t"		\
		     insn "\n"						\
		     "1:\tmovq $0, guest_fixup_rip(%%rip)"		\
		     : outs : ins : "memory", "cc");			\
	guest_fault_vector;						\
})

static inline u64 rdmsr_try(u32 msr, u64 *v)
{
	u32 lo = 0, hi = 0;
	u64 vector;

	vector = GUEST_TRY("rdmsr", OUTS("+a"(lo), "+d"(hi)), INS("c"(msr)));
	*v = (u64)hi << 32 | lo;
	return vector;
}

static inline u64 wrmsr_try(u32 msr, u64 v)
{
	return GUEST_TRY("wrmsr", OUTS(), INS("c"(msr), "a"((u32)v),
					      "d"((u32)(v >> 32))));
}

#define GUEST_CR(n)							\
static inline u64 read_cr##n(void)					\
{									\
	u64 v;							\
									\
	asm volatile("mov %%cr" #n ", %0" : "=r"(v) : : "memory");	\
	return v;							\
}									\
static inline void write_cr##n(u64 v)				\
{									\
	asm volatile("mov %0, %%cr" #n : : "r"(v) : "memory");		\
}

GUEST_CR(0)
GUEST_CR(2)
GUEST_CR(3)
GUEST_CR(4)
GUEST_CR(8)

#define VOLATILE(type, addr) (*(volatile type *)(uintptr_t)(addr))

/*
 * 16- and 32-bit code: GUEST_CODE(name, ".code16", "...") defines the bytes
 * between name and name_end, to be copied by vm_place().
 */
#define GUEST_CODE(name, mode, text)					\
	extern const char name[], name##_end[];				\
	asm(".pushsection .rodata\n.balign 256\n"			\
	    ".globl " #name "\n" #name ":\n" mode "\n" text "\n.code64\n" \
	    ".globl " #name "_end\n" #name "_end:\n"			\
	    ".byte 0\n.popsection")

/* 64-bit code that C cannot say: runs where it is linked, like all the rest. */
#define GUEST_TEXT(name, text)						\
	extern const char name[];					\
	asm(".pushsection .text\n"					\
	    ".globl " #name "\n" #name ":\n" text "\n"			\
	    ".popsection")

/* xAPIC */
#define XAPIC_BASE		0xfee00000UL

static inline u32 xapic_read(u32 reg)
{
	return VOLATILE(u32, XAPIC_BASE + reg);
}

static inline void xapic_write(u32 reg, u32 v)
{
	VOLATILE(u32, XAPIC_BASE + reg) = v;
}

#define APIC_ID			0x20
#define APIC_LVR		0x30
#define APIC_TASKPRI		0x80
#define APIC_PROCPRI		0xa0
#define APIC_EOI		0xb0
#define APIC_LDR		0xd0
#define APIC_DFR		0xe0
#define APIC_SPIV		0xf0
#define APIC_ISR		0x100
#define APIC_TMR		0x180
#define APIC_IRR		0x200
#define APIC_ESR		0x280
#define APIC_ICR		0x300
#define APIC_ICR2		0x310
#define APIC_SELF_IPI		0x3f0
#define APIC_LVTT		0x320
#define APIC_LVT0		0x350
#define APIC_LVT1		0x360
#define APIC_LVTERR		0x370
#define APIC_TMICT		0x380
#define APIC_TMCCT		0x390
#define APIC_TDCR		0x3e0

#define MSR_TSC			0x10
#define MSR_APICBASE		0x1b
#define MSR_TSC_ADJUST		0x3b
#define MSR_TSC_DEADLINE	0x6e0
#define MSR_EFER		0xc0000080
#define X2APIC_MSR(reg)		(0x800 + ((reg) >> 4))

/* A register of the local APIC in the mode that it is in. */
static inline u64 guest_apic_read(bool x2apic, u32 reg)
{
	return x2apic ? rdmsr(X2APIC_MSR(reg)) : xapic_read(reg);
}

static inline void guest_apic_write(bool x2apic, u32 reg, u64 v)
{
	if (x2apic)
		wrmsr(X2APIC_MSR(reg), v);
	else
		xapic_write(reg, (u32)v);
}

#endif
