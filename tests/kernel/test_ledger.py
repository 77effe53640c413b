"""The ledger finds what is left: a test of the tests."""

from __future__ import annotations

import os
from pathlib import Path

from provisioner.kernel import bpffs, maps
from tests import ledger
from tests.kernel.shapes import HASH


def test_an_open_map_and_a_pin_are_named(pin_root: Path, bpffs_mount: Path) -> None:
    before = ledger.take(bpffs_mount)
    with maps.create(HASH, "forgotten") as fd:
        bpffs.pin(fd, pin_root / "map")
        number = maps.info(fd).id
        assert ledger.left_over(before, bpffs_mount, patience=0) == [
            f"fd {fd.number}: anon_inode:bpf-map",
            f"pin {pin_root / 'map'}",
            f"map id {number} (hash `forgotten`)",
        ]
    bpffs.unpin(pin_root / "map")
    assert ledger.left_over(before, bpffs_mount) == []


def test_a_plain_file_is_named(bpffs_mount: Path, tmp_path: Path) -> None:
    before = ledger.take(bpffs_mount)
    number = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
    assert ledger.left_over(before, bpffs_mount, patience=0) == [f"fd {number}: {tmp_path / 'file'}"]
    os.close(number)
