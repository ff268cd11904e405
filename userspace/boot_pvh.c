// SPDX-License-Identifier: GPL-2.0-only
/*
 * The direct boot of an ELF vmlinux by its PVH entry: 32-bit protected mode,
 * paging off, EBX points to hvm_start_info.  Called by boot.c; no lock.
 *
 * The structures are those of Xen's public header arch-x86/hvm/start_info.h,
 * which no distribution package installs for user space.
 */
#include <elf.h>
#include <string.h>

#include "boot.h"

#define START_INFO_MAGIC	0x336ec578

struct start_info {
	u32 magic;
	u32 version;
	u32 flags;
	u32 nr_modules;
	u64 modules;
	u64 cmdline;
	u64 rsdp;
	u64 memory_map;		/* from version 1 on */
	u32 memory_map_entries;
	u32 reserved;
};

struct start_module {
	u64 address;
	u64 size;
	u64 cmdline;
	u64 reserved;
};

struct start_range {
	u64 address;
	u64 size;
	u32 type;
	u32 reserved;
};

struct start_page {
	struct start_info info;
	struct start_module initrd;
	struct start_range ranges[BOOT_RANGES];
};

void elf_load(const struct guest_memory *memory, const struct kernel_image *image)
{
	Elf64_Ehdr header;

	memcpy(&header, image->data, sizeof(header));
	for (unsigned int i = 0; i < header.e_phnum; i++) {
		Elf64_Phdr segment;

		memcpy(&segment, image->data + header.e_phoff + i * sizeof(segment),
		       sizeof(segment));
		/* Guest memory is fresh, so the rest of p_memsz is zero already. */
		if (segment.p_type == PT_LOAD)
			memory_write(memory, segment.p_paddr, image->data + segment.p_offset,
				     segment.p_filesz);
	}
}

void pvh_enter(const struct guest_memory *memory, const struct kernel_image *image,
	       u64 initrd, size_t initrd_size, struct boot_entry *entry)
{
	struct boot_range ranges[BOOT_RANGES];
	struct start_page page = {
		.info = {
			.magic = START_INFO_MAGIC,
			.version = 1,
			.cmdline = BOOT_CMDLINE,
			.rsdp = BOOT_ACPI,
			.memory_map = BOOT_PARAMS + offsetof(struct start_page, ranges),
		},
	};

	if (initrd_size) {
		page.info.nr_modules = 1;
		page.info.modules = BOOT_PARAMS + offsetof(struct start_page, initrd);
		page.initrd.address = initrd;
		page.initrd.size = initrd_size;
	}
	page.info.memory_map_entries = boot_memory_map(memory, ranges);
	for (unsigned int i = 0; i < page.info.memory_map_entries; i++) {
		page.ranges[i].address = ranges[i].start;
		page.ranges[i].size = ranges[i].size;
		page.ranges[i].type = ranges[i].type;
	}
	memory_write(memory, BOOT_PARAMS, &page, sizeof(page));

	*entry = (struct boot_entry){
		.long_mode = false,
		.rip = image->entry,
		.params = BOOT_PARAMS,
	};
}
