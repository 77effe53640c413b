"""Programs of an object with the type and target that the spec gives them. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from provisioner.model.errors import Problems
from provisioner.model.object_file import ObjectInfo, ProgramDef
from provisioner.model.program_types import PROGRAM_TYPES, WITH_BTF_TARGET
from provisioner.model.spec import BpfObject, Program


def typed(object_: BpfObject, info: ObjectInfo, problems: Problems) -> ObjectInfo:
    """The object, whose programs have the type, attach type and section that they are loaded with."""
    programs = dict(info.programs)
    for program in object_.programs:
        definition = programs.get(program.name)
        if definition is not None:
            programs[program.name] = _typed(object_, program, definition, problems)
    return replace(info, programs=programs)


def _typed(object_: BpfObject, program: Program, definition: ProgramDef, problems: Problems) -> ProgramDef:
    settings, address = program.settings, f"{object_.name}.{program.name}"
    hook, _, target = definition.section.partition("/")
    if settings.type is not None:
        kind = PROGRAM_TYPES[settings.type]
        hook, target = settings.type, target if hook == settings.type else ""
        definition = replace(definition, type=kind.type, attach_type=kind.attach_type)
    target = settings.target or target
    if program.pin.startswith("_"):
        what = f"`{program.pin}` cannot be the name of a pin: names that begin with `_` are reserved"
        problems.add(what, program.where, "write its `pin:`", address, id="pin-reserved")
    if not definition.type:
        what = f"section `{definition.section}` does not say the type of program `{program.name}`"
        hint = "write its `type:`, or `load: false`"
        problems.add(what, program.where, hint, address, id="program-type-unknown")
    elif definition.type in WITH_BTF_TARGET and not target:
        what = f"program `{program.name}` is loaded for a function of the kernel, and names none"
        problems.add(what, program.where, "write its `target:`", address, id="program-target-missing")
    if settings.type is None and settings.target is None:
        return definition
    return replace(definition, section=f"{hook}/{target}" if target else hook)
