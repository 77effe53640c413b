// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// A map as iproute2 defines it.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct bpf_elf_map {
	__u32 type;
	__u32 size_key;
	__u32 size_value;
	__u32 max_elem;
	__u32 flags;
	__u32 id;
	__u32 pinning;
	__u32 inner_id;
	__u32 inner_idx;
};

struct bpf_elf_map SEC("maps") tenants = {
	.type = BPF_MAP_TYPE_HASH,
	.size_key = 4,
	.size_value = 4,
	.max_elem = 8,
	.pinning = 2,
};

SEC("classifier")
int classify(struct __sk_buff *skb)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tenants, &zero) ? 1 : 2;
}

char LICENSE[] SEC("license") = "GPL";
