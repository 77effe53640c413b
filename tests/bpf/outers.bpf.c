// Both outer types: one without a template of its own, one that declares it; a plain map, data sections, two programs.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct rule {
	__u32 verdict;
	__u32 hits;
};

struct rule keeps_the_type_in_btf; // else clang 14 emits a forward declaration only

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} tenants SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct rule);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} declared SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u32);
} active SEC(".maps");

// Returns what tenants[1][0] holds, or XDP_PASS (2) where there is no such slot.
SEC("xdp")
int first(struct xdp_md *ctx)
{
	__u32 tenant = 1, zero = 0;
	void *inner = bpf_map_lookup_elem(&tenants, &tenant);
	__u32 *value, *on = bpf_map_lookup_elem(&active, &zero);

	if (!inner || !on)
		return XDP_PASS;
	value = bpf_map_lookup_elem(inner, &zero);
	return value ? *value : XDP_PASS;
}

SEC("xdp")
int second(struct xdp_md *ctx)
{
	__u32 zero = 0;
	void *inner = bpf_map_lookup_elem(&declared, &zero);

	return inner ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
