// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guests that attack: random MSRs, ports and device memory, IPIs, hypercalls, virtualization
 * instructions, garbage page tables and segments, random bytes as code. Any
 * exit will do, but the process lives, the kernel's log stays clean (the test
 * bed looks at that), and a normal guest runs afterwards.
 *
 * LODGE_ATTACK_SEED: first seed (default: 1). LODGE_ATTACK_SECONDS: how long
 * each kind of attack goes on (default: 1).
 */
#include <kselftest_harness.h>

#include <cpuid.h>
#include <pthread.h>
#include <sys/time.h>
#include <time.h>

#include "guest.h"
#include "test_vm.h"

#define CODE_SIZE	0x10000UL
#define SLICE_US	5000

static u64 seed_base, seconds;

static u64 next_random(u64 *state)
{
	/* xorshift64* */
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 2685821657736338717UL;
}

static void fill_random(void *to, size_t size, u64 *state)
{
	u64 *p = to;
	size_t i;

	for (i = 0; i < size / 8; i++)
		p[i] = next_random(state);
}

static u64 env_number(const char *name, u64 otherwise)
{
	const char *s = getenv(name);

	return s && *s ? strtoull(s, NULL, 0) : otherwise;
}

FIXTURE(attack) {
	struct timespec end;
	u64 state;
};

/* A signal every @us, should one come between two runs; 0: none. */
static void slice_timer(long us)
{
	struct itimerval it = {
		.it_interval.tv_usec = us,
		.it_value.tv_usec = us,
	};

	setitimer(ITIMER_REAL, &it, NULL);
}

FIXTURE_SETUP(attack)
{
	struct sigaction sa = { .sa_handler = host_signal_noop };

	seed_base = env_number("LODGE_ATTACK_SEED", 1);
	seconds = env_number("LODGE_ATTACK_SECONDS", 1);
	self->state = seed_base * 0x9e3779b97f4a7c15UL | 1;
	clock_gettime(CLOCK_MONOTONIC, &self->end);
	self->end.tv_sec += (time_t)seconds;
	ASSERT_EQ(0, sigaction(SIGALRM, &sa, NULL));
}

static void guest_normal(u64 arg)
{
	u32 r[4];

	guest_cpuid(0, 0, r);
	GUEST_ASSERT(r[0] >= 1);
	GUEST_SYNC(arg + 1);
}

/* After every attack: a normal guest, in a VM of its own. */
FIXTURE_TEARDOWN(attack)
{
	struct test_vcpu vcpu;
	struct test_vm vm;

	vm_with_vcpu(&vm, &vcpu, guest_normal, 41);
	if (vcpu_run_to_sync(&vcpu) != 42)
		TEST_DIE("a normal guest does not run any more");
	vcpu_run_to_done(&vcpu);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

static bool time_left(const struct timespec *end)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec < end->tv_sec ||
	       (now.tv_sec == end->tv_sec && now.tv_nsec < end->tv_nsec);
}

/*
 * Run on until the guest cannot, until @runs, or for a slice of time. What the
 * guest reads is whatever lies in kvm_run. Returns how often it came out.
 */
static int run_for(struct test_vcpu *vcpu, int runs)
{
	u32 reason;
	int i, ret;

	slice_timer(SLICE_US);
	for (i = 1; i <= runs; i++) {
		ret = __vcpu_run(vcpu);
		if (ret == -EINTR || ret == -EFAULT || ret == -EIO)
			break;
		if (ret)
			TEST_DIE("KVM_RUN: %s", strerror(-ret));
		reason = vcpu->run->exit_reason;
		if (reason != KVM_EXIT_IO && reason != KVM_EXIT_MMIO)
			break;
	}
	slice_timer(0);
	return i;
}

/* In the guest: values that are more often interesting than random ones. */
static u64 guest_value(u64 *state)
{
	u64 v = next_random(state);

	switch (v & 7) {
	case 0:
		return 0;
	case 1:
		return ~0UL;
	case 2:
		return 1UL << (v >> 58);
	case 3:
		return v >> 56;
	case 4:
		return GUEST_SCRATCH | (v >> 52 & 0xfff);
	default:
		return v;
	}
}

static void guest_msrs(u64 seed)
{
	static const u32 bases[] = {
		0, 0x170, 0x200, 0x250, 0x2f0, 0x400, 0x680, 0x6e0, 0x800,
		0xc0000080, 0xc0000100, 0xc0010000, 0xc0010110, 0xc0011000,
		0x4b564d00, 0x40000000,
	};
	u64 state = seed, v, r;
	u32 msr;

	for (;;) {
		r = next_random(&state);
		msr = bases[r & 15] + (u32)(r >> 8 & 0x7f);
		if (r >> 60 == 0)
			msr = (u32)(r >> 16);
		if (r & 0x10)
			rdmsr_try(msr, &v);
		else
			wrmsr_try(msr, guest_value(&state));
	}
}

static void guest_devices(u64 seed)
{
	static const u16 ports[] = {
		0x20, 0x40, 0x60, 0x70, 0xa0, 0x4d0, 0xcf8, 0x3f8, 0xb0, 0,
	};
	u64 state = seed, r, v, addr;
	u16 port;

	for (;;) {
		r = next_random(&state);
		v = guest_value(&state);
		port = ports[r % 10] + (r >> 8 & 7);
		if (!(r & 0xf000))
			port = (u16)(r >> 32);
		if (port == GUEST_CALL_PORT)
			continue;
		switch (r >> 60) {
		case 0:
			port_out8(port, (u8)v);
			break;
		case 1:
			port_out16(port, (u16)v);
			break;
		case 2:
			port_out32(port, (u32)v);
			break;
		case 3:
			port_in8(port);
			break;
		case 4:
			port_in32(port);
			break;
		case 5:
			addr = 0xfec00000 + (r >> 16 & 0xff0);
			VOLATILE(u32, addr) = (u32)v;
			break;
		case 6:
			addr = 0xfee00000 + (r >> 16 & 0xfff);
			VOLATILE(u8, addr) = (u8)v;
			break;
		case 7:
			addr = 0xfee00000 + (r >> 16 & 0xff8);
			(void)VOLATILE(u64, addr);
			break;
		case 8:
			addr = 0x1000000 + (r >> 16 & 0xfeffffff);
			VOLATILE(u64, addr) = v;
			break;
		default:
			addr = 0xfee00000 + (r >> 16 & 0xff0);
			VOLATILE(u32, addr) = (u32)v;
			break;
		}
	}
}

/* A VM with an irqchip, its vCPU in @fn: again and again until time is up. */
static void attack_with(void (*fn)(u64), struct timespec *end, u64 *state)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	struct test_vcpu vcpu;
	struct test_vm vm;
	int i;

	do {
		vm_create(&vm);
		vm_create_irqchip(&vm);
		vm_ioctl(&vm, KVM_CREATE_PIT2, &pit);
		vcpu_create(&vm, &vcpu, 0);
		vcpu_setup_long(&vcpu, fn, next_random(state));
		for (i = 0; i < 20; i++)
			run_for(&vcpu, 100);
		vcpu_destroy(&vcpu);
		vm_destroy(&vm);
	} while (time_left(end));
}

TEST_F(attack, msrs)
{
	attack_with(guest_msrs, &self->end, &self->state);
}

TEST_F(attack, devices)
{
	attack_with(guest_devices, &self->end, &self->state);
}

/* Several vCPUs at once: IPIs, hypercalls, pages for the hypervisor that come and go. */

#define NR_VCPUS	3

static volatile u64 x2apic;

static void set_apic(u32 reg, u64 v)
{
	guest_apic_write(x2apic, reg, v);
}

static void end_irq(struct guest_regs *regs)
{
	if (regs->vector != 2)
		set_apic(APIC_EOI, 0);
}

/* WRMSR: the way by guest_fixup_rip is for one vCPU. */
static void skip_wrmsr(struct guest_regs *regs)
{
	regs->rip += 2;
}

/* No INIT, no SIPI, and no vector that pushes something else than an interrupt does. */
static void attack_icr(u64 r)
{
	u32 low = (u32)(r >> 8) & 0xccfff, dest = (u32)(r >> 32) & 7;
	u32 delivery = low >> 8 & 7;

	if (delivery == 5 || delivery == 6)
		low &= ~0x700U;
	if ((low & 0xf0) == 0x10)
		low |= 0x20;
	if (r & 1)
		dest = (u32)(r >> 32);
	if (x2apic) {
		set_apic(APIC_ICR, (u64)dest << 32 | low);
	} else {
		set_apic(APIC_ICR2, dest << 24);
		set_apic(APIC_ICR, low);
	}
}

static void attack_hypercall(u64 *state)
{
	u64 r = next_random(state), nr = r & 15;

	/* KVM_HC_SEND_IPI (10) is an ICR, too. */
	asm volatile("vmmcall" : "+a"(nr)
		     : "b"(guest_value(state)), "c"(guest_value(state)),
		       "d"(r >> 56), "S"((r & 0x4c800) | 0x40 | (r >> 32 & 0x3f))
		     : "memory");
}

/* Memory that is there, not there, there at times, and misaligned; the program's is not. */
static void attack_pv_msr(u64 *state)
{
	static const u32 msrs[] = {
		0x11, 0x12, 0x4b564d00, 0x4b564d01, 0x4b564d02, 0x4b564d03, 0x4b564d04,
		0x4b564d05,
	};
	u64 r = next_random(state), v = guest_value(state);

	if (r & 0x100)
		v = GUEST_HOLE | (v & 0x1fff);
	else if (v < GUEST_MEM_SIZE)
		v = GUEST_SCRATCH | (v & 0xfffff);
	if (r & 0x200)
		v &= ~63UL;
	wrmsr(msrs[r >> 16 & 7], v | (r >> 10 & 1));
}

static void guest_smp(u64 seed)
{
	static const u16 regs[] = {
		APIC_TASKPRI, APIC_EOI, APIC_LDR, APIC_DFR, APIC_ESR, APIC_ID,
	};
	u64 state = seed, r;

	if (x2apic)
		wrmsr(MSR_APICBASE, rdmsr(MSR_APICBASE) | 1U << 10);
	set_apic(APIC_SPIV, 0x1ff);
	set_apic(APIC_LVT0, 1U << 16);
	guest_sti();
	for (;;) {
		r = next_random(&state);
		switch (r >> 62) {
		case 0:
			attack_icr(r);
			break;
		case 1:
			attack_hypercall(&state);
			break;
		case 2:
			attack_pv_msr(&state);
			break;
		default:
			set_apic(regs[r % 6], (u32)(r >> 8) & ((r & 0x80) ? 0xff : ~0U));
			set_apic(APIC_TASKPRI, 0);
			break;
		}
	}
}

struct attacker {
	struct test_vcpu vcpu;
	pthread_t thread;
	const struct timespec *end;
	u64 seed;
};

static void *run_attacker(void *arg)
{
	struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct attacker *a = arg;
	bool fresh = true;
	int ret;

	while (time_left(a->end)) {
		if (fresh) {
			vcpu_setup_long_stack(&a->vcpu, guest_smp, next_random(&a->seed),
					      GUEST_STACKS - a->vcpu.id * GUEST_STACK_SIZE);
			vcpu_ioctl(&a->vcpu, KVM_SET_MP_STATE, &runnable);
		}
		ret = __vcpu_run(&a->vcpu);
		if (ret && ret != -EINTR && ret != -EFAULT)
			TEST_DIE("KVM_RUN: %s", strerror(-ret));
		fresh = ret == -EFAULT;
		/* KVM_EXIT_IO: an exception that has no handler. */
		if (!ret && a->vcpu.run->exit_reason != KVM_EXIT_MMIO &&
		    a->vcpu.run->exit_reason != KVM_EXIT_HYPERCALL)
			fresh = true;
	}
	return NULL;
}

static void attack_together(struct timespec *end, u64 *state)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_EXIT_HYPERCALL,
		.args[0] = 1UL << 12,	/* KVM_HC_MAP_GPA_RANGE */
	};
	struct attacker attacker[NR_VCPUS];
	struct test_vm vm;
	unsigned int i, moves;
	void *page;

	memset(guest_handlers, 0, sizeof(guest_handlers));
	for (i = 32; i < 256; i++)
		guest_handlers[i] = end_irq;
	guest_handlers[2] = end_irq;
	guest_handlers[13] = skip_wrmsr;
	vm_create(&vm);
	vm_create_irqchip(&vm);
	vm_ioctl(&vm, KVM_ENABLE_CAP, &cap);
	page = mmap(NULL, TEST_PAGE_SIZE, PROT_READ | PROT_WRITE,
		    MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	if (page == MAP_FAILED)
		TEST_DIE("mmap: %m");
	for (i = 0; i < NR_VCPUS; i++) {
		vcpu_create(&vm, &attacker[i].vcpu, i);
		vcpu_set_supported_cpuid(&attacker[i].vcpu);
		attacker[i].end = end;
		attacker[i].seed = next_random(state);
	}
	for (i = 0; i < NR_VCPUS; i++)
		if (pthread_create(&attacker[i].thread, NULL, run_attacker, &attacker[i]))
			TEST_DIE("pthread_create: %m");
	for (moves = 1; time_left(end); moves++) {
		vm_set_slot(&vm, 1, 0, GUEST_HOLE + (moves & 1) * TEST_PAGE_SIZE,
			    moves % 3 ? TEST_PAGE_SIZE : 0, page);
		madvise(page, TEST_PAGE_SIZE, MADV_DONTNEED);
		usleep(1000);
		for (i = 0; i < NR_VCPUS; i++)
			pthread_kill(attacker[i].thread, SIGALRM);
	}
	for (i = 0; i < NR_VCPUS; i++) {
		attacker[i].vcpu.run->immediate_exit = 1;
		pthread_kill(attacker[i].thread, SIGALRM);
		pthread_join(attacker[i].thread, NULL);
		vcpu_destroy(&attacker[i].vcpu);
	}
	vm_destroy(&vm);
	munmap(page, TEST_PAGE_SIZE);
	memset(guest_handlers, 0, sizeof(guest_handlers));
}

TEST_F(attack, xapic_smp)
{
	attack_together(&self->end, &self->state);
}

TEST_F(attack, x2apic_smp)
{
	x2apic = 1;
	attack_together(&self->end, &self->state);
}

/* KVM 6.1 lets any guest use CLGI and STGI where the CPU has a virtual GIF. */
static bool gif_refused;

/* Without EFER.SVME each of these is an invalid opcode, whatever RAX says. */
static void guest_svm(u64 arg __maybe_unused)
{
	u64 v, efer = rdmsr(MSR_EFER);

	for (v = 0x1000; v < 0x100000000000; v *= 0x100) {
#define UD(insn) GUEST_ASSERT_EQ(GUEST_TRY(insn, OUTS(), \
					   INS("a"(v), "c"(0UL))), 6)
		UD("vmrun");
		UD("vmload");
		UD("vmsave");
		UD("invlpga %%rax, %%ecx");
		UD("skinit");
		UD("vmxoff");
		UD("vmlaunch");
		UD("rsm");
		if (gif_refused) {
			UD("clgi");
			UD("stgi");
		}
	}
	/* Nor can the guest switch it on: it was not offered. */
	GUEST_ASSERT_EQ(wrmsr_try(MSR_EFER, efer | 1UL << 12), 13);
	GUEST_ASSERT_EQ(rdmsr(MSR_EFER), efer);
}

TEST_F(attack, virtualization)
{
	int device = device_open();
	struct kvm_cpuid2 *cpuid = cpuid_supported(device);
	struct kvm_cpuid_entry2 *e = cpuid_find(cpuid, 0x80000001, 0);
	struct test_vcpu vcpu;
	struct test_vm vm;

	gif_refused = !test_device_is_kvm();
	vm_create(&vm);
	vcpu_create(&vm, &vcpu, 0);
	ASSERT_NE(NULL, e);
	e->ecx &= ~(1U << 2);
	vcpu_ioctl(&vcpu, KVM_SET_CPUID2, cpuid);
	vcpu_setup_long(&vcpu, guest_svm, 0);
	vcpu_run_to_done(&vcpu);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
	free(cpuid);
	close(device);
}

/* Tables of noise, walked for code, stack and descriptors alike. */
TEST_F(attack, page_tables)
{
	struct test_vcpu vcpu;
	struct kvm_sregs sregs;
	struct test_vm vm;
	u64 *pd, i;

	vm_create(&vm);
	vcpu_create(&vm, &vcpu, 0);
	while (time_left(&self->end)) {
		vcpu_setup_long(&vcpu, guest_normal, 0);
		fill_random(vm_ptr(&vm, GUEST_FREE), 4 * TEST_PAGE_SIZE,
			    &self->state);
		/* Half of them are present, low, and so walked to the end. */
		pd = vm_ptr(&vm, GUEST_FREE);
		for (i = 0; i < 4 * 512; i++)
			if (pd[i] & 1 << 11)
				pd[i] &= 0x8000000000f0ffffUL;
		pd[0] = (GUEST_FREE + TEST_PAGE_SIZE) | 7;
		vcpu_ioctl(&vcpu, KVM_GET_SREGS, &sregs);
		sregs.cr3 = GUEST_FREE;
		if (next_random(&self->state) & 1) {
			sregs.idt.base = next_random(&self->state);
			sregs.gdt.base = next_random(&self->state);
		}
		/* A non-canonical base may be refused: then not this time. */
		if (__vcpu_ioctl(&vcpu, KVM_SET_SREGS, &sregs) == 0)
			run_for(&vcpu, 20);
	}
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

/*
 * The translator of QEMU 10.0 itself crashes on random 16-bit code, under KVM
 * as well: on its CPU model real mode is left out.
 */
static bool emulated_cpu(void)
{
	char brand[13] = "";

	__get_cpuid(0x80000002, (unsigned int *)brand,
		    (unsigned int *)(brand + 4), (unsigned int *)(brand + 8),
		    &(unsigned int){ 0 });
	return strncmp(brand, "QEMU TCG", 8) == 0;
}

static void random_start(struct test_vcpu *vcpu, int mode, u64 *state)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	u64 *r = (u64 *)&regs;
	u64 offset = next_random(state) & (CODE_SIZE - 1);
	int i;

	switch (mode) {
	case 0:
		vcpu_setup_real(vcpu, 0x1000, (u16)offset);
		break;
	case 1:
		vcpu_setup_prot32(vcpu, (u32)(GUEST_BLOB + offset));
		break;
	default:
		vcpu_setup_long(vcpu, (void (*)(u64))(GUEST_BLOB + offset), 0);
		break;
	}
	vcpu_ioctl(vcpu, KVM_GET_REGS, &regs);
	for (i = 0; i < 16; i++)
		if (i != 6)		/* RSP: a stack keeps it going */
			r[i] = next_random(state) >>
			       (next_random(state) & 63);
	regs.rflags = (next_random(state) & 0x40cd5) | 2;
	vcpu_ioctl(vcpu, KVM_SET_REGS, &regs);
	if (mode == 3) {
		/* Segments of noise, too. */
		vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);
		fill_random(&sregs.ds, sizeof(sregs.ds), state);
		fill_random(&sregs.es, sizeof(sregs.es), state);
		fill_random(&sregs.ldt, sizeof(sregs.ldt), state);
		fill_random(&sregs.ss, sizeof(sregs.ss), state);
		/* QEMU's TCG aborts on a TR that is no TSS: noise but that. */
		sregs.tr.base = next_random(state);
		sregs.tr.limit = (u32)next_random(state);
		/* Nor may it need one: from ring 3 the first exception would. */
		if (emulated_cpu())
			sregs.ss.dpl = 0;
		__vcpu_ioctl(vcpu, KVM_SET_SREGS, &sregs);
	}
}

/*
 * LTR of a null selector is a #GP; QEMU 10.0 loads it, and aborts when the guest next
 * needs its TSS. On its CPU model random code gets no LTR.
 */
static void remove_ltr(u8 *code)
{
	unsigned int i;

	for (i = 0; i + 2 < CODE_SIZE; i++)
		if (code[i] == 0x0f && code[i + 1] == 0x00 && ((code[i + 2] >> 3) & 7) == 3)
			code[i] = 0x90;
}

TEST_F(attack, random_code)
{
	int modes = emulated_cpu() ? 3 : 4, mode;
	struct test_vcpu vcpu;
	u64 rounds = 0, exits = 0;
	struct test_vm vm;
	int i;

	vm_create(&vm);
	vcpu_create(&vm, &vcpu, 0);
	/* A million bytes of code at the least, however slow the machine is. */
	while (rounds * CODE_SIZE < 1000000 || time_left(&self->end)) {
		fill_random(vm_ptr(&vm, GUEST_BLOB), CODE_SIZE, &self->state);
		if (modes == 3)
			remove_ltr(vm_ptr(&vm, GUEST_BLOB));
		for (i = 0; i < 16; i++) {
			mode = 3 - i % modes;
			random_start(&vcpu, mode, &self->state);
			exits += (u64)run_for(&vcpu, 5);
		}
		rounds++;
		/* The code may have written anywhere: tables, image. */
		if (rounds % 8 == 0) {
			vcpu_destroy(&vcpu);
			vm_destroy(&vm);
			vm_create(&vm);
			vcpu_create(&vm, &vcpu, 0);
		}
	}
	TH_LOG("seed %lu: %lu bytes, %lu exits", (unsigned long)seed_base,
	       (unsigned long)(rounds * CODE_SIZE), (unsigned long)exits);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

TEST_HARNESS_MAIN
