"""What a session is asked for, from addresses and values to edits of slots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np

from provisioner.codec.program_ref import ProgramRef
from provisioner.model import address, entry_table
from provisioner.model.desired import DesiredMap, DesiredState
from provisioner.model.errors import InputError, Problem, did_you_mean
from provisioner.model.types import HIDDEN, Bytes
from provisioner.session import rows
from provisioner.session.known import KnownMap, SlotKey
from provisioner.session.rows import ArrowTable, EntryRows

Where = str | tuple[object, ...]
"""An address: as text (`tenants[42][10.0.0.0/8]`), or the name and the keys as Python values."""


_KEPT: Final = 1 << 16
"""Addresses that are kept as they were understood: a control plane uses the same ones again."""

_EXAMPLES: Final = 'write "tenants[42]", or ("tenants", 42)'
_PLAIN: Final = frozenset({str, int, bytes})


class Target(msgspec.Struct, frozen=True):
    """What an address names: a map, a slot of it unless it is a whole outer map, and the key of an entry."""

    text: str
    known: KnownMap
    slot: SlotKey | None
    entry: Bytes | None


class Addresses:
    """The maps of a session by address."""

    def __init__(self, desired: DesiredState, known: Mapping[str, KnownMap]) -> None:
        self._desired = desired
        self._known = known
        self._targets: dict[Where, Target] = {}

    def set(self, where: Where, value: object) -> None:
        target = self.find(where)
        known, declared = target.known, target.known.desired
        if target.entry is not None:
            row = rows.encode(declared.value, [value], target.text)
            known.put(target.slot or b"", EntryRows(target.entry, row))
        elif target.slot is not None:
            known.replace(target.slot, _entries(declared, value, target.text))
        else:
            wanted = _by_slot(declared, value, target.text)
            for slot, entries in wanted.items():
                known.replace(slot, entries)
            for slot in known.slots():
                if slot not in wanted:
                    known.delete_slot(slot)

    def put(self, where: Where, entries: object) -> None:
        target = self.find(where)
        if target.entry is not None:
            raise _wrong("an entry has one value", "use `set`", target.text)
        if target.slot is not None:
            target.known.put(target.slot, _entries(target.known.desired, entries, target.text))
            return
        for slot, part in _by_slot(target.known.desired, entries, target.text).items():
            target.known.put(slot, part)

    def delete(self, where: Where, keys: Iterable[object] | None) -> None:
        target = self.find(where)
        known, kind = target.known, target.known.desired.key
        if target.slot is None or (known.desired.outer is None and target.entry is None and keys is None):
            raise _wrong("a whole map cannot be deleted", "name a slot or entry, or set its contents", target.text)
        if target.entry is not None:
            known.delete_entries(target.slot, target.entry)
        elif keys is None:
            known.delete_slot(target.slot)
        elif isinstance(keys, np.ndarray | ArrowTable):
            known.delete_entries(target.slot, kind.normalise(rows.column(keys, rows.KEY, kind, target.text)))
        else:
            if isinstance(keys, str | bytes | Mapping) or not isinstance(keys, Iterable):
                what = f"the keys are a list or a table, and not {_kind_of(keys)}"
                raise InputError(Problem(what, address=target.text, id="wrong-type"))
            known.delete_entries(target.slot, rows.encode(kind, list(keys), target.text))

    def find(self, where: Where) -> Target:
        """What an address names. Raises InputError for one that is not possible in this spec."""
        given: object = where
        if not isinstance(given, str | tuple) or not given:
            what = f"an address is a text, or a tuple of a name and keys, and not {_kind_of(where)}"
            raise InputError(Problem(what, hint=_EXAMPLES, id="invalid-address"))
        if not isinstance(where, str) and not all(type(part) in _PLAIN for part in where):
            return self._find(where)  # parts that cannot be looked up, or that are equal to another one: True and 1
        target = self._targets.get(where)
        if target is None:
            if len(self._targets) >= _KEPT:
                self._targets.clear()
            target = self._targets[where] = self._find(where)
        return target

    def _find(self, where: Where) -> Target:
        if isinstance(where, str):
            parsed = address.parse(where, self._desired)
            name, text = parsed.name, address.shown(parsed, self._desired)
            keys: tuple[object, ...] = parsed.keys
        else:
            if not isinstance(where[0], str):
                what = f"the name of a map is text, and not {_kind_of(where[0])}"
                raise InputError(Problem(what, hint=_EXAMPLES, id="invalid-address"))
            name, keys = where[0], where[1:]
            text = address.shown(address.Address(name, tuple(map(rows.as_text, keys))), self._desired)
            parsed = None
        known = self._known.get(name)
        if known is None:
            hint = did_you_mean(name, self._known)
            raise InputError(Problem(f"the spec has no map `{name}`", hint=hint, address=text, id="unknown-map"))
        declared = known.desired
        _refuse_unlisted(declared, text)
        kinds = [declared.key] if declared.outer is None else [declared.outer.key, declared.key]
        if len(keys) > len(kinds):
            what = f"`{name}` has {len(kinds)} level{'s' if len(kinds) > 1 else ''} of keys"
            raise _wrong(what, "remove a key", text)
        rows_ = [
            rows.encode(kind, [key], text) if parsed is None else address.key_bytes(str(key), kind, text)[np.newaxis]
            for kind, key in zip(kinds, keys, strict=False)
        ]
        if declared.outer is None:
            return Target(text, known, b"", rows_[0] if rows_ else None)
        slot = rows_[0].tobytes() if rows_ else None
        return Target(text, known, slot, rows_[1] if len(rows_) > 1 else None)


def _refuse_unlisted(declared: DesiredMap, text: str) -> None:
    """Raise InputError for maps whose entries the kernel cannot list, or whose values are programs."""
    if not declared.entry_shape.is_listable or isinstance(declared.value, ProgramRef):
        what = f"a session does not write entries of {declared.entry_shape.map_type.word}"
        raise InputError(Problem(what, hint="change the spec, and apply it", address=text, id="session-unsupported"))


def _kind_of(value: object) -> str:
    return "empty" if isinstance(value, str | tuple) and not value else type(value).__name__


def _wrong(what: str, hint: str, text: str) -> InputError:
    return InputError(Problem(what, hint=hint, address=text, id="invalid-address"))


def _entries(declared: DesiredMap, value: object, text: str) -> EntryRows:
    """Entries of one map from a mapping or a table."""
    if isinstance(value, Mapping):
        return rows.of_mapping(declared.key, declared.value, value, text)
    if isinstance(value, np.ndarray | ArrowTable):
        return rows.of_table(declared.key, declared.value, value, text)
    what = f"the contents of a map are a mapping or a table, and not {type(value).__name__}"
    raise InputError(Problem(what, address=text, id="wrong-type"))


def _by_slot(declared: DesiredMap, value: object, text: str) -> dict[SlotKey, EntryRows]:
    """Entries of several slots of an outer map, from a mapping of mappings or a table with outer keys."""
    assert declared.outer is not None
    kind = declared.outer.key
    if isinstance(value, Mapping):
        keys = rows.encode(kind, list(value), text)
        parts = [
            _entries(declared, part, f"{declared.name}[{HIDDEN if kind.sensitive else key}]")
            for key, part in value.items()
        ]
        return {key.tobytes(): part for key, part in zip(keys, parts, strict=True)}
    if not isinstance(value, np.ndarray | ArrowTable):
        what = f"the contents of an outer map are a mapping or a table, and not {type(value).__name__}"
        raise InputError(Problem(what, address=text, id="wrong-type"))
    return _split(kind.normalise(rows.column(value, rows.OUTER, kind, text)), _entries(declared, value, text))


def _split(outer: Bytes, entries: EntryRows) -> dict[SlotKey, EntryRows]:
    first, number = entry_table.distinct(outer)
    order = entry_table.argsort(number)
    keys, values = entries.keys.take(order, axis=0), entries.values.take(order, axis=0)
    ends = np.cumsum(np.bincount(number, minlength=len(first))).tolist()
    return {
        outer[row].tobytes(): EntryRows(keys[start:end], values[start:end])
        for row, (start, end) in zip(first.tolist(), pairwise((0, *ends)), strict=True)
    }
