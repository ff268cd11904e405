/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of guest memory (slots, stage2, fault, notifier, dirty) tell each
 * other. The functions take struct lodge_memory and want its lock unless they say
 * otherwise.
 */
#ifndef LODGE_STAGE2_H
#define LODGE_STAGE2_H

#include <linux/mm_types.h>
#include <linux/types.h>

#include "memory.h"

#define LODGE_S2_ROOT_LEVEL	4
#define LODGE_S2_GPA_BITS	48

/* Pages that an entry of @level spans. */
static inline u64 lodge_s2_pages(unsigned int level)
{
	return 1ull << (9 * (level - 1));
}

/* One past the last gfn the tables reach. */
#define LODGE_S2_END_GFN	(1ull << (LODGE_S2_GPA_BITS - PAGE_SHIFT))

/* What a stretch under the lock removed; lodge_stage2_unlock() acts on it. */
struct lodge_s2_batch {
	struct page *tables;	/* detached, may yet be in use by a CPU's walker */
	struct page *spare;	/* a zeroed table, to be used when one is needed */
	bool starved;		/* there was no memory for one */
	bool flush;		/* a translation was removed or lost a right */
	bool may_sleep;
};

struct lodge_s2_leaf {
	u64 gfn;
	u64 pfn;		/* host page of exactly gfn, also for a large leaf */
	unsigned int level;	/* the largest possible */
	bool writable;
	bool clean;		/* the CPU notes the first write */
	bool host_writable;	/* only the dirty log denies writes */
	bool ram;		/* ordinary memory of the host */
};

/* stage2.c: 0 or -ENOMEM; no lock. */
int lodge_stage2_init(struct lodge_memory *mem);
/* Frees the tables; nobody uses them any more. */
void lodge_stage2_destroy(struct lodge_memory *mem);

/* One past the greatest gfn a slot may hold. */
u64 lodge_stage2_end_gfn(void);

/*
 * Who removed translations and drops the lock before lodge_stage2_unlock() announces that
 * first, by one of the next two: another, who finds a translation gone, must learn that
 * CPUs may still use it.
 */

/* Drops the lock for a moment if it was held for long or somebody waits for it. */
void lodge_stage2_cond_resched(struct lodge_memory *mem, struct lodge_s2_batch *batch)
	__must_hold(&mem->lock);

/*
 * Gives @batch a spare table; false: there is no memory. Drops the lock meanwhile, so
 * the caller looks again at all that it guards. May sleep.
 */
bool lodge_stage2_refill(struct lodge_memory *mem, struct lodge_s2_batch *batch)
	__must_hold(&mem->lock);

/*
 * Installs @leaf, or gives an existing one the rights of @leaf: 0; or -EAGAIN when a
 * table is needed and @batch has none.
 */
int lodge_stage2_map(struct lodge_memory *mem, const struct lodge_s2_leaf *leaf,
		     struct lodge_s2_batch *batch);

/*
 * True when the leaf at @gfn allows the access (LODGE_ACCESS_*) or now does: a write that only
 * the dirty log (or its past) had denied is allowed and recorded, as of @vcpu.
 */
bool lodge_stage2_fix(struct lodge_memory *mem, struct lodge_vcpu *vcpu, u64 gfn, u32 access);

void lodge_stage2_zap_range(struct lodge_memory *mem, u64 start, u64 end,
			    struct lodge_s2_batch *batch);
/*
 * Takes the right to write, or where lodge_cpu_logs() the dirty bit, from a range, or from
 * the 4K pages @gfn + n of the bits n in @mask (@gfn is a multiple of 64). Large leaves
 * there are split, so that a later write costs one page its mark and no allocation; without
 * memory they lose the right whole. Drops the lock for each table that it allocates.
 */
void lodge_stage2_protect_range(struct lodge_memory *mem, u64 start, u64 end,
				struct lodge_s2_batch *batch) __must_hold(&mem->lock);
void lodge_stage2_protect_mask(struct lodge_memory *mem, u64 gfn, unsigned long mask,
			       struct lodge_s2_batch *batch) __must_hold(&mem->lock);
/*
 * dirty.c: protects pages of word @i of a slot's bitmap whose bits or entries were taken
 * from the log before. Drops the lock for each table that it allocates.
 */
void lodge_dirty_protect_word(struct lodge_memory *mem, const struct lodge_slot *slot, u64 i,
			      unsigned long mask, struct lodge_s2_batch *batch)
	__must_hold(&mem->lock);

/* The level of the leaf that translates @gfn, or 0. */
unsigned int lodge_stage2_level(struct lodge_memory *mem, u64 gfn);
/* Is there a table where a leaf of @level could be for @gfn? */
bool lodge_stage2_is_split(struct lodge_memory *mem, u64 gfn, unsigned int level);
/* Was a page of the range accessed? Clears the accessed bits if @clear. */
bool lodge_stage2_young(struct lodge_memory *mem, u64 start, u64 end, bool clear);

/*
 * Drops the lock. If @batch removed something, or an earlier removal is still on its
 * way to the CPUs, returns only when no vCPU uses the old translations; then frees
 * the detached tables and the spare one. Sleeps only if batch->may_sleep.
 */
void lodge_stage2_unlock(struct lodge_memory *mem, struct lodge_s2_batch *batch)
	__releases(&mem->lock);

/* lapic_page.c: a slot comes to [@gfn, @gfn + @npages). */
void lodge_lapic_page_unmap(struct lodge_memory *mem, u64 gfn, u64 npages,
			    struct lodge_s2_batch *batch);

/*
 * fault.c: the largest leaf that the host's mapping (of the current mm), the slot's
 * bounds and alignment allow for @gfn. No lock; true for a moment only.
 */
unsigned int lodge_host_leaf_level(const struct lodge_slot *slot, u64 gfn);

/* notifier.c: attach and detach without the lock; 0 or an errno. */
int lodge_notifier_attach(struct lodge_memory *mem);
void lodge_notifier_detach(struct lodge_memory *mem);
void lodge_notifier_exit(void);

/* The lock that guards mem->by_hva together with mem->lock, in which it nests. */
spinlock_t *lodge_notifier_lock(struct lodge_memory *mem);

/* The count to hand to lodge_notifier_retry(); taken before the hva is looked up. */
unsigned long lodge_notifier_seq(struct lodge_memory *mem);
/* Has [start, end) of hvas perhaps changed since @seq? No lock, or to decide: lock. */
bool lodge_notifier_retry(struct lodge_memory *mem, unsigned long seq, unsigned long start,
			  unsigned long end);

#endif
