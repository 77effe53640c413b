"""Pins, and the directories that hold them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.kernel import bpffs, maps, objects
from provisioner.kernel.fd import MapFd, ProgramFd
from provisioner.kernel.reasons import KernelError
from provisioner.model.errors import HostError
from tests.kernel.shapes import ARRAY, HASH
from tests.problems import raises


def test_where_a_pin_root_may_be(pin_root: Path, bpffs_mount: Path, tmp_path: Path) -> None:
    bpffs.check(pin_root)
    bpffs.check(pin_root / "not" / "yet")
    with raises(HostError, "pin-root-is-mount"):
        bpffs.check(bpffs_mount)
    with raises(HostError, "not-on-bpffs"):
        bpffs.check(tmp_path / "edge")
    with maps.create(HASH) as fd:
        bpffs.pin(fd, pin_root / "map")
    with raises(HostError, "not-a-directory"):
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
        with raises(KernelError, "pin-exists"):
            bpffs.pin(fd, pin_root / "edge" / "a")
    assert bpffs.list_pins(pin_root / "edge") == ("a", "b")
    assert number in set(maps.map_ids())
    bpffs.unpin(pin_root / "edge" / "a")
    bpffs.unpin(pin_root / "edge" / "a")
    assert bpffs.list_pins(pin_root / "edge") == ("b",)
    with raises(KernelError, "directory-not-empty") as caught:
        bpffs.remove_dir(pin_root / "edge")
    assert caught.value.errno == errno.ENOTEMPTY
    bpffs.unpin(pin_root / "edge" / "b")
    bpffs.remove_dir(pin_root / "edge" / "deep")
    bpffs.remove_dir(pin_root / "edge")
    bpffs.remove_dir(pin_root / "edge")


@pytest.mark.parametrize("failing", ["required", "os.readlink"])
def test_a_pin_that_is_open_is_closed_whatever_fails(
    failing: str, pin_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RecursionError

    with maps.create(HASH) as fd:
        bpffs.pin(fd, pin_root / "map")
    before = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patched:
        patched.setattr(f"provisioner.kernel.bpffs.{failing}", fail)
        with pytest.raises(RecursionError):
            bpffs.open_pin(pin_root / "map", MapFd)
    assert os.listdir("/proc/self/fd") == before


def test_a_dot_in_a_name_is_said(pin_root: Path) -> None:
    with maps.create(HASH) as fd, raises(KernelError, "not-on-bpffs"):
        bpffs.pin(fd, pin_root / "router.rodata")
    with raises(KernelError, "invalid-pin-name"):
        bpffs.ensure_dir(pin_root / "v1.2")
    with maps.create(HASH) as fd:
        bpffs.pin(fd, pin_root / bpffs.pin_name("router.rodata"))
    assert bpffs.list_pins(pin_root) == ("router_rodata",)


def test_a_pin_outside_bpffs_is_said(tmp_path: Path) -> None:
    with maps.create(HASH) as fd, raises(KernelError, "not-on-bpffs"):
        bpffs.pin(fd, tmp_path / "map")


def test_replacing_a_pin_is_one_step(pin_root: Path) -> None:
    path = pin_root / "map"
    with maps.create(HASH) as old, maps.create(ARRAY) as new:
        bpffs.pin_replace(old, path)
        bpffs.pin(old, pin_root / f"{bpffs.TEMPORARY}map")  # as a killed process leaves it
        bpffs.pin_replace(new, path)
        with maps.open_pin(path) as pinned:
            assert maps.info(pinned).id == maps.info(new).id
    assert bpffs.list_pins(pin_root) == ("map",)


def test_a_replacement_that_fails_leaves_no_temporary_pin(pin_root: Path) -> None:
    bpffs.ensure_dir(pin_root / "folder")
    with maps.create(HASH) as fd, raises(KernelError, "kernel-refused") as caught:
        bpffs.pin_replace(fd, pin_root / "folder")
    assert caught.value.operation == "rename"
    assert bpffs.list_pins(pin_root) == ()


def test_a_pin_of_another_kind_is_said(pin_root: Path, bpf_object: Callable[[str], Path]) -> None:
    with objects.load(bpf_object("outers"), inner_templates={"tenants": ARRAY}) as loaded:
        bpffs.pin(loaded.programs["first"], pin_root / "program")
        bpffs.pin(loaded.maps["active"], pin_root / "map")
    with raises(HostError, "pin-kind"):
        maps.open_pin(pin_root / "program")
    with raises(HostError, "pin-kind"):
        bpffs.open_pin(pin_root / "map", ProgramFd)
    bpffs.open_pin(pin_root / "map", MapFd).close()


def test_a_directory_that_another_process_removes_first_is_gone(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove, folder = Path.rmdir, kernel / "folder"
    folder.mkdir()

    def removed_twice(path: Path) -> None:
        remove(path)
        remove(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rmdir", removed_twice)
        bpffs.remove_dir(folder)
    assert not folder.exists()
