"""Whether a pin is still what the plan was made against: the kernel gives each map, program and link a unique id.

Between the plan and a write, another process can unpin a map, or pin another one in its place. Such a pin is refused:
it is neither written nor removed.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from provisioner.kernel import bpffs, links, maps
from provisioner.kernel.fd import Fd, LinkFd, MapFd, OwnedFd, ProgramFd
from provisioner.kernel.reasons import KernelError
from provisioner.model.errors import Problem, RefusedError
from provisioner.planning.plan import Plan

Thing = tuple[type[Fd], int]
"""What a pin holds: its kind, and its id."""

_WORDS: Final[dict[type[Fd], str]] = {MapFd: "map", ProgramFd: "program", LinkFd: "link"}
_HINT: Final = "plan again, and check which process pins there"


def planned(plan: Plan, pin: str) -> Thing | None:
    """What was pinned in the pin root when the plan was made; None where it did not look, or there was nothing."""
    seen, declared = plan.observed, plan.desired.maps.get(pin)
    if declared is not None and declared.adopted is not None:
        return None
    if (live := seen.maps.get(pin) or seen.object_maps.get(pin)) is not None:
        return MapFd, live.id
    if pin in seen.programs:
        return ProgramFd, seen.programs[pin].id
    if pin not in seen.links:
        return None
    return LinkFd if seen.links[pin].filter is None else MapFd, seen.links[pin].id


def thing(fd: Fd) -> Thing:
    """What an open pin holds; the id is 0 for anything but a map, program or link."""
    match fd:
        case MapFd():
            return MapFd, maps.info(fd).id
        case ProgramFd():
            return ProgramFd, links.program_info(fd).id
        case LinkFd():
            return LinkFd, links.info(fd).id
        case _:
            return type(fd), 0


def at(path: Path) -> Thing | None:
    """What is pinned there now; None for nothing."""
    try:
        with bpffs.open_any(path) as fd:
            return thing(fd)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        return None


def open_same(path: Path, kind: type[OwnedFd], number: int, address: str) -> OwnedFd:
    """Open a pin, which must be of `kind` and of this id. Raises RefusedError where it is of another thing, or gone."""
    try:
        fd = bpffs.open_any(path)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        raise _refused((kind, number), None, address) from error
    try:
        pinned = thing(fd)
        if isinstance(fd, kind) and pinned[1] == number:
            return fd
    except BaseException:
        fd.close()
        raise
    fd.close()
    raise _refused((kind, number), pinned, address)


def require(path: Path, expected: Thing, address: str) -> None:
    """Raise RefusedError where something else is pinned there, or nothing."""
    pinned = at(path)
    if pinned != expected:
        raise _refused(expected, pinned, address)


def leave_to_others(path: Path, ours: tuple[Thing | None, ...], address: str) -> None:
    """Raise RefusedError where something is pinned that is none of `ours`: a rollback does not touch it."""
    pinned = at(path)
    if pinned is not None and pinned not in ours:
        raise RefusedError(
            Problem(
                f"another process pinned {_words(pinned)} here during the apply; it is kept",
                address=address,
                id="changed-meanwhile",
            )
        )


def _refused(expected: Thing, pinned: Thing | None, address: str) -> RefusedError:
    now = f"found {_words(pinned)}" if pinned is not None else "it was removed"
    what = f"pin changed since it was planned: expected {_words(expected)}, {now}"
    return RefusedError(Problem(what, hint=_HINT, address=address, id="changed-since-plan"))


def _words(thing: Thing) -> str:
    kind, number = thing
    return f"{_WORDS[kind]} {number}" if kind in _WORDS else "an object of another kind"
