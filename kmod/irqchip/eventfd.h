/* SPDX-License-Identifier: GPL-2.0-only */
/* irqfds and ioeventfds of one VM. Kernel only. */
#ifndef LODGE_EVENTFD_H
#define LODGE_EVENTFD_H

#include <linux/kvm.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/types.h>

struct irqchip;

#define LODGE_IOEVENTFD_BUCKETS	64
#define LODGE_IOEVENTFD_MAX	1000	/* per bus, as KVM's NR_IOBUS_DEVS */

enum lodge_bus { LODGE_BUS_MMIO, LODGE_BUS_PIO, LODGE_NR_BUSES };

struct lodge_eventfds {
	struct irqchip *ic;
	spinlock_t irqfd_lock;		/* irqfds; nests in a wait queue's lock */
	struct list_head irqfds;
	struct mutex mutex;		/* resamplers and ioeventfds */
	struct list_head resamplers;	/* read under RCU */
	u32 nr_io[LODGE_NR_BUSES];
	struct hlist_head io[LODGE_IOEVENTFD_BUCKETS];	/* read under RCU */
};

int lodge_eventfd_init(void);
void lodge_eventfd_exit(void);

void lodge_eventfds_init(struct lodge_eventfds *e, struct irqchip *ic);
void lodge_eventfds_destroy(struct lodge_eventfds *e);
int lodge_irqfd(struct lodge_eventfds *e, const struct kvm_irqfd *args);
int lodge_ioeventfd(struct lodge_eventfds *e, const struct kvm_ioeventfd *args);
bool lodge_ioeventfd_write(struct lodge_eventfds *e, enum lodge_bus bus,
			   u64 addr, u32 len, u64 value);
static inline bool lodge_has_ioeventfds(const struct lodge_eventfds *e, enum lodge_bus bus)
{
	return READ_ONCE(e->nr_io[bus]);
}

void lodge_eventfds_acked(struct lodge_eventfds *e, u32 gsi);

#endif /* LODGE_EVENTFD_H */
