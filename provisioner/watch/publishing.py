"""Where the metrics of a watch go: to Prometheus over HTTP, and to a file. Nothing if neither is wanted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from provisioner.model.errors import ProvisionerError
from provisioner.report.logs import LogLine, of_problems
from provisioner.watch.loop import PassReport
from provisioner.watch.metrics import LOOPBACK, Metrics

Listen = tuple[str, int]
"""An address, empty for loopback, and a port."""


class Publisher:
    """Called after each pass. Raises HostError or InputError if the metrics cannot be published."""

    def __init__(self, listen: Listen | None, file: Path | None, log: Callable[[LogLine], None]) -> None:
        self._file = file
        self._log = log
        self._metrics = Metrics() if listen is not None or file is not None else None
        if self._metrics is not None and file is not None:
            self._metrics.write(file)  # so that a path that cannot be written ends the start
        if self._metrics is not None and listen is not None:
            address, port = listen
            self._metrics.serve(address or LOOPBACK, port)

    def __call__(self, passed: PassReport) -> None:
        if self._metrics is None:
            return
        self._metrics.passed(passed)
        if self._file is not None:
            try:
                self._metrics.write(self._file)
            except ProvisionerError as error:  # the watch goes on
                for line in of_problems(error.problems):
                    self._log(line)
