"""A spec that is a mapping of Python: what has no form in a spec is refused, and never taken for text."""

from __future__ import annotations

from decimal import Decimal
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from provisioner.model.errors import InputError
from provisioner.model.host import Host
from provisioner.project.opening import load

LOOP: dict[str, Any] = {}
LOOP["a"] = LOOP
DEEP: dict[str, Any] = {}
for _ in range(3000):
    DEEP = {"a": DEEP}
HOST = Host("little", 2)


def spec(entries: object, **fields: object) -> dict[str, object]:
    shape = {"type": "hash", "key": "char[8]", "value": "u32", "max_entries": 4} | fields
    return {"version": 1, "name": "edge", "maps": {"m": {**shape, "entries": entries}}}


def problems(given: Any, **how: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        load(given, host=HOST, lookups={}, **how)
    return [problem.id for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("a", 4),
        ("a", np.uint32(4)),
        ("a", Decimal(4)),
        (4, "4"),
        (np.int64(4), 4),
        (Decimal(4), 4),
        (ip_address("::1"), ip_address("0.0.0.4")),
    ],
)
def test_keys_and_values_with_a_text(key: Any, value: Any) -> None:
    given = spec({key: value}, value="ipv4" if str(value) == "0.0.0.4" else "u32")
    entries = load(MappingProxyType(given), host=HOST, lookups={}).desired.maps["m"].entries
    assert entries.keys.tobytes().rstrip(b"\0").decode() == str(key)
    assert sorted(entries.values.tobytes()) == [0, 0, 0, 4]


@pytest.mark.parametrize("value", [{1}, frozenset({1}), b"ab", bytearray(2), memoryview(b"ab"), np.arange(2), int])
def test_what_has_no_form_in_a_spec_is_refused(value: Any) -> None:
    assert problems(spec({"a": value}, value="char[64]")) == ["wrong-type"]
    if value.__hash__ is not None and not isinstance(value, np.ndarray):
        assert problems(spec({value: 1})) == ["wrong-type"]


@pytest.mark.parametrize("value", [LOOP, [LOOP], DEEP])
def test_what_is_nested_too_deeply_is_refused(value: Any) -> None:
    assert problems(spec({"a": value})) == ["limit-exceeded"]


def test_very_large_integers() -> None:
    assert problems(spec({"a": 10**5000})) == ["invalid-number"]


@pytest.mark.parametrize("keys", [(1, "1"), (ip_address("::1"), "::1")])
def test_two_keys_with_one_text_are_an_error(keys: tuple[object, object]) -> None:
    assert problems(spec(dict.fromkeys(keys, 1))) == ["duplicate-key"]


@pytest.mark.parametrize("given", [5, None, 1.5, b"edge.yaml", [5], ["edge.yaml", b"x"]])
def test_what_is_no_spec(given: Any) -> None:
    assert problems(given) == ["wrong-type"]


@pytest.mark.parametrize("variables", [["a"], {"a": 1}, {"a": None}, {"a": ["b"]}])
def test_variables_are_text(variables: Any) -> None:
    assert problems(spec({}), variables=variables) == ["wrong-type"]
