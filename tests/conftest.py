"""What all tests share: namespaces of their own, a bpffs of their own, compiled objects, and the ledger.

The test process leaves the machine's mount and network namespaces for fresh ones, so that its pins and interfaces are
its own and vanish with it. Under pytest-xdist each worker does; the process that controls them runs no test. Tests that
touch the kernel take `kernel`, or a fixture built on it: without root or BPF they fail, and say why. What an old kernel
lacks is skipped by a claim: `tests.features`.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

from provisioner.kernel import bpffs
from tests import command, ledger, preload, recorder, workers
from tests.workers import figures as figures
from tests.workers import pytest_collection as pytest_collection
from tests.workers import pytest_collection_finish as pytest_collection_finish
from tests.workers import pytest_collection_modifyitems as pytest_collection_modifyitems
from tests.workers import pytest_sessionfinish as pytest_sessionfinish
from tests.workers import pytest_terminal_summary as pytest_terminal_summary
from tests.workers import pytest_testnodedown as pytest_testnodedown

SOURCES: Final = Path(__file__).parent / "bpf"
_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWNET: Final = 0x40000000
_MS_REC_PRIVATE: Final = 1 << 14 | 1 << 18
_SYSTEM: Final = Path("/sys/fs/bpf")
_NETWORKS: Final = Path("/run/netns")
_FOLDER = pytest.StashKey[Path]()
_TROUBLE = pytest.StashKey[str]()
_OUTSIDE = pytest.StashKey[int]()

gc.set_threshold(100_000, 20, 20)  # as the command sets it for itself

# No test is about time: a machine may be busy.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


def pytest_configure(config: pytest.Config) -> None:
    """Go to private namespaces, mount a bpffs and begin to record, before anything else runs."""
    try:
        recorder.restart_under(config)
    except (OSError, subprocess.CalledProcessError) as error:
        config.stash[_TROUBLE] = f"tests of the kernel need gcc, to record what they create: {error}"
    if workers.is_controller(config):
        return
    folder = Path(tempfile.mkdtemp(prefix="provisioner-tests-"))
    folder.chmod(0o755)
    config.stash[_FOLDER] = folder
    config.stash[_OUTSIDE] = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    command.prepare(folder)
    if _TROUBLE not in config.stash:
        recorder.start(folder / "record")
        _enter_namespaces(config, folder / "bpffs")


def _enter_namespaces(config: pytest.Config, mount: Path) -> None:
    mount.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    steps: tuple[tuple[str, Callable[[], int]], ...] = (
        ("unshare", lambda: libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET)),
        ("make / private", lambda: libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC_PRIVATE), None)),
        ("mount a bpffs", lambda: libc.mount(b"bpf", os.fsencode(mount), b"bpf", ctypes.c_ulong(0), None)),
    )
    for what, call in steps:
        if call() != 0:
            words = os.strerror(ctypes.get_errno())
            config.stash[_TROUBLE] = f"tests of the kernel need root and BPF: cannot {what}: {words}"
            return
    _cover("tmpfs", _NETWORKS)
    if _SYSTEM.is_mount():
        _cover("bpf", _SYSTEM)


def _cover(kind: str, place: Path) -> None:
    """Hide what other processes of the machine have in a place where tests and commands under test put things, too."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", kind, kind, str(place)], check=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The mounts end with the process; the directory that holds the mount point does not."""
    if _FOLDER not in config.stash:
        return
    command.finish()
    os.close(config.stash[_OUTSIDE])
    if _TROUBLE not in config.stash:
        ctypes.CDLL(None).umount2(os.fsencode(config.stash[_FOLDER] / "bpffs"), 2)
    shutil.rmtree(config.stash[_FOLDER])


@pytest.fixture(scope="session")
def bpffs_mount(pytestconfig: pytest.Config) -> Path:
    """The mount of a bpffs that only this test process sees."""
    if _TROUBLE in pytestconfig.stash:
        pytest.fail(pytestconfig.stash[_TROUBLE])
    return pytestconfig.stash[_FOLDER] / "bpffs"


@pytest.fixture
def kernel(bpffs_mount: Path) -> Iterator[Path]:
    """The bpffs, under the ledger: no fd, pin, map, program or link may be left behind, here or in the kernel."""
    before = ledger.take(bpffs_mount)
    yield bpffs_mount
    left = ledger.left_over(before, bpffs_mount)
    assert not left, "left behind: " + ", ".join(left)


_numbers = itertools.count()


@pytest.fixture
def pin_root(kernel: Path) -> Iterator[Path]:
    """A fresh, empty folder on the bpffs; removed afterwards with all that is in it."""
    root = kernel / f"test{next(_numbers)}"
    root.mkdir()
    yield root
    remove_tree(root)


@pytest.fixture
def system_bpffs(kernel: Path) -> Iterator[Path]:
    """The tests' own bpffs where users have theirs; only this process and its children see it there."""
    subprocess.run(["mount", "--bind", str(kernel), str(_SYSTEM)], check=True)
    yield _SYSTEM
    if (_SYSTEM / "edge").exists():
        remove_tree(_SYSTEM / "edge")
    subprocess.run(["umount", str(_SYSTEM)], check=True)


def remove_tree(root: Path) -> None:
    """Unpin everything below `root`, and `root` itself."""
    for folder, folders, files in os.walk(root, topdown=False):
        for name in files:
            bpffs.unpin(Path(folder) / name)
        for name in folders:
            (Path(folder) / name).rmdir()
    bpffs.remove_dir(root)


@dataclass(frozen=True, slots=True)
class Veth:
    """A pair of virtual interfaces in the tests' own network namespace, both up."""

    name: str
    peer: str


@pytest.fixture
def veth(request: pytest.FixtureRequest) -> Iterator[Veth]:
    """`veth-a` and `veth-b`, joined."""
    request.getfixturevalue("kernel")  # so that the ledger is read after the interfaces are gone
    pair = Veth("veth-a", "veth-b")
    subprocess.run(["ip", "link", "add", pair.name, "type", "veth", "peer", "name", pair.peer], check=True)
    for name in (pair.name, pair.peer):
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
    yield pair
    subprocess.run(["ip", "link", "del", pair.name], check=False, capture_output=True)


@cache
def compile_bpf(source: Path) -> Path:
    """Compile one C file with clang, once for each content of it and of what it includes; gives the object's path.

    Sources do not change while the tests run: a process looks at each once. Which files it includes is asked of clang
    when it is compiled, and kept: to expand them only for a look would take clang each time.
    """
    arguments = ["clang", "-O2", "-g", "-target", "bpf", "-Wall", "-Werror", *_include_arguments()]
    listed = preload.CACHE / "includes" / _digest([*arguments, str(source)])
    with suppress(OSError):  # it was not compiled yet, or a file is gone
        done = _compiled(source, arguments, listed.read_text().splitlines())
        if preload.use(listed) and preload.use(done):
            return done
    preload.prune()
    listed.parent.mkdir(parents=True, exist_ok=True)
    temporary, rules = (listed.with_suffix(f".{os.getpid()}.{kind}") for kind in ("o", "d"))
    subprocess.run([*arguments, "-MD", "-MF", str(rules), "-c", str(source), "-o", str(temporary)], check=True)
    names = rules.read_text().partition(": ")[2].replace("\\\n", " ")
    included = [name.replace("\\ ", " ") for name in re.split(r"(?<!\\)\s+", names.strip())]
    done = _compiled(source, arguments, included)
    done.parent.mkdir(exist_ok=True)
    temporary.rename(done)
    rules.write_text("\n".join(included))
    rules.rename(listed)
    return done


def _compiled(source: Path, arguments: list[str], included: list[str]) -> Path:
    """Where the object is that was compiled from the files that are `included`, as they are now."""
    digest = _digest([*arguments, *(f"{name} {_digest_of_file(name)}" for name in included)])
    return preload.CACHE / digest / f"{source.name.removesuffix('.c')}.o"


def _digest(words: list[str]) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


@cache
def _digest_of_file(name: str) -> str:
    return hashlib.sha256(Path(name).read_bytes()).hexdigest()


def _include_arguments() -> list[str]:
    """Debian keeps `asm/types.h` in a folder of the architecture, which clang does not search for target bpf."""
    return [f"-I{path.parent}" for path in sorted(Path("/usr/include").glob("*/asm"))]


@pytest.fixture(scope="session")
def bpf_object() -> Callable[[str], Path]:
    """Compiles `tests/bpf/NAME.bpf.c` and gives the object's path."""
    return lambda name: compile_bpf(SOURCES / f"{name}.bpf.c")


@pytest.fixture(scope="session")
def with_network(pytestconfig: pytest.Config) -> list[str]:
    """What to put before a command that asks a package index: the tests' own namespace has no way out."""
    return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{pytestconfig.stash[_OUTSIDE]}", "--"]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        str(SOURCES.parents[1]),
    ]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True)
    return next(folder.glob("*.whl"))
