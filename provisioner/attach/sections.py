"""What the section of a program says about where it is attached. Pure.

The names are those of libbpf's table of sections; `tests/attach/test_sections.py` holds this table complete.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from provisioner.model.object_file import ProgramDef

_PIN: Final = "leave out `attach:`, and"

NOT_ATTACHED: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "socket": ("a process attaches it to its own socket", f"{_PIN} open the pin for SO_ATTACH_BPF"),
        "sk_reuseport": (
            "a process attaches it to its own socket",
            f"{_PIN} open the pin for SO_ATTACH_REUSEPORT_EBPF",
        ),
        "action": ("it is an action of another tc filter", "write it as a classifier, section `tc`, for tcx or tc"),
        "freplace": ("it replaces a function of another program", "leave it out of the spec"),
        "syscall": ("a process runs it by BPF_PROG_TEST_RUN", f"{_PIN} open the pin"),
        "xdp/devmap": ("an entry of a devmap runs it", f"{_PIN} write the program into the map"),
        "xdp/cpumap": ("an entry of a cpumap runs it", f"{_PIN} write the program into the map"),
        "xdp.frags/devmap": ("an entry of a devmap runs it", f"{_PIN} write the program into the map"),
        "xdp.frags/cpumap": ("an entry of a cpumap runs it", f"{_PIN} write the program into the map"),
        "lwt_in": ("a route runs it", f"{_PIN} name the pin in `ip route add ... encap bpf`"),
        "lwt_out": ("a route runs it", f"{_PIN} name the pin in `ip route add ... encap bpf`"),
        "lwt_xmit": ("a route runs it", f"{_PIN} name the pin in `ip route add ... encap bpf`"),
        "lwt_seg6local": ("a route runs it", f"{_PIN} name the pin in `ip route add ... encap seg6local`"),
        "sk_skb": ("a sockmap runs it", f"{_PIN} attach the pin to the map: `bpftool prog attach`"),
        "sk_msg": ("a sockmap runs it", f"{_PIN} attach the pin to the map: `bpftool prog attach`"),
        "lirc_mode2": ("an infrared receiver runs it", f"{_PIN} attach the pin to the device: `ir-keytable`"),
        "struct_ops": (
            "its map registers it, together with the other programs of the map",
            "write it for the map, under the object: `maps: {NAME: {attach: auto}}`",
        ),
        "cgroup/skb": (
            "it does not say ingress or egress",
            "use the section `cgroup_skb/ingress` or `cgroup_skb/egress`",
        ),
    }
)
"""Sections that the spec cannot attach, by their beginning: why, and what to do."""

_BY_ATTACH_TYPE: Final = {33: "xdp/devmap", 35: "xdp/cpumap"}
"""BPF_XDP_DEVMAP and BPF_XDP_CPUMAP: the type says what no key attaches, whatever the section is called."""


def first_word(section: str) -> str:
    """`raw_tp.w` (writable) and `fentry.s` (sleepable) are attached as `raw_tp` and `fentry`."""
    return re.sub(r"\.[sw]$", "", section.partition("/")[0])


def not_attached(program: ProgramDef) -> tuple[str, str] | None:
    """Why no key of the spec attaches a program, and what to do; None if one does."""
    section = _BY_ATTACH_TYPE.get(program.attach_type, program.section) if program.type == XDP else program.section
    return NOT_ATTACHED.get(section) or NOT_ATTACHED.get(first_word(section))


CLASSIFIER: Final = 3
XDP: Final = 6
PERF_EVENT: Final = 7
_LSM: Final = 29
LSM_CGROUP: Final = 43

CGROUP_TYPES: Final = frozenset({8, 9, 13, 15, 18, 23, 25})
NETNS_TYPES: Final = frozenset({22, 30})
"""Numbers of `enum bpf_prog_type`: those that run on a cgroup; flow_dissector and sk_lookup."""


def key_of(program: ProgramDef) -> str:
    """The key of the spec that attaches programs of this type: `xdp`; empty where it depends on the section.

    A classifier has two: `tc` is for kernels without `tcx`.
    """
    if program.type == XDP:
        return "xdp"
    if program.type == CLASSIFIER:
        return "tcx"
    if program.type == PERF_EVENT:
        return "perf_event"
    if program.type in CGROUP_TYPES or (program.type == _LSM and program.attach_type == LSM_CGROUP):
        return "cgroup"
    return "netns" if program.type in NETNS_TYPES else ""
