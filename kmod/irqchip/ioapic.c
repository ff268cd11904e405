// SPDX-License-Identifier: GPL-2.0-only
/*
 * The IOAPIC: redirection table, level and edge lines, remote IRR. Called by
 * routing.c (lines, any context), by the MMIO handler and by LAPIC EOIs.
 *
 * ioapic.lock, raw and interrupt-safe, guards all state. Messages are sent
 * under it (delivery takes no lock); ack notifiers run without it.
 */
#include "irqchip.h"

/* Intel 82093AA datasheet, "Redirection Table". */
#define E_VECTOR	0xffULL
#define E_DELIVERY	(7ULL << 8)
#define E_LOGICAL	BIT_ULL(11)
#define E_STATUS	BIT_ULL(12)
#define E_REMOTE_IRR	BIT_ULL(14)
#define E_LEVEL		BIT_ULL(15)
#define E_MASKED	BIT_ULL(16)

#define VERSION		((IOAPIC_PINS - 1) << 16 | 0x11)

/*
 * A level line that nobody silences comes back at each EOI, at a rate that
 * starves the guest. After so many EOIs in a row the next delivery waits.
 */
#define STORM_EOIS	10000
#define STORM_DELAY_NS	10000000ULL

/* Sends the pin's message now, if the entry lets it. Caller holds the lock. */
static int service(struct ioapic *s, u32 pin)
{
	u64 e = s->entry[pin];
	struct apic_irq irq = {
		.dest_id = e >> 56,
		.vector = e & E_VECTOR,
		.delivery = (e & E_DELIVERY) >> 8,
		.logical = e & E_LOGICAL,
		.level = e & E_LEVEL,
		.assert = true,
	};
	int ret;

	if ((e & E_MASKED) || (irq.level && (e & E_REMOTE_IRR)))
		return -1;
	/* This delivery is what a deferred one was waiting to do. */
	s->deferred &= ~BIT(pin);
	if (!irq.level)
		s->sent |= BIT(pin);
	ret = s->ops->deliver(s, &irq);
	if (ret > 0 && irq.level)
		s->entry[pin] |= E_REMOTE_IRR;
	return ret;
}

static int set_level(struct ioapic *s, u32 pin, bool level)
{
	u32 bit = BIT(pin);

	if (!level) {
		s->irr &= ~bit;
		return 1;
	}
	if (!(s->entry[pin] & E_LEVEL)) {
		s->sent &= ~bit;
		if (s->irr & bit)
			return 0;
	}
	s->irr |= bit;
	return service(s, pin);
}

/**
 * ioapic_set_irq - one source drives a pin up or down
 * @s: the IOAPIC
 * @pin: below IOAPIC_PINS
 * @source: IRQ_SOURCE_*: the pin is up while any source holds it up
 * @level: up
 *
 * Return: >0 delivered, 0 coalesced with one before, <0 ignored (masked, or
 * still in service).
 */
int ioapic_set_irq(struct ioapic *s, u32 pin, u32 source, bool level)
{
	unsigned long flags;
	int ret;

	pin = array_index_nospec(pin, IOAPIC_PINS);
	lodge_spin_lock(&s->lock, flags);
	if (level)
		__set_bit(source, &s->sources[pin]);
	else
		__clear_bit(source, &s->sources[pin]);
	ret = set_level(s, pin, s->sources[pin]);
	lodge_spin_unlock(&s->lock, flags);
	return ret;
}

/*
 * Which vectors' EOIs to hear of: level ones, and all of pins with an ack
 * notifier. Readers take no lock, so whole words are stored.
 */
static void update_eoi_vectors(struct ioapic *s)
{
	DECLARE_BITMAP(want, 256) = { 0 };
	u32 pin, i;

	for (pin = 0; pin < IOAPIC_PINS; pin++) {
		u64 e = s->entry[pin];

		if ((e & E_LEVEL) || (s->notify & BIT(pin)))
			__set_bit(e & E_VECTOR, want);
	}
	for (i = 0; i < ARRAY_SIZE(want); i++)
		WRITE_ONCE(s->eoi_vectors[i], want[i]);
}

/**
 * ioapic_set_notify - pins whose EOIs are reported even when edge triggered
 * @s: the IOAPIC
 * @pins: bit per pin
 */
void ioapic_set_notify(struct ioapic *s, u32 pins)
{
	unsigned long flags;

	lodge_spin_lock(&s->lock, flags);
	s->notify = pins;
	update_eoi_vectors(s);
	lodge_spin_unlock(&s->lock, flags);
}

static u64 deferred_service(struct lodge_timer *t)
{
	struct ioapic *s = container_of(t, struct ioapic, timer);
	unsigned long flags;
	u32 pins, pin;

	lodge_spin_lock(&s->lock, flags);
	pins = s->deferred;
	s->deferred = 0;
	for (pin = 0; pin < IOAPIC_PINS; pin++) {
		if ((pins & s->irr & BIT(pin)) && (s->entry[pin] & E_LEVEL))
			service(s, pin);
	}
	lodge_spin_unlock(&s->lock, flags);
	return 0;
}

/* After the ack notifiers, who may have lowered the line. */
static void eoi_pin(struct ioapic *s, u32 pin)
{
	unsigned long flags;

	lodge_spin_lock(&s->lock, flags);
	if (!(s->entry[pin] & E_LEVEL))
		goto out;
	s->entry[pin] &= ~E_REMOTE_IRR;
	if ((s->entry[pin] & E_MASKED) || !(s->irr & BIT(pin))) {
		s->eoi_streak[pin] = 0;
		goto out;
	}
	if (++s->eoi_streak[pin] < STORM_EOIS) {
		service(s, pin);
		goto out;
	}
	s->eoi_streak[pin] = 0;
	s->deferred |= BIT(pin);
	if (!lodge_timer_queued(&s->timer))
		lodge_timer_start(&s->timer, lodge_now() + STORM_DELAY_NS);
out:
	lodge_spin_unlock(&s->lock, flags);
}

/**
 * ioapic_eoi - a LAPIC ended @vector
 * @s: the IOAPIC
 * @vector: the vector
 * @level: the LAPIC had it as level triggered
 *
 * Each pin with that vector is reported as acked; a level one that is still up is
 * delivered again.
 */
void ioapic_eoi(struct ioapic *s, u8 vector, bool level)
{
	unsigned long flags;
	u32 pins = 0, pin;

	lodge_spin_lock(&s->lock, flags);
	for (pin = 0; pin < IOAPIC_PINS; pin++) {
		if ((s->entry[pin] & E_VECTOR) == vector)
			pins |= BIT(pin);
	}
	lodge_spin_unlock(&s->lock, flags);

	for (; pins; pins &= pins - 1) {
		pin = __ffs(pins);
		s->ops->acked(s, pin);
		if (level)
			eoi_pin(s, pin);
	}
}

static u32 read_window(const struct ioapic *s)
{
	u32 reg = s->regsel, pin;

	switch (reg) {
	case 0:
	case 2:
		return (s->id & 0xf) << 24;
	case 1:
		return VERSION;
	}
	if (reg < 0x10 || (reg - 0x10) / 2 >= IOAPIC_PINS)
		return U32_MAX;
	pin = array_index_nospec((reg - 0x10) / 2, IOAPIC_PINS);
	return s->entry[pin] >> (reg & 1 ? 32 : 0);
}

/*
 * Return: true for a level line that was asserted while masked. It may be down
 * by now, with the device (a resample irqfd) waiting for an ack to say so: the
 * caller acks first, without the lock.
 */
static bool write_entry(struct ioapic *s, u32 pin, bool high, u32 value)
{
	u64 old = s->entry[pin], e;

	if (high)
		e = (old & U32_MAX) | (u64)value << 32;
	else
		e = (old & ~(u64)U32_MAX) | value;
	e = (e & ~(E_REMOTE_IRR | E_STATUS)) | (old & (E_REMOTE_IRR | E_STATUS));
	/* Guests use level -> edge -> level as an EOI to this version. */
	if (!(e & E_LEVEL))
		e &= ~E_REMOTE_IRR;
	s->entry[pin] = e;
	update_eoi_vectors(s);
	return (e & E_LEVEL) && (s->irr & BIT(pin)) &&
	       !(e & (E_MASKED | E_REMOTE_IRR));
}

static void write_window(struct ioapic *s, u32 value)
{
	unsigned long flags;
	bool pending = false, unmasked = false;
	u32 reg, pin = 0;

	lodge_spin_lock(&s->lock, flags);
	reg = s->regsel;
	if (reg == 0) {
		s->id = (value >> 24) & 0xf;
	} else if (reg >= 0x10 && (reg - 0x10) / 2 < IOAPIC_PINS) {
		pin = array_index_nospec((reg - 0x10) / 2, IOAPIC_PINS);
		unmasked = s->entry[pin] & E_MASKED;
		pending = write_entry(s, pin, reg & 1, value);
		unmasked = unmasked && !(s->entry[pin] & E_MASKED);
	}
	lodge_spin_unlock(&s->lock, flags);
	if (unmasked)
		s->ops->unmasked(s, pin);
	if (!pending)
		return;

	s->ops->acked(s, pin);
	lodge_spin_lock(&s->lock, flags);
	if ((s->irr & BIT(pin)) && (s->entry[pin] & E_LEVEL))
		service(s, pin);
	lodge_spin_unlock(&s->lock, flags);
}

/**
 * ioapic_mmio_read - the guest reads the IOAPIC
 * @s: the IOAPIC
 * @offset: byte offset from its base
 * @len: bytes
 * @data: @len bytes; a register's low bytes, zero beyond it
 */
void ioapic_mmio_read(struct ioapic *s, u32 offset, u32 len, void *data)
{
	unsigned long flags;
	u32 value = 0;

	lodge_spin_lock(&s->lock, flags);
	if (offset == 0x00)
		value = s->regsel;
	else if (offset == 0x10)
		value = read_window(s);
	lodge_spin_unlock(&s->lock, flags);
	memset(data, 0, len);
	memcpy(data, &value, min_t(u32, len, sizeof(value)));
}

/**
 * ioapic_mmio_write - the guest writes to the IOAPIC
 * @s: the IOAPIC
 * @offset: byte offset from its base
 * @len: bytes: 1, 2, 4 or 8; others do nothing
 * @data: @len bytes
 */
void ioapic_mmio_write(struct ioapic *s, u32 offset, u32 len, const void *data)
{
	unsigned long flags;
	u32 value = 0;

	if (len != 1 && len != 2 && len != 4 && len != 8)
		return;
	memcpy(&value, data, min_t(u32, len, sizeof(value)));
	if (offset == 0x00) {
		lodge_spin_lock(&s->lock, flags);
		s->regsel = value & 0xff;
		lodge_spin_unlock(&s->lock, flags);
	} else if (offset == 0x10) {
		write_window(s, value);
	}
}

/* KVM_GET_IRQCHIP. An edge that was delivered is not pending any more. */
void ioapic_get_state(struct ioapic *s, struct kvm_ioapic_state *state)
{
	unsigned long flags;
	u32 pin;

	memset(state, 0, sizeof(*state));
	lodge_spin_lock(&s->lock, flags);
	state->base_address = s->base;
	state->ioregsel = s->regsel;
	state->id = s->id;
	state->irr = s->irr & ~s->sent;
	for (pin = 0; pin < IOAPIC_PINS; pin++)
		state->redirtbl[pin].bits = s->entry[pin];
	lodge_spin_unlock(&s->lock, flags);
}

/* KVM_SET_IRQCHIP. Pins that were pending are asserted anew. */
void ioapic_set_state(struct ioapic *s, const struct kvm_ioapic_state *state)
{
	unsigned long flags;
	u32 pin;

	lodge_spin_lock(&s->lock, flags);
	WRITE_ONCE(s->base, state->base_address);
	s->regsel = state->ioregsel & 0xff;
	s->id = state->id & 0xf;
	s->irr = 0;
	s->sent = 0;
	s->deferred = 0;
	for (pin = 0; pin < IOAPIC_PINS; pin++) {
		s->entry[pin] = state->redirtbl[pin].bits;
		s->eoi_streak[pin] = 0;
	}
	update_eoi_vectors(s);
	for (pin = 0; pin < IOAPIC_PINS; pin++) {
		if (state->irr & BIT(pin))
			set_level(s, pin, true);
	}
	lodge_spin_unlock(&s->lock, flags);
}

/* Power-up state: every pin masked. */
void ioapic_init(struct ioapic *s, const struct ioapic_ops *ops)
{
	u32 pin;

	memset(s, 0, sizeof(*s));
	lodge_spin_init(&s->lock);
	s->ops = ops;
	s->base = IOAPIC_DEFAULT_BASE;
	for (pin = 0; pin < IOAPIC_PINS; pin++)
		s->entry[pin] = E_MASKED;
	lodge_timer_init(&s->timer, deferred_service);
}

/* Stops the timer. No line may be driven any more. */
void ioapic_destroy(struct ioapic *s)
{
	lodge_timer_cancel(&s->timer);
}
