"""The types of a live map that is migrated: where they are known from, and what cannot be converted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from provisioner.codec.layouts import layout_of
from provisioner.codec.percpu import PerCpu
from provisioner.model.desired import Constants, Migration
from provisioner.model.type_layout import EntryLayout
from provisioner.model.uapi import MapType
from provisioner.planning.changes import MapChange
from tests.codec.support import built, lpm, struct, union
from tests.planning.migrations import Kind, Live, entries, kind, le, migration, plan_of, recorded_as, wish
from tests.planning.states import ids

ONE = le(1)
PAIR, TURNED = struct(a="u16", b="u16"), struct(b="u16", a="u16")
WIDE = struct(b="u32", a="u32")
A_IS_FIRST, B_IS_FIRST = "0200000001000000", "0100000002000000"
"""A live value, 01000200, as WIDE."""


def known(value: Kind, key: Kind = "u32") -> EntryLayout:
    """As the BTF of the live map has it, without the byte order of integers."""
    return EntryLayout(layout_of(kind(key)), layout_of(kind(value)))


def change(
    policy: Migration | None = None, layout: EntryLayout | None = None, meta: Any = None, value: Kind = WIDE
) -> MapChange:
    """Of a live map with values of 4 bytes, whose types are those of `layout` and `meta`, if these are given."""
    live = Live({ONE: {ONE: "01000200"}}, layout=layout)
    live.known = layout
    return plan_of(wish({ONE: {}}, value=value, policy=policy), live, meta).maps["outer"]


def converted(of: MapChange, value: str = "01000200") -> str:
    """A value of the live map in the new layout."""
    assert of.migrated is not None
    assert of.migrated.reshaping is not None
    return of.migrated.reshaping.values(np.frombuffer(bytes.fromhex(value), np.uint8)[np.newaxis]).rows.tobytes().hex()


def problems(of: MapChange) -> list[tuple[str, str]]:
    assert of.migrated is not None
    assert {each.id for each in of.migrated.problems} <= {"migrate-types"}
    assert {each.address for each in of.migrated.problems} <= {"outer"}
    return [(each.what, each.hint) for each in of.migrated.problems]


# --- where types are known from ----------------------------------------------------------------------------------

OLD, NEW = recorded_as("u32", PAIR), recorded_as("u32", TURNED)


@pytest.mark.parametrize(
    ("policy", "layout", "meta", "expected"),
    [
        (migration(value=PAIR), None, None, A_IS_FIRST),
        (migration(value=PAIR), known(TURNED), NEW, A_IS_FIRST),  # what the spec says comes first
        (None, known(PAIR), None, A_IS_FIRST),
        (None, known(TURNED), None, B_IS_FIRST),
        (None, None, OLD, A_IS_FIRST),
        (None, None, NEW, B_IS_FIRST),
        (None, known(PAIR), OLD, A_IS_FIRST),
        (None, known(TURNED), OLD, B_IS_FIRST),  # the record is of another map
        (None, known(PAIR), recorded_as("u32", PAIR, number=8), A_IS_FIRST),
        (None, known(PAIR), recorded_as("u32", "u64"), A_IS_FIRST),  # of another size
    ],
)
def test_the_types_of_the_live_map(
    policy: Migration | None, layout: EntryLayout | None, meta: Any, expected: str
) -> None:
    assert converted(change(policy, layout, meta)) == expected


@pytest.mark.parametrize(
    ("layout", "meta"),
    [
        (None, None),
        (None, recorded_as("u32", PAIR, number=8)),  # which is another map
        (None, recorded_as("u32", "u64")),
        (known("u64"), None),
        (known("u64"), OLD),
    ],
)
def test_types_that_nobody_knows(layout: EntryLayout | None, meta: Any) -> None:
    expected = "the types of the live map are unknown: its value has 4 bytes"
    assert problems(change(None, layout, meta)) == [
        (expected, "write `from_types: FILE` with the types of the live map")
    ]


def test_a_key_of_the_same_size_needs_no_types() -> None:
    """It keeps its bytes."""
    done = plan_of(wish({ONE: {}}, key="be32", value=WIDE, policy=migration(value=PAIR)), Live({ONE: {}})).maps["outer"]
    assert done.migrated is not None
    assert done.migrated.reshaping is not None
    assert done.migrated.reshaping.key.is_identity


def test_the_byte_order_is_known_from_the_spec_or_the_record_alone() -> None:
    """A program can give its integers any; with a record, numbers stay numbers."""
    big = struct(b="u32", a="be16", c="be16")
    for policy, layout, meta, expected in (
        (None, known(PAIR), None, "00000000" + "0100" + "0000"),
        (None, known(PAIR), OLD, "00000000" + "0001" + "0000"),
        (migration(value=PAIR), None, None, "00000000" + "0001" + "0000"),
    ):
        done = change(replace(policy or migration(), rename={"b": "b"}), layout, meta, value=big)
        assert converted(done, "01000000") == expected


def test_given_types_of_another_size_are_an_error_in_the_file() -> None:
    wrong = change(migration(value="u64"), known(PAIR))
    what = "`from_types` has a value of 8 bytes, and the live map 4"
    assert problems(wrong)[0] == (what, "correct the types in the file of `from_types`")
    assert problems(change(migration(value=PAIR), known(PAIR))) == []


def test_members_that_cannot_be_converted() -> None:
    text = struct(b="u32", a="char[8]")
    assert problems(change(migration(value=PAIR), value=text)) == [
        ("member `a` of the value cannot be converted: u16 -> char[8]", "use `rename` and `set`, or keep the type")
    ]
    big = struct(b="u32", a="be32")
    ((what, hint),) = problems(change(None, known(PAIR), value=big))
    assert what == "member `a` of the value cannot be converted: u16 -> be32"
    assert hint == "the byte orders differ: give the old type in `from_types`"


@pytest.mark.parametrize(("value", "stays"), [(union(x="be32"), True), (union(x="be32", y="u64"), False)])
def test_without_migrate_the_bytes_stay_where_the_size_does(value: Kind, stays: bool) -> None:
    """The bytes of a union do not show which member they are."""
    ((_, hint),) = problems(change(None, None, recorded_as("u32", union(x="u32")), value=value))
    assert hint.startswith("the bytes of a union do not show which member they are")
    assert hint.endswith("; without `migrate`, entries keep their bytes") is stays


def test_prefixes_keep_their_size() -> None:
    map_ = wish({ONE: {}}, key=lpm("ipv6"), value="u64", inner=MapType.LPM_TRIE)
    held = Live({ONE: {le(8) + le(10): le(1)}}, key=8, kind=MapType.LPM_TRIE)
    ((what, hint),) = problems(plan_of(map_, held).maps["outer"])
    assert what == f"prefixes of 8 bytes cannot become {map_.key.describe()}"
    assert hint == "keep the key, or write `migrate: drop` to discard them"


def test_members_are_renamed_and_set() -> None:
    row = np.frombuffer(bytes.fromhex("0000000000000007"), np.uint8)
    value = struct(x="u32", note="be32")
    policy = replace(migration(value=PAIR, rename={"a": "x"}), value_constants=Constants(row, frozenset({"note"})))
    done = change(policy, value=value)
    assert converted(done, "05000000") == "05000000" + "00000007"


def test_a_moved_member_of_the_same_size_is_as_it_was_recorded() -> None:
    """The kernel sees the same size, and its BTF may have been made of the new types already."""
    for layout in (None, known(PAIR), known(TURNED)):
        done = change(None, layout, OLD, value=TURNED)
        assert converted(done) == "02000100"


# --- which maps --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "possible"),
    [
        (MapType.HASH, MapType.ARRAY, True),
        (MapType.HASH, MapType.LRU_HASH, True),
        (MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, True),
        (MapType.LPM_TRIE, MapType.LPM_TRIE, True),
        (MapType.HASH, MapType.PERCPU_HASH, False),
        (MapType.PERCPU_HASH, MapType.HASH, False),
        (MapType.QUEUE, MapType.HASH, False),
        (MapType.HASH, MapType.QUEUE, False),
        (MapType.HASH, MapType.LPM_TRIE, False),
        (MapType.LPM_TRIE, MapType.HASH, False),
    ],
)
def test_types_of_maps_whose_entries_can_be_carried(before: MapType, after: MapType, possible: bool) -> None:
    value = PerCpu(built("u32"), 2) if after.word.startswith("percpu") else built("u32")
    map_ = wish({ONE: {}}, value=value, inner=after, room=16)
    map_ = replace(map_, entry_shape=replace(map_.entry_shape, value_size=4))
    done = plan_of(map_, Live({ONE: {}}, kind=before)).maps["outer"]
    if possible and before is not after:
        assert problems(done) == []
    elif not possible:
        what = f"entries of {before.word} cannot be carried into {after.word}"
        assert problems(done) == [(what, "write `migrate: drop` to discard them")]


def test_values_of_each_cpu_are_converted_apart() -> None:
    map_ = wish({ONE: {}}, value=PerCpu(built("u64"), 2), inner=MapType.PERCPU_HASH)
    map_ = replace(map_, entry_shape=replace(map_.entry_shape, value_size=8))
    held = Live({ONE: {ONE: "05000000" + 4 * "ee" + "06000000" + 4 * "ee"}}, kind=MapType.PERCPU_HASH)
    done = plan_of(map_, held).maps["outer"]
    assert converted(done, "05000000" + 4 * "ee" + "06000000" + 4 * "ee") == le(5, 8) + le(6, 8)
    assert done.slots.others.tolist() == [1]


@pytest.mark.parametrize(
    ("before", "possible"),
    [
        ("20000000" + "0a000000", True),
        ("20000000" + "0a00", False),
    ],
)
def test_prefixes_keep_their_bits(before: str, possible: bool) -> None:
    """The length counts the bits of the data: no other size has the same prefixes."""
    held = Live({ONE: {before: le(1)}}, key=len(before) // 2, kind=MapType.LPM_TRIE)
    done = plan_of(wish({ONE: {}}, key=lpm("be32"), value="u64", inner=MapType.LPM_TRIE), held).maps["outer"]
    assert bool(problems(done)) is not possible
    if possible:
        assert done.migrated is not None
        assert done.migrated.reshaping is not None
        assert done.migrated.reshaping.key.is_identity


def test_outer_keys_are_those_of_the_record_or_of_the_spec() -> None:
    held = Live({ONE: entries({1: 1})})
    for policy, meta in ((migration(outer_key="u32"), None), (None, recorded_as("u32", "u32"))):
        done = plan_of(wish({le(1, 8): {}}, outer="u64", policy=policy), held, meta).maps["outer"]
        assert done.migrated is not None
        assert done.migrated.outer is not None
        assert done.resized
    unknown = plan_of(wish({le(1, 8): {}}, outer="u64"), held)
    assert ids(unknown.blocked) == [("migrate-types", "outer")]
    assert unknown.blocked[0].message == "the types of the live map are unknown: its outer key has 4 bytes"
    assert unknown.steps != ()
