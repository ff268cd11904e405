// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the stage-2 tables: a radix tree of four levels whose entries have the backend's
 * format. Called by fault.c to map, by notifier.c, slots.c and dirty.c to take away.
 * Guarded by mem->lock. The CPU walks the tables at any time and sets accessed and dirty
 * bits in them, so entries change by one atomic store or exchange, and a table is freed
 * only when no CPU can be walking it any more.
 */
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/mem_encrypt.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include "backend.h"
#include "kernel_compat.h"
#include "stage2.h"
#include "vcpu.h"
#include "vm.h"

#define S2_ENTRIES	512
#define S2_ADDRESS	GENMASK_ULL(51, 12)

/*
 * A bit that both vendors leave to software, on a leaf that only the dirty log keeps
 * from being writable: the host page behind it is writable, and dirty for the host.
 */
#define S2_HOST_WRITABLE	BIT_ULL(52)

static inline const struct lodge_stage2_format *s2_format(void)
{
	return &lodge_backend->stage2;
}

static inline bool s2_present(u64 entry)
{
	return entry & s2_format()->present;
}

static inline bool s2_is_leaf(u64 entry, unsigned int level)
{
	return level == 1 || entry & s2_format()->large;
}

static inline u64 *s2_entry(u64 *table, u64 gfn, unsigned int level)
{
	return &table[(gfn >> (9 * (level - 1))) % S2_ENTRIES];
}

static inline phys_addr_t s2_address(u64 entry)
{
	return __sme_clr(entry) & S2_ADDRESS;
}

static inline u64 *s2_table(u64 entry)
{
	return __va(s2_address(entry));
}

static u64 s2_make_table(struct page *table)
{
	return s2_format()->present | s2_format()->table | __sme_set(page_to_phys(table));
}

static u64 s2_make_leaf(const struct lodge_s2_leaf *leaf, unsigned int level)
{
	const struct lodge_stage2_format *format = s2_format();
	u64 pa = (leaf->pfn & ~(lodge_s2_pages(level) - 1)) << PAGE_SHIFT;
	u64 entry = format->present | format->leaf | format->accessed;

	if (level > 1)
		entry = (entry & ~format->small_only) | format->large;
	/* With the dirty bit set beforehand the CPU need not come back to set it. */
	if (leaf->writable)
		entry |= format->writable | (leaf->clean ? 0 : format->dirty);
	if (leaf->host_writable)
		entry |= S2_HOST_WRITABLE;
	if (leaf->ram)
		return entry | format->memtype_wb | __sme_set(pa);
	return entry | format->memtype_uc | pa;
}

/* Clears @bits while the CPU may set others; the old value. */
static u64 s2_clear(u64 *entry, u64 bits)
{
	u64 old = READ_ONCE(*entry);

	do {
		if (!(old & bits))
			break;
	} while (!try_cmpxchg(entry, &old, old & ~bits));
	return old;
}

static void s2_set(u64 *entry, u64 bits)
{
	u64 old = READ_ONCE(*entry);

	while (!try_cmpxchg(entry, &old, old | bits))
		;
}

static struct page *alloc_table(void)
{
	return alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
}

static void free_table(struct page *table)
{
	set_page_private(table, 0);
	__free_page(table);
}

/* From now on whoever finds nothing to remove waits for the flush, or does it. */
static void announce(struct lodge_memory *mem, const struct lodge_s2_batch *batch)
{
	if (batch->flush)
		WRITE_ONCE(mem->flush_gen, mem->flush_gen + 1);
}

void lodge_stage2_cond_resched(struct lodge_memory *mem, struct lodge_s2_batch *batch)
{
	if (!need_resched() && !spin_is_contended(&mem->lock))
		return;
	announce(mem, batch);
	spin_unlock(&mem->lock);
	cond_resched();
	spin_lock(&mem->lock);
}

bool lodge_stage2_refill(struct lodge_memory *mem, struct lodge_s2_batch *batch)
{
	announce(mem, batch);
	spin_unlock(&mem->lock);
	batch->spare = alloc_table();
	batch->starved = !batch->spare;
	spin_lock(&mem->lock);
	return batch->spare;
}

/*
 * Detached tables form a list through page->private, with the table's level in the low
 * bits: their contents belong to the CPUs until the flush.
 */
static void batch_add(struct lodge_s2_batch *batch, u64 entry, unsigned int level)
{
	struct page *table = pfn_to_page(s2_address(entry) >> PAGE_SHIFT);

	set_page_private(table, (unsigned long)batch->tables | level);
	batch->tables = table;
	batch->flush = true;
}

static void free_subtree(struct page *page, unsigned int level, bool may_sleep)
{
	u64 *table = page_address(page);
	unsigned int i;

	for (i = 0; level > 1 && i < S2_ENTRIES; i++) {
		if (!s2_present(table[i]) || s2_is_leaf(table[i], level))
			continue;
		free_subtree(pfn_to_page(s2_address(table[i]) >> PAGE_SHIFT), level - 1,
			     may_sleep);
		if (may_sleep)
			cond_resched();
	}
	free_table(page);
}

static void batch_free(struct lodge_s2_batch *batch)
{
	while (batch->tables) {
		struct page *table = batch->tables;
		unsigned long link = page_private(table);

		BUILD_BUG_ON(__alignof__(struct page) <= LODGE_S2_ROOT_LEVEL);
		batch->tables = (struct page *)(link & ~7ul);
		free_subtree(table, link & 7, batch->may_sleep);
	}
}

/* Waits until no vCPU uses what was removed up to generation @gen. */
static void flush_and_free(struct lodge_memory *mem, u64 gen, struct lodge_s2_batch *batch)
{
	/* Pairs with the barrier between a vCPU's setting its mode and reading flush_gen. */
	smp_mb();
	lodge_kick_all_and_wait(container_of(mem, struct lodge_vm, mem));

	spin_lock(&mem->lock);
	mem->flush_done = max(mem->flush_done, gen);
	mem->nr_flushes++;
	spin_unlock(&mem->lock);
	batch_free(batch);
}

void lodge_stage2_unlock(struct lodge_memory *mem, struct lodge_s2_batch *batch)
	__releases(&mem->lock)
{
	bool pending;
	u64 gen;

	announce(mem, batch);
	/*
	 * A caller that removed nothing itself may rely on a removal whose interrupts are
	 * still on their way: it must not tell the memory manager that the page is free.
	 */
	gen = mem->flush_gen;
	pending = mem->flush_done != gen;
	spin_unlock(&mem->lock);
	if (unlikely(pending))
		flush_and_free(mem, gen, batch);
	if (batch->spare)
		free_table(batch->spare);
}

/*
 * Puts the spare table in place of the large leaf *entry, with the same translations and
 * rights but for @deny. The CPU may set the accessed bit in between: that may get lost.
 */
static void split_leaf(u64 *entry, unsigned int level, u64 deny, struct lodge_s2_batch *batch)
{
	struct page *page = batch->spare;
	u64 *table = page_address(page);
	u64 part = READ_ONCE(*entry) & ~deny;
	unsigned int i;

	batch->spare = NULL;
	batch->flush = true;
	if (level == 2)
		part = (part & ~s2_format()->large) | s2_format()->small_only;
	for (i = 0; i < S2_ENTRIES; i++)
		table[i] = part + i * (lodge_s2_pages(level - 1) << PAGE_SHIFT);
	/* The CPU that walks must not find the table before its contents. */
	smp_store_release(entry, s2_make_table(page));
}

int lodge_stage2_map(struct lodge_memory *mem, const struct lodge_s2_leaf *leaf,
		     struct lodge_s2_batch *batch)
{
	unsigned int level = LODGE_S2_ROOT_LEVEL;
	u64 *table = mem->root, *entry, old, new;

	for (;; level--) {
		entry = s2_entry(table, leaf->gfn, level);
		old = READ_ONCE(*entry);
		/* A table stays even where a large leaf could be: zapping removes it. */
		if (level <= leaf->level && (!s2_present(old) || s2_is_leaf(old, level)))
			break;
		if (!s2_present(old) || s2_is_leaf(old, level)) {
			if (!batch->spare)
				return -EAGAIN;
			if (s2_present(old)) {
				split_leaf(entry, level, 0, batch);
			} else {
				/* Zeroes first, as above. */
				smp_store_release(entry, s2_make_table(batch->spare));
				batch->spare = NULL;
			}
		}
		table = s2_table(READ_ONCE(*entry));
	}

	new = s2_make_leaf(leaf, level);
	if (s2_present(old) && s2_address(old) == s2_address(new)) {
		/* Another vCPU was faster, and its CPU may be setting the dirty bit right now. */
		s2_set(entry, new);
		return 0;
	}
	batch->flush |= s2_present(old);
	WRITE_ONCE(*entry, new);
	return 0;
}

/* The leaf that translates @gfn and its level, or NULL. */
static u64 *find_leaf(struct lodge_memory *mem, u64 gfn, unsigned int *leaf_level)
{
	unsigned int level = LODGE_S2_ROOT_LEVEL;
	u64 *table = mem->root;

	for (;; level--) {
		u64 *entry = s2_entry(table, gfn, level);
		u64 value = READ_ONCE(*entry);

		if (!s2_present(value))
			return NULL;
		if (s2_is_leaf(value, level)) {
			*leaf_level = level;
			return entry;
		}
		table = s2_table(value);
	}
}

unsigned int lodge_stage2_level(struct lodge_memory *mem, u64 gfn)
{
	unsigned int level;

	return find_leaf(mem, gfn, &level) ? level : 0;
}

bool lodge_stage2_fix(struct lodge_memory *mem, struct lodge_vcpu *vcpu, u64 gfn, u32 access)
{
	const struct lodge_stage2_format *format = s2_format();
	const struct lodge_slot *slot;
	unsigned int level;
	u64 *entry;

	if (gfn >= LODGE_S2_END_GFN)
		return false;
	entry = find_leaf(mem, gfn, &level);
	if (!entry)
		return false;
	if (unlikely(access & LODGE_ACCESS_EXEC) && level > 1 && format->small_only)
		return false;
	if (!(access & LODGE_ACCESS_WRITE) || READ_ONCE(*entry) & format->writable)
		return true;
	if (!(READ_ONCE(*entry) & S2_HOST_WRITABLE))
		return false;

	slot = lodge_slot_find(mem, gfn, &vcpu->slot_hint);
	if (!slot || lodge_slot_readonly(slot))
		return false;
	if (lodge_slot_logs(slot)) {
		if (level > 1 || !lodge_ring_has_room(vcpu))
			return false;
		lodge_dirty_mark(vcpu, slot, gfn);
	}
	s2_set(entry, format->writable | format->dirty | format->accessed);
	return true;
}

/* A walk over what is present in a range of gfns. */
struct walk {
	u64 next, end;		/* still to be visited */
	bool whole;		/* stop at tables whose reach is wholly in the range, too */
	u64 *table;		/* has the entry of next; NULL: begin at the root */
	unsigned int level;	/* of that table, and of entry */
	u64 *entry, old;	/* where the walk stopped */
};

/* Goes on to the next leaf, or table with whole; false at the end. */
static bool walk_step(struct lodge_memory *mem, struct walk *w)
{
	while (w->next < w->end) {
		u64 gfn = w->next, span;

		if (!w->table || gfn % lodge_s2_pages(w->level + 1) == 0) {
			w->level = LODGE_S2_ROOT_LEVEL;
			w->table = mem->root;
		}
		for (;; w->level--) {
			w->entry = s2_entry(w->table, gfn, w->level);
			w->old = READ_ONCE(*w->entry);
			span = lodge_s2_pages(w->level);
			w->next = min(w->end, (gfn | (span - 1)) + 1);
			if (!s2_present(w->old))
				break;
			if (s2_is_leaf(w->old, w->level) || (w->whole && w->next - gfn == span))
				return true;
			w->table = s2_table(w->old);
		}
	}
	return false;
}

void lodge_stage2_zap_range(struct lodge_memory *mem, u64 start, u64 end,
			    struct lodge_s2_batch *batch)
{
	struct walk w = { .next = start, .end = end, .whole = true };

	while (walk_step(mem, &w)) {
		/* A part of a large leaf: the rest comes back by faults. */
		WRITE_ONCE(*w.entry, 0);
		if (s2_is_leaf(w.old, w.level))
			batch->flush = true;
		else
			batch_add(batch, w.old, w.level - 1);
	}
}

bool lodge_stage2_young(struct lodge_memory *mem, u64 start, u64 end, bool clear)
{
	struct walk w = { .next = start, .end = end };
	u64 accessed = s2_format()->accessed;
	bool young = false;

	while (walk_step(mem, &w) && !(young && !clear))
		young |= !!((clear ? s2_clear(w.entry, accessed) : w.old) & accessed);
	return young;
}

/* What an entry must lack so that a first write does not go unnoticed. */
static u64 guard_of(const struct lodge_memory *mem)
{
	return lodge_cpu_logs(mem) ? s2_format()->dirty : s2_format()->writable;
}

void lodge_stage2_protect_range(struct lodge_memory *mem, u64 start, u64 end,
				struct lodge_s2_batch *batch)
{
	const u64 writable = s2_format()->writable, guard = guard_of(mem);
	struct walk w = { .next = start, .end = end };
	u64 gfn = start, deny;

	while (walk_step(mem, &w)) {
		if (w.level > 1 && !batch->spare && !batch->starved) {
			/* Drops the lock: the same place again, with a table or without. */
			lodge_stage2_refill(mem, batch);
			w.next = gfn;
			w.table = NULL;
			continue;
		}
		if (w.level > 1 && batch->spare) {
			split_leaf(w.entry, w.level, guard, batch);
			if (w.level > 2)
				w.next = gfn;	/* the parts, too */
		} else {
			deny = w.level > 1 ? writable : guard;
			if (s2_clear(w.entry, deny) & deny)
				batch->flush = true;
		}
		gfn = w.next;
	}
}

void lodge_stage2_protect_mask(struct lodge_memory *mem, u64 gfn, unsigned long mask,
			       struct lodge_s2_batch *batch)
{
	const u64 writable = s2_format()->writable, guard = guard_of(mem);
	/* All 64 are in one table. */
	struct walk w = { .next = gfn, .end = gfn + BITS_PER_LONG };
	unsigned int n;

	while (mask && walk_step(mem, &w)) {
		if (w.level == 1) {
			u64 *first = s2_entry(w.table, gfn, 1);

			for_each_set_bit(n, &mask, BITS_PER_LONG)
				if (s2_clear(&first[n], guard) & guard)
					batch->flush = true;
			return;
		}
		/* A large leaf that was writable when the log began with all pages dirty. */
		if (!(w.old & writable))
			return;
		if (batch->spare) {
			split_leaf(w.entry, w.level, 0, batch);
		} else if (!batch->starved) {
			lodge_stage2_refill(mem, batch);
		} else {
			s2_clear(w.entry, writable);
			batch->flush = true;
			return;
		}
		w.next = gfn;
		w.table = NULL;
	}
}

void lodge_count_leaves(struct lodge_vm *vm, u64 leaves[3])
{
	/* In one stretch under the lock: what fits a table of level 2, full or empty. */
	const u64 chunk = lodge_s2_pages(3), end = lodge_stage2_end_gfn();
	struct lodge_memory *mem = &vm->mem;
	struct lodge_s2_batch batch = {};
	u64 gfn;

	memset(leaves, 0, 3 * sizeof(leaves[0]));
	spin_lock(&mem->lock);
	for (gfn = 0; gfn < end; gfn += chunk) {
		struct walk w = { .next = gfn, .end = gfn + chunk };

		while (walk_step(mem, &w))
			leaves[w.level - 1]++;
		lodge_stage2_cond_resched(mem, &batch);
	}
	spin_unlock(&mem->lock);
}

bool lodge_stage2_is_split(struct lodge_memory *mem, u64 gfn, unsigned int level)
{
	struct walk w = { .next = gfn, .end = gfn + lodge_s2_pages(level), .whole = true };

	return walk_step(mem, &w) && w.level == level && !s2_is_leaf(w.old, level);
}

/* A slot must be within the CPU's physical addresses and the reach of four levels. */
u64 lodge_stage2_end_gfn(void)
{
	unsigned int bits = min_t(unsigned int, boot_cpu_data.x86_phys_bits,
				  LODGE_S2_GPA_BITS);

	return 1ull << (bits - PAGE_SHIFT);
}

int lodge_stage2_init(struct lodge_memory *mem)
{
	struct page *root = alloc_table();
	struct page *top;

	if (!root)
		return -ENOMEM;
	mem->root = page_address(root);
	mem->root_pa = __sme_set(page_to_phys(root));
	if (!s2_format()->host_levels || !pgtable_l5_enabled())
		return 0;

	/* Guest-physical addresses need four: the fifth has one entry. */
	top = alloc_table();
	if (!top) {
		free_table(root);
		return -ENOMEM;
	}
	mem->fifth = page_address(top);
	mem->fifth[0] = s2_make_table(root);
	mem->root_pa = __sme_set(page_to_phys(top));
	return 0;
}

void lodge_stage2_destroy(struct lodge_memory *mem)
{
	free_subtree(virt_to_page(mem->root), LODGE_S2_ROOT_LEVEL, true);
	mem->root = NULL;
	if (mem->fifth)
		free_table(virt_to_page(mem->fifth));
	mem->fifth = NULL;
}
