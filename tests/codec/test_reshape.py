"""Entries in another layout: what becomes of each member, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.codec.layout_differences import differences
from provisioner.codec.layouts import layout_of
from provisioner.codec.reshape import Converted, Reshaping
from provisioner.codec.reshape_entries import EntryReshaping
from provisioner.codec.reshape_match import Unconvertible, reshaping
from provisioner.model.type_expr import ArrayType, StructType, TypeExpr
from provisioner.model.type_layout import LayoutKind, MemberLayout, TypeLayout
from provisioner.model.types import Type
from tests.codec.support import HERE, built, enum, members, option, struct, union


def between(old: Type, new: Type, **rename: str) -> Reshaping:
    made, impossible = reshaping(layout_of(old), layout_of(new), rename)
    assert impossible == ()
    return made


def rows(*hexes: str) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.array([list(bytes.fromhex(text)) for text in hexes], np.uint8)


def converted(made: Reshaping, *hexes: str) -> Converted:
    return made.convert(rows(*hexes))


TABLE = [
    ("u16", "u32", "e803", "e8030000"),
    ("u16", "s32", "ffff", "ffff0000"),
    ("s16", "s64", "feff", "feffffffffffffff"),
    ("u64", "u8", "0700000000000000", "07"),
    ("be16", "be32", "0102", "00000102"),
    ("be32", "ipv4", "0a000001", "0a000001"),
    ("u16", "be16", "0102", "0102"),
    ("bool", "u32", "01", "01000000"),
    ("char[4]", "char[8]", "61620000", "6162000000000000"),
    ("char[8]", "char[4]", "6162000000000000", "61620000"),
    ("bytes[2]", "bytes[3]", "0102", "010200"),
    ("u16[2]", "u32[3]", "01000200", "010000000200000000000000"),
    ("u8[4]", "bytes[4]", "01020304", "01020304"),
    ("u16[3]", "u16[2]", "010002000000", "01000200"),
    (struct(a="u16", b="u16"), struct(a="u16", x="u16", b="u16"), "01000200", "010000000200"),
    (struct(a="u16", x="u16", b="u16"), struct(a="u16", b="u16"), "010000000200", "01000200"),
    (struct(a="u16", b="u16", c="u16"), struct(a="u16", b="u16", c="u16", d="u16"), "010002000300", "0100020003000000"),
    ("u32[3]", "u32[1]", "070000000000000000000000", "07000000"),
    (struct(a="u16", b="u16[3]"), struct(b="u16[2]", a="u16"), "0900010002000000", "010002000900"),
    (struct(a="u8", b="u8"), struct(b="u16", a="u16"), "0102", "02000100"),
    (struct(a=struct(x="u8")), struct(a=struct(y="u8", x="u8")), "07", "0007"),
    (struct(a=struct(x="u8", y="u8")), struct(a="bytes[2]"), "0708", "0708"),
    (option("u64", unit="ns"), option("u32", unit="ns"), "0700000000000000", "07000000"),
    (enum(a=0, b=1), enum("u32", a=0, b=1), "01", "01000000"),
    (union(v4="be32"), union(v4="ipv4", v6="ipv6"), "0a000001", "0a000001" + 12 * "00"),
    ("u32", struct(a="u32"), "07000000", "07000000"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "before", "after"), TABLE)
def test_a_value_in_another_layout(old: TypeExpr | str, new: TypeExpr | str, before: str, after: str) -> None:
    made = between(built(old), built(new))
    done = converted(made, before, before)
    assert (done.misfits, done.lost) == ((), ())
    assert [row.tobytes().hex() for row in done.rows] == [after, after]


@pytest.mark.parametrize(
    ("old", "new", "before", "after"),
    [
        ("u16", "be16", "0102", "0201"),
        ("be32", "u32", "00000102", "02010000"),
        ("be16", "u32", "0102", "02010000"),
        ("s16", "be32", "0a00", "0000000a"),
        ("be16", "u16", "0102", "0201"),
        ("u16[2]", "be32[3]", "01000200", "000000010000000200000000"),
        ("u8", "be16", "07", "0007"),
        (struct(a=struct(x="u16"), b="u16"), struct(a=struct(x="be16"), b="u16"), "01020304", "02010304"),
        ("be32", "ipv4", "0a000001", "0a000001"),
    ],
)
def test_a_value_in_another_byte_order(old: TypeExpr | str, new: TypeExpr | str, before: str, after: str) -> None:
    made, impossible = reshaping(layout_of(built(old)), layout_of(built(new)), is_ordered=True)
    assert impossible == ()
    done = converted(made, before)
    assert (done.misfits, [row.tobytes().hex() for row in done.rows]) == ((), [after])


@pytest.mark.parametrize(("old", "new", "before", "after"), TABLE)
def test_no_value_in_another_layout(old: TypeExpr | str, new: TypeExpr | str, before: str, after: str) -> None:
    made = between(built(old), built(new))
    none = made.convert(np.zeros((0, len(before) // 2), np.uint8))
    assert none.rows.shape == (0, len(after) // 2)
    each = EntryReshaping(between(built("u32"), built("u32")), made, cpus=2).values(np.zeros((0, 0), np.uint8))
    assert len(each.rows) == 0


MISFITS = [
    ("u32", "u16", "00000100", "65536"),
    ("s8", "u8", "ff", "-1"),
    ("u8", "s8", "80", "128"),
    ("s16", "s8", "7fff", "-129"),
    ("char[4]", "char[2]", "61626300", ""),
    ("u16[3]", "u16[2]", "010002000300", ""),
    ("u16[2]", "u8[2]", "01000001", "256"),
]


@pytest.mark.parametrize(("old", "new", "bad", "shown"), MISFITS)
def test_what_does_not_fit_is_reported(old: str, new: str, bad: str, shown: str) -> None:
    made = between(built(old), built(new))
    done = converted(made, "00" * (len(bad) // 2), bad)
    (misfit,) = done.misfits
    assert (misfit.member, misfit.rows.tolist(), misfit.shown.get(1, "")) == ("value", [1], shown)


@pytest.mark.parametrize("name", ["a", "gone", "val", "valued", "zone"])
def test_a_member_without_a_place_is_lost(name: str) -> None:
    made = between(built(StructType(members({name: "u8", "kept": "u8"}), False, HERE)), built(struct(kept="u8")))
    done = converted(made, "0501", "0002")
    assert [row.tobytes().hex() for row in done.rows] == ["01", "02"]
    assert [(lost.member, lost.rows.tolist()) for lost in done.lost] == [(name, [0])]


def test_names_decide() -> None:
    old = built(struct(a="u8", gone="u8", b=struct(c="u8")))
    new = built(struct(x="u16", fresh="u8", b=struct(d="u8")))
    made = between(old, new, **{"a": "x", "b.c": "b.d"})
    assert (made.renamed, made.added) == ((("a", "x"), ("b.c", "b.d")), ("fresh",))
    done = converted(made, "010003", "010503")
    assert done.rows[0].tobytes().hex() == "01000003"
    assert [(lost.member, lost.rows.tolist()) for lost in done.lost] == [("gone", [1])]


def test_a_scalar_becomes_a_member() -> None:
    old, new = built("u32"), built(struct(hits="u64", since="u64"))
    done = converted(between(old, new, value="hits"), "07000000")
    assert (done.rows[0].tobytes().hex(), done.lost) == ("07" + 15 * "00", ())
    back = converted(between(new, old, hits="value"), "07" + 15 * "00", "07" + 14 * "00" + "01")
    assert back.rows[0].tobytes().hex() == "07000000"
    assert [lost.member for lost in back.lost] == ["since"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ipv4", "ipv6"),
        ("ipv4", "u64"),
        ("mac", "u64"),
        ("be16", "u32"),
        (union(a="u32", b="u64"), union(a="u64", b="u64")),
    ],
)
def test_types_that_have_nothing_in_common_are_refused(old: TypeExpr | str, new: TypeExpr | str) -> None:
    types = built(old), built(new)
    _, impossible = reshaping(layout_of(types[0]), layout_of(types[1]))
    assert [(each.member, each.before, each.after) for each in impossible] == [
        ("value", *(type_.describe() for type_ in types))
    ]
    assert isinstance(impossible[0], Unconvertible)


def bits(width: int, shift: int, *, signed: bool = False) -> TypeLayout:
    kind = LayoutKind.SIGNED if signed else LayoutKind.UNSIGNED
    return TypeLayout(kind, (shift + width + 7) // 8, f"u{width}", False, width, shift)


@given(st.integers(0, 7), st.integers(0, 31))
def test_bit_fields_go_by_number(flag: int, rest: int) -> None:
    old = TypeLayout(
        LayoutKind.STRUCT,
        1,
        "struct",
        members=(MemberLayout("flag", 0, bits(3, 0)), MemberLayout("rest", 0, bits(5, 3))),
    )
    new = TypeLayout(
        LayoutKind.STRUCT,
        2,
        "struct",
        members=(MemberLayout("rest", 0, bits(6, 0)), MemberLayout("flag", 0, bits(4, 6))),
    )
    made, impossible = reshaping(old, new)
    assert impossible == ()
    done = made.convert(np.array([[flag | rest << 3]], np.uint8))
    assert int.from_bytes(done.rows[0].tobytes(), "little") == rest | flag << 6
    narrow = TypeLayout(LayoutKind.STRUCT, 1, "struct", members=(MemberLayout("rest", 0, bits(3, 0)),))
    back = reshaping(old, narrow)[0].convert(np.array([[flag | rest << 3]], np.uint8))
    assert bool(back.misfits) == (rest > 7)
    assert bool(back.lost) == (flag > 0)


def test_values_of_each_cpu_are_converted() -> None:
    made = between(built("u16"), built("u64"))
    key = between(built("u32"), built("u32"))
    each = EntryReshaping(key, made, cpus=2)
    done = each.values(rows("0100000000000000" + "0200000000000000"))
    assert done.rows[0].tobytes().hex() == "0100000000000000" + "0200000000000000"
    narrow = EntryReshaping(key, between(built("u16"), built("u8")), cpus=2)
    done = narrow.values(rows("0100000000000000" + "0200000000000000", "0100000000000000" + "0001000000000000"))
    assert [misfit.rows.tolist() for misfit in done.misfits] == [[1]]


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
def test_wider_and_back_is_the_same(numbers: list[int]) -> None:
    u32 = TypeLayout(LayoutKind.UNSIGNED, 4, "u32")
    s64 = TypeLayout(LayoutKind.SIGNED, 8, "s64")
    before = np.array(numbers, "<u4").view(np.uint8).reshape(-1, 4)
    wide = reshaping(u32, s64)[0].convert(before)
    back = reshaping(s64, u32)[0].convert(wide.rows)
    assert np.array_equal(back.rows, before)
    assert not back.misfits


PADDED = struct(a="u8", b="u32")


@pytest.mark.parametrize(
    ("old", "new", "words", "keeps"),
    [
        (PADDED, PADDED, [], True),
        (PADDED, struct(a="u8", b="be32"), ["b: u32 -> be32"], True),
        (PADDED, struct(a="u8", b="s32"), ["b: u32 -> s32"], False),
        (PADDED, struct(b="u32", a="u8"), ["b from byte 4 to 0", "a from byte 0 to 4"], False),
        (PADDED, struct(a="u8", c="u32"), ["b is now c"], False),
        (PADDED, struct(a="u8", x=struct(b="u32")), ["b is now x.b"], False),
        (struct(a="u16", b="u16"), struct(c="u32"), ["new c", "without a", "without b"], False),
        (struct(a="u32[2]"), struct(a="u64[1]"), ["a: u32[2] -> u64[1]"], False),
        (struct(a="ipv4"), struct(a="u32"), ["a: ipv4 -> u32"], True),
        (struct(a=union(x=PADDED, y="u8")), struct(a=union(x=PADDED, y="u8")), [], True),
        ("u32", "ipv4", ["it: u32 -> ipv4"], True),
        ("u32", struct(a="u32"), ["it is now a"], True),
    ],
)
def test_members_that_change_within_a_size(
    old: TypeExpr | str, new: TypeExpr | str, words: list[str], keeps: bool
) -> None:
    before, after = layout_of(built(old)), layout_of(built(new))
    made, impossible = reshaping(before, after)
    assert (differences(before, after), made.keeps_bytes and not impossible) == (words, keeps)


def test_a_member_that_is_renamed_stays() -> None:
    before, after = layout_of(built(PADDED)), layout_of(built(struct(a="u8", c="u32")))
    assert differences(before, after, {"b": "c"}) == []
    assert between(built(PADDED), built(struct(a="u8", c="u32")), b="c").keeps_bytes


def arrays(before: TypeExpr, after: TypeExpr, **rename: str) -> Reshaping:
    old, new = (built(struct(s=ArrayType(each, 2, HERE))) for each in (before, after))
    return between(old, new, **rename)


def test_members_of_the_elements_of_an_array() -> None:
    pair = struct(a="u16", b="u16")
    made = arrays(pair, struct(b="u32", c="u32"), **{"s.a": "s.c"})
    assert (made.renamed, made.added, made.drops_members) == ((("s.a", "s.c"),), (), False)
    done = converted(made, "0100020003000400")
    assert done.rows.tobytes().hex() == "02000000" + "01000000" + "04000000" + "03000000"
    lossy = arrays(pair, struct(b="u32", d="u8"))
    assert (lossy.added, lossy.drops_members) == (("s.d",), True)
    done = converted(lossy, "0000020000000400", "0000020003000400")
    assert [(each.member, each.rows.tolist()) for each in done.lost] == [("s.a", [1])]
    assert done.misfits == ()


def test_a_whole_that_becomes_a_member_of_its_size_stays() -> None:
    """`rename` has the names of the key, too, which this value does not have."""
    whole, member = layout_of(built("u32")), layout_of(built(struct(a="u32")))
    rename = {"value": "a", "k": "value"}
    assert differences(whole, member, rename) == []
    assert differences(member, whole, {"a": "value"}) == []
    assert differences(whole, whole, rename) == []
    assert differences(whole, member) == ["it is now a"]


def test_each_row_has_its_own_number() -> None:
    (misfit,) = converted(between(built("u32"), built("u8")), "e8030000", "01000000", "2c010000").misfits
    assert (misfit.rows.tolist(), dict(misfit.shown)) == ([0, 2], {0: "1000", 2: "300"})
    (misfit,) = converted(between(built("u16[2]"), built("u8[2]")), "01000101", "07010101").misfits
    assert (misfit.rows.tolist(), dict(misfit.shown)) == ([0, 1], {0: "257", 1: "263"})
