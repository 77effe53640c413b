// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Calls a function that no kernel has.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern int no_kernel_has_this(struct xdp_md *ctx) __ksym;

SEC("xdp")
int call(struct xdp_md *ctx)
{
	return no_kernel_has_this(ctx);
}

char LICENSE[] SEC("license") = "GPL";
