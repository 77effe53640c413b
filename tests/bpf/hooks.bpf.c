// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// One program for each kind of attachment. VERSION tells two builds apart.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef VERSION
#define VERSION 1
#endif

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 32);
} counts SEC(".maps");

static __always_inline void count(__u32 at)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &at);

	if (value)
		__sync_fetch_and_add(value, VERSION);
}

SEC("xdp")
int on_xdp(struct xdp_md *ctx)
{
	count(0);
	return XDP_PASS;
}

SEC("tc")
int on_tcx(struct __sk_buff *skb)
{
	count(1);
	return -1; // TCX_NEXT
}

SEC("tc")
int on_tcx_2(struct __sk_buff *skb)
{
	count(17);
	return -1;
}

SEC("cgroup/connect4")
int on_connect(struct bpf_sock_addr *ctx)
{
	count(2);
	return 1;
}

SEC("sk_lookup")
int on_lookup(struct bpf_sk_lookup *ctx)
{
	count(3);
	return SK_PASS;
}

SEC("raw_tp/sys_enter")
int on_raw(void *ctx)
{
	count(4);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_getpid")
int on_tracepoint(void *ctx)
{
	count(5);
	return 0;
}

SEC("kprobe/vfs_unlink")
int on_kprobe(void *ctx)
{
	count(6);
	return 0;
}

SEC("tp_btf/sys_enter")
int on_tp_btf(void *ctx)
{
	count(12);
	return 0;
}

SEC("uprobe/libc.so.6:getppid")
int on_uprobe(void *ctx)
{
	count(14);
	return 0;
}

SEC("uretprobe/libc.so.6:getppid")
int on_uretprobe(void *ctx)
{
	count(15);
	return 0;
}

SEC("iter/bpf_map")
int on_iter(void *ctx)
{
	count(16);
	return 0;
}

// A counter for each of the first CPUs.
SEC("perf_event")
int on_sample(void *ctx)
{
	count(17 + (bpf_get_smp_processor_id() & 7));
	return 0;
}

SEC("socket")
int no_hook(struct __sk_buff *skb)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
