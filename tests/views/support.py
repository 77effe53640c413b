"""Looks that no kernel was read for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from provisioner.codec.build import builtins
from provisioner.codec.layout import Field, Struct
from provisioner.codec.percpu import PerCpu
from provisioner.codec.sensitive import Sensitive
from provisioner.model.types import Type
from provisioner.views.looks import Look, MapLook, SlotLook

_KNOWN: Final = builtins("little", {})
U32: Final = _KNOWN["u32"]
IPV4: Final = _KNOWN["ipv4"]
SECRET: Final = Sensitive(U32)
STAT: Final = Struct((Field("packets", _KNOWN["u64"], 0), Field("bytes", _KNOWN["u64"], 8)), 16, 8, "stat")
STATS: Final = PerCpu(STAT, 2)

Contents = Mapping[bytes, bytes]


def number(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, "little")


def slot(contents: Contents, capacity: int, key: int | None = None, *, sizes: tuple[int, int] = (4, 4)) -> SlotLook:
    """A slot; a plain map without a key."""
    keys, values = (
        np.frombuffer(b"".join(part), np.uint8).reshape(-1, size)
        for part, size in zip((list(contents), list(contents.values())), sizes, strict=True)
    )
    return SlotLook(b"" if key is None else number(key), "" if key is None else f"[{key}]", capacity, keys, values)


def outer(name: str, *slots: SlotLook, capacity: int = 64, value: Type = U32, text: str = "") -> MapLook:
    used = sum(1 for each in slots if each.capacity)
    return MapLook(name, text, True, capacity, U32, value, used, slots=slots)


def plain(
    name: str, contents: Contents, capacity: int = 16, *, key: Type = U32, value: Type = U32, is_array: bool = False
) -> MapLook:
    contained = slot(contents, capacity, sizes=(key.size, value.size))
    return MapLook(name, "", False, capacity, key, value, is_array=is_array, slots=(contained,))


def look(*maps: MapLook) -> Look:
    return Look("edge", "/sys/fs/bpf/edge", maps)


def stats(*of_cpus: tuple[int, int]) -> bytes:
    """Packets and bytes of each CPU."""
    return b"".join(number(part, 8) for values in of_cpus for part in values)
