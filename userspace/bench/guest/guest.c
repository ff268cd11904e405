// SPDX-License-Identifier: GPL-2.0-only
/*
 * The benchmark's guest: 64-bit code with paging, CPL 0, interrupts off but where a row
 * wants them.  A copy of it is in each VM's memory; vm.c enters it at guest_main() with a
 * shared page of its own behind GS.  It does what that page asks for, count times, then
 * says so by an OUT, and so on for ever.  No lock: a vCPU has its own page and stack.
 */
#include "shared.h"

#define SHARED	((volatile struct guest_shared __seg_gs *)0)

#define APIC_EOI	0xb0
#define APIC_SPIV	0xf0
#define APIC_ICR	0x300
#define APIC_ICR_HIGH	0x310
#define APIC_TIMER	0x320
#define APIC_TIMER_INITIAL	0x380
#define APIC_TIMER_DIVIDE	0x3e0
#define APIC_DIVIDE_BY_1	0xb
#define APIC_TIMER_DEADLINE	BIT(18)
#define ICR_TO_SELF		BIT(18)
#define ICR_ASSERT		BIT(14)

#define MSR_X2APIC		0x800
#define MSR_TSC_DEADLINE	0x6e0
#define PIT_CHANNEL0		0x40
#define PIT_COMMAND		0x43
#define PIT_ONE_SHOT		0x30	/* channel 0, both bytes, mode 0 */

#define POINTER(type, address)	((volatile type *)(uintptr_t)(address))

static inline void out8(u16 port, u8 value)
{
	asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void wrmsr(u32 msr, u64 value)
{
	asm volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static inline u64 rdmsr(u32 msr)
{
	u32 low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
	return (u64)high << 32 | low;
}

static void apic_write(u32 reg, u32 value)
{
	if (SHARED->x2apic)
		wrmsr(MSR_X2APIC + (reg >> 4), value);
	else
		*POINTER(u32, GUEST_LAPIC + reg) = value;
}

static void send_ipi(u32 to, u32 command)
{
	if (SHARED->x2apic) {
		wrmsr(MSR_X2APIC + (APIC_ICR >> 4), (u64)to << 32 | command);
		return;
	}
	*POINTER(u32, GUEST_LAPIC + APIC_ICR_HIGH) = to << 24;
	*POINTER(u32, GUEST_LAPIC + APIC_ICR) = command;
}

__attribute__((interrupt)) static void on_interrupt(void *frame)
{
	SHARED->irq_tsc = read_tsc();
	(void)frame;
	apic_write(APIC_EOI, 0);
	SHARED->irqs = SHARED->irqs + 1;
}

/* Measure @code, count times. */
#define REPEAT(code) do {						\
	u64 argument __attribute__((unused)) = SHARED->argument;	\
	u64 left = SHARED->count, start;				\
									\
	MEASURE_BEGIN();						\
	start = read_tsc();						\
	do {								\
		code;							\
	} while (--left);						\
	SHARED->ticks = read_tsc() - start;				\
	MEASURE_END();							\
} while (0)

/* These go on for ever: the host measures. */
static void exit_for_ever(u64 op)
{
	static const u8 bytes[64];
	volatile u32 *mmio = POINTER(u32, SHARED->argument);

	/* Bochs lets no interrupt of the host's end a guest that came with IF clear. */
	if (op == OP_SPIN)
		asm volatile("sti");
	for (;;) {
		if (op == OP_OUT) {
			out8(PORT_ROW, 0);
		} else if (op == OP_IN) {
			u8 value;

			asm volatile("inb %1, %0" : "=a"(value) : "Nd"((u16)PORT_ROW) : "memory");
		} else if (op == OP_OUTSB) {
			u64 count = sizeof(bytes);
			const u8 *from = bytes;

			asm volatile("cld; rep outsb" : "+S"(from), "+c"(count)
				     : "d"((u16)PORT_ROW) : "memory");
		} else if (op == OP_MMIO_WRITE) {
			*mmio = 0;
		} else if (op == OP_MMIO_READ) {
			(void)*mmio;
		} else if (op == OP_HALT) {
			asm volatile("hlt" : : : "memory");
		} else {
			SHARED->now = read_tsc();
		}
	}
}

static void do_cpuid(void)
{
	u32 a, c, ebx, edx;

	REPEAT(a = 1; c = 0; asm volatile("cpuid" : "+a"(a), "=b"(ebx), "+c"(c), "=d"(edx)));
}

static void do_hypercall(void)
{
	u64 number = ~0ull;

	if (SHARED->intel)
		REPEAT(number = argument; asm volatile("vmcall" : "+a"(number) : : "memory"));
	else
		REPEAT(number = argument; asm volatile("vmmcall" : "+a"(number) : : "memory"));
}

static void do_apic_write(void)
{
	u32 reg = SHARED->argument >> 32, msr = MSR_X2APIC + (reg >> 4);
	u32 value = (u32)SHARED->argument;

	if (SHARED->x2apic)
		REPEAT(wrmsr(msr, value));
	else
		REPEAT(*POINTER(u32, GUEST_LAPIC + reg) = value);
}

static void do_apic_read(void)
{
	u32 reg = SHARED->argument >> 32, msr = MSR_X2APIC + (reg >> 4);

	if (SHARED->x2apic)
		REPEAT(rdmsr(msr));
	else
		REPEAT((void)*POINTER(u32, GUEST_LAPIC + reg));
}

/* Select a register of the IOAPIC, and read it. */
static void do_ioapic(void)
{
	REPEAT(*POINTER(u32, GUEST_IOAPIC) = 1; (void)*POINTER(u32, GUEST_IOAPIC + 0x10));
}

/* A new count for channel 0, as a clock event device has it for each event. */
static void do_pit(void)
{
	REPEAT(out8(PIT_COMMAND, PIT_ONE_SHOT); out8(PIT_CHANNEL0, 0xff);
	       out8(PIT_CHANNEL0, 0xff));
}

/* One interrupt each that is taken at once: from the ICR's write to the handler. */
static void do_self_ipi(void)
{
	u64 left = SHARED->count, sum = 0, start;

	asm volatile("sti");
	MEASURE_BEGIN();
	while (left--) {
		u64 irqs = SHARED->irqs;

		start = read_tsc();
		apic_write(APIC_ICR, ICR_TO_SELF | ICR_ASSERT | GUEST_VECTOR);
		while (SHARED->irqs == irqs)
			;
		sum += SHARED->irq_tsc - start;
	}
	MEASURE_END();
	asm volatile("cli");
	SHARED->ticks = sum;
}

static void wait_halted(u64 irqs)
{
	/* STI lets no interrupt in before the HLT is under way. */
	while (SHARED->irqs == irqs)
		asm volatile("sti; hlt; cli" : : : "memory");
}

/* An interrupt to vCPU 1, which answers by one: there and back. */
static void do_ipi_send(void)
{
	u64 irqs;

	REPEAT(irqs = SHARED->irqs;
	       send_ipi(1, ICR_ASSERT | GUEST_VECTOR);
	       wait_halted(irqs));
}

static void do_ipi_answer(void)
{
	for (;;) {
		wait_halted(SHARED->irqs);
		send_ipi(0, ICR_ASSERT | GUEST_VECTOR);
	}
}

/* The host interrupts, and looks at when. */
static void do_irq(bool halted)
{
	u64 irqs = SHARED->irqs;

	if (halted) {
		wait_halted(irqs);
		return;
	}
	asm volatile("sti");
	while (SHARED->irqs == irqs)
		SHARED->now = read_tsc();
	asm volatile("cli");
}

/*
 * A timer that fires in @argument ticks: by the TSC, or where step is not 0 in step ticks
 * of the APIC's own clock, which are as long.  What is measured is how long that took, from
 * before it was armed until its handler ran, less the delay.
 */
static void do_timer(bool halted)
{
	u64 irqs = SHARED->irqs, delay = SHARED->argument, start;

	if (SHARED->step)
		apic_write(APIC_TIMER_DIVIDE, APIC_DIVIDE_BY_1);
	apic_write(APIC_TIMER, GUEST_VECTOR | (SHARED->step ? 0 : APIC_TIMER_DEADLINE));
	MEASURE_BEGIN();
	start = read_tsc();
	if (SHARED->step)
		apic_write(APIC_TIMER_INITIAL, (u32)SHARED->step);
	else
		wrmsr(MSR_TSC_DEADLINE, start + delay);
	if (halted) {
		wait_halted(irqs);
	} else {
		asm volatile("sti");
		while (SHARED->irqs == irqs)
			;
		asm volatile("cli");
	}
	MEASURE_END();
	SHARED->ticks = SHARED->irq_tsc - start - delay;
}

/* Arm the timer, for long after the row's end; and stop it. */
static void do_deadline(void)
{
	apic_write(APIC_TIMER, GUEST_VECTOR | APIC_TIMER_DEADLINE);
	REPEAT(wrmsr(MSR_TSC_DEADLINE, start + argument));
	wrmsr(MSR_TSC_DEADLINE, 0);
}

/* Write to count pages, step bytes apart. */
static void do_touch(void)
{
	u64 step = SHARED->step;

	REPEAT(*POINTER(u64, argument) = 1; argument += step);
}

static void do_look(void)
{
	u64 step = SHARED->step;

	REPEAT((void)*POINTER(u64, argument); argument += step);
}

static void do_op(u64 op)
{
	switch (op) {
	case OP_NOTHING:
		break;
	case OP_CPUID:
		do_cpuid();
		break;
	case OP_RDMSR:
		REPEAT(rdmsr((u32)argument));
		break;
	case OP_WRMSR: {
		u64 value = rdmsr((u32)SHARED->argument);

		REPEAT(wrmsr((u32)argument, value));
		break;
	}
	case OP_DEADLINE_ARM:
		do_deadline();
		break;
	case OP_PAUSE:
		REPEAT(asm volatile("pause" : : : "memory"));
		break;
	case OP_HYPERCALL:
		do_hypercall();
		break;
	case OP_APIC_WRITE:
		do_apic_write();
		break;
	case OP_APIC_READ:
		do_apic_read();
		break;
	case OP_IOAPIC:
		do_ioapic();
		break;
	case OP_PIT:
		do_pit();
		break;
	case OP_PORT_EVENT:
		REPEAT(out8(PORT_EVENT, 0));
		break;
	case OP_MMIO_EVENT:
		REPEAT(*POINTER(u32, argument) = 0);
		break;
	case OP_SELF_IPI:
		do_self_ipi();
		break;
	case OP_IPI_SEND:
		do_ipi_send();
		break;
	case OP_IPI_ANSWER:
		do_ipi_answer();
		break;
	case OP_IRQ_HALTED:
	case OP_IRQ_RUNNING:
		do_irq(op == OP_IRQ_HALTED);
		break;
	case OP_TIMER_HALTED:
	case OP_TIMER_RUNNING:
		do_timer(op == OP_TIMER_HALTED);
		break;
	case OP_TOUCH:
		do_touch();
		break;
	case OP_LOOK:
		do_look();
		break;
	default:
		exit_for_ever(op);
	}
}

__attribute__((noreturn)) static void guest_main(u64 has_apic)
{
	if (has_apic)
		apic_write(APIC_SPIV, BIT(8) | 0xff);
	for (;;) {
		do_op(SHARED->op);
		out8(PORT_DONE, 0);
	}
}

__attribute__((section(".head"), used)) static const struct guest_head head = {
	.main = (u64)guest_main,
	.interrupt = (u64)on_interrupt,
};
