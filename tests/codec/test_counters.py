"""Which values can be added to, for `on_conflict: sum`."""

from __future__ import annotations

import numpy as np
import pytest

from provisioner.codec.counters import Counters, counters, others
from provisioner.codec.owned import owned
from provisioner.codec.percpu import PerCpu
from provisioner.model.type_expr import ArrayType, TypeExpr

from .support import HERE, built, option, struct


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("u32", ((0, 4),)),
        ("s64", ((0, 8),)),
        ("u8", None),
        ("u16", None),
        ("le32", ((0, 4),)),
        ("be32", None),
        ("bool", None),
        ("ipv4", None),
        (option("u64", unit="ns"), ((0, 8),)),
        (option("u32", sensitive=True), ((0, 4),)),
        ("u32[3]", ((0, 4), (4, 4), (8, 4))),
        ("u16[4]", None),
        ("u64[256]", tuple((8 * at, 8) for at in range(256))),
        ("u64[257]", None),  # too many instructions
        (struct(a="u32", b="u64"), ((0, 4), (8, 8))),
        (struct(a="u32", b="u16"), None),
        (struct(a="u64", b=struct(x="u32", y="u32[2]")), ((0, 8), (8, 4), (12, 4), (16, 4))),
        (struct(packed=True, a="u32", b="u64"), None),  # not aligned
        (struct(packed=True, a="u32", b="u32"), ((0, 4), (4, 4))),
        (struct(a="u64[129]", b="u64[128]"), None),
    ],
)
def test_the_counters_of_a_value(value: TypeExpr | str, expected: Counters | None) -> None:
    assert counters(built(value), "little") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("u32", []),
        ("u16", []),  # the whole value
        (struct(a="u32", b="u16", c="be32"), ["`b` is u16", "`c` is be32"]),
        (struct(a="u32", b=struct(x="u32", y="ipv4")), ["`b.y` is ipv4"]),
        (struct(a="u16[4]", b="u64[300]"), ["`a` is u16[4]", "`b` is u64[300]"]),
        (struct(a=ArrayType(struct(x="u32", y="bool"), 2, HERE)), ["`a.y` is bool"]),
        (struct(packed=True, a="u32", b="u64"), ["the integer of 8 bytes at byte 4 is not aligned"]),
        (struct(a="u64[129]", b="u64[128]"), ["it has 257 of them, and 256 are possible"]),
    ],
)
def test_what_is_no_counter_is_named(value: TypeExpr | str, expected: list[str]) -> None:
    built_value = built(value)
    if expected or counters(built_value, "little") is None:
        assert list(others(built_value, "little")) == expected


def test_members_of_other_writers_alone_are_named() -> None:
    value = built(struct(limit="ipv4", used="u32", port="u16"))
    assert list(others(owned(value, [("limit",)], np.zeros(value.size, np.uint8)), "little")) == ["`port` is u16"]
    assert list(others(PerCpu(value, 4), "little")) == ["`limit` is ipv4", "`port` is u16"]


def test_the_byte_order_is_that_of_the_host() -> None:
    assert counters(built("be32", "big"), "big") == ((0, 4),)
    assert counters(built("le32", "big"), "big") is None


def test_counters_of_one_cpu_and_of_other_writers() -> None:
    assert counters(PerCpu(built("u32"), 4), "little") == ((0, 4),)
    value = built(struct(limit="ipv4", used="u32", hits="u64"))
    assert counters(value, "little") is None
    assert counters(owned(value, [("limit",)], np.zeros(value.size, np.uint8)), "little") == ((4, 4), (8, 8))
