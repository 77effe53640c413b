"""`explain`: one address, from the line of the spec to what would be done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

import provisioner
from provisioner.cli import statuses
from provisioner.cli.arguments import load_project
from provisioner.cli.command import verb
from provisioner.cli.console import Console
from provisioner.cli.options import FilesAndAddress, SpecOptions
from provisioner.report.formats import names

_USAGE: Final = "write spec files, then an address"


@verb(5, formats=names("explanation"), meanings=statuses.READING)
def explain(
    console: Console,
    files: FilesAndAddress,
    spec: SpecOptions,
    against: Annotated[
        str, typer.Option(metavar="live|FILE", help="Compare with the live state, or with a snapshot of a host.")
    ] = "live",
) -> int:
    """Explain an address: its line, bytes, live value, planned change.

    An address is a map (`tenants`), a slot (`tenants[42]`) or an entry (`tenants[42][10.0.0.0/8]`). An entry of a plain
    map is `active[0]`. Write keys as in the spec: `vip_slots[{ip: 192.0.2.1, port: 53, proto: 17}]`. An object is
    `router`, and a program of it is `router.xdp_router`. Quote addresses: shells interpret brackets. Changes nothing.
    """
    if len(files) < 2 and not provisioner.is_pinned(files[0]):
        raise typer.BadParameter(_USAGE, param_hint="FILES... ADDRESS")
    # NumPy, which the help does not need, takes 80 ms.
    from provisioner.cli import reports, snapshots
    from provisioner.report.model import Explanation

    specs, address = (files[:-1], files[-1]) if len(files) > 1 else (files, "")
    snapshot = None if against == "live" else provisioner.read_snapshot(Path(against))
    project = load_project(console, specs, spec, snapshot, pins=True)
    address = address or (project.pinned.address if project.pinned is not None else "")
    if not address:
        raise typer.BadParameter(_USAGE, param_hint="FILES... ADDRESS")
    facts = project.explain(address, against=snapshot)
    compared = None if snapshot is None else snapshots.about(snapshot)
    reports.explanation(console, Explanation(project.desired.project, project.shown(address), facts, compared))
    return 0
