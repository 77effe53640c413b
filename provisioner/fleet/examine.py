"""One host of a fleet: its spec is read and checked, and planned against its snapshot.

The result has a key that is equal for hosts with the same differences. Ids of the kernel are not part of it, and paths
of overlays are replaced by their patterns, which are the same for all hosts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final

import msgspec

from provisioner.desired.loading import SpecError
from provisioner.fleet import layers
from provisioner.fleet.inventory import FleetHost, Layer
from provisioner.fleet.layers import LayerFile
from provisioner.model.errors import InputError, Problem, Problems, ProvisionerError
from provisioner.model.given import Given
from provisioner.observed.snapshot import Snapshot
from provisioner.observed.snapshot_file import read_snapshot
from provisioner.planning.hazards import Overrides
from provisioner.project import Project, opening
from provisioner.report import jsondoc, problems
from provisioner.report.jsontext import dumps
from provisioner.report.model import Limits, ReportPlan
from provisioner.views import plan_report

EMPTY: Final = "empty"


class HostState(Enum):
    """The result for a host, in the order of severity."""

    VALID = "valid"
    UNCHANGED = "unchanged"
    CHANGES = "changes"
    REFUSED = "refused"
    INVALID = "invalid"


class Job(msgspec.Struct, frozen=True):
    """What is done for each host. `against` is a pattern or `empty`; None takes the snapshot of the inventory.

    Without `plans`, specs are only validated. `variables` win over those of the inventory.
    """

    files: tuple[str, ...]
    layers: tuple[Layer, ...] = ()
    plans: bool = True
    against: str | None = None
    allow_outside: bool = False
    pin_root: str | None = None
    variables: Mapping[str, Given] = {}
    overrides: Overrides = Overrides()
    limits: Limits = Limits()


class HostFinding(msgspec.Struct, frozen=True):
    """What is said of a host: a plan, or problems with lines of the files."""

    report: ReportPlan | None = None
    problems: tuple[Problem, ...] = ()
    excerpts: Mapping[Any, str] = {}


class Examined(msgspec.Struct, frozen=True):
    """The result for one host. `status` is the exit status of a plan; `key` is equal for equal findings.

    `renamed` are paths in texts, and the patterns that replace them.
    """

    host: str
    state: HostState
    status: int
    key: bytes
    finding: HostFinding
    renamed: Mapping[str, str] = {}
    project: str = ""
    revision: str = ""


def examine(host: FleetHost, aim: Job) -> Examined:
    """Read the spec of a host, and plan."""
    renamed: dict[str, str] = {}
    try:
        problems_ = Problems()
        chosen = layers.files(aim.layers, host, problems_)
        problems_.raise_if_any()
        renamed = _renamed(chosen)
        snapshot = _snapshot(host, aim, renamed)
        project = _load(host, aim, chosen, snapshot)
        if not aim.plans:
            return Examined(host.name, HostState.VALID, 0, b"", HostFinding(), {}, *_names(project))
        plan = project.plan(aim.overrides, against=snapshot or "empty")
        report = plan_report.report(plan, aim.limits, kernel=snapshot.header.kernel if snapshot is not None else "")
    except ProvisionerError as error:
        return _invalid(host, error, renamed)
    state = HostState.REFUSED if plan.blocked else HostState.CHANGES if plan.changed else HostState.UNCHANGED
    status = {HostState.REFUSED: 4, HostState.CHANGES: 2}.get(state, 0)
    key = _key(state, jsondoc.fragment(report), renamed)
    return Examined(host.name, state, status, key, HostFinding(report), renamed, *_names(project))


def _names(project: Project) -> tuple[str, str]:
    return project.desired.project, project.desired.revision


def _load(host: FleetHost, aim: Job, chosen: tuple[LayerFile, ...], snapshot: Snapshot | None) -> Project:
    overlays = [Path(each.path) for each in chosen if not each.is_optional or Path(each.path).exists()]
    return opening.load(
        aim.files,
        overlays=overlays,
        allow_outside=aim.allow_outside,
        pin_root=aim.pin_root,
        snapshot=snapshot,
        any_host=snapshot is None,
        variables={**host.variables, **aim.variables},
    )


def _snapshot(host: FleetHost, aim: Job, renamed: dict[str, str]) -> Snapshot | None:
    """The snapshot of a host; `renamed` gets its path."""
    pattern = host.snapshot if aim.against is None else aim.against
    if not aim.plans or pattern is None or pattern == EMPTY:
        return None
    problems = Problems()
    name = layers.filled(pattern, host, None, problems)
    problems.raise_if_any()
    assert name is not None
    renamed[name] = pattern
    return read_snapshot(Path(name))


def _invalid(host: FleetHost, error: ProvisionerError, renamed: Mapping[str, str]) -> Examined:
    places = [problem.where for problem in error.problems if problem.where is not None and problem.where.line]
    excerpts = error.document.lines(places) if isinstance(error, SpecError) else {}
    values = [problems.as_value(problem) for problem in error.problems]
    key = _key(HostState.INVALID, {"errors": values}, renamed)
    status = error.exit_code if not isinstance(error, InputError) else InputError.exit_code
    return Examined(host.name, HostState.INVALID, status, key, HostFinding(None, error.problems, excerpts), renamed)


def _renamed(chosen: tuple[LayerFile, ...]) -> dict[str, str]:
    """Paths with labels, and their patterns; the longest path first."""
    pairs = [(str(each.path), str(each.pattern)) for each in chosen if each.path != each.pattern]
    return dict(sorted(pairs, key=lambda pair: -len(pair[0])))


def with_patterns(text: str, renamed: Mapping[str, str]) -> str:
    """`text` with patterns in place of paths, where they are a place: `hosts/a.yaml:3`, or a text of JSON."""
    for path, pattern in renamed.items():
        for end in ':"':
            text = text.replace(f"{path}{end}", f"{pattern}{end}")
    return text


def _key(state: HostState, content: dict[str, Any], renamed: Mapping[str, str]) -> bytes:
    for change in content.get("changes", ()):
        if isinstance(change.get("before"), dict):
            change["before"] = {
                name: value for name, value in change["before"].items() if name not in ("id", "ifindex")
            }
    text = with_patterns(dumps([state.value, content]), renamed)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
