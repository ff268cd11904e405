// SPDX-License-Identifier: GPL-2.0-only
/*
 * A small machine around the emulator: see emulate_machine.h. Used by the
 * unit tests and fuzzers of the emulator. Single-threaded.
 */
#include <stdio.h>
#include <stdlib.h>
#include "emulate_machine.h"

static int page_of(const struct machine *m, u64 linear)
{
	u64 offset = linear - m->base;

	return offset < MACHINE_BYTES ? (int)(offset / MACHINE_PAGE) : -1;
}

static bool may_access(const struct machine *m, u64 linear, bool write)
{
	int page = page_of(m, linear);

	return page >= 0 && !(write && m->readonly & (1u << page));
}

/* The first byte of @size that faults is what CR2 would show. */
static int check_access(struct machine *m, u64 linear, u32 size, bool write)
{
	u64 last = linear + size - 1;
	u64 fault = linear;

	if (may_access(m, linear, write)) {
		if (may_access(m, last, write))
			return EMUL_DONE;
		fault = last & ~(u64)(MACHINE_PAGE - 1);
	}
	m->fault_address = fault;
	m->fault_write = write;
	return EMUL_FAULT;
}

static bool is_mmio(const struct machine *m, u64 linear, u32 size)
{
	int first = page_of(m, linear), last = page_of(m, linear + size - 1);

	return m->mmio & (1u << first | 1u << last);
}

/* Shall this access wait for user space? It then becomes the pending one. */
static bool must_wait(struct machine *m, unsigned int index, bool mmio)
{
	if (m->record[index].ready || !(mmio || m->exit_mask & (1u << index)))
		return false;
	m->pending = index;
	return true;
}

static struct machine_record *record_of(struct machine *m, unsigned int index)
{
	if (index >= EMUL_MAX_ACCESSES) {
		fprintf(stderr, "access %u: more than the interface allows\n", index);
		abort();
	}
	return &m->record[index];
}

static void forget(void *opaque)
{
	struct machine *m = opaque;
	unsigned int i;

	for (i = 0; i < EMUL_MAX_ACCESSES; i++) {
		m->record[i].ready = false;
		m->record[i].done = false;
	}
}

static int op_fetch(void *opaque, u64 linear, u32 size, void *buf)
{
	struct machine *m = opaque;

	if (linear / MACHINE_PAGE != (linear + size - 1) / MACHINE_PAGE) {
		fprintf(stderr, "fetch crosses a page\n");
		abort();
	}
	if (check_access(m, linear, size, false))
		return EMUL_FAULT;
	memcpy(buf, m->memory + (linear - m->base), size);
	return EMUL_DONE;
}

static int op_read(void *opaque, const struct emul_access *a, void *buf)
{
	struct machine *m = opaque;
	struct machine_record *r = record_of(m, a->index);
	bool mmio;

	if (!r->done) {
		if (check_access(m, a->linear, a->size, a->flags & EMUL_ACCESS_WRITE))
			return EMUL_FAULT;
		mmio = is_mmio(m, a->linear, a->size);
		if (must_wait(m, a->index, mmio))
			return EMUL_EXIT;
		m->mmio_accesses += mmio;
		memcpy(r->data, m->memory + (a->linear - m->base), a->size);
		r->done = true;
	}
	memcpy(buf, r->data, a->size);
	return EMUL_DONE;
}

static int store(struct machine *m, const struct emul_access *a, const void *buf)
{
	struct machine_record *r = record_of(m, a->index);
	bool mmio;

	if (r->done)
		return EMUL_DONE;
	if (check_access(m, a->linear, a->size, true))
		return EMUL_FAULT;
	mmio = is_mmio(m, a->linear, a->size);
	if (must_wait(m, a->index, mmio))
		return EMUL_EXIT;
	m->mmio_accesses += mmio;
	memcpy(m->memory + (a->linear - m->base), buf, a->size);
	r->done = true;
	return EMUL_DONE;
}

static int op_write(void *opaque, const struct emul_access *a, const void *buf)
{
	return store(opaque, a, buf);
}

static int op_cmpxchg(void *opaque, const struct emul_access *a, const void *old, const void *new)
{
	struct machine *m = opaque;

	if (m->contended) {
		m->contended--;
		return EMUL_AGAIN;
	}
	if (check_access(m, a->linear, a->size, true))
		return EMUL_FAULT;
	if (!record_of(m, a->index)->done &&
	    memcmp(m->memory + (a->linear - m->base), old, a->size))
		return EMUL_AGAIN;
	return store(m, a, new);
}

static int op_probe_write(void *opaque, u64 linear, u32 size)
{
	return check_access(opaque, linear, size, true);
}

/* Where the next @bytes at the ports are; begins again at the end. */
static u8 *next_port_bytes(struct machine *m, const struct emul_pio *pio)
{
	u32 bytes = pio->size * pio->count;

	if (m->port_count + bytes > sizeof(m->ports))
		m->port_count = 0;
	m->port_count += bytes;
	m->last_port = *pio;
	return m->ports + m->port_count - bytes;
}

static int op_pio_in(void *opaque, const struct emul_pio *pio, void *buf)
{
	struct machine *m = opaque;
	struct machine_record *r = record_of(m, pio->index);
	u32 bytes = pio->size * pio->count;

	if (!r->done) {
		if (must_wait(m, pio->index, false))
			return EMUL_EXIT;
		memcpy(r->data, next_port_bytes(m, pio), bytes);
		r->done = true;
	}
	memcpy(buf, r->data, bytes);
	return EMUL_DONE;
}

static int op_pio_out(void *opaque, const struct emul_pio *pio, const void *buf)
{
	struct machine *m = opaque;
	struct machine_record *r = record_of(m, pio->index);
	u32 bytes = pio->size * pio->count;

	if (r->done)
		return EMUL_DONE;
	if (must_wait(m, pio->index, false))
		return EMUL_EXIT;
	memcpy(next_port_bytes(m, pio), buf, bytes);
	r->done = true;
	return EMUL_DONE;
}

static void op_segment(void *opaque, unsigned int index, struct kvm_segment *segment)
{
	struct machine *m = opaque;

	*segment = m->segments[index];
}

static void op_vec_read(void *opaque, unsigned int reg, void *buf)
{
	struct machine *m = opaque;

	memcpy(buf, m->vec[reg], sizeof(m->vec[reg]));
}

static void op_vec_write(void *opaque, unsigned int reg, const void *buf, unsigned int size)
{
	struct machine *m = opaque;

	memcpy(m->vec[reg], buf, size);
}

static const struct emul_ops machine_ops = {
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
	.retire = forget,
};

static struct kvm_segment flat_segment(enum emul_mode mode, bool code)
{
	return (struct kvm_segment){
		.limit = mode == EMUL_MODE_16 ? 0xffff : 0xffffffff,
		.type = code ? 11 : 3,
		.present = 1,
		.dpl = 3,
		.s = 1,
		.db = mode == EMUL_MODE_32 || (mode == EMUL_MODE_64 && !code),
		.l = mode == EMUL_MODE_64 && code,
		.g = mode != EMUL_MODE_16,
	};
}

void machine_init(struct machine *m, enum emul_mode mode, u64 base)
{
	unsigned int i;

	memset(m, 0, sizeof(*m));
	for (i = 0; i < EMUL_NR_SEG; i++)
		m->segments[i] = flat_segment(mode, i == EMUL_CS);
	m->base = base;
	m->regs.rflags = 2;
	m->ctxt = (struct emul_ctxt){
		.ops = &machine_ops,
		.opaque = m,
		.regs = &m->regs,
		.mode = mode,
		.cpl = 3,
		.cr0 = 0x80010033,
		.cr4 = 0x406b0,
		.xcr0 = 7,
		.efer = 0xd01,
		.io_buf = m->io_buf,
		.io_buf_size = sizeof(m->io_buf),
		.rep_limit = 1000,
	};
}

void machine_complete(struct machine *m)
{
	m->record[m->pending].ready = true;
}

int machine_execute(struct machine *m, const struct emul_insn *insn)
{
	int ret = emul_execute(&m->ctxt, insn);

	if (ret != EMUL_EXIT)
		forget(m);
	return ret;
}

/* Registers as they were at the last retired iteration. */
static void check_unchanged(const struct machine *m, const struct emul_regs *before)
{
	if (!m->ctxt.retired && memcmp(&m->regs, before, sizeof(*before))) {
		fprintf(stderr, "registers changed at an exit to user space\n");
		abort();
	}
}

int machine_run(struct machine *m, const struct emul_insn *insn)
{
	struct emul_regs before;
	int ret;

	for (;;) {
		before = m->regs;
		ret = machine_execute(m, insn);
		if (ret == EMUL_EXIT) {
			check_unchanged(m, &before);
			machine_complete(m);
		} else if (ret != EMUL_AGAIN) {
			return ret;
		}
	}
}
