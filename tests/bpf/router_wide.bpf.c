// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A version with room for more VIPs: two of its maps cannot be carried over from the first. */
#define ROUTER_V2
#define MAX_VIPS 32
#include "../../bpf/router.bpf.c"
