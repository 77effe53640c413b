"""What the slots of a prog_array are to hold: what the spec lists, and else what the object puts there. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from provisioner.codec.program_ref import ProgramRef
from provisioner.desired.entries import Encoded
from provisioner.model.desired import Sources
from provisioner.model.entry_table import EntryTable, argsort
from provisioner.model.errors import Problems
from provisioner.model.object_file import MapDef, ObjectInfo
from provisioner.model.spec import BpfObject, PlainMap
from provisioner.model.types import InvalidTextError
from provisioner.model.uapi import MapType


def program_names(objects: Iterable[BpfObject]) -> tuple[str, ...]:
    """How entries of a prog_array name the programs of the spec: `parse_v4`, or `lb.parse_v4` if several have it."""
    pairs = [(each.name, program.name) for each in objects for program in each.programs]
    counts = Counter(name for _, name in pairs)
    return tuple(name if counts[name] == 1 else f"{owner}.{name}" for owner, name in pairs)


def with_presets(
    encoded: Encoded, plain: PlainMap, value: ProgramRef, definition: MapDef | None, problems: Problems
) -> Encoded:
    """The entries, and the object's own for the slots that the spec does not list."""
    if definition is None or not definition.presets:
        return encoded
    table, sources = encoded.entries, encoded.sources
    listed = {int.from_bytes(key.tobytes(), value.byteorder) for key in table.keys}
    added: list[tuple[int, bytes]] = []
    for slot, program in definition.presets.items():
        if slot not in listed:
            try:
                added.append((slot, value.parse_one(_known(program, plain.object, value))))
            except InvalidTextError:
                what = f"the object puts program `{program}` into slot {slot}, and the spec does not load it"
                hint = f"list `{program}` under `programs:` of `{plain.object}`; `load: false` keeps the slot empty"
                problems.add(what, plain.where, hint, plain.name, id="preset-not-loaded")
    keys = np.array([slot for slot, _ in added], np.dtype("<u4" if value.byteorder == "little" else ">u4"))
    values = np.frombuffer(b"".join(data for _, data in added), np.uint8).reshape(-1, 4)
    keys_of_all = np.concatenate((table.keys, keys.view(np.uint8).reshape(-1, 4)))
    order = argsort(np.ascontiguousarray(keys_of_all).view(keys.dtype).ravel().astype(np.uint32))
    whole = EntryTable(
        np.zeros(1, np.int64),
        np.array([len(order)], np.int64),
        keys_of_all[order],
        np.concatenate((table.values, values))[order],
    )
    files = (*sources.files, plain.where.file)
    file = np.concatenate((sources.file, np.full(len(added), len(files) - 1, np.uint16)))
    line = np.concatenate((sources.line, np.full(len(added), plain.where.line, np.uint32)))
    return Encoded(whole, Sources(files, file, line, sources.overlays, sources.variables).part(order))


def _known(program: str, owner: str | None, value: ProgramRef) -> str:
    return program if program in value.names else f"{owner}.{program}"


def unlisted_programs(declared: BpfObject, info: ObjectInfo) -> tuple[str, ...]:
    """Programs that the object puts into its prog_arrays and that the spec does not list: libbpf loads them, too."""
    listed = {program.name for program in declared.programs}
    arrays = (each for each in info.maps.values() if each.shape.map_type is MapType.PROG_ARRAY)
    wanted = dict.fromkeys(name for each in arrays for name in each.presets.values())
    return tuple(name for name in wanted if name in info.programs and name not in listed)
