/* What the C programs share: the data of a case in memory, by the same formulas as data.py, and the clock. */
#ifndef BENCH_H
#define BENCH_H

#include <bpf/bpf.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MUST(call)                                                        \
	({                                                                \
		__typeof__(call) result_ = (call);                        \
		if (result_ < 0) {                                        \
			fprintf(stderr, "%s: %s\n", #call, strerror(errno)); \
			exit(1);                                          \
		}                                                         \
		result_;                                                  \
	})

struct bench {
	enum bpf_map_type outer, inner;
	uint32_t slots, entries, key_size;
	const char *pin;
	char *keys;       /* slots * entries keys, slot by slot */
	uint64_t *values; /* and their values */
};

static inline double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static inline void *allocate(size_t count, size_t size)
{
	void *memory = malloc(count * size);

	if (!memory) {
		fprintf(stderr, "out of memory\n");
		exit(1);
	}
	return memory;
}

static inline void make_key(const struct bench *b, uint32_t slot, uint32_t entry, char *key)
{
	uint32_t word = entry;

	if (b->inner == BPF_MAP_TYPE_HASH)
		word = entry * 2654435761u + slot * 1000003u;
	if (b->inner == BPF_MAP_TYPE_LPM_TRIE) {
		uint32_t prefix = (uint32_t)((entry + (uint64_t)slot * 7) % (1 << 24)), length = 24;
		unsigned char address[4] = {prefix >> 16, prefix >> 8, prefix, 0};

		memcpy(key, &length, 4);
		memcpy(key + 4, address, 4);
		return;
	}
	memcpy(key, &word, 4);
}

/* Keys and values of the first `slots` slots; values differ by `more` from those of the base variant. */
static inline void make_data(struct bench *b, uint64_t more)
{
	size_t total = (size_t)b->slots * b->entries;

	b->keys = allocate(total, b->key_size);
	b->values = allocate(total, sizeof(uint64_t));
	for (size_t row = 0; row < total; row++) {
		make_key(b, row / b->entries, row % b->entries, b->keys + row * b->key_size);
		b->values[row] = row + 1 + more;
	}
}

static inline char *keys_of(const struct bench *b, uint32_t slot)
{
	return b->keys + (size_t)slot * b->entries * b->key_size;
}

static inline uint64_t *values_of(const struct bench *b, uint32_t slot)
{
	return b->values + (size_t)slot * b->entries;
}

static inline int create_inner(const struct bench *b)
{
	LIBBPF_OPTS(bpf_map_create_opts, options,
		    .map_flags = b->inner == BPF_MAP_TYPE_LPM_TRIE ? BPF_F_NO_PREALLOC : 0);

	return MUST(bpf_map_create(b->inner, "inner", b->key_size, sizeof(uint64_t), b->entries, &options));
}

static inline int create_outer(const struct bench *b)
{
	int template = create_inner(b);
	LIBBPF_OPTS(bpf_map_create_opts, options, .inner_map_fd = template);
	int outer = MUST(bpf_map_create(b->outer, "outer", 4, 4, b->slots, &options));

	close(template);
	return outer;
}

/* Arguments: OUTER_TYPE INNER_TYPE SLOTS ENTRIES PIN, types by number. */
static inline struct bench parse(char **arguments)
{
	struct bench b = {
		.outer = atoi(arguments[0]),
		.inner = atoi(arguments[1]),
		.slots = strtoul(arguments[2], NULL, 10),
		.entries = strtoul(arguments[3], NULL, 10),
		.pin = arguments[4],
	};

	b.key_size = b.inner == BPF_MAP_TYPE_LPM_TRIE ? 8 : 4;
	return b;
}

/* The fds that a wave may hold: as many as the provisioner takes, if the limit is raised to the hard one. */
static inline uint32_t wave_size(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_max < 12352 ? (limit.rlim_max - 64) / 3 : 4096;
}

#endif
