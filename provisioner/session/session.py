"""A session: the project stays observed, and each apply costs work in proportion to what was asked since the last."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import PurePath
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec
import numpy as np
from msgspec.structs import replace

from provisioner.apply import Options, Result, Status
from provisioner.apply.audit import recorded
from provisioner.apply.outcome import open_fds, unchanged
from provisioner.apply.run import apply_plan
from provisioner.kernel import host as this_host
from provisioner.kernel import maps
from provisioner.kernel.memory import headrooms, memlock_headroom
from provisioner.model.desired import DesiredState
from provisioner.model.errors import ApplyError, InputError, InterruptError, Problem, RefusedError
from provisioner.model.observed import ObservedState
from provisioner.model.pins import META_PIN
from provisioner.model.types import Bytes
from provisioner.observed.asked import AskedSource
from provisioner.planning import overcommit
from provisioner.planning.diff_slots import held_twice
from provisioner.planning.hazards import Overrides, refuse_blocked
from provisioner.planning.plan import Plan
from provisioner.planning.privileges import refuse_unprivileged
from provisioner.planning.steps import RecordMeta
from provisioner.session import differences, follow
from provisioner.session.addresses import Addresses, Where
from provisioner.session.differences import Knowledge
from provisioner.session.in_place import InPlace
from provisioner.session.known import KnownMap, SlotKey
from provisioner.session.rows import Table
from provisioner.session.touched import UnknownStateError


class Ways(msgspec.Struct, frozen=True):
    """What a session asks of its project: each takes the desired state of all that was asked.

    `observe` gives what is live, `compare` and `plan` compare all of it, by digests or by reading, `apply` applies it
    while `lock` is held, which gives the call that lets its directory stay. `contents` has the policy of new inner maps
    by outer map; `digest` is that of the files.
    """

    observe: Callable[[DesiredState], ObservedState]
    compare: Callable[[DesiredState], Plan]
    plan: Callable[[DesiredState], Plan]
    apply: Callable[[DesiredState, Callable[[Plan], None] | None], tuple[Plan, Result]]
    lock: Callable[[], AbstractContextManager[Callable[[], None]]]
    contents: Mapping[str, int]
    digest: str


class Followed(Protocol):
    """A project, as far as it is followed."""

    @property
    def desired(self) -> DesiredState: ...


def _held_by_slots(observed: ObservedState) -> frozenset[int]:
    """The ids of inner maps that are in several slots of one outer map: never written in place for one of them."""
    shared: set[int] = set()
    for live in observed.maps.values():
        ids, holders = np.unique(live.slots.inner_ids, return_counts=True)
        shared.update(ids[holders > 1].tolist())
    return frozenset(shared)


def _slot_key(row: Bytes) -> SlotKey:
    return row.tobytes()


class Session:
    """Open one with `project.session()`, and close it, or use it as a context manager.

    `set`, `put`, `update` and `delete` only note what is asked; `apply` does it. If it raises, what was asked is still
    pending: `discard` drops it. `interval` is the longest time in seconds between full comparisons, None for none: the
    next apply after it compares everything, and so does each one that finds a map as the session did not leave it. With
    `hold`, the session holds the project's lock until it is closed, else during each apply. A session is not
    thread-safe.
    """

    _knows: Knowledge

    def __init__(
        self,
        desired: DesiredState,
        ways: Ways,
        overrides: Overrides,
        options: Options,
        *,
        interval: float | None,
        hold: bool,
        is_applied: bool = False,
    ) -> None:
        self._desired = desired
        self._ways = ways
        self._overrides = overrides
        self._options = options
        self._interval = interval
        self._held = ExitStack()
        self._is_closed = False
        self._next: DesiredState | None = None
        self._keep = self._held.enter_context(ways.lock()) if hold else None
        self._in_place = InPlace(overrides, ways.digest)
        self._held.callback(self._in_place.close)
        try:
            self._capabilities = this_host.capabilities()
            self._is_known = is_applied or not ways.compare(desired).changed
            self._learn(desired)
        except BaseException:
            self._held.close()
            raise

    # --- what is asked --------------------------------------------------------------------------------------------

    def set(self, where: Where, value: object) -> None:
        """Ask for the contents of a map or slot, or the value of an entry.

        The contents are a mapping, or a table in the kernel's layout with the columns `key` and `value`; of an outer
        map a mapping of them by outer key, or a table with the column `outer`, too: other slots are then deleted.
        Raises InputError for an address or value that is not possible.
        """
        self._addresses.set(where, value)

    def put(self, where: Where, entries: Mapping[Any, object] | Table) -> None:
        """Ask for some entries of a map or slot: they are written, and all others stay."""
        self._addresses.put(where, entries)

    def update(self, changes: Mapping[Any, object]) -> None:
        """`set` each address of a mapping."""
        if not isinstance(changes, Mapping):
            what = f"the changes are a mapping of addresses, and not {type(changes).__name__}"
            raise InputError(Problem(what, hint="use `set` for one address", id="wrong-type"))
        for where, value in changes.items():
            self.set(where, value)

    def delete(self, where: Where, keys: Iterable[object] | None = None) -> None:
        """Ask that a slot or entry goes; with `keys`, these entries of the map or slot.

        What policy keeps of the live state (`extra_inner_maps: keep`) stays, as if it left the spec.
        """
        self._addresses.delete(where, keys)

    def follow(self, project: Followed) -> bool:
        """Ask for what a later version of the project's spec wants, and drop what is pending.

        False, and nothing is asked, where more than the contents of its maps differs: apply that project as a whole.
        """
        asked = follow.edits(self._folded_by(pending=False), project.desired) if self._is_known else None
        if asked is None:
            return False
        for name, edits in asked.items():
            self._known[name].pending = edits
        self._next = project.desired
        return True

    def discard(self) -> None:
        """Forget what is pending."""
        self._next = None
        for known in self._known.values():
            known.pending = {}

    @property
    def pending(self) -> int:
        """How many maps and slots the next apply changes."""
        return sum(len(known.pending) for known in self._known.values())

    # --- what is done ---------------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """The plan of the next apply. Writes nothing."""
        if not self._is_due():
            try:
                return self._planned()
            except UnknownStateError:
                pass
        return self._ways.plan(self._folded())

    def apply(self, planned: Callable[[Plan], None] | None = None) -> Result:
        """Do what is pending and verify it; `planned` is called with the plan. Raises the errors of `Project.apply`."""
        with self._locked() as keep:
            result = self._apply(planned)
            keep()
        return result

    def _apply(self, planned: Callable[[Plan], None] | None) -> Result:
        if not self._is_due():
            try:
                return self._apply_pending(planned)
            except UnknownStateError:
                pass
        return self._apply_whole(planned)

    def compare(self) -> Result:
        """Compare everything with the live state, and apply what differs and what is pending."""
        with self._locked() as keep:
            result = self._apply_whole()
            keep()
        return result

    def close(self) -> None:
        """Release the lock. What is live stays, and what is pending is dropped."""
        self._is_closed = True
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _locked(self) -> AbstractContextManager[Callable[[], None]]:
        if self._is_closed:
            what, hint = "the session is closed", "open another one: `project.session()`"
            raise InputError(Problem(what, hint=hint, id="session-closed"))
        return self._ways.lock() if self._keep is None else nullcontext(self._keep)

    def _is_due(self) -> bool:
        """Whether the next apply compares everything."""
        late = self._interval is not None and time.monotonic() - self._compared >= self._interval
        return late or not self._is_known

    def _planned(self) -> Plan:
        return differences.plan(self._knows, self._overrides, self._next.revision if self._next is not None else "")

    def _apply_pending(self, planned: Callable[[Plan], None] | None) -> Result:
        fds = open_fds()
        if not self.pending:
            self._rebase()
            return unchanged()
        if planned is None and self._next is None and self._options.progress is None and self._options.rollback:
            result = self._apply_in_place(fds)
            if result is not None:
                return result
        try:
            plan = self._planned()
            if planned is not None:
                planned(plan)
            refuse_blocked(plan.blocked)
            refuse_unprivileged(plan, self._capabilities, maps.may_create)
            overcommit.refuse_overcommit(plan, self._overrides, headrooms, memlock_headroom)
            with recorded("apply", plan, self._ways.digest):
                result = apply_plan(plan, self._options, self._verify)
            if result.status is Status.UNCHANGED:
                self._verify()  # it says what is live
        except RefusedError as error:
            if any(problem.id == "changed-since-plan" for problem in error.problems):
                raise UnknownStateError from error
            raise
        except (ApplyError, InterruptError):
            self._is_known = False
            raise
        self._commit(plan)
        self._in_place.judged(plan)
        return result

    def _apply_in_place(self, fds: int) -> Result | None:
        """Do what is pending where it is entries of maps that were judged; None where it takes a plan."""
        started = time.monotonic()
        if self._options.interrupted():
            return None
        try:
            done = self._in_place.apply()
        except BaseException:
            self._is_known = False
            raise
        if done is None:
            return None
        for each in done:
            each.known.commit(each.ids, each.counts)
        if not any(each.is_changed for each in done):
            return unchanged()
        return Result(Status.APPLIED, time.monotonic() - started, 0, fds, open_fds())

    def _verify(self) -> tuple[Problem, ...]:
        self._left, problems = differences.still_different(self._knows)
        return problems

    def _commit(self, plan: Plan) -> None:
        """What was planned and verified is what is known from now on."""
        for change in self._left:
            assert change.observed is not None
            planned, live = plan.maps[change.name].slots, change.observed.slots
            held = planned.unchanged + planned.updates + planned.inserts + planned.others
            held[planned.desired < 0] = 0
            counts = dict(zip(map(_slot_key, planned.keys), held.tolist(), strict=True))
            ids = dict(zip(map(_slot_key, live.keys), live.inner_ids.tolist(), strict=True))
            self._known[change.name].commit(ids, counts)
        records = [step.meta for step in plan.steps if isinstance(step, RecordMeta)]
        if any(meta != self._knows.observed.meta for meta in records):  # a revision, or an approval that was used
            meta = self._knows.source.meta(PurePath(self._desired.pin_root) / META_PIN)
            self._knows = replace(self._knows, observed=replace(self._knows.observed, meta=meta))
            self._in_place.learn(self._knows)
        self._rebase()

    def _rebase(self) -> None:
        """What is live is the version that was followed: its columns take the place of the older ones."""
        if self._next is None:
            return
        self._desired, self._next = self._next, None
        for name, known in self._known.items():
            known.rebase(self._desired.maps[name])
        self._knows = replace(self._knows, desired=self._desired, source=AskedSource(self._desired))
        self._in_place.learn(self._knows)
        self._addresses = Addresses(self._desired, self._known)

    def _folded(self) -> DesiredState:
        """All that was asked, and what is pending."""
        return self._next or self._folded_by(pending=True)

    def _folded_by(self, *, pending: bool) -> DesiredState:
        folded = {name: known.folded(pending=pending) for name, known in self._known.items()}
        return replace(self._desired, maps={**self._desired.maps, **folded})

    def _apply_whole(self, planned: Callable[[Plan], None] | None = None) -> Result:
        self._is_known = False
        desired = self._folded()
        _, result = self._ways.apply(desired, planned)
        self._learn(desired)
        self._next = None
        self._is_known = True
        return result

    def _learn(self, desired: DesiredState) -> None:
        """Take over what is live as what is known; `desired` is all that was asked."""
        self._desired = desired
        observed = self._ways.observe(desired)
        policies, order = self._ways.contents, desired.host.byteorder
        self._known = {
            name: KnownMap(each, observed.maps.get(name), policies.get(name, 0), order)
            for name, each in desired.maps.items()
        }
        shared = held_twice(observed) | _held_by_slots(observed)
        self._knows = Knowledge(desired, observed, self._known, shared, AskedSource(desired))
        self._in_place.learn(self._knows)
        self._addresses = Addresses(desired, self._known)
        self._compared = time.monotonic()
