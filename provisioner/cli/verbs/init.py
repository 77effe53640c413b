"""`init`: a first spec, from an object file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import provisioner
from provisioner.cli.command import verb
from provisioner.cli.console import Console


@verb(5)
def init(
    console: Console,
    object_file: Annotated[Path, typer.Argument(metavar="OBJECT.o", help="A compiled BPF object.")],
) -> int:
    """Write a first spec for an object file: its maps, inner templates, types and programs, with comments.

    The spec goes to standard output and is valid without edits. Where the object lacks information, such as an inner
    template that its loader sets, the spec has a default and a question in a comment.
    """
    console.pieces([provisioner.draft(object_file)])
    return 0
