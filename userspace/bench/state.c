// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rows about a vCPU's state: reading and writing it.  Called by bench.c in a process of its
 * own; no lock.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "bench.h"

#define NR_MSRS		100

struct msrs {
	struct kvm_msrs head;
	struct kvm_msr_entry entries[NR_MSRS];
};

/* All that a VMM saves of a vCPU. */
static struct {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_xsave xsave;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_lapic_state lapic;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;
	struct msrs msrs;
} state;

/* In the order in which they are written, which matters. */
static const struct part {
	unsigned long get, set;
	void *data;
	const char *name;
} parts[] = {
	{ KVM_GET_SREGS, KVM_SET_SREGS, &state.sregs, "KVM_GET/SET_SREGS" },
	{ KVM_GET_XCRS, KVM_SET_XCRS, &state.xcrs, "KVM_GET/SET_XCRS" },
	{ KVM_GET_XSAVE, KVM_SET_XSAVE, &state.xsave, "KVM_GET/SET_XSAVE" },
	{ KVM_GET_MSRS, KVM_SET_MSRS, &state.msrs, "KVM_GET/SET_MSRS" },
	{ KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, &state.debugregs, "KVM_GET/SET_DEBUGREGS" },
	{ KVM_GET_LAPIC, KVM_SET_LAPIC, &state.lapic, "KVM_GET/SET_LAPIC" },
	{ KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, &state.events, "KVM_GET/SET_VCPU_EVENTS" },
	{ KVM_GET_MP_STATE, KVM_SET_MP_STATE, &state.mp_state, "KVM_GET/SET_MP_STATE" },
	{ KVM_GET_REGS, KVM_SET_REGS, &state.regs, "KVM_GET/SET_REGS" },
};

/* MSRs that every x86-64 has, again and again: how many do, differs. */
static void name_msrs(void)
{
	static const u32 indices[] = {
		0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000102,
		0x174, 0x175, 0x176, 0x277, 0x2ff,
	};

	state.msrs.head.nmsrs = NR_MSRS;
	for (unsigned int i = 0; i < NR_MSRS; i++)
		state.msrs.entries[i].index = indices[i % ARRAY_SIZE(indices)];
}

static void get_or_set(struct bench *bench, int fd, const struct part *part, unsigned long request)
{
	int ret = row_ioctl(bench, fd, request, part->data, part->name);

	if (part->data == &state.msrs && ret != NR_MSRS)
		row_fail(bench, "%s does %d of %d MSRs", part->name, ret, NR_MSRS);
}

/* row->op: the request that reads one part, or 0 for all of them. */
static void measure_state(struct bench *bench, const struct row *row)
{
	struct bench_vm vm;
	u64 ticks;
	int fd;

	bench_vm_create(bench, &vm, 1, true);
	bench_call(bench, &vm.vcpus[0]);
	fd = vm.vcpus[0].fd;
	name_msrs();
	do {
		MEASURE_BEGIN();
		ticks = read_tsc();
		for (u64 i = 0; i < row->count; i++) {
			for (size_t j = 0; j < ARRAY_SIZE(parts); j++)
				if (!row->op || row->op == parts[j].get)
					get_or_set(bench, fd, &parts[j], parts[j].get);
			for (size_t j = 0; j < ARRAY_SIZE(parts); j++)
				if (!row->op || row->op == parts[j].get)
					get_or_set(bench, fd, &parts[j], parts[j].set);
		}
		ticks = read_tsc() - ticks;
		MEASURE_END();
	} while (row_sample(bench, ticks, row->count));
	/* And it still runs. */
	bench_call(bench, &vm.vcpus[0]);
}

const struct row state_rows[] = {
	{ "regs", "KVM_GET_REGS and KVM_SET_REGS", measure_state, KVM_GET_REGS, 0, 32 },
	{ "sregs", "KVM_GET_SREGS and KVM_SET_SREGS", measure_state, KVM_GET_SREGS, 0, 32 },
	{ "msrs-100", "KVM_GET_MSRS and KVM_SET_MSRS of 100", measure_state, KVM_GET_MSRS, 0, 4 },
	{ "xsave", "KVM_GET_XSAVE and KVM_SET_XSAVE", measure_state, KVM_GET_XSAVE, 0, 16 },
	{ "save-restore", "a vCPU's whole state, read and written", measure_state, 0, 0, 4 },
	{ },
};
