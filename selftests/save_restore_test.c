// SPDX-License-Identifier: GPL-2.0-only
/*
 * A snapshot: everything that a VMM can read of a running machine is set in another one,
 * in the order of QEMU and in others that respect what depends on what, reads the same
 * there, and the guest goes on as if nothing had happened.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "snapshot.h"
#include "test_vm.h"

#define MSR_STAR		0xc0000081
#define MSR_LSTAR		0xc0000082
#define MSR_CSTAR		0xc0000083
#define MSR_SFMASK		0xc0000084
#define MSR_KERNEL_GS_BASE	0xc0000102
#define MSR_TSC_AUX		0xc0000103
#define MSR_SYSENTER_CS		0x174
#define MSR_SYSENTER_ESP	0x175
#define MSR_SYSENTER_EIP	0x176
#define MSR_PAT			0x277
#define MSR_KVMCLOCK		0x4b564d01
#define MSR_MTRR_VAR(n)		(0x200 + (n))
#define MSR_MTRR_DEF		0x2ff
#define MSR_MC0			0x400

#define PENDING_VECTOR		0x60
#define CLOCK_PAGE		GUEST_SCRATCH
#define IOAPIC			0xfec00000UL
#define TIMER_COUNT		0xfffffff0

#define CR4_OSXSAVE		(1UL << 18)
#define APICBASE_X2APIC		(1UL << 10)

/* What the guest leaves behind and finds again. */
static const struct {
	u32 index;
	u64 value;
} guest_msrs[] = {
	{ MSR_STAR, 0x0023001000000000 },
	{ MSR_LSTAR, 0xffff800000001000 },
	{ MSR_CSTAR, 0xffff800000002000 },
	{ MSR_SFMASK, 0x47700 },
	{ MSR_KERNEL_GS_BASE, 0xffff800000003000 },
	{ MSR_TSC_AUX, 0x1234 },
	{ MSR_SYSENTER_CS, 0x10 },
	{ MSR_SYSENTER_ESP, 0x5000 },
	{ MSR_SYSENTER_EIP, 0x6000 },
	{ MSR_PAT, 0x0007010600070106 },
	{ MSR_MTRR_VAR(0), 0x80000000 },
	{ MSR_MTRR_VAR(1), 0xf80000800 },
	{ MSR_MTRR_DEF, 0xc06 },
	{ MSR_MC0, 0 },
};

static volatile u64 nr_nmis, nr_irqs;

static void on_nmi(struct guest_regs *regs __maybe_unused)
{
	nr_nmis++;
}

static void on_irq(struct guest_regs *regs __maybe_unused)
{
	nr_irqs++;
	guest_apic_write(rdmsr(MSR_APICBASE) & APICBASE_X2APIC, APIC_EOI, 0);
}

static u32 ioapic_read(u32 reg)
{
	VOLATILE(u32, IOAPIC) = reg;
	return VOLATILE(u32, IOAPIC + 0x10);
}

static void ioapic_write(u32 reg, u32 value)
{
	VOLATILE(u32, IOAPIC) = reg;
	VOLATILE(u32, IOAPIC + 0x10) = value;
}

static void guest_setup(bool x2apic)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(guest_msrs); i++)
		wrmsr(guest_msrs[i].index, guest_msrs[i].value);
	wrmsr(MSR_TSC_ADJUST, 0x10000);
	wrmsr(MSR_KVMCLOCK, CLOCK_PAGE | 1);

	write_cr4(read_cr4() | CR4_OSXSAVE);
	asm volatile("xsetbv" : : "a"(3), "d"(0), "c"(0));
	write_cr2(0xdead000);
	/* A breakpoint where nothing is, so that DR7 has something. */
	asm volatile("mov %0, %%dr0\n\tmov %1, %%dr3\n\tmov %2, %%dr7"
		     : : "r"(0x7000UL), "r"(0x8000UL), "r"(0x401UL));

	if (x2apic)
		wrmsr(MSR_APICBASE, rdmsr(MSR_APICBASE) | APICBASE_X2APIC);
	guest_apic_write(x2apic, APIC_SPIV, 0x1ff);
	guest_apic_write(x2apic, APIC_TASKPRI, 0x20);
	guest_apic_write(x2apic, APIC_TDCR, 0xb);
	guest_apic_write(x2apic, APIC_LVTT, 0x20041);
	guest_apic_write(x2apic, APIC_TMICT, TIMER_COUNT);
	ioapic_write(0x10 + 2 * 4, 0x18045);
	ioapic_write(0x11 + 2 * 4, 0x3000000);

	/* The 8259A as a PC has it, with one line open; the PIT as a speaker's. */
	port_out8(0x20, 0x11);
	port_out8(0x21, 0x20);
	port_out8(0x21, 0x04);
	port_out8(0x21, 0x01);
	port_out8(0x21, 0xfb);
	port_out8(0x43, 0xb6);
	port_out8(0x42, 0x34);
	port_out8(0x42, 0x12);
}

static void guest_check(bool x2apic)
{
	u64 dr0, dr3, dr7;
	u32 i, lo, hi;

	for (i = 0; i < ARRAY_SIZE(guest_msrs); i++)
		GUEST_ASSERT_EQ(rdmsr(guest_msrs[i].index), guest_msrs[i].value);
	GUEST_ASSERT_EQ(rdmsr(MSR_TSC_ADJUST), 0x10000);
	asm volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	GUEST_ASSERT_EQ(lo, 3);
	GUEST_ASSERT_EQ(hi, 0);
	GUEST_ASSERT_EQ(read_cr2(), 0xdead000);
	GUEST_ASSERT_EQ(read_cr8(), 2);
	asm volatile("mov %%dr0, %0\n\tmov %%dr3, %1\n\tmov %%dr7, %2"
		     : "=r"(dr0), "=r"(dr3), "=r"(dr7));
	GUEST_ASSERT_EQ(dr0, 0x7000);
	GUEST_ASSERT_EQ(dr3, 0x8000);
	GUEST_ASSERT_EQ(dr7, 0x401);

	GUEST_ASSERT_EQ(guest_apic_read(x2apic, APIC_SPIV), 0x1ff);
	GUEST_ASSERT_EQ(guest_apic_read(x2apic, APIC_LVTT), 0x20041);
	GUEST_ASSERT_EQ(guest_apic_read(x2apic, APIC_TMICT), TIMER_COUNT);
	GUEST_ASSERT(guest_apic_read(x2apic, APIC_TMCCT) != 0);
	GUEST_ASSERT_EQ(ioapic_read(0x10 + 2 * 4), 0x18045);
	GUEST_ASSERT_EQ(ioapic_read(0x11 + 2 * 4), 0x3000000);
	GUEST_ASSERT_EQ(port_in8(0x21), 0xfb);
}

/* Version and system_time of struct pvclock_vcpu_time_info. */
static u64 clock_time(void)
{
	return VOLATILE(u64, CLOCK_PAGE + 16);
}

static void guest_main(u64 x2apic)
{
	double one = 1.0;
	u64 tsc, time, v;
	u32 mxcsr = 0x1fa0;

	guest_setup(x2apic);
	asm volatile("ldmxcsr %0\n\tmovsd %1, %%xmm13\n\tfninit\n\tfldl %1"
		     : : "m"(mxcsr), "m"(one));
	tsc = rdtsc();
	time = clock_time();
	GUEST_SYNC(1);

	GUEST_ASSERT(rdtsc() > tsc);
	GUEST_ASSERT(clock_time() >= time);
	asm volatile("movq %%xmm13, %0" : "=r"(v));
	GUEST_ASSERT_EQ(v, 0x3ff0000000000000);
	asm volatile("fstpl %0" : "=m"(v));
	GUEST_ASSERT_EQ(v, 0x3ff0000000000000);
	asm volatile("stmxcsr %0" : "=m"(mxcsr));
	GUEST_ASSERT_EQ(mxcsr, 0x1fa0);
	guest_check(x2apic);
	/* The NMI needs nothing more, the interrupt does. */
	GUEST_ASSERT_EQ(nr_nmis, 1);
	GUEST_ASSERT_EQ(nr_irqs, 0);
	guest_irq_window();
	GUEST_ASSERT_EQ(nr_irqs, 1);
	GUEST_ASSERT_EQ(nr_nmis, 1);
}

/*
 * What must come before what, in KVM too: the mode of the APIC before its registers, the
 * timer's mode before the deadline, registers before an exception that waits.
 */
static const enum snapshot_item before[][2] = {
	{ SREGS, LAPIC }, { LAPIC, DEADLINE }, { REGS, EVENTS }, { SREGS, EVENTS },
};

/* Where @item may go in @order: everything that it needs is among the first @n. */
static bool may_come(const enum snapshot_item *order, u32 n, enum snapshot_item item)
{
	u32 i, j;

	for (i = 0; i < ARRAY_SIZE(before); i++) {
		if (before[i][1] != item)
			continue;
		for (j = 0; j < n && order[j] != before[i][0]; j++)
			;
		if (j == n)
			return false;
	}
	return true;
}

/* Order 0 is QEMU's; any other number is the seed of a shuffle. */
static void make_order(enum snapshot_item *order, u32 seed)
{
	bool used[NR_ITEMS] = {};
	u32 n = 0, item;

	if (!seed) {
		memcpy(order, snapshot_default_order, sizeof(snapshot_default_order));
		return;
	}
	while (n < NR_ITEMS) {
		seed = seed * 1103515245 + 12345;
		item = (seed >> 16) % NR_ITEMS;
		if (used[item] || !may_come(order, n, item))
			continue;
		used[item] = true;
		order[n++] = item;
	}
}

FIXTURE(snapshot) {
	struct test_vm vm;
	struct test_vcpu vcpu;
	struct snapshot *old, *new;
};

FIXTURE_VARIANT(snapshot) {
	bool x2apic;
};

FIXTURE_VARIANT_ADD(snapshot, xapic) {};
FIXTURE_VARIANT_ADD(snapshot, x2apic) { .x2apic = true };

/* A machine in the middle of things: an NMI and an interrupt wait, timers run. */
FIXTURE_SETUP(snapshot)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = PENDING_VECTOR };

	self->old = calloc(1, sizeof(*self->old));
	self->new = calloc(1, sizeof(*self->new));
	if (!self->old || !self->new)
		TEST_DIE("calloc");
	guest_handlers[2] = on_nmi;
	guest_handlers[PENDING_VECTOR] = on_irq;
	snapshot_make_machine(&self->vm, &self->vcpu);
	vcpu_setup_long(&self->vcpu, guest_main, variant->x2apic);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	/* The OUT has to be finished before the registers mean anything. */
	self->vcpu.run->immediate_exit = 1;
	ASSERT_EQ(-EINTR, __vcpu_run(&self->vcpu));
	self->vcpu.run->immediate_exit = 0;
	ASSERT_EQ(1, __vm_ioctl(&self->vm, KVM_SIGNAL_MSI, &msi));
	ASSERT_EQ(0, __vcpu_ioctl(&self->vcpu, KVM_NMI, 0));
	vcpu_set_msr(&self->vcpu, MSR_MC0 + 4 * 3 + 2, 0xabcd000);
	snapshot_save(&self->vcpu, self->old);
}

FIXTURE_TEARDOWN(snapshot)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
	free(self->old);
	free(self->new);
}

static bool copy_machine(struct __test_metadata *_metadata, struct test_vm *source,
			 struct snapshot *old, struct snapshot *new, u32 seed)
{
	enum snapshot_item order[NR_ITEMS];
	struct test_vcpu vcpu;
	struct test_vm vm;
	bool same;
	u32 i;

	make_order(order, seed);
	snapshot_make_machine(&vm, &vcpu);
	memcpy(vm.mem, source->mem, vm.mem_size);
	for (i = 0; i < NR_ITEMS; i++)
		snapshot_restore(&vcpu, old, order[i]);
	snapshot_save(&vcpu, new);
	same = snapshot_same(old, new);
	EXPECT_TRUE(same);
	vcpu_run_to_done(&vcpu);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
	return same;
}

/* The snapshot itself must not disturb what it is taken of. */
TEST_F(snapshot, source_goes_on)
{
	snapshot_save(&self->vcpu, self->new);
	EXPECT_TRUE(snapshot_same(self->old, self->new));
	vcpu_run_to_done(&self->vcpu);
}

TEST_F(snapshot, qemu_order)
{
	copy_machine(_metadata, &self->vm, self->old, self->new, 0);
}

TEST_F(snapshot, shuffled)
{
	u32 seed;

	for (seed = 1; seed <= 12; seed++) {
		if (!copy_machine(_metadata, &self->vm, self->old, self->new, seed)) {
			TH_LOG("seed %u", seed);
			break;
		}
	}
}

TEST_HARNESS_MAIN
