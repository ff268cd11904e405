// SPDX-License-Identifier: GPL-2.0-only
/*
 * carry_vm save FOLDER | load FOLDER | direct: for apicv_test.sh. Machines whose local APIC
 * is in the middle of things are saved to files, and go on from them, maybe by another
 * lodge.ko. "direct" tells by its status whether the CPU itself works the guest's local APIC.
 */
#include <stdio.h>
#include <sys/time.h>

#include "guest.h"
#include "snapshot.h"

#define IOAPIC			0xfec00000UL
#define LEVEL_PIN		20	/* none of the 8259A's */
#define REMOTE_IRR		0x4000
#define BASE_X2APIC		0x400UL
#define LVT_MASKED		0x10000
#define LVT_DEADLINE		0x40000
#define TIMER_COUNT		0xfffffff0
#define WAKE_MS			500UL

enum vector {
	BELOW_TPR = 0x35, TPR = 0x40, KICK = 0x61, BELOW_SERVICE = 0x85,
	SERVICE = 0x91, SAME_CLASS = 0x95, TIMER = 0xa1,
};

enum scene { BUSY, HALTED_TIMER, HALTED_DEADLINE, HALTED_KICKED, NR_SCENES };

#define NR_MACHINES	(2 * NR_SCENES)		/* in xAPIC mode, and in x2APIC mode */

static volatile bool x2apic;
static volatile u64 carried, order, tsc_khz;

static void apic_write(u32 reg, u64 v)
{
	guest_apic_write(x2apic, reg, v);
}

static u64 apic_read(u32 reg)
{
	return guest_apic_read(x2apic, reg);
}

static bool apic_bit(u32 reg, u32 vector)
{
	return apic_read(reg + vector / 32 * 16) >> vector % 32 & 1;
}

static u32 ioapic(u32 reg)
{
	VOLATILE(u32, IOAPIC) = reg;
	return VOLATILE(u32, IOAPIC + 0x10);
}

static void take(struct guest_regs *regs)
{
	order = order << 8 | regs->vector;
	if (regs->vector != SERVICE)
		apic_write(APIC_EOI, 0);
}

static void self_ipi(u32 vector)
{
	apic_write(APIC_ICR, 0x40000 | vector);
}

/*
 * A level-triggered interrupt in service, whose end the IOAPIC has to hear of; requests that
 * it holds back, and one that the TPR does.
 */
static void guest_busy(void)
{
	VOLATILE(u32, IOAPIC) = 0x10 + 2 * LEVEL_PIN;
	VOLATILE(u32, IOAPIC + 0x10) = 0x8000 | SERVICE;
	GUEST_SYNC(1);
	guest_irq_window();
	GUEST_ASSERT_EQ(order, SERVICE);
	apic_write(APIC_TASKPRI, TPR);
	self_ipi(BELOW_TPR);
	self_ipi(BELOW_SERVICE);
	self_ipi(SAME_CLASS);
	apic_write(APIC_LVTT, LVT_MASKED | TIMER);
	apic_write(APIC_TMICT, TIMER_COUNT);
	GUEST_SYNC(2);

	GUEST_ASSERT(carried);
	GUEST_ASSERT(apic_bit(APIC_ISR, SERVICE));
	GUEST_ASSERT(apic_bit(APIC_TMR, SERVICE));
	GUEST_ASSERT(apic_bit(APIC_IRR, BELOW_TPR));
	GUEST_ASSERT(apic_bit(APIC_IRR, BELOW_SERVICE));
	GUEST_ASSERT(apic_bit(APIC_IRR, SAME_CLASS));
	GUEST_ASSERT_EQ(apic_read(APIC_TASKPRI), TPR);
	GUEST_ASSERT_EQ(apic_read(APIC_PROCPRI), SERVICE & 0xf0);
	GUEST_ASSERT_EQ(read_cr8(), TPR >> 4);
	GUEST_ASSERT_EQ(apic_read(APIC_TMICT), TIMER_COUNT);
	GUEST_ASSERT(apic_read(APIC_TMCCT) != 0);
	GUEST_ASSERT(ioapic(0x10 + 2 * LEVEL_PIN) & REMOTE_IRR);

	/* What waits comes at the EOI, the highest first. */
	guest_sti();
	GUEST_ASSERT_EQ(order, SERVICE);
	apic_write(APIC_EOI, 0);
	asm volatile("nop");
	GUEST_ASSERT_EQ(order, SERVICE << 16 | SAME_CLASS << 8 | BELOW_SERVICE);
	GUEST_ASSERT(!(ioapic(0x10 + 2 * LEVEL_PIN) & REMOTE_IRR));
	write_cr8(0);
	asm volatile("nop");
	GUEST_ASSERT_EQ(order & 0xff, BELOW_TPR);
	guest_cli();
	GUEST_ASSERT(!apic_bit(APIC_ISR, SERVICE));
	GUEST_ASSERT_EQ(apic_read(APIC_PROCPRI), 0);
}

static void guest_halted(enum scene scene)
{
	if (scene == HALTED_TIMER) {
		apic_write(APIC_LVTT, TIMER);
		apic_write(APIC_TMICT, WAKE_MS * 1000000);
	} else if (scene == HALTED_DEADLINE) {
		apic_write(APIC_LVTT, LVT_DEADLINE | TIMER);
		wrmsr(MSR_TSC_DEADLINE, rdtsc() + WAKE_MS * tsc_khz);
	}
	guest_sti_halt_cli();
	GUEST_ASSERT(carried);
	GUEST_ASSERT_EQ(order, scene == HALTED_KICKED ? KICK : TIMER);
	GUEST_ASSERT(!apic_bit(APIC_IRR, order));
	GUEST_ASSERT(!apic_bit(APIC_ISR, order));
}

static void guest_main(u64 machine)
{
	enum scene scene = machine / 2;

	if (machine % 2) {
		wrmsr(MSR_APICBASE, rdmsr(MSR_APICBASE) | BASE_X2APIC);
		x2apic = true;
	}
	apic_write(APIC_SPIV, 0x1ff);
	apic_write(APIC_TDCR, 0xb);
	if (scene == BUSY)
		guest_busy();
	else
		guest_halted(scene);
}

static void make_machine(struct test_vm *vm, struct test_vcpu *vcpu)
{
	u32 v;

	for (v = 0x30; v < 0x100; v++)
		guest_handlers[v] = take;
	snapshot_make_machine(vm, vcpu);
	vcpu_offer_deadline(vcpu);
}

/* Until the guest has halted: KVM_RUN does not end by itself then. */
static void run_to_halt(struct test_vcpu *vcpu)
{
	struct itimerval it = {
		.it_value.tv_usec = 20000,
		.it_interval.tv_usec = 20000,
	};
	struct itimerval off = {};
	struct sigaction sa = { .sa_handler = host_signal_noop };
	struct kvm_mp_state mp;

	if (sigaction(SIGALRM, &sa, NULL) || setitimer(ITIMER_REAL, &it, NULL))
		TEST_DIE("timer: %m");
	do {
		if (__vcpu_run(vcpu) != -EINTR)
			TEST_DIE("the guest has not halted");
		vcpu_ioctl(vcpu, KVM_GET_MP_STATE, &mp);
	} while (mp.mp_state != KVM_MP_STATE_HALTED);
	setitimer(ITIMER_REAL, &off, NULL);
}

/* To the point where the machine is saved. */
static void run_scene(struct test_vcpu *vcpu, enum scene scene)
{
	struct kvm_msi msi = { .address_lo = XAPIC_BASE, .data = KICK };

	if (scene == BUSY) {
		vcpu_run_to_sync(vcpu);
		vm_irq_line(vcpu->vm, LEVEL_PIN, 1);
		vcpu_run_to_sync(vcpu);
		vm_irq_line(vcpu->vm, LEVEL_PIN, 0);
		/* The OUT has to be finished before the registers mean anything. */
		vcpu->run->immediate_exit = 1;
		if (__vcpu_run(vcpu) != -EINTR)
			TEST_DIE("immediate_exit");
		return;
	}
	run_to_halt(vcpu);
	if (scene == HALTED_KICKED && __vm_ioctl(vcpu->vm, KVM_SIGNAL_MSI, &msi) != 1)
		TEST_DIE("the MSI is lost");
}

static FILE *open_file(const char *folder, u32 machine, const char *mode)
{
	char path[200];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%u", folder, machine);
	f = fopen(path, mode);
	if (!f)
		TEST_DIE("%s: %m", path);
	return f;
}

/* Pages of zeroes become holes. */
static void write_memory(const struct test_vm *vm, FILE *f)
{
	static const char zero[TEST_PAGE_SIZE];
	const char *page, *end = vm->mem + vm->mem_size;

	for (page = vm->mem; page < end; page += TEST_PAGE_SIZE) {
		if (memcmp(page, zero, TEST_PAGE_SIZE) || page + TEST_PAGE_SIZE == end)
			fwrite(page, TEST_PAGE_SIZE, 1, f);
		else
			fseek(f, TEST_PAGE_SIZE, SEEK_CUR);
	}
}

/* Bochs loses a virtual interrupt whose delivery is the first use of a page. */
static void prefault(struct test_vcpu *vcpu)
{
	struct kvm_pre_fault_memory all = { .size = vcpu->vm->mem_size };
	int ret;

	do {
		ret = __vcpu_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &all);
	} while (ret == -EINTR || ret == -EAGAIN);
	if (ret || all.size)
		TEST_DIE("KVM_PRE_FAULT_MEMORY: %d", ret);
}

static void save(const char *folder, u32 machine)
{
	FILE *f = open_file(folder, machine, "w");
	static struct snapshot s;
	struct test_vcpu vcpu;
	struct test_vm vm;

	make_machine(&vm, &vcpu);
	guest_var(&vm, tsc_khz) = vcpu_ioctl(&vcpu, KVM_GET_TSC_KHZ, 0);
	vcpu_setup_long(&vcpu, guest_main, machine);
	prefault(&vcpu);
	run_scene(&vcpu, machine / 2);
	snapshot_save(&vcpu, &s);
	fwrite(&s, sizeof(s), 1, f);
	write_memory(&vm, f);
	if (ferror(f) || fclose(f))
		TEST_DIE("write: %m");
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

static bool load(const char *folder, u32 machine)
{
	FILE *f = open_file(folder, machine, "r");
	static struct snapshot old, new;
	struct test_vcpu vcpu;
	struct test_vm vm;
	bool same;
	u32 i;

	make_machine(&vm, &vcpu);
	if (fread(&old, sizeof(old), 1, f) != 1 || fread(vm.mem, vm.mem_size, 1, f) != 1)
		TEST_DIE("read: %m");
	fclose(f);
	guest_var(&vm, carried) = 1;
	prefault(&vcpu);
	for (i = 0; i < NR_ITEMS; i++)
		snapshot_restore(&vcpu, &old, snapshot_default_order[i]);
	snapshot_save(&vcpu, &new);
	same = snapshot_same(&old, &new);
	/* A guest whose wake-up is lost sleeps for ever. */
	alarm(20 * test_slowness());
	vcpu_run_to_done(&vcpu);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
	return same;
}

#define NR_READS	100

static void guest_reads(u64 arg __maybe_unused)
{
	u32 i;

	wrmsr(MSR_APICBASE, rdmsr(MSR_APICBASE) | BASE_X2APIC);
	wrmsr(X2APIC_MSR(APIC_SPIV), 0x1ff);
	GUEST_SYNC(1);
	for (i = 0; i < NR_READS; i++)
		rdmsr(X2APIC_MSR(APIC_TASKPRI));
	GUEST_SYNC(2);
}

/* Where it does, a read of a register is no exit. */
static bool is_direct(void)
{
	struct test_vcpu vcpu;
	struct test_vm vm;
	u64 before;

	snapshot_make_machine(&vm, &vcpu);
	vcpu_setup_long(&vcpu, guest_reads, 0);
	vcpu_run_to_sync(&vcpu);
	before = vcpu_stat(&vcpu, "exits");
	vcpu_run_to_sync(&vcpu);
	return vcpu_stat(&vcpu, "exits") - before < NR_READS;
}

int main(int argc, char **argv)
{
	bool ok = true;
	u32 i;

	if (argc == 2 && !strcmp(argv[1], "direct"))
		return !is_direct();
	if (argc != 3 || (strcmp(argv[1], "save") && strcmp(argv[1], "load"))) {
		fprintf(stderr, "usage: carry_vm save FOLDER | load FOLDER | direct\n");
		return 2;
	}
	for (i = 0; i < NR_MACHINES; i++) {
		printf("# %s machine %u\n", argv[1], i);
		fflush(stdout);
		if (*argv[1] == 's')
			save(argv[2], i);
		else
			ok &= load(argv[2], i);
	}
	return !ok;
}
