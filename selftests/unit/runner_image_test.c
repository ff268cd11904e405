// SPDX-License-Identifier: GPL-2.0-only
/*
 * The runner's kernel loaders: good images, and those that no build made.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "runner_test.h"
#include "userspace/boot.h"

#define SETUP		2048	/* three sectors and the first */
#define BZIMAGE_SIZE	(SETUP + 4096)
#define ELF_SIZE	8192

static u8 bzimage[BZIMAGE_SIZE];
static u8 elf[ELF_SIZE];

static void put(u8 *at, u64 value, size_t size)
{
	memcpy(at, &value, size);
}

static void make_bzimage(void)
{
	static const char version[] = "6.1.0-1-amd64 (someone) #1";

	memset(bzimage, 0, sizeof(bzimage));
	bzimage[0x1f1] = 3;
	bzimage[0x201] = 0x6a;
	memcpy(bzimage + 0x202, "HdrS", 4);
	put(bzimage + 0x206, 0x020f, 2);
	put(bzimage + 0x20e, 0x300, 2);
	bzimage[0x211] = 1;
	put(bzimage + 0x22c, 0x7fffffff, 4);
	put(bzimage + 0x230, MIB(2), 4);	/* relocatable, to multiples of 2M */
	bzimage[0x234] = 1;
	put(bzimage + 0x236, 1, 2);
	put(bzimage + 0x238, 2047, 4);
	put(bzimage + 0x248, 0x300, 4);
	put(bzimage + 0x24c, 4096 - 0x300, 4);
	put(bzimage + 0x258, MIB(16), 8);
	put(bzimage + 0x260, MIB(8), 4);
	memcpy(bzimage + 0x500, version, sizeof(version));
}

struct elf_file {
	Elf64_Ehdr header;
	Elf64_Phdr segments[2];
	Elf64_Nhdr note;
	char name[4];
	u64 entry;
};

static struct elf_file *make_elf(void)
{
	const Elf64_Phdr code = {
		.p_type = PT_LOAD, .p_offset = 4096, .p_paddr = MIB(16),
		.p_filesz = 4096, .p_memsz = 16384,
	};
	const Elf64_Phdr notes = {
		.p_type = PT_NOTE, .p_offset = offsetof(struct elf_file, note),
		.p_filesz = sizeof(Elf64_Nhdr) + 12,
	};
	const Elf64_Nhdr note = { .n_namesz = 4, .n_descsz = 8, .n_type = 18 };
	struct elf_file *file = (struct elf_file *)elf;

	memset(elf, 0, sizeof(elf));
	memcpy(file->header.e_ident, ELFMAG, SELFMAG);
	file->header.e_ident[EI_CLASS] = ELFCLASS64;
	file->header.e_type = ET_EXEC;
	file->header.e_machine = EM_X86_64;
	file->header.e_phoff = offsetof(struct elf_file, segments);
	file->header.e_phentsize = sizeof(Elf64_Phdr);
	file->header.e_phnum = 2;
	file->segments[0] = code;
	file->segments[1] = notes;
	file->note = note;
	memcpy(file->name, "Xen", 4);
	file->entry = MIB(16) + 0x100;
	memcpy(elf + 5000, "Linux version %s", 16);
	memcpy(elf + 6000, "Linux version 6.12.0+x (", 24);
	return file;
}

/* Parse a copy of exactly @size bytes, so that ASan sees any byte too far. */
static const char *parse(const u8 *data, size_t size, struct kernel_image *image)
{
	u8 *copy = malloc(size ? size : 1);
	struct kernel_image scratch;
	const char *error;

	if (!copy)
		abort();
	memcpy(copy, data, size);
	error = kernel_image_parse(copy, size, image ? image : &scratch);
	free(copy);
	return error;
}

static void test_bzimage(void)
{
	struct kernel_image image;
	bool refused = true;

	make_bzimage();
	check(!parse(bzimage, sizeof(bzimage), &image) && image.kind == IMAGE_BZIMAGE,
	      "a bzImage is taken");
	check(image.payload_size == 4096 && image.load == MIB(16) && image.span == MIB(8) &&
	      image.cmdline_max == 2047, "its header is understood");
	check(!strcmp(image.release, "6.1.0-1-amd64"), "its release is found");
	for (size_t size = 0; size < sizeof(bzimage); size++)
		refused = refused && parse(bzimage, size, NULL);
	check(refused, "a truncated bzImage is refused at every length");

	bzimage[0x1f1] = 255;
	check(parse(bzimage, sizeof(bzimage), NULL), "more set-up sectors than file are refused");
	make_bzimage();
	put(bzimage + 0x248, UINT32_MAX, 4);
	check(parse(bzimage, sizeof(bzimage), NULL), "a payload beyond the file is refused");
	make_bzimage();
	put(bzimage + 0x20e, 0xffff, 2);
	check(!parse(bzimage, sizeof(bzimage), &image) && !*image.release,
	      "a version text outside the set-up part is ignored");
	make_bzimage();
	memset(bzimage + 0x500, 'x', SETUP - 0x500);
	check(!parse(bzimage, sizeof(bzimage), &image) && strlen(image.release) == 64,
	      "a version text without an end is cut");
	make_bzimage();
	put(bzimage + 0x206, 0x020b, 2);
	check(parse(bzimage, sizeof(bzimage), NULL), "an old boot protocol is refused");
	make_bzimage();
	bzimage[0x211] = 0;
	check(parse(bzimage, sizeof(bzimage), NULL), "a zImage is refused");
	make_bzimage();
	put(bzimage + 0x236, 0, 2);
	check(parse(bzimage, sizeof(bzimage), NULL), "a 32-bit kernel is refused");
	make_bzimage();
	put(bzimage + 0x258, UINT64_MAX, 8);
	check(parse(bzimage, sizeof(bzimage), NULL), "an absurd address is refused");
}

static void test_elf(void)
{
	struct elf_file *file = make_elf();
	struct kernel_image image;
	bool sane = true;

	check(!parse(elf, sizeof(elf), &image) && image.kind == IMAGE_ELF, "a vmlinux is taken");
	check(image.entry == MIB(16) + 0x100 && image.load == MIB(16) && image.span == 16384,
	      "its entry and size are understood");
	check(!strcmp(image.release, "6.12.0+x"), "its release is found, past a format string");
	for (size_t size = 0; size < sizeof(elf); size++)
		sane = sane && parse(elf, size, NULL);
	check(sane, "a truncated vmlinux is refused at every length");

	file->note.n_descsz = 4;
	check(!parse(elf, sizeof(elf), &image) && image.entry == MIB(16) + 0x100,
	      "an entry of 32 bits is taken");
	make_elf()->note.n_descsz = UINT32_MAX;
	check(parse(elf, sizeof(elf), NULL), "a note larger than its segment is refused");
	make_elf()->note.n_namesz = UINT32_MAX;
	check(parse(elf, sizeof(elf), NULL), "a note's name larger than its segment is refused");
	make_elf()->note.n_type = 17;
	check(parse(elf, sizeof(elf), NULL), "a kernel without a PVH note is refused");
	make_elf()->entry = MIB(1);
	check(parse(elf, sizeof(elf), NULL), "an entry outside the segments is refused");
	make_elf()->segments[0].p_offset = UINT64_MAX - 100;
	check(parse(elf, sizeof(elf), NULL), "a segment beyond the file is refused");
	make_elf()->segments[0].p_filesz = UINT64_MAX;
	check(parse(elf, sizeof(elf), NULL), "a segment larger than the file is refused");
	make_elf()->segments[0].p_memsz = 1;
	check(parse(elf, sizeof(elf), NULL), "a segment smaller in memory is refused");
	make_elf()->segments[0].p_memsz = UINT64_MAX;
	check(parse(elf, sizeof(elf), NULL), "a segment of all memory is refused");
	make_elf()->segments[0].p_paddr = UINT64_MAX - 8192;
	check(parse(elf, sizeof(elf), NULL), "a segment that wraps around is refused");
	make_elf()->segments[0].p_paddr = 0;
	check(parse(elf, sizeof(elf), NULL), "a segment over the boot data is refused");
	make_elf()->header.e_phoff = UINT64_MAX - 8;
	check(parse(elf, sizeof(elf), NULL), "program headers beyond the file are refused");
	make_elf()->header.e_phnum = UINT16_MAX;
	check(parse(elf, sizeof(elf), NULL), "too many program headers are refused");
	make_elf()->header.e_phentsize = 1;
	check(parse(elf, sizeof(elf), NULL), "program headers of another size are refused");
	make_elf()->header.e_machine = EM_386;
	check(parse(elf, sizeof(elf), NULL), "a 32-bit ELF is refused");
	make_elf()->header.e_type = ET_DYN;
	check(parse(elf, sizeof(elf), NULL), "a program is refused");
}

/* Any byte of a header may be anything: nothing but an answer may come of it. */
static void test_noise(void)
{
	u64 answers = 0;

	srand(1);
	for (int round = 0; round < 200000; round++) {
		bool is_elf = round & 1;
		size_t size = is_elf ? sizeof(struct elf_file) : 0x280;
		u8 *data = is_elf ? elf : bzimage;

		if (is_elf)
			make_elf();
		else
			make_bzimage();
		for (int i = 0; i < 3; i++) {
			size_t at = (size_t)rand() % size;

			data[at] = (u8)(rand() & 1 ? 0xff : rand());
		}
		answers += !parse(data, is_elf ? sizeof(elf) : sizeof(bzimage), NULL);
	}
	check(answers > 1000 && answers < 200000, "200,000 damaged headers harm nothing");
}

static const char *load(u64 memory_size, const struct kernel_image *image, size_t initrd_size,
			const char *cmdline, struct boot_entry *entry,
			struct guest_memory *memory)
{
	u8 *initrd = calloc(1, initrd_size + 1);
	struct boot_input input = {
		.image = image, .initrd = initrd, .initrd_size = initrd_size, .cmdline = cmdline,
	};
	const char *error;

	if (!initrd || memory_create(memory, memory_size))
		abort();
	memset(initrd, 0x5a, initrd_size);
	error = boot_load(memory, &input, entry);
	free(initrd);
	return error;
}

static void test_placing(void)
{
	struct guest_memory memory;
	struct kernel_image image;
	struct boot_entry entry;
	char long_line[2100];
	const char *reason;
	const u8 *at;

	make_bzimage();
	memset(bzimage + SETUP, 0xc3, 4096);
	kernel_image_parse(bzimage, sizeof(bzimage), &image);
	check(!load(MIB(64), &image, 5000, "quiet", &entry, &memory), "a bzImage is loaded");
	check(entry.long_mode && entry.rip == MIB(16) + 0x200, "it is entered in long mode");
	at = memory_at(&memory, MIB(16), 4096);
	check(at && at[0] == 0xc3 && at[4095] == 0xc3, "it lies at its preferred address");
	at = memory_at(&memory, MIB(64) - 8192, 8192);
	check(at && at[0] == 0x5a && at[4999] == 0x5a && !at[5000],
	      "the initial RAM disk lies at the end, page-aligned");
	check(!strcmp(memory_at(&memory, BOOT_CMDLINE, 6), "quiet"), "the command line is there");
	memory_destroy(&memory);

	check(!load(MIB(24), &image, 0, "", &entry, &memory), "memory up to a kernel's end will do");
	memory_destroy(&memory);
	reason = load(MIB(23), &image, 0, "", &entry, &memory);
	check(reason && strstr(reason, "needs 24 MiB"),
	      "less is refused, though the kernel is relocatable");
	memory_destroy(&memory);
	reason = load(MIB(16), &image, 0, "", &entry, &memory);
	check(reason && strstr(reason, "needs 24 MiB"), "and so is memory that ends below it");
	memory_destroy(&memory);
	check(load(MIB(30), &image, MIB(7), "", &entry, &memory),
	      "an initial RAM disk over the kernel is refused");
	memory_destroy(&memory);
	check(load(MIB(24), &image, MIB(30), "", &entry, &memory),
	      "an initial RAM disk larger than memory is refused");
	memory_destroy(&memory);
	memset(long_line, 'x', sizeof(long_line) - 1);
	long_line[sizeof(long_line) - 1] = '\0';
	reason = load(MIB(64), &image, 0, long_line, &entry, &memory);
	check(reason && strstr(reason, "--append") && strstr(reason, "takes 2047"),
	      "a command line that is too long is refused, with its option and the limit");
	memory_destroy(&memory);

	make_elf();
	elf[4096] = 0x90;
	kernel_image_parse(elf, sizeof(elf), &image);
	check(!load(MIB(64), &image, 0, "", &entry, &memory) && !entry.long_mode &&
	      entry.rip == MIB(16) + 0x100, "a vmlinux is entered in protected mode");
	at = memory_at(&memory, MIB(16), 1);
	check(at && *at == 0x90, "its segment is loaded");
	memory_destroy(&memory);
}

int main(void)
{
	test_bzimage();
	test_elf();
	test_noise();
	test_placing();
	return finish();
}
