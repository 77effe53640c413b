// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Programs whose sections do not say all: no type, no target, and names that begin with an underscore.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 4);
} counts SEC(".maps");

static __always_inline void count(__u32 at)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &at);

	if (value)
		__sync_fetch_and_add(value, 1);
}

SEC("classifier_0")
int custom(struct __sk_buff *skb)
{
	return skb->len > 1000 ? 2 : 0;
}

SEC("raw_tp")
int generic(void *ctx)
{
	count(1);
	return 0;
}

SEC("tp_btf")
int tracing(void *ctx)
{
	return 0;
}

SEC("xdp")
int _hidden(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
