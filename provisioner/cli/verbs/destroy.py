"""`destroy`: remove a project from this host."""

from __future__ import annotations

from provisioner.cli import arguments
from provisioner.cli.command import verb
from provisioner.cli.console import Console
from provisioner.cli.options import (
    FilesOrPinRoot,
    Full,
    LockTimeout,
    OwnershipOverrides,
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
    meanings={0: "destroyed, or nothing is live", 3: "failed after a change was visible; see the report"},
)
def destroy(
    console: Console,
    files: FilesOrPinRoot,
    spec: SpecOptions,
    ownership: OwnershipOverrides,
    target: Target = None,
    yes: Yes = False,
    full: Full = False,
    lock_timeout: LockTimeout = 0.0,
) -> int:
    """Detach and unpin all that the project owns. Removes its pin directory; with --target, only a part of it."""
    arguments.need_yes(yes)
    from provisioner.cli.carry_out import CarryOut  # NumPy, which the help does not need, takes 80 ms

    project = arguments.load_project(console, files, spec, contents=False, pins=True)
    run = CarryOut(console, yes=yes, full=full, destroy=True)
    run(
        lambda: project.destroy(
            arguments.overrides(ownership),
            run.options(rollback=False),
            planned=run.planned,
            confirm=run.confirm,
            lock_timeout=lock_timeout,
            targets=target or (),
        )
    )
    return 0
