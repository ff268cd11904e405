// SPDX-License-Identifier: GPL-2.0-only
/*
 * The zero page of Linux's 64-bit boot protocol.  Called by boot.c with the
 * kernel in place; no lock.
 */
#include <asm/bootparam.h>
#include <string.h>
#include <sys/random.h>

#include "boot.h"

#define LOADER_UNDEFINED	0xff
#define ENTRY_64_OFFSET		0x200
#define SEED_SIZE		32
#define SETUP_DATA_RNG_SEED	9	/* newer than Debian 12's header */

/*
 * Entropy from the host, so that the guest need not wait for its own: kernels
 * from 6.0 on read it, older ones skip the type.
 */
static u64 write_seed(const struct guest_memory *memory)
{
	struct {
		struct setup_data head;
		u8 seed[SEED_SIZE];
	} data = {
		.head.type = SETUP_DATA_RNG_SEED,
		.head.len = SEED_SIZE,
	};
	size_t size = offsetof(typeof(data), seed) + SEED_SIZE;

	if (getrandom(data.seed, SEED_SIZE, 0) != SEED_SIZE)
		return 0;
	memory_write(memory, BOOT_SETUP_DATA, &data, size);
	return BOOT_SETUP_DATA;
}

void bzimage_enter(const struct guest_memory *memory, const struct kernel_image *image,
		   u64 load, u64 initrd, size_t initrd_size, struct boot_entry *entry)
{
	struct boot_params *params = memory_at(memory, BOOT_PARAMS, sizeof(*params));
	/* The header's length is its jump's target: it ends where the code begins. */
	size_t end = 0x202ul + image->data[0x201];
	struct boot_range ranges[BOOT_RANGES];
	unsigned int n;

	memset(params, 0, sizeof(*params));
	if (end > 0x1f1 + sizeof(params->hdr))
		end = 0x1f1 + sizeof(params->hdr);
	memcpy(&params->hdr, image->data + 0x1f1, end - 0x1f1);
	params->hdr.type_of_loader = LOADER_UNDEFINED;
	params->hdr.vid_mode = 0xffff;	/* "normal": no mode was set */
	params->hdr.cmd_line_ptr = BOOT_CMDLINE;
	params->hdr.ramdisk_image = (u32)initrd;
	params->hdr.ramdisk_size = (u32)initrd_size;
	params->hdr.code32_start = (u32)load;
	params->hdr.setup_data = write_seed(memory);
	params->acpi_rsdp_addr = BOOT_ACPI;

	n = boot_memory_map(memory, ranges);
	for (unsigned int i = 0; i < n; i++) {
		params->e820_table[i].addr = ranges[i].start;
		params->e820_table[i].size = ranges[i].size;
		params->e820_table[i].type = ranges[i].type;
	}
	params->e820_entries = (u8)n;

	*entry = (struct boot_entry){
		.long_mode = true,
		.rip = load + ENTRY_64_OFFSET,
		.params = BOOT_PARAMS,
	};
}
