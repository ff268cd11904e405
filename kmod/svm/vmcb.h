/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The virtual machine control block as the hardware defines it: AMD APM volume 2,
 * appendix "Layout of VMCB". Used by svm/ only. The kernel has a header of its own
 * for KVM whose field types change between versions; the hardware's do not.
 */
#ifndef LODGE_SVM_VMCB_H
#define LODGE_SVM_VMCB_H

#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/types.h>

/* Intercepts: word index * 32 + bit, for svm_intercept(). */
enum svm_intercept {
	SVM_ICPT_CR0_READ	= 0,
	SVM_ICPT_CR4_READ	= 4,
	SVM_ICPT_CR0_WRITE	= 16,
	SVM_ICPT_CR4_WRITE	= 16 + 4,
	SVM_ICPT_CR8_WRITE	= 16 + 8,
	SVM_ICPT_DR_READ	= 32,		/* DR0; up to DR15 follow */
	SVM_ICPT_DR_WRITE	= 32 + 16,
	SVM_ICPT_EXCEPTION	= 64,		/* vector 0; up to 31 follow */
	SVM_ICPT_INTR		= 96,
	SVM_ICPT_NMI,
	SVM_ICPT_SMI,
	SVM_ICPT_INIT,
	SVM_ICPT_VINTR,
	SVM_ICPT_CR0_SELECTIVE,
	SVM_ICPT_RDPMC		= 96 + 15,
	SVM_ICPT_CPUID		= 96 + 18,
	SVM_ICPT_RSM,
	SVM_ICPT_IRET,
	SVM_ICPT_INTN,
	SVM_ICPT_INVD		= 96 + 22,
	SVM_ICPT_PAUSE,
	SVM_ICPT_HLT,
	SVM_ICPT_INVLPGA	= 96 + 26,
	SVM_ICPT_IOIO,
	SVM_ICPT_MSR,
	SVM_ICPT_FERR_FREEZE	= 96 + 30,
	SVM_ICPT_SHUTDOWN,
	SVM_ICPT_VMRUN		= 128,
	SVM_ICPT_VMMCALL,
	SVM_ICPT_VMLOAD,
	SVM_ICPT_VMSAVE,
	SVM_ICPT_STGI,
	SVM_ICPT_CLGI,
	SVM_ICPT_SKINIT,
	SVM_ICPT_RDTSCP,
	SVM_ICPT_WBINVD		= 128 + 9,
	SVM_ICPT_MONITOR,
	SVM_ICPT_MWAIT,
	SVM_ICPT_XSETBV		= 128 + 13,
	SVM_ICPT_RDPRU,
	SVM_ICPT_INVLPGB	= 160,
	SVM_ICPT_MCOMMIT	= 160 + 3,
	SVM_ICPT_TLBSYNC,
};

struct vmcb_control {
	u32 intercepts[6];		/* 0x000 */
	u8 reserved_018[0x3c - 0x18];
	u16 pause_filter_threshold;	/* 0x03c */
	u16 pause_filter_count;
	u64 iopm_pa;			/* 0x040 */
	u64 msrpm_pa;
	u64 tsc_offset;			/* 0x050 */
	u32 asid;			/* 0x058 */
	u8 tlb_control;
	u8 reserved_05d[3];
	u32 vintr;			/* 0x060: V_TPR, V_IRQ, ... */
	u32 vintr_vector;
	u64 interrupt_shadow;		/* 0x068 */
	u64 exit_code;			/* 0x070 */
	u64 exit_info1;
	u64 exit_info2;			/* 0x080 */
	u64 exit_int_info;
	u64 nested_control;		/* 0x090 */
	u64 avic_bar;
	u64 ghcb_pa;			/* 0x0a0 */
	u64 event_inject;
	u64 nested_cr3;			/* 0x0b0 */
	u64 virt_ext;
	u32 clean;			/* 0x0c0 */
	u32 reserved_0c4;
	u64 next_rip;			/* 0x0c8 */
	u8 insn_len;			/* 0x0d0 */
	u8 insn_bytes[15];
	u8 reserved_0e0[0x400 - 0xe0];
} __packed;

#define SVM_ATTR_L		BIT(9)		/* 64-bit code */

struct vmcb_segment {
	u16 selector;
	u16 attributes;			/* descriptor bits 55:52 and 47:40 */
	u32 limit;
	u64 base;
} __packed;

struct vmcb_save {
	struct vmcb_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	u8 reserved_0a0[0xcb - 0xa0];
	u8 cpl;				/* 0x0cb */
	u32 reserved_0cc;
	u64 efer;			/* 0x0d0 */
	u8 reserved_0d8[0x148 - 0xd8];
	u64 cr4;			/* 0x148 */
	u64 cr3;
	u64 cr0;
	u64 dr7;			/* 0x160 */
	u64 dr6;
	u64 rflags;
	u64 rip;
	u8 reserved_180[0x1d8 - 0x180];
	u64 rsp;			/* 0x1d8 */
	u64 s_cet, ssp, isst_addr;
	u64 rax;			/* 0x1f8 */
	u64 star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 cr2;			/* 0x240 */
	u8 reserved_248[0x268 - 0x248];
	u64 g_pat;			/* 0x268 */
	u64 debug_ctl, br_from, br_to, last_excp_from, last_excp_to;
	u8 reserved_298[0x2e0 - 0x298];
	u64 spec_ctrl;			/* 0x2e0 */
} __packed;

struct vmcb {
	struct vmcb_control control;
	struct vmcb_save save;
} __packed;

static_assert(offsetof(struct vmcb_control, exit_code) == 0x70);
static_assert(offsetof(struct vmcb_control, next_rip) == 0xc8);
static_assert(sizeof(struct vmcb_control) == 0x400);
static_assert(offsetof(struct vmcb_save, cpl) == 0xcb);
static_assert(offsetof(struct vmcb_save, cr4) == 0x148);
static_assert(offsetof(struct vmcb_save, rsp) == 0x1d8);
static_assert(offsetof(struct vmcb_save, g_pat) == 0x268);
static_assert(offsetof(struct vmcb_save, spec_ctrl) == 0x2e0);

/* control.tlb_control */
#define SVM_TLB_NOTHING		0
#define SVM_TLB_FLUSH_ALL	1
#define SVM_TLB_FLUSH_ASID	3

/* control.vintr */
#define SVM_V_TPR_MASK		0xffu
#define SVM_V_IRQ		BIT(8)
#define SVM_V_INTR_PRIO(p)	((u32)(p) << 16)
#define SVM_V_IGN_TPR		BIT(20)
#define SVM_V_INTR_MASKING	BIT(24)

/* control.interrupt_shadow */
#define SVM_SHADOW		BIT_ULL(0)

/* control.nested_control */
#define SVM_NESTED_PAGING	BIT_ULL(0)

/* control.event_inject, control.exit_int_info */
#define SVM_EVENT_VECTOR	0xffu
#define SVM_EVENT_TYPE(t)	((u32)(t) << 8)
#define SVM_EVENT_TYPE_OF(e)	(((u32)(e) >> 8) & 7)
#define SVM_EVENT_TYPE_INTR	0
#define SVM_EVENT_TYPE_NMI	2
#define SVM_EVENT_TYPE_EXCEPTION 3
#define SVM_EVENT_TYPE_SOFT	4
#define SVM_EVENT_ERROR		BIT(11)
#define SVM_EVENT_VALID		BIT(31)

/* control.clean: the CPU may use what it cached of these fields */
#define SVM_CLEAN_INTERCEPTS	BIT(0)
#define SVM_CLEAN_PERMISSIONS	BIT(1)
#define SVM_CLEAN_ASID		BIT(2)
#define SVM_CLEAN_TPR		BIT(3)
#define SVM_CLEAN_NP		BIT(4)
#define SVM_CLEAN_CR		BIT(5)
#define SVM_CLEAN_DR		BIT(6)
#define SVM_CLEAN_DT		BIT(7)
#define SVM_CLEAN_SEG		BIT(8)
#define SVM_CLEAN_CR2		BIT(9)
#define SVM_CLEAN_LBR		BIT(10)

/* EXITINFO1 of an I/O intercept */
#define SVM_IOIO_IN		BIT(0)
#define SVM_IOIO_STRING		BIT(2)
#define SVM_IOIO_REP		BIT(3)
#define SVM_IOIO_SIZE(info)	(((info) >> 4) & 7)

/* EXITINFO1 of a nested page fault; the low bits are those of a #PF */
#define SVM_NPF_WRITE		BIT_ULL(1)
#define SVM_NPF_RESERVED	BIT_ULL(3)
#define SVM_NPF_EXEC		BIT_ULL(4)
#define SVM_NPF_FINAL		BIT_ULL(32)	/* the access, not the walk to it */

#endif
