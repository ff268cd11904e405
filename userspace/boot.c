// SPDX-License-Identifier: GPL-2.0-only
/*
 * Places kernel, initial RAM disk, command line, page tables and GDT into
 * guest memory.  Called by run.c before any vCPU exists; no lock.
 */
#include <stdio.h>
#include <string.h>

#include "boot.h"

static char error_text[256];

#define error(...) (snprintf(error_text, sizeof(error_text), __VA_ARGS__), error_text)

unsigned int boot_memory_map(const struct guest_memory *memory, struct boot_range *ranges)
{
	enum { USABLE = 1, RESERVED = 2 };
	unsigned int n = 0;

	ranges[n++] = (struct boot_range){ 0, BOOT_LOW_END, USABLE };
	ranges[n++] = (struct boot_range){ BOOT_LOW_END, 0xa0000 - BOOT_LOW_END, RESERVED };
	ranges[n++] = (struct boot_range){ BOOT_ACPI, BOOT_ACPI_END - BOOT_ACPI, RESERVED };
	ranges[n++] = (struct boot_range){ MIB(1), memory_low_end(memory) - MIB(1), USABLE };
	if (memory->count > 1)
		ranges[n++] = (struct boot_range){ HIGH_MEMORY, memory->regions[1].size, USABLE };
	return n;
}

/*
 * A flat code segment for either mode, a data segment and a TSS: the
 * descriptors that the vCPU's segment registers were loaded with.
 */
static void write_gdt(const struct guest_memory *memory, bool long_mode)
{
	const u64 gdt[5] = {
		0, 0,
		long_mode ? 0x00af9b000000ffff : 0x00cf9b000000ffff,
		0x00cf93000000ffff,
		0x00008b0000000067,
	};

	memory_write(memory, BOOT_GDT, gdt, sizeof(gdt));
}

/* The first 4 GiB, virtual as physical, in 2 MiB pages. */
static void write_page_tables(const struct guest_memory *memory)
{
	enum { PRESENT = 1, WRITABLE = 2, LARGE = 0x80, ENTRIES = 512 };
	u64 *table = memory_at(memory, BOOT_PAGE_TABLES, 6 * 4096);

	table[0] = (BOOT_PAGE_TABLES + 4096) | PRESENT | WRITABLE;
	for (u64 i = 0; i < 4; i++)
		table[ENTRIES + i] = (BOOT_PAGE_TABLES + (2 + i) * 4096) | PRESENT | WRITABLE;
	for (u64 i = 0; i < 4ul * ENTRIES; i++)
		table[2 * ENTRIES + i] = i * MIB(2) | PRESENT | WRITABLE | LARGE;
}

const char *boot_load(const struct guest_memory *memory, const struct boot_input *input,
		      struct boot_entry *entry)
{
	const struct kernel_image *image = input->image;
	size_t cmdline = strlen(input->cmdline);
	u32 cmdline_max;
	u64 end = memory_low_end(memory);
	u64 kernel = image->load, initrd = 0, top;

	cmdline_max = image->cmdline_max < BOOT_CMDLINE_MAX ? image->cmdline_max :
							      BOOT_CMDLINE_MAX - 1;
	if (cmdline > cmdline_max)
		return error("--append is too long: the command line has %zu characters with it, and this kernel takes %u",
			     cmdline, cmdline_max);
	/*
	 * Nor lower, even if it is relocatable: its 64-bit entry unpacks it at the
	 * preferred address, or above where it finds itself there.
	 */
	if (kernel >= end || image->span > end - kernel)
		return error("--memory is too small: this kernel needs %llu MiB to start",
			     align_up(image->load + image->span, MIB(1)) >> 20);
	if (input->initrd_size) {
		top = end - 1 < image->initrd_max ? end : image->initrd_max + 1;
		if (input->initrd_size < top)
			initrd = align_down(top - input->initrd_size, 4096);
		if (initrd < kernel + image->span)
			return error("kernel and initial RAM disk (%zu MiB) do not fit in --memory",
				     (input->initrd_size >> 20) + 1);
		memory_write(memory, initrd, input->initrd, input->initrd_size);
	}
	memory_write(memory, BOOT_CMDLINE, input->cmdline, cmdline + 1);
	if (image->kind == IMAGE_BZIMAGE) {
		memory_write(memory, kernel, image->payload, image->payload_size);
		bzimage_enter(memory, image, kernel, initrd, input->initrd_size, entry);
		write_page_tables(memory);
	} else {
		elf_load(memory, image);
		pvh_enter(memory, image, initrd, input->initrd_size, entry);
	}
	write_gdt(memory, entry->long_mode);
	return NULL;
}
