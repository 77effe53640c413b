// A map defined as before BTF: libbpf 1.x refuses it.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct old_map_def {
	unsigned int type, key_size, value_size, max_entries, map_flags;
};

#ifndef OLD_SECTION
#define OLD_SECTION "maps"
#endif

struct old_map_def SEC(OLD_SECTION) old = { BPF_MAP_TYPE_ARRAY, 4, 4, 1, 0 };

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&old, &zero) ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
