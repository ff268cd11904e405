/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the emulator takes from its surroundings: fixed-width types, bool and
 * memcpy().  Included by every file here, in the module and in user space
 * (unit tests, fuzzers) alike.  No state, no lock.
 */
#ifndef LODGE_EMULATE_TYPES_H
#define LODGE_EMULATE_TYPES_H

#include <linux/types.h>

#ifdef __KERNEL__
#include <linux/bits.h>
#include <linux/kernel.h>
#include <linux/string.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;

#define BIT(n) (1UL << (n))
#define BIT_ULL(n) (1ULL << (n))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#endif

#endif
