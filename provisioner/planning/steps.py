"""Steps: what apply does, one after the other. A closed set of values; maps are named, never held by fd."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from provisioner.model.entry_table import Index
from provisioner.model.moved import PendingMove, PendingSlot
from provisioner.model.record import Meta
from provisioner.model.words import plural
from provisioner.planning.changes import Action


class ClaimPinRoot(msgspec.Struct, frozen=True):
    """Make the pin directory and record, in `_meta`, that it is ours, what gets a pin, and what is being loaded.

    `places` are the paths of pins outside of the pin root, `directories` those that are created for them.
    """

    pending: tuple[str, ...]
    pins: tuple[str, ...]
    places: Mapping[str, str] = {}
    directories: tuple[str, ...] = ()

    def describe(self) -> str:
        created = f", and create {', '.join(self.directories)}" if self.directories else ""
        return f"claim the pin root{created}"


class Sweep(msgspec.Struct, frozen=True):
    """Remove the temporary pins that an apply left which was killed."""

    def describe(self) -> str:
        return "remove what a killed apply left behind"


class LoadObject(msgspec.Struct, frozen=True):
    """Load an object with a dummy inner map for each outer map, and pin what is new under temporary names.

    `carried` maps are live ones that the programs go on using; `fresh` ones are made; `borrowed` ones were made by the
    load of another object.
    """

    object: str
    carried: tuple[str, ...]
    fresh: tuple[str, ...]
    borrowed: tuple[str, ...] = ()

    def describe(self) -> str:
        kept = f", carrying over {', '.join(self.carried)}" if self.carried else ""
        shared = f", sharing the new {', '.join(self.borrowed)}" if self.borrowed else ""
        return f"load {self.object}{kept}{shared}"


class CreateMap(msgspec.Struct, frozen=True):
    """Create a standalone map, fill it, and pin it last; `over` replaces a pin."""

    map: str
    over: bool

    def describe(self) -> str:
        return f"create {self.map} and pin it" + (" in the place of the old one" if self.over else "")


class MoveRoot(msgspec.Struct, frozen=True):
    """Rename the pin root, with all that is in it."""

    old: str
    new: str

    def describe(self) -> str:
        return f"rename the pin root {self.old} to {self.new}"


class MovePins(msgspec.Struct, frozen=True):
    """Rename pins and directories whose names the spec changed; what they hold stays as it is."""

    moves: tuple[PendingMove, ...]

    def describe(self) -> str:
        return f"rename {', '.join(f'{each.move.old} to {each.move.new}' for each in self.moves)}"


class MoveSlots(msgspec.Struct, frozen=True):
    """Put live inner maps of an outer map into other slots, and empty those that they were in.

    `at_once` of them are in both slots at the same time: the map has no room for more.
    """

    map: str
    slots: tuple[PendingSlot, ...]
    at_once: int

    def describe(self) -> str:
        return f"move {plural(len(self.slots), 'inner map')} of {self.map} into other slots"


class PublishSlots(msgspec.Struct, frozen=True):
    """Create and fill inner maps, then put them into their slots, wave by wave.

    `slots` are rows of the change's SlotChanges; `fresh` says that the outer map is of the generation being loaded.
    """

    map: str
    slots: Index
    fresh: bool

    def describe(self) -> str:
        return f"publish {plural(len(self.slots), 'inner map')} in {self.map}"


class CarrySlots(msgspec.Struct, frozen=True):
    """Put live inner maps into the new map of another size; `slots` are rows of the change's SlotChanges.

    With `create`, the new map is created first and takes the pin afterwards; else it is one that an object brought.
    """

    map: str
    slots: Index
    create: bool

    def describe(self) -> str:
        return f"carry {plural(len(self.slots), 'inner map')} of {self.map} into a new map"


class PinInnerMaps(msgspec.Struct, frozen=True):
    """Pin inner maps that live in their slots already; `slots` are rows of the change's SlotChanges."""

    map: str
    slots: Index

    def describe(self) -> str:
        return f"pin {plural(len(self.slots), 'inner map')} of {self.map}"


class UnpinInnerMaps(msgspec.Struct, frozen=True):
    """Remove the pins of all inner maps, once all else is done and verified."""

    def describe(self) -> str:
        return "unpin inner maps"


class SetAccess(msgspec.Struct, frozen=True):
    """Give live pins and directories the mode and group of the spec; paths from the pin root."""

    pins: tuple[str, ...]

    def describe(self) -> str:
        return f"set mode and group of {plural(len(self.pins), 'pin')}"


class WriteEntries(msgspec.Struct, frozen=True):
    """Write the differing entries of live maps in place."""

    map: str
    slots: Index
    fresh: bool

    def describe(self) -> str:
        return f"write entries of {self.map} in place"


class WriteVariables(msgspec.Struct, frozen=True):
    """Write the variables of a loaded object that differ, each by one store."""

    object: str

    def describe(self) -> str:
        return f"write variables of {self.object} in place"


class Attach(msgspec.Struct, frozen=True):
    """Attach a program or map, or make its link run the new one (UPDATE), or attach it elsewhere (REPLACE).

    `place` says which attachment it is of an owner that has several.
    """

    object: str
    owner: str
    pin: str
    action: Action
    place: str = ""

    def describe(self) -> str:
        place = f": {self.place}" if self.place else ""
        if self.action is Action.UPDATE:
            return f"switch the link to the new {self.owner}{place}"
        return f"attach {self.owner}{place}"


class CarryChanges(msgspec.Struct, frozen=True):
    """Carry what programs changed in the old maps since the copy into the new ones, which they use by now."""

    map: str

    def describe(self) -> str:
        return f"carry over what changed in {self.map} since the copy"


class CommitObject(msgspec.Struct, frozen=True):
    """Rename the new generation's pins over the old ones."""

    object: str

    def describe(self) -> str:
        return f"pin the new {self.object}"


class DeleteSlots(msgspec.Struct, frozen=True):
    """Empty slots of a live map; `slots` are rows of the change's SlotChanges."""

    map: str
    slots: Index

    def describe(self) -> str:
        return f"delete {plural(len(self.slots), 'inner map')} from {self.map}"


class Detach(msgspec.Struct, frozen=True):
    """Detach a link that nothing asks for, and remove its pin."""

    pin: str

    def describe(self) -> str:
        return f"detach {self.pin}"


class Unpin(msgspec.Struct, frozen=True):
    """Take a pin away."""

    pin: str

    def describe(self) -> str:
        return f"unpin {self.pin}"


class RecordMeta(msgspec.Struct, frozen=True):
    """Write `_meta`. This is the last step, so that a killed apply is seen as unfinished.

    Which maps the programs use is not known before they are loaded: apply fills it in.
    """

    meta: Meta

    def describe(self) -> str:
        return "record what the kernel cannot return"


class RemoveDirectories(msgspec.Struct, frozen=True):
    """Remove the directories that were created for pins outside of the pin root, unless others use them."""

    paths: tuple[str, ...]

    def describe(self) -> str:
        return f"remove {', '.join(self.paths)} if empty"


class RemovePinRoot(msgspec.Struct, frozen=True):
    """Remove the empty pin root."""

    def describe(self) -> str:
        return "remove the pin root"


Step = (
    Sweep
    | ClaimPinRoot
    | MoveRoot
    | MovePins
    | MoveSlots
    | LoadObject
    | CreateMap
    | CarrySlots
    | PublishSlots
    | PinInnerMaps
    | UnpinInnerMaps
    | SetAccess
    | WriteEntries
    | WriteVariables
    | Attach
    | CommitObject
    | CarryChanges
    | DeleteSlots
    | Detach
    | Unpin
    | RecordMeta
    | RemoveDirectories
    | RemovePinRoot
)
