// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// A TCP congestion control that counts the connections it is chosen for, and their acknowledged segments.
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#ifndef VERSION
#define VERSION 1
#endif
#ifndef NAME
#define NAME "prov_steady"
#endif

struct sock;

// The members that are set; the running kernel says where each of them is.
struct tcp_congestion_ops {
	void (*init)(struct sock *sk);
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 (*undo_cwnd)(struct sock *sk);
	char name[16];
};

// By version: [1] and [2].
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static __always_inline void count(void)
{
	__u32 version = VERSION;
	__u64 *value = bpf_map_lookup_elem(&counts, &version);

	if (value)
		__sync_fetch_and_add(value, 1);
}

SEC("struct_ops/begin")
int begin(__u64 *ctx)
{
	count();
	return 0;
}

SEC("struct_ops/threshold")
int threshold(__u64 *ctx)
{
	return 10;
}

SEC("struct_ops/grow")
int grow(__u64 *ctx)
{
	count();
	return 0;
}

SEC("struct_ops/undo")
int undo(__u64 *ctx)
{
	return 10;
}

SEC(".struct_ops.link")
struct tcp_congestion_ops steady = {
	.init = (void *)begin,
	.ssthresh = (void *)threshold,
	.cong_avoid = (void *)grow,
	.undo_cwnd = (void *)undo,
	.name = NAME,
};

char LICENSE[] SEC("license") = "GPL";
