"""Variables of an object: which differ, and whether one store can write them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from provisioner.codec.build import integer
from provisioner.model.desired import DesiredObject
from provisioner.model.types import Type
from provisioner.model.variables import DataSection, Variable
from provisioner.planning.changes import Action, VariableChange, Word
from provisioner.planning.diff_objects import diff_object
from provisioner.planning.diff_variables import diff_variables, in_words, live_values, shown
from tests.planning.build import ARRAY, HERE, observed
from tests.planning.states import an_object, live, pinned, record, unattached, wanted


def number(name: str) -> Type:
    type_ = integer(name, "little")
    assert type_ is not None
    return type_


def variable(name: str, offset: int, data: bytes, type_: str = "u32") -> Variable:
    return Variable(name, offset, number(type_), data, HERE)


def object_of(*variables: Variable, constant: bool = False) -> DesiredObject:
    section = DataSection(".data", "router.data", ARRAY, constant, variables)
    return replace(an_object(unattached("first"), maps={"router.data": ARRAY}), variables=(section,))


def changes(object_: DesiredObject, data: bytes | None) -> tuple[VariableChange, ...]:
    return diff_variables(object_, live(variables={"router.data": data} if data is not None else {}))


DEBUG = variable("debug", 4, b"\1\0\0\0")


def test_a_variable_that_is_as_it_should_be() -> None:
    assert changes(object_of(DEBUG), b"....\1\0\0\0") == ()


def test_a_variable_that_is_not_live_is_set_by_a_load() -> None:
    for data in (None, b"too short"[:6]):
        (change,) = changes(object_of(DEBUG), data)
        assert (change.name, change.before, change.word) == ("debug", None, None)
        assert (change.value_before, change.value) == (None, 1)


@pytest.mark.parametrize(
    ("type_", "offset", "before", "after", "word"),
    [
        ("u32", 4, b"\0\0\0\0", b"\1\0\0\0", Word(4, b"\1")),
        ("u32", 4, b"\0\0\0\0", b"\0\0\0\1", Word(7, b"\1")),
        ("u32", 4, b"\0\0\0\0", b"\1\1\0\0", Word(4, b"\1\1")),
        ("u32", 4, b"\0\0\0\0", b"\0\1\1\0", Word(4, b"\0\1\1\0")),
        ("u64", 8, bytes(8), b"\1\0\0\0\0\0\0\1", Word(8, b"\1\0\0\0\0\0\0\1")),
        ("u64", 4, bytes(8), b"\0\0\0\1\1\0\0\0", None),
    ],
    ids=["one byte", "the last byte", "a half word", "a word", "eight bytes", "no aligned word"],
)
def test_the_smallest_aligned_word_with_all_that_differs(
    type_: str, offset: int, before: bytes, after: bytes, word: Word | None
) -> None:
    object_ = object_of(variable("limit", offset, after, type_))
    (change,) = changes(object_, bytes(offset) + before)
    assert (change.before, change.word) == (before, word)


def test_a_constant_is_set_by_a_load() -> None:
    (change,) = changes(object_of(DEBUG, constant=True), bytes(8))
    assert (change.before, change.word) == (bytes(4), None)


def test_live_values() -> None:
    object_ = object_of(DEBUG)
    assert list(live_values(object_, live(variables={"router.data": b"....\2\0\0\0"}))) == [(DEBUG, b"\2\0\0\0")]
    assert list(live_values(object_, live())) == [(DEBUG, None)]


def test_in_words() -> None:
    assert in_words(()) == ""
    two = changes(object_of(DEBUG, variable("burst", 8, b"\7\0\0\0")), b"....\2\0\0\0")
    assert in_words(two) == "variables debug 2 -> 1, burst not set -> 7"
    assert in_words(two[:1]) == "variable debug 2 -> 1"
    assert shown(DEBUG, None) == "not set"


@pytest.mark.parametrize(("constant", "action"), [(False, Action.UNCHANGED), (True, Action.UPDATE)])
def test_a_variable_that_no_store_can_write_loads_the_object_again(constant: bool, action: Action) -> None:
    object_ = object_of(DEBUG, constant=constant)
    meta = record(objects={"router": "new"}, settings={"router": object_.recorded_settings})
    seen = live(
        meta=meta,
        programs=pinned("first"),
        object_maps={"router.data": observed({}, shape=ARRAY)},
        variables={"router.data": bytes(8)},
    )
    change = diff_object(object_, wanted(object_), seen)
    assert change.action is action
    assert [each.word is None for each in change.variables] == [constant]
