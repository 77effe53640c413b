// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// What a draft of a spec must spell with care: names that begin with an underscore, wide LPM keys, inner maps without
// sizes, a program that is called like a map.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct wide_prefix {
	__u32 prefixlen;
	__u8 data[256];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8);
	__type(key, struct wide_prefix);
	__type(value, __u32);
} paths SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} shared SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
} _private SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 8);
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_HASH);
		__type(key, __u32);
		__type(value, __u32);
	});
} unsized_inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 8);
	__uint(key_size, 4);
	__uint(value_size, 4);
} _outer SEC(".maps");

const volatile int _debug = 0;

SEC("tc/egress")
int _classify(struct __sk_buff *skb)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&_private, &key) ? _debug : 0;
}

SEC("cgroup/connect4")
int paths_of(struct bpf_sock_addr *ctx)
{
	return 1;
}

SEC("socket")
int paths_program(struct __sk_buff *skb)
{
	return 0;
}

SEC("xdp")
int shared_prog(struct xdp_md *ctx)
{
	return XDP_PASS;
}

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 8);
	__type(key, struct { __u32 first; __u16 second; });
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_HASH);
		__uint(max_entries, 8);
		__type(key, union { __u32 word; __u8 bytes[8]; });
		__type(value, __u32[3][2]);
	});
} null SEC(".maps");

SEC("?xdp")
int optional(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("fentry/generic_function")
int set_by_loader(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
