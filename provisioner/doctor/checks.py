"""What this host supports: read from the system, and tried on unpinned maps."""

from __future__ import annotations

import os
import resource
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from provisioner.apply import waves
from provisioner.bytecode.merge_program import Winner
from provisioner.doctor import attachments, kernel_config
from provisioner.doctor.finding import Finding, Level
from provisioner.kernel import batch, bpffs, host, libbpf, map_fields, maps, merging, reading, trust
from provisioner.kernel.batch import Batching
from provisioner.kernel.reasons import KernelError
from provisioner.model import kernel_versions
from provisioner.model.errors import HostError
from provisioner.model.map_shape import MapShape
from provisioner.model.pins import META_PIN
from provisioner.model.uapi import MapFlag, MapType

_FEW_FILES: Final = 1024
"""With fewer open files, waves are small and an apply is slower."""

_ONE_BY_ONE: Final = Batching(slots=False)

_BATCHED: Final = (
    MapShape(MapType.HASH, 4, 4, 4),
    MapShape(MapType.ARRAY, 4, 4, 4),
    MapShape(MapType.LPM_TRIE, 8, 4, 4, MapFlag.NO_PREALLOC),
    MapShape(MapType.PERCPU_ARRAY, 4, 8, 4),
)


def examine() -> tuple[Finding, ...]:
    """All findings, in the order of the output. Leaves nothing behind."""
    findings = [
        _kernel(),
        *_bugs(),
        _config(),
        _btf(),
        _libbpf(),
        _bpffs(),
        _pin_roots(),
        _capabilities(),
        _unprivileged(),
        _lockdown(),
    ]
    findings += [_memlock(), _nofile()]
    if all(finding.level is not Level.BAD for finding in findings if finding.id in ("libbpf", "capabilities")):
        findings += _tried()
    return tuple(findings)


def _kernel() -> Finding:
    name = os.uname()
    version = ".".join(map(str, running_version()))
    return Finding("kernel", Level.OK, f"{name.release} ({name.machine}), Linux {version}", name.release)


def running_version() -> kernel_versions.Version:
    """The upstream release of the running kernel, for advice only."""
    name = os.uname()
    return kernel_versions.upstream(name.release, name.version, _read("/proc/version_signature"))


def _bugs() -> Iterator[Finding]:
    bugs = kernel_versions.bugs_of(running_version())
    if not bugs:
        known = ", ".join(bug.id for bug in kernel_versions.BUGS)
        yield Finding("known bugs", Level.OK, f"none for this version, of {known}", [])
    for bug in bugs:
        hint = f"{bug.follows}; fixed by {bug.source}, which a distribution may have backported"
        yield Finding(f"bug {bug.id}", Level.NOTE, bug.what, bug.id, hint)


def _config() -> Finding:
    config = kernel_config.read()
    if config is None:
        return Finding("config", Level.OK, "unknown: not in /proc/config.gz nor next to the kernel")
    path, options = config
    lacks = [option for option, chosen in options.items() if not chosen]
    hint = "; ".join(kernel_config.FOLLOWS[option] for option in lacks)
    said = f"{path}: " + (f"no {', '.join(lacks)}" if lacks else "has all options that maps need")
    return Finding("config", Level.NOTE if lacks else Level.OK, said, {"file": str(path), "options": options}, hint)


def _btf() -> Finding:
    has_btf = Path("/sys/kernel/btf/vmlinux").exists()
    if has_btf:
        return Finding("btf", Level.OK, "the kernel has BTF", True)
    return Finding("btf", Level.NOTE, "the kernel has no BTF", False, "objects with CO-RE relocations do not load")


def _libbpf() -> Finding:
    try:
        version = "{}.{}".format(*libbpf.version())
    except HostError as error:
        problem = error.problems[0]
        return Finding("libbpf", Level.BAD, problem.what, None, problem.hint)
    mapped = (line.split()[-1] for line in _read("/proc/self/maps").splitlines() if "libbpf" in line)
    path = next(mapped, "")
    return Finding("libbpf", Level.OK, f"{version}, {path}", {"version": version, "path": path})


def _bpffs() -> Finding:
    mounts = bpffs.mounts()
    if not mounts:
        hint = "mount one: `mount -t bpf bpf /sys/fs/bpf`"
        return Finding("bpffs", Level.BAD, "no bpffs is mounted", [], hint)
    return Finding("bpffs", Level.OK, ", ".join(mounts), list(mounts))


def _pin_roots() -> Finding:
    """Whether another user can change what projects have pinned."""
    roots = sorted({pin.parent for pin in bpffs.walk_pins() if pin.name == META_PIN})
    wrong = [problem for root in roots for problem in trust.problems(root)]
    if wrong:
        said = "; ".join(f"{problem.address}: {problem.what}" for problem in wrong)
        return Finding("pin roots", Level.BAD, said, [str(root) for root in roots], wrong[0].hint)
    shared = [mount for mount in bpffs.mounts() if os.stat(mount).st_mode & stat.S_IWOTH]
    if shared:
        hint = f"users can create directories where you want a pin root: `chmod 0755 {shared[0]}`"
        return Finding("pin roots", Level.NOTE, f"any user can write {', '.join(shared)}", shared, hint)
    said = f"{len(roots)} on this host: only their owners can write them" if roots else "none on this host"
    return Finding("pin roots", Level.OK, said, [str(root) for root in roots])


def _capabilities() -> Finding:
    held = sorted(host.capabilities())
    said = ", ".join(held) or "none"
    if "CAP_SYS_ADMIN" in held:
        return Finding("capabilities", Level.OK, said, held)
    if "CAP_BPF" in held:
        hint = "inner maps cannot be opened, unless the spec has `pin_inner_maps: true`"
        return Finding("capabilities", Level.NOTE, said, held, hint)
    return Finding("capabilities", Level.BAD, said, held, host.privilege_hint())


def _unprivileged() -> Finding:
    words = {"0": "any user can load some programs", "1": "off until the next boot", "2": "off"}
    value = _read("/proc/sys/kernel/unprivileged_bpf_disabled").strip()
    level = Level.NOTE if value == "0" else Level.OK
    hint = "sysctl kernel.unprivileged_bpf_disabled=2" if value == "0" else ""
    return Finding("unprivileged bpf", level, words.get(value, "unknown on this kernel"), value or None, hint)


def _lockdown() -> Finding:
    text = _read("/sys/kernel/security/lockdown")
    mode = text.partition("[")[2].partition("]")[0] or "none"
    hint = "programs cannot read kernel memory" if mode == "confidentiality" else ""
    return Finding("lockdown", Level.NOTE if hint else Level.OK, mode, mode, hint)


def _memlock() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    said = f"{_limit(soft)} of {_limit(hard)} bytes"
    if running_version() >= kernel_versions.MEMCG.since or hard == resource.RLIM_INFINITY or os.geteuid() == 0:
        return Finding("memlock limit", Level.OK, said, soft)
    return Finding("memlock limit", Level.NOTE, said, soft, "this kernel charges maps to it: `ulimit -l unlimited`")


def _nofile() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wave = waves.wave_size(hard)
    said = f"{soft:,} of {hard:,} open files: {wave:,} inner maps in a wave"
    hint = "raise the hard limit for fewer waits: `ulimit -Hn`" if hard < _FEW_FILES else ""
    return Finding("nofile limit", Level.NOTE if hint else Level.OK, said, {"soft": soft, "hard": hard}, hint)


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else f"{value:,}"


# --- tried on scratch maps ---------------------------------------------------------------------------------------


def _tried() -> list[Finding]:
    try:
        return [_grace_period(), _batches(), _outer_batches(), _programs(), attachments.examine()]
    except KernelError as error:
        problem = error.problems[0]
        return [Finding("maps", Level.BAD, str(problem.what), None, problem.hint)]


def _grace_period() -> Finding:
    """The duration of one write to an outer map: mostly the wait for an RCU grace period."""
    slots = MapShape(MapType.HASH_OF_MAPS, 4, 4, 4)
    with maps.create(_BATCHED[0], "doctor") as inner, maps.create(slots, "doctor", inner=inner) as outer:
        keys = np.arange(3, dtype=np.uint32)
        fds = np.full(1, inner.number, dtype=np.uint32)
        taken = [_seconds(lambda: batch.publish(outer, keys[:1], fds, batching=_ONE_BY_ONE)) for _ in keys]
    cost = sorted(taken)[1] * 1000
    return Finding("grace period", Level.OK, f"{cost:.1f} ms for a write to an outer map", round(cost, 3))


def _batches() -> Finding:
    has = [shape.map_type.word for shape in _BATCHED if _has_batch(shape)]
    lacks = [shape.map_type.word for shape in _BATCHED if shape.map_type.word not in has]
    said = f"supported by {', '.join(has) or 'no type'}" + (f"; not by {', '.join(lacks)}" if lacks else "")
    hint = "entries of other types are written one by one" if lacks else ""
    return Finding("batches of entries", Level.NOTE if lacks else Level.OK, said, {"has": has, "lacks": lacks}, hint)


def _has_batch(shape: MapShape) -> bool:
    with maps.create(shape, "doctor") as fd:
        return reading.has_batch(fd, shape, host.possible_cpus())


def _outer_batches() -> Finding:
    slots = MapShape(MapType.ARRAY_OF_MAPS, 4, 4, 4)
    with maps.create(_BATCHED[0], "doctor") as inner, maps.create(slots, "doctor", inner=inner) as outer:
        fds = np.full(4, inner.number, dtype=np.uint32)
        calls = batch.publish(outer, np.arange(4, dtype=np.uint32), fds, batching=Batching(threads=2))
    if calls != 1:
        hint = "slots are written one by one, from many threads"
        return Finding("batches of slots", Level.NOTE, "not supported by this kernel", "none", hint)
    if batch.slots_batch_waits_once():
        return Finding("batches of slots", Level.OK, "wait for one grace period", "cheap")
    hint = "many slots are written one by one, from many threads, which share the waits"
    return Finding("batches of slots", Level.NOTE, "wait for a grace period per slot", "dear", hint)


def _programs() -> Finding:
    """What programs of type SYSCALL do here in place of system calls."""
    works = {"merge": merging.can_merge(_BATCHED[0], Winner.NEW, ()), "digests": map_fields.fields() is not None}
    words = {"merge": "carry changes over", "digests": "compute digests"}
    can, cannot = (
        " and ".join(words[name] for name, has in works.items() if has == wanted) for wanted in (True, False)
    )
    hint = f"system calls do it instead: {cannot}" if cannot else ""
    return Finding("programs", Level.NOTE if cannot else Level.OK, can or "not supported", works, hint)


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
