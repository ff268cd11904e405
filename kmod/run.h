/* SPDX-License-Identifier: GPL-2.0-only */
/* What the run loop offers to the rest: see run.c and the hardware life in main.c. */
#ifndef LODGE_RUN_H
#define LODGE_RUN_H

#include <linux/init.h>
#include <linux/percpu.h>

/* main.c: this CPU's virtualization is on; changes with interrupts off on the CPU. */
DECLARE_PER_CPU(bool, lodge_cpu_is_on);

struct lodge_vcpu;

/* run.c: before the node exists: the run loop's calls of the backend that was found. */
void __init lodge_run_init(void);

/* run.c: acts on an INIT or SIPI that has arrived; vcpu->mutex is held. */
void lodge_accept_init_sipi(struct lodge_vcpu *vcpu);

#endif
