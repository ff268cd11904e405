/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The interrupt controllers of one VM, wired together: PICs, IOAPIC, PIT, the
 * GSI routing table and the map from APIC ids to local APICs. One struct
 * irqchip is embedded in the VM, one struct lapic in each vCPU.
 *
 * Locks, outermost first; all but ic->mutex are raw and interrupt-safe:
 *
 *   ic->mutex	routing and APIC map replacement; sleeps; ioctls only
 *   ioapic.lock
 *   pic.lock, pit.lock		innermost, never two at once
 *
 * Routing table and APIC map are read under RCU. The only call made with a
 * lock held is IOAPIC -> irqchip_deliver() -> lapic_accept(), which takes
 * none. PIC and PIT call out, and the IOAPIC reports EOIs, after dropping
 * their lock, so an ack notifier may raise or lower any line.
 */
#ifndef LODGE_IRQCHIP_H
#define LODGE_IRQCHIP_H

#include "env.h"
#include "ioapic.h"
#include "lapic.h"
#include "pic.h"
#include "pit.h"

/* Who drives a line: bits in the sources of a pin. KVM's numbers. */
enum {
	IRQ_SOURCE_USER		= 0,	/* KVM_IRQ_LINE, plain irqfds, MSIs */
	IRQ_SOURCE_RESAMPLE	= 1,	/* resample irqfds */
	IRQ_SOURCE_PIT		= 2,
};

#define IRQCHIP_MAX_ROUTES	4096U	/* KVM_CAP_IRQ_ROUTING */
#define IRQCHIP_MAX_APIC_ID	4096U	/* vCPU ids are below */
#define IRQCHIP_BUS_NS		1	/* until it is set otherwise */

/* uapi of Linux 7: numbers that hold on every kernel. */
#ifndef KVM_X2APIC_ENABLE_SUPPRESS_EOI_BROADCAST
#define KVM_X2APIC_ENABLE_SUPPRESS_EOI_BROADCAST	BIT_ULL(2)
#define KVM_X2APIC_DISABLE_SUPPRESS_EOI_BROADCAST	BIT_ULL(3)
#endif
#define IRQCHIP_X2APIC_API	(KVM_X2APIC_API_USE_32BIT_IDS | \
				 KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK | \
				 KVM_X2APIC_ENABLE_SUPPRESS_EOI_BROADCAST | \
				 KVM_X2APIC_DISABLE_SUPPRESS_EOI_BROADCAST)

enum irqchip_kind {
	IRQCHIP_NONE,
	IRQCHIP_KERNEL,		/* PICs, IOAPIC, LAPICs: KVM_CREATE_IRQCHIP */
	IRQCHIP_SPLIT,		/* LAPICs: KVM_CAP_SPLIT_IRQCHIP */
};

enum lapic_event {
	LAPIC_EVENT_NMI,
	LAPIC_EVENT_SMI,
	LAPIC_EVENT_INIT,
	LAPIC_EVENT_SIPI,	/* with its vector */
	LAPIC_EVENT_UNHALT,	/* APIC_REMOTE_READ */
};

/* Split: may the guest keep EOIs from user space's IOAPIC and end them there itself? */
enum directed_eoi {
	DIRECTED_EOI_QUIRK,	/* it is offered, and does nothing, as in KVM */
	DIRECTED_EOI_ON,
	DIRECTED_EOI_OFF,	/* it is not offered */
};

struct irqchip_ops {
	/*
	 * @l has something new in its IRR, or (the accepting vCPU) the PIC
	 * has output: wake or kick its vCPU. Any context, hard interrupt
	 * included; under ioapic.lock or none; also by the vCPU's own thread
	 * when its EOI, TPR or LVT write may have unblocked an interrupt. It
	 * must be a full barrier between IRR and what it reads of the vCPU.
	 */
	void (*kick)(struct lapic *l);
	/*
	 * @l has something new in its ->pid. As for kick; but a CPU that is in the guest with it
	 * takes it there. Only called where somebody gave the LAPIC one.
	 */
	void (*notify)(struct lapic *l);
	/* NMI, SMI, INIT, SIPI for @l: record it and kick. Any context. */
	void (*event)(struct lapic *l, enum lapic_event event, u8 vector);
	/* How many ns it takes until the guest's TSC reads @tsc; 0: it is over. */
	u64 (*ns_until)(struct lapic *l, u64 tsc);
	/*
	 * Will @l's vCPU notice l->tsc_deadline by itself, whenever it is in its guest? May
	 * be NULL: it will not.
	 */
	bool (*watches_deadline)(struct lapic *l);
	/* Split: EOI of a level-triggered vector (KVM_EXIT_IOAPIC_EOI). */
	void (*eoi_exit)(struct lapic *l, u8 vector);
	/* The guest reads or writes the TPR, and user space wants to know. */
	void (*tpr_access)(struct lapic *l, bool write);
	/*
	 * @l is another LAPIC than before to lapic_wants_direct() or lapic_wants_page(), or may
	 * be. On the vCPU's thread, in any tier. May be NULL.
	 */
	void (*mode_changed)(struct lapic *l);
	/* The guest ended @gsi, for resample irqfds. No lock. May be NULL. */
	void (*gsi_acked)(struct irqchip *ic, u32 gsi);
};

struct apic_map;
struct irq_routes;

struct irqchip {
	const struct irqchip_ops *ops;
	void *owner;			/* for the owner's callbacks */
	enum irqchip_kind kind;
	bool has_pit;
	bool pit_acks;			/* mutex: EOIs of GSI 0 are the PIT's */
	struct mutex mutex;		/* guards the replacement of map and routes */
	struct apic_map __rcu *map;
	atomic_t map_gen;		/* changes make older maps slow */
	struct irq_routes __rcu *routes;
	DECLARE_BITMAP(notify_gsi, IRQCHIP_MAX_ROUTES);	/* mutex */
	u32 pic_notify;			/* PIC pins of notify_gsi */
	u32 bus_ns;			/* LAPIC timer: ns per bus cycle; set before a vCPU */
	u32 split_pins;			/* reserved IOAPIC routes when split */
	/* Split: vectors of those routes that are level triggered. */
	DECLARE_BITMAP(split_level, 256);
	bool x2apic_ids;		/* KVM_X2APIC_API_USE_32BIT_IDS */
	bool x2apic_no_quirk;		/* ..._DISABLE_BROADCAST_QUIRK */
	enum directed_eoi directed_eoi;	/* ..._SUPPRESS_EOI_BROADCAST */
	bool lint0_quirk;		/* KVM_X86_QUIRK_LINT0_REENABLED is on */
	atomic_t lint0_nmi;		/* LAPICs that take the PIT as NMI */
	struct pic pic;			/* IRQCHIP_KERNEL only, as is ioapic */
	struct ioapic ioapic;
	struct pit pit;			/* if has_pit */
};

/* irqchip.c: life and wiring */
void irqchip_init(struct irqchip *ic, const struct irqchip_ops *ops);
int irqchip_create(struct irqchip *ic);
int irqchip_create_split(struct irqchip *ic, u32 pins);
int irqchip_create_pit(struct irqchip *ic, u32 flags);
int irqchip_set_x2apic_api(struct irqchip *ic, u64 flags);
void irqchip_destroy(struct irqchip *ic);
bool irqchip_wants_eoi(const struct irqchip *ic, u8 vector);
void irqchip_eoi(struct irqchip *ic, struct lapic *l, u8 vector, bool level);
int irqchip_get_state(struct irqchip *ic, struct kvm_irqchip *chip);
int irqchip_set_state(struct irqchip *ic, const struct kvm_irqchip *chip);
int irqchip_io_read(struct irqchip *ic, u16 port, u32 len, void *data);
int irqchip_io_write(struct irqchip *ic, u16 port, u32 len, u32 value);
int irqchip_mmio_read(struct irqchip *ic, u64 gpa, u32 len, void *data);
int irqchip_mmio_write(struct irqchip *ic, u64 gpa, u32 len, const void *data);

/* Returns false to stop the walk. */
typedef bool (*lapic_fn)(struct lapic *l, void *data);

/* deliver.c: from a message to local APICs */
int irqchip_add_lapic(struct irqchip *ic, struct lapic *l);
int irqchip_deliver(struct irqchip *ic, struct lapic *src,
		    const struct apic_irq *irq);
int irqchip_rebuild_map(struct irqchip *ic);
void irqchip_free_map(struct irqchip *ic);
bool irqchip_map_stale(struct irqchip *ic);
void irqchip_walk_lapics(struct irqchip *ic, lapic_fn fn, void *data);

/* Ids, LDR, DFR or mode of a LAPIC changed. Any context. */
static inline void irqchip_map_changed(struct irqchip *ic)
{
	atomic_inc(&ic->map_gen);
}

/* routing.c: from a GSI or an MSI to a message */
int irqchip_set_irq(struct irqchip *ic, u32 source, u32 gsi, bool level);
int irqchip_send_msi(struct irqchip *ic, u32 address_lo, u32 address_hi,
		     u32 data);
int irqchip_signal_msi(struct irqchip *ic, const struct kvm_msi *msi);
int irqchip_set_routing(struct irqchip *ic,
			const struct kvm_irq_routing_entry *entries, u32 nr,
			u32 flags);
int irqchip_default_routing(struct irqchip *ic, enum irqchip_kind kind);
void irqchip_free_routing(struct irqchip *ic);
int irqchip_pin_to_gsi(struct irqchip *ic, u32 chip, u32 pin);
int irqchip_notify_gsi(struct irqchip *ic, u32 gsi, bool on);
void irqchip_notify_pit(struct irqchip *ic);

static inline bool irqchip_in_kernel(const struct irqchip *ic)
{
	/* Pairs with irqchip_create(): what it set up is seen. */
	return smp_load_acquire(&ic->kind) != IRQCHIP_NONE;
}

/* PICs and the IOAPIC, too. */
static inline bool irqchip_has_chips(const struct irqchip *ic)
{
	/* As above. */
	return smp_load_acquire(&ic->kind) == IRQCHIP_KERNEL;
}

static inline bool irqchip_has_pit(const struct irqchip *ic)
{
	/* Pairs with irqchip_create_pit(). */
	return smp_load_acquire(&ic->has_pit);
}

static inline bool irqchip_owns_port(const struct irqchip *ic, u16 port)
{
	return irqchip_has_chips(ic) &&
	       (pic_owns_port(port) || (irqchip_has_pit(ic) && pit_owns_port(&ic->pit, port)));
}

#endif /* LODGE_IRQCHIP_H */
