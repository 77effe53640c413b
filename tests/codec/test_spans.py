"""Texts that stand in a buffer are read as the same texts in a list are: the same bytes, the same faults."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from provisioner.codec import ByteOrder, Type
from provisioner.codec.scalar import ScalarType
from provisioner.codec.spans import PAD, Spans, distinct, parse_decimal, parse_ipv4, split_last
from provisioner.model.type_expr import TypeExpr
from provisioner.model.types import Column, Fault, Path
from tests.codec.support import ORDERS, built, enum, lpm, option, struct

KINDS: list[TypeExpr | str] = [
    *("u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "be16", "be32", "be64", "le16"),
    *("bool", "ipv4", "ipv6", "ip", "mac", "cidr4", "cidr6", "char[7]", "bytes[2]"),
    enum("u16", deny=0, allow=1, other=700),
    enum("s8", deny=-1, a_name_of_more_than_eight_bytes=1),
    option("u64", unit="ns"),
    option("s32", unit="min"),
]

NUMBERS = st.one_of(
    st.integers(-(2**65), 2**65).map(str),
    st.integers(0, 300).map(str),
    st.sampled_from([2**bits + more for bits in (7, 8, 15, 16, 31, 32, 63, 64) for more in (-1, 0, 1)]).map(str),
    st.sampled_from([-(2**bits) + more for bits in (7, 15, 31, 63) for more in (-1, 0, 1)]).map(str),
    st.text("0123456789", min_size=1, max_size=25),
    st.text("0123456789-+_.xoe, ", max_size=12),
)
ADDRESSES = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.lists(st.integers(0, 300).map(str) | st.text("0129", max_size=4), min_size=2, max_size=6).map(".".join),
    st.text("0125.:", max_size=18),
)
PREFIXES = st.one_of(
    st.builds("{}/{}".format, ADDRESSES, st.integers(0, 140)),
    st.ip_addresses(v=4).flatmap(lambda address: st.integers(0, 32).map(lambda bits: masked(int(address), bits))),
    st.builds("{}{}".format, ADDRESSES, st.text("/0128", max_size=6)),
)
WORDS = st.sampled_from(["true", "false", "True", "deny", "allow", "other", "a_name_of_more_than_eight_bytes", "", "0"])
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
TEXTS = st.one_of(NUMBERS, ADDRESSES, PREFIXES, WORDS, ANY, st.just("02:00:5e:10:00:01"), st.just("10ms"))
ALIKE = st.one_of(*(st.lists(one, max_size=12) for one in (NUMBERS, ADDRESSES, PREFIXES, WORDS, ANY, TEXTS)))


def masked(address: int, bits: int) -> str:
    """A prefix without bits beyond its length."""
    kept = address >> (32 - bits) << (32 - bits)
    return ".".join(str(byte) for byte in kept.to_bytes(4, "big")) + f"/{bits}"


def spans(texts: Sequence[str], between: bytes = b",") -> Spans:
    """The texts in one buffer, with something that belongs to none of them before, between and after."""
    data, starts, ends = bytearray(PAD + between), [], []
    for text in texts:
        starts.append(len(data))
        data += text.encode()
        ends.append(len(data))
        data += between
    return Spans(bytes(data), np.array(starts, np.int32), np.array(ends, np.int32))


def outcome(kind: Type, column: Sequence[str | None]) -> tuple[list[Fault], list[bytes]]:
    """All faults, and the bytes of the rows that have none."""
    out = np.zeros((len(column), kind.size), np.uint8)
    faults = kind.encode({(): column}, out)
    wrong = {fault.row for fault in faults}
    return faults, [row.tobytes() for number, row in enumerate(out) if number not in wrong]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@settings(deadline=None, max_examples=80)
@given(texts=ALIKE, order=st.sampled_from(ORDERS), between=st.sampled_from([b",", b"9", b".", b"/", b"-", b"\xff"]))
@example(texts=["-0", "0", "7"], order="little", between=b"1")
@example(texts=["18446744073709551615", "9999999999999999999"], order="big", between=b"0")
@example(texts=["-9223372036854775808", "9223372036854775807"], order="little", between=b"-")
@example(texts=["10.0.0.0/8", "0.0.0.0/0", "1.2.3.4/32"], order="little", between=b"0")
@example(texts=["255.255.255.255", "0.0.0.0"], order="little", between=b".")
def test_a_buffer_is_read_as_a_list_is(
    kind: TypeExpr | str, texts: list[str], order: ByteOrder, between: bytes
) -> None:
    type_ = built(kind, order)
    assert outcome(type_, spans(texts, between)) == outcome(type_, texts)


FAST: list[tuple[TypeExpr | str, list[str]]] = [
    ("u8", ["0", "255", "7"]),
    ("u64", ["9999999999999999999", "0", "12345678", "123456789", "1234567890123456", "12345678901234567"]),
    ("s16", ["-32768", "32767", "0", "-1"]),
    ("be32", ["4294967295"]),
    ("bool", ["true", "false", "true"]),
    (enum("u8", deny=0, allow=1), ["allow", "deny"]),
    ("ipv4", ["192.0.2.1", "0.0.0.0", "255.255.255.255", "1.20.200.9"]),
    ("cidr4", ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.1/32"]),
    (option("u64", unit="ns"), ["0", "18"]),
]


@pytest.mark.parametrize(("kind", "texts"), FAST, ids=lambda part: str(part)[:20])
def test_what_is_written_most_is_read_at_once(kind: TypeExpr | str, texts: list[str]) -> None:
    """Else nothing here would tell that the fast way is never taken."""
    type_ = built(kind, "little")
    assert isinstance(type_, ScalarType)
    parsed = type_.parse_spans(spans(texts))
    assert parsed is not None
    assert parsed.tobytes() == b"".join(type_.parse_one(text) for text in texts)


def test_members_of_a_struct_and_prefixes_with_members() -> None:
    columns: dict[Path, Column] = {("port",): spans(["443", "80"]), ("ip",): spans(["192.0.2.1", "192.0.2.2"])}
    type_ = built(struct(False, port="be16", ip="ipv4"), "little")
    out = np.zeros((2, type_.size), np.uint8)
    assert type_.encode(columns, out) == []
    assert type_.decode(out) == [{"port": 443, "ip": "192.0.2.1"}, {"port": 80, "ip": "192.0.2.2"}]
    prefix = built(lpm(struct(True, vlan="be16", ip="ipv4")), "little")
    out = np.zeros((1, prefix.size), np.uint8)
    columns = {("prefixlen",): spans(["24"]), ("vlan",): spans(["7"]), ("ip",): spans(["10.0.0.0"])}
    assert prefix.encode(columns, out) == []
    assert prefix.decode(out) == [{"prefixlen": 24, "vlan": 7, "ip": "10.0.0.0"}]


@given(st.lists(ANY, max_size=20), st.sampled_from([b",", b"\xff"]))
def test_a_buffer_is_a_sequence_of_its_texts(texts: list[str], between: bytes) -> None:
    buffer = spans(texts, between)
    assert list(buffer) == buffer.strings() == [buffer[number] for number in range(len(texts))] == texts
    assert list(buffer[1:3]) == texts[1:3]
    assert None not in buffer
    assert all(text in buffer for text in texts)


@given(st.lists(ANY, min_size=1, max_size=20))
def test_the_parts_of_texts(texts: list[str]) -> None:
    buffer = spans(texts)
    ends = [text.encode()[-6:].rjust(6, b"\0") for text in texts]
    assert buffer.last(6).tobytes() == b"".join(ends)
    several = distinct(buffer)
    if max(len(text.encode()) for text in texts) > 8:
        assert several is None
    else:
        assert several is not None
        words, number = several
        assert sorted(words) == sorted(set(texts))
        assert [words[at] for at in number] == texts
    parts = split_last(buffer, "/", 3)
    if parts is not None:
        assert [f"{before}/{after}" for before, after in zip(*parts, strict=True)] == texts


def test_nothing_is_read_of_nothing() -> None:
    nothing = spans([])
    results = [parse_decimal(nothing), parse_ipv4(nothing), distinct(nothing), split_last(nothing, "/", 3)]
    assert results == [None] * 4
