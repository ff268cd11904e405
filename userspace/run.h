/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The subcommands of the runner; each returns the program's exit status.
 */
#ifndef LODGE_RUN_H
#define LODGE_RUN_H

struct vm;

int run_main(int argc, char **argv);
int exec_main(int argc, char **argv);
int bench_main(int argc, char **argv);
int doctor_main(int argc, char **argv);

/*
 * For `lodge bench`: called, unless NULL, in the machine's process when its vCPUs are there,
 * and when they have stopped.
 */
extern void (*run_on_start)(struct vm *vm);
extern void (*run_on_end)(struct vm *vm);

#endif
