"""What a schema cannot express about attachments: hooks that have room for one program. Pure."""

from __future__ import annotations

from provisioner.model.errors import Problems
from provisioner.model.location import Location
from provisioner.model.spec import Spec


def check(spec: Spec, problems: Problems) -> None:
    """Report programs that would be attached where another program of the spec is."""
    taken: dict[str, tuple[str, Location]] = {}
    for declared in spec.objects.values():
        for program in declared.programs:
            place = program.attach.room_for_one if program.attach is not None else ""
            if not place or program.attach is None:
                continue
            first = taken.setdefault(place, (f"{declared.name}.{program.name}", program.attach.where))
            if first[1] != program.attach.where:
                what = f"{place} has room for one program, which is `{first[0]}` ({first[1]})"
                hint = program.attach.instead
                problems.add(what, program.attach.where, hint, f"{declared.name}.{program.name}", id="hook-occupied")
