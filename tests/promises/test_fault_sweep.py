"""Any system call may fail once with any errno: a clear error, all as it was before, and the next run converges."""

from __future__ import annotations

import errno
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from provisioner.model.errors import ProvisionerError
from provisioner.model.uapi import Command
from tests.promises import scenarios
from tests.promises.conftest import Make
from tests.promises.injection import ERRNOS, READING, Injector, Ran, words
from tests.promises.scenarios import Live, Pin, Scenario, comparable

_LOOKUP_BATCH: Final = f"bpf {Command.MAP_LOOKUP_BATCH:d}"


def faults(calls: tuple[str, ...], full: bool) -> Iterator[tuple[int, int]]:
    """Which call fails, and how; of the sample, each that changes something with one errno, and few that only read.

    Of a row of the same call, as for many maps, the sample has the first and the last.
    """
    for at, call in enumerate(calls, 1):
        given = tuple(number for number in ERRNOS if not is_lie(call, number))
        if full:
            yield from ((at, number) for number in given)
        elif at % 16 == 0 if call in READING else {call} != {*calls[at - 2 : at + 1]} or not 1 < at < len(calls):
            yield at, given[(at * 5 + len(calls)) % len(given)]


def is_lie(call: str, number: int) -> bool:
    """Whether this is no fault, but a lie about what is there: ENOENT says that a batch came to the end of a map.

    The kernel then says how many entries there were; the shim leaves the number of those that there is room for.
    """
    return call == _LOOKUP_BATCH and number == errno.ENOENT


STATUSES: Final = (0, 3, 4, 5)
UNWANTED: Final = ("Traceback", "this is a bug", "never closed", "left open", "Warning")


def check(
    scenario: Scenario,
    ran: Ran,
    before: Live,
    wanted: Live,
    statuses: Collection[int] = STATUSES,
    unwanted: Collection[str] = UNWANTED,
    *,
    loses_values: bool = False,
) -> str:
    """What is wrong with how a hurt run ended; empty if nothing is.

    `loses_values` says that an fd may have lost its owner: the garbage collector closes it, with a warning.
    """
    if ran.status not in statuses:
        return "this is no exit status for it"
    for word in unwanted:
        if word in ran.err:
            return f"`{word}` on standard error"
    nothing = {"status": "refused", "fds_before": 0, "fds_after": 0}
    result: dict[str, Any] = json.loads(ran.out)["result"] if ran.out else nothing
    if result["fds_before"] != result["fds_after"] and not loses_values:
        return "fds are left open"
    if ran.status == 0:
        return ""
    document, _ = json.JSONDecoder().raw_decode(ran.err)
    if not all(error["message"] for error in document["errors"]):
        return "an error without words"
    live = scenarios.look(scenario.root)
    if result["status"] == "partial":
        # Destroy is not taken back; and pins that an apply was done with may be left where they cannot be removed.
        if scenario.verb == "apply" and live.tidy not in (before.tidy, wanted.tidy):
            return "neither done nor rolled back"
        if gone := [each for each in result["live"] if scenario.verb == "destroy" and is_gone(each, scenario.root)]:
            return f"{gone} live, it says, and gone"
        return "" if result["live"] and ran.status == 3 else "partial, but it does not say what is live"
    if ran.status == 3 and result["status"] != "rolled_back":
        return "status 3, but nothing was rolled back"
    return differences(comparable(before), comparable(live))


def is_gone(said: str, root: Path) -> bool:
    """Whether a pin or an attachment that is said to be live is not pinned."""
    kind, _, name = said.partition(" ")
    return kind in ("pin", "attachment", "directory") and name != f"root {root}" and not (root / name).exists()


def differences(before: Mapping[str, Pin], live: Mapping[str, Pin]) -> str:
    """The pins that are not what they were."""
    names = [name for name in sorted({*before, *live}) if before.get(name) != live.get(name)]
    lines = [f"{name}: {before.get(name)} -> {live.get(name)}" for name in names]
    return "the live state is not what it was: " + "; ".join(lines) if lines else ""


@pytest.mark.parametrize("name", scenarios.NAMES)
def test_a_call_that_fails_once_is_answered(
    name: str, make: Make, injector: Injector, full_sweep: bool, figures: list[str]
) -> None:
    scenario = make(name)
    scenario.begin()
    unhurt = injector.run(*scenario.words(), under=scenario.root)
    assert unhurt.status == 0, unhurt.err
    wanted = scenario.finish()
    ends: dict[int, int] = {}
    partial = 0
    wrong: list[str] = []
    before: Live | None = None
    for turn, (at, number) in enumerate(scenarios.sampled(name, faults(unhurt.calls, full_sweep), full_sweep)):
        before = before or scenario.begin()
        ran = injector.run(*scenario.words(), under=scenario.root, at=at, what=number)
        if at <= len(ran.calls) and is_lie(ran.calls[at - 1], number):
            # Threads, and the programs of others, can move a batch to where another call was. Where the specs keep
            # entries of others, what was read beyond the end of the map would stay.
            scenario.finish()
            scenario.clear()
            before = None
            continue
        ends[ran.status] = ends.get(ran.status, 0) + 1
        partial += '"partial"' in ran.out
        call = words(ran.calls[at - 1]) if at <= len(ran.calls) else "a call that it did not come to"
        place = f"{name}: call {at}, {call}, gives {errno.errorcode.get(number, number)}"
        trouble = check(scenario, ran, before, wanted)
        said = f"{place}: exit {ran.status}, {' '.join(ran.err.split())[:300]}"
        # Where all is as it was before, the next run is the unhurt one: the sample tries a few.
        is_as_before = ran.status != 0 and '"partial"' not in ran.out and not trouble
        if is_as_before and not full_sweep and turn % 4:
            live = before = scenarios.look(scenario.root)
        else:
            before = None
            try:
                live = scenario.finish()
            except ProvisionerError as error:
                wrong.append(f"{said}: {trouble}; the next run: {error}")
                break
            if not trouble and live.contents != wanted.contents:
                trouble = "the next run does not converge"
        if not trouble and (left := scenarios.leftovers(ran, live)):
            trouble = f"left behind: {left}"
        if trouble:
            wrong.append(f"{said}: {trouble}")
    figures.append(f"fault sweep: {name}: {sum(ends.values())} faults in {len(unhurt.calls)} calls; exit {ends}")
    assert not wrong, "\n".join(wrong)
