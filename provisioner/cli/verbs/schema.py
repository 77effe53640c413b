"""`schema`: the JSON Schemas."""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal

import typer

from provisioner.cli.arguments import load_project
from provisioner.cli.command import verb
from provisioner.cli.console import Console
from provisioner.cli.options import SpecOptions
from provisioner.language import schema_file

_FILES: Final = {
    "spec": schema_file.SPEC_SCHEMA,
    "part": schema_file.PART_SCHEMA,
    "output": schema_file.OUTPUT_SCHEMA,
}


@verb()
def schema(
    console: Console,
    spec: SpecOptions,
    of: Annotated[
        Literal["spec", "part", "output"],
        typer.Argument(
            metavar="[spec|part|output]",
            help="Schema of spec files, of included files and overlays, or of the output of --format json.",
        ),
    ] = "spec",
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILES...]", help="A spec, whose names the schema offers.")
    ] = None,
) -> int:
    """Print the JSON Schema, for editors and checks.

    With the FILES of a spec, an editor also offers the names of its types, inner templates, objects and maps.
    """
    if not files:
        console.pieces([schema_file.text(_FILES[of])])
        return 0
    if of == "output":
        raise typer.BadParameter("the output has no names of a spec", param_hint="FILES")
    from provisioner.language import editor_schema  # it imports NumPy, which --help and the plain schema do without

    project = load_project(console, files, spec, contents=False, any_host=True)
    made = editor_schema.with_names(schema_file.load(), project.spec)
    made = editor_schema.with_variables(editor_schema.part(made) if of == "part" else made)
    console.pieces([json.dumps(made, indent=2, ensure_ascii=False), "\n"])
    return 0
