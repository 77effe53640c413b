// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The digest of each inner map in the slots that records name: 16 bytes in place of all its entries.
 *
 * The provisioner generates this program with the sizes, the mask of padding and secret keys of the run as constants
 * (provisioner/bytecode/digest_program.py); this is the same program to read, for entries u32 -> u64 of a hash or, with
 * -DIS_ARRAY, an array; with -DBY_RANGES, one of which each record has a range of indexes. tests/bytecode compares what
 * both do. An entry is hashed by NH, mixed, and added, in two lanes.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#ifndef HALVES
#define HALVES {{{1, 2}, {3, 4}}, {{5, 6}, {7, 8}}}
#define FACTORS {{9, 11}, {13, 15}}
#endif

#ifdef IS_ARRAY
#define MAP_TYPE BPF_MAP_TYPE_ARRAY
#else
#define MAP_TYPE BPF_MAP_TYPE_HASH
#endif

#define LANES 2
#define UNROLLED 8
#define WORDS 2 /* the key, the value */

enum state { END, ASKED, DONE, EMPTY };

/* Of the kernel's struct, what a program may read: libbpf puts the offsets of this kernel in. */
struct bpf_map {
	__u32 max_entries;
	__u32 id;
} __attribute__((preserve_access_index));

struct record {
	__u32 state;
	__u32 max_entries;
	__u32 id;
	__u32 count;
	__u64 sums[LANES];
	__u32 first; /* of an array walked by ranges: the first index, and the one after the last */
	__u32 end;
	__u64 key;
};

struct total {
	__u64 sums[LANES];
	__u64 count;
};

#ifdef BY_RANGES
struct range {
	struct total total;
	void *map;
	__u32 first;
	__u32 end;
};
#endif

struct inner {
	__uint(type, MAP_TYPE);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 64);
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__type(key, __u32);
	__uint(max_entries, 8);
	__array(values, struct inner);
} outer SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct record);
	__uint(max_entries, 8);
} records SEC(".maps");

static const __u32 halves[WORDS][LANES][2] = HALVES;
static const __u64 factors[LANES][2] = FACTORS;

static __always_inline __u64 product(__u64 word, const __u32 *keys)
{
	return (__u64)((__u32)word + keys[0]) * (__u32)((word >> 32) + keys[1]);
}

static __always_inline __u64 mixed(__u64 hash, const __u64 *by)
{
	hash ^= hash >> 32;
	hash *= by[0];
	hash ^= hash >> 29;
	hash *= by[1];
	return hash ^ hash >> 32;
}

static long entry(void *map, const __u32 *key, const __u64 *value, struct total *total)
{
#ifdef IS_ARRAY
	if (!*value)
		return 0;
#endif
#pragma unroll
	for (int lane = 0; lane < LANES; lane++)
		total->sums[lane] +=
			mixed(product(*key, halves[0][lane]) + product(*value, halves[1][lane]), factors[lane]);
	total->count++;
	return 0;
}

#ifdef BY_RANGES
static long elements(__u32 pass, struct range *range)
{
#pragma unroll
	for (int number = 0; number < UNROLLED; number++) {
		__u32 index = range->first + pass * UNROLLED + number;
		__u64 *value;

		if (index >= range->end)
			return 1;
		value = bpf_map_lookup_elem(range->map, &index);
		if (!value)
			return 1;
		entry(range->map, &index, value, &range->total);
	}
	return 0;
}
#endif

static long slot(void *map, const __u32 *index, struct record *record, void *context)
{
	struct bpf_map *inner;
#ifdef BY_RANGES
	struct range range = {.first = record->first, .end = record->end};
#else
	struct total total = {};
#endif

	if (record->state == END)
		return 1;
	inner = bpf_map_lookup_elem(&outer, &record->key);
	if (!inner) {
		record->state = EMPTY;
		return 0;
	}
#ifdef BY_RANGES
	range.map = inner;
	bpf_loop((range.end - range.first + UNROLLED - 1) / UNROLLED, elements, &range, 0);
	struct total total = range.total;
#else
	bpf_for_each_map_elem(inner, entry, &total, 0);
#endif
	record->sums[0] = total.sums[0];
	record->sums[1] = total.sums[1];
	record->count = total.count;
	record->max_entries = inner->max_entries;
	record->id = inner->id;
	record->state = DONE;
	return 0;
}

SEC("syscall")
int digest(void *context)
{
	bpf_for_each_map_elem(&records, slot, 0, 0);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
