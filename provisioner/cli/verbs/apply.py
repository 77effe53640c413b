"""`apply`: make the live state what the spec says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from provisioner.cli import arguments
from provisioner.cli.command import verb
from provisioner.cli.console import Console
from provisioner.cli.options import (
    MORE,
    ChangeOverrides,
    Files,
    Full,
    LockTimeout,
    OwnershipOverrides,
    Recreate,
    SpecOptions,
    Target,
    Yes,
)
from provisioner.report.formats import names


@verb(
    3,
    4,
    5,
    75,
    formats=names("plan"),
    meanings={0: "applied, or no changes", 3: "failed after a change was visible; the report lists it"},
)
def apply(
    console: Console,
    files: Files,
    spec: SpecOptions,
    changes: ChangeOverrides,
    ownership: OwnershipOverrides,
    yes: Yes = False,
    saved_plan: Annotated[
        Path | None,
        typer.Option("--plan", metavar="PLAN", help="Apply exactly this saved plan, without confirmation."),
    ] = None,
    full: Full = False,
    target: Target = None,
    recreate: Recreate = None,
    no_rollback: Annotated[
        bool,
        typer.Option("--no-rollback", help="Keep completed changes if a step fails.", rich_help_panel=MORE),
    ] = False,
    lock_timeout: LockTimeout = 0.0,
) -> int:
    """Plan, ask for confirmation, apply, and verify. A second apply changes nothing."""
    arguments.need_yes(yes or saved_plan is not None)
    arguments.refuse_pruned_part(changes.prune, target)
    # NumPy, which the help does not need, takes 80 ms.
    from provisioner.cli import saved
    from provisioner.cli.carry_out import CarryOut

    project = arguments.load_project(console, files, spec)
    overrides = arguments.overrides(ownership, changes)
    bound = None
    if saved_plan is not None:
        bound = saved.read(saved_plan)
        bound.check(project.desired.project, project.desired.pin_root)
        bound.check_targets(project.targets(target or ()))
        overrides = overrides | bound.overrides
    run = CarryOut(console, yes=yes or bound is not None, full=full, bound=bound)
    run(
        lambda: project.apply(
            overrides,
            run.options(rollback=not no_rollback),
            planned=run.planned,
            confirm=run.confirm,
            lock_timeout=lock_timeout,
            targets=target or (),
            recreate=recreate or (bound.recreate if bound is not None else ()),
        )
    )
    return 0
