"""What the kernel that runs lacks: found out by trying, and believed only of one that is too old to have it.

A test that cannot do without is skipped with a claim: what is missing, how that showed, and the commit that added it.
"""

from __future__ import annotations

import errno
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from provisioner.attach.by_section import HOOKS
from provisioner.attach.struct_ops import StructOps
from provisioner.attach.tcx import Tcx
from provisioner.bytecode.assembler import Assembler
from provisioner.bytecode.member_program import MemberRecord, member_program
from provisioner.codec.btf_emit import btf_of
from provisioner.codec.integer import Integer
from provisioner.codec.layout import lay_out_struct
from provisioner.codec.members import Opaque
from provisioner.doctor import attachments
from provisioner.doctor.checks import running_version
from provisioner.kernel import calls, links, maps, programs
from provisioner.kernel.fd import MapFd, ProgramFd
from provisioner.kernel.reasons import LINK, KernelError
from provisioner.model import kernel_versions
from provisioner.model.attachment import OpenPerfEvent
from provisioner.model.map_shape import MapShape
from provisioner.model.program_types import PROGRAM_TYPES
from provisioner.model.special_fields import SPIN_LOCK, Special
from provisioner.model.uapi import AttachType, MapFlag, MapType

_TRIED: Final = {
    MapType.BLOOM_FILTER: MapShape(MapType.BLOOM_FILTER, 0, 8, 16),
    MapType.USER_RINGBUF: MapShape(MapType.USER_RINGBUF, 0, 0, 4096),
}


MEMORY: Final = kernel_versions.KernelFeature((6, 4, 0), "90a5527d7686")
"""From here on `memlock` in fdinfo is what a map takes; before, what its entries would at most, in pages."""

_ROOM: Final = {"bpf_timer": 16, "bpf_wq": 16, SPIN_LOCK: 4, "bpf_res_spin_lock": 4}
"""Bytes of the kernel's own fields; pointers have 8."""


UNPRIVILEGED: Final = kernel_versions.KernelFeature((5, 19, 0), "c8644cd0efe7")
"""From here on kernel.unprivileged_bpf_disabled forbids others to create and load, and no more."""


NETWORK_MAPS: Final = kernel_versions.KernelFeature((6, 9, 0), "ed1ad5a7415d")
"""From here on CAP_SYS_ADMIN makes maps that CAP_NET_ADMIN is needed for."""


def others_may_look(refused: str) -> bool:
    """Whether a process without any capability may open pins. Fails where it may not on a kernel that is new enough.

    `refused` is what it was told, if it was refused.
    """
    if "BPF_OBJ_GET: not permitted" not in refused:
        return True
    lacks("opening of pins without CAP_BPF", UNPRIVILEGED, refused)
    return False


@cache
def others_may_ask() -> bool:
    """Whether a process without any capability may make BPF system calls. Fails where a new enough kernel forbids."""
    number, said = _tried("maps.open_pin(Path('/nowhere'))", "-all")
    if number == errno.EPERM:
        lacks("BPF system calls without CAP_BPF", UNPRIVILEGED, said)
    return number != errno.EPERM


@cache
def sys_admin_makes_network_maps() -> bool:
    """Whether CAP_SYS_ADMIN alone is enough for a devmap. Fails where it is not on a new enough kernel."""
    number, said = _tried("maps.create(MapShape(MapType.DEVMAP, 4, 4, 1)).close()", "-all,+sys_admin")
    if number == errno.EPERM:
        lacks("creation of a devmap without CAP_NET_ADMIN", NETWORK_MAPS, said)
    return number == 0


def _tried(what: str, bounds: str) -> tuple[int, str]:
    """The errno of a call with these capabilities alone, 0 for none, and what is said of it."""
    code = (
        "from pathlib import Path; from provisioner.kernel import maps\n"
        "from provisioner.model.map_shape import MapShape; from provisioner.model.uapi import MapType\n"
        "from provisioner.kernel.reasons import KernelError\n"
        f"try: {what}; print(0)\n"
        "except KernelError as error: print(error.errno, error)"
    )
    words = ["setpriv", f"--bounding-set={bounds}", sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    number, _, said = done.stdout.partition(" ")
    return int(number), said


def kernel_has(map_type: MapType) -> bool:
    """Whether the kernel makes maps of a type. Fails where it does not although it is new enough to."""
    if map_type not in _TRIED:
        return True
    refused: KernelError | None = None
    try:
        maps.create(_TRIED[map_type]).close()
    except KernelError as error:
        refused = error
    if refused is not None:
        lacks(map_type.word, kernel_versions.TYPES[map_type], str(refused))
    return refused is None


def need(map_type: MapType) -> None:
    """Skip where the kernel makes no maps of a type."""
    if not kernel_has(map_type):
        pytest.skip(lacks(map_type.word, kernel_versions.TYPES[map_type], "BPF_MAP_CREATE is refused"))


def need_storage(map_type: MapType) -> None:
    """Skip where the kernel makes no local storage of a type."""
    number = Integer("u32", 4, False, sys.byteorder, 32)
    data, key_id, value_id = btf_of(number, number, sys.byteorder)
    shape = MapShape(map_type, 4, 4, 0, MapFlag.NO_PREALLOC)
    with maps.load_btf(data) as btf:
        try:
            maps.create(shape, btf=btf, btf_key_type_id=key_id, btf_value_type_id=value_id).close()
        except KernelError as error:
            if map_type not in kernel_versions.TYPES:
                raise
            pytest.skip(lacks(map_type.word, kernel_versions.TYPES[map_type], str(error)))


def lacks(what: str, fact: kernel_versions.KernelFeature, showed: str) -> str:
    """The claim that this kernel lacks something, by what showed it. Fails where the kernel is new enough for it."""
    claim = f"no {what}: {showed}; it came with {fact.source}"
    assert running_version() < fact.since, claim
    return claim


def counted(fd: MapFd) -> int:
    """The bytes that the kernel says a map takes."""
    lines = (line.split() for line in Path(f"/proc/self/fdinfo/{fd.number}").read_text().splitlines())
    return next(int(words[1]) for words in lines if words[0] == "memlock:")


def need_counted_memory() -> None:
    """Skip where the kernel does not count what a map takes."""
    with maps.create(MapShape(MapType.HASH, 4, 4, 1000, MapFlag.NO_PREALLOC)) as fd:
        empty = counted(fd)
        for number in range(100):
            maps.update(fd, number.to_bytes(4, sys.byteorder), bytes(4))
        if counted(fd) == empty:
            pytest.skip(lacks("memory of a map that is counted", MEMORY, "a hundred entries changed nothing"))


def record(kind: str) -> tuple[MapShape, MapFd]:
    """A hash whose values have a field of the kernel's own, and a number after it; with BTF that says so."""
    size = _ROOM.get(kind, 8)
    number = Integer("u32", 4, False, sys.byteorder, 32)
    value = lay_out_struct([("special", Opaque(kind, size, min(size, 8))), ("rest", number)], packed=False)
    shape = MapShape(MapType.HASH, 4, value.size, 4, specials=value.specials)
    data, key_id, value_id = btf_of(number, value, sys.byteorder)
    with maps.load_btf(data) as btf:
        return shape, maps.create(shape, btf=btf, btf_key_type_id=key_id, btf_value_type_id=value_id)


def need_field(kind: str) -> None:
    """Skip where the kernel takes a field of its own for data, or refuses the BTF that has it."""
    word = Special(0, kind).word
    size = _ROOM.get(kind, 8)
    try:
        shape, fd = record(kind)
    except KernelError as error:
        pytest.skip(lacks(kind, kernel_versions.SPECIALS[word], str(error)))
    with fd:
        maps.update(fd, bytes(4), b"\xff" * shape.value_size)
        if (maps.lookup(fd, bytes(4), shape.value_size) or b"")[:size] != bytes(size):
            pytest.skip(lacks(kind, kernel_versions.SPECIALS[word], "it is written and read like any field"))


def inner_locks_refused() -> KernelError | None:
    """Why no inner map may have a bpf_spin_lock in its values; None where it may. Fails where it should."""
    _, inner = record(SPIN_LOCK)
    with inner:
        try:
            maps.create(MapShape(MapType.ARRAY_OF_MAPS, 4, 4, 1), inner=inner).close()
        except KernelError as error:
            lacks("bpf_spin_lock in an inner map's values", kernel_versions.INNER_LOCKS, str(error))
            return error
    return None


def need_inner_locks() -> None:
    """Skip where no inner map may have a bpf_spin_lock in its values."""
    refused = inner_locks_refused()
    if refused is not None:
        pytest.skip(lacks("bpf_spin_lock in an inner map's values", kernel_versions.INNER_LOCKS, str(refused)))


def need_syscall_programs() -> None:
    """Skip where the kernel takes no program of type SYSCALL."""
    code = Assembler()
    code.exit(0)
    try:
        programs.load_or_raise(code.assemble(), "nothing").close()
    except KernelError as error:
        pytest.skip(lacks("programs of type SYSCALL", kernel_versions.SYSCALL_PROGRAMS, str(error)))


def need_percpu_lookup() -> None:
    """Skip where no program can look up the value of another CPU."""
    need_syscall_programs()
    shape = MapShape(MapType.PERCPU_HASH, 4, 8, 1)
    layout, owned = MemberRecord(shape.key_size, shape.value_size), np.zeros(shape.value_size, np.uint8)
    records = MapShape(MapType.ARRAY, 4, layout.size, 1)
    with maps.create(shape, "target") as target, maps.create(records, "records") as fd:
        try:
            programs.load_or_raise(member_program(layout, shape, owned, fd.number, target.number), "percpu").close()
        except KernelError as error:
            pytest.skip(lacks("bpf_map_lookup_percpu_elem", kernel_versions.PERCPU_LOOKUP, str(error)))


def need_syscall_locks() -> None:
    """Skip where no program of type SYSCALL may take a bpf_spin_lock."""
    need_syscall_programs()
    shape, fd = record(SPIN_LOCK)
    layout, owned = MemberRecord(shape.key_size, shape.value_size), np.zeros(shape.value_size, np.uint8)
    with fd, maps.create(MapShape(MapType.ARRAY, 4, layout.size, 1)) as records:
        code = member_program(layout, shape, owned, records.number, fd.number)
        try:
            programs.load_or_raise(code, "locks").close()
        except KernelError as error:
            what = "bpf_spin_lock in programs of type SYSCALL"
            pytest.skip(lacks(what, kernel_versions.SYSCALL_LOCKS, str(error)))


def need_tcx() -> None:
    """Skip where the kernel does not have tcx."""
    try:
        calls.query_programs(1, AttachType.TCX_INGRESS)
    except KernelError as error:
        if error.errno == errno.EINVAL:
            pytest.skip(lacks("tcx", kernel_versions.KernelFeature(*Tcx.since), str(error)))


def need_perf_links(program: ProgramFd) -> None:
    """Skip where the kernel does not make links of perf events; `program` is one at a tracepoint."""
    try:
        links.create(program, OpenPerfEvent("tracepoint", "sched/sched_switch")).close()
    except KernelError as error:
        if error.operation != LINK or error.errno != errno.EINVAL:
            raise
        pytest.skip(lacks("links of perf events", kernel_versions.KernelFeature(*HOOKS["tp"].since), str(error)))


def has_multi_links(program: str) -> bool:
    """Whether the kernel was built with what a program of tests/bpf/multi.bpf.c is attached by."""
    if program in ("on_uprobes", "on_uretprobes", "on_sale"):
        return True
    return " register_fprobe_syms" in Path("/proc/kallsyms").read_text(encoding="ascii")


def need_multi_links(kind: str) -> None:
    """Skip where the kernel is too old for links at several functions of a kind."""
    attach_type = PROGRAM_TYPES[kind].attach_type
    names = f"{AttachType(attach_type).name}'"
    if names not in _attach_types():
        feature = kernel_versions.KernelFeature(*HOOKS[kind].since)
        pytest.skip(lacks(f"{kind} links", feature, f"its BTF has no BPF_{AttachType(attach_type).name}"))


@cache
def _attach_types() -> str:
    """The attach types of the running kernel, as its BTF has them."""
    words = ["bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux"]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    return "\n".join(line for line in lines if "'BPF_TRACE_" in line)


_DIED: Final = 1 << 7
"""TAINT_DIE in /proc/sys/kernel/tainted."""


def need_struct_ops_links() -> None:
    """Skip where the kernel does not have links of struct_ops."""
    if attachments.has_struct_ops_links() is False:
        pytest.skip(lacks("struct_ops links", kernel_versions.KernelFeature(*StructOps.since), "BPF_F_LINK is refused"))


def need_sound_kernel() -> None:
    """Skip where a process died in the kernel: the locks that it held stay locked, and waiting for one never ends."""
    if int(Path("/proc/sys/kernel/tainted").read_text(encoding="ascii")) & _DIED:
        pytest.skip("a process died in this kernel, and the locks that it held stay locked: restart the machine")
