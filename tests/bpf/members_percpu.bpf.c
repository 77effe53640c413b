// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#define PERCPU
#include "../../bpf/members.bpf.c"
