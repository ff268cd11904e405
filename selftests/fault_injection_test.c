// SPDX-License-Identifier: GPL-2.0-only
/*
 * Allocations that fail: each ioctl is called with its first, second, third ...
 * allocation failing, until none is left to fail. It has to return -ENOMEM or do
 * without, and the same call has to work right after, as if nothing had been.
 *
 * The kernel needs CONFIG_FAULT_INJECTION_DEBUG_FS with FAILSLAB and
 * FAIL_PAGE_ALLOC, which distributions leave out: all is skipped there. What it
 * is worth, the other checkers of such a kernel (leaks, KASAN) decide.
 */
#include <kselftest_harness.h>

#include <sys/eventfd.h>
#include <sys/wait.h>

#include "test_vm.h"

#define NTH_MAX		400

/* What a call finds when it is made. */
#define WITH_IRQCHIP	(1 << 0)
#define WITH_MEMORY	(1 << 1)
#define WITH_LOG	(1 << 2)	/* a second slot with a dirty log */
#define WITH_VCPU	(1 << 3)
#define NO_VM		(1 << 4)

#define SLOT_SIZE	0x400000UL
#define LOG_GPA		0x800000UL

struct context {
	int device;
	struct test_vm vm;
	struct test_vcpu vcpu;
	void *mem;
	int events[2];
	struct kvm_cpuid2 *cpuid;
};

struct call {
	int (*make)(struct context *c);
	unsigned int with;
	long cap;		/* 0, or skip without it */
	bool may_fault;		/* the guest's memory: -EFAULT, as on KVM */
	bool may_do_without;	/* has no allocation that must succeed */
};

/*
 * Real mode: writes to two pages far apart, MMIO that has to be emulated, a port,
 * the end.
 */
static const u8 guest_program[] = {
	0xb8, 0x00, 0x20,			/* mov $0x2000, %ax */
	0x8e, 0xd8,				/* mov %ax, %ds */
	0xc7, 0x06, 0x00, 0x00, 0x34, 0x12,	/* movw $0x1234, 0 */
	0xb8, 0x00, 0x90,			/* mov $0x9000, %ax */
	0x8e, 0xd8,				/* mov %ax, %ds */
	0xc7, 0x06, 0x10, 0x00, 0x34, 0x12,	/* movw $0x1234, 0x10 */
	0xba, 0x10, 0x05,			/* mov $0x510, %dx */
	0xef,					/* out %ax, %dx */
	0xf4,					/* hlt */
};

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

/* Ordinary allocations fail only when these say so, and no trace for each one. */
static bool injection_ready(void)
{
	static const char *const settings[][2] = {
		{ "failslab/ignore-gfp-wait", "N" },
		{ "failslab/verbose", "0" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ "fail_page_alloc/min-order", "0" },
		{ "fail_page_alloc/verbose", "0" },
	};
	char path[80];
	unsigned int i;

	if (access("/proc/thread-self/fail-nth", W_OK))
		return false;
	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s", settings[i][0]);
		if (!write_file(path, settings[i][1]))
			return false;
	}
	return true;
}

static int make_vm(struct context *c)
{
	return __dev_ioctl(c->device, KVM_CREATE_VM, 0);
}

static int make_irqchip(struct context *c)
{
	return __vm_ioctl(&c->vm, KVM_CREATE_IRQCHIP, 0);
}

static int make_split_irqchip(struct context *c)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };

	return __vm_ioctl(&c->vm, KVM_ENABLE_CAP, &cap);
}

static int make_pit(struct context *c)
{
	struct kvm_pit_config config = {};

	return __vm_ioctl(&c->vm, KVM_CREATE_PIT2, &config);
}

static int make_vcpu(struct context *c)
{
	return __vm_ioctl(&c->vm, KVM_CREATE_VCPU, 0);
}

static int make_second_vcpu(struct context *c)
{
	return __vm_ioctl(&c->vm, KVM_CREATE_VCPU, 1);
}

static int make_slot(struct context *c)
{
	return __vm_set_slot(&c->vm, 0, 0, 0, SLOT_SIZE, c->mem);
}

static int make_log_slot(struct context *c)
{
	return __vm_set_slot(&c->vm, 1, KVM_MEM_LOG_DIRTY_PAGES, LOG_GPA, SLOT_SIZE, c->mem);
}

static int start_log(struct context *c)
{
	return __vm_set_slot(&c->vm, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, SLOT_SIZE, c->mem);
}

static int move_slot(struct context *c)
{
	return __vm_set_slot(&c->vm, 0, 0, 2 * LOG_GPA, SLOT_SIZE, c->mem);
}

static int get_dirty_log(struct context *c)
{
	unsigned long bitmap[SLOT_SIZE / TEST_PAGE_SIZE / 64];
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = bitmap };

	return __vm_ioctl(&c->vm, KVM_GET_DIRTY_LOG, &log);
}

static int make_irqfd(struct context *c)
{
	struct kvm_irqfd irqfd = { .fd = c->events[0], .gsi = 5 };

	return __vm_ioctl(&c->vm, KVM_IRQFD, &irqfd);
}

static int make_resample_irqfd(struct context *c)
{
	struct kvm_irqfd irqfd = {
		.fd = c->events[0], .gsi = 6,
		.flags = KVM_IRQFD_FLAG_RESAMPLE, .resamplefd = c->events[1],
	};

	return __vm_ioctl(&c->vm, KVM_IRQFD, &irqfd);
}

static int make_ioeventfd(struct context *c)
{
	struct kvm_ioeventfd ioeventfd = {
		.fd = c->events[0], .addr = 0x510, .len = 2,
		.flags = KVM_IOEVENTFD_FLAG_PIO,
	};

	return __vm_ioctl(&c->vm, KVM_IOEVENTFD, &ioeventfd);
}

static int set_routes(struct context *c)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entries[2];
	} routes = {
		.head = { .nr = 2 },
		.entries = {
			{ .gsi = 1, .type = KVM_IRQ_ROUTING_IRQCHIP,
			  .u.irqchip = { .irqchip = KVM_IRQCHIP_IOAPIC, .pin = 1 } },
			{ .gsi = 30, .type = KVM_IRQ_ROUTING_MSI,
			  .u.msi = { .address_lo = 0xfee00000, .data = 0x30 } },
		},
	};

	return __vm_ioctl(&c->vm, KVM_SET_GSI_ROUTING, &routes);
}

static int copy_irqchip(struct context *c)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
	int ret = __vm_ioctl(&c->vm, KVM_GET_IRQCHIP, &chip);

	return ret ? ret : __vm_ioctl(&c->vm, KVM_SET_IRQCHIP, &chip);
}

static int set_msr_filter(struct context *c)
{
	u8 bitmap[8] = { 0xff };
	struct kvm_msr_filter filter = {
		.ranges = { { .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
			      .base = 0x10, .nmsrs = 64, .bitmap = bitmap } },
	};

	return __vm_ioctl(&c->vm, KVM_X86_SET_MSR_FILTER, &filter);
}

static int coalesce(struct context *c)
{
	struct kvm_coalesced_mmio_zone zone = { .addr = 0x10000000, .size = 0x1000 };

	return __vm_ioctl(&c->vm, KVM_REGISTER_COALESCED_MMIO, &zone);
}

static int get_supported_cpuid(struct context *c)
{
	c->cpuid->nent = 200;
	return __dev_ioctl(c->device, KVM_GET_SUPPORTED_CPUID, c->cpuid);
}

static int set_cpuid(struct context *c)
{
	return __vcpu_ioctl(&c->vcpu, KVM_SET_CPUID2, c->cpuid);
}

static int copy_lapic(struct context *c)
{
	struct kvm_lapic_state lapic;
	int ret = __vcpu_ioctl(&c->vcpu, KVM_GET_LAPIC, &lapic);

	return ret ? ret : __vcpu_ioctl(&c->vcpu, KVM_SET_LAPIC, &lapic);
}

static int copy_xsave(struct context *c)
{
	struct kvm_xsave xsave;
	int ret = __vcpu_ioctl(&c->vcpu, KVM_GET_XSAVE, &xsave);

	return ret ? ret : __vcpu_ioctl(&c->vcpu, KVM_SET_XSAVE, &xsave);
}

static int copy_msrs(struct context *c)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[2];
	} msrs = { .head = { .nmsrs = 2 }, .entries = { { .index = 0x10 }, { .index = 0x277 } } };
	int ret = __vcpu_ioctl(&c->vcpu, KVM_GET_MSRS, &msrs);

	return ret < 0 ? ret : __vcpu_ioctl(&c->vcpu, KVM_SET_MSRS, &msrs);
}

static int vm_stats(struct context *c)
{
	return __vm_ioctl(&c->vm, KVM_GET_STATS_FD, 0);
}

static int vcpu_stats(struct context *c)
{
	return __vcpu_ioctl(&c->vcpu, KVM_GET_STATS_FD, 0);
}

static int map_run(struct context *c)
{
	void *run = mmap(NULL, TEST_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 c->vcpu.fd, 0);

	if (run == MAP_FAILED)
		return -errno;
	munmap(run, TEST_PAGE_SIZE);
	return 0;
}

/* To the first exit, whichever it is: not to be lost is the guest's progress. */
static int run(struct context *c)
{
	return __vcpu_ioctl(&c->vcpu, KVM_RUN, 0);
}

static void prepare(struct context *c, unsigned int with)
{
	struct kvm_regs regs = { .rip = 0x1000, .rflags = 2 };
	struct kvm_sregs sregs;

	memset(c, 0, sizeof(*c));
	c->vm.fd = -1;
	c->device = device_open();
	c->events[0] = eventfd(0, 0);
	c->events[1] = eventfd(0, 0);
	c->cpuid = calloc(1, sizeof(*c->cpuid) + 200 * sizeof(c->cpuid->entries[0]));
	c->mem = mmap(NULL, SLOT_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!c->cpuid || c->mem == MAP_FAILED)
		TEST_DIE("no memory for the test itself");
	memcpy((char *)c->mem + 0x1000, guest_program, sizeof(guest_program));
	if (with & NO_VM)
		return;
	get_supported_cpuid(c);
	vm_create_bare(&c->vm);
	if (with & WITH_IRQCHIP)
		vm_create_irqchip(&c->vm);
	if (with & WITH_MEMORY)
		make_slot(c);
	if (with & WITH_LOG)
		make_log_slot(c);
	if (!(with & WITH_VCPU))
		return;
	vcpu_create(&c->vm, &c->vcpu, 0);
	vcpu_ioctl(&c->vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	vcpu_ioctl(&c->vcpu, KVM_SET_SREGS, &sregs);
	vcpu_ioctl(&c->vcpu, KVM_SET_REGS, &regs);
}

struct outcome {
	int first;		/* with the allocation failing */
	int second;		/* the same call again */
	bool injected;		/* false: there was no @nth allocation */
};

/* In a process of its own: whatever was made goes with it. */
static void call_failing_nth(const struct call *call, unsigned int nth, int result_fd)
{
	struct outcome outcome = {};
	struct context c;
	char text[16] = "";
	int fd;

	prepare(&c, call->with);
	fd = open("/proc/thread-self/fail-nth", O_RDWR);
	if (fd < 0)
		TEST_DIE("fail-nth: %m");
	snprintf(text, sizeof(text), "%u", nth);
	if (pwrite(fd, text, strlen(text), 0) < 0)
		TEST_DIE("fail-nth: %m");
	outcome.first = call->make(&c);
	/* It counts down; what is left of it has not been used. */
	memset(text, 0, sizeof(text));
	if (pread(fd, text, sizeof(text) - 1, 0) < 0 || pwrite(fd, "0", 1, 0) != 1)
		TEST_DIE("fail-nth: %m");
	outcome.injected = !atoi(text);
	if (outcome.first < 0)
		outcome.second = call->make(&c);
	if (write(result_fd, &outcome, sizeof(outcome)) != sizeof(outcome))
		_exit(2);
	_exit(0);
}

static void fail_each(struct __test_metadata *_metadata, const struct call *call)
{
	unsigned int nth, failures = 0;
	struct outcome outcome;
	int fds[2], status;
	pid_t child;

	for (nth = 1; nth < NTH_MAX; nth++) {
		ASSERT_EQ(0, pipe(fds));
		child = fork();
		ASSERT_LE(0, child);
		if (!child)
			call_failing_nth(call, nth, fds[1]);
		close(fds[1]);
		ASSERT_EQ((ssize_t)sizeof(outcome), read(fds[0], &outcome, sizeof(outcome)))
			TH_LOG("allocation %u: the process died", nth);
		close(fds[0]);
		ASSERT_EQ(child, waitpid(child, &status, 0));
		ASSERT_EQ(0, status);
		if (!outcome.injected)
			break;
		if (outcome.first >= 0)
			continue;
		failures++;
		EXPECT_TRUE(outcome.first == -ENOMEM ||
			    (call->may_fault && outcome.first == -EFAULT))
			TH_LOG("allocation %u: %s", nth, strerror(-outcome.first));
		EXPECT_LE(0, outcome.second)
			TH_LOG("after allocation %u: %s", nth, strerror(-outcome.second));
	}
	EXPECT_GT(NTH_MAX, nth);
	/* With none that ever failed, nothing would have been tested. */
	if (!call->may_do_without)
		EXPECT_LT(0, failures);
	/* Not only its failures: with nothing failing it works. */
	EXPECT_LE(0, outcome.first);
	TH_LOG("%u allocations, %u of them needed", nth - 1, failures);
}

#define FAIL_EACH(name, function, flags, ...)				\
TEST(fail_##name)							\
{									\
	const struct call call = {					\
		.make = function, .with = flags, ##__VA_ARGS__		\
	};								\
	int device = device_open();					\
									\
	if (!injection_ready())						\
		SKIP(return, "no fault injection in this kernel");	\
	if (call.cap && !device_cap(device, call.cap))			\
		SKIP(return, "the device has no such capability");	\
	close(device);							\
	fail_each(_metadata, &call);					\
}

FAIL_EACH(create_vm, make_vm, NO_VM)
FAIL_EACH(create_irqchip, make_irqchip, 0)
FAIL_EACH(split_irqchip, make_split_irqchip, 0, .cap = KVM_CAP_SPLIT_IRQCHIP,
	  .may_do_without = true)
FAIL_EACH(create_pit, make_pit, WITH_IRQCHIP, .may_do_without = true)
FAIL_EACH(create_vcpu, make_vcpu, 0)
FAIL_EACH(create_vcpu_irqchip, make_vcpu, WITH_IRQCHIP)
FAIL_EACH(create_second_vcpu, make_second_vcpu, WITH_IRQCHIP | WITH_VCPU)
FAIL_EACH(create_slot, make_slot, 0)
FAIL_EACH(create_log_slot, make_log_slot, WITH_MEMORY)
FAIL_EACH(start_log, start_log, WITH_MEMORY)
FAIL_EACH(move_slot, move_slot, WITH_MEMORY)
FAIL_EACH(get_dirty_log, get_dirty_log, WITH_MEMORY | WITH_LOG, .may_do_without = true)
FAIL_EACH(irqfd, make_irqfd, WITH_IRQCHIP)
FAIL_EACH(irqfd_resample, make_resample_irqfd, WITH_IRQCHIP)
FAIL_EACH(ioeventfd, make_ioeventfd, 0)
FAIL_EACH(routing, set_routes, WITH_IRQCHIP)
FAIL_EACH(irqchip_state, copy_irqchip, WITH_IRQCHIP, .may_do_without = true)
FAIL_EACH(msr_filter, set_msr_filter, 0, .cap = KVM_CAP_X86_MSR_FILTER)
FAIL_EACH(coalesced_mmio, coalesce, 0, .cap = KVM_CAP_COALESCED_MMIO)
FAIL_EACH(supported_cpuid, get_supported_cpuid, NO_VM, .may_do_without = true)
FAIL_EACH(set_cpuid, set_cpuid, WITH_VCPU)
FAIL_EACH(lapic, copy_lapic, WITH_IRQCHIP | WITH_VCPU, .may_do_without = true)
FAIL_EACH(xsave, copy_xsave, WITH_VCPU, .may_do_without = true)
FAIL_EACH(msrs, copy_msrs, WITH_VCPU, .may_do_without = true)
FAIL_EACH(vm_stats, vm_stats, 0, .cap = KVM_CAP_BINARY_STATS_FD)
FAIL_EACH(vcpu_stats, vcpu_stats, WITH_VCPU, .cap = KVM_CAP_BINARY_STATS_FD)
FAIL_EACH(map_run, map_run, WITH_VCPU)
FAIL_EACH(run, run, WITH_VCPU | WITH_MEMORY, .may_fault = true)
FAIL_EACH(run_irqchip, run, WITH_VCPU | WITH_MEMORY | WITH_IRQCHIP, .may_fault = true)
FAIL_EACH(run_log, run, WITH_VCPU | WITH_MEMORY | WITH_LOG, .may_fault = true)

TEST_HARNESS_MAIN
