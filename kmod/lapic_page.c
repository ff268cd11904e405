// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the page that stands in a VM's stage 2 for the registers of its local APICs, where
 * the CPU itself works them (backend->lapic_page): what a guest reads or writes there
 * reaches the registers of the vCPU that runs, and never the page.
 *
 * To a vCPU whose LAPIC is not the CPU's, or not there, it would be memory, and all have
 * the same tables. So it is mapped only while there is no such "stranger", and no slot in
 * its place; an access without it is emulated as ever. Called by vCPUs' threads, at a
 * vCPU's birth and when slots change; mem->lock guards the mapping and the count.
 */
#include <linux/gfp.h>
#include <linux/io.h>

#include "backend.h"
#include "stage2.h"
#include "vcpu.h"
#include "vm.h"

#define LAPIC_GFN	(LAPIC_DEFAULT_BASE >> PAGE_SHIFT)

int lodge_lapic_page_init(struct lodge_memory *mem)
{
	if (!lodge_backend->lapic_page)
		return 0;
	mem->lapic_page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	return mem->lapic_page ? 0 : -ENOMEM;
}

void lodge_lapic_page_destroy(struct lodge_memory *mem)
{
	if (mem->lapic_page)
		__free_page(mem->lapic_page);
	mem->lapic_page = NULL;
}

/* Nobody uses the page when this returns. */
static void add_stranger(struct lodge_memory *mem)
{
	struct lodge_s2_batch batch = { .may_sleep = true };

	spin_lock(&mem->lock);
	mem->lapic_strangers++;
	lodge_lapic_page_unmap(mem, LAPIC_GFN, 1, &batch);
	lodge_stage2_unlock(mem, &batch);
}

void lodge_lapic_page_unmap(struct lodge_memory *mem, u64 gfn, u64 npages,
			    struct lodge_s2_batch *batch)
{
	if (mem->lapic_page_mapped && LAPIC_GFN >= gfn && LAPIC_GFN - gfn < npages) {
		mem->lapic_page_mapped = false;
		lodge_stage2_zap_range(mem, LAPIC_GFN, LAPIC_GFN + 1, batch);
	}
}

void lodge_lapic_page_join(struct lodge_vcpu *vcpu)
{
	if (lodge_backend->lapic_page)
		add_stranger(&vcpu->vm->mem);
}

void lodge_lapic_page_use(struct lodge_vcpu *vcpu, bool use)
{
	struct lodge_memory *mem = &vcpu->vm->mem;

	if (vcpu->uses_lapic_page == use)
		return;
	vcpu->uses_lapic_page = use;
	if (!use) {
		add_stranger(mem);
		return;
	}
	spin_lock(&mem->lock);
	mem->lapic_strangers--;
	spin_unlock(&mem->lock);
}

bool lodge_lapic_page_map(struct lodge_vcpu *vcpu, u64 gpa)
{
	struct lodge_memory *mem = &vcpu->vm->mem;
	struct lodge_s2_batch batch = { .may_sleep = true };
	struct lodge_s2_leaf leaf = {
		.gfn = LAPIC_GFN,
		.level = 1,
		.writable = true,
		.host_writable = true,
		.ram = true,
	};

	if (gpa >> PAGE_SHIFT != LAPIC_GFN || !vcpu->uses_lapic_page)
		return false;
	leaf.pfn = page_to_pfn(mem->lapic_page);
	spin_lock(&mem->lock);
	while (!mem->lapic_strangers && !mem->lapic_page_mapped &&
	       !lodge_slot_find(mem, LAPIC_GFN, NULL)) {
		mem->lapic_page_mapped = !lodge_stage2_map(mem, &leaf, &batch);
		if (!mem->lapic_page_mapped && !lodge_stage2_refill(mem, &batch))
			break;
	}
	/* Also when another vCPU was faster; that it is taken away again ends in a fault. */
	leaf.writable = mem->lapic_page_mapped;
	lodge_stage2_unlock(mem, &batch);
	return leaf.writable;
}
