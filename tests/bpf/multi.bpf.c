// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Programs at several functions at once, and at a probe that a file defines. VERSION tells two builds apart.
#if __has_include(<asm/sve_context.h>)
#define __TARGET_ARCH_arm64
#else
#define __TARGET_ARCH_x86
#endif
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>

#ifndef VERSION
#define VERSION 1
#endif

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 32);
} counts SEC(".maps");

static __always_inline void add(__u32 at, __u64 more)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &at);

	if (value)
		__sync_fetch_and_add(value, more);
}

SEC("kprobe.multi/vfs_unlin?")
int on_functions(void *ctx)
{
	add(18, VERSION);
	return 0;
}

SEC("kretprobe.multi/vfs_unlin*")
int on_returns(void *ctx)
{
	add(19, VERSION);
	return 0;
}

SEC("kprobe.session/vfs_unlink")
int on_session(void *ctx)
{
	add(20, VERSION);
	return 0;
}

SEC("uprobe.multi/libc.so.6:getppi*")
int on_uprobes(void *ctx)
{
	add(21, VERSION);
	return 0;
}

SEC("uretprobe.multi/libc.so.6:getppid")
int on_uretprobes(void *ctx)
{
	add(22, VERSION);
	return 0;
}

SEC("usdt/PATH:shop:sale")
int on_sale(struct pt_regs *ctx)
{
	long price = 0, amount = 0;

	add(23, VERSION);
	bpf_usdt_arg(ctx, 0, &price);
	bpf_usdt_arg(ctx, 1, &amount);
	add(24, price * amount);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
