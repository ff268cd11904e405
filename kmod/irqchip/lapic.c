// SPDX-License-Identifier: GPL-2.0-only
/*
 * The local APIC: registers in xAPIC and x2APIC form, acceptance and priority
 * of interrupts, save and restore. Called by the run loop, MSR and MMIO
 * handlers of the vCPU that owns it, and by deliver.c for any other CPU.
 *
 * No lock. All state belongs to the vCPU thread (its ioctls are serialized by
 * the owner), except what other CPUs change with atomic bit operations: IRR,
 * TMR, esr_latent and turns; and a TSC deadline, which the timer's callback takes
 * (lapic_timer.c). irr_pending may be true for an empty IRR, never false for one
 * that holds a bit.
 *
 * A CPU that delivers interrupts by itself (->direct) changes IRR and ISR in the
 * page without locks while it is in the guest. On such a host (->posts) other CPUs
 * change ->posted in place of IRR, or ->pid, from where the CPU takes it by itself.
 */
#include "irqchip.h"

#define VERSION		0x00050014	/* 6 LVT entries, integrated APIC */
#define VERSION_LVT_ENTRY BIT(16)	/* one more */

#define ESR_SEND_ILLEGAL	BIT(5)
#define ESR_RECEIVE_ILLEGAL	BIT(6)
#define ESR_REGISTER		BIT(7)

#define ICR_BUSY	BIT(12)
#define ICR_RESERVED	(GENMASK_ULL(31, 20) | GENMASK_ULL(17, 16) | BIT_ULL(13))

#define LVT_MODE	0x700U
#define LVT_READ_ONLY	(BIT(12) | BIT(14))	/* delivery status, remote IRR */
#define TDCR_WRITABLE	0xbU

/* One bit per register, by offset / 16. */
#define REG(offset)	BIT_ULL((offset) >> 4)
#define REGS8(offset)	(0xffULL << ((offset) >> 4))

#define READABLE \
	(REG(LAPIC_ID) | REG(LAPIC_VERSION) | REG(LAPIC_TPR) | \
	 REG(LAPIC_PPR) | REG(LAPIC_LDR) | REG(LAPIC_SVR) | \
	 REGS8(LAPIC_ISR) | REGS8(LAPIC_TMR) | REGS8(LAPIC_IRR) | \
	 REG(LAPIC_ESR) | REG(LAPIC_ICR) | REG(LAPIC_LVTT) | \
	 REG(LAPIC_LVTTHMR) | REG(LAPIC_LVTPC) | REG(LAPIC_LVT0) | \
	 REG(LAPIC_LVT1) | REG(LAPIC_LVTERR) | REG(LAPIC_TMICT) | \
	 REG(LAPIC_TMCCT) | REG(LAPIC_TDCR))
/* EOI is written only, but no reserved register: no error. */
#define READABLE_XAPIC	(REG(LAPIC_APR) | REG(LAPIC_EOI) | REG(LAPIC_DFR) | REG(LAPIC_ICR2))

static bool readable(const struct lapic *l, u32 reg)
{
	return READABLE & REG(reg) || (reg == LAPIC_LVTCMCI && l->cmci);
}

static unsigned long *vector_word(const struct lapic *l, u32 base, u8 vector)
{
	return l->regs + base + (vector >> 5) * 16;
}

static bool vector_test(const struct lapic *l, u32 base, u8 vector)
{
	return lapic_reg(l, base + (vector >> 5) * 16) & BIT(vector & 31);
}

static int highest_vector(const struct lapic *l, u32 base)
{
	int i;

	for (i = 7; i >= 0; i--) {
		u32 word = lapic_reg(l, base + i * 16);

		if (word)
			return i * 32 + fls(word) - 1;
	}
	return -1;
}

static u32 x2apic_ldr(u32 id)
{
	return (id >> 4) << 16 | BIT(id & 0xf);
}

static void kick_if_pending(struct lapic *l)
{
	if (READ_ONCE(l->irr_pending))
		l->ic->ops->kick(l);
}

/*
 * For a CPU that takes it without an exit. If it is not in the guest, or no longer ->direct,
 * lapic_collect() does: the notification also asks for that. One on its way is enough.
 */
static void post(struct lapic *l, u8 vector)
{
	bool notified;

	set_bit(vector, l->pid->requests);
	/* After the bit: who takes bits clears it first. */
	notified = xchg(&l->pid->on, 1);
	/* After both, as in set_irr(). */
	WRITE_ONCE(l->irr_pending, true);
	if (!notified)
		l->ic->ops->notify(l);
}

static void set_irr(struct lapic *l, u8 vector, bool level)
{
	/* A locked access less where the mode is what it was, as it mostly is. */
	if (level && !vector_test(l, LAPIC_TMR, vector))
		set_bit(vector & 31, vector_word(l, LAPIC_TMR, vector));
	else if (!level && vector_test(l, LAPIC_TMR, vector))
		clear_bit(vector & 31, vector_word(l, LAPIC_TMR, vector));
	/* Not one whose EOI has to exit: that is arranged for before an entry. */
	if (l->pid && READ_ONCE(l->direct) && !level && !irqchip_wants_eoi(l->ic, vector)) {
		post(l, vector);
		return;
	}
	if (l->posts) {
		set_bit(vector, l->posted);
		/* After the bit: __lapic_collect() clears it before it takes bits. */
		WRITE_ONCE(l->posted_any, true);
	} else {
		set_bit(vector & 31, vector_word(l, LAPIC_IRR, vector));
	}
	/* After IRR: lapic_ack() clears it before it looks at IRR. */
	WRITE_ONCE(l->irr_pending, true);
	l->ic->ops->kick(l);
}

/*
 * Errors gather unseen until software writes ESR (Intel SDM volume 3, "Error
 * Handling"); the LVT error entry fires at once. An illegal vector in that
 * entry is dropped, or it would raise an error in turn without end.
 */
static void raise_error(struct lapic *l, u32 bit)
{
	u32 lvt = lapic_reg(l, LAPIC_LVTERR);

	atomic_or(bit, &l->esr_latent);
	if (!(lvt & LAPIC_LVT_MASKED) && (lvt & 0xff) >= 16 &&
	    lapic_sw_enabled(l))
		set_irr(l, lvt & 0xff, false);
}

/**
 * lapic_accept - take one interrupt message that is meant for this LAPIC
 * @l: the LAPIC
 * @irq: the message; its destination is not looked at
 *
 * Return: 1 when accepted, 0 when the LAPIC's state made it ignore it.
 */
int lapic_accept(struct lapic *l, const struct apic_irq *irq)
{
	const struct irqchip_ops *ops = l->ic->ops;

	switch (irq->delivery) {
	case APIC_LOWEST:
		atomic_inc(&l->turns);
		fallthrough;
	case APIC_FIXED:
		if ((irq->level && !irq->assert) ||
		    !lapic_hw_enabled(l) || !lapic_sw_enabled(l))
			return 0;
		if (irq->vector < 16) {
			raise_error(l, ESR_RECEIVE_ILLEGAL);
			return 0;
		}
		set_irr(l, irq->vector, irq->level);
		return 1;
	case APIC_SMI:
		ops->event(l, LAPIC_EVENT_SMI, 0);
		return 1;
	case APIC_REMOTE_READ:
		ops->event(l, LAPIC_EVENT_UNHALT, 0);
		return 1;
	case APIC_NMI:
		ops->event(l, LAPIC_EVENT_NMI, 0);
		return 1;
	case APIC_INIT:
		/* The level de-assert only synchronized arbitration ids. */
		if (irq->level && !irq->assert)
			return 0;
		ops->event(l, LAPIC_EVENT_INIT, 0);
		return 1;
	case APIC_STARTUP:
		ops->event(l, LAPIC_EVENT_SIPI, irq->vector);
		return 1;
	default:
		/* ExtINT: see lapic_accepts_extint(). */
		return 0;
	}
}

/**
 * lapic_local_deliver - let a local source fire through its LVT entry
 * @l: the LAPIC
 * @lvt: offset of the LVT register
 *
 * Return: as lapic_accept(); 0 when the entry is masked.
 */
int lapic_local_deliver(struct lapic *l, u32 lvt)
{
	u32 value = lapic_reg(l, lvt);
	struct apic_irq irq = {
		.vector = value & 0xff,
		.level = value & LAPIC_LVT_LEVEL,
		.assert = true,
	};

	if (!lapic_hw_enabled(l) || (value & LAPIC_LVT_MASKED))
		return 0;
	/* The timer and error entries have no mode field: always fixed. */
	if (lvt != LAPIC_LVTT && lvt != LAPIC_LVTERR)
		irq.delivery = (value & LVT_MODE) >> 8;
	else
		irq.level = false;
	return lapic_accept(l, &irq);
}

static void take_posts(struct lapic *l, unsigned long requests[4])
{
	unsigned int i;
	u64 bits;

	for (i = 0; i < 4; i++) {
		u32 reg = LAPIC_IRR + i * 32;

		if (!READ_ONCE(requests[i]))
			continue;
		bits = xchg(&requests[i], 0);
		lapic_reg_set(l, reg, lapic_reg(l, reg) | (u32)bits);
		lapic_reg_set(l, reg + 16, lapic_reg(l, reg + 16) | bits >> 32);
	}
}

void __lapic_collect(struct lapic *l)
{
	WRITE_ONCE(l->posted_any, false);
	if (l->pid)
		WRITE_ONCE(l->pid->on, 0);
	smp_mb();	/* pairs with the atomic set_bit() in set_irr() and post() */
	take_posts(l, l->posted);
	if (l->pid)
		take_posts(l, l->pid->requests);
	l->direct_stale = true;
}

/*
 * Intel SDM volume 3, "Task and Processor Priorities": the higher of the TPR and
 * the class of the highest vector in service. PPR is never stored.
 */
static u32 processor_priority(const struct lapic *l)
{
	u32 tpr = lapic_reg(l, LAPIC_TPR) & 0xff;
	u32 isr = l->isr_top < 0 ? 0 : l->isr_top & 0xf0;

	return (tpr & 0xf0) >= isr ? tpr : isr;
}

/**
 * lapic_highest_pending - the interrupt to inject now
 * @l: the LAPIC
 *
 * Return: the highest vector of IRR if its class beats the processor
 * priority, or -1.
 */
int lapic_highest_pending(struct lapic *l)
{
	int vector;

	if (!READ_ONCE(l->irr_pending) || !lapic_hw_enabled(l))
		return -1;
	lapic_collect(l);
	vector = highest_vector(l, LAPIC_IRR);
	if (vector < 0 || (u32)(vector & 0xf0) <= (processor_priority(l) & 0xf0))
		return -1;
	return vector;
}

/**
 * lapic_ack - the vCPU takes a vector: from IRR to ISR
 * @l: the LAPIC
 * @vector: what lapic_highest_pending() returned
 */
void lapic_ack(struct lapic *l, u8 vector)
{
	/* False before the look at IRR: set_irr() makes it true after. */
	WRITE_ONCE(l->irr_pending, false);
	clear_bit(vector & 31, vector_word(l, LAPIC_IRR, vector));
	/* Pairs with the atomic set_bit() in set_irr(). */
	smp_mb__after_atomic();
	if (lapic_has_posts(l) || highest_vector(l, LAPIC_IRR) >= 0)
		WRITE_ONCE(l->irr_pending, true);
	l->direct_stale = true;

	__set_bit(vector & 31, vector_word(l, LAPIC_ISR, vector));
	if (vector > l->isr_top)
		l->isr_top = vector;
}

/**
 * lapic_eoi - end of the highest interrupt in service
 * @l: the LAPIC
 *
 * What the IOAPIC, a split irqchip's owner or an ack notifier has to know of
 * the vector is passed on.
 */
void lapic_eoi(struct lapic *l)
{
	int vector = l->isr_top;

	if (vector < 0)
		return;
	__clear_bit(vector & 31, vector_word(l, LAPIC_ISR, vector));
	l->isr_top = highest_vector(l, LAPIC_ISR);
	l->direct_stale = true;
	irqchip_eoi(l->ic, l, vector, vector_test(l, LAPIC_TMR, vector));
	kick_if_pending(l);
}

/*
 * Whether an interrupt is in service whose EOI concerns nobody else and lets no other one
 * in: it may come late.
 */
bool lapic_eoi_is_private(const struct lapic *l)
{
	return l->isr_top >= 0 && !READ_ONCE(l->irr_pending) && lapic_eoi_is_quiet(l);
}

/* Does nobody but this LAPIC learn of the next EOI? */
bool lapic_eoi_is_quiet(const struct lapic *l)
{
	return l->isr_top < 0 || (!vector_test(l, LAPIC_TMR, l->isr_top) &&
				  !irqchip_wants_eoi(l->ic, l->isr_top));
}

/* The task priority, as TPR (CR8 is its upper half: lapic_set_cr8()). */
void lapic_set_tpr(struct lapic *l, u8 tpr)
{
	lapic_reg_set(l, LAPIC_TPR, tpr);
	kick_if_pending(l);
}

/* Whether the guest ends level interrupts at the IOAPIC itself. */
bool lapic_directs_eoi(const struct lapic *l)
{
	return READ_ONCE(l->ic->directed_eoi) == DIRECTED_EOI_ON &&
	       (lapic_reg(l, LAPIC_SVR) & LAPIC_SVR_DIRECTED_EOI);
}

/* What a guest patched for KVM_CAP_VAPIC reads instead of TPR, ISR and IRR. */
u32 lapic_vapic_word(struct lapic *l)
{
	u32 isr = l->isr_top < 0 ? 0 : l->isr_top & 0xf0;
	u32 irr;

	lapic_collect(l);
	irr = max(highest_vector(l, LAPIC_IRR), 0);

	return (lapic_reg(l, LAPIC_TPR) & 0xff) | isr << 8 | irr << 24;
}

/* Whether this vCPU is the one that takes the PIC's output. */
bool lapic_accepts_extint(const struct lapic *l)
{
	u32 lvt0 = lapic_reg(l, LAPIC_LVT0);

	return !lapic_hw_enabled(l) ||
	       (!(lvt0 & LAPIC_LVT_MASKED) &&
		(lvt0 & LVT_MODE) >> 8 == APIC_EXTINT);
}

/* Keeps ic->lint0_nmi: the PIT reaches LINT0 as an NMI (the NMI watchdog). */
static void lint0_changed(struct lapic *l)
{
	u32 lvt0 = lapic_reg(l, LAPIC_LVT0);
	bool nmi = !(lvt0 & LAPIC_LVT_MASKED) &&
		   (lvt0 & LVT_MODE) >> 8 == APIC_NMI;

	if (nmi == l->lint0_nmi)
		return;
	l->lint0_nmi = nmi;
	if (nmi)
		atomic_inc(&l->ic->lint0_nmi);
	else
		atomic_dec(&l->ic->lint0_nmi);
}

static void send_ipi(struct lapic *l, u32 low, u32 high)
{
	struct apic_irq irq = {
		.dest_id = lapic_mode(l) == LAPIC_X2APIC ? high : high >> 24,
		.vector = low & 0xff,
		.delivery = (low >> 8) & 7,
		.logical = low & BIT(11),
		.assert = low & BIT(14),
		.level = low & BIT(15),
		.shorthand = (low >> 18) & 3,
	};

	if (irq.vector < 16 && irq.delivery <= APIC_LOWEST) {
		raise_error(l, ESR_SEND_ILLEGAL);
		return;
	}
	irqchip_deliver(l->ic, l, &irq);
}

static u32 lvt_writable(const struct lapic *l, u32 offset)
{
	switch (offset) {
	case LAPIC_LVTT:
		return LAPIC_LVT_MASKED | 0xff | l->timer_modes;
	case LAPIC_LVTERR:
		return LAPIC_LVT_MASKED | 0xff;
	case LAPIC_LVT0:
	case LAPIC_LVT1:
		return LAPIC_LVT_MASKED | LAPIC_LVT_LEVEL | BIT(13) |
		       LVT_MODE | 0xff;
	default:
		return LAPIC_LVT_MASKED | LVT_MODE | 0xff;
	}
}

static bool write_lvt(struct lapic *l, u32 offset, u32 value, bool x2apic)
{
	u32 writable = lvt_writable(l, offset);

	if (x2apic && (value & ~(writable | LVT_READ_ONLY)))
		return false;
	value &= writable;
	if (!lapic_sw_enabled(l))
		value |= LAPIC_LVT_MASKED;
	if (offset == LAPIC_LVTT) {
		lapic_timer_set_lvtt(l, value);
		return true;
	}
	lapic_reg_set(l, offset, value);
	if (offset == LAPIC_LVT0) {
		lint0_changed(l);
		/* The PIC's output may have waited for this. */
		if (lapic_accepts_extint(l))
			l->ic->ops->kick(l);
	}
	return true;
}

static void mode_changed(struct lapic *l)
{
	if (l->ic->ops->mode_changed)
		l->ic->ops->mode_changed(l);
}

static bool write_svr(struct lapic *l, u32 value, bool x2apic)
{
	u32 lvt, writable = 0x3ff;

	if (l->version & LAPIC_VERSION_DIRECTED_EOI)
		writable |= LAPIC_SVR_DIRECTED_EOI;
	if (x2apic && (value & ~writable))
		return false;
	lapic_reg_set(l, LAPIC_SVR, value & writable);
	mode_changed(l);
	if (value & LAPIC_SVR_ENABLE)
		return true;
	for (lvt = LAPIC_LVTT; lvt <= LAPIC_LVTERR; lvt += 16)
		lapic_reg_set(l, lvt, lapic_reg(l, lvt) | LAPIC_LVT_MASKED);
	if (l->cmci)
		lapic_reg_set(l, LAPIC_LVTCMCI, lapic_reg(l, LAPIC_LVTCMCI) | LAPIC_LVT_MASKED);
	lint0_changed(l);
	return true;
}

/* Registers that exist in xAPIC mode only: routing of logical messages. */
static bool write_xapic_only(struct lapic *l, u32 offset, u32 value)
{
	switch (offset) {
	case LAPIC_ID:
	case LAPIC_LDR:
		lapic_reg_set(l, offset, value & 0xff000000);
		irqchip_map_changed(l->ic);
		return true;
	case LAPIC_DFR:
		lapic_reg_set(l, offset, value | 0x0fffffff);
		irqchip_map_changed(l->ic);
		return true;
	case LAPIC_ICR2:
		lapic_reg_set(l, offset, value & 0xff000000);
		return true;
	default:
		return false;
	}
}

/* Return: false for a register that cannot take this write. */
static bool write_reg(struct lapic *l, u32 offset, u32 value, bool x2apic)
{
	switch (offset) {
	case LAPIC_TPR:
		if (x2apic && value > 0xff)
			return false;
		if (l->report_tpr)
			l->ic->ops->tpr_access(l, true);
		lapic_set_tpr(l, value & 0xff);
		return true;
	case LAPIC_EOI:
		if (x2apic && value)
			return false;
		lapic_eoi(l);
		return true;
	case LAPIC_SVR:
		return write_svr(l, value, x2apic);
	case LAPIC_ESR:
		if (x2apic && value)
			return false;
		lapic_reg_set(l, LAPIC_ESR, atomic_xchg(&l->esr_latent, 0));
		return true;
	case LAPIC_ICR:
		value &= ~ICR_BUSY;
		lapic_reg_set(l, LAPIC_ICR, value);
		send_ipi(l, value, lapic_reg(l, LAPIC_ICR2));
		return true;
	case LAPIC_LVTCMCI:
		return l->cmci && write_lvt(l, offset, value, x2apic);
	case LAPIC_LVTT:
	case LAPIC_LVTTHMR:
	case LAPIC_LVTPC:
	case LAPIC_LVT0:
	case LAPIC_LVT1:
	case LAPIC_LVTERR:
		return write_lvt(l, offset, value, x2apic);
	case LAPIC_TMICT:
		if (lapic_tsc_deadline_mode(l))
			return true;
		lapic_reg_set(l, LAPIC_TMICT, value);
		lapic_timer_start(l, value);
		return true;
	case LAPIC_TDCR:
		if (x2apic && (value & ~TDCR_WRITABLE))
			return false;
		lapic_timer_set_divide(l, value & TDCR_WRITABLE);
		return true;
	case LAPIC_SELF_IPI:
		if (!x2apic || value > 0xff)
			return false;
		send_ipi(l, BIT(14) | APIC_TO_SELF << 18 | value, 0);
		return true;
	default:
		return !x2apic && write_xapic_only(l, offset, value);
	}
}

static u32 read_reg(struct lapic *l, u32 offset)
{
	lapic_collect(l);
	switch (offset) {
	case LAPIC_TPR:
		if (l->report_tpr)
			l->ic->ops->tpr_access(l, false);
		return lapic_reg(l, offset);
	case LAPIC_PPR:
		return processor_priority(l);
	case LAPIC_TMCCT:
		return lapic_timer_count(l);
	default:
		return lapic_reg(l, offset);
	}
}

/**
 * lapic_mmio_read - the guest reads the register page
 * @l: the LAPIC
 * @offset: byte offset into the page
 * @len: bytes; only reads within one register's four bytes give its value
 * @data: @len bytes, zero for what is no register
 *
 * Return: 0, or -EOPNOTSUPP when the LAPIC is not in xAPIC mode and the page is
 * not there.
 */
int lapic_mmio_read(struct lapic *l, u32 offset, u32 len, void *data)
{
	u32 reg = offset & 0xff0, byte = offset & 0xf, value;

	if (lapic_mode(l) != LAPIC_XAPIC)
		return -EOPNOTSUPP;
	memset(data, 0, len);
	if (len > 4 || byte + len > 4)
		return 0;
	if (reg > LAPIC_SELF_IPI || !(readable(l, reg) || READABLE_XAPIC & REG(reg))) {
		raise_error(l, ESR_REGISTER);
		return 0;
	}
	value = read_reg(l, reg) >> (byte * 8);
	memcpy(data, &value, len);
	return 0;
}

/**
 * lapic_mmio_write - the guest writes to the register page
 * @l: the LAPIC
 * @offset: byte offset into the page
 * @len: bytes; only aligned writes of four do anything
 * @data: @len bytes
 *
 * Return: as lapic_mmio_read().
 */
int lapic_mmio_write(struct lapic *l, u32 offset, u32 len, const void *data)
{
	u32 value;

	if (lapic_mode(l) != LAPIC_XAPIC)
		return -EOPNOTSUPP;
	if (len != 4 || (offset & 0xf))
		return 0;
	memcpy(&value, data, sizeof(value));
	if (!write_reg(l, offset & 0xff0, value, false))
		raise_error(l, ESR_REGISTER);
	return 0;
}

/**
 * lapic_msr_read - RDMSR of 0x800..0x8ff
 * @l: the LAPIC
 * @msr: the MSR's number
 * @data: its value
 *
 * Return: 0, or 1 for #GP.
 */
int lapic_msr_read(struct lapic *l, u32 msr, u64 *data)
{
	u32 reg = (msr - LAPIC_MSR_FIRST) << 4;

	if (lapic_mode(l) != LAPIC_X2APIC || reg > LAPIC_SELF_IPI || !readable(l, reg))
		return 1;
	*data = read_reg(l, reg);
	if (reg == LAPIC_ICR)
		*data |= (u64)lapic_reg(l, LAPIC_ICR2) << 32;
	return 0;
}

/**
 * lapic_msr_write - WRMSR of 0x800..0x8ff
 * @l: the LAPIC
 * @msr: the MSR's number
 * @data: the value
 *
 * Return: 0, or 1 for #GP: not in x2APIC mode, no such register, a reserved bit.
 */
int lapic_msr_write(struct lapic *l, u32 msr, u64 data)
{
	u32 reg = (msr - LAPIC_MSR_FIRST) << 4;

	if (lapic_mode(l) != LAPIC_X2APIC || reg > LAPIC_SELF_IPI)
		return 1;
	if (reg == LAPIC_ICR) {
		if (data & ICR_RESERVED)
			return 1;
		lapic_reg_set(l, LAPIC_ICR2, data >> 32);
	} else if (data >> 32) {
		return 1;
	}
	return !write_reg(l, reg, data, true);
}

/**
 * lapic_set_base - write to IA32_APIC_BASE
 * @l: the LAPIC
 * @value: the new value
 * @host_initiated: by user space, which may make any transition
 *
 * Return: 0, or 1 for #GP: a reserved bit, or a transition that the manual
 * forbids (Intel SDM volume 3, "x2APIC State Transitions").
 */
int lapic_set_base(struct lapic *l, u64 value, bool host_initiated)
{
	enum lapic_mode old = lapic_mode(l), new = lapic_base_mode(value);

	if ((value & l->base_reserved) || new == LAPIC_INVALID)
		return 1;
	if (!host_initiated && ((old == LAPIC_X2APIC && new == LAPIC_XAPIC) ||
				(old == LAPIC_DISABLED && new == LAPIC_X2APIC)))
		return 1;

	WRITE_ONCE(l->base, value);
	mode_changed(l);
	if (old == new)
		return 0;
	if (new == LAPIC_X2APIC) {
		lapic_reg_set(l, LAPIC_ID, l->vcpu_id);
		lapic_reg_set(l, LAPIC_LDR, x2apic_ldr(l->vcpu_id));
	} else if (new == LAPIC_XAPIC) {
		lapic_reg_set(l, LAPIC_ID, l->vcpu_id << 24);
	}
	irqchip_map_changed(l->ic);
	/* Without a LAPIC the PIC's output goes to the CPU. */
	l->ic->ops->kick(l);
	return 0;
}

/**
 * lapic_set_cpuid - what the guest's CPUID says of its APIC
 * @l: the LAPIC
 * @x2apic: x2APIC mode may be entered
 * @tsc_deadline: the timer has that mode
 * @reserved_phys_bits: physical address bits above MAXPHYADDR
 */
void lapic_set_cpuid(struct lapic *l, bool x2apic, bool tsc_deadline,
		     u64 reserved_phys_bits)
{
	l->base_reserved = reserved_phys_bits | 0x2ff |
			   (x2apic ? 0 : LAPIC_BASE_X2APIC);
	l->timer_modes = BIT(17) | (tsc_deadline ? BIT(18) : 0);
	/* The IOAPIC in the kernel, of version 0x11, has no register to end one there. */
	l->version = VERSION + (l->cmci ? VERSION_LVT_ENTRY : 0);
	if (x2apic && l->ic->kind == IRQCHIP_SPLIT &&
	    READ_ONCE(l->ic->directed_eoi) != DIRECTED_EOI_OFF)
		l->version |= LAPIC_VERSION_DIRECTED_EOI;
	lapic_reg_set(l, LAPIC_VERSION, l->version);
}

/**
 * lapic_set_cmci - does it have an entry for corrected machine-check errors?
 * @l: the LAPIC
 * @cmci: what IA32_MCG_CAP says. Intel SDM volume 3, "CMCI Local APIC Interface"
 */
void lapic_set_cmci(struct lapic *l, bool cmci)
{
	if (cmci == l->cmci)
		return;
	l->cmci = cmci;
	if (cmci)
		l->version += VERSION_LVT_ENTRY;
	else
		l->version -= VERSION_LVT_ENTRY;
	lapic_reg_set(l, LAPIC_VERSION, l->version);
	lapic_reg_set(l, LAPIC_LVTCMCI, cmci ? LAPIC_LVT_MASKED : 0);
}

/**
 * lapic_reset - the state after power-up, or after INIT
 * @l: the LAPIC
 * @init_event: INIT, which keeps IA32_APIC_BASE and the APIC id
 * @bsp: this vCPU is the boot processor
 */
void lapic_reset(struct lapic *l, bool init_event, bool bsp)
{
	u32 reg;

	lapic_timer_stop(l);
	if (!init_event) {
		WRITE_ONCE(l->base, LAPIC_DEFAULT_BASE | LAPIC_BASE_ENABLE |
				    (bsp ? LAPIC_BASE_BSP : 0));
		lapic_reg_set(l, LAPIC_ID, l->vcpu_id << 24);
	}
	lapic_reg_set(l, LAPIC_VERSION, l->version);
	lapic_collect(l);
	l->direct_stale = true;
	/* Before IRR is: another CPU may set a bit there at any time, and then this. */
	WRITE_ONCE(l->irr_pending, false);
	smp_mb();	/* pairs with the atomic operations in set_irr() and post() */
	if (lapic_has_posts(l))
		WRITE_ONCE(l->irr_pending, true);
	for (reg = LAPIC_TPR; reg <= LAPIC_TDCR; reg += 16) {
		if (reg != LAPIC_LDR || lapic_mode(l) != LAPIC_X2APIC)
			lapic_reg_set(l, reg, 0);
	}
	for (reg = LAPIC_LVTT; reg <= LAPIC_LVTERR; reg += 16)
		lapic_reg_set(l, reg, LAPIC_LVT_MASKED);
	if (l->cmci)
		lapic_reg_set(l, LAPIC_LVTCMCI, LAPIC_LVT_MASKED);
	if (bsp && READ_ONCE(l->ic->lint0_quirk))
		lapic_reg_set(l, LAPIC_LVT0, APIC_EXTINT << 8);
	lapic_reg_set(l, LAPIC_DFR, 0xffffffff);
	lapic_reg_set(l, LAPIC_SVR, 0xff);
	lint0_changed(l);
	mode_changed(l);
	l->isr_top = -1;
	atomic_set(&l->esr_latent, 0);
	atomic_set(&l->turns, 0);
	irqchip_map_changed(l->ic);
}

/* May a CPU work it? Such a CPU does not know of one that software has disabled. */
bool lapic_wants_direct(const struct lapic *l)
{
	return l->posts && lapic_hw_enabled(l) && lapic_sw_enabled(l) && !l->report_tpr;
}

/* Does the guest look for its registers where all of a VM have them? */
bool lapic_wants_page(const struct lapic *l)
{
	return lapic_mode(l) == LAPIC_XAPIC && lapic_mmio_base(l) == LAPIC_DEFAULT_BASE;
}

/* Is register @reg what its place in the page has, in x2APIC mode? */
bool lapic_reads_plainly(u32 reg)
{
	return READABLE & ~(REG(LAPIC_ICR) | REG(LAPIC_TMCCT)) & REG(reg);
}

/**
 * lapic_give_direct - what a CPU that delivers interrupts has to know before the guest
 * @l: the LAPIC
 * @requested: the highest vector of IRR, or 0
 * @in_service: the highest one of ISR, or 0
 * @eoi_exits: one bit a vector: somebody else wants to know of its EOI
 */
void lapic_give_direct(struct lapic *l, u8 *requested, u8 *in_service, u64 eoi_exits[4])
{
	unsigned int vector;

	l->direct_stale = false;
	*requested = max(highest_vector(l, LAPIC_IRR), 0);
	*in_service = max_t(int, l->isr_top, 0);
	for (vector = 16; vector < 256; vector++) {
		if (!vector_test(l, LAPIC_IRR, vector) && !vector_test(l, LAPIC_ISR, vector))
			continue;
		eoi_exits[vector / 64] &= ~BIT_ULL(vector % 64);
		if (vector_test(l, LAPIC_TMR, vector) || irqchip_wants_eoi(l->ic, vector))
			eoi_exits[vector / 64] |= BIT_ULL(vector % 64);
	}
}

/* And after it: what the guest and the CPU have made of that. */
void lapic_take_direct(struct lapic *l, u8 requested, u8 in_service)
{
	l->isr_top = in_service ? in_service : -1;
	if (requested)
		WRITE_ONCE(l->irr_pending, true);
}

/* Registers whose old value decides what a new one does. */
static const u32 remembered[LAPIC_REMEMBERED] = { LAPIC_LVTT, LAPIC_TMICT, LAPIC_TDCR };

/* Before the guest, where it may write to registers. */
void lapic_remember(struct lapic *l)
{
	unsigned int i;

	for (i = 0; i < LAPIC_REMEMBERED; i++)
		l->before[i] = lapic_reg(l, remembered[i]);
}

/* The guest has written to @reg: the value is there, and what it does is left to us. */
void lapic_direct_write(struct lapic *l, u32 reg)
{
	bool x2apic = lapic_mode(l) == LAPIC_X2APIC;
	u32 value = lapic_reg(l, reg);
	unsigned int i;

	for (i = 0; i < LAPIC_REMEMBERED; i++)
		if (reg == remembered[i])
			lapic_reg_set(l, reg, l->before[i]);
	if (!write_reg(l, reg, value, x2apic))
		raise_error(l, ESR_REGISTER);
}

/* The CPU has ended @vector, and left it to us to say so. */
void lapic_direct_eoi(struct lapic *l, u8 vector)
{
	irqchip_eoi(l->ic, l, vector, vector_test(l, LAPIC_TMR, vector));
	kick_if_pending(l);
}

/**
 * lapic_init - make a LAPIC in its power-up state
 * @l: the LAPIC
 * @ic: the VM's interrupt controllers
 * @vcpu_id: below IRQCHIP_MAX_APIC_ID
 * @regs: a zeroed page, the owner's, to outlive the LAPIC
 * @bsp: this vCPU is the boot processor
 *
 * Nothing reaches it before irqchip_add_lapic().
 */
void lapic_init(struct lapic *l, struct irqchip *ic, u32 vcpu_id, void *regs,
		bool bsp)
{
	l->ic = ic;
	l->regs = regs;
	l->vcpu_id = vcpu_id;
	l->lint0_nmi = false;
	lapic_timer_init(l);
	lapic_set_cpuid(l, false, false, 0);
	lapic_reset(l, false, bsp);
}

/* Stops what may still call back. After irqchip_destroy(), if added. */
void lapic_destroy(struct lapic *l)
{
	lapic_timer_stop(l);
	lapic_reg_set(l, LAPIC_LVT0, LAPIC_LVT_MASKED);
	lint0_changed(l);
}

/**
 * lapic_get_state - KVM_GET_LAPIC
 * @l: the LAPIC
 * @s: in x2APIC mode the id is in xAPIC form unless user space asked for 32
 *     bits (KVM_X2APIC_API_USE_32BIT_IDS)
 */
void lapic_get_state(struct lapic *l, struct kvm_lapic_state *s)
{
	u32 id = lapic_reg(l, LAPIC_ID);
	u32 count = lapic_timer_count(l), ppr = processor_priority(l);

	lapic_collect(l);
	memcpy(s->regs, l->regs, sizeof(s->regs));
	memcpy(s->regs + LAPIC_TMCCT, &count, sizeof(count));
	memcpy(s->regs + LAPIC_PPR, &ppr, sizeof(ppr));
	if (lapic_mode(l) == LAPIC_X2APIC && !l->ic->x2apic_ids) {
		id <<= 24;
		memcpy(s->regs + LAPIC_ID, &id, sizeof(id));
	}
}

/**
 * lapic_set_state - KVM_SET_LAPIC
 * @l: the LAPIC; IA32_APIC_BASE is set before, by SREGS or SET_MSRS
 * @s: as lapic_get_state() gives it
 *
 * The timer goes on from TMCCT. TMICT without TMCCT means a tick that the saved
 * side may not have delivered, so it is due now. An armed TSC deadline stays
 * if the timer stays in that mode.
 *
 * Return: 0, or -EINVAL when a 32-bit x2APIC id is not the vCPU's.
 */
int lapic_set_state(struct lapic *l, const struct kvm_lapic_state *s)
{
	bool x2apic = lapic_mode(l) == LAPIC_X2APIC;
	u64 deadline = lapic_get_tsc_deadline(l);
	u32 id, count;

	memcpy(&id, s->regs + LAPIC_ID, sizeof(id));
	memcpy(&count, s->regs + LAPIC_TMCCT, sizeof(count));
	if (x2apic && l->ic->x2apic_ids && id != l->vcpu_id)
		return -EINVAL;

	lapic_timer_stop(l);
	lapic_collect(l);
	memcpy(l->regs, s->regs, sizeof(s->regs));
	l->direct_stale = true;
	lapic_reg_set(l, LAPIC_VERSION, l->version);
	if (x2apic) {
		/* Both follow from the vCPU's id, whatever user space says. */
		lapic_reg_set(l, LAPIC_ID, l->vcpu_id);
		lapic_reg_set(l, LAPIC_LDR, x2apic_ldr(l->vcpu_id));
	}
	lint0_changed(l);
	mode_changed(l);
	l->isr_top = highest_vector(l, LAPIC_ISR);
	WRITE_ONCE(l->irr_pending, true);
	irqchip_map_changed(l->ic);
	lapic_timer_start(l, count);
	lapic_set_tsc_deadline(l, deadline);
	l->ic->ops->kick(l);
	return 0;
}
