/*
 * The limit: the system calls that have to be made, in one thread, with the bytes ready in memory.
 *
 * reference create|read|replace|update|grow|migrate|destroy OUTER_TYPE INNER_TYPE SLOTS ENTRIES PIN [HOW_MANY]
 *
 * create: inner maps created and filled by batch, published by one batch per wave, closed; the outer map pinned.
 * read: every slot and every entry, by batch. replace: new inner maps in the first HOW_MANY slots. destroy: unpin.
 * update: all entries of the first HOW_MANY inner maps, one entry a call.
 * grow: all inner maps put into an outer map of twice the size, which takes the pin. migrate: all entries read and
 * written to new inner maps with a longer value, and these put into a new outer map, which takes the pin.
 * Prints the seconds that the system calls took; making the data does not count.
 */
#include "bench.h"

static void publish(const struct bench *b, int outer, uint32_t slots)
{
	uint32_t wave = wave_size(), *fds = allocate(wave, 4), *indexes = allocate(wave, 4);

	for (uint32_t first = 0; first < slots; first += wave) {
		uint32_t count = slots - first < wave ? slots - first : wave;

		for (uint32_t at = 0; at < count; at++) {
			uint32_t entries = b->entries;

			indexes[at] = first + at;
			fds[at] = create_inner(b);
			MUST(bpf_map_update_batch(fds[at], keys_of(b, first + at), values_of(b, first + at), &entries, NULL));
		}
		uint32_t published = count;

		MUST(bpf_map_update_batch(outer, indexes, fds, &published, NULL));
		for (uint32_t at = 0; at < count; at++)
			close(fds[at]);
	}
}

/* All of a map by one batch after the other; gives the number of elements. */
static uint64_t read_map(int fd, uint32_t capacity, void *keys, void *values)
{
	uint64_t token[2], total = 0;
	int first = 1, ended = 0;

	while (!ended && total < capacity) {
		uint32_t count = capacity;

		if (bpf_map_lookup_batch(fd, first ? NULL : token, token, keys, values, &count, NULL)) {
			if (errno != ENOENT)
				MUST(-1);
			ended = 1;
		}
		first = 0;
		total += count;
	}
	return total;
}

static uint64_t read_all(const struct bench *b)
{
	int outer = MUST(bpf_obj_get(b->pin));
	uint32_t *indexes = allocate(b->slots, 4), *ids = allocate(b->slots, 4);
	char *keys = allocate(b->entries + 1, b->key_size);
	uint64_t *values = allocate(b->entries + 1, sizeof(uint64_t)), total = 0;
	uint64_t slots = read_map(outer, b->slots, indexes, ids);

	for (uint64_t at = 0; at < slots; at++) {
		int fd = MUST(bpf_map_get_fd_by_id(ids[at]));
		struct bpf_map_info info = {};
		uint32_t size = sizeof(info);

		MUST(bpf_obj_get_info_by_fd(fd, &info, &size));
		total += read_map(fd, info.max_entries, keys, values);
		close(fd);
	}
	return total;
}

static void update(const struct bench *b, uint32_t slots)
{
	int outer = MUST(bpf_obj_get(b->pin));

	for (uint32_t slot = 0; slot < slots; slot++) {
		uint32_t id;

		MUST(bpf_map_lookup_elem(outer, &slot, &id));
		int fd = MUST(bpf_map_get_fd_by_id(id));
		char *keys = keys_of(b, slot);
		uint64_t *values = values_of(b, slot);

		for (uint32_t at = 0; at < b->entries; at++)
			MUST(bpf_map_update_elem(fd, keys + at * b->key_size, values + at, 0));
		close(fd);
	}
}

/* Take the place of the pinned outer map. */
static void replace_pin(const struct bench *b, int outer)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s_new", b->pin);
	MUST(bpf_obj_pin(outer, path));
	MUST(rename(path, b->pin));
}

static void grow(struct bench *b)
{
	int old = MUST(bpf_obj_get(b->pin));
	uint32_t *indexes = allocate(b->slots, 4), *ids = allocate(b->slots, 4), wave = wave_size();
	uint32_t *fds = allocate(wave, 4), slots = read_map(old, b->slots, indexes, ids);

	b->slots *= 2;
	int outer = create_outer(b);

	for (uint32_t first = 0; first < slots; first += wave) {
		uint32_t count = slots - first < wave ? slots - first : wave, published = count;

		for (uint32_t at = 0; at < count; at++)
			fds[at] = MUST(bpf_map_get_fd_by_id(ids[first + at]));
		MUST(bpf_map_update_batch(outer, indexes + first, fds, &published, NULL));
		for (uint32_t at = 0; at < count; at++)
			close(fds[at]);
	}
	replace_pin(b, outer);
}

static void migrate(struct bench *b)
{
	int old = MUST(bpf_obj_get(b->pin));
	uint32_t *indexes = allocate(b->slots, 4), *ids = allocate(b->slots, 4);
	char *keys = allocate(b->entries + 1, b->key_size);
	uint64_t *values = allocate(b->entries + 1, sizeof(uint64_t)), *wide = allocate(b->entries + 1, 16);
	uint32_t slots = read_map(old, b->slots, indexes, ids), one = 1;
	int outer = -1;

	for (uint32_t at = 0; at < slots; at++) {
		int from = MUST(bpf_map_get_fd_by_id(ids[at]));
		uint32_t count = read_map(from, b->entries + 1, keys, values);
		int to = MUST(bpf_map_create(b->inner, "inner", b->key_size, 16, b->entries, NULL));

		for (uint32_t row = 0; row < count; row++) {
			wide[2 * row] = values[row];
			wide[2 * row + 1] = 0;
		}
		MUST(bpf_map_update_batch(to, keys, wide, &count, NULL));
		if (outer < 0) {
			LIBBPF_OPTS(bpf_map_create_opts, options, .inner_map_fd = to);
			outer = MUST(bpf_map_create(b->outer, "outer", 4, 4, b->slots, &options));
		}
		MUST(bpf_map_update_batch(outer, indexes + at, &to, &one, NULL));
		close(from);
		close(to);
	}
	replace_pin(b, outer);
}

int main(int count, char **arguments)
{
	if (count < 7)
		return 2;
	const char *verb = arguments[1];
	struct bench b = parse(arguments + 2);
	uint32_t replaced = count > 7 ? strtoul(arguments[7], NULL, 10) : b.slots;
	uint64_t entries = 0;

	int changes = !strcmp(verb, "replace") || !strcmp(verb, "update");

	if (!strcmp(verb, "create") || changes)
		make_data(&b, changes);
	double start = now();

	if (!strcmp(verb, "create")) {
		int outer = create_outer(&b);

		publish(&b, outer, b.slots);
		MUST(bpf_obj_pin(outer, b.pin));
	} else if (!strcmp(verb, "replace")) {
		publish(&b, MUST(bpf_obj_get(b.pin)), replaced);
	} else if (!strcmp(verb, "update")) {
		update(&b, replaced);
	} else if (!strcmp(verb, "read")) {
		entries = read_all(&b);
		if (entries != (uint64_t)b.slots * b.entries) {
			fprintf(stderr, "read %lu entries\n", (unsigned long)entries);
			return 1;
		}
	} else if (!strcmp(verb, "grow")) {
		grow(&b);
	} else if (!strcmp(verb, "migrate")) {
		migrate(&b);
	} else if (!strcmp(verb, "destroy")) {
		MUST(unlink(b.pin));
	} else {
		return 2;
	}
	printf("{\"seconds\": %.6f}\n", now() - start);
	return 0;
}
