"""The project as an object: load, plan, apply, destroy, look. The command line adds words to it, and nothing else.

The only room that knows both the pure core and the machine; it holds the lock, and looks again after an apply.
docs/library.md shows its use from Python; `import provisioner` gives the same names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

import msgspec
from msgspec.structs import replace

from provisioner.codec.resolve import Lookup, at_apply
from provisioner.desired import loading
from provisioner.desired.loading import SpecError
from provisioner.document import Document
from provisioner.document.inputs import Inputs
from provisioner.kernel import bpffs, maps
from provisioner.kernel import host as this_host
from provisioner.kernel.locking import Lock, lock
from provisioner.kernel.memory import headrooms, memlock_headroom
from provisioner.model.address import Place, find, parse
from provisioner.model.desired import DesiredState
from provisioner.model.errors import Problem, RefusedError
from provisioner.model.host import Host
from provisioner.model.observed import ObservedState
from provisioner.model.pins import META_PIN
from provisioner.model.spec import Spec
from provisioner.observed import observe, pinned_btf
from provisioner.observed.snapshot import Snapshot
from provisioner.planning import overcommit
from provisioner.planning.changes import Action
from provisioner.planning.comparison import compare
from provisioner.planning.diff_objects import attachments_deferred
from provisioner.planning.hazards import Overrides, refuse_blocked
from provisioner.planning.plan import Plan
from provisioner.planning.privileges import refuse_unprivileged
from provisioner.planning.steps import PinInnerMaps, SetAccess
from provisioner.planning.teardown import plan_destroy

if TYPE_CHECKING:
    from provisioner.apply import Options, Result
    from provisioner.model.kernel_versions import Advice
    from provisioner.planning.targets import Targets
    from provisioner.report.graph import Graph
    from provisioner.report.model import Fact, ReportLive
    from provisioner.views.moment import Moment

__all__ = ["Project", "SpecError", "draft", "load"]

SpecFile = str | os.PathLike[str]
"""A spec file or a folder of them; `-` is standard input."""


class Project(msgspec.Struct, frozen=True):
    """A spec that was read and found sound. `document` has its lines, for messages."""

    document: Document
    spec: Spec
    desired: DesiredState

    def plan(
        self,
        overrides: Overrides = Overrides(),
        *,
        against: Literal["live", "empty"] | Snapshot = "live",
        probe: bool = False,
        targets: Sequence[str] = (),
    ) -> Plan:
        """The difference between the spec and what is live, and what would be done. Writes nothing.

        `against` a snapshot asks no kernel, and gives the plan that its host would have given at that time. `probe`
        finds out whether live outer maps take the inner maps that they would get: by unpinned maps and programs, which
        are gone when this returns. `targets` are addresses (`tenants`, `tenants[42]`, an object's name) that the plan
        is limited to: all else is left as it is. Raises InputError for one that names nothing.
        """
        desired = self.desired
        source = None if isinstance(against, str) else against
        observed = ObservedState.nothing() if against == "empty" else observe.observe(desired, source)
        limits = _targets(targets, desired)
        live_maps = observe.LiveReader(desired, source)
        found = compare(desired, observed, overrides, live_maps, check_points=against != "empty", targets=limits)
        if probe:
            from provisioner.apply import template_probe  # a plan that only looks does without it

            probed = template_probe.probe(found)
            if any(one.probed is not None and not one.probed.fits for one in probed.maps.values()):
                found = compare(desired, probed, overrides, live_maps, check_points=True, targets=limits)
        return overcommit.warned(found, headrooms) if against == "live" else found

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
    ) -> tuple[Plan, Result]:
        """Plan and apply under the project's lock, and verify.

        `planned` is told the plan, whether it may be done or not; `confirm` is asked once with the plan that will be
        done; `expected` is the digest of a plan that was shown before. `targets` are those of `plan`.
        Raises RefusedError where a rule forbids it or the plan is not the expected one, HostError where a step needs a
        capability that this process lacks, and what `apply_plan` raises.
        """
        from provisioner.apply import Options, Status, apply_plan  # a plan does without these
        from provisioner.apply.audit import recorded

        root = Path(self.desired.pin_root)
        bpffs.check(root)
        _targets(targets, self.desired)  # what names nothing does so before there is a lock, and its folder
        existed = root.exists()
        with _locked(self.desired, lock_timeout, create=True) as locks:
            done = False
            try:
                held = this_host.capabilities()
                # Without it no inner map may be opened: a plan that a probe would ask about is refused below.
                current = self.plan(overrides, probe="CAP_SYS_ADMIN" in held, targets=targets)
                if planned is not None:
                    planned(current)
                _refuse_stale(current, expected)
                refuse_blocked(current.blocked)
                refuse_unprivileged(current, _held(current), maps.may_create)
                overcommit.refuse_overcommit(current, overrides, headrooms, memlock_headroom)
                if current.steps and confirm is not None and not confirm(current):
                    raise RefusedError(Problem("not confirmed: nothing was changed", id="not-confirmed"))
                with recorded("apply", current, self.document.digest):
                    result = apply_plan(
                        current, options or Options(), lambda: _differences(self, overrides, current, targets)
                    )
                done = result.status is Status.APPLIED
                for each in locks:
                    each.keeps = True
            finally:
                if not existed and not done and not bpffs.list_pins(root):
                    locks[-1].remove_directory()
        return current, result

    def targets(self, addresses: Sequence[str]) -> tuple[str, ...]:
        """The addresses of a limited plan, each once, in one order and spelling. Raises InputError."""
        found = _targets(addresses, self.desired)
        return found.addresses if found is not None else ()

    def plan_destroy(self, overrides: Overrides = Overrides()) -> Plan:
        """What `destroy` would do. Writes nothing."""
        is_there = Path(self.desired.pin_root).exists()
        observed = observe.observe(self.desired) if is_there else ObservedState.nothing()
        if observed.maps or observed.object_maps:
            observed = replace(observed, users=observe.LiveReader(self.desired).users(observed))
        return plan_destroy(self.desired, observed, overrides)

    def destroy(
        self,
        overrides: Overrides = Overrides(),
        options: Options | None = None,
        *,
        planned: Callable[[Plan], None] | None = None,
        confirm: Callable[[Plan], bool] | None = None,
        lock_timeout: float = 0.0,
    ) -> tuple[Plan, Result]:
        """Detach and unpin what the project owns, take back its slots in adopted maps, and remove its pin directory."""
        from provisioner.apply import Options, apply_plan
        from provisioner.apply.audit import recorded

        root = Path(self.desired.pin_root)
        bpffs.check(root)
        if not root.exists():
            current = plan_destroy(self.desired, ObservedState.nothing(), overrides)
            if planned is not None:
                planned(current)
            return current, apply_plan(current, options or Options(), tuple)
        with _locked(self.desired, lock_timeout) as locks:
            current = self.plan_destroy(overrides)
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

    def snapshot(self) -> Snapshot:
        """What plans of this project ask of this host. Changes nothing. Raises HostError."""
        from provisioner.language.rules import btf_types
        from provisioner.observed.snapshot_take import take

        return take(self.desired, {one.source for one in btf_types(self.spec) if one.is_of_host})

    def live(self, address: str = "", *, full: bool = True) -> ReportLive:
        """The live state, or its part at an address, decoded with the spec's types; differences have a verb.

        It is read once, so that it is of one moment. Without `full`, long lists are cut. Raises HostError, and
        InputError if nothing is live at the address and the spec declares nothing there.
        """
        from provisioner.report.model import ALL, CUT
        from provisioner.views import show

        place = find(parse(address), self.desired) if address else None
        moment, plan = self._moment(place)
        return show.look(plan, moment, ALL if full else CUT, place)

    def _moment(self, place: Place | None, source: Snapshot | None = None) -> tuple[Moment, Plan]:
        """The live state, read once, and the plan that compares it with the spec. Attachments may be deferred."""
        from provisioner.views.moment import Moment

        desired = attachments_deferred(self.desired)
        moment = Moment(desired, place, source)
        observed = observe.observe(desired, source)
        return moment, compare(desired, observed, Overrides(), moment, check_points=True)

    def graph(self, *, live: bool = False) -> Graph:
        """Programs, outer maps and inner maps: what the spec wants, or what is `live` of it. Raises HostError."""
        from provisioner.views import graph

        return graph.of_live(self.desired, observe.observe(self.desired)) if live else graph.of_spec(self.desired)

    def explain(self, address: str, *, against: Snapshot | None = None) -> tuple[Fact, ...]:
        """What there is to say about `tenants[42]`. Raises InputError for what is no address of this project."""
        from provisioner.views import explain

        subject = explain.subject(parse(address), self.desired)
        if isinstance(subject, Place):
            moment, plan = self._moment(subject, against)
            return tuple(explain.place_facts(plan, subject, moment))
        return tuple(explain.program_facts(self.plan(against=against or "live"), subject))

    def complete(self, beginning: str, *, targets: bool = False) -> Iterator[str]:
        """Addresses of the spec that begin so, as a shell completes them: all, or what a plan can be limited to."""
        from provisioner.views import complete

        return (complete.complete_target if targets else complete.complete)(beginning, self.desired)

    def advise(self, kernel: str) -> tuple[Advice, ...]:
        """What Linux `kernel` (`5.10`) would do slowly, or needs help with. Raises InputError with what it refuses."""
        from provisioner.model import kernel_versions

        return kernel_versions.advise(self.desired, kernel_versions.parse(kernel))


def load(
    paths: SpecFile | Sequence[SpecFile],
    *,
    overlays: Sequence[SpecFile] = (),
    allow_outside: bool = False,
    pin_root: str | None = None,
    stdin: TextIO | None = None,
    snapshot: Snapshot | None = None,
    host: Host | None = None,
    lookups: Mapping[str, Lookup] | None = None,
    inputs: Inputs | None = None,
    contents: bool = True,
    any_host: bool = False,
) -> Project:
    """Read spec files and everything they name, without a look at the kernel.

    Every file and folder that is read is noted in `inputs`, also where the spec turns out to be wrong.
    Without `contents`, tables are not read and entries not encoded: enough for `destroy`, and for nothing else.
    `snapshot` is that of the host which the project is for. `host` and `lookups` (the numbers of interfaces and cgroups
    by name) are the snapshot's, or else this host's, if not given. For `any_host` names are not looked up: their
    numbers are known at apply, and what is loaded can be planned against nothing alone.
    Raises SpecError with all problems of all files in one go.
    """
    if snapshot is not None:
        host, lookups = host or snapshot.host(), lookups or snapshot.lookups()
    elif any_host:
        lookups = lookups or at_apply()
    source, spec, desired = loading.load(
        [paths] if isinstance(paths, str | os.PathLike) else paths,
        overlays=[Path(overlay) for overlay in overlays],
        allow_outside=allow_outside,
        stdin=stdin,
        host=host,
        lookups=lookups,
        inputs=inputs or Inputs(),
        read_btf=pinned_btf.read if snapshot is None else snapshot.read_btf,
        contents=contents,
    )
    if pin_root is not None:
        desired = replace(desired, pin_root=pin_root)
    return Project(source, spec, desired)


def draft(object_file: SpecFile) -> str:
    """A spec to begin with, from a compiled object's maps and BTF. Raises InputError for what is no such file."""
    from provisioner.adopt.skeleton import skeleton
    from provisioner.kernel.objects import inspect

    return skeleton(inspect(Path(object_file)), str(object_file))


def _targets(texts: Sequence[str], desired: DesiredState) -> Targets | None:
    """The targets that addresses name, None without any: a whole plan does without the module."""
    if not texts:
        return None
    from provisioner.planning import targets

    return targets.find(texts, desired)


@contextmanager
def _locked(desired: DesiredState, timeout: float, *, create: bool = False) -> Iterator[list[Lock]]:
    """Hold the lock of the pin root, and of the directories that adopted maps are pinned in: each has one writer.

    The pin root comes last: where another lock is held, it is not created in vain.
    """
    root = Path(desired.pin_root)
    others = {Path(one.adopted).parent.resolve() for one in desired.maps.values() if one.adopted is not None}
    with ExitStack() as held:
        locks = [
            held.enter_context(lock(directory, timeout))
            for directory in sorted(directory for directory in others - {root.resolve()} if directory.is_dir())
        ]
        yield [*locks, held.enter_context(lock(root, timeout, create=create))]


def _held(current: Plan) -> frozenset[str]:
    """The capabilities of this process; to give its own pins to a group that it is in, it needs none."""
    gid = current.observed.gid
    own_group = gid is not None and this_host.may_give_to(gid)
    return this_host.capabilities() | ({"CAP_CHOWN"} if own_group else frozenset())


def _refuse_stale(current: Plan, expected: str | None) -> None:
    if expected is None or current.digest == expected:
        return
    if any(live.probed is not None and live.probed.why for live in current.observed.maps.values()):
        refuse_blocked(current.blocked)  # what the probe found out is why it is another plan
    raise RefusedError(
        Problem("the spec or the live state changed after the plan was made", hint="plan again", id="stale-plan")
    )


def _differences(project: Project, overrides: Overrides, done: Plan, targets: Sequence[str]) -> tuple[Problem, ...]:
    """What still differs after an apply: nothing, unless somebody else writes, or we are wrong."""
    # What came along with a target was done whole, and is looked at again whole.
    after = project.plan(overrides, targets=(*targets, *sorted(done.whole)))
    actions = {name: change.action for name, change in after.maps.items()}
    actions |= {name: change.action for name, change in after.objects.items()}
    actions |= {change.pin: change.action for change in after.links if change.action is not Action.KEEP}
    actions |= {step.describe(): Action.UPDATE for step in after.steps if isinstance(step, PinInnerMaps | SetAccess)}
    return tuple(
        Problem(
            "still differs after the apply", hint="another process may write to it", address=name, id="not-converged"
        )
        for name, action in actions.items()
        if action is not Action.UNCHANGED
    )
