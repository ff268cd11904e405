// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the dirty log: one bit for each page of a slot with KVM_MEM_LOG_DIRTY_PAGES, set
 * by faults (stage2.c) and by the kernel's writes (guest_access.c), and taken by
 * KVM_GET_DIRTY_LOG, or shown by that and cleared by KVM_CLEAR_DIRTY_LOG. (Or instead an
 * entry in a ring: dirty_ring.c.) Bits change by atomic operations; a bit is cleared under
 * mem->lock together with the write permission of its page. So a page that may be written
 * without a fault has its bit set.
 *
 * Where the CPU notes what it writes (lodge_cpu_logs()), the dirty bit of the stage-2 entry
 * takes the place of that permission: a page that may be written without a note has its
 * bit set, or will when the window ends in which it was noted.
 */
#include <linux/bitmap.h>
#include <linux/kvm.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kernel_compat.h"
#include "backend.h"
#include "stage2.h"
#include "vcpu.h"
#include "vm.h"

/* Words of the bitmap in one stretch under the lock: 2,048 pages. */
#define CHUNK_WORDS	32

/* Pages of a slot in one stretch under the lock. */
#define CHUNK_PAGES	(16 * lodge_s2_pages(2))

static bool all_dirty_at_first(const struct lodge_memory *mem)
{
	return mem->manual_log & KVM_DIRTY_LOG_INITIALLY_SET && !READ_ONCE(mem->ring_bytes);
}

int lodge_dirty_log_manual(struct lodge_vm *vm, u64 flags)
{
	struct lodge_memory *mem = &vm->mem;

	/* KVM_DIRTY_LOG_INITIALLY_SET means nothing alone. */
	if (flags & ~LODGE_MANUAL_LOG || flags == KVM_DIRTY_LOG_INITIALLY_SET)
		return -EINVAL;
	mutex_lock(&mem->slots_lock);
	mem->manual_log = flags;
	mutex_unlock(&mem->slots_lock);
	return 0;
}

struct lodge_dirty *lodge_dirty_alloc(struct lodge_memory *mem, u64 npages)
{
	struct lodge_dirty *dirty;

	dirty = kvzalloc(struct_size(dirty, bits, BITS_TO_LONGS(npages)), GFP_KERNEL_ACCOUNT);
	if (dirty && all_dirty_at_first(mem))
		bitmap_set(dirty->bits, 0, npages);
	return dirty;
}

void lodge_dirty_log_begin(struct lodge_memory *mem, const struct lodge_slot *slot)
{
	struct lodge_s2_batch batch = { .may_sleep = true };
	u64 gfn = slot->base_gfn, end = gfn + slot->npages;

	/* Then a page is protected when its bit is cleared. */
	if (all_dirty_at_first(mem))
		return;
	spin_lock(&mem->lock);
	while (gfn < end) {
		u64 next = min(end, (gfn | (CHUNK_PAGES - 1)) + 1);

		lodge_stage2_protect_range(mem, gfn, next, &batch);
		lodge_stage2_cond_resched(mem, &batch);
		gfn = next;
	}
	lodge_stage2_unlock(mem, &batch);
}

/*
 * What was split for the log, and could be a large leaf again, is removed; the next fault
 * brings it back large. The rest only lacks the right to write, which a fault gives back.
 */
void lodge_dirty_log_end(struct lodge_memory *mem, const struct lodge_slot *slot)
{
	struct lodge_s2_batch batch = { .may_sleep = true };
	u64 gfn = slot->base_gfn, end = gfn + slot->npages;

	spin_lock(&mem->lock);
	while (gfn < end) {
		unsigned int level = lodge_host_leaf_level(slot, gfn);
		u64 first = gfn & ~(lodge_s2_pages(level) - 1);

		if (level > 1 && lodge_stage2_is_split(mem, first, level))
			lodge_stage2_zap_range(mem, first, first + lodge_s2_pages(level), &batch);
		gfn = first + lodge_s2_pages(max(level, 2u));
		gfn &= ~(lodge_s2_pages(2) - 1);
		lodge_stage2_cond_resched(mem, &batch);
	}
	lodge_stage2_unlock(mem, &batch);
}

void lodge_dirty_mark(struct lodge_vcpu *vcpu, const struct lodge_slot *slot, u64 gfn)
{
	struct lodge_dirty *dirty;
	u64 n;

	if (!lodge_slot_logs(slot))
		return;
	n = array_index_nospec(gfn - slot->base_gfn, slot->npages);
	if (vcpu->ring.size) {
		lodge_ring_push(vcpu, slot, n);
		return;
	}
	/*
	 * Most writes go to a page that is dirty already: spare its cache line. But what the
	 * kernel has just written must not still be on its way when the bit is found set: who
	 * clears it at that moment copies the page without.
	 */
	smp_mb();
	rcu_read_lock();
	dirty = rcu_dereference(slot->dirty);
	if (dirty && !test_bit(n, dirty->bits))
		set_bit(n, dirty->bits);
	rcu_read_unlock();
}

bool lodge_cpu_logs(const struct lodge_memory *mem)
{
	return lodge_backend->stage2.logs && !READ_ONCE(mem->ring_bytes);
}

/*
 * Here RCU keeps the slot; its bitmap stays because whoever takes it away waits for all
 * windows (wait_for_accesses()).
 */
void lodge_dirty_logged(struct lodge_vcpu *vcpu, const u64 *gpas, unsigned int nr)
{
	const struct lodge_slot *slot, *leaving;
	unsigned int i;

	rcu_read_lock();
	for (i = 0; i < nr; i++) {
		u64 gfn = gpas[i] >> PAGE_SHIFT;

		slot = lodge_slot_find(&vcpu->vm->mem, gfn, &vcpu->slot_hint);
		if (slot)
			lodge_dirty_mark(vcpu, slot, gfn);
		/*
		 * The write may have been to a slot that has just moved away from here. Who does
		 * not find it there any more sees it here: swap_slots().
		 */
		smp_rmb();
		leaving = READ_ONCE(vcpu->vm->mem.leaving);
		if (unlikely(leaving) && gfn - leaving->base_gfn < leaving->npages)
			lodge_dirty_mark(vcpu, leaving, gfn);
	}
	rcu_read_unlock();
}

/*
 * The pages of @mask, which belongs to word @i of the bitmap, are protected again. Their
 * bits were cleared before: if the lock is dropped meanwhile for a table, a page that is
 * written gets its bit again, or is still in the answer that the caller is about to give.
 */
void lodge_dirty_protect_word(struct lodge_memory *mem, const struct lodge_slot *slot, u64 i,
			      unsigned long mask, struct lodge_s2_batch *batch)
{
	unsigned int shift = slot->base_gfn % BITS_PER_LONG;
	u64 gfn = slot->base_gfn - shift + i * BITS_PER_LONG;

	/* Two aligned groups of 64 where the slot does not begin at a multiple of 64. */
	lodge_stage2_protect_mask(mem, gfn, mask << shift, batch);
	if (shift)
		lodge_stage2_protect_mask(mem, gfn + BITS_PER_LONG,
					  mask >> (BITS_PER_LONG - shift), batch);
}

static unsigned long *bitmap_of(struct lodge_memory *mem, const struct lodge_slot *slot)
{
	return rcu_dereference_protected(slot->dirty, lockdep_is_held(&mem->slots_lock))->bits;
}

/*
 * Takes out of the bitmap what is set in @words, which stand from bitmap word @first on,
 * and leaves in them what was set in both.
 */
static void take_words(struct lodge_memory *mem, const struct lodge_slot *slot,
		       unsigned long first, unsigned long nr, unsigned long *words,
		       struct lodge_s2_batch *batch)
{
	unsigned long *bits = bitmap_of(mem, slot);
	unsigned long i;

	spin_lock(&mem->lock);
	for (i = 0; i < nr; i++) {
		atomic_long_t *word = (atomic_long_t *)&bits[first + i];

		words[i] &= atomic_long_read(word);
		if (!words[i])
			continue;
		words[i] &= atomic_long_fetch_andnot(words[i], word);
		lodge_dirty_protect_word(mem, slot, first + i, words[i], batch);
	}
	spin_unlock(&mem->lock);
}

/* What is set in the bitmap, which is left as it is. */
static void show_words(struct lodge_memory *mem, const struct lodge_slot *slot,
		       unsigned long first, unsigned long nr, unsigned long *words)
{
	const unsigned long *bits = bitmap_of(mem, slot);
	unsigned long i;

	for (i = 0; i < nr; i++)
		words[i] = READ_ONCE(bits[first + i]);
}

/* The slot of a log with a bitmap, or an errno. Needs slots_lock. */
static const struct lodge_slot *find_log(struct lodge_memory *mem, u32 id)
{
	const struct lodge_slot *slot;

	/* Rings stand in for all bitmaps, those of slots that were there before included. */
	if (READ_ONCE(mem->ring_bytes))
		return ERR_PTR(-ENXIO);
	/* Bits 16 and up choose an address space; there is one. */
	if (id >= LODGE_MAX_SLOTS)
		return ERR_PTR(-EINVAL);
	slot = lodge_slot_by_id(mem, id);
	return slot && rcu_access_pointer(slot->dirty) ? slot : ERR_PTR(-ENOENT);
}

/* A page that is written in the meantime is dirty in the copy, or stays so for the next. */
static int log_get_locked(struct lodge_memory *mem, const struct kvm_dirty_log *log)
{
	struct lodge_s2_batch batch = { .may_sleep = true };
	const struct lodge_slot *slot = find_log(mem, log->slot);
	unsigned long __user *user = log->dirty_bitmap;
	unsigned long words[CHUNK_WORDS];
	unsigned long i, nr, total;
	int ret = 0;

	if (IS_ERR(slot))
		return PTR_ERR(slot);
	total = BITS_TO_LONGS(slot->npages);
	/* What is taken out of the log must not get lost on the way. */
	if (fault_in_writeable((char __user *)user, total * sizeof(*user)))
		return -EFAULT;
	/*
	 * A page that is written through a translation not yet flushed has its bit taken
	 * here, and its contents are there when the flush is over and the ioctl returns.
	 */
	/* What the CPUs have noted so far. */
	if (lodge_cpu_logs(mem))
		lodge_kick_all_and_wait(container_of(mem, struct lodge_vm, mem));
	for (i = 0; i < total && !ret; i += nr) {
		nr = min_t(unsigned long, total - i, CHUNK_WORDS);
		if (mem->manual_log) {
			show_words(mem, slot, i, nr, words);
		} else {
			memset(words, 0xff, sizeof(words));
			take_words(mem, slot, i, nr, words, &batch);
		}
		if (copy_to_user(user + i, words, nr * sizeof(*user)))
			ret = -EFAULT;
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

	if (mutex_lock_killable(&mem->slots_lock))
		return -EINTR;
	ret = log_get_locked(mem, log);
	mutex_unlock(&mem->slots_lock);
	return ret;
}

static int log_clear_locked(struct lodge_memory *mem, const struct kvm_clear_dirty_log *log)
{
	struct lodge_s2_batch batch = { .may_sleep = true };
	const struct lodge_slot *slot = find_log(mem, log->slot);
	unsigned long __user *user = log->dirty_bitmap;
	unsigned long words[CHUNK_WORDS];
	unsigned long i, nr, total, first;
	int ret = 0;

	/* KVM's order: a crooked first page before a slot that is not there. */
	if (log->first_page % BITS_PER_LONG && PTR_ERR_OR_ZERO(slot) != -ENXIO)
		return -EINVAL;
	if (IS_ERR(slot))
		return PTR_ERR(slot);
	/* The count may be crooked only where the slot ends. */
	if (log->first_page > slot->npages || log->num_pages > slot->npages - log->first_page ||
	    (log->num_pages % BITS_PER_LONG && log->num_pages < slot->npages - log->first_page))
		return -EINVAL;

	first = array_index_nospec(log->first_page, slot->npages + 1) / BITS_PER_LONG;
	total = BITS_TO_LONGS(log->num_pages);
	if (fault_in_readable((char __user *)user, total * sizeof(*user)))
		return -EFAULT;
	for (i = 0; i < total && !ret; i += nr) {
		nr = min_t(unsigned long, total - i, CHUNK_WORDS);
		if (copy_from_user(words, user + i, nr * sizeof(*user)))
			ret = -EFAULT;
		else
			take_words(mem, slot, first + i, nr, words, &batch);
		cond_resched();
	}
	/* Who copies a page after this finds what was written before its bit was cleared. */
	spin_lock(&mem->lock);
	lodge_stage2_unlock(mem, &batch);
	return ret;
}

int lodge_dirty_log_clear(struct lodge_vm *vm, const struct kvm_clear_dirty_log *log)
{
	struct lodge_memory *mem = &vm->mem;
	int ret;

	if (mutex_lock_killable(&mem->slots_lock))
		return -EINTR;
	ret = log_clear_locked(mem, log);
	mutex_unlock(&mem->slots_lock);
	return ret;
}
