// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Counts the packets of an interface, by mark too. With WIDE, a later version: wider counters, and bytes too. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct stats {
#ifdef WIDE
	__u64 packets;
	__u64 bytes;
#else
	__u32 packets;
#endif
};

struct stats traffic_stats; /* clang omits types from the BTF that only an inner map uses */

struct per_mark {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct stats);
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 8);
	__type(key, __u32);
	__array(values, struct per_mark);
} interfaces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct stats);
} totals SEC(".maps");

static __noinline int add(struct stats *stats, __u32 length)
{
	if (!stats)
		return 0;
	__sync_fetch_and_add(&stats->packets, 1);
#ifdef WIDE
	__sync_fetch_and_add(&stats->bytes, length);
#endif
	return length;
}

SEC("tc")
int count(struct __sk_buff *skb)
{
	__u32 interface = skb->ifindex, mark = skb->mark;
	void *map = bpf_map_lookup_elem(&interfaces, &interface);
	struct stats zero = {};

	bpf_map_update_elem(&totals, &interface, &zero, BPF_NOEXIST);
	add(bpf_map_lookup_elem(&totals, &interface), skb->len);
	if (!map)
		return -1;
	bpf_map_update_elem(map, &mark, &zero, BPF_NOEXIST);
	add(bpf_map_lookup_elem(map, &mark), skb->len);
	return -1; /* TCX_NEXT: the packet goes on */
}

char _license[] SEC("license") = "GPL";
