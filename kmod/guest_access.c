// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's own access to guest memory by guest physical address, through the slots
 * and the owner's ordinary user mappings. Called in a vCPU's thread, or another thread of
 * the VM's mm, by the emulator, the guest's page walk and the paravirtual clock. Holds
 * slots_sem for reading while an hva is in use.
 */
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/uaccess.h>

#include "kernel_compat.h"
#include "memory.h"
#include "vcpu.h"
#include "vm.h"

/*
 * The slot of @gfn if it may be accessed so, or NULL. It stays while the caller holds
 * slots_sem: whoever replaces it takes that for writing before freeing it.
 */
static const struct lodge_slot *access_slot(struct lodge_memory *mem, u64 gfn, bool write)
{
	const struct lodge_slot *slot;

	lockdep_assert_held(&mem->slots_sem);
	rcu_read_lock();
	slot = lodge_slot_find(mem, gfn, NULL);
	rcu_read_unlock();
	if (slot && write && lodge_slot_readonly(slot))
		return NULL;
	return slot;
}

/* The same for a write of @vcpu, which the log must have room for. */
static const struct lodge_slot *write_slot(struct lodge_vcpu *vcpu, u64 gfn)
{
	const struct lodge_slot *slot = access_slot(&vcpu->vm->mem, gfn, true);

	if (slot && lodge_slot_logs(slot) && !lodge_ring_has_room(vcpu))
		return NULL;
	return slot;
}

static void __user *slot_user(const struct lodge_slot *slot, u64 gpa)
{
	return (void __user *)(lodge_slot_hva(slot, gpa >> PAGE_SHIFT) +
			       offset_in_page(gpa));
}

/*
 * Sizes that a CPU moves at once are moved at once: the guest may be changing the other
 * bytes of a page-table entry or a ring index. 0 or -EFAULT; checked by lodge_slot_set().
 */
static int read_user(void *buf, const void __user *user, unsigned int len)
{
	switch (len) {
	case 1:
		return __get_user(*(u8 *)buf, (const u8 __user *)user);
	case 2:
		return __get_user(*(u16 *)buf, (const u16 __user *)user);
	case 4:
		return __get_user(*(u32 *)buf, (const u32 __user *)user);
	case 8:
		return __get_user(*(u64 *)buf, (const u64 __user *)user);
	default:
		return copy_from_user(buf, user, len) ? -EFAULT : 0;
	}
}

static int write_user(void __user *user, const void *buf, unsigned int len)
{
	switch (len) {
	case 1:
		return __put_user(*(const u8 *)buf, (u8 __user *)user);
	case 2:
		return __put_user(*(const u16 *)buf, (u16 __user *)user);
	case 4:
		return __put_user(*(const u32 *)buf, (u32 __user *)user);
	case 8:
		return __put_user(*(const u64 *)buf, (u64 __user *)user);
	default:
		return copy_to_user(user, buf, len) ? -EFAULT : 0;
	}
}

int lodge_read_gpa(struct lodge_vm *vm, u64 gpa, void *buf, unsigned int len)
{
	struct lodge_memory *mem = &vm->mem;
	int ret = 0;

	down_read(&mem->slots_sem);
	while (len) {
		unsigned int part = min_t(unsigned int, len, PAGE_SIZE - offset_in_page(gpa));
		const struct lodge_slot *slot = access_slot(mem, gpa >> PAGE_SHIFT, false);

		if (!slot || read_user(buf, slot_user(slot, gpa), part)) {
			ret = -EFAULT;
			break;
		}
		buf += part;
		gpa += part;
		len -= part;
	}
	up_read(&mem->slots_sem);
	return ret;
}

int lodge_write_gpa(struct lodge_vcpu *vcpu, u64 gpa, const void *buf, unsigned int len)
{
	struct lodge_memory *mem = &vcpu->vm->mem;
	int ret = 0;

	down_read(&mem->slots_sem);
	while (len) {
		unsigned int part = min_t(unsigned int, len, PAGE_SIZE - offset_in_page(gpa));
		const struct lodge_slot *slot = write_slot(vcpu, gpa >> PAGE_SHIFT);

		if (!slot || write_user(slot_user(slot, gpa), buf, part)) {
			ret = -EFAULT;
			break;
		}
		lodge_dirty_mark(vcpu, slot, gpa >> PAGE_SHIFT);
		buf += part;
		gpa += part;
		len -= part;
	}
	up_read(&mem->slots_sem);
	return ret;
}

bool lodge_try_read_gpa(struct lodge_vcpu *vcpu, u64 gpa, u8 *value)
{
	struct lodge_memory *mem = &vcpu->vm->mem;
	const struct lodge_slot *slot;
	bool done;

	if (!down_read_trylock(&mem->slots_sem))
		return false;
	slot = access_slot(mem, gpa >> PAGE_SHIFT, false);
	pagefault_disable();
	done = slot && !__get_user(*value, (const u8 __user *)slot_user(slot, gpa));
	pagefault_enable();
	up_read(&mem->slots_sem);
	return done;
}

bool lodge_try_write_gpa(struct lodge_vcpu *vcpu, u64 gpa, u8 value)
{
	struct lodge_memory *mem = &vcpu->vm->mem;
	const struct lodge_slot *slot;
	bool done;

	if (!down_read_trylock(&mem->slots_sem))
		return false;
	slot = write_slot(vcpu, gpa >> PAGE_SHIFT);
	pagefault_disable();
	done = slot && !__put_user(value, (u8 __user *)slot_user(slot, gpa));
	pagefault_enable();
	if (done)
		lodge_dirty_mark(vcpu, slot, gpa >> PAGE_SHIFT);
	up_read(&mem->slots_sem);
	return done;
}

bool lodge_gpa_writable(struct lodge_vm *vm, u64 gpa)
{
	bool writable;

	down_read(&vm->mem.slots_sem);
	writable = access_slot(&vm->mem, gpa >> PAGE_SHIFT, true);
	up_read(&vm->mem.slots_sem);
	return writable;
}

/* User access has no form for 16 bytes: hold the page for the one instruction. */
static int cmpxchg16_user(unsigned long hva, u64 *old, const u64 *new)
{
	struct page *page;
	bool exchanged;
	void *page_kva, *kva;

	if (!boot_cpu_has(X86_FEATURE_CX16))
		return -EFAULT;
	if (pin_user_pages_fast(hva, 1, FOLL_WRITE, &page) != 1)
		return -EFAULT;
	page_kva = kmap_local_page(page);
	kva = page_kva + offset_in_page(hva);
	asm volatile("lock cmpxchg16b %[mem]"
		     : "=@ccz" (exchanged), [mem] "+m" (*(u64 (*)[2])kva),
		       "+a" (old[0]), "+d" (old[1])
		     : "b" (new[0]), "c" (new[1])
		     : "memory");
	kunmap_local(page_kva);
	unpin_user_pages_dirty_lock(&page, 1, true);
	return exchanged ? 0 : 1;
}

static int cmpxchg_user(void __user *user, void *old, const void *new, unsigned int len)
{
	switch (len) {
	case 1:
		return __try_cmpxchg_user((u8 __user *)user, (u8 *)old,
					  *(const u8 *)new, fault_8);
	case 2:
		return __try_cmpxchg_user((u16 __user *)user, (u16 *)old,
					  *(const u16 *)new, fault_16);
	case 4:
		return __try_cmpxchg_user((u32 __user *)user, (u32 *)old,
					  *(const u32 *)new, fault_32);
	case 8:
		return __try_cmpxchg_user((u64 __user *)user, (u64 *)old,
					  *(const u64 *)new, fault_64);
	case 16:
		return cmpxchg16_user((unsigned long)user, old, new);
	}
	return -EFAULT;
}

int lodge_cmpxchg_gpa(struct lodge_vcpu *vcpu, u64 gpa, void *old, const void *new,
		      unsigned int len)
{
	struct lodge_memory *mem = &vcpu->vm->mem;
	const struct lodge_slot *slot;
	int ret = -EFAULT;

	/* Within a cache line the CPU is atomic, aligned or not; 16 bytes must be aligned. */
	if (len > 16 || offset_in_page(gpa) % SMP_CACHE_BYTES + len > SMP_CACHE_BYTES ||
	    (len == 16 && gpa % 16))
		return -EFAULT;
	down_read(&mem->slots_sem);
	slot = write_slot(vcpu, gpa >> PAGE_SHIFT);
	if (slot) {
		ret = cmpxchg_user(slot_user(slot, gpa), old, new, len);
		/* A failed exchange writes the old value back: no change, no mark. */
		if (!ret)
			lodge_dirty_mark(vcpu, slot, gpa >> PAGE_SHIFT);
	}
	up_read(&mem->slots_sem);
	return ret;
}
