/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's short names for types and attributes, for host and guest code
 * of the tests alike.
 */
#ifndef SELFTESTS_LIB_TYPES_H
#define SELFTESTS_LIB_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int8_t s8;
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define __aligned(n)	__attribute__((aligned(n)))
#define __packed	__attribute__((packed))
/* The next two as kselftest.h has them, which a file may include as well. */
#define __noreturn	__attribute__((__noreturn__))
#define __printf(a, b)	__attribute__((format(printf, a, b)))
#define __constructor	__attribute__((constructor))

/* For a guest function or a handler that has no use for its argument. */
#define __maybe_unused	__attribute__((unused))

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#endif

#endif
