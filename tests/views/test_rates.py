"""What changed between two looks."""

from __future__ import annotations

import pytest

from provisioner.codec.display import format_value
from provisioner.model.types import Type, Value
from provisioner.views import rates
from provisioner.views.looks import SlotLook
from provisioner.views.rates import CHANGED, NEW, SAME
from tests.views.support import SECRET, STATS, U32, Contents, look, number, outer, plain, slot, stats


def contents(**values: int) -> Contents:
    return {number(int(key[1:])): number(value) for key, value in values.items()}


def test_entries_that_are_new_changed_and_gone() -> None:
    before = look(plain("rules", contents(_1=10, _2=20, _3=30, _4=40)))
    after = look(plain("rules", contents(_4=40, _2=21, _5=0)))
    change = rates.between(before, after, 2.0).changes["rules", b""]
    assert (change.new, change.changed, change.gone, change.total) == (1, 1, 2, 4)
    assert change.marks.tolist() == [SAME, CHANGED, NEW]
    assert change.before.tobytes() == number(40) + number(20) + number(0)


def test_the_order_of_the_kernel_is_no_change() -> None:
    before, after = look(plain("rules", contents(_1=10, _2=20))), look(plain("rules", contents(_2=20, _1=10)))
    assert rates.between(before, after, 2.0).changes == {}


def test_elements_of_an_array_are_never_new_or_gone() -> None:
    before = look(plain("array", contents(_1=10, _2=20), is_array=True))
    after = look(plain("array", contents(_2=20, _3=30), is_array=True))
    change = rates.between(before, after, 2.0).changes["array", b""]
    assert (change.new, change.changed, change.gone) == (0, 2, 0)
    assert change.marks.tolist() == [SAME, CHANGED]


def test_slots_that_appear_and_vanish() -> None:
    def slots(*keys: int) -> list[SlotLook]:
        return [slot(contents(_1=key), 8, key) for key in keys]

    changes = rates.between(look(outer("tenants", *slots(1, 2))), look(outer("tenants", *slots(2, 3, 4))), 2.0)
    assert changes.slots == {"tenants": (2, 1)}
    assert changes.of_map("tenants") == (2, 0, 0), "the entries of the new slots"
    assert ("tenants", number(2)) not in changes.changes


def test_slots_with_the_most_changes_come_first() -> None:
    before = [slot(contents(_1=0, _2=0), 8, key) for key in range(4)]
    after = [*before[:2], slot(contents(_1=5, _2=0), 8, 2), slot(contents(_1=5, _2=5), 8, 3)]
    changes = rates.between(look(outer("tenants", *before)), look(outer("tenants", *after)), 1.0)
    assert rates.by_rate(after, "tenants", changes) == [3, 2, 0, 1]


@pytest.mark.parametrize(
    ("type_", "row", "expected"),
    [
        (U32, number(7), "7"),
        (STATS, stats((1, 10), (2, 20)), "{packets: 3, bytes: 30}"),
        (STATS, stats((1, 10), (1, 10)), "{packets: 2, bytes: 20}"),
        (SECRET, number(7), "(sensitive)"),
    ],
)
def test_values_are_summed_over_cpus_and_secrets_stay_hidden(type_: Type, row: bytes, expected: str) -> None:
    (value,) = rates.totals(type_, plain("any", {number(1): row}, value=type_).slots[0].values)
    assert format_value(value) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (100, 340, "+120/s"),
        (5, 4, "-0.5/s"),
        (0, 10_000_000, "+5,000,000/s"),
        (7, 7, ""),
        ("allow", "deny", ""),
        (False, True, ""),
        ({"packets": 0, "port": 1, "bytes": 4}, {"packets": 20, "port": 1, "bytes": 6}, "packets +10/s, bytes +1/s"),
        ({"rx": {"drops": 0}}, {"rx": {"drops": 200}}, "rx.drops +100/s"),
        ([0, 1], [0, 21], "[1] +10/s"),
    ],
)
def test_rates_of_integers(before: Value, after: Value, expected: str) -> None:
    assert rates.rate(before, after, 2.0) == expected
