// SPDX-License-Identifier: GPL-2.0-only
/*
 * What came of a benchmark, as a table or as JSON, row by row on the standard output.
 * Called by bench.c; no lock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "bench.h"

static int compare(const void *a, const void *b)
{
	const u64 *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

u64 result_value(const struct result *result)
{
	u64 sorted[MAX_SAMPLES], median;

	memcpy(sorted, result->samples, sizeof(sorted));
	qsort(sorted, result->nr_samples, sizeof(*sorted), compare);
	median = sorted[result->nr_samples / 2];
	return (median + result->count / 2) / result->count;
}

static double exits_each(const struct result *result)
{
	return (double)result->exits / (double)(result->count * result->nr_samples);
}

static void end_output(void)
{
	if (fflush(stdout) || ferror(stdout))
		host_error("cannot write to the standard output: %m");
}

/* --- JSON: one object in one line, with a row for each device --- */

static void print_string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			printf("\\%c", *text);
		else if ((unsigned char)*text < ' ')
			printf("\\u%04x", *text);
		else
			putchar(*text);
	}
	putchar('"');
}

static void json_result(const struct report *report, const char *row, const char *device,
			const struct result *result)
{
	static bool again;
	u64 value;

	printf("%s{\"row\": ", again ? ", " : "");
	again = true;
	print_string(row);
	printf(", \"device\": ");
	print_string(device);
	if (result->state != MEASURED) {
		printf(", \"%s\": ", result->state == SKIPPED ? "skipped" : "failed");
		print_string(result->reason);
		printf("}");
		return;
	}
	value = result_value(result);
	printf(", \"value\": %llu, \"unit\": \"%s\"", value, result->is_size ? "bytes" :
	       report->instructions ? "instructions" : "cycles");
	if (!result->is_size && !report->instructions)
		printf(", \"ns\": %.1f", (double)value * 1000 / (double)report->ticks_per_us);
	printf(", \"count\": %llu, \"samples\": %u", result->count, result->nr_samples);
	if (result->has_exits)
		printf(", \"exits\": %.2f", exits_each(result));
	for (unsigned int i = 0; i < MAX_REASONS; i++)
		if (result->reasons[i])
			printf(", \"%s\": %llu", exit_reasons[i], result->reasons[i]);
	printf("}");
}

/* --- the table --- */

static void print_number(u64 value)
{
	char digits[32], out[48];
	size_t len = (size_t)snprintf(digits, sizeof(digits), "%llu", value), at = 0;

	for (size_t i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			out[at++] = ',';
		out[at++] = digits[i];
	}
	out[at] = '\0';
	printf(" %15s", out);
}

static void table_result(const struct report *report, const struct result *result)
{
	u64 value;

	if (result->state != MEASURED) {
		printf(" %15s", result->state == SKIPPED ? "-" : "FAILED");
		if (!report->instructions)
			printf(" %11s", "");
		printf(" %7s", "");
		return;
	}
	value = result_value(result);
	print_number(value);
	if (!report->instructions && result->is_size)
		printf(" %11s", "");
	else if (!report->instructions)
		printf(" %11.1f", (double)value * 1000 / (double)report->ticks_per_us);
	if (result->has_exits)
		printf(" %7.2f", exits_each(result));
	else
		printf(" %7s", "");
}

static void table_reasons(const char *device, const struct result *result)
{
	bool any = false;

	for (unsigned int i = 0; i < MAX_REASONS; i++) {
		if (!result->reasons[i])
			continue;
		if (!any)
			printf("    %s:", device);
		printf(" %s %llu", exit_reasons[i], result->reasons[i]);
		any = true;
	}
	if (any)
		printf("\n");
}

static void table_row(const struct report *report, const struct row *row,
		      const struct result *results)
{
	bool both = true;

	printf("%-24s", row->name);
	for (unsigned int i = 0; i < report->nr_devices; i++) {
		table_result(report, &results[i]);
		both &= results[i].state == MEASURED;
		if (!i)
			continue;
		if (both && result_value(&results[0]))
			printf(" %6.2f", (double)result_value(&results[i]) /
			       (double)result_value(&results[0]));
		else
			printf(" %6s", "");
	}
	printf("\n");
	for (unsigned int i = 0; i < report->nr_devices; i++)
		if (results[i].state != MEASURED)
			printf("    %s%s: %s\n", results[i].state == FAILED ? "FAILED on " : "",
			       report->devices[i], results[i].reason);
	for (unsigned int i = 0; i < report->nr_devices; i++)
		table_reasons(report->devices[i], &results[i]);
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

void report_begin(const struct report *report)
{
	struct utsname host;

	uname(&host);
	if (report->json) {
		printf("{\"kernel\": ");
		print_string(host.release);
		printf(", \"rows\": [");
		return;
	}
	printf("Linux %s. %s; each figure is the median of up to %u.\n", host.release,
	       report->instructions ? "Instructions, counted exactly" :
	       "Cycles of the TSC, and nanoseconds", MAX_SAMPLES);
	printf("Exits are world switches for one time; memory is in bytes.\n\n%-24s", "row");
	for (unsigned int i = 0; i < report->nr_devices; i++) {
		printf(" %15.15s", last_part(report->devices[i]));
		if (!report->instructions)
			printf(" %11s", "ns");
		printf(" %7s", "exits");
		if (i)
			printf(" %6s", "ratio");
	}
	printf("\n");
	end_output();
}

void report_row(const struct report *report, const struct row *row, const struct result *results)
{
	if (!report->json)
		table_row(report, row, results);
	for (unsigned int i = 0; report->json && i < report->nr_devices; i++)
		json_result(report, row->name, report->devices[i], &results[i]);
	end_output();
}

void report_end(const struct report *report)
{
	if (report->json)
		printf("]}\n");
	end_output();
}
