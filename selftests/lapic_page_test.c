// SPDX-License-Identifier: GPL-2.0-only
/*
 * The page of the local APICs' registers, which the CPU itself may work: each vCPU finds
 * its own registers there, or what else is at that address for it, whatever the others
 * do with theirs; and a register does the same whoever is asked for it.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

#define NR		2
#define LVT_PERIODIC	0x20000U
#define LVT_DEADLINE	0x40000U
#define BASE_ENABLE	0x800UL
#define BASE_X2APIC	0x400UL
#define ELSEWHERE	(GUEST_HOLE + 0x100000UL)

FIXTURE(lapic_page) {
	struct test_vm vm;
	struct test_vcpu vcpu[NR];
	void *memory;
};

FIXTURE_SETUP(lapic_page)
{
	struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };
	unsigned int i;

	vm_create(&self->vm);
	vm_create_irqchip(&self->vm);
	for (i = 0; i < NR; i++) {
		vcpu_create(&self->vm, &self->vcpu[i], i);
		vcpu_set_supported_cpuid(&self->vcpu[i]);
		vcpu_ioctl(&self->vcpu[i], KVM_SET_MP_STATE, &runnable);
	}
	self->memory = mmap(NULL, TEST_PAGE_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->memory);
}

FIXTURE_TEARDOWN(lapic_page)
{
	unsigned int i;

	for (i = 0; i < NR; i++)
		vcpu_destroy(&self->vcpu[i]);
	vm_destroy(&self->vm);
	munmap(self->memory, TEST_PAGE_SIZE);
}

/* What a vCPU is to do next, and what came of it. */
static struct {
	volatile u64 set_base;		/* to IA32_APIC_BASE, if not 0 */
	volatile u64 enable;		/* by the SVR, in xAPIC mode */
	volatile u64 address;		/* read from there */
} todo[NR];

static void guest_reads(u64 n)
{
	for (;;) {
		if (todo[n].set_base)
			wrmsr(MSR_APICBASE, todo[n].set_base);
		if (todo[n].enable)
			VOLATILE(u32, (rdmsr(MSR_APICBASE) & ~0xfffUL) + APIC_SPIV) = 0x1ff;
		/* Twice: the second time what was found the first time stands. */
		(void)VOLATILE(u32, todo[n].address);
		GUEST_SYNC(VOLATILE(u32, todo[n].address));
	}
}

#define USER	0x5ea7u		/* what user space answers */

/* What vCPU @n reads at @address, after @set_base. */
static u32 reads(struct test_vm *vm, struct test_vcpu *vcpu, unsigned int n, u64 set_base,
		 bool enable, u64 address)
{
	u32 user = USER;

	guest_var(vm, todo[n].set_base) = set_base;
	guest_var(vm, todo[n].enable) = enable;
	guest_var(vm, todo[n].address) = address;
	for (;;) {
		int ret = __vcpu_run(&vcpu[n]);

		if (ret)
			TEST_DIE("KVM_RUN: %d", ret);
		if (vcpu[n].run->exit_reason != KVM_EXIT_MMIO)
			break;
		memcpy(vcpu[n].run->mmio.data, &user, sizeof(user));
	}
	return (u32)vcpu_guest_call(&vcpu[n])->a;
}

#define READS(n, base, enable, address) \
	reads(&self->vm, self->vcpu, n, base, enable, address)
#define ID(n)		((u32)(n) << 24)
#define APIC_AT(reg)	(XAPIC_BASE + (reg))

TEST_F(lapic_page, each_has_its_own)
{
	u64 base = XAPIC_BASE | BASE_ENABLE;
	u64 bsp = base | 0x100;
	unsigned int n;

	for (n = 0; n < NR; n++)
		vcpu_setup_long_stack(&self->vcpu[n], guest_reads, n,
				      GUEST_STACKS - n * GUEST_STACK_SIZE);
	for (n = 0; n < NR; n++)
		ASSERT_EQ(ID(n), READS(n, 0, true, APIC_AT(APIC_ID)));
	for (n = 0; n < NR; n++)
		ASSERT_EQ(ID(n), READS(n, 0, false, APIC_AT(APIC_ID)));

	/* Another one is disabled: for it there is nothing. */
	ASSERT_EQ(~0U, READS(1, XAPIC_BASE, false, APIC_AT(APIC_ID)));
	EXPECT_EQ(ID(0), READS(0, 0, false, APIC_AT(APIC_ID)));
	EXPECT_EQ(~0U, READS(1, 0, false, APIC_AT(APIC_ID)));
	EXPECT_EQ(ID(1), READS(1, base, true, APIC_AT(APIC_ID)));
	EXPECT_EQ(ID(0), READS(0, 0, false, APIC_AT(APIC_ID)));

	/* ... or elsewhere. */
	EXPECT_EQ(ID(1), READS(1, ELSEWHERE | BASE_ENABLE, true, ELSEWHERE + APIC_ID));
	EXPECT_EQ(USER, READS(1, 0, false, APIC_AT(APIC_ID)));
	EXPECT_EQ(ID(0), READS(0, 0, false, APIC_AT(APIC_ID)));
	EXPECT_EQ(USER, READS(0, 0, false, ELSEWHERE + APIC_ID));
	EXPECT_EQ(ID(1), READS(1, base, true, APIC_AT(APIC_ID)));

	/* ... or has MSRs. */
	EXPECT_EQ(ID(0), READS(0, 0, false, APIC_AT(APIC_ID)));
	EXPECT_EQ(~0U, READS(1, base | BASE_X2APIC, false, APIC_AT(APIC_ID)));
	EXPECT_EQ(ID(0), READS(0, 0, false, APIC_AT(APIC_ID)));
	EXPECT_EQ(~0U, READS(1, 0, false, APIC_AT(APIC_ID)));
	EXPECT_EQ(~0U, READS(0, bsp | BASE_X2APIC, false, APIC_AT(APIC_ID)));
}

/* Where a VMM puts memory in their place, there is memory. */
TEST_F(lapic_page, memory_in_its_place)
{
	unsigned int n;

	if (test_device_is_kvm())
		SKIP(return, "KVM may have a slot of its own there");
	for (n = 0; n < NR; n++) {
		vcpu_setup_long_stack(&self->vcpu[n], guest_reads, n,
				      GUEST_STACKS - n * GUEST_STACK_SIZE);
		ASSERT_EQ(ID(n), READS(n, 0, true, APIC_AT(APIC_ID)));
	}
	ASSERT_EQ(ID(0), READS(0, 0, false, APIC_AT(APIC_ID)));
	*(u32 *)(self->memory + APIC_ID) = 0x11223344;
	vm_set_slot(&self->vm, 7, 0, XAPIC_BASE, TEST_PAGE_SIZE, self->memory);
	for (n = 0; n < NR; n++)
		EXPECT_EQ(0x11223344U, READS(n, 0, false, APIC_AT(APIC_ID)));
	vm_set_slot(&self->vm, 7, 0, XAPIC_BASE, 0, self->memory);
	for (n = 0; n < NR; n++)
		EXPECT_EQ(ID(n), READS(n, 0, false, APIC_AT(APIC_ID)));
}

static void guest_effects(u64 has_errors)
{
	xapic_write(APIC_SPIV, 0x1ff);

	/* Reserved bits, and the one that says that the IPI is on its way. */
	xapic_write(APIC_ICR2, 0x01ffffff);
	GUEST_ASSERT_EQ(xapic_read(APIC_ICR2), 0x01000000);
	xapic_write(APIC_ICR, 0x41000 | 0x61);
	GUEST_ASSERT_EQ(xapic_read(APIC_ICR), 0x40061);
	xapic_write(APIC_LVT1, 0xfff1a0fe);
	GUEST_ASSERT_EQ(xapic_read(APIC_LVT1), 0x1a0fe);
	xapic_write(APIC_DFR, 0);
	GUEST_ASSERT_EQ(xapic_read(APIC_DFR), 0x0fffffff);
	xapic_write(APIC_LDR, 0xffffffff);
	GUEST_ASSERT_EQ(xapic_read(APIC_LDR), 0xff000000);
	/* The version is there to be read only. */
	xapic_write(APIC_LVR, 0);
	GUEST_ASSERT_EQ(xapic_read(APIC_LVR) & 0xff, 0x14);

	/* A change of the timer's mode looks at the old one. */
	xapic_write(APIC_TDCR, 0xfffffff0 | 0xb);
	GUEST_ASSERT_EQ(xapic_read(APIC_TDCR), 0xb);
	xapic_write(APIC_LVTT, 0x10000 | 0x62);
	xapic_write(APIC_TMICT, 0x7fffffff);
	GUEST_ASSERT(xapic_read(APIC_TMCCT) > 0x70000000);
	xapic_write(APIC_LVTT, LVT_PERIODIC | 0x10000 | 0x63);
	GUEST_ASSERT(xapic_read(APIC_TMCCT) > 0x70000000);
	/* The divider changes the rate, not what is left. */
	xapic_write(APIC_TDCR, 0xa);
	GUEST_ASSERT(xapic_read(APIC_TMCCT) > 0x70000000);
	xapic_write(APIC_LVTT, LVT_DEADLINE | 0x10000 | 0x64);
	GUEST_ASSERT_EQ(xapic_read(APIC_TMICT), 0);
	GUEST_ASSERT_EQ(xapic_read(APIC_TMCCT), 0);
	xapic_write(APIC_TMICT, 0x1234);
	GUEST_ASSERT_EQ(xapic_read(APIC_TMICT), 0);

	/* Which accesses are errors, and which only mean nothing. */
	xapic_write(APIC_ESR, 0);
	GUEST_ASSERT_EQ(xapic_read(APIC_EOI), 0);
	xapic_write(APIC_ESR, 0);
	GUEST_ASSERT_EQ(xapic_read(APIC_ESR), 0);
	xapic_write(APIC_ICR, 0x40000 | 0x3);
	GUEST_ASSERT_EQ(xapic_read(APIC_ESR), 0);
	xapic_write(APIC_ESR, 0xff);
	GUEST_ASSERT_EQ(xapic_read(APIC_ESR), has_errors ? 0x20 : 0);
	xapic_write(APIC_ESR, 0);
	GUEST_ASSERT_EQ(xapic_read(APIC_ESR), 0);

	/* Disabled by software, it takes nothing, and its LVT is masked. */
	xapic_write(APIC_LVTERR, 0xfe);
	xapic_write(APIC_SPIV, 0xff);
	GUEST_ASSERT_EQ(xapic_read(APIC_LVTERR), 0x100fe);
	xapic_write(APIC_LVTERR, 0xfe);
	GUEST_ASSERT_EQ(xapic_read(APIC_LVTERR), 0x100fe);
	xapic_write(APIC_ICR, 0x40000 | 0x65);
	GUEST_ASSERT_EQ(xapic_read(APIC_IRR + 0x30) & 0x20, 0);
}

TEST_F(lapic_page, effects)
{
	u64 has_errors = !test_device_is_kvm();	/* KVM's LAPIC knows no illegal vectors */

	vcpu_offer_deadline(&self->vcpu[0]);
	/* Twice: before the other vCPU has its LAPIC enabled, and after. */
	vcpu_setup_long(&self->vcpu[0], guest_effects, has_errors);
	vcpu_run_to_done(&self->vcpu[0]);
	vcpu_setup_long_stack(&self->vcpu[1], guest_reads, 1, GUEST_STACKS - GUEST_STACK_SIZE);
	ASSERT_EQ(ID(1), READS(1, 0, true, APIC_AT(APIC_ID)));
	vcpu_setup_long(&self->vcpu[0], guest_effects, has_errors);
	vcpu_run_to_done(&self->vcpu[0]);
}

static void guest_busy(u64 rounds)
{
	while (rounds--) {
		GUEST_ASSERT_EQ(xapic_read(APIC_ID), 0);
		xapic_write(APIC_TASKPRI, rounds & 0xf0);
		GUEST_ASSERT_EQ(xapic_read(APIC_TASKPRI), rounds & 0xf0);
		xapic_write(APIC_EOI, 0);
	}
}

/* A module parameter, which has the decision when the module is loaded: 0 or 1. */
static bool cpu_works_it(void)
{
	FILE *f = fopen("/sys/module/lodge/parameters/apicv", "r");
	int value = 0;

	if (!f)
		return false;
	if (fscanf(f, "%d", &value) != 1)
		value = 0;
	fclose(f);
	return value > 0;
}

/* Where the CPU works the page, an access does not exit. */
TEST_F(lapic_page, without_exits)
{
	u64 exits;

	vcpu_setup_long_stack(&self->vcpu[1], guest_reads, 1, GUEST_STACKS - GUEST_STACK_SIZE);
	ASSERT_EQ(ID(1), READS(1, 0, true, APIC_AT(APIC_ID)));
	vcpu_setup_long_stack(&self->vcpu[0], guest_reads, 0, GUEST_STACKS);
	ASSERT_EQ(ID(0), READS(0, 0, true, APIC_AT(APIC_ID)));
	vcpu_setup_long(&self->vcpu[0], guest_busy, 1000);
	exits = vcpu_stat(&self->vcpu[0], "exits");
	vcpu_run_to_done(&self->vcpu[0]);
	exits = vcpu_stat(&self->vcpu[0], "exits") - exits;
	if (test_device_is_kvm() || !cpu_works_it())
		SKIP(return, "the CPU does not work local APICs, or is not asked to");
	/* Timer interrupts of the host are among them. */
	EXPECT_GT(1000, exits);
}

/*
 * From before a deadline to behind it, in steps: the timer's mode changes while the host's
 * timer fires. A vCPU that sleeps without an exit has one.
 */
#define DEADLINE_ROUNDS	400
#define DEADLINE_STEP	100

static void guest_changes_mode(u64 early)
{
	u64 n, deadline;

	xapic_write(APIC_SPIV, 0x1ff);
	for (n = 0; n < DEADLINE_ROUNDS; n++) {
		xapic_write(APIC_LVTT, LVT_DEADLINE | 0x10000 | 0x62);
		deadline = rdtsc() + 3 * early;
		wrmsr(MSR_TSC_DEADLINE, deadline);
		while (rdtsc() + early < deadline + n * DEADLINE_STEP)
			;
		xapic_write(APIC_LVTT, LVT_PERIODIC | 0x10000 | 0x63);
		GUEST_ASSERT_EQ(xapic_read(APIC_TMCCT), 0);
	}
}

TEST_F(lapic_page, mode_changes_at_deadline)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_DISABLE_EXITS,
		.args = { KVM_X86_DISABLE_EXITS_HLT },
	};
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_create(&vm);
	if (__vm_ioctl(&vm, KVM_ENABLE_CAP, &cap)) {
		vm_destroy(&vm);
		SKIP(return, "HLT always exits");
	}
	vm_create_irqchip(&vm);
	vcpu_create(&vm, &vcpu, 0);
	vcpu_offer_deadline(&vcpu);
	vcpu_setup_long(&vcpu, guest_changes_mode, DEADLINE_ROUNDS * DEADLINE_STEP / 2);
	vcpu_run_to_done(&vcpu);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

TEST_HARNESS_MAIN
