// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * New inner maps, created and filled by the kernel: two programs in place of two system calls for each map.
 *
 * The provisioner generates these programs with the sizes as constants (provisioner/bytecode/stage_program.py); these
 * are the same to read, for entries u32 -> u64. tests/bytecode compares what both do. Both return how many records they
 * looked at: the last one ends them, or failed.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define ATTRIBUTES 72 /* bytes of union bpf_attr up to map_extra */

/* A map to create: the program puts its fd, of the process that runs it, or -errno into `fd`. */
struct new_map {
	char attributes[ATTRIBUTES];
	__u32 is_record;
	__s32 fd;
};

/* An entry to write into the map in slot `slot` - 1 of the scratch outer map. */
struct entry {
	__u32 slot;
	__u32 padding;
	__u64 key; /* of 4 bytes */
	__u64 value;
};

struct inner {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 64);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct new_map);
	__uint(max_entries, 9);
} new_maps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct entry);
	__uint(max_entries, 65);
} entries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__type(key, __u32);
	__uint(max_entries, 8);
	__array(values, struct inner);
} scratch SEC(".maps");

static long create_one(void *map, const __u32 *index, struct new_map *record, void *context)
{
	if (!record->is_record)
		return 1;
	record->fd = bpf_sys_bpf(BPF_MAP_CREATE, record, ATTRIBUTES);
	return record->fd < 0;
}

SEC("syscall")
int create(void *context)
{
	return bpf_for_each_map_elem(&new_maps, create_one, 0, 0);
}

static long fill_one(void *map, const __u32 *index, struct entry *entry, void *context)
{
	__u32 slot = entry->slot - 1;
	void *inner;

	if (!entry->slot)
		return 1;
	inner = bpf_map_lookup_elem(&scratch, &slot);
	return !inner || bpf_map_update_elem(inner, &entry->key, &entry->value, BPF_ANY);
}

SEC("syscall")
int fill(void *context)
{
	return bpf_for_each_map_elem(&entries, fill_one, 0, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
