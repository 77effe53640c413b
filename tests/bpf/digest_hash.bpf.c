// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The secret of tests/bytecode/test_digest.py. */
#define HALVES {{{0x11223344, 0x99aabbcc}, {0xfedcba98, 0x76543210}}, {{0xdeadbeef, 0x12345678}, {3, 0xffffffff}}}
#define FACTORS {{0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9}, {0x94d049bb133111eb, 0xd6e8feb86659fd93}}
#include "../../bpf/digest.bpf.c"
