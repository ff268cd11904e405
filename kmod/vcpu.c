// SPDX-License-Identifier: GPL-2.0-only
/*
 * Virtual CPUs: their life, their reset, the ioctls of a vCPU descriptor, and how others
 * reach a vCPU that runs or sleeps (kicks). vcpu->mutex makes ioctls of one vCPU take
 * turns; kicks take no lock.
 */
#define pr_fmt(fmt) "lodge: " fmt

#include <linux/anon_inodes.h>
#include <linux/compat.h>
#include <linux/cpumask.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/rcuwait.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/sched.h>
#include <asm/debugreg.h>
#include <asm/processor-flags.h>

#include "kernel_compat.h"
#include "backend.h"
#include "capability.h"
#include "debug.h"
#include "irqchip.h"
#include "main.h"
#include "pv.h"
#include "run.h"
#include "state.h"
#include "trace.h"
#include "vapic.h"
#include "vcpu.h"
#include "vm.h"

/* CPUs that lodge_kick_all_and_wait() interrupts: too large for the stack. */
static DEFINE_PER_CPU(cpumask_var_t, kick_mask);

static void nothing(void *unused)
{
}

/*
 * The interrupt itself ends the guest; a vCPU that is in its window but not in the guest
 * yet has interrupts off, enters, and leaves at once. A window on this CPU can only be
 * the caller's own (a fast exit that delivers to itself): what it asked for is looked at
 * before the next entry.
 */
void lodge_vcpu_kick(struct lodge_vcpu *vcpu)
{
	int cpu, this;

	/* It slept, and looks at what was asked for on its way to the guest. */
	if (rcuwait_wake_up(&vcpu->wait))
		return;

	this = get_cpu();
	/* Pairs with run_window(): what was asked for, before a look at mode. */
	smp_mb();
	if (smp_load_acquire(&vcpu->mode) != LODGE_IN_GUEST)	/* then cpu is its window's */
		goto out;
	if (READ_ONCE(vcpu->cpu) == this)
		goto out;
	if (cmpxchg(&vcpu->mode, LODGE_IN_GUEST, LODGE_EXITING) == LODGE_IN_GUEST) {
		/* After that, or it may be the CPU of an earlier window. */
		cpu = READ_ONCE(vcpu->cpu);
		if (cpu != this && cpu_online(cpu))
			lodge_send_reschedule(cpu);
	}
out:
	put_cpu();
}

void lodge_kick_all_and_wait(struct lodge_vm *vm)
{
	struct lodge_vcpu *vcpu;
	struct cpumask *mask;
	int this;

	this = get_cpu();
	mask = this_cpu_cpumask_var_ptr(kick_mask);
	cpumask_clear(mask);
	/* Pairs with run_window(): the zap before, the look at mode after. */
	smp_mb();
	lodge_for_each_vcpu(vcpu, vm)
		if (READ_ONCE(vcpu->mode) != LODGE_OUTSIDE && READ_ONCE(vcpu->cpu) != this)
			cpumask_set_cpu(READ_ONCE(vcpu->cpu), mask);
	/* A window has interrupts off: once the call has run there, it is over. */
	smp_call_function_many(mask, nothing, NULL, true);
	put_cpu();
}

static struct lodge_vcpu *lapic_to_vcpu(struct lapic *l)
{
	return container_of(l, struct lodge_vcpu, lapic_storage);
}

static void irqchip_kick(struct lapic *l)
{
	struct lodge_vcpu *vcpu = lapic_to_vcpu(l);

	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	lodge_vcpu_kick(vcpu);
}

/*
 * As lodge_vcpu_kick(), but who is in the guest stays there. A later window, or one on another
 * CPU, has seen the post by itself. The request is for a LAPIC that the CPU works no longer:
 * then the notification is an interrupt of the host's, and ends the guest.
 */
static void irqchip_notify(struct lapic *l)
{
	struct lodge_vcpu *vcpu = lapic_to_vcpu(l);
	int cpu, this;

	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	if (rcuwait_wake_up(&vcpu->wait))
		return;
	this = get_cpu();
	smp_mb();	/* pairs with run_window(), as above */
	if (smp_load_acquire(&vcpu->mode) == LODGE_IN_GUEST) {
		cpu = READ_ONCE(vcpu->cpu);
		if (cpu != this && cpu_online(cpu))
			lodge_backend->notify(cpu);
	}
	put_cpu();
}

static void irqchip_event(struct lapic *l, enum lapic_event event, u8 vector)
{
	struct lodge_vcpu *vcpu = lapic_to_vcpu(l);

	switch (event) {
	case LAPIC_EVENT_NMI:
		atomic_inc(&vcpu->ev.nmi_queued);
		lodge_make_request(vcpu, LODGE_REQ_EVENT);
		break;
	case LAPIC_EVENT_INIT:
		clear_bit(LAPIC_EVENT_SIPI, &vcpu->pending_init_sipi);
		set_bit(LAPIC_EVENT_INIT, &vcpu->pending_init_sipi);
		lodge_make_request(vcpu, LODGE_REQ_KICK);
		break;
	case LAPIC_EVENT_SIPI:
		WRITE_ONCE(vcpu->sipi_vector, vector);
		smp_wmb();	/* pairs with lodge_accept_init_sipi() */
		set_bit(LAPIC_EVENT_SIPI, &vcpu->pending_init_sipi);
		lodge_make_request(vcpu, LODGE_REQ_KICK);
		break;
	case LAPIC_EVENT_UNHALT:
		WRITE_ONCE(vcpu->pv.unhalted, true);
		break;
	case LAPIC_EVENT_SMI:		/* there is no SMM: as on a PC without a handler */
		return;
	}
	lodge_vcpu_kick(vcpu);
}

/* On the vCPU's own thread, in any tier. */
static void irqchip_eoi_exit(struct lapic *l, u8 vector)
{
	struct lodge_vcpu *vcpu = lapic_to_vcpu(l);

	vcpu->eoi_vector = vector;
	lodge_make_request(vcpu, LODGE_REQ_IOAPIC_EOI);
}

/* Who works it, and where, may change with that. */
static void irqchip_mode_changed(struct lapic *l)
{
	lodge_make_request(lapic_to_vcpu(l), LODGE_REQ_INTERCEPTS);
}

static void irqchip_tpr_access(struct lapic *l, bool write)
{
	lodge_tpr_access(lapic_to_vcpu(l), write);
}

static u64 irqchip_ns_until(struct lapic *l, u64 tsc)
{
	return lodge_tsc_deadline_ns(lapic_to_vcpu(l), tsc);
}

/* Not in a sleep that does not exit; and the deadline is compared at the host's rate. */
static bool irqchip_watches_deadline(struct lapic *l)
{
	struct lodge_vcpu *vcpu = lapic_to_vcpu(l);
	u64 sleeps = KVM_X86_DISABLE_EXITS_HLT | KVM_X86_DISABLE_EXITS_MWAIT;

	return lodge_backend->deadline_timer && !vcpu->tsc_ratio &&
	       !(READ_ONCE(vcpu->vm->direct) & sleeps);
}

static void irqchip_gsi_acked(struct irqchip *ic, u32 gsi)
{
	lodge_eventfds_acked(&container_of(ic, struct lodge_vm, ic)->eventfds, gsi);
}

const struct irqchip_ops lodge_irqchip_ops = {
	.kick = irqchip_kick,
	.notify = irqchip_notify,
	.event = irqchip_event,
	.ns_until = irqchip_ns_until,
	.watches_deadline = irqchip_watches_deadline,
	.eoi_exit = irqchip_eoi_exit,
	.tpr_access = irqchip_tpr_access,
	.mode_changed = irqchip_mode_changed,
	.gsi_acked = irqchip_gsi_acked,
};

static void reset_segments(struct lodge_state *st)
{
	const struct kvm_segment data = {
		.limit = 0xffff, .type = 3, .present = 1, .s = 1,
	};
	int i;

	for (i = LODGE_ES; i <= LODGE_GS; i++)
		st->seg[i] = data;
	st->seg[LODGE_CS].selector = 0xf000;
	st->seg[LODGE_CS].base = 0xffff0000;
	st->seg[LODGE_CS].type = 0xb;
	st->seg[LODGE_LDTR] = (struct kvm_segment){ .limit = 0xffff, .type = 2, .present = 1 };
	st->seg[LODGE_TR] = (struct kvm_segment){ .limit = 0xffff, .type = 11, .present = 1 };
	st->gdt = (struct kvm_dtable){ .limit = 0xffff };
	st->idt = (struct kvm_dtable){ .limit = 0xffff };
	st->cpl = 0;
}

/*
 * Intel SDM volume 3, "Processor State After Reset"; @init is an INIT, which leaves the
 * caches' bits of CR0, the FPU, MTRRs, the TSC and most MSRs alone.
 */
void lodge_vcpu_reset(struct lodge_vcpu *vcpu, bool init)
{
	struct lodge_state *st = &vcpu->st;
	u32 signature = lodge_cpuid_signature(vcpu);
	u64 cr0 = X86_CR0_ET;

	lodge_state_edit(vcpu, LODGE_ST_ALL);
	cr0 |= init ? st->cr0 & (X86_CR0_NW | X86_CR0_CD) : X86_CR0_NW | X86_CR0_CD;

	memset(st->gpr, 0, sizeof(st->gpr));
	st->gpr[2] = signature ?: 0x600;	/* EDX */
	st->rip = 0xfff0;
	st->rflags = X86_EFLAGS_FIXED;
	reset_segments(st);
	st->cr0 = cr0;
	st->cr2 = 0;
	st->cr3 = 0;
	st->cr4 = 0;
	st->efer = 0;
	memset(st->dr, 0, sizeof(st->dr));
	st->dr6 = DR6_RESERVED;
	st->dr7 = 0x400;

	vcpu->ev.ex = (struct lodge_exception){};
	vcpu->ev.irq_injected = false;
	vcpu->ev.nmi_injected = false;
	vcpu->ev.nmi_masked = false;
	vcpu->ev.nmi_pending = 0;
	vcpu->ev.shadow = 0;
	vcpu->ev.soft = false;
	vcpu->ev.user_irq = -1;
	atomic_set(&vcpu->ev.nmi_queued, 0);
	vcpu->cr8 = 0;
	vcpu->flush_tlb = true;
	vcpu->unfinished.finish = NULL;

	lodge_msr_reset(vcpu, init);
	lodge_pv_reset(vcpu);
	lodge_fpu_reset(vcpu, init);
	if (vcpu->lapic)
		lapic_reset(vcpu->lapic, init, vcpu->id == vcpu->vm->boot_cpu_id);
}

static int init_lapic(struct lodge_vcpu *vcpu)
{
	void *regs;

	if (!irqchip_in_kernel(&vcpu->vm->ic))
		return 0;
	regs = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!regs)
		return -ENOMEM;
	vcpu->lapic = &vcpu->lapic_storage;
	lapic_init(vcpu->lapic, &vcpu->vm->ic, vcpu->id, regs,
		   vcpu->id == vcpu->vm->boot_cpu_id);
	vcpu->lapic->posts = lodge_backend->delivers;
	vcpu->lapic->advance = LAPIC_FIRST_ADVANCE_NS;
	return 0;
}

/* Undoes what was done so far; also the end of a vCPU that lived. */
void lodge_vcpu_free(struct lodge_vcpu *vcpu)
{
	unsigned int i;

	if (vcpu->lapic) {
		lapic_destroy(vcpu->lapic);
		free_page((unsigned long)vcpu->lapic->regs);
	}
	lodge_ring_destroy(vcpu);
	lodge_backend->vcpu_destroy(vcpu);
	lodge_fpu_destroy(vcpu);
	lodge_cpuid_free(vcpu);
	/* User space may still map the pages, each of which has its own count. */
	for (i = 0; vcpu->run && i < LODGE_RUN_PAGES; i++)
		free_page((unsigned long)vcpu->run + i * PAGE_SIZE);
	kvfree(vcpu);
}

static struct lodge_vcpu *vcpu_alloc(struct lodge_vm *vm, u32 id)
{
	struct lodge_vcpu *vcpu;
	struct page *pages;
	int r;

	vcpu = kvzalloc(sizeof(*vcpu) + lodge_backend->vcpu_size, GFP_KERNEL_ACCOUNT);
	if (!vcpu)
		return ERR_PTR(-ENOMEM);
	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->cpu = -1;
	vcpu->user_pic = vm->ic.kind != IRQCHIP_KERNEL;
	memset(vcpu->code_page, 0xff, sizeof(vcpu->code_page));	/* nothing is known */
	mutex_init(&vcpu->mutex);
	rcuwait_init(&vcpu->wait);

	r = -ENOMEM;
	pages = alloc_pages(GFP_KERNEL_ACCOUNT | __GFP_ZERO,
			    get_order(LODGE_RUN_PAGES * PAGE_SIZE));
	if (!pages)
		goto err;
	split_page(pages, get_order(LODGE_RUN_PAGES * PAGE_SIZE));
	vcpu->run = page_address(pages);
	vcpu->pio_data = (void *)vcpu->run + LODGE_PIO_PAGE * PAGE_SIZE;

	r = lodge_fpu_create(vcpu);
	if (r)
		goto err;
	r = lodge_ring_create(vcpu);
	if (r)
		goto err;
	r = init_lapic(vcpu);
	if (r)
		goto err;
	r = lodge_backend->vcpu_create(vcpu);
	if (r)
		goto err;

	vcpu->st_valid = LODGE_ST_ALL;
	vcpu->st_dirty = LODGE_ST_ALL;
	lodge_cpuid_init(vcpu);
	lodge_clock_vcpu_init(vcpu);
	lodge_vcpu_reset(vcpu, false);
	lodge_backend->update_intercepts(vcpu);
	vcpu->mp_state = !vcpu->lapic || id == vm->boot_cpu_id ?
			 KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_UNINITIALIZED;
	return vcpu;

err:
	lodge_vcpu_free(vcpu);
	return ERR_PTR(r);
}

static vm_fault_t vcpu_mmap_fault(struct vm_fault *vmf)
{
	struct lodge_vcpu *vcpu = vmf->vma->vm_file->private_data;
	struct page *page = NULL;

	if (vmf->pgoff < LODGE_RUN_PAGES)
		page = virt_to_page((void *)vcpu->run + vmf->pgoff * PAGE_SIZE);
	else if (vmf->pgoff == LODGE_COALESCED_PAGE)
		page = virt_to_page(vcpu->vm->coalesced.ring);
	else if (vmf->pgoff >= KVM_DIRTY_LOG_PAGE_OFFSET)
		page = lodge_ring_page(vcpu, vmf->pgoff - KVM_DIRTY_LOG_PAGE_OFFSET);
	if (!page)
		return VM_FAULT_SIGBUS;
	get_page(page);
	vmf->page = page;
	return 0;
}

static const struct vm_operations_struct vcpu_vm_ops = {
	.fault = vcpu_mmap_fault,
};

static int lodge_vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct lodge_vcpu *vcpu = file->private_data;
	unsigned long end = vma->vm_pgoff + vma_pages(vma);

	/* A private copy of the ring would never hear of an entry. */
	if (end > KVM_DIRTY_LOG_PAGE_OFFSET && lodge_ring_page(vcpu, 0) &&
	    (vma->vm_flags & VM_EXEC || !(vma->vm_flags & VM_SHARED)))
		return -EINVAL;
	vma->vm_ops = &vcpu_vm_ops;
	return 0;
}

static int ioctl_set_sigmask(struct lodge_vcpu *vcpu, void __user *argp)
{
	struct kvm_signal_mask mask;
	sigset_t set;

	if (!argp) {
		vcpu->sigmask_set = false;
		return 0;
	}
	if (copy_from_user(&mask, argp, sizeof(mask)))
		return -EFAULT;
	if (mask.len != sizeof(set))
		return -EINVAL;
	if (copy_from_user(&set, argp + sizeof(mask), sizeof(set)))
		return -EFAULT;
	sigdelsetmask(&set, sigmask(SIGKILL) | sigmask(SIGSTOP));
	vcpu->sigmask = set;
	vcpu->sigmask_set = true;
	return 0;
}

static int ioctl_interrupt(struct lodge_vcpu *vcpu, void __user *argp)
{
	struct kvm_interrupt irq;

	if (copy_from_user(&irq, argp, sizeof(irq)))
		return -EFAULT;
	if (irq.irq > 255)
		return -EINVAL;
	if (!vcpu->user_pic)
		return -ENXIO;
	/* Beside a local APIC it is an ExtINT, which may have to wait. */
	if (vcpu->lapic && vcpu->ev.user_irq >= 0)
		return -EEXIST;
	vcpu->ev.user_irq = irq.irq;
	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	return 0;
}

static int ioctl_nmi(struct lodge_vcpu *vcpu)
{
	atomic_inc(&vcpu->ev.nmi_queued);
	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	return 0;
}

/* What of a vCPU is small enough to be copied whole on the stack. */
union vcpu_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_sregs2 sregs2;
	struct kvm_fpu fpu;
	struct kvm_debugregs debugregs;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;
	struct kvm_xcrs xcrs;
	struct kvm_x86_mce mce;
	struct kvm_guest_debug guest_debug;
	struct kvm_enable_cap cap;
};

static long ioctl_get_state(struct lodge_vcpu *vcpu, unsigned int cmd, void __user *argp)
{
	union vcpu_state s;

	memset(&s, 0, sizeof(s));
	switch (cmd) {
	case KVM_GET_REGS:
		lodge_get_regs(vcpu, &s.regs);
		break;
	case KVM_GET_SREGS:
		lodge_get_sregs(vcpu, &s.sregs);
		break;
	case KVM_GET_SREGS2:
		lodge_get_sregs2(vcpu, &s.sregs2);
		break;
	case KVM_GET_FPU:
		lodge_get_fpu(vcpu, &s.fpu);
		break;
	case KVM_GET_DEBUGREGS:
		lodge_get_debugregs(vcpu, &s.debugregs);
		break;
	case KVM_GET_VCPU_EVENTS:
		lodge_get_events(vcpu, &s.events);
		break;
	case KVM_GET_MP_STATE:
		/* A snapshot must not lose an INIT or SIPI that has arrived. */
		lodge_accept_init_sipi(vcpu);
		lodge_get_mp_state(vcpu, &s.mp_state);
		break;
	case KVM_GET_XCRS:
		lodge_get_xcrs(vcpu, &s.xcrs);
		break;
	default:
		return -EINVAL;	/* as KVM's vCPUs answer what they do not know */
	}
	return copy_to_user(argp, &s, _IOC_SIZE(cmd)) ? -EFAULT : 0;
}

static int take(union vcpu_state *s, unsigned int cmd, void __user *argp)
{
	return copy_from_user(s, argp, _IOC_SIZE(cmd)) ? -EFAULT : 0;
}

static long ioctl_set_state(struct lodge_vcpu *vcpu, unsigned int cmd, void __user *argp)
{
	union vcpu_state s;
	int r;

	switch (cmd) {
	case KVM_SET_REGS:
		r = take(&s, cmd, argp);
		if (!r)
			lodge_set_regs(vcpu, &s.regs);
		return r;
	case KVM_SET_FPU:
		r = take(&s, cmd, argp);
		if (!r)
			lodge_set_fpu(vcpu, &s.fpu);
		return r;
	case KVM_SET_SREGS:
		return take(&s, cmd, argp) ?: lodge_set_sregs(vcpu, &s.sregs);
	case KVM_SET_SREGS2:
		return take(&s, cmd, argp) ?: lodge_set_sregs2(vcpu, &s.sregs2);
	case KVM_SET_DEBUGREGS:
		return take(&s, cmd, argp) ?: lodge_set_debugregs(vcpu, &s.debugregs);
	case KVM_SET_VCPU_EVENTS:
		return take(&s, cmd, argp) ?: lodge_set_events(vcpu, &s.events);
	case KVM_SET_MP_STATE:
		return take(&s, cmd, argp) ?: lodge_set_mp_state(vcpu, &s.mp_state);
	case KVM_SET_XCRS:
		return take(&s, cmd, argp) ?: lodge_set_xcrs(vcpu, &s.xcrs);
	case KVM_SET_GUEST_DEBUG:
		return take(&s, cmd, argp) ?: lodge_set_guest_debug(vcpu, &s.guest_debug);
	case KVM_ENABLE_CAP:
		return take(&s, cmd, argp) ?: lodge_vcpu_enable_cap(vcpu, &s.cap);
	case KVM_X86_SET_MCE:
		return take(&s, cmd, argp) ?: lodge_set_mce(vcpu, &s.mce);
	default:
		return ioctl_get_state(vcpu, cmd, argp);
	}
}

static long ioctl_get_xsave(struct lodge_vcpu *vcpu, void __user *argp, size_t size)
{
	void *buf = kvzalloc(lodge_xsave_size(), GFP_KERNEL_ACCOUNT);
	long r = 0;

	if (!buf)
		return -ENOMEM;
	lodge_get_xsave(vcpu, buf);
	if (copy_to_user(argp, buf, size))
		r = -EFAULT;
	kvfree(buf);
	return r;
}

static long ioctl_set_xsave(struct lodge_vcpu *vcpu, void __user *argp)
{
	void *buf = vmemdup_user(argp, lodge_xsave_size());
	long r;

	if (IS_ERR(buf))
		return PTR_ERR(buf);
	r = lodge_set_xsave(vcpu, buf);
	kvfree(buf);
	return r;
}

static long ioctl_get_lapic(struct lodge_vcpu *vcpu, void __user *argp)
{
	struct kvm_lapic_state *state;
	long r = 0;

	if (!vcpu->lapic)
		return -EINVAL;
	state = kzalloc(sizeof(*state), GFP_KERNEL_ACCOUNT);
	if (!state)
		return -ENOMEM;
	lapic_get_state(vcpu->lapic, state);
	if (copy_to_user(argp, state, sizeof(*state)))
		r = -EFAULT;
	kfree(state);
	return r;
}

static long ioctl_set_lapic(struct lodge_vcpu *vcpu, void __user *argp)
{
	struct kvm_lapic_state *state;
	long r;

	if (!vcpu->lapic)
		return -EINVAL;
	state = memdup_user(argp, sizeof(*state));
	if (IS_ERR(state))
		return PTR_ERR(state);
	r = lapic_set_state(vcpu->lapic, state);
	lodge_make_request(vcpu, LODGE_REQ_EVENT);
	kfree(state);
	return r;
}

static long ioctl_tpr_access_reporting(struct lodge_vcpu *vcpu, void __user *argp)
{
	struct kvm_tpr_access_ctl ctl;

	if (copy_from_user(&ctl, argp, sizeof(ctl)))
		return -EFAULT;
	if (ctl.flags)
		return -EINVAL;
	/* Without an in-kernel local APIC user space sees them all. */
	if (vcpu->lapic) {
		vcpu->lapic->report_tpr = ctl.enabled;
		lodge_make_request(vcpu, LODGE_REQ_INTERCEPTS);
	}
	return 0;
}

static long ioctl_set_vapic_addr(struct lodge_vcpu *vcpu, void __user *argp)
{
	struct kvm_vapic_addr va;

	if (!vcpu->lapic)
		return -EINVAL;
	if (copy_from_user(&va, argp, sizeof(va)))
		return -EFAULT;
	return lodge_set_vapic_addr(vcpu, va.vapic_addr);
}

static long ioctl_device_attr(struct lodge_vcpu *vcpu, unsigned int cmd, void __user *argp)
{
	struct kvm_device_attr attr;

	if (copy_from_user(&attr, argp, sizeof(attr)))
		return -EFAULT;
	switch (cmd) {
	case KVM_HAS_DEVICE_ATTR:
		return lodge_vcpu_has_attr(vcpu, &attr);
	case KVM_GET_DEVICE_ATTR:
		return lodge_vcpu_get_attr(vcpu, &attr);
	default:
		return lodge_vcpu_set_attr(vcpu, &attr);
	}
}

static long ioctl_setup_mce(struct lodge_vcpu *vcpu, void __user *argp)
{
	u64 cap;

	if (copy_from_user(&cap, argp, sizeof(cap)))
		return -EFAULT;
	return lodge_setup_mce(vcpu, cap);
}

/* Tells how far it came in any case. */
static long ioctl_pre_fault(struct lodge_vcpu *vcpu, void __user *argp)
{
	struct kvm_pre_fault_memory range;
	int r;

	if (copy_from_user(&range, argp, sizeof(range)))
		return -EFAULT;
	r = lodge_pre_fault(vcpu, &range);
	return copy_to_user(argp, &range, sizeof(range)) ? -EFAULT : r;
}

static long ioctl_translate(struct lodge_vcpu *vcpu, void __user *argp)
{
	struct kvm_translation tr;

	if (copy_from_user(&tr, argp, sizeof(tr)))
		return -EFAULT;
	lodge_translate(vcpu, &tr);
	return copy_to_user(argp, &tr, sizeof(tr)) ? -EFAULT : 0;
}

/* vcpu->mutex is held. All but KVM_RUN, which is spared their stack. */
static noinline long vcpu_ioctl(struct lodge_vcpu *vcpu, unsigned int cmd, unsigned long arg)
{
	void __user *argp = (void __user *)arg;

	switch (cmd) {
	case KVM_SET_CPUID:
		return lodge_set_cpuid(vcpu, argp);
	case KVM_SET_CPUID2:
		return lodge_set_cpuid2(vcpu, argp);
	case KVM_GET_CPUID2:
		return lodge_get_cpuid2(vcpu, argp);
	case KVM_GET_MSRS:
		return lodge_get_msrs(vcpu, argp);
	case KVM_SET_MSRS:
		return lodge_set_msrs(vcpu, argp);
	case KVM_GET_XSAVE:
		return ioctl_get_xsave(vcpu, argp, sizeof(struct kvm_xsave));
	case KVM_GET_XSAVE2:
		return ioctl_get_xsave(vcpu, argp, lodge_xsave_size());
	case KVM_SET_XSAVE:
		return ioctl_set_xsave(vcpu, argp);
	case KVM_GET_LAPIC:
		return ioctl_get_lapic(vcpu, argp);
	case KVM_SET_LAPIC:
		return ioctl_set_lapic(vcpu, argp);
	case KVM_TPR_ACCESS_REPORTING:
		return ioctl_tpr_access_reporting(vcpu, argp);
	case KVM_SET_VAPIC_ADDR:
		return ioctl_set_vapic_addr(vcpu, argp);
	case KVM_TRANSLATE:
		return ioctl_translate(vcpu, argp);
	case KVM_INTERRUPT:
		return ioctl_interrupt(vcpu, argp);
	case KVM_NMI:
		return ioctl_nmi(vcpu);
	case KVM_PRE_FAULT_MEMORY:
		return ioctl_pre_fault(vcpu, argp);
	case KVM_SET_SIGNAL_MASK:
		return ioctl_set_sigmask(vcpu, argp);
	case KVM_GET_TSC_KHZ:
		return lodge_get_tsc_khz(vcpu);
	case KVM_SET_TSC_KHZ:
		return lodge_set_tsc_khz(vcpu, arg);
	case KVM_GET_STATS_FD:
		return lodge_stats_fd(vcpu->vm, vcpu);
	case KVM_KVMCLOCK_CTRL:
		return lodge_kvmclock_ctrl(vcpu);
	case KVM_X86_SETUP_MCE:
		return ioctl_setup_mce(vcpu, argp);
	case KVM_HAS_DEVICE_ATTR:
	case KVM_GET_DEVICE_ATTR:
	case KVM_SET_DEVICE_ATTR:
		return ioctl_device_attr(vcpu, cmd, argp);
	default:
		return ioctl_set_state(vcpu, cmd, argp);
	}
}

static long lodge_vcpu_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct lodge_vcpu *vcpu = file->private_data;
	long r;

	if (vcpu->vm->mm != current->mm || READ_ONCE(vcpu->vm->dead)) {
		r = -EIO;
	} else if (_IOC_TYPE(cmd) != KVMIO) {
		r = -EINVAL;
	} else if (mutex_lock_killable(&vcpu->mutex)) {
		r = -EINTR;
	} else if (likely(cmd == KVM_RUN)) {
		r = arg ? -EINVAL : lodge_vcpu_run(vcpu);
		mutex_unlock(&vcpu->mutex);
	} else {
		r = vcpu_ioctl(vcpu, cmd, arg);
		/* It may have changed what decides of events: registers, the local APIC. */
		lodge_make_request(vcpu, LODGE_REQ_EVENT);
		mutex_unlock(&vcpu->mutex);
	}
	if (r < 0)
		trace_lodge_ioctl_error(LODGE_OBJECT_VCPU, cmd, r);
	return r;
}

static int lodge_vcpu_release(struct inode *inode, struct file *file)
{
	struct lodge_vcpu *vcpu = file->private_data;

	if (vcpu)
		lodge_vm_put(vcpu->vm);
	return 0;
}

static const struct file_operations vcpu_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = lodge_vcpu_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = lodge_vcpu_mmap,
	.release = lodge_vcpu_release,
	.llseek = noop_llseek,
};

/* vm->lock is held. May a vCPU with this id be made? */
static int check_vcpu_id(struct lodge_vm *vm, unsigned long id)
{
	unsigned int i;

	if (id >= (vm->max_vcpu_id ?: LODGE_MAX_VCPU_ID) || vm->nr_vcpus >= LODGE_MAX_VCPUS)
		return -EINVAL;
	for (i = 0; i < vm->nr_vcpus; i++)
		if (vm->vcpus[i]->id == id)
			return -EEXIST;
	return 0;
}

/* vm->lock is held: the irqchip and the boot CPU's id stay as they are meanwhile. */
static struct file *create_vcpu(struct lodge_vm *vm, unsigned long id)
{
	struct lodge_vcpu *vcpu;
	struct file *file;
	char name[24];
	int r;

	r = check_vcpu_id(vm, id);
	if (r)
		return ERR_PTR(r);
	vcpu = vcpu_alloc(vm, id);
	if (IS_ERR(vcpu))
		return ERR_CAST(vcpu);

	snprintf(name, sizeof(name), "lodge-vcpu:%lu", id);
	file = anon_inode_getfile(name, &vcpu_fops, vcpu, O_RDWR);
	r = PTR_ERR_OR_ZERO(file);
	if (r)
		goto err_vcpu;
	if (vcpu->lapic) {
		r = irqchip_add_lapic(&vm->ic, vcpu->lapic);
		if (r)
			goto err_file;
	}

	/* It becomes visible, and nothing can fail any more. */
	lodge_lapic_page_join(vcpu);
	lodge_vm_get(vm);
	vcpu->index = vm->nr_vcpus;
	vm->vcpus[vcpu->index] = vcpu;
	/* Pairs with lodge_vm_vcpu(): the pointer before the count. */
	smp_store_release(&vm->nr_vcpus, vcpu->index + 1);
	return file;

err_file:
	/* The file goes away later than this vCPU, which was never the VM's. */
	file->private_data = NULL;
	fput(file);
err_vcpu:
	lodge_vcpu_free(vcpu);
	return ERR_PTR(r);
}

int lodge_vcpu_create(struct lodge_vm *vm, unsigned long id)
{
	struct file *file;
	int fd;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	mutex_lock(&vm->lock);
	file = create_vcpu(vm, id);
	mutex_unlock(&vm->lock);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	fd_install(fd, file);
	return fd;
}

int lodge_vcpu_module_init(void)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu)
		if (!zalloc_cpumask_var_node(per_cpu_ptr(&kick_mask, cpu), GFP_KERNEL,
					     cpu_to_node(cpu))) {
			lodge_vcpu_module_exit();
			return -ENOMEM;
		}
	return 0;
}

void lodge_vcpu_module_exit(void)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu)
		free_cpumask_var(per_cpu(kick_mask, cpu));
}
