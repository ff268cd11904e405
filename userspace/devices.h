/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The platform's devices.  run.c attaches each to the VM's buses before the
 * vCPUs start; from then on the vCPU threads call them, and console.c calls
 * the serial port on the I/O thread.
 */
#ifndef LODGE_DEVICES_H
#define LODGE_DEVICES_H

#include <pthread.h>

#include "vm.h"

struct serial;

/*
 * Attach a 16550A as the first serial port.  @output takes what the guest
 * sends, on a vCPU thread; @input_wanted is called, on a vCPU thread, when the
 * guest has read enough for more input to fit.
 */
struct serial *serial_attach(struct vm *vm, void (*output)(void *opaque, u8 byte),
			     void (*input_wanted)(void *opaque), void *opaque);

/* Offer input; returns how many bytes of it were taken. */
size_t serial_input(struct serial *serial, const u8 *data, size_t size);
void serial_send_break(struct serial *serial);

/* A clock in UTC with its NVRAM. */
void rtc_attach(struct vm *vm);

/* Only the controller's reset line; there is no keyboard. */
void i8042_attach(struct vm *vm);

/* ACPI's sleep control register: the way to power off. */
void power_attach(struct vm *vm);

/* Write the ACPI tables for @nr_virtio devices into guest memory. */
void acpi_write(struct vm *vm, unsigned int nr_virtio);

#endif
