"""A value of which some members are ours: its parts, and what the others are in new entries."""

from __future__ import annotations

import numpy as np
import pytest

from provisioner.codec.layouts import layout_of
from provisioner.codec.owned import initial_members, member_names, owned
from provisioner.model.type_expr import TypeExpr

from .support import built, enum, option, struct, union

VALUE = struct(
    limit="u32",
    used="u32",
    rate=struct(burst="u16", left="u16"),
    on="bool",
    kind=enum(a=0, b=1),
    key=option("u16", True),
)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (["limit"], ["used", "rate", "on", "kind", "key"]),
        (["rate.burst", "on"], ["limit", "used", "rate.left", "kind", "key"]),
        (["rate"], ["limit", "used", "on", "kind", "key"]),
        (["key", "limit"], ["used", "rate", "on", "kind"]),
    ],
)
def test_each_member_has_one_owner(ours: list[str], theirs: list[str]) -> None:
    whole = built(VALUE)
    value = owned(whole, [tuple(name.split(".")) for name in ours], np.zeros(whole.size, np.uint8))
    assert set(member_names(value.ours)) == set(ours)
    assert set(member_names(value.theirs)) == set(theirs)
    assert not (value.ours.mask() & value.theirs.mask()).any()
    assert ((value.ours.mask() | value.theirs.mask()) == whole.mask()).all()


def test_members_that_are_not_zero_in_new_entries() -> None:
    whole = built(VALUE)
    row = np.zeros((1, whole.size), np.uint8)
    assert initial_members(owned(whole, [("limit",)], row[0])) == {}
    row[0, 4:8] = [0, 1, 0, 0]  # used
    row[0, 10] = 7  # rate.left
    row[0, 13] = 1  # kind
    row[0, 14] = 9  # key, which is sensitive
    value = owned(whole, [("limit",)], row[0])
    assert initial_members(value) == {"used": 256, "rate": {"left": 7}, "kind": "b"}


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (struct(u=union(a="u32", b="ipv4"), c="u8"), ["u", "c"]),
        (struct(inner=struct(x="u8"), c="u8"), ["inner", "c"]),
    ],
)
def test_a_member_with_members_has_its_own_name(value: TypeExpr, names: list[str]) -> None:
    assert [part.name for part in layout_of(built(value)).members] == names
