// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a guest keeps of its local APIC in its own memory, to save exits: the end of an
 * interrupt (PV EOI), and for 32-bit guests that a VMM patches the task priority
 * (KVM_CAP_VAPIC, with the reports of TPR accesses by which it finds what to patch).
 * Called by vcpu.c, run.c, events.c and msr.c on the vCPU's thread; vcpu->mutex is held.
 */
#include "memory.h"
#include "vapic.h"
#include "vm.h"

/*
 * PV EOI, as the kernel's Documentation/virt/kvm/x86/msr.rst has it: while bit 0 of a byte
 * of the guest's is set, the guest ends an interrupt by clearing it. The bit is only set
 * in the guest: wherever user space or another exit can look, the LAPIC says all.
 */
static u64 eoi_gpa(const struct lodge_vcpu *vcpu)
{
	return vcpu->pv.eoi_msr & ~(u64)KVM_MSR_ENABLED;
}

int lodge_pv_eoi_set_msr(struct lodge_vcpu *vcpu, u64 data)
{
	u64 gpa = data & ~(u64)KVM_MSR_ENABLED;

	if (!IS_ALIGNED(gpa, 4))
		return 1;
	if (data & KVM_MSR_ENABLED && !lodge_gpa_writable(vcpu->vm, gpa))
		return 1;
	vcpu->pv.eoi_msr = data;
	return 0;
}

void lodge_pv_eoi_offer(struct lodge_vcpu *vcpu)
{
	if (vcpu->lapic && lapic_eoi_is_private(vcpu->lapic) &&
	    lodge_try_write_gpa(vcpu, eoi_gpa(vcpu), KVM_PV_EOI_ENABLED))
		vcpu->apic_memory |= LODGE_APIC_EOI;
}

static void pv_eoi_taken(struct lodge_vcpu *vcpu, u8 byte)
{
	vcpu->apic_memory &= ~LODGE_APIC_EOI;
	if (!(byte & KVM_PV_EOI_ENABLED))
		lapic_eoi(vcpu->lapic);
}

void lodge_pv_eoi_take(struct lodge_vcpu *vcpu)
{
	u8 byte;

	if (!(vcpu->apic_memory & LODGE_APIC_EOI) ||
	    !lodge_try_read_gpa(vcpu, eoi_gpa(vcpu), &byte))
		return;
	if (byte & KVM_PV_EOI_ENABLED && !lodge_try_write_gpa(vcpu, eoi_gpa(vcpu), 0))
		return;
	pv_eoi_taken(vcpu, byte);
}

static void pv_eoi_take_sleeping(struct lodge_vcpu *vcpu)
{
	u8 byte, none = 0;

	/* Where it cannot be known, an EOI too many is better than none, as in KVM. */
	if (lodge_read_gpa(vcpu->vm, eoi_gpa(vcpu), &byte, sizeof(byte)))
		byte = 0;
	if (byte & KVM_PV_EOI_ENABLED)
		lodge_write_gpa(vcpu, eoi_gpa(vcpu), &none, sizeof(none));
	pv_eoi_taken(vcpu, byte);
}

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
	vcpu->apic_memory = addr ? LODGE_APIC_TPR : 0;
	lodge_make_request(vcpu, LODGE_REQ_INTERCEPTS);
	return 0;
}

void lodge_apic_to_guest(struct lodge_vcpu *vcpu)
{
	u32 word = lapic_vapic_word(vcpu->lapic);

	lodge_write_gpa(vcpu, vcpu->vapic_addr, &word, sizeof(word));
}

void lodge_apic_from_guest(struct lodge_vcpu *vcpu)
{
	u32 word;

	if (vcpu->apic_memory & LODGE_APIC_EOI)
		pv_eoi_take_sleeping(vcpu);
	if (vcpu->apic_memory & LODGE_APIC_TPR &&
	    !lodge_read_gpa(vcpu->vm, vcpu->vapic_addr, &word, sizeof(word)))
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
