"""From the names of spec files to the desired state: read, check, encode; all problems are told at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TextIO

from msgspec.structs import replace

from provisioner import document
from provisioner.codec.btf import BtfTypes
from provisioner.codec.resolve import Lookup
from provisioner.desired.encode import encode
from provisioner.desired.ownership import without_contents
from provisioner.document import Document, SourceFile
from provisioner.document import overlays as overlaid
from provisioner.document.inputs import Inputs
from provisioner.files.reading import OBJECT, TABLE, InputFile
from provisioner.kernel import host as this_host
from provisioner.kernel.objects import inspect
from provisioner.language import schema, schema_file
from provisioner.language.read_spec import read
from provisioner.language.rules import btf_types
from provisioner.model.desired import DesiredState
from provisioner.model.errors import InputError, Problems, ProvisionerError
from provisioner.model.host import Host
from provisioner.model.object_file import ObjectInfo
from provisioner.model.spec import Spec, TableRef
from provisioner.model.tree import RawChunk
from provisioner.model.type_expr import BtfType
from provisioner.observed import pinned_btf

_BINARY = frozenset({"parquet", ".parquet", "raw", ".bin"})
"""Formats and suffixes of tables that have no lines."""


class SpecError(InputError):
    """Problems of a spec, with the document that they stand in, so that a message can show the lines."""

    def __init__(self, error: ProvisionerError, source: Document) -> None:
        super().__init__(*error.problems)
        self.document = source


def load(
    paths: Sequence[str | os.PathLike[str]],
    *,
    overlays: Sequence[Path],
    allow_outside: bool,
    stdin: TextIO | None,
    host: Host | None,
    lookups: Mapping[str, Lookup] | None,
    inputs: Inputs,
    read_btf: Callable[[str], bytes] = pinned_btf.read,
    contents: bool = True,
) -> tuple[Document, Spec, DesiredState]:
    """What `api.load` puts together; `read_btf` gives a live map's BTF by its pin.

    Raises SpecError with all problems of all files in one go.
    """
    problems = Problems()
    files: list[Path | Literal["-"]] = ["-" if path == "-" else Path(path) for path in paths]
    source = document.load(
        files, stdin=stdin, overlays=overlays, allow_outside=allow_outside, problems=problems, inputs=inputs
    )
    problems.settle()
    tables: dict[str, SourceFile] = {}
    asked: list[TableRef] = []

    def read_table(table: TableRef) -> Iterator[RawChunk]:
        asked.append(table)
        return _table(table, roots, problems, inputs, tables)

    try:
        schema.check(source.tree, schema_file.load(), problems)
        spec = read(source.tree, problems)
        if not contents:
            spec = without_contents(spec)
        roots = None if allow_outside else source.roots
        objects = dict(_objects(spec, roots, problems, inputs))
        desired = encode(
            spec,
            host or this_host.read_host(),
            objects,
            read_table,
            _btf(spec, objects, read_btf, problems),
            lookups or {"ifindex": this_host.find_ifindex, "cgroup_id": this_host.find_cgroup_id},
            problems,
        )
    except InputError as error:
        raise SpecError(error, replace(source, files={**source.files, **tables})) from error
    return source, spec, _marked(desired, source, asked) if source.overlays else desired


def _marked(desired: DesiredState, source: Document, tables: Iterable[TableRef]) -> DesiredState:
    """`desired` with the knowledge which of its values come from overlays, and from tables that they name."""
    found = overlaid.find(source.tree, source.overlays)
    named = [table.file for table in tables if found.told(table.file.where)]
    found = replace(found, files=found.files.union(str(beside(file.where.file, file.text or "")) for file in named))
    maps = {name: replace(one, sources=replace(one.sources, overlays=found)) for name, one in desired.maps.items()}
    return replace(desired, maps=maps, overlays=found)


def _objects(
    spec: Spec, roots: tuple[Path, ...] | None, problems: Problems, inputs: Inputs
) -> Iterable[tuple[str, ObjectInfo]]:
    """Each object file that can be read; a problem is told at the line that names the file.

    Objects are built in a folder beside the specs as often as in one below (`../bpf/router.bpf.o`): both are inside.
    """
    for name, one in spec.objects.items():
        if not one.file.text:  # the schema says so
            continue
        path = beside(one.file.where.file, one.file.text or "")
        near = None if roots is None else (*roots, *(root.parent for root in roots))
        if near is not None and not document.is_inside(path, one.file, near, problems):
            continue
        inputs.note(path)
        try:
            yield name, inspect(InputFile(path, OBJECT, near))
        except InputError as error:
            problems.extend(replace(problem, where=one.file.where, address=name) for problem in error.problems)


def _btf(
    spec: Spec, objects: Mapping[str, ObjectInfo], read_btf: Callable[[str], bytes], problems: Problems
) -> dict[str, BtfTypes]:
    """The BTF that types may come from: that of the objects, and of the kernel and of live maps that the spec names."""
    found = {name: BtfTypes(info.btf) for name, info in objects.items() if info.btf}
    read_host_btf(btf_types(spec), found, read_btf, problems)
    return found


def read_host_btf(
    wanted: Iterable[BtfType], found: dict[str, BtfTypes], read_btf: Callable[[str], bytes], problems: Problems
) -> None:
    """Add to `found` the BTF of the kernel and of live maps that types name; each of a source once."""
    refused: dict[str, ProvisionerError] = {}
    for one in wanted:
        if one.is_of_host and one.source not in found and one.source not in refused:
            try:
                found[one.source] = BtfTypes(read_btf(one.source))
            except ProvisionerError as error:
                refused[one.source] = error
        if one.source in refused:
            problems.extend(replace(problem, where=one.where) for problem in refused[one.source].problems)


def _table(
    table: TableRef, roots: tuple[Path, ...] | None, problems: Problems, inputs: Inputs, texts: dict[str, SourceFile]
) -> Iterator[RawChunk]:
    """The rows of a table, or the value in a raw file; it must be below one of `roots`, unless that is None.

    One whose lines a message can show is added to `texts`.
    """
    path = beside(table.file.where.file, table.file.text or "")
    if roots is not None and not document.is_inside(path, table.file, roots, problems):
        return
    inputs.note(path)
    if (table.format or path.suffix.lower()) not in _BINARY:
        texts[str(path)] = SourceFile(InputFile(path, TABLE, roots))
    from provisioner.tables import read_table  # few specs have tables

    yield from read_table(table, path, problems, roots)


def beside(spec_file: str, name: str) -> Path:
    """A path as a spec writes it: relative to the file that it stands in."""
    return Path(spec_file).parent / name
