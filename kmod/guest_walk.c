// SPDX-License-Identifier: GPL-2.0-only
/*
 * Walks the guest's own page tables as its CPU would, for the emulator. Called in the
 * vCPU's thread with its mutex held, which guards the state it reads; guest memory is
 * reached through guest_access.c.
 *
 * Intel SDM volume 3, "Paging"; AMD APM volume 2, "Page Translation and Protection".
 */
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/rcupdate.h>
#include <linux/uaccess.h>
#include <asm/cpufeature.h>
#include <asm/msr-index.h>
#include <asm/pkru.h>
#include <asm/processor-flags.h>

#include "kernel_compat.h"
#include "backend.h"
#include "memory.h"
#include "state.h"
#include "vcpu.h"
#include "vm.h"

#define PTE_P		BIT_ULL(0)
#define PTE_W		BIT_ULL(1)
#define PTE_U		BIT_ULL(2)
#define PTE_A		BIT_ULL(5)
#define PTE_D		BIT_ULL(6)
#define PTE_PS		BIT_ULL(7)
#define PTE_NX		BIT_ULL(63)
#define PTE_ADDRESS	GENMASK_ULL(51, 12)

#define PF_P		BIT(0)
#define PF_W		BIT(1)
#define PF_U		BIT(2)
#define PF_RSVD		BIT(3)
#define PF_I		BIT(4)
#define PF_PK		BIT(5)

#define PTE_KEY_SHIFT	59
#define PTE_KEY_MASK	15

#define MAX_LEVELS	5
#define WALK_TRIES	16

enum walk_mode { WALK_32, WALK_PAE, WALK_LONG };

struct walk {
	struct lodge_vcpu *vcpu;
	u64 gva;
	u32 access;
	enum walk_mode mode;
	unsigned int levels;
	bool nxe;

	/* what the levels so far grant together */
	bool user, write, nx;

	/* each level's entry and where it is, for the accessed and dirty bits */
	u64 pte[MAX_LEVELS + 1];
	u64 pte_gpa[MAX_LEVELS + 1];
	unsigned int leaf;		/* level of the leaf */
};

static unsigned int level_shift(const struct walk *w, unsigned int level)
{
	return PAGE_SHIFT + (level - 1) * (w->mode == WALK_32 ? 10 : 9);
}

static unsigned int pte_size(const struct walk *w)
{
	return w->mode == WALK_32 ? 4 : 8;
}

/* Chooses the paging mode; the address of the top table. */
static u64 walk_begin(struct walk *w)
{
	const struct lodge_state *st = &w->vcpu->st;

	w->nxe = st->efer & EFER_NX;
	w->user = true;
	w->write = true;
	w->nx = false;
	if (lodge_is_long_mode(w->vcpu)) {
		w->mode = WALK_LONG;
		w->levels = st->cr4 & X86_CR4_LA57 ? 5 : 4;
		return st->cr3 & PTE_ADDRESS & ~w->vcpu->phys_reserved;
	}
	w->gva = (u32)w->gva;
	if (st->cr4 & X86_CR4_PAE) {
		w->mode = WALK_PAE;
		w->levels = 3;
		return st->cr3 & 0xffffffe0;
	}
	w->mode = WALK_32;
	w->levels = 2;
	return st->cr3 & 0xfffff000;
}

static bool is_leaf(const struct walk *w, u64 pte, unsigned int level)
{
	if (level == 1)
		return true;
	if (!(pte & PTE_PS))
		return false;
	switch (w->mode) {
	case WALK_32:
		return w->vcpu->st.cr4 & X86_CR4_PSE;
	case WALK_PAE:
		return level == 2;
	default:
		return level == 2 || (level == 3 && boot_cpu_has(X86_FEATURE_GBPAGES));
	}
}

/*
 * Bits that must be 0 in a present entry. The CPU under us does the walks that are not
 * ours, so its rules and page sizes decide, whatever the guest's CPUID says.
 */
static u64 reserved_bits(const struct walk *w, u64 pte, unsigned int level)
{
	u64 reserved = w->vcpu->phys_reserved & PTE_ADDRESS;
	bool leaf = is_leaf(w, pte, level);

	switch (w->mode) {
	case WALK_32:
		if (!leaf || level == 1)
			return 0;
		/* PSE-36: bits 20..13 are bits 39..32 of the address, as far as it goes */
		return BIT_ULL(21) | ((w->vcpu->phys_reserved >> 32 & 0xff) << 13);
	case WALK_PAE:
		/*
		 * The CPU checked the four top entries when it loaded or used them; QEMU's
		 * sets A in them all the same, which no check here may trip over.
		 */
		if (level == 3)
			return 0;
		reserved |= GENMASK_ULL(62, 52);
		break;
	case WALK_LONG:
		if (level > 3 || (level == 3 && !boot_cpu_has(X86_FEATURE_GBPAGES)))
			reserved |= PTE_PS;
		if (level > 2 && !leaf)
			reserved |= lodge_backend->table_reserved;
		break;
	}
	if (!w->nxe)
		reserved |= PTE_NX;
	/* between the frame of a large leaf and its flags, but for PAT in bit 12 */
	if (leaf && level > 1)
		reserved |= GENMASK_ULL(level_shift(w, level) - 1, PAGE_SHIFT + 1);
	return reserved;
}

/* The error code's bits that depend on the access alone. */
static u32 access_error(const struct walk *w)
{
	u32 error = 0;

	if (w->access & LODGE_WALK_WRITE)
		error |= PF_W;
	if (w->access & LODGE_WALK_USER)
		error |= PF_U;
	if (w->access & LODGE_WALK_EXEC &&
	    ((w->nxe && w->mode != WALK_32) || w->vcpu->st.cr4 & X86_CR4_SMEP))
		error |= PF_I;
	return error;
}

static bool allowed(const struct walk *w)
{
	const struct lodge_state *st = &w->vcpu->st;

	if (w->access & LODGE_WALK_EXEC && w->nx)
		return false;
	if (w->access & LODGE_WALK_USER)
		return w->user && (w->write || !(w->access & LODGE_WALK_WRITE));

	if (w->access & LODGE_WALK_WRITE && !w->write && st->cr0 & X86_CR0_WP)
		return false;
	if (!w->user)
		return true;
	if (w->access & LODGE_WALK_EXEC)
		return !(st->cr4 & X86_CR4_SMEP);
	/* An access to a system table on behalf of CPL 3 is implicit: AC means nothing. */
	return !(st->cr4 & X86_CR4_SMAP) || (st->cpl < 3 && st->rflags & X86_EFLAGS_AC);
}

/* Does the protection key of the leaf deny a data access to a user page? */
static bool key_denies(const struct walk *w)
{
	const struct lodge_state *st = &w->vcpu->st;
	u32 rights;

	if (!(st->cr4 & X86_CR4_PKE) || w->mode != WALK_LONG || !w->user ||
	    w->access & LODGE_WALK_EXEC)
		return false;
	rights = lodge_fpu_pkru(w->vcpu) >>
		 2 * (w->pte[w->leaf] >> PTE_KEY_SHIFT & PTE_KEY_MASK);
	if (rights & PKRU_AD_BIT)
		return true;
	return rights & PKRU_WD_BIT && w->access & LODGE_WALK_WRITE &&
	       (w->access & LODGE_WALK_USER || st->cr0 & X86_CR0_WP);
}

/* Where there is no memory, there is no entry: 0, as KVM takes it. */
static u64 read_pte(struct walk *w, u64 gpa, unsigned int level)
{
	/* Aligned, so one access: the guest may be changing it. */
	w->pte[level] = 0;	/* of which 4 bytes may be read */
	w->pte_gpa[level] = gpa;
	if (w->mode == WALK_PAE && level == 3 && lodge_backend->keeps_pdptes)
		w->pte[level] = w->vcpu->st.pdptr[gpa / sizeof(u64) % 4];
	else if (lodge_read_gpa(w->vcpu->vm, gpa, &w->pte[level], pte_size(w)))
		w->pte[level] = 0;
	return w->pte[level];
}

/* Down to the leaf: 0; 1 and *error. */
static int walk_down(struct walk *w, u64 table, u32 *error)
{
	unsigned int index_bits = w->mode == WALK_32 ? 10 : 9;
	unsigned int level;

	for (level = w->levels; ; level--) {
		u64 index = w->gva >> level_shift(w, level) & (BIT_ULL(index_bits) - 1);
		u64 pte = read_pte(w, table + index * pte_size(w), level);

		if (!(pte & PTE_P)) {
			*error = access_error(w);
			return 1;
		}
		if (pte & reserved_bits(w, pte, level)) {
			*error = access_error(w) | PF_P | PF_RSVD;
			return 1;
		}
		/* The four top entries of PAE grant everything. */
		if (w->mode != WALK_PAE || level < 3) {
			w->user &= !!(pte & PTE_U);
			w->write &= !!(pte & PTE_W);
			w->nx |= w->mode != WALK_32 && pte & PTE_NX;
		}
		if (is_leaf(w, pte, level))
			break;
		table = pte & PTE_ADDRESS;
	}
	w->leaf = level;
	*error = access_error(w) | PF_P;
	if (key_denies(w)) {
		*error |= PF_PK;
		return 1;
	}
	return !allowed(w);
}

/*
 * Sets A in each entry used and D in the leaf of a write: 0; 1 when an entry had changed
 * under us and the walk must begin again.
 */
static int set_accessed_dirty(struct walk *w)
{
	unsigned int level;

	for (level = w->levels; level >= w->leaf; level--) {
		u64 old = w->pte[level], new = old | PTE_A;
		int ret;

		if (w->mode == WALK_PAE && level == 3)
			continue;
		if (level == w->leaf && w->access & LODGE_WALK_WRITE)
			new |= PTE_D;
		if (new == old)
			continue;
		ret = lodge_cmpxchg_gpa(w->vcpu, w->pte_gpa[level], &old, &new, pte_size(w));
		/* Tables in a read-only slot keep their bits, as ROM does on a bus. */
		if (ret > 0)
			return 1;
	}
	return 0;
}

static u64 leaf_gpa(const struct walk *w)
{
	u64 offset = BIT_ULL(level_shift(w, w->leaf)) - 1;
	u64 pte = w->pte[w->leaf];
	u64 frame = pte & PTE_ADDRESS & ~offset;

	if (w->mode == WALK_32 && w->leaf == 2)
		frame = (pte & 0xffc00000) | (pte >> 13 & 0xff) << 32;
	return frame | (w->gva & offset);
}

int lodge_walk(struct lodge_vcpu *vcpu, u64 gva, u32 access, u64 *gpa, u32 *error)
{
	unsigned int tries = WALK_TRIES;
	struct walk w;
	u64 table;
	int ret;

	if (!lodge_is_paging(vcpu)) {
		*gpa = (u32)gva;
		return 0;
	}
	do {
		w.vcpu = vcpu;
		w.gva = gva;
		w.access = access;
		table = walk_begin(&w);
		ret = walk_down(&w, table, error);
		if (ret)
			return ret;
		/* Another vCPU that keeps changing the entries must not hold us for ever. */
		if (!tries--)
			return -EAGAIN;
	} while (set_accessed_dirty(&w));

	*gpa = leaf_gpa(&w);
	return 0;
}

/* Where @gpa is in the host, under slots_sem and RCU; or NULL. */
static const u64 __user *find_word(struct lodge_vcpu *vcpu, u64 gpa)
{
	u64 gfn = gpa >> PAGE_SHIFT;
	const struct lodge_slot *slot = lodge_slot_find(&vcpu->vm->mem, gfn, &vcpu->code_hint);

	return slot ? (const u64 __user *)(lodge_slot_hva(slot, gfn) + offset_in_page(gpa)) : NULL;
}

/* From the top table down to the page of @gva; false when anything is not as usual. */
static bool walk_to_code(struct lodge_vcpu *vcpu, struct lodge_code_page *c, u64 cr3, u64 gva)
{
	unsigned int shift = PAGE_SHIFT + (vcpu->st.cr4 & X86_CR4_LA57 ? 4 * 9 : 3 * 9);
	u64 reserved = vcpu->phys_reserved & PTE_ADDRESS;
	u64 pte = cr3 & ~reserved, offset;
	unsigned int n = 0;
	const u64 __user *at;

	for (;; shift -= 9) {
		at = find_word(vcpu, (pte & PTE_ADDRESS) + (gva >> shift & 511) * 8);
		if (!at || __get_user(pte, at) || !(pte & PTE_P) || pte & reserved)
			return false;
		c->way[n].at = at;
		c->way[n++].pte = pte;
		if (shift == PAGE_SHIFT || pte & PTE_PS)
			break;
	}
	/* Whatever else the entry may be, it is no leaf of 512 GiB. */
	if (shift > PAGE_SHIFT + 2 * 9)
		return false;
	offset = (BIT_ULL(shift) - 1) & PAGE_MASK;
	c->code = (const u8 __user *)find_word(vcpu, (pte & PTE_ADDRESS & ~offset) |
						     (gva & offset));
	c->end = c->way + n;
	return c->code;
}

/* CR3, and 5 levels or 4: bit 63 of CR3 reads as 0. */
static u64 code_key(const struct lodge_vcpu *vcpu, u64 cr3)
{
	return cr3 | (vcpu->st.cr4 & X86_CR4_LA57) << 51;
}

static noinline bool find_code(struct lodge_vcpu *vcpu, struct lodge_code_page *c, u64 cr3,
			       u64 gva)
{
	struct lodge_memory *mem = &vcpu->vm->mem;
	bool found;

	if (!down_read_trylock(&mem->slots_sem))
		return false;
	/* Before the slots are looked up: see lodge_slot_find(). */
	c->gone = smp_load_acquire(&mem->slots_gone);
	rcu_read_lock();
	pagefault_disable();
	found = walk_to_code(vcpu, c, cr3, gva);
	pagefault_enable();
	rcu_read_unlock();
	up_read(&mem->slots_sem);
	c->key = code_key(vcpu, cr3);
	c->page = found ? gva >> PAGE_SHIFT : ~0ull;
	return found;
}

/*
 * Two words at @offset into the page, if the way there still is what it was. The addresses
 * were checked when their slots came: see read_user(). No lock keeps the slots: but if none
 * has gone in the end, what was read is the guest's.
 */
static __always_inline bool read_code(const struct lodge_memory *mem,
				      const struct lodge_code_page *c, unsigned int offset,
				      u64 bytes[2])
{
	const struct lodge_code_step *step = c->way;
	u64 first, second, pte;

	pagefault_disable();
	if (!user_read_access_begin(c->code, PAGE_SIZE))
		goto out;
	do {
		unsafe_get_user(pte, step->at, fault);
		if (unlikely(pte != step->pte))
			goto fault;
	} while (++step != c->end);
	unsafe_get_user(first, (const u64 __user *)(c->code + offset), fault);
	unsafe_get_user(second, (const u64 __user *)(c->code + offset + 8), fault);
	user_read_access_end();
	pagefault_enable();
	bytes[0] = first;
	bytes[1] = second;
	/* Pairs with swap_slots(). */
	smp_rmb();
	return READ_ONCE(mem->slots_gone) == c->gone;
fault:
	user_read_access_end();
out:
	pagefault_enable();
	return false;
}

/* Drops the first @nr of 16 bytes. */
static void drop_bytes(u64 bytes[2], unsigned int nr)
{
	if (nr < 8)
		bytes[0] = bytes[0] >> (8 * nr) | bytes[1] << (64 - 8 * nr);
	else
		bytes[0] = bytes[1] >> (8 * nr - 64);
	bytes[1] = nr < 8 ? bytes[1] >> (8 * nr) : 0;
}

/* Anew, or at the end of a page, where there are fewer than 16 bytes. */
static noinline unsigned int fetch_anew(struct lodge_vcpu *vcpu, struct lodge_code_page *c,
					u64 cr3, u64 gva, u64 bytes[2])
{
	unsigned int offset = min_t(unsigned int, offset_in_page(gva), PAGE_SIZE - 16);
	unsigned int past = offset_in_page(gva) - offset;

	if (!find_code(vcpu, c, cr3, gva) || !read_code(&vcpu->vm->mem, c, offset, bytes))
		return 0;
	if (past)
		drop_bytes(bytes, past);
	return 16 - past;
}

unsigned int lodge_fetch_quick(struct lodge_vcpu *vcpu, u64 cr3, u64 gva, u64 bytes[2])
{
	struct lodge_code_page *c = &vcpu->code_page[gva >> PAGE_SHIFT & (LODGE_CODE_PAGES - 1)];
	struct lodge_memory *mem = &vcpu->vm->mem;

	if (likely(c->page == gva >> PAGE_SHIFT && c->key == code_key(vcpu, cr3) &&
		   offset_in_page(gva) <= PAGE_SIZE - 16 &&
		   c->gone == READ_ONCE(mem->slots_gone) &&
		   read_code(mem, c, offset_in_page(gva), bytes)))
		return 16;
	return fetch_anew(vcpu, c, cr3, gva, bytes);
}

void lodge_translate(struct lodge_vcpu *vcpu, struct kvm_translation *tr)
{
	u64 gpa;
	u32 error;

	lodge_state_get(vcpu, LODGE_ST_SEGS | LODGE_ST_CRS);
	tr->valid = !lodge_walk(vcpu, tr->linear_address, 0, &gpa, &error);
	tr->physical_address = tr->valid ? gpa : ~0ull;
	/* What KVM says, whatever the tables do. */
	tr->writeable = 1;
	tr->usermode = 0;
}
