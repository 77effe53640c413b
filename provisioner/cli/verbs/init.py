"""`init`: a first spec, from an object file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import provisioner
from provisioner.cli.arguments import is_standard_output
from provisioner.cli.command import verb
from provisioner.cli.console import Console
from provisioner.files.writing import write_new
from provisioner.model.errors import InputError, Problem
from provisioner.model.location import Location


@verb(5)
def init(
    console: Console,
    object_file: Annotated[Path, typer.Argument(metavar="OBJECT.o", help="A compiled BPF object.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the spec to this new file; paths are relative to it.")
    ] = None,
) -> int:
    """Write a first spec for an object file. It has the maps, inner templates, types and programs, with comments.

    The spec goes to standard output, or to a new file (--out), and is valid without edits. Where the object lacks
    information, such as an inner template that its loader sets, the spec has a default and a question in a comment.
    """
    out = None if is_standard_output(out) else out
    text = provisioner.draft(object_file, out)
    if out is None:
        console.pieces([text])
        return 0
    try:
        write_new(out, text.encode())
    except OSError as error:
        what, hint = f"cannot write the spec: {error.strerror}", "choose a new file in a directory that exists"
        raise InputError(Problem(what, Location(str(out)), hint, id="write-failed")) from error
    return 0
