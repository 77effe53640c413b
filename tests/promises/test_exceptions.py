"""An exception of any class at any call of an apply: reported and taken back, and the next run converges."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import Final

import pytest

from provisioner.model.errors import ProvisionerError
from tests.promises import scenarios
from tests.promises.conftest import Make
from tests.promises.injection import Injector, Ran
from tests.promises.raising import BUG, CLASSES, STATUS
from tests.promises.test_fault_sweep import check

UNWANTED: Final = ("Traceback", "never closed", "left open", "Warning")
SAMPLE: Final = 20
"""Events of each kind that a short run takes, spread over all of them."""


def events(ran: Ran) -> int:
    """How many events a run without an exception had."""
    match = re.search(r"^events: (\d+)$", ran.err, flags=re.MULTILINE)
    assert match is not None, ran
    return int(match[1])


def points(count: int, full: bool) -> Iterator[tuple[int, str]]:
    """Numbers of events, from 1, and the class to raise there."""
    names = list(CLASSES)
    step = 1 if full else max(1, count // SAMPLE)
    for turn, at in enumerate(range(1 + count % step, count + 1, step)):
        yield at, names[turn % len(names)]


NAMES: Final = ("create", "change", "upgrade", "recreate", "pinned", "detach", "staged")


@pytest.mark.parametrize(
    ("name", "event"), [*product(NAMES, ("call", "return")), ("migrate", "call"), ("moved", "return")]
)
def test_an_exception_of_any_class_is_taken_back(
    name: str, event: str, make: Make, injector: Injector, full_sweep: bool, figures: list[str]
) -> None:
    scenario = make(name)
    scenario.begin()
    unhurt = injector.run(*scenario.words(), under=scenario.root, raising={"event": event, "at": 0, "name": "KeyError"})
    assert unhurt.status == 0, unhurt.err
    wanted = scenario.finish()
    ends: dict[int, int] = {}
    wrong: list[str] = []
    every = 1 if full_sweep else scenarios.STRIDES.get(name, 1)
    for at, raised in list(points(events(unhurt), full_sweep))[::every]:
        before = scenario.begin()
        raising: dict[str, str | int] = {"event": event, "at": at, "name": raised}
        ran = injector.run(*scenario.words(), under=scenario.root, raising=raising)
        ends[ran.status] = ends.get(ran.status, 0) + 1
        statuses = {0, 3, STATUS.get(raised, BUG)}
        trouble = check(scenario, ran, before, wanted, statuses, UNWANTED, loses_values=event == "return")
        if not trouble and not ran.out:
            trouble = "there is no report"
        said = f"{name}: {raised} at {event} {at}: exit {ran.status}, {' '.join(ran.err.split())[:400]}"
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
    figures.append(f"exceptions: {name}: {sum(ends.values())} at a {event}; exit {ends}")
    assert not wrong, "\n".join(wrong)
    assert ends.get(3, 0) + ends.get(130, 0) > 0, ends


@pytest.mark.parametrize(
    ("name", "event", "of", "at"),
    [
        ("recreate", "call", "required", 1),
        ("create", "return", "Stager.__enter__", 1),
        ("create", "return", "open_fds", 2),
    ],
)
@pytest.mark.parametrize("raised", ["RecursionError", "KeyboardInterrupt"])
def test_an_fd_has_an_owner_from_the_call_that_opens_it(
    name: str, event: str, of: str, at: int, raised: str, make: Make, injector: Injector
) -> None:
    """Moments between an fd and its context manager; and that when all is done and only the fds are to be counted."""
    scenario = make(name)
    scenario.begin()
    wanted = scenario.finish()
    before = scenario.begin()
    raising: dict[str, str | int] = {"event": event, "at": at, "name": raised, "of": of}
    ran = injector.run(*scenario.words(), under=scenario.root, raising=raising)
    assert f"events: {at}" in ran.err
    statuses = {3, STATUS.get(raised, BUG)}
    assert not check(scenario, ran, before, wanted, statuses, UNWANTED, loses_values=event == "return")
    assert scenario.finish().contents == wanted.contents


@pytest.mark.parametrize("raised", ["RuntimeError", "MemoryError"])
def test_what_is_staged_has_an_owner_before_it_is_created(raised: str, make: Make, injector: Injector) -> None:
    """The caller of `stage` has its fds whatever happens on the way back: none is left to the garbage collector."""
    scenario = make("create")
    scenario.begin()
    wanted = scenario.finish()
    raising: dict[str, str | int] = {"event": "return", "at": 1, "name": raised, "of": "Stager.stage"}
    for _ in range(10):  # where other threads have staged all, this one returns from nothing
        before = scenario.begin()
        ran = injector.run(*scenario.words(), under=scenario.root, raising=raising)
        assert not check(scenario, ran, before, wanted, {0, 3, STATUS.get(raised, BUG)}, UNWANTED)
        if ran.status:
            break
    assert "events: 1" in ran.err
    assert scenario.finish().contents == wanted.contents
