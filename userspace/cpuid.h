/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The CPUID that a vCPU shows: what the module supports, with the topology of
 * one package of single-threaded cores.  Called by vcpu.c and by unit tests.
 */
#ifndef LODGE_CPUID_H
#define LODGE_CPUID_H

#include <linux/kvm.h>

#include "types.h"

#define CPUID_ENTRIES	256	/* as many as KVM ever takes */

struct cpuid_table {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entries[CPUID_ENTRIES];
};

/*
 * Change @table, as KVM_GET_SUPPORTED_CPUID gave it, into that of vCPU @id of
 * @cpus.  @tsc_deadline: the in-kernel LAPIC has that timer mode.
 */
void cpuid_fix_up(struct cpuid_table *table, u32 id, u32 cpus, bool tsc_deadline);

#endif
