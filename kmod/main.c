// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module's life, /dev/lodge and its ioctls, and the virtualization hardware of all
 * CPUs: taken with the first VM, given back with the last. hw_lock guards the count of
 * VMs; each CPU's own switch is flipped on that CPU with interrupts off.
 */
#define pr_fmt(fmt) "lodge: " fmt

#include <linux/compat.h>
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/namei.h>
#include <linux/reboot.h>
#include <linux/syscore_ops.h>
#include <linux/workqueue.h>
#include <asm/reboot.h>
#include <uapi/linux/lodge.h>

#include "kernel_compat.h"
#include "backend.h"
#include "capability.h"
#include "main.h"
#include "run.h"
#include "state.h"
#include "vm.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static const struct lodge_backend *const backends[] = {
	&lodge_svm_backend,
	&lodge_vmx_backend,
};

const struct lodge_backend *lodge_backend __ro_after_init;

DEFINE_PER_CPU(bool, lodge_cpu_is_on);

static DEFINE_MUTEX(hw_lock);
static unsigned int hw_users;
static bool hw_closed;			/* the machine goes down: nothing is switched on again */
static bool hw_shared;			/* for a window at a time: the rival is, or was, loaded */
static bool rival_loaded;
static enum cpuhp_state hw_cpuhp_state;

/* On the CPU, interrupts off. As the backend's. */
static int cpu_on(void)
{
	int r;

	if (this_cpu_read(lodge_cpu_is_on))
		return 0;
	r = lodge_backend->cpu_on(smp_processor_id(), hw_shared);
	if (r >= 0)
		this_cpu_write(lodge_cpu_is_on, true);
	return r;
}

static void cpu_off(void *unused)
{
	if (!this_cpu_read(lodge_cpu_is_on))
		return;
	this_cpu_write(lodge_cpu_is_on, false);
	lodge_backend->cpu_off(smp_processor_id());
}

/*
 * Crash: called in NMI context on every CPU. There is one callback for all hypervisors,
 * and the kernel warns when KVM, at its load or for its first VM, does not find the place
 * free: it is ours only while a VM exists and KVM is not loaded, nor the hardware lent by
 * somebody else, who has the place. KVM's callback switches the CPU's virtualization off,
 * whoever has it. Giving the place back waits for RCU, which the last VM's end must not: a
 * work item does it. Kernels without this function switch virtualization off themselves.
 */
static bool emergency_registered, hw_lent;	/* hw_lock */

#if LODGE_HAVE_VIRT_CALLBACK
static void emergency_off(void)
{
	cpu_off(NULL);
}

#define register_emergency()	cpu_emergency_register_virt_callback(emergency_off)
#define unregister_emergency()	cpu_emergency_unregister_virt_callback(emergency_off)
#else
#define register_emergency()	do { } while (0)
#define unregister_emergency()	do { } while (0)
#endif

/* hw_lock is held. */
static void update_emergency(void)
{
	bool wanted = hw_users && !hw_lent && !rival_loaded;

	if (wanted == emergency_registered)
		return;
	emergency_registered = wanted;
	if (wanted)
		register_emergency();
	else
		unregister_emergency();
}

static void emergency_work_fn(struct work_struct *work)
{
	mutex_lock(&hw_lock);
	update_emergency();
	mutex_unlock(&hw_lock);
}

static DECLARE_WORK(emergency_work, emergency_work_fn);

struct on_result {
	atomic_t error, lent;
};

static void cpu_on_ipi(void *result)
{
	struct on_result *on = result;
	int r = cpu_on();

	if (r < 0)
		atomic_set(&on->error, r);
	else if (r)
		atomic_set(&on->lent, 1);
}

static bool module_is_loaded(const char *name)
{
	char path[64];
	struct path found;

	snprintf(path, sizeof(path), "/sys/module/%s", name);
	if (kern_path(path, LOOKUP_FOLLOW, &found))
		return false;
	path_put(&found);
	return true;
}

/* Says who has the hardware, as far as that can be known, and how to get it back. */
static void report_rival(void)
{
	static const char *const others[] = { "vboxdrv", "vmmon" };
	const char *rival = NULL;
	unsigned int i;

	if (module_is_loaded(lodge_backend->rival))
		rival = lodge_backend->rival;
	for (i = 0; !rival && i < ARRAY_SIZE(others); i++)
		if (module_is_loaded(others[i]))
			rival = others[i];
	if (rival)
		pr_err_ratelimited("%s is in use by %s: free it with 'modprobe -r %s', then try again\n",
				   lodge_backend->name, rival, rival);
	else
		pr_err_ratelimited("%s is in use by another hypervisor: unload its module, then try again\n",
				   lodge_backend->name);
}

/**
 * lodge_hw_get() - take the virtualization hardware for one more VM
 *
 * Return: 0; -EBUSY after one log line that names the holder.
 */
int lodge_hw_get(void)
{
	struct on_result on = {};
	int r = 0;

	/* The hotplug lock comes first: the callbacks below take hw_lock inside it. */
	cpus_read_lock();
	mutex_lock(&hw_lock);
	if (hw_closed) {
		r = -EBUSY;
	} else if (!hw_users) {
		hw_shared = rival_loaded && lodge_backend->shares;
		on_each_cpu(cpu_on_ipi, &on, 1);
		r = atomic_read(&on.error);
		hw_lent = atomic_read(&on.lent);
		if (r)
			on_each_cpu(cpu_off, NULL, 1);
	}
	if (!r) {
		hw_users++;
		update_emergency();
	}
	mutex_unlock(&hw_lock);
	cpus_read_unlock();

	if (r == -EBUSY && !hw_closed)
		report_rival();
	return r;
}

void lodge_hw_put(void)
{
	cpus_read_lock();
	mutex_lock(&hw_lock);
	if (!--hw_users) {
		on_each_cpu(cpu_off, NULL, 1);
		schedule_work(&emergency_work);
	}
	mutex_unlock(&hw_lock);
	cpus_read_unlock();
}

static void share_ipi(void *unused)
{
	if (!this_cpu_read(lodge_cpu_is_on))
		return;
	cpu_off(NULL);
	cpu_on();
}

/*
 * KVM comes: if the hardware can be had for a window at a time, the VMs that there are
 * make do with that, and KVM finds it free. Otherwise KVM is told that it is busy, when it
 * wants it. GOING is also what follows a COMING that failed.
 */
static int on_module(struct notifier_block *nb, unsigned long state, void *data)
{
	const struct module *module = data;

	if (strcmp(module->name, lodge_backend->rival) ||
	    (state != MODULE_STATE_COMING && state != MODULE_STATE_GOING))
		return NOTIFY_DONE;

	cpus_read_lock();
	mutex_lock(&hw_lock);
	rival_loaded = state == MODULE_STATE_COMING;
	if (!rival_loaded) {
		hw_lent = false;
	} else if (hw_users && !hw_closed && lodge_backend->shares) {
		hw_shared = true;
		on_each_cpu(share_ipi, NULL, 1);
	}
	update_emergency();
	mutex_unlock(&hw_lock);
	cpus_read_unlock();
	return NOTIFY_OK;
}

static struct notifier_block module_notifier = {
	.notifier_call = on_module,
};

/* CPU hotplug: on the CPU, in its hotplug thread. A refusal keeps the CPU offline. */
static int hotplug_online(unsigned int cpu)
{
	unsigned long flags;
	int r = 0;

	mutex_lock(&hw_lock);
	if (hw_users && !hw_closed) {
		local_irq_save(flags);
		r = cpu_on();
		local_irq_restore(flags);
		if (r < 0)
			pr_err("CPU %u stays offline: its %s %s\n", cpu, lodge_backend->name,
			       r == -EBUSY ? "is in use by somebody else" : "cannot be used");
	}
	mutex_unlock(&hw_lock);
	return min(r, 0);
}

static int hotplug_offline(unsigned int cpu)
{
	unsigned long flags;

	mutex_lock(&hw_lock);
	local_irq_save(flags);
	cpu_off(NULL);
	local_irq_restore(flags);
	mutex_unlock(&hw_lock);
	return 0;
}

/* INIT is blocked or lost while virtualization is on: no reboot may find it so. */
static int on_reboot(struct notifier_block *nb, unsigned long action, void *data)
{
	mutex_lock(&hw_lock);
	hw_closed = true;
	on_each_cpu(cpu_off, NULL, 1);
	mutex_unlock(&hw_lock);
	return NOTIFY_OK;
}

static struct notifier_block reboot_notifier = {
	.notifier_call = on_reboot,
};

/* Suspend: one CPU is left, interrupts are off; hw_lock's holders are frozen. */
static void suspend_cpu(void)
{
	if (hw_users) {
		lodge_clock_suspend();
		cpu_off(NULL);
	}
}

static void resume_cpu(void)
{
	if (hw_users) {
		WARN_ON(cpu_on() < 0);
		lodge_clock_resume();
	}
}

#if LODGE_HAVE_SYSCORE
static int syscore_suspend_op(void *data)
{
	suspend_cpu();
	return 0;
}

static void syscore_resume_op(void *data)
{
	resume_cpu();
}

static const struct syscore_ops syscore_op_table = {
	.suspend = syscore_suspend_op,
	.resume = syscore_resume_op,
};

static struct syscore syscore_op = {
	.ops = &syscore_op_table,
};

#define lodge_register_syscore()	register_syscore(&syscore_op)
#define lodge_unregister_syscore()	unregister_syscore(&syscore_op)
#else
static int syscore_suspend_op(void)
{
	suspend_cpu();
	return 0;
}

static void syscore_resume_op(void)
{
	resume_cpu();
}

static struct syscore_ops syscore_op = {
	.suspend = syscore_suspend_op,
	.resume = syscore_resume_op,
};

#define lodge_register_syscore()	register_syscore_ops(&syscore_op)
#define lodge_unregister_syscore()	unregister_syscore_ops(&syscore_op)
#endif

/* What of XSAVE a guest can be given, for programs that must ask the kernel for it. */
static int ioctl_node_attr(unsigned int cmd, void __user *argp)
{
	struct kvm_device_attr attr;

	if (copy_from_user(&attr, argp, sizeof(attr)))
		return -EFAULT;
	if (attr.group || attr.attr != KVM_X86_XCOMP_GUEST_SUPP)
		return -ENXIO;
	if (cmd == KVM_HAS_DEVICE_ATTR)
		return 0;
	return put_user(lodge_fpu_features(), (u64 __user *)u64_to_user_ptr(attr.addr));
}

static long node_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *argp = (void __user *)arg;

	switch (cmd) {
	case KVM_GET_API_VERSION:
		return arg ? -EINVAL : KVM_API_VERSION;
	case LODGE_GET_VERSION:
		return arg ? -EINVAL : LODGE_VERSION;
	case KVM_CREATE_VM:
		return lodge_vm_create(arg);
	case KVM_CHECK_EXTENSION:
		return lodge_check_extension(NULL, arg);
	case KVM_GET_VCPU_MMAP_SIZE:
		return arg ? -EINVAL : LODGE_MAP_PAGES * PAGE_SIZE;
	case KVM_GET_SUPPORTED_CPUID:
		return lodge_get_supported_cpuid(argp, false);
	case KVM_GET_EMULATED_CPUID:
		return lodge_get_supported_cpuid(argp, true);
	case KVM_GET_MSR_INDEX_LIST:
		return lodge_get_msr_index_list(argp, false);
	case KVM_GET_MSR_FEATURE_INDEX_LIST:
		return lodge_get_msr_index_list(argp, true);
	case KVM_GET_MSRS:
		return lodge_get_feature_msrs(argp);
	case KVM_HAS_DEVICE_ATTR:
	case KVM_GET_DEVICE_ATTR:
		return ioctl_node_attr(cmd, argp);
	case KVM_X86_GET_MCE_CAP_SUPPORTED: {
		u64 cap = lodge_mce_cap_supported();

		return copy_to_user(argp, &cap, sizeof(cap)) ? -EFAULT : 0;
	}
	default:
		return -EINVAL;	/* KVM's answer on its node; ENOTTY is a VM's */
	}
}

static long lodge_node_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	long r = node_ioctl(file, cmd, arg);

	if (r < 0)
		trace_lodge_ioctl_error(LODGE_OBJECT_NODE, cmd, r);
	return r;
}

static const struct file_operations node_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = lodge_node_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice node = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "lodge",
	.mode = 0660,
	.fops = &node_fops,
};

static int __init probe_backend(void)
{
	unsigned int i;
	int r;

	for (i = 0; i < ARRAY_SIZE(backends); i++) {
		r = backends[i]->probe();
		if (r == -ENODEV)
			continue;
		if (!r)
			lodge_backend = backends[i];
		return r;
	}
	pr_err("this CPU offers no hardware virtualization that lodge can use (AMD SVM with NPT, or Intel VMX with EPT)\n");
	return -EOPNOTSUPP;
}

static int __init lodge_init(void)
{
	int r;

	r = lodge_fpu_probe();
	if (r)
		return r;
	r = probe_backend();
	if (r)
		return r;
	lodge_run_init();
	lodge_cpuid_probe();
	lodge_msr_probe();

	r = lodge_vcpu_module_init();
	if (r)
		goto err_backend;
	r = lodge_eventfd_init();
	if (r)
		goto err_vcpu;
	r = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "lodge:online", hotplug_online,
			      hotplug_offline);
	if (r < 0)
		goto err_eventfd;
	hw_cpuhp_state = r;
	register_module_notifier(&module_notifier);
	rival_loaded = module_is_loaded(lodge_backend->rival);
	register_reboot_notifier(&reboot_notifier);
	lodge_register_syscore();

	r = misc_register(&node);
	if (r)
		goto err_hooks;
	pr_info("ready on %s\n", lodge_backend->name);
	return 0;

err_hooks:
	lodge_unregister_syscore();
	unregister_reboot_notifier(&reboot_notifier);
	unregister_module_notifier(&module_notifier);
	cpuhp_remove_state(hw_cpuhp_state);
err_eventfd:
	lodge_eventfd_exit();
err_vcpu:
	lodge_vcpu_module_exit();
err_backend:
	lodge_backend->remove();
	return r;
}

/* No VM is left: each holds a reference to the module through its files. */
static void __exit lodge_exit(void)
{
	misc_deregister(&node);
	flush_work(&emergency_work);
	lodge_unregister_syscore();
	unregister_reboot_notifier(&reboot_notifier);
	unregister_module_notifier(&module_notifier);
	cpuhp_remove_state(hw_cpuhp_state);
	lodge_eventfd_exit();
	lodge_memory_module_exit();
	lodge_vcpu_module_exit();
	lodge_backend->remove();
}

module_init(lodge_init);
module_exit(lodge_exit);

MODULE_DESCRIPTION("Lodge: a small hypervisor that serves KVM's ABI on /dev/lodge");
MODULE_AUTHOR("The Lodge authors");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1");
