"""The verbs: a function each, and the one place that turns errors into exit statuses.

What a verb needs is imported when it runs: `--help` and `schema` do without NumPy, and a piped plan without rich.
"""

from __future__ import annotations

import copy
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from provisioner import __version__, schemafile
from provisioner.cli.console import LOG_FORMAT, Console, has_terminal
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
    add_log_format,
)
from provisioner.errors import HostError, Problem, ProvisionerError
from provisioner.report import problems as told

if TYPE_CHECKING:
    from provisioner import Overrides, Project, Snapshot

EXIT_USAGE: Final = 64
EXIT_BUG: Final = 70
EXIT_INTERRUPTED: Final = 130
EXIT_PIPE: Final = 141
"""What a shell reports of a command that SIGPIPE ended."""

_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""typer has no public name for it."""

app = typer.Typer(
    name="provisioner",
    help="Declare BPF maps-in-maps in YAML; plan, apply and destroy them in the live kernel.",
    epilog=EXIT_STATUS,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"provisioner {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


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
            project = load_project(console, names, overlay, allow_outside, pin_root, any_host=True)
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
        from provisioner.report import build, text

        if out is not None and (against == "empty" or to_destroy):
            raise typer.BadParameter("a plan against nothing or to destroy is not one to apply", param_hint="--out")
        if to_destroy and target:
            raise typer.BadParameter("a part of a project is not destroyed", param_hint="--target")
        if to_destroy and against != "live":
            raise typer.BadParameter("what is destroyed is what is live", param_hint="--destroy")
        _refuse_pruned_part(prune, target)
        if probe and (against != "live" or to_destroy):
            raise typer.BadParameter("only a live kernel can be asked, of what is to be made", param_hint="--probe")
        taken = None if against in ("live", "empty") else read_snapshot(Path(against))
        project = load_project(
            console,
            files,
            overlay,
            allow_outside,
            pin_root,
            taken,
            contents=not to_destroy,
            any_host=against == "empty",
        )
        overrides = _overrides(force, approve_deletes, allow_recreate, take_over, prune, allow_overcommit)
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
        report = build.report(found, reports.limits(output, full), destroy=to_destroy, against=compared)
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
        _need_yes(yes or saved_plan is not None)
        _refuse_pruned_part(prune, target)
        from provisioner.cli import saved
        from provisioner.cli.carry_out import CarryOut

        project = load_project(console, files, overlay, allow_outside, pin_root)
        overrides = _overrides(force, approve_deletes, allow_recreate, take_over, prune, allow_overcommit)
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
        _need_yes(yes)
        from provisioner.cli.carry_out import CarryOut

        project = load_project(console, files, overlay, allow_outside, pin_root, contents=False)
        overrides = _overrides(force, False, False, take_over, False)
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
        list[str], typer.Argument(metavar="FILES... [ADDRESS]", help="Spec files or folders, then an address.")
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

        specs, address = _with_address(files)
        project = load_project(console, specs, overlay, allow_outside, pin_root)
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
        from provisioner.report import doctor as report

        found = examine()
        if output == "json":
            console.pieces([report.document(found)])
        else:
            console.lines(report.text(found, console.style))
        return 0 if report.usable(found) else HostError.exit_code

    return guarded(console, work)


@app.command(epilog=EXIT_STATUS)
def schema(
    of: Annotated[
        Literal["spec", "output"], typer.Argument(help="Of spec files, or of what --format json writes.")
    ] = "spec",
) -> int:
    """Print the JSON Schema, for editors and checks."""
    console = Console("text", "never", quiet=False, verbose=False)
    name = schemafile.SPEC_SCHEMA if of == "spec" else schemafile.OUTPUT_SCHEMA

    def work() -> int:
        console.pieces([schemafile.text(name)])
        return 0

    return guarded(console, work)


# --- what verbs share --------------------------------------------------------------------------------------------


def load_project(
    console: Console,
    files: Sequence[str],
    overlays: Sequence[Path] | None,
    allow_outside: bool,
    pin_root: str | None,
    snapshot: Snapshot | None = None,
    *,
    contents: bool = True,
    any_host: bool = False,
) -> Project:
    from provisioner import load

    with console.working("reading the spec"):
        project = load(
            files,
            overlays=overlays or (),
            allow_outside=allow_outside,
            pin_root=pin_root,
            stdin=sys.stdin,
            snapshot=snapshot,
            contents=contents,
            any_host=any_host,
        )
    console.document = project.document
    return project


def _with_address(words: Sequence[str]) -> tuple[Sequence[str], str]:
    """Spec files, and the address that may follow them: the last word, where it is no file and could be none."""
    *files, last = words
    if not files or last == "-" or Path(last).exists() or last.endswith((".yaml", ".yml", "/")):
        return words, ""
    return files, last


def _overrides(
    force: bool,
    approve_deletes: bool,
    allow_recreate: bool,
    take_over: bool,
    prune: bool,
    allow_overcommit: bool = False,
) -> Overrides:
    from provisioner import Overrides

    given = Overrides(approve_deletes, allow_recreate, take_over, prune, allow_overcommit)
    return given | Overrides.force() if force else given


def _need_yes(given: bool) -> None:
    if not given and not has_terminal():
        raise typer.BadParameter("there is no terminal to ask on, so it is required", param_hint="--yes")


def _refuse_pruned_part(prune: bool, target: Sequence[str] | None) -> None:
    if prune and target:
        raise typer.BadParameter("what the spec does not name is no part of a target", param_hint="--prune")


def guarded(console: Console, work: Callable[[], int]) -> int:
    """Run a verb; every error that is not one of usage ends here, as a message and an exit status."""
    try:
        status = work()
        sys.stdout.flush()
    except ProvisionerError as error:
        console.fail(error)
        return error.exit_code
    except KeyboardInterrupt:
        console.fail(ProvisionerError(Problem("interrupted")))
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read this has gone: nobody is there to be told, and the interpreter must not try it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except (_UsageError, typer.Exit):
        raise
    except Exception as error:
        hint = "" if console.verbose else "run it again with -v for the traceback, and report it"
        console.fail(ProvisionerError(Problem(f"this is a bug: {type(error).__name__}: {error}", hint=hint)))
        if console.verbose:
            traceback.print_exc()
        return EXIT_BUG
    return status


def all_verbs() -> typer.Typer:
    """The application with every verb added to it."""
    from provisioner.cli import adopt, explain, graph, watch  # noqa: F401 (they add their verbs)

    return app


def run(arguments: Sequence[str]) -> int:
    """Run the command line `arguments`; gives the exit status."""
    command = typer.main.get_command(_with_verb(arguments))
    assert isinstance(command, typer.core.TyperGroup)
    add_log_format(command)
    try:
        status = command.main(list(arguments), prog_name="provisioner", standalone_mode=False)
    except _UsageError as error:
        _tell_usage(error, arguments)
        return EXIT_USAGE
    return status if isinstance(status, int) else 0


def _with_verb(arguments: Sequence[str]) -> typer.Typer:
    """The application with the one verb that `arguments` begin with, if any: typer takes 2 ms to prepare each."""
    whole = all_verbs()
    asked = [info for info in whole.registered_commands if info.callback and [info.callback.__name__] == arguments[:1]]
    if not asked:
        return whole
    lean = copy.copy(whole)
    lean.registered_commands = asked
    return lean


def _tell_usage(error: Exception, arguments: Sequence[str]) -> None:
    context = getattr(error, "ctx", None)
    message = getattr(error, "format_message", error.__str__)()
    command = context.command_path if context is not None else "provisioner"
    hint = f"`{command} --help` lists the options"
    wants_json = "--format=json" in arguments or ("--format", "json") in pairwise(arguments)
    if "--log-format=json" in arguments or ("--log-format", "json") in pairwise(arguments):
        LOG_FORMAT.set("json")
    Console("json" if wants_json else "text", "auto", quiet=False, verbose=False).fail(
        ProvisionerError(Problem(message, hint=hint))
    )
