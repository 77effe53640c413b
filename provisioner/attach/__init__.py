"""The kinds of attachments, one file each: its fields in the spec, its description, its link. Pure.

To add a kind, add a file, a row of `KINDS`, and its fields in the schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from provisioner.attach.by_section import BySection, unsupported
from provisioner.attach.cgroup import Cgroup
from provisioner.attach.netns import Netns
from provisioner.attach.tcx import Tcx
from provisioner.attach.xdp import Xdp
from provisioner.model.attachment import Attachment, IfMissing, Settings
from provisioner.model.location import Location
from provisioner.model.object_file import ProgramDef
from provisioner.model.observed import ObservedLink
from provisioner.model.uapi import LinkType

AnyAttachment = Xdp | Tcx | Cgroup | Netns | BySection

KINDS: Final[Mapping[str, type[AnyAttachment]]] = {kind.kind: kind for kind in (Xdp, Tcx, Cgroup, Netns, BySection)}
"""The key of the spec -> the kind; the schema has the fields of each."""


def read(kind: str, fields: Mapping[str, str], where: Location) -> Attachment:
    """An attachment of the spec."""
    if_missing = IfMissing(fields["if_missing"]) if fields.get("if_missing") in ("fail", "defer") else IfMissing.FAIL
    return KINDS[kind].read(fields, where, if_missing)


def of_program(attachment: Attachment, program: ProgramDef) -> tuple[Attachment, str]:
    """The attachment, with what the program's section adds; and why the program cannot be attached so, or nothing."""
    match attachment:
        case BySection():
            return replace(attachment, section=program.section), unsupported(program.section)
        case Cgroup() | Netns():
            return replace(attachment, attach_type=program.attach_type), ""
        case _:
            return attachment, ""


def to_record(attachment: Attachment) -> dict[str, str | None]:
    """What the record keeps of an attachment, to make the same link again."""
    return {"kind": attachment.kind, **attachment.settings()}


def of_record(recorded: Settings | None, live: ObservedLink) -> Attachment | None:
    """The attachment that made a live link, from the record; None if that is unknown."""
    nowhere = Location("")
    fields = {name: value for name, value in (recorded or {}).items() if value is not None}
    kind = fields.pop("kind", "xdp" if live.type is LinkType.XDP else "")
    if kind not in KINDS:
        return None
    made = KINDS[kind].read(fields, nowhere, IfMissing.FAIL)
    return replace(made, attach_type=live.attach_type) if isinstance(made, Cgroup | Netns) else made
