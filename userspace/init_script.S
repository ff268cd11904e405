/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Carries init.sh inside the program.
 */
	.section .rodata
	.globl init_script, init_script_end
init_script:
	.incbin "init.sh"
init_script_end:
	.section .note.GNU-stack, "", @progbits
