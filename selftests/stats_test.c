// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_GET_STATS_FD: the format of the file, and that its counters count.
 */
#include <kselftest_harness.h>

#include <pthread.h>
#include <stdlib.h>

#include "guest.h"
#include "test_vm.h"

#define MAX_SIZE	0x4000

FIXTURE(stats) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

FIXTURE_SETUP(stats)
{
	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	vcpu_set_supported_cpuid(&self->vcpu);
}

FIXTURE_TEARDOWN(stats)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

struct stats {
	int fd;
	struct kvm_stats_header header;
	ssize_t size;		/* of the whole file */
	char file[MAX_SIZE];
};

static void stats_load(struct stats *stats, int fd)
{
	stats->fd = fd;
	if (fd < 0)
		TEST_DIE("KVM_GET_STATS_FD: %d", fd);
	stats->size = pread(fd, stats->file, sizeof(stats->file), 0);
	if (stats->size < (ssize_t)sizeof(stats->header))
		TEST_DIE("read: %zd", stats->size);
	memcpy(&stats->header, stats->file, sizeof(stats->header));
}

static const struct kvm_stats_desc *stats_desc(const struct stats *stats, u32 i)
{
	size_t each = sizeof(struct kvm_stats_desc) + stats->header.name_size;

	return (const void *)(stats->file + stats->header.desc_offset + i * each);
}

/* The value of the counter @name now. */
static u64 counter(struct stats *stats, const char *name)
{
	const struct kvm_stats_desc *desc;
	u64 value;
	u32 i;

	for (i = 0; i < stats->header.num_desc; i++) {
		desc = stats_desc(stats, i);
		if (strcmp(desc->name, name))
			continue;
		if (pread(stats->fd, &value, sizeof(value),
			  stats->header.data_offset + desc->offset) != sizeof(value))
			TEST_DIE("%s: %m", name);
		return value;
	}
	TEST_DIE("nothing counts %s", name);
}

static void check_format(struct __test_metadata *_metadata, struct stats *stats)
{
	struct kvm_stats_header *h = &stats->header;
	size_t end = sizeof(*h), data = 0;
	const struct kvm_stats_desc *desc;
	u32 i;

	EXPECT_LT(0, h->num_desc);
	EXPECT_LE(end, h->id_offset);
	EXPECT_EQ(0, strncmp(stats->file + h->id_offset, "kvm-", 4));
	EXPECT_LT(strnlen(stats->file + h->id_offset, h->name_size), h->name_size);
	end = h->id_offset + h->name_size;
	EXPECT_LE(end, h->desc_offset);
	end = h->desc_offset + h->num_desc * (sizeof(*desc) + h->name_size);
	EXPECT_LE(end, h->data_offset);
	for (i = 0; i < h->num_desc; i++) {
		desc = stats_desc(stats, i);
		EXPECT_LT(strnlen(desc->name, h->name_size), h->name_size);
		EXPECT_LT(0, desc->size);
		EXPECT_EQ(0, desc->offset % sizeof(u64));
		if (desc->offset + desc->size * sizeof(u64) > data)
			data = desc->offset + desc->size * sizeof(u64);
	}
	EXPECT_EQ(h->data_offset + data, (size_t)stats->size);
}

TEST_F(stats, format)
{
	struct stats *stats = calloc(1, sizeof(*stats));

	ASSERT_NE(NULL, stats);
	EXPECT_EQ(1, vm_cap(&self->vm, KVM_CAP_BINARY_STATS_FD));
	stats_load(stats, __vm_ioctl(&self->vm, KVM_GET_STATS_FD, 0));
	check_format(_metadata, stats);
	close(stats->fd);
	stats_load(stats, __vcpu_ioctl(&self->vcpu, KVM_GET_STATS_FD, 0));
	check_format(_metadata, stats);
	close(stats->fd);
	free(stats);
}

static void *get_stats_fd(void *vcpu)
{
	return (void *)(long)__vcpu_ioctl((struct test_vcpu *)vcpu, KVM_GET_STATS_FD, 0);
}

/* Both names begin with the thread that made the VM, whoever asks: they belong together. */
TEST_F(stats, names)
{
	struct stats *stats = calloc(1, sizeof(*stats));
	char name[32];
	pthread_t thread;
	void *fd;

	ASSERT_NE(NULL, stats);
	stats_load(stats, __vm_ioctl(&self->vm, KVM_GET_STATS_FD, 0));
	snprintf(name, sizeof(name), "kvm-%d", getpid());
	EXPECT_STREQ(name, stats->file + stats->header.id_offset);
	close(stats->fd);
	ASSERT_EQ(0, pthread_create(&thread, NULL, get_stats_fd, &self->vcpu));
	ASSERT_EQ(0, pthread_join(thread, &fd));
	stats_load(stats, (long)fd);
	snprintf(name, sizeof(name), "kvm-%d/vcpu-0", getpid());
	EXPECT_STREQ(name, stats->file + stats->header.id_offset);
	close(stats->fd);
	free(stats);
}

/* Any piece of the file can be read, and it is for reading only. */
TEST_F(stats, reads)
{
	struct stats *stats = calloc(1, sizeof(*stats));
	void *volatile bad = (void *)1;
	char piece[7];
	ssize_t at, n;

	ASSERT_NE(NULL, stats);
	stats_load(stats, __vcpu_ioctl(&self->vcpu, KVM_GET_STATS_FD, 0));
	for (at = 0; at < stats->size; at += n) {
		n = read(stats->fd, piece, sizeof(piece));
		ASSERT_LT(0, n);
		EXPECT_EQ(0, memcmp(piece, stats->file + at, (size_t)n));
	}
	EXPECT_EQ(stats->size, at);
	EXPECT_EQ(0, read(stats->fd, piece, sizeof(piece)));
	EXPECT_EQ(0, pread(stats->fd, piece, sizeof(piece), 1L << 40));
	EXPECT_EQ(-1, pread(stats->fd, bad, sizeof(piece), 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, write(stats->fd, piece, sizeof(piece)));
	EXPECT_EQ(EBADF, errno);
	EXPECT_TRUE(fcntl(stats->fd, F_GETFD) & FD_CLOEXEC);
	close(stats->fd);
	free(stats);
}

static void guest_work(u64 arg __maybe_unused)
{
	const void *from;

	for (;;) {
		from = &from;
		port_out8(0x80, 0);
		guest_halt();
		if (test_cpu_has_vmcall)
			asm volatile("vmcall" : : "a"(12345) : "memory");
		else
			asm volatile("vmmcall" : : "a"(12345) : "memory");
		VOLATILE(u8, GUEST_HOLE) = 1;
		asm volatile("outsb" : "+S"(from) : "d"(0x80) : "memory");
	}
}

TEST_F(stats, counters)
{
	u64 io, exits, halts, calls, mmio, emulated;
	struct stats *stats = calloc(1, sizeof(*stats));
	int i;

	ASSERT_NE(NULL, stats);
	stats_load(stats, __vcpu_ioctl(&self->vcpu, KVM_GET_STATS_FD, 0));
	vcpu_setup_long(&self->vcpu, guest_work, 0);
	vcpu_run_expect(&self->vcpu, KVM_EXIT_IO);
	exits = counter(stats, "exits");
	io = counter(stats, "io_exits");
	halts = counter(stats, "halt_exits");
	calls = counter(stats, "hypercalls");
	mmio = counter(stats, "mmio_exits");
	emulated = counter(stats, "insn_emulation");
	for (i = 0; i < 10; i++) {
		vcpu_run_expect(&self->vcpu, KVM_EXIT_HLT);
		vcpu_run_expect(&self->vcpu, KVM_EXIT_MMIO);
		vcpu_run_expect(&self->vcpu, KVM_EXIT_IO);
		vcpu_run_expect(&self->vcpu, KVM_EXIT_IO);
	}
	EXPECT_EQ(io + 20, counter(stats, "io_exits"));
	EXPECT_EQ(halts + 10, counter(stats, "halt_exits"));
	EXPECT_EQ(calls + 10, counter(stats, "hypercalls"));
	EXPECT_EQ(mmio + 10, counter(stats, "mmio_exits"));
	EXPECT_LE(emulated + 10, counter(stats, "insn_emulation"));
	EXPECT_LE(exits + 40, counter(stats, "exits"));
	EXPECT_LT(0, counter(stats, "pf_taken"));
	EXPECT_LT(0, counter(stats, "host_state_reload"));
	close(stats->fd);
	free(stats);
}

#define HC_SCHED_YIELD	11
#define YIELDS		10

/* A yield to nobody, and PAUSE, which asks for none. */
static void guest_yields(u64 arg __maybe_unused)
{
	unsigned int i;
	u64 ret;

	for (i = 0; i < YIELDS; i++) {
		asm volatile("vmmcall" : "=a"(ret) : "0"(HC_SCHED_YIELD), "b"(77) : "memory");
		GUEST_ASSERT_EQ(0, ret);
	}
	for (i = 0; i < 100000; i++)
		guest_relax();
}

TEST(yields)
{
	struct stats *stats = calloc(1, sizeof(*stats));
	struct test_vcpu vcpu, other;
	struct test_vm vm;

	ASSERT_NE(NULL, stats);
	vm_create(&vm);
	vm_create_irqchip(&vm);
	vcpu_create(&vm, &vcpu, 0);
	vcpu_create(&vm, &other, 1);
	vcpu_set_supported_cpuid(&vcpu);
	stats_load(stats, __vcpu_ioctl(&vcpu, KVM_GET_STATS_FD, 0));
	vcpu_setup_long(&vcpu, guest_yields, 0);
	vcpu_run_to_done(&vcpu);
	EXPECT_EQ(YIELDS, counter(stats, "directed_yield_attempted"));
	EXPECT_EQ(0, counter(stats, "directed_yield_successful"));
	close(stats->fd);
	vcpu_destroy(&other);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
	free(stats);
}

/* The file outlives both descriptors that it came from. */
TEST_F(stats, lifetime)
{
	struct stats *stats = calloc(1, sizeof(*stats));
	struct test_vcpu vcpu;
	struct test_vm vm;
	u64 exits;

	ASSERT_NE(NULL, stats);
	vm_with_vcpu(&vm, &vcpu, guest_work, 0);
	vcpu_run_expect(&vcpu, KVM_EXIT_IO);
	stats_load(stats, __vcpu_ioctl(&vcpu, KVM_GET_STATS_FD, 0));
	exits = counter(stats, "exits");
	EXPECT_LT(0, exits);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
	EXPECT_EQ(exits, counter(stats, "exits"));
	close(stats->fd);
	free(stats);
}

#define VECTOR		0x51
#define WAKES		1000

static void take_irq(struct guest_regs *regs __maybe_unused)
{
	wrmsr(X2APIC_MSR(APIC_EOI), 0);
}

/* The interrupt is there before HLT, and may come in after the instruction behind STI. */
static void guest_wakes(u64 arg __maybe_unused)
{
	unsigned int i;

	wrmsr(MSR_APICBASE, rdmsr(MSR_APICBASE) | 1 << 10);
	wrmsr(X2APIC_MSR(APIC_SPIV), 0x1ff);
	guest_sync(0);
	for (i = 0; i < WAKES; i++) {
		wrmsr(X2APIC_MSR(APIC_SELF_IPI), VECTOR);
		guest_sti_halt_cli();
	}
	guest_sync(1);
}

/*
 * An interrupt that goes in at HLT is not asked for again by an exit of its own. Other
 * than that it costs time, QEMU's CPU now and then delivered such a one twice.
 */
TEST(exits_of_a_wake)
{
	struct stats *stats = calloc(1, sizeof(*stats));
	struct test_vcpu vcpu;
	struct test_vm vm;
	u64 exits;

	if (getenv("LODGE_DEVICE"))
		SKIP(return, "KVM takes one more");
	ASSERT_NE(NULL, stats);
	vm_create(&vm);
	vm_create_irqchip(&vm);
	vcpu_create(&vm, &vcpu, 0);
	vcpu_set_supported_cpuid(&vcpu);
	guest_var(&vm, guest_handlers[VECTOR]) = take_irq;
	stats_load(stats, __vcpu_ioctl(&vcpu, KVM_GET_STATS_FD, 0));
	vcpu_setup_long(&vcpu, guest_wakes, 0);
	ASSERT_EQ(0, vcpu_run_to_sync(&vcpu));
	exits = counter(stats, "exits");
	ASSERT_EQ(1, vcpu_run_to_sync(&vcpu));
	exits = counter(stats, "exits") - exits;
	/* The IPI, HLT and EOI; and the host's own interrupts. */
	EXPECT_LE(3 * WAKES, exits);
	EXPECT_GT(3 * WAKES + WAKES / 2, exits);
	close(stats->fd);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
	free(stats);
}

TEST_HARNESS_MAIN
