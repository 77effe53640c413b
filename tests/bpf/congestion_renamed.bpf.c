// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// congestion.bpf.c under another name.
#define VERSION 2
#define NAME "prov_renamed"
#include "congestion.bpf.c"
