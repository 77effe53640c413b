// Whatever an object can hold: what the checks of objects are tried on.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern int LINUX_KERNEL_VERSION __kconfig;
extern _Bool CONFIG_BPF_SYSCALL __kconfig;
extern enum libbpf_tristate CONFIG_NET __kconfig __weak;
extern char CONFIG_DEFAULT_HOSTNAME[16] __kconfig __weak;
extern const void init_task __ksym __weak;

struct address {
	union {
		__u32 v4;
		__u8 v6[16];
	};
	__u16 port : 12, kind : 4;
};

struct task_struct {
	int pid;
} __attribute__((preserve_access_index));

typedef const struct address address_t;

int counter = 7;
static volatile const int limit = 100;
struct address last;

struct inner {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, struct address);
	__type(value, __u64);
} one SEC(".maps"), two SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = { .values = { [1] = &one, [3] = &two } };

int second(struct xdp_md *context);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__array(values, int(struct xdp_md *));
} jumps SEC(".maps") = { .values = { [1] = (void *)&second } };

__noinline int sum(address_t *address, __u32 extra)
{
	if (address)
		return address->v4 + address->port + extra + limit;
	return __builtin_preserve_field_info(((struct task_struct *)0)->pid, 0);
}

SEC("xdp")
int first(struct xdp_md *context)
{
	__u32 key = context->ingress_ifindex;
	void *map = bpf_map_lookup_elem(&outer, &key);

	last.v4 = key;
	counter += CONFIG_BPF_SYSCALL + CONFIG_NET + CONFIG_DEFAULT_HOSTNAME[0];
	if (map && bpf_map_lookup_elem(map, &last) && &init_task)
		bpf_tail_call(context, &jumps, 1);
	return sum(&last, LINUX_KERNEL_VERSION) & XDP_PASS;
}

SEC("xdp")
int second(struct xdp_md *context)
{
	return sum(&last, 2) & XDP_DROP;
}

char _license[] SEC("license") = "GPL";
