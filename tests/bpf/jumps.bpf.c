// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Dispatchers that tail-call: the packet says which version of each program it met.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef VERSION
#define VERSION 1
#endif

// The dispatcher leaves its version in the first byte of the packet; the program that it jumps to adds its own.
static __always_inline int mark(struct xdp_md *ctx, int low, int high)
{
	unsigned char *data = (void *)(long)ctx->data;

	if ((void *)(data + 2) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	if (low)
		data[0] = low;
	if (high)
		data[1] = high;
	return XDP_PASS;
}

SEC("xdp")
int first(struct xdp_md *ctx)
{
	return mark(ctx, 0, VERSION);
}

SEC("xdp")
int second(struct xdp_md *ctx)
{
	return mark(ctx, 0, VERSION + 100);
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, int(void *));
} preset SEC(".maps") = {.values = {[0] = (void *)&first}};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} listed SEC(".maps");

SEC("xdp")
int dispatch(struct xdp_md *ctx)
{
	mark(ctx, VERSION, 255);
	bpf_tail_call(ctx, &preset, 0);
	return XDP_PASS;
}

SEC("xdp")
int dispatch_listed(struct xdp_md *ctx)
{
	mark(ctx, VERSION, 255);
	bpf_tail_call(ctx, &listed, 2);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
