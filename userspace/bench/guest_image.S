/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Carries the benchmark's guest inside the program.
 */
	.section .rodata
	.globl bench_guest, bench_guest_end
	.balign 8
bench_guest:
	.incbin "guest.bin"
bench_guest_end:
	.section .note.GNU-stack, "", @progbits
