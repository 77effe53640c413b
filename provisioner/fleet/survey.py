"""All hosts of a fleet, examined by several processes; hosts with equal findings are one group.

A worker sends the text of a finding once, and this process keeps these texts in a temporary file. So the memory does
not grow with the differences, only with the number of hosts and their names.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Final

import msgspec

from provisioner.fleet.examine import Examined, HostState, Job, examine, with_patterns
from provisioner.fleet.inventory import FleetHost
from provisioner.model.errors import HostError, Problem

_FEW: Final = 8
"""Hosts that are not worth the start of other processes."""

_CHUNK: Final = 16
"""Hosts that a worker gets at once."""

Write = Callable[[Examined], str]
"""Writes the finding of a host in the format of the result."""


class SurveyedHost(msgspec.Struct, frozen=True):
    """A host of a group, with the name and the revision of its project; both are empty if the spec is invalid."""

    host: str
    project: str
    revision: str


class HostGroup(msgspec.Struct):
    """Hosts with equal findings, in the order of the inventory. `at` and `size` locate the text of the finding."""

    state: HostState
    members: list[SurveyedHost]
    at: int
    size: int


class Survey:
    """The groups of all hosts. Close it to remove the temporary file."""

    def __init__(self) -> None:
        self._texts = tempfile.TemporaryFile()  # noqa: SIM115  # `close` closes it
        self._groups: dict[bytes, HostGroup] = {}
        self._worst = 0

    def close(self) -> None:
        self._texts.close()

    def add(self, member: SurveyedHost, state: HostState, status: int, key: bytes, text: str) -> None:
        """Add the result of a host; `text` is only used for the first host of a group."""
        self._worst = max(self._worst, status, key=_SEVERITY.index)
        group = self._groups.get(key)
        if group is None:
            data = text.encode("utf-8", "surrogateescape")
            at = self._texts.seek(0, os.SEEK_END)
            self._texts.write(data)
            group = self._groups[key] = HostGroup(state, [], at, len(data))
        group.members.append(member)

    @property
    def status(self) -> int:
        """The exit status of the worst host."""
        return self._worst

    @property
    def groups(self) -> list[HostGroup]:
        """The most severe first, then the largest; equal ones in the order of the inventory."""
        ranks = list(HostState)
        return sorted(self._groups.values(), key=lambda group: (-ranks.index(group.state), -len(group.members)))

    def text(self, group: HostGroup) -> str:
        """The finding of a group."""
        self._texts.seek(group.at)
        return self._texts.read(group.size).decode("utf-8", "surrogateescape")


_SEVERITY: Final = (0, 2, 4, 1, 3, 5, 70, 75, 130)
"""Exit statuses of hosts, the worst last."""

_Result = tuple[SurveyedHost, HostState, int, bytes, str]


class _Worker:
    """Examines hosts in one process. It writes each finding once."""

    def __init__(self, aim: Job, write: Write) -> None:
        self._aim = aim
        self._write = write
        self._seen: set[bytes] = set()

    def __call__(self, host: FleetHost) -> _Result:
        examined = examine(host, self._aim)
        text = ""
        if examined.key not in self._seen:
            self._seen.add(examined.key)
            text = with_patterns(self._write(examined), examined.renamed)
        member = SurveyedHost(examined.host, examined.project, examined.revision)
        return member, examined.state, examined.status, examined.key, text


_worker: _Worker | None = None


def _in_worker(host: FleetHost) -> _Result:
    assert _worker is not None
    return _worker(host)


def survey(hosts: Iterable[FleetHost], aim: Job, write: Write, cores: int | None = None) -> Survey:
    """Examine all hosts, on all cores. Raises HostError if a process ends unexpectedly."""
    result = Survey()
    try:
        for result_ in _results(list(hosts), _Worker(aim, write), cores or len(os.sched_getaffinity(0))):
            result.add(*result_)
    except BaseException:
        result.close()
        raise
    return result


def _results(hosts: list[FleetHost], worker: _Worker, cores: int) -> Iterator[_Result]:
    global _worker
    if cores == 1 or len(hosts) <= _FEW:
        yield from map(worker, hosts)
        return
    yield worker(hosts[0])  # the others inherit the modules that it imported
    _worker = worker  # inherited by fork, because functions that write are not sent between processes
    try:
        with ProcessPoolExecutor(cores, mp_context=get_context("fork")) as pool:
            yield from pool.map(_in_worker, hosts[1:], chunksize=_CHUNK)
    except BrokenProcessPool as error:
        what = "a process that planned for hosts was killed"
        raise HostError(Problem(what, hint="the memory may be too small", id="worker-killed")) from error
    finally:
        _worker = None
