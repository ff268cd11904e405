// SPDX-License-Identifier: GPL-2.0-only
/*
 * Virtual machines: their life and the ioctls of a VM descriptor. Called by main.c and
 * by the file operations. vm->lock guards creation of vCPUs and interrupt controllers;
 * the parts lock themselves.
 */
#define pr_fmt(fmt) "lodge: " fmt

#include <linux/anon_inodes.h>
#include <linux/compat.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kernel_compat.h"
#include "backend.h"
#include "capability.h"
#include "irqchip.h"
#include "main.h"
#include "state.h"
#include "trace.h"
#include "vcpu.h"
#include "vm.h"

void lodge_vm_kill(struct lodge_vm *vm, const char *why)
{
	struct lodge_vcpu *vcpu;

	if (xchg(&vm->dead, true))
		return;
	WARN(1, "lodge: a VM is dead after a broken invariant: %s\n", why);
	lodge_for_each_vcpu(vcpu, vm) {
		lodge_make_request(vcpu, LODGE_REQ_KICK);
		lodge_vcpu_kick(vcpu);
	}
}

void lodge_vm_update_intercepts(struct lodge_vm *vm)
{
	struct lodge_vcpu *vcpu;

	lockdep_assert_held(&vm->lock);
	lodge_for_each_vcpu(vcpu, vm) {
		lodge_make_request(vcpu, LODGE_REQ_INTERCEPTS);
		lodge_vcpu_kick(vcpu);
	}
}

void lodge_vm_get(struct lodge_vm *vm)
{
	refcount_inc(&vm->users);
}

/* The irqfds go first: they are what can still reach a VM from outside. */
void lodge_vm_put(struct lodge_vm *vm)
{
	unsigned int i;

	if (!refcount_dec_and_test(&vm->users))
		return;
	lodge_eventfds_destroy(&vm->eventfds);
	irqchip_destroy(&vm->ic);
	/* Ends the notifier's callbacks, which kick vCPUs. */
	lodge_memory_destroy(vm);
	for (i = 0; i < vm->nr_vcpus; i++)
		lodge_vcpu_free(vm->vcpus[i]);
	lodge_msr_filter_destroy(vm);
	lodge_coalesced_destroy(&vm->coalesced);
	lodge_hw_put();
	mmdrop(vm->mm);
	kvfree(vm);
}

static int create_irqchip(struct lodge_vm *vm)
{
	int r;

	mutex_lock(&vm->lock);
	if (vm->ic.kind != IRQCHIP_NONE)
		r = -EEXIST;
	else if (vm->nr_vcpus)
		r = -EINVAL;
	else
		r = irqchip_create(&vm->ic);
	mutex_unlock(&vm->lock);
	return r;
}

int lodge_create_split_irqchip(struct lodge_vm *vm, u64 pins)
{
	int r;

	if (pins > IRQCHIP_MAX_ROUTES)
		return -EINVAL;
	mutex_lock(&vm->lock);
	r = vm->nr_vcpus ? -EEXIST : irqchip_create_split(&vm->ic, pins);
	mutex_unlock(&vm->lock);
	return r;
}

int lodge_set_apic_bus_ns(struct lodge_vm *vm, u64 ns)
{
	int r = 0;

	/* The longest count, 2^32 - 1 of the slowest cycles, has to fit in 64 bits. */
	if (!ns || ns > div64_u64(U64_MAX, (u64)U32_MAX * 128))
		return -EINVAL;
	mutex_lock(&vm->lock);
	if (!irqchip_in_kernel(&vm->ic))
		r = -ENXIO;
	else if (vm->nr_vcpus)
		r = -EINVAL;
	else
		vm->ic.bus_ns = ns;
	mutex_unlock(&vm->lock);
	return r;
}

static int create_pit(struct lodge_vm *vm, u32 flags)
{
	int r;

	mutex_lock(&vm->lock);
	r = irqchip_create_pit(&vm->ic, flags);
	mutex_unlock(&vm->lock);
	return r;
}

static int ioctl_irqchip(struct lodge_vm *vm, unsigned int cmd, void __user *argp)
{
	struct kvm_irqchip *chip;
	int r;

	chip = memdup_user(argp, sizeof(*chip));
	if (IS_ERR(chip))
		return PTR_ERR(chip);
	r = cmd == KVM_SET_IRQCHIP ? irqchip_set_state(&vm->ic, chip) :
				     irqchip_get_state(&vm->ic, chip);
	if (!r && cmd == KVM_GET_IRQCHIP && copy_to_user(argp, chip, sizeof(*chip)))
		r = -EFAULT;
	kfree(chip);
	return r;
}

static int ioctl_get_pit2(struct lodge_vm *vm, void __user *argp)
{
	struct kvm_pit_state2 state;

	if (!irqchip_has_pit(&vm->ic))
		return -ENXIO;
	memset(&state, 0, sizeof(state));
	pit_get_state(&vm->ic.pit, &state);
	return copy_to_user(argp, &state, sizeof(state)) ? -EFAULT : 0;
}

static int ioctl_gsi_routing(struct lodge_vm *vm, void __user *argp)
{
	struct kvm_irq_routing_entry *entries = NULL;
	struct kvm_irq_routing routing;
	int r;

	if (copy_from_user(&routing, argp, sizeof(routing)))
		return -EFAULT;
	if (!irqchip_in_kernel(&vm->ic) || routing.nr > IRQCHIP_MAX_ROUTES || routing.flags)
		return -EINVAL;
	if (routing.nr) {
		entries = vmemdup_user(argp + sizeof(routing),
				       array_size(sizeof(*entries), routing.nr));
		if (IS_ERR(entries))
			return PTR_ERR(entries);
	}
	r = irqchip_set_routing(&vm->ic, entries, routing.nr, routing.flags);
	kvfree(entries);
	return r;
}

static int ioctl_get_clock(struct lodge_vm *vm, void __user *argp)
{
	struct kvm_clock_data data;

	memset(&data, 0, sizeof(data));
	lodge_get_clock(vm, &data);
	return copy_to_user(argp, &data, sizeof(data)) ? -EFAULT : 0;
}

/* Real-mode support of old Intel CPUs: the address is kept for the VMX backend. */
static int ioctl_tss_addr(struct lodge_vm *vm, unsigned long addr)
{
	if (addr > (unsigned int)(-3 * PAGE_SIZE))
		return -EINVAL;
	vm->tss_addr = addr;
	return 0;
}

static int set_identity_map(struct lodge_vm *vm, u64 addr)
{
	int r = 0;

	mutex_lock(&vm->lock);
	if (vm->nr_vcpus)
		r = -EINVAL;
	else
		vm->identity_map_addr = addr;
	mutex_unlock(&vm->lock);
	return r;
}

static int ioctl_boot_cpu(struct lodge_vm *vm, unsigned long id)
{
	int r = 0;

	mutex_lock(&vm->lock);
	if (vm->nr_vcpus)
		r = -EBUSY;
	else if (id >= (vm->max_vcpu_id ?: LODGE_MAX_VCPU_ID))
		r = -EINVAL;
	else
		vm->boot_cpu_id = id;
	mutex_unlock(&vm->lock);
	return r;
}

int lodge_set_max_vcpu_id(struct lodge_vm *vm, u64 max)
{
	int r = 0;

	if (max > LODGE_MAX_VCPU_ID)
		return -EINVAL;
	mutex_lock(&vm->lock);
	if ((vm->max_vcpu_id && vm->max_vcpu_id != max) || vm->boot_cpu_id > max)
		r = -EINVAL;
	else
		vm->max_vcpu_id = max;
	mutex_unlock(&vm->lock);
	return r;
}

static int drive_line(struct lodge_vm *vm, struct kvm_irq_level *level)
{
	if (!irqchip_in_kernel(&vm->ic))
		return -ENXIO;
	level->status = irqchip_set_irq(&vm->ic, IRQ_SOURCE_USER, level->irq, level->level);
	return 0;
}

/* The one whose number does not tell its size. */
static int ioctl_reinject_control(struct lodge_vm *vm, void __user *argp)
{
	struct kvm_reinject_control control;

	if (copy_from_user(&control, argp, sizeof(control)))
		return -EFAULT;
	if (!irqchip_has_pit(&vm->ic))
		return -ENXIO;
	pit_set_reinject(&vm->ic.pit, control.pit_reinject);
	return 0;
}

/*
 * KVM_X86_SET_MSR_FILTER as a 32-bit program has it: the one argument whose size is that
 * of a pointer.
 */
struct msr_filter_range32 {
	u32 flags, nmsrs, base;
	compat_uptr_t bitmap;
};

struct msr_filter32 {
	u32 flags;
	struct msr_filter_range32 ranges[KVM_MSR_FILTER_MAX_RANGES];
};

#define SET_MSR_FILTER32	_IOW(KVMIO, 0xc6, struct msr_filter32)

static int ioctl_msr_filter(struct lodge_vm *vm, void __user *argp)
{
	struct kvm_msr_filter filter;

	if (copy_from_user(&filter, argp, sizeof(filter)))
		return -EFAULT;
	return lodge_set_msr_filter(vm, &filter);
}

static int ioctl_msr_filter32(struct lodge_vm *vm, void __user *argp)
{
	struct kvm_msr_filter filter;
	struct msr_filter32 user;
	unsigned int i;

	if (copy_from_user(&user, argp, sizeof(user)))
		return -EFAULT;
	filter.flags = user.flags;
	for (i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
		const struct msr_filter_range32 *range = &user.ranges[i];

		filter.ranges[i] = (struct kvm_msr_filter_range) {
			.flags = range->flags,
			.nmsrs = range->nmsrs,
			.base = range->base,
			.bitmap = (__u8 __force *)compat_ptr(range->bitmap),
		};
	}
	return lodge_set_msr_filter(vm, &filter);
}

/* What ioctls take from user space that is small enough for the stack. */
union vm_argument {
	struct kvm_userspace_memory_region2 region;	/* first: the largest, all of it zeroed */
	struct kvm_enable_cap cap;
	struct kvm_dirty_log dirty_log;
	struct kvm_clear_dirty_log clear_dirty_log;
	struct kvm_pit_config pit_config;
	struct kvm_pit_state2 pit_state;
	struct kvm_irq_level line;
	struct kvm_msi msi;
	struct kvm_irqfd irqfd;
	struct kvm_ioeventfd ioeventfd;
	struct kvm_coalesced_mmio_zone zone;
	struct kvm_clock_data clock;
	u64 identity_map;
};

static int take(union vm_argument *a, unsigned int cmd, void __user *argp)
{
	return copy_from_user(a, argp, _IOC_SIZE(cmd)) ? -EFAULT : 0;
}

/* A 32-bit program leaves anything beside its pointer. */
static void __user *bitmap_of(u64 pointer)
{
	return in_compat_syscall() ? compat_ptr(pointer) : u64_to_user_ptr(pointer);
}

static long ioctl_take(struct lodge_vm *vm, unsigned int cmd, void __user *argp)
{
	union vm_argument a = {};
	int r;

	switch (cmd) {
	case KVM_SET_USER_MEMORY_REGION:	/* the head of the newer form */
	case KVM_SET_USER_MEMORY_REGION2:
		return take(&a, cmd, argp) ?: lodge_slot_set(vm, &a.region);
	case KVM_GET_DIRTY_LOG:
		r = take(&a, cmd, argp);
		a.dirty_log.dirty_bitmap = bitmap_of(a.dirty_log.padding2);
		return r ?: lodge_dirty_log_get(vm, &a.dirty_log);
	case KVM_CLEAR_DIRTY_LOG:
		r = take(&a, cmd, argp);
		a.clear_dirty_log.dirty_bitmap = bitmap_of(a.clear_dirty_log.padding2);
		return r ?: lodge_dirty_log_clear(vm, &a.clear_dirty_log);
	case KVM_ENABLE_CAP:
		return take(&a, cmd, argp) ?: lodge_vm_enable_cap(vm, &a.cap);
	case KVM_SET_IDENTITY_MAP_ADDR:
		return take(&a, cmd, argp) ?: set_identity_map(vm, a.identity_map);
	case KVM_CREATE_PIT2:
		return take(&a, cmd, argp) ?: create_pit(vm, a.pit_config.flags);
	case KVM_SET_PIT2:
		r = take(&a, cmd, argp);
		if (!r && !irqchip_has_pit(&vm->ic))
			r = -ENXIO;
		return r ?: pit_set_state(&vm->ic.pit, &a.pit_state);
	case KVM_IRQ_LINE:
		return take(&a, cmd, argp) ?: drive_line(vm, &a.line);
	case KVM_IRQ_LINE_STATUS:
		r = take(&a, cmd, argp) ?: drive_line(vm, &a.line);
		return r ?: copy_to_user(argp, &a.line, sizeof(a.line)) ? -EFAULT : 0;
	case KVM_SIGNAL_MSI:
		return take(&a, cmd, argp) ?: irqchip_signal_msi(&vm->ic, &a.msi);
	case KVM_IRQFD:
		return take(&a, cmd, argp) ?: lodge_irqfd(&vm->eventfds, &a.irqfd);
	case KVM_IOEVENTFD:
		return take(&a, cmd, argp) ?: lodge_ioeventfd(&vm->eventfds, &a.ioeventfd);
	case KVM_REGISTER_COALESCED_MMIO:
		return take(&a, cmd, argp) ?: lodge_coalesced_register(&vm->coalesced, &a.zone);
	case KVM_UNREGISTER_COALESCED_MMIO:
		return take(&a, cmd, argp) ?: lodge_coalesced_unregister(&vm->coalesced, &a.zone);
	case KVM_SET_CLOCK:
		return take(&a, cmd, argp) ?: lodge_set_clock(vm, &a.clock);
	default:
		return -ENOTTY;
	}
}

static long vm_ioctl(struct lodge_vm *vm, unsigned int cmd, unsigned long arg)
{
	void __user *argp = (void __user *)arg;

	if (vm->mm != current->mm || READ_ONCE(vm->dead))
		return -EIO;

	switch (cmd) {
	case KVM_CREATE_VCPU:
		return lodge_vcpu_create(vm, arg);
	case KVM_CHECK_EXTENSION:
		return lodge_check_extension(vm, arg);
	case KVM_RESET_DIRTY_RINGS:
		return lodge_rings_reset(vm);
	case KVM_SET_NR_MMU_PAGES:
		return lodge_set_nr_mmu_pages(vm, arg);
	case KVM_GET_NR_MMU_PAGES:
		return lodge_get_nr_mmu_pages(vm);
	case KVM_SET_TSS_ADDR:
		return ioctl_tss_addr(vm, arg);
	case KVM_SET_BOOT_CPU_ID:
		return ioctl_boot_cpu(vm, arg);
	case KVM_CREATE_IRQCHIP:
		return create_irqchip(vm);
	case KVM_CREATE_PIT:
		return create_pit(vm, KVM_PIT_SPEAKER_DUMMY);
	case KVM_GET_IRQCHIP:
	case KVM_SET_IRQCHIP:
		return ioctl_irqchip(vm, cmd, argp);
	case KVM_GET_PIT2:
		return ioctl_get_pit2(vm, argp);
	case KVM_REINJECT_CONTROL:
		return ioctl_reinject_control(vm, argp);
	case KVM_SET_GSI_ROUTING:
		return ioctl_gsi_routing(vm, argp);
	case KVM_X86_SET_MSR_FILTER:
		return ioctl_msr_filter(vm, argp);
	case SET_MSR_FILTER32:
		return in_compat_syscall() ? ioctl_msr_filter32(vm, argp) : -ENOTTY;
	case KVM_GET_TSC_KHZ:
		return lodge_vm_get_tsc_khz(vm);
	case KVM_SET_TSC_KHZ:
		return lodge_vm_set_tsc_khz(vm, arg);
	case KVM_GET_STATS_FD:
		return lodge_stats_fd(vm, NULL);
	case KVM_GET_CLOCK:
		return ioctl_get_clock(vm, argp);
	default:
		return ioctl_take(vm, cmd, argp);
	}
}

static long lodge_vm_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	long r = vm_ioctl(file->private_data, cmd, arg);

	if (r < 0)
		trace_lodge_ioctl_error(LODGE_OBJECT_VM, cmd, r);
	return r;
}

static int lodge_vm_release(struct inode *inode, struct file *file)
{
	lodge_vm_put(file->private_data);
	return 0;
}

static const struct file_operations vm_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = lodge_vm_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = lodge_vm_release,
	.llseek = noop_llseek,
};

static struct lodge_vm *vm_alloc(void)
{
	struct lodge_vm *vm;
	int r;

	vm = kvzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	if (!vm)
		return ERR_PTR(-ENOMEM);
	r = lodge_hw_get();
	if (r)
		goto err_free;

	refcount_set(&vm->users, 1);
	mutex_init(&vm->lock);
	vm->mm = current->mm;
	mmgrab(vm->mm);
	vm->creator = task_pid_nr(current);
	lodge_clock_init(vm);
	irqchip_init(&vm->ic, &lodge_irqchip_ops);
	vm->quirks = LODGE_QUIRKS;
	lodge_eventfds_init(&vm->eventfds, &vm->ic);
	r = lodge_coalesced_init(&vm->coalesced);
	if (r)
		goto err_hw;
	r = lodge_memory_init(vm);
	if (r)
		goto err_coalesced;
	return vm;

err_coalesced:
	lodge_coalesced_destroy(&vm->coalesced);
err_hw:
	mmdrop(vm->mm);
	lodge_hw_put();
err_free:
	kvfree(vm);
	return ERR_PTR(r);
}

/**
 * lodge_vm_create() - serve KVM_CREATE_VM
 * @type: machine type; 0 is the only one
 *
 * Return: a descriptor; -EINVAL (type), -EBUSY (another hypervisor has the hardware),
 * -ENOMEM, -EMFILE, -EINTR.
 */
int lodge_vm_create(unsigned long type)
{
	struct lodge_vm *vm;
	int fd;

	if (type)
		return -EINVAL;
	vm = vm_alloc();
	if (IS_ERR(vm))
		return PTR_ERR(vm);
	fd = anon_inode_getfd("lodge-vm", &vm_fops, vm, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		lodge_vm_put(vm);
	return fd;
}
