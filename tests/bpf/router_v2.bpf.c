// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The example router's second version: the same maps, other instructions. */
#define ROUTER_V2
#include "../../bpf/router.bpf.c"
