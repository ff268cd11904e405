// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rows about exits that the kernel handles: what the guest sees one take.  Called by
 * bench.c in a process of its own; no lock.
 */
#include <sys/eventfd.h>
#include <unistd.h>

#include "bench.h"

#define MSR_APIC_BASE	0x1b
#define DEADLINE_TICKS	(1ull << 36)	/* a minute of them: longer than any row */
#define EVENT_ADDRESS	(GUEST_HOLE + 0x1000)

#define APIC_TPR	0x80ull
#define APIC_EOI	0xb0ull
#define APIC_ICR	0x300ull
#define APIC_INITIAL	0x380ull
#define X2APIC		BIT_ULL(63)
/* do_apic_write()'s argument: a register and what to write. */
#define APIC(reg, value)	((reg) << 32 | (value))
/* A fixed interrupt to the logical destination 0, which no APIC has: all but the delivery. */
#define ICR_TO_NOBODY	0x48c0u

/*
 * The guest measures; what it does must leave it each time, unless the row's whole point
 * is whether it does.
 */
static void sample_guest(struct bench *bench, struct bench_vcpu *vcpu, const struct row *row)
{
	/* The OUT that ends each sample, and what the guest does before and after. */
	u64 own = row->op == OP_WRMSR ? 2 : row->op == OP_DEADLINE_ARM ? 3 : 1;
	u64 exits;

	vcpu->shared->op = row->op;
	vcpu->shared->argument = row->argument & ~X2APIC;
	vcpu->shared->count = row->count;
	bench_watch(bench, vcpu, own);
	do {
		exits = bench_exits(vcpu);
		bench_call(bench, vcpu);
		if (bench->watched && bench_exits(vcpu) - exits < row->count + own)
			row_skip(bench, "that does not leave the guest on this host");
	} while (row_sample(bench, vcpu->shared->ticks, row->count));
}

static void measure_kernel(struct bench *bench, const struct row *row)
{
	struct bench_vm vm;

	bench_vm_create(bench, &vm, 1, true);
	if (row->argument & X2APIC)
		bench_use_x2apic(bench, &vm, 0);
	bench_call(bench, &vm.vcpus[0]);
	sample_guest(bench, &vm.vcpus[0], row);
}

static void measure_ioeventfd(struct bench *bench, const struct row *row)
{
	struct kvm_ioeventfd event = { .addr = row->argument, .len = 4 };
	struct bench_vm vm;
	u64 signals;

	bench_vm_create(bench, &vm, 1, true);
	if (row->op == OP_PORT_EVENT) {
		event.flags = KVM_IOEVENTFD_FLAG_PIO;
		event.len = 1;
	}
	event.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must_ioctl(bench, vm.fd, KVM_IOEVENTFD, &event);
	bench_call(bench, &vm.vcpus[0]);
	sample_guest(bench, &vm.vcpus[0], row);
	if (read(event.fd, &signals, sizeof(signals)) != sizeof(signals) ||
	    signals != row->count * (MAX_SAMPLES + WARM_UP))
		row_fail(bench, "the eventfd was not signalled each time");
}

const struct row kernel_rows[] = {
	{ "cpuid", "CPUID", measure_kernel, OP_CPUID, 0, 32 },
	{ "rdmsr", "RDMSR of the APIC's base", measure_kernel, OP_RDMSR, MSR_APIC_BASE, 32 },
	{ "wrmsr", "WRMSR of the APIC's base, unchanged", measure_kernel, OP_WRMSR, MSR_APIC_BASE,
	  32 },
	{ "wrmsr-tsc-deadline", "WRMSR that arms the TSC deadline", measure_kernel,
	  OP_DEADLINE_ARM, DEADLINE_TICKS, 32 },
	{ "lapic-eoi", "LAPIC by MMIO: EOI, nothing in service", measure_kernel, OP_APIC_WRITE,
	  APIC(APIC_EOI, 0), 32 },
	{ "lapic-tpr-write", "LAPIC by MMIO: write TPR", measure_kernel, OP_APIC_WRITE,
	  APIC(APIC_TPR, 0), 32 },
	{ "lapic-tpr-read", "LAPIC by MMIO: read TPR", measure_kernel, OP_APIC_READ,
	  APIC(APIC_TPR, 0), 32 },
	{ "lapic-icr", "LAPIC by MMIO: ICR, to nobody", measure_kernel, OP_APIC_WRITE,
	  APIC(APIC_ICR, ICR_TO_NOBODY), 32 },
	{ "lapic-timer", "LAPIC by MMIO: arm the one-shot timer", measure_kernel, OP_APIC_WRITE,
	  APIC(APIC_INITIAL, 0x7fffffff), 32 },
	{ "x2apic-eoi", "x2APIC: EOI, nothing in service", measure_kernel, OP_APIC_WRITE,
	  APIC(APIC_EOI, 0) | X2APIC, 32 },
	{ "x2apic-tpr-write", "x2APIC: write TPR", measure_kernel, OP_APIC_WRITE,
	  APIC(APIC_TPR, 0) | X2APIC, 32 },
	{ "x2apic-tpr-read", "x2APIC: read TPR", measure_kernel, OP_APIC_READ,
	  APIC(APIC_TPR, 0) | X2APIC, 32 },
	{ "x2apic-icr", "x2APIC: ICR, to nobody", measure_kernel, OP_APIC_WRITE,
	  APIC(APIC_ICR, ICR_TO_NOBODY) | X2APIC, 32 },
	{ "ioeventfd-port", "OUT to a port's ioeventfd", measure_ioeventfd, OP_PORT_EVENT,
	  PORT_EVENT, 32 },
	{ "ioeventfd-mmio", "MMIO write to an ioeventfd", measure_ioeventfd, OP_MMIO_EVENT,
	  EVENT_ADDRESS, 32 },
	{ "pit", "PIT: a new count, by three OUTs", measure_kernel, OP_PIT, 0, 16 },
	{ "ioapic", "IOAPIC: select a register and read it", measure_kernel, OP_IOAPIC, 0, 16 },
	{ "pause", "PAUSE", measure_kernel, OP_PAUSE, 0, 64 },
	{ "hypercall", "a hypercall that is unknown", measure_kernel, OP_HYPERCALL, 1000, 32 },
	{ },
};
