// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a VMM saves and restores of a vCPU: registers, segments, debug registers, events
 * and the MP state. Called by vcpu.c, which copies from and to user space. Guarded by
 * vcpu->mutex. Everything is checked before anything changes.
 */
#include <linux/bitmap.h>
#include <linux/string.h>
#include <linux/sched.h>
#include <asm/debugreg.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "backend.h"
#include "debug.h"
#include "events.h"
#include "kernel_compat.h"
#include "state.h"
#include "vm.h"

void __lodge_state_get(struct lodge_vcpu *vcpu, u32 groups)
{
	u32 missing = groups & ~vcpu->st_valid;

	/* What is dirty is newer here than in the control block. */
	missing &= ~vcpu->st_dirty;
	if (missing)
		lodge_backend->fetch(vcpu, missing);
	vcpu->st_valid |= groups;
}

void lodge_get_regs(struct lodge_vcpu *vcpu, struct kvm_regs *regs)
{
	const u64 *gpr = vcpu->st.gpr;

	*regs = (struct kvm_regs) {
		.rax = gpr[0], .rcx = gpr[1], .rdx = gpr[2], .rbx = gpr[3],
		.rsp = gpr[4], .rbp = gpr[5], .rsi = gpr[6], .rdi = gpr[7],
		.r8 = gpr[8], .r9 = gpr[9], .r10 = gpr[10], .r11 = gpr[11],
		.r12 = gpr[12], .r13 = gpr[13], .r14 = gpr[14], .r15 = gpr[15],
		.rip = vcpu->st.rip, .rflags = vcpu->st.rflags,
	};
}

void lodge_set_regs(struct lodge_vcpu *vcpu, const struct kvm_regs *regs)
{
	const u64 gpr[16] = {
		regs->rax, regs->rcx, regs->rdx, regs->rbx,
		regs->rsp, regs->rbp, regs->rsi, regs->rdi,
		regs->r8, regs->r9, regs->r10, regs->r11,
		regs->r12, regs->r13, regs->r14, regs->r15,
	};

	memcpy(vcpu->st.gpr, gpr, sizeof(gpr));
	vcpu->st.rip = regs->rip;
	vcpu->st.rflags = regs->rflags | X86_EFLAGS_FIXED;
	/* An exception not yet delivered belongs to the registers that were replaced. */
	vcpu->ev.ex.pending = false;
	vcpu->ev.soft_sized = false;
	lodge_make_request(vcpu, LODGE_REQ_EVENT);
}

/* struct kvm_sregs and kvm_sregs2 begin alike; the same code serves both. */
static_assert(offsetof(struct kvm_sregs, apic_base) == offsetof(struct kvm_sregs2, apic_base));
static_assert(offsetof(struct kvm_sregs, cr0) == offsetof(struct kvm_sregs2, cr0));
#define SREGS_COMMON	offsetof(struct kvm_sregs, interrupt_bitmap)

static void get_sregs_common(struct lodge_vcpu *vcpu, struct kvm_sregs *sregs)
{
	const struct lodge_state *st = &vcpu->st;

	lodge_state_get(vcpu, LODGE_ST_SEGS | LODGE_ST_CRS);
	sregs->cs = st->seg[LODGE_CS];
	sregs->ds = st->seg[LODGE_DS];
	sregs->es = st->seg[LODGE_ES];
	sregs->fs = st->seg[LODGE_FS];
	sregs->gs = st->seg[LODGE_GS];
	sregs->ss = st->seg[LODGE_SS];
	sregs->tr = st->seg[LODGE_TR];
	sregs->ldt = st->seg[LODGE_LDTR];
	sregs->gdt = st->gdt;
	sregs->idt = st->idt;
	sregs->cr0 = st->cr0;
	sregs->cr2 = st->cr2;
	sregs->cr3 = st->cr3;
	sregs->cr4 = st->cr4;
	sregs->cr8 = lodge_get_cr8(vcpu);
	sregs->efer = st->efer;
	sregs->apic_base = lodge_get_apic_base(vcpu);
}

/*
 * The interrupt whose delivery began, or that KVM_INTERRUPT left: its vector, or -1. An
 * ExtINT that the local APIC holds back is no part of any state, as in KVM.
 */
static int irq_on_its_way(const struct lodge_vcpu *vcpu)
{
	const struct lodge_events *ev = &vcpu->ev;

	if (ev->irq_injected && !ev->irq_soft)
		return ev->irq_vector;
	return vcpu->lapic ? -1 : ev->user_irq;
}

void lodge_get_sregs(struct lodge_vcpu *vcpu, struct kvm_sregs *sregs)
{
	int irq = irq_on_its_way(vcpu);

	memset(sregs, 0, sizeof(*sregs));
	get_sregs_common(vcpu, sregs);
	if (irq >= 0)
		__set_bit(irq, (unsigned long *)sregs->interrupt_bitmap);
}

static bool sregs_valid(struct lodge_vcpu *vcpu, const struct kvm_sregs *sregs)
{
	/* As in KVM, the guest's CPUID is not asked, only what the host can do. */
	const u64 efer_known = EFER_SCE | EFER_LME | EFER_LMA | EFER_NX | EFER_FFXSR;

	if (!lodge_cr0_valid(sregs->cr0) || !lodge_cr4_valid(vcpu, sregs->cr4))
		return false;
	if (sregs->efer & ~efer_known)
		return false;
	if ((sregs->efer & EFER_NX) && !lodge_supports(X86_FEATURE_NX))
		return false;
	if ((sregs->efer & EFER_FFXSR) && !lodge_supports(X86_FEATURE_FXSR_OPT))
		return false;

	if ((sregs->efer & EFER_LME) && (sregs->cr0 & X86_CR0_PG)) {
		/* Paging with LME is long mode: Intel SDM volume 3, "IA-32e Mode". */
		if (!(sregs->cr4 & X86_CR4_PAE) || !(sregs->efer & EFER_LMA))
			return false;
		if (sregs->cr3 & vcpu->phys_reserved)
			return false;
	} else if ((sregs->efer & EFER_LMA) || sregs->cs.l) {
		return false;
	}
	return lodge_apic_base_valid(vcpu, sregs->apic_base, true);
}

/*
 * The privilege level is SS.DPL, in virtual-8086 mode too, where it is 3: AMD APM volume
 * 2, "VMRUN: Consistency Checks". In real mode it is 0.
 */
static u8 sregs_cpl(const struct kvm_sregs *sregs)
{
	return sregs->cr0 & X86_CR0_PE ? sregs->ss.dpl & 3 : 0;
}

static void set_sregs_common(struct lodge_vcpu *vcpu, const struct kvm_sregs *sregs)
{
	struct lodge_state *st = &vcpu->st;

	/* All of both groups is replaced: nothing needs to be fetched first. */
	vcpu->st_valid |= LODGE_ST_SEGS | LODGE_ST_CRS;
	vcpu->st_dirty |= LODGE_ST_SEGS | LODGE_ST_CRS;
	st->seg[LODGE_CS] = sregs->cs;
	st->seg[LODGE_DS] = sregs->ds;
	st->seg[LODGE_ES] = sregs->es;
	st->seg[LODGE_FS] = sregs->fs;
	st->seg[LODGE_GS] = sregs->gs;
	st->seg[LODGE_SS] = sregs->ss;
	st->seg[LODGE_TR] = sregs->tr;
	st->seg[LODGE_LDTR] = sregs->ldt;
	st->gdt = sregs->gdt;
	st->idt = sregs->idt;
	st->cpl = sregs_cpl(sregs);

	st->cr0 = sregs->cr0;
	st->cr2 = sregs->cr2;
	st->cr3 = sregs->cr3;
	st->cr4 = sregs->cr4;
	st->efer = sregs->efer;
	vcpu->flush_tlb = true;
	lodge_set_apic_base(vcpu, sregs->apic_base, true);
	lodge_set_cr8(vcpu, sregs->cr8);

	/*
	 * A VMM older than MP_STATE restarts the boot processor by its registers alone:
	 * KVM wakes it then.
	 */
	if ((sregs->apic_base & LAPIC_BASE_BSP) && st->rip == 0xfff0 &&
	    sregs->cs.selector == 0xf000 && sregs->cs.base == 0xffff0000 &&
	    !(sregs->cr0 & X86_CR0_PE))
		vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
}

int lodge_set_sregs(struct lodge_vcpu *vcpu, const struct kvm_sregs *sregs)
{
	unsigned int vector;

	if (!sregs_valid(vcpu, sregs))
		return -EINVAL;
	set_sregs_common(vcpu, sregs);
	if (lodge_is_pae(vcpu))
		lodge_load_pdptrs(vcpu, vcpu->st.cr3, vcpu->st.pdptr);

	vector = find_first_bit((const unsigned long *)sregs->interrupt_bitmap, 256);
	if (vector < 256) {
		vcpu->ev.irq_injected = true;
		vcpu->ev.irq_soft = false;
		vcpu->ev.irq_vector = vector;
		lodge_make_request(vcpu, LODGE_REQ_EVENT);
	}
	return 0;
}

void lodge_get_sregs2(struct lodge_vcpu *vcpu, struct kvm_sregs2 *sregs)
{
	memset(sregs, 0, sizeof(*sregs));
	get_sregs_common(vcpu, (struct kvm_sregs *)sregs);
	if (!lodge_is_pae(vcpu))
		return;
	/*
	 * With nested paging some CPUs read PDPTEs from memory when they need them (AMD
	 * APM volume 2, "Legacy PAE Mode"): memory has the truth then. What was loaded
	 * last stands in for a table that is not there.
	 */
	if (!lodge_backend->keeps_pdptes)
		lodge_load_pdptrs(vcpu, vcpu->st.cr3, vcpu->st.pdptr);
	memcpy(sregs->pdptrs, vcpu->st.pdptr, sizeof(sregs->pdptrs));
	sregs->flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
}

int lodge_set_sregs2(struct lodge_vcpu *vcpu, const struct kvm_sregs2 *sregs)
{
	struct kvm_sregs common = {};
	bool given = sregs->flags & KVM_SREGS2_FLAGS_PDPTRS_VALID;
	bool pae = (sregs->cr0 & X86_CR0_PG) && (sregs->cr4 & X86_CR4_PAE) &&
		   !(sregs->efer & EFER_LMA);

	if (sregs->flags & ~(u64)KVM_SREGS2_FLAGS_PDPTRS_VALID)
		return -EINVAL;
	if (given && !pae)
		return -EINVAL;
	memcpy(&common, sregs, SREGS_COMMON);
	if (!sregs_valid(vcpu, &common))
		return -EINVAL;

	set_sregs_common(vcpu, &common);
	if (given)
		memcpy(vcpu->st.pdptr, sregs->pdptrs, sizeof(sregs->pdptrs));
	else if (pae)
		lodge_load_pdptrs(vcpu, vcpu->st.cr3, vcpu->st.pdptr);
	return 0;
}

void lodge_get_debugregs(struct lodge_vcpu *vcpu, struct kvm_debugregs *regs)
{
	lodge_state_get(vcpu, LODGE_ST_DRS);
	memset(regs, 0, sizeof(*regs));
	memcpy(regs->db, vcpu->st.dr, sizeof(regs->db));
	regs->dr6 = vcpu->st.dr6;
	regs->dr7 = vcpu->st.dr7;
}

int lodge_set_debugregs(struct lodge_vcpu *vcpu, const struct kvm_debugregs *regs)
{
	if (regs->flags || (regs->dr6 >> 32) || (regs->dr7 >> 32))
		return -EINVAL;
	vcpu->st_valid |= LODGE_ST_DRS;
	vcpu->st_dirty |= LODGE_ST_DRS;
	memcpy(vcpu->st.dr, regs->db, sizeof(regs->db));
	vcpu->st.dr6 = regs->dr6;
	vcpu->st.dr7 = regs->dr7;
	return 0;
}

void lodge_deliver_payload(struct lodge_vcpu *vcpu)
{
	struct lodge_exception *ex = &vcpu->ev.ex;
	struct lodge_state *st = &vcpu->st;

	if (!ex->has_payload)
		return;
	switch (ex->vector) {
	case X86_TRAP_DB:
		/*
		 * B0 to B3 of an earlier exception go, BD, BS and BT stay. Bits that
		 * mean "no" (RTM, bus lock) are set in the payload to say "yes": Intel
		 * SDM volume 3, "Debug Status Register (DR6)". Bit 12 exists only in
		 * the payload ("enabled breakpoint").
		 */
		lodge_state_edit(vcpu, LODGE_ST_DRS);
		st->dr6 &= ~(u64)DR_TRAP_BITS;
		st->dr6 |= DR6_ACTIVE_LOW |
			   (lower_32_bits(ex->payload) & ~(DR6_ACTIVE_LOW | BIT_ULL(12)));
		st->dr6 &= ~(ex->payload & DR6_ACTIVE_LOW);
		break;
	case X86_TRAP_PF:
		lodge_state_edit(vcpu, LODGE_ST_CRS);
		st->cr2 = ex->payload;
		break;
	}
	ex->has_payload = false;
	ex->payload = 0;
}

void lodge_get_events(struct lodge_vcpu *vcpu, struct kvm_vcpu_events *events)
{
	const struct lodge_exception *ex = &vcpu->ev.ex;
	const struct lodge_events *ev = &vcpu->ev;
	bool payloads = READ_ONCE(vcpu->vm->exception_payload);
	int irq = irq_on_its_way(vcpu);

	lodge_collect_nmis(vcpu);
	if (!payloads && ex->pending)
		lodge_deliver_payload(vcpu);

	memset(events, 0, sizeof(*events));
	events->flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW |
			KVM_VCPUEVENT_VALID_SMM;

	/*
	 * #BP and #OF are not shown: INT3 and INTO raise them again when the guest
	 * continues. Without payloads, pending and injected are one, as they were when
	 * the ABI had no word for the first.
	 */
	if (ex->vector != X86_TRAP_BP && ex->vector != X86_TRAP_OF) {
		events->exception.injected = ex->injected || (ex->pending && !payloads);
		events->exception.pending = ex->pending;
	}
	events->exception.nr = ex->vector;
	events->exception.has_error_code = ex->has_error;
	events->exception.error_code = ex->error;
	if (payloads) {
		events->flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
		events->exception_has_payload = ex->has_payload;
		events->exception_payload = ex->payload;
	}

	events->interrupt.injected = irq >= 0;
	events->interrupt.nr = irq >= 0 ? irq : 0;
	events->interrupt.shadow = ev->shadow;
	events->nmi.injected = ev->nmi_injected;
	events->nmi.pending = ev->nmi_pending != 0;
	events->nmi.masked = ev->nmi_masked;
	events->smi.latched_init = vcpu->lapic &&
				   test_bit(LAPIC_EVENT_INIT, &vcpu->pending_init_sipi);
	if (READ_ONCE(vcpu->vm->triple_fault_event)) {
		events->flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
		events->triple_fault.pending =
			lodge_test_request(vcpu, LODGE_REQ_TRIPLE_FAULT);
	}
}

#define EVENT_FLAGS	(KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR | \
			 KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM | \
			 KVM_VCPUEVENT_VALID_PAYLOAD | KVM_VCPUEVENT_VALID_TRIPLE_FAULT)

static bool events_valid(const struct lodge_vm *vm, const struct kvm_vcpu_events *events)
{
	bool pending = (events->flags & KVM_VCPUEVENT_VALID_PAYLOAD) &&
		       events->exception.pending;

	if (events->flags & ~EVENT_FLAGS)
		return false;
	if ((events->flags & KVM_VCPUEVENT_VALID_PAYLOAD) &&
	    !READ_ONCE(vm->exception_payload))
		return false;
	if ((events->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT) &&
	    !READ_ONCE(vm->triple_fault_event))
		return false;
	if ((events->exception.injected || pending) &&
	    (events->exception.nr > 31 || events->exception.nr == X86_TRAP_NMI))
		return false;
	/* There is no system management mode; an INIT that waits is told by its flag. */
	return !(events->flags & KVM_VCPUEVENT_VALID_SMM) ||
	       !(events->smi.smm || events->smi.pending || events->smi.smm_inside_nmi);
}

int lodge_set_events(struct lodge_vcpu *vcpu, const struct kvm_vcpu_events *events)
{
	bool payloads = events->flags & KVM_VCPUEVENT_VALID_PAYLOAD;
	struct lodge_events *ev = &vcpu->ev;
	struct lodge_exception *ex = &ev->ex;

	if (!events_valid(vcpu->vm, events))
		return -EINVAL;

	lodge_collect_nmis(vcpu);
	ex->pending = payloads && events->exception.pending;
	ex->injected = events->exception.injected && !ex->pending;
	ex->vector = events->exception.nr;
	ex->has_error = events->exception.has_error_code;
	ex->error = events->exception.error_code;
	ex->has_payload = ex->pending && events->exception_has_payload;
	ex->payload = ex->has_payload ? events->exception_payload : 0;

	if (!vcpu->lapic)
		ev->user_irq = -1;
	ev->irq_injected = events->interrupt.injected;
	ev->irq_vector = events->interrupt.nr;
	ev->irq_soft = events->interrupt.soft;
	lodge_debug_soft_event(vcpu);
	if (events->flags & KVM_VCPUEVENT_VALID_SHADOW)
		ev->shadow = events->interrupt.shadow &
			     (KVM_X86_SHADOW_INT_STI | KVM_X86_SHADOW_INT_MOV_SS);

	ev->nmi_injected = events->nmi.injected;
	ev->nmi_masked = events->nmi.masked;
	if (events->flags & KVM_VCPUEVENT_VALID_NMI_PENDING)
		ev->nmi_pending = events->nmi.pending != 0;
	if ((events->flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR) && vcpu->lapic)
		vcpu->sipi_vector = events->sipi_vector;
	if ((events->flags & KVM_VCPUEVENT_VALID_SMM) && vcpu->lapic) {
		if (events->smi.latched_init)
			set_bit(LAPIC_EVENT_INIT, &vcpu->pending_init_sipi);
		else
			clear_bit(LAPIC_EVENT_INIT, &vcpu->pending_init_sipi);
		/* Looked at like one that arrives. */
		lodge_make_request(vcpu, LODGE_REQ_KICK);
	}

	if (events->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT) {
		if (events->triple_fault.pending)
			lodge_make_request(vcpu, LODGE_REQ_TRIPLE_FAULT);
		else
			clear_bit(LODGE_REQ_TRIPLE_FAULT, &vcpu->requests);
	}
	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	return 0;
}

void lodge_get_mp_state(struct lodge_vcpu *vcpu, struct kvm_mp_state *mp)
{
	mp->mp_state = vcpu->mp_state;
	/* A kick that has come is part of no other state. */
	if (mp->mp_state == KVM_MP_STATE_HALTED && READ_ONCE(vcpu->pv.unhalted))
		mp->mp_state = KVM_MP_STATE_RUNNABLE;
}

int lodge_set_mp_state(struct lodge_vcpu *vcpu, const struct kvm_mp_state *mp)
{
	switch (mp->mp_state) {
	case KVM_MP_STATE_RUNNABLE:
		break;
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_HALTED:
	case KVM_MP_STATE_AP_RESET_HOLD:
	case KVM_MP_STATE_INIT_RECEIVED:
	case KVM_MP_STATE_SIPI_RECEIVED:
		/* Only an in-kernel LAPIC can wake it from these. */
		if (!vcpu->lapic)
			return -EINVAL;
		break;
	default:
		return -EINVAL;
	}

	/* The ABI's SIPI_RECEIVED is a vCPU after INIT with a SIPI on its way. */
	if (mp->mp_state == KVM_MP_STATE_SIPI_RECEIVED) {
		vcpu->mp_state = KVM_MP_STATE_INIT_RECEIVED;
		set_bit(LAPIC_EVENT_SIPI, &vcpu->pending_init_sipi);
	} else {
		vcpu->mp_state = mp->mp_state;
	}
	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	return 0;
}

/*
 * User space may write to kvm_run from another thread at any time: what is checked is a
 * copy. kvm_dirty_regs keeps the bit of what was refused, and those after it, as in KVM.
 */
int lodge_sync_regs_in(struct lodge_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	u64 dirty = READ_ONCE(run->kvm_dirty_regs);
	union {
		struct kvm_regs regs;
		struct kvm_sregs sregs;
		struct kvm_vcpu_events events;
	} copy;

	if ((dirty | READ_ONCE(run->kvm_valid_regs)) & ~(u64)KVM_SYNC_X86_VALID_FIELDS)
		return -EINVAL;
	if (dirty & KVM_SYNC_X86_REGS) {
		copy.regs = run->s.regs.regs;
		lodge_set_regs(vcpu, &copy.regs);
		run->kvm_dirty_regs = dirty &= ~(u64)KVM_SYNC_X86_REGS;
	}
	if (dirty & KVM_SYNC_X86_SREGS) {
		copy.sregs = run->s.regs.sregs;
		barrier();	/* a copy, not another name for what it was copied from */
		if (lodge_set_sregs(vcpu, &copy.sregs))
			return -EINVAL;
		run->kvm_dirty_regs = dirty &= ~(u64)KVM_SYNC_X86_SREGS;
	}
	if (dirty & KVM_SYNC_X86_EVENTS) {
		copy.events = run->s.regs.events;
		barrier();
		if (lodge_set_events(vcpu, &copy.events))
			return -EINVAL;
		run->kvm_dirty_regs = dirty & ~(u64)KVM_SYNC_X86_EVENTS;
	}
	return 0;
}

void lodge_sync_regs_out(struct lodge_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	u64 valid = READ_ONCE(run->kvm_valid_regs);

	if (valid & KVM_SYNC_X86_REGS)
		lodge_get_regs(vcpu, &run->s.regs.regs);
	if (valid & KVM_SYNC_X86_SREGS)
		lodge_get_sregs(vcpu, &run->s.regs.sregs);
	if (valid & KVM_SYNC_X86_EVENTS)
		lodge_get_events(vcpu, &run->s.regs.events);
}
