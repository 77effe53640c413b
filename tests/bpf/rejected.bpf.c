// The verifier refuses `wild`: it reads through a value that may be NULL.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} tenants SEC(".maps");

SEC("xdp")
int wild(struct xdp_md *ctx)
{
	__u32 zero = 0;
	void *inner = bpf_map_lookup_elem(&tenants, &zero);

	return inner ? *(__u32 *)bpf_map_lookup_elem(inner, &zero) : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
