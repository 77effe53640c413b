// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The same programs, a version later.
#define VERSION 2
#include "jumps.bpf.c"
