"""Killed at any system call, the next run converges and nothing leaks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

import pytest

from provisioner.model.uapi import Command
from tests.promises import scenarios
from tests.promises.conftest import Make
from tests.promises.injection import KILL_AFTER, KILL_BEFORE, READING, Injector, run_alone, words

PRIVATE: Final = frozenset(f"bpf {command:d}" for command in (Command.MAP_CREATE, Command.PROG_LOAD, Command.BTF_LOAD))
"""Calls whose effect ends with the process: what they make has no pin yet."""


def points(calls: tuple[str, ...], full: bool) -> Iterator[tuple[int, int]]:
    """Where to kill: before and after each call; of the sample, each point at which something else is left behind.

    That is before each call that leaves something, and after the last one: between two of them, nothing changes. Of a
    row of the same call, as for many maps, the sample has the first two and the last.
    """
    if full:
        yield from ((at, what) for at in range(1, len(calls) + 1) for what in (KILL_BEFORE, KILL_AFTER))
        return
    leaving = [at for at, call in enumerate(calls, 1) if call not in READING and call not in PRIVATE]
    rows = [list(row) for _, row in groupby(leaving, lambda at: calls[at - 1])]
    yield from ((at, KILL_BEFORE) for row in rows for at in sorted({*row[:2], row[-1]}))
    yield leaving[-1], KILL_AFTER


@pytest.mark.parametrize("name", scenarios.NAMES)
def test_killed_at_every_call_the_next_run_converges(
    name: str, make: Make, injector: Injector, full_sweep: bool, figures: list[str]
) -> None:
    scenario = make(name)
    scenario.begin()
    unhurt = injector.run(*scenario.words(), under=scenario.root)
    assert unhurt.status == 0, unhurt.err
    wanted = scenario.finish().contents
    killed = 0
    for at, what in scenarios.sampled(name, points(unhurt.calls, full_sweep), full_sweep):
        scenario.begin()
        ran = injector.run(*scenario.words(), under=scenario.root, at=at, what=what)
        place = (
            f"{name}: killed {'before' if what == KILL_BEFORE else 'after'} call {at}, {words(unhurt.calls[at - 1])}"
        )
        # The programs of others on this host are looked at too: there may be fewer of them by now.
        assert ran.killed or at > len(ran.calls), f"{place}: {ran}"
        killed += ran.killed
        live = scenario.finish()
        assert live.contents == wanted, place
        assert not (left := scenarios.leftovers(ran, live)), f"{place}: {left}"
    assert killed > 0
    figures.append(f"crash sweep: {name}: killed at {killed} points of {len(unhurt.calls)} calls, each time converged")


def test_the_harness_kills_a_process_of_its_own_at_the_same_calls(
    make: Make, injector: Injector, tmp_path: Path
) -> None:
    scenario = make("create")
    forked = injector.run(*scenario.words(), under=scenario.root)
    scenario.begin()
    alone = run_alone(*scenario.words(), under=scenario.root, folder=tmp_path)
    assert alone.status == 0, alone.err
    assert sorted(alone.calls) == sorted(forked.calls)
    scenario.begin()
    middle = len(alone.calls) // 2
    killed = run_alone(*scenario.words(), under=scenario.root, folder=tmp_path, at=middle, what=KILL_AFTER)
    assert killed.killed
    assert len(killed.calls) == middle
    scenario.finish()
