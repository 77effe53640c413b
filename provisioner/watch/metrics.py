"""What Prometheus is told of a watch: over HTTP, or in a file for the node exporter's textfile collector."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner import __version__
from provisioner.model.errors import HostError, InputError, Problem
from provisioner.planning.counts import Summary
from provisioner.watch.loop import Passed
from provisioner.watch.machine import Verdict

if TYPE_CHECKING:
    from prometheus_client import Metric

KINDS: Final = Summary.__struct_fields__
"""The kinds of things that can differ: outer_maps, inner_maps, maps, entries, programs."""

LOOPBACK: Final = "127.0.0.1"

_CHANGES: Final = ("create", "insert", "update", "replace", "delete")


class Metrics:
    """The metrics of one watch. Raises HostError where prometheus_client cannot be imported."""

    def __init__(self) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError as error:
            hint = "install it: pip install 'bpf-provisioner[metrics]', or python3-prometheus-client"
            what = f"metrics need prometheus_client: {error}"
            raise HostError(Problem(what, hint=hint, id="prometheus-client-missing")) from error
        self._prometheus = prometheus
        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = prometheus.CollectorRegistry()

        def gauge(name: str, what: str, *labels: str) -> prometheus.Gauge:
            return prometheus.Gauge(f"provisioner_{name}", what, ("project", *labels), registry=registry)

        def counter(name: str, what: str, *labels: str) -> prometheus.Counter:
            return prometheus.Counter(f"provisioner_{name}", what, ("project", *labels), registry=registry)

        build = prometheus.Gauge("provisioner_build_info", "Always 1.", ("version",), registry=registry)
        build.labels(__version__).set(1)
        self._drift = gauge("drift", "Differences that the last pass left: 0 once they were applied.", "kind")
        self._found = counter("drift_found", "Passes that found the live state to differ from the spec.")
        self._live = gauge("managed", "Things that the spec asks for, by kind.", "kind")
        self._refused = gauge("refusals", "Rules that refuse what is to be done; an apply by hand may override them.")
        self._deferred = gauge("deferred_attachments", "Programs whose interface is not there yet.")
        self._spec_ok = gauge("spec_ok", "1 if the files as they were read last could be used, else 0.")
        self._checked = gauge("last_check_timestamp_seconds", "When the live state was compared with the spec last.")
        self._check_time = gauge("last_check_duration_seconds", "How long the last pass took, an apply included.")
        self._applied = gauge("last_apply_timestamp_seconds", "When the last apply that changed something ended.")
        self._apply_ok = gauge("last_apply_success", "1 if the last apply that was begun ended well, else 0.")
        self._apply_time = gauge("last_apply_duration_seconds", "How long the last apply took.")
        self._applies = counter("applies", "Applies that were begun, by how they ended.", "result")
        self._waits = counter("grace_periods", "RCU grace periods that applies waited for.")
        self._errors = counter("errors", "Passes that failed, by cause: input, host, locked, apply.", "cause")
        self._failures = gauge("consecutive_failures", "Passes that failed in a row; 0 after one that did not.")

    def serve(self, address: str, port: int) -> int:
        """Answer HTTP on `address`, in a thread; gives the port, which is chosen where `port` is 0."""
        try:
            server, _ = self._prometheus.start_http_server(port, address, registry=self._registry)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            what = f"cannot serve metrics at {address}:{port}: {reason}"
            hint = "another process may use the port: choose another one"
            raise HostError(Problem(what, hint=hint, id="metrics-address")) from error
        return int(server.server_port)

    def write(self, path: Path) -> None:
        """Write all of it to `path`, which names the old file or the new one, always."""
        try:
            self._prometheus.write_to_textfile(os.fspath(path), self._registry)
        except OSError as error:
            what = f"cannot write the metrics to {path}: {error.strerror}"
            raise InputError(Problem(what, id="write-failed")) from error

    def families(self) -> Iterable[Metric]:
        """All metrics, with what each means."""
        return self._registry.collect()

    def passed(self, passed: Passed) -> None:
        """What one pass came to. What is never known, such as an apply that never was, is not told."""
        name = "" if passed.project is None else passed.project.desired.project
        found = passed.found
        self._spec_ok.labels(name).set(found.broken is None)
        self._failures.labels(name).set(passed.failures)
        cause = _cause(passed)
        if cause:
            self._errors.labels(name, cause).inc()
        if found.summary is None:
            return
        self._checked.labels(name).set(time.time())
        self._check_time.labels(name).set(passed.took)
        self._refused.labels(name).set(len(found.refusals))
        self._deferred.labels(name).set(len(found.deferred))
        if found.changed:
            self._found.labels(name).inc()
        for kind in KINDS:
            counts = getattr(found.summary, kind)
            differ = sum(getattr(counts, change, 0) for change in _CHANGES)
            wanted = counts.unchanged + differ - counts.delete
            self._live.labels(name, kind).set(wanted)
            self._drift.labels(name, kind).set(0 if found.verdict is Verdict.APPLIED else differ)
        if found.status:
            self._applies.labels(name, found.status).inc()
            self._apply_ok.labels(name).set(found.verdict is Verdict.APPLIED)
            self._apply_time.labels(name).set(found.seconds)
            self._applied.labels(name).set(time.time())
            self._waits.labels(name).inc(found.grace_periods)


def _cause(passed: Passed) -> str:
    """Why a pass failed, in one word; empty where it did not."""
    found = passed.found
    if found.broken is not None:
        return "input"
    match found.verdict:
        case Verdict.LOCKED:
            return "locked"
        case Verdict.FAILED:
            return "apply" if found.status else "host"
        case _:
            return ""
