"""Addresses, as output and users write them: `tenants`, `tenants[42]`, `tenants[42][10.0.0.0/8]`. Pure."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import yaml

from provisioner.model.desired import DesiredMap, DesiredState
from provisioner.model.errors import InputError, Problem, did_you_mean
from provisioner.model.types import Bytes, Path, Type, leaves

_PAIRS: Final = {"[": "]", "{": "}"}
_HINT: Final = "write a map, as `tenants`, a slot, as `tenants[42]`, or an entry, as `tenants[42][10.0.0.0/8]`"


class Address(msgspec.Struct, frozen=True):
    """The name of a map, and the text of up to two keys: of a slot, and of an entry."""

    name: str
    keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name + "".join(f"[{key}]" for key in self.keys)


def parse(text: str) -> Address:
    """An address from its text; keys may be of any YAML flow form. Raises InputError."""
    name, bracket, rest = text.partition("[")
    keys: list[str] = []
    rest = bracket + rest
    while rest:
        end = _closing(rest) if rest[0] == "[" else -1
        if end < 0:
            raise InputError(Problem("this is no address", hint=_HINT, address=text))
        keys.append(rest[1:end].strip())
        rest = rest[end + 1 :]
    if not name or "]" in name or len(keys) > 2 or "" in keys:
        raise InputError(Problem("this is no address", hint=_HINT, address=text))
    return Address(name, tuple(keys))


def _closing(text: str) -> int:
    """Where the bracket that `text` begins with is closed; -1 if nowhere."""
    open_: list[str] = []
    quote = ""
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'" and open_:
            quote = char
        elif char in _PAIRS:
            open_.append(_PAIRS[char])
        elif open_ and char == open_[-1]:
            open_.pop()
            if not open_:
                return at
    return -1


class Place(msgspec.Struct, frozen=True):
    """What an address names in a desired state: a map, and the kernel's bytes of the keys, shape (key size,).

    `slot` is None for the whole of an outer map, and has no bytes for a plain map; `entry` is None for a whole slot.
    """

    address: str
    map: DesiredMap
    slot: Bytes | None
    entry: Bytes | None


def find(address: Address, desired: DesiredState) -> Place:
    """The place of an address, whether anything is there or not. Raises InputError where there can be nothing."""
    one = desired.maps.get(address.name)
    if one is None:
        near = did_you_mean(address.name, desired.maps)
        raise InputError(Problem(f"the spec has no map `{address.name}`", hint=near, address=str(address)))
    if one.outer is None:
        if len(address.keys) > 1:
            what = f"`{one.name}` is a plain map: an entry of it has one key"
            raise InputError(Problem(what, hint=f"write {one.name}[{address.keys[0]}]", address=str(address)))
        entry = key_bytes(address.keys[0], one.key, address) if address.keys else None
        return Place(str(address), one, np.zeros(0, np.uint8), entry)
    slot = key_bytes(address.keys[0], one.outer.key, address) if address.keys else None
    entry = key_bytes(address.keys[1], one.key, address) if len(address.keys) > 1 else None
    return Place(str(address), one, slot, entry)


def key_bytes(text: str, kind: Type, address: Address) -> Bytes:
    """A key as YAML writes it, in the kernel's bytes. Raises InputError with what is wrong with it."""
    try:
        written = yaml.load(text, Loader=yaml.BaseLoader)  # makes text, lists and mappings alone
    except yaml.YAMLError as error:
        raise InputError(Problem(f"the key `{text}` is not YAML", hint=_HINT, address=str(address))) from error
    columns: dict[Path, list[str]] = {path: [part] for path, part in leaves(written)}
    out = np.zeros((1, kind.size), np.uint8)
    faults = kind.encode(columns, out)
    if faults:
        raise InputError(*(Problem(fault.what, hint=fault.hint, address=str(address), id=fault.id) for fault in faults))
    row: Bytes = out[0]
    return row
