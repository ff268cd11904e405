// SPDX-License-Identifier: GPL-2.0-only
/*
 * The CPUID that a vCPU shows.  Called by vcpu.c once per vCPU before it runs;
 * no state, no lock.
 */
#include "cpuid.h"

#define LEAF1_ECX_TSC_DEADLINE	BIT(24)
#define LEAF1_ECX_HYPERVISOR	BIT(31)
#define LEAF1_EDX_HTT		BIT(28)

/* The bits that number @n things. */
static u32 width(u32 n)
{
	u32 bits = 0;

	while ((1u << bits) < n)
		bits++;
	return bits;
}

/* Intel SDM volume 2, CPUID, "Extended Topology Enumeration Leaf". */
static void fix_x2apic_topology(struct kvm_cpuid_entry2 *entry, u32 id, u32 cpus)
{
	enum { LEVEL_THREAD = 1, LEVEL_CORE = 2 };

	entry->ecx = entry->index;
	entry->edx = id;
	switch (entry->index) {
	case 0:
		entry->eax = 0;
		entry->ebx = 1;
		entry->ecx |= LEVEL_THREAD << 8;
		break;
	case 1:
		entry->eax = width(cpus);
		entry->ebx = cpus;
		entry->ecx |= LEVEL_CORE << 8;
		break;
	default:
		entry->eax = 0;
		entry->ebx = 0;
	}
}

static void fix_entry(struct kvm_cpuid_entry2 *entry, u32 id, u32 cpus, bool tsc_deadline)
{
	switch (entry->function) {
	case 0x1:
		entry->ebx &= 0x0000ffff;
		entry->ebx |= id << 24 | cpus << 16;
		/* A supported-CPUID table leaves both of these to the VMM. */
		entry->ecx |= LEAF1_ECX_HYPERVISOR;
		if (tsc_deadline)
			entry->ecx |= LEAF1_ECX_TSC_DEADLINE;
		entry->edx &= ~LEAF1_EDX_HTT;
		if (cpus > 1)
			entry->edx |= LEAF1_EDX_HTT;
		break;
	case 0x4:
		/* Intel: cores in the package less one; each cache is one core's. */
		entry->eax &= 0x00003fff;
		if (entry->eax & 0x1f)
			entry->eax |= ((1u << width(cpus)) - 1) << 26;
		break;
	case 0xb:
	case 0x1f:
		fix_x2apic_topology(entry, id, cpus);
		break;
	case 0x80000001:
		/* AMD: CmpLegacy, several cores and no threads. */
		entry->ecx &= ~2u;
		if (cpus > 1)
			entry->ecx |= 2;
		break;
	case 0x80000008:
		/* AMD: ApicIdSize, and cores less one. */
		entry->ecx = width(cpus) << 12 | (cpus - 1);
		break;
	case 0x8000001d:
		/* AMD: how many share the cache, less one. */
		entry->eax &= ~(0xfffu << 14);
		break;
	case 0x8000001e:
		/* AMD: APIC id; core id and one thread per core; one node. */
		entry->eax = id;
		entry->ebx = id & 0xff;
		entry->ecx = 0;
		break;
	}
}

void cpuid_fix_up(struct cpuid_table *table, u32 id, u32 cpus, bool tsc_deadline)
{
	for (u32 i = 0; i < table->head.nent && i < CPUID_ENTRIES; i++)
		fix_entry(&table->entries[i], id, cpus, tsc_deadline);
}
