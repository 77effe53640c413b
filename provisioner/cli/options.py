"""The options that verbs share, and what every help text ends with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from provisioner.cli import completion
from provisioner.cli.console import LOG_FORMAT, Color

EXIT_STATUS: Final = """\b
Exit status:
  0    done; plan: no changes
  1    bad input (spec, table, object file, argument value); nothing was changed
  2    plan: there are changes (--exit-zero makes it 0)
  3    apply, destroy: failed after something became visible; the report says what is live
  4    refused: a stale or used plan, a limit, prevent_destroy, ownership; plan: apply would refuse
  5    this host: no privilege, no bpffs, no libbpf, or the kernel refused; nothing was changed
  64   usage error
  70   a bug in provisioner
  75   another process holds the lock: try again
  130  interrupted; the report says what is live
"""

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILES...",
        help="Spec files or folders; - is standard input.",
        autocompletion=completion.files,
    ),
]
PinRoot = Annotated[str | None, typer.Option(metavar="PATH", help="Pin directory, in place of the spec's.")]
Overlay = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Lay this file over the spec: what it says wins. May be given again."),
]
AllowOutside = Annotated[bool, typer.Option("--allow-outside", help="Let the spec name files outside its folder.")]
Output = Annotated[Literal["text", "json"], typer.Option("--format", help="How the result is written.")]
Report = Annotated[
    Literal["text", "json", "markdown", "html"],
    typer.Option("--format", help="How the result is written; markdown is a pull request's comment, html one page."),
]
ColorOption = Annotated[Color, typer.Option(help="Colours: auto is on a terminal without NO_COLOR.")]
Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="No progress; apply and destroy print only what goes wrong.")
]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="List the steps; trace a bug.")]
Full = Annotated[bool, typer.Option("--full", help="All inner maps and entries, however many.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Required without a terminal.")]
Force = Annotated[bool, typer.Option("--force", help="Override every rule but ownership and protection.")]
ApproveDeletes = Annotated[bool, typer.Option("--approve-deletes", help="Go beyond the limits of deletes and updates.")]
AllowRecreate = Annotated[bool, typer.Option("--allow-recreate", help="Make live maps anew where they cannot change.")]
AllowOvercommit = Annotated[
    bool, typer.Option("--allow-overcommit", help="Apply although kernel memory may not be enough.")
]
TakeOver = Annotated[bool, typer.Option("--take-over", help="Take over pins that another project made.")]
Prune = Annotated[bool, typer.Option("--prune", help="Remove pins that the spec does not name.")]
Target = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="ADDRESS",
        help="Only this map, slot or object: tenants, tenants[42]. May be given again.",
        autocompletion=completion.targets,
    ),
]
LockTimeout = Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Wait for another process to end.")]


def add_log_format(group: typer.core.TyperGroup) -> None:
    """Give each verb of `group` the option `--log-format`: none has to say that it takes it."""
    for verb in group.commands.values():
        option = typer.core.TyperOption(
            param_decls=["--log-format"],
            metavar="text|json",
            default="text",
            show_default=True,
            expose_value=False,
            callback=_take_log_format,
            help="How standard error is written: json is an object to a line.",
        )
        verb.params.append(option)


def _take_log_format(context: typer.Context, _: object, value: str) -> None:
    if value not in ("text", "json"):
        raise typer.BadParameter(f"'{value}' is not one of 'text', 'json'")
    context.with_resource(_set_log_format(value))


@contextmanager
def _set_log_format(value: str) -> Iterator[None]:
    token = LOG_FORMAT.set("json" if value == "json" else "text")
    try:
        yield
    finally:
        LOG_FORMAT.reset(token)
