// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A data plane that checks what it reads: a configuration of several entries must be of one generation, and whole. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct wide {
	__u64 part[8];
};

#define ENTRIES 4

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__type(key, __u32);
	__uint(max_entries, 1);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__type(key, __u32);
		__type(value, struct wide);
		__uint(max_entries, ENTRIES);
	});
} configs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__type(key, __u32);
	__uint(max_entries, 1);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_HASH);
		__type(key, __u32);
		__type(value, __u64);
		__uint(max_entries, 4);
	});
} counters SEC(".maps");

enum { READS, TORN, EMPTY, GENERATION, CHANGES, FIGURES };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, FIGURES);
} figures SEC(".maps");

/* clang 14 describes a struct that is the value of an inner map alone only if a function takes it. */
__u64 describe_types(struct wide wide)
{
	return wide.part[0];
}

static __always_inline __u64 *figure(__u32 index)
{
	return bpf_map_lookup_elem(&figures, &index);
}

static __always_inline void add(__u32 index, __u64 amount)
{
	__u64 *sum = figure(index);

	if (sum)
		*sum += amount;
}

/* Read the configuration: every part of every entry tells its generation, and generation 0 is an empty map. */
SEC("xdp")
int reader(struct xdp_md *ctx)
{
	__u64 generation = 0, torn = 0, *last;
	__u32 slot = 0;
	void *config = bpf_map_lookup_elem(&configs, &slot);

	add(READS, 1);
	if (!config) {
		add(EMPTY, 1);
		return XDP_PASS;
	}
	for (__u32 entry = 0; entry < ENTRIES; entry++) {
		__u32 key = entry;
		struct wide *wide = bpf_map_lookup_elem(config, &key);

		if (!wide)
			return XDP_ABORTED;
		if (entry == 0)
			generation = *(volatile __u64 *)&wide->part[0];
#pragma unroll
		for (int part = 0; part < 8; part++)
			torn |= *(volatile __u64 *)&wide->part[part] ^ generation;
	}
	if (torn)
		add(TORN, 1);
	if (!generation)
		add(EMPTY, 1);
	last = figure(GENERATION);
	if (last && *last != generation) {
		*last = generation;
		add(CHANGES, 1);
	}
	return XDP_PASS;
}

/* Count in the inner map itself, as a data plane does that keeps its state there. */
SEC("xdp")
int counter(struct xdp_md *ctx)
{
	__u32 slot = 0;
	__u64 one = 1, *count;
	void *mine = bpf_map_lookup_elem(&counters, &slot);

	if (!mine)
		return XDP_ABORTED;
	count = bpf_map_lookup_elem(mine, &slot);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(mine, &slot, &one, BPF_ANY);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
