/* SPDX-License-Identifier: GPL-2.0-only */
/* Tracepoints of the module, group "lodge": see Documentation/testing.rst. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM lodge

#if !defined(LODGE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define LODGE_TRACE_H

#include <linux/tracepoint.h>

TRACE_EVENT(lodge_entry,
	TP_PROTO(u32 vcpu, u64 rip),
	TP_ARGS(vcpu, rip),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u64, rip)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->rip = rip;
	),
	TP_printk("vcpu %u rip 0x%llx", __entry->vcpu, __entry->rip)
);

TRACE_EVENT(lodge_exit,
	TP_PROTO(u32 vcpu, u64 code, u64 rip, u64 info1, u64 info2),
	TP_ARGS(vcpu, code, rip, info1, info2),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u64, code)
		__field(u64, rip)
		__field(u64, info1)
		__field(u64, info2)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->code = code;
		__entry->rip = rip;
		__entry->info1 = info1;
		__entry->info2 = info2;
	),
	TP_printk("vcpu %u code 0x%llx rip 0x%llx info 0x%llx 0x%llx", __entry->vcpu,
		  __entry->code, __entry->rip, __entry->info1, __entry->info2)
);

/* A rule of the manual's for an entry that the control block breaks: check.h. */
TRACE_EVENT(lodge_rule_broken,
	TP_PROTO(u32 vcpu, const char *rule),
	TP_ARGS(vcpu, rule),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__array(char, rule, 80)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		strscpy(__entry->rule, rule, sizeof(__entry->rule));
	),
	TP_printk("vcpu %u %s", __entry->vcpu, __entry->rule)
);

TRACE_EVENT(lodge_fault,
	TP_PROTO(u32 vcpu, u64 gpa, u32 access, int result),
	TP_ARGS(vcpu, gpa, access, result),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u32, access)
		__field(u64, gpa)
		__field(int, result)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->access = access;
		__entry->gpa = gpa;
		__entry->result = result;
	),
	TP_printk("vcpu %u gpa 0x%llx access 0x%x result %d", __entry->vcpu, __entry->gpa,
		  __entry->access, __entry->result)
);

TRACE_EVENT(lodge_inject,
	TP_PROTO(u32 vcpu, u8 vector, bool again),
	TP_ARGS(vcpu, vector, again),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u8, vector)
		__field(bool, again)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->vector = vector;
		__entry->again = again;
	),
	TP_printk("vcpu %u vector 0x%x%s", __entry->vcpu, __entry->vector,
		  __entry->again ? " again" : "")
);

TRACE_EVENT(lodge_msr,
	TP_PROTO(u32 vcpu, bool write, u32 index, u64 data, bool gp),
	TP_ARGS(vcpu, write, index, data, gp),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u32, index)
		__field(u64, data)
		__field(bool, write)
		__field(bool, gp)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->index = index;
		__entry->data = data;
		__entry->write = write;
		__entry->gp = gp;
	),
	TP_printk("vcpu %u %s 0x%x = 0x%llx%s", __entry->vcpu,
		  __entry->write ? "write" : "read", __entry->index, __entry->data,
		  __entry->gp ? " #GP" : "")
);

TRACE_EVENT(lodge_cpuid,
	TP_PROTO(u32 vcpu, u32 leaf, u32 subleaf, u32 eax, u32 ebx, u32 ecx, u32 edx),
	TP_ARGS(vcpu, leaf, subleaf, eax, ebx, ecx, edx),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u32, leaf)
		__field(u32, subleaf)
		__field(u32, eax)
		__field(u32, ebx)
		__field(u32, ecx)
		__field(u32, edx)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->leaf = leaf;
		__entry->subleaf = subleaf;
		__entry->eax = eax;
		__entry->ebx = ebx;
		__entry->ecx = ecx;
		__entry->edx = edx;
	),
	TP_printk("vcpu %u leaf 0x%x.%x eax 0x%x ebx 0x%x ecx 0x%x edx 0x%x", __entry->vcpu,
		  __entry->leaf, __entry->subleaf, __entry->eax, __entry->ebx,
		  __entry->ecx, __entry->edx)
);

TRACE_EVENT(lodge_emulate,
	TP_PROTO(u32 vcpu, u64 rip, const u8 *bytes, u8 length, int result),
	TP_ARGS(vcpu, rip, bytes, length, result),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(int, result)
		__field(u64, rip)
		__field(u8, length)
		__array(u8, bytes, 15)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->result = result;
		__entry->rip = rip;
		__entry->length = length;
		memcpy(__entry->bytes, bytes, 15);
	),
	TP_printk("vcpu %u rip 0x%llx insn %s result %d", __entry->vcpu, __entry->rip,
		  __print_hex(__entry->bytes, __entry->length), __entry->result)
);

#define LODGE_OBJECT_NODE	0
#define LODGE_OBJECT_VM		1
#define LODGE_OBJECT_VCPU	2

/* Every ioctl that fails: on what, which, and why. */
TRACE_EVENT(lodge_ioctl_error,
	TP_PROTO(int object, unsigned int cmd, long error),
	TP_ARGS(object, cmd, error),
	TP_STRUCT__entry(
		__field(int, object)
		__field(unsigned int, cmd)
		__field(long, error)
	),
	TP_fast_assign(
		__entry->object = object;
		__entry->cmd = cmd;
		__entry->error = error;
	),
	TP_printk("%s ioctl 0x%x error %ld",
		  __print_symbolic(__entry->object, { LODGE_OBJECT_NODE, "node" },
				   { LODGE_OBJECT_VM, "vm" }, { LODGE_OBJECT_VCPU, "vcpu" }),
		  __entry->cmd, __entry->error)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
