// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Writes two members of entries, and leaves the others to the programs that write them meanwhile.
 *
 * The provisioner generates this program, with the sizes and offsets as constants (provisioner/bytecode/
 * member_program.py), so that it needs no compiler. This is the same program to read, and tests/bytecode compares what
 * both do. With LOCKED, the value has a spin lock, and all members are written under it. With PERCPU, a record is of the
 * value of one CPU: a program that made an entry would set that of its own CPU only.
 */
#include <linux/bpf.h>
#include <linux/errno.h>

#include <bpf/bpf_helpers.h>

#define WRITTEN 1
#define MISSING 2

struct value {
	__u64 limit; /* ours */
#ifdef LOCKED
	struct bpf_spin_lock lock;
#else
	__u32 seen;
#endif
	__u16 burst; /* ours */
	__u16 state;
	__u64 count;
};

struct record {
	__u32 kind; /* 0 ends the records */
	__u32 reserved;
	__s32 result;
	__u32 cpu;
	__u64 key;
	__u8 value[sizeof(struct value)];
};

struct {
#ifdef PERCPU
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
#else
	__uint(type, BPF_MAP_TYPE_HASH);
#endif
	__type(key, __u32);
	__type(value, struct value);
	__uint(max_entries, 64);
} target SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct record);
	__uint(max_entries, 64);
} records SEC(".maps");

static __always_inline void store(struct value *value, const struct record *record)
{
	const struct value *wanted = (const void *)record->value;

#ifdef LOCKED
	bpf_spin_lock(&value->lock);
#endif
	/* A store of up to 8 bytes at a multiple of its size is one write: it touches no other member. */
	*(volatile __u64 *)&value->limit = wanted->limit;
	*(volatile __u16 *)&value->burst = wanted->burst;
#ifdef LOCKED
	bpf_spin_unlock(&value->lock);
#endif
}

static long each(void *map, const __u32 *index, struct record *record, void *context)
{
	struct value *value;
	int result;

	if (!record->kind)
		return 1;
#ifdef PERCPU
	value = bpf_map_lookup_percpu_elem(&target, &record->key, record->cpu);
#else
	value = bpf_map_lookup_elem(&target, &record->key);
#endif
	if (value) {
		store(value, record);
		record->result = WRITTEN;
		return 0;
	}
#ifdef PERCPU
	result = MISSING;
#else
	result = bpf_map_update_elem(&target, &record->key, record->value, BPF_NOEXIST);
	if (!result)
		result = WRITTEN;
	else if (result == -EEXIST) /* a program makes it at this moment: try again */
		result = -EAGAIN;
#endif
	record->result = result;
	return 0;
}

SEC("syscall")
int members(void *context)
{
	bpf_for_each_map_elem(&records, each, 0, 0);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
