/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TAP for the runner's unit tests: each check is one test.  Included by one
 * program each; no lock.
 */
#ifndef RUNNER_TEST_H
#define RUNNER_TEST_H

#include <stdbool.h>
#include <stdio.h>

static unsigned int tests, failures;

static inline void report(bool good, const char *what, const char *file, int line)
{
	tests++;
	if (!good)
		failures++;
	printf("%sok %u %s\n", good ? "" : "not ", tests, what);
	if (!good)
		printf("# at %s:%d\n", file, line);
}

#define check(condition, what) report(condition, what, __FILE__, __LINE__)

static inline int finish(void)
{
	printf("1..%u\n", tests);
	return failures != 0;
}

#endif
