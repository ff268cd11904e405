/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * init.sh, as the assembler put it into the program (init_script.S).
 */
#ifndef LODGE_INIT_SCRIPT_H
#define LODGE_INIT_SCRIPT_H

extern const char init_script[];
extern const char init_script_end[];

#endif
