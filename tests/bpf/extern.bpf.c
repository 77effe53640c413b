// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// A function that a loader defines.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern int verdict(struct xdp_md *ctx);

SEC("xdp")
int entry(struct xdp_md *ctx)
{
	return verdict(ctx);
}

char LICENSE[] SEC("license") = "GPL";
