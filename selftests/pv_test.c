// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a guest asks of its host as a guest: steal time and the "preempted" byte,
 * and the hypercalls that kick a halted vCPU, send IPIs and yield.
 */
#define _GNU_SOURCE
#include <kselftest_harness.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include "guest.h"
#include "test_vm.h"

#define MSR_KVM_WALL_CLOCK	0x11
#define MSR_KVM_SYSTEM_TIME_NEW	0x4b564d01
#define MSR_KVM_STEAL_TIME	0x4b564d03
#define KVM_CPUID_FEATURES	0x40000001
#define FEATURE_STEAL_TIME	5
#define FEATURE_PV_UNHALT	7
#define FEATURE_PV_TLB_FLUSH	9
#define FEATURE_PV_SEND_IPI	11
#define FEATURE_PV_SCHED_YIELD	13
#define HC_KICK_CPU		5
#define HC_SEND_IPI		10
#define HC_SCHED_YIELD		11
#define HC_MAP_GPA_RANGE	12
#define HC_EPERM		1
#define HC_EINVAL		22
#define HC_ENOSYS		1000
#define PREEMPTED		1
#define FLUSH_TLB		2

#define STEAL			GUEST_SCRATCH
#define MANY			1000000

struct steal_time {
	u64 steal;
	u32 version;
	u32 flags;
	u8 preempted;
	u8 pad[47];
};

static volatile u32 stage;
static volatile u32 got;
static volatile u64 result;

static long hypercall(u64 nr, u64 a, u64 b, u64 c, u64 d)
{
	u32 r[4];
	long ret;

	guest_cpuid(0, 0, r);
	if (r[2] == 0x444d4163)		/* "cAMD" */
		asm volatile("vmmcall" : "=a"(ret)
			     : "0"(nr), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
	else
		asm volatile("vmcall" : "=a"(ret)
			     : "0"(nr), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
	return ret;
}

static volatile struct steal_time *steal_page(void)
{
	return (volatile struct steal_time *)STEAL;
}

FIXTURE(pv) {
	struct test_vm vm;
	struct test_vcpu vcpu[2];
	pthread_t thread;
};

FIXTURE_SETUP(pv)
{
	vm_create(&self->vm);
	vm_create_irqchip(&self->vm);
	vcpu_create(&self->vm, &self->vcpu[0], 0);
	vcpu_create(&self->vm, &self->vcpu[1], 1);
}

FIXTURE_TEARDOWN(pv)
{
	vcpu_destroy(&self->vcpu[1]);
	vcpu_destroy(&self->vcpu[0]);
	vm_destroy(&self->vm);
}

static void *run_to_done(void *arg)
{
	vcpu_run_to_done((struct test_vcpu *)arg);
	return NULL;
}

/* vCPU 1 runs @fn in a thread of its own. */
static void start_second(struct test_vcpu *vcpu, pthread_t *thread, void (*fn)(u64))
{
	struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };

	vcpu_setup_long(vcpu, fn, 1);
	vcpu_ioctl(vcpu, KVM_SET_MP_STATE, &runnable);
	if (pthread_create(thread, NULL, run_to_done, vcpu))
		TEST_DIE("cannot make a thread");
}

static u32 supported_features(void)
{
	int device = device_open();
	struct kvm_cpuid2 *cpuid = cpuid_supported(device);
	u32 features = cpuid_find(cpuid, KVM_CPUID_FEATURES, 0)->eax;

	free(cpuid);
	close(device);
	return features;
}

TEST(announced)
{
	u32 wanted = 1 << FEATURE_STEAL_TIME | 1 << FEATURE_PV_UNHALT |
		     1 << FEATURE_PV_TLB_FLUSH | 1 << FEATURE_PV_SEND_IPI |
		     1 << FEATURE_PV_SCHED_YIELD;
	int device = device_open();

	ASSERT_EQ(wanted, supported_features() & wanted);
	ASSERT_EQ(1, device_cap(device, KVM_CAP_STEAL_TIME));
	close(device);
}

TEST_F(pv, steal_time_msr)
{
	struct test_vcpu *vcpu = &self->vcpu[0];

	ASSERT_EQ(0, vcpu_get_msr(vcpu, MSR_KVM_STEAL_TIME));
	ASSERT_EQ(1, __vcpu_set_msr(vcpu, MSR_KVM_STEAL_TIME, STEAL | 1));
	ASSERT_EQ(STEAL | 1, vcpu_get_msr(vcpu, MSR_KVM_STEAL_TIME));
	/* Bits 1 to 5 are reserved. */
	ASSERT_EQ(0, __vcpu_set_msr(vcpu, MSR_KVM_STEAL_TIME, STEAL | 3));
	ASSERT_EQ(0, __vcpu_set_msr(vcpu, MSR_KVM_STEAL_TIME, STEAL | 0x21));
	ASSERT_EQ(STEAL | 1, vcpu_get_msr(vcpu, MSR_KVM_STEAL_TIME));
	ASSERT_EQ(1, __vcpu_set_msr(vcpu, MSR_KVM_STEAL_TIME, 0));
}

static void use_steal_time(u64 arg __maybe_unused)
{
	volatile struct steal_time *st = steal_page();

	st->preempted = PREEMPTED;
	GUEST_ASSERT_EQ(GUEST_NO_FAULT, wrmsr_try(MSR_KVM_STEAL_TIME, STEAL | 1));
	for (;;) {
		GUEST_ASSERT_EQ(0, st->version & 1);
		GUEST_ASSERT_EQ(0, st->preempted);
		GUEST_SYNC(st->steal);
	}
}

static u64 run_delay(void)
{
	unsigned long long delay;
	FILE *f = fopen("/proc/thread-self/schedstat", "r");

	if (!f || fscanf(f, "%*u %llu", &delay) != 1)
		TEST_DIE("no /proc/thread-self/schedstat");
	fclose(f);
	return delay;
}

static void *hog(void *arg)
{
	volatile bool *stop = arg;

	while (!*stop)
		;
	return NULL;
}

/* What the thread waits for is told to the guest, all of it and no more. */
TEST_F(pv, steal_time)
{
	struct test_vcpu *vcpu = &self->vcpu[0];
	u64 before, after, stolen;
	volatile bool stop = false;
	pthread_t thread;
	cpu_set_t cpus;

	/* The hog, a thread of ours, is to be on our CPU. */
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(cpus), &cpus));
	ASSERT_EQ(0, host_stay_on_first_cpu());
	vcpu_setup_long(vcpu, use_steal_time, 0);
	stolen = vcpu_run_to_sync(vcpu);
	before = run_delay();
	ASSERT_LE(stolen, before);
	ASSERT_EQ(0, pthread_create(&thread, NULL, hog, (void *)&stop));
	while (run_delay() - before < 20000000)
		sched_yield();
	stop = true;
	ASSERT_EQ(0, pthread_join(thread, NULL));
	after = run_delay();
	stolen = vcpu_run_to_sync(vcpu) - stolen;
	ASSERT_LE(after - before, stolen);
	ASSERT_GE(run_delay(), stolen);
	/* Moving the page elsewhere, or nowhere, is the guest's right. */
	vcpu_set_msr(vcpu, MSR_KVM_STEAL_TIME, GUEST_HOLE | 1);
	vcpu_run_to_sync(vcpu);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(cpus), &cpus));
}

static void halt_and_look(u64 arg __maybe_unused)
{
	wrmsr(MSR_KVM_STEAL_TIME, STEAL | 1);
	xapic_write(APIC_SPIV, 0x1ff);
	guest_cli();
	stage = 1;
	guest_halt();
	got = steal_page()->preempted;
	stage = 3;
}

static void flush_and_kick(u64 arg __maybe_unused)
{
	volatile struct steal_time *st = steal_page();
	u32 n;

	while (stage != 1)
		guest_relax();
	/* No PAUSE: KVM may exit for each. A second or so. */
	for (n = 0; n < 50 * MANY && st->preempted != PREEMPTED; n++)
		;
	result = __sync_bool_compare_and_swap(&st->preempted, PREEMPTED, PREEMPTED | FLUSH_TLB);
	stage = 2;
	GUEST_ASSERT_EQ(0, hypercall(HC_KICK_CPU, 0, 1, 0, 0));
	while (stage != 3)
		guest_relax();
	GUEST_ASSERT_EQ(0, got);
}

/*
 * A halted vCPU says that it has no CPU (KVM's only when it is preempted); a kick wakes
 * it, interrupts disabled or not.
 */
TEST_F(pv, preempted_and_kick)
{
	start_second(&self->vcpu[1], &self->thread, halt_and_look);
	vcpu_setup_long(&self->vcpu[0], flush_and_kick, 0);
	vcpu_run_to_done(&self->vcpu[0]);
	ASSERT_EQ(0, pthread_join(self->thread, NULL));
	if (!test_device_is_kvm())
		ASSERT_EQ(1, guest_var(&self->vm, result));
}

static void wait_then_halt(u64 arg __maybe_unused)
{
	xapic_write(APIC_SPIV, 0x1ff);
	guest_cli();
	stage = 1;
	while (stage != 2)
		guest_relax();
	guest_halt();
	stage = 3;
}

static void kick_early(u64 arg __maybe_unused)
{
	while (stage != 1)
		guest_relax();
	GUEST_ASSERT_EQ(0, hypercall(HC_KICK_CPU, 0, 1, 0, 0));
	GUEST_ASSERT_EQ(0, hypercall(HC_SCHED_YIELD, 1, 0, 0, 0));
	/* Nobody has these ids. */
	GUEST_ASSERT_EQ(0, hypercall(HC_KICK_CPU, 0, 77, 0, 0));
	GUEST_ASSERT_EQ(0, hypercall(HC_SCHED_YIELD, 77, 0, 0, 0));
	stage = 2;
}

/* A kick that comes too early is there for the next HLT. */
TEST_F(pv, early_kick)
{
	start_second(&self->vcpu[1], &self->thread, wait_then_halt);
	vcpu_setup_long(&self->vcpu[0], kick_early, 0);
	vcpu_run_to_done(&self->vcpu[0]);
	ASSERT_EQ(0, pthread_join(self->thread, NULL));
}

static void count_irq(struct guest_regs *regs __maybe_unused)
{
	__sync_fetch_and_add(&got, 1);
	xapic_write(APIC_EOI, 0);
}

static void take_ipis(u64 arg __maybe_unused)
{
	xapic_write(APIC_SPIV, 0x1ff);
	stage = 1;
	guest_sti();
	while (stage != 2)
		guest_relax();
}

static void send_ipis(u64 arg __maybe_unused)
{
	xapic_write(APIC_SPIV, 0x1ff);
	while (stage != 1)
		guest_relax();
	/* Only the second of the three is there. */
	GUEST_ASSERT_EQ(1, hypercall(HC_SEND_IPI, 0xe, 0, 0, 0x40));
	/* As long as it takes: the harness has a limit. */
	while (!got)
		guest_relax();
	GUEST_ASSERT_EQ(1, got);
	GUEST_ASSERT_EQ(0, hypercall(HC_SEND_IPI, 0, ~0UL, 1, 0x40));
	/* Here these are ids that nobody has, not broadcasts. */
	GUEST_ASSERT_EQ(0, hypercall(HC_SEND_IPI, 1, 0, 0xff, 0x40));
	GUEST_ASSERT_EQ(0, hypercall(HC_SEND_IPI, 1, 0, 0xffffffff, 0x40));
	GUEST_ASSERT_EQ(0, hypercall(HC_SEND_IPI, 6, 0, 0xffffffff, 0x40));
	/* Both, one of them by the lowest id. */
	GUEST_ASSERT_EQ(2, hypercall(HC_SEND_IPI, 3, 0, 0, 0x40));
	while (got < 2)
		guest_relax();
	guest_irq_window();
	GUEST_ASSERT_EQ(3, got);
	/* A destination in the ICR: logical, or a shorthand. */
	GUEST_ASSERT_EQ(-HC_EINVAL, hypercall(HC_SEND_IPI, 3, 0, 0, 0x840));
	GUEST_ASSERT_EQ(-HC_EINVAL, hypercall(HC_SEND_IPI, 3, 0, 0, 0x80040));
	guest_irq_window();
	GUEST_ASSERT_EQ(3, got);
	stage = 2;
}

TEST_F(pv, send_ipi)
{
	guest_var(&self->vm, guest_handlers)[0x40] = count_irq;
	start_second(&self->vcpu[1], &self->thread, take_ipis);
	vcpu_setup_long(&self->vcpu[0], send_ipis, 0);
	vcpu_run_to_done(&self->vcpu[0]);
	ASSERT_EQ(0, pthread_join(self->thread, NULL));
}

static void use_none(u64 arg __maybe_unused)
{
}

static void map_ranges(u64 arg __maybe_unused)
{
	/* Nobody wants to hear of it; then arguments that mean nothing. */
	GUEST_ASSERT_EQ(-HC_ENOSYS, hypercall(HC_MAP_GPA_RANGE, 0x2000, 3, 0x10, 0));
	GUEST_SYNC(1);
	GUEST_ASSERT_EQ(-HC_EINVAL, hypercall(HC_MAP_GPA_RANGE, 1, 1, 0, 0));
	GUEST_ASSERT_EQ(-HC_EINVAL, hypercall(HC_MAP_GPA_RANGE, 0, 0, 0, 0));
	GUEST_ASSERT_EQ(-HC_EINVAL, hypercall(HC_MAP_GPA_RANGE, 0x1000, ~0UL, 0, 0));
	GUEST_ASSERT_EQ(~0x76UL, hypercall(HC_MAP_GPA_RANGE, 0x2000, 3, 0x10, 0));
	hypercall(HC_MAP_GPA_RANGE, ~0xfffUL, 1, 0, 0);
	GUEST_ASSERT(false);	/* user space has moved it */
}

/* KVM_CAP_EXIT_HYPERCALL */
TEST_F(pv, exit_hypercall)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_EXIT_HYPERCALL };
	struct test_vcpu *vcpu = &self->vcpu[0];
	struct kvm_run *run = vcpu->run;
	struct kvm_regs regs;

	ASSERT_EQ(1 << HC_MAP_GPA_RANGE, vm_cap(&self->vm, KVM_CAP_EXIT_HYPERCALL));
	vcpu_setup_long(vcpu, map_ranges, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(vcpu));
	cap.args[0] = 1 << HC_MAP_GPA_RANGE;
	ASSERT_EQ(0, __vm_ioctl(&self->vm, KVM_ENABLE_CAP, &cap));
	/* Refused, nothing changes. */
	cap.args[0] = 1 << HC_SEND_IPI;
	ASSERT_EQ(-EINVAL, __vm_ioctl(&self->vm, KVM_ENABLE_CAP, &cap));
	cap.args[0] = 1ULL << 44;
	ASSERT_EQ(-EINVAL, __vm_ioctl(&self->vm, KVM_ENABLE_CAP, &cap));

	vcpu_run_expect(vcpu, KVM_EXIT_HYPERCALL);
	ASSERT_EQ(HC_MAP_GPA_RANGE, run->hypercall.nr);
	ASSERT_EQ(0x2000, run->hypercall.args[0]);
	ASSERT_EQ(3, run->hypercall.args[1]);
	ASSERT_EQ(0x10, run->hypercall.args[2]);
	ASSERT_EQ(1, run->hypercall.longmode);
	vcpu_ioctl(vcpu, KVM_GET_REGS, &regs);
	ASSERT_EQ(HC_MAP_GPA_RANGE, regs.rax);
	run->hypercall.ret = ~0x76UL;

	vcpu_run_expect(vcpu, KVM_EXIT_HYPERCALL);
	ASSERT_EQ(~0xfffUL, run->hypercall.args[0]);
	/* KVM finishes the instruction wherever RIP is now. */
	if (test_device_is_kvm())
		return;
	vcpu_setup_long(vcpu, use_none, 0);
	run->hypercall.ret = 5;
	vcpu_run_to_done(vcpu);
	vcpu_ioctl(vcpu, KVM_GET_REGS, &regs);
	ASSERT_NE(5, regs.rax);
}

/* 32-bit code: the arguments and the result have 32 bits. Carry: this CPU has VMCALL. */
GUEST_CODE(call32, ".code32",
	   "movl $12, %eax; movl $0x3000, %ebx; movl $1, %ecx; movl $7, %edx\n"
	   "jc 1f\n"
	   "vmmcall\n"
	   "hlt\n"
	   "1: vmcall\n"
	   "hlt");

TEST_F(pv, exit_hypercall_32)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_EXIT_HYPERCALL,
		.args[0] = 1 << HC_MAP_GPA_RANGE,
	};
	struct test_vcpu *vcpu = &self->vcpu[0];
	struct kvm_run *run = vcpu->run;
	struct kvm_regs regs;

	vm_ioctl(&self->vm, KVM_ENABLE_CAP, &cap);
	vm_place(&self->vm, GUEST_BLOB, call32, call32_end);
	vcpu_setup_prot32(vcpu, GUEST_BLOB);
	vcpu_ioctl(vcpu, KVM_GET_REGS, &regs);
	regs.rflags |= test_cpu_has_vmcall;
	vcpu_ioctl(vcpu, KVM_SET_REGS, &regs);
	vcpu_run_expect(vcpu, KVM_EXIT_HYPERCALL);
	ASSERT_EQ(0, run->hypercall.longmode);
	ASSERT_EQ(0x3000, run->hypercall.args[0]);
	run->hypercall.ret = ~0UL;
	run->immediate_exit = 1;
	ASSERT_EQ(-EINTR, __vcpu_run(vcpu));
	run->immediate_exit = 0;
	vcpu_ioctl(vcpu, KVM_GET_REGS, &regs);
	ASSERT_EQ(~0U, regs.rax);
}

/* SEND_IPI to vCPU 1, as Intel spells it or as AMD does, then a port that is not for ring 3. */
GUEST_TEXT(user_call,
	   "movl $10, %eax; movl $2, %ebx; xorl %ecx, %ecx; xorl %edx, %edx; movl $0x40, %esi\n"
	   "testl %edi, %edi; jnz 1f\n"
	   "vmmcall; jmp 2f\n"
	   "1: vmcall\n"
	   "2: outl %eax, $0x80\n");

static void user_faulted(struct guest_regs *regs)
{
	GUEST_SYNC(regs->rax);
}

static void call_as_user(u64 arg __maybe_unused)
{
	asm volatile("ltr %w0" : : "r"(GUEST_TSS_SEL));
	asm volatile("pushq %0\n\tpushq %1\n\tpushq $2\n\tpushq %2\n\t"
		     "pushq %3\n\tiretq"
		     : : "r"((u64)GUEST_USER_DATA | 3), "r"(GUEST_STACKS),
		     "r"((u64)GUEST_USER_CODE64 | 3), "r"((u64)(uintptr_t)user_call),
		     "D"(test_cpu_has_vmcall) : "memory");
}

/* What a guest's user space asks for is not done. */
TEST_F(pv, user_space)
{
	u64 *gdt = vm_ptr(&self->vm, GUEST_GDT);
	struct kvm_lapic_state lapic;

	vcpu_ioctl(&self->vcpu[1], KVM_GET_LAPIC, &lapic);
	*(u32 *)&lapic.regs[APIC_SPIV] = 0x1ff;
	vcpu_ioctl(&self->vcpu[1], KVM_SET_LAPIC, &lapic);
	guest_var(&self->vm, guest_handlers[13]) = user_faulted;
	gdt[GUEST_TSS_SEL / 8] &= ~(2UL << 40);	/* available, for LTR */
	vcpu_setup_long(&self->vcpu[0], call_as_user, 0);
	ASSERT_EQ(-HC_EPERM, vcpu_run_to_sync(&self->vcpu[0]));
	vcpu_ioctl(&self->vcpu[1], KVM_GET_LAPIC, &lapic);
	ASSERT_EQ(0, *(u32 *)&lapic.regs[APIC_IRR + 0x40 / 32 * 0x10]);
}

static void use_all(u64 allowed)
{
	u64 fault = allowed ? GUEST_NO_FAULT : 13, v;

	GUEST_ASSERT_EQ(fault, rdmsr_try(MSR_KVM_STEAL_TIME, &v));
	GUEST_ASSERT_EQ(fault, wrmsr_try(MSR_KVM_STEAL_TIME, 0));
	GUEST_ASSERT_EQ(fault, rdmsr_try(MSR_KVM_SYSTEM_TIME_NEW, &v));
	GUEST_ASSERT_EQ(fault, wrmsr_try(MSR_KVM_SYSTEM_TIME_NEW, 0));
	GUEST_ASSERT_EQ(fault, rdmsr_try(MSR_KVM_WALL_CLOCK, &v));
	GUEST_ASSERT_EQ(allowed ? 0 : -HC_ENOSYS, hypercall(HC_KICK_CPU, 0, 77, 0, 0));
	GUEST_ASSERT_EQ(allowed ? 0 : -HC_ENOSYS, hypercall(HC_SCHED_YIELD, 77, 0, 0, 0));
	GUEST_ASSERT_EQ(allowed ? 0 : -HC_ENOSYS, hypercall(HC_SEND_IPI, 0, 2, 7, 0x40));
	GUEST_ASSERT_EQ(-HC_ENOSYS, hypercall(99, 0, 0, 0, 0));
}

/* KVM_CAP_ENFORCE_PV_FEATURE_CPUID: only then does CPUID decide. */
TEST_F(pv, enforce)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID };
	struct test_vcpu *vcpu = &self->vcpu[0];
	struct kvm_cpuid2 *cpuid;
	int device = device_open();

	cpuid = cpuid_supported(device);
	cpuid_find(cpuid, KVM_CPUID_FEATURES, 0)->eax = 0;
	vcpu_ioctl(vcpu, KVM_SET_CPUID2, cpuid);
	free(cpuid);
	close(device);

	ASSERT_EQ(1, vm_cap(&self->vm, KVM_CAP_ENFORCE_PV_FEATURE_CPUID));
	vcpu_setup_long(vcpu, use_all, 1);
	vcpu_run_to_done(vcpu);
	cap.args[0] = 1;
	ASSERT_EQ(0, __vcpu_ioctl(vcpu, KVM_ENABLE_CAP, &cap));
	vcpu_setup_long(vcpu, use_all, 0);
	vcpu_run_to_done(vcpu);
	cap.args[0] = 0;
	ASSERT_EQ(0, __vcpu_ioctl(vcpu, KVM_ENABLE_CAP, &cap));
	vcpu_setup_long(vcpu, use_all, 1);
	vcpu_run_to_done(vcpu);
	cap.flags = 1;
	ASSERT_EQ(-EINVAL, __vcpu_ioctl(vcpu, KVM_ENABLE_CAP, &cap));
	cap.flags = 0;
	cap.cap = 0xffff;
	ASSERT_EQ(-EINVAL, __vcpu_ioctl(vcpu, KVM_ENABLE_CAP, &cap));
}

TEST_HARNESS_MAIN
