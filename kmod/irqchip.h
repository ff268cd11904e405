/* SPDX-License-Identifier: GPL-2.0-only */
/* vcpu.c: how the interrupt controllers reach the vCPUs and their clocks. */
#ifndef LODGE_IRQCHIP_OWNER_H
#define LODGE_IRQCHIP_OWNER_H

#include "irqchip/irqchip.h"

extern const struct irqchip_ops lodge_irqchip_ops;

#endif
