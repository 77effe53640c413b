"""What is wrong with a type itself, with the place where it is written."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from provisioner.codec import Builder
from provisioner.model.errors import InputError, Problems
from provisioner.model.location import Location
from provisioner.model.type_expr import ArrayType, EnumType, Member, NamedType, StructType, TypeExpr

from .support import HERE, btf, built, enum, lpm, option, struct, typ, union

ROUND: Mapping[str, TypeExpr] = {"a": struct(b="b"), "b": ArrayType(NamedType("a", HERE), 2, HERE), "self": typ("self")}
TWICE = (Member("x", NamedType("u8", HERE), HERE), Member("x", NamedType("u16", HERE), HERE))


@pytest.mark.parametrize(
    ("written", "id_", "hint"),
    [
        ("u33", "unknown-type", "did you mean `u32`"),
        ("backnd", "unknown-type", "did you mean `backend`?"),
        ("int", "unknown-type", "write s32"),
        ("uint16_t", "unknown-type", "write u16"),
        ("__be32", "unknown-type", "write be32"),
        ("struct vip", "unknown-type", "write {btf: struct vip}"),
        ("double", "invalid-type", ""),
        ("f32", "invalid-type", ""),
        ("char", "invalid-type", "write char[16]"),
        ("bytes", "invalid-type", "write bytes[16]"),
        ("u8[0]", "invalid-type", ""),
        ("u64[200000000]", "limit-exceeded", ""),
        ("char[1073741825]", "limit-exceeded", ""),
        ("a", "circular-reference", ""),
        ("self", "circular-reference", ""),
        (StructType((), False, HERE), "invalid-type", ""),
        (union(), "invalid-type", ""),
        (StructType(TWICE, False, HERE), "duplicate-key", ""),
        (enum("u8", big=256), "out-of-range", "wider `base`"),
        (enum("u8", low=-1), "out-of-range", "wider `base`"),
        (enum("ipv4", low=1), "invalid-type", ""),
        (enum(), "invalid-type", "write u8"),
        (EnumType((("1st", 1),), NamedType("u8", HERE), HERE), "invalid-type", ""),
        (EnumType((("a", 1), ("a", 2)), NamedType("u8", HERE), HERE), "duplicate-key", ""),
        (lpm("u32"), "invalid-type", "write be32"),
        (lpm("le16"), "invalid-type", "write be16"),
        (lpm("cidr4"), "invalid-type", ""),
        (lpm("u8[4]"), "invalid-type", ""),
        (lpm("bytes[257]"), "invalid-type", ""),
        (lpm(struct(prefixlen="u8")), "duplicate-key", ""),
        (option("u32", unit="fortnight"), "invalid-type", ""),
        (option("ipv4", unit="s"), "invalid-type", ""),
        (btf("struct vip"), "btf-missing", "write `from: OBJECT`, or `object:` on the map"),
        (btf("struct vip", "vmlinux"), "btf-missing", ""),
    ],
)
def test_a_type_that_can_not_be_is_refused(written: TypeExpr | str, id_: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        built(written, types={"backend": struct(a="u8"), **ROUND})
    [problem] = caught.value.problems
    assert problem.where == HERE
    assert problem.id == id_
    assert hint in problem.hint


def test_all_problems_of_a_type_are_reported() -> None:
    problems = Problems()
    types = {"ipv4": typ("u32")}
    builder = Builder(types, byteorder="little", problems=problems)
    assert builder.build(struct(a="u33", b="u8[0]", c=struct(d="float"))) is None
    with pytest.raises(InputError) as caught:
        problems.raise_if_any()
    assert len(caught.value.problems) == 4
    assert [problem.id for problem in caught.value.problems].count("name-taken") == 1


def test_a_named_type_is_built_once_and_its_problems_reported_once() -> None:
    problems = Problems()
    there = Location("types.yaml", 3, 5)
    types: dict[str, TypeExpr] = {"good": struct(a="u8"), "bad": NamedType("u33", there)}
    builder = Builder(types, byteorder="little", problems=problems)
    assert builder.build(typ("good")) is builder.build(typ("good"))
    assert builder.build(struct(a="bad", b="bad")) is None
    assert builder.build(typ("bad")) is None
    with pytest.raises(InputError) as caught:
        problems.raise_if_any()
    assert [problem.where for problem in caught.value.problems] == [there]


def test_named_types_may_use_each_other_in_any_order() -> None:
    types: dict[str, TypeExpr] = {"pair": struct(left="half", right="half"), "half": struct(n="u16")}
    pair = built("pair[2]", types=types)
    assert pair.size == 8
    assert pair.describe() == "struct pair[2]"


@pytest.mark.parametrize(
    ("written", "size", "align"),
    [
        ("u64", 8, 8),
        ("ipv6", 16, 4),
        ("mac", 6, 1),
        ("cidr6", 20, 4),
        (struct(a="mac", b="u16"), 8, 2),
        (struct(a="u8", b="u64"), 16, 8),
        (struct(True, a="u8", b="u64"), 9, 1),
        (struct(a="u8", b=struct(True, c="u64")), 9, 1),
        (union(a="mac", b="u32"), 8, 4),
        (ArrayType(struct(a="u16", b="u8"), 3, HERE), 12, 2),
        (lpm(struct(a="u64")), 12, 4),
    ],
)
def test_sizes_and_alignments_are_those_of_c(written: TypeExpr | str, size: int, align: int) -> None:
    type_ = built(written)
    assert (type_.size, type_.align) == (size, align)
