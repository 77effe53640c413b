"""Verbs that write a spec to begin with: from an object file, or from maps that live already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from provisioner.cli.app import app, guarded
from provisioner.cli.arguments import load_project
from provisioner.cli.console import Console
from provisioner.cli.options import EXIT_STATUS, AllowOutside, ColorOption, Overlay, PinRoot, Quiet, Verbose
from provisioner.model.errors import InputError, Problem
from provisioner.model.location import Location


@app.command(epilog=EXIT_STATUS)
def init(
    object_file: Annotated[Path, typer.Argument(metavar="OBJECT.o", help="A compiled BPF object.")],
    color: ColorOption = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Write a spec for an object file: its maps, inner templates, types and programs, with comments.

    It goes to standard output, and is valid as it is. What the object does not tell, such as an inner template that
    its loader sets, is a question in a comment beside a default.
    """
    console = Console("text", color, quiet=quiet, verbose=verbose)

    def work() -> int:
        from provisioner import draft

        console.pieces([draft(object_file)])
        return 0

    return guarded(console, work)


@app.command(epilog=EXIT_STATUS)
def export(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILES...]", help="Spec files or folders, with --snapshot.")
    ] = None,
    snapshot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what plans of FILES need to know of this host, for plan --against."),
    ] = None,
    pin: Annotated[list[Path] | None, typer.Option(metavar="PATH", help="A pinned map. May be given again.")] = None,
    number: Annotated[
        list[int] | None, typer.Option("--id", metavar="ID", help="A map by its id. May be given again.")
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A map by the kernel's name for it, an outer one first. May be given again."),
    ] = None,
    types: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A spec, or a part of one, that says what types the maps hold."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Write into this folder, long contents as tables.")
    ] = None,
    project: Annotated[str, typer.Option(metavar="NAME", help="The name of the project that adopts the maps.")] = (
        "adopted"
    ),
    pin_root: PinRoot = None,
    overlay: Overlay = None,
    allow_outside: AllowOutside = False,
    color: ColorOption = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Write live maps, whoever made them, as a spec that adopts them; or a snapshot of a project. Changes nothing.

    The spec plans to no changes when it is given back. Types are those of --types, else of the maps' BTF, else bytes.
    A map by --id or --name is adopted by its pin, which is looked for on every bpffs. Entries of LRU and per-CPU maps
    are left to whoever writes them.

    With --snapshot and the FILES of a project, what its plans ask of this host goes into one file: live entries,
    interfaces, CPUs. `plan FILES --against FILE` then gives the same plan elsewhere, with neither root nor BPF.
    """
    console = Console("text", color, quiet=quiet, verbose=verbose)

    def work() -> int:
        asked = bool(pin or number or name or types or folder)
        if snapshot is not None and files and not asked:
            from provisioner import write_snapshot

            project_ = load_project(console, files, overlay, allow_outside, pin_root)
            write_snapshot(snapshot, project_.snapshot())
            return 0
        if snapshot is not None:
            raise typer.BadParameter("--snapshot takes the FILES of a project, and no maps", param_hint="FILES")
        if files:
            what = "FILES go with --snapshot; a map is named by --pin, --id or --name"
            raise typer.BadParameter(what, param_hint=files[0])
        if not (pin or number or name):
            raise typer.BadParameter("say which maps", param_hint="--pin, --id or --name")
        from provisioner import export_live

        done = export_live(pin or (), number or (), name or (), types, project, tables=folder is not None)
        if not quiet:
            console.message("".join(f"Note: {note}.\n" for note in done.notes))
        if folder is None:
            console.pieces([done.spec])
        else:
            _write(folder, {**done.files, f"{project}.yaml": done.spec.encode()})
        return 0

    return guarded(console, work)


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Write files that are not there yet into a folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            with (folder / name).open("xb") as stream:
                stream.write(data)
    except OSError as error:
        hint = "choose an empty folder" if isinstance(error, FileExistsError) else ""
        place = Location(str(error.filename or folder))
        raise InputError(Problem(f"can't write it: {error.strerror}", place, hint)) from error
