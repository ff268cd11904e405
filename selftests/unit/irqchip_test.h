/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the unit tests of the interrupt controllers share: TAP output, checks,
 * and a machine of an irqchip with some vCPUs' LAPICs that records what is
 * asked of its owner.
 */
#ifndef LODGE_IRQCHIP_TEST_H
#define LODGE_IRQCHIP_TEST_H

#include <stdio.h>

#include "kmod/irqchip/irqchip.h"

struct test {
	const char *name;
	void (*run)(void);
};

/* Runs all, prints TAP. Return: the exit status. */
int run_tests(const struct test *tests, int n);
void check_failed(const char *file, int line, const char *what, long long got,
		  long long want);

#define TEST(fn)	{ #fn, fn }
#define MAIN(tests) \
	int main(void) { return run_tests(tests, ARRAY_SIZE(tests)); }

#define CHECK(cond)							\
	do {								\
		if (!(cond))						\
			check_failed(__FILE__, __LINE__, #cond, 0, 1);	\
	} while (0)
#define EQ(got, want)							\
	do {								\
		long long _g = (long long)(got), _w = (long long)(want);	\
									\
		if (_g != _w)						\
			check_failed(__FILE__, __LINE__, #got " == " #want, _g, _w); \
	} while (0)

#define MAX_CPUS	64

struct cpu {
	struct lapic lapic;
	unsigned char regs[4096] __attribute__((aligned(4096)));
	int kicks, notes;
	int events[5];		/* by enum lapic_event */
	u8 sipi_vector;
	int eoi_exits;
	u8 eoi_vector;
};

struct machine {
	struct irqchip ic;
	int nr_cpus;
	struct cpu cpu[MAX_CPUS];
	u64 tsc_offset;		/* guest TSC = ns + this */
	int acked[64];		/* by GSI */
	int lower_on_ack;	/* -1, or a GSI to lower from the ack notifier */
};

extern struct machine m;

/* A fresh machine; vCPU ids are 0.., their LAPICs enabled by software. */
void machine_start(enum irqchip_kind kind, int cpus);
void machine_stop(void);

struct lapic *cpu_lapic(int cpu);
void apic_write(int cpu, u32 reg, u32 value);
u32 apic_read(int cpu, u32 reg);
void enter_x2apic(int cpu);
bool has_irr(int cpu, u8 vector);
bool has_isr(int cpu, u8 vector);
bool has_tmr(int cpu, u8 vector);
/* Takes the highest interrupt as a run loop does; -1 for none. */
int take(int cpu);
int total_pending(u8 vector);	/* LAPICs with @vector in IRR */
void clear_irr(void);

void outb(u16 port, u8 value);
u8 inb(u16 port);

void ioapic_reg_write(u32 reg, u32 value);
u32 ioapic_reg_read(u32 reg);
void ioapic_route(u32 pin, u64 entry);
u64 ioapic_entry(u32 pin);

#endif /* LODGE_IRQCHIP_TEST_H */
