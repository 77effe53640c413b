// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// A map of stacks, whose depth and capacity a loader sets.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(key_size, sizeof(__u32));
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
} counts SEC(".maps");

SEC("raw_tp/sys_enter")
int on_enter(void *ctx)
{
	return bpf_get_stackid(ctx, &stacks, 0) < 0;
}

char LICENSE[] SEC("license") = "GPL";
