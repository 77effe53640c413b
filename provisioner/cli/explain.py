"""The verb that answers why: one address, from the line that wants it to what would be done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from provisioner.cli import completion
from provisioner.cli.app import app, guarded
from provisioner.cli.arguments import load_project
from provisioner.cli.console import Console
from provisioner.cli.options import EXIT_STATUS, AllowOutside, ColorOption, Output, Overlay, PinRoot, Quiet, Verbose


@app.command(epilog=EXIT_STATUS)
def explain(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES... ADDRESS",
            help="Spec files, then an address.",
            autocompletion=completion.files_and_address,
        ),
    ],
    against: Annotated[
        str, typer.Option(metavar="live|FILE", help="Compare with what is live, or with a snapshot of a host.")
    ] = "live",
    output: Output = "text",
    pin_root: PinRoot = None,
    overlay: Overlay = None,
    allow_outside: AllowOutside = False,
    color: ColorOption = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Explain one address: which file and line wants it, its bytes, what is live, what would be done and why.

    An address is a map (`tenants`), a slot of one (`tenants[42]`) or an entry (`tenants[42][10.0.0.0/8]`); of a plain
    map, an entry is `active[0]`. Keys are written as in the spec: `vip_slots[{ip: 192.0.2.1, port: 53, proto: 17}]`.
    An object is `router`, a program of it `router.xdp_router`. Quote addresses, for shells have their own use of
    brackets. Changes nothing.
    """
    console = Console(output, color, quiet=quiet, verbose=verbose)

    def work() -> int:
        if len(files) < 2:
            raise typer.BadParameter("give spec files, then an address", param_hint="FILES... ADDRESS")
        from provisioner import read_snapshot
        from provisioner.cli import snapshots
        from provisioner.report import jsondoc, sentences

        *specs, address = files
        taken = None if against == "live" else read_snapshot(Path(against))
        project = load_project(console, specs, overlay, allow_outside, pin_root, taken)
        facts = project.explain(address, against=taken)
        if output == "json":
            compared = None if taken is None else snapshots.about(taken)
            console.pieces([jsondoc.explained(project.desired.project, address, facts, compared)])
            return 0
        if taken is not None:
            console.lines([sentences.against(snapshots.about(taken)), ""])
        width = max(len(fact.label) for fact in facts) + 2
        console.lines([console.style(address, "bold"), *(f"  {fact.label:{width}}{fact.text}" for fact in facts)])
        return 0

    return guarded(console, work)
