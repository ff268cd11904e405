// SPDX-License-Identifier: GPL-2.0-only
/*
 * Paravirtualization: hypercalls, and the page that tells a guest how long its vCPU
 * waited for a CPU and whether it waits now. Called by run.c, msr.c and cpuid.c on the
 * vCPU's thread with vcpu->mutex held; vcpu->pv.unhalted is set by other vCPUs.
 *
 * The protocols are those of the kernel's Documentation/virt/kvm/x86/ (hypercalls, msr,
 * cpuid), which Linux guests follow.
 */
#include <linux/bitops.h>
#include <linux/build_bug.h>
#include <linux/nospec.h>
#include <linux/stddef.h>

#include "kernel_compat.h"
#include "debug.h"
#include "exits.h"
#include "memory.h"
#include "pv.h"
#include "state.h"
#include "vm.h"

/* Other vCPUs of the guest may write to the byte, but not without end. */
#define MAX_EXCHANGES	8

#define MAX_FAST_IPIS	8	/* sent with interrupts off */

u32 lodge_pv_features(void)
{
	u32 features = BIT(KVM_FEATURE_CLOCKSOURCE) | BIT(KVM_FEATURE_NOP_IO_DELAY) |
		       BIT(KVM_FEATURE_CLOCKSOURCE2) | BIT(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT) |
		       BIT(KVM_FEATURE_PV_EOI) | BIT(KVM_FEATURE_PV_UNHALT) |
		       BIT(KVM_FEATURE_PV_SEND_IPI) | BIT(KVM_FEATURE_PV_SCHED_YIELD);

	/* The host counts what a task waits for. */
	if (IS_ENABLED(CONFIG_SCHED_INFO))
		features |= BIT(KVM_FEATURE_STEAL_TIME) | BIT(KVM_FEATURE_PV_TLB_FLUSH);
	return features;
}

void lodge_pv_reset(struct lodge_vcpu *vcpu)
{
	struct lodge_pv *pv = &vcpu->pv;

	/* It may have asked for a flush, and is not looked at any more. */
	vcpu->flush_tlb |= pv->preempted;
	pv->preempted = false;
	pv->steal_msr = 0;
	pv->eoi_msr = 0;
	WRITE_ONCE(pv->unhalted, false);
	/* Whatever is in those pages now is not for us to write to. */
	vcpu->kvmclock.msr = 0;
}

/* Steal time ------------------------------------------------------------------- */

static u64 steal_gpa(const struct lodge_vcpu *vcpu)
{
	return vcpu->pv.steal_msr & KVM_STEAL_VALID_BITS;
}

int lodge_steal_time_set_msr(struct lodge_vcpu *vcpu, u64 data)
{
	struct lodge_pv *pv = &vcpu->pv;

	if (!IS_ENABLED(CONFIG_SCHED_INFO) || data & KVM_STEAL_RESERVED_MASK)
		return 1;
	vcpu->flush_tlb |= pv->preempted;
	/* A page that comes with a migrated guest may say so: look before the next entry. */
	pv->preempted = data & KVM_MSR_ENABLED;
	pv->steal_msr = data;
	pv->task = NULL;
	return 0;
}

/*
 * Takes back "preempted". Until then another vCPU could add KVM_VCPU_FLUSH_TLB in
 * place of an interrupt, so what it asked for is done before the guest runs.
 */
static void take_preempted(struct lodge_vcpu *vcpu)
{
	u64 gpa = steal_gpa(vcpu) + offsetof(struct kvm_steal_time, preempted);
	u8 old = KVM_VCPU_PREEMPTED, new = 0;
	unsigned int i;
	int r = 1;

	for (i = 0; i < MAX_EXCHANGES && r > 0; i++)
		r = lodge_cmpxchg_gpa(vcpu, gpa, &old, &new, sizeof(old));
	vcpu->pv.preempted = false;
	if (r || old & KVM_VCPU_FLUSH_TLB)
		vcpu->flush_tlb = true;
	if (r > 0)
		lodge_write_gpa(vcpu, gpa, &new, sizeof(new));
}

/* What this thread waited for since the last time; another thread begins anew. */
static u64 new_delay(struct lodge_pv *pv)
{
	u64 last = pv->run_delay, now = lodge_run_delay();

	pv->run_delay = now;
	if (pv->task == current)
		return now - last;
	pv->task = current;
	return 0;
}

void lodge_steal_time_update(struct lodge_vcpu *vcpu)
{
	struct { u64 steal; u32 version; } st;
	u64 gpa = steal_gpa(vcpu);
	u64 version_gpa = gpa + offsetof(struct kvm_steal_time, version);
	u64 delay = new_delay(&vcpu->pv);

	BUILD_BUG_ON(offsetof(struct kvm_steal_time, steal) ||
		     offsetof(typeof(st), version) != offsetof(struct kvm_steal_time, version));
	if (vcpu->pv.preempted)
		take_preempted(vcpu);
	if (!delay)
		return;
	if (lodge_read_gpa(vcpu->vm, gpa, &st, offsetofend(typeof(st), version))) {
		vcpu->pv.run_delay -= delay;	/* to be told when the page is there */
		return;
	}
	/* Odd while the rest changes: the guest reads it before and after. */
	st.version |= 1;
	if (lodge_write_gpa(vcpu, version_gpa, &st.version, sizeof(st.version)))
		return;
	smp_wmb();	/* odd before the contents; pairs with the guest's reads */
	st.steal += delay;
	lodge_write_gpa(vcpu, gpa, &st.steal, sizeof(st.steal));
	smp_wmb();	/* the contents before even */
	st.version++;
	lodge_write_gpa(vcpu, version_gpa, &st.version, sizeof(st.version));
}

void __lodge_tell_preempted(struct lodge_vcpu *vcpu)
{
	u64 gpa = steal_gpa(vcpu) + offsetof(struct kvm_steal_time, preempted);

	/* Where the page is not at hand the others take this vCPU for a running one. */
	if (vcpu->pv.steal_msr & KVM_MSR_ENABLED)
		vcpu->pv.preempted = lodge_try_write_gpa(vcpu, gpa, KVM_VCPU_PREEMPTED);
}

/* Hypercalls --------------------------------------------------------------------- */

/* The vCPU may be waiting for a CPU: lend it this one. */
static void yield_to_id(struct lodge_vcpu *vcpu, u32 id)
{
	struct lodge_vm *vm = vcpu->vm;
	unsigned int i, n = smp_load_acquire(&vm->nr_vcpus);	/* pairs with create_vcpu() */

	vcpu->stats.directed_yield_attempted++;
	for (i = 0; i < n; i++) {
		struct lodge_vcpu *other = lodge_vm_vcpu(vm, i);

		if (other->id != id)
			continue;
		if (other != vcpu)
			vcpu->stats.directed_yield_successful += lodge_yield_to(other);
		break;
	}
}

/* @args: flags, APIC id. It runs on after its HLT, or after the next one. */
static long kick_cpu(struct lodge_vcpu *vcpu, const u64 *args)
{
	struct apic_irq irq = {
		.dest_id = args[1],
		.delivery = APIC_REMOTE_READ,
	};

	irqchip_deliver(&vcpu->vm->ic, vcpu->lapic, &irq);
	yield_to_id(vcpu, args[1]);
	return 0;
}

/* @args: a bitmap of two words, the APIC id of its first bit, the ICR's lower half. */
static long send_ipi(struct lodge_vcpu *vcpu, const u64 *args, unsigned int word_bits)
{
	unsigned long ids[2] = { args[0], args[1] };
	struct apic_irq irq = {
		.vector = args[3],
		.delivery = (args[3] >> 8) & 7,
		.shorthand = APIC_TO_ID,
		.assert = args[3] & BIT(14),
		.level = args[3] & BIT(15),
	};
	u32 first = args[2];
	unsigned int i, w;
	long count = 0;

	/* A destination of its own: logical, or a shorthand. */
	if (args[3] & (BIT(11) | 3u << 18))
		return -KVM_EINVAL;
	for (w = 0; w < ARRAY_SIZE(ids); w++, first += word_bits) {
		for_each_set_bit(i, &ids[w], word_bits) {
			irq.dest_id = first + i;
			if (irq.dest_id < first)
				break;	/* nor in KVM, though the second word may begin anew */
			count += irqchip_deliver(&vcpu->vm->ic, vcpu->lapic, &irq);
		}
	}
	return count;
}

static long hypercall(struct lodge_vcpu *vcpu, u64 nr, const u64 *args, bool long64)
{
	switch (nr) {
	case KVM_HC_VAPIC_POLL_IRQ:
		return 0;
	case KVM_HC_KICK_CPU:
		if (!vcpu->lapic || !lodge_pv_has(vcpu, KVM_FEATURE_PV_UNHALT))
			return -KVM_ENOSYS;
		return kick_cpu(vcpu, args);
	case KVM_HC_SEND_IPI:
		if (!vcpu->lapic || !lodge_pv_has(vcpu, KVM_FEATURE_PV_SEND_IPI))
			return -KVM_ENOSYS;
		return send_ipi(vcpu, args, long64 ? 64 : 32);
	case KVM_HC_SCHED_YIELD:
		if (!lodge_pv_has(vcpu, KVM_FEATURE_PV_SCHED_YIELD))
			return -KVM_ENOSYS;
		yield_to_id(vcpu, args[0]);
		return 0;
	default:
		return -KVM_ENOSYS;
	}
}

/*
 * The guest says how it uses memory: @args: address, pages, attributes. Only user space
 * knows what to do about it. 0 or -KVM_E*: no exit.
 */
static long map_gpa_range(struct lodge_vcpu *vcpu, const u64 *args, bool long64)
{
	struct lodge_hypercall_exit exit = {
		.nr = KVM_HC_MAP_GPA_RANGE,
		.args = { args[0], args[1], args[2] },
		.flags = long64,	/* KVM_EXIT_HYPERCALL_LONG_MODE */
	};
	u64 gfn = args[0] >> PAGE_SHIFT;

	if (!(READ_ONCE(vcpu->vm->hypercall_exits) & BIT(KVM_HC_MAP_GPA_RANGE)))
		return -KVM_ENOSYS;
	if (!PAGE_ALIGNED(args[0]) || !args[1] || gfn + args[1] <= gfn)
		return -KVM_EINVAL;
	vcpu->run->exit_reason = KVM_EXIT_HYPERCALL;
	memcpy(vcpu->run->padding, &exit, sizeof(exit));
	return 0;
}

static void finish(struct lodge_vcpu *vcpu, u64 result, u64 next_rip)
{
	lodge_state_get(vcpu, LODGE_ST_SEGS | LODGE_ST_CRS);
	vcpu->st.gpr[GPR_RAX] = lodge_is_64bit(vcpu) ? result : (u32)result;
	vcpu->stats.hypercalls++;
	lodge_retire(vcpu, next_rip);
}

/* KVM_RUN after KVM_EXIT_HYPERCALL. */
static int finish_hypercall(struct lodge_vcpu *vcpu)
{
	finish(vcpu, READ_ONCE(vcpu->run->hypercall.ret), vcpu->unfinished.next_rip);
	return LODGE_REENTER;
}

/* The number is in RAX, arguments in RBX, RCX, RDX and RSI; the result goes to RAX. */
int lodge_exit_hypercall(struct lodge_vcpu *vcpu)
{
	const u64 *gpr = vcpu->st.gpr;
	u64 args[4] = { gpr[GPR_RBX], gpr[GPR_RCX], gpr[GPR_RDX], gpr[GPR_RSI] };
	u64 nr = gpr[GPR_RAX], next;
	unsigned int i;
	long result;
	bool long64;

	if (!lodge_next_rip(vcpu, &next))
		return LODGE_REENTER;
	lodge_state_get(vcpu, LODGE_ST_SEGS | LODGE_ST_CRS);
	long64 = lodge_is_64bit(vcpu);
	if (!long64) {
		nr = (u32)nr;
		for (i = 0; i < ARRAY_SIZE(args); i++)
			args[i] = (u32)args[i];
	}
	if (vcpu->st.cpl) {
		result = -KVM_EPERM;
	} else if (nr == KVM_HC_MAP_GPA_RANGE) {
		result = map_gpa_range(vcpu, args, long64);
		if (!result)
			return lodge_leave_unfinished(vcpu, finish_hypercall, next);
	} else {
		result = hypercall(vcpu, nr, args, long64);
	}
	finish(vcpu, result, next);
	return LODGE_REENTER;
}

/*
 * Of the hypercalls that do something only SEND_IPI is frequent, and needs no more than a write
 * to the ICR does, unless it names many.
 */
enum lodge_next lodge_hypercall_fast(struct lodge_vcpu *vcpu, u64 next_rip)
{
	u64 *gpr = vcpu->st.gpr;
	u64 args[4] = { gpr[GPR_RBX], gpr[GPR_RCX], gpr[GPR_RDX], gpr[GPR_RSI] };

	switch (gpr[GPR_RAX]) {
	case KVM_HC_KICK_CPU:
	case KVM_HC_SCHED_YIELD:
	case KVM_HC_MAP_GPA_RANGE:
		return LODGE_SLOW;
	case KVM_HC_SEND_IPI:
		if (hweight64(args[0]) + hweight64(args[1]) > MAX_FAST_IPIS)
			return LODGE_SLOW;
	}
	gpr[GPR_RAX] = hypercall(vcpu, gpr[GPR_RAX], args, true);
	vcpu->stats.hypercalls++;
	lodge_retire(vcpu, next_rip);
	return LODGE_REENTER;
}

/* MODRM_VMCALL, MODRM_VMMCALL, 0: something else, or -EAGAIN: enter the guest again. */
static int hypercall_at(struct lodge_vcpu *vcpu, u64 rip)
{
	u8 code[3];
	unsigned int i;
	u32 error;
	u64 gpa;
	int r;

	/* Byte by byte: behind the first there may be nothing that can be fetched. */
	for (i = 0; i < ARRAY_SIZE(code); i++) {
		r = lodge_walk(vcpu, rip + i, LODGE_WALK_EXEC, &gpa, &error);
		if (r == -EAGAIN)
			return r;
		if (r || lodge_read_gpa(vcpu->vm, gpa, &code[i], 1) || code[0] != 0x0f)
			return 0;
	}
	if (code[1] != 0x01 || (code[2] != MODRM_VMCALL && code[2] != MODRM_VMMCALL))
		return 0;
	return code[2];
}

int lodge_fix_hypercall(struct lodge_vcpu *vcpu, u8 own)
{
	u64 rip = lodge_linear_rip(vcpu), last = rip + 2, gpa;
	int found = 0;
	u32 error;
	int r;

	lodge_state_get(vcpu, LODGE_ST_SEGS | LODGE_ST_CRS);
	if (lodge_has_quirk(vcpu->vm, KVM_X86_QUIRK_FIX_HYPERCALL_INSN) && !vcpu->st.cpl &&
	    (lodge_is_64bit(vcpu) ? lodge_is_canonical(vcpu, last) : last <= U32_MAX))
		found = hypercall_at(vcpu, rip);
	if (!found)
		return lodge_exit_ud(vcpu);
	/* Own: another vCPU was faster. */
	if (found == own || found == -EAGAIN)
		return LODGE_REENTER;

	r = lodge_walk(vcpu, last, LODGE_WALK_WRITE, &gpa, &error);
	if (r > 0)
		lodge_queue_page_fault(vcpu, last, error);
	else if (r != -EAGAIN && (r || lodge_write_gpa(vcpu, gpa, &own, sizeof(own))))
		return lodge_exit_ud(vcpu);
	return LODGE_REENTER;
}
