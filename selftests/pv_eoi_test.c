// SPDX-License-Identifier: GPL-2.0-only
/*
 * PV EOI: a guest that ends an interrupt by clearing a bit in its memory, and no exit. The
 * bit is set for interrupts that nobody else waits for the end of, in the guest only; none
 * is lost, whatever becomes of the memory.
 */
#define _GNU_SOURCE
#include <kselftest_harness.h>

#include <pthread.h>
#include <sys/mman.h>

#include "guest.h"
#include "test_vm.h"

#define MSR_KVM_PV_EOI_EN	0x4b564d04
#define KVM_CPUID_FEATURES	0x40000001
#define FEATURE_PV_EOI		6

#define EOI_BYTE		GUEST_SCRATCH
#define EOI_SLOT		0x2000000UL	/* a slot of its own for the byte */
#define IOAPIC_BASE		0xfec00000UL
#define GSI			20		/* of the IOAPIC only */
#define LOW			0x40
#define HIGH			0x80
#define ICR_SELF		(1U << 18 | 1U << 14)
#define ICR_INIT_TO_SECOND	(1U << 14 | 5U << 8)
#define TIMES			1000
#define MANY			50000000

static volatile u64 byte_gpa;
static volatile bool x2apic;
static volatile u32 stage;
static volatile u32 offered, counts[256];

static void apic_write(u32 reg, u32 v)
{
	guest_apic_write(x2apic, reg, v);
}

static u32 apic_read(u32 reg)
{
	return (u32)guest_apic_read(x2apic, reg);
}

static bool in_service(u8 vector)
{
	return apic_read(APIC_ISR + vector / 32 * 16) >> vector % 32 & 1;
}

/* True when that was the EOI. */
static bool end_in_memory(void)
{
	bool was;

	asm volatile("btrl $0, %0" : "+m"(VOLATILE(u32, byte_gpa)), "=@ccc"(was) : : "memory");
	return was;
}

static void end(struct guest_regs *regs)
{
	counts[regs->vector & 0xff]++;
	if (end_in_memory())
		offered++;
	else
		apic_write(APIC_EOI, 0);
}

static void enable(u64 gpa)
{
	byte_gpa = gpa;
	VOLATILE(u32, gpa) = 0;
	if (x2apic)
		wrmsr(MSR_APICBASE, rdmsr(MSR_APICBASE) | 1 << 10);
	apic_write(APIC_SPIV, 0x1ff);
	GUEST_ASSERT_EQ(GUEST_NO_FAULT, wrmsr_try(MSR_KVM_PV_EOI_EN, gpa | 1));
}

FIXTURE(eoi) {
	struct test_vm vm;
	struct test_vcpu vcpu[2];
	pthread_t thread;
};

FIXTURE_SETUP(eoi)
{
	guest_handlers[LOW] = end;
	guest_handlers[HIGH] = end;
	vm_create(&self->vm);
	vm_create_irqchip(&self->vm);
	vcpu_create(&self->vm, &self->vcpu[0], 0);
	vcpu_create(&self->vm, &self->vcpu[1], 1);
	vcpu_set_supported_cpuid(&self->vcpu[0]);
}

FIXTURE_TEARDOWN(eoi)
{
	vcpu_destroy(&self->vcpu[1]);
	vcpu_destroy(&self->vcpu[0]);
	vm_destroy(&self->vm);
}

TEST_F(eoi, msr)
{
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + 4096);
	struct test_vcpu *vcpu = &self->vcpu[0];
	int device = device_open();
	struct kvm_cpuid2 *cpuid;
	bool listed = false;
	u32 i;

	cpuid = cpuid_supported(device);
	ASSERT_TRUE(cpuid_find(cpuid, KVM_CPUID_FEATURES, 0)->eax & 1 << FEATURE_PV_EOI);
	free(cpuid);
	list->nmsrs = 1024;
	dev_ioctl(device, KVM_GET_MSR_INDEX_LIST, list);
	for (i = 0; i < list->nmsrs; i++)
		listed |= list->indices[i] == MSR_KVM_PV_EOI_EN;
	ASSERT_TRUE(listed);
	free(list);
	close(device);

	ASSERT_EQ(0, vcpu_get_msr(vcpu, MSR_KVM_PV_EOI_EN));
	vcpu_set_msr(vcpu, MSR_KVM_PV_EOI_EN, EOI_BYTE | 1);
	ASSERT_EQ(EOI_BYTE | 1, vcpu_get_msr(vcpu, MSR_KVM_PV_EOI_EN));
	/* Not a multiple of 4; no memory there, which counts only when it is on. */
	ASSERT_EQ(0, __vcpu_set_msr(vcpu, MSR_KVM_PV_EOI_EN, EOI_BYTE | 3));
	ASSERT_EQ(0, __vcpu_set_msr(vcpu, MSR_KVM_PV_EOI_EN, EOI_BYTE | 2));
	ASSERT_EQ(0, __vcpu_set_msr(vcpu, MSR_KVM_PV_EOI_EN, GUEST_HOLE | 1));
	ASSERT_EQ(0, __vcpu_set_msr(vcpu, MSR_KVM_PV_EOI_EN, ~3UL | 1));
	vm_set_slot(&self->vm, 1, KVM_MEM_READONLY, EOI_SLOT, TEST_PAGE_SIZE, self->vm.mem);
	ASSERT_EQ(0, __vcpu_set_msr(vcpu, MSR_KVM_PV_EOI_EN, EOI_SLOT | 1));
	ASSERT_EQ(EOI_BYTE | 1, vcpu_get_msr(vcpu, MSR_KVM_PV_EOI_EN));
	ASSERT_EQ(1, __vcpu_set_msr(vcpu, MSR_KVM_PV_EOI_EN, GUEST_HOLE));
	ASSERT_EQ(GUEST_HOLE, vcpu_get_msr(vcpu, MSR_KVM_PV_EOI_EN));
}

static void init_second(u64 arg __maybe_unused)
{
	xapic_write(APIC_SPIV, 0x1ff);
	xapic_write(APIC_ICR2, 1 << 24);
	xapic_write(APIC_ICR, ICR_INIT_TO_SECOND);
}

TEST_F(eoi, init)
{
	struct test_vcpu *second = &self->vcpu[1];
	struct kvm_mp_state mp = { .mp_state = KVM_MP_STATE_RUNNABLE };

	vcpu_ioctl(second, KVM_SET_MP_STATE, &mp);
	vcpu_set_msr(second, MSR_KVM_PV_EOI_EN, EOI_BYTE | 1);
	vcpu_setup_long(&self->vcpu[0], init_second, 0);
	vcpu_run_to_done(&self->vcpu[0]);
	vcpu_ioctl(second, KVM_GET_MP_STATE, &mp);
	ASSERT_EQ(KVM_MP_STATE_INIT_RECEIVED, mp.mp_state);
	ASSERT_EQ(0, vcpu_get_msr(second, MSR_KVM_PV_EOI_EN));
}

#define PATIENCE	(10UL * 2600000000UL)	/* cycles, about */

/* One too many would be as bad as one too few. */
static void await(u32 n)
{
	u64 start = rdtsc();

	while (counts[HIGH] != n) {
		guest_relax();
		if (rdtsc() - start > PATIENCE)
			GUEST_ASSERT_EQ(n, counts[HIGH]);
	}
}

static void interrupt_self(u64 gpa)
{
	u32 i;

	enable(gpa);
	guest_sti();
	for (i = 1; i <= TIMES; i++) {
		apic_write(APIC_ICR, ICR_SELF | HIGH);
		await(i);
	}
	GUEST_ASSERT(!in_service(HIGH));
	/* And no longer. */
	wrmsr(MSR_KVM_PV_EOI_EN, 0);
	offered = 0;
	apic_write(APIC_ICR, ICR_SELF | HIGH);
	await(i);
	GUEST_ASSERT_EQ(0, offered);
}

FIXTURE(mode) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

FIXTURE_VARIANT(mode) {
	bool x2apic;
};

FIXTURE_VARIANT_ADD(mode, xapic) {};
FIXTURE_VARIANT_ADD(mode, x2apic) { .x2apic = true };

FIXTURE_SETUP(mode)
{
	guest_handlers[HIGH] = end;
	x2apic = variant->x2apic;
	vm_create(&self->vm);
	vm_create_irqchip(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
	vcpu_set_supported_cpuid(&self->vcpu);
}

FIXTURE_TEARDOWN(mode)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

/* Where it does the EOI itself, without an exit, nobody has to offer anything. */
static bool cpu_works_x2apic(void)
{
	const char *name = test_device_is_kvm() ? "/sys/module/kvm_intel/parameters/enable_apicv" :
						  "/sys/module/lodge/parameters/apicv";
	int fd = open(name, O_RDONLY);
	char c = 0;

	if (fd >= 0) {
		if (read(fd, &c, 1) != 1)
			c = 0;
		close(fd);
	}
	return c == '1' || c == 'Y';
}

static volatile u64 min_offers;

static void count_offers(u64 gpa)
{
	u32 i;

	enable(gpa);
	guest_sti();
	for (i = 1; i <= TIMES; i++) {
		apic_write(APIC_ICR, ICR_SELF | HIGH);
		while (counts[HIGH] != i)
			guest_relax();
	}
	/* But for the few that something else came between: the more, the slower the host is. */
	GUEST_ASSERT(offered >= min_offers);
}

TEST_F(mode, self)
{
	if (!variant->x2apic || !cpu_works_x2apic())
		guest_var(&self->vm, min_offers) = test_slowness() > 1 ? 1 : TIMES * 9 / 10;
	vcpu_setup_long(&self->vcpu, count_offers, EOI_BYTE);
	vcpu_run_to_done(&self->vcpu);
	guest_var(&self->vm, counts)[HIGH] = 0;
	vcpu_setup_long(&self->vcpu, interrupt_self, EOI_BYTE);
	vcpu_run_to_done(&self->vcpu);
}

/* While a lower one waits, the end of the higher one has to be seen. */
static void both_at_once(u64 arg __maybe_unused)
{
	enable(EOI_BYTE);
	guest_cli();
	xapic_write(APIC_ICR, ICR_SELF | LOW);
	xapic_write(APIC_ICR, ICR_SELF | HIGH);
	guest_irq_window();
	guest_irq_window();
	GUEST_ASSERT_EQ(1, counts[HIGH]);
	GUEST_ASSERT_EQ(1, counts[LOW]);
	GUEST_ASSERT(!in_service(LOW) && !in_service(HIGH));
}

static void end_high(struct guest_regs *regs __maybe_unused)
{
	counts[HIGH]++;
	GUEST_ASSERT(!end_in_memory());
	xapic_write(APIC_EOI, 0);
}

TEST_F(eoi, one_waits)
{
	guest_var(&self->vm, guest_handlers)[HIGH] = end_high;
	vcpu_setup_long(&self->vcpu[0], both_at_once, 0);
	vcpu_run_to_done(&self->vcpu[0]);
}

/* One that comes while the handler runs takes the offer back. */
static void wait_for_second(struct guest_regs *regs __maybe_unused)
{
	u32 i;

	counts[HIGH]++;
	stage = VOLATILE(u32, EOI_BYTE) & 1 ? 2 : 1;
	for (i = 0; i < MANY && VOLATILE(u32, EOI_BYTE) & 1; i++)
		;
	GUEST_ASSERT(!end_in_memory());
	GUEST_ASSERT(in_service(HIGH));
	while (stage != 3)
		guest_relax();
	apic_write(APIC_EOI, 0);
}

static void take_from_second(u64 arg __maybe_unused)
{
	enable(EOI_BYTE);
	guest_sti();
	xapic_write(APIC_ICR, ICR_SELF | HIGH);
	while (!counts[LOW])
		guest_relax();
	GUEST_ASSERT_EQ(1, counts[HIGH]);
}

static void send_to_first(u64 arg __maybe_unused)
{
	xapic_write(APIC_SPIV, 0x1ff);
	while (!stage)
		guest_relax();
	xapic_write(APIC_ICR2, 0);
	xapic_write(APIC_ICR, 1U << 14 | LOW);
	stage = 3;
}

static void *run_to_done(void *arg)
{
	vcpu_run_to_done((struct test_vcpu *)arg);
	return NULL;
}

TEST_F(eoi, one_comes)
{
	struct kvm_mp_state mp = { .mp_state = KVM_MP_STATE_RUNNABLE };

	guest_var(&self->vm, guest_handlers)[HIGH] = wait_for_second;
	vcpu_setup_long(&self->vcpu[1], send_to_first, 1);
	vcpu_ioctl(&self->vcpu[1], KVM_SET_MP_STATE, &mp);
	ASSERT_EQ(0, pthread_create(&self->thread, NULL, run_to_done, &self->vcpu[1]));
	vcpu_setup_long(&self->vcpu[0], take_from_second, 0);
	vcpu_run_to_done(&self->vcpu[0]);
	ASSERT_EQ(0, pthread_join(self->thread, NULL));
}

static void redirect(u32 pin, u32 low)
{
	VOLATILE(u32, IOAPIC_BASE) = 0x11 + 2 * pin;
	VOLATILE(u32, IOAPIC_BASE + 0x10) = 0;
	VOLATILE(u32, IOAPIC_BASE) = 0x10 + 2 * pin;
	VOLATILE(u32, IOAPIC_BASE + 0x10) = low;
}

/* The IOAPIC waits for the end of a level. */
static void take_gsi(u64 arg __maybe_unused)
{
	enable(EOI_BYTE);
	redirect(GSI, 1 << 15 | HIGH);
	GUEST_SYNC(1);
	guest_irq_window();
	GUEST_ASSERT_EQ(1, counts[HIGH]);
	redirect(GSI, 1 << 16);
	redirect(GSI, LOW);
	for (;;) {
		GUEST_SYNC(2);
		guest_irq_window();
	}
}

TEST_F(eoi, level)
{
	u32 i;

	guest_var(&self->vm, guest_handlers)[HIGH] = end_high;
	vcpu_setup_long(&self->vcpu[0], take_gsi, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu[0]));
	vm_irq_line(&self->vm, GSI, 1);
	vm_irq_line(&self->vm, GSI, 0);
	ASSERT_EQ(2, vcpu_run_to_sync(&self->vcpu[0]));
	/* A fault, the first time, or an interrupt may come between. */
	for (i = 0; i < 10 && !guest_var(&self->vm, offered); i++) {
		vm_irq_line(&self->vm, GSI, 1);
		vm_irq_line(&self->vm, GSI, 0);
		ASSERT_EQ(2, vcpu_run_to_sync(&self->vcpu[0]));
	}
	ASSERT_EQ(i, guest_var(&self->vm, counts)[LOW]);
	ASSERT_EQ(1, guest_var(&self->vm, offered));
}

/* User space finds the truth in the LAPIC, whenever it looks. */
static void sync_then_end(struct guest_regs *regs)
{
	GUEST_SYNC(2);
	end(regs);
	GUEST_SYNC(offered ? 4 : 3);
}

static void interrupt_once(u64 arg __maybe_unused)
{
	enable(EOI_BYTE);
	GUEST_SYNC(1);
	xapic_write(APIC_ICR, ICR_SELF | HIGH);
	guest_irq_window();
	GUEST_SYNC(5);
}

TEST_F(eoi, user_looks)
{
	struct test_vcpu *vcpu = &self->vcpu[0];
	u8 *byte = vm_ptr(&self->vm, EOI_BYTE);
	struct kvm_lapic_state lapic;

	guest_var(&self->vm, guest_handlers)[HIGH] = sync_then_end;
	vcpu_setup_long(vcpu, interrupt_once, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(2, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(0, *byte);
	vcpu_ioctl(vcpu, KVM_GET_LAPIC, &lapic);
	ASSERT_EQ(1, lapic.regs[APIC_ISR + HIGH / 32 * 16]);
	ASSERT_EQ(3, vcpu_run_to_sync(vcpu));
	vcpu_ioctl(vcpu, KVM_GET_LAPIC, &lapic);
	ASSERT_EQ(0, lapic.regs[APIC_ISR + HIGH / 32 * 16]);
	ASSERT_EQ(5, vcpu_run_to_sync(vcpu));
}

/* Ended in memory just before the exit. */
static void end_then_sync(struct guest_regs *regs)
{
	end(regs);
	GUEST_SYNC(offered ? 4 : 3);
}

TEST_F(eoi, user_looks_after)
{
	struct test_vcpu *vcpu = &self->vcpu[0];
	struct kvm_lapic_state lapic;

	guest_var(&self->vm, guest_handlers)[HIGH] = end_then_sync;
	vcpu_setup_long(vcpu, interrupt_once, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	/* 3 should something have come between. */
	ASSERT_GE(4, vcpu_run_to_sync(vcpu));
	vcpu_ioctl(vcpu, KVM_GET_LAPIC, &lapic);
	ASSERT_EQ(0, lapic.regs[APIC_ISR + HIGH / 32 * 16]);
	ASSERT_EQ(5, vcpu_run_to_sync(vcpu));
}

/* What is written for the guest is in the dirty log. */
static void only_look(struct guest_regs *regs __maybe_unused)
{
	if (VOLATILE(u32, EOI_SLOT) & 1)
		offered++;
	xapic_write(APIC_EOI, 0);
	GUEST_ASSERT_EQ(0, VOLATILE(u32, EOI_SLOT) & 1);
}

static void look_again(u64 arg __maybe_unused)
{
	enable(EOI_SLOT);
	for (;;) {
		GUEST_SYNC(1);
		xapic_write(APIC_ICR, ICR_SELF | HIGH);
		guest_irq_window();
	}
}

static u64 take_log(struct test_vm *vm)
{
	u64 bitmap = 0;
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = &bitmap };

	vm_ioctl(vm, KVM_GET_DIRTY_LOG, &log);
	return bitmap;
}

TEST_F(eoi, dirty_log)
{
	struct test_vcpu *vcpu = &self->vcpu[0];
	void *page = mmap(NULL, TEST_PAGE_SIZE, PROT_READ | PROT_WRITE,
			  MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	u32 i;

	ASSERT_NE(MAP_FAILED, page);
	vm_set_slot(&self->vm, 1, KVM_MEM_LOG_DIRTY_PAGES, EOI_SLOT, TEST_PAGE_SIZE, page);
	guest_var(&self->vm, guest_handlers)[HIGH] = only_look;
	vcpu_setup_long(vcpu, look_again, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	ASSERT_EQ(1, take_log(&self->vm));
	/* A fault, the first time, or an interrupt may come between. */
	for (i = 0; i < 10 && !guest_var(&self->vm, offered); i++) {
		take_log(&self->vm);
		ASSERT_EQ(0, take_log(&self->vm));
		ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	}
	ASSERT_EQ(1, guest_var(&self->vm, offered));
	ASSERT_EQ(1, take_log(&self->vm));
}

/*
 * The page goes and comes all the time, with what is in it. Between, the guest gets time to
 * use it, and the more the slower it is: without, no fault would ever end, here or on KVM.
 */
struct taker {
	struct test_vm *vm;
	void *page;
	volatile bool stop;
};

static void *take_away(void *arg)
{
	struct taker *t = arg;
	unsigned int pause = 100;
	u64 count = 0, before;

	while (!t->stop) {
		madvise(t->page, TEST_PAGE_SIZE, MADV_DONTNEED);
		usleep(pause);
		before = count;
		count = guest_var(t->vm, counts)[HIGH];
		if (count != before)
			pause = pause > 200 ? pause / 2 : 100;
		else if (pause < 100000)
			pause *= 2;
	}
	return NULL;
}

TEST_F(eoi, page_comes_and_goes)
{
	struct test_vcpu *vcpu = &self->vcpu[0];
	int fd = memfd_create("eoi", MFD_CLOEXEC);
	struct taker taker = { .vm = &self->vm };
	u32 i;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, TEST_PAGE_SIZE));
	taker.page = mmap(NULL, TEST_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, taker.page);
	vm_set_slot(&self->vm, 1, 0, EOI_SLOT, TEST_PAGE_SIZE, taker.page);
	ASSERT_EQ(0, pthread_create(&self->thread, NULL, take_away, &taker));
	for (i = 0; i < 5; i++) {
		guest_var(&self->vm, counts)[HIGH] = 0;
		vcpu_setup_long(vcpu, interrupt_self, EOI_SLOT);
		vcpu_run_to_done(vcpu);
	}
	taker.stop = true;
	ASSERT_EQ(0, pthread_join(self->thread, NULL));
}

TEST_HARNESS_MAIN
