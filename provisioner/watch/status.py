"""The state of a watch as a document: for its status file, and over HTTP as /status, /readyz and /healthz. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import to_builtins
from msgspec.structs import replace

from provisioner import __version__
from provisioner.model.errors import ProvisionerError
from provisioner.planning.hazards import Refusal
from provisioner.report.jsontext import dumps
from provisioner.report.problems import as_value
from provisioner.watch.machine import Verdict
from provisioner.watch.reconcile import PassResult

FORMAT_VERSION: Final = "1.0"
HEALTHY_SECONDS: Final = 300.0
"""The longest time without a sign of the loop while the watch is healthy: reading a spec of millions of entries."""

_LIVE: Final = (Verdict.CONVERGED, Verdict.APPLIED)


class ProjectStatus(msgspec.Struct, frozen=True):
    """One project of a watch. Times are ISO 8601 in UTC, empty where there was none.

    `revision` is that of the spec in force, `live_revision` the last one that matched the live state.
    """

    files: tuple[str, ...]
    project: str = ""
    pin_root: str = ""
    revision: str = ""
    live_revision: str = ""
    ready: bool = False
    spec_ok: bool = False
    result: str = "starting"
    checked: str = ""
    applied: str = ""
    failures: int = 0
    summary: Mapping[str, Any] | None = None
    refusals: tuple[Mapping[str, Any], ...] = ()
    cause: str | None = None
    changes: tuple[Mapping[str, Any], ...] = ()
    more_changes: int = 0
    deferred: tuple[str, ...] = ()
    stale_lock: bool = False
    errors: tuple[Mapping[str, Any], ...] = ()


class Identity(msgspec.Struct, frozen=True):
    """The project of a spec that was read: its name, its pin root and its revision."""

    project: str
    pin_root: str
    revision: str


def after(
    before: ProjectStatus, result: PassResult, identity: Identity | None, failures: int, now: str
) -> ProjectStatus:
    """The status after a pass that ended at `now`."""
    revision = identity.revision if identity is not None else before.revision
    is_live = result.verdict in _LIVE
    if result.verdict is Verdict.LOCKED:  # another process applies: what was live is live until the next pass
        is_live = before.live_revision == revision and before.ready
    spec_ok = result.broken is None
    return ProjectStatus(
        files=before.files,
        project=identity.project if identity is not None else before.project,
        pin_root=identity.pin_root if identity is not None else before.pin_root,
        revision=revision,
        live_revision=revision if result.verdict in _LIVE else before.live_revision,
        ready=is_live and spec_ok,
        spec_ok=spec_ok,
        result=result.verdict.value,
        checked=now if result.summary is not None else before.checked,
        applied=now if result.verdict is Verdict.APPLIED else before.applied,
        failures=failures,
        summary=to_builtins(result.summary) if result.summary is not None else None,
        refusals=tuple(map(_refusal, result.refusals)),
        cause=("drift" if result.is_drift else "rollout") if result.changed else None,
        changes=tuple(_change(each) for each in result.changes),
        more_changes=result.more,
        deferred=result.deferred,
        stale_lock=before.stale_lock,
        errors=(*_errors(result.broken), *_errors(result.error)),
    )


def _change(change: Mapping[str, Any]) -> dict[str, Any]:
    return {name: change[name] for name in ("address", "action", "before", "after")}


def _text(value: object) -> str:
    """A value that is hidden or abridged is a kind of string, which msgspec does not encode as one."""
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError(type(value))


def _refusal(refusal: Refusal) -> dict[str, Any]:
    named = {"rule": refusal.rule, "address": refusal.address, "override": refusal.override or None}
    return {**named, "message": refusal.message}


def _errors(error: ProvisionerError | None) -> tuple[Mapping[str, Any], ...]:
    return tuple(map(as_value, error.problems)) if error is not None else ()


class Board:
    """The status of each project, and when the loop was last seen alive, by a monotonic clock.

    One thread writes, and threads of HTTP read: each write replaces one value.
    """

    def __init__(self, files: tuple[tuple[str, ...], ...], now: float) -> None:
        self._projects = {names: ProjectStatus(names) for names in files}
        self._seen = now

    def beat(self, now: float) -> None:
        """The loop is alive."""
        self._seen = now

    def passed(
        self, files: tuple[str, ...], result: PassResult, identity: Identity | None, failures: int, now: str
    ) -> None:
        """A pass over the project of `files` has ended."""
        self._projects[files] = after(self._projects[files], result, identity, failures, now)

    def changing(self, files: tuple[str, ...]) -> None:
        """The files of a project have changed: what is live is not their revision until they are read and applied."""
        self._projects[files] = replace(self._projects[files], ready=False)

    def held(self, files: tuple[str, ...], stale: bool) -> None:
        """Whether a lock of Git that is probably left over keeps the files of a project from being read."""
        self._projects[files] = replace(self._projects[files], stale_lock=stale)

    def status(self, files: tuple[str, ...]) -> ProjectStatus:
        return self._projects[files]

    @property
    def projects(self) -> tuple[ProjectStatus, ...]:
        return tuple(self._projects.values())

    def is_healthy(self, now: float) -> bool:
        return now - self._seen < HEALTHY_SECONDS

    def is_ready(self, revision: str = "") -> bool:
        """Whether all projects are live as their files say; if a `revision` is given, one of them has it."""
        projects = self.projects
        fits = not revision or any(each.revision == revision for each in projects)
        return fits and all(each.ready for each in projects)

    def document(self, now: float) -> str:
        """All of it as JSON."""
        document = {
            "format_version": FORMAT_VERSION,
            "version": __version__,
            "healthy": self.is_healthy(now),
            "ready": self.is_ready(),
            "projects": [to_builtins(each, enc_hook=_text) for each in self.projects],
        }
        return dumps(document, indent=2) + "\n"
