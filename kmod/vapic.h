/* SPDX-License-Identifier: GPL-2.0-only */
/* vapic.c: the task priority in guest memory, for run.c and vcpu.c. */
#ifndef LODGE_VAPIC_H
#define LODGE_VAPIC_H

#include "backend.h"
#include "vcpu.h"

int lodge_set_vapic_addr(struct lodge_vcpu *vcpu, u64 addr);

/*
 * Before and after a window while vcpu->vapic_addr is set. Both may sleep, so a window
 * has one entry then.
 */
void lodge_vapic_to_guest(struct lodge_vcpu *vcpu);
void lodge_vapic_from_guest(struct lodge_vcpu *vcpu);

/* Any tier: asks for lodge_exit_tpr_access(). */
void lodge_tpr_access(struct lodge_vcpu *vcpu, bool write);
int lodge_exit_tpr_access(struct lodge_vcpu *vcpu);

#endif
