"""What is wrong with a type itself, told at the place where it is written."""

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
    ("written", "what", "hint"),
    [
        ("u33", "there is no type `u33`", "did you mean `u32`"),
        ("backnd", "there is no type `backnd`", "did you mean `backend`?"),
        ("int", "there is no type `int`", "write s32"),
        ("uint16_t", "there is no type `uint16_t`", "write u16"),
        ("__be32", "there is no type `__be32`", "write be32"),
        ("struct vip", "there is no type `struct vip`", "write {btf: struct vip}"),
        ("double", "`double`: BPF programs have no floating point", "scale it to an integer"),
        ("f32", "no floating point", "scale it"),
        ("char", "`char` needs a length", "write char[16]"),
        ("bytes", "`bytes` needs a length", "write bytes[16]"),
        ("u8[0]", "no elements has no bytes", "1 or more"),
        ("u64[200000000]", "the type has 1,600,000,000 bytes, and a value may have 67,108,864", ""),
        ("char[1073741825]", "the type has 1,073,741,825 bytes", ""),
        ("a", "type `a` contains itself: a -> b -> a", ""),
        ("self", "type `self` contains itself: self -> self", ""),
        (StructType((), False, HERE), "without members has no bytes", ""),
        (union(), "without members has no bytes", ""),
        (StructType(TWICE, False, HERE), "member `x` is there twice", ""),
        (enum("u8", big=256), "`big: 256` does not fit u8 (0 to 255)", "wider `base`"),
        (enum("u8", low=-1), "`low: -1` does not fit u8", "wider `base`"),
        (enum("ipv4", low=1), "the base of an enum is an integer, not ipv4", ""),
        (enum(), "an enum without names is an integer", "write u8"),
        (EnumType((("1st", 1),), NamedType("u8", HERE), HERE), "`1st` reads as a number", ""),
        (EnumType((("a", 1), ("a", 2)), NamedType("u8", HERE), HERE), "`a` is there twice", ""),
        (lpm("u32"), "matches from the first byte on", "write be32"),
        (lpm("le16"), "matches from the first byte on", "write be16"),
        (lpm("cidr4"), "cidr4 is an LPM key already", ""),
        (lpm("u8[4]"), "LPM data is a scalar or a struct, not u8[4]", "put it into a struct"),
        (lpm("bytes[257]"), "LPM data has 257 bytes, the kernel takes 256", ""),
        (lpm(struct(prefixlen="u8")), "member `prefixlen` would be there twice", "rename it"),
        (option("u32", unit="fortnight"), "`fortnight` is no unit", ""),
        (option("ipv4", unit="s"), "a unit goes with an integer, not with ipv4", ""),
        (btf("struct vip"), "no object is there to take `struct vip` from", "object: NAME"),
        (btf("struct vip", "vmlinux"), "there is no BTF of `vmlinux`", ""),
    ],
)
def test_a_type_that_can_not_be_is_refused(written: TypeExpr | str, what: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        built(written, types={"backend": struct(a="u8"), **ROUND})
    [problem] = caught.value.problems
    assert problem.where == HERE
    assert what in problem.what
    assert hint in problem.hint


def test_all_problems_of_a_type_are_told() -> None:
    problems = Problems()
    types = {"ipv4": typ("u32")}
    builder = Builder(types, byteorder="little", problems=problems)
    assert builder.build(struct(a="u33", b="u8[0]", c=struct(d="float"))) is None
    with pytest.raises(InputError) as caught:
        problems.raise_if_any()
    assert len(caught.value.problems) == 4
    assert "`ipv4` is a type already" in str(caught.value)


def test_a_named_type_is_built_once_and_its_problems_told_once() -> None:
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
