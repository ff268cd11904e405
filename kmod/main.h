/* SPDX-License-Identifier: GPL-2.0-only */
/* The virtualization hardware's life, and the load-time hooks of the other files. */
#ifndef LODGE_MAIN_H
#define LODGE_MAIN_H

/* One user more or less of the virtualization hardware; process context. */
int lodge_hw_get(void);
void lodge_hw_put(void);

/* vcpu.c */
int lodge_vcpu_module_init(void);
void lodge_vcpu_module_exit(void);

/* stage2.c: waits until every notifier that was given back is free */
void lodge_memory_module_exit(void);

#endif
