"""Keys of LPM tries: a u32 prefix length in host byte order, then the data, most significant bit first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final

import numpy as np

from provisioner.codec.integer import Integer
from provisioner.codec.network import Ipv4, Ipv6
from provisioner.codec.scalar import ScalarType
from provisioner.codec.spans import Spans, split_last
from provisioner.model.types import HIDDEN, ByteOrder, Bytes, Column, Fault, InvalidTextError, Path, Type, Value, shown

PREFIX: Final = "prefixlen"
"""The member with the prefix length where the data is a struct, named as in `struct bpf_lpm_trie_key`."""

MAX_DATA: Final = 256
"""LPM_DATA_SIZE_MAX of kernel/bpf/lpm_trie.c, in bytes."""


def host_bits(size: int) -> Bytes:
    """Shape (8 * size + 1, size): for each prefix length, the bits of the data that must be zero are set."""
    kept = np.arange(8 * size + 1)[:, None] > np.arange(8 * size)[None, :]
    return np.packbits(~kept, axis=1)


def masked(rows: Bytes, length: Integer) -> Bytes:
    """A copy of live LPM keys, shape (n, 4 + size), in which all host bits are zero.

    The kernel stores host bits and ignores them, so keys that differ only in host bits are the same key.
    """
    size = rows.shape[1] - 4
    lengths = np.minimum(np.array(length.numbers(rows[:, :4]), np.int64), 8 * size)
    result = rows.copy()
    result[:, 4:] &= ~host_bits(size)[lengths]
    return result


class LpmScalar(ScalarType, frozen=True):
    """`VALUE/LENGTH`, as in `10.0.0.0/8`; bits beyond the length must be zero. `name` is the name in messages."""

    name: str
    data: ScalarType
    length: Integer

    @property
    def size(self) -> int:
        return 4 + self.data.size

    @property
    def align(self) -> int:
        return 4

    def parse_one(self, text: str) -> bytes:
        value, slash, length_text = text.rpartition("/")
        bits = 8 * self.data.size
        if not slash:
            self._parse_data(text)
            raise InvalidTextError(f"{shown(text)} has no prefix length", f"write {text}/{bits}")
        if "/" in value:
            raise InvalidTextError(f"{shown(text)} has more than one `/`", f"write {value}, if that is meant")
        data = self._parse_data(value)
        if not (length_text.isascii() and length_text.isdigit()):
            what = f"`/{length_text}` in {shown(text)} is not a prefix length"
            raise InvalidTextError(what, _as_prefix(value, length_text, bits))
        prefix = self.length.parse_one(length_text)
        length = int.from_bytes(prefix, self.length.byteorder)
        if length > bits:
            what = f"the prefix length of {shown(text)} is over {bits}, the bits of {self.data.describe()}"
            raise InvalidTextError(what, id="out-of-range")
        network = np.frombuffer(data, np.uint8) & ~host_bits(self.data.size)[length]
        if network.tobytes() != data:
            written = self.data.decode(network[None, :])[0]
            raise InvalidTextError(f"{shown(text)} has bits set beyond its prefix length", f"write {written}/{length}")
        return prefix + data

    def _parse_data(self, text: str) -> bytes:
        try:
            return self.data.parse_one(text)
        except InvalidTextError as error:
            if self.name == "cidr4" and ":" in text:
                raise InvalidTextError(error.what, "use the type cidr6 for IPv6 prefixes") from None
            if self.name == "cidr6" and ":" not in text and text.count(".") == 3:
                raise InvalidTextError(error.what, "use the type cidr4 for IPv4 prefixes") from None
            raise

    def parse_all(self, texts: Sequence[str]) -> Bytes | None:
        parts = [text.rpartition("/") for text in texts]
        if not all(slash for _, slash, _ in parts):
            return None
        data = self.data.parse_all([value for value, _, _ in parts])
        lengths = self.length.parse_all([length for _, _, length in parts])
        return None if data is None or lengths is None else self._joined(lengths, data)

    def parse_spans(self, spans: Spans) -> Bytes | None:
        parts = split_last(spans, "/", 3)
        if parts is None:
            return None
        data, lengths = self.data.parse_spans(parts[0]), self.length.parse_spans(parts[1])
        return None if data is None or lengths is None else self._joined(lengths, data)

    def _joined(self, lengths: Bytes, data: Bytes) -> Bytes | None:
        """Whole keys; None if a length is too long, or bits beyond a length are set."""
        counts = np.array(self.length.numbers(lengths), np.int64)
        if counts.max(initial=0) > 8 * self.data.size or (data & host_bits(self.data.size)[counts]).any():
            return None
        return np.concatenate([lengths, data], axis=1)

    def decode(self, rows: Bytes) -> list[Value]:
        lengths = self.length.numbers(rows[:, :4])
        return [f"{value}/{length}" for value, length in zip(self.data.decode(rows[:, 4:]), lengths, strict=True)]

    def normalise(self, rows: Bytes) -> Bytes:
        return masked(rows, self.length)

    def describe(self) -> str:
        return self.name


class LpmStruct(Type, frozen=True):
    """A prefix over several members: `{prefixlen: 40, vlan: 7, addr: 10.0.0.0}`, without padding after `prefixlen`."""

    data: Type
    length: Integer

    @property
    def size(self) -> int:
        return 4 + self.data.size

    @property
    def align(self) -> int:
        return 4

    @property
    def sensitive(self) -> bool:
        return self.data.sensitive

    def encode(self, columns: Mapping[Path, Column], out: Bytes) -> list[Fault]:
        texts = columns.get((PREFIX,))
        if texts is None:
            hint = f"write `{PREFIX}: {8 * self.data.size}`"
            return [Fault(-1, (), f"member `{PREFIX}` is missing", hint, "missing-field")]
        faults = [
            Fault(fault.row, (PREFIX,), fault.what, fault.hint, fault.id)
            for fault in self.length.encode({(): texts}, out[:, :4])
        ]
        rest = {path: column for path, column in columns.items() if path != (PREFIX,)}
        faults += self.data.encode(rest, out[:, 4:])
        faulty = {fault.row for fault in faults}
        if -1 in faulty:
            return faults
        bits = 8 * self.data.size
        lengths = np.array(self.length.numbers(out[:, :4]), np.int64)
        beyond = (out[:, 4:] & host_bits(self.data.size)[np.minimum(lengths, bits)]).any(axis=1)
        for row in np.flatnonzero((lengths > bits) | beyond).tolist():
            if row in faulty:
                continue
            if lengths[row] > bits:
                what = f"the prefix length {lengths[row]} is over {bits}, the bits of the data"
                faults.append(Fault(row, (PREFIX,), what, id="out-of-range"))
            else:
                what = f"bits beyond the prefix length {lengths[row]} are set"
                faults.append(
                    Fault(row, (PREFIX,), what, f"set these bits to zero, or write a longer {PREFIX}, up to {bits}")
                )
        return faults

    def decode(self, rows: Bytes) -> list[Value]:
        lengths = self.length.numbers(rows[:, :4])
        values = self.data.decode(rows[:, 4:])
        return [{PREFIX: length, **value} for length, value in zip(lengths, values, strict=True)]

    def mask(self) -> Bytes:
        return np.concatenate([self.length.mask(), self.data.mask()])

    def conceal(self, value: Value) -> Value:
        hidden = self.data.conceal({name: part for name, part in value.items() if name != PREFIX})
        return HIDDEN if hidden is HIDDEN else {PREFIX: value[PREFIX], **hidden}

    def normalise(self, rows: Bytes) -> Bytes:
        return masked(rows, self.length)

    def describe(self) -> str:
        return f"lpm {self.data.describe()}"


def cidr(version: int, byteorder: ByteOrder) -> LpmScalar:
    """`cidr4` or `cidr6`."""
    return LpmScalar(f"cidr{version}", Ipv4() if version == 4 else Ipv6(), prefix_length(byteorder))


def prefix_length(byteorder: ByteOrder) -> Integer:
    """The type of the prefix length: a u32 in the host's byte order."""
    return Integer("u32", 4, False, byteorder, 32)


def _as_prefix(value: str, length: str, bits: int) -> str:
    """The hint for a length that is not decimal: a netmask is converted."""
    try:
        mask = int.from_bytes(inet_pton(AF_INET6 if ":" in length else AF_INET, length), "big")
    except (OSError, ValueError):
        return f"write a length from 0 to {bits}"
    size = 128 if ":" in length else 32
    ones = mask.bit_count()
    if size == bits and mask == (1 << size) - (1 << (size - ones)):
        return f"write {value}/{ones}"
    return f"write a length from 0 to {bits}"
