// SPDX-License-Identifier: GPL-2.0-only
/*
 * The GSI routing table, and MSIs. Called by ioctls, by irqfd wake-ups and by
 * the PIT's timer: sending works in any context.
 *
 * The table is read under RCU and replaced whole under ic->mutex; an old one is
 * freed after a grace period that nobody waits for.
 */
#include "irqchip.h"

#define NR_CHIPS	3	/* PIC master, PIC slave, IOAPIC */

/* Intel SDM volume 3, "Message Data Register Format": level triggered */
#define MSI_DATA_LEVEL	BIT(15)

struct gsi_route {
	u8 nr_pins;		/* to pins; at most one per chip */
	bool msi;
	union {
		struct {
			u8 chip, pin;	/* a slave's pins are 8..15 */
		} pins[NR_CHIPS];
		struct {
			u32 lo, hi, data;
		} message;
	};
};

struct irq_routes {
	struct rcu_head rcu;
	u32 nr;
	s16 gsi_of[NR_CHIPS][IOAPIC_PINS];	/* -1: none */
	struct gsi_route gsi[];
};

static struct irq_routes *routes_protected(struct irqchip *ic)
{
	return rcu_dereference_protected(ic->routes, lockdep_is_held(&ic->mutex));
}

static bool msi_invalid(const struct irqchip *ic, u32 address_hi)
{
	return READ_ONCE(ic->x2apic_ids) && (address_hi & 0xff);
}

/**
 * irqchip_send_msi - deliver the message of one MSI write
 * @ic: the VM's interrupt controllers
 * @address_lo: low half of the address: destination, mode, redirection hint
 * @address_hi: high half: bits 31..8 of the destination, if user space asked
 *              for 32-bit ids
 * @data: vector, delivery and trigger mode
 *
 * Return: the number of LAPICs that accepted it, or -EINVAL.
 */
int irqchip_send_msi(struct irqchip *ic, u32 address_lo, u32 address_hi,
		     u32 data)
{
	struct apic_irq irq = {
		.dest_id = (address_lo >> 12) & 0xff,
		.vector = data & 0xff,
		.delivery = (data >> 8) & 7,
		.logical = address_lo & BIT(2),
		.lowest_hint = address_lo & BIT(3),
		.level = data & MSI_DATA_LEVEL,
		.assert = true,
	};

	if (msi_invalid(ic, address_hi))
		return -EINVAL;
	if (READ_ONCE(ic->x2apic_ids))
		irq.dest_id |= address_hi & 0xffffff00;
	return irqchip_deliver(ic, NULL, &irq);
}

/**
 * irqchip_signal_msi - KVM_SIGNAL_MSI
 * @ic: the VM's interrupt controllers
 * @msi: from user space
 *
 * Return: >0 delivered, 0 when the guest blocks it, -EINVAL.
 */
int irqchip_signal_msi(struct irqchip *ic, const struct kvm_msi *msi)
{
	if (!irqchip_in_kernel(ic) || (msi->flags & ~KVM_MSI_VALID_DEVID))
		return -EINVAL;
	return irqchip_send_msi(ic, msi->address_lo, msi->address_hi, msi->data);
}

static int set_route(struct irqchip *ic, const struct gsi_route *route,
		     u32 source, bool level)
{
	int ret = -1, r;
	u32 i;

	if (route->msi)
		return level ? irqchip_send_msi(ic, route->message.lo,
						route->message.hi,
						route->message.data) : -1;
	/* Which of its controllers the guest uses is not known: drive all. */
	for (i = 0; i < route->nr_pins; i++) {
		u32 pin = route->pins[i].pin;

		if (route->pins[i].chip == KVM_IRQCHIP_IOAPIC)
			r = ioapic_set_irq(&ic->ioapic, pin, source, level);
		else
			r = pic_set_irq(&ic->pic, pin, source, level);
		if (r >= 0)
			ret = max(ret, 0) + r;
	}
	return ret;
}

/**
 * irqchip_set_irq - drive a GSI
 * @ic: the VM's interrupt controllers
 * @source: IRQ_SOURCE_*
 * @gsi: the GSI; one without a route is ignored
 * @level: up or down; a GSI routed to an MSI sends it when up
 *
 * Return: KVM_IRQ_LINE_STATUS's status: >0 delivered, 0 coalesced, <0 ignored.
 */
int irqchip_set_irq(struct irqchip *ic, u32 source, u32 gsi, bool level)
{
	struct irq_routes *routes;
	int ret = -1;

	rcu_read_lock();
	routes = rcu_dereference(ic->routes);
	if (routes && gsi < routes->nr) {
		gsi = array_index_nospec(gsi, routes->nr);
		ret = set_route(ic, &routes->gsi[gsi], source, level);
	}
	rcu_read_unlock();
	return ret;
}

/**
 * irqchip_pin_to_gsi - which GSI leads to a pin
 * @ic: the VM's interrupt controllers
 * @chip: KVM_IRQCHIP_*
 * @pin: the pin; the slave PIC's are 8..15
 *
 * Return: the GSI, or -1.
 */
int irqchip_pin_to_gsi(struct irqchip *ic, u32 chip, u32 pin)
{
	struct irq_routes *routes;
	int gsi = -1;

	if (chip >= NR_CHIPS || pin >= IOAPIC_PINS)
		return -1;
	rcu_read_lock();
	routes = rcu_dereference(ic->routes);
	if (routes)
		gsi = routes->gsi_of[chip][pin];
	rcu_read_unlock();
	return gsi;
}

static bool wants_ack(const struct irqchip *ic, int gsi)
{
	return gsi >= 0 && ((gsi == 0 && ic->pit_acks) ||
			    test_bit(gsi, ic->notify_gsi));
}

/* The pins behind the GSIs of which someone wants to hear. Under ic->mutex. */
static void update_notify(struct irqchip *ic)
{
	struct irq_routes *routes = routes_protected(ic);
	u32 pin, ioapic = 0, pic = 0;

	if (!routes || ic->kind != IRQCHIP_KERNEL)
		return;
	for (pin = 0; pin < IOAPIC_PINS; pin++) {
		if (wants_ack(ic, routes->gsi_of[KVM_IRQCHIP_IOAPIC][pin]))
			ioapic |= BIT(pin);
		if (pin < PIC_PINS && wants_ack(ic, routes->gsi_of[pin >> 3][pin]))
			pic |= BIT(pin);
	}
	WRITE_ONCE(ic->pic_notify, pic);
	ioapic_set_notify(&ic->ioapic, ioapic);
}

/**
 * irqchip_notify_gsi - report each EOI of a GSI by ops->gsi_acked(), or stop
 * @ic: the VM's interrupt controllers
 * @gsi: the GSI
 * @on: report
 *
 * Sleeps. Return: 0, or -EINVAL for a GSI that no table can hold.
 */
int irqchip_notify_gsi(struct irqchip *ic, u32 gsi, bool on)
{
	if (gsi >= IRQCHIP_MAX_ROUTES)
		return -EINVAL;
	mutex_lock(&ic->mutex);
	if (on)
		set_bit(gsi, ic->notify_gsi);
	else
		clear_bit(gsi, ic->notify_gsi);
	update_notify(ic);
	mutex_unlock(&ic->mutex);
	return 0;
}

/* Has EOIs of GSI 0 reported to the PIT from now on. Sleeps. */
void irqchip_notify_pit(struct irqchip *ic)
{
	mutex_lock(&ic->mutex);
	ic->pit_acks = true;
	update_notify(ic);
	mutex_unlock(&ic->mutex);
}

/*
 * User space's IOAPIC wants the EOIs of its level-triggered interrupts: those whose
 * vector a route of a reserved GSI has. The LAPIC's TMR says whether the interrupt at
 * hand was one. Readers take no lock, so whole words are stored.
 */
static void update_split_level(struct irqchip *ic, const struct kvm_irq_routing_entry *entries,
			       u32 nr)
{
	DECLARE_BITMAP(level, 256) = { 0 };
	u32 i;

	for (i = 0; i < nr; i++) {
		const struct kvm_irq_routing_entry *e = &entries[i];

		if (e->gsi < ic->split_pins && (e->u.msi.data & MSI_DATA_LEVEL))
			__set_bit(e->u.msi.data & 0xff, level);
	}
	for (i = 0; i < ARRAY_SIZE(level); i++)
		WRITE_ONCE(ic->split_level[i], level[i]);
}

static int add_pin(struct irq_routes *routes,
		   const struct kvm_irq_routing_entry *e)
{
	u32 gsi = array_index_nospec(e->gsi, routes->nr);
	u32 chip = e->u.irqchip.irqchip, pin = e->u.irqchip.pin, i;
	struct gsi_route *route = &routes->gsi[gsi];

	switch (chip) {
	case KVM_IRQCHIP_PIC_MASTER:
	case KVM_IRQCHIP_PIC_SLAVE:
		if (pin >= PIC_PINS / 2)
			return -EINVAL;
		pin += chip == KVM_IRQCHIP_PIC_SLAVE ? PIC_PINS / 2 : 0;
		break;
	case KVM_IRQCHIP_IOAPIC:
		if (pin >= IOAPIC_PINS)
			return -EINVAL;
		break;
	default:
		return -EINVAL;
	}
	for (i = 0; i < route->nr_pins; i++) {
		if (route->pins[i].chip == chip)
			return -EINVAL;
	}
	chip = array_index_nospec(chip, NR_CHIPS);
	pin = array_index_nospec(pin, IOAPIC_PINS);
	route->pins[route->nr_pins].chip = chip;
	route->pins[route->nr_pins].pin = pin;
	route->nr_pins++;
	routes->gsi_of[chip][pin] = gsi;
	return 0;
}

static int add_entry(struct irqchip *ic, enum irqchip_kind kind, struct irq_routes *routes,
		     const struct kvm_irq_routing_entry *e)
{
	struct gsi_route *route = &routes->gsi[array_index_nospec(e->gsi, routes->nr)];

	switch (e->type) {
	case KVM_IRQ_ROUTING_IRQCHIP:
		if (e->flags || route->msi || kind != IRQCHIP_KERNEL)
			return -EINVAL;
		return add_pin(routes, e);
	case KVM_IRQ_ROUTING_MSI:
		if ((e->flags & ~KVM_MSI_VALID_DEVID) || route->msi ||
		    route->nr_pins || msi_invalid(ic, e->u.msi.address_hi))
			return -EINVAL;
		route->msi = true;
		route->message.lo = e->u.msi.address_lo;
		route->message.hi = e->u.msi.address_hi;
		route->message.data = e->u.msi.data;
		return 0;
	default:
		return -EINVAL;
	}
}

/* @kind: of @ic, which may not be published yet. */
static int replace_routes(struct irqchip *ic, enum irqchip_kind kind,
			  const struct kvm_irq_routing_entry *entries, u32 nr)
{
	struct irq_routes *routes, *old;
	u32 i, nr_gsi = 0;
	int err = 0;

	for (i = 0; i < nr; i++) {
		if (entries[i].gsi >= IRQCHIP_MAX_ROUTES)
			return -EINVAL;
		nr_gsi = max(nr_gsi, entries[i].gsi + 1);
	}
	routes = lodge_zalloc(struct_size(routes, gsi, nr_gsi));
	if (!routes)
		return -ENOMEM;
	routes->nr = nr_gsi;
	memset(routes->gsi_of, 0xff, sizeof(routes->gsi_of));

	mutex_lock(&ic->mutex);
	for (i = 0; i < nr && !err; i++)
		err = add_entry(ic, kind, routes, &entries[i]);
	if (err) {
		mutex_unlock(&ic->mutex);
		lodge_free(routes);
		return err;
	}
	if (kind == IRQCHIP_SPLIT)
		update_split_level(ic, entries, nr);
	old = routes_protected(ic);
	rcu_assign_pointer(ic->routes, routes);
	update_notify(ic);
	mutex_unlock(&ic->mutex);
	if (old)
		lodge_free_rcu(old, rcu);
	return 0;
}

/**
 * irqchip_set_routing - KVM_SET_GSI_ROUTING: replace the whole table
 * @ic: the VM's interrupt controllers
 * @entries: @nr entries, in kernel memory
 * @nr: their number
 * @flags: must be 0
 *
 * Sleeps. Return: 0; -EINVAL for a table that KVM would not take; -ENOMEM. The
 * old table stays on failure.
 */
int irqchip_set_routing(struct irqchip *ic,
			const struct kvm_irq_routing_entry *entries, u32 nr,
			u32 flags)
{
	if (!irqchip_in_kernel(ic) || flags || nr > IRQCHIP_MAX_ROUTES)
		return -EINVAL;
	return replace_routes(ic, ic->kind, entries, nr);
}

/**
 * irqchip_default_routing - the table of a new irqchip
 * @ic: the VM's interrupt controllers, not published yet
 * @kind: what they are going to be
 *
 * GSI n leads to IOAPIC pin n, the first 16 to their PIC line as well. With a split
 * irqchip there is no route.
 *
 * Return: 0 or -ENOMEM.
 */
int irqchip_default_routing(struct irqchip *ic, enum irqchip_kind kind)
{
	struct kvm_irq_routing_entry *entries, *e;
	int err;
	u32 i;

	if (kind == IRQCHIP_SPLIT)
		return replace_routes(ic, kind, NULL, 0);
	entries = lodge_zalloc(sizeof(*entries) * (IOAPIC_PINS + PIC_PINS));
	if (!entries)
		return -ENOMEM;
	for (i = 0; i < IOAPIC_PINS + PIC_PINS; i++) {
		e = &entries[i];
		e->type = KVM_IRQ_ROUTING_IRQCHIP;
		if (i < IOAPIC_PINS) {
			e->gsi = i;
			e->u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
			e->u.irqchip.pin = i;
		} else {
			e->gsi = i - IOAPIC_PINS;
			e->u.irqchip.irqchip = e->gsi < 8 ?
				KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
			e->u.irqchip.pin = e->gsi & 7;
		}
	}
	err = replace_routes(ic, kind, entries, IOAPIC_PINS + PIC_PINS);
	lodge_free(entries);
	return err;
}

/* The end of the VM: no interrupt may be under way. */
void irqchip_free_routing(struct irqchip *ic)
{
	struct irq_routes *old;

	mutex_lock(&ic->mutex);
	old = routes_protected(ic);
	rcu_assign_pointer(ic->routes, NULL);
	mutex_unlock(&ic->mutex);
	if (old)
		lodge_free_rcu(old, rcu);
}
