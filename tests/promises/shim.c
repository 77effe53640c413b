/*
 * Faults from below: preloaded into the command under test, it sees the system calls that change a project and can fail
 * one of them, or kill the process before or after it.
 *
 * All of bpf(2), rename, unlink, mkdir and rmdir of paths below one folder, and messages that change qdiscs and filters
 * are counted as one sequence, whichever thread makes them. Each is written to the log as `NUMBER NAME` before it is made, and what it makes as `made KIND ID`.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/rtnetlink.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../created.h"

/* What happens at the chosen call; a positive number is the errno to fail with. A process that stops goes on, and makes
 * the call, when SIGCONT comes. Signals are sent at -100 - number once, and at -200 - number before every later call as
 * well. */
enum { NOTHING = 0, KILL_BEFORE = -1, KILL_AFTER = -2, STOP_BEFORE = -3, SIGNAL_ONCE = -100, SIGNAL_ALWAYS = -200 };

static atomic_long made;
static atomic_long chosen;
/* A call that fails with ENOMEM besides: its name, and how many of this name are still to come with it. The chosen call
 * is counted from there: how many calls come before depends on the programs of others, which are looked at one by one. */
static char earlier[24];
static atomic_long earlier_left;
static long after;
static int what;
static int log_fd = -1;
static char folder[4096];

/*
 * Begin to count. `at` is the number of the call to hit, from 1; 0 hits none. If `first` is no empty name, then call
 * number `nth` of this name fails before it, and `at` is counted from that.
 */
void inject_start(long at, int kind, const char *under, const char *log, const char *first, long nth)
{
	made = 0;
	chosen = *first ? 0 : at;
	after = at;
	earlier_left = nth;
	snprintf(earlier, sizeof(earlier), "%s", first);
	what = kind;
	snprintf(folder, sizeof(folder), "%s", under);
	log_fd = *log ? open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
}

/* Count no more. */
void inject_stop(void)
{
	folder[0] = 0;
	if (log_fd >= 0)
		close(log_fd);
	log_fd = -1;
}

__attribute__((constructor)) static void from_environment(void)
{
	const char *under = getenv("INJECT_UNDER"), *at = getenv("INJECT_AT"), *kind = getenv("INJECT_WHAT");
	const char *log = getenv("INJECT_LOG");

	if (under)
		inject_start(at ? atol(at) : 0, kind ? atoi(kind) : NOTHING, under, log ? log : "", "", 0);
}

static void die(void)
{
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

enum { OTHER, CHOSEN, EARLIER };

/* Whether this call is the chosen one. Dies, if that is to happen before it. */
static int hit(const char *name)
{
	int saved = errno;
	long number = ++made;
	int is_earlier = !strcmp(name, earlier) && atomic_fetch_sub(&earlier_left, 1) == 1;
	char line[64];
	int length = snprintf(line, sizeof(line), "%ld %s\n", number, name);

	if (log_fd >= 0 && write(log_fd, line, length) != length)
		abort();
	if (what < SIGNAL_ALWAYS && chosen && number >= chosen)
		kill(getpid(), SIGNAL_ALWAYS - what);
	else if (what < SIGNAL_ONCE && what > SIGNAL_ALWAYS && number == chosen)
		kill(getpid(), SIGNAL_ONCE - what);
	errno = saved;
	if (is_earlier) {
		chosen = after ? number + after : 0;
		return EARLIER;
	}
	if (number != chosen)
		return OTHER;
	if (what == KILL_BEFORE)
		die();
	if (what == STOP_BEFORE)
		raise(SIGSTOP); /* to this very thread, which so makes no call before it */
	return CHOSEN;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void log_made(const char *kind, __u32 id)
{
	char line[64];
	int length = snprintf(line, sizeof(line), "made %s %u\n", kind, id);

	if (write(log_fd, line, length) != length)
		abort();
}

static void log_map(__u32 id)
{
	log_made("map", id);
}

/* Tell the log which kernel object a call has made, that its end may be watched. */
static void made_one(long command, long fd)
{
	static const char *const kinds[] = {[0] = "map", [5] = "prog", [28] = "link"};
	__u32 id;

	if (fd < 0 || log_fd < 0 || !(command == 0 || command == 5 || command == 28))
		return;
	id = map_id(NEXT(syscall), fd); /* all three begin: type, id */
	if (id)
		log_made(kinds[command], id);
}

static int is_ours(const char *path)
{
	return folder[0] && !strncmp(path, folder, strlen(folder));
}

/*
 * Make a call, counted: fail it, or die after it, if it is the chosen one. One that removes does so where it says that
 * there is nothing: another process was faster, and the errno is true.
 */
#define COUNTED(name, call, removes)                       \
	do {                                               \
		int now = hit(name);                       \
		if (now == EARLIER) {                      \
			errno = ENOMEM;                    \
			return -1;                         \
		}                                          \
		if (now == CHOSEN && what > 0) {           \
			if (removes && what == ENOENT)     \
				(void)(call);              \
			errno = what;                      \
			return -1;                         \
		}                                          \
		__typeof__(call) result = (call);          \
		if (now == CHOSEN && what == KILL_AFTER)   \
			die();                             \
		return result;                             \
	} while (0)

static long bpf(long number, long *a)
{
	__u32 newest = a[0] == BPF_PROG_TEST_RUN && log_fd >= 0 ? newest_map(NEXT(syscall)) : 0;
	long result = NEXT(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	int saved = errno;

	made_one(a[0], result);
	maps_since(NEXT(syscall), newest, log_map);
	errno = saved;
	return result;
}

long syscall(long number, ...)
{
	long a[6];
	char name[24];
	va_list given;

	va_start(given, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(given, long);
	va_end(given);
	if (number != SYS_bpf || !folder[0])
		return NEXT(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	snprintf(name, sizeof(name), "bpf %ld", a[0]);
	COUNTED(name, bpf(number, a), 0);
}

/* libbpf sends one message at a time to rtnetlink. */
ssize_t send(int fd, const void *data, size_t length, int flags)
{
	const struct nlmsghdr *header = data;

	if (folder[0] && length >= sizeof(*header) && header->nlmsg_len == length)
		switch (header->nlmsg_type) {
		case RTM_NEWQDISC:
		case RTM_NEWTFILTER:
			COUNTED("netlink", NEXT(send)(fd, data, length, flags), 0);
		case RTM_DELQDISC:
		case RTM_DELTFILTER:
			COUNTED("netlink", NEXT(send)(fd, data, length, flags), 1);
		}
	return NEXT(send)(fd, data, length, flags);
}

int rename(const char *old, const char *new)
{
	if (!is_ours(new))
		return NEXT(rename)(old, new);
	COUNTED("rename", NEXT(rename)(old, new), 0);
}

int unlink(const char *path)
{
	if (!is_ours(path))
		return NEXT(unlink)(path);
	COUNTED("unlink", NEXT(unlink)(path), 1);
}

int mkdir(const char *path, mode_t mode)
{
	if (!is_ours(path))
		return NEXT(mkdir)(path, mode);
	COUNTED("mkdir", NEXT(mkdir)(path, mode), 0);
}

int chmod(const char *path, mode_t mode)
{
	if (!is_ours(path))
		return NEXT(chmod)(path, mode);
	COUNTED("chmod", NEXT(chmod)(path, mode), 0);
}

int chown(const char *path, uid_t owner, gid_t group)
{
	if (!is_ours(path))
		return NEXT(chown)(path, owner, group);
	COUNTED("chown", NEXT(chown)(path, owner, group), 0);
}

int rmdir(const char *path)
{
	if (!is_ours(path))
		return NEXT(rmdir)(path);
	COUNTED("rmdir", NEXT(rmdir)(path), 1);
}
