// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// An outer map that two objects have in common: compiled twice, as the one and as the other.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef KEY
#define KEY __u32
#endif

#ifndef MISS
#define MISS XDP_PASS
#endif

struct inner {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, KEY);
	__type(value, __u32);
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 8);
	__type(key, __u32);
#ifndef UNPINNED
	__uint(pinning, LIBBPF_PIN_BY_NAME);
#endif
	__array(values, struct inner);
} tenants SEC(".maps");

SEC("xdp")
int look(struct xdp_md *ctx)
{
	KEY first = 0;
	__u32 zero = 0, *value;
	void *map = bpf_map_lookup_elem(&tenants, &zero);

	if (!map)
		return MISS;
	value = bpf_map_lookup_elem(map, &first);
	return value ? *value : MISS;
}

char LICENSE[] SEC("license") = "GPL";
