// SPDX-License-Identifier: GPL-2.0-only
/*
 * The runner's option values, its view of the host's memory, CPUID topology and cpio writer.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "runner_test.h"
#include "userspace/cpio.h"
#include "userspace/cpuid.h"
#include "userspace/host_memory.h"
#include "userspace/parse.h"

static void check_memory(const char *text, u64 expected)
{
	u64 size = 42;
	const char *error = parse_memory(text, &size);
	char what[80];

	snprintf(what, sizeof(what), "memory '%s' is %s", text, expected ? "taken" : "refused");
	check(expected ? !error && size == expected : error && size == 42, what);
}

/* The reason for refusing @text has @word in it. */
static void check_reason(const char *text, const char *word, bool is_there)
{
	const char *error;
	char what[80];
	u64 size;

	error = parse_memory(text, &size);
	snprintf(what, sizeof(what), "the reason for '%s' is %s'%s'", text,
		 is_there ? "" : "not ", word);
	check(error && !!strstr(error, word) == is_there, what);
}

static void test_memory(void)
{
	check_memory("512M", MIB(512));
	check_memory("512m", MIB(512));
	check_memory("524288k", MIB(512));
	check_memory("16M", MIB(16));
	check_memory("16777216", MIB(16));
	check_memory("512G", GIB(512));
	check_memory("0", 0);
	check_memory("512", 0);
	check_memory("15M", 0);
	check_memory("513G", 0);
	check_memory("17825793", 0);	/* 17 MiB and a byte */
	check_memory("33554431", 0);
	check_memory("16777216T", 0);	/* 2^64 bytes */
	check_memory("18446744073709551615", 0);
	check_memory("18446744073709551616", 0);
	check_memory("", 0);
	check_memory("M", 0);
	check_memory("-1", 0);
	check_memory("+1", 0);
	check_memory(" 512M", 0);
	check_memory("512MB", 0);
	check_memory("512X", 0);
	check_memory("0x20000000", 0);
	check_memory("1.5G", 0);

	check_reason("512", "leave out", true);
	check_reason("1", "leave out", true);
	check_reason("0", "leave out", false);
	check_reason("0M", "leave out", false);
	check_reason("15M", "leave out", false);
	check_reason("1K", "leave out", false);
	check_reason("16777216T", "at most", true);
	check_reason("18446744073709551616", "at most", true);
	check_reason("99999999999999999999M", "at most", true);
	check_reason("99999999999999999999X", "at most", false);
}

static void test_host_memory(void)
{
	static const char meminfo[] =
		"MemTotal:        2048 kB\nMemFree:           10 kB\n"
		"MemAvailable:    1024 kB\nSwapCached:         9 kB\nSwapTotal:       1024 kB\n";
	struct host_memory host = { };

	check(host_memory_parse(meminfo, &host) && host.total == MIB(2) &&
	      host.available == MIB(1) && host.swap == MIB(1), "the host's memory is read");
	check(host_memory_fit(&host, MIB(1)) == MEMORY_FITS, "what is available fits");
	check(host_memory_fit(&host, MIB(1) + 1) == MEMORY_CROWDS, "more crowds the host");
	check(host_memory_fit(&host, MIB(3)) == MEMORY_CROWDS, "memory and swap hold a guest");
	check(host_memory_fit(&host, MIB(3) + 1) == MEMORY_EXCEEDS, "no more than these do");
	check(!host_memory_parse("", &host), "an empty text is refused");
	check(!host_memory_parse("MemTotal: 1 kB\nMemAvailable: 1 kB\n", &host),
	      "a text without the swap is refused");
	check(!host_memory_parse("MemTotal: x\nMemAvailable: 1 kB\nSwapTotal: 1 kB\n", &host),
	      "a line without a number is refused");
}

static void test_cpus(void)
{
	unsigned int cpus = 7;

	check(!parse_cpus("1", &cpus) && cpus == 1, "one CPU is taken");
	check(!parse_cpus("254", &cpus) && cpus == 254, "254 CPUs are taken");
	check(parse_cpus("0", &cpus), "no CPU is refused");
	check(parse_cpus("255", &cpus), "255 CPUs are refused");
	check(parse_cpus("", &cpus), "no number is refused");
	check(parse_cpus("two", &cpus), "a word is refused");
	check(parse_cpus("2,5", &cpus), "a fraction is refused");
	check(parse_cpus("4294967297", &cpus), "a number of more than 32 bits is refused");
	check(parse_cpus("18446744073709551617", &cpus),
	      "a number of more than 64 bits is refused");
	check(cpus == 254, "a refused number changes nothing");
	check(strstr(parse_cpus("0", &cpus), "from 1 to 254"), "the reason gives the range");
}

static void check_disk(const char *text, const char *path, bool readonly)
{
	struct disk_option disk = { };
	char what[80];

	snprintf(what, sizeof(what), "disk '%s' is %s", text, path ? path : "refused");
	if (path)
		check(!parse_disk(text, &disk) && !strcmp(disk.path, path) &&
		      disk.readonly == readonly, what);
	else
		check(parse_disk(text, &disk) && !disk.path, what);
	free(disk.path);
}

static void test_strings(void)
{
	struct console_option console = { };
	const char *text = NULL;

	check_disk("a", "a", false);
	check_disk("a,readonly", "a", true);
	check_disk("a,,b", "a,b", false);
	check_disk("a,,readonly", "a,readonly", false);
	check_disk("a,,,readonly", "a,", true);
	check_disk("", NULL, false);
	check_disk(",readonly", NULL, false);
	check_disk("a,ro", NULL, false);
	check_disk("a,", NULL, false);

	check(!parse_net("tap=tap0", &text) && !strcmp(text, "tap0"), "tap=tap0 is taken");
	check(!parse_net("tap=fifteen-letters", &text), "a name of 15 letters is taken");
	check(parse_net("tap=sixteen-letters!", &text), "a longer name is refused");
	check(parse_net("tap=", &text), "an empty name is refused");
	check(parse_net("user", &text), "another kind of network is refused");
	check(parse_net("tap=a/b", &text), "a name with a slash is refused");
	check(parse_net("tap=a%d", &text), "a name pattern is refused");

	check(!parse_console("pty", &console) && console.kind == CONSOLE_PTY, "pty is taken");
	check(!parse_console("file=x", &console) && console.kind == CONSOLE_FILE &&
	      !strcmp(console.path, "x"), "file=x is taken");
	check(parse_console("file=", &console), "file= is refused");
	check(parse_console("tty", &console), "another console is refused");

	check(!parse_name("a.b_c-1", &text), "a plain name is taken");
	check(parse_name("", &text), "no name is refused");
	check(parse_name("a b", &text), "a name with a blank is refused");
	check(parse_name("a\033[2J", &text), "a name with an escape sequence is refused");
	check(parse_name("123456789012345678901234567890123", &text), "a long name is refused");
}

static u32 hex(const u8 *at)
{
	char digits[9] = "";

	memcpy(digits, at, 8);
	return (u32)strtoul(digits, NULL, 16);
}

static void test_cpio(void)
{
	struct cpio cpio = { };
	const u8 *entry;

	cpio_add(&cpio, "dir", S_IFDIR | 0755, 0, NULL, 0);
	cpio_add(&cpio, "file", S_IFREG | 0644, 0, "hello", 5);
	check(!cpio_finish(&cpio), "an archive is finished");
	check(cpio.size % 4 == 0, "its size is a multiple of four");

	entry = cpio.data;
	check(!memcmp(entry, "070701", 6), "an entry starts with the magic number");
	check(hex(entry + 14) == (S_IFDIR | 0755), "a folder keeps its mode");
	check(!strcmp((const char *)entry + 110, "dir"), "a folder keeps its name");

	entry += align_up(110 + sizeof("dir"), 4);
	check(!memcmp(entry, "070701", 6), "the second entry follows, aligned");
	check(hex(entry + 54) == 5, "a file keeps its size");
	check(hex(entry + 94) == sizeof("file"), "a name's size counts its end");
	check(hex(entry + 6) != hex(cpio.data + 6), "inode numbers differ");
	entry += align_up(110 + sizeof("file"), 4);
	check(!memcmp(entry, "hello\0\0\0", 8), "data is aligned and padded with zeros");
	entry += 8;
	check(!strcmp((const char *)entry + 110, "TRAILER!!!"), "the trailer is last");
	check(entry + align_up(110 + sizeof("TRAILER!!!"), 4) == cpio.data + cpio.size,
	      "nothing follows the trailer");
	free(cpio.data);

	cpio = (struct cpio){ };
	cpio_add(&cpio, "huge", S_IFREG, 0, "", (size_t)UINT32_MAX + 1);
	check(cpio_finish(&cpio), "a file of 4 GiB is refused");
	free(cpio.data);
}

static const struct kvm_cpuid_entry2 *leaf(const struct cpuid_table *table, u32 function,
					   u32 index)
{
	for (u32 i = 0; i < table->head.nent; i++)
		if (table->entries[i].function == function && table->entries[i].index == index)
			return &table->entries[i];
	abort();
}

static void test_cpuid(void)
{
	static const struct kvm_cpuid_entry2 entries[] = {
		{ .function = 0x1, .ebx = 0xff040800, .ecx = 1, .edx = BIT(28) | 1 },
		{ .function = 0xb, .index = 0 },
		{ .function = 0xb, .index = 1 },
		{ .function = 0x80000008, .eax = 0x3030, .ecx = 0xffff },
		{ .function = 0x8000001e, .eax = 99 },
	};
	struct cpuid_table *table = calloc(1, sizeof(*table));

	if (!table)
		abort();
	table->head.nent = ARRAY_SIZE(entries);
	memcpy(table->entries, entries, sizeof(entries));
	cpuid_fix_up(table, 2, 3, true);
	check(leaf(table, 1, 0)->ebx == 0x02030800, "leaf 1 has the APIC id and the CPUs");
	check(leaf(table, 1, 0)->ecx == (BIT(31) | BIT(24) | 1),
	      "leaf 1 shows a hypervisor and the TSC deadline");
	check(leaf(table, 1, 0)->edx == (BIT(28) | 1), "leaf 1 shows several CPUs");
	check(leaf(table, 0xb, 0)->ebx == 1 && leaf(table, 0xb, 0)->edx == 2,
	      "leaf 0xb has one thread per core");
	check(leaf(table, 0xb, 1)->eax == 2 && leaf(table, 0xb, 1)->ebx == 3,
	      "leaf 0xb has three cores, numbered by two bits");
	check(leaf(table, 0x80000008, 0)->ecx == (2 << 12 | 2), "leaf 0x80000008 has the cores");
	check(leaf(table, 0x80000008, 0)->eax == 0x3030, "and keeps the address sizes");
	check(leaf(table, 0x8000001e, 0)->eax == 2, "leaf 0x8000001e has the APIC id");

	memcpy(table->entries, entries, sizeof(entries));
	cpuid_fix_up(table, 0, 1, false);
	check(!(leaf(table, 1, 0)->edx & BIT(28)), "one CPU is not shown as several");
	check(!(leaf(table, 1, 0)->ecx & BIT(24)), "no TSC deadline without the capability");
	free(table);
}

int main(void)
{
	test_memory();
	test_host_memory();
	test_cpus();
	test_strings();
	test_cpio();
	test_cpuid();
	return finish();
}
