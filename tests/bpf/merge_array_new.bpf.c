// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#define MAP_TYPE BPF_MAP_TYPE_ARRAY
#define WORDS 3
#define POLICY NEW
#include "../../bpf/merge.bpf.c"
