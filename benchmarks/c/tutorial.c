/*
 * The way of the tutorials: for each slot create an inner map, write entry by entry, put it in its slot, close it.
 *
 * tutorial OUTER_TYPE INNER_TYPE SLOTS ENTRIES PIN
 *
 * Prints the seconds that it took. The outer map goes when the program ends: nothing is pinned.
 */
#include "bench.h"

int main(int count, char **arguments)
{
	if (count < 6)
		return 2;
	struct bench b = parse(arguments + 1);

	make_data(&b, 0);
	double start = now();
	int outer = create_outer(&b);

	for (uint32_t slot = 0; slot < b.slots; slot++) {
		int inner = create_inner(&b);

		for (uint32_t entry = 0; entry < b.entries; entry++)
			MUST(bpf_map_update_elem(inner, keys_of(&b, slot) + entry * b.key_size, values_of(&b, slot) + entry, BPF_ANY));
		MUST(bpf_map_update_elem(outer, &slot, &inner, BPF_ANY));
		close(inner);
	}
	printf("{\"seconds\": %.6f}\n", now() - start);
	return 0;
}
