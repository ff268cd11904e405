// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the runner gives up before the guest's first instruction: capabilities,
 * privilege by execve(), and every system call that a running guest does not
 * need.  Called by run.c on the main thread; no lock.
 */
#include <errno.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/capability.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "console.h"
#include "error.h"
#include "sandbox.h"
#include "types.h"

void sandbox_drop_capabilities(void)
{
	cap_value_t last = cap_max_bits();
	cap_t none = cap_init();

	if (!none)
		host_error("out of memory");
	/* Without CAP_SETPCAP this fails, and NO_NEW_PRIVS below is what holds. */
	for (cap_value_t cap = 0; cap < last; cap++)
		cap_drop_bound(cap);
	cap_reset_ambient();
	if (cap_set_proc(none))
		host_error("cannot drop capabilities: %m");
	cap_free(none);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		host_error("cannot set no_new_privs: %m");
}

/*
 * A forbidden call is trapped rather than killed for, so that the terminal is
 * restored and the user told; the call itself is not made.
 */
static void on_forbidden_call(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	terminal_restore();
	message("ended: the runner made system call %d, which its own filter forbids",
		info->si_syscall);
	_exit(STATUS_HOST_ERROR);
}

static const int allowed_calls[] = {
	/* devices and the console */
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(preadv),
	SCMP_SYS(pwritev), SCMP_SYS(fdatasync), SCMP_SYS(getrandom), SCMP_SYS(poll),
	SCMP_SYS(epoll_wait), SCMP_SYS(epoll_ctl), SCMP_SYS(clock_gettime), SCMP_SYS(time),
	SCMP_SYS(gettimeofday),
	/* threads, signals, and the end; glibc's own needs among them */
	SCMP_SYS(futex), SCMP_SYS(tgkill), SCMP_SYS(getpid), SCMP_SYS(gettid),
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(restart_syscall),
	SCMP_SYS(rseq), SCMP_SYS(set_robust_list), SCMP_SYS(sched_yield), SCMP_SYS(madvise),
	SCMP_SYS(munmap), SCMP_SYS(brk), SCMP_SYS(close), SCMP_SYS(exit), SCMP_SYS(exit_group),
};

static const int mapping_calls[] = { SCMP_SYS(mmap), SCMP_SYS(mprotect) };

static const unsigned int allowed_ioctls[] = {
	KVM_RUN, KVM_IRQ_LINE, KVM_GET_REGS, KVM_TRANSLATE,
	TUNSETOFFLOAD,
	TCGETS, TCSETS, TCSETSW, TCSETSF,
};

void sandbox_filter_system_calls(void)
{
	struct sigaction action = { .sa_sigaction = on_forbidden_call, .sa_flags = SA_SIGINFO };
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
	int error = 0;

	if (!filter)
		host_error("cannot make a seccomp filter");
	sigaction(SIGSYS, &action, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(allowed_calls) && !error; i++)
		error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed_calls[i], 0);
	for (size_t i = 0; i < ARRAY_SIZE(allowed_ioctls) && !error; i++)
		error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
					 SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff,
						 allowed_ioctls[i]));
	/* The C library's allocator maps memory, but never to run it. */
	for (size_t i = 0; i < ARRAY_SIZE(mapping_calls) && !error; i++)
		error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, mapping_calls[i], 1,
					 SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (!error)
		error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!error)
		error = seccomp_load(filter);
	seccomp_release(filter);
	if (error) {
		errno = -error;
		host_error("cannot enter the seccomp filter: %m");
	}
}
