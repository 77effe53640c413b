"""BTF as clang writes it, for both byte orders, and BTF as we write it, read by clang, bpftool and the kernel."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.codec import BtfTypes, ByteOrder, btf_of
from provisioner.codec.btf_convert import Conversion
from provisioner.codec.btf_specials import specials_of
from provisioner.model.errors import InputError, Problems
from provisioner.model.special_fields import Special
from provisioner.model.type_expr import NamedType, TypeExpr

from .support import HERE, ORDERS, btf, built, decoded, encoded, enum, faults_of, option, struct, union

SOURCE = Path(__file__).with_name("types.bpf.c")
TARGETS: Mapping[ByteOrder, str] = {"little": "bpfel", "big": "bpfeb"}


def section(folder: Path, byteorder: ByteOrder, name: str) -> bytes:
    """A section of the C file's object, compiled for one byte order."""
    compiled, part = folder / "types.o", folder / "section"
    subprocess.run(["clang", "-g", "-O2", "-target", TARGETS[byteorder], "-c", SOURCE, "-o", compiled], check=True)
    subprocess.run(["llvm-objcopy", f"--dump-section={name}={part}", compiled, folder / "copy.o"], check=True)
    return part.read_bytes()


@pytest.fixture(scope="module", params=ORDERS)
def types(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BtfTypes:
    return BtfTypes(section(tmp_path_factory.mktemp("btf"), request.param, ".BTF"))


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return section(tmp_path_factory.mktemp("btf"), "little", ".BTF")


def problems_of(written: TypeExpr, types: BtfTypes) -> list[str]:
    with pytest.raises(InputError) as caught:
        built(written, types.byteorder, btf={"": types})
    return [problem.id for problem in caught.value.problems]


VIP = {
    "address": 1,
    "port": 443,
    "protocol": 6,
    "enabled": True,
    "name": "web",
    "weight": -2,
    "verdict": "DROP",
    "balance": -3,
    "v6": list(range(16)),
    "table": [[1, 2, 3], [4, 5, 6]],
}


def test_a_struct_of_c_is_a_struct(types: BtfTypes) -> None:
    vip = built(btf("struct vip"), types.byteorder, btf={"": types})
    order = types.byteorder
    data = encoded(vip, VIP)
    expected = b"".join(
        [
            b"\0\0\0\1\x01\xbb\6\1web\0\0\0",
            (-2).to_bytes(2, order, signed=True),
            (700).to_bytes(4, order),
            bytes(4),
            (-3).to_bytes(8, order, signed=True),
            bytes(range(16)),
            *(number.to_bytes(2, order) for number in range(1, 7)),
            bytes(4),
        ]
    )
    assert data.hex() == expected.hex()
    assert decoded(vip, data) == VIP
    assert vip.describe() == "struct vip"


def test_refinements_say_what_members_mean(types: BtfTypes) -> None:
    order = types.byteorder
    vip = built(btf("struct vip", address="ipv4", v6="ipv6", table="be16[3]"), order, btf={"": types})
    value = {**VIP, "address": "192.0.2.1", "v6": "2001:db8::1"}
    data = encoded(vip, value)
    assert data[:4] == bytes([192, 0, 2, 1])
    assert decoded(vip, data) == value
    assert data[48:60] == b"".join(number.to_bytes(2) for number in range(1, 7))
    nested = built(btf("struct nested", two__b="u16", address__v4="ipv4", left="ipv4"), order, btf={"": types})
    given: dict[str, Any] = {
        "one": {"a": 1, "b": 2},
        "two": [{"a": 3, "b": 4}, {"a": 5, "b": 6}],
        "address": {"v4": "10.0.0.1"},
        "left": "10.0.0.2",
        "deep": 9,
    }
    data = encoded(nested, given)
    assert decoded(nested, data) == given
    assert data[2:4] == b"\0\2"
    assert data[6:8] == (4).to_bytes(2, order)


def test_members_of_anonymous_unions_belong_to_the_struct_around(types: BtfTypes) -> None:
    nested = built(btf("struct nested"), types.byteorder, btf={"": types})
    written = {
        "one": {"a": 1, "b": 2},
        "two": [{"a": 3, "b": 4}, {"a": 5, "b": 6}],
        "address": {"v4": 1},
        "right": 7,
        "deep": 9,
    }
    left = {name: part for name, part in written.items() if name != "right"}
    assert [fault.id for fault in faults_of(nested, left)] == ["wrong-type"]
    assert [fault.id for fault in faults_of(nested, {**written, "left": 8})] == ["wrong-type"]
    assert decoded(nested, encoded(nested, written))["deep"] == 9


def test_a_union_is_shown_by_the_member_that_the_spec_refines(types: BtfTypes) -> None:
    value = {"one": {"a": 1, "b": 2}, "two": [{"a": 3, "b": 4}, {"a": 5, "b": 6}], "deep": 9}
    bare = built(btf("struct nested"), types.byteorder, btf={"": types})
    refined = built(btf("struct nested", address__bytes="bytes[8]", right="be16"), types.byteorder, btf={"": types})
    data = encoded(refined, {**value, "address": {"bytes": "0x0a00000100000000"}, "right": 443})
    assert decoded(bare, data).keys() >= {"left"}
    assert decoded(bare, data)["address"].keys() == {"v4"}
    assert decoded(refined, data) == {**value, "address": {"bytes": "0x0a00000100000000"}, "right": 443}
    left = encoded(refined, {**value, "address": {"v4": 1}, "left": 1 << 31 | 1})
    assert decoded(refined, left)["left"] == 1 << 31 | 1, "which the refined member does not cover"


def test_bit_fields_have_the_bits_that_clang_gives_them(types: BtfTypes, tmp_path: Path) -> None:
    flags = built(btf("struct flags"), types.byteorder, btf={"": types})
    value = {
        "low": 1,
        "small": -2,
        "wide": 3,
        "verdict": "ALLOW",
        "on": True,
        "long_one": 0x1234567890,
        "last": 7,
    }
    by_clang = section(tmp_path, types.byteorder, ".data")[: flags.size]
    assert encoded(flags, value).hex() == by_clang.hex()
    assert decoded(flags, by_clang) == value
    [fault] = faults_of(flags, {**value, "low": 8})
    assert (fault.path, fault.id) == (("low",), "out-of-range")
    assert sum(bin(byte).count("1") for byte in flags.mask()) == 3 + 5 + 20 + 4 + 1 + 40 + 8


def test_packed_structs_and_enums_of_both_signs(types: BtfTypes) -> None:
    packed = built(struct(head="u8", body=btf("struct packed")), types.byteorder, btf={"": types})
    assert packed.size == 6
    numbers = built(btf("enum signed_numbers"), types.byteorder, btf={"": types})
    assert encoded(numbers, "MINUS") == b"\xff" * 4
    assert decoded(numbers, b"\xff" * 4) == "MINUS"
    alias = built(btf("__be32"), types.byteorder, btf={"": types})
    assert encoded(alias, 1) == b"\0\0\0\1"


def test_the_kernels_own_members_are_zero_and_reported(types: BtfTypes) -> None:
    locked = built(btf("struct locked"), types.byteorder, btf={"": types})
    id_ = types.find("struct locked")
    assert id_ is not None
    assert locked.specials == (Special(0, "bpf_spin_lock"), Special(8, "bpf_timer")) == specials_of(types, id_)
    assert encoded(locked, {"hits": 1}) == bytes(4) + (1).to_bytes(4, types.byteorder) + bytes(16)
    assert decoded(locked, b"\xff" * 24) == {"hits": 2**32 - 1}
    assert not locked.mask()[8:].any()
    [fault] = faults_of(locked, {"hits": 1, "lock": 1})
    assert (fault.path, fault.id) == (("lock",), "kernel-field")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (btf("struct vipp"), "unknown-type"),
        (btf("vip"), "unknown-type"),
        (btf("struct vip", prot="be16"), "unknown-field"),
        (btf("struct vip", port="be32"), "invalid-type"),
        (btf("struct flags", low="u8"), "invalid-type"),
        (btf("struct locked", lock="u32"), "kernel-field"),
        (NamedType("bpf_timer", HERE), "invalid-type"),
        (btf("struct linked"), "unsupported-btf-type"),
        (btf("struct fraction"), "unsupported-btf-type"),
        (btf("struct open_ended"), "unsupported-btf-type"),
        (btf("struct hidden"), "unsupported-btf-type"),
        (btf("struct vip", source="routr"), "btf-missing"),
    ],
)
def test_what_can_not_be_converted_is_refused(written: TypeExpr, expected: str, types: BtfTypes) -> None:
    assert problems_of(written, types) == [expected]


def test_a_pointer_can_be_refined_to_its_bits(types: BtfTypes) -> None:
    linked = built(btf("struct linked", next="u64"), types.byteorder, btf={"": types})
    assert decoded(linked, bytes(16)) == {"next": 0, "number": 0}


def test_btf_of_the_other_byte_order_is_refused(types: BtfTypes) -> None:
    other: ByteOrder = "big" if types.byteorder == "little" else "little"
    with pytest.raises(InputError) as caught:
        built(btf("struct vip"), other, btf={"": types})
    assert [problem.id for problem in caught.value.problems] == ["object-mismatch"]


def test_our_reader_and_bpftool_find_the_same_types(tmp_path: Path) -> None:
    path = tmp_path / "btf"
    path.write_bytes(section(tmp_path, "little", ".BTF"))
    dump = subprocess.run(["bpftool", "btf", "dump", "file", path], check=True, capture_output=True, text=True).stdout
    types = BtfTypes(path.read_bytes())
    structs = re.findall(r"^\[(\d+)\] STRUCT '(\w+)' size=(\d+)", dump, re.MULTILINE)
    assert [(int(id_), int(size)) for id_, _, size in structs] == [
        (types.find(f"struct {name}"), types.size_of(int(id_))) for id_, name, _ in structs
    ]
    assert len(types) == len(re.findall(r"^\[\d+\]", dump, re.MULTILINE))


def test_the_running_kernels_types_are_read() -> None:
    types = BtfTypes(Path("/sys/kernel/btf/vmlinux").read_bytes())
    frame = built(
        btf("struct ethhdr", "vmlinux", h_dest="mac", h_source="mac"), types.byteorder, btf={"vmlinux": types}
    )
    value = {"h_dest": "ff:ff:ff:ff:ff:ff", "h_source": "02:00:00:00:00:01", "h_proto": 0x0800}
    assert encoded(frame, value) == b"\xff" * 6 + b"\2\0\0\0\0\1" + b"\x08\0"


@pytest.mark.parametrize("cut", [0, 1, 10, 24, 30, 100, -1])
def test_bytes_that_are_no_btf_are_refused(intact: bytes, cut: int) -> None:
    for data in (intact[:cut], b"\x7fELF" + intact[4:]):
        with pytest.raises(InputError) as caught:
            BtfTypes(data)
        assert [problem.id for problem in caught.value.problems] == ["malformed-btf"]


@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_btf_is_refused_or_read_but_never_crashes(intact: bytes, flips: list[tuple[float, int]]) -> None:
    data = bytearray(intact)
    for place, byte in flips:
        data[24 + int(place * (len(data) - 24))] = byte
    with suppress(InputError):
        types = BtfTypes(bytes(data))
        for id_ in range(1, len(types) + 1):
            problems = Problems()
            type_ = Conversion(types, {}, HERE, problems).run(id_, "it")
            assert (type_ is None) == bool(len(problems))
            if type_ is not None and type_.size < 1 << 20:
                assert decoded(type_, bytes(type_.size)) == type_.example()


WRITTEN = struct(
    ip="ipv4",
    port="be16",
    state=enum("u32", up=1, down=2),
    name="char[5]",
    addr=union(v4="ipv4", v6="ipv6"),
    table="u16[2][3]",
    timeout=option("u64", unit="ns"),
    live="bool",
    weight="s32",
)


def test_clang_lays_out_what_bpftool_prints_of_our_btf_as_we_do(tmp_path: Path) -> None:
    """Bpftool turns our BTF into C, and clang agrees about each offset and size in it."""
    value = built("record", types={"record": WRITTEN})
    data, _, _ = btf_of(built("u32"), value, "little")
    (tmp_path / "btf").write_bytes(data)
    command = ["bpftool", "btf", "dump", "file", str(tmp_path / "btf"), "format", "c"]
    code = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    places = {
        "ip": 0,
        "port": 4,
        "state": 8,
        "name": 12,
        "addr": 20,
        "table": 36,
        "timeout": 48,
        "live": 56,
        "weight": 60,
    }
    checks = [f'_Static_assert(__builtin_offsetof(struct record, {name}) == {at}, "");' for name, at in places.items()]
    checks.append(f'_Static_assert(sizeof(struct record) == {value.size}, "");')
    (tmp_path / "check.c").write_text("\n".join([code, *checks]))
    subprocess.run(["clang", "-target", "bpfel", "-c", tmp_path / "check.c", "-o", tmp_path / "check.o"], check=True)
