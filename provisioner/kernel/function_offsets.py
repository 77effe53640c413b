"""Where a function is in an executable or a library: the file and the offset that a uprobe takes."""

from __future__ import annotations

import mmap
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from provisioner.model.errors import HostError, Problem

_LIBRARIES: Final = ("/lib/{machine}-linux-gnu", "/usr/lib/{machine}-linux-gnu", "/lib64", "/usr/lib64", "/usr/lib")
_SYMBOL_TABLES: Final = frozenset({2, 11})
"""SHT_SYMTAB and SHT_DYNSYM."""

_FUNCTION: Final = frozenset({2, 10})
"""STT_FUNC, and STT_GNU_IFUNC."""

_LOAD: Final = 1
"""PT_LOAD."""


def resolve(name: str) -> Path | None:
    """The file of a name as libbpf resolves it: a path, a library, or a program in PATH; None if there is none."""
    if "/" in name:
        paths = [Path(name)]
    elif ".so" in name:
        machine = os.uname().machine
        paths = [Path(folder.format(machine=machine)) / name for folder in _LIBRARIES]
    else:
        folders = f"{os.environ.get('PATH', '')}:/usr/bin:/usr/sbin".split(":")
        paths = [Path(folder) / name for folder in folders if folder]
    return next((path for path in paths if path.is_file()), None)


def find(file: Path, function: str) -> int:
    """The offset of a function in a file. Raises HostError where the file is not an ELF file, or does not have it."""
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode) or not os.fstat(fd).st_size:
            raise HostError(_problem(file, "not an executable or a library"))
        with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as data:
            try:
                return _find(data, function, file)
            except (struct.error, UnicodeDecodeError, IndexError) as error:
                raise HostError(_problem(file, "malformed ELF file")) from error
    finally:
        os.close(fd)


class _Section(msgspec.Struct, frozen=True):
    type: int
    offset: int
    size: int
    link: int


def _find(data: mmap.mmap, function: str, file: Path) -> int:
    if data[:5] != b"\x7fELF\x02":
        raise HostError(_problem(file, "not a 64-bit ELF file"))
    order = "<" if data[5] == 1 else ">"
    sections = list(_sections(data, order))
    wanted = function.partition("@")[0].encode()
    for table in sections:
        if table.type in _SYMBOL_TABLES:
            address = _address(data, order, table, sections[table.link], wanted)
            if address is not None:
                return _offset(data, order, address, file)
    what = f"{file} has no function `{function}`"
    raise HostError(Problem(what, hint="`nm -D` lists the functions of a library", id="attach-target-missing"))


def _sections(data: mmap.mmap, order: str) -> Iterator[_Section]:
    (start,) = struct.unpack_from(f"{order}Q", data, 40)
    size, count = struct.unpack_from(f"{order}HH", data, 58)
    for number in range(count):
        at = start + number * size
        (kind,) = struct.unpack_from(f"{order}I", data, at + 4)
        offset, length, link = struct.unpack_from(f"{order}QQI", data, at + 24)
        yield _Section(kind, offset, length, link)


def _address(data: mmap.mmap, order: str, table: _Section, strings: _Section, wanted: bytes) -> int | None:
    """The address of a function that is defined in the file."""
    texts = data[strings.offset : strings.offset + strings.size]
    symbols = data[table.offset : table.offset + table.size // 24 * 24]
    for name, info, _, section, value, _ in struct.iter_unpack(f"{order}IBBHQQ", symbols):
        if info & 0xF in _FUNCTION and section and texts.startswith(wanted + b"\0", name):
            return int(value)
    return None


def _offset(data: mmap.mmap, order: str, address: int, file: Path) -> int:
    (start,) = struct.unpack_from(f"{order}Q", data, 32)
    size, count = struct.unpack_from(f"{order}HH", data, 54)
    for number in range(count):
        kind, _, offset, virtual, _, length = struct.unpack_from(f"{order}IIQQQQ", data, start + number * size)
        if kind == _LOAD and virtual <= address < virtual + length:
            return int(address - virtual + offset)
    raise HostError(_problem(file, "the address of the function is in no segment"))


def _problem(file: Path, what: str) -> Problem:
    return Problem(f"{file}: {what}", hint="name a file that the program runs", id="attach-unsupported")
