// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Counts each of its runs once in an inner map of each type, and makes a new entry of `flows` every FLOW_RUNS runs.
 * It returns 1 where it did all of it: whoever knows the number of runs knows what the maps must hold.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define KEYS 8
#define FLOW_RUNS 0x4000

#define OUTER(name)                                    \
	struct {                                       \
		__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS); \
		__type(key, __u32);                    \
		__type(value, __u32);                  \
		__uint(max_entries, 4);                \
	} name SEC(".maps")

OUTER(hashes);
OUTER(arrays);
OUTER(percpu_hashes);
OUTER(percpu_arrays);
OUTER(lrus);
OUTER(flows);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
} runs SEC(".maps");

static __always_inline int count(void *outer, __u32 key)
{
	__u32 slot = 1;
	__u64 zero[2] = {}, *value; /* of a wider value, it counts in the first member */
	void *map = bpf_map_lookup_elem(outer, &slot);

	if (!map)
		return 0;
	value = bpf_map_lookup_elem(map, &key);
	if (!value) {
		bpf_map_update_elem(map, &key, zero, BPF_NOEXIST);
		value = bpf_map_lookup_elem(map, &key);
	}
	if (!value)
		return 0;
	__sync_fetch_and_add(value, 1);
	return 1;
}

static __always_inline int make_flow(__u64 number)
{
	__u32 slot = 1, key = number / FLOW_RUNS;
	void *map = bpf_map_lookup_elem(&flows, &slot);

	return map && !bpf_map_update_elem(map, &key, &number, BPF_NOEXIST);
}

SEC("tc")
int counter(struct __sk_buff *packet)
{
	__u32 first = 0, key = bpf_get_prandom_u32() % KEYS;
	__u64 *number = bpf_map_lookup_elem(&runs, &first);
	int done = count(&hashes, key) & count(&arrays, key) & count(&percpu_hashes, key) & count(&percpu_arrays, key) &
		   count(&lrus, key);

	if (!number)
		return 0;
	if (*number % FLOW_RUNS == 0)
		done &= make_flow(*number);
	*number += 1; /* one process runs it */
	return done;
}

char _license[] SEC("license") = "GPL";
