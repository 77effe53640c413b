"""The metrics of a watch for Prometheus: over HTTP, or in a file for the node exporter's textfile collector."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner import __version__
from provisioner.files.writing import write_file
from provisioner.model.errors import HostError, InputError, Problem
from provisioner.planning.counts import Summary
from provisioner.planning.usage import Usage
from provisioner.watch.loop import PassReport
from provisioner.watch.machine import Verdict
from provisioner.watch.status import Board

if TYPE_CHECKING:
    from prometheus_client import Metric

KINDS: Final = Summary.__struct_fields__
"""The kinds of things that can differ: outer_maps, inner_maps, maps, entries, programs."""

CAUSES: Final = ("input", "host", "locked", "apply")
LOOPBACK: Final = "127.0.0.1"

_CHANGES: Final = ("create", "insert", "update", "replace", "delete")


class Metrics:
    """The metrics of one watch. Raises HostError if prometheus_client cannot be imported."""

    def __init__(self) -> None:
        try:
            import prometheus_client as prometheus  # optional

            from provisioner.watch import metrics_server
        except ImportError as error:
            hint = "pip install prometheus_client, or install the package python3-prometheus-client"
            what = f"metrics need prometheus_client: {error}"
            raise HostError(Problem(what, hint=hint, id="prometheus-client-missing")) from error
        self._prometheus = prometheus
        self._server = metrics_server
        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = prometheus.CollectorRegistry()

        def gauge(name: str, what: str, *labels: str) -> prometheus.Gauge:
            return prometheus.Gauge(f"provisioner_{name}", what, ("project", *labels), registry=registry)

        def counter(name: str, what: str, *labels: str) -> prometheus.Counter:
            return prometheus.Counter(f"provisioner_{name}", what, ("project", *labels), registry=registry)

        build = prometheus.Gauge("provisioner_build_info", "Always 1.", ("version",), registry=registry)
        build.labels(__version__).set(1)
        self._drift = gauge("drift", "Differences after the last pass; 0 after they were applied.", "kind")
        self._drifted = counter("drift_found", "Passes that found differences from a revision that was live before.")
        self._rollouts = counter("rollouts", "Passes that found differences from a revision that was not live before.")
        self._used = gauge(
            "map_used", "Slots of an outer map, or entries of a map or its fullest inner map.", "map", "of"
        )
        self._maximum = gauge("map_maximum", "The most that there can be of them: max_entries.", "map", "of")
        self._stale_lock = gauge(
            "stale_checkout_lock", "1 while a lock of Git that is left over stops the reading, else 0."
        )
        self._names: dict[tuple[str, ...], str] = {}
        self._usages: dict[str, frozenset[tuple[str, str]]] = {}
        self._live = gauge("managed", "Maps, entries and programs that the spec declares, by kind.", "kind")
        self._refused = gauge("refusals", "Checks that refuse the changes; `provisioner apply` can override them.")
        self._deferred = gauge("deferred_attachments", "Programs whose interface does not exist yet.")
        self._revision = gauge("revision_info", "Always 1, with the revision of the spec in force.", "revision")
        self._ready = gauge("ready", "1 if the live state is that of the files, and the files are valid, else 0.")
        self._revisions: dict[str, str] = {}
        self._spec_ok = gauge("spec_ok", "1 if the spec was valid when it was last read, else 0.")
        self._checked = gauge(
            "last_check_timestamp_seconds", "Time of the last comparison of the live state with the spec."
        )
        self._check_time = gauge("last_check_duration_seconds", "Duration of the last pass, including the apply.")
        self._applied = gauge("last_apply_timestamp_seconds", "Time of the last apply.")
        self._apply_ok = gauge("last_apply_success", "1 if the last apply succeeded, else 0.")
        self._apply_time = gauge("last_apply_duration_seconds", "Duration of the last apply.")
        self._applies = counter("applies", "Applies, by result.", "result")
        self._waits = counter("grace_periods", "RCU grace periods that applies waited for.")
        self._errors = counter("errors", "Failed passes, by cause: input, host, locked, apply.", "cause")
        self._failures = gauge("consecutive_failures", "Failed passes in a row.")

    def serve(self, board: Board, address: str, port: int) -> int:
        """Answer HTTP on `address`, in a thread; gives the port, a free one if `port` is 0. Raises HostError."""
        try:
            return self._server.serve(self._registry, board, address, port)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            what = f"cannot serve metrics on {address}:{port}: {reason}"
            hint = "another process may use the port: choose another one"
            raise HostError(Problem(what, hint=hint, id="metrics-address")) from error

    def write(self, path: Path) -> None:
        """Write all metrics to `path` with one rename. Raises InputError."""
        try:
            write_file(path, self._prometheus.generate_latest(self._registry), mode=0o644)
        except OSError as error:
            what = f"cannot write the metrics to {path}: {error.strerror}"
            raise InputError(Problem(what, id="write-failed")) from error

    def families(self) -> Iterable[Metric]:
        """All metrics, with their help texts."""
        return self._registry.collect()

    def passed(self, passed: PassReport, *, ready: bool) -> None:
        """Update the metrics after a pass. A metric without a value, such as the time of an apply, is absent."""
        name = self._name(passed.files, passed.project.desired.project if passed.project is not None else "")
        result = passed.result
        self._ready.labels(name).set(ready)
        if passed.project is not None:
            self._set_revision(name, passed.project.desired.revision)
        self._spec_ok.labels(name).set(result.broken is None)
        self._failures.labels(name).set(passed.failures)
        cause = _cause(passed)
        if cause:
            self._errors.labels(name, cause).inc()
        if result.summary is None:
            return
        self._checked.labels(name).set(time.time())
        self._check_time.labels(name).set(passed.took)
        self._refused.labels(name).set(len(result.refusals))
        self._deferred.labels(name).set(len(result.deferred))
        if result.changed:
            (self._drifted if result.is_drift else self._rollouts).labels(name).inc()
        if result.usages is not None:
            self._set_usages(name, result.usages)
        for kind in KINDS:
            counts = getattr(result.summary, kind)
            differ = sum(getattr(counts, change, 0) for change in _CHANGES)
            wanted = counts.unchanged + differ - counts.delete
            self._live.labels(name, kind).set(wanted)
            self._drift.labels(name, kind).set(0 if result.verdict is Verdict.APPLIED else differ)
        if result.status:
            self._applies.labels(name, result.status).inc()
            self._apply_ok.labels(name).set(result.verdict is Verdict.APPLIED)
            self._apply_time.labels(name).set(result.seconds)
            self._applied.labels(name).set(time.time())
            self._waits.labels(name).inc(result.grace_periods)

    def held(self, files: tuple[str, ...], stale: bool) -> None:
        """Whether a lock of Git that is left over keeps the files of a project from being read."""
        self._stale_lock.labels(self._name(files)).set(stale)

    def _name(self, files: tuple[str, ...], project: str = "") -> str:
        """The label of a project: its name, or its first file until a spec was read. Then that label's series end."""
        before = self._names.setdefault(files, project or files[0])
        if project and before != project:
            self._names[files] = project
            for metric in (self._ready, self._spec_ok, self._failures, self._stale_lock):
                with suppress(KeyError):
                    metric.remove(before)
            for cause in CAUSES:
                with suppress(KeyError):
                    self._errors.remove(before, cause)
        return self._names[files]

    def _set_usages(self, name: str, usages: Iterable[Usage]) -> None:
        now = {(each.map, each.kind): each for each in usages}
        for gone in self._usages.get(name, frozenset()) - now.keys():
            self._used.remove(name, *gone)
            self._maximum.remove(name, *gone)
        self._usages[name] = frozenset(now)
        for key, each in now.items():
            self._used.labels(name, *key).set(each.used)
            self._maximum.labels(name, *key).set(each.maximum)

    def _set_revision(self, name: str, revision: str) -> None:
        before = self._revisions.get(name)
        if before is not None and before != revision:
            self._revision.remove(name, before)
        self._revisions[name] = revision
        self._revision.labels(name, revision).set(1)


def _cause(passed: PassReport) -> str:
    """The cause of a failed pass in one word; empty for another pass."""
    result = passed.result
    if result.broken is not None:
        return "input"
    match result.verdict:
        case Verdict.LOCKED:
            return "locked"
        case Verdict.FAILED:
            return "apply" if result.status else "host"
        case _:
            return ""
