// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the memory slots of a VM: which user memory is behind which guest frames.
 * Called by vm.c for the ioctls and by everything that turns a gfn into an hva.
 * Changes are made under slots_lock; readers use RCU or hold mem->lock. Each is found by
 * its gfns, by its hvas (which may overlap), and by its id, in a tree each: a change
 * costs no more with 30,000 slots, and waits for no grace period.
 */
#include <linux/interval_tree_generic.h>
#include <linux/kvm.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kernel_compat.h"
#include "stage2.h"
#include "vcpu.h"
#include "vm.h"

/* KVM's limit for one slot: the dirty bitmap's index fits an int. */
#define MAX_SLOT_PAGES		((1ul << 31) - 1)

/* gfns, for by_gfn: two such ranges are "equal" when they overlap. */
struct gfn_range {
	u64 first, last;
};

static __always_inline struct lodge_slot *to_slot(struct latch_tree_node *node)
{
	return container_of(node, struct lodge_slot, by_gfn);
}

static __always_inline bool gfn_less(struct latch_tree_node *a, struct latch_tree_node *b)
{
	return to_slot(a)->base_gfn < to_slot(b)->base_gfn;
}

static __always_inline int gfn_compare(void *key, struct latch_tree_node *node)
{
	const struct lodge_slot *slot = to_slot(node);
	const struct gfn_range *range = key;

	if (range->last < slot->base_gfn)
		return -1;
	return range->first - slot->base_gfn >= slot->npages &&
	       range->first >= slot->base_gfn;
}

static const struct latch_tree_ops gfn_ops = {
	.less = gfn_less,
	.comp = gfn_compare,
};

static struct lodge_slot *find_range(struct lodge_memory *mem, u64 first, u64 last)
{
	struct gfn_range range = { first, last };
	struct latch_tree_node *node = latch_tree_find(&range, &mem->by_gfn, &gfn_ops);

	return node ? to_slot(node) : NULL;
}

/*
 * The hint: slots_gone is counted up when a slot has left, so a slot that is found after a
 * look at the count leaves after that look. It is freed by RCU when it has been counted:
 * who finds the count as it was may use the slot.
 */
const struct lodge_slot *lodge_slot_find(struct lodge_memory *mem, u64 gfn,
					 struct lodge_slot_hint *hint)
{
	/* Before the look at the slot; pairs with swap_slots(). */
	unsigned long gone = smp_load_acquire(&mem->slots_gone);
	const struct lodge_slot *slot;

	if (hint && hint->slot && hint->gone == gone &&
	    gfn - hint->slot->base_gfn < hint->slot->npages)
		return hint->slot;
	slot = find_range(mem, gfn, gfn);
	if (slot && hint)
		*hint = (struct lodge_slot_hint){ slot, gone };
	return slot;
}

static unsigned int no_slot_index(u64 gfn)
{
	/* The local APIC and the IOAPIC are 2 MiB apart. */
	return (gfn ^ gfn >> 9) % LODGE_NO_SLOTS;
}

bool lodge_has_no_slot(const struct lodge_vcpu *vcpu, u64 gfn)
{
	const struct lodge_no_slot *none = &vcpu->no_slot[no_slot_index(gfn)];

	/* A slot is in by_gfn before it is counted: until then either answer is right. */
	return none->gfn == gfn && none->come == READ_ONCE(vcpu->vm->mem.slots_come);
}

void lodge_note_no_slot(struct lodge_vcpu *vcpu, u64 gfn, unsigned long come)
{
	vcpu->no_slot[no_slot_index(gfn)] = (struct lodge_no_slot){ gfn, come };
}

struct lodge_slot *lodge_slot_by_id(struct lodge_memory *mem, u32 id)
{
	lockdep_assert_held(&mem->slots_lock);
	return xa_load(&mem->by_id, id);
}

static unsigned long last_hva(const struct lodge_slot *slot)
{
	return slot->hva + (slot->npages << PAGE_SHIFT) - 1;
}

#define first_hva(slot)	((slot)->hva)

INTERVAL_TREE_DEFINE(struct lodge_slot, by_hva, unsigned long, last_in_subtree, first_hva,
		     last_hva, static, hva_tree)

struct lodge_slot *lodge_slot_by_hva(struct lodge_memory *mem, struct lodge_slot *slot,
				     unsigned long start, unsigned long last)
{
	return slot ? hva_tree_iter_next(slot, start, last) :
		      hva_tree_iter_first(&mem->by_hva, start, last);
}

static void hva_add(struct lodge_memory *mem, struct lodge_slot *slot)
{
	spin_lock(&mem->lock);
	spin_lock(lodge_notifier_lock(mem));
	hva_tree_insert(slot, &mem->by_hva);
	spin_unlock(lodge_notifier_lock(mem));
	spin_unlock(&mem->lock);
}

static void hva_remove(struct lodge_memory *mem, struct lodge_slot *slot)
{
	spin_lock(&mem->lock);
	spin_lock(lodge_notifier_lock(mem));
	hva_tree_remove(slot, &mem->by_hva);
	spin_unlock(lodge_notifier_lock(mem));
	spin_unlock(&mem->lock);
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

/* The kernel's own accesses through a slot's hva that began before this are over. */
static int wait_for_accesses(struct lodge_memory *mem)
{
	if (down_write_killable(&mem->slots_sem))
		return -EINTR;
	up_write(&mem->slots_sem);
	/* The CPUs' notes are taken in windows. */
	if (lodge_cpu_logs(mem))
		lodge_kick_all_and_wait(container_of(mem, struct lodge_vm, mem));
	return 0;
}

/*
 * Nobody looks at its bitmap any more, which may have 256 MiB: it is freed now, or user
 * space could have any number of them waiting for RCU.
 */
static void free_slot(struct lodge_slot *slot)
{
	kvfree(rcu_dereference_protected(slot->dirty, true));
	kfree_rcu(slot, rcu);
}

/* Flags, bitmap, and then a new version: a fault that has the old one begins again. */
static void set_flags(struct lodge_memory *mem, struct lodge_slot *slot, u32 flags,
		      struct lodge_dirty *dirty)
{
	rcu_assign_pointer(slot->dirty, dirty);
	WRITE_ONCE(slot->flags, flags);
	/* After both, which a fault reads in the other order. */
	smp_store_release(&slot->version, ++mem->slot_version);
}

/*
 * Puts @new, which may be NULL, into the place of @old, which may be too, and removes
 * the translations of @old in the same step. Waits for nothing if @old is NULL.
 */
static void swap_slots(struct lodge_memory *mem, struct lodge_slot *old,
		       struct lodge_slot *new)
{
	struct lodge_s2_batch batch = { .may_sleep = true };
	bool stray;

	if (new)
		hva_add(mem, new);
	spin_lock(&mem->lock);
	/* What CPUs have noted of its pages until now belongs to the log that goes along. */
	if (old && new && lodge_cpu_logs(mem))
		WRITE_ONCE(mem->leaving, old);
	/*
	 * Before the old one goes: what both have must not look like no memory to a fault.
	 * Both are of one size, so the tree's order holds while they overlap.
	 */
	if (new) {
		latch_tree_insert(&new->by_gfn, &mem->by_gfn, &gfn_ops);
		lodge_lapic_page_unmap(mem, new->base_gfn, new->npages, &batch);
		/* Who notes that there is none, with this count, has looked after it came. */
		smp_store_release(&mem->slots_come, mem->slots_come + 1);
	}
	if (old) {
		latch_tree_erase(&old->by_gfn, &mem->by_gfn, &gfn_ops);
		/* Who sees the count must not find the slot. */
		smp_store_release(&mem->slots_gone, mem->slots_gone + 1);
		lodge_stage2_zap_range(mem, old->base_gfn, old->base_gfn + old->npages, &batch);
	}
	lodge_stage2_unlock(mem, &batch);
	if (!old)
		return;

	/* Until now a notifier callback had to learn that CPUs may use its memory. */
	hva_remove(mem, old);
	stray = wait_for_accesses(mem);
	if (mem->leaving) {
		/* And nobody who has seen it uses it after this. */
		WRITE_ONCE(mem->leaving, NULL);
		lodge_kick_all_and_wait(container_of(mem, struct lodge_vm, mem));
	}
	/* A log that goes on is the new slot's. */
	if (new && rcu_access_pointer(new->dirty) == rcu_access_pointer(old->dirty))
		RCU_INIT_POINTER(old->dirty, NULL);
	if (!stray) {
		free_slot(old);
		return;
	}
	/* The process dies, and another thread of it hangs in an access. */
	old->next_stray = mem->strays;
	mem->strays = old;
}

/* The bitmap that @flags want: that of @old if it has one. 0 or -ENOMEM. */
static int get_log(struct lodge_memory *mem, const struct lodge_slot *old, u32 flags,
		   u64 npages, struct lodge_dirty **dirty)
{
	*dirty = NULL;
	if (!(flags & KVM_MEM_LOG_DIRTY_PAGES) || READ_ONCE(mem->ring_bytes))
		return 0;
	if (old)
		*dirty = rcu_dereference_protected(old->dirty,
						   lockdep_is_held(&mem->slots_lock));
	if (!*dirty)
		*dirty = lodge_dirty_alloc(mem, npages);
	return *dirty ? 0 : -ENOMEM;
}

/* The slot that @region wants, which may be @old in another place. */
static struct lodge_slot *alloc_slot(struct lodge_memory *mem, const struct lodge_slot *old,
				     const struct kvm_userspace_memory_region2 *region)
{
	struct lodge_slot *slot = kzalloc(sizeof(*slot), GFP_KERNEL_ACCOUNT);
	struct lodge_dirty *dirty;

	if (!slot)
		return NULL;
	slot->base_gfn = region->guest_phys_addr >> PAGE_SHIFT;
	slot->npages = region->memory_size >> PAGE_SHIFT;
	slot->hva = region->userspace_addr;
	slot->id = region->slot;
	if (get_log(mem, old, region->flags, slot->npages, &dirty)) {
		kfree(slot);
		return NULL;
	}
	set_flags(mem, slot, region->flags, dirty);
	return slot;
}

static int slot_add(struct lodge_memory *mem, const struct kvm_userspace_memory_region2 *region)
{
	struct lodge_slot *new = alloc_slot(mem, NULL, region);
	int ret;

	if (!new)
		return -ENOMEM;
	ret = xa_err(xa_store(&mem->by_id, new->id, new, GFP_KERNEL_ACCOUNT));
	if (ret) {
		kvfree(rcu_dereference_protected(new->dirty, true));
		kfree(new);
		return ret;
	}
	swap_slots(mem, NULL, new);
	WRITE_ONCE(mem->nr_pages, mem->nr_pages + new->npages);
	return 0;
}

static int slot_delete(struct lodge_memory *mem, struct lodge_slot *old)
{
	xa_erase(&mem->by_id, old->id);
	WRITE_ONCE(mem->nr_pages, mem->nr_pages - old->npages);
	swap_slots(mem, old, NULL);
	return 0;
}

/* To another guest address, perhaps with other flags. A log goes along. */
static int slot_move(struct lodge_memory *mem, struct lodge_slot *old,
		     const struct kvm_userspace_memory_region2 *region)
{
	struct lodge_slot *new = alloc_slot(mem, old, region);

	if (!new)
		return -ENOMEM;
	/* There is an entry already: this allocates nothing. */
	xa_store(&mem->by_id, new->id, new, GFP_KERNEL_ACCOUNT);
	swap_slots(mem, old, new);
	return 0;
}

/* Begins or ends a log. */
static int slot_set_flags(struct lodge_memory *mem, struct lodge_slot *slot, u32 flags)
{
	struct lodge_dirty *dirty, *old;
	int ret = get_log(mem, slot, flags, slot->npages, &dirty);

	if (ret)
		return ret;
	old = rcu_dereference_protected(slot->dirty, lockdep_is_held(&mem->slots_lock));
	spin_lock(&mem->lock);
	set_flags(mem, slot, flags, dirty);
	spin_unlock(&mem->lock);
	/* Those that saw the old log, or none, have written before it goes or one begins. */
	ret = wait_for_accesses(mem);
	if (old && old != dirty) {
		if (ret)
			kvfree_rcu(old, rcu);
		else
			kvfree(old);
	}

	if (!(flags & KVM_MEM_LOG_DIRTY_PAGES)) {
		lodge_dirty_log_end(mem, slot);
		return 0;
	}
	lodge_dirty_log_begin(mem, slot);
	return ret;
}

/* Would @region overlap another slot than @old, which it replaces? */
static bool overlaps(struct lodge_memory *mem, const struct lodge_slot *old, u64 base,
		     u64 npages)
{
	u64 first = base, last = base + npages - 1;

	/* What a moved slot has of its old place is one end of its new one. */
	if (old && base < old->base_gfn)
		last = min(last, old->base_gfn - 1);
	else if (old)
		first = max(first, old->base_gfn + old->npages);
	return find_range(mem, first, last);
}

static int slot_set_locked(struct lodge_memory *mem,
			   const struct kvm_userspace_memory_region2 *region)
{
	struct lodge_slot *old = lodge_slot_by_id(mem, region->slot);
	u64 base = region->guest_phys_addr >> PAGE_SHIFT;
	u64 npages = region->memory_size >> PAGE_SHIFT;

	if (!npages)
		return old ? slot_delete(mem, old) : -EINVAL;

	if (!old) {
		if (mem->nr_pages + npages < mem->nr_pages)
			return -EINVAL;
	} else {
		if (region->userspace_addr != old->hva || npages != old->npages ||
		    (region->flags ^ old->flags) & KVM_MEM_READONLY)
			return -EINVAL;
		if (base == old->base_gfn)
			return region->flags == old->flags ? 0 :
			       slot_set_flags(mem, old, region->flags);
	}
	if (overlaps(mem, old, base, npages))
		return -EEXIST;
	if (base + npages > lodge_stage2_end_gfn())
		return -EINVAL;
	return old ? slot_move(mem, old, region) : slot_add(mem, region);
}

int lodge_slot_set(struct lodge_vm *vm, const struct kvm_userspace_memory_region2 *region)
{
	struct lodge_memory *mem = &vm->mem;
	int ret = check_region(region);

	if (ret)
		return ret;
	if (mutex_lock_killable(&mem->slots_lock))
		return -EINTR;
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
	unsigned long limit = READ_ONCE(vm->mem.shadow_pages);

	if (limit)
		return limit;
	return pages ? max_t(u64, pages / 50, MIN_SHADOW_PAGES) : 0;
}

int lodge_memory_init(struct lodge_vm *vm)
{
	struct lodge_memory *mem = &vm->mem;
	int ret;

	mutex_init(&mem->slots_lock);
	init_rwsem(&mem->slots_sem);
	spin_lock_init(&mem->lock);
	seqcount_latch_init(&mem->by_gfn.seq);
	mem->by_hva = RB_ROOT_CACHED;
	xa_init(&mem->by_id);

	ret = lodge_stage2_init(mem);
	if (ret)
		return ret;
	ret = lodge_lapic_page_init(mem);
	if (!ret)
		ret = lodge_notifier_attach(mem);
	if (ret) {
		lodge_stage2_destroy(mem);
		lodge_lapic_page_destroy(mem);
	}
	return ret;
}

void lodge_memory_destroy(struct lodge_vm *vm)
{
	struct lodge_memory *mem = &vm->mem;
	struct lodge_slot *slot;
	unsigned long id;

	lodge_notifier_detach(mem);
	lodge_stage2_destroy(mem);
	lodge_lapic_page_destroy(mem);

	/* vCPUs and callbacks are gone: no reader is left. */
	xa_for_each(&mem->by_id, id, slot)
		free_slot(slot);
	xa_destroy(&mem->by_id);
	while ((slot = mem->strays)) {
		mem->strays = slot->next_stray;
		free_slot(slot);
	}
}

void lodge_memory_module_exit(void)
{
	lodge_notifier_exit();
}
