/* SPDX-License-Identifier: GPL-2.0-only */
/* coalesced.c: writes that wait in a ring until user space has another reason to look. */
#ifndef LODGE_COALESCED_H
#define LODGE_COALESCED_H

#include <linux/kvm.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#include "irqchip/eventfd.h"

struct lodge_coalesced {
	struct mutex mutex;		/* zones and nr change under it */
	struct list_head zones[LODGE_NR_BUSES];	/* read under RCU */
	u32 nr[LODGE_NR_BUSES];
	raw_spinlock_t lock;		/* who adds to the ring */
	struct kvm_coalesced_mmio_ring *ring;	/* a page that user space maps */
};

/* A VM's: 0 or -ENOMEM. */
int lodge_coalesced_init(struct lodge_coalesced *c);
void lodge_coalesced_destroy(struct lodge_coalesced *c);

/* KVM_(UN)REGISTER_COALESCED_MMIO: see coalesced.c. */
int lodge_coalesced_register(struct lodge_coalesced *c,
			     const struct kvm_coalesced_mmio_zone *zone);
int lodge_coalesced_unregister(struct lodge_coalesced *c,
			       const struct kvm_coalesced_mmio_zone *zone);

static inline bool lodge_has_coalesced(const struct lodge_coalesced *c, enum lodge_bus bus)
{
	return READ_ONCE(c->nr[bus]);
}

bool __lodge_coalesced_write(struct lodge_coalesced *c, enum lodge_bus bus, u64 addr,
			     u32 len, u64 value);

/*
 * A guest's write of up to 8 bytes, zero-extended: true when it waits in the ring now,
 * and is done. Any tier.
 */
static inline bool lodge_coalesced_write(struct lodge_coalesced *c, enum lodge_bus bus,
					 u64 addr, u32 len, u64 value)
{
	return lodge_has_coalesced(c, bus) && __lodge_coalesced_write(c, bus, addr, len, value);
}

#endif
