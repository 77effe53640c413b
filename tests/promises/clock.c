/*
 * A clock that jumps, preloaded: whoever asks for the time of day gets one that goes forth by CLOCK_JUMP seconds and back
 * by as many, time and again. What only counts (CLOCK_MONOTONIC) is as it was.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
	static atomic_uint asked;
	int (*next)(clockid_t, struct timespec *) = (__typeof__(next))dlsym(RTLD_NEXT, "clock_gettime");
	const char *jump = getenv("CLOCK_JUMP");
	int result = next(clock, now);

	if (!result && jump && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		now->tv_sec += (asked++ % 2 ? -1 : 1) * atol(jump);
	return result;
}
