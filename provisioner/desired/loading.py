"""From the names of spec files to the desired state: read, check and encode, with all problems in one error."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, TextIO

from msgspec.structs import replace

from provisioner import document
from provisioner.codec.btf import BtfTypes
from provisioner.codec.resolve import Lookup
from provisioner.desired.encode import encode
from provisioner.desired.ownership import without_contents
from provisioner.desired.revision import revision
from provisioner.document import Document, SourceFile
from provisioner.document import overlays as overlaid
from provisioner.document.inputs import Inputs
from provisioner.document.substitute import sources_at
from provisioner.files.reading import OBJECT, TABLE, InputFile
from provisioner.kernel import host as this_host
from provisioner.language import schema, schema_file
from provisioner.language.read_maps import read_from_types
from provisioner.language.read_spec import read
from provisioner.language.rules import btf_types
from provisioner.model.desired import DesiredState
from provisioner.model.errors import InputError, Problem, Problems, ProvisionerError
from provisioner.model.given import NOTHING_GIVEN, Outside
from provisioner.model.host import Host
from provisioner.model.object_file import ObjectInfo
from provisioner.model.spec import FromTypes, Spec, TableRef
from provisioner.model.tree import RawChunk, ScalarNode
from provisioner.model.type_expr import BtfType
from provisioner.observed import pinned_btf


class SpecError(InputError):
    """Problems of a spec, with the document, so that a message can show lines."""

    def __init__(self, error: ProvisionerError, source: Document) -> None:
        super().__init__(*(_with_variables(problem, source) for problem in error.problems))
        self.document = source


def _with_variables(problem: Problem, source: Document) -> Problem:
    """A problem of a text with variables says where their values come from, because the line does not show them."""
    sources = sources_at(source.uses, problem.where) if problem.where is not None else ""
    return replace(problem, hint="; ".join(filter(None, (problem.hint, sources)))) if sources else problem


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
    outside: Outside = NOTHING_GIVEN,
) -> tuple[Document, Spec, DesiredState]:
    """The document, spec and desired state of `paths`; `read_btf` returns the BTF of a live map by its pin.

    Raises SpecError with the problems of all files.
    """
    problems = Problems()
    files: list[Path | Literal["-"]] = ["-" if path == "-" else Path(path) for path in paths]
    source = document.load(
        files,
        stdin=stdin,
        overlays=overlays,
        allow_outside=allow_outside,
        problems=problems,
        inputs=inputs,
        outside=outside,
    )
    problems.settle()
    tables: dict[str, SourceFile] = {}
    digests: dict[Path, str] = {}
    read_tables: list[TableRef] = []

    def read_table(table: TableRef) -> Iterator[RawChunk]:
        read_tables.append(table)
        return _table(table, roots, problems, inputs, tables, digests)

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
            lambda file: _from_types(file, roots, problems, inputs),
        )
    except InputError as error:
        raise SpecError(error, replace(source, files={**source.files, **tables})) from error
    if source.overlays or source.uses:
        desired = _marked(desired, source, read_tables)
    if contents:
        used = {name: info.digest for name, info in objects.items()}
        desired = replace(desired, revision=revision(source.digest, digests.values(), used, source.values))
    return source, spec, desired


def _marked(desired: DesiredState, source: Document, tables: Iterable[TableRef]) -> DesiredState:
    """`desired` with the places of the values that come from overlays, and from tables that they name."""
    over = overlaid.find(source.tree, source.overlays, source.uses)
    named = [table.file for table in tables if over.place(table.file.where)]
    over = replace(over, files=over.files.union(str(beside(file.where.file, file.text or "")) for file in named))
    maps = {name: replace(each, sources=replace(each.sources, overlays=over)) for name, each in desired.maps.items()}
    return replace(desired, maps=maps, overlays=over)


def _objects(
    spec: Spec, roots: tuple[Path, ...] | None, problems: Problems, inputs: Inputs
) -> Iterable[tuple[str, ObjectInfo]]:
    """The object files that can be read; a problem is at the line that names the file.

    A sibling of the directory of the spec (`../bpf/router.bpf.o`) counts as part of the project too.
    """
    if not spec.objects:
        return
    from provisioner.kernel.objects import inspect

    for name, declared in spec.objects.items():
        if not declared.file.text:  # reported by the schema
            continue
        path = beside(declared.file.where.file, declared.file.text or "")
        near = None if roots is None else (*roots, *(root.parent for root in roots))
        if near is not None and not document.is_inside(path, declared.file, near, problems):
            continue
        inputs.note(path)
        try:
            yield name, inspect(InputFile(path, OBJECT, near))
        except InputError as error:
            problems.extend(replace(problem, where=declared.file.where, address=name) for problem in error.problems)


def _btf(
    spec: Spec, objects: Mapping[str, ObjectInfo], read_btf: Callable[[str], bytes], problems: Problems
) -> dict[str, BtfTypes]:
    """The BTF that types can come from: of the objects, and of the kernel and live maps that the spec names."""
    btf = {name: BtfTypes(info.btf) for name, info in objects.items() if info.btf}
    for type_ in btf_types(spec):
        if type_.source in spec.objects and type_.source not in objects:  # the object cannot be read, which is reported
            problems.ignore(type_.where)
    read_host_btf(btf_types(spec), btf, read_btf, problems)
    return btf


def read_host_btf(
    types: Iterable[BtfType], btf: dict[str, BtfTypes], read_btf: Callable[[str], bytes], problems: Problems
) -> None:
    """Add to `btf` the BTF of the kernel and of live maps that types name, each source once."""
    refused: dict[str, ProvisionerError] = {}
    for type_ in types:
        if type_.is_of_host and type_.source not in btf and type_.source not in refused:
            try:
                btf[type_.source] = BtfTypes(read_btf(type_.source))
            except ProvisionerError as error:
                refused[type_.source] = error
        if type_.source in refused:
            problems.extend(replace(problem, where=type_.where) for problem in refused[type_.source].problems)


def _table(
    table: TableRef,
    roots: tuple[Path, ...] | None,
    problems: Problems,
    inputs: Inputs,
    texts: dict[str, SourceFile],
    digests: dict[Path, str],
) -> Iterator[RawChunk]:
    """The rows of a table, or the value in a raw file. The file must be below one of `roots`, unless that is None.

    A file whose lines a message can show is added to `texts`. `digests` gets the digest of its contents.
    """
    path = beside(table.file.where.file, table.file.text or "")
    if roots is not None and not document.is_inside(path, table.file, roots, problems):
        return
    inputs.note(path)
    from provisioner.tables import has_lines, read_table  # few specs have tables

    file = InputFile(path, TABLE, roots)
    if has_lines(table):
        texts[str(path)] = SourceFile(file)
    if path not in digests:
        with suppress(OSError), file.open() as stream:  # an error is reported below
            digests[path] = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
    yield from read_table(table, path, problems, roots)


def _from_types(
    file: ScalarNode, roots: tuple[Path, ...] | None, problems: Problems, inputs: Inputs
) -> FromTypes | None:
    """The types of a live map, in a file below one of `roots`, unless that is None; None with a Problem."""
    path = beside(file.where.file, file.text or "")
    if roots is not None and not document.is_inside(path, file, roots, problems):
        return None
    local = Problems()
    source = document.load([path], allow_outside=roots is None, problems=local, inputs=inputs)
    what, hint = (
        "a file of `from_types` must be a mapping",
        "write `key`, `value`, `outer_key` and `types`, as in a spec",
    )
    for problem in local:
        is_spec = problem.id in ("wrong-type", "empty-file") and problem.where is not None
        problems.extend([replace(problem, what=what, hint=hint) if is_spec else problem])
    before = len(problems)
    read = read_from_types(source.tree, problems) if not len(local) else None
    return read if len(problems) == before else None


def beside(spec_file: str, name: str) -> Path:
    """The path of a file that a spec names, relative to the spec file."""
    return Path(spec_file).parent / name
