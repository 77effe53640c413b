// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Carries what changed in a replaced map over into the new one, while programs write the new one.
 *
 * The provisioner generates this program, with the sizes as constants (provisioner/bytecode/merge_program.py), so that
 * it needs no compiler. This is the same program to read, and tests/bytecode compares what both do. POLICY says which
 * side wins where an entry changed in both maps; a record is one change, and the first of kind 0 ends them.
 */
#include <linux/bpf.h>
#include <linux/errno.h>

#include <bpf/bpf_helpers.h>

#define NEW 0
#define OLD 1
#define SUM 2

#ifndef MAP_TYPE
#define MAP_TYPE BPF_MAP_TYPE_HASH
#define WORDS 1
#define POLICY NEW
#endif

#define IS_PERCPU \
	(MAP_TYPE == BPF_MAP_TYPE_PERCPU_HASH || MAP_TYPE == BPF_MAP_TYPE_PERCPU_ARRAY || \
	 MAP_TYPE == BPF_MAP_TYPE_LRU_PERCPU_HASH)

enum kind { END, INSERT, UPDATE, DELETE };
enum result { CARRIED = 1, KEPT };

struct value {
	__u64 word[WORDS];
};

struct record {
	__u32 kind;
	__u32 target;
	__s32 result;
	__u32 reserved;
	__u64 key;
	struct value before;
	struct value after; /* with SUM, the difference of the two */
};

struct target {
	__uint(type, MAP_TYPE);
	__type(key, __u32);
	__type(value, struct value);
	__uint(max_entries, 64);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__type(key, __u32);
	__uint(max_entries, 1);
	__array(values, struct target);
} targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct record);
	__uint(max_entries, 256);
} records SEC(".maps");

struct value emitted; /* so that clang writes the type, which an inner map alone uses */

static __always_inline int is_copied(const struct value *value, const struct record *record)
{
#pragma unroll
	for (int at = 0; at < WORDS; at++)
		if (value->word[at] != record->before.word[at])
			return 0;
	return 1;
}

static __always_inline int add(struct value *value, const struct record *record)
{
#pragma unroll
	for (int at = 0; at < WORDS; at++)
		__sync_fetch_and_add(&value->word[at], record->after.word[at]);
	return CARRIED;
}

static __always_inline int write(void *map, const struct record *record, __u64 flags)
{
	long error = bpf_map_update_elem(map, &record->key, &record->after, flags);

	return error ? error : CARRIED;
}

/* An entry that is in the new map already: a copy, or one that both sides made. */
static __always_inline int exchange(void *map, struct value *value, const struct record *record)
{
	if (POLICY == OLD)
		return write(map, record, BPF_ANY);
	if (WORDS == 1) {
		__u64 before = record->before.word[0];

		return __sync_val_compare_and_swap(&value->word[0], before, record->after.word[0]) == before ? CARRIED : KEPT;
	}
	return is_copied(value, record) ? write(map, record, BPF_EXIST) : KEPT;
}

static __always_inline int erase(void *map, const struct record *record)
{
	struct value *value = bpf_map_lookup_elem(map, &record->key);
	long error;

	if (!value)
		return CARRIED;
	if (POLICY != OLD && !is_copied(value, record))
		return POLICY == SUM ? add(value, record) : KEPT;
	error = bpf_map_delete_elem(map, &record->key);
	return error ? error : CARRIED;
}

static __always_inline int insert(void *map, const struct record *record)
{
	struct value *value;
	int result;

	/* A per-CPU entry of another CPU, and a counter, is there already and has a part that is missing. */
	if (POLICY == SUM || IS_PERCPU) {
		value = bpf_map_lookup_elem(map, &record->key);
		if (value)
			return POLICY == SUM ? add(value, record) : exchange(map, value, record);
	}
	result = write(map, record, BPF_NOEXIST);
	if (result != -EEXIST)
		return result;
	if (POLICY == SUM || IS_PERCPU) {
		value = bpf_map_lookup_elem(map, &record->key);
		if (!value)
			return -EAGAIN;
		return POLICY == SUM ? add(value, record) : exchange(map, value, record);
	}
	return POLICY == OLD ? write(map, record, BPF_ANY) : KEPT;
}

static __always_inline int update(void *map, const struct record *record)
{
	struct value *value;

	if (POLICY == SUM)
		return insert(map, record);
	value = bpf_map_lookup_elem(map, &record->key);
	if (value)
		return exchange(map, value, record);
	return POLICY == OLD ? write(map, record, BPF_ANY) : KEPT;
}

static long each(void *map, const __u32 *index, struct record *record, void *context)
{
	void *target;

	if (record->kind == END)
		return 1;
	target = bpf_map_lookup_elem(&targets, &record->target);
	if (!target)
		record->result = -EAGAIN;
	else if (record->kind == DELETE && !IS_PERCPU)
		record->result = erase(target, record);
	else if (record->kind == INSERT)
		record->result = insert(target, record);
	else
		record->result = update(target, record);
	return 0;
}

SEC("syscall")
int merge(void *context)
{
	bpf_for_each_map_elem(&records, each, 0, 0);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
