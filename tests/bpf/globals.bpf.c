// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Global variables of all sections; the program returns what the test asks for. VERSION tells two builds apart.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef VERSION
#define VERSION 1
#endif

enum mode { OFF, ON = 5 };

struct limits {
	__u32 burst;
	__u32 rate;
};

struct wide {
	__u32 first;
	__u64 second;
	__u32 third;
};

struct node {
	__u32 first;
	struct node *next;
	void *spare[2];
	struct {
		char *name;
		__u32 last;
	} inside;
};

const volatile __u32 verdict = XDP_DROP;
const volatile __be32 address = 0;
const volatile enum mode mode = OFF;
const volatile char label[16] = "none";
const volatile __u16 ports[4] = {1, 2, 3, 4};
static volatile const _Bool strict = 0;

struct limits limits = {1, 2};
struct wide wide = {1, 2, 3};
__s16 level = -1;
struct node node = {1};
__u64 packets;
void *pointer;
__u32 custom SEC(".data.custom") = 7;

SEC("xdp")
int globals(struct xdp_md *ctx)
{
	__sync_fetch_and_add(&packets, VERSION);
	if (strict || mode == ON || label[0] == 'x' || ports[1] == 99 || address || pointer)
		return XDP_TX;
	if (level > 0 || limits.burst > 100 || wide.third > 100 || custom > 100)
		return XDP_ABORTED;
	if (node.first > 100 && node.inside.last > 100 && !node.next && !node.spare[1])
		return XDP_ABORTED;
	return verdict;
}

char LICENSE[] SEC("license") = "GPL";
