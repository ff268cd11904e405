// SPDX-License-Identifier: GPL-2.0-only
/*
 * Coalesced MMIO and port I/O: zones of addresses whose writes go to a ring that user
 * space empties at the next exit it gets anyway. Called by vm.c (zones) and io.c (writes).
 * c->mutex serializes changes of the zones, which writes read under RCU; c->lock, raw and
 * interrupt-safe, guards the kernel's end of the ring.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "kernel_compat.h"
#include "coalesced.h"

#define MAX_ZONES	1000	/* per bus, as KVM's NR_IOBUS_DEVS */

struct coalesced_zone {
	struct rcu_head rcu;
	struct list_head link;
	u64 addr;
	u32 size;
};

/* Is all of [addr, addr + len) in the zone? */
static bool contains(const struct coalesced_zone *z, u64 addr, u32 len)
{
	return addr >= z->addr && addr - z->addr <= z->size &&
	       len <= z->size - (addr - z->addr);
}

/*
 * User space writes to the ring's page as it likes: ->last is read once and believed
 * only below the ring's size. The ring is full when one entry is left.
 */
static bool add(struct lodge_coalesced *c, enum lodge_bus bus, u64 addr, u32 len, u64 value)
{
	struct kvm_coalesced_mmio_ring *ring = c->ring;
	struct kvm_coalesced_mmio *entry;
	unsigned long flags;
	u32 last, next;
	bool room;

	raw_spin_lock_irqsave(&c->lock, flags);
	last = READ_ONCE(ring->last);
	next = (last + 1) % KVM_COALESCED_MMIO_MAX;
	room = last < KVM_COALESCED_MMIO_MAX && next != READ_ONCE(ring->first);
	if (room) {
		entry = &ring->coalesced_mmio[array_index_nospec(last, KVM_COALESCED_MMIO_MAX)];
		entry->phys_addr = addr;
		entry->len = len;
		entry->pio = bus == LODGE_BUS_PIO;
		memcpy(entry->data, &value, sizeof(entry->data));
		/* Pairs with user space's read of ->last, before that of the entry. */
		smp_store_release(&ring->last, next);
	}
	raw_spin_unlock_irqrestore(&c->lock, flags);
	return room;
}

bool __lodge_coalesced_write(struct lodge_coalesced *c, enum lodge_bus bus, u64 addr,
			     u32 len, u64 value)
{
	bool found = false;
	struct coalesced_zone *z;

	if (len > sizeof(value))
		return false;
	rcu_read_lock();
	list_for_each_entry_rcu(z, &c->zones[bus], link) {
		found = contains(z, addr, len);
		if (found)
			break;
	}
	rcu_read_unlock();
	return found && add(c, bus, addr, len, value);
}

static bool zone_valid(const struct kvm_coalesced_mmio_zone *zone)
{
	return zone->pio == 0 || zone->pio == 1;
}

/**
 * lodge_coalesced_register() - serve KVM_REGISTER_COALESCED_MMIO
 * @c: the VM's
 * @zone: from user space; zones may overlap
 *
 * Return: 0; -EINVAL for a bus that is neither memory nor ports; -ENOSPC; -ENOMEM.
 */
int lodge_coalesced_register(struct lodge_coalesced *c,
			     const struct kvm_coalesced_mmio_zone *zone)
{
	enum lodge_bus bus = zone->pio ? LODGE_BUS_PIO : LODGE_BUS_MMIO;
	struct coalesced_zone *z;
	int r = 0;

	if (!zone_valid(zone))
		return -EINVAL;
	z = kzalloc(sizeof(*z), GFP_KERNEL_ACCOUNT);
	if (!z)
		return -ENOMEM;
	z->addr = zone->addr;
	z->size = zone->size;
	mutex_lock(&c->mutex);
	if (c->nr[bus] < MAX_ZONES) {
		list_add_tail_rcu(&z->link, &c->zones[bus]);
		WRITE_ONCE(c->nr[bus], c->nr[bus] + 1);
	} else {
		r = -ENOSPC;
	}
	mutex_unlock(&c->mutex);
	if (r)
		kfree(z);
	return r;
}

static void remove_zone(struct lodge_coalesced *c, enum lodge_bus bus, struct coalesced_zone *z)
{
	list_del_rcu(&z->link);
	WRITE_ONCE(c->nr[bus], c->nr[bus] - 1);
	kfree_rcu(z, rcu);
}

/**
 * lodge_coalesced_unregister() - serve KVM_UNREGISTER_COALESCED_MMIO
 * @c: the VM's
 * @zone: from user space
 *
 * As in KVM, every zone that contains @zone goes, whole; none is no error.
 *
 * Return: 0, or -EINVAL for a bus that is neither memory nor ports.
 */
int lodge_coalesced_unregister(struct lodge_coalesced *c,
			       const struct kvm_coalesced_mmio_zone *zone)
{
	enum lodge_bus bus = zone->pio ? LODGE_BUS_PIO : LODGE_BUS_MMIO;
	struct coalesced_zone *z, *next;

	if (!zone_valid(zone))
		return -EINVAL;
	mutex_lock(&c->mutex);
	list_for_each_entry_safe(z, next, &c->zones[bus], link) {
		if (contains(z, zone->addr, zone->size))
			remove_zone(c, bus, z);
	}
	mutex_unlock(&c->mutex);
	return 0;
}

int lodge_coalesced_init(struct lodge_coalesced *c)
{
	int bus;

	mutex_init(&c->mutex);
	raw_spin_lock_init(&c->lock);
	for (bus = 0; bus < LODGE_NR_BUSES; bus++)
		INIT_LIST_HEAD(&c->zones[bus]);
	c->ring = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	return c->ring ? 0 : -ENOMEM;
}

/* The end of the VM. User space may still map the page, which has its own count. */
void lodge_coalesced_destroy(struct lodge_coalesced *c)
{
	struct coalesced_zone *z, *next;
	int bus;

	for (bus = 0; bus < LODGE_NR_BUSES; bus++)
		list_for_each_entry_safe(z, next, &c->zones[bus], link)
			remove_zone(c, bus, z);
	free_page((unsigned long)c->ring);
}
