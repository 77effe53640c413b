// Maps of many kinds: types that BTF does not tell, pointers, enums, text, typedefs of structs without a name.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum level {
	LOW = 0,
	HIGH = 1,
};

typedef struct {
	enum level level;
	__u8 mac[6];
	__be32 addresses[2];
} pair_t;

struct prefix6 {
	__u32 prefixlen;
	__u8 address[16];
};

struct with_pointer {
	void *place;
	__u64 number;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8);
	__type(key, struct prefix6);
	__type(value, enum level);
} by_prefix SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__uint(key_size, 12);
	__uint(value_size, 3);
} untyped SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct with_pointer);
} pointers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, char[16]);
	__type(value, pair_t);
} texts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __s64[2]);
} counters SEC(".maps");

struct inner_queue {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 8);
	__uint(value_size, 16);
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__uint(key_size, 6);
	__uint(value_size, 4);
	__array(values, struct inner_queue);
} queues SEC(".maps");

struct inner_lru {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__array(values, struct inner_lru);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STORAGE);
	__type(key, struct bpf_cgroup_storage_key);
	__type(value, __u64);
} of_cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} of_sockets SEC(".maps");

struct aligned {
	__u32 first;
} __attribute__((aligned(16)));

struct spaced {
	struct aligned inside;
	__u32 second;
	__u64 third;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, struct aligned);
	__type(value, struct spaced);
} apart SEC(".maps");

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
