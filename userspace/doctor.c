// SPDX-License-Identifier: GPL-2.0-only
/*
 * The `lodge doctor` command: what this host has and lacks.  Called by
 * lodge.c; changes nothing on the host; no lock.
 */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "error.h"
#include "module.h"
#include "node.h"
#include "options.h"
#include "run.h"
#include "types.h"

#define MSR_VM_CR	0xc0010114
#define VM_CR_SVMDIS	BIT(4)

/* Intel SDM volume 3, "Enabling and Entering VMX Operation", and its capability MSRs. */
#define MSR_FEATURE_CONTROL	0x3a
#define FEATURE_CONTROL_LOCKED	BIT(0)
#define FEATURE_CONTROL_VMX	BIT(2)
#define MSR_VMX_CPU2		0x48b
#define VMX_CPU2_EPT		(1ull << (32 + 1))
#define VMX_CPU2_UNRESTRICTED	(1ull << (32 + 7))

enum virtualization { NO_VIRTUALIZATION, SVM, VMX };

static const char doctor_help[] =
"Usage: lodge doctor\n"
"Tell what this host has and lacks to run guests, and what to do about it.\n"
"The exit status is 1 if something that every guest needs is missing.\n";

static bool failed;

__printf(1, 2) static void good(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("ok    ");
	vprintf(format, args);
	printf("\n");
	va_end(args);
}

/* Something is missing that only some uses need. */
__printf(2, 3) static void note(const char *remedy, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("note  ");
	vprintf(format, args);
	printf("\n      remedy: %s\n", remedy);
	va_end(args);
}

__printf(2, 3) static void bad(const char *remedy, const char *format, ...)
{
	va_list args;

	failed = true;
	va_start(args, format);
	printf("FAIL  ");
	vprintf(format, args);
	printf("\n      remedy: %s\n", remedy);
	va_end(args);
}

/* Cannot be told before something that was found missing is there. */
__printf(1, 2) static void skip(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("-     ");
	vprintf(format, args);
	printf("\n");
	va_end(args);
}

static bool exists(const char *path)
{
	return !access(path, F_OK);
}

/* The first character of a small file, or 0. */
static char first_char(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char c = 0;

	if (fd < 0)
		return 0;
	if (read(fd, &c, 1) != 1)
		c = 0;
	close(fd);
	return c;
}

/* False when it cannot be read: the msr driver is optional, and the module looks too. */
static bool read_msr(u32 msr, u64 *value)
{
	int fd = open("/dev/cpu/0/msr", O_RDONLY | O_CLOEXEC);
	bool done;

	if (fd < 0)
		return false;
	done = pread(fd, value, sizeof(*value), msr) == sizeof(*value);
	close(fd);
	return done;
}

static void check_svm(void)
{
	u32 eax, ebx, ecx, edx;
	u64 value;

	if (read_msr(MSR_VM_CR, &value) && value & VM_CR_SVMDIS)
		bad("enable SVM (AMD-V) in the firmware's set-up",
		    "SVM is disabled by the firmware");
	if (__get_cpuid(0x8000000a, &eax, &ebx, &ecx, &edx) && edx & 1)
		good("nested paging (NPT), %u ASIDs", ebx);
	else
		bad("use a CPU with nested paging; in a virtual machine, let it through",
		    "no nested paging (NPT)");
}

/* A flag of the first CPU that the kernel knows and has not turned off. */
static bool cpu_flag(const char *flag)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char *line = NULL;
	bool found = false;
	size_t size = 0;

	if (!file)
		return false;
	while (!found && getline(&line, &size, file) > 0) {
		char *word, *rest = line;

		if (strncmp(line, "flags", 5))
			continue;
		while (!found && (word = strsep(&rest, " \t\n")))
			found = !strcmp(word, flag);
		break;
	}
	free(line);
	fclose(file);
	return found;
}

static void check_vmx(void)
{
	u64 value;

	if (cpu_flag("fred"))
		bad("boot the kernel with fred=off",
		    "the kernel uses FRED, which keeps lodge from handing NMIs to it");
	if (read_msr(MSR_FEATURE_CONTROL, &value) && value & FEATURE_CONTROL_LOCKED &&
	    !(value & FEATURE_CONTROL_VMX))
		bad("enable VMX (VT-x) in the firmware's set-up",
		    "VMX is disabled by the firmware");
	if (exists("/sys/module/" MODULE_NAME))		/* which does not load without */
		good("nested paging (EPT), unrestricted guest");
	else if (!read_msr(MSR_VMX_CPU2, &value))
		skip("EPT and unrestricted guest: 'modprobe msr' as root shows them here; or load the module, which looks");
	else if (value & VMX_CPU2_EPT && value & VMX_CPU2_UNRESTRICTED)
		good("nested paging (EPT), unrestricted guest");
	else
		bad("use a CPU of 2010 or later; in a virtual machine, let EPT through",
		    "no EPT, or no unrestricted guest");
}

/* What there is that somebody could hold. */
static enum virtualization check_cpu(void)
{
	u32 eax, ebx, ecx, edx;
	char vendor[13] = "";

	__cpuid(0, eax, ebx, ecx, edx);
	memcpy(vendor, &ebx, 4);
	memcpy(vendor + 4, &edx, 4);
	memcpy(vendor + 8, &ecx, 4);
	if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) && ecx & BIT(2)) {
		good("CPU (%s): SVM", vendor);
		check_svm();
		return SVM;
	}
	if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) && ecx & BIT(5)) {
		good("CPU (%s): VMX", vendor);
		check_vmx();
		return VMX;
	}
	bad("use a CPU with SVM or VMX, or nested virtualization, or the emulated host of scripts/bed",
	    "CPU (%s): neither SVM nor VMX", vendor);
	return NO_VIRTUALIZATION;
}

static void check_fpu(void)
{
	u32 eax, ebx, ecx, edx;

	__cpuid(1, eax, ebx, ecx, edx);
	if (edx & 1 && ecx & bit_XSAVE && ecx & bit_OSXSAVE)
		good("FPU and XSAVE");
	else
		bad("boot without 'noxsave' and 'no387'; in a virtual machine, let XSAVE through",
		    "the kernel does not use XSAVE");
}

/* KVM's own is EBUSY for us on SVM; on VMX both can have machines. */
static void check_kvm_amd(void)
{
	char users = first_char("/sys/module/kvm_amd/refcnt");
	/* From 6.12 on KVM switches SVM on at load unless told not to. */
	bool at_load = first_char("/sys/module/kvm/parameters/enable_virt_at_load") == 'Y';

	if (users && users != '0')
		bad("end KVM's virtual machines, then 'modprobe -r kvm_amd'",
		    "KVM holds SVM: it has machines running");
	else if (at_load)
		bad("'modprobe -r kvm_amd', or load kvm with enable_virt_at_load=0",
		    "KVM holds SVM since it was loaded");
	else
		good("kvm_amd is loaded, but holds SVM only while its machines run");
}

/* Whoever else may have it switched on. */
static void check_holder(enum virtualization kind)
{
	static const struct {
		const char *sysfs;
		const char *name;
		const char *remedy;
	} others[] = {
		{ "/sys/module/vboxdrv", "VirtualBox",
		  "'modprobe -r vboxnetadp vboxnetflt vboxdrv'" },
		{ "/sys/module/vmmon", "VMware", "'modprobe -r vmmon'" },
	};
	const char *name = kind == SVM ? "SVM" : "VMX";
	bool found = false;

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		if (!exists(others[i].sysfs))
			continue;
		found = true;
		note(others[i].remedy, "%s is loaded, and holds %s while its machines run",
		     others[i].name, name);
	}
	if (kind == SVM && exists("/sys/module/kvm_amd")) {
		found = true;
		check_kvm_amd();
	}
	if (kind == VMX && exists("/sys/module/kvm_intel")) {
		found = true;
		good("kvm_intel is loaded; lodge can use VMX beside it");
	}
	if (!found)
		good("nobody else is there to hold %s", name);
}

/* Returns whether the module could be built here; @needed: for want of one. */
static bool check_headers(const char *release, bool needed)
{
	static const char remedy[] = "'apt-get install linux-headers-$(uname -r)'";
	static const char missing[] =
		"no kernel headers for %s, so the module cannot be built here";
	char build[256];

	snprintf(build, sizeof(build), "/lib/modules/%s/build/Makefile", release);
	if (exists(build))
		good("kernel headers for %s", release);
	else if (needed)
		bad(remedy, missing, release);
	else
		note(remedy, missing, release);
	return exists(build);
}

/* In the order in which one needs the other.  Returns whether the module is loaded. */
static bool check_module(const char *release)
{
	bool loaded = exists("/sys/module/" MODULE_NAME) || exists(DEFAULT_DEVICE);
	bool installed = module_is_installed();
	bool buildable = loaded || check_headers(release, !installed);

	if (first_char("/sys/module/module/parameters/sig_enforce") == 'Y')
		note("sign lodge.ko with a key that the kernel trusts, or turn Secure Boot off",
		     "the kernel takes only signed modules");
	if (loaded)
		good("module: loaded");
	else if (installed)
		bad("'modprobe " MODULE_NAME "' as root", "module: installed, not loaded");
	else if (buildable)
		bad("'make && make install' in Lodge's source; then 'modprobe " MODULE_NAME "'",
		    "module: not installed for %s", release);
	else
		skip("module: not installed for %s; needs the headers", release);
	return loaded;
}

static void check_node(void)
{
	int fd = open(DEFAULT_DEVICE, O_RDWR | O_CLOEXEC);
	int version, vcpus;

	if (fd < 0 && errno == ENOENT) {
		bad("'rmmod " MODULE_NAME "' and 'modprobe " MODULE_NAME "' as root",
		    "the module is loaded, but there is no " DEFAULT_DEVICE);
		return;
	}
	if (fd < 0 && errno == EACCES) {
		bad(node_remedy(DEFAULT_DEVICE), "no permission for " DEFAULT_DEVICE);
		return;
	}
	if (fd < 0) {
		bad("see the kernel log", "cannot open " DEFAULT_DEVICE ": %s", strerror(errno));
		return;
	}
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	vcpus = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	close(fd);
	if (version == KVM_API_VERSION)
		good(DEFAULT_DEVICE ": API version %d, at most %d vCPUs", version, vcpus);
	else
		bad("unload what made it, and load lodge.ko",
		    DEFAULT_DEVICE " does not speak version %d of the KVM API", KVM_API_VERSION);
}

/* What `lodge run` without options needs besides. */
static void check_defaults(const char *release)
{
	char kernel[256];

	snprintf(kernel, sizeof(kernel), "/boot/vmlinuz-%s", release);
	if (!access(kernel, R_OK))
		good("a kernel to run: %s", kernel);
	else
		note("give one with --kernel", "cannot read the running kernel's image, %s",
		     kernel);
	if (exists("/bin/busybox"))
		good("/bin/busybox for the built-in initial RAM disk");
	else
		note("'apt-get install busybox-static', or give --initrd", "no /bin/busybox");
	if (!access("/dev/net/tun", R_OK | W_OK))
		good("/dev/net/tun for --net");
	else if (exists("/dev/net/tun"))
		note("run it as root, or be given the right to it",
		     "/dev/net/tun is not for you, so no --net");
	else
		note("'modprobe tun' as root", "no /dev/net/tun, so no --net");
}

int doctor_main(int argc, char **argv)
{
	struct utsname name;
	enum virtualization kind;

	if (argc > 1 && !strcmp(argv[1], "--help")) {
		printf("%s", doctor_help);
		return STATUS_POWER_OFF;
	}
	if (argc > 1)
		bad_input("doctor takes no options, but got '%s'", argv[1]);
	uname(&name);
	kind = check_cpu();
	check_fpu();
	if (kind)
		check_holder(kind);
	else
		skip("who holds it: needs a CPU that has it");
	if (check_module(name.release))
		check_node();
	else
		skip(DEFAULT_DEVICE ": needs the module");
	check_defaults(name.release);
	printf("%s\n", failed ? "This host cannot run guests yet." : "This host can run guests.");
	if (fflush(stdout))
		host_error("cannot write to the standard output: %m");
	return failed;
}
