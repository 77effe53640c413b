"""The specification of the types: one table of what is written, its bytes in both byte orders, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from provisioner.codec import ByteOrder, Column, Path
from provisioner.model.type_expr import ArrayType, TypeExpr

from .support import HERE, ORDERS, built, decoded, encode, encoded, enum, faults_of, flat, lpm, option, struct, union


@dataclass(frozen=True)
class Good:
    """`big` is empty where it is the same as `little`; `back` is None where the value comes back as written."""

    type: TypeExpr | str
    value: Any
    little: str
    big: str = ""
    back: Any = None

    def bytes(self, byteorder: ByteOrder) -> bytes:
        return bytes.fromhex(self.big if byteorder == "big" and self.big else self.little)


@dataclass(frozen=True)
class Bad:
    type: TypeExpr | str
    value: Any
    id: str
    hint: str = ""


VERDICT = enum(deny=0, allow=1)
BACKEND = struct(ip="ipv4", port="be16", weight="u16")
ADDRESS = union(v4="ipv4", v6="ipv6")
PADDED = struct(a="u8", b="u32", c="u8")

GOOD = [
    Good("u8", "255", "ff", back=255),
    Good("u16", "70", "4600", "0046", back=70),
    Good("u32", "0", "00000000", back=0),
    Good("u64", "18446744073709551615", "ff" * 8, back=2**64 - 1),
    Good("s8", "-128", "80", back=-128),
    Good("s16", "-2", "feff", "fffe", back=-2),
    Good("s32", "-0", "00000000", back=0),
    Good("s64", "-9223372036854775808", "00" * 7 + "80", "80" + "00" * 7, back=-(2**63)),
    Good("s64", "9223372036854775807", "ff" * 7 + "7f", "7f" + "ff" * 7, back=2**63 - 1),
    Good("u16", "0x1F", "1f00", "001f", back=31),
    Good("u16", "0o755", "ed01", "01ed", back=493),
    Good("u8", "0b101", "05", back=5),
    Good("s8", "-0x80", "80", back=-128),
    Good("be16", "443", "01bb", back=443),
    Good("be32", "1", "00000001", back=1),
    Good("be64", "1", "00" * 7 + "01", back=1),
    Good("le16", "443", "bb01", back=443),
    Good("le32", "1", "01000000", back=1),
    Good("le64", "1", "01" + "00" * 7, back=1),
    Good("bool", "true", "01", back=True),
    Good("bool", "false", "00", back=False),
    Good(VERDICT, "allow", "01"),
    Good(VERDICT, "0", "00", back="deny"),
    Good(enum("u32", on=1, yes=2), "on", "01000000", "00000001"),
    Good(enum("s16", low=-1), "low", "ffff"),
    Good(enum(one=1, first=1), "first", "01", back="one"),
    Good(option("u64", unit="ns"), "10ms", "8096980000000000", "0000000000989680"),
    Good(option("u32", unit="s"), "2h", "201c0000", "00001c20"),
    Good(option("u32", unit="ms"), "1500", "dc050000", "000005dc", back="1500ms"),
    Good(option("u32", unit="us"), "0", "00000000", back="0us"),
    Good(option("s32", unit="ms"), "-5 s", "78ecffff", "ffffec78", back="-5s"),
    Good(option("u32", unit="B"), "64KiB", "00000100", "00010000"),
    Good(option("u16", unit="KiB"), "1MiB", "0004", "0400"),
    Good(option("be32", unit="B"), "1KB", "000003e8", back="1000B"),
    Good("ipv4", "192.0.2.10", "c000020a"),
    Good("ipv6", "2001:db8::1", "20010db8" + "00" * 11 + "01"),
    Good("ipv6", "2001:DB8:0:0::1", "20010db8" + "00" * 11 + "01", back="2001:db8::1"),
    Good("ip", "192.0.2.10", "00" * 10 + "ffffc000020a"),
    Good("ip", "::ffff:192.0.2.10", "00" * 10 + "ffffc000020a", back="192.0.2.10"),
    Good("ip", "2001:db8::1", "20010db8" + "00" * 11 + "01"),
    Good("mac", "10:20:30:40:50:59", "102030405059"),
    Good("mac", "02-00-5E-10-00-01", "02005e100001", back="02:00:5e:10:00:01"),
    Good("cidr4", "10.0.0.0/8", "080000000a000000", "000000080a000000"),
    Good("cidr4", "0.0.0.0/0", "00" * 8),
    Good("cidr4", "10.0.0.9/32", "200000000a000009", "000000200a000009"),
    Good("cidr6", "2001:db8::/33", "2100000020010db8" + "00" * 12, "0000002120010db8" + "00" * 12),
    Good(lpm("be16"), "0x4000/2", "020000004000", "000000024000", back="16384/2"),
    Good(lpm("bytes[2]"), "ff80/9", "09000000ff80", "00000009ff80", back="0xff80/9"),
    Good(
        lpm(struct(vlan="be16", addr="ipv4", packed=True)),
        {"prefixlen": "24", "vlan": "7", "addr": "10.0.0.0"},
        "1800000000070a000000",
        "0000001800070a000000",
        back={"prefixlen": 24, "vlan": 7, "addr": "10.0.0.0"},
    ),
    Good("char[4]", "ab", "61620000"),
    Good("char[4]", "", "00000000"),
    Good("char[4]", "abcd", "61626364"),
    Good("char[4]", "\u00e4\u00f6", "c3a4c3b6"),
    Good("char[4]", "1e3", "31653300"),
    Good("char[4]", "hex:6100ff", "6100ff00"),
    Good("char[8]", "hex:6865783a", "6865783a00000000"),
    Good("bytes[2]", "0x00Ff", "00ff", back="0x00ff"),
    Good("bytes[2]", "1234", "1234", back="0x1234"),
    Good("bytes[3]", "base64:AAEC", "000102", back="0x000102"),
    Good("ifindex", "eth0", "07000000", "00000007", back=7),
    Good("ifindex", "3", "03000000", "00000003", back=3),
    Good("cgroup_id", "4294967296", "0000000001000000", "0000000100000000", back=2**32),
    Good(option("u16", sensitive=True), "7", "0700", "0007", back=7),
    Good(
        BACKEND,
        {"ip": "192.0.2.10", "port": "443", "weight": "1"},
        "c000020a01bb0100",
        "c000020a01bb0001",
        back={"ip": "192.0.2.10", "port": 443, "weight": 1},
    ),
    Good(
        PADDED,
        {"c": "3", "a": "1", "b": "2"},
        "010000000200000003000000",
        "010000000000000203000000",
        back={"a": 1, "b": 2, "c": 3},
    ),
    Good(struct(packed=True, a="u8", b="u32"), {"a": "1", "b": "2"}, "0102000000", "0100000002", back={"a": 1, "b": 2}),
    Good(
        struct(a="u8", inner=PADDED),
        {"a": "9", "inner": {"a": "1", "b": "2", "c": "3"}},
        "09000000010000000200000003000000",
        "09000000010000000000000203000000",
        back={"a": 9, "inner": {"a": 1, "b": 2, "c": 3}},
    ),
    Good("u16[3]", ["1", "2", "3"], "010002000300", "000100020003", back=[1, 2, 3]),
    Good("u8[2][3]", [["1", "2"], ["3", "4"], ["5", "6"]], "010203040506", back=[[1, 2], [3, 4], [5, 6]]),
    Good("char[2][2]", ["a", "bc"], "61006263"),
    Good(struct(v="be16[2]"), {"v": ["1", "2"]}, "00010002", back={"v": [1, 2]}),
    Good(ADDRESS, {"v4": "192.0.2.1"}, "c0000201" + "00" * 12),
    Good(ADDRESS, {"v6": "2001:db8::1"}, "20010db8" + "00" * 11 + "01"),
    Good(
        struct(addr=ADDRESS, port="be16"),
        {"addr": {"v4": "192.0.2.1"}, "port": "80"},
        "c0000201" + "00" * 12 + "00500000",
        back={"addr": {"v4": "192.0.2.1"}, "port": 80},
    ),
]

BAD = [
    Bad("u16", "70000", "out-of-range"),
    Bad("u16", "-1", "out-of-range"),
    Bad("be16", "0x10000", "out-of-range"),
    Bad("s8", "128", "out-of-range"),
    Bad("u64", "18446744073709551616", "out-of-range"),
    Bad("s64", "-9223372036854775809", "out-of-range"),
    Bad("u64", "9" * 5000, "out-of-range"),
    Bad("u16", "0755", "invalid-number", "write 755 or 0o755"),
    Bad("u16", "0899", "invalid-number", "write 899"),
    Bad("u16", "00", "invalid-number", "write 0"),
    Bad("u16", "1_000", "invalid-number", "write 1000"),
    Bad("u16", "1,000", "invalid-number", "write 1000 if commas separate thousands"),
    Bad("u16", "5,0", "invalid-number", "write a whole number"),
    Bad("u16", "1:30", "invalid-number"),
    Bad("u16", "12:30:45", "invalid-number"),
    Bad("u16", "+5", "invalid-number", "write 5"),
    Bad("u16", "1.0", "invalid-number", "write a whole number"),
    Bad("u16", "1e3", "invalid-number", "write a whole number"),
    Bad("u16", "0X1f", "invalid-number", "write 0x1f"),
    Bad("u16", "\u0663", "invalid-number", "ASCII"),
    Bad("u16", "\uff11\uff12", "invalid-number"),
    Bad("u16", "\u00b2", "invalid-number"),
    Bad("u16", "", "invalid-number"),
    Bad("u16", " 5", "invalid-number"),
    Bad("u16", "5\n", "invalid-number"),
    Bad("u16", "-", "invalid-number"),
    Bad("u16", "--5", "invalid-number"),
    Bad("u16", "0x", "invalid-number"),
    Bad("u16", "on", "invalid-number"),
    Bad("u16", "\x1b[31m", "invalid-number"),
    Bad("u16", None, "empty-value"),
    Bad("u16", {"a": "1"}, "wrong-type"),
    Bad("u16", ["1"], "wrong-type"),
    Bad("bool", "on", "invalid-value", "write `true`"),
    Bad("bool", "No", "invalid-value", "write `false`"),
    Bad("bool", "1", "invalid-value", "write `true`"),
    Bad("bool", "True", "invalid-value", "write `true`"),
    Bad("bool", "maybe", "invalid-value", "write `true` or `false`"),
    Bad(VERDICT, "alow", "unknown-value", "did you mean `allow`?"),
    Bad(VERDICT, "7", "unknown-value", "known: deny: 0, allow: 1"),
    Bad(VERDICT, "ALLOW", "unknown-value", "write `allow`"),
    Bad(VERDICT, "allow ", "unknown-value", "remove the trailing space"),
    Bad(VERDICT, "256", "out-of-range"),
    Bad(VERDICT, "01", "invalid-number", "write 1"),
    Bad(option("u32", unit="ms"), "1500us", "invalid-value", ""),
    Bad(option("u32", unit="s"), "1.5s", "invalid-value", "a smaller unit"),
    Bad(option("u32", unit="s"), "5 parsecs", "invalid-value", "known: ns"),
    Bad(option("u32", unit="s"), "64KiB", "invalid-value", "known: ns"),
    Bad(option("u32", unit="B"), "10ms", "invalid-value"),
    Bad(option("u16", unit="B"), "64KiB", "out-of-range"),
    Bad(option("u32", unit="s"), "1_000ms", "invalid-number"),
    Bad(option("u32", unit="s"), "1h30min", "invalid-number", "10s"),
    Bad("ipv4", "10.1", "invalid-value"),
    Bad("ipv4", "10.0.0.256", "invalid-value"),
    Bad("ipv4", "010.0.0.1", "invalid-value", "write 10.0.0.1"),
    Bad("ipv4", "10.0.0.0/24", "invalid-value", "write 10.0.0.0"),
    Bad("ipv4", "::1", "invalid-value", "`ip`"),
    Bad("ipv4", "167772161", "invalid-value"),
    Bad("ipv4", "10.0.0.1\0", "invalid-value"),
    Bad("ipv6", "10.0.0.1", "invalid-value", "`ip`"),
    Bad("ipv6", "fe80::1%eth0", "invalid-value"),
    Bad("ipv6", "2001:db8", "invalid-value"),
    Bad("ip", "10.1", "invalid-value"),
    Bad("mac", "8041827059", "invalid-value"),
    Bad("mac", "02:00-5e:10:00:01", "invalid-value"),
    Bad("mac", "0200.5e10.0001", "invalid-value", "write 02:00:5e:10:00:01"),
    Bad("cidr4", "10.0.0.9/24", "invalid-value", "write 10.0.0.0/24"),
    Bad("cidr4", "10.0.0.1", "invalid-value", "write 10.0.0.1/32"),
    Bad("cidr6", "2001:db8::", "invalid-value", "write 2001:db8::/128"),
    Bad("cidr4", "10.0.0.0/33", "out-of-range"),
    Bad("cidr4", "10.0.0.0/08", "invalid-number"),
    Bad("cidr4", "10.0.0.0/", "invalid-value"),
    Bad("cidr4", "10.0.0.0/255.0.0.0", "invalid-value"),
    Bad("cidr4", "10.1/16", "invalid-value"),
    Bad(lpm(struct(a="be16")), {"a": "1"}, "missing-field", "write `prefixlen: 16`"),
    Bad(lpm(struct(a="be16")), {"prefixlen": "17", "a": "1"}, "out-of-range"),
    Bad(lpm(struct(a="be16")), {"prefixlen": "15", "a": "1"}, "invalid-value"),
    Bad("char[4]", "abcde", "invalid-value"),
    Bad("char[4]", "\u00e4\u00f6\u00fc", "invalid-value"),
    Bad("char[4]", "a\0b", "invalid-value"),
    Bad("char[4]", "\ud800", "invalid-value"),
    Bad("char[4]", "hex:6", "invalid-value"),
    Bad("char[4]", None, "empty-value"),
    Bad("bytes[2]", "0x123", "invalid-value"),
    Bad("bytes[2]", "12:34", "invalid-value"),
    Bad("bytes[2]", "12 3", "invalid-value"),
    Bad("bytes[2]", "123456", "invalid-value"),
    Bad("bytes[2]", "base64:AA", "invalid-value"),
    Bad("ifindex", "a" * 16, "invalid-value"),
    Bad("ifindex", "é" * 8, "invalid-value"),
    Bad("ifindex", "eth0:1", "invalid-value"),
    Bad("ifindex", "..", "invalid-value"),
    Bad("ifindex", " eth0", "invalid-value", "remove the leading space"),
    Bad("ifindex", "eth9", "unknown-value"),
    Bad("cgroup_id", "/sys/fs/cgroup/x", "unknown-value"),
    Bad(option("u16", sensitive=True), "s3cret", "invalid-number"),
    Bad(BACKEND, {"ip": "10.0.0.1", "port": "1"}, "missing-field", "write `weight: 0`"),
    Bad(BACKEND, "5", "wrong-type", "write {ip: ..., port: ..., weight: ...}"),
    Bad("u16[3]", ["1"], "wrong-length"),
    Bad("u16[3]", ["1", "2"], "wrong-length"),
    Bad("u16[2]", ["1", "2", "3"], "wrong-length", ""),
    Bad("u16[2]", {"a": "1"}, "wrong-type"),
    Bad("u16[2]", "1", "wrong-type"),
    Bad(ADDRESS, {"v4": "10.0.0.1", "v6": "::"}, "wrong-type", "write one of `v4`, `v6`"),
    Bad(ADDRESS, {"v5": "10.0.0.1"}, "unknown-field", "known: v4, v6"),
    Bad(ADDRESS, "10.0.0.1", "wrong-type"),
]


@pytest.mark.parametrize("byteorder", ORDERS)
@pytest.mark.parametrize("case", GOOD, ids=lambda case: f"{built(case.type).describe()}-{case.value}")
class TestGood:
    def test_encode(self, case: Good, byteorder: ByteOrder) -> None:
        assert encoded(built(case.type, byteorder), case.value).hex() == case.bytes(byteorder).hex()

    def test_decode(self, case: Good, byteorder: ByteOrder) -> None:
        back = case.value if case.back is None else case.back
        assert decoded(built(case.type, byteorder), case.bytes(byteorder)) == back

    def test_what_is_decoded_can_be_written(self, case: Good, byteorder: ByteOrder) -> None:
        type_ = built(case.type, byteorder)
        assert encoded(type_, decoded(type_, case.bytes(byteorder))) == case.bytes(byteorder)

    def test_many_at_once_are_as_one(self, case: Good, byteorder: ByteOrder) -> None:
        rows, faults = encode(built(case.type, byteorder), [case.value] * 3)
        assert (faults, rows.tobytes()) == ([], case.bytes(byteorder) * 3)

    def test_mask_covers_the_bytes(self, case: Good, byteorder: ByteOrder) -> None:
        type_ = built(case.type, byteorder)
        data = np.frombuffer(case.bytes(byteorder), np.uint8)
        assert type_.mask().shape == (type_.size,)
        assert not (data & ~type_.mask()).any()


@pytest.mark.parametrize("case", BAD, ids=lambda case: f"{built(case.type).describe()}-{str(case.value)[:20]!a}")
class TestBad:
    def test_is_refused_with_the_reason(self, case: Bad) -> None:
        [fault] = faults_of(built(case.type), case.value)
        assert fault.id == case.id
        assert case.hint in fault.hint

    def test_leaves_its_neighbours_alone(self, case: Bad) -> None:
        paths = flat(case.value).keys()
        alike = [good for good in GOOD if good.type == case.type and flat(good.value).keys() == paths]
        good = alike[0] if alike else None
        values = [case.value] if good is None else [good.value, case.value, good.value]
        rows, faults = encode(built(case.type), values)
        if good is None:
            assert [fault.row for fault in faults] in ([0], [-1])
        else:
            assert [fault.row for fault in faults] == [1]
            assert rows[0].tobytes() == rows[2].tobytes() == good.bytes("little")


def test_a_fault_names_its_row_and_path() -> None:
    backends = built(struct(name="char[2]", v=struct(ports="be16[2]")))
    values = [{"name": "a", "v": {"ports": ["1", "2"]}}, {"name": "abc", "v": {"ports": ["1", "x"]}}]
    _, faults = encode(backends, values)
    assert [(fault.row, fault.path) for fault in faults] == [(1, ("name",)), (1, ("v", "ports", 1))]


def test_every_fault_of_a_shape_is_reported_once() -> None:
    _, faults = encode(built(BACKEND), [{"ip": "10.0.0.1", "wieght": "1"}] * 4)
    assert [(fault.row, fault.path, fault.id) for fault in faults] == [
        (-1, ("wieght",), "unknown-field"),
        (-1, (), "missing-field"),
        (-1, (), "missing-field"),
    ]
    assert faults[0].hint == "did you mean `weight`?"


def test_elements_of_an_array_may_name_different_members() -> None:
    mixed = built(ArrayType(union(a="u8", b="be16"), 3, HERE))
    rows, faults = encode(mixed, [[{"a": "1"}, {"b": "2"}, {"a": "3"}], [{"a": "4"}, {"b": "x"}, {"a": "6"}]])
    assert rows[0].tobytes() == b"\1\0\0\2\3\0"
    assert rows[1].tobytes() == b"\4\0\0\0\6\0"
    assert [(fault.row, fault.path) for fault in faults] == [(1, (1, "b"))]


def test_a_missing_member_inside_an_array_is_reported_for_its_element() -> None:
    pairs = built(ArrayType(struct(a="u8", b="u8"), 2, HERE))
    faults = faults_of(pairs, [{"a": "1", "b": "2"}, {"a": "1"}])
    assert [(fault.row, fault.path, fault.hint) for fault in faults] == [(-1, (1,), "write `b: 0`")]


def test_live_bytes_that_no_value_has_are_still_decoded() -> None:
    assert decoded(built("bool"), b"\2") == 2
    assert decoded(built(ADDRESS), b"\1" * 16) == {"v6": "101:101:101:101:101:101:101:101"}
    assert decoded(built(PADDED), bytes(range(12))) == {"a": 0, "b": 0x07060504, "c": 8}
    assert decoded(built("cidr4"), bytes.fromhex("ff0000000a000001")) == "10.0.0.1/255"


def test_normalise_masks_host_bits_of_lpm_keys_alone() -> None:
    keys = np.frombuffer(bytes.fromhex("180000000a000009000000000a000009200000000a000009"), np.uint8)
    expected = "180000000a0000000000000000000000200000000a000009"
    rows = keys.reshape(3, 8)
    assert built("cidr4").normalise(rows).tobytes().hex() == expected
    assert built(lpm(struct(a="ipv4"))).normalise(rows).tobytes().hex() == expected
    assert built(option("cidr4", sensitive=True)).normalise(rows).tobytes().hex() == expected
    assert built("u64").normalise(rows) is rows
    assert rows.tobytes() == keys.tobytes()


def test_raw_bytes_must_have_the_length_and_lose_their_padding() -> None:
    padded = built(PADDED)
    row = padded.encode_raw(b"\xff" * 12)
    assert isinstance(row, np.ndarray)
    assert row.tobytes().hex() == "ff000000ffffffffff000000"
    fault = padded.encode_raw(b"\xff" * 11)
    assert not isinstance(fault, np.ndarray)
    assert fault.id == "wrong-length"


def test_a_huge_array_of_scalars_is_one_column() -> None:
    table = built("u32[65521]")
    numbers = np.arange(65521, dtype="<u4") * 65536
    assert encoded(table, numbers.tolist()) == numbers.tobytes()
    faults = faults_of(table, ["1"] * 40000 + ["x"] + ["1"] * 25520)
    assert [(fault.row, fault.path) for fault in faults] == [(0, (40000,))]


def test_a_fault_in_an_array_has_its_row_and_index() -> None:
    out = np.zeros((2, 6), np.uint8)
    columns: dict[Path, Column] = {(0,): ["-1", "2"], (1,): ["70000", "3"], (2,): ["4", "-1"]}
    faults = built("u16[3]").encode(columns, out)
    assert {(fault.row, fault.path) for fault in faults} == {(0, (0,)), (0, (1,)), (1, (2,))}
    whole = built(ArrayType(struct(a="u8"), 2, HERE))
    faults = whole.encode({(0, "b"): ["1", "2"], (1, "b"): ["1", "2"]}, np.zeros((2, 2), np.uint8))
    assert {(fault.row, fault.path[0]) for fault in faults} == {(-1, 0), (-1, 1)}
