/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The VMX instructions: Intel SDM volume 3, "VMX Instruction Reference". Interrupts are
 * off in all callers, as the current VMCS is the CPU's. VMREAD and VMWRITE want one.
 */
#ifndef LODGE_VMX_INSN_H
#define LODGE_VMX_INSN_H

#include <linux/types.h>
#include <asm/asm.h>

#include "vmcs.h"

/* vmx/cpu.c: a VMWRITE failed. That is a bug of ours; it is told once a field. */
void vmx_write_failed(enum vmcs_field field, u64 value);

/* Only of a field that this CPU has: then it cannot fail. */
static __always_inline u64 vmx_read(enum vmcs_field field)
{
	u64 value;

	asm volatile("vmread %1, %0" : "=r" (value) : "r" ((u64)field) : "cc");
	return value;
}

static __always_inline void vmx_write(enum vmcs_field field, u64 value)
{
	asm goto("vmwrite %1, %0\n\t"
		 "jbe %l[failed]"
		 : : "r" ((u64)field), "rm" (value) : "cc" : failed);
	return;
failed:
	vmx_write_failed(field, value);
}

/* The others: false when the CPU refuses; a fault counts as that, too. */
#define VMX_INSN_WITH_OPERAND(insn, operand)				\
({									\
	bool __done;							\
									\
	asm volatile("1: " insn " %1\n\t"				\
		     "seta %0\n\t"					\
		     "jmp 3f\n"						\
		     "2: movb $0, %0\n"					\
		     "3:\n"						\
		     _ASM_EXTABLE(1b, 2b)				\
		     : "=qm" (__done) : "m" (operand) : "cc", "memory");\
	__done;								\
})

static inline bool vmx_on(u64 pa)
{
	return VMX_INSN_WITH_OPERAND("vmxon", pa);
}

/* Makes the VMCS at @pa the current one. */
static inline bool vmx_load_ptr(u64 pa)
{
	return VMX_INSN_WITH_OPERAND("vmptrld", pa);
}

/* Writes what the CPU caches of it to memory; it may go to another CPU, or be launched. */
static inline bool vmx_clear_ptr(u64 pa)
{
	return VMX_INSN_WITH_OPERAND("vmclear", pa);
}

/* The current VMCS, all ones for none; false outside of VMX root operation. */
static inline bool vmx_store_ptr(u64 *pa)
{
	bool done;

	asm volatile("1: vmptrst %1\n\t"
		     "movb $1, %0\n\t"
		     "jmp 3f\n"
		     "2: movb $0, %0\n"
		     "3:\n"
		     _ASM_EXTABLE(1b, 2b)
		     : "=qm" (done), "=m" (*pa) : : "cc", "memory");
	return done;
}

/* A fault means that VMX is off already: on the way down that is as good. */
static inline void vmx_off(void)
{
	asm volatile("1: vmxoff\n"
		     "2:\n"
		     _ASM_EXTABLE(1b, 2b) : : : "cc", "memory");
}

static inline void vmx_invept(u64 type, u64 eptp)
{
	struct {
		u64 eptp, zero;
	} descriptor = { eptp, 0 };

	asm volatile("invept %0, %1" : : "m" (descriptor), "r" (type) : "cc", "memory");
}

static inline void vmx_invvpid(u64 type, u16 vpid)
{
	struct {
		u64 vpid, linear;
	} descriptor = { vpid, 0 };

	asm volatile("invvpid %0, %1" : : "m" (descriptor), "r" (type) : "cc", "memory");
}

#endif
