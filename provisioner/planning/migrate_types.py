"""The types of a live map, and how its keys and values become those of the new one. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from provisioner.codec.layouts import layout_of
from provisioner.codec.percpu import PerCpu
from provisioner.codec.reshape import Reshaping
from provisioner.codec.reshape_entries import EntryReshaping
from provisioner.codec.reshape_match import reshaping
from provisioner.model.desired import Constants, DesiredMap, Migration
from provisioner.model.host import ByteOrder
from provisioner.model.map_shape import MapShape
from provisioner.model.observed import ObservedMap
from provisioner.model.record import Meta
from provisioner.model.type_layout import EntryLayout, TypeLayout
from provisioner.model.uapi import MapType
from provisioner.observed.sources import LiveMaps
from provisioner.planning.changes import MigrationProblem
from provisioner.planning.recreation import relaid_because
from provisioner.planning.relaid import recorded_layout


@dataclass
class LiveTypes:
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

    def _live_layout(self) -> EntryLayout | None:
        """What the kernel knows of the types of the live map, else what is recorded of them."""
        if relaid_because(self.desired, self.observed) and self.observed.relaid is not None:
            return self.observed.relaid.before
        recorded = self._recorded()
        live = self.live_maps.layout(self.desired)
        if live is None or recorded is None:
            return live or recorded
        return replace(live, outer=recorded.outer)

    def _recorded(self) -> EntryLayout | None:
        types = self.meta.types.get(self.desired.name) if self.meta is not None else None
        return recorded_layout(types, self.byteorder) if types is not None else None

    def _layout(self, given: TypeLayout | None, known: TypeLayout | None, size: int, what: str) -> TypeLayout | None:
        """The layout of a key or value of the live map, of `size` bytes; None if it is unknown."""
        if given is not None and given.size != size:
            hint = "correct the types in the file of `from_types`"
            self._problem(
                f"`from_types` has {what} of {given.size} bytes, and the live map {size}", hint, id="migrate-types"
            )
        if given is not None:
            return given
        return known if known is not None and known.size == size else None

    def _reshaping(
        self, old: TypeLayout | None, size: int, new: TypeLayout, constants: Constants | None, what: str
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
        made, impossible = reshaping(old, new, self.policy.rename, row, members)
        for each in impossible:
            text = f"member `{each.member}` of the {what} cannot be converted: {each.before} -> {each.after}"
            self._problem(text, each.hint or "use `rename` and `set`, or keep the type", id="migrate-types")
        return None if impossible else made

    def outer(self) -> Reshaping | None:
        """How outer keys are converted; None for a plain map, or with a problem."""
        if self.desired.outer is None:
            return None
        known = self._live_layout()
        size, new = self.observed.shape.key_size, layout_of(self.desired.outer.key)
        old = self._layout(self.policy.outer_key, known.outer if known is not None else None, size, "an outer key")
        return self._reshaping(old, size, new, None, "outer key")

    def entries(self, shape: MapShape) -> EntryReshaping | None:
        desired, policy, known = self.desired, self.policy, self._live_layout()
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
        old_key = self._layout(policy.key, known.key if known is not None else None, shape.key_size, "a key")
        old_value = self._layout(policy.value, known.value if known is not None else None, shape.value_size, "a value")
        if MapType.LPM_TRIE in (shape.map_type, new_shape.map_type):
            # A prefix length counts the bits of the data as they are.
            old_key = new_key if shape.key_size == new_key.size else replace(new_key, size=shape.key_size, word="key")
        key = self._reshaping(old_key, shape.key_size, new_key, policy.key_constants, "key")
        value = self._reshaping(old_value, shape.value_size, new_value, policy.value_constants, "value")
        if key is None or value is None:
            return None
        cpus = desired.value.cpus if isinstance(desired.value, PerCpu) else 0
        return EntryReshaping(key, value, cpus)
