// SPDX-License-Identifier: GPL-2.0-only
/*
 * A live migration in small: see migrate.h. The vCPU threads touch only their vCPU and
 * guest memory; all else belongs to the test's thread.
 */
#include <stdio.h>

#include "guest.h"
#include "migrate.h"

static volatile u64 stop_writing;
static volatile u64 rounds[MIGRATE_VCPUS];
static volatile u64 slot_gpa, slot_pages;

/*
 * Each vCPU has every other page, and writes to its pages what it has never written
 * before: by plain stores, locked ones, and by the kernel's hand.
 */
static void guest_writes(u64 who)
{
	u64 generation = 0, r = who, half = slot_pages / 2, i, page;

	for (i = 0; i < half; i++)
		VOLATILE(u64, slot_gpa + (2 * i + who) * TEST_PAGE_SIZE) = ++generation;
	while (!stop_writing) {
		for (i = 0; i < 64; i++) {
			r = r * 6364136223846793005UL + 1442695040888963407UL;
			page = slot_gpa + ((r >> 33) % half * 2 + who) * TEST_PAGE_SIZE;
			if (i == 63)
				asm volatile("insl" : : "D"(page + 8), "d"(MIGRATE_PORT) : "memory");
			else if (i % 16 == 7)
				asm volatile("lock incq (%0)" : : "r"(page) : "memory", "cc");
			else
				VOLATILE(u64, page) = ++generation;
		}
		generation += 64;	/* more than the locked ones may have added */
		rounds[who]++;
	}
	GUEST_SYNC(who);
}

static void *run_thread(void *arg)
{
	struct test_vcpu *vcpu = arg;
	struct migrate *m = (struct migrate *)((char *)(vcpu - vcpu->id) -
					       offsetof(struct migrate, vcpu));
	u32 value = 0;
	int ret;

	for (;;) {
		ret = __vcpu_run(vcpu);
		if (ret == -EINTR)
			continue;
		if (ret)
			TEST_DIE("KVM_RUN: %d", ret);
		if (vcpu->run->exit_reason == KVM_EXIT_IO &&
		    vcpu->run->io.port == MIGRATE_PORT) {
			*(u32 *)io_data(vcpu) = ++value;
			continue;
		}
		if (m->exit && m->exit(m, vcpu))
			continue;
		if (vcpu->run->exit_reason == KVM_EXIT_IO && vcpu_guest_call(vcpu) &&
		    vcpu_guest_call(vcpu)->kind == GUEST_CALL_SYNC)
			return NULL;
		dump_exit(vcpu);
		TEST_DIE("unexpected exit");
	}
}

char *migrate_memory(void)
{
	char *mem = mmap(NULL, 2 * MIGRATE_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *start;

	if (mem == MAP_FAILED)
		TEST_DIE("mmap");
	start = (char *)(((uintptr_t)mem + MIGRATE_SIZE - 1) & ~(MIGRATE_SIZE - 1));
	if (start > mem)
		munmap(mem, (size_t)(start - mem));
	munmap(start + MIGRATE_SIZE, (size_t)(mem + MIGRATE_SIZE - start));
	return start;
}

void migrate_slot(struct migrate *m, u32 flags)
{
	u64 at = m->skew * TEST_PAGE_SIZE;

	vm_set_slot(&m->vm, 1, flags, MIGRATE_GPA + at, m->pages * TEST_PAGE_SIZE, m->mem + at);
}

void migrate_setup(struct migrate *m, bool huge, u64 skew, u64 tail)
{
	struct timespec now;

	memset(m, 0, sizeof(*m));
	clock_gettime(CLOCK_MONOTONIC, &now);
	m->begin = now.tv_sec;
	m->mem = migrate_memory();
	if (huge)
		madvise(m->mem, MIGRATE_SIZE, MADV_HUGEPAGE);
	else
		madvise(m->mem, MIGRATE_SIZE, MADV_NOHUGEPAGE);
	m->skew = skew;
	m->pages = (MIGRATE_PAGES - skew - tail) & ~1UL;
	vm_create(&m->vm);
	migrate_slot(m, 0);
}

/* Rounds in any case, and seconds after which they will do. */
#define FEW_ROUNDS	8
#define ENOUGH_SECONDS	10

bool migrate_goes_on(struct migrate *m, unsigned int round, unsigned int max)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (round >= max || (round >= FEW_ROUNDS && now.tv_sec - m->begin > ENOUGH_SECONDS))
		return false;
	m->rounds++;
	return true;
}

void migrate_start(struct migrate *m)
{
	u64 i;

	guest_var(&m->vm, stop_writing) = 0;
	guest_var(&m->vm, slot_gpa) = MIGRATE_GPA + m->skew * TEST_PAGE_SIZE;
	guest_var(&m->vm, slot_pages) = m->pages;
	for (i = 0; i < MIGRATE_VCPUS; i++) {
		if (!m->vcpu[i].vm)
			vcpu_create(&m->vm, &m->vcpu[i], (unsigned int)i);
		vcpu_setup_long(&m->vcpu[i], guest_writes, i);
		if (pthread_create(&m->thread[i], NULL, run_thread, &m->vcpu[i]))
			TEST_DIE("pthread_create");
	}
	for (i = 0; i < MIGRATE_VCPUS; i++)
		while (guest_var(&m->vm, rounds[i]) < 2)
			usleep(1000);
}

void migrate_ask_stop(struct migrate *m)
{
	guest_var(&m->vm, stop_writing) = 1;
}

void migrate_stop(struct migrate *m)
{
	int i;

	migrate_ask_stop(m);
	for (i = 0; i < MIGRATE_VCPUS; i++)
		pthread_join(m->thread[i], NULL);
	m->stopped = true;
}

void migrate_destroy(struct migrate *m)
{
	int i;

	for (i = 0; i < MIGRATE_VCPUS; i++)
		vcpu_destroy(&m->vcpu[i]);
	vm_destroy(&m->vm);
	munmap(m->mem, MIGRATE_SIZE);
}

static bool in_bitmap(const struct migrate *m, u64 page)
{
	return m->bitmap[page / 64] >> page % 64 & 1;
}

static struct migrate_page now(const struct migrate *m, u64 page)
{
	volatile u64 *p = (u64 *)(m->mem + (m->skew + page) * TEST_PAGE_SIZE);

	return (struct migrate_page){ { p[0], p[1] } };
}

void migrate_look(struct migrate *m)
{
	u64 i;

	for (i = 0; i < m->pages; i++)
		m->look[i] = now(m, i);
}

static void die_of_page(const struct migrate *m, u64 i)
{
	TEST_DIE("page %lu: %lx %lx, copied %lx %lx, not in the log", i, m->look[i].v[0],
		 m->look[i].v[1], m->copy[i].v[0], m->copy[i].v[1]);
}

/*
 * While vCPUs run, what the kernel writes for them may be seen before it is in the log: the
 * instruction is not over then. Once they have stopped, it is there as well.
 */
void migrate_check(struct migrate *m)
{
	u64 i;

	for (i = 0; i < m->pages; i++)
		if (!in_bitmap(m, i) && (m->look[i].v[0] != m->copy[i].v[0] ||
					 (m->stopped && m->look[i].v[1] != m->copy[i].v[1])))
			die_of_page(m, i);
}

void migrate_copy(struct migrate *m)
{
	u64 i;

	for (i = 0; i < m->pages; i++)
		if (in_bitmap(m, i)) {
			m->copy[i] = now(m, i);
			m->copied++;
		}
}

void migrate_copy_all(struct migrate *m)
{
	memset(m->bitmap, 0xff, sizeof(m->bitmap));
	migrate_copy(m);
}

void migrate_forget(struct migrate *m)
{
	memset(m->copy, 0xff, sizeof(m->copy));
}

void migrate_compare(struct migrate *m)
{
	u64 i;

	migrate_look(m);
	for (i = 0; i < m->pages; i++)
		if (memcmp(&m->look[i], &m->copy[i], sizeof(m->copy[i])))
			die_of_page(m, i);
	for (i = 0; i < MIGRATE_VCPUS; i++)
		if (guest_var(&m->vm, rounds[i]) < 10)
			TEST_DIE("vCPU %lu has hardly run", i);
}
