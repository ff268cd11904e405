// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ACPI tables: RSDP, XSDT, FADT (hardware-reduced), MADT, and a DSDT with
 * the serial port, the clock, the virtio-mmio devices and \_S5.  Debian's
 * kernels find virtio-mmio devices in no other way: they are built without
 * virtio_mmio.device=, and the cloud ones without MP tables.  Called by run.c
 * before any vCPU runs; no lock.
 */
#include <stdlib.h>
#include <string.h>

#include "boot.h"
#include "devices.h"
#include "layout.h"
#include "power.h"

#define HEADER_SIZE	36
#define FADT_SIZE	276
#define RSDP_SIZE	36
#define RSDP_CHECKED	20	/* bytes under the first checksum */
#define TABLE_ALIGN	16

struct table {
	u8 *start;	/* in guest memory */
	u64 gpa;
	size_t len;
	size_t max;
};

static void put(struct table *table, const void *data, size_t len)
{
	if (len > table->max - table->len)
		host_error("the ACPI tables do not fit; use fewer --cpus");
	memcpy(table->start + table->len, data, len);
	table->len += len;
}

static void put8(struct table *table, u8 value)
{
	put(table, &value, sizeof(value));
}

static void put16(struct table *table, u16 value)
{
	put(table, &value, sizeof(value));
}

static void put32(struct table *table, u32 value)
{
	put(table, &value, sizeof(value));
}

static void put_zeros(struct table *table, size_t len)
{
	while (len--)
		put8(table, 0);
}

static void set32(struct table *table, size_t offset, u32 value)
{
	memcpy(table->start + offset, &value, sizeof(value));
}

static void set64(struct table *table, size_t offset, u64 value)
{
	memcpy(table->start + offset, &value, sizeof(value));
}

/* The byte that makes @len bytes add up to zero. */
static u8 checksum(const u8 *data, size_t len)
{
	u8 sum = 0;

	while (len--)
		sum -= *data++;
	return sum;
}

static void begin(struct table *table, const char *signature, u8 revision)
{
	put(table, signature, 4);
	put32(table, 0);		/* length, by finish() */
	put8(table, revision);
	put8(table, 0);			/* checksum, by finish() */
	put(table, "LODGE ", 6);
	put(table, "LODGE   ", 8);
	put32(table, 1);
	put(table, "LODG", 4);
	put32(table, 1);
}

/* Complete @table and return where the next one starts. */
static struct table finish(struct table *table)
{
	size_t used = align_up(table->len, TABLE_ALIGN);

	set32(table, 4, (u32)table->len);
	table->start[9] = checksum(table->start, table->len);
	return (struct table){
		.start = table->start + used,
		.gpa = table->gpa + used,
		.max = table->max - used,
	};
}

/* AML: a package whose length is known only at its end, always in two bytes. */
static size_t open_package(struct table *aml)
{
	put16(aml, 0);
	return aml->len - 2;
}

static void close_package(struct table *aml, size_t start)
{
	size_t len = aml->len - start;

	if (len > 0xfff)
		abort();
	aml->start[start] = (u8)(0x40 | (len & 0xf));
	aml->start[start + 1] = (u8)(len >> 4);
}

static void put_name(struct table *aml, const char *name)
{
	put8(aml, 0x08);
	put(aml, name, 4);
}

static void put_dword(struct table *aml, u32 value)
{
	put8(aml, 0x0c);
	put32(aml, value);
}

/* "PNP" and four digits, packed as EISA did. */
static void put_pnp_id(struct table *aml, u16 number)
{
	const u8 id[4] = { 0x41, 0xd0, (u8)(number >> 8), (u8)number };

	put8(aml, 0x0c);
	put(aml, id, sizeof(id));
}

static size_t open_device(struct table *aml, const char *name)
{
	size_t start;

	put16(aml, 0x825b);
	start = open_package(aml);
	put(aml, name, 4);
	return start;
}

/* _CRS: a buffer of resource descriptors. Returns what close_resources() needs. */
static size_t open_resources(struct table *aml)
{
	size_t start;

	put_name(aml, "_CRS");
	put8(aml, 0x11);
	start = open_package(aml);
	put8(aml, 0x0a);
	put8(aml, 0);			/* size, by close_resources() */
	return start;
}

static void close_resources(struct table *aml, size_t start)
{
	put16(aml, 0x0079);		/* end tag, checksum not used */
	aml->start[start + 3] = (u8)(aml->len - start - 4);
	close_package(aml, start);
}

static void put_ports(struct table *aml, u16 port, u8 count)
{
	put16(aml, 0x0147);		/* I/O port, 16 bits decoded */
	put16(aml, port);
	put16(aml, port);
	put8(aml, 1);
	put8(aml, count);
}

static void put_memory(struct table *aml, u32 address, u32 size)
{
	put8(aml, 0x86);		/* 32-bit fixed memory */
	put16(aml, 9);
	put8(aml, 1);			/* writable */
	put32(aml, address);
	put32(aml, size);
}

static void put_interrupt(struct table *aml, u32 gsi)
{
	put8(aml, 0x89);		/* extended interrupt */
	put16(aml, 6);
	put8(aml, 3);			/* edge, active high, exclusive */
	put8(aml, 1);
	put32(aml, gsi);
}

static void put_virtio(struct table *aml, unsigned int index)
{
	char name[4] = { 'V', 'I', 'O', (char)('0' + index) };
	size_t device, resources;

	device = open_device(aml, name);
	put_name(aml, "_HID");
	put8(aml, 0x0d);
	put(aml, "LNRO0005", 9);
	put_name(aml, "_UID");
	put_dword(aml, index);
	resources = open_resources(aml);
	put_memory(aml, VIRTIO_ADDRESS + index * VIRTIO_STRIDE, VIRTIO_STRIDE);
	put_interrupt(aml, VIRTIO_IRQ + index);
	close_resources(aml, resources);
	close_package(aml, device);
}

static void put_legacy_devices(struct table *aml)
{
	size_t device, resources;

	device = open_device(aml, "COM1");
	put_name(aml, "_HID");
	put_pnp_id(aml, 0x0501);
	put_name(aml, "_UID");
	put_dword(aml, 0);
	resources = open_resources(aml);
	put_ports(aml, SERIAL_PORT, 8);
	put_interrupt(aml, SERIAL_IRQ);
	close_resources(aml, resources);
	close_package(aml, device);

	device = open_device(aml, "RTC_");
	put_name(aml, "_HID");
	put_pnp_id(aml, 0x0b00);
	resources = open_resources(aml);
	put_ports(aml, RTC_PORT, 2);
	close_resources(aml, resources);
	close_package(aml, device);
}

static void put_dsdt(struct table *dsdt, unsigned int nr_virtio)
{
	size_t package, scope;

	begin(dsdt, "DSDT", 2);
	put_name(dsdt, "_S5_");
	put8(dsdt, 0x12);
	package = open_package(dsdt);
	put8(dsdt, 2);
	put_dword(dsdt, SLEEP_TYPE_OFF);
	put_dword(dsdt, 0);
	close_package(dsdt, package);

	put8(dsdt, 0x10);
	scope = open_package(dsdt);
	put(dsdt, "_SB_", 4);
	put_legacy_devices(dsdt);
	for (unsigned int i = 0; i < nr_virtio; i++)
		put_virtio(dsdt, i);
	close_package(dsdt, scope);
}

static void put_madt(struct table *madt, unsigned int cpus)
{
	begin(madt, "APIC", 4);
	put32(madt, LAPIC_ADDRESS);
	put32(madt, 0);
	for (unsigned int i = 0; i < cpus; i++) {
		put16(madt, 0x0800);	/* local APIC, 8 bytes */
		put8(madt, (u8)i);	/* processor and APIC id */
		put8(madt, (u8)i);
		put32(madt, 1);		/* enabled */
	}
	put16(madt, 0x0c01);		/* I/O APIC, 12 bytes */
	put16(madt, 0);
	put32(madt, IOAPIC_ADDRESS);
	put32(madt, 0);
	put16(madt, 0x0604);		/* local APIC NMI, 6 bytes */
	put8(madt, 0xff);
	put16(madt, 0);
	put8(madt, 1);			/* LINT1 of all */
}

/* A generic address structure at @offset: one byte-wide port. */
static void set_port(struct table *table, size_t offset, u16 port)
{
	table->start[offset] = 1;	/* I/O space */
	table->start[offset + 1] = 8;
	table->start[offset + 3] = 1;
	set64(table, offset + 4, port);
}

static void put_fadt(struct table *fadt, u64 dsdt)
{
	enum {
		BOOT_FLAGS = 109, FLAGS = 112, RESET_REGISTER = 116, RESET_VALUE = 128,
		MINOR = 131, DSDT = 140, SLEEP_CONTROL = 244, SLEEP_STATUS = 256,
		NO_VGA = 1 << 2,
		WBINVD = 1 << 0, NO_POWER_BUTTON = 1 << 4, NO_SLEEP_BUTTON = 1 << 5,
		RESET_SUPPORTED = 1 << 10, HW_REDUCED = 1 << 20,
	};

	begin(fadt, "FACP", 6);
	put_zeros(fadt, FADT_SIZE - HEADER_SIZE);
	fadt->start[BOOT_FLAGS] = NO_VGA;
	set32(fadt, FLAGS, WBINVD | NO_POWER_BUTTON | NO_SLEEP_BUTTON | RESET_SUPPORTED |
	      HW_REDUCED);
	set_port(fadt, RESET_REGISTER, I8042_COMMAND);
	fadt->start[RESET_VALUE] = I8042_RESET;
	fadt->start[MINOR] = 5;
	set64(fadt, DSDT, dsdt);
	set_port(fadt, SLEEP_CONTROL, POWER_PORT);
	set_port(fadt, SLEEP_STATUS, POWER_PORT + 1);
}

static void write_rsdp(u8 *rsdp, u64 xsdt)
{
	u32 len = RSDP_SIZE;

	memcpy(rsdp, "RSD PTR ", 8);
	memcpy(rsdp + 9, "LODGE ", 6);
	rsdp[15] = 2;
	memcpy(rsdp + 20, &len, sizeof(len));
	memcpy(rsdp + 24, &xsdt, sizeof(xsdt));
	rsdp[8] = checksum(rsdp, RSDP_CHECKED);
	rsdp[32] = checksum(rsdp, RSDP_SIZE);
}

void acpi_write(struct vm *vm, unsigned int nr_virtio)
{
	u8 *area = memory_at(&vm->memory, BOOT_ACPI, BOOT_ACPI_END - BOOT_ACPI);
	size_t rsdp_size = align_up(RSDP_SIZE, TABLE_ALIGN);
	struct table table = {
		.start = area + rsdp_size,
		.gpa = BOOT_ACPI + rsdp_size,
		.max = BOOT_ACPI_END - BOOT_ACPI - rsdp_size,
	};
	u64 tables[2], dsdt = table.gpa;

	put_dsdt(&table, nr_virtio);
	table = finish(&table);
	tables[0] = table.gpa;
	put_fadt(&table, dsdt);
	table = finish(&table);
	tables[1] = table.gpa;
	put_madt(&table, vm->nr_vcpus);
	table = finish(&table);
	begin(&table, "XSDT", 1);
	put(&table, tables, sizeof(tables));
	write_rsdp(area, table.gpa);
	finish(&table);
}
