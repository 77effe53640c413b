// A map in a section of its own, as some loaders of before BTF had them: libbpf 1.x refuses it.
#define OLD_SECTION "maps/old"
#include "legacy.bpf.c"
