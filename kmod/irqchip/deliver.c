// SPDX-License-Identifier: GPL-2.0-only
/*
 * Delivery of interrupt messages: which local APICs a destination names, and
 * the arbitration among them. Called for IPIs (vCPU threads), MSIs and IOAPIC
 * pins (any context, hard interrupt included).
 *
 * Delivery takes no lock: the map is read under RCU. It is replaced under
 * ic->mutex. A LAPIC whose id, LDR, DFR or mode changes only bumps
 * ic->map_gen: from then on delivery asks each LAPIC whether it is meant,
 * which is always right, until the owner calls irqchip_rebuild_map() from a
 * place that may sleep.
 */
#include "irqchip.h"

#define XAPIC_BROADCAST		0xffU
#define X2APIC_BROADCAST	0xffffffffU

struct apic_map {
	struct rcu_head rcu;
	int gen;		/* ic->map_gen this was built from */
	bool unique;		/* by_id names each LAPIC unambiguously */
	bool x2apic;		/* none is in xAPIC mode */
	u32 nr;
	u32 nr_ids;
	struct lapic **all;	/* [nr], behind by_id in the same allocation */
	struct lapic *by_id[];	/* [nr_ids] */
};

static struct apic_map *map_protected(struct irqchip *ic)
{
	return rcu_dereference_protected(ic->map, lockdep_is_held(&ic->mutex));
}

/* Puts @l where physical messages to @id find it. */
static void map_id(struct apic_map *map, u32 id, struct lapic *l)
{
	if (id >= map->nr_ids || (map->by_id[id] && map->by_id[id] != l))
		map->unique = false;
	else
		map->by_id[id] = l;
}

/* Builds and publishes a map of the LAPICs of the present one, and @add. Under ic->mutex. */
static int replace_map(struct irqchip *ic, struct lapic *add)
{
	struct apic_map *old = map_protected(ic), *map;
	u32 i, nr = (old ? old->nr : 0) + (add ? 1 : 0), nr_ids = 0x100;
	int gen = atomic_read(&ic->map_gen);

	for (i = 0; old && i < old->nr; i++)
		nr_ids = max(nr_ids, old->all[i]->vcpu_id + 1);
	if (add)
		nr_ids = max(nr_ids, add->vcpu_id + 1);

	map = lodge_zalloc(struct_size(map, by_id, nr_ids + nr));
	if (!map)
		return -ENOMEM;
	map->gen = gen;
	map->unique = true;
	map->x2apic = true;
	map->nr_ids = nr_ids;
	map->all = map->by_id + nr_ids;
	for (i = 0; old && i < old->nr; i++)
		map->all[map->nr++] = old->all[i];
	if (add)
		map->all[map->nr++] = add;

	for (i = 0; i < map->nr; i++) {
		struct lapic *l = map->all[i];

		switch (lapic_mode(l)) {
		case LAPIC_X2APIC:
			map_id(map, l->vcpu_id, l);
			break;
		case LAPIC_XAPIC:
			map->x2apic = false;
			map_id(map, lapic_xapic_id(l), l);
			/* Reachable before the guest enables x2APIC. */
			if (l->vcpu_id > 0xff)
				map_id(map, l->vcpu_id, l);
			break;
		default:
			break;
		}
	}
	rcu_assign_pointer(ic->map, map);
	if (old)
		lodge_free_rcu(old, rcu);
	return 0;
}

/**
 * irqchip_add_lapic - make a new LAPIC reachable
 * @ic: the VM's interrupt controllers
 * @l: initialized; kicks for it may come at once
 *
 * Return: 0, -EEXIST when its vCPU id is taken, or -ENOMEM. Sleeps.
 */
int irqchip_add_lapic(struct irqchip *ic, struct lapic *l)
{
	struct apic_map *map;
	int err = 0;
	u32 i;

	mutex_lock(&ic->mutex);
	map = map_protected(ic);
	for (i = 0; map && i < map->nr; i++) {
		if (map->all[i]->vcpu_id == l->vcpu_id)
			err = -EEXIST;
	}
	if (!err)
		err = replace_map(ic, l);
	mutex_unlock(&ic->mutex);
	return err;
}

/* Whether delivery would be faster with irqchip_rebuild_map(). Any context. */
bool irqchip_map_stale(struct irqchip *ic)
{
	struct apic_map *map;
	bool stale;

	rcu_read_lock();
	map = rcu_dereference(ic->map);
	stale = map && map->gen != atomic_read(&ic->map_gen);
	rcu_read_unlock();
	return stale;
}

/**
 * irqchip_rebuild_map - bring the map up to date
 * @ic: the VM's interrupt controllers
 *
 * Sleeps. Return: 0, or -ENOMEM: delivery stays right, but slower.
 */
int irqchip_rebuild_map(struct irqchip *ic)
{
	int err;

	mutex_lock(&ic->mutex);
	err = replace_map(ic, NULL);
	mutex_unlock(&ic->mutex);
	return err;
}

/**
 * irqchip_walk_lapics - call a function for each LAPIC until it says stop
 * @ic: the VM's interrupt controllers
 * @fn: called in an RCU read section
 * @data: handed to @fn
 */
void irqchip_walk_lapics(struct irqchip *ic, lapic_fn fn, void *data)
{
	struct apic_map *map;
	u32 i;

	rcu_read_lock();
	map = rcu_dereference(ic->map);
	for (i = 0; map && i < READ_ONCE(map->nr); i++) {
		if (!fn(READ_ONCE(map->all[i]), data))
			break;
	}
	rcu_read_unlock();
}

static bool match_physical(const struct lapic *l, bool x2apic, u32 dest)
{
	/* An id above 0xff means a vCPU that is not yet in x2APIC mode, too. */
	if (x2apic || dest > 0xff)
		return dest == l->vcpu_id;
	return dest == lapic_xapic_id(l);
}

/* Intel SDM volume 3, "Logical Destination Mode" and, of x2APIC, the same. */
static bool match_logical(const struct lapic *l, bool x2apic, u32 dest)
{
	u32 ldr = lapic_reg(l, LAPIC_LDR);

	if (x2apic)
		return ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff);
	ldr >>= 24;
	switch (lapic_reg(l, LAPIC_DFR) >> 28) {
	case 0xf:	/* flat */
		return ldr & dest;
	case 0x0:	/* cluster */
		return ldr >> 4 == dest >> 4 && (ldr & dest & 0xf);
	default:
		return false;
	}
}

/*
 * An 8-bit 0xff from an IOAPIC or MSI means every LAPIC, those in x2APIC mode
 * too, unless user space switched that off (KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK).
 */
static bool match(struct irqchip *ic, const struct lapic *l,
		  const struct lapic *src, const struct apic_irq *irq)
{
	bool x2apic = lapic_mode(l) == LAPIC_X2APIC;
	u32 dest = irq->dest_id;

	if (!lapic_hw_enabled(l))
		return false;
	switch (irq->shorthand) {
	case APIC_TO_ALL:
		return true;
	case APIC_TO_OTHERS:
		return l != src;
	case APIC_TO_ID:
		return match_physical(l, x2apic, dest);
	}
	if (!src && dest == XAPIC_BROADCAST && !READ_ONCE(ic->x2apic_no_quirk))
		return true;
	if (dest == (x2apic ? X2APIC_BROADCAST : XAPIC_BROADCAST))
		return true;
	return irq->logical ? match_logical(l, x2apic, dest) :
			      match_physical(l, x2apic, dest);
}

static bool wants_lowest(const struct apic_irq *irq)
{
	return irq->delivery == APIC_LOWEST || irq->lowest_hint;
}

static int accept_by_id(const struct apic_map *map, u32 id, const struct apic_irq *irq)
{
	struct lapic *l;

	if (id >= map->nr_ids)
		return 0;
	l = map->by_id[array_index_nospec(id, map->nr_ids)];
	return l && lapic_hw_enabled(l) ? lapic_accept(l, irq) : 0;
}

/*
 * Messages whose LAPICs the map can name without asking each: a physical one, and a
 * logical one when all are in x2APIC mode, where the logical id follows from the id (Intel
 * SDM volume 3, "Deriving Logical x2APIC ID from the Local x2APIC ID").
 */
static bool deliver_by_id(struct irqchip *ic, const struct apic_map *map,
			  const struct apic_irq *irq, int *accepted)
{
	u32 dest = irq->dest_id, bits = dest & 0xffff;

	if (!map->unique || map->gen != atomic_read(&ic->map_gen))
		return false;
	if (irq->shorthand != APIC_TO_ID &&
	    (irq->shorthand != APIC_TO_DEST || dest == XAPIC_BROADCAST ||
	     dest == X2APIC_BROADCAST))
		return false;
	if (!irq->logical) {
		*accepted = accept_by_id(map, dest, irq);
		return true;
	}
	if (!map->x2apic)
		return false;
	for (*accepted = 0; bits; bits &= bits - 1)
		*accepted += accept_by_id(map, (dest >> 16) * 16 + __ffs(bits), irq);
	return true;
}

static bool fewer_turns(const struct lapic *a, const struct lapic *b)
{
	return (s32)((u32)atomic_read(&a->turns) -
		     (u32)atomic_read(&b->turns)) < 0;
}

/*
 * Lowest priority goes to the one that took the fewest such interrupts: real
 * chipsets rotate, and task priorities are not known on the bus any more.
 */
static int deliver_lowest(struct irqchip *ic, struct apic_map *map,
			  struct lapic *src, const struct apic_irq *irq)
{
	struct lapic *best = NULL;
	struct apic_irq one = *irq;
	u32 i;

	for (i = 0; i < READ_ONCE(map->nr); i++) {
		struct lapic *l = READ_ONCE(map->all[i]);

		if (!match(ic, l, src, irq) || !lapic_sw_enabled(l))
			continue;
		if (!best || fewer_turns(l, best))
			best = l;
	}
	if (!best)
		return 0;
	if (one.delivery == APIC_FIXED)
		one.delivery = APIC_LOWEST;
	return lapic_accept(best, &one);
}

/**
 * irqchip_deliver - send a message to the LAPICs it names
 * @ic: the VM's interrupt controllers
 * @src: the LAPIC that sends an IPI, NULL for IOAPIC and MSI
 * @irq: the message
 *
 * Return: the number of LAPICs that accepted it.
 */
int irqchip_deliver(struct irqchip *ic, struct lapic *src,
		    const struct apic_irq *irq)
{
	struct apic_map *map;
	int accepted = 0;
	struct lapic *l;
	u32 i;

	if (irq->shorthand == APIC_TO_SELF && src)
		return lapic_hw_enabled(src) ? lapic_accept(src, irq) : 0;

	rcu_read_lock();
	map = rcu_dereference(ic->map);
	if (!map)
		goto out;
	if (wants_lowest(irq)) {
		accepted = deliver_lowest(ic, map, src, irq);
		goto out;
	}
	if (deliver_by_id(ic, map, irq, &accepted))
		goto out;
	for (i = 0; i < READ_ONCE(map->nr); i++) {
		l = READ_ONCE(map->all[i]);
		if (match(ic, l, src, irq))
			accepted += lapic_accept(l, irq);
	}
out:
	rcu_read_unlock();
	return accepted;
}

/* The end of the VM: frees the map; no LAPIC is reachable any more. */
void irqchip_free_map(struct irqchip *ic)
{
	struct apic_map *old;

	mutex_lock(&ic->mutex);
	old = map_protected(ic);
	rcu_assign_pointer(ic->map, NULL);
	mutex_unlock(&ic->mutex);
	if (old)
		lodge_free_rcu(old, rcu);
}
