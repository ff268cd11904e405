// SPDX-License-Identifier: GPL-2.0-only
/*
 * irqfds (an eventfd that raises a GSI) and ioeventfds (a guest write that
 * signals an eventfd) of one VM. Called by the two ioctls, by the end of the
 * VM, by wake-ups of the eventfds, by EOIs, and by exits that write.
 *
 * Locks: e->mutex serializes the ioctls and guards all lists; it sleeps and
 * nests outside ic->mutex. e->irqfd_lock guards e->irqfds and nests in the
 * lock of an eventfd's wait queue, so no eventfd call is made under it.
 * Ioeventfds and resamplers are read under RCU and freed by it.
 *
 * Whoever takes an irqfd off e->irqfds ends it. That is the ioctl, the end of
 * the VM, or the wake-up that tells of the eventfd's own end, which may not
 * sleep and passes it to a workqueue that all VMs share.
 */
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/poll.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "irqchip.h"
#include "eventfd.h"

struct resampler {
	struct rcu_head rcu;
	struct list_head link;		/* e->resamplers */
	struct list_head irqfds;	/* irqfd.resampler_link */
	u32 gsi;
};

struct irqfd {
	struct rcu_head rcu;
	struct lodge_eventfds *e;
	struct list_head link;		/* e->irqfds; empty: somebody ends it */
	struct list_head ended;		/* the ending thread's own list */
	struct eventfd_ctx *eventfd;
	struct wait_queue_entry wait;
	struct work_struct end;
	u32 gsi;
	struct resampler *resampler;	/* NULL for a plain irqfd */
	struct eventfd_ctx *resamplefd;
	struct list_head resampler_link;
};

struct irqfd_poll {
	poll_table table;
	struct irqfd *irqfd;
};

struct ioeventfd {
	struct rcu_head rcu;
	struct hlist_node node;
	struct eventfd_ctx *eventfd;
	u64 addr;
	u64 datamatch;
	u32 len;			/* 0: any, data not looked at */
	enum lodge_bus bus;
	bool wildcard;
};

static struct workqueue_struct *end_wq;

static void signal(struct eventfd_ctx *ctx)
{
#if LODGE_HAVE_EVENTFD_SIGNAL_1ARG
	eventfd_signal(ctx);
#else
	eventfd_signal(ctx, 1);
#endif
}

/* A plain irqfd is an edge; a resample irqfd holds the line up until its ack. */
static void inject(struct irqfd *irqfd)
{
	struct irqchip *ic = irqfd->e->ic;

	if (irqfd->resampler) {
		irqchip_set_irq(ic, IRQ_SOURCE_RESAMPLE, irqfd->gsi, true);
		return;
	}
	irqchip_set_irq(ic, IRQ_SOURCE_USER, irqfd->gsi, true);
	irqchip_set_irq(ic, IRQ_SOURCE_USER, irqfd->gsi, false);
}

/* Called under the eventfd's wait queue lock, interrupts off. */
static int irqfd_wakeup(struct wait_queue_entry *wait, unsigned int mode,
			int sync, void *key)
{
	struct irqfd *irqfd = container_of(wait, struct irqfd, wait);
	struct lodge_eventfds *e = irqfd->e;
	__poll_t events = key_to_poll(key);
	unsigned long flags;
	int woken = 0;
	u64 count;

	if (events & EPOLLIN) {
		eventfd_ctx_do_read(irqfd->eventfd, &count);
		inject(irqfd);
		woken = 1;
	}
	if (events & EPOLLHUP) {
		spin_lock_irqsave(&e->irqfd_lock, flags);
		if (!list_empty(&irqfd->link)) {
			list_del_init(&irqfd->link);
			queue_work(end_wq, &irqfd->end);
		}
		spin_unlock_irqrestore(&e->irqfd_lock, flags);
	}
	return woken;
}

static void irqfd_free_rcu(struct rcu_head *rcu)
{
	struct irqfd *irqfd = container_of(rcu, struct irqfd, rcu);

	if (irqfd->resamplefd)
		eventfd_ctx_put(irqfd->resamplefd);
	eventfd_ctx_put(irqfd->eventfd);
	kfree(irqfd);
}

static void resampler_leave(struct irqfd *irqfd)
{
	struct resampler *r = irqfd->resampler;
	struct irqchip *ic = irqfd->e->ic;

	list_del_rcu(&irqfd->resampler_link);
	if (!list_empty(&r->irqfds))
		return;
	list_del_rcu(&r->link);
	irqchip_notify_gsi(ic, r->gsi, false);
	irqchip_set_irq(ic, IRQ_SOURCE_RESAMPLE, r->gsi, false);
	kfree_rcu(r, rcu);
}

/* Ends an irqfd that is off e->irqfds. Caller holds e->mutex. */
static void irqfd_end(struct irqfd *irqfd)
{
	u64 count;

	/* After this no wake-up is under way, nor will one come. */
	eventfd_ctx_remove_wait_queue(irqfd->eventfd, &irqfd->wait, &count);
	if (irqfd->resampler)
		resampler_leave(irqfd);
	call_rcu(&irqfd->rcu, irqfd_free_rcu);
}

static void irqfd_end_work(struct work_struct *work)
{
	struct irqfd *irqfd = container_of(work, struct irqfd, end);
	struct lodge_eventfds *e = irqfd->e;

	mutex_lock(&e->mutex);
	irqfd_end(irqfd);
	mutex_unlock(&e->mutex);
}

/* Ends the irqfds of @ctx and @gsi, or all if @ctx is NULL. */
static void irqfds_end(struct lodge_eventfds *e, struct eventfd_ctx *ctx, u32 gsi)
{
	struct irqfd *irqfd, *next;
	LIST_HEAD(ended);

	spin_lock_irq(&e->irqfd_lock);
	list_for_each_entry_safe(irqfd, next, &e->irqfds, link) {
		if (!ctx || (irqfd->eventfd == ctx && irqfd->gsi == gsi)) {
			list_del_init(&irqfd->link);
			list_add_tail(&irqfd->ended, &ended);
		}
	}
	spin_unlock_irq(&e->irqfd_lock);
	list_for_each_entry_safe(irqfd, next, &ended, ended)
		irqfd_end(irqfd);
}

static void irqfd_queue(struct file *file, wait_queue_head_t *wqh,
			poll_table *table)
{
	struct irqfd_poll *poll = container_of(table, struct irqfd_poll, table);

	add_wait_queue_priority(wqh, &poll->irqfd->wait);
}

/* Finds or makes the resampler of the irqfd's GSI, and joins it. */
static int resampler_join(struct irqfd *irqfd)
{
	struct lodge_eventfds *e = irqfd->e;
	struct resampler *r;
	int err;

	list_for_each_entry(r, &e->resamplers, link) {
		if (r->gsi == irqfd->gsi)
			goto join;
	}
	r = kzalloc(sizeof(*r), GFP_KERNEL_ACCOUNT);
	if (!r)
		return -ENOMEM;
	r->gsi = irqfd->gsi;
	INIT_LIST_HEAD(&r->irqfds);
	err = irqchip_notify_gsi(e->ic, r->gsi, true);
	if (err) {
		kfree(r);
		return err;
	}
	list_add_rcu(&r->link, &e->resamplers);
join:
	irqfd->resampler = r;
	list_add_rcu(&irqfd->resampler_link, &r->irqfds);
	return 0;
}

/* Hooks the irqfd to its eventfd and lists it. Caller holds e->mutex. */
static int irqfd_start(struct irqfd *irqfd, struct file *file)
{
	struct lodge_eventfds *e = irqfd->e;
	struct irqfd_poll poll = { .irqfd = irqfd };
	struct irqfd *other;
	__poll_t events;
	int err = 0;

	spin_lock_irq(&e->irqfd_lock);
	list_for_each_entry(other, &e->irqfds, link) {
		if (other->eventfd == irqfd->eventfd)
			err = -EBUSY;
	}
	spin_unlock_irq(&e->irqfd_lock);
	if (!err && irqfd->resamplefd)
		err = resampler_join(irqfd);
	if (err)
		return err;

	init_waitqueue_func_entry(&irqfd->wait, irqfd_wakeup);
	init_poll_funcptr(&poll.table, irqfd_queue);
	events = vfs_poll(file, &poll.table);
	/* The caller's file reference keeps EPOLLHUP away until it is listed. */
	spin_lock_irq(&e->irqfd_lock);
	list_add_tail(&irqfd->link, &e->irqfds);
	spin_unlock_irq(&e->irqfd_lock);
	/* Signalled before: as if it had come now. */
	if (events & EPOLLIN)
		inject(irqfd);
	return 0;
}

static int irqfd_assign(struct lodge_eventfds *e, const struct kvm_irqfd *args)
{
	struct irqfd *irqfd;
	struct file *file;
	int err;

	if ((args->flags & KVM_IRQFD_FLAG_RESAMPLE) ?
	    READ_ONCE(e->ic->kind) != IRQCHIP_KERNEL : !irqchip_in_kernel(e->ic))
		return -EINVAL;
	irqfd = kzalloc(sizeof(*irqfd), GFP_KERNEL_ACCOUNT);
	if (!irqfd)
		return -ENOMEM;
	irqfd->e = e;
	irqfd->gsi = args->gsi;
	INIT_LIST_HEAD(&irqfd->link);
	INIT_WORK(&irqfd->end, irqfd_end_work);

	file = eventfd_fget(args->fd);
	if (IS_ERR(file)) {
		err = PTR_ERR(file);
		goto free;
	}
	irqfd->eventfd = eventfd_ctx_fileget(file);
	if (IS_ERR(irqfd->eventfd)) {
		err = PTR_ERR(irqfd->eventfd);
		goto put_file;
	}
	if (args->flags & KVM_IRQFD_FLAG_RESAMPLE) {
		irqfd->resamplefd = eventfd_ctx_fdget(args->resamplefd);
		if (IS_ERR(irqfd->resamplefd)) {
			err = PTR_ERR(irqfd->resamplefd);
			goto put_eventfd;
		}
	}
	mutex_lock(&e->mutex);
	err = irqfd_start(irqfd, file);
	mutex_unlock(&e->mutex);
	if (!err) {
		fput(file);
		return 0;
	}
	if (irqfd->resamplefd)
		eventfd_ctx_put(irqfd->resamplefd);
put_eventfd:
	eventfd_ctx_put(irqfd->eventfd);
put_file:
	fput(file);
free:
	kfree(irqfd);
	return err;
}

/**
 * lodge_irqfd - KVM_IRQFD
 * @e: the VM's eventfds
 * @args: from user space
 *
 * Return: 0; -EINVAL: unknown flag, no in-kernel irqchip, not an eventfd;
 * -EBADF; -EBUSY: the eventfd is an irqfd of this VM already; -ENOMEM. To
 * deassign what is not assigned is no error.
 */
int lodge_irqfd(struct lodge_eventfds *e, const struct kvm_irqfd *args)
{
	struct eventfd_ctx *ctx;

	if (args->flags & ~(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE))
		return -EINVAL;
	if (!(args->flags & KVM_IRQFD_FLAG_DEASSIGN))
		return irqfd_assign(e, args);

	ctx = eventfd_ctx_fdget(args->fd);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	mutex_lock(&e->mutex);
	irqfds_end(e, ctx, args->gsi);
	mutex_unlock(&e->mutex);
	eventfd_ctx_put(ctx);
	return 0;
}

/**
 * lodge_eventfds_acked - the guest ended a GSI: lower it, tell the resamplefds
 * @e: the VM's eventfds
 * @gsi: the GSI
 *
 * Called by the owner's gsi_acked() callback; no lock is held.
 */
void lodge_eventfds_acked(struct lodge_eventfds *e, u32 gsi)
{
	struct resampler *r;
	struct irqfd *irqfd;

	rcu_read_lock();
	list_for_each_entry_rcu(r, &e->resamplers, link) {
		if (r->gsi != gsi)
			continue;
		irqchip_set_irq(e->ic, IRQ_SOURCE_RESAMPLE, gsi, false);
		list_for_each_entry_rcu(irqfd, &r->irqfds, resampler_link)
			signal(irqfd->resamplefd);
		break;
	}
	rcu_read_unlock();
}

static struct hlist_head *io_bucket(struct lodge_eventfds *e, enum lodge_bus bus,
				    u64 addr)
{
	return &e->io[hash_64(addr << 1 | bus, ilog2(LODGE_IOEVENTFD_BUCKETS))];
}

/**
 * lodge_ioeventfd_write - a guest write that an ioeventfd may take
 * @e: the VM's eventfds
 * @bus: which
 * @addr: port or guest-physical address
 * @len: bytes; 0 when not known: only ioeventfds of any length match
 * @value: what is written, zero-extended
 *
 * Takes no lock. Return: true when signalled; the write is then done.
 */
bool lodge_ioeventfd_write(struct lodge_eventfds *e, enum lodge_bus bus,
			   u64 addr, u32 len, u64 value)
{
	struct ioeventfd *p;
	bool found = false;

	if (!lodge_has_ioeventfds(e, bus))
		return false;
	rcu_read_lock();
	hlist_for_each_entry_rcu(p, io_bucket(e, bus, addr), node) {
		if (p->addr != addr || p->bus != bus)
			continue;
		if (p->len && (p->len != len ||
			       (!p->wildcard && p->datamatch != value)))
			continue;
		signal(p->eventfd);
		found = true;
		break;
	}
	rcu_read_unlock();
	return found;
}

static void ioeventfd_free_rcu(struct rcu_head *rcu)
{
	struct ioeventfd *p = container_of(rcu, struct ioeventfd, rcu);

	eventfd_ctx_put(p->eventfd);
	kfree(p);
}

static void ioeventfd_remove(struct lodge_eventfds *e, struct ioeventfd *p)
{
	hlist_del_rcu(&p->node);
	WRITE_ONCE(e->nr_io[p->bus], e->nr_io[p->bus] - 1);
	call_rcu(&p->rcu, ioeventfd_free_rcu);
}

/* Whether one write could mean both. */
static bool collides(const struct ioeventfd *a, const struct ioeventfd *b)
{
	return a->bus == b->bus && a->addr == b->addr &&
	       (!a->len || !b->len ||
		(a->len == b->len && (a->wildcard || b->wildcard ||
				      a->datamatch == b->datamatch)));
}

static int ioeventfd_add(struct lodge_eventfds *e, struct ioeventfd *p)
{
	struct hlist_head *bucket = io_bucket(e, p->bus, p->addr);
	struct ioeventfd *other;

	hlist_for_each_entry(other, bucket, node) {
		if (collides(p, other))
			return -EEXIST;
	}
	if (e->nr_io[p->bus] >= LODGE_IOEVENTFD_MAX)
		return -ENOSPC;
	hlist_add_head_rcu(&p->node, bucket);
	WRITE_ONCE(e->nr_io[p->bus], e->nr_io[p->bus] + 1);
	return 0;
}

static int ioeventfd_delete(struct lodge_eventfds *e, const struct ioeventfd *key)
{
	struct ioeventfd *p;

	hlist_for_each_entry(p, io_bucket(e, key->bus, key->addr), node) {
		if (p->eventfd == key->eventfd && p->bus == key->bus &&
		    p->addr == key->addr && p->len == key->len &&
		    p->wildcard == key->wildcard &&
		    (p->wildcard || p->datamatch == key->datamatch)) {
			ioeventfd_remove(e, p);
			return 0;
		}
	}
	return -ENOENT;
}

static bool ioeventfd_valid(const struct kvm_ioeventfd *args)
{
	bool match = args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH;

	return !(args->flags & ~(KVM_IOEVENTFD_FLAG_DATAMATCH | KVM_IOEVENTFD_FLAG_PIO)) &&
	       args->len <= 8 && hweight32(args->len) <= 1 &&
	       args->addr + args->len >= args->addr && (args->len || !match);
}

/**
 * lodge_ioeventfd - KVM_IOEVENTFD
 * @e: the VM's eventfds
 * @args: from user space
 *
 * Return: 0; -EINVAL: (assign) unknown flag, length, wrapping range, data match without
 * a length; not an eventfd; -EBADF; -EEXIST: a write could mean one that is
 * there; -ENOSPC; -ENOENT: nothing to deassign; -ENOMEM.
 */
int lodge_ioeventfd(struct lodge_eventfds *e, const struct kvm_ioeventfd *args)
{
	bool pio = args->flags & KVM_IOEVENTFD_FLAG_PIO;
	struct ioeventfd *p;
	int err;

	/* One that could not be assigned is not there. */
	if (!(args->flags & KVM_IOEVENTFD_FLAG_DEASSIGN) && !ioeventfd_valid(args))
		return -EINVAL;

	p = kzalloc(sizeof(*p), GFP_KERNEL_ACCOUNT);
	if (!p)
		return -ENOMEM;
	p->bus = pio ? LODGE_BUS_PIO : LODGE_BUS_MMIO;
	p->addr = args->addr;
	p->len = args->len;
	p->wildcard = !(args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH);
	p->datamatch = p->wildcard ? 0 : args->datamatch;
	p->eventfd = eventfd_ctx_fdget(args->fd);
	if (IS_ERR(p->eventfd)) {
		err = PTR_ERR(p->eventfd);
		kfree(p);
		return err;
	}
	mutex_lock(&e->mutex);
	if (args->flags & KVM_IOEVENTFD_FLAG_DEASSIGN)
		err = ioeventfd_delete(e, p);
	else
		err = ioeventfd_add(e, p);
	mutex_unlock(&e->mutex);
	/* Kept only when it was added. */
	if (err || (args->flags & KVM_IOEVENTFD_FLAG_DEASSIGN)) {
		eventfd_ctx_put(p->eventfd);
		kfree(p);
	}
	return err;
}

/* Prepares a VM's eventfds. @ic: its irqchip, created or not yet. */
void lodge_eventfds_init(struct lodge_eventfds *e, struct irqchip *ic)
{
	e->ic = ic;
	mutex_init(&e->mutex);
	spin_lock_init(&e->irqfd_lock);
	INIT_LIST_HEAD(&e->irqfds);
	INIT_LIST_HEAD(&e->resamplers);
}

/**
 * lodge_eventfds_destroy - the end of the VM
 * @e: the VM's eventfds; no ioctl and no vCPU uses them any more
 *
 * When it returns, no wake-up is under way that uses the VM. Sleeps; before
 * irqchip_destroy().
 */
void lodge_eventfds_destroy(struct lodge_eventfds *e)
{
	struct hlist_node *next;
	struct ioeventfd *p;
	int i;

	mutex_lock(&e->mutex);
	irqfds_end(e, NULL, 0);
	for (i = 0; i < LODGE_IOEVENTFD_BUCKETS; i++) {
		hlist_for_each_entry_safe(p, next, &e->io[i], node)
			ioeventfd_remove(e, p);
	}
	mutex_unlock(&e->mutex);
	/* Those whose eventfd ended by itself just now. */
	flush_workqueue(end_wq);
}

/* Module load. Return: 0 or -ENOMEM. */
int lodge_eventfd_init(void)
{
	end_wq = alloc_workqueue("lodge-irqfd", WQ_UNBOUND, 0);
	return end_wq ? 0 : -ENOMEM;
}

/* Module unload, after the last VM: waits for callbacks that RCU still holds. */
void lodge_eventfd_exit(void)
{
	destroy_workqueue(end_wq);
	rcu_barrier();
}
