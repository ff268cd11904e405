/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From files to a guest that is ready for its first instruction: kernel
 * images, where everything lies in guest memory, and the first vCPU's state.
 */
#ifndef LODGE_BOOT_H
#define LODGE_BOOT_H

#include "memory.h"
#include "types.h"

/* Guest physical addresses, all in the first megabyte. */
#define BOOT_GDT		0x00000500
#define BOOT_PARAMS		0x00007000	/* zero page or hvm_start_info */
#define BOOT_SETUP_DATA		0x00008000
#define BOOT_PAGE_TABLES	0x00009000	/* 6 pages */
#define BOOT_CMDLINE		0x00020000
#define BOOT_CMDLINE_MAX	0x00010000
#define BOOT_LOW_END		0x0009fc00
#define BOOT_ACPI		0x000e0000	/* the RSDP comes first */
#define BOOT_ACPI_END		0x00100000

/* Selectors of the boot GDT, as the Linux boot protocol names them. */
#define BOOT_CS			0x10
#define BOOT_DS			0x18
#define BOOT_TSS		0x20

struct boot_entry {
	bool long_mode;		/* paging on, RSI; else flat 32 bits, EBX */
	u64 rip;
	u64 params;		/* the guest physical address handed over */
};

enum image_kind { IMAGE_BZIMAGE, IMAGE_ELF };

/* A checked kernel image; pointers are into the file's bytes. */
struct kernel_image {
	enum image_kind kind;
	const u8 *data;
	size_t size;
	/* bzImage */
	const u8 *payload;		/* the protected-mode part */
	size_t payload_size;
	u64 load;			/* preferred address */
	u64 span;			/* bytes needed from there while it starts */
	u64 initrd_max;			/* its last byte's highest address */
	u32 cmdline_max;
	/* ELF; @load and @span cover all its segments */
	u64 entry;
	/* "6.1.0-1-amd64", or empty when the image does not say */
	char release[65];
};

/*
 * Check @data and describe it.  Returns NULL, or a sentence fragment that says
 * what is wrong with the file.
 */
const char *bzimage_parse(const u8 *data, size_t size, struct kernel_image *image);
const char *elf_parse(const u8 *data, size_t size, struct kernel_image *image);
const char *kernel_image_parse(const u8 *data, size_t size, struct kernel_image *image);

struct boot_input {
	const struct kernel_image *image;
	const u8 *initrd;
	size_t initrd_size;
	const char *cmdline;
};

/*
 * Place everything into guest memory.  Returns NULL and fills @entry, or a
 * message in a static buffer.
 */
const char *boot_load(const struct guest_memory *memory, const struct boot_input *input,
		      struct boot_entry *entry);

/* One piece of guest memory for the memory map. */
struct boot_range {
	u64 start;
	u64 size;
	u32 type;		/* 1 usable, 2 reserved; PVH took over e820's numbers */
};

#define BOOT_RANGES	5

/* Describe guest memory; returns the number of ranges, at most BOOT_RANGES. */
unsigned int boot_memory_map(const struct guest_memory *memory, struct boot_range *ranges);

/* The two ways in; called by boot_load() when all has its place. */
void bzimage_enter(const struct guest_memory *memory, const struct kernel_image *image,
		   u64 load, u64 initrd, size_t initrd_size, struct boot_entry *entry);
void pvh_enter(const struct guest_memory *memory, const struct kernel_image *image,
	       u64 initrd, size_t initrd_size, struct boot_entry *entry);

/* Copy an ELF image's segments; elf_parse() has checked them. */
void elf_load(const struct guest_memory *memory, const struct kernel_image *image);

#endif
