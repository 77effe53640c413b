// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The same programs, a version later: what an upgrade is tried on.
#define VERSION 1000000
#include "multi.bpf.c"
