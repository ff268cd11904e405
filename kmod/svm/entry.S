/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One world switch on SVM. Owns nothing; called by svm/run.c with interrupts off.
 *
 * AMD APM volume 2, "VMRUN and #VMEXIT": VMRUN saves and #VMEXIT restores RAX, RSP,
 * RIP, RFLAGS, the control registers, GDTR, IDTR and four segments of the host. FS,
 * GS, TR, LDTR and the SYSCALL MSRs are moved by VMLOAD and VMSAVE, the other
 * general registers by hand.
 */
#include <linux/linkage.h>
#include <asm/alternative.h>
#include <asm/asm.h>
#include <asm/cpufeatures.h>
#include <asm/msr-index.h>
#include <asm/nospec-branch.h>
#include <asm/segment.h>

#include "../switch_gprs.S"

/* The kernel's own macro calls a function that newer ones export to KVM alone. */
#ifdef X86_FEATURE_IBPB_ON_VMEXIT
#define LODGE_IBPB_ON_VMEXIT	X86_FEATURE_IBPB_ON_VMEXIT
#else
#define LODGE_IBPB_ON_VMEXIT	X86_FEATURE_ENTRY_IBPB
#endif

#define SW_GPR			0
#define SW_GUEST_PA		8
#define SW_HOST_PA		16
#define SW_HOST_SPEC_CTRL	24
#define SW_GUEST_SPEC_CTRL	28
#define SW_SWAP_SPEC_CTRL	32

#ifdef X86_FEATURE_CLEAR_CPU_BUF_VM
	/* VERW wants a selector in memory; the kernel's own one is not exported. */
	.section .rodata
	.balign 2
SYM_DATA_LOCAL(lodge_verw_sel, .word __KERNEL_DS)
#endif

	.section .noinstr.text, "ax"

/*
 * void lodge_svm_switch(struct svm_switch *sw)
 *
 * GIF is off from CLGI to STGI: no interrupt, NMI or machine check can arrive while
 * TR, GS and SPEC_CTRL are the guest's. IF is set in between because, with
 * V_INTR_MASKING, the host's IF decides whether a physical interrupt ends VMRUN.
 */
SYM_FUNC_START(lodge_svm_switch)
	push	%rbp
#ifdef CONFIG_FRAME_POINTER
	mov	%rsp, %rbp
#endif
	push	%r15
	push	%r14
	push	%r13
	push	%r12
	push	%rbx
	push	%rdi

	clgi
	sti

	/* Guest's SPEC_CTRL last among the things that slow or steer speculation. */
	mov	%rdi, %rbx
	cmpl	$0, SW_SWAP_SPEC_CTRL(%rbx)
	je	1f
	mov	$MSR_IA32_SPEC_CTRL, %ecx
	mov	SW_GUEST_SPEC_CTRL(%rbx), %eax
	xor	%edx, %edx
	wrmsr
1:
	mov	SW_GUEST_PA(%rbx), %rax
	vmload	%rax

	mov	SW_GPR(%rbx), %rdi
	LOAD_GUEST_GPRS

#ifdef X86_FEATURE_CLEAR_CPU_BUF_VM
	ALTERNATIVE "jmp 0f", "", X86_FEATURE_CLEAR_CPU_BUF_VM
	verw	lodge_verw_sel(%rip)
0:
#endif
	vmrun	%rax
	vmsave	%rax

	/* RAX is the host's again; RSP too: the saved @sw is on top of the stack. */
	push	%rdi
	mov	8(%rsp), %rax
	mov	SW_GPR(%rax), %rdi
	SAVE_GUEST_GPRS
	CLEAR_GUEST_GPRS

	mov	(%rsp), %rbx
	mov	SW_HOST_PA(%rbx), %rax
	vmload	%rax

	/* The guest's return addresses must not steer the host's returns. */
	FILL_RETURN_BUFFER %rax, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT

	cmpl	$0, SW_SWAP_SPEC_CTRL(%rbx)
	je	2f
	mov	$MSR_IA32_SPEC_CTRL, %ecx
	rdmsr
	mov	%eax, SW_GUEST_SPEC_CTRL(%rbx)
	mov	SW_HOST_SPEC_CTRL(%rbx), %eax
	xor	%edx, %edx
	wrmsr
2:
	/* No RET before this: Retbleed and SRSO train its prediction in the guest. */
	CALL_UNTRAIN_RET
	ALTERNATIVE "jmp 3f", "", LODGE_IBPB_ON_VMEXIT
	mov	$MSR_IA32_PRED_CMD, %ecx
	mov	$PRED_CMD_IBPB, %eax
	xor	%edx, %edx
	wrmsr
#ifdef X86_BUG_IBPB_NO_RET
	/* On these CPUs the barrier leaves return predictions as they are. */
	FILL_RETURN_BUFFER %rax, RSB_CLEAR_LOOPS, X86_BUG_IBPB_NO_RET
#endif
3:

	cli
	stgi

	pop	%rdi
	pop	%rbx
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	pop	%rbp
	RET
SYM_FUNC_END(lodge_svm_switch)
