// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The same map without LIBBPF_PIN_BY_NAME.
#define UNPINNED
#include "common_map.bpf.c"
