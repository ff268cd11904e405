/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest memory: slots (slots.c), stage-2 tables (stage2.c) that follow the owner's
 * page tables (notifier.c, fault.c), the dirty log (dirty.c) and the kernel's own
 * access to guest memory (guest_access.c, guest_walk.c).
 *
 * Locks, in order: slots_lock > slots_sem > mmap_lock (taken by faults) > lock >
 * notifier lock. The notifier runs under mmap_lock or rmap locks and takes only the
 * last two, one after the other.
 */
#ifndef LODGE_MEMORY_H
#define LODGE_MEMORY_H

#include <linux/kvm.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/mutex.h>
#include <linux/nospec.h>
#include <linux/rbtree.h>
#ifdef __CHECKER__
/* The type of the tree's links does not say that readers find them under RCU. */
#define rb_link_node_rcu rb_link_node
#endif
#include <linux/rbtree_latch.h>
#include <linux/rcupdate.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/xarray.h>

struct kvm_pre_fault_memory;
struct kvm_userspace_memory_region2;
struct lodge_notifier;
struct lodge_vm;
struct lodge_vcpu;

#define LODGE_MAX_SLOTS		32764	/* ids below this; KVM's KVM_USER_MEM_SLOTS */

struct lodge_dirty {
	struct rcu_head rcu;
	unsigned long bits[];		/* one bit a page, set and cleared atomically */
};

struct lodge_slot {
	u64 base_gfn;
	u64 npages;
	unsigned long hva;
	u16 id;

	/* These three change under mem->lock; a reader under RCU takes what it finds. */
	u32 flags;			/* KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY */
	u64 version;			/* of flags; never the same again in this VM */
	struct lodge_dirty __rcu *dirty;/* NULL without KVM_MEM_LOG_DIRTY_PAGES or with rings */

	struct latch_tree_node by_gfn;
	struct rb_node by_hva;
	unsigned long last_in_subtree;	/* of hvas */
	struct lodge_slot *next_stray;
	struct rcu_head rcu;
};

/* The slot that a vCPU found last, good as long as no slot has gone since. */
struct lodge_slot_hint {
	const struct lodge_slot *slot;
	unsigned long gone;		/* mem->slots_gone before slot was looked up */
};

/* A frame that no slot has, good as long as no slot has come since. */
struct lodge_no_slot {
	u64 gfn;
	unsigned long come;		/* mem->slots_come before gfn was looked up */
};

#define LODGE_NO_SLOTS		4

/*
 * The way to a page of the guest's 64-bit code: each entry of its tables, and where it was
 * read. If no slot has gone since, and the entries are read again and are what they were,
 * the way is right: nothing has to tell when the guest changes its tables.
 */
struct lodge_code_page {
	u64 page;			/* of linear addresses; ~0: nothing is known */
	u64 key;			/* CR3, and how many levels there are */
	unsigned long gone;		/* mem->slots_gone before the slots were looked up */
	const u8 __user *code;
	struct lodge_code_step {
		const u64 __user *at;
		u64 pte;
	} way[5];
	const struct lodge_code_step *end;
};

#define LODGE_CODE_PAGES	4		/* a power of 2 */

struct lodge_memory {
	struct mutex slots_lock;	/* one change of the slots at a time */
	struct rw_semaphore slots_sem;	/* read: kernel access through a slot's hva */
	/*
	 * Changed under slots_lock and lock. A slot leaves together with its translations,
	 * so whoever holds lock sees slots and tables that agree.
	 */
	struct latch_tree_root by_gfn;	/* readers: RCU or lock */
	unsigned long slots_gone;	/* how many have left by_gfn */
	unsigned long slots_come;	/* and how many have come */
	/*
	 * Changed under slots_lock, lock, and the notifier's lock: any of the last two is
	 * enough to look. A slot is in it before by_gfn, and until no CPU uses its
	 * translations: what is not in here has none.
	 */
	struct rb_root_cached by_hva;
	struct xarray by_id;		/* slots_lock */
	u64 slot_version;		/* the last one given; slots_lock */
	struct lodge_slot *strays;	/* gone, but perhaps in use; until the VM goes */
	const struct lodge_slot *leaving;	/* shared: has moved; CPUs may have notes of it */
	u64 nr_pages;			/* in all slots; slots_lock */
	u32 ring_bytes;			/* of each vCPU's dirty ring, 0: none; vm->lock */
	unsigned long shadow_pages;	/* of KVM_SET_NR_MMU_PAGES, 0: never set */
	u64 manual_log;			/* KVM_DIRTY_LOG_* of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 */

	struct lodge_notifier *notifier;	/* of the mm, shared by all its VMs */
	struct list_head notifier_link;		/* these three: notifier.c */
	unsigned int notifier_users;
	bool notifier_leaving;

	spinlock_t lock;		/* the tables, the fields below */
	u64 *root;			/* top table of four levels */
	u64 *fifth;			/* one above it, where the host has five levels */
	phys_addr_t root_pa;		/* of the top one, encryption bit included */
	struct page *lapic_page;	/* these three: lapic_page.c; NULL: there is none */
	unsigned int lapic_strangers;
	bool lapic_page_mapped;
	bool mm_gone;			/* the owner exited: no memory any more */

	/*
	 * flush_gen is bumped when translations were removed; each vCPU flushes before
	 * an entry when its own stage2_flushed is behind. flush_done follows when no
	 * vCPU is left in the guest that entered before. Written under lock.
	 */
	u64 nr_flushes;			/* for statistics */
	u64 flush_gen;
	u64 flush_done;
};

/* slots.c ------------------------------------------------------------------ */

/* 0, -ENOMEM, -EINTR. The current mm becomes the one that is followed. */
int lodge_memory_init(struct lodge_vm *vm);
/* Process context; no vCPU runs any more. Only after a successful init. */
void lodge_memory_destroy(struct lodge_vm *vm);
/* Module exit, after the last VM: waits for callbacks into the module. */
void lodge_memory_module_exit(void);

/* KVM_SET_USER_MEMORY_REGION and _REGION2: 0 or KVM's errno; unchanged on error. */
int lodge_slot_set(struct lodge_vm *vm, const struct kvm_userspace_memory_region2 *region);

/*
 * KVM_SET_NR_MMU_PAGES, KVM_GET_NR_MMU_PAGES: the limit for tables of shadow paging. There
 * are none, so it is only kept. 0, or -EINVAL for less than KVM's minimum.
 */
int lodge_set_nr_mmu_pages(struct lodge_vm *vm, unsigned long nr);
unsigned long lodge_get_nr_mmu_pages(struct lodge_vm *vm);

/*
 * The slot that holds @gfn, or NULL. Under RCU, which also keeps the slot; or under
 * mem->lock, which keeps it where it is. @hint may be NULL.
 */
const struct lodge_slot *lodge_slot_find(struct lodge_memory *mem, u64 gfn,
					 struct lodge_slot_hint *hint);

/*
 * Is it known that no slot has @gfn? For what exits often; lodge_stage2_fault() learns it.
 * Any tier, in the vCPU's thread.
 */
bool lodge_has_no_slot(const struct lodge_vcpu *vcpu, u64 gfn);
void lodge_note_no_slot(struct lodge_vcpu *vcpu, u64 gfn, unsigned long come);

/* The slot with this @id, or NULL; slots_lock. */
struct lodge_slot *lodge_slot_by_id(struct lodge_memory *mem, u32 id);

/*
 * Walks the slots that have user memory in [@start, @last], with the lock or the
 * notifier's: the first one or the next after @slot; or NULL.
 */
struct lodge_slot *lodge_slot_by_hva(struct lodge_memory *mem, struct lodge_slot *slot,
				     unsigned long start, unsigned long last);

static inline bool lodge_slot_logs(const struct lodge_slot *slot)
{
	return READ_ONCE(slot->flags) & KVM_MEM_LOG_DIRTY_PAGES;
}

static inline bool lodge_slot_readonly(const struct lodge_slot *slot)
{
	return READ_ONCE(slot->flags) & KVM_MEM_READONLY;
}

/* The host's address of @gfn, which @slot holds. */
static inline unsigned long lodge_slot_hva(const struct lodge_slot *slot, u64 gfn)
{
	/* The guest chose gfn: keep a mispredicted bounds check inside the slot. */
	return slot->hva + (array_index_nospec(gfn - slot->base_gfn, slot->npages) << PAGE_SHIFT);
}

/*
 * How many leaves of 4K, 2M and 1G the guest has now, counted when asked: nobody pays for
 * it otherwise. May sleep.
 */
void lodge_count_leaves(struct lodge_vm *vm, u64 leaves[3]);

/* lapic_page.c ------------------------------------------------------------- */

/* A VM's birth and end: 0 or -ENOMEM. */
int lodge_lapic_page_init(struct lodge_memory *mem);
void lodge_lapic_page_destroy(struct lodge_memory *mem);
/* Before a new vCPU can be seen: it does not use the page yet. May sleep. */
void lodge_lapic_page_join(struct lodge_vcpu *vcpu);
/*
 * The backend, outside of the window: from the next entry on the CPU does @vcpu's accesses
 * to the page, or no more. May sleep.
 */
void lodge_lapic_page_use(struct lodge_vcpu *vcpu, bool use);
/* After a fault of @vcpu at @gpa, where no slot is: true to enter again. May sleep. */
bool lodge_lapic_page_map(struct lodge_vcpu *vcpu, u64 gpa);

/* dirty.c ------------------------------------------------------------------ */

/* What KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 offers. */
#define LODGE_MANUAL_LOG (KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET)

/* KVM_ENABLE_CAP of that: 0 or -EINVAL. */
int lodge_dirty_log_manual(struct lodge_vm *vm, u64 flags);

/*
 * KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG: 0; -EINVAL: bad slot or range; -ENOENT: no such
 * slot or no log; -ENXIO: there are rings; -EFAULT; -EINTR.
 */
int lodge_dirty_log_get(struct lodge_vm *vm, const struct kvm_dirty_log *log);
int lodge_dirty_log_clear(struct lodge_vm *vm, const struct kvm_clear_dirty_log *log);

/*
 * slots.c begins a log, with slots_lock held: a bitmap for @npages pages, all of them
 * dirty if the VMM wants it so, or NULL. Freed by kvfree() or kvfree_rcu().
 */
struct lodge_dirty *lodge_dirty_alloc(struct lodge_memory *mem, u64 npages);
/* After a log began and is published: takes the slot's right to write. May sleep. */
void lodge_dirty_log_begin(struct lodge_memory *mem, const struct lodge_slot *slot);
/* After it ended and that is published: lets large leaves come back. May sleep. */
void lodge_dirty_log_end(struct lodge_memory *mem, const struct lodge_slot *slot);

/*
 * Marks one page dirty that @vcpu has written or is about to; in the vCPU's thread. The
 * caller keeps @slot alive, by mem->lock or slots_sem, and has asked before the write
 * whether the vCPU's ring has room (lodge_ring_has_room()).
 */
void lodge_dirty_mark(struct lodge_vcpu *vcpu, const struct lodge_slot *slot, u64 gfn);

/*
 * Does the CPU itself note which pages a guest has written? For bitmaps only: entries of a
 * ring would come late, and many at once.
 */
bool lodge_cpu_logs(const struct lodge_memory *mem);
/*
 * The backend, in every window before its end: the pages at these guest-physical addresses,
 * which the CPU has noted for @vcpu. Interrupts off.
 */
void lodge_dirty_logged(struct lodge_vcpu *vcpu, const u64 *gpas, unsigned int nr);

/* fault.c ------------------------------------------------------------------ */

enum lodge_fault {		/* not an errno */
	LODGE_FAULT_MAPPED = 0,	/* installed, or try again: enter the guest again */
	LODGE_FAULT_MMIO = 1,	/* no slot there, or a write to a read-only slot */
};

#define LODGE_ACCESS_WRITE	BIT(0)
#define LODGE_ACCESS_EXEC	BIT(1)

/*
 * Resolves a stage-2 fault of @vcpu at @gpa, in the vCPU's thread. May sleep in the
 * host's fault handler. enum lodge_fault, or -EFAULT (nothing mapped at the hva, or not
 * for writing, or the host has no page for it, as KVM puts it), -ENOMEM (none for our own
 * tables). When a signal interrupted it, and when a poisoned host page
 * raised SIGBUS as in KVM: LODGE_FAULT_MAPPED, since the run loop looks at signals.
 */
int lodge_stage2_fault(struct lodge_vcpu *vcpu, u64 gpa, u32 access);

/*
 * KVM_PRE_FAULT_MEMORY: maps what a read of *@range maps, and moves the range's start
 * over it. In the vCPU's thread, may sleep. 0 if any of it is mapped; or -EINVAL; -ENOENT:
 * no memory there; -EFAULT, -ENOMEM as above; -EINTR.
 */
int lodge_pre_fault(struct lodge_vcpu *vcpu, struct kvm_pre_fault_memory *range);

/*
 * As above for the fast tier, which asks here first: LODGE_FAULT_MAPPED when the
 * translation is there or only had lost its write permission to the dirty log; else
 * -EAGAIN. IRQs off; takes no lock that another CPU may hold for long.
 */
int lodge_stage2_fault_fast(struct lodge_vcpu *vcpu, u64 gpa, u32 access);

/*
 * vcpu.c: interrupts every vCPU in its window and waits until it has left it.
 * Called without lodge locks; must not sleep (the OOM reaper's notifier calls).
 */
void lodge_kick_all_and_wait(struct lodge_vm *vm);

/* guest_access.c ----------------------------------------------------------- */

/*
 * By guest physical address; crosses pages and slots. In a thread of the VM's mm, may
 * sleep. 0, or -EFAULT: no slot, a write to a read-only slot, nothing mapped at the
 * hva, or a dirty ring that user space has let run full; bytes before that place may have
 * been transferred. A write is logged as @vcpu's, whose mutex is held.
 */
int lodge_read_gpa(struct lodge_vm *vm, u64 gpa, void *buf, unsigned int len);
int lodge_write_gpa(struct lodge_vcpu *vcpu, u64 gpa, const void *buf, unsigned int len);
/* One byte, without sleeping; false when that cannot be. On a thread of the VM's mm. */
bool lodge_try_read_gpa(struct lodge_vcpu *vcpu, u64 gpa, u8 *value);
bool lodge_try_write_gpa(struct lodge_vcpu *vcpu, u64 gpa, u8 value);
/* Would a write there reach memory? An answer for now only: slots may change. */
bool lodge_gpa_writable(struct lodge_vm *vm, u64 gpa);

/*
 * Atomic compare and exchange of 1, 2, 4 or 8 bytes in a cache line, or of 16 aligned
 * ones: 0 when exchanged, 1 when not (and *old is updated), -EFAULT as above or when it
 * cannot be atomic.
 */
int lodge_cmpxchg_gpa(struct lodge_vcpu *vcpu, u64 gpa, void *old, const void *new,
		      unsigned int len);

/* guest_walk.c ------------------------------------------------------------- */

#define LODGE_WALK_WRITE	BIT(0)
#define LODGE_WALK_EXEC		BIT(1)
#define LODGE_WALK_USER		BIT(2)	/* an access at CPL 3 */

/*
 * Walks the guest's own page tables (needs LODGE_ST_CRS and _SEGS valid), sets A and
 * D bits as a CPU does. 0 and *gpa; or 1 and *error = the #PF error code, also when a
 * table lies outside memory; or -EAGAIN when others keep changing the entries: enter the
 * guest again. At CPL 3 an access without LODGE_WALK_USER counts as implicit.
 * The caller has checked that @gva is canonical.
 */
int lodge_walk(struct lodge_vcpu *vcpu, u64 gva, u32 access, u64 *gpa, u32 *error);

/*
 * The code at @gva in 64-bit mode with @cr3, which the CPU has just fetched itself: the
 * tables are not asked for rights, and have their A bits. How many bytes: 16, or as many as
 * the page has, or 0 when they are not at hand (memory that is absent, tables out of the
 * ordinary). Any tier, in the vCPU's thread.
 */
unsigned int lodge_fetch_quick(struct lodge_vcpu *vcpu, u64 cr3, u64 gva, u64 bytes[2]);

/* KVM_TRANSLATE: as a read by the supervisor. */
void lodge_translate(struct lodge_vcpu *vcpu, struct kvm_translation *tr);

#endif
