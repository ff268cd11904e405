/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the guest finds its devices: ports, MMIO addresses and interrupt
 * lines.  The devices and acpi.c, which tells the guest, share these numbers.
 */
#ifndef LODGE_LAYOUT_H
#define LODGE_LAYOUT_H

#define SERIAL_PORT	0x3f8
#define SERIAL_IRQ	4
#define RTC_PORT	0x70
#define I8042_COMMAND	0x64
#define I8042_RESET	0xfe
#define POWER_PORT	0x600	/* sleep control; sleep status follows it */

#define IOAPIC_ADDRESS	0xfec00000u
#define LAPIC_ADDRESS	0xfee00000u

#define VIRTIO_ADDRESS	0xd0000000u
#define VIRTIO_STRIDE	0x1000u
#define VIRTIO_IRQ	16	/* one line each, from here to the IOAPIC's last */
#define VIRTIO_DEVICES	8

#endif
