"""The loop of a watch: it checks the clock and the files, waits, and does what the machine decides."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import assert_never

import msgspec
from msgspec.structs import replace

from provisioner.document.inputs import checkout_locks
from provisioner.model.errors import ProvisionerError
from provisioner.project import Project
from provisioner.report.logs import LogLine
from provisioner.watch import events, machine
from provisioner.watch.machine import Look, Pace, Pass, State, Verdict, Wait
from provisioner.watch.notify import Notifier
from provisioner.watch.reconcile import Aim, Loading, PassResult, Reconciler, as_error
from provisioner.watch.wake import Wakeups


class PassReport(msgspec.Struct, frozen=True):
    """The state after a pass; `failures` counts failed passes in a row, `took` is the time of the pass in seconds.

    `files` are those of the command line.
    """

    files: tuple[str, ...]
    result: PassResult
    project: Project | None
    failures: int
    took: float


class Listener:
    """Gets what happens in a watch. This one ignores it."""

    def beat(self) -> None:
        """The loop is alive."""

    def changing(self, files: tuple[str, ...]) -> None:
        """The `files` of a project have changed and are not read yet."""

    def passed(self, report: PassReport) -> None:
        """A pass has ended."""


class Watcher:
    """A watch over one project. `log` gets log lines, `listener` the other events."""

    def __init__(
        self,
        aim: Aim,
        pace: Pace,
        log: Callable[[LogLine], None],
        listener: Listener | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self._aim = aim
        self._pace = pace
        self._write = log
        self._listener = listener or Listener()
        self._files = tuple(map(str, aim.files))
        self._notifier = notifier or Notifier({})
        self._wakeups = Wakeups()
        self._reconciler = Reconciler(aim, self._beat, lambda: self._wakeups.stop)
        self._locks: tuple[Path, ...] = ()
        self._before: PassResult | None = None
        self._beaten = time.monotonic()

    def run(self) -> None:
        """Watch until a signal ends it."""
        with self._wakeups.listening():
            self._log(events.begun(self._aim, self._pace))
            self._locks = checkout_locks(self._reconciler.inputs)
            state = machine.begin(self._look(), time.monotonic())
            while not self._wakeups.stop:
                try:
                    state = self._turn(state)
                except Exception as error:  # any exception: the watch goes on, and tries again later
                    state = self._failed(state, as_error(error))
            self._notifier("STOPPING=1")
            self._log(events.ended(self._wakeups.stop))

    def _log(self, line: LogLine) -> None:
        with suppress(OSError):  # a full disk or a closed pipe ends the log, not the watch
            self._write(line)

    def _failed(self, state: State, error: ProvisionerError) -> State:
        """A turn that failed outside of a pass counts as a failed pass; nothing is done until the next one is due."""
        state = self._done(state, PassResult(Verdict.FAILED, error=error), time.monotonic())
        self._wakeups.pause(state.due - time.monotonic())
        return state

    def _turn(self, state: State) -> State:
        self._beat()
        now = time.monotonic()
        if self._wakeups.take_reload():
            self._notifier("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            self._log(events.RELOADING)
            state = machine.reload(state, now)
        look = self._look()
        if look.held_by and look.held_by != state.look.held_by:
            self._log(events.held(look.held_by))
        state = machine.seen(state, look, now)
        if state.read is not None and state.read != look.stamps:
            self._listener.changing(self._files)
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
                    self._log(events.TORN)
                    return machine.after(state, self._pace, Verdict.TORN, time.monotonic(), random.random())
                case Loading.DONE:
                    self._loaded()
                case error:
                    broken = error
        is_loaded = self._reconciler.project is not None
        result = self._reconciler.check() if is_loaded else PassResult(Verdict.FAILED)
        return self._done(state, replace(result, broken=broken), started)

    def _loaded(self) -> None:
        project = self._reconciler.project
        assert project is not None
        self._log(events.loaded(project))
        self._wakeups.expect({point.name for point in project.desired.attach_points if point.kind == "interface"})

    def _done(self, state: State, result: PassResult, started: float) -> State:
        now = time.monotonic()
        verdict = Verdict.FAILED if result.broken is not None else result.verdict
        state = machine.after(state, self._pace, verdict, now, random.random())
        for line in events.lines(result, self._before, state.due - now):
            self._log(line)
        self._before = result
        report = PassReport(self._files, result, self._reconciler.project, state.failures, now - started)
        self._listener.passed(report)
        self._notifier("READY=1", f"STATUS={events.status(result)}")
        return state

    def _beat(self) -> None:
        """Notify the watchdog, four times within its period."""
        self._listener.beat()
        now, every = time.monotonic(), self._notifier.watchdog
        if every is not None and now - self._beaten >= every / 4:
            self._beaten = now
            self._notifier("WATCHDOG=1")
