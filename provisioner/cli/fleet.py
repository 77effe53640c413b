"""`--hosts`: validate or plan for all hosts of an inventory, in one run with one result."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from provisioner.cli import arguments
from provisioner.cli.console import Console
from provisioner.cli.options import SpecOptions

if TYPE_CHECKING:
    from provisioner import Overrides


def run(
    console: Console,
    files: Sequence[str],
    spec: SpecOptions,
    inventory: str,
    *,
    plans: bool = False,
    against: str | None = None,
    overrides: Overrides | None = None,
    full: bool = False,
) -> int:
    """Examine every host; gives the exit status of the worst. `plans` compares each with `against`."""
    if "-" in files:
        raise typer.BadParameter("standard input is one spec, and it can be the inventory", param_hint="FILES")
    # NumPy, which the help does not need, takes 80 ms.
    import provisioner
    from provisioner.fleet.documents import WRITERS
    from provisioner.fleet.examine import Job
    from provisioner.fleet.inventory import Layer
    from provisioner.fleet.reading import read_inventory
    from provisioner.fleet.survey import survey
    from provisioner.report.model import ALL

    hosts = read_inventory(inventory, sys.stdin)
    writer = WRITERS[console.format]
    aim = Job(
        tuple(files),
        (*hosts.layers, *(Layer.of(str(path)) for path in spec.overlay or ())),
        plans,
        against,
        spec.allow_outside,
        spec.pin_root,
        arguments.variables(spec.var),
        overrides or provisioner.Overrides(),
        ALL if full else writer.limits,
    )
    with console.working(f"planning for {len(hosts.hosts):,} hosts"):
        result = survey(hosts.hosts, aim, writer.part)
    try:
        if console.format == "text" and not plans and console.quiet and result.status == 0:
            return 0
        if console.format == "text":
            console.lines(writer.whole(result))
        else:
            console.pieces(writer.whole(result))
        return result.status
    finally:
        result.close()
