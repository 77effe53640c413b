// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#define IS_ARRAY
#define BY_RANGES
#include "digest_hash.bpf.c"
