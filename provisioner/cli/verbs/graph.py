"""`graph`: programs, outer maps and inner maps as a drawing."""

from __future__ import annotations

import subprocess
from typing import Annotated, Final

import typer

from provisioner.cli import statuses
from provisioner.cli.arguments import load_project
from provisioner.cli.command import verb
from provisioner.cli.console import Console
from provisioner.cli.options import FilesOrPinRoot, SpecOptions
from provisioner.model.errors import HostError, Problem
from provisioner.report import diagrams
from provisioner.report.graph import Graph

_SVG: Final = "svg"


@verb(5, formats=(*diagrams.FORMATS, _SVG), meanings=statuses.READING)
def graph(
    console: Console,
    files: FilesOrPinRoot,
    spec: SpecOptions,
    live: Annotated[bool, typer.Option("--live", help="Draw the live state instead of the spec.")] = False,
) -> int:
    """Draw programs, outer maps and inner maps. Changes nothing.

    Many inner maps are drawn as one box. --format svg needs Graphviz.
    """
    drawing = load_project(console, files, spec, any_host=not live, pins=True).graph(live=live)
    if console.format == _SVG:
        console.pieces([_svg(drawing)])
    else:
        console.pieces(f"{line}\n" for line in diagrams.FORMATS[console.format](drawing))
    return 0


def _svg(drawing: Graph) -> str:
    """What Graphviz makes of DOT. Raises HostError if it is not installed or fails."""
    hint = "install the package graphviz, or use `--format dot` or `mermaid`"
    source = "\n".join(diagrams.dot(drawing))
    try:
        done = subprocess.run(["dot", "-Tsvg"], input=source, capture_output=True, encoding="utf-8", check=True)
    except FileNotFoundError as error:
        raise HostError(Problem("Graphviz's `dot` is not installed", hint=hint, id="graphviz-missing")) from error
    except subprocess.CalledProcessError as error:
        what = f"Graphviz failed: {error.stderr.strip()}"
        raise HostError(Problem(what, hint=hint, id="graphviz-failed")) from error
    return done.stdout
