/*
 * Records the maps, programs and links that a process creates. The tests preload it into themselves, so that all their
 * children have it too.
 *
 * The record is one file, named by BPF_RECORD and mapped into every process: a 64-bit count, then a ring of entries,
 * each `kind << 32 | id`. To record takes no fd and no system call but the one that asks for the id. An entry is there
 * even if the process is killed right after the call.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "created.h"

static long (*next)(long, ...);
static _Atomic __u64 *count, *entries;
static __u64 capacity;

/* Record into the file `path`, whose size is fixed. Returns 0, or -1 with errno set. */
int recorder_start(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat file;
	void *memory;

	if (fd < 0)
		return -1;
	memory = fstat(fd, &file) ? MAP_FAILED : mmap(NULL, file.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (memory == MAP_FAILED)
		return -1;
	capacity = file.st_size / sizeof(*entries) - 1;
	entries = (_Atomic __u64 *)memory + 1;
	count = memory;
	return 0;
}

/* A child in another root directory has no such file: it runs unrecorded. */
__attribute__((constructor)) static void from_environment(void)
{
	const char *path = getenv("BPF_RECORD");

	if (path && recorder_start(path))
		errno = 0;
}

static void record(long command, long fd)
{
	__u32 info[64] = {0};
	union bpf_attr attr = {.info = {.bpf_fd = fd, .info_len = sizeof(info), .info = (__u64)(unsigned long)info}};
	__u64 kind = command == BPF_RAW_TRACEPOINT_OPEN ? BPF_LINK_CREATE : command;

	if (!next(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr), 0, 0, 0)) /* all three begin with type and id */
		entries[atomic_fetch_add(count, 1) % capacity] = kind << 32 | info[1];
}

static void record_map(__u32 id)
{
	entries[atomic_fetch_add(count, 1) % capacity] = (__u64)BPF_MAP_CREATE << 32 | id;
}

long syscall(long number, ...)
{
	long a[6], result;
	__u32 newest = 0;
	va_list given;

	va_start(given, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(given, long);
	va_end(given);
	if (!next)
		next = (__typeof__(next))dlsym(RTLD_NEXT, "syscall");
	if (number == SYS_bpf && a[0] == BPF_PROG_TEST_RUN && count)
		newest = newest_map(next);
	result = next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (newest) {
		int saved = errno;

		maps_since(next, newest, record_map);
		errno = saved;
	}
	if (number != SYS_bpf || result < 0 || !count)
		return result;
	if (a[0] == BPF_MAP_CREATE || a[0] == BPF_PROG_LOAD || a[0] == BPF_LINK_CREATE || a[0] == BPF_RAW_TRACEPOINT_OPEN) {
		int saved = errno;

		record(a[0], result);
		errno = saved;
	}
	return result;
}
