// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest memory is ordinary memory: whatever madvise, munmap, mremap, mprotect,
 * swap, KSM, fork, and big pages do to it, guest and host see the same.
 */
#include <kselftest_harness.h>

#include <linux/memfd.h>
#include <pthread.h>
#include <sys/swap.h>
#include <sys/wait.h>

#include "guest.h"
#include "test_vm.h"

#define SLOT_GPA	0x20000000UL
#define SLOT_SIZE	(4UL << 20)
#define PAGE(n)		((n) * TEST_PAGE_SIZE)

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

FIXTURE(notifier) {
	struct test_vm vm;
	struct test_vcpu vcpu;
	char *mem;
};

/* What the guest is to do next: the host writes it between two runs. */
static volatile struct {
	u64 write;
	u64 gpa;
	u64 value;
} order;

static void guest_obeys(u64 arg __maybe_unused)
{
	for (;;) {
		if (order.write)
			VOLATILE(u64, order.gpa) = order.value;
		GUEST_SYNC(VOLATILE(u64, order.gpa));
	}
}

FIXTURE_SETUP(notifier)
{
	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	vcpu_setup_long(&self->vcpu, guest_obeys, 0);
	/* Aligned for big pages. */
	self->mem = mmap(NULL, 2 * SLOT_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	self->mem = (char *)(((uintptr_t)self->mem + SLOT_SIZE - 1) &
			     ~(SLOT_SIZE - 1));
	vm_set_slot(&self->vm, 1, 0, SLOT_GPA, SLOT_SIZE, self->mem);
}

FIXTURE_TEARDOWN(notifier)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static void give_order(struct test_vcpu *vcpu, bool write, u64 page, u64 value)
{
	guest_var(vcpu->vm, order.write) = write;
	guest_var(vcpu->vm, order.gpa) = SLOT_GPA + page;
	guest_var(vcpu->vm, order.value) = value;
}

static u64 guest_read(struct test_vcpu *vcpu, u64 page)
{
	give_order(vcpu, false, page, 0);
	return vcpu_run_to_sync(vcpu);
}

static void guest_write(struct test_vcpu *vcpu, u64 page, u64 value)
{
	give_order(vcpu, true, page, value);
	if (vcpu_run_to_sync(vcpu) != value)
		TEST_DIE("the guest does not read what it wrote");
}

#define HOST(page) (*(volatile u64 *)(self->mem + (page)))

TEST_F(notifier, both_see_the_same)
{
	struct test_vcpu *vcpu = &self->vcpu;

	ASSERT_EQ(0, guest_read(vcpu, PAGE(3)));
	HOST(PAGE(3)) = 1;
	ASSERT_EQ(1, guest_read(vcpu, PAGE(3)));
	guest_write(vcpu, PAGE(3), 2);
	ASSERT_EQ(2, HOST(PAGE(3)));
	guest_write(vcpu, PAGE(4), 3);
	ASSERT_EQ(3, HOST(PAGE(4)));
}

TEST_F(notifier, dontneed)
{
	struct test_vcpu *vcpu = &self->vcpu;
	int i;

	for (i = 1; i < 20; i++) {
		guest_write(vcpu, PAGE(1), (u64)i);
		ASSERT_EQ(0, madvise(self->mem + PAGE(1), PAGE(1),
				     MADV_DONTNEED));
		ASSERT_EQ(0, guest_read(vcpu, PAGE(1)));
		/* The zero page must not have been mapped writable. */
		guest_write(vcpu, PAGE(1), 0x77);
		ASSERT_EQ(0, HOST(PAGE(2)));
		ASSERT_EQ(0x77, HOST(PAGE(1)));
	}
}

TEST_F(notifier, free_pages)
{
	struct test_vcpu *vcpu = &self->vcpu;
	u64 v;

	guest_write(vcpu, PAGE(1), 1);
	ASSERT_EQ(0, madvise(self->mem + PAGE(1), PAGE(1), MADV_FREE));
	v = guest_read(vcpu, PAGE(1));
	ASSERT_TRUE(v == 0 || v == 1);
	/* Written again it is wanted again: the page must not be dropped. */
	guest_write(vcpu, PAGE(1), 2);
	madvise(self->mem, PAGE(8), MADV_PAGEOUT);
	ASSERT_EQ(2, guest_read(vcpu, PAGE(1)));
}

TEST_F(notifier, memfd_hole)
{
	int fd = memfd_create("guest", 0);
	struct test_vcpu *vcpu = &self->vcpu;
	char *mem, *other;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, SLOT_SIZE));
	mem = mmap(self->mem, SLOT_SIZE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, fd, 0);
	ASSERT_EQ(self->mem, mem);
	other = mmap(NULL, SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		     fd, 0);
	ASSERT_NE(MAP_FAILED, other);
	guest_write(vcpu, PAGE(5), 5);
	ASSERT_EQ(5, *(u64 *)(other + PAGE(5)));
	*(u64 *)(other + PAGE(6)) = 6;
	ASSERT_EQ(6, guest_read(vcpu, PAGE(6)));
	ASSERT_EQ(0, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       PAGE(5), PAGE(1)));
	ASSERT_EQ(0, guest_read(vcpu, PAGE(5)));
	ASSERT_EQ(6, guest_read(vcpu, PAGE(6)));
	guest_write(vcpu, PAGE(5), 55);
	ASSERT_EQ(55, *(u64 *)(other + PAGE(5)));
	/* Beyond the file's end there is nothing: no memory, no progress. */
	ASSERT_EQ(0, ftruncate(fd, PAGE(5)));
	give_order(vcpu, false, PAGE(5), 0);
	ASSERT_EQ(-EFAULT, __vcpu_run(vcpu));
	ASSERT_EQ(0, ftruncate(fd, SLOT_SIZE));
	ASSERT_EQ(0, vcpu_run_to_sync(vcpu));
	close(fd);
}

TEST_F(notifier, unmap)
{
	struct test_vcpu *vcpu = &self->vcpu;
	char *mem;

	guest_write(vcpu, PAGE(1), 1);
	ASSERT_EQ(0, munmap(self->mem, SLOT_SIZE));
	give_order(vcpu, false, PAGE(1), 0);
	ASSERT_EQ(-EFAULT, __vcpu_run(vcpu));
	ASSERT_EQ(-EFAULT, __vcpu_run(vcpu));
	mem = mmap(self->mem, SLOT_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ASSERT_EQ(self->mem, mem);
	HOST(PAGE(1)) = 7;
	ASSERT_EQ(7, vcpu_run_to_sync(vcpu));
}

TEST_F(notifier, remap)
{
	struct test_vcpu *vcpu = &self->vcpu;
	char *other, *p;

	other = mmap(NULL, PAGE(16), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, other);
	*(u64 *)(other + PAGE(2)) = 22;
	guest_write(vcpu, PAGE(2), 2);
	/* Other memory moves in over what the guest has mapped. */
	p = mremap(other, PAGE(16), PAGE(16), MREMAP_MAYMOVE | MREMAP_FIXED,
		   self->mem);
	ASSERT_EQ(self->mem, p);
	ASSERT_EQ(22, guest_read(vcpu, PAGE(2)));
	guest_write(vcpu, PAGE(2), 23);
	/* And out again, with what the guest wrote in it. */
	p = mremap(self->mem, PAGE(16), PAGE(16),
		   MREMAP_MAYMOVE | MREMAP_FIXED, other);
	ASSERT_EQ(other, p);
	ASSERT_EQ(23, *(u64 *)(other + PAGE(2)));
	give_order(vcpu, true, PAGE(2), 99);
	ASSERT_EQ(-EFAULT, __vcpu_run(vcpu));
	ASSERT_EQ(23, *(u64 *)(other + PAGE(2)));
}

TEST_F(notifier, protect)
{
	struct test_vcpu *vcpu = &self->vcpu;

	guest_write(vcpu, PAGE(1), 1);
	ASSERT_EQ(0, mprotect(self->mem, PAGE(4), PROT_READ));
	ASSERT_EQ(1, guest_read(vcpu, PAGE(1)));
	give_order(vcpu, true, PAGE(1), 2);
	ASSERT_EQ(-EFAULT, __vcpu_run(vcpu));
	ASSERT_EQ(1, HOST(PAGE(1)));
	/* Allowed again, the guest goes on where it stood. */
	ASSERT_EQ(0, mprotect(self->mem, PAGE(4), PROT_READ | PROT_WRITE));
	ASSERT_EQ(2, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(2, HOST(PAGE(1)));
	ASSERT_EQ(0, mprotect(self->mem, PAGE(4), PROT_NONE));
	give_order(vcpu, false, PAGE(1), 0);
	ASSERT_EQ(-EFAULT, __vcpu_run(vcpu));
	ASSERT_EQ(0, mprotect(self->mem, PAGE(4), PROT_READ | PROT_WRITE));
	ASSERT_EQ(2, vcpu_run_to_sync(vcpu));
	guest_write(vcpu, PAGE(1), 3);
	ASSERT_EQ(3, HOST(PAGE(1)));
}

/* 1: in memory, 0: not. */
static int resident(const char *p)
{
	u64 entry;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0 || pread(fd, &entry, 8, (off_t)((uintptr_t)p /
			    TEST_PAGE_SIZE * 8)) != 8)
		TEST_DIE("pagemap: %m");
	close(fd);
	return (int)(entry >> 63);
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) ==
		  (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Swap on zram: a header as mkswap(8) writes it, and swapon(2). */
static bool swap_on(void)
{
	static const char magic[] = "SWAPSPACE2";
	u32 header[3] = { 1, 4095, 0 };
	int fd;

	if (access("/dev/zram0", F_OK) && system("modprobe zram 2>/dev/null"))
		return false;
	if (!write_file("/sys/block/zram0/reset", "1") ||
	    !write_file("/sys/block/zram0/disksize", "16777216"))
		return false;
	fd = open("/dev/zram0", O_RDWR);
	if (fd < 0)
		return false;
	if (pwrite(fd, header, sizeof(header), 1024) != sizeof(header) ||
	    pwrite(fd, magic, 10, TEST_PAGE_SIZE - 10) != 10 || fsync(fd)) {
		close(fd);
		return false;
	}
	close(fd);
	return swapon("/dev/zram0", 0) == 0;
}

TEST_F(notifier, swap)
{
	struct test_vcpu *vcpu = &self->vcpu;
	int i, tries, out = 0;

	if (!swap_on())
		SKIP(return, "no swap on zram");
	for (i = 0; i < 64; i++)
		guest_write(vcpu, PAGE(i), 0x5a5a0000 + (u64)i);
	/* What the guest has just touched is young: it may take some tries. */
	for (tries = 0; tries < 20 && out < 32; tries++) {
		madvise(self->mem, PAGE(64), MADV_PAGEOUT);
		for (out = 0, i = 0; i < 64; i++)
			out += !resident(self->mem + PAGE(i));
	}
	EXPECT_LE(32, out);
	for (i = 0; i < 64; i++)
		EXPECT_EQ(0x5a5a0000 + (u64)i, guest_read(vcpu, PAGE(i)));
	madvise(self->mem, PAGE(64), MADV_PAGEOUT);
	for (i = 0; i < 64; i++) {
		guest_write(vcpu, PAGE(i), (u64)i);
		EXPECT_EQ(i, HOST(PAGE(i)));
	}
	swapoff("/dev/zram0");
}

static u64 read_number(const char *path)
{
	char buf[32] = "";
	int fd = open(path, O_RDONLY);

	if (fd >= 0) {
		if (read(fd, buf, sizeof(buf) - 1) < 0)
			buf[0] = 0;
		close(fd);
	}
	return strtoull(buf, NULL, 10);
}

TEST_F(notifier, ksm)
{
	static const char sharing[] = "/sys/kernel/mm/ksm/pages_sharing";
	struct test_vcpu *vcpu = &self->vcpu;
	int i;

	if (access(sharing, R_OK) ||
	    madvise(self->mem, PAGE(32), MADV_MERGEABLE))
		SKIP(return, "no KSM");
	for (i = 0; i < 32; i++)
		guest_write(vcpu, PAGE(i), 0x4444);
	write_file("/sys/kernel/mm/ksm/sleep_millisecs", "1");
	write_file("/sys/kernel/mm/ksm/pages_to_scan", "1000");
	ASSERT_TRUE(write_file("/sys/kernel/mm/ksm/run", "1"));
	for (i = 0; i < 300 && read_number(sharing) < 31; i++)
		usleep(10000);
	EXPECT_LE(31, read_number(sharing));
	/* Shared to read, each its own to write. */
	for (i = 0; i < 32; i++)
		ASSERT_EQ(0x4444, guest_read(vcpu, PAGE(i)));
	guest_write(vcpu, PAGE(3), 0x5555);
	for (i = 0; i < 32; i++)
		ASSERT_EQ(i == 3 ? 0x5555 : 0x4444, HOST(PAGE(i)));
	guest_write(vcpu, PAGE(4), 0x6666);
	ASSERT_EQ(0x4444, guest_read(vcpu, PAGE(5)));
	write_file("/sys/kernel/mm/ksm/run", "2");
	ASSERT_EQ(0x5555, guest_read(vcpu, PAGE(3)));
	write_file("/sys/kernel/mm/ksm/run", "0");
}

/* A thread runs the guest, which counts up in every page, round and round. */
static volatile u64 stop_counting;

static void guest_counts(u64 arg __maybe_unused)
{
	u64 i, n;

	/* Bochs lets no interrupt of the host's end a guest that began with IF clear. */
	guest_sti();
	for (n = 1; !stop_counting; n++)
		for (i = 0; i < 16; i++)
			VOLATILE(u64, SLOT_GPA + PAGE(i)) = n;
	GUEST_SYNC(n - 1);
}

static void *count_thread(void *arg)
{
	return (void *)(uintptr_t)vcpu_run_to_sync((struct test_vcpu *)arg);
}

/* A child's copy must not move while the guest goes on writing. */
static int child_checks(const char *mem)
{
	u64 seen[16];
	int i, n;

	for (i = 0; i < 16; i++)
		seen[i] = *(volatile u64 *)(mem + PAGE(i));
	for (n = 0; n < 5; n++) {
		usleep(1000);
		for (i = 0; i < 16; i++)
			if (*(volatile u64 *)(mem + PAGE(i)) != seen[i])
				return 1;
	}
	return 0;
}

TEST_F(notifier, fork)
{
	struct test_vcpu *vcpu = &self->vcpu;
	int i, status;
	pthread_t t;
	void *last;
	pid_t pid;

	vcpu_setup_long(vcpu, guest_counts, 0);
	ASSERT_EQ(0, pthread_create(&t, NULL, count_thread, vcpu));
	for (i = 0; i < 8; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			_exit(child_checks(self->mem));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
	}
	guest_var(&self->vm, stop_counting) = 1;
	ASSERT_EQ(0, pthread_join(t, &last));
	for (i = 0; i < 16; i++)
		ASSERT_EQ((uintptr_t)last, HOST(PAGE(i)));
}

/*
 * The guest walks over memory that is dropped, freed and paged out all the
 * time. Each word it reads is its own page's number or 0.
 */
static void guest_walks(u64 arg __maybe_unused)
{
	u64 i, v;

	/* Bochs lets no interrupt of the host's end a guest that began with IF clear. */
	guest_sti();
	while (!stop_counting)
		for (i = 1; i < 64; i++) {
			v = VOLATILE(u64, SLOT_GPA + PAGE(i));
			GUEST_ASSERT(v == 0 || v == i);
			VOLATILE(u64, SLOT_GPA + PAGE(i)) = i;
		}
	GUEST_SYNC(1);
}

TEST_F(notifier, storm)
{
	struct test_vcpu *vcpu = &self->vcpu;
	pthread_t t;
	u64 r = 1;
	char *p;
	int i;

	vcpu_setup_long(vcpu, guest_walks, 0);
	ASSERT_EQ(0, pthread_create(&t, NULL, count_thread, vcpu));
	for (i = 0; i < 1500; i++) {
		r = r * 6364136223846793005UL + 1442695040888963407UL;
		p = self->mem + PAGE(r >> 40 & 63);
		switch (r >> 60) {
		case 0:
			madvise(self->mem, PAGE(64), MADV_DONTNEED);
			break;
		case 1 ... 3:
			madvise(p, PAGE(1), MADV_FREE);
			break;
		case 4 ... 5:
			madvise(p, PAGE(1), MADV_PAGEOUT);
			break;
		case 6:
			usleep(100);
			break;
		default:
			madvise(p, PAGE(1), MADV_DONTNEED);
			break;
		}
	}
	guest_var(&self->vm, stop_counting) = 1;
	ASSERT_EQ(0, pthread_join(t, NULL));
}

TEST_F(notifier, transparent_huge_page)
{
	struct test_vcpu *vcpu = &self->vcpu;
	u64 i;

	if (madvise(self->mem, SLOT_SIZE, MADV_HUGEPAGE))
		SKIP(return, "no transparent huge pages");
	for (i = 0; i < 512; i += 7)
		guest_write(vcpu, PAGE(i), 0x1000 + i);
	/* A hole in the middle splits it; all the rest stays. */
	ASSERT_EQ(0, madvise(self->mem + PAGE(70), PAGE(1), MADV_DONTNEED));
	ASSERT_EQ(0, mprotect(self->mem + PAGE(140), PAGE(1), PROT_READ));
	for (i = 0; i < 512; i += 7)
		ASSERT_EQ(i == 70 ? 0 : 0x1000 + i, guest_read(vcpu, PAGE(i)));
	give_order(vcpu, true, PAGE(140), 1);
	ASSERT_EQ(-EFAULT, __vcpu_run(vcpu));
	ASSERT_EQ(0, mprotect(self->mem + PAGE(140), PAGE(1),
			      PROT_READ | PROT_WRITE));
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	guest_write(vcpu, PAGE(147), 5);
	ASSERT_EQ(5, HOST(PAGE(147)));
}

TEST_F(notifier, hugetlb)
{
	struct test_vcpu *vcpu = &self->vcpu;
	char *mem;
	u64 i;

	write_file("/proc/sys/vm/nr_hugepages", "4");
	mem = mmap(self->mem, SLOT_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_FIXED,
		   -1, 0);
	if (mem == MAP_FAILED)
		SKIP(return, "no huge pages");
	ASSERT_EQ(self->mem, mem);
	for (i = 0; i < 1024; i += 31)
		guest_write(vcpu, PAGE(i), i);
	for (i = 0; i < 1024; i += 31)
		ASSERT_EQ(i, HOST(PAGE(i)));
	ASSERT_EQ(0, madvise(mem, 2UL << 20, MADV_DONTNEED));
	ASSERT_EQ(0, guest_read(vcpu, PAGE(31)));
	ASSERT_EQ(31 * 20, guest_read(vcpu, PAGE(31 * 20)));
	write_file("/proc/sys/vm/nr_hugepages", "0");
}

/* Memory of a driver has no pages to refer to: here, the firmware in ROM below 1 MiB. */
#define ROM_PA		0xf0000
#define ROM_SIZE	PAGE(16)

TEST_F(notifier, raw_frames)
{
	struct test_vcpu *vcpu = &self->vcpu;
	int fd = open("/dev/mem", O_RDONLY | O_CLOEXEC);
	char *mem;
	u64 i;

	if (fd < 0)
		SKIP(return, "no /dev/mem");
	mem = mmap(self->mem, ROM_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, ROM_PA);
	if (mem == MAP_FAILED)
		SKIP(return, "/dev/mem has no ROM");
	for (i = 0; i < ROM_SIZE / TEST_PAGE_SIZE; i++)
		ASSERT_EQ(HOST(PAGE(i)), guest_read(vcpu, PAGE(i)));
	give_order(vcpu, true, PAGE(1), 1);
	ASSERT_EQ(-EFAULT, __vcpu_run(vcpu));
	ASSERT_EQ(0, mprotect(mem, ROM_SIZE, PROT_NONE));
	ASSERT_EQ(-EFAULT, __vcpu_run(vcpu));

	/* A private mapping gives the guest that writes a page of its own. */
	mem = mmap(self->mem, ROM_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_FIXED, fd, ROM_PA);
	ASSERT_EQ(self->mem, mem);
	ASSERT_NE(1, HOST(PAGE(1)));
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(1, HOST(PAGE(1)));
	ASSERT_EQ(HOST(PAGE(2)), guest_read(vcpu, PAGE(2)));
	ASSERT_EQ(0, munmap(self->mem, ROM_SIZE));
	ASSERT_EQ(-EFAULT, __vcpu_run(vcpu));
	close(fd);
}

/* A driver's memory that the VMM may write is no more writable in a read-only slot. */
TEST_F(notifier, raw_frames_read_only)
{
	struct test_vcpu *vcpu = &self->vcpu;
	int fd = open("/dev/mem", O_RDWR | O_CLOEXEC);
	char *mem;

	if (fd < 0)
		SKIP(return, "no /dev/mem");
	mem = mmap(self->mem, ROM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		   ROM_PA);
	if (mem == MAP_FAILED)
		SKIP(return, "/dev/mem has no ROM");
	vm_set_slot(&self->vm, 1, 0, SLOT_GPA, 0, self->mem);
	vm_set_slot(&self->vm, 1, KVM_MEM_READONLY, SLOT_GPA, SLOT_SIZE, self->mem);
	/* The host may write to the frame from now on. */
	HOST(PAGE(1)) = HOST(PAGE(1));
	ASSERT_EQ(HOST(PAGE(1)), guest_read(vcpu, PAGE(1)));
	give_order(vcpu, true, PAGE(1), 1);
	vcpu_run_expect(vcpu, KVM_EXIT_MMIO);
	ASSERT_EQ(1, vcpu->run->mmio.is_write);
	ASSERT_EQ(SLOT_GPA + PAGE(1), vcpu->run->mmio.phys_addr);
	ASSERT_EQ(HOST(PAGE(1)), vcpu_run_to_sync(vcpu));
	close(fd);
}

TEST_HARNESS_MAIN
