"""Steps of several outer maps at the same time, so that they share the RCU grace periods that they wait for.

Each lane is a thread with the transaction of the apply, except for its own progress and its share of open fds. The
journal has the notes of all: a rollback takes them back in the reverse order.
"""

from __future__ import annotations

import _thread
import copy
from collections.abc import Callable, Sequence

from provisioner.apply.progress import Progress
from provisioner.apply.transaction import Transaction
from provisioner.kernel import batch
from provisioner.kernel.workers import run_together
from provisioner.model.errors import ProvisionerError
from provisioner.model.words import plural
from provisioner.planning import lanes as planned
from provisioner.planning.lanes import Unit
from provisioner.planning.steps import Step

Do = Callable[[Transaction, Step], None]


def run(tx: Transaction, units: Sequence[Unit], do: Do) -> None:
    """Do units that do not depend on each other. The first failure, in their order, is raised once all lanes ended."""
    count = planned.lanes(tx.plan, units, tx.wave)
    if count == 1:
        for unit in units:
            _steps(tx, unit, do)
        return
    # What has to be measured is measured before several threads write.
    batch.batching_for(max(planned.slots_of(tx.plan, step) for unit in units for step in unit))
    group = _Group(tx, count)
    failures: list[tuple[int, BaseException]] = []
    numbers = iter(range(len(units)))  # shared: `next` of a range is atomic

    def work() -> None:
        lane = group.lane()
        for number in numbers:
            if failures:
                return
            try:
                _steps(lane, units[number], do)
            except BaseException as error:
                failures.append((number, error))
                return

    try:
        run_together(work, count)
    finally:
        group.merge()
    if failures:
        # An exception that no step foresees, such as KeyboardInterrupt, is more than what another lane met.
        failures.sort(key=lambda failure: (isinstance(failure[1], ProvisionerError), failure[0]))
        raise failures[0][1]


def _steps(tx: Transaction, unit: Unit, do: Do) -> None:
    for step in unit:
        tx.stop_if_interrupted()
        tx.check_root()
        do(tx, step)


class _Group:
    """The lanes of one group, and their progress."""

    def __init__(self, tx: Transaction, count: int) -> None:
        self._tx = tx
        self._wave = max(1, tx.wave // count)
        self._lock = _thread.allocate_lock()
        self._parts: list[Progress] = []

    def lane(self) -> Transaction:
        lane = copy.copy(self._tx)
        lane.wave = self._wave
        lane.stagers = 0  # each lane stages what it publishes
        lane.progress = Progress(report=self._report, pause=self._tx.stop_if_interrupted)
        self._parts.append(lane.progress)
        return lane

    def merge(self) -> None:
        """Add the progress of the lanes. Grace periods that they waited for at the same time count once."""
        total, parts = self._tx.progress, self._parts
        total.slots += sum(each.slots for each in parts)
        total.entries += sum(each.entries for each in parts)
        total.grace_periods += max((each.grace_periods for each in parts), default=0)
        windows = [each.window for each in [total, *parts] if each.window is not None]
        if windows:
            total.window = min(first for first, _ in windows), max(last for _, last in windows)

    def _report(self, _: str, __: Progress) -> None:
        with self._lock:
            slots = self._tx.progress.slots + sum(each.slots for each in self._parts)
            self._tx.progress.update(f"published {plural(slots, 'inner map')}", slots, self._tx.progress.to_publish)
