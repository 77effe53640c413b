// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A data plane that counts in entries whose limits are written by another process: in maps with a spin lock and without.
 * A run counts once in each map, in the entry of a random key. `figures` has what it saw: of a value with a lock, limit
 * and burst are read under the lock, and must be of one version, which has burst == limit + 1.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define KEYS 4

struct quota {
	__u64 limit; /* the spec's */
	__u32 seen;
	__u32 burst; /* the spec's */
	__u64 count;
};

struct locked_quota {
	__u64 limit; /* the spec's */
	struct bpf_spin_lock lock;
	__u32 burst; /* the spec's */
	__u64 count;
};

#define OUTER(name)                                      \
	struct {                                         \
		__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS); \
		__type(key, __u32);                      \
		__type(value, __u32);                    \
		__uint(max_entries, 4);                  \
	} name SEC(".maps")

OUTER(hashes);
OUTER(arrays);
OUTER(locked_hashes);
OUTER(locked_arrays);
OUTER(percpu_hashes);
OUTER(percpu_arrays);

enum { RUNS, TORN, FIGURES };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, FIGURES);
} figures SEC(".maps");

/* clang 14 describes a struct that is the value of an inner map alone only if a function takes it. */
__u64 describe_types(struct quota quota, struct locked_quota locked)
{
	return quota.count + locked.count;
}

static __always_inline void add(__u32 index)
{
	__u64 *sum = bpf_map_lookup_elem(&figures, &index);

	if (sum)
		*sum += 1; /* one process runs it */
}

static __always_inline void *find(void *outer, __u32 key)
{
	__u32 slot = 1;
	void *map = bpf_map_lookup_elem(outer, &slot);

	return map ? bpf_map_lookup_elem(map, &key) : 0;
}

static __always_inline void count(struct quota *quota)
{
	if (quota)
		__sync_fetch_and_add(&quota->count, 1);
}

static __always_inline void count_here(struct quota *quota)
{
	if (quota)
		quota->count += 1; /* of this CPU: no other program writes it */
}

static __always_inline void count_locked(struct locked_quota *quota)
{
	__u64 limit;
	__u32 burst;

	if (!quota)
		return;
	bpf_spin_lock(&quota->lock);
	quota->count++;
	limit = quota->limit;
	burst = quota->burst;
	bpf_spin_unlock(&quota->lock);
	if (burst != limit + 1)
		add(TORN);
}

SEC("tc")
int meter(struct __sk_buff *packet)
{
	__u32 key = bpf_get_prandom_u32() % KEYS;

	count(find(&hashes, key));
	count(find(&arrays, key));
	count_locked(find(&locked_hashes, key));
	count_locked(find(&locked_arrays, key));
	count_here(find(&percpu_hashes, key));
	count_here(find(&percpu_arrays, key));
	add(RUNS);
	return 0;
}

char _license[] SEC("license") = "GPL";
