/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the router's maps hold. examples/edge.yaml declares the same layouts in the spec language. */
#ifndef ROUTER_H
#define ROUTER_H

#include <linux/types.h>

/* Value of an inner map of `tenants`; what is in none of its prefixes is allowed. */
enum verdict {
	VERDICT_DENY = 0,
	VERDICT_ALLOW = 1,
};

/* Key of an inner map of `tenants`: `cidr4` in the spec language. */
struct cidr4 {
	__u32 prefixlen;
	__be32 addr;
};

/* Key of `vip_slots`: what clients send to. The last byte is padding and must be zero. */
struct vip {
	__be32 ip;
	__be16 port;
	__u8 proto;
};

/* Entry of an inner map of `vips`: where one share of a VIP's flows goes. Weight 0: empty, or being drained. */
struct backend {
	__be32 ip;
	__be16 port;
	__u16 weight;
};

/* Indexes of `stats`. The first version of the router leaves STAT_BYTES at zero. */
enum stat {
	STAT_PASSED = 0,
	STAT_DENIED = 1,
	STAT_BALANCED = 2,
	STAT_BYTES = 3,
	STAT_MAX = 4,
};

#define MAX_TENANTS 1024
#define MAX_RULES 1024
#ifndef MAX_VIPS
#define MAX_VIPS 16
#endif
#define MAX_BACKENDS 64

#endif
