// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Programs at functions of the kernel, which some hosts refuse. VERSION tells two builds apart.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef VERSION
#define VERSION 1
#endif

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 32);
} counts SEC(".maps");

static __always_inline void count(__u32 at)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &at);

	if (value)
		__sync_fetch_and_add(value, VERSION);
}

SEC("kprobe/vfs_unlink")
int on_kprobe(void *ctx)
{
	count(6);
	return 0;
}

SEC("kretprobe/vfs_unlink")
int on_kretprobe(void *ctx)
{
	count(7);
	return 0;
}

SEC("fentry/vfs_unlink")
int on_fentry(void *ctx)
{
	count(8);
	return 0;
}

SEC("fexit/vfs_unlink")
int on_fexit(void *ctx)
{
	count(9);
	return 0;
}

SEC("fmod_ret/security_inode_unlink")
int on_fmod_ret(void *ctx)
{
	count(10);
	return 0;
}

SEC("lsm/inode_unlink")
int on_lsm(void *ctx)
{
	count(11);
	return 0;
}

SEC("ksyscall/getppid")
int on_ksyscall(void *ctx)
{
	count(13);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
