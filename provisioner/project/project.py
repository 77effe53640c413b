"""A project as an object: plan, apply, destroy, show. The command line adds only words; `opening` makes projects.

This room alone knows both the pure core and the machine. A project holds its lock, and verifies after an apply.
docs/library.md shows its use from Python; `import provisioner` gives the same names.

Imports inside functions are those that a plan does without, and that take long: `apply` 34 ms, the views 20 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import replace

from provisioner.apply.outcome import Options, Result, unchanged
from provisioner.document import Document
from provisioner.kernel import bpffs, maps
from provisioner.kernel import host as this_host
from provisioner.kernel.locking import Lock
from provisioner.kernel.memory import headrooms, memlock_headroom
from provisioner.language.rules import btf_types
from provisioner.model import kernel_versions
from provisioner.model.address import Place, find, parse, shown
from provisioner.model.desired import CONTENTS, DesiredState
from provisioner.model.errors import Problem, RefusedError
from provisioner.model.observed import ObservedState
from provisioner.model.pins import META_PIN
from provisioner.model.spec import Contents, OuterMap, Spec
from provisioner.observed import observe
from provisioner.observed.snapshot import Snapshot
from provisioner.observed.snapshot_take import take
from provisioner.planning import overcommit, targets
from provisioner.planning.comparison import compare
from provisioner.planning.diff_objects import attachments_deferred
from provisioner.planning.hazards import Overrides, refuse_blocked
from provisioner.planning.plan import Plan
from provisioner.planning.privileges import refuse_unprivileged
from provisioner.planning.teardown import plan_destroy
from provisioner.planning.verification import refuse_stale, remaining
from provisioner.project.locks import locked, remove_unused, require_lock, writing
from provisioner.report.model import ALL, CUT
from provisioner.views import complete, narrow
from provisioner.views.moment import Moment

if TYPE_CHECKING:
    from provisioner.adopt.export import Exported
    from provisioner.adopt.pinned import Pinned
    from provisioner.model.kernel_versions import Advice
    from provisioner.planning.targets import Targets
    from provisioner.report.graph import Graph
    from provisioner.report.model import Fact, ReportLive
    from provisioner.session.session import Session
    from provisioner.views.looks import Look


class Project(msgspec.Struct, frozen=True):
    """A valid spec. `document` has its lines, for messages.

    `pinned` is set where the project was found by its pins, without its spec: then it can be shown and destroyed.
    """

    document: Document
    spec: Spec
    desired: DesiredState
    pinned: Pinned | None = None

    @property
    def name(self) -> str:
        """The name of the project in its spec."""
        return self.desired.project

    @property
    def pin_root(self) -> str:
        """The directory of its pins: that of the spec, or of the argument `pin_root`."""
        return self.desired.pin_root

    def plan(
        self,
        overrides: Overrides = Overrides(),
        *,
        against: Literal["live", "empty"] | Snapshot = "live",
        probe: bool = False,
        digests: bool = False,
        targets: Sequence[str] = (),
        recreate: Sequence[str] = (),
        compared: Callable[[int, int], None] | None = None,
    ) -> Plan:
        """The difference between the spec and the live state, and the steps of an apply. Writes nothing.

        `against` a snapshot, the kernel is not read, and the plan is that of the snapshot's host at that time. `probe`
        tests whether live outer maps accept their new inner maps, with unpinned maps and programs that are freed
        before this returns. `digests` compares large maps by digests, which a program computes; `probe` does so too.
        `targets` are addresses (`tenants`, `tenants[42]`, an object's name) that limit the plan; `recreate` those of
        maps and slots that are recreated although nothing differs. `compared` is called now and then with the number of
        slots that were compared, and of all. Raises InputError for an address that does not exist.
        """
        desired = self.desired.on(datetime.now(UTC).date().isoformat())
        source = None if isinstance(against, str) else against
        observed = ObservedState.nothing() if against == "empty" else observe.observe(desired, source)
        limits = _targets(targets, desired)
        again = _requested(recreate, desired, limits)
        live_maps = _reader(desired, source, digests or probe)
        live_maps.compared = compared
        plan = compare(
            desired, observed, overrides, live_maps, check_points=against != "empty", targets=limits, recreate=again
        )
        if probe and plan.changed:
            from provisioner.apply import template_probe

            probed = template_probe.probe(plan)
            if any(live.probed is not None and not live.probed.fits for live in probed.maps.values()):
                plan = compare(desired, probed, overrides, live_maps, check_points=True, targets=limits, recreate=again)
            from provisioner.apply import members, merge

            plan = members.warned(merge.warned(plan))
        return overcommit.warned(plan, headrooms) if against == "live" else plan

    def apply(
        self,
        overrides: Overrides = Overrides(),
        options: Options | None = None,
        *,
        planned: Callable[[Plan], None] | None = None,
        confirm: Callable[[Plan], bool] | None = None,
        expected: str | None = None,
        lock_timeout: float = 0.0,
        targets: Sequence[str] = (),
        recreate: Sequence[str] = (),
    ) -> tuple[Plan, Result]:
        """Plan and apply under the project's lock, and verify.

        `planned` is called with the plan, also if it is refused; `confirm` is called once, with a plan that is not
        refused; `expected` is the digest of a plan that was shown before. `targets` and `recreate` are those of `plan`.
        Raises RefusedError if a check refuses the plan or it is not the expected one, HostError if this process lacks
        a capability, and the errors of `apply_plan`.
        """
        bpffs.check(Path(self.desired.pin_root))
        # An unknown target is an error before the pin root is created.
        _requested(recreate, self.desired, _targets(targets, self.desired))
        with writing(self.desired, lock_timeout) as locks:
            done = self._apply_locked(
                overrides,
                options,
                locks,
                planned=planned,
                confirm=confirm,
                expected=expected,
                targets=targets,
                recreate=recreate,
            )
            for each in locks:
                each.keeps = True
        return done

    def _apply_locked(
        self,
        overrides: Overrides,
        options: Options | None,
        locks: Sequence[Lock],
        *,
        planned: Callable[[Plan], None] | None = None,
        confirm: Callable[[Plan], bool] | None = None,
        expected: str | None = None,
        targets: Sequence[str] = (),
        recreate: Sequence[str] = (),
    ) -> tuple[Plan, Result]:
        """`apply`, while the caller holds `locks`."""
        held = this_host.capabilities()
        # Without CAP_SYS_ADMIN no inner map can be opened, and the plan is refused below.
        chosen, probe = options or Options(), "CAP_SYS_ADMIN" in held
        current = self.plan(overrides, probe=probe, targets=targets, recreate=recreate, compared=chosen.compared)
        if planned is not None:
            planned(current)
        require_lock(current, locks)
        refuse_stale(current, expected)
        refuse_blocked(current.blocked)
        refuse_unprivileged(current, _held(current), maps.may_create)
        overcommit.refuse_overcommit(current, overrides, headrooms, memlock_headroom)
        if not current.changed:
            return current, unchanged()
        if confirm is not None and not confirm(current):
            raise RefusedError(Problem("not confirmed: nothing was changed", id="not-confirmed"))
        from provisioner.apply.audit import recorded
        from provisioner.apply.run import apply_plan

        def verify() -> tuple[Problem, ...]:
            whole = (*targets, *sorted(current.whole))  # compared as a whole, because a target includes them as a whole
            return remaining(self.plan(overrides, digests=True, targets=whole, compared=chosen.compared))

        with recorded("apply", current, self.document.digest):
            return current, apply_plan(current, chosen, verify)

    def session(
        self,
        overrides: Overrides = Overrides(),
        options: Options | None = None,
        *,
        interval: float | None = 60.0,
        hold: bool = True,
        lock_timeout: float = 0.0,
        is_applied: bool = False,
    ) -> Session:
        """Observe the project once; then each apply costs work in proportion to the change. See `Session`.

        What differs from the spec when it opens is applied with the first change; `is_applied` says that nothing does,
        because the project has just been applied. Raises the errors of `plan`, and
        LockedError if it is to `hold` the lock and another process has it.
        """
        from provisioner.session.session import Session, Ways

        bpffs.check(Path(self.desired.pin_root))

        locks: list[Lock] = []

        @contextmanager
        def held() -> Iterator[Callable[[], None]]:
            with writing(self.desired, lock_timeout) as locks[:]:

                def keep() -> None:
                    for each in locks:
                        each.keeps = True

                yield keep

        def apply(desired: DesiredState, planned: Callable[[Plan], None] | None) -> tuple[Plan, Result]:
            return replace(self, desired=desired)._apply_locked(overrides, options, locks, planned=planned)

        ways = Ways(
            observe.observe,
            lambda desired: replace(self, desired=desired).plan(overrides, digests=True),
            lambda desired: replace(self, desired=desired).plan(overrides),
            apply,
            held,
            {name: _contents_of(self.spec, outer) for name, outer in self.spec.outer_maps.items()},
            self.document.digest,
        )
        return Session(
            self.desired, ways, overrides, options or Options(), interval=interval, hold=hold, is_applied=is_applied
        )

    def targets(self, addresses: Sequence[str]) -> tuple[str, ...]:
        """The targets of a plan in their normal form: each once, in order. Raises InputError."""
        limits = _targets(addresses, self.desired)
        return limits.addresses if limits is not None else ()

    def plan_destroy(self, overrides: Overrides = Overrides(), targets: Sequence[str] = ()) -> Plan:
        """The plan of `destroy`; with `targets`, addresses, of these maps, slots and objects. Writes nothing.

        The target of a project that was found by the pin of a map is that map.
        """
        located = self._located()
        if located is not self:
            return located.plan_destroy(overrides, targets)
        if not targets and self.pinned is not None and self.pinned.address:
            targets = (self.pinned.address,)
        is_there = Path(self.desired.pin_root).exists()
        observed = observe.observe(self.desired) if is_there else ObservedState.nothing()
        if observed.maps or observed.object_maps:
            observed = replace(observed, users=observe.LiveReader(self.desired).users(observed))
        if not targets:
            return plan_destroy(self.desired, observed, overrides)
        from provisioner.planning.teardown_part import find_destroyed, plan_destroy_part

        return plan_destroy_part(self.desired, observed, overrides, find_destroyed(targets, self.desired))

    def destroy(
        self,
        overrides: Overrides = Overrides(),
        options: Options | None = None,
        *,
        planned: Callable[[Plan], None] | None = None,
        confirm: Callable[[Plan], bool] | None = None,
        lock_timeout: float = 0.0,
        targets: Sequence[str] = (),
    ) -> tuple[Plan, Result]:
        """Detach and unpin what the project owns, delete its slots in adopted maps, and remove its pin directory.

        With `targets`, addresses, only these maps, slots and objects go. An older pin root is not moved before.
        """
        from provisioner.apply.audit import recorded
        from provisioner.apply.run import apply_plan

        located = self._located()
        if located is not self:
            done = located.destroy(
                overrides, options, planned=planned, confirm=confirm, lock_timeout=lock_timeout, targets=targets
            )
            if not Path(located.desired.pin_root).exists():
                remove_unused(Path(self.desired.pin_root))
            return done
        if self.pinned is not None and not self.pinned.is_project:
            what, hint = "no record says that a project owns this", "name the pin root of a project"
            raise RefusedError(Problem(what, hint=hint, address=self.pinned.path, id="not-a-project"))
        root = Path(self.desired.pin_root)
        bpffs.check(root)
        if not root.exists():
            current = self.plan_destroy(overrides, targets)
            if planned is not None:
                planned(current)
            return current, apply_plan(current, options or Options(), tuple)
        with locked(self.desired, lock_timeout) as locks:
            current = self.plan_destroy(overrides, targets)
            if planned is not None:
                planned(current)
            refuse_blocked(current.blocked)
            refuse_unprivileged(current, _held(current), maps.may_create)
            if current.steps and confirm is not None and not confirm(current):
                raise RefusedError(Problem("not confirmed: nothing was changed", id="not-confirmed"))
            with recorded("destroy", current, self.document.digest):
                result = apply_plan(current, options or Options(rollback=False), tuple)
            for each in locks:
                each.keeps = (each.directory / META_PIN).exists()
            return current, result

    def _located(self) -> Project:
        """The same project, in the pin root that it has now: an older one until that is moved."""
        root = str(observe.live_root(self.desired))
        if root == self.desired.pin_root:
            return self
        return replace(self, desired=replace(self.desired, pin_root=root, moved_roots=()))

    def snapshot(self) -> Snapshot:
        """The state of this host that plans of this project need. Changes nothing. Raises HostError."""
        return take(self.desired, {named.source for named in btf_types(self.spec) if named.is_of_host})

    def live(self, address: str = "", *, full: bool = True) -> ReportLive:
        """The live state, or its part at an address, decoded with the spec's types; differences have a verb.

        It is read once, so that it is of one moment. Without `full`, long lists are cut. Raises HostError, and
        InputError if nothing is live at the address and the spec declares nothing there.
        """
        from provisioner.views import show

        address = address or (self.pinned.address if self.pinned is not None else "")
        place = self._find(address) if address else None
        moment, plan = self._moment(place)
        report = show.look(plan, moment, ALL if full else CUT, place, has_spec=self.pinned is None)
        if self.pinned is None or self.pinned.is_project:
            return report
        return replace(report, pin_root=self.pinned.root, exists=True)

    def look(self, address: str = "") -> Look:
        """The contents of all maps, or of those at an address, for a view that compares two looks.

        Values are the kernel's bytes. Raises HostError, and InputError for an address that does not exist.
        """
        from provisioner.views import looks

        address = address or (self.pinned.address if self.pinned is not None else "")
        place = self._find(address) if address else None
        moment, plan = self._moment(place)
        return looks.take(plan, moment, place, has_spec=self.pinned is None)

    def _moment(self, place: Place | None, source: Snapshot | None = None) -> tuple[Moment, Plan]:
        """The live state, read once, and the plan that compares it with the spec. Attachments may be deferred."""
        desired = attachments_deferred(self.desired)
        moment = Moment(desired, place, source)
        observed, limits = observe.observe(desired, source), None
        if place is not None:
            desired, limits = narrow.to_place(place, desired, observed)
        return moment, compare(desired, observed, Overrides(), moment, check_points=True, targets=limits)

    def export(self, address: str = "") -> Exported:
        """The live maps, or the one of an address, as a spec that adopts them, with the types of this project.

        Raises InputError if the project has no such map, or a type is sensitive; and HostError.
        """
        from provisioner.adopt.exporting import export_project

        address = address or (self.pinned.address if self.pinned is not None else "")
        return export_project(self.desired, [self._find(address).map.name] if address else ())

    def graph(self, *, live: bool = False) -> Graph:
        """Programs, outer maps and inner maps of the spec, or of the `live` state. Raises HostError."""
        from provisioner.views import graph

        live = live or self.pinned is not None
        return graph.of_live(self.desired, observe.observe(self.desired)) if live else graph.of_spec(self.desired)

    def explain(self, address: str, *, against: Snapshot | None = None) -> tuple[Fact, ...]:
        """The facts about an address, such as `tenants[42]`. Raises InputError if the project has no such address."""
        from provisioner.views import explain

        subject = explain.subject(parse(address, self.desired), self.desired)
        if isinstance(subject, Place):
            moment, plan = self._moment(subject, against)
            facts = tuple(explain.place_facts(plan, subject, moment))
            return explain.without_spec(facts) if self.pinned is not None else facts
        reader, observed = observe.LiveReader(self.desired, against), observe.observe(self.desired, against)
        limits = narrow.to_object(subject[0], self.desired)
        plan = compare(self.desired, observed, Overrides(), reader, check_points=True, targets=limits)
        return tuple(explain.program_facts(plan, subject))

    def shown(self, address: str) -> str:
        """The address as output repeats it: without sensitive keys. Raises InputError for one of another form."""
        return shown(parse(address, self.desired), self.desired)

    def _find(self, address: str) -> Place:
        return find(parse(address, self.desired), self.desired)

    def complete(self, beginning: str, *, targets: bool = False) -> Iterator[str]:
        """Addresses of the spec that start with a text, for completion; with `targets`, those that --target accepts."""
        return (complete.complete_target if targets else complete.complete)(beginning, self.desired)

    def advise(self, kernel: str) -> tuple[Advice, ...]:
        """What Linux `kernel` (`5.10`) does slowly or in another way. Raises InputError with what it refuses."""
        return kernel_versions.advise(self.desired, kernel_versions.parse(kernel))


def _reader(desired: DesiredState, source: Snapshot | None, digests: bool) -> observe.LiveReader:
    """The live maps for a comparison, by digests if maps and programs may be created for it."""
    if source is not None or not digests:
        return observe.LiveReader(desired, source)
    from provisioner.observed.digested import DigestReader

    return DigestReader(desired)


def _requested(texts: Sequence[str], desired: DesiredState, limits: Targets | None) -> Targets | None:
    """The same for what is to be recreated, which the targets of the plan include."""
    if not texts:
        return None
    from provisioner.planning.requested import requested

    return requested(texts, desired, limits)


def _targets(texts: Sequence[str], desired: DesiredState) -> Targets | None:
    """The targets of addresses; None without addresses, for a plan of the whole spec."""
    return targets.find(texts, desired) if texts else None


def _contents_of(spec: Spec, outer: OuterMap) -> int:
    """The policy of an inner map of an outer map that has none of its own, as an index of CONTENTS."""
    template = spec.inner_templates.get(outer.inner)
    of_template = template.policy.contents if template is not None else None
    return CONTENTS.index(outer.policy.contents or of_template or Contents.EXACT)


def _held(current: Plan) -> frozenset[str]:
    """The capabilities of this process. It needs none to give its own pins to a group that it is in."""
    gid = current.observed.gid
    own_group = gid is not None and this_host.may_give_to(gid)
    return this_host.capabilities() | ({"CAP_CHOWN"} if own_group else frozenset())
