/* SPDX-License-Identifier: GPL-2.0-only */
/* The two cascaded 8259A interrupt controllers of a PC, with their ELCRs. */
#ifndef LODGE_PIC_H
#define LODGE_PIC_H

#include "env.h"

#define PIC_PINS	16

struct pic;

struct pic_ops {
	/* The output to the CPU rose. Called without a lock. */
	void (*output)(struct pic *s);
	/* The guest ended interrupt @irq (0..15). Called without a lock. */
	void (*acked)(struct pic *s, u32 irq);
	/* The guest unmasked interrupt @irq. Called without a lock. */
	void (*unmasked)(struct pic *s, u32 irq);
};

struct pic {
	struct lodge_spinlock lock;		/* guards all below */
	const struct pic_ops *ops;
	bool output;			/* also read without the lock */
	struct kvm_pic_state chip[2];	/* master, slave */
	unsigned long sources[PIC_PINS];
};

void pic_init(struct pic *s, const struct pic_ops *ops);
int pic_set_irq(struct pic *s, u32 irq, u32 source, bool level);
int pic_ack(struct pic *s);
int pic_io_read(struct pic *s, u16 port, u32 len, void *data);
int pic_io_write(struct pic *s, u16 port, u32 len, u8 value);
void pic_get_state(struct pic *s, u32 chip, struct kvm_pic_state *state);
void pic_set_state(struct pic *s, u32 chip, const struct kvm_pic_state *state);

static inline bool pic_has_output(const struct pic *s)
{
	return READ_ONCE(s->output);
}

static inline bool pic_owns_port(u16 port)
{
	return (port & ~0x81) == 0x20 || (port & ~1) == 0x4d0;
}

#endif /* LODGE_PIC_H */
