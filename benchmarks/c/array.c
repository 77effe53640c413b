/*
 * All elements of a pinned array of u32, read by batches in one thread.
 *
 * array PIN ELEMENTS
 *
 * Prints the seconds that the system calls took, and those of the CPU.
 */
#include "bench.h"

#define BATCH 65536 /* the fastest size: keys and values stay in the cache */

static double cpu(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int count, char **arguments)
{
	if (count != 3)
		return 2;
	int fd = MUST(bpf_obj_get(arguments[1]));
	uint64_t elements = strtoull(arguments[2], NULL, 10), total = 0;
	uint32_t *keys = allocate(BATCH, 4), *values = allocate(BATCH, 4), token = 0;
	double start = now(), used = cpu();

	while (total < elements) {
		uint32_t read = BATCH;

		if (bpf_map_lookup_batch(fd, total ? &token : NULL, &token, keys, values, &read, NULL) && errno != ENOENT)
			MUST(-1);
		total += read;
	}
	printf("{\"seconds\": %.6f, \"cpu\": %.6f}\n", now() - start, cpu() - used);
	return 0;
}
