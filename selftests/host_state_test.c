// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host's own state after a run: segment bases and selectors, the LDT,
 * debug registers in use, flags, TSC_AUX. The guest changes all of its own.
 */
#include <kselftest_harness.h>

#include <asm/ldt.h>
#include <asm/prctl.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <sys/syscall.h>

#include "guest.h"
#include "test_vm.h"

#define MSR_STAR		0xc0000081
#define MSR_LSTAR		0xc0000082
#define MSR_CSTAR		0xc0000083
#define MSR_SFMASK		0xc0000084
#define MSR_SYSENTER_EIP	0x176
#define MSR_FS_BASE		0xc0000100
#define MSR_GS_BASE		0xc0000101
#define MSR_KERNEL_GS_BASE	0xc0000102
#define MSR_TSC_AUX		0xc0000103

FIXTURE(host) {
	struct test_vm vm;
	struct test_vcpu vcpu;
	cpu_set_t cpus;
};

static void guest_changes(u64 arg __maybe_unused)
{
	static const u32 msrs[] = {
		MSR_LSTAR, MSR_CSTAR, MSR_SYSENTER_EIP, MSR_FS_BASE,
		MSR_GS_BASE, MSR_KERNEL_GS_BASE,
	};
	u32 i;

	for (;;) {
		for (i = 0; i < ARRAY_SIZE(msrs); i++)
			wrmsr(msrs[i], 0xffff888812345000 + i * 8);
		wrmsr(MSR_STAR, 0x0018000800000000);
		wrmsr(MSR_SFMASK, ~0U);
		wrmsr(MSR_TSC_AUX, 0x777);
		asm volatile("mov %0, %%dr0\n\tmov %0, %%dr1\n\t"
			     "mov %0, %%dr2\n\tmov %0, %%dr3"
			     : : "r"(GUEST_SCRATCH));
		asm volatile("mov %0, %%dr7" : : "r"(0x5550455UL));
		asm volatile("std\n\tstc");
		asm volatile("hlt");
		asm volatile("cld");
	}
}

FIXTURE_SETUP(host)
{
	/* Stay on one CPU: the state below is the CPU's. */
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(self->cpus), &self->cpus));
	ASSERT_EQ(0, host_stay_on_first_cpu());
	vm_with_vcpu(&self->vm, &self->vcpu, guest_changes, 0);
}

FIXTURE_TEARDOWN(host)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
	sched_setaffinity(0, sizeof(self->cpus), &self->cpus);
}

TEST_F(host, bases)
{
	u64 fs, gs, after;

	ASSERT_EQ(0, syscall(SYS_arch_prctl, ARCH_GET_FS, &fs));
	gs = 0x123456789000;
	ASSERT_EQ(0, syscall(SYS_arch_prctl, ARCH_SET_GS, gs));
	vcpu_run_expect(&self->vcpu, KVM_EXIT_HLT);
	vcpu_run_expect(&self->vcpu, KVM_EXIT_HLT);
	ASSERT_EQ(0, syscall(SYS_arch_prctl, ARCH_GET_FS, &after));
	ASSERT_EQ(fs, after);
	ASSERT_EQ(0, syscall(SYS_arch_prctl, ARCH_GET_GS, &after));
	ASSERT_EQ(gs, after);
	/* The one thing errno needs: thread-local storage. */
	errno = 12345;
	ASSERT_EQ(12345, errno);
}

#define SELECTOR(name)							\
static u16 get_##name(void)						\
{									\
	u16 v;								\
									\
	asm volatile("mov %%" #name ", %0" : "=rm"(v));			\
	return v;							\
}									\
static void set_##name(u16 v)						\
{									\
	asm volatile("mov %0, %%" #name : : "rm"(v));			\
}

SELECTOR(ds)
SELECTOR(es)
SELECTOR(gs)

/* Non-null data selectors, and a GS whose base comes from the LDT. */
TEST_F(host, selectors)
{
	static u64 marker = 0x600dbeef;
	struct user_desc desc = {
		.entry_number = 1,
		.base_addr = (unsigned int)(uintptr_t)&marker,
		.limit = 0xfffff,
		.seg_32bit = 1,
		.limit_in_pages = 1,
		.useable = 1,
	};
	u16 ds, es;
	u64 v;

	if (syscall(SYS_modify_ldt, 1, &desc, sizeof(desc)))
		SKIP(return, "no modify_ldt");
	ds = get_ds();
	es = get_es();
	set_ds(0x2b);
	set_es(0x2b);
	set_gs(1 << 3 | 7);
	vcpu_run_expect(&self->vcpu, KVM_EXIT_HLT);
	vcpu_run_expect(&self->vcpu, KVM_EXIT_HLT);
	EXPECT_EQ(0x2b, get_ds());
	EXPECT_EQ(0x2b, get_es());
	EXPECT_EQ(1 << 3 | 7, get_gs());
	asm volatile("movq %%gs:0, %0" : "=r"(v));
	EXPECT_EQ(0x600dbeef, v);
	/* It can still be loaded: the LDT is the host's. */
	set_gs(0);
	set_gs(1 << 3 | 7);
	asm volatile("movq %%gs:0, %0" : "=r"(v));
	EXPECT_EQ(0x600dbeef, v);
	set_gs(0);
	set_ds(ds);
	set_es(es);
}

TEST_F(host, flags)
{
	u64 flags;

	/* AC is the user's to set; the guest's DF and CF must not come out. */
	asm volatile("pushfq\n\torq $0x40000, (%%rsp)\n\tpopfq" : : : "cc");
	syscall(SYS_ioctl, self->vcpu.fd, KVM_RUN, 0);
	asm volatile("pushfq\n\tpopq %0" : "=r"(flags));
	asm volatile("pushfq\n\tandq $~0x40000, (%%rsp)\n\tpopfq" : : : "cc");
	ASSERT_EQ(KVM_EXIT_HLT, self->vcpu.run->exit_reason);
	ASSERT_EQ(0x40000, flags & 0x40000);
	ASSERT_EQ(0, flags & 0x400);
	ASSERT_EQ(0x200, flags & 0x200);
}

/* The kernel keeps CPU and node there, for getcpu() in user space. */
TEST_F(host, tsc_aux)
{
	u32 before, after, lo;
	int i;

	asm volatile("rdtscp" : "=a"(lo), "=c"(before) : : "rdx");
	for (i = 0; i < 5; i++) {
		vcpu_run_expect(&self->vcpu, KVM_EXIT_HLT);
		asm volatile("rdtscp" : "=a"(lo), "=c"(after) : : "rdx");
		ASSERT_EQ(before, after);
	}
}

/* A hardware breakpoint of the host's, before, between and after runs. */
static volatile u64 watched;

TEST_F(host, breakpoint)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT,
		.size = sizeof(attr),
		.bp_type = HW_BREAKPOINT_W,
		.bp_addr = (uintptr_t)&watched,
		.bp_len = HW_BREAKPOINT_LEN_8,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};
	u64 count;
	int fd, i;

	fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
	if (fd < 0)
		SKIP(return, "no hardware breakpoints: %s", strerror(errno));
	watched = 1;
	ASSERT_EQ(sizeof(count), read(fd, &count, sizeof(count)));
	if (count != 1)
		SKIP(return, "this CPU's breakpoints do not work");
	for (i = 2; i < 8; i++) {
		vcpu_run_expect(&self->vcpu, KVM_EXIT_HLT);
		watched = (u64)i;
		ASSERT_EQ(sizeof(count), read(fd, &count, sizeof(count)));
		ASSERT_EQ(i, count);
	}
	close(fd);
	/* Its own debug registers are where the guest left them. */
	vcpu_run_expect(&self->vcpu, KVM_EXIT_HLT);
}

/* The guest's breakpoints are the guest's: the host touches its addresses. */
TEST_F(host, guest_breakpoints)
{
	struct kvm_debugregs dr;

	vcpu_run_expect(&self->vcpu, KVM_EXIT_HLT);
	vcpu_ioctl(&self->vcpu, KVM_GET_DEBUGREGS, &dr);
	ASSERT_EQ(GUEST_SCRATCH, dr.db[0]);
	ASSERT_EQ(GUEST_SCRATCH, dr.db[3]);
	ASSERT_EQ(0x5550455, dr.dr7);
	*(volatile u64 *)vm_ptr(&self->vm, GUEST_SCRATCH) = 1;
	vcpu_run_expect(&self->vcpu, KVM_EXIT_HLT);
}

TEST_HARNESS_MAIN
