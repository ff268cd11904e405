/* SPDX-License-Identifier: GPL-2.0-only */
/* The IOAPIC: 24 pins, version 0x11, as KVM models it. */
#ifndef LODGE_IOAPIC_H
#define LODGE_IOAPIC_H

#include "env.h"
#include "lapic.h"

#define IOAPIC_PINS		KVM_IOAPIC_NUM_PINS
#define IOAPIC_DEFAULT_BASE	0xfec00000ULL
#define IOAPIC_MMIO_SIZE	0x100U

struct ioapic;

struct ioapic_ops {
	/*
	 * Sends one message to the local APICs. Called under ioapic.lock, so
	 * it must take no lock of this folder. Returns what irqchip_deliver()
	 * returns.
	 */
	int (*deliver)(struct ioapic *s, const struct apic_irq *irq);
	/* The guest ended an interrupt of @pin. Called without a lock. */
	void (*acked)(struct ioapic *s, u32 pin);
	/* The guest unmasked @pin. Called without a lock. */
	void (*unmasked)(struct ioapic *s, u32 pin);
};

struct ioapic {
	struct lodge_spinlock lock;		/* guards all below but base */
	const struct ioapic_ops *ops;
	u64 base;
	u32 regsel;
	u32 id;
	u32 irr;			/* pins that are or were asserted */
	u32 sent;			/* edges of irr that were delivered */
	u32 notify;			/* pins whose every EOI is reported */
	u64 entry[IOAPIC_PINS];		/* redirection table */
	unsigned long sources[IOAPIC_PINS];	/* who holds the pin up */
	u32 eoi_streak[IOAPIC_PINS];	/* EOIs that found the line still up */
	u32 deferred;			/* pins that the timer serves */
	struct lodge_timer timer;
	/* Vectors whose EOI matters here; read without the lock. */
	DECLARE_BITMAP(eoi_vectors, 256);
};

void ioapic_init(struct ioapic *s, const struct ioapic_ops *ops);
void ioapic_destroy(struct ioapic *s);
int ioapic_set_irq(struct ioapic *s, u32 pin, u32 source, bool level);
void ioapic_eoi(struct ioapic *s, u8 vector, bool level);
void ioapic_set_notify(struct ioapic *s, u32 pins);
void ioapic_mmio_read(struct ioapic *s, u32 offset, u32 len, void *data);
void ioapic_mmio_write(struct ioapic *s, u32 offset, u32 len, const void *data);
void ioapic_get_state(struct ioapic *s, struct kvm_ioapic_state *state);
void ioapic_set_state(struct ioapic *s, const struct kvm_ioapic_state *state);

static inline bool ioapic_wants_eoi(const struct ioapic *s, u8 vector)
{
	return test_bit(vector, s->eoi_vectors);
}

#endif /* LODGE_IOAPIC_H */
