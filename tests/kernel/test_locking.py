"""The lock of a pin root: one holder, gone with its process, out of reach for who may only read."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from provisioner.kernel import bpffs, locking, maps
from provisioner.kernel.reasons import KernelError
from provisioner.model.errors import LockedError, RefusedError
from provisioner.model.pins import LOCK
from tests.kernel.shapes import HASH
from tests.problems import raises

PACKAGE = Path(bpffs.__file__).parents[2]


@contextmanager
def holder_of(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of `directory` until it is killed."""
    script = (
        "import sys; from pathlib import Path; from provisioner.kernel import locking\n"
        "with locking.lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(directory)],
        env=os.environ | {"PYTHONPATH": str(PACKAGE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_lock_names_its_holder_and_dies_with_it(pin_root: Path) -> None:
    with holder_of(pin_root) as process, pytest.raises(LockedError) as caught, locking.lock(pin_root):
        pytest.fail("two hold the lock")
    assert f"process {process.pid} ({sys.executable} -c" in str(caught.value)
    assert caught.value.exit_code == 75
    with locking.lock(pin_root, timeout=10):
        pass


def test_a_waiter_gets_the_lock_when_it_is_free(pin_root: Path) -> None:
    got = threading.Event()

    def wait() -> None:
        with locking.lock(pin_root, timeout=30):
            got.set()

    waiter = threading.Thread(target=wait)
    with locking.lock(pin_root):
        waiter.start()
        assert not got.is_set()
    waiter.join()
    assert got.is_set()


def test_a_waiter_does_not_hold_a_folder_that_was_removed(pin_root: Path) -> None:
    """The holder removes the folder, as destroy does: the waiter must lock the one that is made again."""
    directory = pin_root / "edge"
    held: list[bool] = []
    bpffs.ensure_dir(directory)

    def wait() -> None:
        with locking.lock(directory, timeout=30, create=True):
            with pytest.raises(LockedError), locking.lock(directory):
                held.append(False)
            held.append(True)

    waiter = threading.Thread(target=wait)
    with locking.lock(directory):
        waiter.start()
        locking.remove_locked(directory)
    waiter.join()
    assert held == [True]
    assert directory.is_dir()


def test_a_lock_taken_on_a_folder_just_removed_is_not_kept(pin_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is removed and made again between open and flock."""
    directory = pin_root / "edge"
    bpffs.ensure_dir(directory)
    original = fcntl.flock
    seen: list[int] = []

    def raced(number: int, how: int) -> None:
        if not seen:
            locking.remove_locked(directory)
            bpffs.ensure_dir(directory)
        seen.append(number)
        original(number, how)

    monkeypatch.setattr(fcntl, "flock", raced)
    with locking.lock(directory, timeout=10), pytest.raises(LockedError), locking.lock(directory):
        pytest.fail("two hold the lock")
    assert len(seen) >= 3


def test_a_folder_that_comes_and_goes_is_locked_in_the_end(pin_root: Path) -> None:
    """Four threads lock, make, and remove the same folder: no two are ever inside at once, and none fails.

    Removing it lets the next one in, so it comes last.
    """
    directory = pin_root / "edge"
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        for _ in range(10):
            with locking.lock(directory, timeout=60, create=True):
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)
                locking.remove_locked(directory)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert most == [1] * 40


@pytest.mark.parametrize("is_done", [False, True])
def test_a_folder_that_is_locked_while_it_is_removed_stays(
    is_done: bool, pin_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that waited for it has it, or has released it by the time that we look."""
    directory = pin_root / "edge"
    remove_dir = bpffs.remove_dir

    def locked(path: Path) -> None:
        if path != directory:
            remove_dir(path)
            return
        (directory / LOCK).mkdir()
        try:
            remove_dir(directory)
        finally:
            if is_done:
                (directory / LOCK).rmdir()

    with locking.lock(directory, create=True):
        monkeypatch.setattr(bpffs, "remove_dir", locked)
        locking.remove_locked(directory)
    assert bpffs.list_folders(directory) == (() if is_done else (LOCK,))


def test_a_pin_in_the_place_of_a_folder_is_said(pin_root: Path) -> None:
    with maps.create(HASH) as fd:
        bpffs.pin(fd, pin_root / "edge")
    with raises(KernelError, "kernel-refused") as caught, locking.lock(pin_root / "edge", timeout=60, create=True):
        pytest.fail("locked a pin")
    assert (caught.value.operation, caught.value.errno) == ("mkdir", errno.EEXIST)


def test_the_lock_of_a_missing_folder(pin_root: Path) -> None:
    with raises(KernelError, "kernel-refused") as caught, locking.lock(pin_root / "edge"):
        pytest.fail("locked what is not there")
    assert (caught.value.errno, caught.value.exit_code) == (errno.ENOENT, 5)
    with locking.lock(pin_root / "edge", create=True):
        assert (pin_root / "edge").is_dir()


# --- who can hold it ---------------------------------------------------------------------------------------------


def test_a_reader_of_the_pin_root_cannot_hold_the_lock(pin_root: Path) -> None:
    """`pin_mode: "0640"` lets a group enter and read the pin root: to lock it stops no writer."""
    pin_root.chmod(0o755)
    with locking.lock(pin_root) as held:
        held.keeps = True
    script = (
        "import fcntl, os, sys\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "try: os.open(sys.argv[2], os.O_RDONLY)\n"
        "except PermissionError: print('refused', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(pin_root), str(pin_root / LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "refused\n"
        with locking.lock(pin_root):
            pass
        reader.kill()


@pytest.mark.parametrize(("uid", "mode"), [(65534, 0o700), (0, 0o755)])
def test_a_lock_that_others_can_open_is_refused(pin_root: Path, uid: int, mode: int) -> None:
    path = pin_root / LOCK
    path.mkdir()
    path.chmod(mode)
    os.chown(path, uid, -1)
    with pytest.raises(RefusedError) as caught, locking.lock(pin_root):
        pytest.fail("locked what another user can lock")
    assert [problem.id for problem in caught.value.problems] == ["lock-directory"]


def test_a_lock_held_through_an_inherited_fd_names_the_process_that_inherited_it(pin_root: Path) -> None:
    (pin_root / LOCK).mkdir(mode=0o700)
    script = (
        "import fcntl, os, subprocess, sys\n"
        "number = os.open(sys.argv[1], os.O_RDONLY); fcntl.flock(number, fcntl.LOCK_EX)\n"
        "quiet = subprocess.DEVNULL\n"
        "child = subprocess.Popen(['sleep', '1000'], pass_fds=[number], stdout=quiet, stderr=quiet)\n"
        "print(child.pid, flush=True)\n"
    )
    command = [sys.executable, "-c", script, str(pin_root / LOCK)]
    heir = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    try:
        with pytest.raises(LockedError) as caught, locking.lock(pin_root):
            pytest.fail("two hold the lock")
        (problem,) = caught.value.problems
        assert problem.id == "locked"
        assert f"process {heir} (sleep 1000)" in problem.what
        assert str(heir) in problem.hint
    finally:
        os.kill(heir, signal.SIGKILL)


@pytest.mark.parametrize("keeps", [False, True])
def test_a_lock_that_changed_nothing_leaves_no_directory(pin_root: Path, keeps: bool) -> None:
    with locking.lock(pin_root) as held:
        held.keeps = keeps
    assert bpffs.list_folders(pin_root) == ((LOCK,) if keeps else ())
