// SPDX-License-Identifier: GPL-2.0-only
/*
 * A plugin for QEMU's TCG that counts how often each instruction of the emulated machine
 * runs in the measured parts of a row of `lodge bench`, which are marked by NOPs that no
 * compiler makes (userspace/bench/guest/shared.h).  Built and loaded by scripts/bed
 * --profile; scripts/profile-report reads what it writes when the machine ends: "begin N",
 * how many parts there were, "guest N", the instructions between a VMRUN and its #VMEXIT,
 * and "ADDRESS COUNT" for each of the host's.  One emulated CPU,
 * so no lock.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu_plugin.h"

/* NOPL with one of two displacements that tell begin from end. */
static const uint8_t begin_bytes[] = { 0x0f, 0x1f, 0x80, 0x01, 0xeb, 0xd6, 0x10 };
static const uint8_t end_bytes[] = { 0x0f, 0x1f, 0x80, 0x02, 0xeb, 0xd6, 0x10 };

static const uint8_t vmrun_bytes[] = { 0x0f, 0x01, 0xd8 };

/* One piece of code that runs from its start to its end. */
struct block {
	struct block *next;
	uint64_t runs;
	size_t count;
	uint64_t addresses[];
};

static struct block *blocks;
static bool measuring;
static uint64_t begins;
static uint64_t guest_count;
static uint64_t guest_until;	/* where the host goes on; 0: it is not in a guest */
static const char *output;

static void on_run(unsigned int cpu, void *data)
{
	struct block *block = data;

	(void)cpu;
	if (guest_until && block->addresses[0] == guest_until)
		guest_until = 0;
	if (guest_until)
		guest_count += measuring ? block->count : 0;
	else
		block->runs += measuring;
}

/* The host's next instruction is the one behind. No nested guests. */
static void on_vmrun(unsigned int cpu, void *data)
{
	(void)cpu;
	if (!guest_until)
		guest_until = (uint64_t)(uintptr_t)data;
}

static void on_begin(unsigned int cpu, void *data)
{
	(void)cpu;
	(void)data;
	measuring = true;
	begins++;
}

static void on_end(unsigned int cpu, void *data)
{
	(void)cpu;
	(void)data;
	measuring = false;
}

/* The two marks, and entries into a guest. */
static void watch(struct qemu_plugin_insn *insn)
{
	uint8_t bytes[sizeof(begin_bytes)];
	uint64_t behind = qemu_plugin_insn_vaddr(insn) + sizeof(vmrun_bytes);

	if (qemu_plugin_insn_data(insn, bytes, sizeof(vmrun_bytes)) == sizeof(vmrun_bytes) &&
	    !memcmp(bytes, vmrun_bytes, sizeof(vmrun_bytes)))
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_vmrun, CALLBACK_NO_REGISTERS,
						       (void *)(uintptr_t)behind);
	if (qemu_plugin_insn_data(insn, bytes, sizeof(bytes)) != sizeof(bytes))
		return;
	if (!memcmp(bytes, begin_bytes, sizeof(bytes)))
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_begin, CALLBACK_NO_REGISTERS,
						       NULL);
	else if (!memcmp(bytes, end_bytes, sizeof(bytes)))
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_end, CALLBACK_NO_REGISTERS,
						       NULL);
}

static void on_translation(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t count = qemu_plugin_tb_n_insns(tb);
	struct block *block = calloc(1, sizeof(*block) + count * sizeof(uint64_t));

	(void)id;
	if (!block)
		abort();
	block->count = count;
	for (size_t i = 0; i < count; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		block->addresses[i] = qemu_plugin_insn_vaddr(insn);
		watch(insn);
	}
	block->next = blocks;
	blocks = block;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, on_run, CALLBACK_NO_REGISTERS, block);
}

static void on_exit_of_qemu(uint64_t id, void *data)
{
	FILE *file = fopen(output, "w");

	(void)id;
	(void)data;
	if (!file)
		return;
	fprintf(file, "begin %llu\nguest %llu\n", (unsigned long long)begins,
		(unsigned long long)guest_count);
	for (struct block *block = blocks; block; block = block->next)
		for (size_t i = 0; block->runs && i < block->count; i++)
			fprintf(file, "%llx %llu\n", (unsigned long long)block->addresses[i],
				(unsigned long long)block->runs);
	fclose(file);
}

/* The one argument is output=FILE. */
int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	(void)info;
	if (argc != 1 || strncmp(argv[0], "output=", 7))
		return -1;
	output = strdup(argv[0] + 7);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
	return 0;
}
