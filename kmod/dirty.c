// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the dirty log: one bit for each page of a slot with KVM_MEM_LOG_DIRTY_PAGES, set
 * by faults (stage2.c) and by the kernel's writes (guest_access.c), and taken by
 * KVM_GET_DIRTY_LOG. Bits change by atomic operations; a bit is cleared under mem->lock
 * together with the write permission of its page.
 */
#include <linux/bitmap.h>
#include <linux/kvm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kernel_compat.h"
#include "stage2.h"
#include "vm.h"

/* Words of the bitmap in one stretch under the lock: 2,048 pages. */
#define CHUNK_WORDS	32

struct lodge_dirty *lodge_dirty_alloc(u64 npages)
{
	struct lodge_dirty *dirty;

	return kvzalloc(struct_size(dirty, bits, BITS_TO_LONGS(npages)), GFP_KERNEL_ACCOUNT);
}

void lodge_dirty_mark(const struct lodge_slot *slot, u64 gfn)
{
	u64 n;

	if (!slot->dirty)
		return;
	n = array_index_nospec(gfn - slot->base_gfn, slot->npages);
	/* Most writes go to a page that is dirty already: spare its cache line. */
	if (!test_bit(n, slot->dirty->bits))
		set_bit(n, slot->dirty->bits);
}

/*
 * Takes @nr words of the bitmap from @first on into @words, and protects their pages
 * again. A word's pages are in two tables where the slot does not begin at a multiple of 64.
 */
static void take_words(struct lodge_memory *mem, const struct lodge_slot *slot,
		       unsigned long first, unsigned long nr, unsigned long *words,
		       struct lodge_s2_batch *batch)
{
	unsigned int shift = slot->base_gfn % BITS_PER_LONG;
	unsigned long i;

	spin_lock(&mem->lock);
	for (i = 0; i < nr; i++) {
		unsigned long *word = &slot->dirty->bits[first + i];
		u64 gfn = slot->base_gfn - shift + (first + i) * BITS_PER_LONG;

		words[i] = READ_ONCE(*word);
		if (!words[i])
			continue;
		words[i] = xchg(word, 0);
		lodge_stage2_wrprotect_mask(mem, gfn, words[i] << shift, batch);
		if (shift)
			lodge_stage2_wrprotect_mask(mem, gfn + BITS_PER_LONG,
						    words[i] >> (BITS_PER_LONG - shift),
						    batch);
	}
	spin_unlock(&mem->lock);
}

static int log_get_locked(struct lodge_memory *mem, const struct kvm_dirty_log *log)
{
	struct lodge_s2_batch batch = { .may_sleep = true };
	unsigned long words[CHUNK_WORDS];
	struct lodge_slots *slots;
	struct lodge_slot *slot;
	unsigned long i, nr, total;
	int ret = 0;

	slots = rcu_dereference_protected(mem->slots, lockdep_is_held(&mem->slots_lock));
	slot = lodge_slot_by_id(slots, log->slot);
	if (!slot || !slot->dirty)
		return -ENOENT;

	/*
	 * A page that is written through a translation not yet flushed has its bit taken
	 * here, and its contents are there when the flush is over and the ioctl returns.
	 */
	total = BITS_TO_LONGS(slot->npages);
	for (i = 0; i < total; i += nr) {
		nr = min_t(unsigned long, total - i, CHUNK_WORDS);
		take_words(mem, slot, i, nr, words, &batch);
		if (copy_to_user((unsigned long __user *)log->dirty_bitmap + i, words,
				 nr * sizeof(words[0]))) {
			ret = -EFAULT;
			break;
		}
		cond_resched();
	}
	spin_lock(&mem->lock);
	lodge_stage2_unlock(mem, &batch);
	return ret;
}

int lodge_dirty_log_get(struct lodge_vm *vm, const struct kvm_dirty_log *log)
{
	struct lodge_memory *mem = &vm->mem;
	int ret;

	if (log->slot >= LODGE_MAX_SLOTS)
		return -EINVAL;
	mutex_lock(&mem->slots_lock);
	ret = log_get_locked(mem, log);
	mutex_unlock(&mem->slots_lock);
	return ret;
}
