// SPDX-License-Identifier: GPL-2.0-only
/*
 * A hardware task switch, done in software: Intel SDM volume 3, "Task Management". Called
 * by the exit handlers of a backend whose CPU leaves a guest's task switches to its
 * hypervisor, on the vCPU's thread after the window. vcpu->mutex guards what it changes.
 */
#include <linux/minmax.h>
#include <linux/mm.h>
#include <asm/debugreg.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "kernel_compat.h"
#include "debug.h"
#include "exits.h"
#include "memory.h"
#include "state.h"

#define TSS_BUSY		2	/* bit of the descriptor's type, */
#define TSS_32BIT		8	/* and another */
#define TSS_BACK_LINK		0
#define TSS_CR3			0x1c
#define TSS_TRAP		0x64
#define TSS_SIZE_32BIT		0x68
#define TSS_SIZE_16BIT		0x2c
/* What a switch away saves: EIP, EFLAGS, eight general registers, the segments. */
#define TSS_WORDS(nr_segs)	(2 + 8 + (nr_segs))
#define TSS_MAX_WORDS		TSS_WORDS(6)

#define TYPE_CODE		8	/* bit of the type of a segment of memory */

#define DESC_TYPE_BYTE		5
#define DESC_PRESENT		BIT_ULL(47)

#define RFLAGS_LOADED		0x3f7fd5u	/* all that are defined */
#define DR7_LOCAL		(DR_LOCAL_ENABLE_MASK | DR_LOCAL_SLOWDOWN)
#define DR6_TASK_SWITCH		BIT_ULL(15)

/*
 * The two forms of a TSS differ in the width of their fields. From EIP on the order is the
 * same: EFLAGS, general registers and segments by their numbers, LDTR.
 */
struct tss_form {
	u8 width;
	u8 eip;		/* offset */
	u8 nr_segs;
	u8 size;
};

static const struct tss_form tss16 = { 2, 0x0e, 4, TSS_SIZE_16BIT };
static const struct tss_form tss32 = { 4, 0x20, 6, TSS_SIZE_32BIT };

struct task_switch {
	struct lodge_vcpu *vcpu;
	const struct lodge_task_switch *cause;
	struct kvm_segment tss;		/* of the new task */
	u32 tss_desc;			/* linear address of its descriptor */
	u8 image[TSS_SIZE_32BIT];
};

/* All steps: 0, 1 when an exception is queued, or an errno for what cannot be done. */

static const struct tss_form *form_of(const struct kvm_segment *tss)
{
	return tss->type & TSS_32BIT ? &tss32 : &tss16;
}

static u32 image_word(const struct task_switch *t, unsigned int n)
{
	const struct tss_form *f = form_of(&t->tss);
	u32 word = 0;

	memcpy(&word, t->image + f->eip + n * f->width, f->width);
	return word;
}

/* As the CPU does for itself, at whatever CPL. Without @buf: would a write fault? */
static int access(struct lodge_vcpu *vcpu, u32 linear, void *buf, u32 len, u32 flags)
{
	u32 part, error;
	u64 gpa;
	int r;

	for (; len; len -= part, linear += part) {
		part = min_t(u32, len, PAGE_SIZE - offset_in_page(linear));
		r = lodge_walk(vcpu, linear, flags, &gpa, &error);
		if (r > 0)
			lodge_queue_page_fault(vcpu, linear, error);
		if (r)
			return r;
		if (!buf)
			continue;
		r = flags & LODGE_WALK_WRITE ? lodge_write_gpa(vcpu, gpa, buf, part) :
					       lodge_read_gpa(vcpu->vm, gpa, buf, part);
		if (r)
			return r;
		buf += part;
	}
	return 0;
}

static int segment_fault(struct task_switch *t, u8 vector, u16 selector)
{
	lodge_queue_exception_error(t->vcpu, vector,
				    (selector & ~3u) | t->cause->external);
	return 1;
}

static int read_descriptor(struct task_switch *t, u16 selector, u8 vector, u64 *desc,
			   u32 *linear)
{
	const struct lodge_state *st = &t->vcpu->st;
	const struct kvm_segment *ldt = &st->seg[LODGE_LDTR];
	u32 base = st->gdt.base, limit = st->gdt.limit, offset = selector & ~7u;

	if (selector & 4) {
		base = ldt->base;
		limit = ldt->unusable || !ldt->present ? 0 : ldt->limit;
	}
	if (offset + 7 > limit)
		return segment_fault(t, vector, selector);
	*linear = base + offset;
	return access(t->vcpu, *linear, desc, sizeof(*desc), 0);
}

static struct kvm_segment to_segment(u16 selector, u64 desc)
{
	u32 limit = (desc & 0xffff) | (desc >> 32 & 0xf0000);
	bool g = desc >> 55 & 1;

	return (struct kvm_segment) {
		.base = (desc >> 16 & 0xffffff) | (desc >> 32 & 0xff000000),
		.limit = g ? limit << 12 | 0xfff : limit,
		.selector = selector,
		.type = desc >> 40 & 15,
		.s = desc >> 44 & 1,
		.dpl = desc >> 45 & 3,
		.present = desc >> 47 & 1,
		.avl = desc >> 52 & 1,
		.l = desc >> 53 & 1,
		.db = desc >> 54 & 1,
		.g = g,
	};
}

/* Writes back the byte of a descriptor that has its type. */
static int write_type(struct task_switch *t, u32 desc, const struct kvm_segment *seg)
{
	u8 byte = seg->type | seg->s << 4 | seg->dpl << 5 | seg->present << 7;

	return access(t->vcpu, desc + DESC_TYPE_BYTE, &byte, 1, LODGE_WALK_WRITE);
}

/*
 * The CPU has checked the privilege level. What else can be wrong with the new TSS is found
 * before anything changes, and so is a page that is missing for what will be written.
 */
static int prepare(struct task_switch *t)
{
	struct lodge_vcpu *vcpu = t->vcpu;
	const struct kvm_segment *old = &vcpu->st.seg[LODGE_TR];
	const struct tss_form *from = form_of(old);
	bool iret = t->cause->source == LODGE_SWITCH_IRET;
	u8 vector = iret ? X86_TRAP_TS : X86_TRAP_GP;
	u16 selector = t->cause->selector;
	u64 desc;
	int r;

	if ((selector & 4) || !(selector & ~7u))
		return segment_fault(t, vector, selector);
	r = read_descriptor(t, selector, vector, &desc, &t->tss_desc);
	if (r)
		return r;
	t->tss = to_segment(selector, desc);
	if (t->tss.s || (t->tss.type & 5) != 1 || !(t->tss.type & TSS_BUSY) == iret)
		return segment_fault(t, vector, selector);
	if (!t->tss.present)
		return segment_fault(t, X86_TRAP_NP, selector);
	if (t->tss.limit < form_of(&t->tss)->size - 1u)
		return segment_fault(t, X86_TRAP_TS, selector);
	if (old->unusable || old->limit < from->size - 1u)
		return segment_fault(t, X86_TRAP_TS, old->selector);

	r = access(vcpu, t->tss.base, t->image, form_of(&t->tss)->size, 0);
	if (!r)
		r = access(vcpu, t->tss.base, NULL, 2, LODGE_WALK_WRITE);
	if (!r)
		r = access(vcpu, t->tss_desc + DESC_TYPE_BYTE, NULL, 1, LODGE_WALK_WRITE);
	if (!r)
		r = access(vcpu, old->base + from->eip, NULL,
			   TSS_WORDS(from->nr_segs) * from->width, LODGE_WALK_WRITE);
	return r;
}

/* The old task's state goes to its TSS. */
static int save_old(struct task_switch *t)
{
	struct lodge_vcpu *vcpu = t->vcpu;
	const struct lodge_state *st = &vcpu->st;
	const struct kvm_segment *old = &st->seg[LODGE_TR];
	const struct tss_form *f = form_of(old);
	u8 image[TSS_MAX_WORDS * 4];
	u32 word[TSS_MAX_WORDS];
	unsigned int i;

	word[0] = t->cause->next_rip;
	word[1] = st->rflags;
	if (t->cause->source == LODGE_SWITCH_IRET)
		word[1] &= ~X86_EFLAGS_NT;
	for (i = 0; i < 8; i++)
		word[2 + i] = st->gpr[i];
	for (i = 0; i < f->nr_segs; i++)
		word[10 + i] = st->seg[i].selector;
	for (i = 0; i < TSS_WORDS(f->nr_segs); i++)
		memcpy(image + i * f->width, &word[i], f->width);
	return access(vcpu, old->base + f->eip, image, i * f->width, LODGE_WALK_WRITE);
}

/* Who is busy, and who is to come back to whom. */
static int mark_tasks(struct task_switch *t)
{
	enum lodge_switch_source source = t->cause->source;
	u16 selector = t->vcpu->st.seg[LODGE_TR].selector;
	struct kvm_segment old;
	u32 old_desc;
	u64 desc;
	int r;

	if (source == LODGE_SWITCH_JMP || source == LODGE_SWITCH_IRET) {
		r = read_descriptor(t, selector, X86_TRAP_TS, &desc, &old_desc);
		if (r)
			return r;
		old = to_segment(selector, desc);
		old.type &= ~TSS_BUSY;
		r = write_type(t, old_desc, &old);
	} else {
		r = access(t->vcpu, t->tss.base + TSS_BACK_LINK, &selector, sizeof(selector),
			   LODGE_WALK_WRITE);
	}
	t->tss.type |= TSS_BUSY;
	if (!r && source != LODGE_SWITCH_IRET)
		r = write_type(t, t->tss_desc, &t->tss);
	return r;
}

static bool fits(const struct kvm_segment *seg, enum lodge_seg n, u8 cpl)
{
	u8 rpl = seg->selector & 3;
	bool code = seg->type & TYPE_CODE, conforming = code && (seg->type & 4);

	if (!seg->s)
		return false;
	if (n == LODGE_CS)
		return code && (conforming ? seg->dpl <= rpl : seg->dpl == rpl);
	if (n == LODGE_SS)
		return !code && (seg->type & 2) && rpl == cpl && seg->dpl == cpl;
	if (code && !(seg->type & 2))
		return false;
	return conforming || max(rpl, cpl) <= seg->dpl;
}

/* The descriptor of a segment into @seg: "Task Switching", what is checked and how. */
static int load_segment(struct task_switch *t, enum lodge_seg n, u8 cpl,
			struct kvm_segment *seg)
{
	u16 selector = t->vcpu->st.seg[n].selector;
	u32 linear;
	u64 desc;
	int r;

	if (!(selector & ~3u)) {
		if (n == LODGE_CS || n == LODGE_SS)
			return segment_fault(t, X86_TRAP_TS, selector);
		*seg = (struct kvm_segment) { .selector = selector, .unusable = 1 };
		return 0;
	}
	r = read_descriptor(t, selector, X86_TRAP_TS, &desc, &linear);
	if (r)
		return r;
	*seg = to_segment(selector, desc);
	if (!fits(seg, n, cpl))
		return segment_fault(t, X86_TRAP_TS, selector);
	if (!seg->present)
		return segment_fault(t, n == LODGE_SS ? X86_TRAP_SS : X86_TRAP_NP, selector);
	if (seg->type & 1)
		return 0;
	seg->type |= 1;
	return write_type(t, linear, seg);
}

static int load_ldt(struct task_switch *t)
{
	struct kvm_segment *ldt = &t->vcpu->st.seg[LODGE_LDTR];
	u16 selector = ldt->selector;
	u32 linear;
	u64 desc;
	int r;

	*ldt = (struct kvm_segment) { .selector = selector, .unusable = 1 };
	if (!(selector & ~3u))
		return 0;
	if (selector & 4)
		return segment_fault(t, X86_TRAP_TS, selector);
	r = read_descriptor(t, selector, X86_TRAP_TS, &desc, &linear);
	if (r)
		return r;
	if ((desc >> 40 & 0x1f) != 2 || !(desc & DESC_PRESENT))
		return segment_fault(t, X86_TRAP_TS, selector);
	*ldt = to_segment(selector, desc);
	return 0;
}

static void load_v8086(struct lodge_state *st)
{
	unsigned int i;

	for (i = LODGE_ES; i <= LODGE_GS; i++)
		st->seg[i] = (struct kvm_segment) {
			.base = st->seg[i].selector << 4,
			.limit = 0xffff,
			.selector = st->seg[i].selector,
			.type = 3, .s = 1, .dpl = 3, .present = 1,
		};
	st->cpl = 3;
}

/*
 * Before anything of the new task can be refused: what is left of the segments then must be
 * fit for the new RFLAGS.VM, or no VM entry takes the exception to the guest. A CS from
 * virtual-8086 mode is data.
 */
static void change_mode(struct lodge_state *st, bool from_v8086)
{
	if (st->rflags & X86_EFLAGS_VM)
		load_v8086(st);
	else if (from_v8086)
		st->seg[LODGE_CS].type |= TYPE_CODE;
}

/*
 * In the new task. A segment that is refused keeps what it had, but for its selector: CS
 * and SS change together, as the CPL is in both.
 */
static int load_segments(struct task_switch *t)
{
	static const u8 data[] = { LODGE_DS, LODGE_ES, LODGE_FS, LODGE_GS };
	struct lodge_state *st = &t->vcpu->st;
	struct kvm_segment cs, ss;
	unsigned int i;
	u8 cpl;
	int r;

	r = load_ldt(t);
	if (r || (st->rflags & X86_EFLAGS_VM))
		return r;
	cpl = st->seg[LODGE_CS].selector & 3;
	r = load_segment(t, LODGE_CS, cpl, &cs);
	if (!r)
		r = load_segment(t, LODGE_SS, cpl, &ss);
	if (r)
		return r;
	st->seg[LODGE_CS] = cs;
	st->seg[LODGE_SS] = ss;
	st->cpl = cpl;
	for (i = 0; i < ARRAY_SIZE(data); i++) {
		r = load_segment(t, data[i], cpl, &ss);
		if (r)
			return r;
		st->seg[data[i]] = ss;
	}
	return 0;
}

/* From here on the guest is in the new task, whatever is wrong with it. */
static int load_new(struct task_switch *t)
{
	struct lodge_vcpu *vcpu = t->vcpu;
	const struct tss_form *f = form_of(&t->tss);
	struct lodge_state *st = &vcpu->st;
	bool from_v8086 = st->rflags & X86_EFLAGS_VM;
	unsigned int i;
	u32 cr3;
	int r;

	st->rip = image_word(t, 0);
	st->rflags = (image_word(t, 1) & RFLAGS_LOADED) | X86_EFLAGS_FIXED;
	if (t->cause->source == LODGE_SWITCH_CALL || t->cause->source == LODGE_SWITCH_GATE)
		st->rflags |= X86_EFLAGS_NT;
	for (i = 0; i < 8; i++)
		st->gpr[i] = image_word(t, 2 + i);
	for (i = 0; i < 6; i++)
		st->seg[i].selector = i < f->nr_segs ? image_word(t, 10 + i) : 0;
	st->seg[LODGE_LDTR].selector = image_word(t, TSS_WORDS(f->nr_segs));
	st->seg[LODGE_TR] = t->tss;
	st->cr0 |= X86_CR0_TS;
	st->dr7 &= ~(u64)DR7_LOCAL;
	change_mode(st, from_v8086);

	if (f == &tss32 && lodge_is_paging(vcpu)) {
		memcpy(&cr3, t->image + TSS_CR3, sizeof(cr3));
		if (lodge_set_cr(vcpu, 3, cr3))
			return segment_fault(t, X86_TRAP_TS, t->tss.selector);
	}
	r = load_segments(t);
	if (!r && st->rip > st->seg[LODGE_CS].limit)
		r = segment_fault(t, X86_TRAP_GP, 0);
	return r;
}

/* The error code of the exception that the new task is the handler of. */
static int push_error(struct task_switch *t)
{
	struct lodge_vcpu *vcpu = t->vcpu;
	struct lodge_state *st = &vcpu->st;
	const struct kvm_segment *ss = &st->seg[LODGE_SS];
	u32 width = form_of(&t->tss)->width;
	u32 mask = ss->db ? ~0u : 0xffff, error = t->cause->error;
	u32 offset = (st->gpr[4] - width) & mask, last = offset + width - 1;
	bool inside = ss->type & 4 ? offset > ss->limit && last <= mask : last <= ss->limit;
	int r;

	if (!inside || last < offset)
		return segment_fault(t, X86_TRAP_SS, 0);
	r = access(vcpu, (u32)ss->base + offset, &error, width,
		   LODGE_WALK_WRITE | (st->cpl == 3 ? LODGE_WALK_USER : 0));
	if (!r)
		st->gpr[4] = (st->gpr[4] & ~(u64)mask) | offset;
	return r;
}

/* The event that led to the switch is delivered, or has become another. */
static void forget_event(struct lodge_events *ev, bool delivered)
{
	if (delivered)
		ev->ex.injected = false;
	ev->irq_injected = false;
	ev->nmi_injected = false;
	ev->soft = false;
}

int lodge_task_switch(struct lodge_vcpu *vcpu, const struct lodge_task_switch *cause)
{
	struct task_switch t = { .vcpu = vcpu, .cause = cause };
	int r;

	lodge_state_edit(vcpu, LODGE_ST_SEGS | LODGE_ST_CRS | LODGE_ST_DRS);
	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	r = prepare(&t);
	if (r == -EAGAIN)
		return LODGE_REENTER;
	if (r < 0)
		goto failed;
	if (cause->source == LODGE_SWITCH_GATE)
		forget_event(&vcpu->ev, !r);
	if (r)
		return LODGE_REENTER;

	r = save_old(&t);
	if (!r)
		r = mark_tasks(&t);
	if (r)
		goto failed;
	vcpu->ev.shadow = 0;
	if (cause->source == LODGE_SWITCH_IRET)
		vcpu->ev.nmi_masked = false;
	r = load_new(&t);
	if (!r && cause->has_error)
		r = push_error(&t);
	if (r < 0)
		goto failed;
	if (r)
		return LODGE_REENTER;
	if (form_of(&t.tss) == &tss32 && (t.image[TSS_TRAP] & 1))
		lodge_queue_debug(vcpu, DR6_TASK_SWITCH);
	if (unlikely(vcpu->debug))
		lodge_stepped(vcpu, false);
	return LODGE_REENTER;

failed:
	return lodge_exit_internal_error(vcpu, KVM_INTERNAL_ERROR_EMULATION,
					 vcpu->exit.code, vcpu->exit.info1);
}
