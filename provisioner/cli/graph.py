"""The verb that draws: programs, outer maps, inner maps."""

from __future__ import annotations

import subprocess
from typing import Annotated, Literal

import typer

from provisioner.cli.app import app, guarded
from provisioner.cli.arguments import load_project
from provisioner.cli.console import Console
from provisioner.cli.options import EXIT_STATUS, AllowOutside, ColorOption, Files, Overlay, PinRoot, Quiet, Verbose
from provisioner.model.errors import HostError, Problem


@app.command(epilog=EXIT_STATUS)
def graph(
    files: Files,
    live: Annotated[bool, typer.Option("--live", help="Draw what is live, in place of what the spec wants.")] = False,
    output: Annotated[
        Literal["dot", "mermaid", "svg"],
        typer.Option("--format", help="The language of the drawing; svg needs Graphviz."),
    ] = "dot",
    pin_root: PinRoot = None,
    overlay: Overlay = None,
    allow_outside: AllowOutside = False,
    color: ColorOption = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Draw programs, outer maps and inner maps. Where there are many inner maps, they are one box. Changes nothing."""
    console = Console("text", color, quiet=quiet, verbose=verbose)

    def work() -> int:
        from provisioner.report import diagrams

        found = load_project(console, files, overlay, allow_outside, pin_root, any_host=not live).graph(live=live)
        if output == "mermaid":
            console.lines(diagrams.mermaid(found))
        elif output == "svg":
            console.pieces([_svg("\n".join(diagrams.dot(found)))])
        else:
            console.lines(diagrams.dot(found))
        return 0

    return guarded(console, work)


def _svg(drawing: str) -> str:
    """What Graphviz makes of DOT. Raises HostError where there is none, or it fails."""
    hint = "install the package graphviz, or take `--format dot` or `mermaid`"
    try:
        done = subprocess.run(["dot", "-Tsvg"], input=drawing, capture_output=True, encoding="utf-8", check=True)
    except FileNotFoundError as error:
        raise HostError(Problem("Graphviz's `dot` is not installed", hint=hint)) from error
    except subprocess.CalledProcessError as error:
        raise HostError(Problem(f"Graphviz failed: {error.stderr.strip()}", hint=hint)) from error
    return done.stdout
