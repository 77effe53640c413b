"""Where the state of a watch goes: to Prometheus over HTTP, to a file of metrics, and to a status file."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from provisioner.files.writing import write_file
from provisioner.model.errors import InputError, Problem, ProvisionerError
from provisioner.report.logs import LogLine, of_problems
from provisioner.watch.loop import Listener, PassReport
from provisioner.watch.metrics import LOOPBACK, Metrics
from provisioner.watch.status import Board, Identity

Listen = tuple[str, int]
"""An address, empty for loopback, and a port."""


class Publisher(Listener):
    """Publishes the state after each pass. Raises HostError or InputError if it cannot be published.

    `files` are the files of each project.
    """

    def __init__(
        self,
        files: tuple[tuple[str, ...], ...],
        listen: Listen | None,
        metrics_file: Path | None,
        status_file: Path | None,
        log: Callable[[LogLine], None],
    ) -> None:
        self._metrics_file = metrics_file
        self._status_file = status_file
        self._log = log
        self._board = Board(files, time.monotonic())
        self._metrics = Metrics() if listen is not None or metrics_file is not None else None
        self._write()  # so that a path that cannot be written ends the start
        if self._metrics is not None and listen is not None:
            address, port = listen
            self._metrics.serve(self._board, address or LOOPBACK, port)

    def beat(self) -> None:
        self._board.beat(time.monotonic())

    def changing(self, files: tuple[str, ...]) -> None:
        self._board.changing(files)

    def held(self, files: tuple[str, ...], stale: bool) -> None:
        self._board.held(files, stale)
        if self._metrics is not None:
            self._metrics.held(files, stale)
        self._publish()

    def passed(self, report: PassReport) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        self._board.passed(report.files, report.result, _identity(report), report.failures, now)
        if self._metrics is not None:
            self._metrics.passed(report, ready=self._board.status(report.files).ready)
        self._publish()

    def _publish(self) -> None:
        try:
            self._write()
        except ProvisionerError as error:  # the watch goes on
            for line in of_problems(error.problems):
                self._log(line)

    def _write(self) -> None:
        if self._metrics is not None and self._metrics_file is not None:
            self._metrics.write(self._metrics_file)
        if self._status_file is not None:
            try:
                write_file(self._status_file, self._board.document(time.monotonic()).encode())
            except OSError as error:
                what = f"cannot write the status to {self._status_file}: {error.strerror}"
                raise InputError(Problem(what, id="write-failed")) from error


def _identity(report: PassReport) -> Identity | None:
    if report.project is None:
        return None
    desired = report.project.desired
    return Identity(desired.project, desired.pin_root, desired.revision)
