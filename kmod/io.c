// SPDX-License-Identifier: GPL-2.0-only
/*
 * Port and memory-mapped I/O of a guest: devices in the kernel first, then ioeventfds,
 * then coalesced zones, then user space. Called on the vCPU's thread; the devices lock themselves.
 */
#include "kernel_compat.h"
#include "exits.h"
#include "state.h"
#include "vm.h"

enum lapic_page { NO_LAPIC_PAGE, LAPIC_REGISTERS, LAPIC_HOLE };

/* Who answers at @gpa? Without its registers there, the quirk leaves a hole. */
static __always_inline enum lapic_page lapic_page(const struct lodge_vcpu *vcpu, u64 gpa)
{
	if (!vcpu->lapic || (gpa & ~0xfffull) != lapic_mmio_base(vcpu->lapic))
		return NO_LAPIC_PAGE;
	if (lapic_mode(vcpu->lapic) == LAPIC_XAPIC)
		return LAPIC_REGISTERS;
	return lodge_has_quirk(vcpu->vm, KVM_X86_QUIRK_LAPIC_MMIO_HOLE) ? LAPIC_HOLE :
									  NO_LAPIC_PAGE;
}

static u64 value_of(const void *data, unsigned int len)
{
	u64 value = 0;

	memcpy(&value, data, min(len, 8u));
	return value;
}

static bool may_go_aside(const struct lodge_vm *vm, enum lodge_bus bus)
{
	return lodge_has_ioeventfds(&vm->eventfds, bus) ||
	       lodge_has_coalesced(&vm->coalesced, bus);
}

/* A write that nobody has to be asked about now. Any tier. */
static bool write_aside(struct lodge_vm *vm, enum lodge_bus bus, u64 addr, unsigned int len,
			u64 value)
{
	return lodge_ioeventfd_write(&vm->eventfds, bus, addr, len, value) ||
	       lodge_coalesced_write(&vm->coalesced, bus, addr, len, value);
}

int lodge_port_read(struct lodge_vcpu *vcpu, u16 port, unsigned int size, void *data)
{
	return irqchip_io_read(&vcpu->vm->ic, port, size, data) ? -ENODEV : 0;
}

int lodge_port_write(struct lodge_vcpu *vcpu, u16 port, unsigned int size, u32 value)
{
	struct lodge_vm *vm = vcpu->vm;

	/* Before any ioeventfd. What it changes about interrupts, the device says itself. */
	if (!irqchip_io_write(&vm->ic, port, size, value))
		return 0;
	return write_aside(vm, LODGE_BUS_PIO, port, size, value) ? 0 : -ENODEV;
}

int lodge_mmio_read(struct lodge_vcpu *vcpu, u64 gpa, unsigned int len, void *data)
{
	struct irqchip *ic = &vcpu->vm->ic;

	switch (lapic_page(vcpu, gpa)) {
	case LAPIC_REGISTERS:
		return lapic_mmio_read(vcpu->lapic, gpa & 0xfff, len, data) ? -ENODEV : 0;
	case LAPIC_HOLE:
		memset(data, 0xff, len);
		return 0;
	case NO_LAPIC_PAGE:
		break;
	}
	if (ic->kind != IRQCHIP_KERNEL)
		return -ENODEV;
	return irqchip_mmio_read(ic, gpa, len, data) ? -ENODEV : 0;
}

int lodge_mmio_write(struct lodge_vcpu *vcpu, u64 gpa, unsigned int len, const void *data)
{
	struct lodge_vm *vm = vcpu->vm;

	switch (lapic_page(vcpu, gpa)) {
	case LAPIC_REGISTERS:
		/* It asks for LODGE_REQ_EVENT itself. */
		return lapic_mmio_write(vcpu->lapic, gpa & 0xfff, len, data) ? -ENODEV : 0;
	case LAPIC_HOLE:
		return 0;
	case NO_LAPIC_PAGE:
		break;
	}
	if (vm->ic.kind == IRQCHIP_KERNEL && !irqchip_mmio_write(&vm->ic, gpa, len, data)) {
		lodge_make_request(vcpu, LODGE_REQ_EVENT);
		return 0;
	}
	if (!may_go_aside(vm, LODGE_BUS_MMIO))
		return -ENODEV;
	return write_aside(vm, LODGE_BUS_MMIO, gpa, len, value_of(data, len)) ? 0 : -ENODEV;
}

/* The end of an interrupt may be waited for on any number of eventfds. */
bool lodge_mmio_write_is_fast(const struct lodge_vcpu *vcpu, u64 gpa)
{
	return offset_in_page(gpa) != LAPIC_EOI ||
	       lapic_page(vcpu, gpa) != LAPIC_REGISTERS || lapic_eoi_is_quiet(vcpu->lapic);
}

/* AL, AX or EAX: a 32-bit result clears the upper half of RAX, the others keep it. */
static void set_rax(struct lodge_vcpu *vcpu, unsigned int size, u32 value)
{
	u64 *rax = &vcpu->st.gpr[0];

	switch (size) {
	case 1:
		*rax = (*rax & ~0xffull) | (u8)value;
		break;
	case 2:
		*rax = (*rax & ~0xffffull) | (u16)value;
		break;
	default:
		*rax = value;
	}
}

/* KVM_RUN after KVM_EXIT_IO: kvm_run->io is what user space has made of it since. */
static int finish_out(struct lodge_vcpu *vcpu)
{
	lodge_retire(vcpu, vcpu->unfinished.next_rip);
	return LODGE_REENTER;
}

static int finish_in(struct lodge_vcpu *vcpu)
{
	u32 value;

	memcpy(&value, vcpu->pio_data, sizeof(value));
	set_rax(vcpu, vcpu->unfinished.size, value);
	return finish_out(vcpu);
}

/* INS or OUTS, with any prefix: the emulator knows the segment, the counts and the faults. */
int lodge_exit_string_pio(struct lodge_vcpu *vcpu)
{
	vcpu->stats.io_exits++;
	return lodge_emulate(vcpu);
}

static u32 out_value(const struct lodge_vcpu *vcpu, unsigned int size)
{
	return vcpu->st.gpr[0] & (~0u >> (32 - 8 * size));
}

/*
 * For user space RIP stays at the instruction until KVM_RUN is called again, as KVM does; at
 * OUT 0x7e it is behind, for VMMs that read it there: KVM_X86_QUIRK_OUT_7E_INC_RIP.
 */
static __always_inline int pio_to_user(struct lodge_vcpu *vcpu, u16 port, unsigned int size,
				       bool in, u64 next_rip)
{
	struct kvm_run *run = vcpu->run;

	if (!in)
		*(u32 *)vcpu->pio_data = out_value(vcpu, size);
	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
	run->io.size = size;
	run->io.port = port;
	run->io.count = 1;
	run->io.data_offset = LODGE_PIO_PAGE * PAGE_SIZE;
	if (unlikely(!in && port == 0x7e) &&
	    lodge_has_quirk(vcpu->vm, KVM_X86_QUIRK_OUT_7E_INC_RIP)) {
		lodge_retire(vcpu, next_rip);
		return LODGE_TO_USER;
	}
	vcpu->unfinished.size = size;
	return lodge_leave_unfinished(vcpu, in ? finish_in : finish_out, next_rip);
}

/* IN or OUT of 1, 2 or 4 bytes that has passed the guest's own permission checks. */
int lodge_exit_pio(struct lodge_vcpu *vcpu, u16 port, unsigned int size, bool in, u64 next_rip)
{
	u32 value = 0;

	vcpu->stats.io_exits++;
	if (in ? lodge_port_read(vcpu, port, size, &value) :
		 lodge_port_write(vcpu, port, size, out_value(vcpu, size)))
		return pio_to_user(vcpu, port, size, in, next_rip);
	if (in)
		set_rax(vcpu, size, value);
	lodge_retire(vcpu, next_rip);
	return LODGE_REENTER;
}

static noinline enum lodge_next pit_access(struct lodge_vcpu *vcpu, u16 port, unsigned int size,
					   bool in, u64 next_rip)
{
	struct pit *pit = &vcpu->vm->ic.pit;

	vcpu->stats.io_exits++;
	if (in)
		set_rax(vcpu, size, pit_io_read(pit, port));
	else
		pit_io_write(pit, port, out_value(vcpu, size));
	lodge_retire(vcpu, next_rip);
	return LODGE_REENTER;
}

/* OUT to a port that no chip has. Apart, so that what goes to user space needs no frame. */
static noinline enum lodge_next out_aside(struct lodge_vcpu *vcpu, u16 port, unsigned int size,
					  u64 next_rip)
{
	if (!write_aside(vcpu->vm, LODGE_BUS_PIO, port, size, out_value(vcpu, size)))
		return pio_to_user(vcpu, port, size, false, next_rip);
	lodge_retire(vcpu, next_rip);
	return LODGE_REENTER;
}

/* Most ports are user space's. A PIC can end an interrupt, which is not for the window. */
enum lodge_next lodge_pio_fast(struct lodge_vcpu *vcpu, u16 port, unsigned int size, bool in,
			       u64 next_rip)
{
	struct lodge_vm *vm = vcpu->vm;

	if (unlikely(irqchip_owns_port(&vm->ic, port)))
		return pic_owns_port(port) ? LODGE_SLOW :
					     pit_access(vcpu, port, size, in, next_rip);
	vcpu->stats.io_exits++;
	if (in || !may_go_aside(vm, LODGE_BUS_PIO))
		return pio_to_user(vcpu, port, size, in, next_rip);
	return out_aside(vcpu, port, size, next_rip);
}
