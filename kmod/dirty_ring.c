// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the dirty rings, the other form of the dirty log. A vCPU pushes an entry when a
 * page becomes writable (stage2.c) or the kernel writes it for the vCPU (guest_access.c);
 * user space marks what it has collected; KVM_RESET_DIRTY_RINGS takes those entries back
 * and protects their pages, before user space copies them. A vCPU pushes under its mutex;
 * resets take turns by slots_lock. Nothing that user space wrote into a ring is trusted.
 */
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/sched.h>
#include <linux/vmalloc.h>

#include "kernel_compat.h"
#include "stage2.h"
#include "vcpu.h"
#include "vm.h"

/*
 * Entries that are kept free when a vCPU must leave: for what one exit may yet write
 * before that. KVM's number, and so part of what user space sees.
 */
#define RESERVED	64

int lodge_ring_enable(struct lodge_vm *vm, u32 bytes)
{
	int ret = 0;

	static_assert(RESERVED * sizeof(struct kvm_dirty_gfn) < PAGE_SIZE);
	if (!is_power_of_2(bytes) || bytes < PAGE_SIZE)
		return -EINVAL;
	if (bytes > LODGE_RING_MAX_BYTES)
		return -E2BIG;

	mutex_lock(&vm->lock);
	if (vm->mem.ring_bytes || vm->nr_vcpus)
		ret = -EINVAL;
	else
		WRITE_ONCE(vm->mem.ring_bytes, bytes);
	mutex_unlock(&vm->lock);
	return ret;
}

int lodge_ring_create(struct lodge_vcpu *vcpu)
{
	u32 bytes = vcpu->vm->mem.ring_bytes;

	if (!bytes)
		return 0;
	vcpu->ring.entries = __vmalloc(bytes, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!vcpu->ring.entries)
		return -ENOMEM;
	vcpu->ring.size = bytes / sizeof(struct kvm_dirty_gfn);
	return 0;
}

void lodge_ring_destroy(struct lodge_vcpu *vcpu)
{
	/* Pages that are still mapped have a reference each. */
	vfree(vcpu->ring.entries);
}

struct page *lodge_ring_page(struct lodge_vcpu *vcpu, unsigned long pgoff)
{
	unsigned long pages = vcpu->ring.size * sizeof(struct kvm_dirty_gfn) >> PAGE_SHIFT;

	if (pgoff >= pages)
		return NULL;
	pgoff = array_index_nospec(pgoff, pages);
	return vmalloc_to_page((void *)vcpu->ring.entries + (pgoff << PAGE_SHIFT));
}

static u32 used(const struct lodge_ring *ring)
{
	return ring->pushed - READ_ONCE(ring->reset);
}

static bool soft_full(const struct lodge_ring *ring)
{
	return used(ring) >= ring->size - RESERVED;
}

bool lodge_ring_has_room(struct lodge_vcpu *vcpu)
{
	return !vcpu->ring.size || used(&vcpu->ring) < vcpu->ring.size;
}

void lodge_ring_push(struct lodge_vcpu *vcpu, const struct lodge_slot *slot, u64 offset)
{
	struct lodge_ring *ring = &vcpu->ring;
	struct kvm_dirty_gfn *entry = &ring->entries[ring->pushed & (ring->size - 1)];

	/*
	 * User space copies a page after the reset of its entry. As long as that has not
	 * begun one entry tells of all writes: the kernel often writes the same page again.
	 * The write comes before the look at reset; pairs with lodge_rings_reset().
	 */
	smp_mb();
	if (used(ring) && ring->last.slot == slot->id && ring->last.offset == offset)
		return;

	ring->last.slot = slot->id;
	ring->last.offset = offset;
	WRITE_ONCE(entry->slot, slot->id);
	WRITE_ONCE(entry->offset, offset);
	WRITE_ONCE(ring->pushed, ring->pushed + 1);
	/*
	 * User space reads the entry when it has seen the flag. Whatever it has collected by
	 * then, a reset takes back: the count comes before the flag.
	 */
	smp_store_release(&entry->flags, KVM_DIRTY_GFN_F_DIRTY);
	if (soft_full(ring))
		lodge_make_request(vcpu, LODGE_REQ_RING_FULL);
}

bool lodge_ring_must_exit(struct lodge_vcpu *vcpu)
{
	if (soft_full(&vcpu->ring))
		return true;
	lodge_take_request(vcpu, LODGE_REQ_RING_FULL);
	return false;
}

/* Pages of one word of a slot's bitmap, if there were one. */
struct group {
	u32 slot;
	u64 word;
	unsigned long mask;
};

/* What user space claims to be a page may be anything by now. */
static void protect_group(struct lodge_memory *mem, const struct group *g,
			  struct lodge_s2_batch *batch)
{
	const struct lodge_slot *slot;

	if (!g->mask || g->slot >= LODGE_MAX_SLOTS)
		return;
	slot = lodge_slot_by_id(mem, g->slot);
	if (!slot || !lodge_slot_logs(slot) ||
	    g->word > slot->npages / BITS_PER_LONG ||
	    g->word * BITS_PER_LONG + __fls(g->mask) >= slot->npages)
		return;
	spin_lock(&mem->lock);
	lodge_dirty_protect_word(mem, slot, g->word, g->mask, batch);
	spin_unlock(&mem->lock);
}

static int reset_ring(struct lodge_memory *mem, struct lodge_ring *ring,
		      struct lodge_s2_batch *batch)
{
	/* No further than what was pushed, whatever the flags say. */
	u32 end = READ_ONCE(ring->pushed);
	struct group g = {};
	int count = 0;

	for (; ring->reset != end; count++) {
		struct kvm_dirty_gfn *entry = &ring->entries[ring->reset & (ring->size - 1)];
		u64 offset;
		u32 slot;

		/* Slot and offset are read after that. */
		if (!(smp_load_acquire(&entry->flags) & KVM_DIRTY_GFN_F_RESET))
			break;
		slot = READ_ONCE(entry->slot);
		offset = READ_ONCE(entry->offset);
		/* From here on the vCPU may use the entry again. */
		WRITE_ONCE(entry->flags, 0);
		/* After the last look at it. */
		smp_store_release(&ring->reset, ring->reset + 1);

		if (slot != g.slot || offset / BITS_PER_LONG != g.word) {
			protect_group(mem, &g, batch);
			g = (struct group){ .slot = slot, .word = offset / BITS_PER_LONG };
		}
		__set_bit(offset % BITS_PER_LONG, &g.mask);
		cond_resched();
	}
	protect_group(mem, &g, batch);
	return count;
}

int lodge_rings_reset(struct lodge_vm *vm)
{
	struct lodge_s2_batch batch = { .may_sleep = true };
	struct lodge_memory *mem = &vm->mem;
	struct lodge_vcpu *vcpu;
	int count = 0;

	if (!READ_ONCE(mem->ring_bytes))
		return -EINVAL;
	if (mutex_lock_killable(&mem->slots_lock))
		return -EINTR;
	lodge_for_each_vcpu(vcpu, vm)
		count += reset_ring(mem, &vcpu->ring, &batch);
	/* What was written through a translation that goes away is in memory after that. */
	spin_lock(&mem->lock);
	lodge_stage2_unlock(mem, &batch);
	/* And what the kernel wrote without a new entry: pairs with lodge_ring_push(). */
	smp_mb();
	mutex_unlock(&mem->slots_lock);
	return count;
}
