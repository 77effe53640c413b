"""Every section that the installed libbpf knows has an attachment, or a message that says what to do."""

from __future__ import annotations

import ctypes
from functools import cache

import pytest

from provisioner import attach
from provisioner.attach.by_section import HOOKS
from provisioner.model.attachment import IfMissing
from provisioner.model.location import Location
from provisioner.model.object_file import ProgramDef
from provisioner.model.program_types import PROGRAM_TYPES

_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)

TARGETS = {
    "tracepoint": "sched/sched_switch",
    "tp": "sched/sched_switch",
    "uprobe": "/bin/true:main",
    "uretprobe": "/bin/true:main+0x10",
    "usdt": "/bin/true:provider:name",
    "kprobe.multi": "tcp_*",
    "kretprobe.multi": "tcp_*",
}
"""What follows the first word of sections that name a target; elsewhere the name of a function."""


@cache
def sections() -> tuple[str, ...]:
    """The names in the table of the installed libbpf: it lists them for a section that it does not know."""
    said: list[str] = []
    vsnprintf = ctypes.CDLL(None).vsnprintf
    vsnprintf.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]

    def hear(_: int, form: bytes, arguments: int) -> int:
        text = ctypes.create_string_buffer(1 << 14)
        vsnprintf(text, len(text), form, arguments)
        said.append(text.value.decode())
        return 0

    library = ctypes.CDLL("libbpf.so.1")
    library.libbpf_set_print.restype = ctypes.c_void_p
    library.libbpf_set_print.argtypes = [ctypes.c_void_p]
    callback = _PRINT(hear)
    before = library.libbpf_set_print(ctypes.cast(callback, ctypes.c_void_p))
    library.libbpf_prog_type_by_name(b"no such section", ctypes.byref(ctypes.c_int()), ctypes.byref(ctypes.c_int()))
    library.libbpf_set_print(before)
    return tuple(next(text for text in said if "names are:" in text).partition("names are:")[2].split())


def program(name: str) -> ProgramDef:
    """A program of a section, typed by libbpf."""
    word = name.rstrip("+")
    section = word if word == name else f"{word}/{TARGETS.get(word.removesuffix('.s'), 'some_function')}"
    kind, attach_type = ctypes.c_int(), ctypes.c_int()
    library = ctypes.CDLL("libbpf.so.1")
    assert library.libbpf_prog_type_by_name(section.encode(), ctypes.byref(kind), ctypes.byref(attach_type)) == 0
    return ProgramDef("f", section, kind.value, attach_type.value)


def attachment(kind: str) -> attach.AnyAttachment:
    return attach.KINDS[kind].read(
        {"interface": "eth0", "path": "/a", "direction": "ingress", "event": "cpu_clock"}, WHERE, IfMissing.FAIL
    )


WHERE = Location("edge.yaml")

NOWHERE = {
    *("socket", "sk_reuseport", "sk_reuseport/migrate", "action"),
    *("freplace+", "syscall", "xdp/devmap", "xdp/cpumap", "xdp.frags/devmap", "xdp.frags/cpumap"),
    *("lwt_in", "lwt_out", "lwt_xmit", "lwt_seg6local", "sk_skb", "sk_skb/stream_parser", "sk_skb/stream_verdict"),
    *("sk_msg", "lirc_mode2", "struct_ops+", "cgroup/skb"),
}
"""The sections that no key attaches."""


def test_each_section_has_an_attachment_or_a_reason() -> None:
    assert len(sections()) > 70
    fitting = {}
    for name in sections():
        definition = program(name)
        misfits = {kind: attach.of_program(attachment(kind), definition)[1] for kind in attach.KINDS}
        fitting[name] = {kind for kind, misfit in misfits.items() if misfit is None}
        for misfit in misfits.values():
            assert misfit is None or (definition.section in misfit.what and misfit.hint), name
    assert {name for name, kinds in fitting.items() if not kinds} == NOWHERE
    assert all(len(kinds - {"tc"}) <= 1 for kinds in fitting.values()), "one key fits, or two for classifiers"


def test_every_hook_of_auto_is_a_section_of_libbpf_or_a_type() -> None:
    assert set(HOOKS) <= {name.rstrip("+") for name in sections()} | PROGRAM_TYPES.keys()


@pytest.mark.parametrize(
    ("kind", "section", "hint"),
    [
        ("auto", "xdp", "write `attach: {xdp: ...}`"),
        ("xdp", "classifier", "write `attach: {tcx: ...}`"),
        ("tcx", "kprobe/vfs_open", "write `attach: auto`"),
        ("netns", "cgroup/dev", "write `attach: {cgroup: ...}`"),
        ("auto", "kprobe", "write `target:`, or leave out `attach:`"),
        ("auto", "iter/bpf_map_elem", "write `target:`, or leave out `attach:`"),
        ("auto", "kprobe.multi/a:b", "write `target:`, or leave out `attach:`"),
        ("auto", "usdt/libc.so.6:probe", "write `target:`, or leave out `attach:`"),
    ],
)
def test_a_misfit_says_which_key_to_write(kind: str, section: str, hint: str) -> None:
    word, _, _ = section.partition("/")
    definition = program(section if word in ("xdp", "classifier", "cgroup") else f"{word}+")
    misfit = attach.of_program(attachment(kind), ProgramDef("f", section, definition.type, definition.attach_type))[1]
    assert misfit is not None and misfit.hint == hint
