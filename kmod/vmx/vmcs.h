/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The virtual machine control structure as the hardware defines it: Intel SDM volume 3,
 * chapters "Virtual-Machine Control Structures" and "VM Exits", appendices "VMX
 * Capability Reporting Facility" and "Field Encoding in VMCS". Used by vmx/ only. The
 * kernel has a header of its own for KVM, where names come and go with versions.
 */
#ifndef LODGE_VMX_VMCS_H
#define LODGE_VMX_VMCS_H

#include <linux/bits.h>
#include <linux/types.h>

/* Segment fields follow each other in this order: enum vmcs_segment times 2. */
enum vmcs_segment {
	VMCS_SEG_ES, VMCS_SEG_CS, VMCS_SEG_SS, VMCS_SEG_DS, VMCS_SEG_FS, VMCS_SEG_GS,
	VMCS_SEG_LDTR, VMCS_SEG_TR,
};

enum vmcs_field {
	/* 16 bits */
	VMCS_VPID			= 0x0000,
	VMCS_NOTIFICATION_VECTOR	= 0x0002,
	VMCS_GUEST_SELECTOR		= 0x0800,	/* ES; + 2 * enum vmcs_segment */
	VMCS_GUEST_INTERRUPT_STATUS	= 0x0810,
	VMCS_PML_INDEX			= 0x0812,
	VMCS_HOST_ES_SELECTOR		= 0x0c00,
	VMCS_HOST_CS_SELECTOR		= 0x0c02,
	VMCS_HOST_SS_SELECTOR		= 0x0c04,
	VMCS_HOST_DS_SELECTOR		= 0x0c06,
	VMCS_HOST_FS_SELECTOR		= 0x0c08,
	VMCS_HOST_GS_SELECTOR		= 0x0c0a,
	VMCS_HOST_TR_SELECTOR		= 0x0c0c,

	/* 64 bits */
	VMCS_MSR_BITMAP			= 0x2004,
	VMCS_EXIT_MSR_STORE_ADDR	= 0x2006,
	VMCS_EXIT_MSR_LOAD_ADDR		= 0x2008,
	VMCS_ENTRY_MSR_LOAD_ADDR	= 0x200a,
	VMCS_PML_ADDRESS		= 0x200e,
	VMCS_TSC_OFFSET			= 0x2010,
	VMCS_VIRTUAL_APIC_ADDR		= 0x2012,
	VMCS_APIC_ACCESS_ADDR		= 0x2014,
	VMCS_POSTED_ADDR		= 0x2016,
	VMCS_EPT_POINTER		= 0x201a,
	VMCS_EOI_EXIT_BITMAP0		= 0x201c,	/* up to 3 */
	VMCS_ENCLS_BITMAP		= 0x202e,
	VMCS_TSC_MULTIPLIER		= 0x2032,
	VMCS_GUEST_PHYSICAL_ADDRESS	= 0x2400,
	VMCS_LINK_POINTER		= 0x2800,
	VMCS_GUEST_DEBUGCTL		= 0x2802,
	VMCS_GUEST_PAT			= 0x2804,
	VMCS_GUEST_EFER			= 0x2806,
	VMCS_GUEST_PERF_GLOBAL_CTRL	= 0x2808,
	VMCS_GUEST_PDPTE0		= 0x280a,	/* up to PDPTE3 */
	VMCS_HOST_PAT			= 0x2c00,
	VMCS_HOST_EFER			= 0x2c02,
	VMCS_HOST_PERF_GLOBAL_CTRL	= 0x2c04,

	/* 32 bits */
	VMCS_PIN_CONTROLS		= 0x4000,
	VMCS_CPU_CONTROLS		= 0x4002,
	VMCS_EXCEPTION_BITMAP		= 0x4004,
	VMCS_PAGE_FAULT_MASK		= 0x4006,
	VMCS_PAGE_FAULT_MATCH		= 0x4008,
	VMCS_CR3_TARGET_COUNT		= 0x400a,
	VMCS_EXIT_CONTROLS		= 0x400c,
	VMCS_EXIT_MSR_STORE_COUNT	= 0x400e,
	VMCS_EXIT_MSR_LOAD_COUNT	= 0x4010,
	VMCS_ENTRY_CONTROLS		= 0x4012,
	VMCS_ENTRY_MSR_LOAD_COUNT	= 0x4014,
	VMCS_ENTRY_INTERRUPTION		= 0x4016,
	VMCS_ENTRY_ERROR_CODE		= 0x4018,
	VMCS_ENTRY_INSN_LENGTH		= 0x401a,
	VMCS_TPR_THRESHOLD		= 0x401c,
	VMCS_CPU_CONTROLS2		= 0x401e,
	VMCS_PLE_GAP			= 0x4020,
	VMCS_PLE_WINDOW			= 0x4022,
	VMCS_INSN_ERROR			= 0x4400,
	VMCS_EXIT_REASON		= 0x4402,
	VMCS_EXIT_INTERRUPTION		= 0x4404,
	VMCS_EXIT_ERROR_CODE		= 0x4406,
	VMCS_IDT_VECTORING		= 0x4408,
	VMCS_IDT_ERROR_CODE		= 0x440a,
	VMCS_EXIT_INSN_LENGTH		= 0x440c,
	VMCS_EXIT_INSN_INFO		= 0x440e,
	VMCS_GUEST_LIMIT		= 0x4800,	/* ES; + 2 * enum vmcs_segment */
	VMCS_GUEST_GDTR_LIMIT		= 0x4810,
	VMCS_GUEST_IDTR_LIMIT		= 0x4812,
	VMCS_GUEST_ACCESS_RIGHTS	= 0x4814,	/* ES; + 2 * enum vmcs_segment */
	VMCS_GUEST_INTERRUPTIBILITY	= 0x4824,
	VMCS_GUEST_ACTIVITY		= 0x4826,
	VMCS_GUEST_SYSENTER_CS		= 0x482a,
	VMCS_PREEMPTION_TIMER		= 0x482e,
	VMCS_HOST_SYSENTER_CS		= 0x4c00,

	/* natural width */
	VMCS_CR0_MASK			= 0x6000,
	VMCS_CR4_MASK			= 0x6002,
	VMCS_CR0_SHADOW			= 0x6004,
	VMCS_CR4_SHADOW			= 0x6006,
	VMCS_EXIT_QUALIFICATION		= 0x6400,
	VMCS_GUEST_LINEAR_ADDRESS	= 0x640a,
	VMCS_GUEST_CR0			= 0x6800,
	VMCS_GUEST_CR3			= 0x6802,
	VMCS_GUEST_CR4			= 0x6804,
	VMCS_GUEST_BASE			= 0x6806,	/* ES; + 2 * enum vmcs_segment */
	VMCS_GUEST_GDTR_BASE		= 0x6816,
	VMCS_GUEST_IDTR_BASE		= 0x6818,
	VMCS_GUEST_DR7			= 0x681a,
	VMCS_GUEST_RSP			= 0x681c,
	VMCS_GUEST_RIP			= 0x681e,
	VMCS_GUEST_RFLAGS		= 0x6820,
	VMCS_GUEST_PENDING_DEBUG	= 0x6822,
	VMCS_GUEST_SYSENTER_ESP		= 0x6824,
	VMCS_GUEST_SYSENTER_EIP		= 0x6826,
	VMCS_HOST_CR0			= 0x6c00,
	VMCS_HOST_CR3			= 0x6c02,
	VMCS_HOST_CR4			= 0x6c04,
	VMCS_HOST_FS_BASE		= 0x6c06,
	VMCS_HOST_GS_BASE		= 0x6c08,
	VMCS_HOST_TR_BASE		= 0x6c0a,
	VMCS_HOST_GDTR_BASE		= 0x6c0c,
	VMCS_HOST_IDTR_BASE		= 0x6c0e,
	VMCS_HOST_SYSENTER_ESP		= 0x6c10,
	VMCS_HOST_SYSENTER_EIP		= 0x6c12,
	VMCS_HOST_RSP			= 0x6c14,	/* entry.S, too */
	VMCS_HOST_RIP			= 0x6c16,
};

/* Pin-based VM-execution controls */
#define VMX_PIN_EXTERNAL_INTERRUPT	BIT(0)
#define VMX_PIN_NMI			BIT(3)
#define VMX_PIN_VIRTUAL_NMI		BIT(5)
#define VMX_PIN_PREEMPTION_TIMER	BIT(6)
#define VMX_PIN_POSTED_INTERRUPTS	BIT(7)

/* Primary processor-based VM-execution controls */
#define VMX_CPU_INTERRUPT_WINDOW	BIT(2)
#define VMX_CPU_TSC_OFFSET		BIT(3)
#define VMX_CPU_HLT			BIT(7)
#define VMX_CPU_INVLPG			BIT(9)
#define VMX_CPU_MWAIT			BIT(10)
#define VMX_CPU_RDPMC			BIT(11)
#define VMX_CPU_RDTSC			BIT(12)
#define VMX_CPU_CR3_LOAD		BIT(15)
#define VMX_CPU_CR3_STORE		BIT(16)
#define VMX_CPU_CR8_LOAD		BIT(19)
#define VMX_CPU_CR8_STORE		BIT(20)
#define VMX_CPU_TPR_SHADOW		BIT(21)
#define VMX_CPU_NMI_WINDOW		BIT(22)
#define VMX_CPU_MOV_DR			BIT(23)
#define VMX_CPU_ALL_IO			BIT(24)
#define VMX_CPU_MONITOR_TRAP		BIT(27)
#define VMX_CPU_MSR_BITMAP		BIT(28)
#define VMX_CPU_MONITOR			BIT(29)
#define VMX_CPU_PAUSE			BIT(30)
#define VMX_CPU_SECONDARY		BIT(31)

/* Secondary processor-based VM-execution controls */
#define VMX_CPU2_APIC_ACCESSES		BIT(0)
#define VMX_CPU2_EPT			BIT(1)
#define VMX_CPU2_RDTSCP			BIT(3)
#define VMX_CPU2_X2APIC			BIT(4)
#define VMX_CPU2_VPID			BIT(5)
#define VMX_CPU2_WBINVD			BIT(6)
#define VMX_CPU2_UNRESTRICTED		BIT(7)
#define VMX_CPU2_APIC_REGISTERS		BIT(8)
#define VMX_CPU2_INTERRUPT_DELIVERY	BIT(9)
#define VMX_CPU2_PAUSE_LOOP		BIT(10)
#define VMX_CPU2_INVPCID		BIT(12)
#define VMX_CPU2_ENCLS			BIT(15)
#define VMX_CPU2_PML			BIT(17)
#define VMX_CPU2_TSC_SCALING		BIT(25)

/* A local APIC that the CPU works: both of these or none, */
#define VMX_CPU2_DIRECT			(VMX_CPU2_APIC_REGISTERS | VMX_CPU2_INTERRUPT_DELIVERY)
/* and one of these at most, by the mode that it is in */
#define VMX_CPU2_DIRECT_MODE		(VMX_CPU2_X2APIC | VMX_CPU2_APIC_ACCESSES)

/* VMCS_GUEST_INTERRUPT_STATUS */
#define VMX_STATUS(requested, in_service)	((u16)((requested) | (in_service) << 8))
#define VMX_STATUS_REQUESTED(s)		((u8)(s))
#define VMX_STATUS_IN_SERVICE(s)	((u8)((s) >> 8))

/* VM-exit controls */
#define VMX_EXIT_SAVE_DEBUG		BIT(2)
#define VMX_EXIT_HOST_64		BIT(9)
#define VMX_EXIT_LOAD_PERF_GLOBAL	BIT(12)
#define VMX_EXIT_ACK_INTERRUPT		BIT(15)
#define VMX_EXIT_LOAD_PAT		BIT(19)
#define VMX_EXIT_LOAD_EFER		BIT(21)

/* VM-entry controls */
#define VMX_ENTRY_LOAD_DEBUG		BIT(2)
#define VMX_ENTRY_GUEST_64		BIT(9)
#define VMX_ENTRY_LOAD_PERF_GLOBAL	BIT(13)
#define VMX_ENTRY_LOAD_PAT		BIT(14)
#define VMX_ENTRY_LOAD_EFER		BIT(15)

/* VMCS_ENTRY_INTERRUPTION, VMCS_EXIT_INTERRUPTION, VMCS_IDT_VECTORING */
#define VMX_EVENT_VECTOR		0xffu
#define VMX_EVENT_TYPE(t)		((u32)(t) << 8)
#define VMX_EVENT_TYPE_OF(e)		(((e) >> 8) & 7)
#define VMX_TYPE_INTERRUPT		0
#define VMX_TYPE_NMI			2
#define VMX_TYPE_EXCEPTION		3
#define VMX_TYPE_SOFT_INTERRUPT		4
#define VMX_TYPE_INT1			5
#define VMX_TYPE_SOFT_EXCEPTION		6
#define VMX_EVENT_ERROR			BIT(11)
/* of an exit, and of the qualification of an EPT violation: an IRET had unblocked NMIs */
#define VMX_EVENT_NMI_UNBLOCKED		BIT(12)
#define VMX_EVENT_VALID			BIT(31)

/* Did an instruction raise the event, so that it has a length? */
static inline bool vmx_is_soft(u32 event)
{
	return (event & VMX_EVENT_VALID) && VMX_EVENT_TYPE_OF(event) >= VMX_TYPE_SOFT_INTERRUPT;
}

/* VMCS_GUEST_INTERRUPTIBILITY */
#define VMX_BLOCKED_BY_STI		BIT(0)
#define VMX_BLOCKED_BY_MOV_SS		BIT(1)
#define VMX_BLOCKED_BY_NMI		BIT(3)

/* VMCS_GUEST_PENDING_DEBUG: an enabled breakpoint met, the trap flag */
#define VMX_PENDING_BREAKPOINT		BIT_ULL(12)
#define VMX_PENDING_BS			BIT_ULL(14)

/* VMCS_GUEST_ACCESS_RIGHTS: bits 55:40 of a descriptor, and */
#define VMX_AR_TYPE			0x000f
#define VMX_AR_TSS_WIDE			BIT(3)	/* of the type of a TSS: not of 16 bits */
#define VMX_AR_S			BIT(4)
#define VMX_AR_DPL_SHIFT		5
#define VMX_AR_P			BIT(7)
#define VMX_AR_AVL			BIT(12)
#define VMX_AR_L			BIT(13)
#define VMX_AR_DB			BIT(14)
#define VMX_AR_G			BIT(15)
#define VMX_AR_UNUSABLE			BIT(16)

/* VMCS_EXIT_REASON */
#define VMX_EXIT_REASON_MASK		0xffffu
#define VMX_EXIT_ENTRY_FAILED		BIT(31)
/* ... of instructions that are not asked whether TDX is in use; newer headers have names */
#define VMX_EXIT_SEAMCALL		76
#define VMX_EXIT_TDCALL			77

/* Exit qualification of an I/O instruction */
#define VMX_IO_SIZE(q)			(((q) & 7) + 1)
#define VMX_IO_IN			BIT(3)
#define VMX_IO_STRING			BIT(4)
#define VMX_IO_PORT(q)			((u16)((q) >> 16))

#define VMX_IO_REP			BIT(5)

/* VMCS_EXIT_INSN_INFO of INS and OUTS: 16, 32 or 64 bits; in the order of encodings */
#define VMX_IO_ADDRESS_SIZE(i)		(((i) >> 7) & 7)
#define VMX_IO_SEGMENT(i)		(((i) >> 15) & 7)

/* ... of a task switch: the source is enum lodge_switch_source */
#define VMX_TASK_SELECTOR(q)		((u16)(q))
#define VMX_TASK_SOURCE(q)		(((q) >> 30) & 3)

/* ... of an EPT violation */
#define VMX_EPT_WRITE			BIT(1)
#define VMX_EPT_EXEC			BIT(2)
#define VMX_EPT_LINEAR			BIT(7)	/* there was a linear address */
#define VMX_EPT_FINAL			BIT(8)	/* and this is its translation */

/* ... of an access to the LAPIC's page; other kinds are fetches and deliveries */
#define VMX_APIC_OFFSET			0xfff
#define VMX_APIC_ACCESS(q)		(((q) >> 12) & 15)
#define VMX_APIC_ACCESS_READ		0
#define VMX_APIC_ACCESS_WRITE		1

/* ... of a control-register access */
#define VMX_CR_NUMBER(q)		((q) & 15)
#define VMX_CR_ACCESS(q)		(((q) >> 4) & 3)
#define VMX_CR_ACCESS_WRITE		0
#define VMX_CR_ACCESS_READ		1
#define VMX_CR_ACCESS_CLTS		2
#define VMX_CR_ACCESS_LMSW		3
#define VMX_CR_GPR(q)			(((q) >> 8) & 15)
#define VMX_CR_LMSW_SOURCE(q)		((u16)((q) >> 16))

/* The page of VMCS_PML_ADDRESS */
#define VMX_PML_ENTRIES			512u

/* VMCS_GUEST_ACTIVITY */
#define VMX_ACTIVE			0
#define VMX_HALTED			1

/* The EPT pointer */
#define VMX_EPTP_WB			6ull
#define VMX_EPTP_4_LEVELS		(3ull << 3)
#define VMX_EPTP_AD			BIT_ULL(6)

/* An EPT entry */
#define VMX_EPTE_READ			BIT_ULL(0)
#define VMX_EPTE_WRITE			BIT_ULL(1)
#define VMX_EPTE_EXEC			BIT_ULL(2)
#define VMX_EPTE_WB			(6ull << 3)
#define VMX_EPTE_IGNORE_PAT		BIT_ULL(6)
#define VMX_EPTE_LARGE			BIT_ULL(7)
#define VMX_EPTE_ACCESSED		BIT_ULL(8)
#define VMX_EPTE_DIRTY			BIT_ULL(9)

/* MSR_IA32_VMX_BASIC */
#define VMX_BASIC_REVISION(b)		((u32)(b) & 0x7fffffff)
#define VMX_BASIC_SIZE(b)		((u32)((b) >> 32) & 0x1fff)
#define VMX_BASIC_32BIT_ADDRESSES	BIT_ULL(48)
#define VMX_BASIC_MEMTYPE(b)		(((b) >> 50) & 15)
#define VMX_BASIC_IO_INFO		BIT_ULL(54)
#define VMX_BASIC_TRUE_CONTROLS		BIT_ULL(55)

/* MSR_IA32_VMX_MISC */
#define VMX_MISC_TIMER_RATE(m)		((m) & 31)
#define VMX_MISC_EMPTY_SOFT_EVENT	BIT_ULL(30)
#define VMX_MISC_USED			(VMX_MISC_EMPTY_SOFT_EVENT | VMX_MISC_TIMER_RATE(~0ull))

/* MSR_IA32_VMX_EPT_VPID_CAP */
#define VMX_EPT_CAP_4_LEVELS		BIT_ULL(6)
#define VMX_EPT_CAP_WB			BIT_ULL(14)
#define VMX_EPT_CAP_2M			BIT_ULL(16)
#define VMX_EPT_CAP_1G			BIT_ULL(17)
#define VMX_EPT_CAP_INVEPT		BIT_ULL(20)
#define VMX_EPT_CAP_AD			BIT_ULL(21)
#define VMX_EPT_CAP_INVEPT_SINGLE	BIT_ULL(25)
#define VMX_EPT_CAP_INVEPT_ALL		BIT_ULL(26)
#define VMX_EPT_CAP_INVVPID		BIT_ULL(32)
#define VMX_EPT_CAP_INVVPID_SINGLE	BIT_ULL(41)
#define VMX_EPT_CAP_INVVPID_ALL		BIT_ULL(42)

/* Types of INVEPT and INVVPID */
#define VMX_INV_SINGLE			1
#define VMX_INV_ALL			2

#endif
