// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// A struct_ops map: its size is that of the kernel's struct, and it needs its program.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct tcp_congestion_ops {
	__u32 flags;
	void (*init)(void *sk);
	char name[16];
};

SEC("struct_ops/init")
int begin(void *ctx)
{
	return 0;
}

SEC(".struct_ops")
struct tcp_congestion_ops mine = {
	.init = (void *)begin,
	.name = "mine",
};

char LICENSE[] SEC("license") = "GPL";
