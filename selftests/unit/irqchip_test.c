// SPDX-License-Identifier: GPL-2.0-only
/* See irqchip_test.h. Linked into each unit test of the interrupt controllers. */
#include "irqchip_test.h"

struct machine m;

static int failures;

void check_failed(const char *file, int line, const char *what, long long got,
		  long long want)
{
	failures++;
	printf("# %s:%d: %s: got %lld (0x%llx), want %lld (0x%llx)\n", file,
	       line, what, got, got, want, want);
}

int run_tests(const struct test *tests, int n)
{
	int i, failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n1..%d\n", n);
	for (i = 0; i < n; i++) {
		failures = 0;
		tests[i].run();
		EQ(env_timers_queued(), 0);
		EQ(env_locks_held(), 0);
		printf("%sok %d %s\n", failures ? "not " : "", i + 1,
		       tests[i].name);
		failed += failures != 0;
	}
	return failed != 0;
}

static struct cpu *cpu_of(struct lapic *l)
{
	return container_of(l, struct cpu, lapic);
}

static void kick(struct lapic *l)
{
	cpu_of(l)->kicks++;
}

static void notify(struct lapic *l)
{
	cpu_of(l)->notes++;
}

static void event(struct lapic *l, enum lapic_event event, u8 vector)
{
	cpu_of(l)->events[event]++;
	if (event == LAPIC_EVENT_SIPI)
		cpu_of(l)->sipi_vector = vector;
}

static u64 ns_until(struct lapic *l, u64 tsc)
{
	u64 now = lodge_now() + m.tsc_offset;

	(void)l;
	return tsc > now ? tsc - now : 0;
}

static void eoi_exit(struct lapic *l, u8 vector)
{
	cpu_of(l)->eoi_exits++;
	cpu_of(l)->eoi_vector = vector;
}

static void gsi_acked(struct irqchip *ic, u32 gsi)
{
	EQ(env_locks_held(), 0);
	if (gsi < ARRAY_SIZE(m.acked))
		m.acked[gsi]++;
	if (m.lower_on_ack >= 0)
		irqchip_set_irq(ic, IRQ_SOURCE_RESAMPLE, m.lower_on_ack, false);
}

static const struct irqchip_ops ops = {
	.kick = kick,
	.notify = notify,
	.event = event,
	.ns_until = ns_until,
	.eoi_exit = eoi_exit,
	.gsi_acked = gsi_acked,
};

void machine_start(enum irqchip_kind kind, int cpus)
{
	int i;

	memset(&m, 0, sizeof(m));
	m.lower_on_ack = -1;
	irqchip_init(&m.ic, &ops);
	if (kind == IRQCHIP_KERNEL)
		EQ(irqchip_create(&m.ic), 0);
	else if (kind == IRQCHIP_SPLIT)
		EQ(irqchip_create_split(&m.ic, 24), 0);
	m.nr_cpus = cpus;
	for (i = 0; i < cpus; i++) {
		struct lapic *l = cpu_lapic(i);

		lapic_init(l, &m.ic, i, m.cpu[i].regs, i == 0);
		lapic_set_cpuid(l, true, true, ~0ULL << 40);
		EQ(irqchip_add_lapic(&m.ic, l), 0);
		apic_write(i, LAPIC_SVR, 0x1ff);
		apic_write(i, LAPIC_LDR, i < 8 ? 1U << (24 + i) : 0);
	}
	EQ(irqchip_rebuild_map(&m.ic), 0);
	for (i = 0; i < cpus; i++)
		m.cpu[i].kicks = 0;
}

void machine_stop(void)
{
	int i;

	irqchip_destroy(&m.ic);
	for (i = 0; i < m.nr_cpus; i++)
		lapic_destroy(cpu_lapic(i));
	EQ(atomic_read(&m.ic.lint0_nmi), 0);
}

struct lapic *cpu_lapic(int cpu)
{
	return &m.cpu[cpu].lapic;
}

void apic_write(int cpu, u32 reg, u32 value)
{
	struct lapic *l = cpu_lapic(cpu);

	if (lapic_mode(l) == LAPIC_X2APIC)
		EQ(lapic_msr_write(l, LAPIC_MSR_FIRST + (reg >> 4), value), 0);
	else
		EQ(lapic_mmio_write(l, reg, 4, &value), 0);
}

u32 apic_read(int cpu, u32 reg)
{
	struct lapic *l = cpu_lapic(cpu);
	u64 value = 0;

	if (lapic_mode(l) == LAPIC_X2APIC)
		EQ(lapic_msr_read(l, LAPIC_MSR_FIRST + (reg >> 4), &value), 0);
	else
		EQ(lapic_mmio_read(l, reg, 4, &value), 0);
	return value;
}

void enter_x2apic(int cpu)
{
	struct lapic *l = cpu_lapic(cpu);

	EQ(lapic_set_base(l, l->base | LAPIC_BASE_X2APIC, false), 0);
	EQ(irqchip_rebuild_map(&m.ic), 0);
}

static bool has_vector(int cpu, u32 base, u8 vector)
{
	return apic_read(cpu, base + (vector >> 5) * 16) & BIT(vector & 31);
}

bool has_irr(int cpu, u8 vector)
{
	return has_vector(cpu, LAPIC_IRR, vector);
}

bool has_isr(int cpu, u8 vector)
{
	return has_vector(cpu, LAPIC_ISR, vector);
}

bool has_tmr(int cpu, u8 vector)
{
	return has_vector(cpu, LAPIC_TMR, vector);
}

int take(int cpu)
{
	int vector = lapic_highest_pending(cpu_lapic(cpu));

	if (vector >= 0)
		lapic_ack(cpu_lapic(cpu), vector);
	return vector;
}

int total_pending(u8 vector)
{
	int i, n = 0;

	for (i = 0; i < m.nr_cpus; i++)
		n += has_irr(i, vector);
	return n;
}

void clear_irr(void)
{
	int i;

	for (i = 0; i < m.nr_cpus; i++)
		memset(m.cpu[i].regs + LAPIC_IRR, 0, 0x80);
}

void outb(u16 port, u8 value)
{
	EQ(irqchip_io_write(&m.ic, port, 1, value), 0);
}

u8 inb(u16 port)
{
	u8 value = 0;

	EQ(irqchip_io_read(&m.ic, port, 1, &value), 0);
	return value;
}

void ioapic_reg_write(u32 reg, u32 value)
{
	EQ(irqchip_mmio_write(&m.ic, IOAPIC_DEFAULT_BASE, 4, &reg), 0);
	EQ(irqchip_mmio_write(&m.ic, IOAPIC_DEFAULT_BASE + 0x10, 4, &value), 0);
}

u32 ioapic_reg_read(u32 reg)
{
	u32 value = 0;

	EQ(irqchip_mmio_write(&m.ic, IOAPIC_DEFAULT_BASE, 4, &reg), 0);
	EQ(irqchip_mmio_read(&m.ic, IOAPIC_DEFAULT_BASE + 0x10, 4, &value), 0);
	return value;
}

/* As Linux does: the half with the mask bit last. */
void ioapic_route(u32 pin, u64 entry)
{
	ioapic_reg_write(0x11 + pin * 2, entry >> 32);
	ioapic_reg_write(0x10 + pin * 2, entry);
}

u64 ioapic_entry(u32 pin)
{
	return (u64)ioapic_reg_read(0x11 + pin * 2) << 32 |
	       ioapic_reg_read(0x10 + pin * 2);
}
