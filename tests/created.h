/*
 * The maps that a BPF program creates: no system call of the process does. The kernel numbers maps in ascending order, so
 * they are those among the open fds whose id is above that of a map from before the program ran.
 */
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef long (*system_call)(long, ...);

static __u32 map_id(system_call call, long fd)
{
	__u32 info[64] = {0};
	union bpf_attr attr = {.info = {.bpf_fd = fd, .info_len = sizeof(info), .info = (__u64)(unsigned long)info}};

	return call(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr), 0, 0, 0) ? 0 : info[1];
}

/* The id of a map that is created now, and closed; 0 where that is not possible. */
static __u32 newest_map(system_call call)
{
	union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
	long fd = call(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr), 0, 0, 0);
	__u32 id = fd < 0 ? 0 : map_id(call, fd);

	if (fd >= 0)
		close(fd);
	return id;
}

/* Call `created` with each open map whose id is above `mark`. */
static void maps_since(system_call call, __u32 mark, void (*created)(__u32 id))
{
	struct rlimit limit;

	if (!mark || getrlimit(RLIMIT_NOFILE, &limit))
		return;
	for (long fd = 0; fd < (long)limit.rlim_cur && fd < 1 << 20; fd++) {
		char path[64], target[64] = "";
		__u32 id = fcntl(fd, F_GETFD) < 0 ? 0 : map_id(call, fd);

		snprintf(path, sizeof(path), "/proc/self/fd/%ld", fd);
		if (id > mark && readlink(path, target, sizeof(target) - 1) > 0 && strstr(target, "bpf-map"))
			created(id);
	}
}
