// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#define MAP_TYPE BPF_MAP_TYPE_HASH
#define WORDS 1
#define POLICY NEW
#include "../../bpf/merge.bpf.c"
