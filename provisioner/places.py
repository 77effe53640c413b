"""What a project keeps below its pin root, by paths from there: pins, and the folders of inner maps. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from provisioner.access import Access
from provisioner.state import INNER_PINS, DesiredState, ObservedState

ROOT = "."
"""The path of the pin root from itself."""


def managed(pins: Iterable[str], inner_pins: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """The pin root, what is pinned in it, and the folders and pins of inner maps, by their paths from the pin root."""
    yield ROOT
    yield from pins
    if inner_pins:
        yield INNER_PINS
    for name, inner in inner_pins.items():
        yield f"{INNER_PINS}/{name}"
        yield from (f"{INNER_PINS}/{name}/{pin}" for pin in inner)


def adopted_pins(desired: DesiredState) -> dict[str, str]:
    """Pins in the pin root of maps that the spec adopts, by the maps' names: somebody else's, and so is the folder."""
    paths = {one.name: one.adopted.rpartition("/") for one in desired.maps.values() if one.adopted is not None}
    return {name: pin for name, (folder, _, pin) in paths.items() if folder == desired.pin_root.rstrip("/")}


def access_of(desired: DesiredState, observed: ObservedState, path: str) -> Access:
    """Who shall be able to open a pin, or to enter a folder."""
    wanted = Access(desired.pin_mode, observed.gid)
    is_folder = path in (ROOT, INNER_PINS) or path.count("/") == 1
    return wanted.of_folders if is_folder else wanted


def stale_inner_pins(inner_pins: Mapping[str, tuple[str, ...]], live: Callable[[str], Iterable[int]]) -> Iterator[str]:
    """Pins of inner maps that are in no slot, and folders that are empty then, by their paths from the pin root.

    `live` gives the ids in the slots of an outer map.
    """
    for name, pins in inner_pins.items():
        slots = {str(number) for number in live(name)}
        gone = [pin for pin in pins if pin not in slots]
        yield from (f"{INNER_PINS}/{name}/{pin}" for pin in gone)
        if len(gone) == len(pins):
            yield f"{INNER_PINS}/{name}"
