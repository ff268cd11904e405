/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KVM's dirty rings: each vCPU tells user space by entries in a ring of its own which
 * pages it has written. See dirty_ring.c.
 */
#ifndef LODGE_DIRTY_RING_H
#define LODGE_DIRTY_RING_H

#include <linux/kvm.h>
#include <linux/types.h>

struct lodge_memory;
struct lodge_slot;
struct lodge_vcpu;
struct lodge_vm;

/* Bytes of the largest ring, KVM's limit: what the capability's value is. */
#define LODGE_RING_MAX_BYTES	(65536 * sizeof(struct kvm_dirty_gfn))

struct lodge_ring {
	struct kvm_dirty_gfn *entries;	/* user space maps them: it may write anything there */
	u32 size;			/* in entries, a power of two; 0: there is no ring */
	u32 pushed;			/* count, wraps; written under vcpu->mutex */
	u32 reset;			/* count, wraps; written under slots_lock */
	struct kvm_dirty_gfn last;	/* our copy of the entry that was pushed last */
};

/* KVM_ENABLE_CAP of DIRTY_LOG_RING and _ACQ_REL: 0, -EINVAL, -E2BIG. */
int lodge_ring_enable(struct lodge_vm *vm, u32 bytes);

/* A vCPU's birth, vm->lock held: 0 or -ENOMEM; and its end. */
int lodge_ring_create(struct lodge_vcpu *vcpu);
void lodge_ring_destroy(struct lodge_vcpu *vcpu);

/* The ring's page @pgoff, for a mapping, without a reference; or NULL. */
struct page *lodge_ring_page(struct lodge_vcpu *vcpu, unsigned long pgoff);

/* The vCPU's thread, any tier: may one more page be written? */
bool lodge_ring_has_room(struct lodge_vcpu *vcpu);
/* The same thread, after it made sure of that: the page at @offset in @slot was written. */
void lodge_ring_push(struct lodge_vcpu *vcpu, const struct lodge_slot *slot, u64 offset);

/* Serves LODGE_REQ_RING_FULL: true when user space must empty the ring before an entry. */
bool lodge_ring_must_exit(struct lodge_vcpu *vcpu);

/* KVM_RESET_DIRTY_RINGS: entries taken; -EINVAL without rings; -EINTR. */
int lodge_rings_reset(struct lodge_vm *vm);

#endif
