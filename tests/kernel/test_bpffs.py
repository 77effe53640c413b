"""Pins and the lock on a folder of them."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from provisioner.kernel import bpffs, maps, objects
from provisioner.kernel.fd import MapFd, ProgramFd
from provisioner.kernel.reasons import KernelError
from provisioner.model.errors import HostError, LockedError
from tests.kernel.shapes import ARRAY, HASH

PACKAGE = Path(bpffs.__file__).parents[2]


def test_where_a_pin_root_may_be(pin_root: Path, bpffs_mount: Path, tmp_path: Path) -> None:
    bpffs.check(pin_root)
    bpffs.check(pin_root / "not" / "yet")
    with pytest.raises(HostError, match="the mount of a bpffs itself"):
        bpffs.check(bpffs_mount)
    with pytest.raises(HostError, match="not on a bpffs"):
        bpffs.check(tmp_path / "edge")
    with maps.create(HASH) as fd:
        bpffs.pin(fd, pin_root / "map")
    with pytest.raises(HostError, match="a pin, not a folder"):
        bpffs.check(pin_root / "map")
    assert not (pin_root / "not").exists()


def test_pin_list_and_unpin(pin_root: Path) -> None:
    assert bpffs.list_pins(pin_root / "edge") == ()
    bpffs.ensure_dir(pin_root / "edge" / "deep")
    bpffs.ensure_dir(pin_root / "edge" / "deep")
    with maps.create(HASH) as fd:
        number = maps.info(fd).id
        for name in ("b", "a"):
            bpffs.pin(fd, pin_root / "edge" / name)
        with pytest.raises(KernelError, match="there is such a pin already"):
            bpffs.pin(fd, pin_root / "edge" / "a")
    assert bpffs.list_pins(pin_root / "edge") == ("a", "b")
    assert number in set(maps.map_ids())
    bpffs.unpin(pin_root / "edge" / "a")
    bpffs.unpin(pin_root / "edge" / "a")
    assert bpffs.list_pins(pin_root / "edge") == ("b",)
    with pytest.raises(KernelError, match="holds what is not ours") as caught:
        bpffs.remove_dir(pin_root / "edge")
    assert caught.value.errno == errno.ENOTEMPTY
    bpffs.unpin(pin_root / "edge" / "b")
    bpffs.remove_dir(pin_root / "edge" / "deep")
    bpffs.remove_dir(pin_root / "edge")
    bpffs.remove_dir(pin_root / "edge")


def test_a_dot_in_a_name_is_said(pin_root: Path) -> None:
    with maps.create(HASH) as fd, pytest.raises(KernelError, match=r"holds a `\.`"):
        bpffs.pin(fd, pin_root / "router.rodata")
    with pytest.raises(KernelError, match=r"may hold no `\.`"):
        bpffs.ensure_dir(pin_root / "v1.2")
    with maps.create(HASH) as fd:
        bpffs.pin(fd, pin_root / bpffs.pin_name("router.rodata"))
    assert bpffs.list_pins(pin_root) == ("router_rodata",)


def test_a_pin_outside_bpffs_is_said(tmp_path: Path) -> None:
    with maps.create(HASH) as fd, pytest.raises(KernelError, match="not on a bpffs"):
        bpffs.pin(fd, tmp_path / "map")


def test_replacing_a_pin_is_one_step(pin_root: Path) -> None:
    path = pin_root / "map"
    with maps.create(HASH) as old, maps.create(ARRAY) as new:
        bpffs.pin_replace(old, path)
        bpffs.pin(old, pin_root / f"{bpffs.TEMPORARY}map")  # as a killed process leaves it
        bpffs.pin_replace(new, path)
        with maps.open_pin(path) as found:
            assert maps.info(found).id == maps.info(new).id
    assert bpffs.list_pins(pin_root) == ("map",)


def test_a_replacement_that_fails_leaves_no_temporary_pin(pin_root: Path) -> None:
    bpffs.ensure_dir(pin_root / "folder")
    with maps.create(HASH) as fd, pytest.raises(KernelError, match="rename"):
        bpffs.pin_replace(fd, pin_root / "folder")
    assert bpffs.list_pins(pin_root) == ()


def test_a_pin_of_another_kind_is_said(pin_root: Path, bpf_object: Callable[[str], Path]) -> None:
    with objects.load(bpf_object("outers"), inner_templates={"tenants": ARRAY}) as loaded:
        bpffs.pin(loaded.programs["first"], pin_root / "program")
        bpffs.pin(loaded.maps["active"], pin_root / "map")
    with pytest.raises(HostError, match="a map was expected here, but this is a pinned program"):
        maps.open_pin(pin_root / "program")
    with pytest.raises(HostError, match="a program was expected here, but this is a pinned map"):
        bpffs.open_pin(pin_root / "map", ProgramFd)
    bpffs.open_pin(pin_root / "map", MapFd).close()


@contextmanager
def holder_of(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of `directory` until it is killed."""
    script = (
        "import sys; from pathlib import Path; from provisioner.kernel import bpffs\n"
        "with bpffs.lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()\n"
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
    with holder_of(pin_root) as process, pytest.raises(LockedError) as caught, bpffs.lock(pin_root):
        pytest.fail("two hold the lock")
    assert f"process {process.pid} ({sys.executable} -c" in str(caught.value)
    assert caught.value.exit_code == 75
    with bpffs.lock(pin_root, timeout=10):
        pass


def test_a_waiter_gets_the_lock_when_it_is_free(pin_root: Path) -> None:
    got = threading.Event()

    def wait() -> None:
        with bpffs.lock(pin_root, timeout=30):
            got.set()

    waiter = threading.Thread(target=wait)
    with bpffs.lock(pin_root):
        waiter.start()
        assert not got.is_set()
    waiter.join()
    assert got.is_set()


def test_a_waiter_does_not_hold_a_folder_that_was_removed(pin_root: Path) -> None:
    """The holder removes the folder, as destroy does: the waiter must lock the one that is made anew."""
    directory = pin_root / "edge"
    held: list[bool] = []
    bpffs.ensure_dir(directory)

    def wait() -> None:
        with bpffs.lock(directory, timeout=30, create=True):
            with pytest.raises(LockedError), bpffs.lock(directory):
                held.append(False)
            held.append(True)

    waiter = threading.Thread(target=wait)
    with bpffs.lock(directory):
        waiter.start()
        bpffs.remove_dir(directory)
    waiter.join()
    assert held == [True]
    assert directory.is_dir()


def test_a_lock_taken_on_a_folder_just_removed_is_not_kept(pin_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is removed and made anew between open and flock."""
    directory = pin_root / "edge"
    bpffs.ensure_dir(directory)
    original = fcntl.flock
    seen: list[int] = []

    def raced(number: int, how: int) -> None:
        if not seen:
            bpffs.remove_dir(directory)
            bpffs.ensure_dir(directory)
        seen.append(number)
        original(number, how)

    monkeypatch.setattr(fcntl, "flock", raced)
    with bpffs.lock(directory, timeout=10), pytest.raises(LockedError), bpffs.lock(directory):
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
            with bpffs.lock(directory, timeout=60, create=True):
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)
                bpffs.remove_dir(directory)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert most == [1] * 40


def test_a_pin_in_the_place_of_a_folder_is_said(pin_root: Path) -> None:
    with maps.create(HASH) as fd:
        bpffs.pin(fd, pin_root / "edge")
    with pytest.raises(KernelError, match="mkdir"), bpffs.lock(pin_root / "edge", timeout=60, create=True):
        pytest.fail("locked a pin")


def test_the_lock_of_a_missing_folder(pin_root: Path) -> None:
    with pytest.raises(KernelError, match="No such file") as caught, bpffs.lock(pin_root / "edge"):
        pytest.fail("locked what is not there")
    assert caught.value.exit_code == 5
    with bpffs.lock(pin_root / "edge", create=True):
        assert (pin_root / "edge").is_dir()
