// SPDX-License-Identifier: GPL-2.0-only
/*
 * FPU state: GET and SET of FPU, XSAVE, XSAVE2 and XCRS, and that guest and
 * host keep their registers apart: SSE, AVX, x87, MXCSR, XCR0, PKRU.
 */
#include <kselftest_harness.h>

#include <cpuid.h>
#include <sys/syscall.h>

#include "guest.h"
#include "test_vm.h"

#define CR4_OSXSAVE	0x40000UL
#define CR4_PKE		0x400000UL
#define XCR0_AVX	7

/* Offsets in the XSAVE image, in 32-bit words. */
#define XSAVE_MXCSR	6
#define XSAVE_XMM0	40
#define XSAVE_BV	128
#define XSAVE_COMP	130

FIXTURE(fpu) {
	struct test_vm vm;
	struct test_vcpu vcpu;
	bool avx;
	bool pku;
};

FIXTURE_SETUP(fpu)
{
	struct kvm_cpuid_entry2 *e;
	int device = device_open();
	struct kvm_cpuid2 *cpuid = cpuid_supported(device);

	e = cpuid_find(cpuid, 1, 0);
	self->avx = e && e->ecx & 1U << 28 && e->ecx & 1U << 26;
	e = cpuid_find(cpuid, 7, 0);
	self->pku = e && e->ecx & 1U << 3;
	free(cpuid);
	close(device);
	vm_create(&self->vm);
	vcpu_create(&self->vm, &self->vcpu, 0);
}

FIXTURE_TEARDOWN(fpu)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
}

static u64 xgetbv(void)
{
	u32 lo, hi;

	asm volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (u64)hi << 32 | lo;
}

static void xsetbv(u64 v)
{
	asm volatile("xsetbv" : : "a"((u32)v), "d"((u32)(v >> 32)), "c"(0));
}

static u64 xsetbv_try(u32 index, u64 v)
{
	return GUEST_TRY("xsetbv", OUTS(), INS("a"((u32)v),
					       "d"((u32)(v >> 32)),
					       "c"(index)));
}

static u32 rdpkru(void)
{
	u32 v, edx;

	asm volatile("rdpkru" : "=a"(v), "=d"(edx) : "c"(0));
	return v;
}

static void wrpkru(u32 v)
{
	asm volatile("wrpkru" : : "a"(v), "c"(0), "d"(0));
}

/* What a VMM sees: xmm0, xmm15, MXCSR and the x87 control word. */
static void guest_sse(u64 arg __maybe_unused)
{
	u64 v[2] __aligned(16) = { 0x1111, 0x2222 };
	u32 mxcsr;

	asm volatile("stmxcsr %0" : "=m"(mxcsr));
	GUEST_ASSERT_EQ(mxcsr, 0x1f80);
	mxcsr = 0x1fa0;
	asm volatile("movdqa %0, %%xmm15" : : "m"(v) : "xmm15");
	GUEST_SYNC(1);
	asm volatile("movdqa %%xmm15, %0" : "=m"(v));
	GUEST_ASSERT_EQ(v[0], 0x1111);
	GUEST_ASSERT_EQ(v[1], 0x2222);
	asm volatile("movdqa %%xmm0, %0" : "=m"(v));
	GUEST_ASSERT_EQ(v[0], 0xaaaa);
	GUEST_ASSERT_EQ(v[1], 0xbbbb);
	asm volatile("ldmxcsr %0" : : "m"(mxcsr));
	GUEST_SYNC(2);
}

TEST_F(fpu, get_set_fpu)
{
	struct kvm_xsave xsave;
	struct kvm_fpu fpu;
	u64 *xmm;

	vcpu_ioctl(&self->vcpu, KVM_GET_FPU, &fpu);
	ASSERT_EQ(0x37f, fpu.fcw);
	vcpu_setup_long(&self->vcpu, guest_sse, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	vcpu_ioctl(&self->vcpu, KVM_GET_FPU, &fpu);
	xmm = (u64 *)fpu.xmm[15];
	ASSERT_EQ(0x1111, xmm[0]);
	ASSERT_EQ(0x2222, xmm[1]);
	xmm = (u64 *)fpu.xmm[0];
	xmm[0] = 0xaaaa;
	xmm[1] = 0xbbbb;
	fpu.fcw = 0x27f;
	vcpu_ioctl(&self->vcpu, KVM_SET_FPU, &fpu);
	ASSERT_EQ(2, vcpu_run_to_sync(&self->vcpu));
	vcpu_ioctl(&self->vcpu, KVM_GET_FPU, &fpu);
	ASSERT_EQ(0x27f, fpu.fcw);
	/* KVM leaves MXCSR out of GET_FPU: only XSAVE has it. */
	vcpu_ioctl(&self->vcpu, KVM_GET_XSAVE, &xsave);
	ASSERT_EQ(0x1fa0, xsave.region[XSAVE_MXCSR]);
	vcpu_run_to_done(&self->vcpu);
}

TEST_F(fpu, xsave)
{
	struct kvm_xsave xsave, bad;
	struct kvm_fpu fpu;

	vcpu_setup_long(&self->vcpu, guest_sse, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	vcpu_ioctl(&self->vcpu, KVM_GET_XSAVE, &xsave);
	ASSERT_EQ(0x1111, xsave.region[XSAVE_XMM0 + 15 * 4]);
	ASSERT_EQ(0x1f80, xsave.region[XSAVE_MXCSR]);
	ASSERT_EQ(2, xsave.region[XSAVE_BV] & 2);
	xsave.region[XSAVE_XMM0] = 0xaaaa;
	xsave.region[XSAVE_XMM0 + 2] = 0xbbbb;
	ASSERT_EQ(0, __vcpu_ioctl(&self->vcpu, KVM_SET_XSAVE, &xsave));
	vcpu_ioctl(&self->vcpu, KVM_GET_FPU, &fpu);
	ASSERT_EQ(0xaaaa, *(u64 *)fpu.xmm[0]);

	/* A component nobody has, reserved MXCSR bits, a compacted image. */
	bad = xsave;
	bad.region[XSAVE_BV + 1] |= 1U << 30;
	ASSERT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_XSAVE, &bad));
	bad = xsave;
	bad.region[XSAVE_MXCSR] |= 1U << 31;
	ASSERT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_XSAVE, &bad));
	bad = xsave;
	bad.region[XSAVE_COMP + 1] |= 1U << 31;
	ASSERT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_XSAVE, &bad));
	ASSERT_EQ(2, vcpu_run_to_sync(&self->vcpu));
	vcpu_run_to_done(&self->vcpu);
}

TEST_F(fpu, xsave2)
{
	int size = vm_cap(&self->vm, KVM_CAP_XSAVE2);
	struct kvm_xsave old;
	char *xsave;

	ASSERT_LE((int)sizeof(old), size);
	xsave = malloc((size_t)size + 16);
	ASSERT_NE(NULL, xsave);
	memset(xsave, 0x5a, (size_t)size + 16);
	vcpu_ioctl(&self->vcpu, KVM_GET_XSAVE2, xsave);
	vcpu_ioctl(&self->vcpu, KVM_GET_XSAVE, &old);
	ASSERT_EQ(0, memcmp(xsave, &old, sizeof(old)));
	ASSERT_EQ(0x5a, xsave[size]);
	ASSERT_EQ(0, __vcpu_ioctl(&self->vcpu, KVM_SET_XSAVE, xsave));
	free(xsave);
}

TEST_F(fpu, xcrs)
{
	struct kvm_xcrs xcrs, get;

	vcpu_ioctl(&self->vcpu, KVM_GET_XCRS, &get);
	ASSERT_EQ(1, get.nr_xcrs);
	ASSERT_EQ(0, get.xcrs[0].xcr);
	ASSERT_EQ(1, get.xcrs[0].value);

	xcrs = get;
	xcrs.xcrs[0].value = 3;
	ASSERT_EQ(0, __vcpu_ioctl(&self->vcpu, KVM_SET_XCRS, &xcrs));
	vcpu_ioctl(&self->vcpu, KVM_GET_XCRS, &get);
	ASSERT_EQ(3, get.xcrs[0].value);

	xcrs.xcrs[0].value = 2;
	EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_XCRS, &xcrs));
	xcrs.xcrs[0].value = 5;
	EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_XCRS, &xcrs));
	xcrs.xcrs[0].value = 1UL << 62 | 1;
	EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_XCRS, &xcrs));
	xcrs.xcrs[0].value = 1;
	xcrs.flags = 1;
	EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_XCRS, &xcrs));
	xcrs.flags = 0;
	xcrs.nr_xcrs = 17;
	EXPECT_EQ(-EINVAL, __vcpu_ioctl(&self->vcpu, KVM_SET_XCRS, &xcrs));
	vcpu_ioctl(&self->vcpu, KVM_GET_XCRS, &get);
	EXPECT_EQ(3, get.xcrs[0].value);
}

static void guest_xcr0(u64 arg __maybe_unused)
{
	write_cr4(read_cr4() | CR4_OSXSAVE);
	GUEST_ASSERT_EQ(xgetbv(), 1);
	GUEST_ASSERT_EQ(xsetbv_try(0, 0), 13);
	GUEST_ASSERT_EQ(xsetbv_try(0, 5), 13);
	GUEST_ASSERT_EQ(xsetbv_try(0, 1UL << 62 | 1), 13);
	GUEST_ASSERT_EQ(xsetbv_try(1, 1), 13);
	GUEST_ASSERT_EQ(xsetbv_try(0, XCR0_AVX), GUEST_NO_FAULT);
	GUEST_ASSERT_EQ(xgetbv(), XCR0_AVX);
	GUEST_SYNC(1);
	GUEST_ASSERT_EQ(xgetbv(), 3);
}

TEST_F(fpu, guest_xcr0)
{
	u64 host = xgetbv();
	struct kvm_xcrs xcrs;

	if (!self->avx)
		SKIP(return, "no AVX");
	vcpu_setup_long(&self->vcpu, guest_xcr0, 0);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	ASSERT_EQ(host, xgetbv());
	vcpu_ioctl(&self->vcpu, KVM_GET_XCRS, &xcrs);
	ASSERT_EQ(XCR0_AVX, xcrs.xcrs[0].value);
	xcrs.xcrs[0].value = 3;
	vcpu_ioctl(&self->vcpu, KVM_SET_XCRS, &xcrs);
	vcpu_run_to_done(&self->vcpu);
	ASSERT_EQ(host, xgetbv());
}

/*
 * Everything in one asm block, or the compiler and the C library would get
 * between: load all ymm registers, KVM_RUN by system call, store them.
 */
#define YMM_ALL(op)							\
	op("0") op("1") op("2") op("3") op("4") op("5") op("6") op("7")	\
	op("8") op("9") op("10") op("11") op("12") op("13") op("14") op("15")
#define YMM_LOAD(n)	"vmovdqu 32*" n "(%[in]), %%ymm" n "\n\t"
#define YMM_STORE(n)	"vmovdqu %%ymm" n ", 32*" n "(%[out])\n\t"
#define YMM_CLEAR(n)	"vpxor %%ymm" n ", %%ymm" n ", %%ymm" n "\n\t"

static long run_with_ymm(int fd, const void *in, void *out)
{
	long ret;

	asm volatile(YMM_ALL(YMM_LOAD)
		     "syscall\n\t"
		     YMM_ALL(YMM_STORE)
		     "vzeroupper"
		     : "=a"(ret)
		     : "0"((long)SYS_ioctl), "D"((long)fd),
		       "S"((long)KVM_RUN), "d"(0L), [in] "r"(in),
		       [out] "r"(out)
		     : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3",
		       "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
		       "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	return ret;
}

static u64 guest_ymm_in[64] __aligned(32);
static u64 guest_ymm_out[64] __aligned(32);

static void guest_ymm(u64 arg __maybe_unused)
{
	u32 mxcsr = 0x1fbf;
	int i;

	write_cr4(read_cr4() | CR4_OSXSAVE);
	xsetbv(XCR0_AVX);
	for (;;) {
		for (i = 0; i < 64; i++)
			guest_ymm_in[i] = 0xdead000000000000 + (u64)i;
		asm volatile(YMM_ALL(YMM_LOAD)
			     "fninit\n\tfld1\n\tfldpi\n\tldmxcsr %[mxcsr]\n\t"
			     "hlt\n\t"
			     YMM_ALL(YMM_STORE)
			     : : [in] "r"(guest_ymm_in),
			     [out] "r"(guest_ymm_out), [mxcsr] "m"(mxcsr)
			     : "memory");
		for (i = 0; i < 64; i++)
			GUEST_ASSERT_EQ(guest_ymm_in[i], guest_ymm_out[i]);
		asm volatile("stmxcsr %0" : "=m"(mxcsr));
		GUEST_ASSERT_EQ(mxcsr, 0x1fbf);
	}
}

TEST_F(fpu, isolation)
{
	u64 in[64], out[64];
	u16 fcw, fsw;
	u32 mxcsr;
	int i, n;

	if (!self->avx)
		SKIP(return, "no AVX");
	vcpu_setup_long(&self->vcpu, guest_ymm, 0);
	for (n = 0; n < 4; n++) {
		for (i = 0; i < 64; i++)
			in[i] = 0x600d000000000000 + (u64)(n * 100 + i);
		memset(out, 0, sizeof(out));
		asm volatile("fninit");
		ASSERT_EQ(0, run_with_ymm(self->vcpu.fd, in, out));
		if (vcpu_guest_call(&self->vcpu))
			TEST_DIE("unexpected call");
		ASSERT_EQ(KVM_EXIT_HLT, self->vcpu.run->exit_reason);
		ASSERT_EQ(0, memcmp(in, out, sizeof(in)));
		asm volatile("stmxcsr %0\n\tfnstcw %1\n\tfnstsw %2"
			     : "=m"(mxcsr), "=m"(fcw), "=m"(fsw));
		ASSERT_EQ(0x1f80, mxcsr & 0xffc0);
		ASSERT_EQ(0x37f, fcw);
		ASSERT_EQ(0, fsw & 0x3800);
	}
}

static void guest_pkru(u64 arg __maybe_unused)
{
	write_cr4(read_cr4() | CR4_PKE);
	wrpkru(0xfffffffc);
	GUEST_SYNC(1);
	GUEST_ASSERT_EQ(rdpkru(), 0xfffffffc);
	wrpkru(0x50);
	GUEST_SYNC(2);
	GUEST_ASSERT_EQ(rdpkru(), 0x50);
}

TEST_F(fpu, pkru)
{
	u32 eax, ebx, ecx = 0, edx;

	if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) ||
	    !(ecx & 1U << 4) || !self->pku)
		SKIP(return, "no protection keys");
	vcpu_setup_long(&self->vcpu, guest_pkru, 0);
	wrpkru(0x55555540);
	ASSERT_EQ(1, vcpu_run_to_sync(&self->vcpu));
	ASSERT_EQ(0x55555540, rdpkru());
	wrpkru(0);
	ASSERT_EQ(2, vcpu_run_to_sync(&self->vcpu));
	ASSERT_EQ(0, rdpkru());
	vcpu_run_to_done(&self->vcpu);
	ASSERT_EQ(0, rdpkru());
}

TEST_HARNESS_MAIN
