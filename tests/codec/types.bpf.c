/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Types of every kind that the codec reads out of BTF. A global variable of each makes clang emit it. */

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef _Bool bool;

enum verdict { DENY, ALLOW, DROP = 700 };
enum signed_numbers { MINUS = -1, PLUS = 1 };

struct bpf_spin_lock {
	__u32 val;
};

struct bpf_timer {
	__u64 opaque[2];
} __attribute__((aligned(8)));

struct vip {
	__be32 address;
	__be16 port;
	__u8 protocol;
	const volatile bool enabled;
	char name[6];
	short weight;
	enum verdict verdict;
	long long balance;
	__u8 v6[16];
	__u16 table[2][3];
};

struct inner {
	__u8 a;
	__be16 b;
};

struct nested {
	struct inner one;
	struct inner two[2];
	union {
		__u32 v4;
		__u8 bytes[8];
	} address;
	union {
		__u32 left;
		__u16 right;
	};
	struct {
		__u8 deep;
	};
};

struct flags {
	__u32 low : 3;
	int small : 5;
	__u32 wide : 20;
	enum verdict verdict : 4;
	bool on : 1;
	__u64 long_one : 40;
	__u8 last;
};

struct packed {
	__u8 a;
	__u32 b;
} __attribute__((packed));

struct locked {
	struct bpf_spin_lock lock;
	__u32 hits;
	struct bpf_timer timer;
};

struct linked {
	struct linked *next;
	__u64 number;
};

struct fraction {
	double share;
};

struct open_ended {
	__u32 count;
	__u32 items[];
};

struct hidden;

struct vip vip;
struct nested nested;
struct flags flags = {1, -2, 3, ALLOW, 1, 0x1234567890, 7};
struct packed packed;
struct locked locked;
struct linked linked;
struct fraction fraction;
struct open_ended open_ended;
struct hidden *hidden;
enum signed_numbers signed_numbers;
