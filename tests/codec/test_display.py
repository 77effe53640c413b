"""How values look on a terminal, and that secrets do not."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from provisioner.codec import HIDDEN, Bytes, Type, difference, display, display_change, format_value
from provisioner.model.type_expr import ArrayType

from .support import HERE, built, decoded, encode, encoded, option, struct, union

BACKEND = struct(ip="ipv4", port="be16", weight="u16")


def row(type_: Type, value: object) -> Bytes:
    return np.frombuffer(encoded(type_, value), np.uint8)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (True, "true"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:db8::", '"2001:db8::"'),
        ("", '""'),
        ("on", '"on"'),
        ("0755", '"0755"'),
        ("a, b", '"a, b"'),
        ("\x1b[31m", '"\\x1b[31m"'),
        (HIDDEN, "(sensitive)"),
        ({"ip": "192.0.2.10", "port": 443, "weight": 1}, "{ip: 192.0.2.10, port: 443, weight: 1}"),
        ({"v": [{"a": 1}, {}], "w": []}, "{v: [{a: 1}, {}], w: []}"),
    ],
)
def test_format_value(value: object, text: str) -> None:
    assert format_value(value) == text


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (1, 2, "1 -> 2"),
        (1, 1, "1"),
        ([1, 2], [1, 3], "[1, 2 -> 3]"),
        ([1], [1, 3], "[1] -> [1, 3]"),
        ({"v4": "a"}, {"v6": "b"}, "{v4: a} -> {v6: b}"),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, "{a: {b: 1, c: 2 -> 3}}"),
    ],
)
def test_difference(before: object, after: object, text: str) -> None:
    assert difference(before, after) == text


def test_a_change_shows_what_stays_and_what_does_not() -> None:
    backend = built(BACKEND)
    before = row(backend, {"ip": "192.0.2.11", "port": 443, "weight": 1})
    after = row(backend, {"ip": "192.0.2.12", "port": 443, "weight": 1})
    assert display(backend, before) == "{ip: 192.0.2.11, port: 443, weight: 1}"
    assert display_change(backend, before, after) == "{ip: 192.0.2.11 -> 192.0.2.12, port: 443, weight: 1}"


POLICY = struct(path="char[300]", rate="u64", ports="u16[4]", raw="bytes[257]", table="u32[65]")
PATH = "/usr/lib/" + "x" * 200
ZERO = {"path": PATH, "rate": 1, "ports": [1, 2, 3, 4], "raw": "0x" + "00" * 257, "table": [0] * 65}


def test_a_long_struct_is_shown_by_member() -> None:
    type_ = built(POLICY)
    raw, table = (hashlib.sha256(bytes(size)).hexdigest()[:12] for size in (257, 260))
    assert display(type_, row(type_, ZERO)) == (
        f"{{path: {PATH[:64]}... (209 characters), rate: 1, ports: [1, 2, 3, 4], "
        f"raw: 257 bytes, sha256 {raw}, table: 260 bytes, sha256 {table}}}"
    )


def test_a_change_of_a_long_struct_begins_with_what_changed() -> None:
    type_ = built(POLICY)
    after = {**ZERO, "path": PATH + "/y", "ports": [1, 2, 5, 4]}
    changed = display_change(type_, row(type_, ZERO), row(type_, after))
    assert changed.startswith(
        f"{{path: ...{'x' * 16} (209 characters) -> ...{'x' * 16}/y (211 characters), "
        "ports: {[2]: 3 -> 5; 3 of 4 elements unchanged}, rate: 1, raw: 257 bytes"
    )


def test_what_is_sensitive_in_a_long_struct_has_no_digest() -> None:
    type_ = built(struct(a="u8", keys=ArrayType(option("u32", sensitive=True), 65, HERE)))
    shown = display(type_, row(type_, {"a": 1, "keys": [31337] * 65}))
    assert shown == "{a: 1, keys: 260 bytes, partly (sensitive)}"


def test_long_values_are_reported_by_length_digest_and_first_difference() -> None:
    table = built("u32[65]")
    before, after = row(table, list(range(65))), row(table, [*range(64), 99])
    first, second = (hashlib.sha256(data.tobytes()).hexdigest()[:12] for data in (before, after))
    assert display(table, before) == f"260 bytes, sha256 {first}"
    changed = display_change(table, before, after)
    assert changed == f"260 bytes, sha256 {first} -> {second}, first difference at byte 256"


SECRETS = [
    (option("u32", sensitive=True), 31337),
    (struct(a="u8", key=option("u32", sensitive=True)), {"a": 1, "key": 31337}),
    (struct(keys=struct(k=option("u32", sensitive=True))), {"keys": {"k": 31337}}),
    (union(a="u8", key=option("u32", sensitive=True)), {"key": 31337}),
    (option(struct(k="u32", rest="bytes[300]"), sensitive=True), {"k": 31337, "rest": "0x" + "00" * 300}),
    (struct(k=option("u32", sensitive=True), rest="bytes[300]"), {"k": 31337, "rest": "0x" + "00" * 300}),
]


@pytest.mark.parametrize(("written", "value"), SECRETS)
def test_secrets_are_never_shown(written: object, value: object) -> None:
    type_ = built(written)  # type: ignore[arg-type]
    data = row(type_, value)
    digest = hashlib.sha256(data.tobytes()).hexdigest()[:12]
    shown = [
        display(type_, data),
        display_change(type_, np.zeros_like(data), data),
        format_value(type_.conceal(decoded(type_, data.tobytes()))),
    ]
    for text in shown:
        assert "(sensitive)" in text
        assert "31337" not in text
        assert digest not in text
    assert type_.sensitive


def test_what_is_no_secret_beside_one_is_shown() -> None:
    type_ = built(struct(a="u8", key=option("u32", sensitive=True)))
    assert display(type_, row(type_, {"a": 1, "key": 5})) == "{a: 1, key: (sensitive)}"


@pytest.mark.parametrize("written", ["u16", "ipv4", "char[3]", "bytes[2]", "bool", "cidr4", "u16[2]"])
def test_a_fault_of_a_secret_does_not_tell_it(written: str) -> None:
    type_ = built(option(written, sensitive=True))
    text = "hunter2-hunter2"
    _, faults = encode(type_, [[text, text] if written == "u16[2]" else text])
    assert faults
    assert not any("hunter2" in fault.what + fault.hint for fault in faults)
