/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the benchmark and its guest agree on: where things lie in guest memory, what the
 * guest can be asked to do, and the page in which the two talk.  Included by both.  Each
 * vCPU has a page of its own; the host writes to it while that vCPU does not run.
 */
#ifndef LODGE_BENCH_SHARED_H
#define LODGE_BENCH_SHARED_H

#include "../../types.h"

/* Guest-physical, and by the guest's page tables guest-virtual as well, up to 4 GiB. */
#define GUEST_SHARED		0x8000ul	/* a page each, for up to 64 vCPUs */
#define GUEST_STACKS		0x100000ul	/* go down, 4 KiB each */
#define GUEST_GDT		0x1000ul
#define GUEST_IDT		0x2000ul
#define GUEST_PML4		0x3000ul
#define GUEST_PDPT		0x100000ul
#define GUEST_PD		0x101000ul	/* four pages */
#define GUEST_IMAGE		0x110000ul
#define GUEST_MEMORY		0x200000ul	/* the size of all that */
#define GUEST_AREA		0x40000000ul	/* memory for rows about memory, up to 1 GiB */
#define GUEST_HOLE		0xd0000000ul	/* neither memory nor device */
#define GUEST_LAPIC		0xfee00000ul
#define GUEST_IOAPIC		0xfec00000ul

#define GUEST_CS		0x08
#define GUEST_DS		0x10

/* Ports without a device behind them. */
#define PORT_DONE		0x5e0
#define PORT_ROW		0x5e1
#define PORT_EVENT		0x5e2

#define GUEST_VECTOR		0x80	/* counts, tells when, and signals its end */

/* What the guest does, count times or for ever. */
enum guest_op {
	OP_NOTHING,
	OP_OUT, OP_IN, OP_OUTSB, OP_MMIO_WRITE, OP_MMIO_READ, OP_HALT, OP_SPIN,
	OP_CPUID, OP_RDMSR, OP_WRMSR, OP_DEADLINE_ARM, OP_PAUSE, OP_HYPERCALL,
	OP_APIC_WRITE, OP_APIC_READ, OP_IOAPIC, OP_PIT, OP_PORT_EVENT, OP_MMIO_EVENT,
	OP_SELF_IPI, OP_IPI_SEND, OP_IPI_ANSWER, OP_IRQ_HALTED, OP_IRQ_RUNNING,
	OP_TIMER_HALTED, OP_TIMER_RUNNING,
	OP_TOUCH, OP_LOOK,
};

struct guest_shared {
	/* by the host */
	u64 op;
	u64 count;
	u64 argument;
	u64 step;
	u64 x2apic;		/* the local APIC is to be used by MSRs */
	u64 intel;		/* VMCALL, not VMMCALL */
	/* by the guest */
	volatile u64 ticks;	/* what the measured part took */
	volatile u64 irqs;	/* interrupts taken */
	volatile u64 irq_tsc;	/* when the handler of the last one began */
	volatile u64 now;	/* OP_SPIN: the TSC, again and again */
};

/* The image begins with this. */
struct guest_head {
	u64 main;
	u64 interrupt;
};

/* Where the measured part begins and ends, for scripts/profile.c: NOPs that none else has. */
#define MEASURE_BEGIN()		asm volatile("nopl 0x10d6eb01(%%rax)" : : : "memory")
#define MEASURE_END()		asm volatile("nopl 0x10d6eb02(%%rax)" : : : "memory")

static inline u64 read_tsc(void)
{
	u32 low, high;

	asm volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (u64)high << 32 | low;
}

#endif
