"""From a spec to the desired state in the kernel's bytes. Pure.

The caller reads object files and tables. One run reports the problems of all maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np
from msgspec.structs import replace

from provisioner.codec.btf import BtfTypes
from provisioner.codec.counters import counters, others
from provisioner.codec.program_ref import ProgramRef
from provisioner.codec.resolve import Lookup
from provisioner.desired import jumps, members, sharing
from provisioner.desired.configured import configured, with_type_sizes
from provisioner.desired.entries import Encoded, Group, encode_entries
from provisioner.desired.migration import ReadTypes, encode_migration
from provisioner.desired.moved import with_moves
from provisioner.desired.objects import ObjectEncoder
from provisioner.desired.owned_members import refuse_replace, with_owned_members
from provisioner.desired.ranges import number_range
from provisioner.desired.raw_values import fill, refuse_keyless
from provisioner.desired.resolve import ResolvedMap, Resolver
from provisioner.desired.rows import EncodedRows, EntryEncoder, EntrySource
from provisioner.desired.slots import SlotWriter, Written
from provisioner.desired.variables import encode_variables, with_variables
from provisioner.model import entry_table
from provisioner.model.desired import (
    CONTENTS,
    DesiredMap,
    DesiredSlots,
    DesiredState,
    Migration,
    OuterPolicy,
    OwnedRange,
)
from provisioner.model.errors import Problems
from provisioner.model.host import Host
from provisioner.model.location import Location
from provisioner.model.object_file import ObjectInfo
from provisioner.model.spec import (
    Contents,
    Entries,
    FromTypes,
    Migrate,
    OnConflict,
    OuterMap,
    PlainMap,
    Policy,
    SharedInnerMap,
    Spec,
    TableRef,
    Update,
)
from provisioner.model.tree import RawChunk, RawEntries, ScalarNode
from provisioner.model.types import Type

TableReader = Callable[[TableRef], Iterable[RawChunk]]


def _no_types(_: ScalarNode) -> FromTypes | None:
    return None


def encode(
    spec: Spec,
    host: Host,
    objects: Mapping[str, ObjectInfo],
    read_table: TableReader,
    btf: Mapping[str, BtfTypes],
    lookups: Mapping[str, Lookup],
    problems: Problems,
    read_types: ReadTypes = _no_types,
) -> DesiredState:
    """The desired state of `spec`. Raises InputError with all problems, including those in `problems` before."""
    spec = sharing.with_sharers(spec, objects, problems)
    settled = configured(spec, host, objects, problems)
    sharing.check_shapes({name: info for name, (info, _) in settled.items()}, spec, problems)
    resolver = Resolver(spec, host, {name: info for name, (info, _) in settled.items()}, btf, lookups, problems)
    encoder = Encoder(spec, host, read_table, resolver, problems, read_types)
    encoded = [encoder.outer(outer) for outer in spec.outer_maps.values()]
    encoded += [encoder.plain(plain) for plain in spec.maps.values()]
    maps = {desired.name: desired for desired in encoded if desired is not None}
    resolver.unused_types()
    object_encoder = ObjectEncoder(spec, host.possible_cpus, problems)
    loaded = {
        name: with_variables(
            replace(
                object_encoder.encode(spec.objects[name], info, maps),
                settings=with_type_sizes(name, info, settings, maps),
            ),
            encode_variables(spec.objects[name], info, btf.get(name), resolver.builder(name), problems),
        )
        for name, (info, settings) in settled.items()
    }
    problems.raise_if_any()
    access = spec.pin_inner_maps, spec.pin_mode, spec.pin_group
    made = DesiredState(spec.name, spec.pin_root, host, loaded, maps, spec.limits, *access)
    return with_moves(replace(made, approvals=spec.approvals), spec.moved, problems)


_NAMED: Final = 5
"""Members that one message names."""


class Encoder:
    """Encodes the maps of one spec. Errors go to `problems`, and the result for that map is None."""

    def __init__(
        self,
        spec: Spec,
        host: Host,
        read_table: TableReader,
        resolver: Resolver,
        problems: Problems,
        read_types: ReadTypes = _no_types,
    ) -> None:
        self._spec = spec
        self._host = host
        self._read_table = read_table
        self._read_types = read_types
        self._resolver = resolver
        self._problems = problems

    def plain(self, plain: PlainMap) -> DesiredMap | None:
        resolved = self._resolver.plain(plain)
        if resolved is None:
            return None
        resolved = self._with_owned_members(plain.policy, resolved, plain.name)
        contents = plain.policy.contents or (Contents.EXACT if plain.entries is not None else Contents.IGNORE)
        group = Group(resolved.shape.max_entries, plain.where, lambda: plain.name, contents is Contents.PRESENT)
        owned = self._owned(plain.policy, resolved.key, plain.name)
        encoder = EntryEncoder(resolved.key, resolved.value, local := Problems())
        encoder.take([EntrySource(self._chunks(plain.entries), 0, group.address)])
        encoded = self._encode(encoder.finish(), [group], resolved, owned, local)
        if isinstance(resolved.value, ProgramRef) and contents is not Contents.IGNORE:
            definition = self._resolver.definition(plain)
            encoded = jumps.with_presets(encoded, plain, resolved.value, definition, self._problems)
        slots = DesiredSlots(
            np.zeros((1, 0), np.uint8),
            np.array([resolved.shape.max_entries], np.uint32),
            np.array([CONTENTS.index(contents)], np.uint8),
            np.array([-1], np.int32),
            (plain.where,),
        )
        desired = self._desired(plain, resolved, None, slots, encoded)
        migration = self._migration(plain.policy.migrate, resolved, plain)
        conflict = self._on_conflict(plain.policy.on_conflict, resolved, plain.name, plain.where)
        filled = plain.fields.filled_flags
        return replace(desired, owned=owned, filled_flags=filled, on_conflict=conflict, migration=migration)

    def outer(self, outer: OuterMap) -> DesiredMap | None:
        template = self._spec.inner_templates.get(outer.inner)
        resolved = self._resolver.outer(outer)
        if template is None or resolved is None or resolved.outer_key is None:
            return None
        outer_key = resolved.outer_key
        resolved = self._with_owned_members(template.policy, resolved, template.name)
        if template.policy.owned_members is not None and outer.policy.update is Update.REPLACE:
            refuse_replace(template.policy.owned_members, outer.name, self._problems)
        shared = [other for other in self._spec.shared_inner_maps.values() if other.inner == outer.inner]
        definition = self._resolver.definition(outer)
        presets = definition.presets if definition is not None and not outer.adopts else {}
        members.check(outer, resolved.entry_shape, self._resolver.objects, self._problems)
        writer = SlotWriter(outer, template, resolved, shared, self._host, self._problems, presets)
        owned = self._owned(outer.policy, outer_key, outer.name)
        owned_entries = self._owned(template.policy, resolved.key, template.name)
        written, encoded = self._contents(outer, writer, shared, resolved, owned, owned_entries)
        slots, order = written.in_reading_order(outer_key)
        own = len(shared) + written.owner[order]
        picked = np.where(slots.shared >= 0, slots.shared, own)
        table = replace(encoded.entries, starts=encoded.entries.starts[picked], counts=encoded.entries.counts[picked])
        policy = OuterPolicy(
            outer_key,
            outer.inner,
            outer.extra_inner_maps,
            tuple(other.name for other in shared),
            owned,
            template.where,
            members=written.members,
        )
        desired = self._desired(outer, resolved, policy, slots, Encoded(table, encoded.sources))
        return replace(
            desired,
            # Single members are written in place: a new map for each change would take what others write with it.
            update=Update.IN_PLACE
            if resolved.value.owns_part
            else outer.policy.update or template.policy.update or Update.AUTO,
            on_replace=outer.policy.on_replace or template.policy.on_replace,
            on_conflict=self._on_conflict(
                outer.policy.on_conflict or template.policy.on_conflict,
                resolved,
                outer.name,
                outer.where if outer.policy.on_conflict is not None else template.where,
            ),
            owned=owned_entries,
            filled_flags=template.fields.filled_flags,
            migration=self._migration(outer.policy.migrate or template.policy.migrate, resolved, outer),
            prevent_destroy=outer.prevent_destroy or template.prevent_destroy,
            limits=outer.limits,
        )

    def _on_conflict(self, written: OnConflict | None, resolved: ResolvedMap, name: str, where: Location) -> OnConflict:
        """Only counters have a sum: of another member, an addition makes a wrong value."""
        chosen = written or OnConflict.NEW
        if chosen is OnConflict.SUM and counters(resolved.value, self._host.byteorder) is None:
            wrong = list(others(resolved.value, self._host.byteorder)) or [f"the value is {resolved.value.describe()}"]
            named = ", ".join(wrong[:_NAMED]) + (", ..." if len(wrong) > _NAMED else "")
            what = f"`on_conflict: sum` adds integers of 4 or 8 bytes in the byte order of the host, and {named}"
            self._problems.add(what, where, "write `on_conflict: new` or `old`", name, id="sum-without-counters")
        return chosen

    def _migration(
        self, written: Migrate | None, resolved: ResolvedMap, declared: PlainMap | OuterMap
    ) -> Migration | None:
        types, outer_key = (resolved.key, resolved.value), resolved.outer_key
        builder = partial(self._resolver.with_types, declared.object)
        return encode_migration(written, *types, outer_key, self._read_types, builder, declared.name, self._problems)

    def _contents(
        self,
        outer: OuterMap,
        writer: SlotWriter,
        shared: Sequence[SharedInnerMap],
        resolved: ResolvedMap,
        owned: tuple[OwnedRange, ...],
        owned_entries: tuple[OwnedRange, ...],
    ) -> tuple[Written, Encoded]:
        """The slots of an outer map and their entries by group; the groups of shared inner maps come first."""
        assert resolved.outer_key is not None
        encoder = EntryEncoder(resolved.key, resolved.value, local := Problems())
        groups = [self._shared_group(other, resolved, writer.contents) for other in shared]
        encoder.take(
            EntrySource(self._chunks(other.entries), number, groups[number].address)
            for number, other in enumerate(shared)
        )
        base = len(shared)
        if isinstance(outer.inner_maps, TableRef):
            written, rows = self._keyed(outer.inner_maps, outer, writer, encoder, resolved.outer_key, base, owned)
            groups += self._groups(outer, writer, written)
        else:
            written = writer.write(outer.inner_maps, owned)
            groups += (own := self._groups(outer, writer, written))
            encoder.take(
                EntrySource(self._chunks(inner.entries), base + number, own[number].address)
                for number, inner in enumerate(outer.inner_maps)
            )
            rows = encoder.finish()
        return written, self._encode(rows, groups, resolved, owned_entries, local)

    def _keyed(
        self,
        table: TableRef,
        outer_map: OuterMap,
        writer: SlotWriter,
        encoder: EntryEncoder,
        outer: Type,
        base: int,
        owned: tuple[OwnedRange, ...],
    ) -> tuple[Written, EncodedRows]:
        """A table that fills many inner maps: each row has an outer key. The groups begin at `base`."""
        keys = encoder.take_keyed(self._chunks(table), outer, outer_map.name, writer.address)
        rows = encoder.finish()
        first, number = entry_table.distinct(keys)
        number += base
        rows.group[len(rows.group) - len(number) :] = number
        return writer.write_keyed(keys[first], table.where, owned), rows

    @staticmethod
    def _groups(outer: OuterMap, writer: SlotWriter, written: Written) -> list[Group]:
        key_of = dict(zip(written.owner.tolist(), range(len(written.owner)), strict=True))
        groups = []
        for number, inner in enumerate(written.inners):
            at = key_of.get(number)
            address = (lambda: outer.name) if at is None else partial(writer.address_of, written.keys, at)
            groups.append(Group(inner.capacity, inner.where, address, inner.contents is Contents.PRESENT))
        return groups

    def _desired(
        self,
        declared: PlainMap | OuterMap,
        resolved: ResolvedMap,
        outer: OuterPolicy | None,
        slots: DesiredSlots,
        encoded: Encoded,
    ) -> DesiredMap:
        return DesiredMap(
            name=declared.name,
            shape=resolved.shape,
            entry_shape=resolved.entry_shape,
            outer=outer,
            object=None if declared.adopts else declared.object,
            also=() if declared.adopts else declared.also,
            adopted=declared.pin.text if declared.pin is not None and declared.adopts else None,
            place=declared.pin.text if declared.pin is not None and declared.own else None,
            key=resolved.key,
            value=resolved.value,
            slots=slots,
            entries=encoded.entries,
            sources=encoded.sources,
            update=declared.policy.update or Update.IN_PLACE,
            on_replace=declared.policy.on_replace,
            owned=(),
            limits=declared.limits,
            prevent_destroy=declared.prevent_destroy,
            after=tuple(scalar.text or "" for scalar in declared.after),
            where=declared.where,
        )

    def _with_owned_members(self, policy: Policy, resolved: ResolvedMap, address: str) -> ResolvedMap:
        value = with_owned_members(policy, resolved.value, resolved.entry_shape, address, self._problems)
        return replace(resolved, value=value)

    def _owned(self, policy: Policy, key: Type, address: str) -> tuple[OwnedRange, ...]:
        ranges = (number_range(owned, key, self._host, self._problems, address) for owned in policy.owned_keys)
        return tuple(numbers for numbers in ranges if numbers is not None)

    def _chunks(self, entries: Entries | None) -> Iterator[RawChunk]:
        """Entries as text; a file is read when its entries are needed."""
        match entries:
            case None:
                return
            case TableRef():
                yield from refuse_keyless(entries, self._read_table(entries), self._problems)
            case RawEntries():
                for chunk in entries.chunks:
                    yield from fill(chunk, self._read_table, self._problems)

    def _encode(
        self,
        rows: EncodedRows,
        groups: Sequence[Group],
        resolved: ResolvedMap,
        owned: tuple[OwnedRange, ...],
        local: Problems,
    ) -> Encoded:
        byteorder = self._host.byteorder
        encoded = encode_entries(rows, groups, resolved.entry_shape, resolved.key, local, byteorder, owned)
        self._problems.extend(local)
        return encoded

    @staticmethod
    def _shared_group(shared: SharedInnerMap, resolved: ResolvedMap, contents: Contents) -> Group:
        capacity = shared.max_entries or resolved.entry_shape.max_entries
        return Group(capacity, shared.where, lambda: shared.name, contents is Contents.PRESENT)
