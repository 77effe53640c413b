"""Where functions are in an executable or a library: the file and the offsets that a uprobe takes."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from provisioner.kernel.host import access_denied
from provisioner.model.errors import HostError, Problem

_LIBRARIES: Final = ("/lib/{machine}-linux-gnu", "/usr/lib/{machine}-linux-gnu", "/lib64", "/usr/lib64", "/usr/lib")
_SYMBOL_TABLES: Final = frozenset({2, 11})
"""SHT_SYMTAB and SHT_DYNSYM."""

_FUNCTION: Final = frozenset({2, 10})
"""STT_FUNC, and STT_GNU_IFUNC."""

_LOAD: Final = 1
"""PT_LOAD."""

_MOST_READ: Final = 512 << 20
"""How many bytes of a file are read: tables that claim more are damaged."""

_MOST_SEGMENTS: Final = 1000


class Image:
    """An open file, read where it is asked for.

    It is not mapped: a process that cuts a file which another one has mapped ends that one by SIGBUS.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._left = _MOST_READ

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from `start`, fewer at the end of the file. Raises ValueError where it becomes too much."""
        end = min(start + size, os.fstat(self._number).st_size)
        self._left -= max(end - start, 0)
        if self._left < 0:
            raise ValueError("too much to read")
        parts = []
        while start < end and (part := os.pread(self._number, end - start, start)):
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def unpack(self, form: str, start: int) -> tuple[int, ...]:
        """Numbers at `start`, in a form of `struct`. Raises struct.error at the end of the file."""
        return struct.unpack(form, self.read(start, struct.calcsize(form)))


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
    return next((path for path in paths if _is_file(path, search="/" not in name)), None)


def _is_file(path: Path, *, search: bool) -> bool:
    """Whether it is one. Raises HostError where this process may not look, except in a `search` of several places."""
    try:
        return path.is_file()
    except PermissionError as error:
        if search:
            return False
        raise access_denied(path) from error


def find(file: Path, function: str) -> int:
    """The offset of a function in a file. Raises HostError where the file is not an ELF file, or does not have it."""
    with opened(file) as data:
        order, wanted = byte_order(data, file), function.partition("@")[0].encode()
        for table, strings in _symbol_tables(data, order):
            address = _address(data, order, table, strings, wanted)
            if address is not None:
                return file_offset(segments(data, order), address, file)
        raise HostError(_missing(file, f"function `{function}`"))


def find_all(file: Path, pattern: str) -> list[int]:
    """The offsets of all functions whose name matches a pattern with `*` and `?`, each once. Raises as `find`."""
    with opened(file) as data:
        order, offsets = byte_order(data, file), set()
        loaded = segments(data, order)
        matches = re.compile(fnmatch.translate(pattern).encode()).match
        for table, strings in _symbol_tables(data, order):
            texts = data.read(strings.offset, strings.size)
            for name, address in _functions(data, order, table):
                if matches(texts[name : texts.index(b"\0", name)]):
                    offsets.add(file_offset(loaded, address, file))
        if not offsets:
            raise HostError(_missing(file, f"function that matches `{pattern}`"))
        return sorted(offsets)


@contextmanager
def opened(file: Path) -> Iterator[Image]:
    """A file, for the block. Raises HostError if it is empty, or damaged as the block finds."""
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode) or not os.fstat(fd).st_size:
            raise HostError(_problem(file, "not an executable or a library"))
        try:
            yield Image(fd)
        except (struct.error, ValueError, IndexError) as error:
            raise HostError(_problem(file, "malformed ELF file")) from error
    finally:
        os.close(fd)


class SectionHeader(msgspec.Struct, frozen=True):
    """A section header; `name` is the offset of its name."""

    name: int
    type: int
    address: int
    offset: int
    size: int
    link: int


def byte_order(data: Image, file: Path) -> str:
    """`<` or `>`, as `struct` writes it. Raises HostError for what is not a 64-bit ELF file."""
    head = data.read(0, 6)
    if head[:5] != b"\x7fELF\x02":
        raise HostError(_problem(file, "not a 64-bit ELF file"))
    return "<" if head[5] == 1 else ">"


def sections(data: Image, order: str) -> Iterator[SectionHeader]:
    """All section headers."""
    (start,) = data.unpack(f"{order}Q", 40)
    size, count = data.unpack(f"{order}HH", 58)
    for number in range(count):
        name, kind, _, address, offset, length, link = data.unpack(f"{order}IIQQQQI", start + number * size)
        yield SectionHeader(name, kind, address, offset, length, link)


def _symbol_tables(data: Image, order: str) -> Iterator[tuple[SectionHeader, SectionHeader]]:
    """The tables of symbols, each with that of its names."""
    every = list(sections(data, order))
    yield from ((table, every[table.link]) for table in every if table.type in _SYMBOL_TABLES)


def _address(data: Image, order: str, table: SectionHeader, strings: SectionHeader, wanted: bytes) -> int | None:
    """The address of a function that is defined in the file."""
    texts = data.read(strings.offset, strings.size)
    functions = _functions(data, order, table)
    return next((address for name, address in functions if texts.startswith(wanted + b"\0", name)), None)


def _functions(data: Image, order: str, table: SectionHeader) -> Iterator[tuple[int, int]]:
    """The functions that are defined in the file: offset of the name, and address."""
    symbols = data.read(table.offset, table.size // 24 * 24)
    for name, info, _, section, value, _ in struct.iter_unpack(f"{order}IBBHQQ", symbols):
        if info & 0xF in _FUNCTION and section:
            yield name, int(value)


def segments(data: Image, order: str) -> list[tuple[int, int, int]]:
    """Address, length and offset of each part of the file that is loaded."""
    (start,) = data.unpack(f"{order}Q", 32)
    size, count = data.unpack(f"{order}HH", 54)
    if count > _MOST_SEGMENTS:
        raise ValueError("too many segments")
    headers = (data.unpack(f"{order}IIQQQQ", start + number * size) for number in range(count))
    return [(virtual, length, offset) for kind, _, offset, virtual, _, length in headers if kind == _LOAD]


def file_offset(loaded: list[tuple[int, int, int]], address: int, file: Path) -> int:
    """Where an address is in the file, by its segments. Raises HostError if it is in none."""
    for virtual, length, offset in loaded:
        if virtual <= address < virtual + length:
            return address - virtual + offset
    raise HostError(_problem(file, "the address of the function or probe is in no segment"))


def _missing(file: Path, what: str) -> Problem:
    hint = "`nm -D` lists the functions of a library"
    return Problem(f"{file} has no {what}", hint=hint, id="attach-target-missing")


def _problem(file: Path, what: str) -> Problem:
    return Problem(f"{file}: {what}", hint="name a file that the program runs", id="attach-unsupported")
