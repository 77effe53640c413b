"""The variables of an object: from the values that the spec writes to bytes in the object's data sections. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from msgspec.structs import replace

from provisioner.codec.btf import BtfTypes
from provisioner.codec.btf_variables import BtfVariable, section_name, variables
from provisioner.codec.build import Builder
from provisioner.model.desired import DesiredObject
from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.object_file import MapDef, ObjectInfo
from provisioner.model.spec import BpfObject, VariableValue
from provisioner.model.tree import flatten
from provisioner.model.variables import DataSection, Variable, section_pin


class _Known(msgspec.Struct, frozen=True):
    map: MapDef
    section: str
    variable: BtfVariable


def encode_variables(
    object_: BpfObject, info: ObjectInfo, btf: BtfTypes | None, builder: Builder, problems: Problems
) -> tuple[DataSection, ...]:
    """The sections in which the spec sets variables; `builder` has the object's BTF as its own."""
    if not object_.variables:
        return ()
    known = _known(info, btf) if btf is not None else {}
    by_section: dict[str, list[Variable]] = {}
    for name, value in object_.variables.items():
        if name not in known:
            what = f"object `{object_.name}` has no variable `{name}` in .rodata, .data or .bss"
            hint = did_you_mean(name, known, "compile it with `-g`" if btf is None else "")
            problems.add(what, value.where, hint, object_.name, id="unknown-variable")
            continue
        encoded = _encode(f"{object_.name}.{name}", known[name].variable, value, builder, problems)
        if encoded is not None:
            by_section.setdefault(known[name].map.name, []).append(encoded)
    sections = {each.map.name: each for each in known.values()}
    return tuple(
        DataSection(
            name,
            section_pin(object_.name, sections[name].section),
            sections[name].map.shape,
            sections[name].section.startswith(".rodata"),
            tuple(each),
        )
        for name, each in sorted(by_section.items())
    )


def with_variables(desired: DesiredObject, sections: tuple[DataSection, ...]) -> DesiredObject:
    """The object with its variables: the maps of their sections are pinned with its other maps."""
    return replace(desired, variables=sections, maps={**desired.maps, **{each.pin: each.shape for each in sections}})


def _known(info: ObjectInfo, btf: BtfTypes) -> Mapping[str, _Known]:
    return {
        variable.name: _Known(definition, section, variable)
        for definition in info.maps.values()
        if definition.internal and (section := section_name(btf, definition.btf_value_type_id))
        for variable in variables(btf, definition.btf_value_type_id)
    }


def _encode(
    address: str, variable: BtfVariable, value: VariableValue, builder: Builder, problems: Problems
) -> Variable | None:
    kind = builder.from_btf_id(variable.type, value.where, null_pointers=True)
    if kind is None:
        return None
    scalars = dict(flatten(value.node))
    out = np.zeros((1, kind.size), np.uint8)
    faults = kind.encode({path: [scalar.text] for path, scalar in scalars.items()}, out)
    for fault in faults:
        at = scalars.get(fault.path)
        problems.add(fault.what, value.where if at is None else at.where, fault.hint, address, id=fault.id)
    return None if faults else Variable(variable.name, variable.offset, kind, out.tobytes(), value.where)
