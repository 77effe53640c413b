"""One map at a time: what is created is what the kernel tells, and its refusals are put in words."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from provisioner.kernel import bpffs, maps
from provisioner.kernel.reasons import KernelError, Subject
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import ENOTSUPP, MapFlag, MapType, UpdateFlag
from tests.kernel.shapes import ARRAY, ARRAY_OF_MAPS, HASH, HASH_OF_MAPS, LPM, LRU, PERCPU_ARRAY, PERCPU_HASH
from tests.problems import raises


def u32(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder)


@pytest.mark.parametrize(
    "shape", [HASH, ARRAY, LPM, LRU, PERCPU_HASH, PERCPU_ARRAY], ids=lambda shape: str(shape.map_type.word)
)
def test_a_map_has_the_shape_it_was_given(shape: MapShape) -> None:
    with maps.create(shape, "a.name-that is too long") as fd:
        info = maps.info(fd)
        assert info.shape == shape
        assert info.name == "a.name_that_is_"
        assert info.id in set(maps.map_ids())
        with maps.open_id(info.id) as again:
            assert maps.info(again) == info


@pytest.mark.parametrize("shape", [HASH_OF_MAPS, ARRAY_OF_MAPS], ids=lambda shape: str(shape.map_type.word))
def test_a_slot_is_written_with_an_fd_and_read_as_an_id(shape: MapShape) -> None:
    with maps.create(HASH) as inner, maps.create(shape, "outer", inner=inner) as outer:
        maps.insert_inner(outer, u32(3), inner)
        assert maps.lookup(outer, u32(3), 4) == u32(maps.info(inner).id)
        assert maps.lookup(outer, u32(4), 4) is None
        maps.delete(outer, u32(3))
        assert maps.lookup(outer, u32(3), 4) is None


def test_a_template_is_gone_once_it_is_closed() -> None:
    with maps.create(HASH) as template:
        outer = maps.create(HASH_OF_MAPS, inner=template)
        template_id = maps.info(template).id
    with outer, raises(KernelError, "map-gone") as caught:
        maps.open_id(template_id)
    assert caught.value.errno == errno.ENOENT


def test_an_inner_map_of_another_shape_is_refused_in_words() -> None:
    with (
        maps.create(HASH) as template,
        maps.create(LPM) as other,
        maps.create(HASH_OF_MAPS, inner=template) as outer,
        raises(KernelError, "template-mismatch") as caught,
    ):
        maps.insert_inner(outer, u32(0), other, name="tenants[0]")
    assert caught.value.problems[0].address == "tenants[0]"
    assert caught.value.exit_code == 5


def test_update_flags_guard_a_key() -> None:
    with maps.create(HASH) as fd:
        with raises(KernelError, "key-missing"):
            maps.update(fd, u32(1), bytes(8), UpdateFlag.EXIST)
        maps.update(fd, u32(1), bytes(8), UpdateFlag.NOEXIST)
        with raises(KernelError, "key-exists"):
            maps.update(fd, u32(1), bytes(8), UpdateFlag.NOEXIST)
        assert maps.lookup(fd, u32(1), 8) == bytes(8)


@pytest.mark.parametrize(
    ("shape", "subject", "id_"),
    [
        (ARRAY, "array", "index-out-of-range"),
        (MapShape(MapType.HASH, 4, 8, 1), "hash", "map-full"),
        (ARRAY, "", "map-full"),
    ],
)
def test_e2big_has_two_meanings(shape: MapShape, subject: Subject, id_: str) -> None:
    with maps.create(shape) as fd:
        maps.update(fd, u32(0), bytes(8))
        with raises(KernelError, id_) as caught:
            maps.update(fd, u32(shape.max_entries), bytes(8), subject=subject)
    assert caught.value.errno == errno.E2BIG


def test_a_frozen_map_is_reported_and_refuses_writes() -> None:
    with maps.create(HASH) as fd:
        assert not maps.is_frozen(fd)
        maps.freeze(fd)
        assert maps.is_frozen(fd)
        with raises(KernelError, "map-frozen"):
            maps.update(fd, u32(1), bytes(8))
        with raises(KernelError, "map-frozen"):
            maps.delete(fd, u32(1))


@pytest.mark.parametrize(
    ("shape", "number"),
    [
        (MapShape(MapType.LPM_TRIE, 8, 1, 10), errno.EINVAL),
        (MapShape(MapType.LRU_HASH, 4, 4, 10, MapFlag.NO_PREALLOC), ENOTSUPP),
        (MapShape(MapType.HASH_OF_MAPS, 4, 4, 10), errno.EINVAL),
    ],
)
def test_what_the_kernel_will_not_create(shape: MapShape, number: int) -> None:
    with raises(KernelError, "invalid-map") as caught:
        maps.create(shape, "mine").close()
    assert caught.value.errno == number
    assert "mine" in str(caught.value)


def test_pins_open_for_reading_alone_too(pin_root: Path) -> None:
    with maps.create(HASH) as fd:
        bpffs.pin(fd, pin_root / "map")
        with maps.open_pin(pin_root / "map") as again:
            assert maps.info(again) == maps.info(fd)
        with maps.open_pin(pin_root / "map", readonly=True) as reader:
            assert maps.lookup(reader, u32(1), 8) is None
            with raises(KernelError, "map-frozen"):
                maps.update(reader, u32(1), bytes(8))


def test_a_missing_pin_and_a_file_that_is_none(pin_root: Path, tmp_path: Path) -> None:
    with raises(KernelError, "pin-missing") as caught:
        maps.open_pin(pin_root / "map")
    assert str(pin_root / "map") in str(caught.value)
    (tmp_path / "file").touch()
    with raises(KernelError, "access-denied"):
        maps.open_pin(tmp_path / "file")


def test_a_type_newer_than_our_table_is_no_error() -> None:
    unknown = MapType(999)
    assert (unknown.word, int(unknown)) == ("type_999", 999)


def test_without_privilege_the_error_says_whose_it_is() -> None:
    script = (
        "import os\n"
        "from provisioner.kernel import maps\n"
        "from provisioner.kernel.reasons import KernelError\n"
        "from provisioner.model.map_shape import MapShape\n"
        "from provisioner.model.uapi import MapType\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: maps.create(MapShape(MapType.LPM_TRIE, 8, 1, 1), 'acl')\n"
        "except KernelError as error: print(error)\n"
    )
    package = Path(maps.__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(package)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert "not permitted to create this map" in done.stdout, done.stderr
    assert "not root: run it as root, or give it CAP_BPF" in done.stdout
