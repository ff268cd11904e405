// SPDX-License-Identifier: GPL-2.0-only
/*
 * The dirty log as rings, one for each vCPU, that user space maps and writes to.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "migrate.h"
#include "test_vm.h"

#ifndef KVM_CAP_DIRTY_LOG_RING_ACQ_REL
#define KVM_CAP_DIRTY_LOG_RING_ACQ_REL	223
#endif
#ifndef KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP
#define KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP	225
#endif

#define RING_BYTES	4096U
#define RING_ENTRIES	(RING_BYTES / sizeof(struct kvm_dirty_gfn))
#define SOFT_LIMIT	(RING_ENTRIES - 64)
#define RING_OFFSET	(KVM_DIRTY_LOG_PAGE_OFFSET * TEST_PAGE_SIZE)

struct ring {
	struct kvm_dirty_gfn *entries;
	u32 size;
	u32 next;	/* that was not harvested yet */
};

static int enable_ring(struct test_vm *vm, u32 which, u64 bytes)
{
	struct kvm_enable_cap cap = { .cap = which, .args = { bytes } };

	return __vm_ioctl(vm, KVM_ENABLE_CAP, &cap);
}

static void *map_ring(struct test_vcpu *vcpu, u32 bytes, int prot, int flags)
{
	return mmap(NULL, bytes, prot, flags, vcpu->fd, RING_OFFSET);
}

static void open_ring(struct ring *ring, struct test_vcpu *vcpu, u32 bytes)
{
	ring->entries = map_ring(vcpu, bytes, PROT_READ | PROT_WRITE, MAP_SHARED);
	if (ring->entries == MAP_FAILED)
		TEST_DIE("mmap of a ring");
	ring->size = bytes / sizeof(*ring->entries);
	ring->next = 0;
}

/* The oldest entry that is new, or NULL. */
static struct kvm_dirty_gfn *peek(struct ring *ring)
{
	struct kvm_dirty_gfn *entry = &ring->entries[ring->next % ring->size];

	return __atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) == KVM_DIRTY_GFN_F_DIRTY ?
	       entry : NULL;
}

static void take(struct ring *ring, struct kvm_dirty_gfn *entry)
{
	__atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
	ring->next++;
}

/* Takes up to @max entries of slot 1 into @bitmap; how many. */
static int collect(struct ring *ring, u64 *bitmap, u32 max)
{
	struct kvm_dirty_gfn *entry;
	u32 n;

	for (n = 0; n < max; n++) {
		entry = peek(ring);
		if (!entry)
			break;
		if (entry->slot != 1 || entry->offset >= MIGRATE_PAGES)
			TEST_DIE("entry: slot %u, page %llu", entry->slot, entry->offset);
		bitmap[entry->offset / 64] |= 1UL << entry->offset % 64;
		take(ring, entry);
	}
	return (int)n;
}

static int reset(struct test_vm *vm)
{
	return __vm_ioctl(vm, KVM_RESET_DIRTY_RINGS, 0);
}

FIXTURE(ring) {
	struct test_vm vm;
	struct test_vcpu vcpu;
	struct ring ring;
	char *mem;
};

FIXTURE_SETUP(ring)
{
	vm_create(&self->vm);
	ASSERT_EQ(0, enable_ring(&self->vm, KVM_CAP_DIRTY_LOG_RING, RING_BYTES));
	vcpu_create(&self->vm, &self->vcpu, 0);
	open_ring(&self->ring, &self->vcpu, RING_BYTES);
	self->mem = migrate_memory();
	vm_set_slot(&self->vm, 1, KVM_MEM_LOG_DIRTY_PAGES, MIGRATE_GPA, MIGRATE_SIZE,
		    self->mem);
}

FIXTURE_TEARDOWN(ring)
{
	munmap(self->ring.entries, RING_BYTES);
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
	munmap(self->mem, MIGRATE_SIZE);
}

TEST(refused)
{
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_create(&vm);
	ASSERT_EQ(1 << 20, vm_cap(&vm, KVM_CAP_DIRTY_LOG_RING));
	ASSERT_EQ(1 << 20, vm_cap(&vm, KVM_CAP_DIRTY_LOG_RING_ACQ_REL));
	EXPECT_EQ(0, vm_cap(&vm, KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP));
	EXPECT_EQ(-EINVAL, enable_ring(&vm, KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP, 0));
	EXPECT_EQ(-EINVAL, reset(&vm));
	EXPECT_EQ(-EINVAL, enable_ring(&vm, KVM_CAP_DIRTY_LOG_RING, 0));
	EXPECT_EQ(-EINVAL, enable_ring(&vm, KVM_CAP_DIRTY_LOG_RING, 3 * RING_BYTES));
	EXPECT_EQ(-EINVAL, enable_ring(&vm, KVM_CAP_DIRTY_LOG_RING, RING_BYTES / 2));
	EXPECT_EQ(-E2BIG, enable_ring(&vm, KVM_CAP_DIRTY_LOG_RING, 2 << 20));
	EXPECT_EQ(0, enable_ring(&vm, KVM_CAP_DIRTY_LOG_RING_ACQ_REL, RING_BYTES));
	EXPECT_EQ(-EINVAL, enable_ring(&vm, KVM_CAP_DIRTY_LOG_RING, RING_BYTES));
	EXPECT_EQ(-EINVAL, enable_ring(&vm, KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP, 0));
	EXPECT_EQ(0, reset(&vm));
	vm_destroy(&vm);

	vm_create(&vm);
	vcpu_create(&vm, &vcpu, 0);
	EXPECT_EQ(-EINVAL, enable_ring(&vm, KVM_CAP_DIRTY_LOG_RING, RING_BYTES));
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

TEST_F(ring, maps)
{
	struct test_vcpu *vcpu = &self->vcpu;
	void *p;

	EXPECT_EQ(MAP_FAILED, map_ring(vcpu, RING_BYTES, PROT_READ, MAP_PRIVATE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, map_ring(vcpu, RING_BYTES, PROT_READ | PROT_EXEC, MAP_SHARED));
	EXPECT_EQ(EINVAL, errno);
	p = map_ring(vcpu, RING_BYTES, PROT_READ, MAP_SHARED);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(0, ((struct kvm_dirty_gfn *)p)->flags);
	munmap(p, RING_BYTES);
	/* What is behind its end and before its start is not there. */
	p = mmap(NULL, RING_BYTES, PROT_READ, MAP_SHARED, vcpu->fd, RING_OFFSET + RING_BYTES);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(-1, madvise(p, RING_BYTES, 22 /* MADV_POPULATE_READ */));
	munmap(p, RING_BYTES);
	p = mmap(NULL, RING_BYTES, PROT_READ, MAP_SHARED, vcpu->fd, RING_OFFSET - RING_BYTES);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(-1, madvise(p, RING_BYTES, 22));
	munmap(p, RING_BYTES);
}

TEST_F(ring, no_bitmap)
{
	u64 bitmap[MIGRATE_PAGES / 64];
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = bitmap };
	struct kvm_clear_dirty_log clear = {
		.slot = 1, .num_pages = 64, .dirty_bitmap = bitmap,
	};

	EXPECT_EQ(-ENXIO, __vm_ioctl(&self->vm, KVM_GET_DIRTY_LOG, &log));
	EXPECT_EQ(-ENXIO, __vm_ioctl(&self->vm, KVM_CLEAR_DIRTY_LOG, &clear));
	log.slot = 0xffff;
	clear.first_page = 1;
	EXPECT_EQ(-ENXIO, __vm_ioctl(&self->vm, KVM_GET_DIRTY_LOG, &log));
	EXPECT_EQ(-ENXIO, __vm_ioctl(&self->vm, KVM_CLEAR_DIRTY_LOG, &clear));
}

static void guest_writes_few(u64 arg __maybe_unused)
{
	u64 round;

	for (round = 0;; round++) {
		VOLATILE(u64, MIGRATE_GPA + 3 * TEST_PAGE_SIZE) = round;
		VOLATILE(u64, MIGRATE_GPA + 70 * TEST_PAGE_SIZE) = round;
		VOLATILE(u64, MIGRATE_GPA + 3 * TEST_PAGE_SIZE) = round;
		GUEST_SYNC(round);
	}
}

TEST_F(ring, entries)
{
	struct ring *ring = &self->ring;
	u64 bitmap[MIGRATE_PAGES / 64] = {};
	u64 i;

	ASSERT_EQ(0, reset(&self->vm));
	vcpu_setup_long(&self->vcpu, guest_writes_few, 0);
	for (i = 0; i < 2 * RING_ENTRIES; i++) {
		ASSERT_EQ(i, vcpu_run_to_sync(&self->vcpu));
		ASSERT_NE(NULL, peek(ring));
		ASSERT_EQ(1, peek(ring)->slot);
		ASSERT_EQ(3, peek(ring)->offset);
		take(ring, peek(ring));
		ASSERT_EQ(70, peek(ring)->offset);
		if (i % 3 == 0) {
			/* One is still there: it keeps its page writable. */
			ASSERT_EQ(1, reset(&self->vm));
			ASSERT_EQ(++i, vcpu_run_to_sync(&self->vcpu));
			take(ring, peek(ring));
			ASSERT_EQ(3, peek(ring)->offset);
			take(ring, peek(ring));
			ASSERT_EQ(NULL, peek(ring));
			ASSERT_EQ(2, reset(&self->vm));
			continue;
		}
		take(ring, peek(ring));
		ASSERT_EQ(NULL, peek(ring));
		/* Harvested, but not reset: nothing new to tell. */
		ASSERT_EQ(++i, vcpu_run_to_sync(&self->vcpu));
		ASSERT_EQ(0, collect(ring, bitmap, 1));
		ASSERT_EQ(2, reset(&self->vm));
		ASSERT_EQ(0, reset(&self->vm));
	}
}

static void guest_writes_all(u64 arg __maybe_unused)
{
	u64 i;

	for (i = 0; i < MIGRATE_PAGES; i++)
		VOLATILE(u64, MIGRATE_GPA + i * TEST_PAGE_SIZE) = i;
	GUEST_SYNC(1);
}

TEST_F(ring, full)
{
	u64 bitmap[MIGRATE_PAGES / 64] = {}, sum = 0, i;
	struct test_vcpu *vcpu = &self->vcpu;
	int n;

	vcpu_setup_long(vcpu, guest_writes_all, 0);
	vcpu_run_expect(vcpu, KVM_EXIT_DIRTY_RING_FULL);
	vcpu_run_expect(vcpu, KVM_EXIT_DIRTY_RING_FULL);
	ASSERT_EQ(0, reset(&self->vm));
	vcpu_run_expect(vcpu, KVM_EXIT_DIRTY_RING_FULL);
	/* The guest has not gone on since. */
	for (n = 0; *(volatile u64 *)(self->mem + (n + 1) * TEST_PAGE_SIZE); n++)
		;
	ASSERT_LE(SOFT_LIMIT - 1, n + 1);	/* the last write waits */
	ASSERT_GE(RING_ENTRIES, n + 1);
	/* Collected is not reset. */
	ASSERT_EQ(1, collect(&self->ring, bitmap, 1));
	vcpu_run_expect(vcpu, KVM_EXIT_DIRTY_RING_FULL);
	ASSERT_EQ(1, reset(&self->vm));
	vcpu_run_expect(vcpu, KVM_EXIT_DIRTY_RING_FULL);
	sum = 1;
	do {
		n = collect(&self->ring, bitmap, RING_ENTRIES);
		ASSERT_LE(SOFT_LIMIT, n);
		ASSERT_EQ(n, reset(&self->vm));
		sum += (u64)n;
		ASSERT_EQ(0, __vcpu_run(vcpu));
	} while (vcpu->run->exit_reason == KVM_EXIT_DIRTY_RING_FULL);
	ASSERT_EQ(KVM_EXIT_IO, vcpu->run->exit_reason);
	sum += (u64)collect(&self->ring, bitmap, RING_ENTRIES);
	/* The page that a full ring kept from being written is told of again. */
	ASSERT_LE(MIGRATE_PAGES, sum);
	ASSERT_GE(MIGRATE_PAGES + MIGRATE_PAGES / 100, sum);
	for (i = 0; i < MIGRATE_PAGES / 64; i++)
		ASSERT_EQ(~0UL, bitmap[i]);
}

/* User space may write what it likes; it must not get the kernel to follow. */
TEST_F(ring, hostile)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct ring *ring = &self->ring;
	static const struct kvm_dirty_gfn lies[] = {
		{ .slot = ~0U, .offset = 0 },
		{ .slot = 2, .offset = 0 },
		{ .slot = 1 << 16 | 1, .offset = 0 },
		{ .slot = 1, .offset = ~0UL },
		{ .slot = 1, .offset = MIGRATE_PAGES },
		{ .slot = 1, .offset = 1UL << 63 },
		{ .slot = 0, .offset = 5 },		/* has no log */
		{ .slot = 32764, .offset = 0 },
	};
	int round, done = 0;
	u32 i;

	vcpu_setup_long(vcpu, guest_writes_all, 0);
	for (round = 0; round < 200 && !done; round++) {
		ASSERT_EQ(0, __vcpu_run(vcpu));
		done = vcpu->run->exit_reason != KVM_EXIT_DIRTY_RING_FULL;
		for (i = 0; i < RING_ENTRIES; i++) {
			struct kvm_dirty_gfn *entry = &ring->entries[i];
			u32 flags = entry->flags;

			/* KVM follows all flags that it finds. */
			if (test_device_is_kvm() && !(flags & KVM_DIRTY_GFN_F_DIRTY))
				continue;
			*entry = lies[(i + (u32)round) % ARRAY_SIZE(lies)];
			entry->flags = round & 1 ? ~0U : KVM_DIRTY_GFN_F_RESET;
		}
		ASSERT_LE(0, reset(&self->vm));
		/* A second time all that was pushed is gone. */
		if (!test_device_is_kvm()) {
			for (i = 0; i < RING_ENTRIES; i++)
				ring->entries[i].flags = KVM_DIRTY_GFN_F_RESET;
			ASSERT_EQ(0, reset(&self->vm));
			memset(ring->entries, 0, RING_BYTES);
		}
	}
	ASSERT_TRUE(done);
	for (i = 0; i < MIGRATE_PAGES; i++)
		ASSERT_EQ(i, *(u64 *)(self->mem + i * TEST_PAGE_SIZE));
}

#define MSR_KVM_WALL	0x4b564d00
#define MSR_KVM_CLOCK	0x4b564d01

static void guest_lets_kernel_write(u64 arg __maybe_unused)
{
	u64 to = MIGRATE_GPA + 8 * TEST_PAGE_SIZE - 2;

	wrmsr(MSR_KVM_CLOCK, (MIGRATE_GPA + 3 * TEST_PAGE_SIZE) | 1);
	wrmsr(MSR_KVM_WALL, MIGRATE_GPA + 5 * TEST_PAGE_SIZE);
	asm volatile("insl" : "+D"(to) : "d"(MIGRATE_PORT) : "memory");
	GUEST_SYNC(1);
}

TEST_F(ring, kernel_writes)
{
	struct test_vcpu *vcpu = &self->vcpu;
	u64 bitmap[MIGRATE_PAGES / 64] = {};
	int i;

	vcpu_set_supported_cpuid(vcpu);
	vcpu_setup_long(vcpu, guest_lets_kernel_write, 0);
	vcpu_run_expect(vcpu, KVM_EXIT_IO);
	*(u32 *)io_data(vcpu) = 0x12345678;
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	ASSERT_LE(4, collect(&self->ring, bitmap, RING_ENTRIES));
	ASSERT_EQ(1U << 3 | 1U << 5 | 1U << 7 | 1U << 8, bitmap[0]);
	ASSERT_LE(4, reset(&self->vm));

	/* User space lets the kernel write on its own: the ring does not run over. */
	if (test_device_is_kvm())
		return;
	for (i = 0; i < 1000; i++)
		vcpu_set_msr(vcpu, MSR_KVM_WALL,
			     MIGRATE_GPA + (u64)(10 + i) * TEST_PAGE_SIZE);
	memset(bitmap, 0, sizeof(bitmap));
	ASSERT_EQ(RING_ENTRIES, collect(&self->ring, bitmap, 1000));
	ASSERT_EQ(NULL, peek(&self->ring));
	for (i = 0; i < 1000; i++)
		ASSERT_EQ(bitmap[(10 + i) / 64] >> (10 + i) % 64 & 1,
			  !!*(u64 *)(self->mem + (10 + i) * TEST_PAGE_SIZE));
}

/* Two vCPUs write while a third party migrates. */
FIXTURE(writers) {
	struct migrate m;
	struct ring ring[MIGRATE_VCPUS];
};

FIXTURE_VARIANT(writers) {
	u32 bytes;
	bool huge;
	u64 skew;
};

FIXTURE_VARIANT_ADD(writers, small) {
	.bytes = RING_BYTES,
};

FIXTURE_VARIANT_ADD(writers, large) {
	.bytes = 16 * RING_BYTES,
};

FIXTURE_VARIANT_ADD(writers, huge_pages) {
	.bytes = 4 * RING_BYTES,
	.huge = true,
};

FIXTURE_VARIANT_ADD(writers, skewed) {
	.bytes = 4 * RING_BYTES,
	.huge = true,
	.skew = 69,
};

static bool is_ring_full(struct migrate *m, struct test_vcpu *vcpu)
{
	if (vcpu->run->exit_reason != KVM_EXIT_DIRTY_RING_FULL)
		return false;
	__atomic_fetch_add(&m->exits, 1, __ATOMIC_RELAXED);
	usleep(500);
	return true;
}

FIXTURE_SETUP(writers)
{
	migrate_setup(&self->m, variant->huge, variant->skew, 0);
	ASSERT_EQ(0, enable_ring(&self->m.vm, KVM_CAP_DIRTY_LOG_RING_ACQ_REL, variant->bytes));
	self->m.exit = is_ring_full;
}

FIXTURE_TEARDOWN(writers)
{
	int i;

	for (i = 0; i < MIGRATE_VCPUS; i++)
		munmap(self->ring[i].entries, variant->bytes);
	migrate_destroy(&self->m);
}

static void harvest(struct migrate *m, struct ring *ring)
{
	int i, n = 0;

	memset(m->bitmap, 0, sizeof(m->bitmap));
	for (i = 0; i < MIGRATE_VCPUS; i++)
		n += collect(&ring[i], m->bitmap, ring[i].size);
	migrate_check(m);
	if (reset(&m->vm) != n)
		TEST_DIE("KVM_RESET_DIRTY_RINGS");
	migrate_copy(m);
}

TEST_F(writers, nothing_is_lost)
{
	struct migrate *m = &self->m;
	unsigned int log, round;
	int i;

	migrate_start(m);
	for (i = 0; i < MIGRATE_VCPUS; i++)
		open_ring(&self->ring[i], &m->vcpu[i], variant->bytes);
	for (log = 0; log < 3; log++) {
		migrate_slot(m, KVM_MEM_LOG_DIRTY_PAGES);
		migrate_copy_all(m);
		for (round = 0; migrate_goes_on(m, round, 60); round++) {
			migrate_look(m);
			harvest(m, self->ring);
			usleep(1000 * (round % 4));
		}
		if (log < 2)
			migrate_slot(m, 0);
	}
	/* The log goes on until the vCPUs have heard that they are to stop. */
	migrate_ask_stop(m);
	for (round = 0; migrate_goes_on(m, round, 20); round++) {
		migrate_look(m);
		harvest(m, self->ring);
		usleep(5000);
	}
	migrate_stop(m);
	migrate_look(m);
	harvest(m, self->ring);
	migrate_compare(m);
	TH_LOG("%lu pages copied in %u rounds, rings full %lu times", m->copied, m->rounds,
	       m->exits);
}

TEST_HARNESS_MAIN
