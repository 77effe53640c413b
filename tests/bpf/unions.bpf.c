// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Values and keys with a union that has no name.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct endpoint {
	union {
		__u32 v4;
		__u8 v6[16];
	};
	__u32 port;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, struct endpoint);
	__type(value, struct endpoint);
} endpoints SEC(".maps");

SEC("xdp")
int look(struct xdp_md *ctx)
{
	struct endpoint zero = {};

	return bpf_map_lookup_elem(&endpoints, &zero) ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
