"""The names of pins and directories below a pin root, as paths relative to it. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from provisioner.model.access import Access
    from provisioner.model.desired import DesiredMap, DesiredState

USUAL_MOUNT: Final = "/sys/fs/bpf"
"""Where a bpffs is mounted on every usual host."""

META_PIN: Final = "_meta"
"""Names that begin with an underscore are reserved for the provisioner."""

LOCK: Final = "_lock"
"""The directory, in the pin root, that a writer locks."""

NEW_PREFIX: Final = "_new_"
"""Pins of a generation that is being loaded. The last step renames them to the final names, or removes them."""

OLD_PREFIX: Final = "_old_"
"""Pins that keep replaced programs and maps until the apply is verified."""

INNER_PINS: Final = "_inner"
"""The directory of the pins of inner maps, with a directory for each outer map, in which ids are the names."""

TEMPORARY_PREFIXES: Final = (NEW_PREFIX, OLD_PREFIX, "_tmp-")
"""Pins that a killed apply can leave. The next apply removes them."""

VARIABLES_PREFIX: Final = "_variables_"
"""The pin of a map with global variables of an object: this, and the names of the object and the section."""

LINK_PREFIX: Final = "_link_"
"""The pin of an attachment: this, and the name of the pin of its program or map."""

_HOOK: Final = "@"
"""In the pin of a further attachment of a program, between the name of the program and that of the hook."""

ROOT = "."
"""The path of the pin root from itself."""


def managed(pins: Iterable[str], inner_pins: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """The pin root, its pins, and the directories and pins of inner maps, by their paths from the pin root."""
    yield ROOT
    yield from pins
    if inner_pins:
        yield INNER_PINS
    for name, inner in inner_pins.items():
        yield f"{INNER_PINS}/{name}"
        yield from (f"{INNER_PINS}/{name}/{pin}" for pin in inner)


def stale_inner_pins(inner_pins: Mapping[str, tuple[str, ...]], live: Callable[[str], Iterable[int]]) -> Iterator[str]:
    """Pins of inner maps that are in no slot, and directories that are empty then, by their paths from the pin root.

    `live` gives the ids in the slots of an outer map.
    """
    for name, pins in inner_pins.items():
        slots = {str(number) for number in live(name)}
        gone = [pin for pin in pins if pin not in slots]
        yield from (f"{INNER_PINS}/{name}/{pin}" for pin in gone)
        if len(gone) == len(pins):
            yield f"{INNER_PINS}/{name}"


def is_temporary(pin: str) -> bool:
    """Whether a pin holds what an apply needs until its end: what is left of one that was killed."""
    return pin.startswith(TEMPORARY_PREFIXES)


def is_reserved(pin: str) -> bool:
    """Whether only the provisioner gives such names to pins. Other names with an underscore are those of others."""
    return pin == META_PIN or is_temporary(pin) or pin.startswith((LINK_PREFIX, VARIABLES_PREFIX))


def link_pin(program: str, hook: str = "") -> str:
    """The name of the pin of a program's attachment; with `hook`, that of a further one, at this hook.

    It depends on nothing else, so that the order of attachments in a spec does not matter. The digest is for hooks
    whose names differ in characters that a pin cannot have.
    """
    if not hook:
        return LINK_PREFIX + program
    label = re.sub("[^A-Za-z0-9]+", "-", hook)[:40].strip("-")
    return f"{LINK_PREFIX}{program}{_HOOK}{label}-{hashlib.sha256(hook.encode()).hexdigest()[:10]}"


def is_link(pin: str) -> bool:
    """Whether a pin is that of an attachment."""
    return pin.startswith(LINK_PREFIX)


def owner_of(link: str) -> str:
    """The name of the pin of the program or map, from that of its attachment."""
    return link.removeprefix(LINK_PREFIX).partition(_HOOK)[0]


def of_program(link: str, program: str) -> str:
    """The pin that an attachment has once the pin of its program is called `program`."""
    _, at, hook = link.partition(_HOOK)
    return f"{link_pin(program)}{at}{hook}"


def map_path(desired: DesiredState, declared: DesiredMap) -> PurePath:
    """The pin of a map: its full name in the pin root, or the path at which the spec adopts it or has it pinned."""
    elsewhere = declared.adopted or declared.place
    return PurePath(elsewhere) if elsewhere is not None else PurePath(desired.pin_root) / declared.name


def own_path(desired: DesiredState, pin: str) -> PurePath:
    """The path of a pin of the project, by its name; a path is itself."""
    declared = desired.maps.get(pin)
    return PurePath(desired.pin_root) / (declared.place if declared is not None and declared.place else pin)


def places(desired: DesiredState) -> dict[str, str]:
    """The paths of the project's own maps that are pinned outside of the pin root, by the names of the maps."""
    return {name: one.place for name, one in sorted(desired.maps.items()) if one.place is not None}


def inner_directory(desired: DesiredState, name: str) -> PurePath | None:
    """The directory of the pins of an outer map's inner maps; None if they are not pinned."""
    return PurePath(desired.pin_root) / INNER_PINS / name if desired.pin_inner_maps else None


def adopted_pins(desired: DesiredState) -> dict[str, str]:
    """Pins of adopted maps in the pin root, by the names of the maps."""
    paths = {
        declared.name: declared.adopted.rpartition("/")
        for declared in desired.maps.values()
        if declared.adopted is not None
    }
    return {name: pin for name, (directory, _, pin) in paths.items() if directory == desired.pin_root.rstrip("/")}


def access_of(desired: DesiredState, gid: int | None, path: str) -> Access:
    """The permissions of a pin or directory, by its path from the pin root; `gid` is that of `pin_group`."""
    wanted = desired.access(gid)
    is_directory = path in (ROOT, INNER_PINS) or path.count("/") == 1
    return wanted.of_folders if is_directory else wanted
