"""The loop of a watch: it checks the clock and the files, waits, and does what the machine decides."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import assert_never

import msgspec
from msgspec.structs import replace

from provisioner.document.inputs import checkout_locks
from provisioner.model.errors import ProvisionerError
from provisioner.project import Project
from provisioner.report.logs import LogLine
from provisioner.watch import events, machine
from provisioner.watch.machine import FilesSeen, Pace, Pass, Verdict, Wait, WatchState
from provisioner.watch.notify import Notifier
from provisioner.watch.places import Places
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


Beat = Callable[[], None]


class Listener:
    """Gets what happens in a watch. This one ignores it."""

    def beat(self) -> None:
        """The loop is alive."""

    def changing(self, files: tuple[str, ...]) -> None:
        """The `files` of a project have changed and are not read yet."""

    def held(self, files: tuple[str, ...], stale: bool) -> None:
        """Whether a lock of Git that is probably left over keeps the `files` from being read."""

    def passed(self, report: PassReport) -> None:
        """A pass has ended."""


class Watch:
    """One project of a watch: its files, its state between passes, and its passes. Times are of a monotonic clock."""

    def __init__(
        self, aim: Aim, pace: Pace, wakeups: Wakeups, log: Callable[[LogLine], None], listener: Listener, beat: Beat
    ) -> None:
        self.aim = aim
        self.files = tuple(map(str, aim.files))
        self.due = 0.0
        self._pace = pace
        self._log = log
        self._listener = listener
        self._wakeups = wakeups
        self._reconciler = Reconciler(aim, beat, lambda: wakeups.stop)
        self._locks = checkout_locks(self._reconciler.inputs)
        self._before: PassResult | None = None
        self._reported = ""
        self._state = machine.begin(self._look(), time.monotonic())
        self._places = Places.of(self._reconciler.project)

    @property
    def interfaces(self) -> set[str]:
        """The interfaces that the project attaches programs to."""
        project = self._reconciler.project
        points = project.desired.attach_points if project is not None else ()
        return {point.name for point in points if point.kind == "interface"}

    def reload(self) -> None:
        self.due = 0.0
        self._state = machine.reload(self._state, time.monotonic())

    def woken(self) -> None:
        self._state = machine.woken(self._state, time.monotonic())

    def turn(self) -> float | None:
        """Do what is due; gives the time until which nothing is due, None after a pass."""
        now = time.monotonic()
        self._state = machine.seen(self._state, self._look(), now)
        self._report_lock(now)
        before, self._places = self._places, Places.of(self._reconciler.project)
        if self._places.differ(before):
            self.woken()
        if self._state.read is not None and self._state.read != self._state.look.stamps:
            self._listener.changing(self.files)
        match machine.decide(self._state, self._pace, now):
            case Wait(until):
                return until
            case Pass(load):
                self._state = self._pass(self._state, load)
                return None
            case never:
                assert_never(never)

    def fail(self, error: ProvisionerError) -> float:
        """A turn that failed outside of a pass counts as a failed pass; gives the time of the next one."""
        self._state = self._done(self._state, PassResult(Verdict.FAILED, error=error), time.monotonic())
        return self._state.due

    def _report_lock(self, now: float) -> None:
        """Report a lock of Git that is too old, once."""
        held = self._state.look.held_by if self._state.is_stale(self._pace, now) else ""
        if held != self._reported:
            self._reported = held
            self._listener.held(self.files, bool(held))
            if held:
                self._log(events.held(held))

    def _look(self) -> FilesSeen:
        held_by = next((str(lock) for lock in self._locks if lock.exists()), "")
        return FilesSeen(self._reconciler.inputs.now(), held_by)

    def _pass(self, state: WatchState, load: bool) -> WatchState:
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
                    assert self._reconciler.project is not None
                    self._log(events.loaded(self._reconciler.project))
                case error:
                    broken = error
            # Before the pass: what changes during it is seen after it.
            self._places = Places.of(self._reconciler.project)
        is_loaded = self._reconciler.project is not None
        result = self._reconciler.check() if is_loaded else PassResult(Verdict.FAILED)
        return self._done(state, replace(result, broken=broken), started)

    def _done(self, state: WatchState, result: PassResult, started: float) -> WatchState:
        now = time.monotonic()
        verdict = Verdict.FAILED if result.broken is not None else result.verdict
        state = machine.after(state, self._pace, verdict, now, random.random())
        for line in events.lines(result, self._before, state.due - now):
            self._log(line)
        self._before = result
        self._listener.passed(PassReport(self.files, result, self._reconciler.project, state.failures, now - started))
        return state

    @property
    def status(self) -> str:
        """One line for the service manager; empty before the first pass."""
        return events.status(self._before) if self._before is not None else ""


class Watcher:
    """A watch over projects, each with an aim. `log` gets log lines, `listener` the other events."""

    def __init__(
        self,
        aims: Sequence[Aim],
        pace: Pace,
        log: Callable[[LogLine], None],
        listener: Listener | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self._aims = aims
        self._pace = pace
        self._write = log
        self._listener = listener or Listener()
        self._notifier = notifier or Notifier({})
        self._wakeups = Wakeups()
        self._interfaces: set[str] = set()
        self._beaten = time.monotonic()

    def run(self) -> None:
        """Watch until a signal ends it."""
        with self._wakeups.listening():
            watches = [self._begin(aim) for aim in self._aims]
            while not self._wakeups.stop:
                self._turn(watches)
            self._notifier("STOPPING=1")
            self._log(events.ended(self._wakeups.stop))

    def _begin(self, aim: Aim) -> Watch:
        self._log(events.begun(aim, self._pace))
        log = self._log if len(self._aims) == 1 else partial(self._log_of, str(aim.files[0]))
        return Watch(aim, self._pace, self._wakeups, log, self._listener, self._beat)

    def _log(self, line: LogLine) -> None:
        with suppress(OSError):  # a full disk or a closed pipe ends the log, not the watch
            self._write(line)

    def _log_of(self, spec: str, line: LogLine) -> None:
        """A line of one of several projects."""
        self._log(replace(line, message=f"{spec}: {line.message}", fields={"spec": spec, **line.fields}))

    def _turn(self, watches: Sequence[Watch]) -> None:
        """One turn of each project, and a wait if nothing is due."""
        self._beat()
        if self._wakeups.take_reload():
            self._notifier("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            self._log(events.RELOADING)
            for watch in watches:
                watch.reload()
        waits = [self._turn_of(watch) for watch in watches if not self._wakeups.stop]
        if None in waits:
            self._passed(watches)
            return
        came = (
            self._wakeups.wait(min(wait for wait in waits if wait is not None) - time.monotonic()) if waits else False
        )
        for watch in watches if came else ():
            watch.woken()

    def _turn_of(self, watch: Watch) -> float | None:
        """A turn of one project. After a failed one, nothing is done for this project until the next is due."""
        if time.monotonic() < watch.due:
            return watch.due
        watch.due = 0.0
        try:
            return watch.turn()
        except Exception as error:  # any exception: the watch goes on, and tries again later
            watch.due = watch.fail(as_error(error))
            return None

    def _passed(self, watches: Sequence[Watch]) -> None:
        interfaces = {name for watch in watches for name in watch.interfaces}
        if interfaces != self._interfaces:
            self._interfaces = interfaces
            self._wakeups.expect(interfaces)
        said = [f"{watch.files[0]}: {watch.status}" if len(watches) > 1 else watch.status for watch in watches]
        if all(watch.status for watch in watches):
            self._notifier("READY=1", f"STATUS={'; '.join(said)}")

    def _beat(self) -> None:
        """Notify the watchdog, four times within its period."""
        self._listener.beat()
        now, every = time.monotonic(), self._notifier.watchdog
        if every is not None and now - self._beaten >= every / 4:
            self._beaten = now
            self._notifier("WATCHDOG=1")
