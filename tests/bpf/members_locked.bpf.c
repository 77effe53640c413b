// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#define LOCKED
#include "../../bpf/members.bpf.c"
