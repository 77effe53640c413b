"""Why a live map must be recreated, and whether its contents are compared then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from provisioner.codec.layouts import layout_of
from provisioner.model.desired import Constants, DesiredMap, Migration
from provisioner.model.inner_template import Probed
from provisioner.model.observed import ObservedMap
from provisioner.model.type_layout import EntryLayout, Relaid
from provisioner.planning.recreation import inner_differences, is_compared, relaid_because, replaced_because
from tests.planning.build import HASH, HERE, OUTER, U32, desired, observed
from tests.planning.states import record

assert U32 is not None
NONE = Constants(np.zeros(0, np.uint8), frozenset())
MIGRATES = Migration(False, {}, NONE, NONE, None, None, None, HERE)
LAYOUT = EntryLayout(layout_of(U32), layout_of(U32))
MOVES = Relaid(LAYOUT, ("value: a moves", "key: b moves"), True, True)

LARGER, WIDER = OUTER.with_capacity(1001), replace(OUTER, key_size=8)
INNER_WIDER = replace(HASH, value_size=16)


def seen(relaid: Relaid | None = None, probed: Probed | None = None, **how: Any) -> ObservedMap:
    return replace(observed({1: {}}, **how), relaid=relaid, probed=probed)


def plain(**how: Any) -> DesiredMap:
    return replace(desired({0: {}}, shape=HASH, **how), outer=None)


def migrating(map_: DesiredMap | None = None) -> DesiredMap:
    return replace(map_ or desired({1: {}}), migration=MIGRATES)


@pytest.mark.parametrize(
    ("map_", "live", "why", "compares"),
    [
        (desired({1: {}}), seen(), "", True),
        (desired({1: {}}), seen(shape=LARGER), "max_entries 1001 -> 1000", True),  # a new map takes the slots over
        (desired({1: {}}), seen(shape=WIDER), "key_size 8 -> 4", False),
        (desired({1: {}}), seen(inner=INNER_WIDER), "inner maps: value_size 8 in the template, 16 live", False),
        (desired({1: {}}), seen(shape=LARGER, inner=INNER_WIDER), "max_entries 1001 -> 1000", False),
        (plain(), seen(shape=HASH), "", True),
        (plain(), seen(shape=HASH.with_capacity(9)), "max_entries 9 -> 64", False),
        # Layouts matter to a map that is migrated alone, and only if bytes move.
        (desired({1: {}}), seen(MOVES), "", True),
        (migrating(), seen(), "", True),
        (migrating(), seen(MOVES), "value: a moves, key: b moves", False),
        (migrating(), seen(replace(MOVES, moves=False)), "", True),
        (migrating(plain()), seen(MOVES, shape=HASH), "value: a moves, key: b moves", False),
        (migrating(), seen(MOVES, shape=LARGER), "max_entries 1001 -> 1000", False),
        (migrating(), seen(MOVES, inner=INNER_WIDER), "inner maps: value_size 8 in the template, 16 live", False),
    ],
)
def test_why_a_map_is_recreated(map_: DesiredMap, live: ObservedMap, why: str, compares: bool) -> None:
    assert replaced_because(map_, live, None) == why
    assert is_compared(map_, live, None) is compares


def test_a_map_of_another_owner_at_the_pin_is_not_taken_over() -> None:
    for number, compares in ((7, True), (8, False)):
        assert is_compared(desired({1: {}}), seen(shape=LARGER), record(maps={"outer": number})) is compares


@pytest.mark.parametrize(
    ("live", "recorded", "why"),
    [
        (seen(inner=None), None, ""),  # nobody knows
        (seen(inner=None), HASH, ""),
        (seen(inner=None), INNER_WIDER, "value_size 8 in the template, 16 live"),
        (seen(inner=HASH), INNER_WIDER, ""),  # what is live counts
        (seen(inner=INNER_WIDER), HASH, "value_size 8 in the template, 16 live"),
        (seen(inner=INNER_WIDER, probed=Probed(True)), None, ""),  # the kernel takes them
        (seen(inner=HASH, probed=Probed(False, "map_flags differ")), None, "map_flags differ"),
        (seen(inner=INNER_WIDER, probed=Probed(None, "unknown")), None, "value_size 8 in the template, 16 live"),
    ],
)
def test_the_inner_maps_that_a_live_map_takes(live: ObservedMap, recorded: Any, why: str) -> None:
    meta = record(templates={} if recorded is None else {"outer": recorded})
    assert inner_differences(desired({1: {}}), live, meta) == why
    assert recorded is not None or inner_differences(desired({1: {}}), live, None) == why


def test_the_layout_that_moved_in_words() -> None:
    assert relaid_because(migrating(), seen(MOVES)) == "value: a moves, key: b moves"
    assert relaid_because(desired({}), seen(MOVES)) == relaid_because(migrating(), seen()) == ""
