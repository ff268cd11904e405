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
#include <asm/segment.h>
#include <asm/unwind_hints.h>

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

#define GPR_RAX	0
#define GPR_RCX	8
#define GPR_RDX	16
#define GPR_RBX	24
#define GPR_RBP	40
#define GPR_RSI	48
#define GPR_RDI	56
#define GPR_R8	64
#define GPR_R9	72
#define GPR_R10	80
#define GPR_R11	88
#define GPR_R12	96
#define GPR_R13	104
#define GPR_R14	112
#define GPR_R15	120

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
	mov	GPR_RCX(%rdi), %rcx
	mov	GPR_RDX(%rdi), %rdx
	mov	GPR_RBX(%rdi), %rbx
	mov	GPR_RBP(%rdi), %rbp
	mov	GPR_RSI(%rdi), %rsi
	mov	GPR_R8(%rdi), %r8
	mov	GPR_R9(%rdi), %r9
	mov	GPR_R10(%rdi), %r10
	mov	GPR_R11(%rdi), %r11
	mov	GPR_R12(%rdi), %r12
	mov	GPR_R13(%rdi), %r13
	mov	GPR_R14(%rdi), %r14
	mov	GPR_R15(%rdi), %r15
	mov	GPR_RDI(%rdi), %rdi

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
	mov	%rcx, GPR_RCX(%rdi)
	mov	%rdx, GPR_RDX(%rdi)
	mov	%rbx, GPR_RBX(%rdi)
	mov	%rbp, GPR_RBP(%rdi)
	mov	%rsi, GPR_RSI(%rdi)
	mov	%r8, GPR_R8(%rdi)
	mov	%r9, GPR_R9(%rdi)
	mov	%r10, GPR_R10(%rdi)
	mov	%r11, GPR_R11(%rdi)
	mov	%r12, GPR_R12(%rdi)
	mov	%r13, GPR_R13(%rdi)
	mov	%r14, GPR_R14(%rdi)
	mov	%r15, GPR_R15(%rdi)
	pop	GPR_RDI(%rdi)

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

	/* Guest values left in registers could feed the host's speculation. */
	xor	%eax, %eax
	xor	%ecx, %ecx
	xor	%edx, %edx
	xor	%esi, %esi
	xor	%edi, %edi
	xor	%ebp, %ebp
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
	xor	%r12d, %r12d
	xor	%r13d, %r13d
	xor	%r14d, %r14d
	xor	%r15d, %r15d

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
