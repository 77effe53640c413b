"""One process, measured from outside: wall time, CPU time, peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


def as_installed(folder: str | os.PathLike[str]) -> None:
    """Have processes compile modules once, into `folder`, as an installed package has them; for this process, too.

    A shell with PYTHONDONTWRITEBYTECODE would otherwise have each process compile all modules, which takes 0.25 s.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = f"{os.fspath(folder)}/bytecode"


@dataclass(frozen=True, slots=True)
class Sample:
    """`wall` and `cpu` in seconds, `peak` in MB; `output` is what it printed, if that is JSON."""

    wall: float
    cpu: float
    peak: float
    output: Any


def run(command: Sequence[str], *, ok: Sequence[int] = (0,)) -> Sample:
    """Run `command` to its end. Raises RuntimeError with its words if its status is none of `ok`.

    The kernel hands a process's peak memory down through fork and exec, so the process that calls this must stay
    smaller than those it measures.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as words:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=words)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        words.seek(0)
        if child.returncode not in ok:
            said = (words.read() or out.read()).decode(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}: {said}")
        return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, _json(out.read()))


def _json(text: bytes) -> Any:
    return json.loads(text) if text[:1] in (b"{", b"[") else None


class Series:
    """Repeated samples of one thing, and their medians."""

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        self._samples: list[Sample] = []

    def add(self, sample: Sample) -> None:
        self._samples.append(sample)

    @property
    def wall(self) -> float:
        return median(sample.wall for sample in self._samples)

    @property
    def cpu(self) -> float:
        return median(sample.cpu for sample in self._samples)

    @property
    def peak(self) -> float:
        return median(sample.peak for sample in self._samples)

    def median_of(self, *path: str) -> float:
        """The median of a number that the process itself printed, at `path` of its JSON."""
        return median(_at(sample.output, path) for sample in self._samples)


def _at(document: Any, path: Sequence[str]) -> float:
    for name in path:
        document = document[name]
    return float(document)
