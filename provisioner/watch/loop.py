"""The edge: looks at the clock and the files, waits, and does what the machine decides."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

import msgspec
from msgspec.structs import replace

from provisioner.document.inputs import checkout_locks
from provisioner.model.errors import ProvisionerError
from provisioner.project import Project
from provisioner.report.logs import LogLine
from provisioner.watch import machine, told
from provisioner.watch.machine import Look, Pace, Pass, State, Verdict, Wait
from provisioner.watch.notify import Notifier
from provisioner.watch.reconcile import Aim, Found, Loading, Reconciler
from provisioner.watch.wake import Wakeups


class Passed(msgspec.Struct, frozen=True):
    """What is known after a pass; `failures` counts those in a row, `took` is the time of the whole pass in seconds."""

    found: Found
    project: Project | None
    failures: int
    took: float


class Watcher:
    """A watch over one project. `tell` gets log lines, `passed` what each pass came to."""

    def __init__(
        self,
        aim: Aim,
        pace: Pace,
        tell: Callable[[LogLine], None],
        passed: Callable[[Passed], None] = lambda _: None,
        notifier: Notifier | None = None,
    ) -> None:
        self._aim = aim
        self._pace = pace
        self._tell = tell
        self._passed = passed
        self._notifier = notifier or Notifier({})
        self._wakeups = Wakeups()
        self._reconciler = Reconciler(aim, self._beat, lambda: self._wakeups.stop)
        self._locks: tuple[Path, ...] = ()
        self._before: Found | None = None
        self._beaten = time.monotonic()

    def run(self) -> None:
        """Watch until a signal ends it."""
        with self._wakeups.listening():
            self._tell(told.begun(self._aim, self._pace))
            self._locks = checkout_locks(self._reconciler.inputs)
            state = machine.begin(self._look(), time.monotonic())
            while not self._wakeups.stop:
                state = self._turn(state)
            self._notifier("STOPPING=1")
            self._tell(told.ended(self._wakeups.stop))

    def _turn(self, state: State) -> State:
        self._beat()
        now = time.monotonic()
        if self._wakeups.take_reload():
            self._notifier("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            self._tell(told.RELOADING)
            state = machine.reload(state, now)
        look = self._look()
        if look.held_by and look.held_by != state.look.held_by:
            self._tell(told.held(look.held_by))
        state = machine.seen(state, look, now)
        match machine.decide(state, self._pace, now):
            case Wait(until):
                came = self._wakeups.wait(until - now)
                return machine.woken(state, time.monotonic()) if came else state
            case Pass(load):
                return self._pass(state, load)
            case never:
                assert_never(never)

    def _look(self) -> Look:
        held_by = next((str(lock) for lock in self._locks if lock.exists()), "")
        return Look(self._reconciler.inputs.now(), held_by)

    def _pass(self, state: State, load: bool) -> State:
        started = time.monotonic()
        broken: ProvisionerError | None = None
        if load:
            outcome = self._reconciler.load()
            inputs = self._reconciler.inputs
            state = machine.loaded(state, inputs.noted, sound=outcome is Loading.DONE)
            self._locks = checkout_locks(inputs)
            match outcome:
                case Loading.TORN:
                    self._tell(told.TORN)
                    return machine.after(state, self._pace, Verdict.TORN, time.monotonic(), random.random())
                case Loading.DONE:
                    self._loaded()
                case error:
                    broken = error
        found = Found(Verdict.FAILED) if self._reconciler.project is None else self._reconciler.check()
        return self._done(state, replace(found, broken=broken), started)

    def _loaded(self) -> None:
        project = self._reconciler.project
        assert project is not None
        self._tell(told.loaded(project))
        self._wakeups.expect({point.name for point in project.desired.attach_points if point.kind == "interface"})

    def _done(self, state: State, found: Found, started: float) -> State:
        now = time.monotonic()
        verdict = Verdict.FAILED if found.broken is not None else found.verdict
        state = machine.after(state, self._pace, verdict, now, random.random())
        for line in told.lines(found, self._before, state.due - now):
            self._tell(line)
        self._before = found
        self._passed(Passed(found, self._reconciler.project, state.failures, now - started))
        self._notifier("READY=1", f"STATUS={told.status(found)}")
        return state

    def _beat(self) -> None:
        """Tell the watchdog, twice as often as it asks, that this still goes on."""
        now, every = time.monotonic(), self._notifier.watchdog
        if every is not None and now - self._beaten >= every / 4:
            self._beaten = now
            self._notifier("WATCHDOG=1")
