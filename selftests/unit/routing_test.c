// SPDX-License-Identifier: GPL-2.0-only
/* Unit tests of GSI routing, MSIs, and the choice of destination LAPICs. */
#include "irqchip_test.h"

static struct kvm_irq_routing_entry pin(u32 gsi, u32 chip, u32 pin)
{
	struct kvm_irq_routing_entry e = {
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = { .irqchip = chip, .pin = pin },
	};

	return e;
}

static struct kvm_irq_routing_entry msi(u32 gsi, u32 lo, u32 hi, u32 data)
{
	struct kvm_irq_routing_entry e = {
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi = { .address_lo = lo, .address_hi = hi, .data = data },
	};

	return e;
}

static int set(const struct kvm_irq_routing_entry *e, u32 nr)
{
	return irqchip_set_routing(&m.ic, e, nr, 0);
}

static int irq(u32 gsi, bool level)
{
	return irqchip_set_irq(&m.ic, IRQ_SOURCE_USER, gsi, level);
}

static void default_table(void)
{
	u32 i;

	machine_start(IRQCHIP_KERNEL, 1);
	for (i = 0; i < 24; i++) {
		EQ(irqchip_pin_to_gsi(&m.ic, KVM_IRQCHIP_IOAPIC, i), i);
		if (i < 16)
			EQ(irqchip_pin_to_gsi(&m.ic, i >> 3, i), i);
		ioapic_route(i, 0x50 + i);
		EQ(irq(i, true) > 0, 1);
		CHECK(has_irr(0, 0x50 + i));
		irq(i, false);
	}
	EQ(irqchip_pin_to_gsi(&m.ic, 0, 8), -1);
	EQ(irqchip_pin_to_gsi(&m.ic, 3, 0), -1);
	EQ(irqchip_pin_to_gsi(&m.ic, 2, 24), -1);
	EQ(irq(24, true), -1);
	EQ(irq(0xffffffff, true), -1);
	machine_stop();

	machine_start(IRQCHIP_SPLIT, 1);
	EQ(irq(0, true), -1);
	machine_stop();
}

/* KVM_IRQ_LINE_STATUS: ignored, coalesced, delivered. */
static void line_status(void)
{
	machine_start(IRQCHIP_KERNEL, 1);
	/* Both masked. */
	outb(0x21, 0xff);
	EQ(irq(4, true), -1);
	irq(4, false);
	/* PIC alone. */
	outb(0x21, 0);
	EQ(irq(5, true), 1);
	EQ(irq(5, true), 0);
	irq(5, false);
	/* IOAPIC alone. */
	outb(0x21, 0xff);
	ioapic_route(6, 0x36);
	EQ(irq(6, true), 1);
	EQ(irq(6, true), 0);
	irq(6, false);
	/* Both: the sum. */
	outb(0x21, 0);
	ioapic_route(7, 0x37);
	EQ(irq(7, true), 2);
	EQ(irq(7, true), 0);
	machine_stop();
}

static void validation(void)
{
	struct kvm_irq_routing_entry e[4];
	struct kvm_irq_routing_entry *many = calloc(4097, sizeof(*many));
	u32 i;

	machine_start(IRQCHIP_KERNEL, 1);
	e[0] = pin(3, KVM_IRQCHIP_IOAPIC, 24);
	EQ(set(e, 1), -EINVAL);
	e[0] = pin(3, KVM_IRQCHIP_PIC_MASTER, 8);
	EQ(set(e, 1), -EINVAL);
	e[0] = pin(3, KVM_IRQCHIP_PIC_SLAVE, 8);
	EQ(set(e, 1), -EINVAL);
	e[0] = pin(3, 3, 0);
	EQ(set(e, 1), -EINVAL);
	e[0] = pin(4096, KVM_IRQCHIP_IOAPIC, 0);
	EQ(set(e, 1), -EINVAL);
	e[0] = pin(3, KVM_IRQCHIP_IOAPIC, 3);
	e[0].flags = 1;
	EQ(set(e, 1), -EINVAL);
	e[0] = msi(3, 0, 0, 0x30);
	e[0].flags = 2;
	EQ(set(e, 1), -EINVAL);
	e[0].flags = KVM_MSI_VALID_DEVID;
	EQ(set(e, 1), 0);
	EQ(irqchip_default_routing(&m.ic, IRQCHIP_KERNEL), 0);
	for (i = 0; i < 8; i++) {
		e[0] = pin(3, KVM_IRQCHIP_IOAPIC, 3);
		e[0].type = i;
		if (i == KVM_IRQ_ROUTING_IRQCHIP || i == KVM_IRQ_ROUTING_MSI)
			EQ(set(e, 1), 0);
		else
			EQ(set(e, 1), -EINVAL);
	}
	e[0] = pin(3, KVM_IRQCHIP_IOAPIC, 3);
	EQ(irqchip_set_routing(&m.ic, e, 1, 1), -EINVAL);
	/* One pin per chip and GSI; an MSI alone. */
	e[1] = pin(3, KVM_IRQCHIP_IOAPIC, 4);
	EQ(set(e, 2), -EINVAL);
	e[1] = pin(3, KVM_IRQCHIP_PIC_SLAVE, 0);
	e[2] = pin(3, KVM_IRQCHIP_PIC_MASTER, 0);
	EQ(set(e, 3), 0);
	e[1] = msi(3, 0, 0, 0x30);
	EQ(set(e, 2), -EINVAL);
	e[0] = msi(3, 0, 0, 0x31);
	EQ(set(e, 2), -EINVAL);
	EQ(set(NULL, 0), 0);
	EQ(irq(3, true), -1);
	for (i = 0; i < 4096; i++)
		many[i] = msi(i, 0xfee00000, 0, 0x40);
	EQ(set(many, 4097), -EINVAL);
	EQ(set(many, 4096), 0);
	EQ(irq(4095, true), 1);
	machine_stop();
	free(many);
}

static void failure_keeps_the_old_table(void)
{
	struct kvm_irq_routing_entry e[2];

	machine_start(IRQCHIP_KERNEL, 1);
	e[0] = msi(40, 0xfee00000, 0, 0x61);
	EQ(set(e, 1), 0);
	e[1] = pin(2, KVM_IRQCHIP_IOAPIC, 99);
	e[0] = msi(40, 0xfee00000, 0, 0x62);
	EQ(set(e, 2), -EINVAL);
	env_fail_alloc = 1;
	EQ(set(e, 1), -ENOMEM);
	EQ(irq(40, true), 1);
	CHECK(has_irr(0, 0x61) && !has_irr(0, 0x62));
	machine_stop();
}

static void creation(void)
{
	struct kvm_irq_routing_entry e = pin(0, KVM_IRQCHIP_IOAPIC, 0);
	struct kvm_msi message = { .address_lo = 0xfee00000, .data = 0x30 };
	u8 port = 0;

	machine_start(IRQCHIP_NONE, 0);
	EQ(set(&e, 1), -EINVAL);
	EQ(irqchip_signal_msi(&m.ic, &message), -EINVAL);
	EQ(irq(0, true), -1);
	env_fail_alloc = 1;
	EQ(irqchip_create(&m.ic), -ENOMEM);
	CHECK(!irqchip_in_kernel(&m.ic));
	env_fail_alloc = 2;
	EQ(irqchip_create(&m.ic), -ENOMEM);
	EQ(irqchip_create(&m.ic), 0);
	EQ(irqchip_create(&m.ic), -EEXIST);
	EQ(irqchip_create_split(&m.ic, 24), -EEXIST);
	machine_stop();

	machine_start(IRQCHIP_NONE, 0);
	EQ(irqchip_create_split(&m.ic, 4097), -EINVAL);
	EQ(irqchip_create_split(&m.ic, 24), 0);
	/* Pins belong to user space's controllers. */
	EQ(set(&e, 1), -EINVAL);
	EQ(irqchip_io_read(&m.ic, 0x20, 1, &port), -EOPNOTSUPP);
	EQ(irqchip_io_write(&m.ic, 0x21, 1, port), -EOPNOTSUPP);
	EQ(irqchip_mmio_write(&m.ic, IOAPIC_DEFAULT_BASE, 1, &port), -EOPNOTSUPP);
	EQ(irqchip_send_msi(&m.ic, 0xfee00000, 0, 0x30), 0);
	machine_stop();
}

static void notifiers_follow_the_table(void)
{
	struct kvm_irq_routing_entry e;

	machine_start(IRQCHIP_KERNEL, 1);
	EQ(irqchip_notify_gsi(&m.ic, 50, true), 0);
	e = pin(50, KVM_IRQCHIP_IOAPIC, 9);
	EQ(set(&e, 1), 0);
	ioapic_route(9, 0x39);
	EQ(irq(50, true), 1);
	irq(50, false);
	EQ(take(0), 0x39);
	lapic_eoi(cpu_lapic(0));
	EQ(m.acked[50], 1);
	EQ(irqchip_default_routing(&m.ic, IRQCHIP_KERNEL), 0);
	EQ(irq(9, true) > 0, 1);
	EQ(take(0), 0x39);
	lapic_eoi(cpu_lapic(0));
	EQ(m.acked[50], 1);
	machine_stop();
}

static void msi_fields(void)
{
	struct kvm_msi message = { .address_lo = 0xfee01000, .data = 0x8041 };

	machine_start(IRQCHIP_KERNEL, 3);
	EQ(irqchip_signal_msi(&m.ic, &message), 1);
	CHECK(has_irr(1, 0x41) && has_tmr(1, 0x41));
	message.flags = 2;
	EQ(irqchip_signal_msi(&m.ic, &message), -EINVAL);
	message.flags = KVM_MSI_VALID_DEVID;
	EQ(irqchip_signal_msi(&m.ic, &message), 1);
	/* Logical, two of them. */
	EQ(irqchip_send_msi(&m.ic, 0xfee06004, 0, 0x42), 2);
	CHECK(has_irr(1, 0x42) && has_irr(2, 0x42) && !has_tmr(1, 0x42));
	/* With the redirection hint, one. */
	EQ(irqchip_send_msi(&m.ic, 0xfee0600c, 0, 0x43), 1);
	EQ(total_pending(0x43), 1);
	EQ(irqchip_send_msi(&m.ic, 0xfee02000, 0, APIC_NMI << 8), 1);
	EQ(m.cpu[2].events[LAPIC_EVENT_NMI], 1);
	EQ(irqchip_send_msi(&m.ic, 0xfee09000, 0, 0x44), 0);
	EQ(irqchip_send_msi(&m.ic, 0xfeeff000, 0, 0x45), 3);
	/* Software-disabled: blocked by the guest. */
	apic_write(1, LAPIC_SVR, 0xff);
	EQ(irqchip_send_msi(&m.ic, 0xfee01000, 0, 0x46), 0);
	machine_stop();
}

static void msi_routes(void)
{
	struct kvm_irq_routing_entry e = msi(20, 0xfee01000, 0, 0x51);

	machine_start(IRQCHIP_SPLIT, 2);
	EQ(set(&e, 1), 0);
	EQ(irq(20, true), 1);
	EQ(irq(20, false), -1);
	EQ(take(1), 0x51);
	lapic_eoi(cpu_lapic(1));
	EQ(m.cpu[1].eoi_exits, 0);
	/* Level: user space's IOAPIC wants the EOI. */
	e.u.msi.data = 0x8052;
	EQ(set(&e, 1), 0);
	EQ(irq(20, true), 1);
	EQ(take(1), 0x52);
	lapic_eoi(cpu_lapic(1));
	EQ(m.cpu[1].eoi_exits, 1);
	EQ(m.cpu[1].eoi_vector, 0x52);
	/* But not of what is no pin of it. */
	e.gsi = 24;
	EQ(set(&e, 1), 0);
	EQ(irq(24, true), 1);
	EQ(take(1), 0x52);
	lapic_eoi(cpu_lapic(1));
	EQ(m.cpu[1].eoi_exits, 1);
	machine_stop();
}

/* KVM_X2APIC_*_SUPPRESS_EOI_BROADCAST: the guest ends it at the IOAPIC itself. */
static void directed_eois(void)
{
	const u64 on = KVM_X2APIC_ENABLE_SUPPRESS_EOI_BROADCAST;
	const u64 off = KVM_X2APIC_DISABLE_SUPPRESS_EOI_BROADCAST;
	struct kvm_irq_routing_entry e = msi(20, 0xfee01000, 0, 0x8051);
	struct lapic *l = cpu_lapic(1);

	machine_start(IRQCHIP_KERNEL, 1);
	EQ(irqchip_set_x2apic_api(&m.ic, on), -EINVAL);
	EQ(irqchip_set_x2apic_api(&m.ic, off), 0);
	EQ(lapic_reg(cpu_lapic(0), LAPIC_VERSION) & LAPIC_VERSION_DIRECTED_EOI, 0);
	machine_stop();

	machine_start(IRQCHIP_SPLIT, 2);
	CHECK(lapic_reg(l, LAPIC_VERSION) & LAPIC_VERSION_DIRECTED_EOI);
	EQ(set(&e, 1), 0);
	apic_write(1, LAPIC_SVR, 0x11ff);
	EQ(lapic_reg(l, LAPIC_SVR), 0x11ff);
	/* The quirk: offered, and without effect. */
	EQ(irq(20, true), 1);
	EQ(take(1), 0x51);
	lapic_eoi(l);
	EQ(m.cpu[1].eoi_exits, 1);
	EQ(irqchip_set_x2apic_api(&m.ic, on | off), -EINVAL);
	EQ(irqchip_set_x2apic_api(&m.ic, 16), -EINVAL);
	EQ(irqchip_set_x2apic_api(&m.ic, on), 0);
	EQ(irq(20, true), 1);
	EQ(take(1), 0x51);
	lapic_eoi(l);
	EQ(m.cpu[1].eoi_exits, 1);
	apic_write(1, LAPIC_SVR, 0x1ff);
	EQ(irq(20, true), 1);
	EQ(take(1), 0x51);
	lapic_eoi(l);
	EQ(m.cpu[1].eoi_exits, 2);
	EQ(irqchip_set_x2apic_api(&m.ic, off), 0);
	lapic_set_cpuid(l, true, true, 0);
	EQ(lapic_reg(l, LAPIC_VERSION) & LAPIC_VERSION_DIRECTED_EOI, 0);
	machine_stop();
}

static void extended_destinations(void)
{
	struct kvm_irq_routing_entry e = msi(30, 0xfee01000, 0x100, 0x51);
	struct lapic *l = cpu_lapic(1);

	machine_start(IRQCHIP_SPLIT, 1);
	m.nr_cpus = 2;
	lapic_init(l, &m.ic, 0x101, m.cpu[1].regs, false);
	lapic_set_cpuid(l, true, true, 0);
	EQ(irqchip_add_lapic(&m.ic, l), 0);
	apic_write(1, LAPIC_SVR, 0x1ff);
	/* 8-bit format: the high half is not looked at. */
	EQ(irqchip_send_msi(&m.ic, 0xfee00000, 0x100, 0x50), 1);
	CHECK(has_irr(0, 0x50));
	m.ic.x2apic_ids = true;
	EQ(irqchip_send_msi(&m.ic, 0xfee01000, 0x101, 0x50), -EINVAL);
	/* An id above 0xff is reached in xAPIC mode, too. */
	EQ(irqchip_send_msi(&m.ic, 0xfee01000, 0x100, 0x50), 1);
	CHECK(has_irr(1, 0x50));
	EQ(lapic_set_base(l, l->base | LAPIC_BASE_X2APIC, false), 0);
	EQ(set(&e, 1), 0);
	EQ(irq(30, true), 1);
	CHECK(has_irr(1, 0x51));
	e.u.msi.address_hi = 0x101;
	EQ(set(&e, 1), -EINVAL);
	EQ(irqchip_send_msi(&m.ic, 0xfee01000, 0x200, 0x52), 0);
	machine_stop();
}

static void broadcast_quirk(void)
{
	machine_start(IRQCHIP_SPLIT, 3);
	enter_x2apic(1);
	enter_x2apic(2);
	EQ(irqchip_send_msi(&m.ic, 0xfeeff000, 0, 0x50), 3);
	/* Without the quirk 0xff is an id to those in x2APIC mode. */
	m.ic.x2apic_no_quirk = true;
	EQ(irqchip_send_msi(&m.ic, 0xfeeff000, 0, 0x51), 1);
	CHECK(has_irr(0, 0x51));
	m.ic.x2apic_ids = true;
	EQ(irqchip_send_msi(&m.ic, 0xfeeff000, 0xffffff00, 0x52), 2);
	CHECK(!has_irr(0, 0x52));
	machine_stop();
}

static void lowest_priority_is_fair(void)
{
	int i, cpu, n[4] = { 0 };

	machine_start(IRQCHIP_KERNEL, 4);
	apic_write(3, LAPIC_SVR, 0xff);
	for (i = 0; i < 300; i++) {
		EQ(irqchip_send_msi(&m.ic, 0xfeeff004, 0, 0x150), 1);
		for (cpu = 0; cpu < 4; cpu++) {
			if (take(cpu) == 0x50) {
				n[cpu]++;
				lapic_eoi(cpu_lapic(cpu));
			}
		}
	}
	/* Nobody who could take it. */
	EQ(irqchip_send_msi(&m.ic, 0xfee08004, 0, 0x152), 0);
	for (cpu = 0; cpu < 3; cpu++)
		EQ(n[cpu], 100);
	EQ(n[3], 0);
	/* The redirection hint takes part in the same rotation. */
	for (i = 0; i < 30; i++)
		EQ(irqchip_send_msi(&m.ic, 0xfeeff00c, 0, 0x53), 1);
	for (cpu = 0; cpu < 3; cpu++)
		EQ(take(cpu), 0x53);
	for (cpu = 0; cpu < 3; cpu++)
		lapic_eoi(cpu_lapic(cpu));
	/* Only those named compete. */
	for (i = 0; i < 10; i++) {
		EQ(irqchip_send_msi(&m.ic, 0xfee02004, 0, 0x151), 1);
		EQ(take(1), 0x51);
		lapic_eoi(cpu_lapic(1));
	}
	machine_stop();
}

static int logical(u32 dest)
{
	struct apic_irq one = {
		.dest_id = dest, .vector = 0x60, .logical = true, .assert = true,
	};

	clear_irr();
	return irqchip_deliver(&m.ic, NULL, &one);
}

static void xapic_logical_flat(void)
{
	u32 dest;

	machine_start(IRQCHIP_KERNEL, 8);
	for (dest = 0; dest < 256; dest++) {
		EQ(logical(dest), __builtin_popcount(dest));
		EQ(total_pending(0x60), __builtin_popcount(dest));
	}
	machine_stop();
}

static void xapic_logical_cluster(void)
{
	u32 dest, i;

	machine_start(IRQCHIP_KERNEL, 16);
	for (i = 0; i < 16; i++) {
		apic_write(i, LAPIC_DFR, 0x0fffffff);
		apic_write(i, LAPIC_LDR, (i / 4) << 28 | BIT(24 + i % 4));
	}
	for (dest = 0; dest < 255; dest++)
		EQ(logical(dest), dest >> 4 < 4 ?
				  __builtin_popcount(dest & 0xf) : 0);
	EQ(logical(0xff), 16);
	EQ(logical(0x23), 2);
	CHECK(has_irr(8, 0x60) && has_irr(9, 0x60));
	/* No third model. */
	apic_write(8, LAPIC_DFR, 0x3fffffff);
	EQ(logical(0x23), 1);
	machine_stop();
}

static void x2apic_logical(void)
{
	u32 dest, i;

	machine_start(IRQCHIP_KERNEL, 40);
	for (i = 0; i < 40; i++)
		enter_x2apic(i);
	m.ic.x2apic_no_quirk = true;
	for (dest = 0; dest < 0x10000; dest += 0x111) {
		EQ(logical(dest), __builtin_popcount(dest));
		EQ(logical(0x20000 | dest), __builtin_popcount(dest & 0xff));
		EQ(logical(0x30000 | dest), 0);
	}
	EQ(logical(0x10004), 1);
	CHECK(has_irr(18, 0x60));
	EQ(logical(0xffffffff), 40);
	machine_stop();
}

/*
 * The fast way and the slow way must agree, whatever ids and modes the guest
 * gave its LAPICs.
 */
static void map_equals_match(void)
{
	u32 round, i, dest, fast, slow;

	srand(4);
	for (round = 0; round < 60; round++) {
		machine_start(IRQCHIP_KERNEL, 12);
		for (i = 0; i < 12; i++) {
			if (rand() % 4 == 0)
				apic_write(i, LAPIC_ID, (rand() % 16) << 24);
			if (rand() % 5 == 0)
				enter_x2apic(i);
			else if (rand() % 9 == 0)
				lapic_set_base(cpu_lapic(i), 0, false);
		}
		for (dest = 0; dest < 0x102; dest++) {
			struct apic_irq one = {
				.dest_id = dest, .vector = 0x60, .assert = true,
			};
			struct lapic *src = rand() % 2 ? cpu_lapic(0) : NULL;

			EQ(irqchip_rebuild_map(&m.ic), 0);
			CHECK(!irqchip_map_stale(&m.ic));
			fast = irqchip_deliver(&m.ic, src, &one);
			irqchip_map_changed(&m.ic);
			CHECK(irqchip_map_stale(&m.ic));
			slow = irqchip_deliver(&m.ic, src, &one);
			EQ(fast, slow);
		}
		machine_stop();
	}
}

/* A stale map never misroutes: the id moved, nothing was rebuilt. */
static void stale_map(void)
{
	machine_start(IRQCHIP_KERNEL, 2);
	EQ(irqchip_send_msi(&m.ic, 0xfee01000, 0, 0x50), 1);
	apic_write(1, LAPIC_ID, 0x09000000);
	EQ(irqchip_send_msi(&m.ic, 0xfee01000, 0, 0x51), 0);
	EQ(irqchip_send_msi(&m.ic, 0xfee09000, 0, 0x51), 1);
	CHECK(has_irr(1, 0x51));
	env_fail_alloc = 1;
	EQ(irqchip_rebuild_map(&m.ic), -ENOMEM);
	EQ(irqchip_send_msi(&m.ic, 0xfee09000, 0, 0x52), 1);
	EQ(irqchip_rebuild_map(&m.ic), 0);
	EQ(irqchip_send_msi(&m.ic, 0xfee09000, 0, 0x53), 1);
	EQ(lapic_set_base(cpu_lapic(1), 0xfee00c00, false), 0);
	EQ(irqchip_send_msi(&m.ic, 0xfee09000, 0, 0x55), 0);
	EQ(irqchip_send_msi(&m.ic, 0xfee01000, 0, 0x55), 1);
	EQ(lapic_set_base(cpu_lapic(1), 0xfee00800, true), 0);
	apic_write(1, LAPIC_ID, 0x09000000);
	/* Two with one id both get it. */
	apic_write(0, LAPIC_ID, 0x09000000);
	EQ(irqchip_rebuild_map(&m.ic), 0);
	EQ(irqchip_send_msi(&m.ic, 0xfee09000, 0, 0x54), 2);
	machine_stop();
}

static void add(void)
{
	struct lapic *l = cpu_lapic(2);

	machine_start(IRQCHIP_KERNEL, 2);
	EQ(irqchip_add_lapic(&m.ic, cpu_lapic(0)), -EEXIST);
	EQ(irqchip_add_lapic(&m.ic, cpu_lapic(1)), -EEXIST);
	lapic_init(l, &m.ic, 2, m.cpu[2].regs, false);
	env_fail_alloc = 1;
	EQ(irqchip_add_lapic(&m.ic, l), -ENOMEM);
	EQ(irqchip_send_msi(&m.ic, 0xfee02000, 0, 0x52), 0);
	EQ(irqchip_add_lapic(&m.ic, l), 0);
	m.nr_cpus++;
	apic_write(2, LAPIC_SVR, 0x1ff);
	EQ(irqchip_send_msi(&m.ic, 0xfee02000, 0, 0x52), 1);
	EQ(irqchip_send_msi(&m.ic, 0xfeeff000, 0, 0x55), 3);
	machine_stop();
}

static const struct test tests[] = {
	TEST(default_table),
	TEST(line_status),
	TEST(validation),
	TEST(failure_keeps_the_old_table),
	TEST(creation),
	TEST(notifiers_follow_the_table),
	TEST(msi_fields),
	TEST(msi_routes),
	TEST(directed_eois),
	TEST(extended_destinations),
	TEST(broadcast_quirk),
	TEST(lowest_priority_is_fair),
	TEST(xapic_logical_flat),
	TEST(xapic_logical_cluster),
	TEST(x2apic_logical),
	TEST(map_equals_match),
	TEST(stale_map),
	TEST(add),
};

MAIN(tests)
