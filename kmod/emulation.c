// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs the instruction emulator (emulate/) on a vCPU: gives it memory, devices, ports and
 * vector registers, and carries an instruction over the exits to user space that its
 * accesses need. Called by exit handlers and KVM_RUN, on the vCPU's thread.
 */
#include <linux/sched.h>
#include <asm/debugreg.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "kernel_compat.h"
#include "debug.h"
#include "exits.h"
#include "memory.h"
#include "state.h"
#include "trace.h"
#include "vm.h"

/* Between two looks at interrupts; a REP instruction is restarted after that. */
#define REP_LIMIT	1024

/* Length of the part of [addr, addr + len) that lies in one page. */
static u32 in_page(u64 addr, u32 len)
{
	return min_t(u32, len, PAGE_SIZE - (addr & ~PAGE_MASK));
}

static int translate(struct lodge_vcpu *vcpu, u64 linear, u32 access, u64 *gpa)
{
	u32 error;
	int r;

	if (vcpu->st.cpl == 3)
		access |= LODGE_WALK_USER;
	r = lodge_walk(vcpu, linear, access, gpa, &error);
	if (!r)
		return EMUL_DONE;
	if (r < 0)
		return EMUL_AGAIN;
	lodge_queue_page_fault(vcpu, linear, error);
	return EMUL_FAULT;
}

static int op_fetch(void *opaque, u64 linear, u32 size, void *buf)
{
	struct lodge_vcpu *vcpu = opaque;
	u64 gpa;
	int r;

	r = translate(vcpu, linear, LODGE_WALK_EXEC, &gpa);
	if (r == EMUL_DONE && lodge_read_gpa(vcpu->vm, gpa, buf, size))
		r = EMUL_UNHANDLED;
	return r;
}

/* The record of the piece at the cursor, or NULL when this is its first time. */
static struct lodge_fragment *replay(struct lodge_emulation *e)
{
	return e->cursor < e->nr ? &e->fragment[e->cursor++] : NULL;
}

/* The piece at the cursor has to go to user space. */
static int leave_for_user(struct lodge_emulation *e, u64 gpa, u32 len, bool write)
{
	struct lodge_fragment *f = &e->fragment[e->cursor];

	f->gpa = gpa;
	f->len = len;
	e->write = write;
	e->port = false;
	e->done = 0;
	return EMUL_EXIT;
}

#define RECORD_BYTES	sizeof_field(struct lodge_fragment, data)

static_assert(RECORD_BYTES >= EMUL_MAX_ACCESS_BYTES);

/*
 * A batch of string I/O is larger than the record of a piece. In ordinary memory that
 * needs no record: it goes between there and ->io_buf, which nothing else uses until
 * the iteration retires. Anywhere else the batch must be small: execute() tries again.
 */
static int make_small(struct lodge_emulation *e)
{
	e->small = true;
	return EMUL_UNHANDLED;
}

static int read_piece(struct lodge_vcpu *vcpu, u64 gpa, u32 len, void *buf)
{
	struct lodge_emulation *e = &vcpu->emul;
	struct lodge_fragment *f = replay(e);
	bool recorded = len <= RECORD_BYTES;

	if (!f) {
		if (e->nr == LODGE_MAX_FRAGMENTS)
			return EMUL_UNHANDLED;
		f = &e->fragment[e->nr];
		if (lodge_read_gpa(vcpu->vm, gpa, recorded ? f->data : buf, len)) {
			if (!recorded)
				return make_small(e);
			if (lodge_mmio_read(vcpu, gpa, len, f->data))
				return leave_for_user(e, gpa, len, false);
		}
		f->len = len;
		e->cursor = ++e->nr;
	}
	if (f->len != len)
		return EMUL_UNHANDLED;
	if (recorded)
		memcpy(buf, f->data, len);
	return EMUL_DONE;
}

static int write_piece(struct lodge_vcpu *vcpu, u64 gpa, u32 len, const void *buf)
{
	struct lodge_emulation *e = &vcpu->emul;

	if (replay(e))
		return EMUL_DONE;
	if (e->nr == LODGE_MAX_FRAGMENTS)
		return EMUL_UNHANDLED;
	if (lodge_write_gpa(vcpu, gpa, buf, len)) {
		/* Probed before the port was read: the slot went away since. */
		if (len > RECORD_BYTES)
			return EMUL_UNHANDLED;
		if (lodge_mmio_write(vcpu, gpa, len, buf)) {
			memcpy(e->fragment[e->nr].data, buf, len);
			return leave_for_user(e, gpa, len, true);
		}
	}
	e->cursor = ++e->nr;
	return EMUL_DONE;
}

static u32 walk_flags(const struct emul_access *access)
{
	return access->flags & EMUL_ACCESS_WRITE ? LODGE_WALK_WRITE : 0;
}

static int op_read(void *opaque, const struct emul_access *access, void *buf)
{
	struct lodge_vcpu *vcpu = opaque;
	u32 done, len;
	u64 gpa;
	int r;

	for (done = 0; done < access->size; done += len) {
		len = in_page(access->linear + done, access->size - done);
		r = translate(vcpu, access->linear + done, walk_flags(access), &gpa);
		if (r == EMUL_DONE)
			r = read_piece(vcpu, gpa, len, buf + done);
		if (r != EMUL_DONE)
			return r;
	}
	return EMUL_DONE;
}

/* Both pages of a write that crosses are translated before either is written. */
static int op_write(void *opaque, const struct emul_access *access, const void *buf)
{
	struct lodge_vcpu *vcpu = opaque;
	u32 first = in_page(access->linear, access->size);
	u64 gpa[2];
	int r;

	r = translate(vcpu, access->linear, LODGE_WALK_WRITE, &gpa[0]);
	if (r == EMUL_DONE && first < access->size)
		r = translate(vcpu, access->linear + first, LODGE_WALK_WRITE, &gpa[1]);
	if (r == EMUL_DONE)
		r = write_piece(vcpu, gpa[0], first, buf);
	if (r == EMUL_DONE && first < access->size)
		r = write_piece(vcpu, gpa[1], access->size - first, buf + first);
	return r;
}

/* A locked operation on a device, or one that is split, is a plain write, as in KVM. */
static int op_cmpxchg(void *opaque, const struct emul_access *access, const void *old,
		      const void *new)
{
	struct lodge_vcpu *vcpu = opaque;
	u8 expected[16];
	u64 gpa;
	int r;

	if (access->size > sizeof(expected) ||
	    in_page(access->linear, access->size) < access->size)
		return op_write(opaque, access, new);

	r = translate(vcpu, access->linear, LODGE_WALK_WRITE, &gpa);
	if (r != EMUL_DONE)
		return r;
	memcpy(expected, old, access->size);
	r = lodge_cmpxchg_gpa(vcpu, gpa, expected, new, access->size);
	if (r < 0)
		return write_piece(vcpu, gpa, access->size, new);
	return r ? EMUL_AGAIN : EMUL_DONE;
}

static int probe_piece(struct lodge_vcpu *vcpu, u64 linear, bool needs_ram)
{
	u64 gpa;
	int r;

	r = translate(vcpu, linear, LODGE_WALK_WRITE, &gpa);
	if (r == EMUL_DONE && needs_ram && !lodge_gpa_writable(vcpu->vm, gpa))
		r = make_small(&vcpu->emul);
	return r;
}

static int op_probe_write(void *opaque, u64 linear, u32 size)
{
	struct lodge_vcpu *vcpu = opaque;
	u32 first = in_page(linear, size);
	int r;

	r = probe_piece(vcpu, linear, size > RECORD_BYTES);
	if (r == EMUL_DONE && first < size)
		r = probe_piece(vcpu, linear + first, size > RECORD_BYTES);
	return r;
}

/* Hands a port access to user space, or finds it done. True: go on. */
static bool pio_served(struct lodge_vcpu *vcpu, const struct emul_pio *pio, bool in)
{
	struct lodge_emulation *e = &vcpu->emul;
	struct kvm_run *run = vcpu->run;

	if (replay(e))
		return true;
	e->port = true;
	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
	run->io.size = pio->size;
	run->io.port = pio->port;
	run->io.count = pio->count;
	run->io.data_offset = LODGE_PIO_PAGE * PAGE_SIZE;
	return false;
}

/* ->io_buf is the page shared with user space, so there is nothing to copy for that. */
static int op_pio_in(void *opaque, const struct emul_pio *pio, void *buf)
{
	struct lodge_vcpu *vcpu = opaque;
	u32 i;

	if (vcpu->emul.cursor == vcpu->emul.nr) {
		for (i = 0; i < pio->count; i++)
			if (lodge_port_read(vcpu, pio->port, pio->size, buf + i * pio->size))
				break;
		if (i == pio->count) {
			/* A record, too: the port must not be read again. */
			vcpu->emul.cursor = ++vcpu->emul.nr;
			return EMUL_DONE;
		}
	}
	if (!pio_served(vcpu, pio, true))
		return EMUL_EXIT;
	if (buf != vcpu->pio_data)
		memcpy(buf, vcpu->pio_data, pio->size * pio->count);
	return EMUL_DONE;
}

static int port_write_from(struct lodge_vcpu *vcpu, const struct emul_pio *pio, const void *buf)
{
	u32 value = 0;

	memcpy(&value, buf, pio->size);
	return lodge_port_write(vcpu, pio->port, pio->size, value);
}

/* User space gets what the kernel does not take: all, or the rest when a ring is full. */
static int op_pio_out(void *opaque, const struct emul_pio *pio, const void *buf)
{
	struct lodge_vcpu *vcpu = opaque;
	struct emul_pio rest = *pio;

	if (vcpu->emul.cursor == vcpu->emul.nr) {
		while (rest.count && !port_write_from(vcpu, pio, buf)) {
			buf += pio->size;
			rest.count--;
		}
		if (!rest.count)
			return EMUL_DONE;
		/* They may be one. */
		memmove(vcpu->pio_data, buf, rest.size * rest.count);
	}
	return pio_served(vcpu, &rest, false) ? EMUL_DONE : EMUL_EXIT;
}

static void op_segment(void *opaque, unsigned int index, struct kvm_segment *segment)
{
	struct lodge_vcpu *vcpu = opaque;

	*segment = vcpu->st.seg[index];
}

static void op_vec_read(void *opaque, unsigned int reg, void *buf)
{
	lodge_fpu_read_reg(opaque, reg, buf, 32);
}

static void op_vec_write(void *opaque, unsigned int reg, const void *buf, unsigned int size)
{
	lodge_fpu_write_reg(opaque, reg, buf, size, size == 32);
}

static void op_retire(void *opaque)
{
	struct lodge_vcpu *vcpu = opaque;

	vcpu->emul.nr = 0;
	vcpu->emul.cursor = 0;
}

static const struct emul_ops emul_ops = {
	.fetch = op_fetch,
	.read = op_read,
	.write = op_write,
	.exchange = op_cmpxchg,
	.probe_write = op_probe_write,
	.pio_in = op_pio_in,
	.pio_out = op_pio_out,
	.segment = op_segment,
	.vec_read = op_vec_read,
	.vec_write = op_vec_write,
	.retire = op_retire,
};

/* Real and virtual-8086 mode run 16-bit code whatever CS.D says. */
static enum emul_mode code_size(const struct lodge_vcpu *vcpu)
{
	const struct kvm_segment *cs = &vcpu->st.seg[LODGE_CS];

	if (!(vcpu->st.cr0 & X86_CR0_PE) || (vcpu->st.rflags & X86_EFLAGS_VM))
		return EMUL_MODE_16;
	if (lodge_is_64bit(vcpu))
		return EMUL_MODE_64;
	return cs->db ? EMUL_MODE_32 : EMUL_MODE_16;
}

void lodge_emul_ctxt(struct lodge_vcpu *vcpu, struct emul_ctxt *ctxt)
{
	lodge_state_get(vcpu, LODGE_ST_SEGS | LODGE_ST_CRS);
	*ctxt = (struct emul_ctxt) {
		.ops = &emul_ops,
		.opaque = vcpu,
		.regs = &vcpu->st.regs,
		.mode = code_size(vcpu),
		.cpl = vcpu->st.cpl,
		.cr0 = vcpu->st.cr0,
		.cr4 = vcpu->st.cr4,
		.xcr0 = vcpu->st.xcr0,
		.efer = vcpu->st.efer,
		.io_buf = vcpu->pio_data,
		.io_buf_size = PAGE_SIZE,
		/* A step is one iteration. */
		.rep_limit = lodge_is_stepped(vcpu) ? 1 : REP_LIMIT,
	};
}

/*
 * The emulator does not know this one: user space gets the bytes, and what the CPU said
 * of the exit behind them. Code at CPL 3 gets a #UD instead, unless user space wants all.
 */
static int emulation_failure(struct lodge_vcpu *vcpu, const struct emul_insn *insn)
{
	const struct lodge_exit *exit = &vcpu->exit;
	struct kvm_run *run = vcpu->run;
	unsigned int n = 1;		/* data[0] is flags */

	vcpu->stats.insn_emulation_fail++;
	/* A VMM that wants to see every failure also decides what comes of it. */
	if (!READ_ONCE(vcpu->vm->exit_on_emulation_failure)) {
		lodge_queue_exception(vcpu, X86_TRAP_UD);
		if (vcpu->st.cpl)
			return LODGE_REENTER;
	}

	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	memset(&run->internal, 0, sizeof(run->internal));
	run->emulation_failure.suberror = KVM_INTERNAL_ERROR_EMULATION;
	if (insn->length) {
		run->emulation_failure.flags =
			KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
		run->emulation_failure.insn_size = insn->length;
		memset(run->emulation_failure.insn_bytes, 0x90,
		       sizeof(run->emulation_failure.insn_bytes));
		memcpy(run->emulation_failure.insn_bytes, insn->bytes, insn->length);
		n += 2;
	}
	run->internal.data[n++] = exit->code;
	run->internal.data[n++] = exit->info1;
	run->internal.data[n++] = exit->info2;
	/* No event was being delivered: two words of 0. */
	run->emulation_failure.ndata = n + 2;
	return LODGE_TO_USER;
}

/* Eight bytes are what one KVM_EXIT_MMIO carries. */
static void exit_mmio(struct lodge_vcpu *vcpu)
{
	struct lodge_emulation *e = &vcpu->emul;
	const struct lodge_fragment *f = &e->fragment[e->nr];
	struct kvm_run *run = vcpu->run;
	u32 len = min(f->len - e->done, 8u);

	run->exit_reason = KVM_EXIT_MMIO;
	vcpu->stats.mmio_exits++;
	run->mmio.phys_addr = f->gpa + e->done;
	run->mmio.len = len;
	run->mmio.is_write = e->write;
	if (e->write)
		memcpy(run->mmio.data, f->data + e->done, len);
}

static int execute(struct lodge_vcpu *vcpu);

/* KVM_RUN after an exit that an access of e->insn caused. */
static int finish_access(struct lodge_vcpu *vcpu)
{
	struct lodge_emulation *e = &vcpu->emul;
	struct lodge_fragment *f = &e->fragment[e->nr];
	u32 len;

	if (!e->port) {
		len = min(f->len - e->done, 8u);
		if (!e->write)
			memcpy(f->data + e->done, vcpu->run->mmio.data, len);
		e->done += len;
		if (e->done < f->len) {
			exit_mmio(vcpu);
			return lodge_leave_unfinished(vcpu, finish_access, 0);
		}
	}
	e->nr++;
	return execute(vcpu);
}

/* Executes e->insn, from the start or with what the record has. */
static int execute(struct lodge_vcpu *vcpu)
{
	struct lodge_emulation *e = &vcpu->emul;
	struct emul_ctxt ctxt;
	u64 rip = vcpu->st.rip;
	enum emul_result r;

	lodge_emul_ctxt(vcpu, &ctxt);
	e->cursor = 0;
	if (e->small)
		ctxt.io_buf_size = RECORD_BYTES;
	r = emul_execute(&ctxt, &e->insn);
	if (r == EMUL_UNHANDLED && e->small && ctxt.io_buf_size > RECORD_BYTES) {
		ctxt.io_buf_size = RECORD_BYTES;
		e->nr = 0;
		e->cursor = 0;
		r = emul_execute(&ctxt, &e->insn);
	}
	trace_lodge_emulate(vcpu->id, rip, e->insn.bytes, e->insn.length, r);
	if (r == EMUL_EXIT) {
		if (!e->port)
			exit_mmio(vcpu);
		return lodge_leave_unfinished(vcpu, finish_access, 0);
	}

	e->nr = 0;
	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	switch (r) {
	case EMUL_DONE:
		vcpu->ev.shadow = 0;
		fallthrough;
	case EMUL_AGAIN:
		if (unlikely(ctxt.single_step || vcpu->debug) && (r == EMUL_DONE || ctxt.retired))
			lodge_stepped(vcpu, ctxt.single_step);
		return LODGE_REENTER;
	case EMUL_EXCEPTION:
		lodge_queue_emul_exception(vcpu, &ctxt.exception);
		return LODGE_REENTER;
	case EMUL_FAULT:
		return LODGE_REENTER;
	default:
		return emulation_failure(vcpu, &e->insn);
	}
}

int lodge_emulate(struct lodge_vcpu *vcpu)
{
	struct lodge_emulation *e = &vcpu->emul;
	struct emul_ctxt ctxt;

	vcpu->stats.insn_emulation++;
	lodge_emul_ctxt(vcpu, &ctxt);
	e->nr = 0;
	e->small = false;
	if (!vcpu->exit.nr_bytes ||
	    emul_decode(&e->insn, vcpu->exit.bytes, vcpu->exit.nr_bytes, ctxt.mode) <= 0) {
		switch (emul_fetch(&ctxt, &e->insn)) {
		case EMUL_DONE:
			break;
		case EMUL_EXCEPTION:
			lodge_queue_emul_exception(vcpu, &ctxt.exception);
			return LODGE_REENTER;
		case EMUL_FAULT:
		case EMUL_AGAIN:
			return LODGE_REENTER;
		default:
			e->insn.length = 0;
			return emulation_failure(vcpu, &e->insn);
		}
	}
	return execute(vcpu);
}
