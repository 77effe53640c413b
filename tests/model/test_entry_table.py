"""The entry table's arithmetic against the same thing done with dictionaries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.model import entry_table
from provisioner.model.entry_table import Index
from provisioner.model.types import Bytes

KEY_SIZES = [0, 1, 2, 4, 5, 8, 12, 20]


@st.composite
def rows(draw: st.DrawFn, key_size: int | None = None, slots: int = 6) -> tuple[Index, Bytes]:
    """Different (slot, key) pairs, grouped by slot in any order within it; few byte values, so that sides overlap."""
    size = draw(st.sampled_from(KEY_SIZES)) if key_size is None else key_size
    key = st.lists(st.sampled_from([0, 1, 255]), min_size=size, max_size=size).map(bytes)
    pairs = draw(st.lists(st.tuples(st.integers(0, slots - 1), key), unique=True, max_size=40))
    pairs.sort(key=lambda pair: pair[0])
    return as_columns(pairs, size)


def as_columns(pairs: list[tuple[int, bytes]], size: int) -> tuple[Index, Bytes]:
    keys = np.frombuffer(b"".join(key for _, key in pairs), np.uint8).reshape(len(pairs), size)
    return np.array([slot for slot, _ in pairs], np.int64), keys


def as_pairs(slot: Index, keys: Bytes) -> list[tuple[int, bytes]]:
    return [(int(number), key.tobytes()) for number, key in zip(slot, keys, strict=True)]


@given(st.data())
def test_match_pairs_rows_as_a_dictionary_does(data: st.DataObject) -> None:
    left = data.draw(rows())
    right = data.draw(rows(key_size=left[1].shape[1]))
    matched = entry_table.match(*left, *right)
    ours, theirs = as_pairs(*left), as_pairs(*right)
    assert {ours[row] for row in matched.left_only} == set(ours) - set(theirs)
    assert {theirs[row] for row in matched.right_only} == set(theirs) - set(ours)
    assert [ours[row] for row in matched.both_left] == [theirs[row] for row in matched.both_right]
    assert {ours[row] for row in matched.both_left} == set(ours) & set(theirs)


def test_match_compares_whole_keys_where_ranks_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key longer than 4 bytes gets the same rank here: only whole keys can tell them apart."""
    monkeypatch.setattr(entry_table, "key_rank", lambda keys: np.zeros(len(keys), np.uint64))
    left = as_columns([(0, b"aaaaa"), (0, b"bbbbb"), (1, b"aaaaa")], 5)
    right = as_columns([(0, b"bbbbb"), (0, b"ccccc"), (1, b"aaaaa")], 5)
    matched = entry_table.match(*left, *right)
    assert matched.left_only.tolist() == [0]
    assert matched.right_only.tolist() == [1]
    assert sorted(zip(matched.both_left.tolist(), matched.both_right.tolist(), strict=True)) == [(1, 0), (2, 2)]


@given(rows())
def test_sorting_by_slot_keeps_every_row_and_groups_them(given_rows: tuple[Index, Bytes]) -> None:
    slot, keys = given_rows
    shuffled = np.random.default_rng(1).permutation(len(slot))
    order = entry_table.sort_by_slot(slot[shuffled], keys[shuffled])
    assert sorted(as_pairs(slot[shuffled][order], keys[shuffled][order])) == sorted(as_pairs(slot, keys))
    assert (np.diff(slot[shuffled][order]) >= 0).all()


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_sorting_by_slot_is_stable_and_by_number(size: int, equal: bool) -> None:
    random = np.random.default_rng(size)
    slot = np.repeat(np.arange(40), 125) if equal else np.sort(random.integers(0, 40, 5000))
    keys = random.integers(0, 256, (5000, size), dtype=np.uint8)
    keys[::7] = keys[0]
    order = entry_table.sort_by_slot(slot, keys)
    assert order.tolist() == np.lexsort((entry_table.key_rank(keys) >> np.uint64(10 if size > 4 else 0), slot)).tolist()


@given(st.data())
def test_duplicates_are_all_found(data: st.DataObject) -> None:
    slot, keys = data.draw(rows())
    pairs = as_pairs(slot, keys)
    again = data.draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    both = as_columns([*pairs, *again], keys.shape[1])
    order = entry_table.sort_by_slot(*both)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry_table, "BLOCK_ENTRIES", data.draw(st.integers(1, 5)))
        first, second = entry_table.duplicates(both[0][order], both[1][order])
    everything = as_pairs(*both)
    assert sorted(everything[row] for row in order[first]) == sorted(again)
    assert [everything[row] for row in order[first]] == [everything[row] for row in order[second]]


@pytest.mark.parametrize("size", range(1, 9))
def test_numbers_are_ordered_by_their_byte_order(size: int) -> None:
    numbers = [3, 1, 200, 2] if size == 1 else [259, 1, 512, 258]  # in neither byte order are these ordered as bytes
    for order in ("little", "big"):
        raw = b"".join(number.to_bytes(size, order) for number in numbers)
        keys = np.frombuffer(raw, np.uint8).reshape(-1, size)
        assert entry_table.order_of(keys, order).tolist() == [1, 3, 0, 2]


def test_long_keys_are_ordered_as_memcmp_does() -> None:
    keys = np.array([[1] + [0] * 11, [0] * 12, [0] * 11 + [1]], np.uint8)
    assert entry_table.order_of(keys, None).tolist() == [1, 2, 0]


@given(st.lists(st.integers(0, 70_000), max_size=30))
def test_blocks_cover_every_slot_once(counts: list[int]) -> None:
    ranges = list(entry_table.blocks(np.array(counts, np.int64)))
    assert [slot for first, last in ranges for slot in range(first, last)] == list(range(len(counts)))
    for first, last in ranges:
        assert last - first == 1 or sum(counts[first:last]) <= entry_table.BLOCK_ENTRIES


def test_a_block_never_has_more_slots_than_its_ranks_have_room_for() -> None:
    assert max(last - first for first, last in entry_table.blocks(np.zeros(5000, np.int64))) == entry_table.BLOCK_SLOTS


@given(rows(), st.integers(1, 3))
def test_distinct_numbers_each_key_by_its_first_row(given_rows: tuple[Index, Bytes], run: int) -> None:
    keys = given_rows[1].repeat(run, axis=0)
    first, number = entry_table.distinct(keys)
    texts = [key.tobytes() for key in keys]
    assert [texts[row] for row in first] == sorted(set(texts))
    assert first[number].tolist() == [texts.index(text) for text in texts]
    assert entry_table.are_distinct(keys) == (len(set(texts)) == len(texts))


def test_slices_are_laid_one_after_the_other() -> None:
    assert entry_table.slices(np.array([5, 0, 2]), np.array([2, 0, 3])).tolist() == [5, 6, 2, 3, 4]


def test_a_part_has_the_rows_of_its_slots_and_shares_slices_as_before() -> None:
    keys = np.arange(9, dtype=np.uint8).reshape(9, 1)
    table = entry_table.EntryTable(np.array([0, 4, 4, 7]), np.array([4, 3, 3, 2]), keys, keys)
    part, rows = entry_table.part(table, np.array([3, 1, 2]))
    assert [part.keys[part.rows(slot, slot + 1), 0].tolist() for slot in range(3)] == [[7, 8], [4, 5, 6], [4, 5, 6]]
    assert rows.tolist() == part.values[:, 0].tolist() == [4, 5, 6, 7, 8]


@pytest.mark.parametrize("size", [1, 2, 4, 8, 12, 16, 24])
def test_every_byte_of_a_value_counts(size: int) -> None:
    values = np.concatenate((np.eye(size, dtype=np.uint8), np.zeros((1, size), np.uint8)))
    assert entry_table.is_nonzero(values).tolist() == [True] * size + [False]
    assert entry_table.differ(values, np.zeros_like(values)).tolist() == [True] * size + [False]


@pytest.mark.parametrize(("byteorder", "first"), [("little", [2, 1, 0, 0]), ("big", [0, 0, 1, 2])])
def test_indexes_are_numbers_in_the_order_of_their_host(byteorder: str, first: list[int]) -> None:
    keys = entry_table.index_keys(np.array([258, 0]), byteorder)
    assert keys.tolist() == [first, [0, 0, 0, 0]]
    assert entry_table.as_indexes(keys, byteorder).tolist() == [258, 0]
