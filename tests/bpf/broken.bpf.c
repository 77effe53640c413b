// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The router's maps, and a program of the same name that no verifier takes: it reads through an unchecked pointer. */
#define xdp_router xdp_router_of_before
#include "../../bpf/router.bpf.c"
#undef xdp_router

SEC("xdp")
int xdp_router(struct xdp_md *ctx)
{
	struct vip vip = {};
	__u32 *slot = bpf_map_lookup_elem(&vip_slots, &vip);

	(void)ctx;
	return (int)*slot;
}
