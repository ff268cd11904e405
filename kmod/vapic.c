// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_CAP_VAPIC: 32-bit guests that a VMM patches so that they keep their task priority
 * in a page of their memory, and the reports of TPR accesses by which it finds what to
 * patch. Called by vcpu.c and run.c on the vCPU's thread; vcpu->mutex is held.
 */
#include "memory.h"
#include "vapic.h"
#include "vm.h"

/**
 * lodge_set_vapic_addr() - serve KVM_SET_VAPIC_ADDR
 * @vcpu: the vCPU
 * @addr: guest-physical address of a 32-bit word, or 0 for none
 *
 * The word: task priority, class in service, 0, highest request; a byte each.
 *
 * Return: 0; -EINVAL without an in-kernel local APIC, or when no memory is there.
 */
int lodge_set_vapic_addr(struct lodge_vcpu *vcpu, u64 addr)
{
	u32 word;

	if (!vcpu->lapic)
		return -EINVAL;
	if (addr && lodge_read_gpa(vcpu->vm, addr, &word, sizeof(word)))
		return -EINVAL;
	vcpu->vapic_addr = addr;
	return 0;
}

void lodge_vapic_to_guest(struct lodge_vcpu *vcpu)
{
	u32 word = lapic_vapic_word(vcpu->lapic);

	lodge_write_gpa(vcpu, vcpu->vapic_addr, &word, sizeof(word));
}

void lodge_vapic_from_guest(struct lodge_vcpu *vcpu)
{
	u32 word;

	if (!lodge_read_gpa(vcpu->vm, vcpu->vapic_addr, &word, sizeof(word)))
		lapic_set_tpr(vcpu->lapic, word & 0xff);
}

/* The LAPIC says so, before the access is done: RIP is that of the instruction. */
void lodge_tpr_access(struct lodge_vcpu *vcpu, bool write)
{
	vcpu->tpr_rip = vcpu->st.rip;
	vcpu->tpr_write = write;
	lodge_make_request(vcpu, LODGE_REQ_TPR_ACCESS);
}

/**
 * lodge_exit_tpr_access() - tell user space of an access to the TPR
 * @vcpu: the vCPU
 *
 * Return: LODGE_TO_USER.
 */
int lodge_exit_tpr_access(struct lodge_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_TPR_ACCESS;
	run->tpr_access.rip = vcpu->tpr_rip;
	run->tpr_access.is_write = vcpu->tpr_write;
	return LODGE_TO_USER;
}
