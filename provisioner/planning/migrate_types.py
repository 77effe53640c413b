"""The types of a live map, and how its keys and values become those of the new one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from provisioner.codec.layouts import layout_of
from provisioner.codec.percpu import per_cpu
from provisioner.codec.reshape import Reshaping
from provisioner.codec.reshape_entries import EntryReshaping
from provisioner.codec.reshape_match import reshaping
from provisioner.model.desired import Constants, DesiredMap, Migration
from provisioner.model.host import ByteOrder
from provisioner.model.map_shape import MapShape
from provisioner.model.observed import ObservedMap
from provisioner.model.record import Meta
from provisioner.model.type_layout import EntryLayout, TypeLayout, has_same_places
from provisioner.model.uapi import MapType
from provisioner.model.words import with_article
from provisioner.observed.sources import LiveMaps
from provisioner.planning.changes import MigrationProblem
from provisioner.planning.recreation import relaid_because, replaced_because
from provisioner.planning.relaid import recorded_layout, recorded_types

Part = Literal["key", "value", "outer"]

_WORDS: Final[Mapping[Part, str]] = {"key": "key", "value": "value", "outer": "outer key"}


class _Old(msgspec.Struct, frozen=True):
    """The layout of a live key or value; `is_ordered` says that it has the byte order of integers."""

    layout: TypeLayout
    is_ordered: bool


def _is_same(live: TypeLayout | None, recorded: TypeLayout) -> bool:
    """Whether recorded types are those of the live map, as far as the kernel knows these."""
    return live is None or has_same_places(live, recorded)


class LiveTypes(msgspec.Struct, dict=True):
    """The types of one live map; what cannot be converted goes to `problems`."""

    desired: DesiredMap
    observed: ObservedMap
    policy: Migration
    live_maps: LiveMaps
    meta: Meta | None
    byteorder: ByteOrder
    problems: list[MigrationProblem]

    def _problem(self, what: str, hint: str, *, id: str) -> None:
        self.problems.append(MigrationProblem(id, self.desired.name, what, hint))

    @cached_property
    def _live(self) -> EntryLayout | None:
        """What the kernel knows of the types of the live map."""
        return self.live_maps.layout(self.desired)

    @cached_property
    def _recorded(self) -> EntryLayout | None:
        """What is recorded of the types of the live map."""
        if relaid_because(self.desired, self.observed) and self.observed.relaid is not None:
            return self.observed.relaid.before
        types = recorded_types(self.desired, self.observed.id, self.meta)
        return recorded_layout(types, self.byteorder) if types is not None else None

    def _layout(self, part: Part, given: TypeLayout | None, size: int) -> _Old | None:
        """The layout of a key or value of the live map, of `size` bytes; None if it is unknown."""
        if given is not None and given.size != size:
            hint = "correct the types in the file of `from_types`"
            what = f"`from_types` has {with_article(_WORDS[part])} of {given.size} bytes, and the live map {size}"
            self._problem(what, hint, id="migrate-types")
        if given is not None:
            return _Old(given, True)
        live: TypeLayout | None = getattr(self._live, part, None)
        recorded: TypeLayout | None = getattr(self._recorded, part, None)
        if recorded is not None and recorded.size == size and (self._is_relaid or _is_same(live, recorded)):
            return _Old(recorded, True)
        return _Old(live, False) if live is not None and live.size == size else None

    @property
    def _is_relaid(self) -> bool:
        return bool(relaid_because(self.desired, self.observed))

    @cached_property
    def _keeps_bytes(self) -> bool:
        """Whether the live map would stay as it is without a migration."""
        return not replaced_because(replace(self.desired, migration=None), self.observed, self.meta)

    def _reshaping(
        self, old: _Old | None, size: int, new: TypeLayout, constants: Constants | None, what: str
    ) -> Reshaping | None:
        """How a key or value is converted; None with a problem."""
        if old is None and size == new.size:
            return reshaping(new, new)[0]
        if old is None:
            hint = "write `from_types: FILE` with the types of the live map"
            self._problem(
                f"the types of the live map are unknown: its {what} has {size} bytes", hint, id="migrate-types"
            )
            return None
        row, members = (constants.row, constants.members) if constants is not None else (None, frozenset[str]())
        made, impossible = reshaping(old.layout, new, self.policy.rename, row, members, is_ordered=old.is_ordered)
        for each in impossible:
            text = f"member `{each.member}` of the {what} cannot be converted: {each.before} -> {each.after}"
            hint = each.hint or "use `rename` and `set`, or keep the type"
            hint += "; without `migrate`, entries keep their bytes" if self._keeps_bytes else ""
            self._problem(text, hint, id="migrate-types")
        return None if impossible else made

    def outer(self) -> Reshaping | None:
        """How outer keys are converted; None for a plain map, or with a problem."""
        if self.desired.outer is None:
            return None
        size, new = self.observed.shape.key_size, layout_of(self.desired.outer.key)
        old = self._layout("outer", self.policy.outer_key, size)
        return self._reshaping(old, size, new, None, "outer key")

    def entries(self, shape: MapShape) -> EntryReshaping | None:
        desired, policy = self.desired, self.policy
        new_shape = desired.entry_shape
        tries = {MapType.LPM_TRIE in (each.map_type,) for each in (shape, new_shape)}
        if (
            not (shape.is_listable and new_shape.is_listable)
            or shape.is_percpu != new_shape.is_percpu
            or len(tries) > 1
        ):
            text = f"entries of {shape.map_type.word} cannot be carried into {new_shape.map_type.word}"
            self._problem(text, "write `migrate: drop` to discard them", id="migrate-types")
            return None
        new_key, new_value = layout_of(desired.key), layout_of(desired.value)
        old_key = self._layout("key", policy.key, shape.key_size)
        old_value = self._layout("value", policy.value, shape.value_size)
        if MapType.LPM_TRIE in (shape.map_type, new_shape.map_type):
            # A prefix length counts the bits of the data as they are.
            if shape.key_size != new_key.size:
                text = f"prefixes of {shape.key_size} bytes cannot become {desired.key.describe()}"
                self._problem(text, "keep the key, or write `migrate: drop` to discard them", id="migrate-types")
                return None
            old_key = _Old(new_key, False)
        key = self._reshaping(old_key, shape.key_size, new_key, policy.key_constants, "key")
        value = self._reshaping(old_value, shape.value_size, new_value, policy.value_constants, "value")
        if key is None or value is None:
            return None
        each = per_cpu(desired.value)
        cpus = each.cpus if each is not None else 0
        return EntryReshaping(key, value, cpus)
