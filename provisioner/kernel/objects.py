"""Compiled BPF objects: what is in them, without a system call; and their loading, dummy inner maps included."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

from msgspec.structs import replace

from provisioner import object_check
from provisioner.codec.btf import BtfTypes
from provisioner.codec.btf_specials import specials_of
from provisioner.files.reading import OBJECT, InputFile, hint_of
from provisioner.kernel import binding, calls, libbpf, maps, object_probe, object_settings, structures, unopened
from provisioner.kernel.fd import Fd, FdSet, MapFd, OwnedFd, ProgramFd
from provisioner.kernel.reasons import LOAD, KernelError
from provisioner.kernel.struct_ops import write_value
from provisioner.model.errors import InputError, Problem, Problems, RefusedError, did_you_mean
from provisioner.model.location import Location
from provisioner.model.map_shape import MapShape
from provisioner.model.object_file import MapDef, ObjectInfo, ProgramDef
from provisioner.model.object_settings import MapSettings, ProgramSettings
from provisioner.model.uapi import FD_MODES, OUTER_TYPES, PERF_EVENT_SIZE, MapFlag, MapType
from provisioner.model.variables import Written
from provisioner.object_check.presets import presets, without_presets
from provisioner.object_check.struct_ops import as_one_section, struct_ops

EmittedBtf = tuple[bytes, int, int]
"""BTF to be loaded, and the ids of the key's and the value's type in it."""

_WITHOUT_TARGET: Final = re.compile(r"prog '([^']+)': no BTF-based attach target is specified")

_COMPILE: Final = "compile it with `clang -O2 -g -target bpf -c`"

_NOTHING: Final[Mapping[str, MapFd]] = MappingProxyType({})


class LoadedObject:
    """The maps and programs of a loaded object, each fd owned here until it is closed, or disowned by the caller."""

    __slots__ = ("maps", "owned", "programs")

    def __init__(self) -> None:
        self.maps: dict[str, MapFd] = {}
        self.programs: dict[str, ProgramFd] = {}
        self.owned: FdSet[Fd] = FdSet()

    def close(self) -> None:
        self.owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def inspect(source: Path | InputFile | bytes, name: str = "object") -> ObjectInfo:
    """What is in an object file, or in its bytes; `name` is what errors call the bytes.

    Makes no BPF system call. Raises `InputError` for what is not a BPF object, and for one with maps of the old kind.
    """
    content = _read(source)
    data = as_one_section(content)
    with _opened(source, data, name) as handle:
        btf = calls.raw_btf(handle)
        types = BtfTypes(btf) if btf else None
        return ObjectInfo(
            file=_place(source, name).file,
            maps=_with_presets((_map_def(at, types) for at in _each(libbpf.object_next_map, handle)), data, types),
            programs={one.name: one for one in map(_program_def, _each(libbpf.object_next_program, handle))},
            btf=btf,
            digest=hashlib.sha256(content).hexdigest(),
        )


@contextmanager
def load(
    source: Path | InputFile | bytes,
    *,
    inner_templates: Mapping[str, MapShape] = MappingProxyType({}),
    template_btf: Mapping[str, EmittedBtf] = MappingProxyType({}),
    reuse: Mapping[str, MapFd] = _NOTHING,
    settings: Mapping[str, MapSettings] = MappingProxyType({}),
    variables: Written = MappingProxyType({}),
    programs: Mapping[str, ProgramSettings] = MappingProxyType({}),
    only_programs: Collection[str] | None = None,
    digest: str | None = None,
    name: str = "object",
) -> Iterator[LoadedObject]:
    """Create an object's maps and load its programs. Nothing is pinned or attached; `PIN_BY_NAME` is not heeded.

    `inner_templates` gives the template of outer maps by name, in place of what the object declares: the dummy inner
    map made from it is closed before this returns or raises. `template_btf` is theirs, where their values hold fields
    of the kernel's own. `reuse` gives live maps to use instead of new ones; they stay the caller's, and their slots as
    they are. `settings`, `variables` and `programs` are set before load. Of `only_programs` the rest is not loaded, and
    slots for it stay empty.
    `digest` is that of the inspected file.
    Raises `InputError` for names that the object does not have and for outer maps without a template, `RefusedError`
    where the file is another one by now, and `KernelError` with libbpf's and the verifier's log.
    """
    data = _read(source)
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        what = "object file changed after the plan was made"
        raise RefusedError(Problem(what, _place(source, name), "plan again", id="stale-plan"))
    data = as_one_section(data)
    with LoadedObject() as loaded:  # owned here throughout: what fails on the way to the caller leaves no fd
        with _opened(source, without_presets(data, reuse, only_programs), name) as handle, FdSet[MapFd]() as dummies:
            handles = {_name(libbpf.map_name, at): at for at in _each(libbpf.object_next_map, handle)}
            program_handles = {_name(libbpf.program_name, at): at for at in _each(libbpf.object_next_program, handle)}
            left_out = {map_name for map_name, one in settings.items() if not one.autocreate}
            _check_names(
                _place(source, name), handles, program_handles, inner_templates, reuse, only_programs, left_out
            )
            with binding.captured_log() as log:
                try:
                    for map_name, at in handles.items():
                        libbpf.map_set_pin_path(at, None)  # or libbpf would pin it, and reuse what is pinned there
                        object_settings.complete(at)
                        if map_name in settings:
                            object_settings.configure(at, settings[map_name])
                        if map_name in variables:
                            object_settings.set_variables(at, variables[map_name])
                        if map_name in reuse:
                            libbpf.map_reuse_fd(at, reuse[map_name].number)
                        elif map_name in inner_templates:
                            dummy = dummies.add(_dummy(inner_templates[map_name], map_name, template_btf.get(map_name)))
                            libbpf.map_set_inner_map_fd(at, dummy.number)
                    for program_name, at in program_handles.items():
                        libbpf.program_set_autoload(at, only_programs is None or program_name in only_programs)
                        if program_name in programs:
                            object_settings.set_program(at, programs[program_name])
                    libbpf.object_load(handle)
                except KernelError as error:
                    said = "".join(log)
                    # Of all that a load does, only the verifier's refusal of a program has a log.
                    operation = "load" if error.operation == LOAD and "PROG LOAD LOG" not in said else error.operation
                    name = error.name or str(_place(source, name))
                    if error.operation != LOAD:
                        _free_module_btf(handle)
                    if (untargeted := _WITHOUT_TARGET.search(said)) is not None:
                        raise InputError(_without_target(untargeted[1], _place(source, name))) from None
                    raise KernelError(operation, error.errno, name=name, log=said) from None
            _take(loaded, handles, program_handles, only_programs)
            attached = [map_name for map_name, one in settings.items() if one.attach is not None]
            values = struct_ops(data, BtfTypes(calls.raw_btf(handle))) if attached else {}
        for map_name in attached:
            if map_name in values:
                write_value(loaded.maps[map_name], values[map_name], loaded.programs, name=map_name)
        yield loaded  # libbpf has closed its object


def _without_target(program: str, place: Location) -> Problem:
    what = f"program `{program}` is loaded for a function of the kernel, and names none"
    hint = "write its `target:`; programs in slots of a prog_array are loaded also if the spec does not list them"
    return Problem(what, place, hint, id="program-target-missing")


def _free_module_btf(handle: int) -> None:
    """Let libbpf close the BTF of modules that it opened for a target: it does so only at the end of a load.

    Nothing is left to be loaded.
    """
    for at in _each(libbpf.object_next_map, handle):
        libbpf.map_set_autocreate(at, False)
    for at in _each(libbpf.object_next_program, handle):
        libbpf.program_set_autoload(at, False)
    with suppress(KernelError):
        libbpf.object_load(handle)


def _dummy(shape: MapShape, name: str, btf: EmittedBtf | None) -> MapFd:
    if btf is None:
        return maps.create(shape, name)
    data, key_id, value_id = btf
    with maps.load_btf(data) as fd:
        return maps.create(shape, name, btf=fd, btf_key_type_id=key_id, btf_value_type_id=value_id)


def _take(
    loaded: LoadedObject, maps: Mapping[str, int], programs: Mapping[str, int], only: Collection[str] | None
) -> None:
    """Second owners of all fds, so that nothing hangs on the `bpf_object`, which closes its own."""
    for name, at in maps.items():
        if (number := libbpf.map_fd(at)) >= 0:
            map_fd = _second(MapFd, number)
            loaded.owned.add(map_fd)
            loaded.maps[name] = map_fd
    for name, at in programs.items():
        if only is None or name in only:
            program_fd = _second(ProgramFd, libbpf.program_fd(at))
            loaded.owned.add(program_fd)
            loaded.programs[name] = program_fd


def _second(kind: type[OwnedFd], number: int) -> OwnedFd:
    """Own a duplicate of an fd that libbpf owns."""
    return kind(fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3))


def _read(source: Path | InputFile | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    file = source if isinstance(source, InputFile) else InputFile(source, OBJECT)
    try:
        return file.read()
    except OSError as error:
        hint = hint_of(error, file.path) or ("compile it first" if error.errno == errno.ENOENT else "")
        what = f"cannot read the object file: {error.strerror}"
        raise InputError(Problem(what, _place(source), hint, id="unreadable-file")) from error


def _place(source: Path | InputFile | bytes, name: str = "") -> Location:
    return Location(name if isinstance(source, bytes) else str(source))


@contextmanager
def _opened(source: Path | InputFile | bytes, data: bytes, name: str) -> Iterator[int]:
    """An open `bpf_object`. libbpf names its data sections after the object, up to the first dot of the file name."""
    place = _place(source, name)
    _check(data, place)
    options = structures.ObjectOpenOptions(object_name=Path(place.file).name.partition(".")[0].encode())
    with binding.captured_log() as log:
        try:
            handle = libbpf.object_open_mem(data, len(data), options)
        except KernelError as error:
            raise InputError(unopened.problem(data, "".join(log), error.reason, place)) from None
    try:
        yield handle
    finally:
        libbpf.object_close(handle)


_sound: Final[set[str]] = set()
"""The digests of objects that are known to do libbpf no harm: each is checked once in a process."""


def _check(data: bytes, place: Location) -> None:
    """Raise InputError for what libbpf must not see: it trusts what it is given."""
    digest = hashlib.sha256(data).hexdigest()
    if digest in _sound:
        return
    if not data.startswith(b"\x7fELF"):
        raise InputError(Problem("not an ELF file", place, _COMPILE, id="malformed-object"))
    try:
        object_check.check(data)
    except object_check.Malformed as error:
        raise InputError(Problem(f"malformed object: {error}", place, _COMPILE, id="malformed-object")) from None
    if not object_probe.survives(data):
        raise InputError(Problem("libbpf crashes when it opens this object", place, _COMPILE, id="malformed-object"))
    _sound.add(digest)


def _check_names(
    place: Location,
    maps: Mapping[str, int],
    programs: Mapping[str, int],
    templates: Mapping[str, MapShape],
    reuse: Mapping[str, MapFd],
    only: Collection[str] | None,
    left_out: Collection[str],
) -> None:
    """Every name must be in the object, and every outer map that is to be created must have a template."""
    problems = Problems()
    outer = {name for name, at in maps.items() if libbpf.map_type(at) in OUTER_TYPES}
    for wanted, known, kind in (
        (templates, outer, "outer map"),
        (reuse, maps.keys(), "map"),
        (only or (), programs.keys(), "program"),
    ):
        for name in sorted(set(wanted) - set(known)):
            problems.add(f"object has no {kind} `{name}`", place, did_you_mean(name, known), id="unknown-object-name")
    for name in sorted(outer - set(templates) - set(reuse) - set(left_out)):
        if not libbpf.map_inner_map(maps[name]):
            problems.add(f"outer map `{name}` has no inner template", place, "write `inner:`", id="template-missing")
    problems.raise_if_any()


def _each(step: binding.Function[int | None], handle: int) -> Iterator[int]:
    """The maps or programs of an open object."""
    at = step(handle, None)
    while at:
        yield at
        at = step(handle, at)


def _name(read: binding.Function[bytes], at: int) -> str:
    return read(at).decode(errors="replace")


def _program_def(at: int) -> ProgramDef:
    return ProgramDef(
        _name(libbpf.program_name, at),
        _name(libbpf.program_section, at),
        libbpf.program_type(at),
        libbpf.program_attach_type(at),
        libbpf.program_autoload(at),
    )


def _with_presets(definitions: Iterable[MapDef], data: bytes, types: BtfTypes | None) -> dict[str, MapDef]:
    """The maps by name, with what the object puts into their slots, and the values of struct_ops maps."""
    by_map = presets(data, types) if types is not None else {}
    values = struct_ops(data, types) if types is not None else {}
    return {
        each.name: replace(each, presets=by_map.get(each.name, {}), struct_ops=values.get(each.name))
        for each in definitions
    }


def _map_def(at: int, types: BtfTypes | None) -> MapDef:
    """A map of an open object; `types` is the object's BTF."""
    value_type = libbpf.map_btf_value_type_id(at)
    flags = MapFlag(libbpf.map_map_flags(at)) & ~FD_MODES
    kind = MapType(libbpf.map_type(at))
    least = PERF_EVENT_SIZE if kind is MapType.PERF_EVENT_ARRAY else 0
    shape = MapShape(
        map_type=kind,
        key_size=libbpf.map_key_size(at) or least,
        value_size=libbpf.map_value_size(at) or least,
        max_entries=libbpf.map_max_entries(at),
        map_flags=flags & ~MapFlag.NUMA_NODE,  # `numa_node` says it
        map_extra=libbpf.map_map_extra(at),
        numa_node=libbpf.map_numa_node(at) if flags & MapFlag.NUMA_NODE else None,
        specials=specials_of(types, value_type) if types is not None and value_type else (),
    )
    inner = libbpf.map_inner_map(at)
    return MapDef(
        name=_name(libbpf.map_name, at),
        shape=shape,
        inner=_map_def(inner, types) if inner else None,
        btf_key_type_id=libbpf.map_btf_key_type_id(at),
        btf_value_type_id=value_type,
        internal=libbpf.map_is_internal(at),
        is_pinned_by_name=bool(libbpf.map_pin_path(at)),
    )
