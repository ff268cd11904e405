/* SPDX-License-Identifier: GPL-2.0-only */
/* The 8254 interval timer of a PC, and port 0x61 with the speaker. */
#ifndef LODGE_PIT_H
#define LODGE_PIT_H

#include "env.h"

#define PIT_HZ		1193182ULL

struct pit;

struct pit_ops {
	/*
	 * One pulse of channel 0's output on IRQ 0. Called without a lock,
	 * in hard interrupt context (the timer) or by a vCPU thread
	 * (re-injection), never twice at once while re-injection is on.
	 */
	void (*pulse)(struct pit *s);
};

struct pit {
	struct lodge_spinlock lock;		/* guards all below; innermost */
	const struct pit_ops *ops;
	struct kvm_pit_channel_state ch[3];
	u32 flags;			/* KVM_PIT_FLAGS_HPET_LEGACY */
	bool speaker_port;		/* port 0x61 is ours */
	bool speaker_on;
	bool reinject;			/* KVM_REINJECT_CONTROL */
	bool unacked;			/* a pulse is out, its ack is not in */
	u32 missed;			/* ticks that wait for that ack */
	bool running;			/* channel 0 drives the timer */
	bool periodic;
	u32 step;			/* clocks between pulses */
	u64 due;			/* next pulse, clocks since the load */
	u64 stopped[3];			/* when the gate fell, ns */
	struct lodge_timer timer;
};

void pit_init(struct pit *s, const struct pit_ops *ops, u32 config_flags);
void pit_destroy(struct pit *s);
u8 pit_io_read(struct pit *s, u16 port);
void pit_io_write(struct pit *s, u16 port, u8 value);
void pit_acked(struct pit *s);
void pit_forget_ticks(struct pit *s);
void pit_set_reinject(struct pit *s, bool reinject);
void pit_get_state(struct pit *s, struct kvm_pit_state2 *state);
int pit_set_state(struct pit *s, const struct kvm_pit_state2 *state);

static inline bool pit_owns_port(const struct pit *s, u16 port)
{
	return (port & ~3) == 0x40 || (s->speaker_port && port == 0x61);
}

#endif /* LODGE_PIT_H */
