"""The kinds of attachments, one file each: its fields in the spec, its description, its link. Pure.

To add a kind, add a file, a row of `KINDS`, and its fields in the schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from provisioner.attach.by_section import BySection, unsupported
from provisioner.attach.cgroup import Cgroup
from provisioner.attach.netns import Netns
from provisioner.attach.perf_event import PerfEvent
from provisioner.attach.sections import key_of, not_attached
from provisioner.attach.struct_ops import StructOps
from provisioner.attach.tc import Tc
from provisioner.attach.tcx import Tcx
from provisioner.attach.xdp import Xdp
from provisioner.model.attachment import Attachment, IfMissing, Settings
from provisioner.model.location import Location
from provisioner.model.object_file import MapDef, ProgramDef
from provisioner.model.observed import ObservedLink
from provisioner.model.uapi import LinkType
from provisioner.model.words import with_article

AnyAttachment = Xdp | Tcx | Tc | Cgroup | Netns | PerfEvent | BySection | StructOps

KINDS: Final[Mapping[str, type[AnyAttachment]]] = {
    kind.kind: kind for kind in (Xdp, Tcx, Tc, Cgroup, Netns, PerfEvent, BySection, StructOps)
}
"""The key of the spec -> the kind; the schema has the fields of each, except for maps: those have `auto` only."""


def read(kind: str, fields: Mapping[str, str], where: Location) -> Attachment:
    """An attachment of the spec."""
    if_missing = IfMissing(fields["if_missing"]) if fields.get("if_missing") in ("fail", "defer") else IfMissing.FAIL
    return KINDS[kind].read(fields, where, if_missing)


class AttachMisfit(msgspec.Struct, frozen=True):
    """Why a program cannot be attached as the spec says, and what to write instead."""

    what: str
    hint: str


def of_program(attachment: Attachment, program: ProgramDef) -> tuple[Attachment, AttachMisfit | None]:
    """The attachment, with what the program's section adds; and why the program cannot be attached so, or None."""
    misfit = _misfit(attachment.kind, program)
    match attachment:
        case BySection():
            return replace(attachment, section=program.section), misfit
        case Cgroup() | Netns():
            return replace(attachment, attach_type=program.attach_type), misfit
        case _:
            return attachment, misfit


def of_map(attachment: Attachment, definition: MapDef) -> tuple[Attachment, AttachMisfit | None]:
    """The attachment of a map, with what its value adds; and why the map cannot be attached, or None."""
    value = definition.struct_ops
    if value is None:
        kind = with_article(definition.shape.map_type.word)
        what = f"map `{definition.name}` is {kind}: of maps, only a struct_ops can be attached"
        return attachment, AttachMisfit(what, "remove `attach:`, and write it for a program")
    assert isinstance(attachment, StructOps)
    return replace(attachment, struct=value.struct, name=value.name), None


def _misfit(kind: str, program: ProgramDef) -> AttachMisfit | None:
    """A program without a type has another problem, which is reported where types are read."""
    if not program.type:
        return None
    refused = not_attached(program)
    if refused is not None:
        why, hint = refused
        return AttachMisfit(f"section `{program.section}` cannot be attached from a spec: {why}", hint)
    key = key_of(program)
    if not key and kind == BySection.kind:
        why = unsupported(program.section)
        return AttachMisfit(why, "write `target:`, or leave out `attach:`") if why else None
    if kind in _ALIKE.get(key, (key or BySection.kind,)):
        return None
    wanted = f"{{{key}: ...}}" if key else BySection.kind
    return AttachMisfit(f"section `{program.section}` cannot be attached by `{kind}`", f"write `attach: {wanted}`")


_ALIKE: Final[Mapping[str, tuple[str, ...]]] = {"tcx": ("tcx", "tc")}
"""Keys for programs of one type."""


def to_record(attachment: Attachment, number: int | None) -> dict[str, str | None]:
    """What the record keeps of an attachment, to make the same link again.

    `number` is that of its attach point: the kernel does not show the inode of a probed file, which is recorded too.
    """
    point = attachment.point
    inode = {"inode": str(number)} if point is not None and point.kind == "file" and number is not None else {}
    return {"kind": attachment.kind, **attachment.settings(), **inode}


def of_record(recorded: Settings | None, live: ObservedLink) -> Attachment | None:
    """The attachment that made a live link, from the record; None if that is unknown."""
    nowhere = Location("")
    fields = {name: value for name, value in (recorded or {}).items() if value is not None}
    kind = fields.pop("kind", "xdp" if live.type is LinkType.XDP else "")
    if kind not in KINDS:
        return None
    made = KINDS[kind].read(fields, nowhere, IfMissing.FAIL)
    return replace(made, attach_type=live.attach_type) if isinstance(made, Cgroup | Netns) else made
