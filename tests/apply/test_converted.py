"""Live entries as a migration copies them, if they changed since the plan: what does not fit is refused or goes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from provisioner.apply.converted import converted
from provisioner.codec.layouts import layout_of
from provisioner.codec.owned import owned
from provisioner.codec.reshape_entries import EntryReshaping
from provisioner.codec.reshape_match import reshaping
from provisioner.model.errors import RefusedError
from provisioner.model.spec import Contents
from provisioner.model.uapi import MapType
from tests.codec.support import built, struct
from tests.planning.migrations import Kind, kind, le, rows, wish

ONE = le(1)


def copied(
    held: dict[str, str], state: dict[str, str], key: tuple[Kind, Kind], value: tuple[Kind, Kind], **how: Any
) -> dict[str, str] | None:
    """The entries in the new layout; None if they are refused."""
    map_ = wish({ONE: state}, key[1], value[1], **how)
    (old_key, new_key), (old_value, new_value) = ([layout_of(kind(each)) for each in part] for part in (key, value))
    made = EntryReshaping(reshaping(old_key, new_key)[0], reshaping(old_value, new_value)[0])
    old_keys, old_values = (
        rows(list(each), kind(part[0]).size) for each, part in ((held, key), (held.values(), value))
    )
    try:
        new = converted(made, map_, 0, old_keys, old_values)
    except RefusedError as error:
        return None if error.problems[0].id == "changed-since-plan" else {}
    return {key.tobytes().hex(): value.tobytes().hex() for key, value in zip(*new, strict=True)}


EXACT = {"contents": Contents.EXACT}


@pytest.mark.parametrize(
    ("state", "how", "expected"),
    [
        ({}, {}, None),
        ({le(2): "07"}, {}, {ONE: "01"}),  # the spec writes it
        ({}, {**EXACT, "owned": ((2, 9),)}, {ONE: "01"}),
        ({}, {**EXACT, "owned": ((3, 9),)}, None),
    ],
)
def test_a_value_that_does_not_fit(state: dict[str, str], how: Any, expected: Any) -> None:
    assert copied({ONE: le(1), le(2): le(300)}, state, ("u32", "u32"), ("u32", "u8"), **how) == expected


@pytest.mark.parametrize("how", [{}, {**EXACT, "owned": ((1, 9),)}])
@pytest.mark.parametrize("state", [{}, {"03": ONE}])
def test_a_key_that_does_not_fit_is_not_one_of_ours(state: dict[str, str], how: Any) -> None:
    """259 is no u8; its lowest byte, 3, is in the range of ours, or listed."""
    assert copied({ONE: ONE}, state, ("u32", "u8"), ("u32", "u32"), **how) == {"01": ONE}
    assert copied({le(259): ONE}, state, ("u32", "u8"), ("u32", "u32"), **how) is None


def test_a_key_beyond_the_new_array() -> None:
    for key, expected in ((7, {le(7): ONE}), (8, None)):
        assert copied({le(key): ONE}, {}, ("u32", "u32"), ("u32", "u32"), inner=MapType.ARRAY) == expected
    assert copied({le(8): ONE}, {}, ("u32", "u32"), ("u32", "u32"), inner=MapType.ARRAY, rooms={ONE: 9}) == {le(8): ONE}


PAIR, NARROW = struct(a="u32", b="u32"), built(struct(a="u8", b="u8"))
HALF = owned(NARROW, [("a",)], np.zeros(2, np.uint8))


@pytest.mark.parametrize("contents", [Contents.EXACT, Contents.PRESENT])
@pytest.mark.parametrize(
    ("state", "value", "exact", "present"),
    [
        ({ONE: "0700"}, le(300) + le(5), {ONE: "2c05"}, {ONE: "2c05"}),  # `a` is ours, and is written over it
        ({ONE: "0700"}, le(1) + le(300), None, None),
        ({}, le(1) + le(300), {}, None),  # with exact contents, it goes
        ({}, le(300) + le(1), {ONE: "2c01"}, None),
    ],
)
def test_members_of_others(contents: Contents, state: Any, value: str, exact: Any, present: Any) -> None:
    found = copied({ONE: value}, state, ("u32", "u32"), (PAIR, HALF), contents=contents)
    assert found == (exact if contents is Contents.EXACT else present)
