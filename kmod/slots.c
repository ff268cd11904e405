// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the memory slots of a VM: which user memory is behind which guest frames.
 * Called by vm.c for the ioctls and by everything that turns a gfn into an hva.
 * Changes are made under slots_lock; readers use RCU or hold mem->lock.
 */
#include <linux/kvm.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kernel_compat.h"
#include "stage2.h"
#include "vm.h"

/* KVM's limit for one slot: the dirty bitmap's index fits an int. */
#define MAX_SLOT_PAGES		((1ul << 31) - 1)

static struct lodge_slots *slots_alloc(unsigned int nr)
{
	struct lodge_slots *slots;

	slots = kvzalloc(struct_size(slots, slot, nr) +
			 nr * (sizeof(*slots->by_hva) + sizeof(*slots->hva_end)),
			 GFP_KERNEL_ACCOUNT);
	if (!slots)
		return NULL;
	slots->nr = nr;
	slots->by_hva = slots->slot + nr;
	slots->hva_end = (unsigned long *)(slots->by_hva + nr);
	return slots;
}

/* A copy of @old without @remove and with @add, either of which may be NULL. */
static struct lodge_slots *slots_copy(const struct lodge_slots *old,
				      const struct lodge_slot *remove, struct lodge_slot *add)
{
	struct lodge_slots *slots = slots_alloc(old->nr - !!remove + !!add);
	struct lodge_slot *gfn_add = add, *hva_add = add;
	unsigned int i, g = 0, h = 0;
	unsigned long end = 0;

	if (!slots)
		return NULL;
	slots->generation = old->generation + 1;
	for (i = 0; i < old->nr; i++) {
		if (gfn_add && gfn_add->base_gfn < old->slot[i]->base_gfn) {
			slots->slot[g++] = gfn_add;
			gfn_add = NULL;
		}
		if (old->slot[i] != remove)
			slots->slot[g++] = old->slot[i];

		if (hva_add && hva_add->hva < old->by_hva[i]->hva) {
			slots->by_hva[h++] = hva_add;
			hva_add = NULL;
		}
		if (old->by_hva[i] != remove)
			slots->by_hva[h++] = old->by_hva[i];
	}
	if (gfn_add)
		slots->slot[g++] = gfn_add;
	if (hva_add)
		slots->by_hva[h++] = hva_add;

	for (i = 0; i < slots->nr; i++) {
		end = max(end, slots->by_hva[i]->hva + (slots->by_hva[i]->npages << PAGE_SHIFT));
		slots->hva_end[i] = end;
	}
	return slots;
}

const struct lodge_slot *lodge_slot_find(const struct lodge_slots *slots, u64 gfn,
					 unsigned int *hint)
{
	const struct lodge_slot *slot;
	unsigned int low = 0, high = slots->nr;

	if (hint && *hint < high) {
		slot = slots->slot[*hint];
		if (gfn >= slot->base_gfn && gfn - slot->base_gfn < slot->npages)
			return slot;
	}
	/* The first slot that begins after gfn; the one before it is the candidate. */
	while (low < high) {
		unsigned int mid = low + (high - low) / 2;

		if (slots->slot[mid]->base_gfn > gfn)
			high = mid;
		else
			low = mid + 1;
	}
	if (!low)
		return NULL;
	slot = slots->slot[low - 1];
	if (gfn - slot->base_gfn >= slot->npages)
		return NULL;
	if (hint)
		*hint = low - 1;
	return slot;
}

struct lodge_slot *lodge_slot_by_id(const struct lodge_slots *slots, u16 id)
{
	unsigned int i;

	for (i = 0; i < slots->nr; i++)
		if (slots->slot[i]->id == id)
			return slots->slot[i];
	return NULL;
}

/* Does [base, base + npages) touch a slot other than @except? */
static bool overlaps(const struct lodge_slots *slots, const struct lodge_slot *except,
		     u64 base, u64 npages)
{
	unsigned int i;

	for (i = 0; i < slots->nr; i++) {
		const struct lodge_slot *slot = slots->slot[i];

		if (slot != except && base < slot->base_gfn + slot->npages &&
		    slot->base_gfn < base + npages)
			return true;
	}
	return false;
}

/* What can be judged without the slots: 0 or -EINVAL, in KVM's sense. */
static int check_region(const struct kvm_userspace_memory_region2 *region)
{
	u64 size = region->memory_size;

	/* The fields of guest_memfd mean nothing without its flag, which is unknown here. */
	if (region->flags & ~(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY))
		return -EINVAL;
	if (size & ~PAGE_MASK || region->guest_phys_addr & ~PAGE_MASK ||
	    region->userspace_addr & ~PAGE_MASK)
		return -EINVAL;
	/*
	 * From here on the hvas are used without another check. access_ok() of later
	 * kernels looks at the sign only.
	 */
	if (!access_ok((void __user *)(unsigned long)region->userspace_addr, size) ||
	    region->userspace_addr > TASK_SIZE_MAX ||
	    size > TASK_SIZE_MAX - region->userspace_addr)
		return -EINVAL;
	/* Bits 16 and up choose an address space; there is one. */
	if (region->slot >= LODGE_MAX_SLOTS)
		return -EINVAL;
	if (region->guest_phys_addr + size < region->guest_phys_addr)
		return -EINVAL;
	if (size >> PAGE_SHIFT > MAX_SLOT_PAGES)
		return -EINVAL;
	return 0;
}

/*
 * Makes @slots current and removes the translations of @old in one step: the notifier
 * finds either the old slot with its leaves or neither. Nobody waits for readers of
 * the old snapshot; a fault that still has it compares generations under the lock.
 */
static void publish(struct lodge_memory *mem, struct lodge_slots *slots,
		    const struct lodge_slot *old, bool zap)
{
	struct lodge_s2_batch batch = { .may_sleep = true };
	struct lodge_slots *previous;

	spin_lock(&mem->lock);
	previous = lodge_slots_locked(mem);
	rcu_assign_pointer(mem->slots, slots);
	if (zap)
		lodge_stage2_zap_range(mem, old->base_gfn, old->base_gfn + old->npages, &batch);
	lodge_stage2_unlock(mem, &batch);

	if (old) {
		/* The kernel's own accesses through the old hva end before the ioctl does. */
		down_write(&mem->slots_sem);
		up_write(&mem->slots_sem);
	}
	kvfree_rcu(previous, rcu);
}

static int slot_delete(struct lodge_memory *mem, struct lodge_slots *slots,
		       struct lodge_slot *old)
{
	struct lodge_slots *new_slots;

	if (!old)
		return -EINVAL;
	new_slots = slots_copy(slots, old, NULL);
	if (!new_slots)
		return -ENOMEM;
	publish(mem, new_slots, old, true);
	mem->nr_pages -= old->npages;
	if (old->dirty)
		kvfree_rcu(old->dirty, rcu);
	kfree_rcu(old, rcu);
	return 0;
}

/* Creates slot @new, or puts it in place of @old. Takes over @new in any case. */
static int slot_replace(struct lodge_memory *mem, struct lodge_slots *slots,
			struct lodge_slot *old, struct lodge_slot *new)
{
	bool log = new->flags & KVM_MEM_LOG_DIRTY_PAGES;
	struct lodge_slots *new_slots = NULL;
	bool moved, log_began, log_ended;

	if (log && !READ_ONCE(mem->ring_bytes))
		new->dirty = old && old->dirty ? old->dirty :
			     lodge_dirty_alloc(mem, new->npages);
	if (!log || new->dirty || READ_ONCE(mem->ring_bytes))
		new_slots = slots_copy(slots, old, new);
	if (!new_slots) {
		if (!old || new->dirty != old->dirty)
			kvfree(new->dirty);
		kfree(new);
		return -ENOMEM;
	}

	moved = old && old->base_gfn != new->base_gfn;
	log_began = old && !lodge_slot_logs(old) && log;
	log_ended = old && lodge_slot_logs(old) && !log;
	publish(mem, new_slots, old, moved);
	if (log_began && !moved)
		lodge_dirty_log_begin(mem, new);
	if (log_ended && !moved)
		lodge_dirty_log_end(mem, new);

	if (!old) {
		mem->nr_pages += new->npages;
		return 0;
	}
	if (old->dirty && !new->dirty)
		kvfree_rcu(old->dirty, rcu);
	kfree_rcu(old, rcu);
	return 0;
}

static int slot_set_locked(struct lodge_memory *mem,
			   const struct kvm_userspace_memory_region2 *region)
{
	struct lodge_slots *slots;
	struct lodge_slot *old, *new;
	u64 base = region->guest_phys_addr >> PAGE_SHIFT;
	u64 npages = region->memory_size >> PAGE_SHIFT;

	slots = rcu_dereference_protected(mem->slots, lockdep_is_held(&mem->slots_lock));
	old = lodge_slot_by_id(slots, region->slot);
	if (!npages)
		return slot_delete(mem, slots, old);

	if (!old) {
		if (mem->nr_pages + npages < mem->nr_pages)
			return -EINVAL;
	} else {
		if (region->userspace_addr != old->hva || npages != old->npages ||
		    (region->flags ^ old->flags) & KVM_MEM_READONLY)
			return -EINVAL;
		if (base == old->base_gfn && region->flags == old->flags)
			return 0;
	}
	if (!old || base != old->base_gfn) {
		if (overlaps(slots, old, base, npages))
			return -EEXIST;
		if (base + npages > lodge_stage2_end_gfn())
			return -EINVAL;
	}

	new = kzalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);
	if (!new)
		return -ENOMEM;
	new->base_gfn = base;
	new->npages = npages;
	new->hva = region->userspace_addr;
	new->flags = region->flags;
	new->id = region->slot;
	return slot_replace(mem, slots, old, new);
}

int lodge_slot_set(struct lodge_vm *vm, const struct kvm_userspace_memory_region2 *region)
{
	struct lodge_memory *mem = &vm->mem;
	int ret = check_region(region);

	if (ret)
		return ret;
	mutex_lock(&mem->slots_lock);
	ret = slot_set_locked(mem, region);
	mutex_unlock(&mem->slots_lock);
	return ret;
}

#define MIN_SHADOW_PAGES	64	/* KVM's */

int lodge_set_nr_mmu_pages(struct lodge_vm *vm, unsigned long nr)
{
	if (nr < MIN_SHADOW_PAGES)
		return -EINVAL;
	WRITE_ONCE(vm->mem.shadow_pages, nr);
	return 0;
}

/* Without a limit from user space KVM allows for 2% of the guest's memory. */
unsigned long lodge_get_nr_mmu_pages(struct lodge_vm *vm)
{
	u64 pages = READ_ONCE(vm->mem.nr_pages);

	if (READ_ONCE(vm->mem.shadow_pages))
		return vm->mem.shadow_pages;
	return pages ? max_t(u64, pages / 50, MIN_SHADOW_PAGES) : 0;
}

int lodge_memory_init(struct lodge_vm *vm)
{
	struct lodge_memory *mem = &vm->mem;
	struct lodge_slots *slots = slots_alloc(0);
	int ret;

	if (!slots)
		return -ENOMEM;
	mutex_init(&mem->slots_lock);
	init_rwsem(&mem->slots_sem);
	spin_lock_init(&mem->lock);
	rcu_assign_pointer(mem->slots, slots);

	ret = lodge_stage2_init(mem);
	if (ret)
		goto free_slots;
	ret = lodge_notifier_attach(mem);
	if (ret)
		goto free_tables;
	return 0;

free_tables:
	lodge_stage2_destroy(mem);
free_slots:
	kvfree(slots);
	return ret;
}

void lodge_memory_destroy(struct lodge_vm *vm)
{
	struct lodge_memory *mem = &vm->mem;
	struct lodge_slots *slots;
	unsigned int i;

	lodge_notifier_detach(mem);
	lodge_stage2_destroy(mem);

	/* vCPUs and callbacks are gone: no reader is left. */
	slots = rcu_dereference_protected(mem->slots, true);
	for (i = 0; i < slots->nr; i++) {
		kvfree(slots->slot[i]->dirty);
		kfree(slots->slot[i]);
	}
	kvfree(slots);
}

void lodge_memory_module_exit(void)
{
	lodge_notifier_exit();
}
