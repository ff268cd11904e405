// SPDX-License-Identifier: GPL-2.0-only
/*
 * The two 8259A interrupt controllers of a PC and their edge/level registers
 * (Intel 8259A datasheet). Called by routing.c (lines, any context), by the
 * port handlers, and by the vCPU that acknowledges the output.
 *
 * pic.lock, raw and interrupt-safe, guards all state. Callbacks run after it
 * is dropped: what happened is gathered in struct report until then.
 */
#include "irqchip.h"

#define CASCADE		2

#define ICW1		0x10
#define ICW1_IC4	0x01
#define OCW3		0x08
#define OCW3_POLL	0x04
#define OCW3_READ	0x02
#define OCW3_SMM	0x40

static const u8 elcr_mask[2] = { 0xf8, 0xde };

/* What to tell the owner once the lock is dropped; bit per interrupt 0..15. */
struct report {
	bool output;
	u32 acked;
	u32 unmasked;
};

static void send_report(struct pic *s, const struct report *r)
{
	u32 bits;

	for (bits = r->unmasked; bits; bits &= bits - 1)
		s->ops->unmasked(s, __ffs(bits));
	for (bits = r->acked; bits; bits &= bits - 1)
		s->ops->acked(s, __ffs(bits));
	if (r->output)
		s->ops->output(s);
}

/* 0 for the highest of @lines in the chip's present rotation, 8 for none. */
static u32 priority(const struct kvm_pic_state *c, u8 lines)
{
	u32 rotated = (lines | lines << 8) >> c->priority_add & 0xff;

	return rotated ? __ffs(rotated) : 8;
}

static u8 line_at(const struct kvm_pic_state *c, u32 prio)
{
	return (prio + c->priority_add) & 7;
}

/* The line the chip would interrupt with now, or -1. */
static int requested(const struct pic *s, const struct kvm_pic_state *c)
{
	u32 prio = priority(c, c->irr & ~c->imr);
	u8 serving = c->isr;

	if (prio == 8)
		return -1;
	if (c->special_mask)
		serving &= ~c->imr;
	/* The master lets a higher line of the slave interrupt a lower one. */
	if (c->special_fully_nested_mode && c == &s->chip[0])
		serving &= ~BIT(CASCADE);
	return prio < priority(c, serving) ? line_at(c, prio) : -1;
}

/* The slave's output is the master's line 2; the master's is the CPU's. */
static void update(struct pic *s, struct report *r)
{
	bool output;

	if (requested(s, &s->chip[1]) >= 0)
		s->chip[0].irr |= BIT(CASCADE);
	else
		s->chip[0].irr &= ~BIT(CASCADE);
	output = requested(s, &s->chip[0]) >= 0;
	if (output && !s->output)
		r->output = true;
	WRITE_ONCE(s->output, output);
}

static int set_line(struct kvm_pic_state *c, u32 line, bool level)
{
	u8 bit = BIT(line);
	int ret = 1;

	if (!level) {
		if (c->elcr & bit)
			c->irr &= ~bit;
		c->last_irr &= ~bit;
	} else {
		/* An edge-triggered line asks once per rise. */
		if ((c->elcr & bit) || !(c->last_irr & bit)) {
			ret = !(c->irr & bit);
			c->irr |= bit;
		} else {
			ret = 0;
		}
		c->last_irr |= bit;
	}
	return c->imr & bit ? -1 : ret;
}

/**
 * pic_set_irq - one source drives a line up or down
 * @s: the PICs
 * @irq: 0..15
 * @source: IRQ_SOURCE_*: the line is up while any source holds it up
 * @level: up
 *
 * Return: >0 delivered, 0 coalesced with one before, <0 masked.
 */
int pic_set_irq(struct pic *s, u32 irq, u32 source, bool level)
{
	struct report r = { 0 };
	unsigned long flags;
	int ret;

	irq = array_index_nospec(irq, PIC_PINS);
	lodge_spin_lock(&s->lock, flags);
	if (level)
		__set_bit(source, &s->sources[irq]);
	else
		__clear_bit(source, &s->sources[irq]);
	ret = set_line(&s->chip[irq >> 3], irq & 7, s->sources[irq]);
	update(s, &r);
	lodge_spin_unlock(&s->lock, flags);
	send_report(s, &r);
	return ret;
}

static void end(struct pic *s, u32 chip, u32 line, struct report *r)
{
	s->chip[chip].isr &= ~BIT(line);
	r->acked |= BIT(chip * 8 + line);
}

/* The acknowledge cycle of one chip. */
static void acknowledge(struct pic *s, u32 chip, u32 line, struct report *r)
{
	struct kvm_pic_state *c = &s->chip[chip];

	if (!(c->elcr & BIT(line)))
		c->irr &= ~BIT(line);
	c->isr |= BIT(line);
	if (!c->auto_eoi)
		return;
	if (c->rotate_on_auto_eoi)
		c->priority_add = (line + 1) & 7;
	end(s, chip, line, r);
}

/**
 * pic_ack - the CPU acknowledges the output
 * @s: the PICs
 *
 * Return: the vector; that of line 7 when the request is gone by now, as the
 * chip gives it.
 */
int pic_ack(struct pic *s)
{
	struct report r = { 0 };
	unsigned long flags;
	int line, vector;

	lodge_spin_lock(&s->lock, flags);
	line = requested(s, &s->chip[0]);
	if (line == CASCADE) {
		int line2 = requested(s, &s->chip[1]);

		acknowledge(s, 0, CASCADE, &r);
		if (line2 >= 0)
			acknowledge(s, 1, line2, &r);
		else
			line2 = 7;
		vector = s->chip[1].irq_base + line2;
	} else if (line >= 0) {
		acknowledge(s, 0, line, &r);
		vector = s->chip[0].irq_base + line;
	} else {
		vector = s->chip[0].irq_base + 7;
	}
	/* If it is up again already, the owner hears of it as of a rise. */
	WRITE_ONCE(s->output, false);
	update(s, &r);
	lodge_spin_unlock(&s->lock, flags);
	send_report(s, &r);
	return vector;
}

/*
 * ICW1. Edges that wait and interrupts in service are forgotten, so whoever
 * waits for their end is told.
 */
static void start_init(struct pic *s, u32 chip, u8 value, struct report *r)
{
	struct kvm_pic_state *c = &s->chip[chip];

	r->acked |= (u32)((c->irr & ~c->elcr) | c->isr) << chip * 8;
	r->unmasked |= (u32)c->imr << chip * 8;
	c->init4 = value & ICW1_IC4;
	c->init_state = 1;
	c->last_irr = 0;
	c->irr &= c->elcr;
	c->imr = 0;
	c->isr = 0;
	c->priority_add = 0;
	c->special_mask = 0;
	c->read_reg_select = 0;
	c->poll = 0;
	c->rotate_on_auto_eoi = 0;
	c->auto_eoi = 0;
	c->special_fully_nested_mode = 0;
}

static void ocw2(struct pic *s, u32 chip, u8 value, struct report *r)
{
	struct kvm_pic_state *c = &s->chip[chip];
	u32 line = value & 7, prio;

	switch (value >> 5) {
	case 0:	/* rotate in automatic EOI mode: clear */
	case 4:	/* ... set */
		c->rotate_on_auto_eoi = value >> 7;
		break;
	case 1:	/* EOI */
	case 5:	/* EOI and rotate */
		prio = priority(c, c->isr & ~(c->special_mask ? c->imr : 0));
		if (prio == 8)
			break;
		line = line_at(c, prio);
		end(s, chip, line, r);
		if (value >> 7)
			c->priority_add = (line + 1) & 7;
		break;
	case 3:	/* EOI of one line */
		end(s, chip, line, r);
		break;
	case 6:	/* set the lowest line */
		c->priority_add = (line + 1) & 7;
		break;
	case 7:	/* EOI of one line, and rotate */
		end(s, chip, line, r);
		c->priority_add = (line + 1) & 7;
		break;
	}
}

static void write_command(struct pic *s, u32 chip, u8 value, struct report *r)
{
	struct kvm_pic_state *c = &s->chip[chip];

	if (value & ICW1) {
		start_init(s, chip, value, r);
	} else if (value & OCW3) {
		if (value & OCW3_POLL)
			c->poll = 1;
		if (value & OCW3_READ)
			c->read_reg_select = value & 1;
		if (value & OCW3_SMM)
			c->special_mask = (value >> 5) & 1;
	} else {
		ocw2(s, chip, value, r);
	}
}

static void write_data(struct pic *s, u32 chip, u8 value, struct report *r)
{
	struct kvm_pic_state *c = &s->chip[chip];

	switch (c->init_state) {
	case 0:
		r->unmasked |= (u32)(c->imr & (u8)~value) << chip * 8;
		c->imr = value;
		break;
	case 1:
		c->irq_base = value & 0xf8;
		c->init_state = 2;
		break;
	case 2:
		c->init_state = c->init4 ? 3 : 0;
		break;
	default:
		c->special_fully_nested_mode = (value >> 4) & 1;
		c->auto_eoi = (value >> 1) & 1;
		c->init_state = 0;
		break;
	}
}

/* A line that becomes level triggered asks while it is up, and only then. */
static void write_elcr(struct pic *s, u32 chip, u8 value)
{
	struct kvm_pic_state *c = &s->chip[chip];
	u8 changed, line;

	value &= elcr_mask[chip];
	changed = value & ~c->elcr;
	c->elcr = value;
	for (line = 0; line < 8; line++) {
		if ((changed & BIT(line)) && !s->sources[chip * 8 + line])
			c->irr &= ~BIT(line);
	}
}

static u8 poll(struct pic *s, u32 chip, struct report *r)
{
	int line = requested(s, &s->chip[chip]);

	s->chip[chip].poll = 0;
	if (line < 0)
		return 0;
	acknowledge(s, chip, line, r);
	return 0x80 | line;
}

/**
 * pic_io_write - OUT to one of the PICs' ports
 * @s: the PICs
 * @port: the port
 * @len: bytes; only single bytes do anything
 * @value: of which a byte counts
 *
 * Return: 0, or -EOPNOTSUPP when the port is not the PICs'.
 */
int pic_io_write(struct pic *s, u16 port, u32 len, u8 value)
{
	u32 chip = port >= 0x4d0 ? port & 1 : port >> 7;
	struct report r = { 0 };
	unsigned long flags;

	if (!pic_owns_port(port))
		return -EOPNOTSUPP;
	if (len != 1)
		return 0;
	lodge_spin_lock(&s->lock, flags);
	if (port >= 0x4d0)
		write_elcr(s, chip, value);
	else if (port & 1)
		write_data(s, chip, value, &r);
	else
		write_command(s, chip, value, &r);
	update(s, &r);
	lodge_spin_unlock(&s->lock, flags);
	send_report(s, &r);
	return 0;
}

/**
 * pic_io_read - IN from one of the PICs' ports
 * @s: the PICs
 * @port: the port
 * @len: bytes
 * @data: @len bytes; zero unless @len is 1
 *
 * Return: 0, or -EOPNOTSUPP when the port is not the PICs'.
 */
int pic_io_read(struct pic *s, u16 port, u32 len, void *data)
{
	u32 chip = port >= 0x4d0 ? port & 1 : port >> 7;
	struct report r = { 0 };
	struct kvm_pic_state *c;
	unsigned long flags;
	u8 value;

	if (!pic_owns_port(port))
		return -EOPNOTSUPP;
	memset(data, 0, len);
	if (len != 1)
		return 0;
	lodge_spin_lock(&s->lock, flags);
	c = &s->chip[chip];
	if (port >= 0x4d0) {
		value = c->elcr;
	} else if (c->poll) {
		value = poll(s, chip, &r);
		update(s, &r);
	} else if (port & 1) {
		value = c->imr;
	} else {
		value = c->read_reg_select ? c->isr : c->irr;
	}
	lodge_spin_unlock(&s->lock, flags);
	send_report(s, &r);
	*(u8 *)data = value;
	return 0;
}

/* KVM_GET_IRQCHIP. @chip: 0 the master, 1 the slave. */
void pic_get_state(struct pic *s, u32 chip, struct kvm_pic_state *state)
{
	unsigned long flags;

	lodge_spin_lock(&s->lock, flags);
	*state = s->chip[chip & 1];
	lodge_spin_unlock(&s->lock, flags);
}

/* KVM_SET_IRQCHIP. Bits that no chip has are dropped. */
void pic_set_state(struct pic *s, u32 chip, const struct kvm_pic_state *state)
{
	struct kvm_pic_state c = *state;
	struct report r = { 0 };
	unsigned long flags;

	chip &= 1;
	c.priority_add &= 7;
	c.irq_base &= 0xf8;
	c.init_state &= 3;
	c.elcr_mask = elcr_mask[chip];
	c.elcr &= c.elcr_mask;
	lodge_spin_lock(&s->lock, flags);
	s->chip[chip] = c;
	WRITE_ONCE(s->output, false);
	update(s, &r);
	lodge_spin_unlock(&s->lock, flags);
	send_report(s, &r);
}

/* Power-up state. Nothing is masked; the guest's ICWs come first in practice. */
void pic_init(struct pic *s, const struct pic_ops *ops)
{
	memset(s, 0, sizeof(*s));
	lodge_spin_init(&s->lock);
	s->ops = ops;
	s->chip[0].elcr_mask = elcr_mask[0];
	s->chip[1].elcr_mask = elcr_mask[1];
}
