"""kprobe, fentry, LSM and the like: attached where the kernel has them, refused with nothing changed where not.

scripts/test_kernels.py runs these tests on kernels that have all of them.
"""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

import pytest

from provisioner.model.errors import ApplyError, ProvisionerError
from provisioner.planning.changes import Action
from tests.apply.conftest import Bench
from tests.apply.conftest import bench as bench
from tests.attach.support import Compile, Place, comes_to, counted, failing, link, mounted_tracefs, need, unlink

KPROBES = Path("/sys/bus/event_source/devices/kprobe")

PROBES = {
    "kprobe": Place("on_kprobe", "auto", 6, unlink, False),
    "kretprobe": Place("on_kretprobe", "auto", 7, unlink, False),
    "ksyscall": Place("on_ksyscall", "auto", 13, os.getppid, False),
}
TRAMPOLINES = {
    "fentry": Place("on_fentry", "auto", 8, unlink, False),
    "fexit": Place("on_fexit", "auto", 9, unlink, False),
    "fmod_ret": Place("on_fmod_ret", "auto", 10, unlink, False),
    "lsm": Place("on_lsm", "auto", 11, unlink, False),
}


@cache
def has_trampolines(file: Path, folder: Path) -> bool:
    """Whether the kernel loads programs that run at a trampoline, as bpftool finds it."""
    words = ["bpftool", "prog", "loadall", str(file), str(folder / "all")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    for path in (folder / "all").glob("*"):
        path.unlink()
    if (folder / "all").exists():
        (folder / "all").rmdir()
    assert done.returncode == 0 or "Operation not permitted" in done.stderr, done.stderr
    return done.returncode == 0


def spec(file: Path, place: Place) -> str:
    return f"objects: {{hooks: {{file: {file}, programs: {{{place.program}: {{attach: auto}}}}}}}}\n"


@pytest.mark.parametrize("kind", [*PROBES, *TRAMPOLINES])
def test_a_function_of_the_kernel(
    kind: str, bench: Bench, kernel: Path, bpf_object: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.allow_outside = True
    first, second = bpf_object("hooks_tracing"), bpf_object("hooks_tracing_v2")
    supported = KPROBES.exists() if kind in PROBES else has_trampolines(first, kernel)
    place = (PROBES | TRAMPOLINES)[kind]
    need(place, bpf_object("hooks"))
    if not supported:
        refused_with_nothing_changed(kind, bench, spec(first, place))
        return
    bench.settle(spec(first, place))
    made = link(bench, place)
    assert counted(bench, place) in range(1, 1_000_000), "version 1 counts"
    failing(monkeypatch)
    with pytest.raises(ApplyError) as failed:
        bench.apply(spec(second, place))
    monkeypatch.undo()
    assert failed.value.status == "rolled_back"
    assert link(bench, place) == made
    assert comes_to(bench, place, range(1, 1_000_000)), "version 1 alone counts again"
    plan, _ = bench.settle(spec(second, place))
    assert [change.action for change in plan.links] == [Action.UPDATE]
    assert link(bench, place).id != made.id
    assert counted(bench, place) >= 1_000_000, "version 2 counts"
    bench.destroy(spec(second, place))
    assert not bench.root.exists()


def refused_with_nothing_changed(kind: str, bench: Bench, text: str) -> None:
    with pytest.raises(ProvisionerError) as refused:
        bench.apply(text)
    expected = "attach-unsupported" if kind in PROBES else "not-permitted"
    assert [problem.id for problem in refused.value.problems] == [expected]
    assert not bench.root.exists()


@pytest.mark.parametrize(
    ("program", "target"),
    [
        ("on_tp_btf", "no_such_tracepoint"),
        ("on_raw", "no_such_tracepoint"),
        ("on_uprobe", "libc.so.6:no_such_function"),
        ("on_uprobe", "/no/such/file:f"),
        ("on_tracepoint", "syscalls/no_such_tracepoint"),
    ],
)
def test_a_target_that_does_not_exist(program: str, target: str, bench: Bench, bpf_object: Compile) -> None:
    bench.allow_outside = True
    settings = f"{{target: '{target}', attach: auto}}"
    with pytest.raises(ProvisionerError) as refused, mounted_tracefs():
        bench.apply(f"objects: {{hooks: {{file: {bpf_object('hooks')}, programs: {{{program}: {settings}}}}}}}\n")
    assert [problem.id for problem in refused.value.problems] == ["attach-target-missing"]
    assert not bench.root.exists()
