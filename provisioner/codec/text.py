"""Text and bytes of a fixed length: `char[N]` and `bytes[N]`."""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np

from provisioner.codec.scalar import ScalarType
from provisioner.model.types import Bytes, InvalidTextError, Value, shown

HEX: Final = "hex:"
"""The prefix of the hex digits of a `char[N]` whose bytes are not text."""

BASE64: Final = "base64:"


class Char(ScalarType, frozen=True):
    """`char[N]`: UTF-8, padded with NUL. All N bytes can be text, without a NUL at the end.

    Live bytes that are not such a text (not UTF-8, or a NUL before the end) are written `hex:6100ff`, which a user can
    write too. So is a text that begins with `hex:`.
    """

    IS_TEXT: ClassVar = True

    length: int

    @property
    def size(self) -> int:
        return self.length

    @property
    def align(self) -> int:
        return 1

    def parse_one(self, text: str) -> bytes:
        if text.startswith(HEX):
            data = _from_hex(text.removeprefix(HEX), text)
        else:
            if "\0" in text:
                raise InvalidTextError(f"{shown(text)} contains a NUL character, which ends a text in C")
            try:
                data = text.encode()
            except UnicodeEncodeError:
                raise InvalidTextError(f"{shown(text)} is not valid Unicode") from None
        if len(data) > self.length:
            raise InvalidTextError(f"{shown(text)} has {len(data)} bytes and does not fit {self.describe()}")
        return data.ljust(self.length, b"\0")

    def parse_all(self, texts: Sequence[str]) -> Bytes | None:
        joined = "\n".join(texts)
        if "\0" in joined or HEX in joined:
            return None
        try:
            data = [text.encode() for text in texts]
        except UnicodeEncodeError:
            return None
        if not data or max(map(len, data)) > self.length:
            return None
        return np.array(data, f"S{self.length}").view(np.uint8).reshape(len(data), self.length)

    def decode(self, rows: Bytes) -> list[Value]:
        return [_text(bytes(row).rstrip(b"\0")) for row in np.ascontiguousarray(rows)]

    def describe(self) -> str:
        return f"char[{self.length}]"


def _text(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return HEX + data.hex()
    return HEX + data.hex() if "\0" in text or text.startswith(HEX) else text


def _from_hex(digits: str, text: str) -> bytes:
    try:
        data = bytes.fromhex(digits)
    except ValueError:
        data = b""
    # `fromhex` skips white space, which is not valid here.
    if 2 * len(data) != len(digits):
        parts = re.split(r"[\s:.-]+", digits)
        if len(parts) > 1 and all(re.fullmatch(r"[0-9A-Fa-f]|(?:[0-9A-Fa-f]{2})+", part) for part in parts):
            plain = "".join(part.zfill(2) for part in parts)
            raise InvalidTextError(f"{shown(text)} has characters between its hex digits", f"write {plain}")
        if re.fullmatch(r"[0-9A-Fa-f]+", digits):
            raise InvalidTextError(f"{shown(text)} has an odd number of hex digits", "write two digits for each byte")
        raise InvalidTextError(f"{shown(text)} is not hexadecimal", "write two hex digits for each byte: 0x0a1b")
    return data


class HexBytes(ScalarType, frozen=True):
    """`bytes[N]`: exactly N bytes as hex digits with or without `0x`, or as `base64:...`. Decoded to `0x...`."""

    length: int

    @property
    def size(self) -> int:
        return self.length

    @property
    def align(self) -> int:
        return 1

    def parse_one(self, text: str) -> bytes:
        if text.startswith(BASE64):
            try:
                data = binascii.a2b_base64(text.removeprefix(BASE64), strict_mode=True)
            except ValueError:
                raise InvalidTextError(f"{shown(text)} is not valid base64") from None
        else:
            data = _from_hex(text.removeprefix("0x"), text)
        if len(data) != self.length:
            raise InvalidTextError(f"{shown(text)} has {len(data)} bytes, not {self.length}")
        return data

    def parse_all(self, texts: Sequence[str]) -> Bytes | None:
        digits = [text.removeprefix("0x") for text in texts]
        if any(len(part) != 2 * self.length for part in digits):
            return None
        try:
            data = bytes.fromhex("".join(digits))
        except ValueError:
            return None
        if len(data) != self.length * len(texts):
            return None
        return np.frombuffer(data, np.uint8).reshape(len(texts), self.length)

    def decode(self, rows: Bytes) -> list[Value]:
        return ["0x" + bytes(row).hex() for row in np.ascontiguousarray(rows)]

    def describe(self) -> str:
        return f"bytes[{self.length}]"
