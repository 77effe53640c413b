"""What another process does between the read and the writes of an apply is seen and refused, and stays as it is.

The apply stops before a system call, the other hand does its work, and the apply goes on: at one call after the other.
It is one of a saved plan, so that whatever is put in place since is never what was planned against.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from provisioner.kernel import bpffs, maps, objects
from provisioner.kernel.fd import InnerId
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import Command, MapType
from tests.promises import scenarios
from tests.promises.conftest import Make
from tests.promises.injection import READING, Injector, Ran, words
from tests.promises.scenarios import Live, Pin, Scenario, comparable

_INNER: Final = MapShape(MapType.HASH, 4, 4, 8)
_OUTER: Final = MapShape(MapType.HASH_OF_MAPS, 4, 4, 8)


def u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


# --- other hands -------------------------------------------------------------------------------------------------


Act = Callable[[Path, Path], None]
"""Pins something under a name; gets a compiled object to take a program from."""


def outer_map(shape: MapShape) -> Act:
    """Pins an outer map with one inner map in it."""

    def act(pin: Path, _: Path) -> None:
        with maps.create(_INNER) as inner, maps.create(shape, "theirs", inner=inner) as outer:
            maps.insert_inner(outer, u32(7), inner)
            pin.parent.mkdir(exist_ok=True)
            bpffs.pin_replace(outer, pin)

    return act


def plain_map(pin: Path, _: Path) -> None:
    with maps.create(MapShape(MapType.ARRAY, 4, 4, 1), "theirs") as fd:
        maps.update(fd, u32(0), u32(77))
        bpffs.pin_replace(fd, pin)


def program(pin: Path, compiled: Path) -> None:
    with objects.load(compiled, inner_templates={"tenants": _INNER}) as loaded:
        bpffs.pin_replace(next(iter(loaded.programs.values())), pin)


def nothing(pin: Path, _: Path) -> None:
    bpffs.unpin(pin)


PINS: Final = {
    "a map of the same shape": ("change", "tenants", outer_map(_OUTER)),
    "a map of another shape": ("change", "tenants", outer_map(_OUTER.with_capacity(16))),
    "a program": ("change", "tenants", program),
    "no pin any more": ("change", "tenants", nothing),
    "another plain map": ("change", "switch", plain_map),
    "a map that was to be carried over": ("upgrade", "tenants", outer_map(_OUTER)),
    "a program that was to be replaced": ("upgrade", "xdp_router", program),
    "a map that was to be made again": ("recreate", "tenants", outer_map(_OUTER)),
    "a map where there was none": ("create", "tenants", outer_map(_OUTER)),
    "a map that was to be destroyed": ("destroy", "tenants", outer_map(_OUTER)),
}


# --- when ----------------------------------------------------------------------------------------------------------


def points(calls: tuple[str, ...], step: int) -> list[int]:
    """Each `step`th call that changes something, but for a write that comes right after the look at what it is about.

    The kernel has no call that does both at once.
    """
    looks = {f"bpf {Command.MAP_LOOKUP_ELEM:d}", f"bpf {Command.OBJ_GET_INFO_BY_FD:d}"}
    writes = {"rename", f"bpf {Command.MAP_DELETE_ELEM:d}"}
    writes |= {f"bpf {command:d}" for command in (Command.MAP_UPDATE_BATCH, Command.MAP_DELETE_BATCH)}
    changing = [at for at, call in enumerate(calls, 1) if call not in READING]
    return [at for at in changing if not (calls[at - 1] in writes and calls[at - 2] in looks)][::step]


def run(scenario: Scenario, injector: Injector, at: int, hand: Callable[[], None]) -> Ran:
    """Plan it and save the plan, then apply that, with `hand` at work before call `at`; destroy has no saved plans."""
    verb, *rest = scenario.words()
    if verb == "destroy":
        return injector.run(verb, *rest, under=scenario.root, at=at, meanwhile=hand)
    saved = scenario.folder / "saved.plan"
    planned = injector.run("plan", *(word for word in rest if word != "--yes"), "--out", saved, under=scenario.root)
    assert planned.status in (2, 4), planned
    return injector.run(verb, *rest, "--plan", saved, under=scenario.root, at=at, meanwhile=hand)


def result(ran: Ran) -> dict[str, Any]:
    ended: dict[str, Any] = json.loads(ran.out)["result"] if ran.out else {"status": "refused"}
    return ended


def unhurt(scenario: Scenario, injector: Injector) -> tuple[tuple[str, ...], Live]:
    """The calls of a run that nobody disturbs, and what is live then."""
    scenario.begin()
    done = run(scenario, injector, 0, lambda: None)
    assert done.status == 0, done
    return done.calls, scenario.finish()


@pytest.mark.parametrize("name", PINS)
def test_what_another_process_pins_meanwhile_is_theirs(
    name: str, make: Make, injector: Injector, bpf_object: Callable[[str], Path], full_sweep: bool, figures: list[str]
) -> None:
    kind, pin, act = PINS[name]
    scenario, compiled = make(kind), bpf_object("outers")
    path = scenario.root / pin

    def hand(theirs: list[Pin | None]) -> None:
        act(path, compiled)
        theirs.append(scenarios.look(scenario.root).pins.get(pin))

    calls, wanted = unhurt(scenario, injector)
    ends: dict[int, int] = {}
    for at in points(calls, 1 if full_sweep else 11):
        before = scenario.begin()
        theirs: list[Pin | None] = []
        ran = run(scenario, injector, at, partial(hand, theirs))
        place = f"{name}: at call {at}, {words(calls[at - 1])}: exit {ran.status} {ran.out} {ran.err}"
        ends[ran.status] = ends.get(ran.status, 0) + 1
        live = scenarios.look(scenario.root) if scenario.root.exists() else Live({})
        if at > len(ran.calls):  # fewer programs of others than before: plans look at those of the whole host
            continue
        assert theirs, place
        assert live.pins.get(pin) == theirs[0], f"{place}: it is not left alone"
        assert ran.status in (0, 3, 4, 5) if act is program else (0, 3, 4), place
        assert "Traceback" not in ran.err, place
        if ran.status in (3, 4, 5) and scenario.verb == "apply":
            end = result(ran)
            assert end["status"] in ("refused", "rolled_back", "partial"), place
            assert end["status"] != "partial" or "is kept" in " ".join(end["live"]), place
            assert without(live, pin) == without(before, pin), place
        if pin in live.pins and (act is program or kind in ("create", "destroy") or live.pins[pin].kind == "prog"):
            bpffs.unpin(path)
        assert scenario.finish().contents == wanted.contents, place
        assert not (left := scenarios.leftovers(ran, scenarios.look(scenario.root))), f"{place}: {left}"
    assert ends.keys() & {3, 4}, ends
    figures.append(
        f"meanwhile: {name}: at {sum(ends.values())} calls of {len(calls)}; exit {dict(sorted(ends.items()))}"
    )


def without(live: Live, pin: str) -> dict[str, Pin]:
    return {name: one for name, one in comparable(live).items() if name != pin}


@pytest.mark.parametrize(("slot", "what"), [(1, "written"), (2, "replaced"), (3, "deleted"), (4, "new")])
def test_what_another_process_puts_in_a_slot_meanwhile_is_theirs(
    slot: int, what: str, make: Make, injector: Injector, full_sweep: bool, figures: list[str]
) -> None:
    scenario = make("change")
    calls, wanted = unhurt(scenario, injector)
    key = u32(slot)

    def hand(theirs: list[int]) -> None:
        with maps.open_pin(scenario.root / "tenants") as outer, maps.create(_INNER, "theirs") as inner:
            maps.update(inner, u32(9), u32(9))
            maps.insert_inner(outer, key, inner)
            theirs.append(maps.info(inner).id)

    ends: dict[int, int] = {}
    for at in points(calls, 1 if full_sweep else 9):
        before = scenario.begin()
        theirs: list[int] = []
        ran = run(scenario, injector, at, partial(hand, theirs))
        place = f"slot {slot}: at call {at}, {words(calls[at - 1])}: exit {ran.status} {ran.out} {ran.err}"
        ends[ran.status] = ends.get(ran.status, 0) + 1
        tenants = scenarios.look(scenario.root).pins["tenants"]
        assert tenants.slots is not None
        assert tenants.slots[key] == theirs[0], f"{place}: it is not left alone"
        assert scenarios.entries_of(InnerId(theirs[0])) == {u32(9): u32(9)}, place
        assert ran.status in (0, 3, 4), place
        assert "Traceback" not in ran.err, place
        if ran.status != 0:
            end = result(ran)
            assert end["status"] in ("refused", "rolled_back", "partial"), place
            assert end["status"] != "partial" or f"tenants[{slot}]" in " ".join(end["live"]), place
            live = scenarios.look(scenario.root)
            assert without(live, "tenants") == without(before, "tenants"), place
            assert less(tenants, key) == less(before.pins["tenants"], key), place
        assert scenario.finish().contents == wanted.contents, place
        assert not (left := scenarios.leftovers(ran, scenarios.look(scenario.root))), f"{place}: {left}"
    assert ends.keys() & {3, 4}, ends
    figures.append(
        f"meanwhile: a slot that is to be {what}: at {sum(ends.values())} calls; exit {dict(sorted(ends.items()))}"
    )


def less(pin: Pin, slot: bytes) -> Pin:
    """An outer map but for one slot."""
    slots = {key: number for key, number in (pin.slots or {}).items() if key != slot}
    return replace(pin, slots=slots, entries={key: one for key, one in (pin.entries or {}).items() if key != slot})


def test_an_object_file_that_is_compiled_again_meanwhile_is_not_loaded(
    make: Make, injector: Injector, bpf_object: Callable[[str], Path], tmp_path: Path
) -> None:
    """The programs that the plan was made of are loaded, or none."""
    scenario = make("load")
    file = tmp_path / "router.o"
    spec = tmp_path / "spec.yaml"
    spec.write_text(scenarios.router(file, "native"))
    rest = (spec, "--allow-outside", "--force", "--format", "json", "--pin-root", scenario.root)
    file.write_bytes(bpf_object("router").read_bytes())
    done = injector.run("apply", *rest, "--yes", under=scenario.root)
    assert done.status == 0, done
    file.write_bytes(bpf_object("router_v2").read_bytes())
    before = scenarios.look(scenario.root)
    first = next(at for at, call in enumerate(done.calls, 1) if call not in READING)

    def hand() -> None:
        file.write_bytes(bpf_object("router_wide").read_bytes())

    ran = injector.run("apply", *rest, "--yes", under=scenario.root, at=first, meanwhile=hand)
    assert (ran.status, result(ran)["status"]) == (4, "refused"), ran
    error = json.loads(ran.err)["errors"][0]
    assert (error["file"], error["id"]) == (str(file), "stale-plan")
    assert comparable(scenarios.look(scenario.root)) == comparable(before)
