"""`show`: the live state."""

from __future__ import annotations

from typing import Annotated

import typer

from provisioner.cli import arguments, statuses, terminal
from provisioner.cli.command import verb
from provisioner.cli.console import Console
from provisioner.cli.options import FilesAndMaybeAddress, Full, SpecOptions
from provisioner.report.formats import names

_YAML = "yaml"
_INTERVAL = 2.0


@verb(5, formats=(*names("live"), _YAML), meanings=statuses.READING)
def show(
    console: Console,
    files: FilesAndMaybeAddress,
    spec: SpecOptions,
    full: Full = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show fills, changes and rates on the terminal until q is pressed.")
    ] = False,
    interval: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.1, help=f"With --watch, time between looks; {_INTERVAL:g} by default."),
    ] = None,
) -> int:
    """Show the live state, decoded: ids, memory, pins, users. Changes nothing.

    A sign marks each difference from the spec, as in a plan. With an address after the files, such as `tenants`,
    `tenants[42]` or `tenants[42][10.0.0.0/8]`, only that part is shown, without cuts.
    `--format yaml` writes the live maps as a spec that adopts them, as `export` does.
    """
    _check(console, watch, interval)
    from provisioner.cli import reports  # NumPy, which the help does not need, takes 80 ms

    specs, address = arguments.with_address(files)
    project = arguments.load_project(console, specs, spec, pins=True)
    if watch:
        from provisioner.cli import live_view

        live_view.run(console, lambda: project.look(address), interval or _INTERVAL)
    elif console.format == _YAML:
        exported = project.export(address)
        console.notes(f"Note: {note}." for note in exported.notes if not console.quiet)
        console.pieces([exported.spec])
    else:
        reports.live(console, project.live(address, full=full))
    return 0


def _check(console: Console, watch: bool, interval: float | None) -> None:
    """Refuse options that contradict each other, and a live view that nobody can see."""
    if interval is not None and not watch:
        raise typer.BadParameter("it is the interval of --watch, which is missing", param_hint="--interval")
    if watch and console.format != "text":
        raise typer.BadParameter("it cannot be used with --format", param_hint="--watch")
    if watch and not terminal.is_there():
        what = "standard input and output must be a terminal, not a dumb one; `show` alone writes the state once"
        raise typer.BadParameter(what, param_hint="--watch")
