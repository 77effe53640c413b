"""Types of programs by the word that a section of libbpf begins with; numbers are those of include/uapi/linux/bpf.h."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from provisioner.model.uapi import AttachType


class ProgramType(msgspec.Struct, frozen=True):
    """`type` is a number of `enum bpf_prog_type`, `attach_type` of `enum bpf_attach_type`.

    A program with `has_btf_target` is loaded for one function or tracepoint of the kernel, by its BTF.
    """

    type: int
    attach_type: int = 0
    has_btf_target: bool = False


PROGRAM_TYPES: Final[Mapping[str, ProgramType]] = {
    "socket": ProgramType(1),
    "kprobe": ProgramType(2),
    "kretprobe": ProgramType(2),
    "kprobe.multi": ProgramType(2, AttachType.TRACE_KPROBE_MULTI),
    "kretprobe.multi": ProgramType(2, AttachType.TRACE_KPROBE_MULTI),
    "kprobe.session": ProgramType(2, AttachType.TRACE_KPROBE_SESSION),
    "uprobe.multi": ProgramType(2, AttachType.TRACE_UPROBE_MULTI),
    "uretprobe.multi": ProgramType(2, AttachType.TRACE_UPROBE_MULTI),
    "usdt": ProgramType(2, AttachType.TRACE_UPROBE_MULTI),
    "tc": ProgramType(3),
    "tracepoint": ProgramType(5),
    "xdp": ProgramType(6, 37),
    "perf_event": ProgramType(7),
    "cgroup_skb/ingress": ProgramType(8, 0),
    "cgroup_skb/egress": ProgramType(8, 1),
    "cgroup/sock_create": ProgramType(9, 2),
    "cgroup/bind4": ProgramType(18, 8),
    "cgroup/bind6": ProgramType(18, 9),
    "cgroup/connect4": ProgramType(18, 10),
    "cgroup/connect6": ProgramType(18, 11),
    "cgroup/sendmsg4": ProgramType(18, 14),
    "cgroup/sendmsg6": ProgramType(18, 15),
    "cgroup/recvmsg4": ProgramType(18, 19),
    "cgroup/recvmsg6": ProgramType(18, 20),
    "cgroup/sysctl": ProgramType(23, 18),
    "sockops": ProgramType(13, 3),
    "raw_tp": ProgramType(17),
    "flow_dissector": ProgramType(22, 17),
    "sk_lookup": ProgramType(30, 36),
    "syscall": ProgramType(31),
    "tp_btf": ProgramType(26, 23, has_btf_target=True),
    "fentry": ProgramType(26, 24, has_btf_target=True),
    "fexit": ProgramType(26, 25, has_btf_target=True),
    "fmod_ret": ProgramType(26, 26, has_btf_target=True),
    "lsm": ProgramType(29, 27, has_btf_target=True),
}

STRUCT_OPS: Final = 27
"""BPF_PROG_TYPE_STRUCT_OPS: its map registers it."""

WITH_BTF_TARGET: Final = frozenset((26, 29))
"""The types that are loaded for a target: BPF_PROG_TYPE_TRACING and _LSM."""
