// SPDX-License-Identifier: GPL-2.0-only
/*
 * Model-specific registers: the lists that a VMM asks for, its access to them, and the
 * guest's RDMSR and WRMSR. What is a vendor's own goes to the backend. Called by main.c,
 * vcpu.c and the exit handlers. Guarded by vcpu->mutex; the lists are constant after
 * module load.
 */
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/cpufeature.h>
#include <asm/kvm_para.h>
#include <asm/mce.h>
#include <asm/msr-index.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "backend.h"
#include "kernel_compat.h"
#include "pv.h"
#include "state.h"
#include "vapic.h"
#include "vm.h"

#define MSR_MAX_IO		256	/* KVM's MAX_IO_MSRS, exclusive */

#define MTRR_VARIABLE		8	/* pairs */
#define MTRR_CAP		(MTRR_VARIABLE | BIT(8) /* fixed */ | BIT(10) /* WC */)

/* Base and mask alternate: Intel SDM volume 3, "Variable Range MTRRs". */
#define MSR_MTRR_VAR_FIRST	0x200
#define MSR_MTRR_VAR_LAST	(MSR_MTRR_VAR_FIRST + 2 * MTRR_VARIABLE - 1)

#define PAT_DEFAULT		0x0007040600070406ull

#define MISC_ENABLE_DEFAULT	(MSR_IA32_MISC_ENABLE_BTS_UNAVAIL | \
				 MSR_IA32_MISC_ENABLE_PEBS_UNAVAIL)

#define MCE_CTL2_WRITABLE	(MCI_CTL2_CMCI_EN | MCI_CTL2_CMCI_THRESHOLD_MASK)
#define MCE_ALL			(~0ull)
#define MCE_LAST		(MSR_IA32_MCx_CTL(LODGE_MCE_BANKS) - 1)
#define MCE_CTL2_LAST		(MSR_IA32_MC0_CTL2 + LODGE_MCE_BANKS - 1)

#define HWCR_MC_STATUS_WR_EN	BIT_ULL(18)
#define HWCR_TSC_FREQ_SEL	BIT_ULL(24)
/* Cache and FERR switches that firmware sets and that mean nothing here. */
#define HWCR_IGNORED		(BIT_ULL(3) | BIT_ULL(6) | BIT_ULL(8))

/* Bits of ARCH_CAPABILITIES that tell of the CPU and need nothing of lodge. */
#define ARCH_CAP_PASSED		(ARCH_CAP_RDCL_NO | ARCH_CAP_IBRS_ALL | ARCH_CAP_RSBA | \
				 ARCH_CAP_SKIP_VMENTRY_L1DFLUSH | ARCH_CAP_SSB_NO | \
				 ARCH_CAP_MDS_NO | ARCH_CAP_PSCHANGE_MC_NO | \
				 ARCH_CAP_TAA_NO | ARCH_CAP_SBDR_SSDP_NO | \
				 ARCH_CAP_FBSDP_NO | ARCH_CAP_PSDP_NO)

static u64 msr_arch_cap __ro_after_init;
static u64 msr_de_cfg __ro_after_init;
static bool msr_has_de_cfg __ro_after_init;
static u64 msr_spec_ctrl_allowed __ro_after_init;
static bool msr_has_tsc_aux __ro_after_init;

/* What KVM_GET_MSR_INDEX_LIST lists where it exists. All can be set to what they read. */
static const u32 msr_saved[] = {
	MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
	MSR_STAR, MSR_CSTAR, MSR_KERNEL_GS_BASE, MSR_SYSCALL_MASK, MSR_LSTAR,
	MSR_IA32_TSC, MSR_IA32_CR_PAT, MSR_TSC_AUX, MSR_IA32_SPEC_CTRL,
	MSR_KVM_SYSTEM_TIME, MSR_KVM_WALL_CLOCK,
	MSR_KVM_SYSTEM_TIME_NEW, MSR_KVM_WALL_CLOCK_NEW, MSR_KVM_STEAL_TIME,
	MSR_KVM_PV_EOI_EN, MSR_IA32_TSC_ADJUST, MSR_IA32_TSC_DEADLINE, MSR_IA32_ARCH_CAPABILITIES,
	MSR_IA32_MISC_ENABLE, MSR_IA32_MCG_STATUS, MSR_IA32_MCG_CTL,
	MSR_PLATFORM_INFO, MSR_MISC_FEATURES_ENABLES, MSR_IA32_POWER_CTL,
	MSR_IA32_UCODE_REV, MSR_K7_HWCR,
};

static u32 msr_list[ARRAY_SIZE(msr_saved)] __ro_after_init;
static u32 msr_nr __ro_after_init;
static u32 msr_feature_list[4] __ro_after_init;
static u32 msr_nr_features __ro_after_init;

static void probe_arch_capabilities(void)
{
	u64 caps = 0;

	if (boot_cpu_has(X86_FEATURE_ARCH_CAPABILITIES) &&
	    rdmsrl_safe(MSR_IA32_ARCH_CAPABILITIES, &caps))
		caps = 0;
	caps &= ARCH_CAP_PASSED;

	/* Stage 2 has no executable large page that a guest could change under the CPU. */
	caps |= ARCH_CAP_PSCHANGE_MC_NO;
	if (!boot_cpu_has_bug(X86_BUG_CPU_MELTDOWN))
		caps |= ARCH_CAP_RDCL_NO;
	if (!boot_cpu_has_bug(X86_BUG_SPEC_STORE_BYPASS))
		caps |= ARCH_CAP_SSB_NO;
	if (!boot_cpu_has_bug(X86_BUG_MDS))
		caps |= ARCH_CAP_MDS_NO;
	msr_arch_cap = caps;
}

static bool msr_exists(u32 index)
{
	switch (index) {
	case MSR_TSC_AUX:
		return msr_has_tsc_aux;
	case MSR_IA32_SPEC_CTRL:
		return msr_spec_ctrl_allowed;
	default:
		return true;
	}
}

void lodge_msr_probe(void)
{
	u64 unused;
	unsigned int i;

	probe_arch_capabilities();
	msr_has_tsc_aux = lodge_supports(X86_FEATURE_RDTSCP) ||
			  lodge_supports(X86_FEATURE_RDPID);
	if (boot_cpu_has(X86_FEATURE_MSR_SPEC_CTRL)) {
		if (boot_cpu_has(X86_FEATURE_IBRS))
			msr_spec_ctrl_allowed |= SPEC_CTRL_IBRS;
		if (boot_cpu_has(X86_FEATURE_STIBP))
			msr_spec_ctrl_allowed |= SPEC_CTRL_STIBP;
		if (boot_cpu_has(X86_FEATURE_SPEC_CTRL_SSBD) ||
		    boot_cpu_has(X86_FEATURE_AMD_SSBD))
			msr_spec_ctrl_allowed |= SPEC_CTRL_SSBD;
	}

	msr_has_de_cfg = !rdmsrl_safe(MSR_AMD64_DE_CFG, &unused);
	if (msr_has_de_cfg && boot_cpu_has(X86_FEATURE_LFENCE_RDTSC))
		msr_de_cfg = MSR_AMD64_DE_CFG_LFENCE_SERIALIZE;

	for (i = 0; i < ARRAY_SIZE(msr_saved); i++)
		if (msr_exists(msr_saved[i]))
			msr_list[msr_nr++] = msr_saved[i];
	msr_feature_list[msr_nr_features++] = MSR_IA32_UCODE_REV;
	msr_feature_list[msr_nr_features++] = MSR_IA32_ARCH_CAPABILITIES;
	msr_feature_list[msr_nr_features++] = MSR_IA32_PERF_CAPABILITIES;
	if (msr_has_de_cfg)
		msr_feature_list[msr_nr_features++] = MSR_AMD64_DE_CFG;
}

void lodge_msr_reset(struct lodge_vcpu *vcpu, bool init)
{
	struct lodge_state *st = &vcpu->st;
	unsigned int i;

	/* INIT leaves MSRs alone: Intel SDM volume 3, "Processor State After Reset". */
	if (init)
		return;

	vcpu->st_valid |= LODGE_ST_MSRS;
	vcpu->st_dirty |= LODGE_ST_MSRS;
	st->star = 0;
	st->lstar = 0;
	st->cstar = 0;
	st->sfmask = 0;
	st->kernel_gs_base = 0;
	st->sysenter_cs = 0;
	st->sysenter_esp = 0;
	st->sysenter_eip = 0;
	st->pat = PAT_DEFAULT;
	st->tsc_aux = 0;
	st->spec_ctrl = 0;

	memset(vcpu->mtrr_var, 0, sizeof(vcpu->mtrr_var));
	memset(vcpu->mtrr_fix, 0, sizeof(vcpu->mtrr_fix));
	vcpu->msr_mtrr_def = 0;
	vcpu->msr_misc_enable = MISC_ENABLE_DEFAULT;
	vcpu->msr_arch_capabilities = msr_arch_cap;
	vcpu->msr_hwcr = 0;
	vcpu->msr_de_cfg = msr_de_cfg;
	vcpu->msr_power_ctl = 0;
	vcpu->msr_platform_info = MSR_PLATFORM_INFO_CPUID_FAULT;
	vcpu->msr_misc_features = 0;
	/* New enough for what guests check before they trust a feature; KVM's values. */
	vcpu->msr_ucode_rev = lodge_backend->microcode;

	vcpu->msr_mcg_cap = LODGE_MCE_BANKS;
	vcpu->msr_mcg_status = 0;
	vcpu->msr_mcg_ctl = 0;
	for (i = 0; i < ARRAY_SIZE(vcpu->mce_bank); i++)
		vcpu->mce_bank[i] = 0;
	memset(vcpu->mce_ctl2, 0, sizeof(vcpu->mce_ctl2));

	vcpu->apic_base = LAPIC_DEFAULT_BASE | LAPIC_BASE_ENABLE |
			  (vcpu->id == vcpu->vm->boot_cpu_id ? LAPIC_BASE_BSP : 0);
}

/* Memory types --------------------------------------------------------------- */

/* @allowed: bit n for type n. */
static bool memory_types_valid(u64 data, unsigned int nr, u32 allowed)
{
	u8 type;

	for (; nr; nr--, data >>= 8) {
		type = data;
		if (type > 7 || !(allowed & BIT(type)))
			return false;
	}
	return true;
}

#define MTRR_TYPES	0x73	/* UC, WC, WT, WP, WB */
#define PAT_TYPES	(MTRR_TYPES | BIT(7))	/* and UC- */

/* Only with KVM_CAP_ENFORCE_PV_FEATURE_CPUID does an MSR need its feature. */
static bool has_pv_msr(const struct lodge_vcpu *vcpu, u32 index)
{
	switch (index) {
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_SYSTEM_TIME:
		return lodge_pv_has(vcpu, KVM_FEATURE_CLOCKSOURCE);
	case MSR_KVM_WALL_CLOCK_NEW:
	case MSR_KVM_SYSTEM_TIME_NEW:
		return lodge_pv_has(vcpu, KVM_FEATURE_CLOCKSOURCE2);
	case MSR_KVM_PV_EOI_EN:
		return lodge_pv_has(vcpu, KVM_FEATURE_PV_EOI);
	default:
		return lodge_pv_has(vcpu, KVM_FEATURE_STEAL_TIME);
	}
}

/* The storage of an MTRR, or NULL: there is none of that number. */
static u64 *mtrr_slot(struct lodge_vcpu *vcpu, u32 index)
{
	u32 n;

	switch (index) {
	case MSR_MTRRdefType:
		return &vcpu->msr_mtrr_def;
	case MSR_MTRRfix64K_00000:
		return &vcpu->mtrr_fix[0];
	case MSR_MTRRfix16K_80000:
	case MSR_MTRRfix16K_A0000:
		n = 1 + index - MSR_MTRRfix16K_80000;
		return &vcpu->mtrr_fix[array_index_nospec(n, ARRAY_SIZE(vcpu->mtrr_fix))];
	case MSR_MTRRfix4K_C0000 ... MSR_MTRRfix4K_F8000:
		n = 3 + index - MSR_MTRRfix4K_C0000;
		return &vcpu->mtrr_fix[array_index_nospec(n, ARRAY_SIZE(vcpu->mtrr_fix))];
	case MSR_MTRR_VAR_FIRST ... MSR_MTRR_VAR_LAST:
		n = index - MSR_MTRR_VAR_FIRST;
		return &vcpu->mtrr_var[array_index_nospec(n, ARRAY_SIZE(vcpu->mtrr_var))];
	}
	return NULL;
}

/* Intel SDM volume 3, "Memory Type Range Registers". */
static bool mtrr_valid(const struct lodge_vcpu *vcpu, u32 index, u64 data)
{
	if (index == MSR_MTRRdefType)
		return !(data & ~0xcffull) && memory_types_valid(data, 1, MTRR_TYPES);
	if (index >= MSR_MTRRfix64K_00000 && index <= MSR_MTRRfix4K_F8000)
		return memory_types_valid(data, 8, MTRR_TYPES);
	if (data & vcpu->phys_reserved)
		return false;
	if (index & 1)	/* mask */
		return !(data & 0x7ff);
	return !(data & 0xf00) && memory_types_valid(data, 1, MTRR_TYPES);
}

static int write_mtrr(struct lodge_vcpu *vcpu, u32 index, u64 data)
{
	if (!mtrr_valid(vcpu, index, data))
		return 1;
	/* Stored for the guest to read: with nested paging the host's types count. */
	*mtrr_slot(vcpu, index) = data;
	return 0;
}

/* Machine checks --------------------------------------------------------------- */

u64 lodge_mce_cap_supported(void)
{
	return MCG_CTL_P | MCG_SER_P | lodge_backend->mcg_cap;
}

int lodge_setup_mce(struct lodge_vcpu *vcpu, u64 mcg_cap)
{
	unsigned int banks = mcg_cap & 0xff;
	unsigned int i;

	if (!banks || banks > LODGE_MCE_BANKS)
		return -EINVAL;
	/* Besides flags: the number of banks, and of extended state MSRs. */
	if (mcg_cap & ~(lodge_mce_cap_supported() | 0xff | 0xff0000))
		return -EINVAL;
	vcpu->msr_mcg_cap = mcg_cap;
	if (mcg_cap & MCG_CTL_P)
		vcpu->msr_mcg_ctl = MCE_ALL;
	for (i = 0; i < banks; i++)
		vcpu->mce_bank[i * 4] = MCE_ALL;
	memset(vcpu->mce_ctl2, 0, sizeof(vcpu->mce_ctl2));
	if (vcpu->lapic)
		lapic_set_cmci(vcpu->lapic, mcg_cap & MCG_CMCI_P);
	return 0;
}

/*
 * Uncorrected, but nothing that the CPU must act upon: it is logged, and told by an
 * interrupt. Intel SDM volume 3, "UCR Error Classification".
 */
static bool needs_no_action(const struct kvm_x86_mce *mce)
{
	return !mce->mcg_status && (mce->status & MCI_STATUS_UC) &&
	       !(mce->status & (MCI_STATUS_PCC | MCI_STATUS_S | MCI_STATUS_AR));
}

/* Of a bank that there is storage for. It is 0 without MCG_CMCI_P. */
static u32 *mce_ctl2(struct lodge_vcpu *vcpu, unsigned int bank)
{
	return &vcpu->mce_ctl2[array_index_nospec(bank, LODGE_MCE_BANKS)];
}

static void log_mce(u64 *bank, u64 status, const struct kvm_x86_mce *mce)
{
	bank[1] = status;
	bank[2] = mce->addr;
	bank[3] = mce->misc;
}

/* Intel SDM volume 3, "Machine-Check Global Control MSRs" and "Error-Reporting Banks". */
int lodge_set_mce(struct lodge_vcpu *vcpu, const struct kvm_x86_mce *mce)
{
	u64 status = mce->status;
	u64 *bank;

	if (mce->bank >= (vcpu->msr_mcg_cap & 0xff) || !(status & MCI_STATUS_VAL))
		return -EINVAL;
	bank = &vcpu->mce_bank[4 * array_index_nospec(mce->bank, LODGE_MCE_BANKS)];

	if (needs_no_action(mce)) {
		vcpu->msr_mcg_status = 0;
		log_mce(bank, status, mce);
		if ((*mce_ctl2(vcpu, mce->bank) & MCI_CTL2_CMCI_EN) && vcpu->lapic)
			lapic_local_deliver(vcpu->lapic, LAPIC_LVTCMCI);
		return 0;
	}
	if (status & MCI_STATUS_UC) {
		/* The guest has switched the report of such errors off. */
		if ((vcpu->msr_mcg_cap & MCG_CTL_P) && vcpu->msr_mcg_ctl != MCE_ALL)
			return 0;
		if (bank[0] != MCE_ALL)
			return 0;
		if ((vcpu->msr_mcg_status & MCG_STATUS_MCIP) ||
		    !(vcpu->st.cr4 & X86_CR4_MCE)) {
			lodge_make_request(vcpu, LODGE_REQ_TRIPLE_FAULT);
			return 0;
		}
		vcpu->msr_mcg_status = mce->mcg_status;
		lodge_queue_exception(vcpu, X86_TRAP_MC);
	} else if ((bank[1] & MCI_STATUS_VAL) && (bank[1] & MCI_STATUS_UC)) {
		/* A corrected error does not overwrite an uncorrected one. */
		bank[1] |= MCI_STATUS_OVER;
		return 0;
	}
	if (bank[1] & MCI_STATUS_VAL)
		status |= MCI_STATUS_OVER;
	log_mce(bank, status, mce);
	return 0;
}

/* The register of a bank, or NULL above the last one that MCG_CAP counts. */
static u64 *mce_bank_register(struct lodge_vcpu *vcpu, u32 index)
{
	u32 n = index - MSR_IA32_MC0_CTL;

	if (n >= (vcpu->msr_mcg_cap & 0xff) * 4)
		return NULL;
	return &vcpu->mce_bank[array_index_nospec(n, ARRAY_SIZE(vcpu->mce_bank))];
}

static int write_mce_bank(struct lodge_vcpu *vcpu, u32 index, u64 data, bool host)
{
	u64 *reg = mce_bank_register(vcpu, index);

	if (!reg)
		return 1;
	switch ((index - MSR_IA32_MC0_CTL) % 4) {
	case 0:
		/*
		 * All or nothing; Linux clears bit 10 of bank 4 on K8 (GART errors), and
		 * bit 0 of bank 0 elsewhere.
		 */
		if (data && (data | BIT_ULL(10) | 1) != MCE_ALL)
			return 1;
		break;
	case 1:
		/* AMD APM volume 2, "MCi_STATUS": only 0, unless HWCR allows more. */
		if (data && !host && !(vcpu->msr_hwcr & HWCR_MC_STATUS_WR_EN))
			return 1;
		break;
	}
	*reg = data;
	return 0;
}

static bool has_mce_ctl2(const struct lodge_vcpu *vcpu, u32 bank)
{
	return vcpu->msr_mcg_cap & MCG_CMCI_P && bank < (vcpu->msr_mcg_cap & 0xff);
}

/*
 * Intel SDM volume 3, "IA32_MCi_CTL2 MSRs". A VMM that saves and restores may see all of
 * them; without MCG_CMCI_P they are 0.
 */
static int read_mce_ctl2(struct lodge_vcpu *vcpu, u32 index, u64 *data, bool host)
{
	u32 n = index - MSR_IA32_MC0_CTL2;

	*data = *mce_ctl2(vcpu, n);
	return !host && !has_mce_ctl2(vcpu, n);
}

static int write_mce_ctl2(struct lodge_vcpu *vcpu, u32 index, u64 data, bool host)
{
	u32 n = index - MSR_IA32_MC0_CTL2;

	if (!has_mce_ctl2(vcpu, n))
		return data || !host;
	if (data & ~MCE_CTL2_WRITABLE)
		return 1;
	*mce_ctl2(vcpu, n) = data;
	return 0;
}

static int write_mcg_ctl(struct lodge_vcpu *vcpu, u64 data, bool host)
{
	if (!(vcpu->msr_mcg_cap & MCG_CTL_P) && (data || !host))
		return 1;
	if (data && data != MCE_ALL)
		return 1;
	vcpu->msr_mcg_ctl = data;
	return 0;
}

/* Access ----------------------------------------------------------------------- */

/*
 * Read as 0 by guests on hardware that they take this for; KVM's list. Platform and bus
 * settings, power limits, and the counters of a performance monitor that is not there, nor
 * the last branches.
 */
static bool msr_reads_zero(u32 index)
{
	switch (index) {
	case MSR_IA32_PLATFORM_ID:
	case MSR_IA32_EBL_CR_POWERON:
	case MSR_IA32_P5_MC_ADDR:
	case MSR_IA32_P5_MC_TYPE:
	case MSR_IA32_PERF_CTL:
	case MSR_RAPL_POWER_UNIT:
	case MSR_PP0_ENERGY_STATUS:
	case MSR_PP1_ENERGY_STATUS:
	case MSR_PKG_ENERGY_STATUS:
	case MSR_DRAM_ENERGY_STATUS:
	case MSR_AMD64_SYSCFG:
	case MSR_K8_TSEG_ADDR:
	case MSR_K8_TSEG_MASK:
	case MSR_K8_INT_PENDING_MSG:
	case MSR_AMD64_NB_CFG:
	case MSR_FAM10H_MMIO_CONF_BASE:
	case MSR_AMD64_BU_CFG2:
	case MSR_AMD64_DC_CFG:
	case MSR_F15H_EX_CFG:
	case MSR_K7_EVNTSEL0 ... MSR_K7_EVNTSEL3:
	case MSR_K7_PERFCTR0 ... MSR_K7_PERFCTR3:
	case MSR_F15H_PERF_CTL ... MSR_F15H_PERF_CTR5:
	case MSR_P6_PERFCTR0 ... MSR_P6_PERFCTR1:
	case MSR_P6_EVNTSEL0 ... MSR_P6_EVNTSEL1:
	case MSR_IA32_LASTBRANCHFROMIP ... MSR_IA32_LASTINTTOIP:
		return true;
	}
	return false;
}

/* Writes without an effect; KVM's list. */
static bool msr_write_ignored(u32 index)
{
	switch (index) {
	case MSR_AMD64_NB_CFG:
	case MSR_IA32_UCODE_WRITE:
	case MSR_AMD64_PATCH_LOADER:
	case MSR_AMD64_BU_CFG2:
	case MSR_AMD64_DC_CFG:
	case MSR_F15H_EX_CFG:
	case MSR_K7_EVNTSEL0 ... MSR_K7_EVNTSEL3:
	case MSR_K7_PERFCTR0 ... MSR_K7_PERFCTR3:
	case MSR_P6_PERFCTR0 ... MSR_P6_PERFCTR1:
	case MSR_P6_EVNTSEL0 ... MSR_P6_EVNTSEL1:
		return true;
	}
	return false;
}

static bool guest_has_tsc_aux(const struct lodge_vcpu *vcpu)
{
	return lodge_guest_has(vcpu, X86_FEATURE_RDTSCP) ||
	       lodge_guest_has(vcpu, X86_FEATURE_RDPID);
}

/* Registers that live in a state group, and are whole 64-bit values; NULL: not one. */
static u64 *state_msr(struct lodge_vcpu *vcpu, u32 index)
{
	struct lodge_state *st = &vcpu->st;

	switch (index) {
	case MSR_STAR:
		return &st->star;
	case MSR_LSTAR:
		return &st->lstar;
	case MSR_CSTAR:
		return &st->cstar;
	case MSR_SYSCALL_MASK:
		return &st->sfmask;
	case MSR_KERNEL_GS_BASE:
		return &st->kernel_gs_base;
	case MSR_IA32_SYSENTER_CS:
		return &st->sysenter_cs;
	case MSR_IA32_SYSENTER_ESP:
		return &st->sysenter_esp;
	case MSR_IA32_SYSENTER_EIP:
		return &st->sysenter_eip;
	case MSR_IA32_CR_PAT:
		return &st->pat;
	}
	return NULL;
}

/* The rarer ones: identification, machine checks, platform. */
static int read_rare(struct lodge_vcpu *vcpu, u32 index, u64 *data, bool host)
{
	const u64 *reg;

	switch (index) {
	case MSR_MTRRcap:
		*data = MTRR_CAP;
		return 0;
	case MSR_IA32_UCODE_REV:
		*data = vcpu->msr_ucode_rev;
		return 0;
	case MSR_IA32_ARCH_CAPABILITIES:
		if (!host && !lodge_guest_has(vcpu, X86_FEATURE_ARCH_CAPABILITIES))
			return 1;
		*data = vcpu->msr_arch_capabilities;
		return 0;
	case MSR_AMD64_DE_CFG:
		*data = vcpu->msr_de_cfg;
		return !msr_has_de_cfg;
	case MSR_K7_HWCR:
		*data = vcpu->msr_hwcr;
		return 0;
	case MSR_IA32_POWER_CTL:
		*data = vcpu->msr_power_ctl;
		return 0;
	case MSR_PLATFORM_INFO:
		if (!host && READ_ONCE(vcpu->vm->platform_info_hidden))
			return LODGE_MSR_REFUSED;
		*data = vcpu->msr_platform_info;
		return 0;
	case MSR_MISC_FEATURES_ENABLES:
		*data = vcpu->msr_misc_features;
		return 0;
	case MSR_IA32_MCG_CAP:
		*data = vcpu->msr_mcg_cap;
		return 0;
	case MSR_IA32_MCG_STATUS:
		*data = vcpu->msr_mcg_status;
		return 0;
	case MSR_IA32_MCG_CTL:
		if (!(vcpu->msr_mcg_cap & MCG_CTL_P) && !host)
			return 1;
		*data = vcpu->msr_mcg_ctl;
		return 0;
	case MSR_IA32_MC0_CTL ... MCE_LAST:
		reg = mce_bank_register(vcpu, index);
		*data = reg ? *reg : 0;
		return !reg;
	case MSR_IA32_MC0_CTL2 ... MCE_CTL2_LAST:
		return read_mce_ctl2(vcpu, index, data, host);
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_WALL_CLOCK_NEW:
		*data = vcpu->vm->clock.wall_clock_msr;
		return !has_pv_msr(vcpu, index);
	case MSR_KVM_SYSTEM_TIME:
	case MSR_KVM_SYSTEM_TIME_NEW:
		*data = vcpu->kvmclock.msr;
		return !has_pv_msr(vcpu, index);
	case MSR_KVM_STEAL_TIME:
		*data = vcpu->pv.steal_msr;
		return !has_pv_msr(vcpu, index);
	case MSR_KVM_PV_EOI_EN:
		*data = vcpu->pv.eoi_msr;
		return !has_pv_msr(vcpu, index);
	case MSR_FSB_FREQ:
		*data = 3;	/* 166 MHz: what Linux on Core 2 divides by */
		return 0;
	case MSR_EBC_FREQUENCY_ID:
		*data = 1 << 24;	/* Pentium 4: bus ratio 1, so that none is 0 */
		return 0;
	case MSR_IA32_BBL_CR_CTL3:
		*data = 0xbe702111;	/* the value of a Pentium II: L2 enabled */
		return 0;
	case MSR_IA32_PERF_STATUS:
		*data = 1000ull | 4ull << 40;	/* TSC ratio 4, as KVM */
		return 0;
	}

	reg = mtrr_slot(vcpu, index);
	if (reg) {
		*data = *reg;
		return 0;
	}
	*data = 0;
	if (msr_reads_zero(index))
		return 0;
	return lodge_backend->get_msr(vcpu, index, data);
}

int lodge_msr_read(struct lodge_vcpu *vcpu, u32 index, u64 *data, bool host)
{
	const u64 *reg;

	switch (index) {
	case MSR_IA32_TSC:
		*data = lodge_read_guest_tsc(vcpu);
		return 0;
	case MSR_IA32_TSC_DEADLINE:
		*data = vcpu->lapic ? lapic_get_tsc_deadline(vcpu->lapic) : 0;
		return 0;
	case LAPIC_MSR_FIRST ... LAPIC_MSR_LAST:
		return vcpu->lapic ? lapic_msr_read(vcpu->lapic, index, data) : 1;
	case MSR_FS_BASE:
	case MSR_GS_BASE:
		lodge_state_get(vcpu, LODGE_ST_SEGS);
		*data = vcpu->st.seg[index == MSR_FS_BASE ? LODGE_FS : LODGE_GS].base;
		return 0;
	case MSR_EFER:
		*data = vcpu->st.efer;
		return 0;
	case MSR_IA32_SPEC_CTRL:
		if (!msr_spec_ctrl_allowed || (!host && !vcpu->has_spec_ctrl))
			return 1;
		lodge_state_get(vcpu, LODGE_ST_MSRS);
		*data = vcpu->st.spec_ctrl;
		return 0;
	case MSR_TSC_AUX:
		if (!msr_has_tsc_aux || (!host && !guest_has_tsc_aux(vcpu)))
			return 1;
		*data = vcpu->st.tsc_aux;
		return 0;
	case MSR_IA32_APICBASE:
		*data = lodge_get_apic_base(vcpu);
		return 0;
	case MSR_IA32_TSC_ADJUST:
		*data = vcpu->tsc_adjust;
		return 0;
	case MSR_IA32_MISC_ENABLE:
		*data = vcpu->msr_misc_enable;
		return 0;
	}

	reg = state_msr(vcpu, index);
	if (!reg)
		return read_rare(vcpu, index, data, host);
	lodge_state_get(vcpu, LODGE_ST_MSRS);
	*data = *reg;
	return 0;
}

static int write_state_msr(struct lodge_vcpu *vcpu, u32 index, u64 data)
{
	switch (index) {
	case MSR_LSTAR:
	case MSR_CSTAR:
	case MSR_KERNEL_GS_BASE:
		if (!lodge_is_canonical(vcpu, data))
			return 1;
		break;
	case MSR_SYSCALL_MASK:
		/* A window that gives the CPU such a value would fault. */
		if (data & lodge_backend->half_reserved)
			return 1;
		break;
	case MSR_IA32_SYSENTER_ESP:
	case MSR_IA32_SYSENTER_EIP:
		/*
		 * Intel refuses, AMD drops the upper half; sign-extending keeps both
		 * kinds of guest away from a control block that will not enter.
		 */
		data = lodge_make_canonical(vcpu, data);
		break;
	case MSR_IA32_CR_PAT:
		if (!memory_types_valid(data, 8, PAT_TYPES))
			return 1;
		break;
	}
	lodge_state_edit(vcpu, LODGE_ST_MSRS);
	*state_msr(vcpu, index) = data;
	return 0;
}

static int write_spec_ctrl(struct lodge_vcpu *vcpu, u64 data, bool host)
{
	if (!msr_spec_ctrl_allowed || (!host && !vcpu->has_spec_ctrl))
		return 1;
	if (data & ~msr_spec_ctrl_allowed)
		return 1;
	lodge_state_edit(vcpu, LODGE_ST_MSRS);
	vcpu->st.spec_ctrl = data;
	return 0;
}

static int write_pred_cmd(struct lodge_vcpu *vcpu, u64 data, bool host)
{
	u64 allowed = vcpu->has_sbpb ? PRED_CMD_SBPB : 0;

	if (boot_cpu_has(X86_FEATURE_IBPB) &&
	    (host || lodge_guest_has(vcpu, X86_FEATURE_SPEC_CTRL) ||
	     lodge_guest_has(vcpu, X86_FEATURE_AMD_IBPB)))
		allowed |= PRED_CMD_IBPB;
	if (!allowed || (data & ~allowed))
		return 1;
	/* On whatever CPU this is: a vCPU that moves gets a barrier anyway. */
	if (data)
		wrmsrl(MSR_IA32_PRED_CMD, data);
	return 0;
}

static int write_tsc_aux(struct lodge_vcpu *vcpu, u64 data, bool host)
{
	if (!msr_has_tsc_aux || (!host && !guest_has_tsc_aux(vcpu)))
		return 1;
	if (data & lodge_backend->half_reserved)
		return 1;
	lodge_state_edit(vcpu, LODGE_ST_MSRS);
	vcpu->st.tsc_aux = (u32)data;
	return 0;
}

static int write_misc_enable(struct lodge_vcpu *vcpu, u64 data, bool host)
{
	u64 old = vcpu->msr_misc_enable;

	/* Where the bit is CPUID's as well. Intel SDM volume 4: only with SSE3. */
	if ((data ^ old) & MSR_IA32_MISC_ENABLE_MWAIT && !lodge_guest_has(vcpu, X86_FEATURE_XMM3) &&
	    !lodge_has_quirk(vcpu->vm, KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT))
		return 1;
	/* To the guest, what says that there is no performance monitor is read-only. */
	if (!host) {
		if ((data ^ old) & MISC_ENABLE_DEFAULT)
			return 1;
		data &= ~(u64)MSR_IA32_MISC_ENABLE_EMON;
		data |= old & MSR_IA32_MISC_ENABLE_EMON;
	}
	vcpu->msr_misc_enable = data;
	return 0;
}

/* Values that describe the virtual hardware: the VMM's to set, within what there is. */
static int write_description(struct lodge_vcpu *vcpu, u32 index, u64 data, bool host)
{
	switch (index) {
	case MSR_IA32_UCODE_REV:
		if (host)
			vcpu->msr_ucode_rev = data;
		return 0;	/* the guest's write of 0 before CPUID: Intel's protocol */
	case MSR_IA32_ARCH_CAPABILITIES:
		if (!host || (data & ~msr_arch_cap))
			return 1;
		vcpu->msr_arch_capabilities = data;
		return 0;
	case MSR_AMD64_DE_CFG:
		if (!msr_has_de_cfg || (data & ~msr_de_cfg))
			return 1;
		if (!host && data != vcpu->msr_de_cfg)
			return 1;
		vcpu->msr_de_cfg = data;
		return 0;
	case MSR_PLATFORM_INFO:
		/* The guest does not lose what it has switched on. */
		if (!host || (vcpu->msr_misc_features &&
			      !(data & MSR_PLATFORM_INFO_CPUID_FAULT)))
			return 1;
		vcpu->msr_platform_info = data;
		return 0;
	case MSR_MISC_FEATURES_ENABLES:
		if ((data & ~(u64)MSR_MISC_FEATURES_ENABLES_CPUID_FAULT) ||
		    (data && !(vcpu->msr_platform_info & MSR_PLATFORM_INFO_CPUID_FAULT)))
			return 1;
		vcpu->msr_misc_features = data;
		return 0;
	case MSR_K7_HWCR:
		data &= ~HWCR_IGNORED;
		if (data & ~(HWCR_MC_STATUS_WR_EN | HWCR_TSC_FREQ_SEL))
			return 1;
		vcpu->msr_hwcr = data;
		return 0;
	}
	return 1;
}

static int write_rare(struct lodge_vcpu *vcpu, u32 index, u64 data, bool host)
{
	switch (index) {
	case MSR_IA32_UCODE_REV:
	case MSR_IA32_ARCH_CAPABILITIES:
	case MSR_AMD64_DE_CFG:
	case MSR_PLATFORM_INFO:
	case MSR_MISC_FEATURES_ENABLES:
	case MSR_K7_HWCR:
		return write_description(vcpu, index, data, host);
	case MSR_IA32_MCG_STATUS:
		vcpu->msr_mcg_status = data;
		return 0;
	case MSR_IA32_MCG_CTL:
		return write_mcg_ctl(vcpu, data, host);
	case MSR_IA32_MC0_CTL ... MCE_LAST:
		return write_mce_bank(vcpu, index, data, host);
	case MSR_IA32_MC0_CTL2 ... MCE_CTL2_LAST:
		return write_mce_ctl2(vcpu, index, data, host);
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_WALL_CLOCK_NEW:
		return !has_pv_msr(vcpu, index) || lodge_wall_clock_set_msr(vcpu, data);
	case MSR_KVM_SYSTEM_TIME:
	case MSR_KVM_SYSTEM_TIME_NEW:
		return !has_pv_msr(vcpu, index) || lodge_kvmclock_set_msr(vcpu, data);
	case MSR_KVM_STEAL_TIME:
		return !has_pv_msr(vcpu, index) || lodge_steal_time_set_msr(vcpu, data);
	case MSR_KVM_PV_EOI_EN:
		return !has_pv_msr(vcpu, index) || lodge_pv_eoi_set_msr(vcpu, data);
	case MSR_IA32_POWER_CTL:
		vcpu->msr_power_ctl = data;	/* C1E and the like: the host's business */
		return 0;
	case MSR_FAM10H_MMIO_CONF_BASE:
		return data != 0;
	}
	if (mtrr_slot(vcpu, index))
		return write_mtrr(vcpu, index, data);
	if (msr_write_ignored(index))
		return 0;
	return lodge_backend->set_msr(vcpu, index, data, host);
}

int lodge_msr_write(struct lodge_vcpu *vcpu, u32 index, u64 data, bool host)
{
	switch (index) {
	case MSR_IA32_TSC_DEADLINE:
		if (vcpu->lapic)
			lapic_set_tsc_deadline(vcpu->lapic, data);
		return 0;
	case LAPIC_MSR_FIRST ... LAPIC_MSR_LAST:
		return vcpu->lapic ? lapic_msr_write(vcpu->lapic, index, data) : 1;
	case MSR_FS_BASE:
	case MSR_GS_BASE:
		if (!lodge_is_canonical(vcpu, data))
			return 1;
		lodge_state_edit(vcpu, LODGE_ST_SEGS);
		vcpu->st.seg[index == MSR_FS_BASE ? LODGE_FS : LODGE_GS].base = data;
		return 0;
	case MSR_EFER:
		return lodge_set_efer(vcpu, data, host);
	case MSR_IA32_SPEC_CTRL:
		return write_spec_ctrl(vcpu, data, host);
	case MSR_IA32_PRED_CMD:
		return write_pred_cmd(vcpu, data, host);
	case MSR_TSC_AUX:
		return write_tsc_aux(vcpu, data, host);
	case MSR_IA32_APICBASE:
		return lodge_set_apic_base(vcpu, data, host);
	case MSR_IA32_TSC:
		lodge_tsc_write(vcpu, data, host);
		return 0;
	case MSR_IA32_TSC_ADJUST:
		lodge_tsc_adjust_write(vcpu, data, host);
		return 0;
	case MSR_IA32_MISC_ENABLE:
		return write_misc_enable(vcpu, data, host);
	}
	if (state_msr(vcpu, index))
		return write_state_msr(vcpu, index, data);
	return write_rare(vcpu, index, data, host);
}

/* ioctls ----------------------------------------------------------------------- */

int lodge_get_msr_index_list(struct kvm_msr_list __user *user, bool features)
{
	const u32 *list = features ? msr_feature_list : msr_list;
	u32 nr = features ? msr_nr_features : msr_nr;
	u32 room;

	if (get_user(room, &user->nmsrs) || put_user(nr, &user->nmsrs))
		return -EFAULT;
	if (room < nr)
		return -E2BIG;
	return copy_to_user(user->indices, list, nr * sizeof(*list)) ? -EFAULT : 0;
}

/* Feature MSRs say what a vCPU can be given at most: 0, or 1: not one of them. */
static int read_feature_msr(struct lodge_vcpu *vcpu, u32 index, u64 *data)
{
	switch (index) {
	case MSR_IA32_UCODE_REV:
		*data = 0;
		rdmsrl_safe(MSR_IA32_UCODE_REV, data);
		return 0;
	case MSR_IA32_ARCH_CAPABILITIES:
		*data = msr_arch_cap;
		return 0;
	case MSR_AMD64_DE_CFG:
		*data = msr_de_cfg;
		return !msr_has_de_cfg;
	case MSR_IA32_PERF_CAPABILITIES:
		*data = 0;	/* there is no performance monitor */
		return 0;
	}
	return 1;
}

static int read_msr(struct lodge_vcpu *vcpu, u32 index, u64 *data)
{
	return lodge_msr_read(vcpu, index, data, true);
}

static int write_msr(struct lodge_vcpu *vcpu, u32 index, u64 *data)
{
	return lodge_msr_write(vcpu, index, *data, true);
}

typedef int (*msr_access)(struct lodge_vcpu *vcpu, u32 index, u64 *data);

/* Does @access for each entry until one is refused; @write_back gives the values back. */
static int access_msrs(struct lodge_vcpu *vcpu, struct kvm_msrs __user *user,
		       msr_access access, bool write_back)
{
	struct kvm_msr_entry *entries;
	struct kvm_msrs head;
	size_t size;
	u32 i;

	if (copy_from_user(&head, user, sizeof(head)))
		return -EFAULT;
	if (head.nmsrs >= MSR_MAX_IO)
		return -E2BIG;
	size = head.nmsrs * sizeof(*entries);
	entries = memdup_user(user->entries, size);
	if (IS_ERR(entries))
		return PTR_ERR(entries);

	for (i = 0; i < head.nmsrs; i++) {
		u64 data = entries[i].data;

		if (access(vcpu, entries[i].index, &data))
			break;
		entries[i].data = data;
	}
	if (write_back && copy_to_user(user->entries, entries, size)) {
		kfree(entries);
		return -EFAULT;
	}
	kfree(entries);
	return i;
}

int lodge_get_feature_msrs(struct kvm_msrs __user *user)
{
	return access_msrs(NULL, user, read_feature_msr, true);
}

int lodge_get_msrs(struct lodge_vcpu *vcpu, struct kvm_msrs __user *user)
{
	return access_msrs(vcpu, user, read_msr, true);
}

int lodge_set_msrs(struct lodge_vcpu *vcpu, struct kvm_msrs __user *user)
{
	return access_msrs(vcpu, user, write_msr, false);
}
