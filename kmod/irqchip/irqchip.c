// SPDX-License-Identifier: GPL-2.0-only
/*
 * The wiring between the interrupt controllers of one VM, their creation and
 * end, and the dispatch of ports, MMIO and saved state to them. Called by the
 * VM's ioctls and by the exit handlers of its vCPUs.
 *
 * Creation is serialized by the owner (the VM's lock) and published by ->kind
 * and ->has_pit. For the rest see the lock order in irqchip.h.
 */
#include "irqchip.h"

static bool kick_extint_taker(struct lapic *l, void *unused)
{
	(void)unused;
	if (!lapic_accepts_extint(l))
		return true;
	l->ic->ops->kick(l);
	return false;
}

static void pic_output(struct pic *s)
{
	struct irqchip *ic = container_of(s, struct irqchip, pic);

	irqchip_walk_lapics(ic, kick_extint_taker, NULL);
}

static void pin_acked(struct irqchip *ic, u32 chip, u32 pin)
{
	int gsi = irqchip_pin_to_gsi(ic, chip, pin);

	if (gsi < 0)
		return;
	if (gsi == 0 && irqchip_has_pit(ic))
		pit_acked(&ic->pit);
	if (test_bit(gsi, ic->notify_gsi) && ic->ops->gsi_acked)
		ic->ops->gsi_acked(ic, gsi);
}

static void pin_unmasked(struct irqchip *ic, u32 chip, u32 pin)
{
	if (irqchip_has_pit(ic) && irqchip_pin_to_gsi(ic, chip, pin) == 0)
		pit_forget_ticks(&ic->pit);
}

static void pic_acked(struct pic *s, u32 irq)
{
	struct irqchip *ic = container_of(s, struct irqchip, pic);

	if (READ_ONCE(ic->pic_notify) & BIT(irq))
		pin_acked(ic, irq >> 3, irq);
}

static void pic_unmasked(struct pic *s, u32 irq)
{
	struct irqchip *ic = container_of(s, struct irqchip, pic);

	if (READ_ONCE(ic->pic_notify) & BIT(irq))
		pin_unmasked(ic, irq >> 3, irq);
}

static const struct pic_ops pic_ops = {
	.output = pic_output,
	.acked = pic_acked,
	.unmasked = pic_unmasked,
};

static int ioapic_deliver(struct ioapic *s, const struct apic_irq *irq)
{
	return irqchip_deliver(container_of(s, struct irqchip, ioapic), NULL, irq);
}

static void ioapic_acked(struct ioapic *s, u32 pin)
{
	if (READ_ONCE(s->notify) & BIT(pin))
		pin_acked(container_of(s, struct irqchip, ioapic),
			  KVM_IRQCHIP_IOAPIC, pin);
}

static void ioapic_unmasked(struct ioapic *s, u32 pin)
{
	if (READ_ONCE(s->notify) & BIT(pin))
		pin_unmasked(container_of(s, struct irqchip, ioapic),
			     KVM_IRQCHIP_IOAPIC, pin);
}

static const struct ioapic_ops ioapic_ops = {
	.deliver = ioapic_deliver,
	.acked = ioapic_acked,
	.unmasked = ioapic_unmasked,
};

static bool deliver_lint0_nmi(struct lapic *l, void *unused)
{
	(void)unused;
	if (READ_ONCE(l->lint0_nmi))
		lapic_local_deliver(l, LAPIC_LVT0);
	return true;
}

static void pit_pulse(struct pit *s)
{
	struct irqchip *ic = container_of(s, struct irqchip, pit);

	irqchip_set_irq(ic, IRQ_SOURCE_PIT, 0, true);
	irqchip_set_irq(ic, IRQ_SOURCE_PIT, 0, false);
	/* Virtual wire mode: the PIT as NMI watchdog, on each LINT0 set so. */
	if (atomic_read(&ic->lint0_nmi))
		irqchip_walk_lapics(ic, deliver_lint0_nmi, NULL);
}

static const struct pit_ops pit_ops = {
	.pulse = pit_pulse,
};

/**
 * irqchip_init - prepare a VM's irqchip; there is none yet
 * @ic: zeroed
 * @ops: the owner's callbacks
 */
void irqchip_init(struct irqchip *ic, const struct irqchip_ops *ops)
{
	ic->ops = ops;
	ic->bus_ns = IRQCHIP_BUS_NS;
	ic->lint0_quirk = true;
	mutex_init(&ic->mutex);
}

/**
 * irqchip_create - KVM_CREATE_IRQCHIP
 * @ic: the VM's interrupt controllers
 *
 * Under the owner's lock, before the first vCPU. Return: 0, -EEXIST, -ENOMEM.
 */
int irqchip_create(struct irqchip *ic)
{
	int err;

	if (ic->kind != IRQCHIP_NONE)
		return -EEXIST;
	pic_init(&ic->pic, &pic_ops);
	ioapic_init(&ic->ioapic, &ioapic_ops);
	err = irqchip_default_routing(ic, IRQCHIP_KERNEL);
	if (err)
		return err;
	/* Controllers and routes are ready before they are seen. */
	smp_store_release(&ic->kind, IRQCHIP_KERNEL);
	return 0;
}

/**
 * irqchip_create_split - KVM_CAP_SPLIT_IRQCHIP: LAPICs only
 * @ic: the VM's interrupt controllers
 * @pins: GSIs of user space's IOAPIC
 *
 * Under the owner's lock, before the first vCPU. Return: 0, -EEXIST, -ENOMEM or
 * -EINVAL for too many pins.
 */
int irqchip_create_split(struct irqchip *ic, u32 pins)
{
	int err;

	if (pins > IRQCHIP_MAX_ROUTES)
		return -EINVAL;
	if (ic->kind != IRQCHIP_NONE)
		return -EEXIST;
	err = irqchip_default_routing(ic, IRQCHIP_SPLIT);
	if (err)
		return err;
	ic->split_pins = pins;
	/* Seen after split_pins and the routes. */
	smp_store_release(&ic->kind, IRQCHIP_SPLIT);
	return 0;
}

/**
 * irqchip_create_pit - KVM_CREATE_PIT2
 * @ic: the VM's interrupt controllers
 * @flags: KVM_PIT_SPEAKER_DUMMY
 *
 * Under the owner's lock. Return: 0, -EEXIST, -ENOENT without PICs, or -EINVAL
 * for an unknown flag.
 */
int irqchip_create_pit(struct irqchip *ic, u32 flags)
{
	if (ic->has_pit)
		return -EEXIST;
	if (ic->kind != IRQCHIP_KERNEL)
		return -ENOENT;
	if (flags & ~KVM_PIT_SPEAKER_DUMMY)
		return -EINVAL;
	pit_init(&ic->pit, &pit_ops, flags);
	irqchip_notify_pit(ic);
	/* The PIT is ready, and its EOIs reported, before it is seen. */
	smp_store_release(&ic->has_pit, true);
	return 0;
}

/**
 * irqchip_set_x2apic_api - KVM_CAP_X2APIC_API
 * @ic: the VM's interrupt controllers
 * @flags: KVM_X2APIC_*; what is on stays on
 *
 * Whether EOIs can be directed is told to vCPUs that are made after.
 *
 * Return: 0, or -EINVAL for an unknown flag, or for suppressed EOI broadcasts that are
 * both on and off, or on without a split irqchip.
 */
int irqchip_set_x2apic_api(struct irqchip *ic, u64 flags)
{
	bool on = flags & KVM_X2APIC_ENABLE_SUPPRESS_EOI_BROADCAST;
	bool off = flags & KVM_X2APIC_DISABLE_SUPPRESS_EOI_BROADCAST;

	if ((flags & ~(u64)IRQCHIP_X2APIC_API) || (on && off) ||
	    (on && READ_ONCE(ic->kind) != IRQCHIP_SPLIT))
		return -EINVAL;
	if (on || off)
		WRITE_ONCE(ic->directed_eoi, on ? DIRECTED_EOI_ON : DIRECTED_EOI_OFF);
	if (flags & KVM_X2APIC_API_USE_32BIT_IDS)
		WRITE_ONCE(ic->x2apic_ids, true);
	if (flags & KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK)
		WRITE_ONCE(ic->x2apic_no_quirk, true);
	return 0;
}

/**
 * irqchip_destroy - the end of the VM
 * @ic: the VM's interrupt controllers, created or only initialized
 *
 * Irqfds are gone and no vCPU runs; their LAPICs are destroyed after: the PIT's timer
 * reaches them until this returns. Sleeps.
 */
void irqchip_destroy(struct irqchip *ic)
{
	if (ic->has_pit)
		pit_destroy(&ic->pit);
	if (ic->kind == IRQCHIP_KERNEL)
		ioapic_destroy(&ic->ioapic);
	irqchip_free_routing(ic);
	irqchip_free_map(ic);
}

/* Has the EOI of @vector, an edge, to be passed on? */
bool irqchip_wants_eoi(const struct irqchip *ic, u8 vector)
{
	return irqchip_has_chips(ic) && ioapic_wants_eoi(&ic->ioapic, vector);
}

/* A LAPIC ended @vector. Called by lapic_eoi(). */
void irqchip_eoi(struct irqchip *ic, struct lapic *l, u8 vector, bool level)
{
	if (irqchip_has_chips(ic)) {
		if (level || ioapic_wants_eoi(&ic->ioapic, vector))
			ioapic_eoi(&ic->ioapic, vector, level);
	} else if (level && test_bit(vector, ic->split_level) && !lapic_directs_eoi(l)) {
		ic->ops->eoi_exit(l, vector);
	}
}

/**
 * irqchip_get_state - KVM_GET_IRQCHIP
 * @ic: the VM's interrupt controllers
 * @chip: says which; filled
 *
 * Return: 0, -ENXIO without in-kernel PICs and IOAPIC, -EINVAL: no such chip.
 */
int irqchip_get_state(struct irqchip *ic, struct kvm_irqchip *chip)
{
	if (!irqchip_has_chips(ic))
		return -ENXIO;
	switch (chip->chip_id) {
	case KVM_IRQCHIP_PIC_MASTER:
	case KVM_IRQCHIP_PIC_SLAVE:
		pic_get_state(&ic->pic, chip->chip_id, &chip->chip.pic);
		return 0;
	case KVM_IRQCHIP_IOAPIC:
		ioapic_get_state(&ic->ioapic, &chip->chip.ioapic);
		return 0;
	default:
		return -EINVAL;
	}
}

/* KVM_SET_IRQCHIP. Return: as irqchip_get_state(). */
int irqchip_set_state(struct irqchip *ic, const struct kvm_irqchip *chip)
{
	if (!irqchip_has_chips(ic))
		return -ENXIO;
	switch (chip->chip_id) {
	case KVM_IRQCHIP_PIC_MASTER:
	case KVM_IRQCHIP_PIC_SLAVE:
		pic_set_state(&ic->pic, chip->chip_id, &chip->chip.pic);
		return 0;
	case KVM_IRQCHIP_IOAPIC:
		ioapic_set_state(&ic->ioapic, &chip->chip.ioapic);
		return 0;
	default:
		return -EINVAL;
	}
}

/**
 * irqchip_io_read - IN
 * @ic: the VM's interrupt controllers
 * @port: the port
 * @len: bytes
 * @data: @len bytes
 *
 * Return: 0, or -EOPNOTSUPP when the port belongs to none of them.
 */
int irqchip_io_read(struct irqchip *ic, u16 port, u32 len, void *data)
{
	if (!irqchip_has_chips(ic))
		return -EOPNOTSUPP;
	if (pic_owns_port(port))
		return pic_io_read(&ic->pic, port, len, data);
	if (!len || !irqchip_has_pit(ic) || !pit_owns_port(&ic->pit, port))
		return -EOPNOTSUPP;
	memset(data, 0, len);
	*(u8 *)data = pit_io_read(&ic->pit, port);
	return 0;
}

/* OUT of @value. As irqchip_io_read(). */
int irqchip_io_write(struct irqchip *ic, u16 port, u32 len, u32 value)
{
	if (!irqchip_has_chips(ic))
		return -EOPNOTSUPP;
	if (pic_owns_port(port))
		return pic_io_write(&ic->pic, port, len, value);
	if (!irqchip_has_pit(ic) || !pit_owns_port(&ic->pit, port))
		return -EOPNOTSUPP;
	pit_io_write(&ic->pit, port, value);
	return 0;
}

static bool owns_gpa(const struct irqchip *ic, u64 gpa)
{
	return irqchip_has_chips(ic) &&
	       gpa - READ_ONCE(ic->ioapic.base) < IOAPIC_MMIO_SIZE;
}

/**
 * irqchip_mmio_read - read of the IOAPIC's window
 * @ic: the VM's interrupt controllers
 * @gpa: guest-physical address
 * @len: bytes
 * @data: @len bytes
 *
 * Return: 0, or -EOPNOTSUPP when the address is not the IOAPIC's.
 */
int irqchip_mmio_read(struct irqchip *ic, u64 gpa, u32 len, void *data)
{
	if (!owns_gpa(ic, gpa))
		return -EOPNOTSUPP;
	ioapic_mmio_read(&ic->ioapic, gpa - READ_ONCE(ic->ioapic.base), len, data);
	return 0;
}

/* Write to the IOAPIC's window. As irqchip_mmio_read(). */
int irqchip_mmio_write(struct irqchip *ic, u64 gpa, u32 len, const void *data)
{
	if (!owns_gpa(ic, gpa))
		return -EOPNOTSUPP;
	ioapic_mmio_write(&ic->ioapic, gpa - READ_ONCE(ic->ioapic.base), len, data);
	return 0;
}
