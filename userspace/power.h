/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The value that acpi.c's \_S5 tells the guest to write, and power.c obeys.
 */
#ifndef LODGE_POWER_H
#define LODGE_POWER_H

#define SLEEP_TYPE_OFF		5

#endif
