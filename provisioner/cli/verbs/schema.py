"""`schema`: the JSON Schemas."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from provisioner.cli.command import verb
from provisioner.cli.console import Console
from provisioner.language import schema_file


@verb()
def schema(
    console: Console,
    of: Annotated[
        Literal["spec", "output"],
        typer.Argument(metavar="[spec|output]", help="Schema of spec files, or of the output of --format json."),
    ] = "spec",
) -> int:
    """Print the JSON Schema, for editors and checks."""
    name = schema_file.SPEC_SCHEMA if of == "spec" else schema_file.OUTPUT_SCHEMA
    console.pieces([schema_file.text(name)])
    return 0
