// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The same map with another value.
#define KEY __u64
#include "common_map.bpf.c"
