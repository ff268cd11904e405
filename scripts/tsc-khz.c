// SPDX-License-Identifier: GPL-2.0-only
/*
 * Prints the rate of this machine's time-stamp counter in kHz.
 * Built and run by scripts/bed, once per boot; no locks.
 */
#include <stdio.h>
#include <stdint.h>
#include <time.h>
#include <x86intrin.h>

/* One reading of both clocks, as close to each other as a few tries can get. */
static void read_clocks(uint64_t *tsc, uint64_t *ns)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 50; i++) {
		struct timespec now;
		uint64_t before = __rdtsc();
		uint64_t after;

		clock_gettime(CLOCK_MONOTONIC_RAW, &now);
		after = __rdtsc();
		if (after - before < best) {
			best = after - before;
			*tsc = before + best / 2;
			*ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
		}
	}
}

int main(void)
{
	const struct timespec wait = { .tv_nsec = 50000000 };
	uint64_t tsc[2], ns[2];

	read_clocks(&tsc[0], &ns[0]);
	nanosleep(&wait, NULL);
	read_clocks(&tsc[1], &ns[1]);
	printf("%llu\n", (unsigned long long)
	       ((double)(tsc[1] - tsc[0]) * 1e6 / (double)(ns[1] - ns[0])));
	return 0;
}
