/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The `lodge bench` command: its rows, what they measure with, and what came of them.
 *
 * A row is measured for each device in a process of its own, which may change its CPU and
 * signals at will and need not tidy up; only struct result, in shared memory, comes back.
 */
#ifndef LODGE_BENCH_H
#define LODGE_BENCH_H

#include <linux/kvm.h>
#include <stdnoreturn.h>

#include "../error.h"
#include "../types.h"
#include "guest/shared.h"

#define MAX_SAMPLES	31
#define MAX_VCPUS	64
#define MAX_REASONS	6	/* kinds of exits that are counted apart */

/* What one row came to on one device. */
struct result {
	enum { NOT_MEASURED, MEASURED, SKIPPED, FAILED } state;
	unsigned int nr_samples;
	u64 samples[MAX_SAMPLES];	/* ticks of @count times what the row names */
	u64 count;
	u64 exits;			/* world switches in all samples; if has_exits */
	u64 reasons[MAX_REASONS];	/* of them, of each kind; of the row `boot` only */
	bool has_exits;
	bool is_size;			/* the samples are bytes, not ticks */
	char reason[160];		/* of SKIPPED and FAILED */
};

struct bench_vcpu;

struct bench {
	const char *device;
	struct result *result;
	int node;			/* the device, open */
	size_t run_size;
	struct bench_vcpu *watched;	/* whose exits are told; see bench_watch() */
	u64 watched_exits;
	u64 own_exits;			/* in each sample, that are not part of what is measured */
};

struct row {
	const char *name;
	const char *what;
	void (*measure)(struct bench *bench, const struct row *row);
	u64 op;				/* what these three are is the function's business */
	u64 argument;
	u64 count;
};

/* The groups, in the order of the report; each ends with a row without a name. */
extern const struct row floor_rows[], user_rows[], kernel_rows[], interrupt_rows[],
	memory_rows[], object_rows[], state_rows[], system_rows[];

/* End this row: this host or device cannot do it, or it does not do what it should. */
noreturn __printf(2, 3) void row_skip(struct bench *bench, const char *format, ...);
noreturn __printf(2, 3) void row_fail(struct bench *bench, const char *format, ...);

/*
 * One more sample: @ticks for @count times.  The first WARM_UP of a row are dropped.
 * Returns false when that was enough.
 */
#define WARM_UP		2
bool row_sample(struct bench *bench, u64 ticks, u64 count);

/* As row_sample(), for rows of which one sample is a lot of work: @samples are enough. */
bool row_sample_of(struct bench *bench, u64 ticks, u64 count, unsigned int samples);

/* ioctl(); a failure ends the row as failed, and names the call. */
int row_ioctl(struct bench *bench, int fd, unsigned long request, void *argument,
	      const char *name);
#define must_ioctl(bench, fd, request, argument) \
	row_ioctl(bench, fd, request, argument, #request)

/* Whether the node or VM @fd has @capability; its value. */
int has_capability(int fd, int capability);

/* --- the host's clock: clock.c --- */

/*
 * Whether one tick of the TSC is one instruction, as in `scripts/bed --count`; and if not,
 * how many there are in a microsecond.
 */
bool clock_counts_instructions(void);
u64 clock_ticks_per_us(void);

/*
 * The ticks that all CPUs together were busy, from any point in time on; needs root.  Ends
 * the row where the kernel does not tell.
 */
u64 clock_busy_ticks(struct bench *bench);

/* Stay on the first or second CPU that this process may use; false if there is none. */
bool stay_on_cpu(unsigned int index);

/* Sleep for so long; what others have to do gets done meanwhile. */
void sleep_us(unsigned int us);

/* --- VMs: vm.c --- */

/* The guest's image: guest_image.S. */
extern const u8 bench_guest[], bench_guest_end[];

struct bench_vcpu {
	int fd;
	struct kvm_run *run;
	struct guest_shared *shared;	/* in guest memory */
	int stats_fd;			/* -1: this device has no counters */
	u64 exits_at;			/* offset of the counter in stats_fd */
	u64 reasons_at[MAX_REASONS];	/* the same of exit_reasons[]; 0: there is none */
};

struct bench_vm {
	int fd;
	u8 *memory;
	bool irqchip;
	unsigned int nr_vcpus;
	struct bench_vcpu vcpus[2];
};

/* A VM with that many vCPUs that run the guest, and with interrupt chips and a PIT, or without. */
void bench_vm_create(struct bench *bench, struct bench_vm *vm, unsigned int vcpus, bool irqchip);

/* Its parts, for the rows that measure just these. */
void bench_vm_fill_memory(u8 *memory);
void bench_vcpu_open(struct bench *bench, struct bench_vm *vm, unsigned int id, int fd);
void bench_vcpu_reset(struct bench *bench, struct bench_vm *vm, unsigned int id);

/* The device's CPUID for a vCPU of so many; kept by the callee. */
struct kvm_cpuid2 *bench_cpuid(struct bench *bench, unsigned int id, unsigned int cpus);

/* Have @slot show @size bytes of @hva at @gpa; of size 0, nothing. */
void bench_slot(struct bench *bench, struct bench_vm *vm, u32 slot, u32 flags, u64 gpa, u64 size,
		void *hva);

/* Let the guest's TSC be the host's, so that both can be compared. */
void bench_align_tsc(struct bench *bench, struct bench_vm *vm, unsigned int id);

/* Give the local APIC x2APIC mode. */
void bench_use_x2apic(struct bench *bench, struct bench_vm *vm, unsigned int id);

/* Have the guest do what its shared page asks for, to the end. */
void bench_call(struct bench *bench, struct bench_vcpu *vcpu);

/* Run to the next exit to user space, which must be of that kind. */
void bench_run_to(struct bench *bench, struct bench_vcpu *vcpu, u32 reason);

/* The name of an exit, for messages. */
const char *exit_name(u32 reason);

/* How often the vCPU has left the guest; 0 when the device does not tell. */
u64 bench_exits(const struct bench_vcpu *vcpu);

/* The names of counters for kinds of exits. */
extern const char *const exit_reasons[MAX_REASONS];

/* Make the counters of @vcpu, of which only fd is set, readable; and read one. */
void bench_open_stats(struct bench_vcpu *vcpu);
u64 bench_exits_for(const struct bench_vcpu *vcpu, unsigned int reason);

/*
 * Tell the exits of @vcpu from here to the next sample, less @own, and from each sample to
 * the next.
 */
void bench_watch(struct bench *bench, struct bench_vcpu *vcpu, u64 own);

/* What the row `boot` boots; NULL: nothing was given. */
void bench_system(const char *kernel, const char *initrd);

/* Guest memory of that size, aligned to the largest page. */
void *bench_memory(struct bench *bench, size_t size, bool huge);

/* --- the report: report.c --- */

struct report {
	const char *const *devices;
	unsigned int nr_devices;
	bool json;
	bool instructions;		/* else cycles of the TSC */
	u64 ticks_per_us;
};

void report_begin(const struct report *report);
void report_row(const struct report *report, const struct row *row, const struct result *results);
void report_end(const struct report *report);

/* The median of the samples for one time. */
u64 result_value(const struct result *result);

#endif
