// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_GET_STATS_FD: a file with the counters of a VM or of a vCPU and with what describes
 * them, in KVM's format: header, name of the object, descriptors, data. Called by vm.c
 * and vcpu.c. No lock: each counter has one writer, and who reads it may be late.
 */
#include <linux/anon_inodes.h>
#include <linux/compiler.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kvm.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kernel_compat.h"
#include "stats.h"
#include "vcpu.h"
#include "vm.h"

#define NAME_SIZE	48	/* KVM's */

/* struct kvm_stats_desc with its name behind it. */
struct stats_desc {
	u32 flags;
	s16 exponent;
	u16 size;
	u32 offset;
	u32 bucket_size;
	char name[NAME_SIZE];
};

static_assert(offsetof(struct stats_desc, name) == offsetof(struct kvm_stats_desc, name));

#define COUNTER(index, string) {							\
	.flags = KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_NONE | KVM_STATS_BASE_POW10, \
	.size = 1,									\
	.offset = (index) * sizeof(u64),						\
	.name = string,									\
}

#define VCPU_COUNTER(name) \
	COUNTER(offsetof(struct lodge_vcpu_stats, name) / sizeof(u64), #name)

static const struct stats_desc vcpu_descs[] = {
	VCPU_COUNTER(exits),
	VCPU_COUNTER(host_state_reload),
	VCPU_COUNTER(signal_exits),
	VCPU_COUNTER(io_exits),
	VCPU_COUNTER(mmio_exits),
	VCPU_COUNTER(halt_exits),
	VCPU_COUNTER(halt_wakeup),
	VCPU_COUNTER(hypercalls),
	VCPU_COUNTER(pf_taken),
	VCPU_COUNTER(tlb_flush),
	VCPU_COUNTER(insn_emulation),
	VCPU_COUNTER(insn_emulation_fail),
	VCPU_COUNTER(irq_injections),
	VCPU_COUNTER(nmi_injections),
	VCPU_COUNTER(directed_yield_attempted),
	VCPU_COUNTER(directed_yield_successful),
};

static_assert(sizeof(struct lodge_vcpu_stats) == ARRAY_SIZE(vcpu_descs) * sizeof(u64));

#define GAUGE(index, string) {								\
	.flags = KVM_STATS_TYPE_INSTANT | KVM_STATS_UNIT_NONE | KVM_STATS_BASE_POW10,	\
	.size = 1,									\
	.offset = (index) * sizeof(u64),						\
	.name = string,									\
}

/* What of a VM is counted anyway, and the leaves of stage 2, counted when asked for. */
enum {
	VM_PAGES_4K,
	VM_PAGES_2M,
	VM_PAGES_1G,
	VM_REMOTE_TLB_FLUSH_REQUESTS,
	VM_REMOTE_TLB_FLUSH,
	VM_NR_STATS
};

static const struct stats_desc vm_descs[VM_NR_STATS] = {
	[VM_PAGES_4K] = GAUGE(VM_PAGES_4K, "pages_4k"),
	[VM_PAGES_2M] = GAUGE(VM_PAGES_2M, "pages_2m"),
	[VM_PAGES_1G] = GAUGE(VM_PAGES_1G, "pages_1g"),
	[VM_REMOTE_TLB_FLUSH_REQUESTS] = COUNTER(VM_REMOTE_TLB_FLUSH_REQUESTS,
						 "remote_tlb_flush_requests"),
	[VM_REMOTE_TLB_FLUSH] = COUNTER(VM_REMOTE_TLB_FLUSH, "remote_tlb_flush"),
};

struct stats_file {
	struct lodge_vm *vm;	/* holds it, and so the vCPU */
	struct lodge_vcpu *vcpu;
	struct kvm_stats_header header;
	char id[NAME_SIZE];
};

struct stats_part {
	const void *data;
	size_t size;
};

#define MAX_STATS	ARRAY_SIZE(vcpu_descs)
static_assert(ARRAY_SIZE(vm_descs) <= MAX_STATS);

static void read_vcpu(const struct lodge_vcpu *vcpu, u64 *data)
{
	const u64 *counters = (const u64 *)&vcpu->stats;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(vcpu_descs); i++) {
		/* What the vCPU's thread counts at this moment may be missing. */
		data[i] = data_race(READ_ONCE(counters[i]));
	}
}

static void read_vm(struct lodge_vm *vm, u64 *data)
{
	BUILD_BUG_ON(VM_PAGES_1G - VM_PAGES_4K != 2);
	lodge_count_leaves(vm, &data[VM_PAGES_4K]);
	data[VM_REMOTE_TLB_FLUSH_REQUESTS] = READ_ONCE(vm->mem.flush_gen);
	data[VM_REMOTE_TLB_FLUSH] = READ_ONCE(vm->mem.nr_flushes);
}

static ssize_t stats_read(struct file *file, char __user *user, size_t size, loff_t *pos)
{
	const struct stats_file *stats = file->private_data;
	const struct lodge_vcpu *vcpu = stats->vcpu;
	u64 data[MAX_STATS];
	const struct stats_part parts[] = {
		{ &stats->header, sizeof(stats->header) },
		{ stats->id, sizeof(stats->id) },
		{ vcpu ? vcpu_descs : vm_descs, vcpu ? sizeof(vcpu_descs) : sizeof(vm_descs) },
		{ data, vcpu ? sizeof(vcpu->stats) : VM_NR_STATS * sizeof(data[0]) },
	};
	loff_t at = *pos;
	size_t done = 0;
	unsigned int i;

	if (at < 0)
		return -EINVAL;
	/* Who reads what comes before them does not wait for the numbers. */
	if (at + size > stats->header.data_offset) {
		if (vcpu)
			read_vcpu(vcpu, data);
		else
			read_vm(stats->vm, data);
	}
	for (i = 0; i < ARRAY_SIZE(parts) && done < size; i++) {
		size_t part;

		if (at >= parts[i].size) {
			at -= parts[i].size;
			continue;
		}
		part = min_t(size_t, parts[i].size - at, size - done);
		if (copy_to_user(user + done, parts[i].data + at, part))
			return -EFAULT;
		done += part;
		at = 0;
	}
	*pos += done;
	return done;
}

static int stats_release(struct inode *inode, struct file *file)
{
	struct stats_file *stats = file->private_data;

	lodge_vm_put(stats->vm);
	kfree(stats);
	return 0;
}

static const struct file_operations stats_fops = {
	.owner = THIS_MODULE,
	.read = stats_read,
	.release = stats_release,
	.llseek = noop_llseek,
};

static struct stats_file *make_stats(struct lodge_vm *vm, struct lodge_vcpu *vcpu)
{
	struct stats_file *stats = kzalloc(sizeof(*stats), GFP_KERNEL_ACCOUNT);
	size_t descs = vcpu ? sizeof(vcpu_descs) : sizeof(vm_descs);

	if (!stats)
		return NULL;
	stats->vm = vm;
	stats->vcpu = vcpu;
	stats->header = (struct kvm_stats_header) {
		.name_size = NAME_SIZE,
		.num_desc = vcpu ? ARRAY_SIZE(vcpu_descs) : ARRAY_SIZE(vm_descs),
		.id_offset = sizeof(stats->header),
		.desc_offset = sizeof(stats->header) + NAME_SIZE,
		.data_offset = sizeof(stats->header) + NAME_SIZE + descs,
	};
	/* Programs that read these files expect KVM's names, and find a VM's files by them. */
	if (vcpu)
		snprintf(stats->id, sizeof(stats->id), "kvm-%d/vcpu-%u",
			 vm->creator, vcpu->id);
	else
		snprintf(stats->id, sizeof(stats->id), "kvm-%d", vm->creator);
	return stats;
}

int lodge_stats_fd(struct lodge_vm *vm, struct lodge_vcpu *vcpu)
{
	struct stats_file *stats;
	struct file *file;
	int fd;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	stats = make_stats(vm, vcpu);
	if (!stats) {
		put_unused_fd(fd);
		return -ENOMEM;
	}
	file = anon_inode_getfile(vcpu ? "lodge-vcpu-stats" : "lodge-vm-stats", &stats_fops,
				  stats, O_RDONLY);
	if (IS_ERR(file)) {
		kfree(stats);
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	/* An anonymous inode has no positions unless one says so. */
	file->f_mode |= FMODE_PREAD;
	lodge_vm_get(vm);
	fd_install(fd, file);
	return fd;
}
