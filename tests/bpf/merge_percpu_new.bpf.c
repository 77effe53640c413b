// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#define MAP_TYPE BPF_MAP_TYPE_PERCPU_HASH
#define WORDS 2
#define POLICY NEW
#include "../../bpf/merge.bpf.c"
