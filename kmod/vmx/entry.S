/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One world switch on VMX. Owns nothing; called by vmx/run.c with interrupts off and the
 * vCPU's VMCS current.
 *
 * Intel SDM volume 3, "VM Entries" and "VM Exits": the CPU moves RSP, RIP, RFLAGS, the
 * control and segment registers and what the controls name. The other general registers
 * are moved here, and SPEC_CTRL, which must be the host's again before its first RET.
 */
#include <linux/linkage.h>
#include <linux/objtool.h>
#include <asm/alternative.h>
#include <asm/asm.h>
#include <asm/cpufeatures.h>
#include <asm/msr-index.h>
#include <asm/nospec-branch.h>
#include <asm/processor-flags.h>
#include <asm/segment.h>
#include <asm/unwind_hints.h>

#include "../switch_gprs.S"

#define SW_GPR			0
#define SW_HOST_RSP		8
#define SW_HOST_SPEC_CTRL	16
#define SW_GUEST_SPEC_CTRL	20
#define SW_SWAP_SPEC_CTRL	24
#define SW_SAVE_SPEC_CTRL	28
#define SW_LAUNCHED		32
#define SW_FAILED		36
#define SW_VERW			40

#define FIELD_HOST_RSP		0x6c14

/* The kernel's decision to clear the branch history, under its several names. */
#if defined(X86_FEATURE_CLEAR_BHB_VMEXIT)
#define LODGE_CLEAR_BHB		X86_FEATURE_CLEAR_BHB_VMEXIT
#elif defined(X86_FEATURE_CLEAR_BHB_LOOP_ON_VMEXIT)
#define LODGE_CLEAR_BHB		X86_FEATURE_CLEAR_BHB_LOOP_ON_VMEXIT
#elif defined(X86_FEATURE_CLEAR_BHB_LOOP)
#define LODGE_CLEAR_BHB		X86_FEATURE_CLEAR_BHB_LOOP
#endif

	/* VERW wants a selector in memory; newer kernels keep theirs to themselves. */
	.section .rodata
	.balign 2
SYM_DATA_LOCAL(lodge_vmx_verw_sel, .word __KERNEL_DS)

	.section .noinstr.text, "ax"

/* void lodge_vmx_switch(struct vmx_switch *sw) */
SYM_FUNC_START(lodge_vmx_switch)
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

	/* The stack of an exit: the same as last time, unless the thread is another. */
	cmp	%rsp, SW_HOST_RSP(%rdi)
	je	1f
	mov	%rsp, SW_HOST_RSP(%rdi)
	mov	$FIELD_HOST_RSP, %eax
	vmwrite	%rsp, %rax
1:
	movl	$0, SW_FAILED(%rdi)

	/* Guest's SPEC_CTRL last among the things that slow or steer speculation. */
	cmpl	$0, SW_SWAP_SPEC_CTRL(%rdi)
	je	2f
	mov	$MSR_IA32_SPEC_CTRL, %ecx
	mov	SW_GUEST_SPEC_CTRL(%rdi), %eax
	xor	%edx, %edx
	wrmsr
2:
	/* Into the zero flag, which BT leaves alone, and into the carry flag. MOV keeps both. */
	cmpl	$0, SW_VERW(%rdi)
	btl	$0, SW_LAUNCHED(%rdi)

	mov	SW_GPR(%rdi), %rdi
	mov	GPR_RAX(%rdi), %rax
	LOAD_GUEST_GPRS

	/* Last, as what is loaded after it is in the CPU's buffers again. It keeps CF. */
	je	3f
	verw	lodge_vmx_verw_sel(%rip)
3:
	/* What follows the exit has the stack as it is here. */
	UNWIND_HINT_SAVE
	jnc	4f
	vmresume
	jmp	.Lfailed
4:
	vmlaunch
	jmp	.Lfailed

SYM_INNER_LABEL_ALIGN(lodge_vmx_exited, SYM_L_GLOBAL)
	UNWIND_HINT_RESTORE
	ENDBR

.Lsave:
	push	%rdi
	mov	8(%rsp), %rdi
	mov	SW_GPR(%rdi), %rdi
	mov	%rax, GPR_RAX(%rdi)
	xor	%eax, %eax
	SAVE_GUEST_GPRS
	CLEAR_GUEST_GPRS

	/*
	 * The guest's return addresses must not steer the host's returns. With enhanced
	 * IBRS one unbalanced return is enough to be in the way (the LITE form).
	 */
	FILL_RETURN_BUFFER %rax, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT, \
			   X86_FEATURE_RSB_VMEXIT_LITE

	mov	(%rsp), %rbx
	cmpl	$0, SW_SAVE_SPEC_CTRL(%rbx)
	je	5f
	mov	$MSR_IA32_SPEC_CTRL, %ecx
	rdmsr
	mov	%eax, SW_GUEST_SPEC_CTRL(%rbx)
5:
	cmpl	$0, SW_SWAP_SPEC_CTRL(%rbx)
	je	6f
	mov	$MSR_IA32_SPEC_CTRL, %ecx
	mov	SW_HOST_SPEC_CTRL(%rbx), %eax
	xor	%edx, %edx
	wrmsr
6:
	/* The test above may be mispredicted: nothing goes on before the MSR is right. */
	lfence

#ifdef LODGE_CLEAR_BHB
	ALTERNATIVE "jmp 7f", "", LODGE_CLEAR_BHB
	call	lodge_vmx_clear_bhb
7:
#endif

	pop	%rdi
	pop	%rbx
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	pop	%rbp
	RET

	/* VMfail: no guest instruction ran, and the registers are those that were loaded. */
.Lfailed:
	push	%rdi
	mov	8(%rsp), %rdi
	movl	$1, SW_FAILED(%rdi)
	pop	%rdi
	jmp	.Lsave
SYM_FUNC_END(lodge_vmx_switch)

/*
 * void lodge_vmx_host_interrupt(unsigned long handler): what the CPU does when it takes an
 * interrupt at CPL 0. Intel SDM volume 3, "64-Bit Mode Stack Frame": RSP is aligned, then SS,
 * RSP, RFLAGS, CS and RIP, which the call pushes. An IRET ends it. Interrupts are off before,
 * but on in the frame, and so after it: nothing else can have been interrupted.
 */
	.text
SYM_FUNC_START(lodge_vmx_host_interrupt)
	push	%rbp
	mov	%rsp, %rbp
	and	$-16, %rsp
	push	$__KERNEL_DS
	push	%rbp
	pushfq
	orl	$X86_EFLAGS_IF, (%rsp)
	push	$__KERNEL_CS
	CALL_NOSPEC rdi
	/* RSP is that already, but objtool has seen a call. */
	mov	%rbp, %rsp
	pop	%rbp
	RET
SYM_FUNC_END(lodge_vmx_host_interrupt)

	.section .noinstr.text, "ax"
#ifdef LODGE_CLEAR_BHB
/*
 * Twenty-five taken branches, and six calls and their returns, take the place of the
 * guest's in the branch history: Intel, "Branch History Injection and Intra-mode Branch
 * Target Injection", the software sequence. Each return is in the second half of its
 * cache line (ITS). Changes RAX and RCX.
 */
SYM_FUNC_START_LOCAL(lodge_vmx_clear_bhb)
	mov	$5, %ecx
	ANNOTATE_INTRA_FUNCTION_CALL
	call	.Louter
	jmp	.Lcleared

	.balign	64, 0xcc
	.skip	32, 0xcc
.Louter:
	ANNOTATE_INTRA_FUNCTION_CALL
	call	.Linner
	RET

	.balign	64, 0xcc
	.skip	16, 0xcc
.Linner:
	mov	$5, %eax
.Lbranch:
	jmp	.Lcount
	nop
.Lcount:
	sub	$1, %eax
	jnz	.Lbranch
	sub	$1, %ecx
	jnz	.Louter
	RET
.Lcleared:
	lfence
	RET
SYM_FUNC_END(lodge_vmx_clear_bhb)
STACK_FRAME_NON_STANDARD(lodge_vmx_clear_bhb)
#endif
