// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A small XDP router: an access list per tenant, and UDP virtual addresses spread over backends.
 *
 *   IPv4 packet -> active[0] -> tenants[id] -> longest prefix of the source address -> drop, or go on
 *               -> vip_slots[address, port] -> vips[slot] -> backends[hash of the flow] -> new destination
 *
 * Whatever is not found on the way is passed on unchanged. Built with -DROUTER_V2 it counts bytes as well: the same
 * maps, other instructions, to upgrade to.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "router.h"

#define IP_OFFSET_MASK 0x1fff /* of iphdr.frag_off: nonzero in all fragments but the first */

/* A switch: the tenant whose access list is in force. One write here swaps the whole list. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} active SEC(".maps");

/* Its inner map is declared: libbpf makes the dummy that the verifier needs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__type(key, __u32);
	__uint(max_entries, MAX_TENANTS);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_LPM_TRIE);
		__type(key, struct cidr4);
		__type(value, __u8);
		__uint(max_entries, MAX_RULES);
		__uint(map_flags, BPF_F_NO_PREALLOC);
	});
} tenants SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct vip);
	__type(value, __u32);
	__uint(max_entries, MAX_VIPS);
} vip_slots SEC(".maps");

/* Its inner map is not declared, so that it may be of any capacity: whoever loads this must set a dummy,
 * an array of struct backend with BPF_F_INNER_MAP. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__type(key, __u32);
	__uint(value_size, sizeof(__u32));
	__uint(max_entries, MAX_VIPS);
} vips SEC(".maps");

/* The router's own: it must survive an upgrade. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, STAT_MAX);
} stats SEC(".maps");

/* Never called, never loaded. clang 14 describes a struct in BTF only where a variable holds it or a function takes it
 * by value: one that is the key or the value of an inner map alone is left a forward declaration, whose size libbpf
 * cannot tell. */
__u32 describe_types(struct cidr4 rule, struct backend backend)
{
	return rule.prefixlen + backend.weight;
}

static __always_inline void count(__u32 stat, __u64 amount)
{
	__u64 *sum = bpf_map_lookup_elem(&stats, &stat);

	if (sum)
		*sum += amount;
}

static __always_inline int is_denied(__be32 source)
{
	struct cidr4 address = {.prefixlen = 32, .addr = source};
	__u32 zero = 0, *tenant;
	__u8 *verdict;
	void *rules;

	tenant = bpf_map_lookup_elem(&active, &zero);
	if (!tenant)
		return 0;
	rules = bpf_map_lookup_elem(&tenants, tenant);
	if (!rules)
		return 0;
	verdict = bpf_map_lookup_elem(rules, &address);
	return verdict && *verdict == VERDICT_DENY;
}

/* The flow's own backend of this VIP, or the first one where there is none; NULL if this is no VIP. */
static __always_inline const struct backend *find_backend(const struct iphdr *ip, const struct udphdr *udp)
{
	__u32 share = bpf_ntohl(ip->saddr) * 31 + bpf_ntohs(udp->source);
	const struct backend *backend;
	__u32 first = 0, *slot;
	struct vip vip;
	void *backends;

	__builtin_memset(&vip, 0, sizeof(vip)); /* the padding is part of the key */
	vip.ip = ip->daddr;
	vip.port = udp->dest;
	vip.proto = ip->protocol;
	slot = bpf_map_lookup_elem(&vip_slots, &vip);
	if (!slot)
		return NULL;
	backends = bpf_map_lookup_elem(&vips, slot);
	if (!backends)
		return NULL;
	share %= MAX_BACKENDS;
	backend = bpf_map_lookup_elem(backends, &share);
	if (!backend || !backend->weight)
		backend = bpf_map_lookup_elem(backends, &first);
	return backend && backend->weight ? backend : NULL;
}

/* RFC 1624, equation 3: the checksum after one 16-bit word of what it covers has changed. */
static __always_inline __u16 checksum_update(__u16 checksum, __u16 before, __u16 after)
{
	__u32 sum = (__u16)~checksum + (__u16)~before + after;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline __u16 checksum_update_address(__u16 checksum, __be32 before, __be32 after)
{
	checksum = checksum_update(checksum, before & 0xffff, after & 0xffff);
	return checksum_update(checksum, before >> 16, after >> 16);
}

static __always_inline void send_to(struct iphdr *ip, struct udphdr *udp, const struct backend *backend)
{
	if (udp->check) { /* zero is "none" over IPv4 (RFC 768) */
		__u16 checksum = checksum_update_address(udp->check, ip->daddr, backend->ip);

		checksum = checksum_update(checksum, udp->dest, backend->port);
		udp->check = checksum ? checksum : 0xffff;
	}
	ip->check = checksum_update_address(ip->check, ip->daddr, backend->ip);
	ip->daddr = backend->ip;
	udp->dest = backend->port;
}

SEC("xdp")
int xdp_router(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	const struct backend *backend;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct udphdr *udp = (void *)(ip + 1);

	if ((void *)(ip + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
#ifdef ROUTER_V2
	count(STAT_BYTES, data_end - data);
#endif
	if (is_denied(ip->saddr)) {
		count(STAT_DENIED, 1);
		return XDP_DROP;
	}
	count(STAT_PASSED, 1);
	/* Options and later fragments: no UDP header where one is looked for. */
	if (ip->protocol != IPPROTO_UDP || ip->ihl != 5 || (ip->frag_off & bpf_htons(IP_OFFSET_MASK)))
		return XDP_PASS;
	if ((void *)(udp + 1) > data_end)
		return XDP_PASS;
	backend = find_backend(ip, udp);
	if (backend) {
		count(STAT_BALANCED, 1);
		send_to(ip, udp, backend);
	}
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
