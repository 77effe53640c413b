"""Addresses of maps, inner maps and entries: `tenants`, `tenants[42]`, `tenants[42][10.0.0.0/8]`. Pure."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import yaml

from provisioner.model.desired import DesiredMap, DesiredState
from provisioner.model.errors import InputError, Problem, did_you_mean
from provisioner.model.types import HIDDEN, Bytes, Path, Type, leaves

_PAIRS: Final = {"[": "]", "{": "}"}
_HINT: Final = "write a map (`tenants`), an inner map (`tenants[42]`) or an entry (`tenants[42][10.0.0.0/8]`)"


class Address(msgspec.Struct, frozen=True):
    """The name of a map, and the text of up to two keys: of a slot and of an entry."""

    name: str
    keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name + "".join(f"[{key}]" for key in self.keys)


def parse(text: str, desired: DesiredState | None = None) -> Address:
    """An address from its text; a key can be any YAML in flow style. Raises InputError.

    With `desired`, that does not repeat a key which can be sensitive.
    """
    name, bracket, rest = text.partition("[")
    keys: list[str] = []
    rest = bracket + rest
    while rest:
        end = _closing(rest) if rest[0] == "[" else -1
        if end < 0:
            raise _invalid(text, desired)
        keys.append(rest[1:end].strip())
        rest = rest[end + 1 :]
    if not name or "]" in name or len(keys) > 2 or "" in keys:
        raise _invalid(text, desired)
    return Address(name, tuple(keys))


def shown(address: Address, desired: DesiredState) -> str:
    """The address as output repeats it: without the keys that are sensitive, or that can be, where no map has its name.

    A key is hidden as a whole: what is written in the place of a harmless member can be a secret.
    """
    hidden = _hidden_keys(address.name, desired)
    some = any(hidden)
    keys = (HIDDEN if (hidden[at] if at < len(hidden) else some) else key for at, key in enumerate(address.keys))
    return str(Address(address.name, tuple(keys)))


def _hidden_keys(name: str, desired: DesiredState) -> list[bool]:
    """Whether the first and the second key in addresses of a map are hidden."""
    target = desired.maps.get(name)
    if target is None:
        return [any(any(_hidden_keys(each, desired)) for each in desired.maps)] * 2
    kinds = [target.key] if target.outer is None else [target.outer.key, target.key]
    return [kind.sensitive for kind in kinds]


def _invalid(text: str, desired: DesiredState | None) -> InputError:
    name, bracket, _ = text.partition("[")
    if bracket and desired is not None and any(_hidden_keys(name, desired)):
        text = f"{name}[{HIDDEN}]"
    return InputError(Problem("invalid address", hint=_HINT, address=text, id="invalid-address"))


def _closing(text: str) -> int:
    """The offset at which the first bracket of `text` is closed; -1 if it is not."""
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
    """The target of an address in a desired state: a map, and its keys in the kernel's bytes, shape (key size,).

    `slot` is None for a whole outer map, and has no bytes for a plain map; `entry` is None for a whole slot.
    """

    address: str
    map: DesiredMap
    slot: Bytes | None
    entry: Bytes | None


def find(address: Address, desired: DesiredState) -> Place:
    """The place of an address, even if it is empty. Raises InputError if the address is not possible."""
    target, text = desired.maps.get(address.name), shown(address, desired)
    if target is None:
        near = did_you_mean(address.name, desired.maps)
        what = f"the spec has no map `{address.name}`"
        raise InputError(Problem(what, hint=near, address=text, id="unknown-map"))
    if target.outer is None:
        if len(address.keys) > 1:
            what = f"`{target.name}` is a plain map, whose entries have one key"
            hint = f"write {shown(Address(target.name, address.keys[:1]), desired)}"
            raise InputError(Problem(what, hint=hint, address=text, id="invalid-address"))
        entry = key_bytes(address.keys[0], target.key, text) if address.keys else None
        return Place(text, target, np.zeros(0, np.uint8), entry)
    slot = key_bytes(address.keys[0], target.outer.key, text) if address.keys else None
    entry = key_bytes(address.keys[1], target.key, text) if len(address.keys) > 1 else None
    return Place(text, target, slot, entry)


def require_index(key: Bytes, kind: Type, capacity: int, address: str) -> None:
    """Raise InputError where an index of an array is out of range; `address` is for messages."""
    index = int.from_bytes(bytes(key), kind.number_order or "little")
    if index >= capacity:
        place = "the index" if kind.sensitive else f"index {index}"
        what, hint = f"{place} is out of range: max_entries is {capacity}", f"write an index from 0 to {capacity - 1}"
        raise InputError(Problem(what, hint=hint, address=address, id="index-out-of-range"))


def key_bytes(text: str, kind: Type, address: str) -> Bytes:
    """A key in YAML as the kernel's bytes; `address` is for messages. Raises InputError."""
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.BaseLoader)):
            what = f"the key `{text}` has an alias"
            raise InputError(Problem(what, hint="write the value", address=str(address), id="invalid-address"))
        written = yaml.load(text, Loader=yaml.BaseLoader)  # makes only text, lists and mappings
    except (yaml.YAMLError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else "not valid YAML"
        what = f"the key is {why}" if kind.sensitive else f"the key `{text}` is {why}"
        raise InputError(Problem(what, hint=_HINT, address=address, id="invalid-address")) from error
    columns: dict[Path, list[str]] = {path: [part] for path, part in leaves(written)}
    out = np.zeros((1, kind.size), np.uint8)
    faults = kind.encode(columns, out)
    if faults:
        raise InputError(*(Problem(fault.what, hint=fault.hint, address=address, id=fault.id) for fault in faults))
    row: Bytes = out[0]
    return row
