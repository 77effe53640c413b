// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Asks for the offset of a member that no kernel has.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct task_struct {
	int no_kernel_has_this;
} __attribute__((preserve_access_index));

SEC("xdp")
int offset(struct xdp_md *ctx)
{
	return bpf_core_field_offset(struct task_struct, no_kernel_has_this) ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
