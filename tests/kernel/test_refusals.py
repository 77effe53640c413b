"""What the kernel refuses, provoked for real, and the words that are found for it: the lines of docs/refusals.md."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from provisioner.kernel import libbpf, maps, structures
from provisioner.kernel.fd import MapFd
from provisioner.kernel.reasons import REASONS, KernelError
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import ENOTSUPP, MapFlag, MapType
from tests.cli.support import environment

ROOT = Path(__file__).parents[2]
ARRAY = MapShape(MapType.ARRAY, 4, 4, 2)
HASH = MapShape(MapType.HASH, 4, 4, 1)


@contextmanager
def outer(kind: MapType) -> Iterator[tuple[MapFd, MapFd]]:
    with maps.create(HASH) as inner, maps.create(MapShape(kind, 4, 4, 1), inner=inner) as fd:
        yield fd, inner


def insert_too_far() -> None:
    with outer(MapType.ARRAY_OF_MAPS) as (fd, inner):
        maps.insert_inner(fd, bytes((9, 0, 0, 0)), inner)


def insert_in_a_full_one() -> None:
    with outer(MapType.HASH_OF_MAPS) as (fd, inner):
        maps.insert_inner(fd, bytes(4), inner)
        maps.insert_inner(fd, bytes((9, 0, 0, 0)), inner)


def insert_another_shape() -> None:
    with outer(MapType.HASH_OF_MAPS) as (fd, _), maps.create(ARRAY) as other:
        maps.insert_inner(fd, bytes(4), other)


def write_too_far() -> None:
    with maps.create(ARRAY) as fd:
        maps.update(fd, bytes((9, 0, 0, 0)), bytes(4), subject="array")


def write_in_a_full_one() -> None:
    with maps.create(HASH) as fd:
        maps.update(fd, bytes(4), bytes(4))
        maps.update(fd, bytes((9, 0, 0, 0)), bytes(4), subject="hash")


def write_a_frozen_one() -> None:
    with maps.create(HASH) as fd:
        maps.freeze(fd)
        maps.update(fd, bytes(4), bytes(4))


def delete_from_an_array() -> None:
    with maps.create(ARRAY) as fd:
        maps.delete(fd, bytes(4))


def create_what_is_no_map() -> None:
    maps.create(MapShape(MapType.LPM_TRIE, 8, 4, 1)).close()


def batch_that_is_missing() -> None:
    with outer(MapType.ARRAY_OF_MAPS) as (fd, _):
        keys = np.zeros(1, np.uint32)
        libbpf.map_delete_batch(fd.number, keys.ctypes.data, structures.Counter(1), None)


def create_with_a_flag_that_it_lacks() -> None:
    maps.create(MapShape(MapType.LRU_HASH, 4, 4, 1, MapFlag.NO_PREALLOC)).close()


PROVOKED = [
    (insert_too_far, errno.E2BIG, "map-full"),
    (insert_in_a_full_one, errno.E2BIG, "map-full"),
    (insert_another_shape, errno.EINVAL, "template-mismatch"),
    (write_too_far, errno.E2BIG, "index-out-of-range"),
    (write_in_a_full_one, errno.E2BIG, "map-full"),
    (write_a_frozen_one, errno.EPERM, "map-frozen"),
    (delete_from_an_array, errno.EINVAL, "array-delete"),
    (create_what_is_no_map, errno.EINVAL, "invalid-map"),
    (batch_that_is_missing, ENOTSUPP, "unsupported-operation"),
    (create_with_a_flag_that_it_lacks, ENOTSUPP, "invalid-map"),
]


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(("provoke", "number", "expected"), PROVOKED, ids=lambda each: getattr(each, "__name__", None))
def test_what_the_kernel_refuses_has_an_id(provoke: Callable[[], None], number: int, expected: str) -> None:
    with pytest.raises(KernelError) as refused:
        provoke()
    assert (refused.value.errno, refused.value.problems[0].id) == (number, expected)


@pytest.mark.usefixtures("kernel")
def test_a_missing_capability_is_named() -> None:
    code = (
        "from provisioner.kernel import maps; from provisioner.model.map_shape import MapShape; "
        "from provisioner.model.uapi import MapType; maps.create(MapShape(MapType.LPM_TRIE, 8, 4, 1))"
    )
    words = ["setpriv", "--bounding-set=-all", sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, env=environment())
    assert "BPF_MAP_CREATE: not permitted to create this map" in done.stderr
    assert "give it CAP_BPF and CAP_NET_ADMIN and CAP_SYS_ADMIN" in done.stderr


def test_the_page_says_what_the_code_says_and_names_tests_that_are_there() -> None:
    page = (ROOT / "docs/refusals.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    (header, *lines) = rows
    assert header == ["operation", "errno", "message", "test"]
    assert all((ROOT / test.strip("`")).is_file() for *_, test in lines)
    known = {reason.what for reason in REASONS.values()}
    unknown = [says for _, _, says, _ in lines if says not in known]
    # What differs, and which capability, is found out as it happens.
    assert [says.split()[0] for says in unknown] == ["which", "which"]
