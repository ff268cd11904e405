/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest's 256 exception and interrupt entries, 16 bytes each, and the
 * return address of its first function. The IDT that vm_create() writes points
 * here. No lock: one stack per vCPU.
 */
	.text
	.globl	guest_vectors
	.balign	16
guest_vectors:
	vector = 0
	.rept	256
	.balign	16
	/* #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP, #VC and #SX push a code. */
	.if	(vector == 8) || (vector >= 10 && vector <= 14) || \
		(vector == 17) || (vector == 21) || (vector == 29) || \
		(vector == 30)
	.else
	pushq	$0
	.endif
	pushq	$vector
	jmp	guest_common
	vector = vector + 1
	.endr

guest_common:
	pushq	%rax
	pushq	%rbx
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%rbp
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, %rdi
	movq	%rsp, %rbp
	andq	$-16, %rsp
	cld
	call	guest_exception
	movq	%rbp, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rbp
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rbx
	popq	%rax
	addq	$16, %rsp
	iretq

	.globl	guest_return
	.balign	16
guest_return:
	call	guest_done
1:	hlt
	jmp	1b

	.section .note.GNU-stack, "", @progbits
