// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The second version of congestion.bpf.c, under the same name.
#define VERSION 2
#include "congestion.bpf.c"
