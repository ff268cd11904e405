// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the link to the owner's page tables: one MMU notifier for an mm, shared by all
 * VMs of that mm, so that only the first VM pays for mm_take_all_locks() and closing
 * one waits for no grace period. Called by the memory manager, and by fault.c to ask
 * whether a looked-up page may still be used. Guarded by the notifier's own spinlock,
 * which also tells whose memory a range is; the tables of each VM by the VM's.
 */
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "backend.h"
#include "kernel_compat.h"
#include "stage2.h"
#include "vm.h"

/* More than may end while one fault looks its page up, but for a slow one. */
#define NR_ENDED	16

struct lodge_notifier {
	struct mmu_notifier mn;
	spinlock_t lock;		/* all that follows */
	struct list_head memories;
	wait_queue_head_t idle;		/* some notifier_users fell to 0 */
	/*
	 * Invalidations in progress, the hull of their ranges, how many ended, and what
	 * the last of those touched. A fault looks up the host page without a lock and
	 * installs it only if none that touches it is in progress or ended since: most
	 * are about other memory of the VMM. They belong to the mm, not to the VM,
	 * because a VM may come between the start and the end of one.
	 */
	unsigned int active;
	unsigned long start, end;
	unsigned long seq;
	struct {
		unsigned long start, end;
	} ended[NR_ENDED];		/* by seq */
};

/* What a callback does to one VM: its hvas [start, end). */
struct hva_range {
	unsigned long start, end;
	bool may_sleep;
	bool everything;		/* whether there is memory or not */
	bool age, clear, flush;		/* age: ask for accessed bits; else unmap */
};

typedef bool (*memory_fn)(struct lodge_memory *mem, const struct hva_range *range);

/*
 * Runs @fn for each VM that has memory in @range, without the lock: it may be long, and
 * flushing waits. Most of what changes in a VMM is not its guest's memory.
 */
static bool visit_memories(struct lodge_notifier *n, const struct hva_range *range,
			   memory_fn fn)
{
	struct lodge_memory *mem;
	bool ret = false;

	spin_lock(&n->lock);
	list_for_each_entry(mem, &n->memories, notifier_link) {
		if (mem->notifier_leaving)
			continue;
		if (!range->everything &&
		    !lodge_slot_by_hva(mem, NULL, range->start, range->end - 1))
			continue;
		WRITE_ONCE(mem->notifier_users, mem->notifier_users + 1);
		spin_unlock(&n->lock);
		ret |= fn(mem, range);
		spin_lock(&n->lock);
		WRITE_ONCE(mem->notifier_users, mem->notifier_users - 1);
		if (!mem->notifier_users && mem->notifier_leaving)
			wake_up(&n->idle);
	}
	spin_unlock(&n->lock);
	return ret;
}

/* The gfns of @slot that have their memory in @range. */
static void to_gfns(const struct lodge_slot *slot, const struct hva_range *range, u64 *first,
		    u64 *end)
{
	unsigned long slot_end = slot->hva + (slot->npages << PAGE_SHIFT);

	*first = slot->base_gfn;
	if (range->start > slot->hva)
		*first += (range->start - slot->hva) >> PAGE_SHIFT;
	*end = slot->base_gfn +
	       (PAGE_ALIGN(min(range->end, slot_end) - slot->hva) >> PAGE_SHIFT);
}

/* Unmaps, or ages: whether any page was young. */
static bool visit_slots(struct lodge_memory *mem, const struct hva_range *range)
{
	struct lodge_s2_batch batch = { .may_sleep = range->may_sleep };
	struct lodge_slot *slot = NULL;
	bool young = false;
	u64 first, end;

	spin_lock(&mem->lock);
	while ((slot = lodge_slot_by_hva(mem, slot, range->start, range->end - 1))) {
		to_gfns(slot, range, &first, &end);
		if (range->age)
			young |= lodge_stage2_young(mem, first, end, range->clear);
		if (!range->age || (range->clear && lodge_backend->stage2.no_accessed))
			lodge_stage2_zap_range(mem, first, end, &batch);
	}
	batch.flush |= young && range->flush;
	/* Only who clears without a flush, or looks, need not wait for anybody else's. */
	if (range->age && !batch.flush)
		spin_unlock(&mem->lock);
	else
		lodge_stage2_unlock(mem, &batch);
	return young;
}

static bool forget_memory(struct lodge_memory *mem, const struct hva_range *range)
{
	struct lodge_s2_batch batch = { .may_sleep = range->may_sleep };

	spin_lock(&mem->lock);
	mem->mm_gone = true;
	lodge_stage2_zap_range(mem, 0, LODGE_S2_END_GFN, &batch);
	lodge_stage2_unlock(mem, &batch);
	return false;
}

static struct lodge_notifier *to_notifier(struct mmu_notifier *mn)
{
	return container_of(mn, struct lodge_notifier, mn);
}

static int invalidate_range_start(struct mmu_notifier *mn,
				  const struct mmu_notifier_range *mmu_range)
{
	struct lodge_notifier *n = to_notifier(mn);
	struct hva_range range = {
		.start = mmu_range->start,
		.end = mmu_range->end,
		.may_sleep = mmu_notifier_range_blockable(mmu_range),
	};

	spin_lock(&n->lock);
	if (n->active++) {
		n->start = min(n->start, range.start);
		n->end = max(n->end, range.end);
	} else {
		n->start = range.start;
		n->end = range.end;
	}
	spin_unlock(&n->lock);

	/*
	 * A fault that did not see the above has its leaf installed before a VM's lock
	 * is taken here, so the zap finds it.
	 */
	visit_memories(n, &range, visit_slots);
	return 0;
}

static void invalidate_range_end(struct mmu_notifier *mn,
				 const struct mmu_notifier_range *range)
{
	struct lodge_notifier *n = to_notifier(mn);

	spin_lock(&n->lock);
	n->ended[n->seq % NR_ENDED].start = range->start;
	n->ended[n->seq % NR_ENDED].end = range->end;
	WRITE_ONCE(n->seq, n->seq + 1);
	if (!WARN_ON_ONCE(!n->active))
		n->active--;
	spin_unlock(&n->lock);
}

static lodge_young_t clear_flush_young(struct mmu_notifier *mn, struct mm_struct *mm,
				       unsigned long start, unsigned long end)
{
	struct hva_range range = {
		.start = start, .end = end, .age = true, .clear = true, .flush = true,
	};

	return visit_memories(to_notifier(mn), &range, visit_slots);
}

/* Without a flush: a CPU that still has the translation sets no bit until it loses it. */
static lodge_young_t clear_young(struct mmu_notifier *mn, struct mm_struct *mm,
				 unsigned long start, unsigned long end)
{
	struct hva_range range = { .start = start, .end = end, .age = true, .clear = true };

	return visit_memories(to_notifier(mn), &range, visit_slots);
}

static lodge_young_t test_young(struct mmu_notifier *mn, struct mm_struct *mm,
				unsigned long address)
{
	struct hva_range range = { .start = address, .end = address + 1, .age = true };

	return visit_memories(to_notifier(mn), &range, visit_slots);
}

/* The mm exits: its pages go, whatever VM fds are still open elsewhere. */
static void release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	struct hva_range range = { .everything = true, .may_sleep = true };

	visit_memories(to_notifier(mn), &range, forget_memory);
}

static struct mmu_notifier *alloc_notifier(struct mm_struct *mm)
{
	struct lodge_notifier *n = kzalloc(sizeof(*n), GFP_KERNEL_ACCOUNT);

	if (!n)
		return ERR_PTR(-ENOMEM);
	spin_lock_init(&n->lock);
	INIT_LIST_HEAD(&n->memories);
	init_waitqueue_head(&n->idle);
	return &n->mn;
}

static void free_notifier(struct mmu_notifier *mn)
{
	kfree(to_notifier(mn));
}

static const struct mmu_notifier_ops notifier_ops = {
	.invalidate_range_start = invalidate_range_start,
	.invalidate_range_end = invalidate_range_end,
	.clear_flush_young = clear_flush_young,
	.clear_young = clear_young,
	.test_young = test_young,
	.release = release,
	.alloc_notifier = alloc_notifier,
	.free_notifier = free_notifier,
};

unsigned long lodge_notifier_seq(struct lodge_memory *mem)
{
	/* The host's page tables are read after this. */
	return smp_load_acquire(&mem->notifier->seq);
}

/* Did an invalidation that touches [start, end) end since @seq? Needs n->lock. */
static bool ended_since(const struct lodge_notifier *n, unsigned long seq,
			unsigned long start, unsigned long end)
{
	if (n->seq - seq > NR_ENDED)
		return true;
	for (; seq != n->seq; seq++)
		if (start < n->ended[seq % NR_ENDED].end && end > n->ended[seq % NR_ENDED].start)
			return true;
	return false;
}

bool lodge_notifier_retry(struct lodge_memory *mem, unsigned long seq, unsigned long start,
			  unsigned long end)
{
	struct lodge_notifier *n = mem->notifier;
	bool retry;

	spin_lock(&n->lock);
	retry = (n->active && start < n->end && end > n->start) ||
		ended_since(n, seq, start, end);
	spin_unlock(&n->lock);
	return retry;
}

spinlock_t *lodge_notifier_lock(struct lodge_memory *mem)
{
	return &mem->notifier->lock;
}

int lodge_notifier_attach(struct lodge_memory *mem)
{
	struct mmu_notifier *mn = mmu_notifier_get(&notifier_ops, current->mm);
	struct lodge_notifier *n;

	if (IS_ERR(mn))
		return PTR_ERR(mn);
	n = to_notifier(mn);
	mem->notifier = n;
	spin_lock(&n->lock);
	list_add_tail(&mem->notifier_link, &n->memories);
	spin_unlock(&n->lock);
	return 0;
}

void lodge_notifier_detach(struct lodge_memory *mem)
{
	struct lodge_notifier *n = mem->notifier;

	spin_lock(&n->lock);
	mem->notifier_leaving = true;
	spin_unlock(&n->lock);

	/* Callbacks that are in this VM now: as long as a zap takes, no grace period. */
	wait_event(n->idle, !READ_ONCE(mem->notifier_users));

	spin_lock(&n->lock);
	list_del(&mem->notifier_link);
	spin_unlock(&n->lock);
	mmu_notifier_put(&n->mn);
}

void lodge_notifier_exit(void)
{
	mmu_notifier_synchronize();
}
