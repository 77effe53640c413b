"""Links at many functions at once: kprobe.multi and uprobe.multi, and the probes that a file defines (USDT)."""

from __future__ import annotations

import errno
import fnmatch
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from provisioner.kernel import calls, function_offsets, maps, syscalls, usdt
from provisioner.kernel.fd import InnerId, LinkFd, MapFd, ProgramFd
from provisioner.kernel.perf_events import tracefs
from provisioner.kernel.reasons import KernelError
from provisioner.model.attachment import OpenMulti, OpenUsdt
from provisioner.model.errors import HostError, Problem
from provisioner.model.uapi import AttachType

_WITH_RETURN: Final = frozenset({"kretprobe.multi", "uretprobe.multi"})

_SPECS: Final = "__bpf_usdt_specs"
"""The map of libbpf's usdt.bpf.h in which a program looks up the arguments of a probe, by the cookie of its link."""


def create(program: ProgramFd, request: OpenMulti | OpenUsdt) -> LinkFd:
    """A link of a program at everything that a request names.

    Raises HostError where there is no such function, probe or file, `KernelError` (BPF_LINK_CREATE).
    """
    match request:
        case OpenUsdt():
            return _at_probe(program, request)
        case OpenMulti(file=""):
            kind = (
                AttachType.TRACE_KPROBE_SESSION if request.kind == "kprobe.session" else AttachType.TRACE_KPROBE_MULTI
            )
            names = kernel_functions(request.pattern)
            at_return = request.kind in _WITH_RETURN
            return LinkFd(syscalls.kprobe_multi_create(program.number, kind, names, at_return=at_return))
        case _:
            path = _file(request.file)
            offsets = function_offsets.find_all(path, request.pattern)
            return LinkFd(
                syscalls.uprobe_multi_create(
                    program.number, os.fsencode(path), offsets, at_return=request.kind in _WITH_RETURN
                )
            )


def kernel_functions(pattern: str) -> list[bytes]:
    """The functions of the kernel and its modules that can be probed and match, each name once."""
    if not set(pattern) & set("*?"):
        return [pattern.encode()]
    file = tracefs() / "available_filter_functions"
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise KernelError("open", error.errno or 0, name=str(file)) from error
        what, hint = "this kernel cannot probe functions by a pattern", "CONFIG_FPROBE is needed"
        raise HostError(Problem(what, hint=hint, id="attach-unsupported")) from error
    names = dict.fromkeys(line.partition(" ")[0] for line in lines)
    matching = sorted(fnmatch.filter(names, pattern))
    if not matching:
        what = f"no function of the kernel matches `{pattern}`"
        raise HostError(Problem(what, hint=f"{file} lists the functions", id="attach-target-missing"))
    return [name.encode() for name in matching]


def _file(name: str) -> Path:
    file = function_offsets.resolve(name)
    if file is None:
        what, hint = f"file {name} does not exist", "write its full path in the section or in `target:`"
        raise HostError(Problem(what, hint=hint, id="attach-target-missing"))
    return file


def _at_probe(program: ProgramFd, request: OpenUsdt) -> LinkFd:
    path = _file(request.file)
    sites = usdt.find(path, request.provider, request.name)
    with _specs_of(program) as held:
        cookies = () if held is None else _numbers(held, [site.arguments for site in sites])
    return LinkFd(
        syscalls.uprobe_multi_create(
            program.number,
            os.fsencode(path),
            [site.offset for site in sites],
            counters=[site.counter for site in sites] if any(site.counter for site in sites) else (),
            cookies=cookies,
        )
    )


class _specs_of:
    """The map of a program that describes arguments, open inside the block; None if it asks for none."""

    def __init__(self, program: ProgramFd) -> None:
        self._program = program
        self._fd: MapFd | None = None

    def __enter__(self) -> MapFd | None:
        for number in calls.program_record(self._program.number)[1]:
            fd = maps.open_id(InnerId(number))
            if maps.info(fd).name == _SPECS[:15]:
                self._fd = fd
                return fd
            fd.close()
        return None

    def __exit__(self, *_: object) -> None:
        if self._fd is not None:
            self._fd.close()


def _numbers(specs: MapFd, arguments: list[str]) -> list[int]:
    """The slots of the map that describe these arguments: those that are there are used again, others written.

    The last slot stays empty, for probes without arguments. Slots are never written twice: programs that are attached
    elsewhere read them.
    """
    shape = maps.info(specs).shape
    last, size = shape.max_entries - 1, shape.value_size
    wanted = [usdt.encode(each, os.uname().machine, size) for each in arguments]
    held = dict(_held(specs, last, size))
    free = iter([slot for slot in range(last) if slot not in held.values()])
    for spec in dict.fromkeys(wanted):
        if spec in held:
            continue
        if not any(spec):
            held[spec] = last
            continue
        slot = next(free, None)
        if slot is None:
            what = f"`{_SPECS}` has no room for the arguments of one more probe"
            raise HostError(Problem(what, hint="compile with a larger BPF_USDT_MAX_SPEC_CNT", id="attach-unsupported"))
        maps.update(specs, slot.to_bytes(4, "little"), spec)
        held[spec] = slot
    return [held[spec] for spec in wanted]


def _held(specs: MapFd, last: int, size: int) -> Iterator[tuple[bytes, int]]:
    for slot in range(last):
        spec = maps.lookup(specs, slot.to_bytes(4, "little"), size)
        if spec is not None and any(spec):
            yield spec, slot
