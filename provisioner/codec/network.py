"""IP and MAC addresses in network byte order. `inet_pton` parses the text, which refuses `10.1` and `010.0.0.1`."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import ClassVar, Final

import numpy as np

from provisioner.codec.scalar import ScalarType
from provisioner.codec.spans import Spans, parse_ipv4
from provisioner.model.types import Bytes, InvalidTextError, Value, shown

MAPPED: Final = bytes(10) + b"\xff\xff"
"""The prefix of an IPv4 address in 16 bytes (RFC 4291, 2.5.5.2)."""

_MAC = re.compile(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}|[0-9a-fA-F]{2}(?:-[0-9a-fA-F]{2}){5}", re.ASCII)
_BARE_MAC = re.compile(r"[0-9a-fA-F]{4}\.[0-9a-fA-F]{4}\.[0-9a-fA-F]{4}|[0-9a-fA-F]{12}", re.ASCII)


def _rows(data: bytes, count: int, size: int) -> Bytes:
    return np.frombuffer(data, np.uint8).reshape(count, size)


def _values(rows: Bytes, size: int) -> list[bytes]:
    data = rows.tobytes()
    return [data[at : at + size] for at in range(0, len(data), size)]


def _refused(text: str, kind: str) -> InvalidTextError:
    """The reason why `text` is not an address of `kind`."""
    address, slash, rest = text.partition("/")
    if slash and "/" not in rest:
        what = f"{shown(text)} is a prefix, not a single address"
        return InvalidTextError(what, f"write {address}, or use a cidr type")
    if "%" in text:
        what = f"{shown(text)} has a zone, and the type has no room for it"
        return InvalidTextError(what, "remove `%` and the zone")
    inside = text[1:].partition("]")[0] if text.startswith("[") else text.rpartition(":")[0]
    if _is_address(inside) and (text.startswith("[") or "." in inside):
        of_other = kind == ("IPv4" if ":" in inside else "IPv6")
        hint = f"write {inside}" + (", and use the type `ip` for both families" if of_other else "")
        return InvalidTextError(f"{shown(text)} is more than an address", hint)
    octets = text.split(".")
    if len(octets) == 4 and all(octet.isdecimal() and octet.isascii() for octet in octets):
        if any(int(octet[:9]) > 255 for octet in octets):
            return InvalidTextError(f"{shown(text)} is not an {kind} address: a number is above 255")
        if any(octet != "0" and octet.startswith("0") for octet in octets):
            plain = ".".join(octet.lstrip("0") or "0" for octet in octets)
            what = f"{shown(text)} has leading zeros, which some programs read as octal"
            return InvalidTextError(what, f"write {plain}")
    example = "192.0.2.1" if kind == "IPv4" else "2001:db8::1"
    return InvalidTextError(f"{shown(text)} is not an {kind} address", f"write an address such as {example}")


def _is_address(text: str) -> bool:
    for family in (AF_INET, AF_INET6):
        try:
            inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False


def _address(family: int, text: str, kind: str) -> bytes:
    try:
        return inet_pton(family, text)
    except (OSError, ValueError):
        raise _refused(text, kind) from None


class _OneFamily(ScalarType, frozen=True):
    """An address of one family: `FAMILY` for the C library, `KIND` for messages."""

    FAMILY: ClassVar[int]
    KIND: ClassVar[str]

    def parse_one(self, text: str) -> bytes:
        if self._is_of_the_other(text) and _is_address(text.partition("/")[0].partition("%")[0]):
            hint = "use a cidr type for prefixes" if "/" in text else "use the type `ip` for both families"
            raise InvalidTextError(f"{shown(text)} is not an {self.KIND} address", hint)
        return _address(self.FAMILY, text, self.KIND)

    def parse_all(self, texts: Sequence[str]) -> Bytes | None:
        try:
            return _rows(b"".join([inet_pton(self.FAMILY, text) for text in texts]), len(texts), self.size)
        except (OSError, ValueError):
            return None

    def describe(self) -> str:
        return self.KIND.lower()

    @abstractmethod
    def _is_of_the_other(self, text: str) -> bool:
        """Whether the text looks like an address of the other family."""


class Ipv4(_OneFamily, frozen=True):
    """An IPv4 address: 4 bytes, aligned like `__be32`."""

    FAMILY: ClassVar = AF_INET
    KIND: ClassVar = "IPv4"

    @property
    def size(self) -> int:
        return 4

    def parse_spans(self, spans: Spans) -> Bytes | None:
        return parse_ipv4(spans)

    def decode(self, rows: Bytes) -> list[Value]:
        return [f"{a}.{b}.{c}.{d}" for a, b, c, d in rows.tolist()]

    def _is_of_the_other(self, text: str) -> bool:
        return ":" in text


class Ipv6(_OneFamily, frozen=True):
    """An IPv6 address: 16 bytes, aligned like `struct in6_addr`."""

    FAMILY: ClassVar = AF_INET6
    KIND: ClassVar = "IPv6"

    @property
    def size(self) -> int:
        return 16

    @property
    def align(self) -> int:
        return 4

    def decode(self, rows: Bytes) -> list[Value]:
        return [inet_ntop(AF_INET6, value) for value in _values(rows, 16)]

    def _is_of_the_other(self, text: str) -> bool:
        return ":" not in text and text.count(".") == 3


class Ip(ScalarType, frozen=True):
    """An address of either family in 16 bytes. IPv4 is stored as `::ffff:a.b.c.d`, and decoded to `a.b.c.d`."""

    @property
    def size(self) -> int:
        return 16

    @property
    def align(self) -> int:
        return 4

    def parse_one(self, text: str) -> bytes:
        if ":" in text:
            return _address(AF_INET6, text, "IPv4 or IPv6")
        return MAPPED + _address(AF_INET, text, "IPv4 or IPv6")

    def parse_all(self, texts: Sequence[str]) -> Bytes | None:
        try:
            parsed = [inet_pton(AF_INET6, text) if ":" in text else MAPPED + inet_pton(AF_INET, text) for text in texts]
        except (OSError, ValueError):
            return None
        return _rows(b"".join(parsed), len(texts), 16)

    def decode(self, rows: Bytes) -> list[Value]:
        return [
            inet_ntop(AF_INET, value[12:]) if value.startswith(MAPPED) else inet_ntop(AF_INET6, value)
            for value in _values(rows, 16)
        ]

    def describe(self) -> str:
        return "ip"


class Mac(ScalarType, frozen=True):
    """An Ethernet address of 6 bytes. Text has two hex digits per byte, separated by `:` or `-`; decoded with `:`."""

    @property
    def size(self) -> int:
        return 6

    @property
    def align(self) -> int:
        return 1

    def parse_one(self, text: str) -> bytes:
        if _MAC.fullmatch(text):
            return bytes.fromhex(text.replace(text[2], ""))
        if _BARE_MAC.fullmatch(text):
            written = bytes.fromhex(text.replace(".", "")).hex(":")
            raise InvalidTextError(f"{shown(text)} is not written as a MAC address", f"write {written}")
        raise InvalidTextError(
            f"{shown(text)} is not a MAC address", "write six pairs of hex digits: 02:00:5e:10:00:01"
        )

    def parse_all(self, texts: Sequence[str]) -> Bytes | None:
        if not all(map(_MAC.fullmatch, texts)):
            return None
        return _rows(bytes.fromhex("".join(texts).replace(":", "").replace("-", "")), len(texts), 6)

    def decode(self, rows: Bytes) -> list[Value]:
        return [value.hex(":") for value in _values(rows, 6)]

    def describe(self) -> str:
        return "mac"
