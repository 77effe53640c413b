"""Objects with their programs, the shapes of their maps, and a dummy inner map for each outer map. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from provisioner import attach
from provisioner.attach.by_section import BySection
from provisioner.desired import jumps
from provisioner.model.attachment import Attachment
from provisioner.model.desired import AttachedMap, DesiredMap, DesiredObject, DesiredProgram, ObjectTypes
from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.map_shape import MapShape
from provisioner.model.object_file import ObjectInfo
from provisioner.model.spec import BpfObject, OuterMap, PlainMap, Program, Spec


class ObjectEncoder:
    """Encodes the objects of one spec. Errors go to `problems`."""

    def __init__(self, spec: Spec, possible_cpus: int, problems: Problems) -> None:
        self._spec = spec
        self._cpus = possible_cpus
        self._problems = problems

    def encode(self, declared_object: BpfObject, info: ObjectInfo, maps: Mapping[str, DesiredMap]) -> DesiredObject:
        """The object with the shapes of its maps, and a dummy inner map for each declared outer map."""
        for program in (*declared_object.programs, *declared_object.left_out):
            if program.name not in info.programs:
                self._problems.add(
                    f"object `{declared_object.name}` has no program `{program.name}`",
                    program.where,
                    did_you_mean(program.name, info.programs),
                    id="unknown-program",
                )
        reused = self._reused(declared_object.name, info)
        shapes: dict[str, MapShape] = {}
        templates: dict[str, MapShape] = {}
        for name, definition in sorted(info.maps.items()):
            if definition.internal or name in reused:
                continue
            declared = maps.get(name)
            mine = declared is not None and declared_object.name in declared.objects
            shapes[name] = declared.shape if declared is not None and mine else definition.shape
            if not definition.shape.is_outer:
                continue
            if declared is not None and mine:
                templates[name] = declared.entry_shape
            elif definition.inner is None and name not in self._spec.outer_maps:
                self._problems.add(
                    f"outer map `{name}` of object `{declared_object.name}` has no inner template",
                    declared_object.where,
                    f"declare `{name}` under `outer_maps` with `object: {declared_object.name}` and `inner:`",
                    id="missing-field",
                )
        where = declared_object.where
        programs = tuple(self._program(program, declared_object, info) for program in declared_object.programs)
        helpers = jumps.unlisted_programs(declared_object, info)
        presets = {each.name: frozenset(each.presets) for each in info.maps.values() if each.presets}
        made = DesiredObject(declared_object.name, info.file, info.digest, programs, shapes, templates, where)
        ids = {each.name: (each.btf_key_type_id, each.btf_value_type_id) for each in info.maps.values()}
        types = ObjectTypes(info.btf, {name: pair for name, pair in ids.items() if all(pair)}) if info.btf else None
        attached = tuple(self._attached_maps(declared_object, info))
        return replace(made, helpers=helpers, presets=presets, reused=reused, types=types, attached_maps=attached)

    def _attached_maps(self, declared_object: BpfObject, info: ObjectInfo) -> Iterator[AttachedMap]:
        for name, settings in sorted(declared_object.maps.items()):
            definition = info.maps.get(name)
            if settings.attach is None or definition is None:
                continue
            attachment, misfit = attach.of_map(settings.attach, definition)
            if misfit is not None:
                address = f"{declared_object.name}.{name}"
                where = settings.attach.where
                self._problems.add(misfit.what, where, misfit.hint, address, id="attach-unsupported")
            yield AttachedMap(name, (attachment,), settings.where)

    def _reused(self, name: str, info: ObjectInfo) -> dict[str, str]:
        """The maps of an object that the spec adopts for it, and the paths of their pins."""
        both: list[PlainMap | OuterMap] = [*self._spec.maps.values(), *self._spec.outer_maps.values()]
        return {
            each.name: each.pin.text or ""
            for each in both
            if each.pin is not None and each.adopts and name in each.objects and each.name in info.maps
        }

    def _program(self, program: Program, declared_object: BpfObject, info: ObjectInfo) -> DesiredProgram:
        attachments, definition = list(program.attachments), info.programs.get(program.name)
        for at, declared in enumerate(program.attachments if definition is not None else ()):
            assert definition is not None
            attachments[at], misfit = attach.of_program(declared, definition)
            if misfit is not None:
                address = f"{declared_object.name}.{program.name}"
                self._problems.add(misfit.what, declared.where, misfit.hint, address, id="attach-unsupported")
        settings = program.settings
        if any(isinstance(each, BySection) and each.prefix == "usdt" for each in attachments):
            settings = replace(settings, type="usdt")  # of the type of its link: libbpf has links of its own for it
        places = self._places(attachments, f"{declared_object.name}.{program.name}")
        of_map = _attached_with(declared_object, info).get(program.name, "")
        return DesiredProgram(program.name, program.pin, places, program.where, settings, of_map)

    def _places(self, declared: Sequence[Attachment], address: str) -> tuple[Attachment, ...]:
        """The attachments on this host. Reports those that have a CPU in common; others are compared as written."""
        named: dict[str, Attachment] = {}
        for attachment in declared:
            for each in attachment.at_each(self._cpus):
                first = named.setdefault(each.hook, attachment)
                if first.hook != attachment.hook:
                    what = f"the program is attached to `{each.hook}` twice (first at {first.where})"
                    self._problems.add(what, each.where, "remove one of the two", address, id="duplicate-key")
                    break
        return tuple(each for attachment in declared for each in attachment.at_each(self._cpus))


def _attached_with(declared_object: BpfObject, info: ObjectInfo) -> dict[str, str]:
    """The programs that are part of an attached map, and its name."""
    return {
        program: name
        for name, settings in sorted(declared_object.maps.items())
        if settings.attach is not None and name in info.maps and (value := info.maps[name].struct_ops) is not None
        for program in value.programs.values()
    }
