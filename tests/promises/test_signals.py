"""SIGINT and SIGTERM end an apply at a safe point, rolled back; a second one at once, and the next converges."""

from __future__ import annotations

import json
import signal

import pytest

from tests.promises import scenarios
from tests.promises.conftest import Make
from tests.promises.injection import READING, Injector, signal_always, signal_once, words
from tests.promises.scenarios import comparable

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def changing(calls: tuple[str, ...], step: int) -> list[int]:
    """Numbers of calls that change something, each `step`th of them."""
    return [at for at, call in enumerate(calls, 1) if call not in READING][::step]


@pytest.mark.parametrize("name", ["change", "upgrade"])
def test_a_signal_ends_an_apply_at_a_safe_point(
    name: str, make: Make, injector: Injector, full_sweep: bool, figures: list[str]
) -> None:
    scenario = make(name)
    scenario.begin()
    unhurt = injector.run(*scenario.words(), under=scenario.root)
    wanted = scenarios.look(scenario.root).contents
    ends: dict[int, int] = {}
    reported = 0
    for turn, at in enumerate(changing(unhurt.calls, 1 if full_sweep else 3)):
        before = scenario.begin()
        ran = injector.run(*scenario.words(), under=scenario.root, at=at, what=signal_once(SIGNALS[turn % 2]))
        live = scenarios.look(scenario.root)
        place = f"{name}: {SIGNALS[turn % 2].name} at call {at}, {words(unhurt.calls[at - 1])}: {ran.err}"
        ends[ran.status] = ends.get(ran.status, 0) + 1
        if ran.status == 0:  # there was no safe point after it
            assert live.contents == wanted, place
            continue
        reported += bool(ran.out)
        assert ran.status == 130, place
        if ran.out:  # the plan was there, and something may have been done
            assert json.loads(ran.out)["result"]["status"] == "interrupted", place
        assert comparable(live) == comparable(before), place
        assert not scenarios.leftovers(ran, live), place
        scenario.finish()
    figures.append(f"signals: {name}: one at {sum(ends.values())} calls; exit {ends}")
    assert reported > 3


def test_a_second_signal_ends_it_at_once(make: Make, injector: Injector, figures: list[str]) -> None:
    scenario = make("change")
    scenario.begin()
    unhurt = injector.run(*scenario.words(), under=scenario.root)
    wanted = scenarios.look(scenario.root).contents
    killed = 0
    for turn, at in enumerate(changing(unhurt.calls, 3)[:-1]):
        scenario.begin()
        ran = injector.run(*scenario.words(), under=scenario.root, at=at, what=signal_always(SIGNALS[turn % 2]))
        # The first one ends it by itself where nothing is to be taken back: a call more would have met the second one.
        by_itself = ran.status == 130 and not (ran.out and json.loads(ran.out)["result"]["live"])
        assert ran.status == -SIGNALS[turn % 2] or by_itself, f"at call {at}: {ran}"
        killed += ran.status < 0
        live = scenario.finish()
        assert live.contents == wanted
        assert not scenarios.leftovers(ran, live)
    assert killed > 3
    figures.append(f"signals: two at {killed} calls, ended at once, each time converged")
