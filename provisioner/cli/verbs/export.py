"""`export`: live maps as a spec, or a snapshot of a project."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import provisioner
from provisioner.cli import statuses
from provisioner.cli.arguments import is_standard_output, load_project, need_file
from provisioner.cli.command import verb
from provisioner.cli.console import Console
from provisioner.cli.options import SpecOptions
from provisioner.files.writing import write_new
from provisioner.model.errors import InputError, Problem
from provisioner.model.location import Location

if TYPE_CHECKING:
    from provisioner import Project


@verb(5, meanings=statuses.READING)
def export(
    console: Console,
    spec: SpecOptions,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILES...]", help="Spec files or directories, with --snapshot.")
    ] = None,
    snapshot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the state of this host that plans of FILES need, for plan --against; - is standard output.",
        ),
    ] = None,
    pin: Annotated[list[Path] | None, typer.Option(metavar="PATH", help="A map by its pin. Repeatable.")] = None,
    number: Annotated[list[int] | None, typer.Option("--id", metavar="ID", help="A map by its id. Repeatable.")] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A map by its kernel name; an outer map is preferred. Repeatable."),
    ] = None,
    types: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A spec, or a part of one, with the types of the maps."),
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", metavar="DIR", help="Write into this directory, long contents as tables."),
    ] = None,
    project: Annotated[str, typer.Option(metavar="NAME", help="Name of the project that adopts the maps.")] = (
        "adopted"
    ),
) -> int:
    """Write live maps as a spec that adopts them, or a snapshot. Changes nothing.

    A plan of the written spec has no changes. The types come from --types, else from the maps' BTF, else they are
    bytes. A map by --id or --name is adopted by its pin, on any mounted bpffs. Entries of LRU and per-CPU maps are not
    written.

    With --snapshot and the FILES of a project, the live state that its plans need goes into one file: entries,
    interfaces, CPUs. `plan FILES --against FILE` gives the same plan on another host, without root and BPF.
    """
    need_file(directory, "--dir", "a directory has several files")
    if snapshot is not None and files and not (pin or number or name or types or directory):
        _save(console, snapshot, load_project(console, files, spec))
        return 0
    if snapshot is not None:
        raise typer.BadParameter("--snapshot needs the FILES of a project, and takes no maps", param_hint="FILES")
    if files:
        what = "FILES need --snapshot; name a map with --pin, --id or --name"
        raise typer.BadParameter(what, param_hint=files[0])
    if not (pin or number or name):
        raise typer.BadParameter("name the maps to export", param_hint="--pin, --id or --name")
    done = provisioner.export_live(pin or (), number or (), name or (), types, project, tables=directory is not None)
    if not console.quiet:
        console.notes(f"Note: {note}." for note in done.notes)
    if directory is None:
        console.pieces([done.spec])
    else:
        _write(directory, {**done.files, f"{project}.yaml": done.spec.encode()})
    return 0


def _save(console: Console, path: Path, project: Project) -> None:
    """Write the snapshot of a project."""
    if not is_standard_output(path):
        provisioner.write_snapshot(path, project.snapshot())
        return
    if sys.stdout.isatty():
        what = "a snapshot is not text: redirect standard output, or name a file"
        raise typer.BadParameter(what, param_hint="--snapshot")
    data = BytesIO()
    provisioner.write_snapshot(data, project.snapshot())
    console.data(data.getvalue())


def _write(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write new files into a directory. Raises InputError where one exists."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_new(directory / name, data)
    except OSError as error:
        hint = "choose an empty directory" if isinstance(error, FileExistsError) else ""
        place = Location(str(error.filename or directory))
        raise InputError(Problem(f"cannot write the file: {error.strerror}", place, hint, id="write-failed")) from error
