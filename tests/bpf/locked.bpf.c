// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A data plane whose inner maps hold a spin lock and a timer: it counts under the lock, and checks what others write. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define PARTS 30

struct account {
	__u32 limit;
	struct bpf_spin_lock lock;
	__u64 part[PARTS];
	__u64 hits;
};

struct session {
	__u64 idle;
	struct bpf_timer timer;
	struct bpf_spin_lock lock;
	__u32 state;
};

/* Declared in the ELF: libbpf makes the dummy inner map. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__type(key, __u32);
	__uint(max_entries, 4);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__uint(map_flags, BPF_F_INNER_MAP);
		__type(key, __u32);
		__type(value, struct account);
		__uint(max_entries, 8);
	});
} accounts SEC(".maps");

/* Without an inner map: whoever loads the object makes the dummy. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 4);
} sessions SEC(".maps");

enum { RUNS, TORN, ARMED, FIRED, FIGURES };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, FIGURES);
} figures SEC(".maps");

/* clang 14 describes a struct that is the value of an inner map alone only if a function takes it. */
__u64 describe_types(struct account account, struct session session)
{
	return account.hits + session.idle;
}

static __always_inline void add(__u32 index, __u64 amount)
{
	__u64 *sum = bpf_map_lookup_elem(&figures, &index);

	if (sum)
		*sum += amount;
}

/* Count in accounts[0][0] under its lock; all parts must be equal there, whoever writes them meanwhile. */
SEC("tc")
int count(struct __sk_buff *skb)
{
	__u32 zero = 0;
	__u64 torn = 0;
	void *slot = bpf_map_lookup_elem(&accounts, &zero);
	struct account *account;

	if (!slot)
		return 1;
	account = bpf_map_lookup_elem(slot, &zero);
	if (!account)
		return 1;
	bpf_spin_lock(&account->lock);
#pragma unroll
	for (int i = 1; i < PARTS; i++)
		torn |= account->part[i] ^ account->part[0];
	account->hits++;
#pragma unroll
	for (int i = 0; i < PARTS; i++)
		account->part[i]++;
	bpf_spin_unlock(&account->lock);
	add(RUNS, 1);
	if (torn)
		add(TORN, 1);
	return 0;
}

static int fired(void *map, __u32 *key, struct session *session)
{
	add(FIRED, 1);
	return 0;
}

/* Arm the timer of sessions[0][0], under whose lock its state is kept. */
SEC("tc")
int arm(struct __sk_buff *skb)
{
	__u32 zero = 0;
	__u64 idle;
	void *slot = bpf_map_lookup_elem(&sessions, &zero);
	struct session *session;

	if (!slot)
		return 1;
	session = bpf_map_lookup_elem(slot, &zero);
	if (!session)
		return 1;
	bpf_spin_lock(&session->lock);
	session->state++;
	idle = session->idle;
	bpf_spin_unlock(&session->lock);
	bpf_timer_init(&session->timer, slot, 1 /* CLOCK_MONOTONIC */);
	bpf_timer_set_callback(&session->timer, fired);
	if (bpf_timer_start(&session->timer, idle, 0))
		return 1;
	add(ARMED, 1);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
