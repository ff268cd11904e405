/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Short integer names and a few helpers for all of the runner.
 * Included by every file of it; holds no state.
 */
#ifndef LODGE_TYPES_H
#define LODGE_TYPES_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

#define KIB(n)		((u64)(n) << 10)
#define MIB(n)		((u64)(n) << 20)
#define GIB(n)		((u64)(n) << 30)

#define BIT(n)		(1u << (n))
#define BIT_ULL(n)	(1ull << (n))

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

static inline u64 align_up(u64 value, u64 align)
{
	return (value + align - 1) & ~(align - 1);
}

static inline u64 align_down(u64 value, u64 align)
{
	return value & ~(align - 1);
}

#endif
