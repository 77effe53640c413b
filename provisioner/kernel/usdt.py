"""Statically defined probes (USDT): where they are in a file, and their arguments as libbpf's usdt.bpf.h reads them.

A file lists its probes in notes of section `.note.stapsdt`, which <sys/sdt.h> writes: three addresses (the probe, the
section `.stapsdt.base` as it was linked, a semaphore), then provider, name and arguments.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from provisioner.kernel.function_offsets import (
    Image,
    SectionHeader,
    byte_order,
    file_offset,
    opened,
    sections,
    segments,
)
from provisioner.model.errors import HostError, Problem

_STAPSDT: Final = 3
"""NT_STAPSDT."""

_CONST, _REG, _DEREF = 0, 1, 2
"""`enum __bpf_usdt_arg_type` of usdt.bpf.h."""

_ARGUMENT: Final = struct.Struct("=QIhBb")
"""`struct __bpf_usdt_arg_spec`: value or offset, type, offset of the register in pt_regs, is signed, shift."""

_END: Final = struct.Struct("=Qh6x")
"""The end of `struct __bpf_usdt_spec`: cookie, number of arguments."""

_SIZED: Final = re.compile(r"(?P<size>-?[1248])@")

_IN_ORDER: Final = "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi"
_OTHERS: Final = {"rip": 128, "rsp": 152}
"""Registers of x86-64 in the order of pt_regs, and others with their offsets."""


Parser = Callable[[str], tuple[int, int, int] | None]


class Site(msgspec.Struct, frozen=True):
    """One place of a probe: its offset in the file, that of its semaphore (0 for none), and its arguments."""

    offset: int
    counter: int
    arguments: str


def find(file: Path, provider: str, name: str) -> list[Site]:
    """All places of a probe. Raises HostError where the file does not have it, or is not an ELF file."""
    with opened(file) as data:
        order = byte_order(data, file)
        sites = [
            site for where, notes in _probes(data, order) for site in _sites(notes, order, where, f"{provider}:{name}")
        ]
        if not sites:
            what, hint = f"{file} has no probe `{provider}:{name}`", "`readelf -n` lists its probes (stapsdt)"
            raise HostError(Problem(what, hint=hint, id="attach-target-missing"))
        loaded = segments(data, order)
        places = [
            Site(file_offset(loaded, address, file), file_offset(loaded, counter, file) if counter else 0, args)
            for address, counter, args in sites
        ]
    return sorted(dict.fromkeys(places), key=lambda site: (site.offset, site.arguments))


def encode(arguments: str, machine: str, size: int) -> bytes:
    """`struct __bpf_usdt_spec` with `size` bytes, for the arguments of a probe: `-4@%edi 8@-24(%rbp)`.

    Raises HostError for what usdt.bpf.h cannot read: floats, scaled indexes, names of variables.
    """
    parse = _PARSERS.get(machine)
    if parse is None:
        what = f"arguments of USDT probes are not supported on {machine}"
        raise HostError(Problem(what, id="attach-unsupported"))
    starts = [*(match.start() for match in _SIZED.finditer(arguments)), len(arguments)]
    texts = [arguments[start:end].strip() for start, end in pairwise(starts)]
    if arguments[: starts[0]].strip():
        raise HostError(_unreadable(arguments))
    specs = [_argument(text, parse) for text in texts]
    room = size - _END.size
    if len(specs) * _ARGUMENT.size > room:
        what = f"a probe has {len(specs)} arguments, and the object room for {room // _ARGUMENT.size}"
        raise HostError(Problem(what, hint="compile with a larger BPF_USDT_MAX_ARG_CNT", id="attach-unsupported"))
    return b"".join(specs).ljust(room, b"\0") + _END.pack(0, len(specs))


def _probes(data: Image, order: str) -> Iterator[tuple[int, bytes]]:
    """The address of `.stapsdt.base`, 0 if there is none, and the bytes of each section of notes."""
    headers = list(sections(data, order))
    (names_at,) = data.unpack(f"{order}H", 62)
    names = data.read(headers[names_at].offset, headers[names_at].size)

    def named(section: SectionHeader) -> bytes:
        return names[section.name : names.index(b"\0", section.name)]

    base = next((section.address for section in headers if named(section) == b".stapsdt.base"), 0)
    for section in headers:
        if named(section) == b".note.stapsdt":
            yield base, data.read(section.offset, section.size)


def _sites(notes: bytes, order: str, base: int, wanted: str) -> Iterator[tuple[int, int, str]]:
    """Address, address of the semaphore and arguments of each place of a probe."""
    at = 0
    while at + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from(f"{order}III", notes, at)
        start = at + 12 + _aligned(name_size)
        note = notes[start : start + size]
        if kind == _STAPSDT and notes[at + 12 : at + 12 + name_size] == b"stapsdt\0":
            address, linked, counter = struct.unpack_from(f"{order}QQQ", note)
            provider, name, arguments = note[24:].split(b"\0")[:3]
            if b":".join((provider, name)).decode(errors="replace") == wanted:
                moved = base - linked if base else 0
                yield address + moved, counter + moved if counter else 0, arguments.decode(errors="replace")
        at = start + _aligned(size)


def _aligned(size: int) -> int:
    return (size + 3) & ~3


def _argument(text: str, parse: Parser) -> bytes:
    size, _, place = text.partition("@")
    width, is_signed = abs(int(size)), size.startswith("-")
    kind, value, register = parse(place) or (None, 0, 0)
    if kind is None:
        raise HostError(_unreadable(text))
    return _ARGUMENT.pack(value & (1 << 64) - 1, kind, register, is_signed, 64 - 8 * width)


def _unreadable(text: str) -> Problem:
    what = f"argument `{text}` of the USDT probe cannot be read by libbpf's usdt.bpf.h"
    return Problem(what, hint="attach a program that does not use usdt.bpf.h", id="attach-unsupported")


_ARM_REGISTER: Final = r"x[0-9][0-9]?|sp"
_NUMBER: Final = r"-?(?:0x[0-9a-fA-F]{1,16}|0|[1-9][0-9]{0,19})"


def _x86(place: str) -> tuple[int, int, int] | None:
    """Kind, value and register of `%rax`, `8(%rax)` and `$5`; None for anything else."""
    if match := re.fullmatch(rf"\$({_NUMBER})", place):
        return _CONST, int(match[1], 0), 0
    if match := re.fullmatch(rf"({_NUMBER})?\(%(\w+)\)", place):
        register = _X86_REGISTERS.get(match[2])
        return None if register is None else (_DEREF, int(match[1] or "0", 0), register)
    register = _X86_REGISTERS.get(place.removeprefix("%")) if place.startswith("%") else None
    return None if register is None else (_REG, 0, register)


def _arm(place: str) -> tuple[int, int, int] | None:
    """Kind, value and register of `x0`, `[sp, 8]` and `5`; None for anything else."""
    if re.fullmatch(_NUMBER, place):
        return _CONST, int(place, 0), 0
    inside = re.fullmatch(rf"\[({_ARM_REGISTER})(?:, *#?({_NUMBER}))?\]", place)
    match = inside or re.fullmatch(rf"({_ARM_REGISTER})()", place)
    if match is None:
        return None
    register = 8 * (31 if match[1] == "sp" else int(match[1][1:]))
    if register > 8 * 31:
        return None
    return (_DEREF, int(match[2] or "0", 0), register) if place.startswith("[") else (_REG, 0, register)


def _names_of(register: str) -> tuple[str, ...]:
    """The names of a register of x86-64 and of its lower parts."""
    word = register[1:]
    if word.isdigit():
        return register, f"{register}d", f"{register}w", f"{register}b"
    low = f"{word[0]}l" if word.endswith("x") else f"{word}l"
    return register, f"e{word}", word, low


_X86_REGISTERS: Final[Mapping[str, int]] = MappingProxyType(
    {
        name: offset
        for register, offset in [*((name, 8 * at) for at, name in enumerate(_IN_ORDER.split())), *_OTHERS.items()]
        for name in _names_of(register)
    }
)

_PARSERS: Final = MappingProxyType({"x86_64": _x86, "aarch64": _arm})
