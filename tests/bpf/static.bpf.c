// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// A program that libbpf does not load, as other loaders do.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp") __attribute__((used))
static int entry(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
