// SPDX-License-Identifier: GPL-2.0-only
/*
 * Checks kernel images: bzImage by the x86 boot protocol's setup header, ELF
 * vmlinux by its program headers and the PVH entry note.  Called by run.c,
 * initramfs.c and the unit tests; no state, no lock.  Files are untrusted:
 * every offset is checked against the file's size before use.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <elf.h>
#include <string.h>

#include "boot.h"

/* Offsets in the file, from Linux, Documentation/arch/x86/boot.rst. */
#define SETUP_SECTS		0x1f1
#define SETUP_MAGIC		0x202	/* "HdrS" */
#define SETUP_VERSION		0x206
#define SETUP_KERNEL_VERSION	0x20e
#define SETUP_LOADFLAGS		0x211
#define SETUP_INITRD_MAX	0x22c
#define SETUP_XLOADFLAGS	0x236
#define SETUP_CMDLINE_SIZE	0x238
#define SETUP_PAYLOAD_OFFSET	0x248
#define SETUP_PAYLOAD_LENGTH	0x24c
#define SETUP_PREF_ADDRESS	0x258
#define SETUP_INIT_SIZE		0x260
#define SETUP_END		0x268

#define LOADED_HIGH		0x01
#define XLF_KERNEL_64		0x01
#define ENTRY_64_OFFSET		0x200
#define MAX_KERNEL_ADDRESS	GIB(64)

#define NOTE_PVH_ENTRY		18	/* XEN_ELFNOTE_PHYS32_ENTRY */

static u16 get16(const u8 *at)
{
	u16 value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static u32 get32(const u8 *at)
{
	u32 value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static u64 get64(const u8 *at)
{
	u64 value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* The release is the first word of a version text at most @size bytes long. */
static void copy_release(struct kernel_image *image, const u8 *text, size_t size)
{
	size_t len = 0;

	while (len < size && len < sizeof(image->release) - 1 && isgraph(text[len]) &&
	       text[len] != '/')
		len++;
	memcpy(image->release, text, len);
	image->release[len] = '\0';
}

const char *bzimage_parse(const u8 *data, size_t size, struct kernel_image *image)
{
	size_t setup, version;
	u64 payload_end;

	if (size < SETUP_END || memcmp(data + SETUP_MAGIC, "HdrS", 4))
		return "it is no bzImage";
	/* 2.12 brought xloadflags; kernels have had it since 3.8. */
	if (get16(data + SETUP_VERSION) < 0x020c)
		return "its boot protocol is older than 2.12 (Linux 3.8)";
	if (!(data[SETUP_LOADFLAGS] & LOADED_HIGH))
		return "it is a zImage; a bzImage is expected";
	if (!(get16(data + SETUP_XLOADFLAGS) & XLF_KERNEL_64))
		return "it is a 32-bit kernel; a 64-bit one is expected";
	setup = ((data[SETUP_SECTS] ? data[SETUP_SECTS] : 4) + 1) * 512ul;
	/* The compressed kernel, which the code before it unpacks. */
	payload_end = (u64)get32(data + SETUP_PAYLOAD_OFFSET) +
		      get32(data + SETUP_PAYLOAD_LENGTH);
	if (size <= setup + ENTRY_64_OFFSET || size - setup < payload_end)
		return "it is truncated";

	*image = (struct kernel_image){
		.kind = IMAGE_BZIMAGE,
		.data = data,
		.size = size,
		.payload = data + setup,
		.payload_size = size - setup,
		.load = get64(data + SETUP_PREF_ADDRESS),
		.span = get32(data + SETUP_INIT_SIZE),
		.initrd_max = get32(data + SETUP_INITRD_MAX),
		.cmdline_max = get32(data + SETUP_CMDLINE_SIZE),
	};
	if (image->load < MIB(1) || image->load > MAX_KERNEL_ADDRESS)
		return "its preferred address is absurd";
	if (image->span < image->payload_size)
		image->span = image->payload_size;
	version = get16(data + SETUP_KERNEL_VERSION) + 0x200ul;
	if (version > 0x200 && version < setup)
		copy_release(image, data + version, setup - version);
	return NULL;
}

/* The PVH entry in the notes of @size bytes at @notes, or 0. */
static u64 find_pvh_entry(const u8 *notes, size_t size)
{
	while (size >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr note;
		u64 name, desc;

		memcpy(&note, notes, sizeof(note));
		name = align_up(note.n_namesz, 4);
		desc = align_up(note.n_descsz, 4);
		if (name + desc > size - sizeof(note))
			return 0;
		if (note.n_type == NOTE_PVH_ENTRY && note.n_namesz == 4 &&
		    !memcmp(notes + sizeof(note), "Xen", 4)) {
			if (note.n_descsz == 8)
				return get64(notes + sizeof(note) + name);
			if (note.n_descsz == 4)
				return get32(notes + sizeof(note) + name);
		}
		notes += sizeof(note) + name + desc;
		size -= sizeof(note) + name + desc;
	}
	return 0;
}

/* "Linux version 6.1.0-1-amd64 (" stands in the read-only data of each kernel. */
static void find_elf_release(struct kernel_image *image)
{
	static const char banner[] = "Linux version ";
	const u8 *at = image->data;
	size_t left = image->size;

	while ((at = memmem(at, left, banner, sizeof(banner) - 1))) {
		at += sizeof(banner) - 1;
		left = image->size - (size_t)(at - image->data);
		/* Format strings of the same text do not start with a digit. */
		if (left && isdigit(*at)) {
			copy_release(image, at, left);
			return;
		}
	}
}

static const char *parse_segment(struct kernel_image *image, const Elf64_Phdr *segment,
				 u64 *end)
{
	if (segment->p_offset > image->size ||
	    segment->p_filesz > image->size - segment->p_offset)
		return "it is truncated: a segment lies outside the file";
	if (segment->p_type == PT_NOTE) {
		if (!image->entry)
			image->entry = find_pvh_entry(image->data + segment->p_offset,
						      segment->p_filesz);
		return NULL;
	}
	if (segment->p_filesz > segment->p_memsz)
		return "a segment is larger in the file than in memory";
	if (segment->p_paddr < MIB(1) || segment->p_paddr > MAX_KERNEL_ADDRESS ||
	    segment->p_memsz > MAX_KERNEL_ADDRESS)
		return "a segment's physical address or size is absurd";
	if (segment->p_paddr < image->load)
		image->load = segment->p_paddr;
	if (segment->p_paddr + segment->p_memsz > *end)
		*end = segment->p_paddr + segment->p_memsz;
	return NULL;
}

const char *elf_parse(const u8 *data, size_t size, struct kernel_image *image)
{
	Elf64_Ehdr header;
	u64 end = 0;

	if (size < sizeof(header) || memcmp(data, ELFMAG, SELFMAG))
		return "it is no ELF file";
	memcpy(&header, data, sizeof(header));
	if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64)
		return "it is an ELF file, but not for x86-64";
	if (header.e_type != ET_EXEC)
		return "it is an ELF file, but no kernel (it is not linked to fixed addresses)";
	if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phoff > size ||
	    header.e_phnum > (size - header.e_phoff) / sizeof(Elf64_Phdr))
		return "its program headers lie outside the file";

	*image = (struct kernel_image){
		.kind = IMAGE_ELF,
		.data = data,
		.size = size,
		.load = MAX_KERNEL_ADDRESS,
		.initrd_max = LOW_MEMORY_END - 1,
		.cmdline_max = 2047,
	};
	for (unsigned int i = 0; i < header.e_phnum; i++) {
		const char *error;
		Elf64_Phdr segment;

		memcpy(&segment, data + header.e_phoff + i * sizeof(segment), sizeof(segment));
		if (segment.p_type != PT_LOAD && segment.p_type != PT_NOTE)
			continue;
		error = parse_segment(image, &segment, &end);
		if (error)
			return error;
	}
	if (!end)
		return "it has nothing to load";
	if (!image->entry)
		return "it has no PVH entry note (CONFIG_PVH); use its bzImage";
	if (image->entry < image->load || image->entry >= end)
		return "its PVH entry lies outside its segments";
	image->span = end - image->load;
	find_elf_release(image);
	return NULL;
}

const char *kernel_image_parse(const u8 *data, size_t size, struct kernel_image *image)
{
	if (size >= SELFMAG && !memcmp(data, ELFMAG, SELFMAG))
		return elf_parse(data, size, image);
	if (size < SETUP_END || memcmp(data + SETUP_MAGIC, "HdrS", 4))
		return "it is no kernel: a bzImage or an ELF vmlinux is expected";
	return bzimage_parse(data, size, image);
}
