/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hypervisor's node: finding it, and telling it from other files.
 */
#ifndef LODGE_NODE_H
#define LODGE_NODE_H

/*
 * Open @device; if it is our own node and missing, load the module first.
 * Returns a descriptor that exec closes.  Ends the program with one line when
 * the node cannot be opened or does not speak KVM's ABI.
 */
int node_open(const char *device);

/* What a user who may not open @device can do about it, in words. */
const char *node_remedy(const char *device);

#endif
