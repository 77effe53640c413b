// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Looks up keys in the inner maps that records name, writes them, and counts the entries of inner maps.
 *
 * The provisioner generates this program with the sizes as constants (provisioner/bytecode/lookup_program.py); this is
 * the same program to read, for entries u32 -> u64 of hashes. tests/bytecode compares what both do.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

enum state { END, ASKED, FOUND, MISSING, EMPTY, COUNTED, WRITTEN, DELETED, OTHER, FAILED };

/* Of the kernel's struct, what a program may read: libbpf puts the offsets of this kernel in. */
struct bpf_map {
	__u32 id;
	bool frozen;
} __attribute__((preserve_access_index));

struct record {
	__u32 state;
	__u32 id;
	__u32 count;
	__u32 reserved;
	__u64 slot;
	__u64 key;
	__u64 value;
};

struct inner {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 8);
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

static long entry(void *map, const __u32 *key, const __u64 *value, void *context)
{
	return 0;
}

static long one_record(void *map, const __u32 *index, struct record *record, void *context)
{
	struct bpf_map *inner;
	__u64 *value;
	long failed;

	if (record->state == END)
		return 1;
	inner = bpf_map_lookup_elem(&outer, &record->slot);
	if (!inner) {
		record->id = 0;
		record->state = EMPTY;
		return 0;
	}
	if (record->state > COUNTED) {
		if (record->id != inner->id || inner->frozen) {
			record->id = inner->id;
			record->state = OTHER;
			return 1;
		}
		if (record->state == WRITTEN)
			failed = bpf_map_update_elem(inner, &record->key, &record->value, BPF_ANY);
		else
			failed = bpf_map_delete_elem(inner, &record->key);
		if (failed && (record->state == WRITTEN || failed != -ENOENT)) {
			record->count = -failed;
			record->state = FAILED;
			return 1;
		}
	}
	record->id = inner->id;
	if (record->state == COUNTED) {
		record->count = bpf_for_each_map_elem(inner, entry, 0, 0);
		return 0;
	}
	value = bpf_map_lookup_elem(inner, &record->key);
	if (!value) {
		record->state = MISSING;
		return 0;
	}
	record->value = *value;
	record->state = FOUND;
	return 0;
}

SEC("syscall")
int lookup(void *context)
{
	bpf_for_each_map_elem(&records, one_record, 0, 0);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
