"""What holds for every type and every text: nothing is wrapped, cut or guessed, and what is read can be written."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from provisioner.codec import ByteOrder, Type, btf_of, difference, format_value
from provisioner.codec.btf import BtfTypes
from provisioner.codec.btf_convert import Conversion
from provisioner.codec.display import ARROW
from provisioner.codec.integer import Integer
from provisioner.codec.layout import Field, Struct
from provisioner.codec.members import Bits
from provisioner.codec.percpu import PerCpu
from provisioner.codec.scalar import ScalarType
from provisioner.model.errors import Problems
from provisioner.model.type_expr import ArrayType, TypeExpr

from .support import HERE, ORDERS, built, decoded, encode, encoded, enum, lpm, option, struct, union

INTEGERS = [f"{kind}{bits}" for kind in "us" for bits in (8, 16, 32, 64)] + [
    f"{kind}{bits}" for kind in ("be", "le") for bits in (16, 32, 64)
]
SCALARS: list[TypeExpr | str] = [
    *INTEGERS,
    "ipv4",
    "ipv6",
    "ip",
    "mac",
    "char[7]",
    "bytes[3]",
    "ifindex",
    "cgroup_id",
    enum("u8", **{f"name_{number}": number for number in range(256)}),
    option("u64", unit="ns"),
    option("s32", unit="min"),
    option("u32", unit="KiB"),
]

orders = st.sampled_from(ORDERS)
names = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=4, unique=True)


def composites(inner: st.SearchStrategy[TypeExpr | str]) -> st.SearchStrategy[TypeExpr | str]:
    def fields(given_names: list[str]) -> st.SearchStrategy[dict[str, TypeExpr | str]]:
        return st.fixed_dictionaries(dict.fromkeys(given_names, inner))

    structs = st.tuples(st.booleans(), names.flatmap(fields)).map(lambda pair: struct(pair[0], **pair[1]))
    # Members without padding: of two with padding, live bytes may hold what neither could have written.
    flat_members = st.lists(st.sampled_from(SCALARS), min_size=1, max_size=3)
    unions = flat_members.map(lambda given_types: union(**dict(zip("abc", given_types, strict=False))))
    arrays = st.tuples(inner, st.integers(1, 4)).map(
        lambda pair: ArrayType(built_expr(pair[0]), pair[1], HERE),
    )
    return structs | unions | arrays


def built_expr(written: TypeExpr | str) -> TypeExpr:
    """The TypeExpr that a short name stands for."""
    [member] = struct(only=written).members
    return member.type


types = st.recursive(st.sampled_from([*SCALARS, option("be32", sensitive=True)]), composites, max_leaves=8)


@given(types, orders, st.data())
def test_what_is_decoded_is_encoded_to_the_same_bytes(
    written: TypeExpr | str, order: ByteOrder, data: st.DataObject
) -> None:
    type_ = built(written, order)
    raw = data.draw(st.binary(min_size=type_.size, max_size=type_.size))
    row = type_.encode_raw(raw)
    assert isinstance(row, np.ndarray)
    again = encoded(type_, decoded(type_, row.tobytes()))
    assert again == row.tobytes()
    assert decoded(type_, again) == decoded(type_, raw)


@given(types, orders, st.integers(1, 5), st.data())
def test_per_cpu_values_come_back_as_they_were(
    written: TypeExpr | str, order: ByteOrder, cpus: int, data: st.DataObject
) -> None:
    type_ = PerCpu(built(written, order), cpus)
    value = decoded(type_, data.draw(st.binary(min_size=type_.size, max_size=type_.size)))
    assert decoded(type_, encoded(type_, value)) == value


LPM_DATA = st.sampled_from(["be16", "be32", "ipv4", "ipv6", "mac", "bytes[3]", "u8"])


@given(
    st.one_of(
        st.sampled_from(["cidr4", "cidr6"]),
        LPM_DATA.map(lpm),
        st.lists(LPM_DATA, min_size=1, max_size=3).map(
            lambda kinds: lpm(struct(True, **dict(zip("abc", kinds, strict=False))))
        ),
    ),
    orders,
    st.data(),
)
def test_lpm_keys_come_back_without_their_host_bits(
    written: TypeExpr | str, order: ByteOrder, data: st.DataObject
) -> None:
    type_ = built(written, order)
    length = data.draw(st.integers(0, 8 * (type_.size - 4)))
    raw = length.to_bytes(4, order) + data.draw(st.binary(min_size=type_.size - 4, max_size=type_.size - 4))
    key = type_.normalise(np.frombuffer(raw, np.uint8).reshape(1, -1)).tobytes()
    assert encoded(type_, decoded(type_, key)) == key


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 32)), min_size=1, max_size=8), orders, st.data())
def test_bit_fields_come_back_as_they_were(
    members: list[tuple[bool, int]], order: ByteOrder, data: st.DataObject
) -> None:
    """Side by side from the first bit on, as BTF may place them: across bytes, and signed as well as not."""
    fields, value, at = [], {}, 0
    for number, (signed, width) in enumerate(members):
        base = Integer(f"{'s' if signed else 'u'}{width}", 8, signed, order, width)
        fields.append(Field(f"f{number}", Bits(base, width, at % 8, signed, order), at // 8))
        value[f"f{number}"] = data.draw(st.integers(base.low, base.high))
        at += width
    type_ = Struct(tuple(fields), (at + 7) // 8, 1)
    assert decoded(type_, encoded(type_, value)) == value


@given(types, orders, st.data())
def test_rows_are_encoded_alone_as_they_are_together(
    written: TypeExpr | str, order: ByteOrder, data: st.DataObject
) -> None:
    type_ = built(written, order)
    raw = data.draw(st.lists(st.binary(min_size=type_.size, max_size=type_.size), min_size=2, max_size=4))
    values = type_.decode(np.frombuffer(b"".join(raw), np.uint8).reshape(len(raw), type_.size))
    assert values == [decoded(type_, each) for each in raw]


@given(types, orders, st.data())
def test_padding_is_never_part_of_a_value(written: TypeExpr | str, order: ByteOrder, data: st.DataObject) -> None:
    type_ = built(written, order)
    raw = np.frombuffer(data.draw(st.binary(min_size=type_.size, max_size=type_.size)), np.uint8)
    noise = np.frombuffer(data.draw(st.binary(min_size=type_.size, max_size=type_.size)), np.uint8)
    mask = type_.mask()
    assert decoded(type_, raw.tobytes()) == decoded(type_, ((raw & mask) | (noise & ~mask)).tobytes())


STRICT = re.compile(r"-?(0|[1-9][0-9]*)|-?0x[0-9a-fA-F]+|-?0o[0-7]+|-?0b[01]+", re.ASCII)
number_like = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.integers(-300, 70000).map(str),
    st.integers(0, 2**66).map(hex),
    st.text("0123456789-+_:.exob \u0663\uff11", max_size=6),
    st.text(max_size=4),
)


@given(st.sampled_from(INTEGERS), orders, st.lists(number_like, min_size=1, max_size=6))
def test_an_integer_is_exactly_what_is_written_or_a_fault(name: str, order: ByteOrder, texts: list[str]) -> None:
    type_ = built(name, order)
    bits = 8 * type_.size
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if name[0] == "s" else (0, 2**bits - 1)
    rows, faults = encode(type_, texts)
    faulty = {fault.row for fault in faults}
    for row, text in enumerate(texts):
        expected = int(text, 0) if STRICT.fullmatch(text) else None
        assert (row in faulty) == (expected is None or not low <= expected <= high), text
        if row not in faulty:
            assert type_.decode(rows[row : row + 1]) == [expected]


texts = st.text("0123456789abcdefx:./-+ _{}\0\u00e4\u0663", max_size=20) | number_like


@given(st.sampled_from([*SCALARS, "bool", "cidr4", "cidr6", lpm("be16"), lpm("char[2]")]), st.lists(texts, max_size=4))
def test_the_fast_path_takes_only_what_the_strict_one_takes(written: TypeExpr | str, column: list[str]) -> None:
    type_ = built(written)
    assert isinstance(type_, ScalarType)
    together = type_.parse_all(column)
    if together is not None:
        assert together.tobytes() == b"".join(type_.parse_one(text) for text in column)


@given(st.integers(0, 32), st.binary(min_size=4, max_size=4), orders)
def test_a_normalised_key_can_always_be_written(length: int, address: bytes, order: ByteOrder) -> None:
    type_ = built("cidr4", order)
    live = np.frombuffer(length.to_bytes(4, order) + address, np.uint8).reshape(1, 8)
    key = type_.normalise(live)
    assert encoded(type_, type_.decode(key)[0]) == key.tobytes()
    assert type_.normalise(key).tobytes() == key.tobytes()
    assert int.from_bytes(key[0, 4:].tobytes()) == int.from_bytes(address) >> (32 - length) << (32 - length)


plain = st.recursive(
    st.text(max_size=12) | st.integers() | st.booleans() | st.sampled_from(["::1", "2001:db8::", "10.0.0.0/8"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab- :", max_size=4), inner, max_size=3),
    max_leaves=6,
)


def as_text(value: Any) -> Any:
    """A value with its scalars as the text that a spec holds."""
    match value:
        case dict():
            return {name: as_text(part) for name, part in value.items()}
        case list():
            return [as_text(part) for part in value]
        case bool():
            return str(value).lower()
        case _:
            return str(value)


@given(plain)
def test_formatted_values_are_yaml_of_the_same_value(value: Any) -> None:
    line = format_value(value)
    assert "\n" not in line
    assert line.isprintable()
    assert yaml.load(f"[{line}]", yaml.BaseLoader) == [as_text(value)]


@given(plain.filter(lambda value: not isinstance(value, dict | list)))
def test_formatted_scalars_keep_their_type_for_other_readers(value: Any) -> None:
    assert yaml.safe_load(f"[{format_value(value)}]") == [value]


@given(plain, plain)
def test_a_difference_has_an_arrow_exactly_where_values_differ(before: Any, after: Any) -> None:
    assert difference(before, before) == format_value(before)
    if format_value(before) != format_value(after):
        assert ARROW in difference(before, after)


def same_layout(first: Type, second: Type) -> bool:
    return (first.size, first.mask().tobytes()) == (second.size, second.mask().tobytes())


@pytest.mark.parametrize("order", ORDERS)
@given(key=types, value=types)
def test_btf_that_is_emitted_has_the_layout_of_the_types(
    order: ByteOrder, key: TypeExpr | str, value: TypeExpr | str
) -> None:
    pair = built(key, order), built(value, order)
    data, *ids = btf_of(*pair, order)
    types_ = BtfTypes(data)
    assert types_.byteorder == order
    for type_, id_ in zip(pair, ids, strict=True):
        problems = Problems()
        back = Conversion(types_, {}, HERE, problems).run(id_, "it")
        problems.raise_if_any()
        assert back is not None
        assert same_layout(back, type_)
