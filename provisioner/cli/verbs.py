"""The verbs: a function each.

What a verb needs is imported when it runs: `--help` and `schema` do without NumPy, and a piped plan without rich.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from provisioner.cli import arguments, completion
from provisioner.cli.app import app, guarded
from provisioner.cli.console import Console
from provisioner.cli.options import (
    EXIT_STATUS,
    AllowOutside,
    AllowOvercommit,
    AllowRecreate,
    ApproveDeletes,
    ColorOption,
    Files,
    Force,
    Full,
    LockTimeout,
    Output,
    Overlay,
    PinRoot,
    Prune,
    Quiet,
    Report,
    TakeOver,
    Target,
    Verbose,
    Yes,
)
from provisioner.language import schema_file
from provisioner.model.errors import HostError, ProvisionerError
from provisioner.report import problems as told


@app.command(epilog=EXIT_STATUS)
def validate(
    files: Files,
    output: Annotated[
        Literal["text", "json", "github"], typer.Option("--format", help="How the result is written.")
    ] = "text",
    kernel: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Say what this kernel would refuse, or do slowly: 5.10.")
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Each of FILES is a project of its own.")] = False,
    pin_root: PinRoot = None,
    overlay: Overlay = None,
    allow_outside: AllowOutside = False,
    color: ColorOption = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Check everything that can be checked without a kernel."""
    console = Console(output, color, quiet=quiet, verbose=verbose)
    if each and output == "json":
        raise typer.BadParameter("one project makes one JSON document", param_hint="--each")

    def check(names: Sequence[str]) -> int:
        from provisioner.report import jsondoc, text

        try:
            project = arguments.load_project(console, names, overlay, allow_outside, pin_root, any_host=True)
            advice = None if kernel is None else project.advise(kernel)
        except ProvisionerError as error:
            if output != "github":
                raise
            console.lines(told.github(error.problems))
            return error.exit_code
        if output == "json":
            console.pieces(jsondoc.valid(project.desired, advice))
        elif output == "text":
            console.lines([text.valid(project.desired), *text.advice(advice or (), console.style)])
        return 0

    projects = [[name] for name in files] if each else [files]
    return max(guarded(console, partial(check, names)) for names in projects)


@app.command(epilog=EXIT_STATUS)
def plan(
    files: Files,
    against: Annotated[
        str,
        typer.Option(
            metavar="live|empty|FILE", help="Compare with what is live, with nothing, or with a snapshot of a host."
        ),
    ] = "live",
    out: Annotated[Path | None, typer.Option(metavar="PLAN", help="Save the plan, for `apply --plan`.")] = None,
    to_destroy: Annotated[bool, typer.Option("--destroy", help="Show what destroy would do.")] = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Ask the kernel whether it takes the inner maps: makes unpinned maps, gone at once."
        ),
    ] = False,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="End with 0 although there are changes.")] = False,
    full: Full = False,
    force: Force = False,
    approve_deletes: ApproveDeletes = False,
    allow_recreate: AllowRecreate = False,
    allow_overcommit: AllowOvercommit = False,
    take_over: TakeOver = False,
    prune: Prune = False,
    target: Target = None,
    output: Report = "text",
    pin_root: PinRoot = None,
    overlay: Overlay = None,
    allow_outside: AllowOutside = False,
    color: ColorOption = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Show the difference between the spec and what is live, and what would be done. Changes nothing."""
    console = Console(output, color, quiet=quiet, verbose=verbose)

    def work() -> int:
        from provisioner import read_snapshot
        from provisioner.cli import reports, saved, snapshots
        from provisioner.report import text
        from provisioner.views import plan_report

        if out is not None and (against == "empty" or to_destroy):
            raise typer.BadParameter("a plan against nothing or to destroy is not one to apply", param_hint="--out")
        if to_destroy and target:
            raise typer.BadParameter("a part of a project is not destroyed", param_hint="--target")
        if to_destroy and against != "live":
            raise typer.BadParameter("what is destroyed is what is live", param_hint="--destroy")
        arguments.refuse_pruned_part(prune, target)
        if probe and (against != "live" or to_destroy):
            raise typer.BadParameter("only a live kernel can be asked, of what is to be made", param_hint="--probe")
        taken = None if against in ("live", "empty") else read_snapshot(Path(against))
        project = arguments.load_project(
            console,
            files,
            overlay,
            allow_outside,
            pin_root,
            taken,
            contents=not to_destroy,
            any_host=against == "empty",
        )
        overrides = arguments.overrides(force, approve_deletes, allow_recreate, take_over, prune, allow_overcommit)
        if to_destroy:
            found = project.plan_destroy(overrides)
        else:
            with console.working("comparing with what is live"):
                found = project.plan(
                    overrides,
                    against=taken or ("empty" if against == "empty" else "live"),
                    probe=probe,
                    targets=target or (),
                )
        if out is not None:
            saved.save(out, found, overrides)
        compared = None if taken is None else snapshots.about(taken)
        kernel = os.uname().release if compared is None else compared.kernel
        report = plan_report.report(
            found, reports.limits(output, full), destroy=to_destroy, against=compared, kernel=kernel
        )
        if output == "text":
            console.lines(text.render(report, console.style, steps=verbose))
        else:
            reports.write(console, report, full=full)
        if found.blocked:
            return 4
        return 2 if found.changed and not exit_zero else 0

    return guarded(console, work)


@app.command(epilog=EXIT_STATUS)
def apply(
    files: Files,
    saved_plan: Annotated[
        Path | None, typer.Option("--plan", metavar="PLAN", help="Apply this saved plan, or nothing; asks no more.")
    ] = None,
    yes: Yes = False,
    full: Full = False,
    force: Force = False,
    approve_deletes: ApproveDeletes = False,
    allow_recreate: AllowRecreate = False,
    allow_overcommit: AllowOvercommit = False,
    take_over: TakeOver = False,
    prune: Prune = False,
    target: Target = None,
    no_rollback: Annotated[bool, typer.Option("--no-rollback", help="Leave what was done when a step fails.")] = False,
    lock_timeout: LockTimeout = 0.0,
    output: Report = "text",
    pin_root: PinRoot = None,
    overlay: Overlay = None,
    allow_outside: AllowOutside = False,
    color: ColorOption = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Plan, ask, do it, and verify. A second apply does nothing."""
    console = Console(output, color, quiet=quiet, verbose=verbose)

    def work() -> int:
        arguments.need_yes(yes or saved_plan is not None)
        arguments.refuse_pruned_part(prune, target)
        from provisioner.cli import saved
        from provisioner.cli.carry_out import CarryOut

        project = arguments.load_project(console, files, overlay, allow_outside, pin_root)
        overrides = arguments.overrides(force, approve_deletes, allow_recreate, take_over, prune, allow_overcommit)
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
            )
        )
        return 0

    return guarded(console, work)


@app.command(epilog=EXIT_STATUS)
def destroy(
    files: Files,
    yes: Yes = False,
    full: Full = False,
    force: Force = False,
    take_over: TakeOver = False,
    lock_timeout: LockTimeout = 0.0,
    output: Report = "text",
    pin_root: PinRoot = None,
    overlay: Overlay = None,
    allow_outside: AllowOutside = False,
    color: ColorOption = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Detach and unpin what the project owns, and remove its pin directory."""
    console = Console(output, color, quiet=quiet, verbose=verbose)

    def work() -> int:
        arguments.need_yes(yes)
        from provisioner.cli.carry_out import CarryOut

        project = arguments.load_project(console, files, overlay, allow_outside, pin_root, contents=False)
        overrides = arguments.overrides(force, False, False, take_over, False)
        run = CarryOut(console, yes=yes, full=full, destroy=True)
        run(
            lambda: project.destroy(
                overrides,
                run.options(rollback=False),
                planned=run.planned,
                confirm=run.confirm,
                lock_timeout=lock_timeout,
            )
        )
        return 0

    return guarded(console, work)


@app.command(epilog=EXIT_STATUS)
def show(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES... [ADDRESS]",
            help="Spec files or folders, then an address.",
            autocompletion=completion.files_and_address,
        ),
    ],
    full: Full = False,
    output: Output = "text",
    pin_root: PinRoot = None,
    overlay: Overlay = None,
    allow_outside: AllowOutside = False,
    color: ColorOption = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Show what is live, decoded with the spec's types, as one tree: ids, memory, pins, users. Changes nothing.

    A sign marks what is not as the spec wants it, as in a plan. An address after the files, such as `tenants`,
    `tenants[42]` or `tenants[42][10.0.0.0/8]`, shows that alone, and all of it.
    """
    console = Console(output, color, quiet=quiet, verbose=verbose)

    def work() -> int:
        from provisioner.report import jsondoc, text

        specs, address = arguments.with_address(files)
        project = arguments.load_project(console, specs, overlay, allow_outside, pin_root)
        found = project.live(address, full=full)
        if output == "json":
            console.pieces(jsondoc.live(found))
        else:
            console.lines(text.live(found, console.style))
        return 0

    return guarded(console, work)


@app.command(epilog=EXIT_STATUS)
def doctor(output: Output = "text", color: ColorOption = "auto") -> int:
    """Say what works on this host, what does not, and why. Ends with 0 where the provisioner can work, else with 5."""
    console = Console(output, color, quiet=False, verbose=False)

    def work() -> int:
        from provisioner import examine
        from provisioner.doctor.finding import usable
        from provisioner.report import doctor as report

        found = examine()
        if output == "json":
            console.pieces([report.document(found)])
        else:
            console.lines(report.text(found, console.style))
        return 0 if usable(found) else HostError.exit_code

    return guarded(console, work)


@app.command(epilog=EXIT_STATUS)
def schema(
    of: Annotated[
        Literal["spec", "output"],
        typer.Argument(metavar="[spec|output]", help="Of spec files, or of what --format json writes."),
    ] = "spec",
) -> int:
    """Print the JSON Schema, for editors and checks."""
    console = Console("text", "never", quiet=False, verbose=False)
    name = schema_file.SPEC_SCHEMA if of == "spec" else schema_file.OUTPUT_SCHEMA

    def work() -> int:
        console.pieces([schema_file.text(name)])
        return 0

    return guarded(console, work)
