// SPDX-License-Identifier: GPL-2.0-only
/*
 * The state of a machine with one vCPU: see snapshot.h.
 */
#include <stdio.h>

#include "guest.h"
#include "snapshot.h"

#define MSR_MC0			0x400
#define MSR_MTRR_VAR(n)		(0x200 + (n))
#define MSR_MTRR_DEF		0x2ff

const enum snapshot_item snapshot_default_order[NR_ITEMS] = {
	IRQCHIP, PIT, SREGS, LAPIC, REGS, XSAVE, XCRS, MSRS, EVENTS, MP_STATE, DEADLINE,
	DEBUGREGS, CLOCK,
};

static void list_msrs(struct snapshot_msrs *msrs)
{
	struct {
		struct kvm_msr_list head;
		u32 indices[SNAPSHOT_MSRS];
	} list = { .head.nmsrs = SNAPSHOT_MSRS };
	int device = device_open();
	u32 i, n = 0;

	dev_ioctl(device, KVM_GET_MSR_INDEX_LIST, &list);
	close(device);
	/* The deadline is an item of its own; Hyper-V's clocks, which KVM lists, run. */
	for (i = 0; i < list.head.nmsrs; i++)
		if (list.indices[i] != MSR_TSC_DEADLINE && list.indices[i] >> 8 != 0x400000)
			msrs->entries[n++].index = list.indices[i];
	/* Not in the list, but saved by VMMs. */
	for (i = 0; i < 16; i++)
		msrs->entries[n++].index = MSR_MTRR_VAR(i);
	msrs->entries[n++].index = MSR_MTRR_DEF;
	for (i = 0; i < SNAPSHOT_MCE_BANKS * 4; i++)
		msrs->entries[n++].index = MSR_MC0 + i;
	if (n > SNAPSHOT_MSRS)
		TEST_DIE("%u MSRs", n);
	msrs->head.nmsrs = n;
}

static void access_msrs(struct test_vcpu *vcpu, struct snapshot_msrs *msrs, unsigned long cmd)
{
	int done = __vcpu_ioctl(vcpu, cmd, msrs);

	if (done != (int)msrs->head.nmsrs)
		TEST_DIE("MSR %#x refused (%s)", msrs->entries[done].index,
			 cmd == KVM_GET_MSRS ? "get" : "set");
}

void snapshot_save(struct test_vcpu *vcpu, struct snapshot *s)
{
	u32 i;

	memset(s, 0, sizeof(*s));
	list_msrs(&s->msrs);
	vm_ioctl(vcpu->vm, KVM_GET_CLOCK, &s->clock);
	vcpu_ioctl(vcpu, KVM_GET_REGS, &s->regs);
	vcpu_ioctl(vcpu, KVM_GET_SREGS2, &s->sregs);
	vcpu_ioctl(vcpu, KVM_GET_XSAVE, &s->xsave);
	vcpu_ioctl(vcpu, KVM_GET_XCRS, &s->xcrs);
	vcpu_ioctl(vcpu, KVM_GET_DEBUGREGS, &s->debugregs);
	vcpu_ioctl(vcpu, KVM_GET_VCPU_EVENTS, &s->events);
	vcpu_ioctl(vcpu, KVM_GET_MP_STATE, &s->mp_state);
	vcpu_ioctl(vcpu, KVM_GET_LAPIC, &s->lapic);
	access_msrs(vcpu, &s->msrs, KVM_GET_MSRS);
	s->tsc_deadline = vcpu_get_msr(vcpu, MSR_TSC_DEADLINE);
	for (i = 0; i < 3; i++) {
		s->chip[i].chip_id = i;
		vm_ioctl(vcpu->vm, KVM_GET_IRQCHIP, &s->chip[i]);
	}
	vm_ioctl(vcpu->vm, KVM_GET_PIT2, &s->pit);
}

void snapshot_restore(struct test_vcpu *vcpu, struct snapshot *s, enum snapshot_item item)
{
	struct kvm_clock_data clock = { .clock = s->clock.clock };
	u32 i;

	switch (item) {
	case SREGS:
		vcpu_ioctl(vcpu, KVM_SET_SREGS2, &s->sregs);
		break;
	case REGS:
		vcpu_ioctl(vcpu, KVM_SET_REGS, &s->regs);
		break;
	case XSAVE:
		vcpu_ioctl(vcpu, KVM_SET_XSAVE, &s->xsave);
		break;
	case XCRS:
		vcpu_ioctl(vcpu, KVM_SET_XCRS, &s->xcrs);
		break;
	case MSRS:
		access_msrs(vcpu, &s->msrs, KVM_SET_MSRS);
		break;
	case EVENTS:
		vcpu_ioctl(vcpu, KVM_SET_VCPU_EVENTS, &s->events);
		break;
	case MP_STATE:
		vcpu_ioctl(vcpu, KVM_SET_MP_STATE, &s->mp_state);
		break;
	case LAPIC:
		vcpu_ioctl(vcpu, KVM_SET_LAPIC, &s->lapic);
		break;
	case DEADLINE:
		vcpu_set_msr(vcpu, MSR_TSC_DEADLINE, s->tsc_deadline);
		break;
	case DEBUGREGS:
		vcpu_ioctl(vcpu, KVM_SET_DEBUGREGS, &s->debugregs);
		break;
	case IRQCHIP:
		for (i = 0; i < 3; i++)
			vm_ioctl(vcpu->vm, KVM_SET_IRQCHIP, &s->chip[i]);
		break;
	case PIT:
		vm_ioctl(vcpu->vm, KVM_SET_PIT2, &s->pit);
		break;
	default:
		vm_ioctl(vcpu->vm, KVM_SET_CLOCK, &clock);
	}
}

/* What goes on by itself is made equal where it is later, and by less than a minute. */
static void settle(u64 *old, u64 *new, u64 second)
{
	if (*new >= *old && *new - *old < 60 * second)
		*new = *old;
}

static void settle_time(struct snapshot *old, struct snapshot *new)
{
	u32 *count[] = {
		(u32 *)(old->lapic.regs + APIC_TMCCT), (u32 *)(new->lapic.regs + APIC_TMCCT),
	};
	u32 i;

	for (i = 0; i < new->msrs.head.nmsrs; i++)
		if (new->msrs.entries[i].index == MSR_TSC)
			settle((u64 *)&old->msrs.entries[i].data,
			       (u64 *)&new->msrs.entries[i].data, 10000000000);
	settle((u64 *)&old->clock.clock, (u64 *)&new->clock.clock, 1000000000);
	new->clock.host_tsc = old->clock.host_tsc;
	new->clock.realtime = old->clock.realtime;
	if (*count[1] && *count[0])
		*count[1] = *count[0];
	for (i = 0; i < 3; i++)
		new->pit.channels[i].count_load_time = old->pit.channels[i].count_load_time;
}

#define PART(name) \
	{ #name, offsetof(struct snapshot, name), sizeof(((struct snapshot *)0)->name) }

/* All but the MSRs. */
static const struct {
	const char *name;
	size_t offset, size;
} parts[] = {
	PART(regs), PART(sregs), PART(xsave), PART(xcrs), PART(debugregs), PART(events),
	PART(mp_state), PART(lapic), PART(tsc_deadline), PART(chip), PART(pit), PART(clock),
};

bool snapshot_same(struct snapshot *old, struct snapshot *new)
{
	bool ok = true;
	u32 i;

	settle_time(old, new);
	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		if (!memcmp((char *)old + parts[i].offset, (char *)new + parts[i].offset,
			    parts[i].size))
			continue;
		printf("# the %s differs\n", parts[i].name);
		ok = false;
	}
	for (i = 0; i < old->msrs.head.nmsrs; i++) {
		if (old->msrs.entries[i].data == new->msrs.entries[i].data)
			continue;
		printf("# MSR %#x differs\n", old->msrs.entries[i].index);
		ok = false;
	}
	return ok;
}

void snapshot_make_machine(struct test_vm *vm, struct test_vcpu *vcpu)
{
	struct kvm_pit_config pit = {};
	u64 mcg_cap;
	int device;

	vm_create(vm);
	vm_create_irqchip(vm);
	vm_ioctl(vm, KVM_CREATE_PIT2, &pit);
	vcpu_create(vm, vcpu, 0);
	vcpu_set_supported_cpuid(vcpu);
	device = device_open();
	dev_ioctl(device, KVM_X86_GET_MCE_CAP_SUPPORTED, &mcg_cap);
	close(device);
	mcg_cap |= SNAPSHOT_MCE_BANKS;
	vcpu_ioctl(vcpu, KVM_X86_SETUP_MCE, &mcg_cap);
}
