// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The object of docs/objects.md.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct limits {
	__u32 burst;
	__u32 rate;
};

const volatile __u32 debug = 0;
struct limits limits = {1, 1};

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 8);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 8);
	__uint(map_flags, 1 << 30);
} legacy SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__type(key, __u32);
	__uint(value_size, 4);
	__uint(max_entries, 8);
} vips SEC(".maps");

SEC("classifier_0")
int classify(struct __sk_buff *skb)
{
	return debug + limits.burst;
}

SEC("my_lsm")
int hook(void *ctx)
{
	return 0;
}

SEC("kprobe")
int probe(void *ctx)
{
	return 0;
}

SEC("xdp")
int unused(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
