"""The whole export: find live maps, read them, choose types, write the spec."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from provisioner import document
from provisioner.adopt.export import Exported, export, map_name
from provisioner.adopt.found import FoundMap
from provisioner.adopt.naming import Named, Naming, read_naming
from provisioner.adopt.owning import recorded_members
from provisioner.adopt.survey import survey
from provisioner.codec.btf import BtfTypes
from provisioner.codec.layout import Struct, Union
from provisioner.codec.recorded import recorded
from provisioner.codec.spelling import HERE, Vocabulary
from provisioner.desired import loading
from provisioner.kernel import bpffs
from provisioner.kernel import host as this_host
from provisioner.model.desired import DesiredMap, DesiredState
from provisioner.model.errors import HostError, InputError, Problems
from provisioner.model.pins import META_PIN
from provisioner.model.record import Meta, RecordedTypes
from provisioner.model.type_expr import BtfType
from provisioner.model.uapi import BARE_TYPES, KEYLESS_TYPES
from provisioner.observed import metamap, pinned_btf
from provisioner.observed.observe import LiveReader

_USUAL: Final = Path("/sys/fs/bpf")


def export_live(
    pins: Iterable[Path],
    ids: Iterable[int],
    names: Iterable[str],
    types: Path | None,
    project: str,
    *,
    tables: bool,
) -> Exported:
    """Live maps as a spec of the project `project`; `types` is a file with their types.

    Raises InputError for maps that do not exist and types that do not fit, and HostError.
    """
    naming, btf = (Naming(), {}) if types is None else _naming(types)
    host = this_host.read_host()
    live_maps = survey(pins, ids, names, host)
    naming = _with_recorded_members(naming, live_maps)
    return export(
        live_maps, naming, host.byteorder, project, pin_root=_pin_root(live_maps, project), tables=tables, btf=btf
    )


def export_project(desired: DesiredState, names: Collection[str] = ()) -> Exported:
    """The live maps of a project as a spec that adopts them, with the project's types; only `names`, if there are any.

    Raises InputError if a type is sensitive, and HostError.
    """
    wanted = (each for name, each in desired.maps.items() if not names or name in names)
    reader = LiveReader(desired)
    pins = {Path(reader.pin_of(each)): each for each in wanted}
    live_maps = [
        replace(live, template=pins[Path(live.pin)].entry_shape if live.shape.is_outer else None)
        for live in survey((pin for pin in pins if pin.exists()), (), (), desired.host)
    ]
    vocabulary, btf = Vocabulary({}), dict[str, BtfTypes]()
    named = {map_name(pin): _named(each, vocabulary) for pin, each in pins.items()}
    for live in live_maps:
        key = _outer_key(live, pins[Path(live.pin)], btf) if named[map_name(live.pin)].outer_key is None else None
        if key is not None:
            named[map_name(live.pin)] = replace(named[map_name(live.pin)], outer_key=key)
    naming = Naming(vocabulary.types, named)
    root = "" if Path(desired.pin_root) == _USUAL / desired.project else desired.pin_root
    return export(live_maps, naming, desired.host.byteorder, desired.project, pin_root=root, tables=False, btf=btf)


def _outer_key(live: FoundMap, each: DesiredMap, btf: dict[str, BtfTypes]) -> BtfType | None:
    """The key of an outer map by the BTF of its inner maps, added to `btf`: the kernel keeps none of outer maps."""
    key = each.outer.key if each.outer is not None else None
    if not isinstance(key, Struct | Union) or not key.name:
        return None
    name = f"{'struct' if isinstance(key, Struct) else 'union'} {key.name}"
    with suppress(InputError):  # no inner map has BTF
        types = BtfTypes(pinned_btf.read(live.pin))
        if types.find(name):
            btf[live.pin] = types
            return BtfType(name, live.pin, (), HERE)
    return None


def _named(each: DesiredMap, vocabulary: Vocabulary) -> Named:
    """The types of a map, as far as the spec language can express them; the others come from BTF."""
    outer_key = vocabulary.express(each.outer.key) if each.outer is not None else None
    no_key = each.entry_shape.map_type in KEYLESS_TYPES | BARE_TYPES
    return Named(
        outer_key,
        None if no_key else vocabulary.express(each.key),
        None if each.entry_shape.map_type in BARE_TYPES else vocabulary.express(each.value),
        recorded_members(recorded(None, each.key, each.value)),
    )


def _with_recorded_members(naming: Naming, live_maps: Sequence[FoundMap]) -> Naming:
    """The same names, with the owned members of maps that have them in the record of their project alone."""
    maps = dict(naming.maps)
    # Of two pins with one name, the first has it in the export.
    pins = {map_name(each.pin): Path(each.pin) for each in reversed(live_maps) if each.pin}
    ids = {each.pin: each.id for each in live_maps}
    records = _Records()
    for name, pin in pins.items():
        named = maps.get(name, Named())
        if named.members is None and (members := recorded_members(records.of(pin, ids[str(pin)]))):
            maps[name] = replace(named, members=members)
    return replace(naming, maps=maps)


class _Records:
    """The records of projects on this host, each read once."""

    def __init__(self) -> None:
        self._read: dict[Path, Meta | None] = {}

    def of(self, pin: Path, number: int) -> RecordedTypes | None:
        """The types of a map with the id `number` in the record of its project; None where there is none.

        That record is beside the pin, unless the map has a pin elsewhere.
        """
        beside = pin.parent / META_PIN
        record = self._at(beside)
        if record is not None and pin.name in record.types:
            return record.types[pin.name]
        for path in self._elsewhere:
            record = self._at(path)
            for name in () if record is None or path == beside else record.types:
                if record is not None and record.maps.get(name) == number:
                    return record.types[name]
        return None

    @cached_property
    def _elsewhere(self) -> list[Path]:
        return sorted(path for path in bpffs.walk_pins() if path.name == META_PIN)

    def _at(self, pin: Path) -> Meta | None:
        """A record; None where it is missing, or not one of ours."""
        if pin not in self._read:
            try:
                self._read[pin] = metamap.read(pin)
            except HostError:
                self._read[pin] = None
        return self._read[pin]


def _naming(path: Path) -> tuple[Naming, dict[str, BtfTypes]]:
    """The types of the file, and the BTF that they come from."""
    problems = Problems()
    tree = document.load([path], problems=problems).tree
    naming = read_naming(tree, problems)
    btf: dict[str, BtfTypes] = {}
    loading.read_host_btf(naming.btf_types(), btf, pinned_btf.read, problems)
    problems.raise_if_any()
    return naming, btf


def _pin_root(live_maps: Iterable[FoundMap], project: str) -> str:
    """A directory on the bpffs of the pins, if it is not the usual bpffs."""
    pinned = next((Path(one.pin) for one in live_maps if one.pin), None)
    if pinned is None or pinned.is_relative_to(_USUAL):
        return ""
    mounts = [mount for mount in map(Path, bpffs.mounts()) if pinned.is_relative_to(mount)]
    return str(max(mounts, key=lambda mount: len(mount.parts)) / project) if mounts else ""
