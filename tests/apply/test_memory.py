"""An apply that needs more kernel memory than there is left is refused with the figures, and changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from provisioner.doctor.checks import running_version
from provisioner.kernel import memory
from provisioner.model import kernel_versions
from provisioner.model.host import Headroom
from provisioner.planning.footprint import Footprint, estimate
from provisioner.report import text
from provisioner.views import plan_report
from tests.apply.conftest import Bench
from tests.cli.support import environment

MIB = 1 << 20


def spec(room: int, value: int = 1, slots: str = "1, 2, 3, 4") -> str:
    inner = ", ".join(f"{key}: {{entries: {{1: {value}}}}}" for key in slots.split(", "))
    return f"""inner_templates: {{one: {{type: hash, key: u32, value: u64, max_entries: {room}, update: replace}}}}
outer_maps: {{tenants: {{type: hash_of_maps, key: u32, max_entries: 8, inner: one, inner_maps: {{{inner}}}}}}}
"""


def test_a_plan_tells_what_it_needs_and_what_it_gives_back(bench: Bench) -> None:
    first = bench.plan(spec(60_000))
    assert 15 * MIB < estimate(first).needed < 30 * MIB
    assert estimate(first).freed == 0
    bench.apply(spec(60_000))
    assert estimate(bench.plan(spec(60_000))) == Footprint(0, 0)
    again = estimate(bench.plan(spec(60_000, value=2)))
    assert again.needed > 15 * MIB
    assert abs(again.needed - again.freed) < MIB / 10
    output = "\n".join(text.render(plan_report.report(bench.plan(spec(60_000, value=2)))))
    assert "Needs about 1" in output
    assert "is freed after verification." in output


def test_a_shared_inner_map_is_counted_once(bench: Bench) -> None:
    shared = """inner_templates: {one: {type: hash, key: u32, value: u64, max_entries: 60000}}
shared_inner_maps: {all: {inner: one, entries: {1: 1}}}
outer_maps: {tenants: {type: hash_of_maps, key: u32, max_entries: 8, inner: one, inner_maps: {0..7: {shared: all}}}}
"""
    assert estimate(bench.plan(shared)).needed < 8 * MIB


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


@pytest.mark.parametrize("is_v1", [True, False])
def test_each_cgroup_on_the_way_up_has_its_own_headroom(tmp_path: Path, is_v1: bool) -> None:
    """Of both versions; a folder stands for their mount, for a machine has the one or the other."""
    limit, used = ("limit_in_bytes", "usage_in_bytes") if is_v1 else ("max", "current")
    none, stat = (str((1 << 63) - 4096), "total_inactive_file") if is_v1 else ("max", "inactive_file")
    kind = "cgroup cgroup rw,memory" if is_v1 else "cgroup2 cgroup2 rw"
    write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/pods/web\n" if is_v1 else "0::/pods/web\n",
            "proc/self/mountinfo": f"35 31 0:32 / {tmp_path}/cg rw,relatime - {kind}\n",
            "proc/meminfo": "MemTotal: 4096 kB\nMemAvailable:    2048 kB\n",
            f"cg/pods/web/memory.{limit}": none,
            f"cg/pods/web/memory.{used}": "4096\n",
            f"cg/pods/memory.{limit}": f"{100 * MIB}\n",
            f"cg/pods/memory.{used}": f"{90 * MIB}\n",
            "cg/pods/memory.stat": f"anon 1\n{stat} {MIB}\n",
        },
    )
    assert list(memory.headrooms(tmp_path / "proc")) == [
        Headroom("memory cgroup /pods", 11 * MIB, f"raise its memory.{limit}"),
        Headroom("this machine", 2 * MIB, "free some, or apply it elsewhere"),
    ]


@pytest.mark.usefixtures("kernel")
def test_rlimit_memlock_counts_only_where_the_kernel_charges_maps_to_it() -> None:
    """Found out by trying: with memory cgroups in its place, a map is made under a limit of nothing.

    Without CAP_SYS_RESOURCE, by which libbpf would raise the limit.
    """
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536)); "
        "from provisioner.kernel.memory import memlock_headroom; print(memlock_headroom(1 << 20)); "
        "print(resource.getrlimit(resource.RLIMIT_MEMLOCK))"
    )
    command = ["setpriv", "--bounding-set=-sys_resource", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    charged = "Headroom(what='RLIMIT_MEMLOCK', left=65536"
    assert done.stderr == ""
    assert done.stdout.startswith(charged if needs_memlock() else "None")


def needs_memlock() -> bool:
    """Whether this kernel is one that does, by its version: the code under test tries it."""
    return running_version() < kernel_versions.MEMCG.since


@contextmanager
def memory_cgroup(limit: int) -> Iterator[Path]:
    """A cgroup below ours with a limit, by whatever version this machine has."""
    v1 = Path("/sys/fs/cgroup/memory")
    is_v1 = v1.is_dir()
    folder = (v1 if is_v1 else Path("/sys/fs/cgroup")) / f"provisioner-test-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / ("memory.limit_in_bytes" if is_v1 else "memory.max")).write_text(str(limit))
        yield folder / "cgroup.procs"
    finally:
        folder.rmdir()


def test_more_than_the_memory_cgroup_has_left_is_refused_with_the_figures(bench: Bench) -> None:
    """The plan says so as a hazard; the override is named, and is the user's to give."""
    bench.load(spec(2_000_000))
    with memory_cgroup(200 * MIB) as procs:

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            script = f'echo $$ > {procs}; exec "$@"'
            command = [sys.executable, "-m", "provisioner", *words, f"--pin-root={bench.root}"]
            where = [str(bench.folder / "spec.yaml")]
            return subprocess.run(
                ["sh", "-c", script, "sh", *command, *where], capture_output=True, text=True, env=environment()
            )

        planned = run("plan")
        assert planned.returncode == 2, planned.stderr
        assert "Danger: this needs about 6" in planned.stdout
        refused = run("apply", "--yes")
        assert refused.returncode == 5, refused.stderr
        assert "of kernel memory, and memory cgroup /provisioner-test-" in refused.stderr
        assert "--allow-overcommit allows it" in refused.stderr
        assert not bench.root.exists()
