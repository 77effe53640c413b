"""BTF that is written here, type by type: what few compilers emit, or none any more."""

from __future__ import annotations

import struct

import pytest

from provisioner.codec import BtfTypes, btf_of
from provisioner.codec.btf import BtfEnum, BtfKind
from provisioner.codec.btf_specials import specials_of
from provisioner.model.errors import InputError
from provisioner.model.special_fields import Special

from .support import built


class Writer:
    """Collects types; ids begin at 1."""

    def __init__(self) -> None:
        self._strings, self._types, self.count = bytearray(b"\0"), bytearray(), 0

    def name(self, text: str) -> int:
        at = len(self._strings)
        self._strings += text.encode() + b"\0"
        return at if text else 0

    def add(
        self, kind: BtfKind, name: str = "", size: int = 0, *records: int, count: int = 0, flag: bool = False
    ) -> int:
        self._types += struct.pack("<III", self.name(name), flag << 31 | kind << 24 | count, size)
        self._types += b"".join(struct.pack("<I", record & 0xFFFF_FFFF) for record in records)
        self.count += 1
        return self.count

    def struct(self, name: str, size: int, *members: tuple[str, int, int]) -> int:
        """Members by name, type and bit offset."""
        records = [part for member, type_, bits in members for part in (self.name(member), type_, bits)]
        return self.add(BtfKind.STRUCT, name, size, *records, count=len(members))

    def types(self) -> BtfTypes:
        sizes = 24, 0, len(self._types), len(self._types), len(self._strings)
        return BtfTypes(struct.pack("<HBBIIIII", 0xEB9F, 1, 0, *sizes) + bytes(self._types + self._strings))


def test_each_element_of_an_array_has_its_fields() -> None:
    code = Writer()
    timer = code.struct("bpf_timer", 16)
    index = code.add(BtfKind.INT, "int", 4, 32)
    pair = code.struct("pair", 24, ("count", index, 0), ("timer", timer, 64))
    many = code.add(BtfKind.ARRAY, "", 0, pair, index, 3)
    whole = code.struct("value", 80, ("lock", code.struct("bpf_spin_lock", 4), 0), ("pairs", many, 64))
    expected = [Special(0, "bpf_spin_lock"), *(Special(8 + 24 * at + 8, "bpf_timer") for at in range(3))]
    assert list(specials_of(code.types(), whole)) == expected


def test_an_array_of_itself_has_an_end() -> None:
    code = Writer()
    code.add(BtfKind.ARRAY, "", 0, 1, 1, 0)
    with pytest.raises(InputError):
        specials_of(code.types(), 1)


@pytest.mark.parametrize("first", [BtfKind.FWD, BtfKind.STRUCT])
def test_a_definition_is_found_before_a_declaration(first: BtfKind) -> None:
    code = Writer()
    if first is BtfKind.FWD:
        code.add(BtfKind.FWD, "s")
    defined = code.struct("s", 4)
    if first is not BtfKind.FWD:
        code.add(BtfKind.FWD, "s")
    code.struct("s", 8)  # of two definitions, the first
    assert code.types().find("struct s") == defined


@pytest.mark.parametrize(
    ("number", "flag", "signed", "expected"),
    [
        (7, False, False, 7),
        (-1, True, True, -1),
        (-1, False, True, -1),  # as before Linux 6.0
    ],
)
def test_the_sign_of_an_enum(number: int, flag: bool, signed: bool, expected: int) -> None:
    code = Writer()
    id_ = code.add(BtfKind.ENUM, "e", 4, code.name("ONE"), number, count=1, flag=flag)
    assert code.types()[id_] == BtfEnum("e", 4, signed, (("ONE", expected),))


@pytest.mark.parametrize(("written", "name"), [("be16", "__be16"), ("le32", "__le32"), ("u64", "unsigned long long")])
def test_the_byte_order_of_an_integer_is_in_its_name(written: str, name: str) -> None:
    data, key, _ = btf_of(built(written), built("u8"), "little")
    assert BtfTypes(data).find(name) == key
