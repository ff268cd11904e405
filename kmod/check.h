/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What svm/check.c and vmx/check.c share: they apply a manual's rules for an entry to a
 * control block, after an entry has failed, and before each in a debug build.
 */
#ifndef LODGE_CHECK_H
#define LODGE_CHECK_H

#include <linux/kconfig.h>
#include <asm/processor.h>

#include "vcpu.h"

/* `make module KCFLAGS=-DDEBUG`; and a kernel with KASAN is there to find mistakes, too. */
#if defined(DEBUG) || IS_ENABLED(CONFIG_KASAN)
#define LODGE_CHECK_ENTRIES	1
#else
#define LODGE_CHECK_ENTRIES	0
#endif

/* exits.c: into the log and the trace. Any tier. */
void lodge_rule_broken(struct lodge_vcpu *vcpu, const char *rule);

/* One rule: what must hold, and what is to be said when it does not. Counts in "broken". */
#define RULE(holds, text)							\
do {										\
	if (!(holds)) {								\
		lodge_rule_broken(vcpu, text);					\
		broken++;							\
	}									\
} while (0)

static inline bool pat_valid(u64 pat)
{
	unsigned int i;

	for (i = 0; i < 8; i++, pat >>= 8)
		if ((pat & 0xff) > 7 || (pat & 0xff) == 2 || (pat & 0xff) == 3)
			return false;
	return true;
}

static inline bool within_maxphyaddr(u64 pa)
{
	return !(pa >> boot_cpu_data.x86_phys_bits);
}

#endif
