// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The same object, a version later: its program differs.
#define MISS XDP_DROP
#include "common_map.bpf.c"
