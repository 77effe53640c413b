"""Who holds live maps: programs that use them, pins, and the memory they take. Changes nothing."""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from provisioner.kernel import bpffs, links, maps
from provisioner.kernel.fd import InnerId, MapFd
from provisioner.kernel.reasons import KernelError
from provisioner.model.observed import ObservedState

_GONE: Final = errno.ENOENT
_FORBIDDEN: Final = (errno.EPERM, errno.EACCES)


class Holders(msgspec.Struct, frozen=True):
    """By the id of a map: the programs that use it, as `name` or the name of their pin, and the paths of its pins.

    `everybody` is False where this process may see the project's own programs alone.
    """

    programs: Mapping[int, tuple[str, ...]]
    pins: Mapping[int, tuple[str, ...]]
    everybody: bool

    def of(self, number: int) -> str:
        """`used by xdp_router`, for people; empty where nothing is known to use it."""
        users = self.programs.get(number, ())
        return f"used by {', '.join(users)}" if users else ""


def find(observed: ObservedState) -> Holders:
    """All programs and pins of this host; only the project's own where this process may not see the others."""
    programs = users({program.id: pin for pin, program in observed.programs.items()})
    if programs is not None:
        return Holders(programs, _pins(), everybody=True)
    own: dict[int, list[str]] = defaultdict(list)
    for pin, program in observed.programs.items():
        for number in program.map_ids:
            own[number].append(pin)
    return Holders({number: tuple(names) for number, names in own.items()}, _pins(), everybody=False)


def users(own: Mapping[int, str]) -> dict[int, tuple[str, ...]] | None:
    """The programs of this host that use each map, by the map's id; None where this process may not see them.

    `own` has the pins of the project's programs by id: the others are named `name (id 7)`.
    """
    programs: dict[int, list[str]] = defaultdict(list)
    try:
        for number in links.program_ids():
            try:
                with links.open_program_id(number) as fd:
                    info = links.program_info(fd)
            except KernelError as error:
                if error.errno != _GONE:
                    raise
                continue
            for used in info.map_ids:
                programs[int(used)].append(own.get(info.id) or f"{info.name or 'a program'} (id {info.id})")
    except KernelError as error:
        if error.errno not in _FORBIDDEN:
            raise
        return None
    return {number: tuple(names) for number, names in programs.items()}


def _pins() -> dict[int, tuple[str, ...]]:
    pins: dict[int, list[str]] = defaultdict(list)
    for path in bpffs.walk_pins():
        try:
            with bpffs.open_any(path, readonly=True) as fd:
                if isinstance(fd, MapFd):
                    pins[int(maps.info(fd).id)].append(str(path))
        except KernelError:  # an iterator, or a pin that is not for this process
            continue
    return {number: tuple(paths) for number, paths in pins.items()}


def live(numbers: Iterable[int]) -> Iterator[int]:
    """Those of maps, by their ids, that are live and that this process may open."""
    for number in numbers:
        try:
            maps.open_id(InnerId(number)).close()
        except KernelError as error:
            if error.errno not in (_GONE, *_FORBIDDEN):
                raise
        else:
            yield number


def memory(numbers: Iterable[int]) -> dict[int, int]:
    """Bytes that maps take in the kernel, by id; without those that went, or are not for this process to open."""
    sizes = {}
    for number in numbers:
        try:
            with maps.open_id(InnerId(number)) as fd:
                sizes[number] = maps.memory(fd)
        except KernelError as error:
            if error.errno not in (_GONE, *_FORBIDDEN):
                raise
    return sizes
