// SPDX-License-Identifier: GPL-2.0-only
/*
 * Single instructions on the real processor: see emulate_native.h.
 *
 * The child is driven by ptrace(2) alone. At the start it is made to unmap
 * all but its code and data, so that whatever it executes can hurt nobody;
 * system calls are not carried out (PTRACE_SYSEMU_SINGLESTEP).
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "emulate_native.h"

#define USER_CS_64	0x33
#define USER_CS_32	0x23
#define USER_DS		0x2b
#define USER_END	0x7ffffffff000ull

/* The XSAVE area as ptrace shows it: legacy part, header, then AVX. */
#define XSAVE_XMM	160
#define XSAVE_FEATURES	512
#define XSAVE_BYTES	8192

u8 *native_code;
u8 *native_data;

static pid_t child;
static u8 xsave[XSAVE_BYTES];
static size_t xsave_size;
static unsigned int avx_offset;

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static long trace(int request, void *address, void *data)
{
	long ret = ptrace(request, child, address, data);

	if (ret == -1)
		die("ptrace");
	return ret;
}

/* Returns the signal that stopped the child. */
static int wait_stop(void)
{
	int status;

	if (waitpid(child, &status, 0) != child)
		die("waitpid");
	if (!WIFSTOPPED(status)) {
		fprintf(stderr, "the traced process died, status %#x\n", status);
		exit(2);
	}
	return WSTOPSIG(status);
}

static void *map_shared(size_t size, u64 address, int prot, int *fd)
{
	int flags = MAP_SHARED | (address ? MAP_FIXED_NOREPLACE : 0);
	void *map;

	if (*fd < 0) {
		*fd = memfd_create("emulate", MFD_CLOEXEC);
		if (*fd < 0 || ftruncate(*fd, size))
			die("memfd_create");
	}
	map = mmap((void *)address, size, prot, flags, *fd, 0);
	if (map == MAP_FAILED)
		die("mmap");
	return map;
}

/* In the child: its two mappings, and no area that the kernel writes to. */
static void child_main(int code, int data)
{
	map_shared(MACHINE_PAGE, NATIVE_CODE, PROT_READ | PROT_EXEC, &code);
	map_shared(MACHINE_BYTES, NATIVE_DATA, PROT_READ | PROT_WRITE, &data);
	mprotect((void *)(NATIVE_DATA + MACHINE_BYTES - MACHINE_PAGE), MACHINE_PAGE, PROT_READ);
	if (__rseq_size)
		syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset, 32,
			RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	_exit(2);
}

/* Let the child unmap [@start, @end). */
static void unmap(u64 start, u64 end)
{
	static const u8 insn[] = { 0x0f, 0x05 };
	struct user_regs_struct regs;

	memcpy(native_code, insn, sizeof(insn));
	trace(PTRACE_GETREGS, NULL, &regs);
	regs.rip = NATIVE_CODE;
	regs.rax = SYS_munmap;
	regs.orig_rax = -1;
	regs.rdi = start;
	regs.rsi = end - start;
	trace(PTRACE_SETREGS, NULL, &regs);
	trace(PTRACE_SINGLESTEP, NULL, NULL);
	wait_stop();
	trace(PTRACE_GETREGS, NULL, &regs);
	if (regs.rax) {
		fprintf(stderr, "munmap in the traced process: %lld\n", (long long)regs.rax);
		exit(2);
	}
}

bool native_has_avx(void)
{
	unsigned int eax, ebx, ecx, edx;

	return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && ecx & bit_AVX && ecx & bit_OSXSAVE;
}

static void get_xstate(void)
{
	struct iovec iov = { .iov_base = xsave, .iov_len = sizeof(xsave) };

	trace(PTRACE_GETREGSET, (void *)NT_X86_XSTATE, &iov);
	xsave_size = iov.iov_len;
}

static void set_xstate(void)
{
	struct iovec iov = { .iov_base = xsave, .iov_len = xsave_size };

	trace(PTRACE_SETREGSET, (void *)NT_X86_XSTATE, &iov);
}

/* Parent and child on one CPU: they take turns, and waking is cheapest there. */
static void share_cpu(void)
{
	int cpu = sched_getcpu();
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu < 0 ? 0 : cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

void native_start(void)
{
	unsigned int eax, ebx, ecx, edx;
	int code = -1, data = -1;

	share_cpu();
	native_code = map_shared(MACHINE_PAGE, 0, PROT_READ | PROT_WRITE, &code);
	native_data = map_shared(MACHINE_BYTES, 0, PROT_READ | PROT_WRITE, &data);
	child = fork();
	if (child < 0)
		die("fork");
	if (!child)
		child_main(code, data);
	close(code);
	close(data);
	wait_stop();
	trace(PTRACE_SETOPTIONS, NULL, (void *)PTRACE_O_EXITKILL);
	unmap(0x1000, NATIVE_CODE);
	unmap(NATIVE_CODE_END, NATIVE_DATA);
	unmap(NATIVE_DATA + MACHINE_BYTES, USER_END);
	get_xstate();
	if (native_has_avx()) {
		__cpuid_count(0xd, 2, eax, ebx, ecx, edx);
		avx_offset = ebx;
	}
}

void native_stop(void)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	munmap(native_code, MACHINE_PAGE);
	munmap(native_data, MACHINE_BYTES);
}

static void load_vectors(const struct machine *m)
{
	u64 features;
	unsigned int i;

	memcpy(&features, xsave + XSAVE_FEATURES, sizeof(features));
	features |= avx_offset ? 7 : 3;
	memcpy(xsave + XSAVE_FEATURES, &features, sizeof(features));
	for (i = 0; i < 16; i++) {
		memcpy(xsave + XSAVE_XMM + 16 * i, m->vec[i], 16);
		if (avx_offset)
			memcpy(xsave + avx_offset + 16 * i, m->vec[i] + 16, 16);
	}
	set_xstate();
}

static void read_vectors(struct machine *m)
{
	unsigned int i;

	get_xstate();
	for (i = 0; i < 16; i++) {
		memcpy(m->vec[i], xsave + XSAVE_XMM + 16 * i, 16);
		if (avx_offset)
			memcpy(m->vec[i] + 16, xsave + avx_offset + 16 * i, 16);
	}
}

static void load_registers(const struct machine *m)
{
	const u64 *gpr = m->regs.gpr;
	bool code32 = m->ctxt.mode == EMUL_MODE_32;
	struct user_regs_struct regs = {
		.rax = gpr[0], .rcx = gpr[1], .rdx = gpr[2], .rbx = gpr[3],
		.rsp = gpr[4], .rbp = gpr[5], .rsi = gpr[6], .rdi = gpr[7],
		.r8 = gpr[8], .r9 = gpr[9], .r10 = gpr[10], .r11 = gpr[11],
		.r12 = gpr[12], .r13 = gpr[13], .r14 = gpr[14], .r15 = gpr[15],
		.rip = m->regs.rip, .eflags = m->regs.rflags, .orig_rax = -1,
		.cs = code32 ? USER_CS_32 : USER_CS_64, .ss = USER_DS,
		.ds = USER_DS, .es = USER_DS,
		.fs = code32 ? USER_DS : 0, .gs = code32 ? USER_DS : 0,
		.fs_base = code32 ? 0 : NATIVE_FS_BASE, .gs_base = code32 ? 0 : NATIVE_GS_BASE,
	};

	trace(PTRACE_SETREGS, NULL, &regs);
}

static void read_registers(struct machine *m)
{
	struct user_regs_struct regs;

	trace(PTRACE_GETREGS, NULL, &regs);
	m->regs = (struct emul_regs){
		.gpr = {
			regs.rax, regs.rcx, regs.rdx, regs.rbx,
			regs.rsp, regs.rbp, regs.rsi, regs.rdi,
			regs.r8, regs.r9, regs.r10, regs.r11,
			regs.r12, regs.r13, regs.r14, regs.r15,
		},
		.rip = regs.rip,
		.rflags = regs.eflags,
	};
}

static struct native_event step(void)
{
	struct native_event event = { .signal = 0 };
	siginfo_t info;

	trace(PTRACE_SYSEMU_SINGLESTEP, NULL, NULL);
	event.signal = wait_stop();
	if (event.signal != SIGTRAP) {
		trace(PTRACE_GETSIGINFO, NULL, &info);
		event.code = info.si_code;
		event.address = (uintptr_t)info.si_addr;
	}
	return event;
}

struct native_event native_run(struct machine *m, const u8 *insn, unsigned int length,
			       bool vectors)
{
	u64 start = NATIVE_CODE_END - length;
	struct native_event event;

	memcpy(native_code + MACHINE_PAGE - length, insn, length);
	m->regs.rip = start;
	load_registers(m);
	if (vectors)
		load_vectors(m);
	do {
		event = step();
		read_registers(m);
	} while (event.signal == SIGTRAP && m->regs.rip == start);
	if (vectors)
		read_vectors(m);
	return event;
}

/* Run the first @length bytes, with nothing after them. */
static struct native_event run_piece(struct machine *m, const u8 *bytes, unsigned int length)
{
	struct native_event event;

	memcpy(native_code + MACHINE_PAGE - length, bytes, length);
	m->regs.rip = NATIVE_CODE_END - length;
	load_registers(m);
	event = step();
	read_registers(m);
	return event;
}

/* Did the processor want to fetch more? */
static bool wants_more(const struct machine *m, const struct native_event *event, u64 start)
{
	return event->signal == SIGSEGV && event->code == SEGV_MAPERR &&
	       event->address == NATIVE_CODE_END && m->regs.rip == start;
}

/*
 * Every address that registers form is not canonical, so that data is not
 * touched; in 32-bit code it is unmapped. What is not an instruction has no length.
 */
unsigned int native_length(enum emul_mode mode, const u8 *bytes)
{
	static struct machine m;
	struct native_event event;
	unsigned int length, i;

	m.ctxt.mode = mode;
	for (length = 1; length <= EMUL_MAX_INSN_BYTES; length++) {
		m.regs.rflags = 2;
		for (i = 0; i < EMUL_NR_GPR; i++)
			m.regs.gpr[i] = mode == EMUL_MODE_64 ? 0x8000000040000000 : 0x40000000;
		event = run_piece(&m, bytes, length);
		if (!wants_more(&m, &event, NATIVE_CODE_END - length))
			return event.signal == SIGILL ? 0 : length;
	}
	return 0;
}
