// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#define VERSION 2
#include "globals.bpf.c"
