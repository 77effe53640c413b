"""A fault while a fault is taken back: the report says what is live, and the next apply converges."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.promises import scenarios
from tests.promises.conftest import Make
from tests.promises.injection import ERRNOS, READING, Injector, words
from tests.promises.scenarios import comparable

NAMES: Final = ("create", "change", "upgrade", "recreate", "pinned")


def seconds(calls: tuple[str, ...], full: bool) -> Iterator[tuple[int, int]]:
    """Calls of a rollback that fail too, by number from 1, and how; of the sample, each once."""
    changing = [at for at, call in enumerate(calls, 1) if full or call not in READING]
    # ENOENT says that it is gone already, which is no fault, but a lie about what is there.
    given = tuple(number for number in ERRNOS if number != errno.ENOENT)
    for turn, at in enumerate(changing):
        yield from ((at, number) for number in (given if full else (given[turn % len(given)],)))


@pytest.mark.parametrize("name", NAMES)
def test_a_rollback_that_fails_says_what_is_live(
    name: str, make: Make, injector: Injector, full_sweep: bool, figures: list[str]
) -> None:
    scenario = make(name)
    scenario.begin()
    unhurt = injector.run(*scenario.words(), under=scenario.root)
    wanted = scenario.finish().contents
    # What fails first is the last thing that is done before it looks whether all is well.
    call = next(call for call in reversed(unhurt.calls) if call not in READING and call != "unlink")
    first = call, unhurt.calls.count(call)
    scenario.begin()
    hurt = injector.run(*scenario.words(), under=scenario.root, earlier=first)
    assert (hurt.status, json.loads(hurt.out)["result"]["status"]) == (3, "rolled_back"), hurt
    ends: dict[str, int] = {}
    begins = [at for at, made in enumerate(hurt.calls, 1) if made == call][first[1] - 1]
    rollback = hurt.calls[begins:]
    for at, number in seconds(rollback, full_sweep):
        before = scenario.begin()
        ran = injector.run(*scenario.words(), under=scenario.root, at=at, what=number, earlier=first)
        place = f"{name}: call {at} of the rollback, {words(rollback[at - 1])}, gives {number}: {ran}"
        result: dict[str, Any] = json.loads(ran.out)["result"]
        ends[result["status"]] = ends.get(result["status"], 0) + 1
        assert ran.status == 3, place
        assert result["fds_before"] == result["fds_after"], place
        for word in ("Traceback", "never closed", "left open"):
            assert word not in ran.err, place
        live = scenarios.look(scenario.root)
        if result["status"] == "partial":
            assert result["live"], place
        else:
            assert result["status"] == "rolled_back", place
            assert comparable(live) == comparable(before), place
        live = scenario.finish()
        assert live.contents == wanted, place
        assert not (left := scenarios.leftovers(ran, live)), f"{place}: {left}"
    assert ends.get("partial", 0) > 0, ends
    figures.append(f"double faults: {name}: {sum(ends.values())} faults of a rollback; ends {ends}")
