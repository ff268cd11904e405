// SPDX-License-Identifier: GPL-2.0-only
/*
 * Resolves stage-2 faults: from the slot to the hva, to the host's page, to a leaf.
 * Called by the exit handlers in the vCPU's thread. The host's page is looked up without
 * a lock and installed under mem->lock if neither slots nor the mm's translations of it
 * changed meanwhile; no reference to it is kept.
 */
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

#include "backend.h"
#include "kernel_compat.h"
#include "stage2.h"
#include "vcpu.h"
#include "vm.h"

struct fault {
	u64 gfn;
	bool write, exec;

	struct lodge_slot slot;	/* what it was: it may change and go at any time */
	unsigned long hva;
	unsigned long seq;

	/* the host's page */
	struct page *page;	/* with a reference, or NULL: a pfn without a page */
	u64 pfn;
	bool writable;
	bool ram;
};

/* 0: f->page and f->writable hold; or an errno of get_user_pages(). */
static int get_page_by_gup(struct fault *f)
{
	unsigned int flags = FOLL_HWPOISON;
	bool want_write = !lodge_slot_readonly(&f->slot);
	struct page *page;
	long n;

	/*
	 * A writable mapping serves a read as well and saves the fault that would follow.
	 * But a read must not break a copy-on-write, so only if it is there already.
	 */
	if (want_write && get_user_pages_fast_only(f->hva, 1, FOLL_WRITE, &f->page) == 1) {
		f->writable = true;
		return 0;
	}
	if (!f->write && get_user_pages_fast_only(f->hva, 1, 0, &f->page) == 1)
		return 0;

	if (f->write)
		flags |= FOLL_WRITE;
#if LODGE_HAVE_FOLL_INTERRUPTIBLE
	flags |= FOLL_INTERRUPTIBLE;
#endif
#if LODGE_HAVE_FOLL_HONOR_NUMA
	/* The guest's accesses are what NUMA balancing waits for; 6.1 knows without. */
	flags |= FOLL_HONOR_NUMA_FAULT;
#endif
	n = get_user_pages_unlocked(f->hva, 1, &f->page, flags);
	if (n != 1)
		return n < 0 ? n : -EFAULT;
	f->writable = f->write;

	/* The page that was brought in for a read may have come with the right to write. */
	if (want_write && !f->write &&
	    get_user_pages_fast_only(f->hva, 1, FOLL_WRITE, &page) == 1) {
		put_page(f->page);
		f->page = page;
		f->writable = true;
	}
	return 0;
}

/*
 * The pfn that the host's tables hold for an address in a VM_PFNMAP or VM_IO area: 0, or
 * an errno when there is none. The pfn is only ever mapped under the notifier's check;
 * a reference to a page behind it would mean nothing to the driver that owns it.
 */
static int follow_pfn_locked(struct vm_area_struct *vma, struct fault *f)
{
#if LODGE_HAVE_FOLLOW_PFNMAP
	struct follow_pfnmap_args args = { .vma = vma, .address = f->hva };
	int ret = follow_pfnmap_start(&args);

	if (ret)
		return ret;
	f->pfn = args.pfn;
	f->writable = args.writable;
	follow_pfnmap_end(&args);
#else
	spinlock_t *ptl;	/* of the page table: follow_pte() takes it */
	pte_t *ptep, pte;
	int ret = follow_pte(vma->vm_mm, f->hva, &ptep, &ptl);

	if (ret)
		return ret;
	__acquire(ptl);
	pte = READ_ONCE(*ptep);
	f->pfn = pte_pfn(pte);
	f->writable = pte_write(pte);
	pte_unmap_unlock(ptep, ptl);
#endif
	return 0;
}

static int get_pfn_locked(struct mm_struct *mm, struct fault *f)
{
	struct vm_area_struct *vma;
	bool unlocked;
	int ret;

	for (;;) {
		vma = find_vma_intersection(mm, f->hva, f->hva + 1);
		if (!vma || !(vma->vm_flags & (VM_IO | VM_PFNMAP)))
			return -EFAULT;
		if (!(vma->vm_flags & (f->write ? VM_WRITE : VM_READ)))
			return -EFAULT;
		if (!follow_pfn_locked(vma, f) && (f->writable || !f->write))
			return 0;
		unlocked = false;
		ret = fixup_user_fault(mm, f->hva, f->write ? FAULT_FLAG_WRITE : 0, &unlocked);
		if (ret)
			return ret;
		if (!unlocked)
			break;
		/* The vma may be another one now: begin again, but not without end. */
		if (signal_pending(current))
			return -EINTR;
	}

	ret = follow_pfn_locked(vma, f);
	if (ret)
		return ret;
	return !f->write || f->writable ? 0 : -EFAULT;
}

/* For addresses that have no page to refer to. */
static int get_page_by_pfn(struct fault *f)
{
	struct mm_struct *mm = current->mm;
	int ret;

	mmap_read_lock(mm);
	ret = get_pfn_locked(mm, f);
	mmap_read_unlock(mm);
	if (ret)
		return ret;
	/* The owner's right, but the slot may not give it to the guest. */
	if (f->slot.flags & KVM_MEM_READONLY)
		f->writable = false;
	/* Anything but RAM is mapped uncached: right for registers, safe for the rest. */
	f->ram = page_is_ram(f->pfn);
	return 0;
}

/* 0, -EINTR, -EHWPOISON or -EFAULT. */
static int find_host_page(struct fault *f)
{
	int ret = get_page_by_gup(f);

	if (!ret) {
		/* Without a vmemmap a part of it is in page->flags, where others set bits. */
		f->pfn = data_race(page_to_pfn(f->page));
		f->ram = true;
		return 0;
	}
	if (ret != -EINTR && ret != -EHWPOISON && ret != -ERESTARTSYS)
		ret = get_page_by_pfn(f);
	if (ret == -ERESTARTSYS || ret == -EINTR)
		return -EINTR;
	return ret == -EHWPOISON ? ret : ret ? -EFAULT : 0;
}

/*
 * Size of the leaf in the owner's page tables at @hva, as a level. With interrupts off
 * the tables are not freed under us; what is read is trusted only after the notifier
 * check that follows.
 */
static unsigned int host_level(unsigned long hva)
{
	unsigned int level = 1;
	unsigned long flags;
	pgd_t pgd;
	p4d_t p4d;
	pud_t pud;
	pmd_t pmd;

	local_irq_save(flags);
	pgd = READ_ONCE(*pgd_offset(current->mm, hva));
	if (pgd_none(pgd))
		goto out;
	p4d = READ_ONCE(*p4d_offset(&pgd, hva));
	if (p4d_none(p4d) || !p4d_present(p4d))
		goto out;
	pud = READ_ONCE(*pud_offset(&p4d, hva));
	if (pud_none(pud) || !pud_present(pud))
		goto out;
	if (pud_leaf(pud)) {
		level = 3;
		goto out;
	}
	pmd = READ_ONCE(*pmd_offset(&pud, hva));
	if (pmd_none(pmd) || !pmd_present(pmd))
		goto out;
	if (pmd_leaf(pmd))
		level = 2;
out:
	local_irq_restore(flags);
	return level;
}

unsigned int lodge_host_leaf_level(const struct lodge_slot *slot, u64 gfn)
{
	unsigned long hva = lodge_slot_hva(slot, gfn);
	unsigned int level = min(host_level(hva), lodge_backend->stage2.max_level);

	for (; level > 1; level--) {
		u64 mask = lodge_s2_pages(level) - 1;
		u64 base = gfn & ~mask;

		if (((hva >> PAGE_SHIFT) ^ gfn) & mask)
			continue;
		if (base >= slot->base_gfn && base + mask < slot->base_gfn + slot->npages)
			break;
	}
	return level;
}

static unsigned int leaf_level(const struct fault *f)
{
	if (!f->page || !PageCompound(f->page) || lodge_slot_logs(&f->slot))
		return 1;
	/* What is there already is split, and each part of it may be fetched from. */
	if (f->exec && lodge_backend->stage2.small_only)
		return 1;
	return lodge_host_leaf_level(&f->slot, f->gfn);
}

/*
 * Installs what was found, unless it may have changed since. LODGE_FAULT_MAPPED in both
 * cases: the guest tries again. Or -ENOMEM; -EFAULT when the mm is gone.
 */
static int install(struct lodge_vcpu *vcpu, struct fault *f)
{
	struct lodge_memory *mem = &vcpu->vm->mem;
	struct lodge_s2_batch batch = { .may_sleep = true };
	bool unwritten = !f->write && lodge_slot_logs(&f->slot), noted = lodge_cpu_logs(mem);
	struct lodge_s2_leaf leaf = {
		.gfn = f->gfn,
		.pfn = f->pfn,
		.level = leaf_level(f),
		/* Under the log a page becomes writable, or dirty, only when it is written. */
		.writable = f->writable && (!unwritten || noted),
		.clean = unwritten && noted,
		.host_writable = f->writable,
		.ram = f->ram,
	};
	unsigned long size = lodge_s2_pages(leaf.level) << PAGE_SHIFT;
	unsigned long hva = f->hva & ~(size - 1);
	int ret;

	spin_lock(&mem->lock);
	for (;;) {
		const struct lodge_slot *slot = lodge_slot_find(mem, f->gfn, NULL);

		ret = -EFAULT;
		if (mem->mm_gone)
			break;
		ret = LODGE_FAULT_MAPPED;
		if (!slot || slot->version != f->slot.version ||
		    lodge_notifier_retry(mem, f->seq, hva, hva + size))
			break;
		/* Full, the vCPU goes to user space first. */
		if (leaf.writable && lodge_slot_logs(&f->slot) && !lodge_ring_has_room(vcpu))
			break;
		ret = lodge_stage2_map(mem, &leaf, &batch);
		if (!ret) {
			/* While the lock still keeps the host from taking the page away. */
			if (f->writable && f->page && !PageReserved(f->page))
				folio_set_dirty(page_folio(f->page));
			if (leaf.writable && !leaf.clean)
				lodge_dirty_mark(vcpu, slot, f->gfn);
			break;
		}
		ret = -ENOMEM;
		if (!lodge_stage2_refill(mem, &batch))
			break;
	}
	lodge_stage2_unlock(mem, &batch);
	return ret;
}

int lodge_stage2_fault(struct lodge_vcpu *vcpu, u64 gpa, u32 access)
{
	struct lodge_memory *mem = &vcpu->vm->mem;
	struct fault f = {
		.gfn = gpa >> PAGE_SHIFT,
		.write = access & LODGE_ACCESS_WRITE,
		.exec = access & LODGE_ACCESS_EXEC,
	};
	/* Before the look; pairs with swap_slots(). */
	unsigned long come = smp_load_acquire(&mem->slots_come);
	const struct lodge_slot *slot;
	int ret;

	rcu_read_lock();
	slot = lodge_slot_find(mem, f.gfn, &vcpu->slot_hint);
	if (!slot || (f.write && lodge_slot_readonly(slot))) {
		rcu_read_unlock();
		if (!slot)
			lodge_note_no_slot(vcpu, f.gfn, come);
		return LODGE_FAULT_MMIO;
	}
	f.slot.base_gfn = slot->base_gfn;
	f.slot.npages = slot->npages;
	f.slot.hva = slot->hva;
	/* Pairs with set_flags(): flags that are older than the version would be wrong. */
	f.slot.version = smp_load_acquire(&slot->version);
	f.slot.flags = READ_ONCE(slot->flags);
	rcu_read_unlock();

	/* Under the log most write faults are on leaves that only wait for the mark. */
	if (f.write && lodge_slot_logs(&f.slot)) {
		bool fixed;

		spin_lock(&mem->lock);
		fixed = lodge_stage2_fix(mem, vcpu, f.gfn, access);
		spin_unlock(&mem->lock);
		if (fixed)
			return LODGE_FAULT_MAPPED;
	}

	f.hva = lodge_slot_hva(&f.slot, f.gfn);
	f.seq = lodge_notifier_seq(mem);
	ret = find_host_page(&f);
	if (ret == -EHWPOISON) {
		send_sig_mceerr(BUS_MCEERR_AR, (void __user *)f.hva, PAGE_SHIFT, current);
		return LODGE_FAULT_MAPPED;
	}
	if (ret == -EINTR)
		return LODGE_FAULT_MAPPED;
	if (ret)
		return ret;
	ret = install(vcpu, &f);
	if (f.page)
		put_page(f.page);
	return ret;
}

/* Maps @gpa as for a read: the bytes from there to the end of the leaf, or an errno. */
static s64 pre_fault(struct lodge_vcpu *vcpu, u64 gpa)
{
	struct lodge_memory *mem = &vcpu->vm->mem;
	unsigned int level;
	u64 size;
	int ret;

	for (;;) {
		if (signal_pending(current))
			return -EINTR;
		cond_resched();
		ret = lodge_stage2_fault(vcpu, gpa, 0);
		if (ret == LODGE_FAULT_MMIO)
			return -ENOENT;
		if (ret)
			return ret;
		/* Or it has to be tried again. */
		spin_lock(&mem->lock);
		level = lodge_stage2_level(mem, gpa >> PAGE_SHIFT);
		spin_unlock(&mem->lock);
		if (level)
			break;
	}
	size = lodge_s2_pages(level) << PAGE_SHIFT;
	return size - (gpa & (size - 1));
}

int lodge_pre_fault(struct lodge_vcpu *vcpu, struct kvm_pre_fault_memory *range)
{
	u64 all = range->size;
	s64 done;

	if (range->flags || !PAGE_ALIGNED(range->gpa) || !PAGE_ALIGNED(range->size) ||
	    range->gpa + range->size <= range->gpa)
		return -EINVAL;
	do {
		done = pre_fault(vcpu, range->gpa);
		if (done < 0)
			return range->size == all ? done : 0;
		done = min_t(u64, done, range->size);
		range->gpa += done;
		range->size -= done;
	} while (range->size);
	return 0;
}

int lodge_stage2_fault_fast(struct lodge_vcpu *vcpu, u64 gpa, u32 access)
{
	struct lodge_memory *mem = &vcpu->vm->mem;
	bool fixed;

	/* A holder of the lock may be waiting for this CPU to take an interrupt. */
	if (!spin_trylock(&mem->lock))
		return -EAGAIN;
	fixed = lodge_stage2_fix(mem, vcpu, gpa >> PAGE_SHIFT, access);
	spin_unlock(&mem->lock);
	vcpu->stats.pf_taken += fixed;
	return fixed ? LODGE_FAULT_MAPPED : -EAGAIN;
}
