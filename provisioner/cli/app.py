"""The application, and how a command line becomes an exit status: the one place that turns errors into statuses."""

from __future__ import annotations

import copy
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Final

import typer

from provisioner import __version__
from provisioner.cli.console import LOG_FORMAT, Console
from provisioner.cli.options import EXIT_STATUS, add_log_format
from provisioner.model.errors import BugError, Problem, ProvisionerError

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


def guarded(console: Console, work: Callable[[], int]) -> int:
    """Run a verb; every error that is not one of usage ends here, as a message and an exit status."""
    try:
        status = work()
        sys.stdout.flush()
    except ProvisionerError as error:
        console.fail(error)
        if console.verbose and any(problem.id == "bug" for problem in error.problems):
            traceback.print_exc()
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
        console.fail(BugError.of(error))
        if console.verbose:
            traceback.print_exc()
        return EXIT_BUG
    return status


def all_verbs() -> typer.Typer:
    """The application with every verb added to it."""
    import provisioner.cli.verbs  # noqa: F401 (they add their verbs, and help lists these first)
    from provisioner.cli import adopt, explain, graph, watch  # noqa: F401

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
