"""What the command line does, as functions: load a project, plan it, apply it, destroy it.

The only room that knows both the pure core and the machine; it holds the lock, and looks again after an apply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from provisioner import document, observe, schemafile
from provisioner.changes import Action
from provisioner.codec.btf import BtfTypes
from provisioner.codec.resolve import Lookup
from provisioner.diff import diff_map, slots_to_read
from provisioner.diff_objects import diff_links, diff_object
from provisioner.document import Document
from provisioner.encode import encode
from provisioner.errors import InputError, Problem, Problems, ProvisionerError, RefusedError
from provisioner.host import Host
from provisioner.kernel import bpffs
from provisioner.kernel import host as this_host
from provisioner.kernel.objects import inspect
from provisioner.language import schema
from provisioner.language.read_spec import read
from provisioner.language.rules import VMLINUX, btf_types
from provisioner.objectfile import ObjectInfo
from provisioner.plan import Overrides, Plan, make_plan
from provisioner.privileges import refuse_unprivileged
from provisioner.snapshot import Snapshot
from provisioner.spec import Spec, TableRef
from provisioner.state import DesiredState, ObservedState
from provisioner.teardown import plan_destroy
from provisioner.tree import RawEntries

if TYPE_CHECKING:
    from provisioner.apply import Options, Result

_VMLINUX_BTF = Path("/sys/kernel/btf/vmlinux")

SpecFile = Path | Literal["-"]


@dataclass(frozen=True, slots=True)
class Project:
    """A spec that was read and found sound. `document` has its lines, for messages."""

    document: Document
    spec: Spec
    desired: DesiredState


class SpecError(InputError):
    """Problems of a spec, with the document that they stand in, so that a message can show the lines."""

    def __init__(self, error: ProvisionerError, source: Document) -> None:
        super().__init__(*error.problems)
        self.document = source


def load(
    paths: Sequence[SpecFile],
    *,
    overlays: Sequence[Path] = (),
    allow_outside: bool = False,
    pin_root: str | None = None,
    stdin: TextIO | None = None,
    host: Host | None = None,
    lookups: Mapping[str, Lookup] | None = None,
) -> Project:
    """Read spec files and everything they name, without a look at the kernel.

    `host` and `lookups` (the numbers of interfaces and cgroups by name) are this host's if not given.
    Raises SpecError with all problems of all files in one go.
    """
    problems = Problems()
    source = document.load(paths, stdin=stdin, overlays=overlays, allow_outside=allow_outside, problems=problems)
    try:
        problems.raise_if_any()
        schema.check(source.tree, schemafile.load(), problems)
        spec = read(source.tree, problems)
        roots = None if allow_outside else source.roots
        objects = dict(_objects(spec, roots, problems))
        desired = encode(
            spec,
            host or this_host.read_host(),
            objects,
            lambda table: _table(table, roots, problems),
            _btf(spec, objects, problems),
            lookups or {"ifindex": this_host.find_ifindex, "cgroup_id": this_host.find_cgroup_id},
            problems,
        )
    except InputError as error:
        raise SpecError(error, source) from error
    if pin_root is not None:
        desired = replace(desired, pin_root=pin_root)
    return Project(source, spec, desired)


def _objects(spec: Spec, roots: tuple[Path, ...] | None, problems: Problems) -> Iterable[tuple[str, ObjectInfo]]:
    """Each object file that can be read; a problem is told at the line that names the file.

    Objects are built in a folder beside the specs as often as in one below (`../bpf/router.bpf.o`): both are inside.
    """
    for name, one in spec.objects.items():
        path = beside(one.file.where.file, one.file.text or "")
        near = None if roots is None else [*roots, *(root.parent for root in roots)]
        if near is not None and not document.is_inside(path, one.file, near, problems):
            continue
        try:
            yield name, inspect(path)
        except InputError as error:
            problems.extend(replace(problem, where=one.file.where, address=name) for problem in error.problems)


def _btf(spec: Spec, objects: Mapping[str, ObjectInfo], problems: Problems) -> dict[str, BtfTypes]:
    """The BTF that types may come from: that of the objects, and the kernel's own where the spec names it."""
    found = {name: BtfTypes(info.btf) for name, info in objects.items() if info.btf}
    used = next((one for one in btf_types(spec) if one.source == VMLINUX), None)
    if used is not None:
        try:
            found[VMLINUX] = BtfTypes(_VMLINUX_BTF.read_bytes())
        except OSError as error:
            problems.add(f"this kernel has no BTF: {error.strerror}", used.where, "take the type from an object")
    return found


def _table(table: TableRef, roots: tuple[Path, ...] | None, problems: Problems) -> RawEntries:
    """What a table or raw file holds; it must be below one of `roots`, unless that is None."""
    path = beside(table.file.where.file, table.file.text or "")
    if roots is not None and not document.is_inside(path, table.file, roots, problems):
        return RawEntries((), table.where)
    from provisioner.tables import read_table  # few specs have tables

    return read_table(table, path, problems)


def beside(spec_file: str, name: str) -> Path:
    """A path as a spec writes it: relative to the file that it stands in."""
    return Path(spec_file).parent / name


def plan(
    project: Project, overrides: Overrides = Overrides(), *, against: Literal["live", "empty"] | Snapshot = "live"
) -> Plan:
    """The difference between the spec and what is live, and what would be done. Writes nothing.

    `against` a snapshot asks no kernel, and gives the plan that its host would have given at that time.
    """
    desired = project.desired
    source = None if isinstance(against, str) else against
    observed = ObservedState.nothing() if against == "empty" else observe.observe(desired, source)
    maps = []
    for name, one in desired.maps.items():
        live = observed.maps.get(name)
        blocks = () if live is None else observe.blocks(desired, one, live, slots_to_read(one, live), source)
        maps.append(diff_map(one, live, blocks, observed.meta))
    objects = {name: diff_object(one, desired, observed) for name, one in desired.objects.items()}
    check_interfaces = against != "empty"
    links = diff_links(observed, objects, check_interfaces)
    return make_plan(desired, observed, maps, objects.values(), links, overrides)


def apply(
    project: Project,
    overrides: Overrides = Overrides(),
    options: Options | None = None,
    *,
    planned: Callable[[Plan], None] | None = None,
    confirm: Callable[[Plan], bool] | None = None,
    expected: str | None = None,
    lock_timeout: float = 0.0,
) -> tuple[Plan, Result]:
    """Plan and apply under the project's lock, and verify.

    `planned` is told the plan, whether it may be done or not; `confirm` is asked once with the plan that will be done;
    `expected` is the digest of a plan that was shown before.
    Raises RefusedError where a rule forbids it or the plan is not the expected one, HostError where a step needs a
    capability that this process lacks, and what `apply_plan` raises.
    """
    from provisioner.apply import Options, Status, apply_plan  # a plan does without it

    root = Path(project.desired.pin_root)
    bpffs.check(root)
    existed = root.exists()
    with _locked(project.desired, lock_timeout, create=True):
        done = False
        try:
            current = plan(project, overrides)
            if planned is not None:
                planned(current)
            _refuse_stale(current, expected)
            refuse_blocked(current)
            refuse_unprivileged(current, this_host.capabilities())
            if current.steps and confirm is not None and not confirm(current):
                raise RefusedError(Problem("not confirmed; nothing was changed"))
            result = apply_plan(current, options or Options(), lambda: _differences(project, overrides))
            done = result.status is Status.APPLIED
        finally:
            if not existed and not done and not bpffs.list_pins(root):
                bpffs.remove_dir(root)
    return current, result


def destroy(
    project: Project,
    overrides: Overrides = Overrides(),
    options: Options | None = None,
    *,
    planned: Callable[[Plan], None] | None = None,
    confirm: Callable[[Plan], bool] | None = None,
    lock_timeout: float = 0.0,
) -> tuple[Plan, Result]:
    """Detach and unpin what the project owns, take back its slots in adopted maps, and remove its pin directory."""
    from provisioner.apply import Options, apply_plan

    root = Path(project.desired.pin_root)
    bpffs.check(root)
    if not root.exists():
        current = plan_destroy(project.desired, ObservedState.nothing(), overrides)
        if planned is not None:
            planned(current)
        return current, apply_plan(current, options or Options(), tuple)
    with _locked(project.desired, lock_timeout):
        current = plan_destroy(project.desired, observe.observe(project.desired), overrides)
        if planned is not None:
            planned(current)
        refuse_blocked(current)
        refuse_unprivileged(current, this_host.capabilities())
        if current.steps and confirm is not None and not confirm(current):
            raise RefusedError(Problem("not confirmed; nothing was changed"))
        return current, apply_plan(current, options or Options(rollback=False), tuple)


@contextmanager
def _locked(desired: DesiredState, timeout: float, *, create: bool = False) -> Iterator[None]:
    """Hold the lock of the pin root, and of the folders that adopted maps are pinned in: each has one writer.

    The pin root comes last: where another lock is held, it is not made in vain.
    """
    root = Path(desired.pin_root)
    others = {Path(one.adopted).parent for one in desired.maps.values() if one.adopted is not None}
    with ExitStack() as held:
        for folder in sorted(folder for folder in others - {root} if folder.is_dir()):
            held.enter_context(bpffs.lock(folder, timeout))
        held.enter_context(bpffs.lock(root, timeout, create=create))
        yield


def refuse_blocked(current: Plan) -> None:
    """Raise RefusedError with every rule that stops this plan."""
    if current.blocked:
        raise RefusedError(
            *(
                Problem(
                    f"{refusal.rule}: {refusal.message}",
                    hint=f"{refusal.override} allows it" if refusal.override else "",
                    address=refusal.address,
                    where=refusal.where,
                )
                for refusal in current.blocked
            )
        )


def _refuse_stale(current: Plan, expected: str | None) -> None:
    if expected is not None and current.digest != expected:
        raise RefusedError(
            Problem("the spec or the live state is not what it was when the plan was made", hint="plan again")
        )


def _differences(project: Project, overrides: Overrides) -> tuple[Problem, ...]:
    """What still differs after an apply: nothing, unless somebody else writes, or we are wrong."""
    after = plan(project, overrides)
    actions = {name: change.action for name, change in after.maps.items()}
    actions |= {name: change.action for name, change in after.objects.items()}
    actions |= {change.pin: change.action for change in after.links if change.action is not Action.KEEP}
    return tuple(
        Problem("this still differs after the apply", hint="somebody else may be writing it", address=name)
        for name, action in actions.items()
        if action is not Action.UNCHANGED
    )
