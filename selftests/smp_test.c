// SPDX-License-Identifier: GPL-2.0-only
/*
 * Several vCPUs: every kind of IPI, INIT and SIPI, wake-ups that must not be
 * lost while threads move between CPUs, shadows of STI, TSCs that agree, and
 * code that changes.
 *
 * SMP_ROUNDS in the environment says how often the ping-pongs go (1000).
 */
#define _GNU_SOURCE
#include <kselftest_harness.h>

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "guest.h"
#include "test_vm.h"

#define MAX_VCPUS	64U
#define STACK_SHIFT	14		/* 64 of them in GUEST_SCRATCH */
#define VECTOR		0x51
#define NMI		2
#define TRAMPOLINE	GUEST_BLOB
#define SIPI_VECTOR	(TRAMPOLINE >> 12)
#define SIPI_COUNT	GUEST_FREE
#define PATIENCE	(20UL * 2600000000UL)	/* cycles, about */

#define ICR_ASSERT	(1U << 14)
#define ICR_LOGICAL	(1U << 11)
#define ICR_LOWEST	(1U << 8)
#define ICR_NMI		(4U << 8)
#define ICR_INIT	(5U << 8)
#define ICR_SIPI	(6U << 8)
#define ICR_SELF	(1U << 18)
#define ICR_ALL		(2U << 18)
#define ICR_OTHERS	(3U << 18)

enum { XAPIC_FLAT, XAPIC_CLUSTER, X2APIC };

struct percpu {
	volatile u64 hits;		/* of VECTOR and of NMIs */
	volatile u64 ready;
	u64 expected;
	u64 taken_at;			/* RIP */
	u64 pad[4];
};

static struct percpu percpu[MAX_VCPUS];
static volatile u64 apic_mode, nr_vcpus, stop, rounds;

FIXTURE(smp) {
	struct test_vm vm;
	struct test_vcpu vcpu[MAX_VCPUS];
	pthread_t thread[MAX_VCPUS], mover;
	unsigned int nr;
};

FIXTURE_SETUP(smp)
{
	vm_create(&self->vm);
	vm_create_irqchip(&self->vm);
}

FIXTURE_TEARDOWN(smp)
{
	unsigned int i;

	for (i = 0; i < self->nr; i++)
		vcpu_destroy(&self->vcpu[i]);
	vm_destroy(&self->vm);
}

/* The guest */

/* Each vCPU has its own stack, which says who it is without an exit. */
static unsigned int this_cpu(void)
{
	u64 rsp;

	asm volatile("mov %%rsp, %0" : "=r"(rsp));
	return (unsigned int)((rsp - GUEST_SCRATCH) >> STACK_SHIFT);
}

static void count_irq(struct guest_regs *regs)
{
	struct percpu *me = &percpu[this_cpu()];

	me->hits++;
	me->taken_at = regs->rip;
	if (regs->vector == NMI)
		return;
	guest_apic_write(apic_mode == X2APIC, APIC_EOI, 0);
}

static void send(u32 dest, u32 low)
{
	if (apic_mode == X2APIC) {
		wrmsr(X2APIC_MSR(APIC_ICR), (u64)dest << 32 | low);
		return;
	}
	xapic_write(APIC_ICR2, dest << 24);
	xapic_write(APIC_ICR, low);
}

static u32 logical_id(unsigned int cpu)
{
	if (apic_mode == X2APIC)
		return (cpu / 16) << 16 | 1U << (cpu % 16);
	if (apic_mode == XAPIC_CLUSTER)
		return cpu < 60 ? (cpu / 4) << 4 | 1U << (cpu % 4) : 0;
	return cpu < 8 ? 1U << cpu : 0;
}

static void enable_apic(void)
{
	unsigned int me = this_cpu();

	if (apic_mode == X2APIC) {
		wrmsr(MSR_APICBASE, rdmsr(MSR_APICBASE) | 1 << 10);
		wrmsr(X2APIC_MSR(APIC_SPIV), 0x1ff);
		GUEST_ASSERT_EQ(rdmsr(X2APIC_MSR(APIC_ID)), me);
		GUEST_ASSERT_EQ(rdmsr(X2APIC_MSR(APIC_LDR)), logical_id(me));
	} else {
		xapic_write(APIC_SPIV, 0x1ff);
		GUEST_ASSERT_EQ(xapic_read(APIC_ID), me << 24);
		xapic_write(APIC_DFR, apic_mode == XAPIC_CLUSTER ? 0x0fffffff :
								   0xffffffff);
		xapic_write(APIC_LDR, logical_id(me) << 24);
	}
	percpu[me].ready = 1;
}

static void guest_target(u64 arg __maybe_unused)
{
	enable_apic();
	while (!stop)
		guest_sti_halt_cli();
}

/* The vCPUs of @mask, and no others, have got one more. */
static void expect(u64 mask)
{
	u64 i, start = rdtsc();

	for (i = 0; i < nr_vcpus; i++) {
		if (!(mask >> i & 1))
			continue;
		percpu[i].expected++;
		while (percpu[i].hits != percpu[i].expected) {
			guest_irq_window();
			guest_relax();
			if (rdtsc() - start > PATIENCE)
				guest_assert_failed(__FILE__, __LINE__, "an IPI came",
						    i, mask);
		}
	}
	guest_irq_window();
	for (i = 0; i < nr_vcpus; i++)
		if (percpu[i].hits != percpu[i].expected)
			guest_assert_failed(__FILE__, __LINE__, "no other came",
					    i, mask);
}

/* One more among those of @mask, whoever got it. */
static void expect_one(u64 mask)
{
	u64 i, sum, start = rdtsc();

	do {
		guest_irq_window();
		for (i = sum = 0; i < nr_vcpus; i++)
			sum += percpu[i].hits - percpu[i].expected;
		GUEST_ASSERT(rdtsc() - start < PATIENCE);
	} while (!sum);
	GUEST_ASSERT_EQ(sum, 1);
	for (i = 0; i < nr_vcpus; i++) {
		if (!(mask >> i & 1))
			GUEST_ASSERT_EQ(percpu[i].hits, percpu[i].expected);
		percpu[i].expected = percpu[i].hits;
	}
}

/* All that share the high part of @dest, the cluster, and a bit of its low part. */
static u64 logical_mask(u32 dest)
{
	u32 bits = apic_mode == X2APIC ? 0xffff : apic_mode == XAPIC_CLUSTER ? 0xf : 0xff;
	u64 i, mask = 0;

	for (i = 0; i < nr_vcpus; i++) {
		u32 id = logical_id((unsigned int)i);

		if ((id & ~bits) == (dest & ~bits) && (id & dest & bits))
			mask |= 1UL << i;
	}
	return mask;
}

static void wait_for_all(void)
{
	u64 i, start = rdtsc();

	for (i = 0; i < nr_vcpus; i++)
		while (!percpu[i].ready) {
			guest_relax();
			GUEST_ASSERT(rdtsc() - start < PATIENCE);
		}
}

static void guest_ipis(u64 arg __maybe_unused)
{
	u64 i, all;
	u32 dest;

	enable_apic();
	wait_for_all();
	all = nr_vcpus == 64 ? ~0UL : (1UL << nr_vcpus) - 1;

	for (i = 0; i < nr_vcpus; i++) {
		send((u32)i, ICR_ASSERT | VECTOR);
		expect(1UL << i);
	}
	send(apic_mode == X2APIC ? ~0U : 0xff, ICR_ASSERT | VECTOR);
	expect(all);
	send(0, ICR_ALL | ICR_ASSERT | VECTOR);
	expect(all);
	send(0, ICR_OTHERS | ICR_ASSERT | VECTOR);
	expect(all & ~1UL);
	send(7, ICR_SELF | ICR_ASSERT | VECTOR);
	expect(1);
	if (apic_mode == X2APIC) {
		wrmsr(X2APIC_MSR(0x3f0), VECTOR);
		expect(1);
		/* Nobody has this id. */
		send(0x100, ICR_ASSERT | VECTOR);
		expect(0);
	}
	send(1, ICR_ASSERT | ICR_NMI);
	expect(2);
	send(0, ICR_OTHERS | ICR_ASSERT | ICR_NMI);
	expect(all & ~1UL);

	for (i = 0; i < nr_vcpus; i++) {
		dest = logical_id((unsigned int)i);
		if (!dest)
			continue;
		send(dest, ICR_LOGICAL | ICR_ASSERT | VECTOR);
		expect(1UL << i);
		/* With neighbours in its cluster. */
		dest |= logical_id((unsigned int)i ^ 1) | logical_id((unsigned int)i ^ 2);
		send(dest, ICR_LOGICAL | ICR_ASSERT | VECTOR);
		expect(logical_mask(dest));
	}
	dest = logical_id(0) | logical_id(1) | logical_id(2);
	for (i = 0; i < 30; i++) {
		send(dest, ICR_LOGICAL | ICR_LOWEST | ICR_ASSERT | VECTOR);
		expect_one(logical_mask(dest));
	}

	stop = 1;
	send(0, ICR_OTHERS | ICR_ASSERT | VECTOR);
}

/* The host */

static void *run_thread(void *arg)
{
	vcpu_run_to_done((struct test_vcpu *)arg);
	return NULL;
}

static void add_vcpus(FIXTURE_DATA(smp) * self, unsigned int nr)
{
	struct kvm_mp_state runnable = { KVM_MP_STATE_RUNNABLE };
	unsigned int i;

	for (i = 0; i < nr; i++) {
		vcpu_create(&self->vm, &self->vcpu[i], i);
		vcpu_ioctl(&self->vcpu[i], KVM_SET_MP_STATE, &runnable);
	}
	self->nr = nr;
	guest_var(&self->vm, nr_vcpus) = nr;
	guest_var(&self->vm, guest_handlers[VECTOR]) = count_irq;
	guest_var(&self->vm, guest_handlers[NMI]) = count_irq;
}

static void setup_vcpu(FIXTURE_DATA(smp) * self, unsigned int i, void (*fn)(u64), u64 arg)
{
	vcpu_setup_long_stack(&self->vcpu[i], fn, arg,
			      GUEST_SCRATCH + ((u64)(i + 1) << STACK_SHIFT));
}

static void start_all(FIXTURE_DATA(smp) * self)
{
	unsigned int i;

	for (i = 0; i < self->nr; i++)
		if (pthread_create(&self->thread[i], NULL, run_thread, &self->vcpu[i]))
			TEST_DIE("thread %u: %m", i);
}

static void join_all(FIXTURE_DATA(smp) * self)
{
	unsigned int i;

	for (i = 0; i < self->nr; i++)
		pthread_join(self->thread[i], NULL);
}

static void test_ipis(FIXTURE_DATA(smp) * self, unsigned int nr, u64 mode)
{
	unsigned int i;

	add_vcpus(self, nr);
	guest_var(&self->vm, apic_mode) = mode;
	setup_vcpu(self, 0, guest_ipis, 0);
	for (i = 1; i < nr; i++)
		setup_vcpu(self, i, guest_target, 0);
	start_all(self);
	join_all(self);
}

TEST_F_TIMEOUT(smp, ipis_flat, 120)
{
	test_ipis(self, 4, XAPIC_FLAT);
}

TEST_F_TIMEOUT(smp, ipis_flat_10, 120)
{
	test_ipis(self, 10, XAPIC_FLAT);
}

TEST_F_TIMEOUT(smp, ipis_cluster, 200)
{
	test_ipis(self, MAX_VCPUS, XAPIC_CLUSTER);
}

TEST_F_TIMEOUT(smp, ipis_x2apic, 120)
{
	test_ipis(self, 4, X2APIC);
}

TEST_F_TIMEOUT(smp, ipis_x2apic_64, 200)
{
	test_ipis(self, MAX_VCPUS, X2APIC);
}

TEST_F(smp, limits)
{
	unsigned int i, max = (unsigned int)vm_cap(&self->vm, KVM_CAP_MAX_VCPUS);
	unsigned int max_id = (unsigned int)vm_cap(&self->vm, KVM_CAP_MAX_VCPU_ID);
	struct test_vcpu vcpu;

	EXPECT_LE(MAX_VCPUS, max);
	EXPECT_LE(max, max_id);
	if (max > 512)
		SKIP(return, "takes more vCPUs than are worth a test");
	/* Ids are sparse, and in no order. */
	for (i = 0; i < max; i++) {
		ASSERT_EQ(0, __vcpu_create(&self->vm, &vcpu, max_id - 1 - i * (max_id / max)));
		vcpu_destroy(&vcpu);
	}
	EXPECT_EQ(-EINVAL, __vcpu_create(&self->vm, &vcpu, 1));
}

/* INIT and SIPI */

GUEST_CODE(sipi_code, ".code16",
	   "mov %cs, %ax\n"
	   "cmp $0x1000, %ax\n"
	   "jne 1f\n"
	   "xor %ax, %ax\n"
	   "mov %ax, %ds\n"
	   "lock incl 0xb000\n"
	   "1: cli\n"
	   "hlt\n"
	   "jmp 1b\n");

static void delay(void)
{
	u64 start = rdtsc();

	while (rdtsc() - start < 20000000)
		guest_relax();
}

static void wait_sipis(u32 n)
{
	u64 start = rdtsc();

	while (VOLATILE(u32, SIPI_COUNT) < n) {
		guest_relax();
		GUEST_ASSERT(rdtsc() - start < PATIENCE);
	}
	delay();
	GUEST_ASSERT_EQ(VOLATILE(u32, SIPI_COUNT), n);
}

static void guest_starts_others(u64 arg __maybe_unused)
{
	xapic_write(APIC_SPIV, 0x1ff);
	/* Not after INIT: it is dropped. */
	send(1, ICR_ASSERT | ICR_SIPI | SIPI_VECTOR);
	delay();
	GUEST_ASSERT_EQ(VOLATILE(u32, SIPI_COUNT), 0);
	send(1, ICR_ASSERT | ICR_INIT);
	delay();
	send(1, ICR_ASSERT | ICR_SIPI | SIPI_VECTOR);
	wait_sipis(1);
	/* It runs: the second one is for CPUs that missed the first. */
	send(1, ICR_ASSERT | ICR_SIPI | SIPI_VECTOR);
	delay();
	GUEST_ASSERT_EQ(VOLATILE(u32, SIPI_COUNT), 1);
	/* Out of HLT with interrupts off, INIT alone wakes it. */
	send(1, 1U << 15 | ICR_ASSERT | ICR_INIT);
	/* The level de-assert starts nothing. */
	send(1, 1U << 15 | ICR_INIT);
	delay();
	send(1, ICR_ASSERT | ICR_SIPI | SIPI_VECTOR);
	wait_sipis(2);
	/* All at once, with INIT and SIPI close together. */
	send(0, ICR_OTHERS | ICR_ASSERT | ICR_INIT);
	send(0, ICR_OTHERS | ICR_ASSERT | ICR_SIPI | SIPI_VECTOR);
	wait_sipis(2 + 3);
	GUEST_SYNC(1);
}

static volatile int host_stop;

/* Runs until it is told to stop, by a signal. */
static void *run_ap(void *arg)
{
	struct test_vcpu *vcpu = arg;
	int r;

	do {
		r = __vcpu_run(vcpu);
		if (r && r != -EINTR && r != -EAGAIN)
			TEST_DIE("KVM_RUN: %s", strerror(-r));
		if (!r)
			TEST_DIE("vCPU %u: exit %u", vcpu->id, vcpu->run->exit_reason);
	} while (!host_stop);
	return NULL;
}

TEST_F_TIMEOUT(smp, init_sipi, 120)
{
	struct sigaction act = { .sa_handler = host_signal_noop };
	struct kvm_mp_state mp;
	struct kvm_regs regs;
	unsigned int i;

	sigaction(SIGUSR1, &act, NULL);
	vm_place(&self->vm, TRAMPOLINE, sipi_code, sipi_code_end);
	for (i = 0; i < 4; i++)
		vcpu_create(&self->vm, &self->vcpu[i], i);
	self->nr = 4;
	vcpu_ioctl(&self->vcpu[1], KVM_GET_MP_STATE, &mp);
	ASSERT_EQ(KVM_MP_STATE_UNINITIALIZED, mp.mp_state);
	vcpu_ioctl(&self->vcpu[0], KVM_GET_MP_STATE, &mp);
	ASSERT_EQ(KVM_MP_STATE_RUNNABLE, mp.mp_state);
	setup_vcpu(self, 0, guest_starts_others, 0);
	for (i = 1; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&self->thread[i], NULL, run_ap,
					    &self->vcpu[i]));
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu[0]));
	host_stop = 1;
	for (i = 1; i < 4; i++) {
		while (pthread_tryjoin_np(self->thread[i], NULL)) {
			pthread_kill(self->thread[i], SIGUSR1);
			usleep(1000);
		}
		vcpu_ioctl(&self->vcpu[i], KVM_GET_MP_STATE, &mp);
		EXPECT_EQ(KVM_MP_STATE_HALTED, mp.mp_state);
		vcpu_ioctl(&self->vcpu[i], KVM_GET_REGS, &regs);
		EXPECT_EQ(0, regs.rbx);
	}
	host_stop = 0;
}

static void guest_sends(u64 low)
{
	xapic_write(APIC_SPIV, 0x1ff);
	for (;;) {
		send(1, (u32)low);
		GUEST_SYNC(1);
	}
}

/* What waits for the vCPU is part of its state. */
TEST_F(smp, latched)
{
	struct test_vcpu *bsp = &self->vcpu[0], *ap = &self->vcpu[1];
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp;
	struct kvm_sregs sregs;

	vm_place(&self->vm, TRAMPOLINE, sipi_code, sipi_code_end);
	vcpu_create(&self->vm, bsp, 0);
	vcpu_create(&self->vm, ap, 1);
	self->nr = 2;
	setup_vcpu(self, 0, guest_sends, ICR_ASSERT | ICR_INIT);
	vcpu_run_to_sync(bsp);
	vcpu_ioctl(ap, KVM_GET_VCPU_EVENTS, &events);
	EXPECT_TRUE(events.flags & KVM_VCPUEVENT_VALID_SMM);
	EXPECT_EQ(1, events.smi.latched_init);
	/* Taken away and given back, as a migration does. */
	events.smi.latched_init = 0;
	ASSERT_EQ(0, __vcpu_ioctl(ap, KVM_SET_VCPU_EVENTS, &events));
	vcpu_ioctl(ap, KVM_GET_MP_STATE, &mp);
	ASSERT_EQ(KVM_MP_STATE_UNINITIALIZED, mp.mp_state);
	vcpu_ioctl(ap, KVM_GET_VCPU_EVENTS, &events);
	ASSERT_EQ(0, events.smi.latched_init);
	events.smi.latched_init = 1;
	ASSERT_EQ(0, __vcpu_ioctl(ap, KVM_SET_VCPU_EVENTS, &events));
	vcpu_ioctl(ap, KVM_GET_MP_STATE, &mp);
	ASSERT_EQ(KVM_MP_STATE_INIT_RECEIVED, mp.mp_state);
	vcpu_ioctl(ap, KVM_GET_VCPU_EVENTS, &events);
	ASSERT_EQ(0, events.smi.latched_init);

	setup_vcpu(self, 0, guest_sends, ICR_ASSERT | ICR_SIPI | SIPI_VECTOR);
	vcpu_run_to_sync(bsp);
	vcpu_ioctl(ap, KVM_GET_MP_STATE, &mp);
	ASSERT_EQ(KVM_MP_STATE_RUNNABLE, mp.mp_state);
	vcpu_ioctl(ap, KVM_GET_SREGS, &sregs);
	EXPECT_EQ(SIPI_VECTOR << 8, sregs.cs.selector);
	EXPECT_EQ(TRAMPOLINE, sregs.cs.base);

	/* A SIPI by way of the ABI: the vector is part of the events. */
	mp.mp_state = KVM_MP_STATE_SIPI_RECEIVED;
	events.flags = KVM_VCPUEVENT_VALID_SIPI_VECTOR;
	events.sipi_vector = 0x77;
	ASSERT_EQ(0, __vcpu_ioctl(ap, KVM_SET_VCPU_EVENTS, &events));
	ASSERT_EQ(0, __vcpu_ioctl(ap, KVM_SET_MP_STATE, &mp));
	vcpu_ioctl(ap, KVM_GET_MP_STATE, &mp);
	ASSERT_EQ(KVM_MP_STATE_RUNNABLE, mp.mp_state);
	vcpu_ioctl(ap, KVM_GET_SREGS, &sregs);
	EXPECT_EQ(0x7700, sregs.cs.selector);
	mp.mp_state = 77;
	EXPECT_EQ(-EINVAL, __vcpu_ioctl(ap, KVM_SET_MP_STATE, &mp));
}

/* Wake-ups */

/* Each waits in HLT for the other's interrupt: a lost one is the end. */
static void guest_ping_pong(u64 me)
{
	u64 i, other = me ^ 1;

	enable_apic();
	wait_for_all();
	for (i = 1; i <= rounds; i++) {
		if (!(me & 1))
			send((u32)other, ICR_ASSERT | VECTOR);
		while (percpu[me].hits != i)
			guest_sti_halt_cli();
		if (me & 1)
			send((u32)other, ICR_ASSERT | VECTOR);
	}
}

static void *move_threads(void *arg)
{
	FIXTURE_DATA(smp) * self = arg;
	unsigned int i, seed = 1, cpu = 0;
	cpu_set_t allowed, set;

	sched_getaffinity(0, sizeof(allowed), &allowed);
	while (!host_stop) {
		for (i = 0; i < self->nr; i++) {
			unsigned int skip = rand_r(&seed) % CPU_COUNT(&allowed);

			/* The next allowed one, after some others of them. */
			do {
				cpu = (cpu + 1) % CPU_SETSIZE;
			} while (!CPU_ISSET(cpu, &allowed) || skip--);
			CPU_ZERO(&set);
			CPU_SET(cpu, &set);
			pthread_setaffinity_np(self->thread[i], sizeof(set), &set);
		}
		usleep(500);
	}
	return NULL;
}

static void test_moving(FIXTURE_DATA(smp) * self, unsigned int nr, u64 mode,
			void (*fn)(u64))
{
	const char *env = getenv("SMP_ROUNDS");
	unsigned int i;

	add_vcpus(self, nr);
	guest_var(&self->vm, apic_mode) = mode;
	guest_var(&self->vm, rounds) = env ? strtoul(env, NULL, 0) : 1000;
	for (i = 0; i < nr; i++)
		setup_vcpu(self, i, fn, i);
	start_all(self);
	host_stop = 0;
	if (pthread_create(&self->mover, NULL, move_threads, self))
		TEST_DIE("thread: %m");
	join_all(self);
	host_stop = 1;
	pthread_join(self->mover, NULL);
}

TEST_F_TIMEOUT(smp, ping_pong, 600)
{
	test_moving(self, 2, X2APIC, guest_ping_pong);
}

TEST_F_TIMEOUT(smp, ping_pong_xapic, 600)
{
	test_moving(self, 4, XAPIC_FLAT, guest_ping_pong);
}

/* Shadows */

/*
 * On its way to HLT a CPU must get there before an interrupt that waits, whatever the other
 * CPU does: without a shadow it would sleep after it.
 */
static void guest_shadows(u64 me)
{
	u64 i, after;

	enable_apic();
	wait_for_all();
	for (i = 1; i <= 3 * rounds; i++) {
		wrmsr(X2APIC_MSR(APIC_ICR), ICR_SELF | ICR_ASSERT | VECTOR);
		asm volatile("sti\n\tlea 1f(%%rip), %0\n1:\tnop\n\tcli"
			     : "=r"(after) : : "memory");
		GUEST_ASSERT_EQ(percpu[me].hits, i);
		GUEST_ASSERT_EQ(percpu[me].taken_at, after);
	}
}

TEST_F_TIMEOUT(smp, shadows, 600)
{
	test_moving(self, 2, X2APIC, guest_shadows);
}

/* TSCs */

static volatile u64 tsc_lock, last_tsc;

/* What one vCPU has read is never in another's future. */
static void guest_tscs(u64 me __maybe_unused)
{
	u64 i, now;

	enable_apic();
	wait_for_all();
	for (i = 0; i < rounds; i++) {
		while (__sync_lock_test_and_set(&tsc_lock, 1))
			guest_relax();
		now = rdtsc();
		if (now < last_tsc)
			guest_assert_failed(__FILE__, __LINE__, "the TSC is behind",
					    now, last_tsc);
		last_tsc = now;
		__sync_lock_release(&tsc_lock);
	}
}

TEST_F_TIMEOUT(smp, tsc_in_step, 600)
{
	test_moving(self, 4, X2APIC, guest_tscs);
}

/* Code that changes under an exit */

extern volatile u8 changing_code[];

/* MOV to CR4, which another vCPU makes a NOP before anybody has seen why it exited. */
static void guest_changing_code(u64 me)
{
	u64 i, cr4;

	enable_apic();
	wait_for_all();
	/* Bochs lets no interrupt of the host's end a guest that began with IF clear. */
	if (me)
		guest_sti();
	while (me && !stop)
		changing_code[1] ^= 0x22 ^ 0x1f;
	if (me)
		return;
	asm volatile("mov %%cr4, %0" : "=r"(cr4));
	for (i = 0; i < 100 * rounds; i++)
		asm volatile(".globl changing_code\n"
			     "changing_code: mov %0, %%cr4" : : "a"(cr4) : "memory");
	stop = 1;
}

TEST_F_TIMEOUT(smp, code_changes, 600)
{
	test_moving(self, 2, X2APIC, guest_changing_code);
}

TEST_HARNESS_MAIN
