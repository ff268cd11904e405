/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The subcommands of the runner; each returns the program's exit status.
 */
#ifndef LODGE_RUN_H
#define LODGE_RUN_H

int run_main(int argc, char **argv);
int exec_main(int argc, char **argv);
int doctor_main(int argc, char **argv);

#endif
