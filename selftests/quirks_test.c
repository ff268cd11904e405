// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where KVM does not do as a CPU would, and KVM_CAP_DISABLE_QUIRKS2 makes it: each quirk
 * on and off.
 */
#include <kselftest_harness.h>

#include <cpuid.h>

#include "guest.h"
#include "test_vm.h"

/* Places in a GUEST_TEXT(), which also says .globl. */
#define GUEST_LABELS(...)	extern const char __VA_ARGS__

#define QUIRKS	(KVM_X86_QUIRK_LINT0_REENABLED | KVM_X86_QUIRK_CD_NW_CLEARED | \
		 KVM_X86_QUIRK_LAPIC_MMIO_HOLE | KVM_X86_QUIRK_OUT_7E_INC_RIP | \
		 KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT | \
		 KVM_X86_QUIRK_FIX_HYPERCALL_INSN | \
		 KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS)

#define UD_VECTOR		6
#define PF_VECTOR		14
#define PF_PRESENT_WRITE	3
#define CR0_WP			(1UL << 16)
#define CR0_NW			(1UL << 29)
#define CR0_CD			(1UL << 30)
#define PTE_W			2UL
#define APICBASE_ENABLE		(1UL << 11)
#define APICBASE_X2APIC		(1UL << 10)
#define MSR_MISC_ENABLE		0x1a0
#define MISC_ENABLE_MWAIT	(1UL << 18)
#define LEAF1_ECX_SSE3		(1U << 0)
#define LEAF1_ECX_MWAIT		(1U << 3)
#define HC_POLL_IRQ		1	/* KVM_HC_VAPIC_POLL_IRQ: does nothing, returns 0 */

FIXTURE(quirks) {
	struct test_vm vm;
	struct test_vcpu vcpu;
};

FIXTURE_SETUP(quirks)
{
	vm_create(&self->vm);
	vm_create_irqchip(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
}

FIXTURE_TEARDOWN(quirks)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static int __disable(struct test_vm *vm, u32 cap, u64 quirks)
{
	struct kvm_enable_cap enable = { .cap = cap, .args[0] = quirks };

	return __vm_ioctl(vm, KVM_ENABLE_CAP, &enable);
}

static void disable(struct test_vm *vm, u64 quirks)
{
	if (__disable(vm, KVM_CAP_DISABLE_QUIRKS2, quirks))
		TEST_DIE("KVM_CAP_DISABLE_QUIRKS2: %m");
}

TEST_F(quirks, switches)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_DISABLE_QUIRKS2, .flags = 1 };

	ASSERT_EQ(1, vm_cap(&self->vm, KVM_CAP_DISABLE_QUIRKS));
	ASSERT_EQ(QUIRKS, vm_cap(&self->vm, KVM_CAP_DISABLE_QUIRKS2) & QUIRKS);
	EXPECT_EQ(-EINVAL, __vm_ioctl(&self->vm, KVM_ENABLE_CAP, &cap));
	cap.flags = 0;
	EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_ENABLE_CAP, &cap));
	/* The older one takes what there is. */
	EXPECT_EQ(-EINVAL, __disable(&self->vm, KVM_CAP_DISABLE_QUIRKS2, 1ULL << 40));
	EXPECT_EQ(0, __disable(&self->vm, KVM_CAP_DISABLE_QUIRKS, 1ULL << 40));
	EXPECT_EQ(0, __disable(&self->vm, KVM_CAP_DISABLE_QUIRKS, QUIRKS));
}

static u32 lint0_after_reset(u64 off, unsigned int id)
{
	struct kvm_lapic_state lapic;
	struct test_vcpu vcpu;
	struct test_vm vm;
	u32 lint0;

	vm_create(&vm);
	vm_create_irqchip(&vm);
	disable(&vm, off);
	vcpu_create(&vm, &vcpu, id);
	vcpu_ioctl(&vcpu, KVM_GET_LAPIC, &lapic);
	memcpy(&lint0, lapic.regs + APIC_LVT0, sizeof(lint0));
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
	return lint0;
}

TEST(lint0_reenabled)
{
	EXPECT_EQ(0x700, lint0_after_reset(0, 0));	/* ExtINT, not masked */
	EXPECT_EQ(0x10000, lint0_after_reset(0, 1));
	EXPECT_EQ(0x10000, lint0_after_reset(KVM_X86_QUIRK_LINT0_REENABLED, 0));
}

/* CD_NW_CLEARED: only what it costs to hide the bits can be seen. */

#define CR0_READS	1000

static void guest_reads_cr0(u64 bits)
{
	unsigned int i;

	write_cr0(read_cr0() | bits);
	GUEST_SYNC(0);
	for (i = 0; i < CR0_READS; i++)
		GUEST_ASSERT_EQ(bits, read_cr0() & (CR0_CD | CR0_NW));
	GUEST_SYNC(1);
	write_cr0(read_cr0() & ~bits);
	GUEST_ASSERT_EQ(0, read_cr0() & (CR0_CD | CR0_NW));
}

static u64 nr_exits(struct test_vcpu *vcpu)
{
	int fd = vcpu_ioctl(vcpu, KVM_GET_STATS_FD, 0);
	struct kvm_stats_header header;
	char buf[sizeof(struct kvm_stats_desc) + 64];
	struct kvm_stats_desc *desc = (void *)buf;
	size_t each;
	u64 value = 0;
	u32 i;

	if (pread(fd, &header, sizeof(header), 0) != sizeof(header))
		TEST_DIE("the header");
	each = sizeof(*desc) + header.name_size;
	for (i = 0; i < header.num_desc && each <= sizeof(buf); i++) {
		if (pread(fd, buf, each, header.desc_offset + i * each) != (ssize_t)each)
			TEST_DIE("descriptor %u", i);
		if (!strcmp(desc->name, "exits"))
			break;
	}
	if (i == header.num_desc || each > sizeof(buf) ||
	    pread(fd, &value, sizeof(value), header.data_offset + desc->offset) != sizeof(value))
		TEST_DIE("nothing counts exits");
	close(fd);
	return value;
}

static u64 exits_of_cr0_reads(u64 bits, u64 off)
{
	struct test_vcpu vcpu;
	struct test_vm vm;
	u64 exits;

	vm_with_vcpu(&vm, &vcpu, guest_reads_cr0, bits);
	disable(&vm, off);
	if (vcpu_run_to_sync(&vcpu) != 0)
		TEST_DIE("not the first");
	exits = nr_exits(&vcpu);
	if (vcpu_run_to_sync(&vcpu) != 1)
		TEST_DIE("not the second");
	exits = nr_exits(&vcpu) - exits;
	vcpu_run_to_done(&vcpu);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
	return exits;
}

TEST(cd_nw_cleared)
{
	u32 eax, ebx, ecx, edx;

	__cpuid(0, eax, ebx, ecx, edx);
	if (ecx != signature_AMD_ecx)
		SKIP(return, "VMX has no such thing");
	EXPECT_LE(CR0_READS, exits_of_cr0_reads(CR0_CD, 0));
	EXPECT_GT(CR0_READS, exits_of_cr0_reads(CR0_CD, KVM_X86_QUIRK_CD_NW_CLEARED));
	EXPECT_GT(CR0_READS, exits_of_cr0_reads(CR0_CD | CR0_NW, KVM_X86_QUIRK_CD_NW_CLEARED));
	EXPECT_GT(CR0_READS, exits_of_cr0_reads(0, 0));
}

static void guest_without_xapic(u64 x2apic)
{
	u64 base = rdmsr(MSR_APICBASE);

	xapic_write(APIC_TASKPRI, 0x40);
	wrmsr(MSR_APICBASE, x2apic ? base | APICBASE_X2APIC : base & ~APICBASE_ENABLE);
	xapic_write(APIC_TASKPRI, 0x30);
	GUEST_SYNC(xapic_read(APIC_TASKPRI));
}

static void check_hole(struct __test_metadata *_metadata, struct test_vcpu *vcpu, u64 x2apic)
{
	struct kvm_run *run = vcpu->run;
	u32 value = 0x12345678;

	vcpu_set_supported_cpuid(vcpu);
	vcpu_setup_long(vcpu, guest_without_xapic, x2apic);
	EXPECT_EQ(0xffffffff, vcpu_run_to_sync(vcpu));
	vcpu_run_to_done(vcpu);

	disable(vcpu->vm, KVM_X86_QUIRK_LAPIC_MMIO_HOLE);
	vcpu_set_msr(vcpu, MSR_APICBASE, XAPIC_BASE | APICBASE_ENABLE);
	vcpu_setup_long(vcpu, guest_without_xapic, x2apic);
	vcpu_run_expect(vcpu, KVM_EXIT_MMIO);
	EXPECT_EQ(XAPIC_BASE + APIC_TASKPRI, run->mmio.phys_addr);
	EXPECT_EQ(1, run->mmio.is_write);
	EXPECT_EQ(0x30, run->mmio.data[0]);
	vcpu_run_expect(vcpu, KVM_EXIT_MMIO);
	EXPECT_EQ(0, run->mmio.is_write);
	memcpy(run->mmio.data, &value, sizeof(value));
	EXPECT_EQ(value, vcpu_run_to_sync(vcpu));
}

TEST_F(quirks, lapic_mmio_hole_disabled)
{
	check_hole(_metadata, &self->vcpu, false);
}

TEST_F(quirks, lapic_mmio_hole_x2apic)
{
	check_hole(_metadata, &self->vcpu, true);
}

GUEST_TEXT(out_7e, "out %al, $0x7e\n"
	   "out_7e_next: out %al, $0x7f\n"
	   "out_7f_next: ret\n"
	   ".globl out_7e_next, out_7f_next");
GUEST_LABELS(out_7e_next[], out_7f_next[]);

static void guest_outs(u64 arg __maybe_unused)
{
	asm volatile("call out_7e" : : : "memory");
}

static u64 rip_at_out(struct test_vcpu *vcpu, u16 port)
{
	struct kvm_regs regs;

	vcpu_run_expect(vcpu, KVM_EXIT_IO);
	if (vcpu->run->io.port != port)
		TEST_DIE("port %x", vcpu->run->io.port);
	vcpu_ioctl(vcpu, KVM_GET_REGS, &regs);
	return regs.rip;
}

TEST_F(quirks, out_7e_inc_rip)
{
	struct test_vcpu *vcpu = &self->vcpu;
	struct kvm_regs regs;

	vcpu_setup_long(vcpu, guest_outs, 0);
	EXPECT_EQ((uintptr_t)out_7e_next, rip_at_out(vcpu, 0x7e));
	EXPECT_EQ((uintptr_t)out_7e_next, rip_at_out(vcpu, 0x7f));
	vcpu_run_to_done(vcpu);

	/* What a VMM then has for RIP, counts. */
	vcpu_setup_long(vcpu, guest_outs, 0);
	EXPECT_EQ((uintptr_t)out_7e_next, rip_at_out(vcpu, 0x7e));
	vcpu_ioctl(vcpu, KVM_GET_REGS, &regs);
	regs.rip = (uintptr_t)out_7f_next;
	vcpu_ioctl(vcpu, KVM_SET_REGS, &regs);
	vcpu_run_to_done(vcpu);

	disable(&self->vm, KVM_X86_QUIRK_OUT_7E_INC_RIP);
	vcpu_setup_long(vcpu, guest_outs, 0);
	EXPECT_EQ((uintptr_t)out_7e, rip_at_out(vcpu, 0x7e));
	EXPECT_EQ((uintptr_t)out_7e_next, rip_at_out(vcpu, 0x7f));
	vcpu_run_to_done(vcpu);
}

/* MONITOR and MWAIT ------------------------------------------------------------- */

/* Each sync: CPUID's bit, and the vectors of both instructions. */
#define MWAIT_SEEN(cpuid, vector)	((u64)(cpuid) << 32 | (vector) << 16 | (vector))

static volatile u64 monitored;

static void guest_mwait(u64 arg __maybe_unused)
{
	u64 monitor, mwait;
	u32 r[4];

	for (;;) {
		guest_cpuid(1, 0, r);
		monitor = GUEST_TRY("monitor", OUTS(), INS("a"(&monitored), "c"(0), "d"(0)));
		mwait = GUEST_TRY("mwait", OUTS(), INS("a"(0), "c"(0)));
		GUEST_SYNC((u64)!!(r[2] & LEAF1_ECX_MWAIT) << 32 | monitor << 16 | mwait);
	}
}

static void set_leaf1(struct test_vcpu *vcpu, u32 set, u32 clear)
{
	int device = device_open();
	struct kvm_cpuid2 *cpuid = cpuid_supported(device);
	struct kvm_cpuid_entry2 *e = cpuid_find(cpuid, 1, 0);

	e->ecx = (e->ecx & ~clear) | set;
	vcpu_ioctl(vcpu, KVM_SET_CPUID2, cpuid);
	free(cpuid);
	close(device);
}

TEST_F(quirks, mwait)
{
	struct test_vcpu *vcpu = &self->vcpu;
	u32 eax, ebx, ecx, edx;

	__cpuid(1, eax, ebx, ecx, edx);
	if (!(ecx & LEAF1_ECX_MWAIT))
		SKIP(return, "this CPU has no MONITOR");

	set_leaf1(vcpu, 0, LEAF1_ECX_MWAIT);
	vcpu_setup_long(vcpu, guest_mwait, 0);
	EXPECT_EQ(MWAIT_SEEN(0, GUEST_NO_FAULT), vcpu_run_to_sync(vcpu));
	disable(&self->vm, KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS);
	EXPECT_EQ(MWAIT_SEEN(0, UD_VECTOR), vcpu_run_to_sync(vcpu));
	/* The MSR's bit does not count yet. */
	vcpu_set_msr(vcpu, MSR_MISC_ENABLE, MISC_ENABLE_MWAIT);
	EXPECT_EQ(MWAIT_SEEN(0, UD_VECTOR), vcpu_run_to_sync(vcpu));
	vcpu_set_msr(vcpu, MSR_MISC_ENABLE, 0);
	disable(&self->vm, KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS |
			   KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT);
	EXPECT_EQ(MWAIT_SEEN(0, UD_VECTOR), vcpu_run_to_sync(vcpu));
	vcpu_set_msr(vcpu, MSR_MISC_ENABLE, MISC_ENABLE_MWAIT);
	EXPECT_EQ(MWAIT_SEEN(1, GUEST_NO_FAULT), vcpu_run_to_sync(vcpu));
	vcpu_set_msr(vcpu, MSR_MISC_ENABLE, 0);
	EXPECT_EQ(MWAIT_SEEN(0, UD_VECTOR), vcpu_run_to_sync(vcpu));
	/* With later kernels' KVM what is off stays off. */
	if (!test_device_is_kvm()) {
		disable(&self->vm, KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT);
		EXPECT_EQ(MWAIT_SEEN(0, GUEST_NO_FAULT), vcpu_run_to_sync(vcpu));
	}
}

TEST_F(quirks, mwait_shown)
{
	struct test_vcpu *vcpu = &self->vcpu;
	u32 eax, ebx, ecx, edx;

	__cpuid(1, eax, ebx, ecx, edx);
	if (!(ecx & LEAF1_ECX_MWAIT))
		SKIP(return, "this CPU has no MONITOR");

	disable(&self->vm, KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS);
	set_leaf1(vcpu, LEAF1_ECX_MWAIT, 0);
	vcpu_setup_long(vcpu, guest_mwait, 0);
	EXPECT_EQ(MWAIT_SEEN(1, GUEST_NO_FAULT), vcpu_run_to_sync(vcpu));
}

/* Without SSE3 the MSR has no such bit. */
TEST_F(quirks, misc_enable)
{
	struct test_vcpu *vcpu = &self->vcpu;

	set_leaf1(vcpu, 0, LEAF1_ECX_SSE3);
	EXPECT_EQ(1, __vcpu_set_msr(vcpu, MSR_MISC_ENABLE, MISC_ENABLE_MWAIT));
	EXPECT_EQ(1, __vcpu_set_msr(vcpu, MSR_MISC_ENABLE, 0));
	disable(&self->vm, KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT);
	EXPECT_EQ(0, __vcpu_set_msr(vcpu, MSR_MISC_ENABLE, MISC_ENABLE_MWAIT));
	EXPECT_EQ(1, __vcpu_set_msr(vcpu, MSR_MISC_ENABLE, 0));
}

/* Hypercalls ---------------------------------------------------------------------- */

#define CODE_SIZE	5	/* the hypercall, and JMP *RCX */
#define CODE		(GUEST_SCRATCH + 0x1000)
#define READONLY_VIEW	0x20000000UL	/* of the first 2 MiB */

static volatile u64 hypercall_result;

static void guest_hypercall(u64 code)
{
	u64 rax, rcx, vector;

	write_cr0(read_cr0() | CR0_WP);
	for (;;) {
		rax = HC_POLL_IRQ;
		vector = GUEST_TRY("lea 1f(%%rip), %%rcx\n\tjmp *%%rdi",
				   OUTS("+a"(rax), "=&c"(rcx)), INS("D"(code), "b"(0)));
		hypercall_result = rax;
		GUEST_SYNC(vector);
	}
}

static u8 own_modrm(void)
{
	u32 eax, ebx, ecx, edx;

	__cpuid(0, eax, ebx, ecx, edx);
	return ecx == signature_AMD_ecx ? 0xd9 : 0xc1;
}

/* The other vendor's at guest-physical @gpa. */
static u8 *put_hypercall(void *at)
{
	u8 code[CODE_SIZE] = { 0x0f, 0x01, own_modrm() ^ 0xd9 ^ 0xc1, 0xff, 0xe1 };

	return memcpy(at, code, sizeof(code));
}

TEST_F(quirks, hypercall)
{
	struct test_vcpu *vcpu = &self->vcpu;
	u8 own = own_modrm(), other = own ^ 0xd9 ^ 0xc1, *code;
	u64 gpa;

	/* Once in a page, once across two. */
	for (gpa = CODE; gpa >= CODE - 2; gpa -= 2) {
		code = put_hypercall(vm_ptr(&self->vm, gpa));
		vcpu_setup_long(vcpu, guest_hypercall, gpa);
		EXPECT_EQ(GUEST_NO_FAULT, vcpu_run_to_sync(vcpu));
		EXPECT_EQ(0, guest_var(&self->vm, hypercall_result));
		EXPECT_EQ(own, code[2]);
	}

	/* Off, while the guest goes on. */
	put_hypercall(code);
	disable(&self->vm, KVM_X86_QUIRK_FIX_HYPERCALL_INSN);
	EXPECT_EQ(UD_VECTOR, vcpu_run_to_sync(vcpu));
	EXPECT_EQ(other, code[2]);
	code[2] = own;
	EXPECT_EQ(GUEST_NO_FAULT, vcpu_run_to_sync(vcpu));
}

/* What is no hypercall, is not touched. */
TEST_F(quirks, undefined)
{
	struct test_vcpu *vcpu = &self->vcpu;
	u8 *code = put_hypercall(vm_ptr(&self->vm, CODE));

	memcpy(code, "\x0f\x0b", 2);
	vcpu_setup_long(vcpu, guest_hypercall, CODE);
	EXPECT_EQ(UD_VECTOR, vcpu_run_to_sync(vcpu));
	put_hypercall(code + 1);
	code[0] = 0xf0;
	EXPECT_EQ(UD_VECTOR, vcpu_run_to_sync(vcpu));
	EXPECT_EQ(own_modrm() ^ 0xd9 ^ 0xc1, code[3]);
}

/* The guest may not write there, so neither may its hypercall. */
TEST_F(quirks, hypercall_readonly)
{
	struct test_vcpu *vcpu = &self->vcpu;
	u8 *code = put_hypercall(vm_ptr(&self->vm, CODE));
	u64 *pd = vm_ptr(&self->vm, GUEST_PD);
	u64 addr;

	pd[READONLY_VIEW >> 21] = pd[0] & ~PTE_W;
	vcpu_setup_long(vcpu, guest_hypercall, READONLY_VIEW + CODE);
	EXPECT_EQ(PF_VECTOR, vcpu_run_to_sync(vcpu));
	EXPECT_EQ(PF_PRESENT_WRITE, guest_var(&self->vm, guest_fault_error));
	/* KVM writes the whole of it. */
	addr = guest_var(&self->vm, guest_fault_addr) - READONLY_VIEW - CODE;
	EXPECT_TRUE(addr == 0 || addr == 2);
	EXPECT_EQ(own_modrm() ^ 0xd9 ^ 0xc1, code[2]);
}

/* A slot that the guest cannot write to. KVM has an exit for the write, without end. */
TEST_F(quirks, hypercall_readonly_slot)
{
	struct test_vcpu *vcpu = &self->vcpu;
	u8 *code;

	if (test_device_is_kvm())
		SKIP(return, "KVM makes it an MMIO exit");
	code = mmap(NULL, TEST_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	ASSERT_NE(MAP_FAILED, code);
	put_hypercall(code);
	vm_set_slot(&self->vm, 1, KVM_MEM_READONLY, GUEST_HOLE, TEST_PAGE_SIZE, code);
	vcpu_setup_long(vcpu, guest_hypercall, GUEST_HOLE);
	EXPECT_EQ(UD_VECTOR, vcpu_run_to_sync(vcpu));
	EXPECT_EQ(own_modrm() ^ 0xd9 ^ 0xc1, code[2]);
	munmap(code, TEST_PAGE_SIZE);
}

TEST_HARNESS_MAIN
