// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rows about interrupts: from what causes one to the first instruction of the guest's
 * handler.  Called by bench.c in a process of its own.  Where two threads take part, one has
 * the vCPU; they take turns by semaphores, but for the interrupt itself.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bench.h"

#define X2APIC		1
#define MSI_GSI		24
#define TIMER_US	2000	/* longer than a hypervisor polls before it lets a vCPU sleep */
#define SETTLE_US	2000	/* until the vCPU's thread is in the guest, or asleep */

/*
 * QEMU's TCG has been seen to give the guest one interrupt too many, about once in 30,000, with
 * KVM as with lodge: such a sample is none, unless it comes again.
 */
static void measure_self_ipi(struct bench *bench, const struct row *row)
{
	struct guest_shared *shared;
	unsigned int odd = 0;
	struct bench_vm vm;

	bench_vm_create(bench, &vm, 1, true);
	shared = vm.vcpus[0].shared;
	bench_call(bench, &vm.vcpus[0]);
	if (row->argument == X2APIC)
		bench_use_x2apic(bench, &vm, 0);
	shared->op = row->op;
	shared->count = row->count;
	bench_watch(bench, &vm.vcpus[0], 1);
	for (;;) {
		u64 irqs = shared->irqs;

		bench_call(bench, &vm.vcpus[0]);
		if (shared->irqs - irqs == row->count) {
			if (!row_sample(bench, shared->ticks, row->count))
				break;
		} else if (++odd > 1) {
			row_fail(bench, "the guest took %llu interrupts, not %llu",
				 shared->irqs - irqs, row->count);
		}
	}
}

static u64 ticks_of_us(u64 us)
{
	return us * (clock_counts_instructions() ? 1000 : clock_ticks_per_us());
}

/* The APIC's own clock ticks once in a nanosecond, in KVM's ABI. */
static void measure_timer(struct bench *bench, const struct row *row)
{
	struct guest_shared *shared;
	struct bench_vm vm;

	bench_vm_create(bench, &vm, 1, true);
	shared = vm.vcpus[0].shared;
	bench_call(bench, &vm.vcpus[0]);
	shared->op = row->op;
	shared->count = 1;
	shared->argument = ticks_of_us(TIMER_US);
	shared->step = row->argument ? TIMER_US * 1000 : 0;
	/* The OUT, the timer's mode, and its divider. */
	bench_watch(bench, &vm.vcpus[0], row->argument ? 3 : 2);
	do {
		u64 irqs = shared->irqs;

		bench_call(bench, &vm.vcpus[0]);
		if (shared->irqs - irqs != 1)
			row_fail(bench, "the timer fired %llu times, not once",
				 shared->irqs - irqs);
		if ((int64_t)shared->ticks < 0)
			row_fail(bench, "the timer fired %lld ticks early",
				 -(long long)shared->ticks);
	} while (row_sample(bench, shared->ticks, 1));
}

/* A vCPU on a thread of its own. */
struct runner {
	struct bench *bench;
	struct bench_vcpu *vcpu;
	unsigned int cpu;
	sem_t go, done;
};

static void *run_thread(void *argument)
{
	struct runner *runner = argument;

	/* With one CPU alone, both threads are there. */
	stay_on_cpu(runner->cpu);
	for (;;) {
		sem_wait(&runner->go);
		bench_call(runner->bench, runner->vcpu);
		sem_post(&runner->done);
	}
	return NULL;
}

static void start_runner(struct bench *bench, struct runner *runner, struct bench_vcpu *vcpu,
			 unsigned int cpu)
{
	pthread_t thread;

	*runner = (struct runner){ .bench = bench, .vcpu = vcpu, .cpu = cpu };
	sem_init(&runner->go, 0, 0);
	sem_init(&runner->done, 0, 0);
	if (pthread_create(&thread, NULL, run_thread, runner))
		row_fail(bench, "cannot start a thread");
}

/* An eventfd that is an interrupt to the vCPU 0, as of a device with MSI. */
static int make_irqfd(struct bench *bench, struct bench_vm *vm)
{
	struct kvm_irqfd irqfd = { .gsi = MSI_GSI };
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry;
	} routing = {
		.head.nr = 1,
		.entry = {
			.gsi = MSI_GSI,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = { .address_lo = GUEST_LAPIC, .data = GUEST_VECTOR },
		},
	};
	int fd = eventfd(0, EFD_CLOEXEC);

	if (fd < 0)
		row_fail(bench, "eventfd: %m");
	must_ioctl(bench, vm->fd, KVM_SET_GSI_ROUTING, &routing);
	irqfd.fd = (u32)fd;
	must_ioctl(bench, vm->fd, KVM_IRQFD, &irqfd);
	return fd;
}

static void measure_irqfd(struct bench *bench, const struct row *row)
{
	const u64 one = 1;
	struct guest_shared *shared;
	struct runner runner;
	struct bench_vm vm;
	u64 ticks;
	int fd;

	bench_vm_create(bench, &vm, 1, true);
	bench_align_tsc(bench, &vm, 0);
	bench_call(bench, &vm.vcpus[0]);
	fd = make_irqfd(bench, &vm);
	shared = vm.vcpus[0].shared;
	shared->op = row->op;
	start_runner(bench, &runner, &vm.vcpus[0], 1);
	bench_watch(bench, &vm.vcpus[0], 1);
	do {
		u64 irqs = shared->irqs;

		sem_post(&runner.go);
		sleep_us(SETTLE_US);
		MEASURE_BEGIN();
		ticks = read_tsc();
		if (write(fd, &one, sizeof(one)) != sizeof(one))
			row_fail(bench, "cannot signal the irqfd: %m");
		sem_wait(&runner.done);
		MEASURE_END();
		if (shared->irqs - irqs != 1)
			row_fail(bench, "the guest took %llu interrupts, not one",
				 shared->irqs - irqs);
	} while (row_sample(bench, shared->irq_tsc - ticks, 1));
}

/* From one vCPU to another that is halted, and back. */
static void measure_ipi(struct bench *bench, const struct row *row)
{
	struct runner answerer;
	struct guest_shared *shared;
	struct bench_vm vm;

	if (!stay_on_cpu(1) || !stay_on_cpu(0))
		row_skip(bench, "needs two CPUs");
	bench_vm_create(bench, &vm, 2, true);
	for (unsigned int id = 0; id < 2; id++) {
		bench_call(bench, &vm.vcpus[id]);
		if (row->argument == X2APIC)
			bench_use_x2apic(bench, &vm, id);
	}
	vm.vcpus[1].shared->op = OP_IPI_ANSWER;
	start_runner(bench, &answerer, &vm.vcpus[1], 1);
	sem_post(&answerer.go);
	sleep_us(SETTLE_US);
	shared = vm.vcpus[0].shared;
	shared->op = row->op;
	shared->count = row->count;
	bench_watch(bench, &vm.vcpus[0], 1);
	do {
		bench_call(bench, &vm.vcpus[0]);
	} while (row_sample(bench, shared->ticks, row->count));
}

const struct row interrupt_rows[] = {
	{ "self-ipi", "an IPI to itself by MMIO, until its handler", measure_self_ipi, OP_SELF_IPI,
	  0, 16 },
	{ "x2apic-self-ipi", "an IPI to itself by x2APIC, until its handler", measure_self_ipi,
	  OP_SELF_IPI, X2APIC, 16 },
	{ "irqfd-halted", "an irqfd, a halted vCPU, until its handler", measure_irqfd,
	  OP_IRQ_HALTED, 0, 1 },
	{ "irqfd-running", "an irqfd, a running vCPU, until its handler", measure_irqfd,
	  OP_IRQ_RUNNING, 0, 1 },
	{ "ipi", "an IPI to a halted vCPU, and one back", measure_ipi, OP_IPI_SEND, 0, 16 },
	{ "x2apic-ipi", "the same by x2APIC", measure_ipi, OP_IPI_SEND, X2APIC, 16 },
	{ "timer-halted", "APIC timer armed to handler, less its delay, HLT", measure_timer,
	  OP_TIMER_HALTED, 1, 1 },
	{ "timer-running", "the same, running", measure_timer, OP_TIMER_RUNNING, 1, 1 },
	{ "deadline-halted", "TSC deadline armed to handler, less its delay, HLT", measure_timer,
	  OP_TIMER_HALTED, 0, 1 },
	{ "deadline-running", "the same, running", measure_timer, OP_TIMER_RUNNING, 0, 1 },
	{ },
};
