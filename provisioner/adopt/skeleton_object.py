"""The `objects:` section of a draft: sizes, global variables, programs and the attachment that fits each. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

from msgspec.structs import replace

from provisioner.adopt.skeleton_types import SkeletonTypes
from provisioner.attach.by_section import unsupported
from provisioner.attach.sections import first_word, key_of, not_attached
from provisioner.codec.display import format_value
from provisioner.model.object_file import ObjectInfo, ProgramDef
from provisioner.model.program_types import PROGRAM_TYPES, STRUCT_OPS, WITH_BTF_TARGET
from provisioner.model.uapi import BARE_TYPES, STACK_SIZE, STORAGE_TYPES, MapType

_EXTENSION: Final = 28
"""BPF_PROG_TYPE_EXT."""

_SIZELESS: Final = STORAGE_TYPES | {MapType.STRUCT_OPS, MapType.PERF_EVENT_ARRAY}
_CPUS: Final = 64
"""Slots of a cpumap, which the kernel limits to its number of CPUs (NR_CPUS)."""

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_MOST_CHARACTERS: Final = 255
_GUESSES: Final = {"tc": "tc", "tcx": "tc", "classifier": "tc", "xdp": "xdp", "socket": "socket"}
"""How sections begin that some versions of libbpf do not know -> the type that they mean."""

_TARGETS: Final = ("function", "category/tracepoint", "file:function")
"""What a section may need to name."""

_PREFIXES: Final = {"lsm": "bpf_lsm_", "lsm_cgroup": "bpf_lsm_", "tp_btf": "btf_trace_", "iter": "bpf_iter_"}
"""What libbpf puts before a target to find it in the BTF of the kernel."""

_WIDTH: Final = 50
_INTERFACE: Final = "interface: eth0"


def is_declarable(name: str) -> bool:
    """Whether a spec can declare a map with this name: it is the name of its pin."""
    return len(name) <= _MOST_CHARACTERS and re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]*", name) is not None


def _is_identifier(name: str) -> bool:
    """Whether a spec can name a program or a variable so: as C can."""
    return len(name) <= _MOST_CHARACTERS and _IDENTIFIER.fullmatch(name) is not None


def kernel_targets(info: ObjectInfo) -> dict[str, str]:
    """For each program that is loaded for a function of the kernel, the name of that function in the kernel's BTF."""
    return {
        name: _PREFIXES.get(first_word(each.section), "") + each.section.partition("/")[2]
        for name, each in info.programs.items()
        if each.type in WITH_BTF_TARGET and "/" in each.section
    }


def object_lines(
    info: ObjectInfo, types: SkeletonTypes, name: str, file: str, no_target: Collection[str]
) -> Iterator[str]:
    """The object with this name, whose path the spec writes as `file`; `no_target` as in `skeleton`."""
    yield f"  {format_value(name)}:"
    relative = "" if file.startswith("/") else "  # relative to this file"
    yield f"    file: {format_value(file)}{relative}"
    yield from _variables(types, info)
    yield from _settings(info)
    taken = {one.name for one in info.maps.values()}
    programs = [each for each in info.programs.values() if _is_identifier(each.name)]
    if programs:
        yield "    programs:"
    for unnamed in (each for each in info.programs.values() if not _is_identifier(each.name)):
        yield f"      # {format_value(unnamed.name)}: not loaded; the spec cannot declare this name"
    for definition in programs:
        pin = _pin(definition.name, taken)
        taken.add(pin)
        yield from _program(definition, pin, has_target=definition.name not in no_target)


def _variables(types: SkeletonTypes, info: ObjectInfo) -> Iterator[str]:
    variables = [
        (name, section, kind)
        for definition in info.maps.values()
        if definition.internal
        for name, section, kind in types.variables(definition.btf_value_type_id)
        if _is_identifier(name)
    ]
    if variables:
        yield "    # variables:  # set before load; those of .rodata are constants of the programs"
    for name, section, kind in variables:
        short = kind if len(kind) <= _WIDTH else kind[: _WIDTH - 3] + "..."
        yield f"    #   {name}: VALUE  # {short}, {format_value(section)}"


def _settings(info: ObjectInfo) -> Iterator[str]:
    """Settings without which the object cannot be loaded."""
    lines: list[str] = []
    for name, definition in sorted(info.maps.items()):
        shape = definition.shape
        if definition.internal:
            continue
        if shape.map_type is MapType.STRUCT_OPS and not all(
            each.autoload for each in info.programs.values() if each.type == STRUCT_OPS
        ):
            lines.append(f"      {format_value(name)}: {{autocreate: false}}  # it needs its programs")
        elif definition.struct_ops is not None:
            struct = definition.struct_ops.struct
            lines.append(f"    #   {format_value(name)}: {{attach: auto}}  # attach {struct}, on Linux 6.4 or later")
        elif shape.is_outer and definition.inner is None and not is_declarable(name):
            lines.append(f"      {format_value(name)}: {{autocreate: false}}  # the spec cannot declare this name")
        else:
            sizes = {}
            if not shape.max_entries and shape.map_type not in _SIZELESS:
                sizes["max_entries"] = _usual_size(shape.map_type)
            if shape.map_type is MapType.STACK_TRACE and not shape.value_size:
                sizes["value_size"] = STACK_SIZE
            if sizes:
                written = ", ".join(f"{field}: {size}" for field, size in sizes.items())
                lines.append(f"      {format_value(name)}: {{{written}}}  # the object leaves the size to its loader")
    if any(not line.lstrip().startswith("#") for line in lines):
        yield "    maps:"
        yield from lines
    elif lines:
        yield "    # maps:"
        yield from lines


def _usual_size(kind: MapType) -> int:
    return 262144 if kind in BARE_TYPES else _CPUS if kind is MapType.CPUMAP else 1024


def _pin(name: str, taken: set[str]) -> str:
    """A name for the pin of a program: maps are pinned in the same directory."""
    pin = re.sub(r"[^A-Za-z0-9_-]", "_", name).lstrip("_-") or "program"
    while pin in taken:
        pin += "_program"
    return pin


def _program(definition: ProgramDef, pin: str, *, has_target: bool) -> Iterator[str]:
    yield f"      {format_value(definition.name)}:  # section {format_value(definition.section)}"
    if not definition.autoload:
        yield "        load: false  # the section begins with `?`: remove this line to load it"
        return
    guess = None if definition.type else _guess(definition.section)
    if guess is not None:
        kind = PROGRAM_TYPES[guess]
        definition = replace(definition, type=kind.type, attach_type=kind.attach_type)
    if not definition.type:
        yield "        load: false  # the section does not say the type: write `type:` and remove this line"
        return
    if definition.type == _EXTENSION:
        yield "        load: false  # it extends another program, which the spec cannot name"
        return
    names_target = "/" in definition.section
    if definition.type in WITH_BTF_TARGET and not (names_target and has_target):
        why = "this kernel has no such function:" if names_target else "which function of the kernel?"
        yield f"        load: false  # {why} write `target:` and remove this line"
        return
    yield f"        pin: {format_value(pin)}"
    if guess is not None:
        yield f"        type: {guess}  # by its name: libbpf does not know this section"
    yield from (f"        # {line}" for line in _attach(definition, names_target))


def _guess(section: str) -> str | None:
    """The type that a section means, which this libbpf does not know."""
    word = first_word(section)
    return word if word in PROGRAM_TYPES else _GUESSES.get(re.split("[/_.]", section)[0])


def _attach(definition: ProgramDef, has_target: bool) -> Iterator[str]:
    """Comments with the `attach:` that fits a program."""
    refused = not_attached(definition)
    if refused is not None:
        yield f"a spec cannot attach it: {refused[0]}"
        return
    match key_of(definition):
        case "xdp":
            yield f"attach: {{xdp: {{{_INTERFACE}, mode: native, if_missing: fail}}}}"
        case "tcx":
            direction = "egress" if "egress" in f"{definition.section} {definition.name}" else "ingress"
            yield f"attach: {{tcx: {{{_INTERFACE}, direction: {direction}}}}}  # `tc:` for Linux before 6.6"
        case "perf_event":
            yield "attach: {perf_event: {event: cpu_clock, sample_freq: 99}}  # on each CPU"
        case "cgroup":
            yield "attach: {cgroup: {path: system.slice}}  # below the mount of cgroup v2"
        case "netns":
            yield "attach: {netns: {path: /run/netns/NAME}}"
        case _ if not unsupported(definition.section):
            yield "attach: auto"
        case _ if first_word(definition.section) in ("uprobe", "uretprobe"):
            yield "target: NAME  # PATH:FUNCTION"
            yield "attach: auto"
        case _ if not has_target and any(not unsupported(f"{definition.section}/{each}") for each in _TARGETS):
            yield "target: NAME"
            yield "attach: auto"
        case _:
            yield "the spec has no attachment for this section: a prog_array or another tool runs it"
