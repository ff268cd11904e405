// SPDX-License-Identifier: GPL-2.0-only
/*
 * The in-kernel PIT: creation, state, IRQ 0 by the PIC, channel 2 and the
 * speaker port, latched counts.
 */
#include <kselftest_harness.h>

#include "guest.h"
#include "test_vm.h"

#define PIT_HZ		1193182UL
#define VECTOR		0x68

FIXTURE(pit) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

static volatile u64 ticks;

static void take_tick(struct guest_regs *regs __maybe_unused)
{
	ticks++;
	port_out8(0x20, 0x20);
}

FIXTURE_SETUP(pit)
{
	struct kvm_pit_config config = { .flags = KVM_PIT_SPEAKER_DUMMY };

	vm_create(&self->vm);
	vm_create_irqchip(&self->vm);
	vm_ioctl(&self->vm, KVM_CREATE_PIT2, &config);
	vcpu_create(&self->vm, &self->vcpu, 0);
	guest_var(&self->vm, guest_handlers[VECTOR]) = take_tick;
}

FIXTURE_TEARDOWN(pit)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

TEST(order)
{
	struct kvm_pit_config config = { .flags = 0 };
	struct kvm_pit_state2 state;
	struct test_vm vm;

	memset(&state, 0, sizeof(state));
	vm_create_bare(&vm);
	vm_create_irqchip(&vm);
	EXPECT_EQ(-ENXIO, __vm_ioctl(&vm, KVM_GET_PIT2, &state));
	EXPECT_EQ(-ENXIO, __vm_ioctl(&vm, KVM_SET_PIT2, &state));
	EXPECT_EQ(-EFAULT, __vm_ioctl(&vm, KVM_CREATE_PIT2, 16));
	EXPECT_EQ(0, __vm_ioctl(&vm, KVM_CREATE_PIT2, &config));
	EXPECT_EQ(-EEXIST, __vm_ioctl(&vm, KVM_CREATE_PIT2, &config));
	vm_destroy(&vm);
}

TEST_F(pit, state)
{
	struct kvm_pit_state2 state, again;

	vm_ioctl(&self->vm, KVM_GET_PIT2, &state);
	EXPECT_EQ(1, state.channels[0].gate);
	EXPECT_EQ(0, state.channels[2].gate);
	state.channels[0].mode = 3;
	state.channels[0].count = 0x4000;
	state.channels[0].rw_mode = 3;
	state.channels[2].mode = 2;
	state.channels[2].count = 0x1234;
	state.channels[2].gate = 1;
	ASSERT_EQ(0, __vm_ioctl(&self->vm, KVM_SET_PIT2, &state));
	vm_ioctl(&self->vm, KVM_GET_PIT2, &again);
	EXPECT_EQ(3, again.channels[0].mode);
	EXPECT_EQ(0x4000, again.channels[0].count);
	EXPECT_EQ(3, again.channels[0].rw_mode);
	EXPECT_EQ(2, again.channels[2].mode);
	EXPECT_EQ(0x1234, again.channels[2].count);
	EXPECT_EQ(1, again.channels[2].gate);
}

static void pic_init(void)
{
	port_out8(0x20, 0x11);
	port_out8(0x21, VECTOR);
	port_out8(0x21, 4);
	port_out8(0x21, 1);
	port_out8(0x21, 0xfe);
}

static void guest_ticks(u64 arg __maybe_unused)
{
	u16 count = PIT_HZ / 1000;
	u64 start;

	pic_init();
	start = rdtsc();
	port_out8(0x43, 0x34);		/* channel 0, both bytes, mode 2 */
	port_out8(0x40, (u8)count);
	port_out8(0x40, (u8)(count >> 8));
	while (ticks < 20)
		guest_sti_halt_cli();
	GUEST_SYNC(rdtsc() - start);
	/* One-shot: mode 0 interrupts once. First take what is left over. */
	port_out8(0x43, 0x30);
	port_out8(0x40, 0xff);
	port_out8(0x40, 0xff);
	guest_irq_window();
	guest_irq_window();
	ticks = 0;
	port_out8(0x43, 0x30);
	port_out8(0x40, (u8)count);
	port_out8(0x40, (u8)(count >> 8));
	while (!ticks)
		guest_sti_halt_cli();
	start = rdtsc();
	while (rdtsc() - start < 10000000)
		guest_irq_window();
	GUEST_ASSERT_EQ(ticks, 1);
}

TEST_F(pit, irq0)
{
	int khz = __vcpu_ioctl(&self->vcpu, KVM_GET_TSC_KHZ, 0);
	u64 cycles;

	ASSERT_LT(0, khz);
	vcpu_setup_long(&self->vcpu, guest_ticks, 0);
	cycles = vcpu_run_to_sync(&self->vcpu);
	/* 20 ticks of 1 ms: none of them early, all of them soon. */
	ASSERT_LE(19UL * (u64)khz, cycles);
	ASSERT_GE(2000UL * test_slowness() * (u64)khz, cycles);
	vcpu_run_to_done(&self->vcpu);
}

static void guest_channel2(u64 arg __maybe_unused)
{
	u8 v = port_in8(0x61), w;
	u32 n;

	port_out8(0x61, (v & ~2) | 1);		/* gate on, speaker off */
	GUEST_ASSERT_EQ(port_in8(0x61) & 3, 1);
	port_out8(0x43, 0xb0);			/* channel 2, mode 0 */
	port_out8(0x42, 0x00);
	port_out8(0x42, 0x20);
	GUEST_ASSERT_EQ(port_in8(0x61) & 0x20, 0);
	/* OUT2 goes high when it has run down, in 7 ms. */
	while (!(port_in8(0x61) & 0x20))
		guest_relax();

	/* Bit 4 toggles all the while. */
	w = port_in8(0x61) & 0x10;
	for (n = 0; n < 100000; n++)
		if ((port_in8(0x61) & 0x10) != w)
			break;
	GUEST_ASSERT(n < 100000);
}

TEST_F(pit, channel2)
{
	vcpu_setup_long(&self->vcpu, guest_channel2, 0);
	vcpu_run_to_done(&self->vcpu);
}

static u16 latched(void)
{
	u16 v;

	port_out8(0x43, 0x00);			/* latch channel 0 */
	v = port_in8(0x40);
	return v | (u16)(port_in8(0x40) << 8);
}

static void guest_latch(u64 arg __maybe_unused)
{
	u16 a, b;
	u8 status;
	u32 n;

	port_out8(0x43, 0x34);
	port_out8(0x40, 0x00);
	port_out8(0x40, 0x80);
	a = latched();
	GUEST_ASSERT(a <= 0x8000);
	for (n = 0, b = a; n < 100000 && b == a; n++)
		b = latched();
	GUEST_ASSERT(b != a);
	/* Read-back of the status: mode 2, both bytes, not BCD. */
	port_out8(0x43, 0xe2);
	status = port_in8(0x40);
	GUEST_ASSERT_EQ(status & 0x3f, 0x34);
}

TEST_F(pit, latch)
{
	vcpu_setup_long(&self->vcpu, guest_latch, 0);
	vcpu_run_to_done(&self->vcpu);
}

/* Without the in-kernel speaker port, 0x61 is the VMM's. */
static void guest_port61(u64 arg __maybe_unused)
{
	GUEST_ASSERT_EQ(port_in8(0x61), 0x77);
}

TEST(no_speaker)
{
	struct kvm_pit_config config = { .flags = 0 };
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_create(&vm);
	vm_create_irqchip(&vm);
	vm_ioctl(&vm, KVM_CREATE_PIT2, &config);
	vcpu_create(&vm, &vcpu, 0);
	vcpu_setup_long(&vcpu, guest_port61, 0);
	vcpu_run_expect(&vcpu, KVM_EXIT_IO);
	ASSERT_EQ(0x61, vcpu.run->io.port);
	*(u8 *)io_data(&vcpu) = 0x77;
	vcpu_run_to_done(&vcpu);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

TEST_HARNESS_MAIN
