"""`plan`: the difference between the spec and the live state."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

import provisioner
from provisioner.cli import arguments, fleet
from provisioner.cli.command import verb
from provisioner.cli.console import Console
from provisioner.cli.options import (
    MORE,
    ChangeOverrides,
    Files,
    Full,
    Hosts,
    OwnershipOverrides,
    Recreate,
    SpecOptions,
    Target,
)
from provisioner.report.formats import names


@verb(
    5,
    formats=names("plan"),
    meanings={0: "no changes", 2: "there are changes (0 with --exit-zero)", 4: "apply would refuse this plan"},
)
def plan(
    console: Console,
    files: Files,
    spec: SpecOptions,
    changes: ChangeOverrides,
    ownership: OwnershipOverrides,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="STATE",
            help="Compare with `live` (default), with `empty`, or with a snapshot: its file.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="PLAN", help="Save the plan for `apply --plan`.")] = None,
    to_destroy: Annotated[
        bool, typer.Option("--destroy", help="Show what destroy would do.", rich_help_panel=MORE)
    ] = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Test whether the kernel accepts the inner maps, and compare large maps there. Pins nothing.",
            rich_help_panel=MORE,
        ),
    ] = False,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 if there are changes.")] = False,
    full: Full = False,
    target: Target = None,
    recreate: Recreate = None,
    hosts: Hosts = None,
) -> int:
    """Show what apply would change. Changes nothing.

    With --hosts, --overlay and --against are patterns: `{host}` is the name of a host, `{site}` its label.
    """
    if hosts is not None:
        _refuse_one_host(against, out, to_destroy, probe, target or recreate)
        given = arguments.overrides(ownership, changes)
        status = fleet.run(console, files, spec, hosts, plans=True, against=against, overrides=given, full=full)
        return 0 if status == 2 and exit_zero else status
    against = against or "live"
    _refuse_contradictions(against, out, to_destroy, probe, [*(target or ()), *(recreate or ())])
    arguments.refuse_pruned_part(changes.prune, target)
    # NumPy, which the help does not need, takes 80 ms.
    from provisioner.cli import reports, snapshots
    from provisioner.views import plan_report

    snapshot = None if against in ("live", "empty") else provisioner.read_snapshot(Path(against))
    project = arguments.load_project(
        console, files, spec, snapshot, contents=not to_destroy, any_host=against == "empty"
    )
    overrides = arguments.overrides(ownership, changes)
    with console.working("comparing with the live state") as meter:
        if to_destroy:
            planned = project.plan_destroy(overrides)
        else:
            planned = project.plan(
                overrides,
                against=snapshot or ("empty" if against == "empty" else "live"),
                probe=probe,
                targets=target or (),
                recreate=recreate or (),
                compared=meter.compared,
            )
    if out is not None:
        from provisioner.cli import saved

        saved.save(out, planned, overrides)
    compared = None if snapshot is None else snapshots.about(snapshot)
    report = plan_report.report(
        planned,
        reports.limits(console, full=full),
        destroy=to_destroy,
        against=compared,
        kernel=os.uname().release if compared is None else compared.kernel,
    )
    reports.plan(console, report, full=full, steps=console.verbose)
    if planned.blocked:
        return provisioner.RefusedError.exit_code
    return 2 if planned.changed and not exit_zero else 0


def _refuse_one_host(
    against: str | None, out: Path | None, to_destroy: bool, probe: bool, addresses: list[str] | None
) -> None:
    given = {"--out": out, "--destroy": to_destroy, "--probe": probe, "--target": addresses}
    for name, value in given.items():
        if value:
            raise typer.BadParameter("it is for one host, and cannot be used with --hosts", param_hint=name)
    if against == "live":
        raise typer.BadParameter("with --hosts it is `empty` or a snapshot file", param_hint="--against")


def _refuse_contradictions(
    against: str, out: Path | None, to_destroy: bool, probe: bool, target: list[str] | None
) -> None:
    arguments.need_file(out, "--out", "the report is there")
    if out is not None and (against == "empty" or to_destroy):
        what = "a plan with --against empty or --destroy cannot be applied, so it is not saved"
        raise typer.BadParameter(what, param_hint="--out")
    if to_destroy and target:
        raise typer.BadParameter("destroy works on the whole project", param_hint="--target")
    if to_destroy and against != "live":
        raise typer.BadParameter("it needs --against live", param_hint="--destroy")
    if probe and (against != "live" or to_destroy):
        raise typer.BadParameter("it needs --against live, without --destroy", param_hint="--probe")
