// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The second object of docs/objects.md: it has an outer map in common with lb.bpf.c.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__type(key, __u32);
	__uint(value_size, 4);
	__uint(max_entries, 8);
} vips SEC(".maps");

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&vips, &zero) ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
