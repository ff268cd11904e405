/* SPDX-License-Identifier: GPL-2.0-only */
/* KVM_CHECK_EXTENSION and KVM_ENABLE_CAP: what lodge has, and what of it is switched on. */
#ifndef LODGE_CAPABILITY_H
#define LODGE_CAPABILITY_H

#include <linux/kvm.h>

struct lodge_vcpu;
struct lodge_vm;

/* The value of capability @ext: of the node (@vm is NULL) or of a VM. Any context. */
int lodge_check_extension(struct lodge_vm *vm, long ext);

/*
 * KVM_ENABLE_CAP on a VM: 0, or -EINVAL: nothing that can be switched on, or arguments
 * that it does not take.
 */
int lodge_vm_enable_cap(struct lodge_vm *vm, const struct kvm_enable_cap *cap);

/* KVM_ENABLE_CAP on a vCPU, in the same way; vcpu->mutex is held. */
int lodge_vcpu_enable_cap(struct lodge_vcpu *vcpu, const struct kvm_enable_cap *cap);

#endif
