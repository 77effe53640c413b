// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// An outer map whose slots the object fills with maps of its own.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef VERDICT
#define VERDICT XDP_PASS
#endif

struct inner {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
};

struct inner red SEC(".maps");
struct inner blue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} colours SEC(".maps") = {.values = {[0] = &red, [2] = &blue}};

SEC("xdp")
int look(struct xdp_md *ctx)
{
	__u32 zero = 0, *value;
	void *map = bpf_map_lookup_elem(&colours, &zero);

	if (!map)
		return XDP_ABORTED;
	value = bpf_map_lookup_elem(map, &zero);
	return value ? *value : VERDICT;
}

char LICENSE[] SEC("license") = "GPL";
