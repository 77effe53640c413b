"""The generated program, its source in C and NumPy compute the same digests, and different ones of other entries."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace as changed
from numpy.typing import NDArray

from provisioner.bytecode import digest
from provisioner.bytecode.digest import Piece, Secret, Words, digests, pieces, words_of
from provisioner.bytecode.digest_program import RecordState, digest_program, record_size
from provisioner.kernel import batch, cpus, map_fields, maps, objects, programs, reading
from provisioner.kernel import digests as kernel_digests
from provisioner.kernel.digests import MapDigests, map_digests, new_secret
from provisioner.kernel.fd import MapFd, ProgramFd
from provisioner.model.entry_table import EntryTable
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from tests import features

Compiled = Callable[[str], Path]
Table = NDArray[np.uint8]

SECRET = Secret(
    (
        ((0x11223344, 0x99AABBCC), (0xFEDCBA98, 0x76543210)),
        ((0xDEADBEEF, 0x12345678), (3, 0xFFFFFFFF)),
    ),
    ((0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9), (0x94D049BB133111EB, 0xD6E8FEB86659FD93)),
)
"""As in tests/bpf/digest_hash.bpf.c."""

SLOTS = 3


@pytest.fixture
def with_programs(kernel: Path) -> Path:
    features.need_syscall_programs()
    return kernel


def u32(numbers: NDArray[np.int64] | list[int]) -> Table:
    return np.ascontiguousarray(np.asarray(numbers).astype(np.uint32)).view(np.uint8).reshape(-1, 4)


def table_of(random: np.random.Generator, value_size: int, mask: Table) -> EntryTable:
    """Entries of SLOTS maps; some values are zero."""
    counts = np.array([20, 0, 40])
    keys = u32(np.concatenate([random.permutation(64)[:count] for count in counts]))
    values = random.integers(0, 256, (len(keys), value_size), np.uint8) & mask
    values[random.integers(0, 3, len(keys)) == 0] = 0
    return EntryTable(np.cumsum(counts) - counts, counts, keys, values)


@contextmanager
def live(shape: MapShape, table: EntryTable) -> Iterator[MapFd]:
    """An outer map whose slots hold what a table says."""
    with maps.create(shape) as template:
        outer = maps.create(MapShape(MapType.HASH_OF_MAPS, 4, 4, 8), inner=template)
    with outer:
        for slot in range(SLOTS):
            with maps.create(shape) as inner:
                keys, values = table.slot(slot)
                batch.write_batch(inner, np.ascontiguousarray(keys), np.ascontiguousarray(values))
                maps.insert_inner(outer, slot.to_bytes(4, sys.byteorder), inner)
        yield outer


@pytest.mark.parametrize(
    ("name", "map_type"), [("hash", MapType.HASH), ("array", MapType.ARRAY), ("ranges", MapType.ARRAY)]
)
@pytest.mark.usefixtures("with_programs")
def test_the_same_as_in_c(name: str, map_type: MapType, bpf_object: Compiled) -> None:
    shape = MapShape(map_type, 4, 8, 64)
    whole = np.full(8, 0xFF, np.uint8)
    words = words_of(4, whole, 1, is_array=shape.is_array, is_percpu=False)
    table = table_of(np.random.default_rng(3), 8, whole)
    wanted = digests(table, np.arange(SLOTS), words, SECRET)
    asked = np.zeros((8, record_size(4)), np.uint8)
    asked[: SLOTS + 1, 0] = RecordState.ASKED
    asked[:, 36:40] = u32([64] * 8)
    asked[:, 40:44] = u32([0, 1, 2, 7, 0, 0, 0, 0])
    places = map_fields.fields()
    assert places is not None
    with (
        live(shape, table) as outer,
        maps.create(MapShape(MapType.ARRAY, 4, record_size(4), 8)) as records,
        programs.load_or_raise(
            digest_program(
                words, SECRET, places, records.number, outer.number, is_outer=True, by_ranges=name == "ranges"
            ),
            "digest",
        ) as program,
        objects.load(bpf_object(f"digest_{name}"), reuse={"outer": outer, "records": records}) as loaded,
    ):
        ours, theirs = (run(each, records, asked) for each in (program, loaded.programs["digest"]))
        ids = reading.read_slots(outer, maps.info(outer).shape)[1]
    assert ours.tolist() == theirs.tolist()
    head = ours[:, :16].copy().view(np.uint32)
    assert head[: SLOTS + 1, 0].tolist() == [RecordState.DONE] * SLOTS + [RecordState.EMPTY]
    assert head[:SLOTS, 1].tolist() == [64] * SLOTS
    assert set(head[:SLOTS, 2].tolist()) == set(ids.tolist())
    assert head[:SLOTS, 3].tolist() == wanted.entries.tolist()
    assert ours[:SLOTS, 16:32].copy().view(np.uint64).tolist() == wanted.sums.tolist()


def run(program: ProgramFd, records: MapFd, asked: Table) -> Table:
    batch.write_batch(records, u32(np.arange(len(asked))), asked)
    programs.run(program)
    return reading.read_first(records, len(asked), asked.shape[1])


SHAPES = [
    pytest.param(MapType.HASH, 13, None, id="hash-13"),
    pytest.param(MapType.ARRAY, 24, 4, id="array-24-padded"),
    pytest.param(MapType.PERCPU_HASH, 12, 3, id="percpu_hash-12-padded"),
    pytest.param(MapType.PERCPU_ARRAY, 8, None, id="percpu_array-8"),
]


@pytest.mark.parametrize(("map_type", "size", "padding"), SHAPES)
@pytest.mark.usefixtures("with_programs")
def test_what_changes_a_digest(
    map_type: MapType, size: int, padding: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bit does, in a key or in a value of any CPU; padding does not. Two threads compute the digests."""
    for enough in ("_FOR_A_THREAD", "_ELEMENTS_FOR_A_THREAD"):
        monkeypatch.setattr(kernel_digests, enough, 64)
    shape = MapShape(map_type, 4, size, 64)
    count = len(cpus.possible()) if shape.is_percpu else 1
    mask = np.zeros(-(-size // 8) * 8 if shape.is_percpu else size, np.uint8)
    mask[:size] = 0xFF
    if padding is not None:
        mask[padding] = 0
    words = words_of(4, mask, count, is_array=shape.is_array, is_percpu=shape.is_percpu)
    table = table_of(np.random.default_rng(size), len(mask) * count, np.tile(mask, count))
    secret, slots = new_secret(words), np.arange(SLOTS)
    wanted = digests(table, slots, words, secret)
    with live(shape, table) as outer:
        ids = dict(zip(*(column.tolist() for column in read_slots(outer)), strict=True))

        def sums() -> list[bool]:
            seen = map_digests(outer, u32(slots), np.full(SLOTS, 64, np.uint32), words, secret)
            assert seen is not None
            assert seen.ids.tolist() == [ids[slot] for slot in range(SLOTS)]
            return [bool((seen.digests.sums[slot] == wanted.sums[slot]).all()) for slot in range(SLOTS)]

        assert sums() == [True, True, True]
        keys, values = table.slot(2)
        with maps.open_id(ids[2]) as inner:
            for at in range(0, len(mask) * count, 5):
                changed = values[0].copy()
                changed[at] ^= 1
                batch.write_batch(inner, keys[:1], changed[None])
                assert sums()[2] == (not np.tile(mask, count)[at]), at
            batch.write_batch(inner, keys[:1], values[:1])
            assert sums() == [True, True, True]
            missing = next(key for key in range(64) if key.to_bytes(4, sys.byteorder) not in set(map(bytes, keys)))
            batch.write_batch(inner, u32([missing]), np.full((1, len(mask) * count), 1, np.uint8))
            assert sums() == [True, True, False]


@pytest.mark.parametrize("owned", [(), ((0, 2), (8, 30), (62, 99)), ((50, 50),)])
@pytest.mark.usefixtures("with_programs")
def test_an_array_is_walked_in_pieces(owned: tuple[tuple[int, int], ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any size, of the whole array or of what is owned of it; elements beyond the desired capacity are left out."""
    monkeypatch.setattr(kernel_digests, "_BY_RANGES", 1)
    monkeypatch.setattr(kernel_digests, "_ROOM", 11)
    monkeypatch.setattr(kernel_digests, "_RECORDS", 3)
    monkeypatch.setattr(kernel_digests, "_ELEMENTS_FOR_A_THREAD", 20)
    shape = MapShape(MapType.ARRAY, 4, 12, 64)
    words = words_of(4, np.full(12, 0xFF, np.uint8), 1, is_array=True, is_percpu=False)
    words = changed(words, owned=owned)
    table = table_of(np.random.default_rng(9), 12, np.full(12, 0xFF, np.uint8))
    capacities = np.array([64, 20, 40], np.uint32)
    secret, slots = new_secret(words), np.arange(SLOTS)
    assert kernel_digests.can_digest(words, capacities)
    index = table.keys.copy().view(np.uint32).ravel()
    kept = index < np.repeat(capacities, table.counts)
    if owned:
        kept &= np.logical_or.reduce([(index >= first) & (index <= last) for first, last in owned])
    counts = np.bincount(np.repeat(slots, table.counts)[kept], minlength=SLOTS)
    ours = EntryTable(np.cumsum(counts) - counts, counts, table.keys[kept], table.values[kept])
    wanted = digests(ours, slots, words, secret)
    with live(shape, table) as outer:
        seen = map_digests(outer, u32(slots), capacities, words, secret)
        assert seen is not None
        assert seen.digests.sums.tolist() == wanted.sums.tolist()
        assert seen.digests.entries.tolist() == wanted.entries.tolist()
        has_piece = [not owned or any(first < size for first, _ in owned) for size in capacities]
        assert seen.max_entries.tolist() == [64 if has else 0 for has in has_piece]


def test_a_map_that_is_replaced_between_two_pieces_has_no_digest() -> None:
    sums = np.arange(8, dtype=np.uint64).reshape(4, 2)
    each = MapDigests(digest.Digests(sums, np.array([1, 2, 3, 4])), *np.array([[5, 5, 6, 8], [9, 9, 9, 9]], np.uint32))
    joined = kernel_digests._joined(each, np.array([0, 0, 2, 2]), 4)
    assert joined.ids.tolist() == [5, 0, 0, 0]
    assert joined.digests.sums.tolist() == [[2, 4], [0, 0], [10, 12], [0, 0]]
    assert joined.digests.entries.tolist() == [3, 0, 7, 0]


def read_slots(outer: MapFd) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    keys, ids = reading.read_slots(outer, maps.info(outer).shape)
    return keys.copy().view(np.uint32).ravel(), ids


def test_entries_that_swap_their_values_are_others() -> None:
    words = words_of(4, np.full(8, 0xFF, np.uint8), 1, is_array=False, is_percpu=False)
    keys, values = u32([1, 2]), np.array([[5], [9]], np.uint64).view(np.uint8)
    starts, counts = np.zeros(1, np.int64), np.array([2])
    whole = EntryTable(starts, counts, keys, values)
    swapped = EntryTable(starts, counts, keys, np.ascontiguousarray(values[::-1]))
    turned = EntryTable(starts, counts, np.ascontiguousarray(keys[::-1]), np.ascontiguousarray(values[::-1]))
    of = [digests(table, np.zeros(1, np.int64), words, SECRET).sums.tolist() for table in (whole, swapped, turned)]
    assert of[0] != of[1]
    assert of[0] == of[2], "in any order"


def test_slots_that_share_entries_have_one_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """And blocks of rows of any size make no difference."""
    words = words_of(4, np.full(8, 0xFF, np.uint8), 1, is_array=False, is_percpu=False)
    keys = u32(np.arange(10))
    values = np.random.default_rng(1).integers(0, 9, (10, 8), np.uint8)
    table = EntryTable(np.array([5, 0, 5, 0]), np.array([5, 3, 5, 5]), keys, values)
    slots = np.array([3, 0, 1, 2])
    wanted = digests(table, slots, words, SECRET)
    assert wanted.sums[1].tolist() == wanted.sums[3].tolist()
    assert wanted.entries.tolist() == [5, 5, 3, 5]
    monkeypatch.setattr(digest, "_ROWS", 2)
    monkeypatch.setattr(digest, "_BLOCK", 3)
    again = digests(table, slots, words, SECRET)
    assert again.sums.tolist() == wanted.sums.tolist()
    assert again.entries.tolist() == wanted.entries.tolist()


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("ff" * 8, [(0, 8, (1 << 64) - 1)]),
        ("ff" * 13, [(0, 8, (1 << 64) - 1), (8, 4, 0xFFFFFFFF), (12, 1, 0xFF)]),
        ("00000000 ffffffff", [(4, 4, 0xFFFFFFFF)]),
        ("ff00ffff 0f", [(0, 1, 0xFF), (2, 2, 0xFFFF), (4, 1, 0x0F)]),
        ("00" * 8, []),
    ],
)
def test_what_is_loaded_of_a_value(mask: str, expected: list[tuple[int, int, int]]) -> None:
    """No byte of padding is loaded: it can be a field of the kernel's own, which no program may read."""
    loads = pieces(np.frombuffer(bytes.fromhex(mask), np.uint8))
    assert loads == tuple(Piece(*each) for each in expected)
    assert Words((), loads, 2, len(mask), is_array=False, is_percpu=True).count == 2 * len(expected)
