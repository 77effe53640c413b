"""What this process and the kernel hold, before and after a test: what a test leaves behind fails it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from provisioner.kernel import links, maps
from provisioner.kernel.fd import InnerId
from provisioner.kernel.reading import read_slots
from provisioner.kernel.reasons import KernelError

PATIENCE: Final = 15.0
"""Seconds that the kernel has to free what nobody holds any more: it does so after grace periods."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Open fds with what they are of; the ids of all maps, programs and links; the pins on our own bpffs."""

    fds: dict[int, str]
    maps: frozenset[int]
    programs: frozenset[int]
    links: frozenset[int]
    pins: frozenset[str]


def take(mount: Path) -> Ledger:
    """The state of things now."""
    return Ledger(
        fds=open_fds(),
        maps=frozenset(maps.map_ids()),
        programs=frozenset(links.program_ids()),
        links=frozenset(links.link_ids()),
        pins=frozenset(str(path) for path in mount.rglob("*")),
    )


def open_fds() -> dict[int, str]:
    """This process' fds, and what `/proc` says that they are of; the standard three apart, which pytest exchanges."""
    found: dict[int, str] = {}
    for name in set(os.listdir("/proc/self/fd")) - {"0", "1", "2"}:
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the fd that listed the folder
            continue
    return found


def left_over(before: Ledger, mount: Path, patience: float = PATIENCE) -> list[str]:
    """What is there that was not before, once the kernel had time to free it; empty if all is well."""
    deadline = time.monotonic() + patience
    while (found := _difference(before, take(mount))) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found and _difference(before, take(mount), held_by_others())


def new_maps(before: Set[InnerId], count: int, patience: float = PATIENCE) -> set[InnerId]:
    """The maps that were not there before, once the kernel had time to free all but `count` of them.

    A map goes when the last program or outer map that names it was freed, which is after grace periods.
    """
    deadline = time.monotonic() + patience
    while len(found := set(maps.map_ids()) - before) != count and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def _difference(before: Ledger, after: Ledger, others: frozenset[tuple[str, int]] = frozenset()) -> list[str]:
    found = [f"fd {fd}: {target}" for fd, target in after.fds.items() if before.fds.get(fd) != target]
    found += [f"pin {path}" for path in sorted(after.pins - before.pins)]
    for kind, old, new in (
        ("map", before.maps, after.maps),
        ("prog", before.programs, after.programs),
        ("link", before.links, after.links),
    ):
        found += [
            f"{kind} id {number}{_name(kind, number)}" for number in sorted(new - old) if (kind, number) not in others
        ]
    return found


def _name(kind: str, number: int) -> str:
    """The name of a map, to find it in the test."""
    if kind != "map":
        return ""
    try:
        with maps.open_id(InnerId(number)) as fd:
            found = maps.info(fd)
    except KernelError:
        return " (gone by now)"
    return f" ({found.shape.map_type.word} `{found.name}`)"


def held_by_others() -> frozenset[tuple[str, int]]:
    """Objects that processes outside our own family hold by an fd, or by a slot of an outer map that they hold so."""
    held: set[tuple[str, int]] = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and not _is_ours(int(process.name)):
            held.update(_held_by(process))
    for kind, number in tuple(held):
        if kind == "map":
            held.update(("map", inner) for inner in _inner_ids(InnerId(number)))
    return frozenset(held)


def _held_by(process: Path) -> Iterator[tuple[str, int]]:
    try:
        for info in (process / "fdinfo").iterdir():
            for kind, number in re.findall(r"^(map|prog|link)_id:\s*(\d+)", info.read_text(), re.MULTILINE):
                yield kind, int(number)
    except OSError:  # it ended meanwhile
        return


def _is_ours(process: int) -> bool:
    """Whether it is this process or one that it started."""
    while process > 1:
        if process == os.getpid():
            return True
        try:
            status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        process = int(status.rpartition(")")[2].split()[1])
    return False


def _inner_ids(number: InnerId) -> list[int]:
    try:
        with maps.open_id(number) as fd:
            shape = maps.info(fd).shape
            return [int(inner) for inner in read_slots(fd, shape)[1]] if shape.is_outer else []
    except KernelError:
        return []
