"""Differences as values: what becomes of each map, slot, entry, object and attachment."""

from __future__ import annotations

from enum import IntEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.codec.display import format_value
from provisioner.codec.reshape import Reshaping
from provisioner.codec.reshape_entries import EntryReshaping
from provisioner.model.attachment import Attachment, IfMissing
from provisioner.model.desired import DesiredMap, DesiredObject, Owner
from provisioner.model.entry_table import Index
from provisioner.model.map_shape import MapShape
from provisioner.model.observed import ObservedLink, ObservedMap
from provisioner.model.types import Bytes, Value
from provisioner.model.variables import Variable


class Action(IntEnum):
    """What becomes of a map or slot. KEEP: it is live, not in the spec, and policy says to leave it."""

    UNCHANGED = 0
    CREATE = 1
    UPDATE = 2
    REPLACE = 3
    DELETE = 4
    KEEP = 5


class EntryAction(IntEnum):
    INSERT = 0
    UPDATE = 1
    DELETE = 2


class Reason(IntEnum):
    """Why a slot changes."""

    NONE = 0
    NEW = 1
    ENTRIES = 2
    CAPACITY = 3
    TORN_READ = 4
    UNDECLARED_SHARE = 5
    NOT_IN_SPEC = 6
    SHARE = 7
    ASKED = 8
    TEMPLATE = 9
    NOT_OWNED = 10
    NOT_TARGETED = 11
    PRESET = 12
    FROZEN = 13
    REQUESTED = 14
    OBJECT_MAP = 15
    DESTROYED = 16


class SlotChanges(msgspec.Struct, frozen=True):
    """Every slot of either side, in the order that people read keys; all columns have shape (s,), `keys` (s, size).

    `desired` and `observed` are the slot's numbers in either state, -1 where it has none. The counts are net
    differences of entries, for every kind of update of the slot. `others` is the room that live entries take which stay
    although the spec does not have them: their number, in an array the highest index and one.
    """

    keys: Bytes
    action: NDArray[np.uint8]
    reason: NDArray[np.uint8]
    desired: Index
    observed: Index
    inserts: Index
    updates: Index
    deletes: Index
    unchanged: Index
    others: Index
    capacity_before: NDArray[np.uint32]

    def is_any(self, *actions: Action) -> NDArray[np.bool_]:
        """Which slots have one of these actions; NumPy's `isin` costs many times more for few of them."""
        chosen: NDArray[np.bool_] = self.action == actions[0]
        for action in actions[1:]:
            chosen |= self.action == action
        return chosen

    def where(self, action: Action) -> Index:
        return np.flatnonzero(self.action == action)


class EntryChanges(msgspec.Struct, frozen=True):
    """Entries that differ within slots that live on both sides, grouped by slot; c rows.

    `slot` numbers rows of SlotChanges; `row` is the desired row, -1 for a delete; `keys` (c, key_size); `before`
    (c, value_size), zero for an insert.
    """

    slot: Index
    action: NDArray[np.uint8]
    row: Index
    keys: Bytes
    before: Bytes

    def of_slot(self, slot: int) -> EntryChanges:
        first, last = np.searchsorted(self.slot, [slot, slot + 1])
        part = slice(int(first), int(last))
        return EntryChanges(self.slot[part], self.action[part], self.row[part], self.keys[part], self.before[part])


class Beyond(msgspec.Struct, frozen=True):
    """Slots and entries of a map that are live and not compared: limits are shares of all that is live."""

    slots: int = 0
    entries: int = 0


class MigrationProblem(msgspec.Struct, frozen=True):
    """What a migration cannot carry over; `override` is the option that lets it be lost, empty where there is none."""

    id: str
    address: str
    what: str
    hint: str
    override: str = ""


class Unfit(msgspec.Struct, frozen=True):
    """Live slots that the spec deletes, and whose keys the new outer map cannot have: they are no rows of a change.

    `addresses` have the old keys. Each field has one value for each slot; `entries` are 0 where they cannot be listed.
    """

    addresses: tuple[str, ...] = ()
    inner_ids: tuple[int, ...] = ()
    entries: tuple[int, ...] = ()


class Migrated(msgspec.Struct, frozen=True):
    """What becomes of the entries of a live map whose shape changes.

    `before` is the shape of the live maps that hold entries, `reshaping` how they become those of the new ones: None
    where they are not carried over, or where inner maps stay as they are. `outer` is the same for the outer keys.
    `entries` is the number of live entries that are carried over, or lost; None where they cannot be listed. `drop`
    says that the spec asks for their loss. `unfit` are slots that go because of their keys.
    """

    before: MapShape | None
    reshaping: EntryReshaping | None = None
    outer: Reshaping | None = None
    entries: int | None = None
    drop: bool = False
    problems: tuple[MigrationProblem, ...] = ()
    unfit: Unfit = Unfit()

    @property
    def is_carried(self) -> bool:
        """Whether entries are carried over."""
        return self.reshaping is not None


class Reinterpreted(msgspec.Struct, frozen=True):
    """Live entries that keep their bytes although their layout changes: `words` say how.

    `entries` is their number, None where they cannot be listed. `migrates` says that `migrate` would convert them.
    """

    words: tuple[str, ...]
    entries: int | None
    migrates: bool = True


class MapChange(msgspec.Struct, frozen=True):
    """The difference of one map. REPLACE means that the map itself is recreated.

    `resized` says that the new map takes over the inner maps of the live one: then `slots` and `entries` are the
    differences from those. `migrated` says what becomes of the entries if the live map has another shape or layout,
    `reinterpreted` what is left in an old layout.
    """

    name: str
    action: Action
    reason: str
    desired: DesiredMap
    observed: ObservedMap | None
    slots: SlotChanges
    entries: EntryChanges
    resized: bool = False
    beyond: Beyond = Beyond()
    migrated: Migrated | None = None
    reinterpreted: Reinterpreted | None = None

    @property
    def keeps_contents(self) -> bool:
        """Whether a map that is recreated loses nothing: its inner maps or entries go into the new one."""
        return self.resized or (self.migrated is not None and self.migrated.is_carried)

    @property
    def unfit(self) -> Unfit:
        """Live slots that are deleted, and have no key that a row could have."""
        return self.migrated.unfit if self.migrated is not None else Unfit()

    def slot_address(self, row: int) -> str:
        """How output and errors name a slot: `tenants[42]`; a plain map is named as itself."""
        if self.desired.outer is None:
            return self.name
        kind = self.desired.outer.key
        key = kind.conceal(kind.decode(self.slots.keys[row : row + 1])[0])
        return f"{self.name}[{format_value(key)}]"


class Word(msgspec.Struct, frozen=True):
    """1, 2, 4 or 8 bytes at an offset of a data section that is a multiple of their number: written by one store."""

    offset: int
    data: bytes


class VariableChange(msgspec.Struct, frozen=True):
    """A variable that differs. `before` has its live bytes, None if it is not live.

    `word` is what to write in place; None if the object must be loaded again.
    """

    pin: str
    variable: Variable
    before: bytes | None
    word: Word | None

    @property
    def name(self) -> str:
        return self.variable.name

    @property
    def value_before(self) -> Value:
        """The live value, decoded; None if there is none."""
        return None if self.before is None else self.variable.decode(self.before)

    @property
    def value(self) -> Value:
        """The value of the spec, decoded."""
        return self.variable.decode(self.variable.data)


class ObjectChange(msgspec.Struct, frozen=True):
    """An object to load. `carried` are the live maps that its programs go on using, `fresh` those that are created.

    `lost` are the ones among `fresh` that take the place of a live map, with what keeps that from being carried over.
    `borrowed` are maps that another object, which is loaded before, creates for both.
    `variables` are those that differ: of an object that is UNCHANGED, they are written in place. `reinterpreted` are
    maps among `carried` whose entries the new programs read in another layout.
    """

    name: str
    action: Action
    reason: str
    desired: DesiredObject
    carried: tuple[str, ...]
    fresh: tuple[str, ...]
    lost: tuple[tuple[str, str], ...]
    variables: tuple[VariableChange, ...] = ()
    borrowed: tuple[str, ...] = ()
    reinterpreted: tuple[tuple[str, Reinterpreted], ...] = ()


class LinkChange(msgspec.Struct, frozen=True):
    """One attachment of a program or map, its owner: `attach`, as the spec has it; None, and no owner, if it does not.

    `target` is the number of its attach point, None if that does not exist yet, 0 if the kind has none.
    """

    object: str
    owner: Owner | None
    attach: Attachment | None
    pin: str
    action: Action
    reason: str
    target: int | None
    observed: ObservedLink | None

    @property
    def is_deferred(self) -> bool:
        """Whether a later apply is to attach it; not so the events of CPUs that are offline, where a spec has all."""
        ignored = self.attach is not None and self.attach.if_missing is IfMissing.IGNORE
        return self.action is Action.KEEP and not ignored


Change = MapChange | ObjectChange | LinkChange
