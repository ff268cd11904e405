/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The local APIC of one vCPU: its registers, its timer, and the questions a
 * run loop asks of it. The state is one struct lapic, embedded in the vCPU.
 *
 * Nothing here sleeps: every function may be called with interrupts off.
 */
#ifndef LODGE_LAPIC_H
#define LODGE_LAPIC_H

#include "env.h"

struct irqchip;

/* Register offsets (Intel SDM volume 3, "Local APIC Register Address Map"). */
enum {
	LAPIC_ID	= 0x020,
	LAPIC_VERSION	= 0x030,
	LAPIC_TPR	= 0x080,
	LAPIC_APR	= 0x090,
	LAPIC_PPR	= 0x0a0,
	LAPIC_EOI	= 0x0b0,
	LAPIC_LDR	= 0x0d0,
	LAPIC_DFR	= 0x0e0,
	LAPIC_SVR	= 0x0f0,
	LAPIC_ISR	= 0x100,
	LAPIC_TMR	= 0x180,
	LAPIC_IRR	= 0x200,
	LAPIC_ESR	= 0x280,
	LAPIC_LVTCMCI	= 0x2f0,
	LAPIC_ICR	= 0x300,
	LAPIC_ICR2	= 0x310,
	LAPIC_LVTT	= 0x320,
	LAPIC_LVTTHMR	= 0x330,
	LAPIC_LVTPC	= 0x340,
	LAPIC_LVT0	= 0x350,
	LAPIC_LVT1	= 0x360,
	LAPIC_LVTERR	= 0x370,
	LAPIC_TMICT	= 0x380,
	LAPIC_TMCCT	= 0x390,
	LAPIC_TDCR	= 0x3e0,
	LAPIC_SELF_IPI	= 0x3f0,
};

#define LAPIC_LVT_MASKED	BIT(16)
#define LAPIC_LVT_LEVEL		BIT(15)
#define LAPIC_SVR_ENABLE	BIT(8)
#define LAPIC_VERSION_DIRECTED_EOI	BIT(24)
#define LAPIC_SVR_DIRECTED_EOI	BIT(12)

#define LAPIC_BASE_BSP		BIT_ULL(8)
#define LAPIC_BASE_X2APIC	BIT_ULL(10)
#define LAPIC_BASE_ENABLE	BIT_ULL(11)
#define LAPIC_DEFAULT_BASE	0xfee00000ULL

#define LAPIC_MSR_FIRST		0x800U
#define LAPIC_MSR_LAST		0x8ffU

/* Delivery modes, as ICR, LVT, MSI data and IOAPIC entries encode them. */
enum apic_delivery {
	APIC_FIXED	= 0,
	APIC_LOWEST	= 1,
	APIC_SMI	= 2,
	APIC_REMOTE_READ = 3,	/* KVM's paravirtual unhalt */
	APIC_NMI	= 4,
	APIC_INIT	= 5,
	APIC_STARTUP	= 6,
	APIC_EXTINT	= 7,
};

enum apic_shorthand {
	APIC_TO_DEST, APIC_TO_SELF, APIC_TO_ALL, APIC_TO_OTHERS,
	APIC_TO_ID,		/* not of the ICR: dest_id, which is no broadcast */
};

/* One interrupt message on the way to the local APICs. */
struct apic_irq {
	u32 dest_id;
	u8 vector;
	u8 delivery;		/* enum apic_delivery */
	u8 shorthand;		/* enum apic_shorthand */
	bool logical;		/* dest_id is logical */
	bool level;		/* level triggered */
	bool assert;		/* false: INIT level de-assert */
	bool lowest_hint;	/* MSI redirection hint */
};

enum lapic_mode {
	LAPIC_DISABLED, LAPIC_INVALID, LAPIC_XAPIC, LAPIC_X2APIC,
};

#define LAPIC_REMEMBERED	3

/* The longest that a vCPU waits for a deadline, with its CPU's interrupts off. */
#define LAPIC_MAX_ADVANCE_NS	5000
#define LAPIC_FIRST_ADVANCE_NS	1000

/* Intel SDM volume 3, "Posted-Interrupt Processing". The rest is for devices. */
struct lapic_posts {
	unsigned long requests[4];	/* x86 with 64 bits: a bit a vector */
	u32 on;				/* somebody sends a notification, or has sent one */
	u32 rest[7];
};

struct lapic {
	/* One zeroed page, the register page in xAPIC layout; the owner's. */
	void *regs;
	struct irqchip *ic;
	void *owner;			/* for the owner's callbacks */
	u32 vcpu_id;			/* the initial and the x2APIC id */
	u64 base;			/* IA32_APIC_BASE */
	u64 base_reserved;		/* bits a write to it must not set */
	u32 timer_modes;		/* LVTT mode bits the guest's CPUID allows */
	u32 version;			/* the version register */
	bool cmci;			/* there is LVTCMCI */
	bool report_tpr;		/* call ops->tpr_access() */
	bool irr_pending;		/* false: IRR is empty, and so are ->posted and ->pid */
	/*
	 * Where the CPU itself may deliver what is in IRR, others put their requests here: only
	 * the vCPU's thread, outside of the guest, moves them on. Constant: ->posts.
	 */
	bool posts;
	bool posted_any;		/* false: ->posted is empty */
	unsigned long posted[4];	/* as in struct lapic_posts */
	/*
	 * What the CPU moves on by itself, in the guest and ->direct, after ops->notify(): only
	 * vectors whose EOI concerns nobody. Constant; NULL: it cannot. The owner's.
	 */
	struct lapic_posts *pid;
	bool direct;			/* the CPU does: IRR to ISR, EOI. The vCPU's thread */
	bool direct_stale;		/* ... and IRR or ISR is other than it knows */
	u32 before[LAPIC_REMEMBERED];	/* lapic_direct_write() */
	s16 isr_top;			/* highest vector in service, or -1 */
	bool lint0_nmi;			/* counted in ic->lint0_nmi */
	atomic_t esr_latent;		/* errors since ESR was last written */
	atomic_t turns;			/* lowest-priority interrupts taken */

	/* The timer. Changed by the vCPU thread with the timer stopped. */
	struct lodge_timer timer;
	u64 timer_period;		/* ns, 0: not running */
	bool timer_repeats;		/* ... and begins again when it ends */
	u64 timer_target;		/* next expiry, ns of CLOCK_MONOTONIC */
	/* A deadline; the callback reads and writes these while the timer runs, too. */
	u64 tsc_deadline;		/* IA32_TSC_DEADLINE */
	u64 armed;			/* when the host's timer fires: ns */
	u64 given;			/* one whose vector is in IRR, perhaps before its time */
	bool watched;			/* the vCPU looks after it while it runs */
	u32 advance;			/* ns by which the host's timer is early for it */
};

/* Life. @regs: a zeroed page that outlives the LAPIC. */
void lapic_init(struct lapic *l, struct irqchip *ic, u32 vcpu_id, void *regs,
		bool bsp);
void lapic_destroy(struct lapic *l);
void lapic_reset(struct lapic *l, bool init_event, bool bsp);
void lapic_set_cmci(struct lapic *l, bool cmci);
void lapic_set_cpuid(struct lapic *l, bool x2apic, bool tsc_deadline,
		     u64 reserved_phys_bits);

/* Registers, for the vCPU thread. */
int lapic_mmio_read(struct lapic *l, u32 offset, u32 len, void *data);
int lapic_mmio_write(struct lapic *l, u32 offset, u32 len, const void *data);
int lapic_msr_read(struct lapic *l, u32 msr, u64 *data);
int lapic_msr_write(struct lapic *l, u32 msr, u64 data);
int lapic_set_base(struct lapic *l, u64 value, bool host_initiated);
u64 lapic_get_tsc_deadline(struct lapic *l);
void lapic_set_tsc_deadline(struct lapic *l, u64 guest_tsc);
void lapic_tsc_changed(struct lapic *l);
void lapic_deadline_to_host(struct lapic *l);
void lapic_deadline_reached(struct lapic *l);
u64 lapic_given_deadline(struct lapic *l, u8 vector);
void lapic_deadline_was(struct lapic *l, s64 ns);
void lapic_get_state(struct lapic *l, struct kvm_lapic_state *s);
int lapic_set_state(struct lapic *l, const struct kvm_lapic_state *s);

/* Interrupts, for the vCPU thread. */
int lapic_highest_pending(struct lapic *l);
void lapic_ack(struct lapic *l, u8 vector);
void lapic_eoi(struct lapic *l);
bool lapic_eoi_is_quiet(const struct lapic *l);
bool lapic_eoi_is_private(const struct lapic *l);
void lapic_set_tpr(struct lapic *l, u8 tpr);
bool lapic_accepts_extint(const struct lapic *l);
u32 lapic_vapic_word(struct lapic *l);
void __lapic_collect(struct lapic *l);
bool lapic_directs_eoi(const struct lapic *l);

/* For a CPU that delivers interrupts itself, by the vCPU's thread. Any tier. */
bool lapic_wants_direct(const struct lapic *l);
bool lapic_wants_page(const struct lapic *l);
bool lapic_reads_plainly(u32 reg);
void lapic_give_direct(struct lapic *l, u8 *requested, u8 *in_service, u64 eoi_exits[4]);
void lapic_take_direct(struct lapic *l, u8 requested, u8 in_service);
void lapic_direct_eoi(struct lapic *l, u8 vector);
void lapic_remember(struct lapic *l);
void lapic_direct_write(struct lapic *l, u32 reg);

/* lapic_timer.c, for lapic.c */
void lapic_timer_init(struct lapic *l);
void lapic_timer_stop(struct lapic *l);
void lapic_timer_start(struct lapic *l, u32 count);
void lapic_timer_set_lvtt(struct lapic *l, u32 lvtt);
void lapic_timer_set_divide(struct lapic *l, u32 tdcr);
u32 lapic_timer_count(const struct lapic *l);

/* Interrupts, from any context. */
int lapic_accept(struct lapic *l, const struct apic_irq *irq);
int lapic_local_deliver(struct lapic *l, u32 lvt);

static inline u32 lapic_reg(const struct lapic *l, u32 offset)
{
	return READ_ONCE(*(u32 *)(l->regs + offset));
}

static inline void lapic_reg_set(struct lapic *l, u32 offset, u32 value)
{
	WRITE_ONCE(*(u32 *)(l->regs + offset), value);
}

/* Have others posted something? */
static inline bool lapic_has_posts(const struct lapic *l)
{
	return READ_ONCE(l->posted_any) || (l->pid && READ_ONCE(l->pid->on));
}

/* What others have posted goes to IRR. */
static inline void lapic_collect(struct lapic *l)
{
	if (lapic_has_posts(l))
		__lapic_collect(l);
}

static inline enum lapic_mode lapic_base_mode(u64 base)
{
	if (base & LAPIC_BASE_ENABLE)
		return base & LAPIC_BASE_X2APIC ? LAPIC_X2APIC : LAPIC_XAPIC;
	return base & LAPIC_BASE_X2APIC ? LAPIC_INVALID : LAPIC_DISABLED;
}

static inline enum lapic_mode lapic_mode(const struct lapic *l)
{
	return lapic_base_mode(READ_ONCE(l->base));
}

static inline bool lapic_hw_enabled(const struct lapic *l)
{
	return READ_ONCE(l->base) & LAPIC_BASE_ENABLE;
}

static inline bool lapic_sw_enabled(const struct lapic *l)
{
	return lapic_reg(l, LAPIC_SVR) & LAPIC_SVR_ENABLE;
}

/* The guest-physical page the registers answer at in xAPIC mode. */
static inline u64 lapic_mmio_base(const struct lapic *l)
{
	return l->base & ~0xfffULL;
}

static inline u32 lapic_xapic_id(const struct lapic *l)
{
	return lapic_reg(l, LAPIC_ID) >> 24;
}

static inline u8 lapic_get_cr8(const struct lapic *l)
{
	return (lapic_reg(l, LAPIC_TPR) & 0xff) >> 4;
}

static inline void lapic_set_cr8(struct lapic *l, u8 cr8)
{
	lapic_set_tpr(l, (u8)((cr8 & 0xf) << 4));
}

static inline bool lapic_tsc_deadline_mode(const struct lapic *l)
{
	return ((lapic_reg(l, LAPIC_LVTT) & l->timer_modes) >> 17) == 2;
}

#endif /* LODGE_LAPIC_H */
