// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU: its first state, its thread, and what to do at each exit to user
 * space.  Created and stopped by run.c on the main thread.  The threads share
 * vm->ended and the buses; the devices behind these have their own locks.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "cpuid.h"
#include "vcpu.h"

#define CR0_PE		BIT_ULL(0)
#define CR0_ET		BIT_ULL(4)
#define CR0_PG		BIT_ULL(31)
#define CR4_PAE		BIT_ULL(5)
#define EFER_LME	BIT_ULL(8)
#define EFER_LMA	BIT_ULL(10)
#define RFLAGS_FIXED	BIT_ULL(1)

#define MSR_IA32_MISC_ENABLE		0x1a0
#define MISC_ENABLE_FAST_STRING		BIT_ULL(0)
#define MSR_MTRR_DEFAULT_TYPE		0x2ff
#define MTRR_ENABLE_WRITE_BACK		(BIT_ULL(11) | 6)

#define KICK_INTERVAL_NS		10000000

/* Held by the main thread from vcpus_start() to vcpus_go(): the gate. */
static pthread_mutex_t gate;

static void must(const struct vcpu *vcpu, unsigned long request, void *argument,
		 const char *name)
{
	int error = vm_ioctl(vcpu->fd, request, argument);

	if (error < 0) {
		errno = -error;
		die(STATUS_MODULE_ERROR, "vCPU %u: %s failed: %m", vcpu->id, name);
	}
}

static void set_cpuid(struct vcpu *vcpu)
{
	struct cpuid_table *table = calloc(1, sizeof(*table));
	int error;

	if (!table)
		host_error("out of memory");
	table->head.nent = CPUID_ENTRIES;
	error = vm_ioctl(vcpu->vm->node_fd, KVM_GET_SUPPORTED_CPUID, table);
	if (error < 0) {
		errno = -error;
		die(STATUS_MODULE_ERROR, "KVM_GET_SUPPORTED_CPUID failed: %m");
	}
	cpuid_fix_up(table, vcpu->id, vcpu->vm->nr_vcpus,
		     vm_capability(vcpu->vm, KVM_CAP_TSC_DEADLINE_TIMER));
	must(vcpu, KVM_SET_CPUID2, table, "KVM_SET_CPUID2");
	free(table);
}

/* What firmware would have set. */
static void set_msrs(struct vcpu *vcpu)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[2];
	} msrs = {
		.head.nmsrs = 2,
		.entries = {
			{ .index = MSR_IA32_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRING },
			{ .index = MSR_MTRR_DEFAULT_TYPE, .data = MTRR_ENABLE_WRITE_BACK },
		},
	};
	int done = vm_ioctl(vcpu->fd, KVM_SET_MSRS, &msrs);

	if (done < 0) {
		errno = -done;
		die(STATUS_MODULE_ERROR, "vCPU %u: KVM_SET_MSRS failed: %m", vcpu->id);
	}
	if (done != 2)
		die(STATUS_MODULE_ERROR, "vCPU %u: the module refuses MSR 0x%x", vcpu->id,
		    msrs.entries[done].index);
}

static void set_registers(struct vcpu *vcpu, const struct boot_entry *entry)
{
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = BOOT_CS, .type = 0xb, .present = 1, .s = 1,
		.g = 1, .l = entry->long_mode, .db = !entry->long_mode,
	};
	struct kvm_segment data = {
		.limit = 0xffffffff, .selector = BOOT_DS, .type = 0x3, .present = 1, .s = 1,
		.g = 1, .db = 1,
	};
	struct kvm_segment tss = {
		.limit = 0x67, .selector = BOOT_TSS, .type = 0xb, .present = 1,
	};
	struct kvm_regs regs = { .rip = entry->rip, .rflags = RFLAGS_FIXED };
	struct kvm_sregs sregs;

	must(vcpu, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS");
	sregs.cs = code;
	sregs.ds = data;
	sregs.es = data;
	sregs.fs = data;
	sregs.gs = data;
	sregs.ss = data;
	sregs.tr = tss;
	sregs.gdt.base = BOOT_GDT;
	sregs.gdt.limit = 5 * 8 - 1;
	sregs.cr0 = CR0_PE | CR0_ET;
	sregs.cr4 = 0;
	if (entry->long_mode) {
		sregs.cr0 |= CR0_PG;
		sregs.cr3 = BOOT_PAGE_TABLES;
		sregs.cr4 = CR4_PAE;
		sregs.efer = EFER_LME | EFER_LMA;
		regs.rsi = entry->params;
	} else {
		regs.rbx = entry->params;
	}
	must(vcpu, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
	must(vcpu, KVM_SET_REGS, &regs, "KVM_SET_REGS");
}

void vcpus_create(struct vm *vm, unsigned int cpus, const struct boot_entry *entry)
{
	int max = vm_capability(vm, KVM_CAP_MAX_VCPUS);

	/* 4 is what the ABI promises where the capability is unknown. */
	if (!max)
		max = 4;
	if (cpus > (unsigned int)max)
		bad_input("--cpus %u: the module supports at most %d", cpus, max);
	vm->vcpus = calloc(cpus, sizeof(*vm->vcpus));
	if (!vm->vcpus)
		host_error("out of memory");
	vm->nr_vcpus = cpus;
	for (u32 i = 0; i < cpus; i++) {
		struct vcpu *vcpu = &vm->vcpus[i];

		vcpu->vm = vm;
		vcpu->id = i;
		vcpu->fd = vm_ioctl(vm->fd, KVM_CREATE_VCPU, (void *)(uintptr_t)i);
		if (vcpu->fd < 0) {
			errno = -vcpu->fd;
			die(STATUS_MODULE_ERROR, "vCPU %u: KVM_CREATE_VCPU failed: %m", i);
		}
		vcpu->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED,
				 vcpu->fd, 0);
		if (vcpu->run == MAP_FAILED)
			die(STATUS_MODULE_ERROR, "vCPU %u: cannot map its state: %m", i);
		set_cpuid(vcpu);
		set_msrs(vcpu);
	}
	set_registers(&vm->vcpus[0], entry);
}

/* "rip 0x..., bytes 12 34": where the guest was, as far as the module tells. */
static void describe(const struct vcpu *vcpu, const u8 *bytes, unsigned int count, char *text,
		     size_t size)
{
	struct kvm_regs regs;
	size_t len;

	if (vm_ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0) {
		snprintf(text, size, "rip unknown");
		return;
	}
	snprintf(text, size, "rip 0x%llx", regs.rip);
	if (!bytes) {
		struct kvm_translation at = { .linear_address = regs.rip };

		if (vm_ioctl(vcpu->fd, KVM_TRANSLATE, &at) < 0 || !at.valid)
			return;
		/* As long as an instruction can be, but no further than the page. */
		count = 4096 - at.physical_address % 4096;
		if (count > 15)
			count = 15;
		bytes = memory_at(&vcpu->vm->memory, at.physical_address, count);
		if (!bytes)
			return;
	}
	len = strlen(text);
	len += (size_t)snprintf(text + len, size - len, ", bytes");
	for (unsigned int i = 0; i < count && len < size; i++)
		len += (size_t)snprintf(text + len, size - len, " %02x", bytes[i]);
}

static void end_internal_error(struct vcpu *vcpu)
{
	static const char * const reasons[] = {
		[KVM_INTERNAL_ERROR_EMULATION] = "an instruction that it cannot emulate",
		[KVM_INTERNAL_ERROR_SIMUL_EX] = "simultaneous exceptions",
		[KVM_INTERNAL_ERROR_DELIVERY_EV] = "a fault while an event was delivered",
		[KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "an unexpected hardware exit",
	};
	const struct kvm_run *run = vcpu->run;
	u32 suberror = run->internal.suberror;
	unsigned int count = 0;
	const u8 *bytes = NULL;
	char where[128];

	if (suberror == KVM_INTERNAL_ERROR_EMULATION && run->emulation_failure.ndata >= 3 &&
	    run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES &&
	    run->emulation_failure.insn_size <= sizeof(run->emulation_failure.insn_bytes)) {
		bytes = run->emulation_failure.insn_bytes;
		count = run->emulation_failure.insn_size;
	}
	describe(vcpu, bytes, count, where, sizeof(where));
	vm_end(vcpu->vm, STATUS_MODULE_ERROR,
	       "module error: vCPU %u: KVM_EXIT_INTERNAL_ERROR %u (%s), data 0x%llx; %s",
	       vcpu->id, suberror,
	       suberror < ARRAY_SIZE(reasons) && reasons[suberror] ? reasons[suberror] : "unknown",
	       run->internal.ndata ? (u64)run->internal.data[0] : 0, where);
}

static void end_with_location(struct vcpu *vcpu, const char *what, u64 detail)
{
	char where[128];

	describe(vcpu, NULL, 0, where, sizeof(where));
	vm_end(vcpu->vm, STATUS_MODULE_ERROR, "module error: vCPU %u: %s 0x%llx; %s", vcpu->id,
	       what, detail, where);
}

static void handle_io(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	u8 *data = (u8 *)run + run->io.data_offset;

	for (u32 i = 0; i < run->io.count; i++, data += run->io.size)
		bus_access(&vcpu->vm->ports, run->io.port, data, run->io.size,
			   run->io.direction == KVM_EXIT_IO_OUT);
}

static void handle_system_event(struct vcpu *vcpu)
{
	u32 type = vcpu->run->system_event.type;

	switch (type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		vm_end(vcpu->vm, STATUS_POWER_OFF, "guest powered off");
		break;
	case KVM_SYSTEM_EVENT_RESET:
		vm_end(vcpu->vm, STATUS_REBOOT, "guest asked for a reboot");
		break;
	default:
		end_with_location(vcpu, "unexpected KVM_EXIT_SYSTEM_EVENT", type);
	}
}

static void handle_exit(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct vm *vm = vcpu->vm;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		handle_io(vcpu);
		break;
	case KVM_EXIT_MMIO:
		bus_access(&vm->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len,
			   run->mmio.is_write);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		break;
	case KVM_EXIT_SHUTDOWN:
		vm_end(vm, STATUS_TRIPLE_FAULT, "guest stopped with a triple fault on vCPU %u",
		       vcpu->id);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		handle_system_event(vcpu);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		end_with_location(vcpu, "KVM_EXIT_FAIL_ENTRY, hardware reason",
				  run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		end_internal_error(vcpu);
		break;
	default:
		end_with_location(vcpu, "unexpected exit reason", run->exit_reason);
	}
}

static void *vcpu_thread(void *argument)
{
	struct vcpu *vcpu = argument;
	struct vm *vm = vcpu->vm;

	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);

	while (!atomic_load(&vm->ended)) {
		if (ioctl(vcpu->fd, KVM_RUN, 0) == 0)
			handle_exit(vcpu);
		else if (errno != EINTR && errno != EAGAIN)
			end_with_location(vcpu, "KVM_RUN failed, errno", (u64)errno);
	}
	return NULL;
}

/* Its only work is to interrupt KVM_RUN and blocking writes. */
static void on_kick(int signal)
{
	(void)signal;
}

int vcpus_start(struct vm *vm)
{
	struct sigaction action = { .sa_handler = on_kick };
	char name[24];

	sigaction(SIGUSR1, &action, NULL);
	pthread_mutex_init(&gate, NULL);
	pthread_mutex_lock(&gate);
	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		int error = pthread_create(&vm->vcpus[i].thread, NULL, vcpu_thread, &vm->vcpus[i]);

		if (error)
			return -error;
		snprintf(name, sizeof(name), "lodge-vcpu%u", i);
		pthread_setname_np(vm->vcpus[i].thread, name);
	}
	return 0;
}

void vcpus_go(void)
{
	pthread_mutex_unlock(&gate);
}

void vcpus_stop(struct vm *vm)
{
	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *vcpu = &vm->vcpus[i];
		struct timespec until;

		/* Before KVM_RUN the flag turns it back, inside it the signal does. */
		__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		do {
			/*
			 * Again and again, because a write to a stalled terminal may
			 * have begun just after the signal before.
			 */
			pthread_kill(vcpu->thread, SIGUSR1);
			clock_gettime(CLOCK_REALTIME, &until);
			until.tv_nsec += KICK_INTERVAL_NS;
			if (until.tv_nsec >= 1000000000) {
				until.tv_nsec -= 1000000000;
				until.tv_sec++;
			}
		} while (pthread_timedjoin_np(vcpu->thread, NULL, &until) == ETIMEDOUT);
	}
}

void vcpus_destroy(struct vm *vm)
{
	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		munmap(vm->vcpus[i].run, vm->run_size);
		close(vm->vcpus[i].fd);
	}
	free(vm->vcpus);
}
