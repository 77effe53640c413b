"""The options that verbs share, as values: a verb takes a group of them as one parameter (`cli/command.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from provisioner.cli import completion
from provisioner.cli.console import Color, LogFormat

MORE: Final = "More options"
_SPEC: Final = "Spec"
_SAFETY: Final = "Safety checks"
_OUTPUT: Final = "Output"
"""The groups of `cli/verb_help.py`."""

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILES...",
        help="Spec files or directories; - is standard input.",
        autocompletion=completion.files,
    ),
]
FilesOrPinRoot = Annotated[
    list[str],
    typer.Argument(
        metavar="FILES...",
        help="Spec files or directories, or a pin root, or the pin of a map; - is standard input.",
        autocompletion=completion.files,
    ),
]
FilesAndAddress = Annotated[
    list[str],
    typer.Argument(
        metavar="FILES... ADDRESS",
        help="Spec files or directories, or a pin root or the pin of a map, then an address.",
        autocompletion=completion.files_and_address,
    ),
]
FilesAndMaybeAddress = Annotated[
    list[str],
    typer.Argument(
        metavar="FILES... [ADDRESS]",
        help="Spec files or directories, or a pin root or the pin of a map, then an optional address.",
        autocompletion=completion.files_and_address,
    ),
]
Full = Annotated[bool, typer.Option("--full", help="Show all inner maps and entries. Long lists are cut otherwise.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation. Required without a terminal.")]
Target = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="ADDRESS",
        help="Limit the plan to this map, slot or object: tenants, tenants[42]. Repeatable.",
        autocompletion=completion.targets,
    ),
]
Recreate = Annotated[
    list[str] | None,
    typer.Option(
        "--replace",
        metavar="ADDRESS",
        help="Recreate this map or inner map although nothing differs: tenants[42]. Repeatable.",
        rich_help_panel=MORE,
        autocompletion=completion.targets,
    ),
]
Hosts = Annotated[
    str | None,
    typer.Option(
        "--hosts",
        metavar="INVENTORY",
        help="Do it for all hosts of an inventory file; - reads the JSON of ansible-inventory --list.",
        rich_help_panel=MORE,
    ),
]
LockTimeout = Annotated[
    float,
    typer.Option(
        metavar="SECONDS", min=0, help="Wait this long for the lock of another process.", rich_help_panel=MORE
    ),
]


class OutputOptions(msgspec.Struct, frozen=True):
    """How output looks, and how much is written in addition to the result. Every verb has these options."""

    color: Annotated[
        Color,
        typer.Option(
            metavar="WHEN",
            help="auto (default), always or never; auto: on a terminal, unless NO_COLOR is set.",
            show_default=False,
            rich_help_panel=_OUTPUT,
        ),
    ] = "auto"
    quiet: Annotated[
        bool,
        typer.Option(
            "-q",
            "--quiet",
            help="No progress; apply, destroy and validate print only errors.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False
    verbose: Annotated[
        bool,
        typer.Option("-v", "--verbose", help="List the steps; show tracebacks of bugs.", rich_help_panel=_OUTPUT),
    ] = False
    log_format: Annotated[
        LogFormat,
        typer.Option(
            metavar="text|json",
            help="Format of standard error; json is one object per line.",
            rich_help_panel=_OUTPUT,
        ),
    ] = "text"


class SpecOptions(msgspec.Struct, frozen=True):
    """How the spec files are read."""

    pin_root: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Use this pin directory instead of the spec's.", rich_help_panel=_SPEC),
    ] = None
    overlay: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Merge this file over the spec; its values win. FILE? can be missing. Repeatable.",
            rich_help_panel=_SPEC,
        ),
    ] = None
    var: Annotated[
        list[str] | None,
        typer.Option(
            "--var",
            metavar="NAME=VALUE",
            help="Set a variable of the spec: ${NAME}. Repeatable.",
            rich_help_panel=_SPEC,
        ),
    ] = None
    allow_outside: Annotated[
        bool,
        typer.Option(
            "--allow-outside", help="Allow the spec to read files outside its directory.", rich_help_panel=_SPEC
        ),
    ] = False


class OwnershipOverrides(msgspec.Struct, frozen=True):
    """What may be done although a check refuses it, for every verb that changes the host."""

    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Bypass all safety checks except ownership and prevent_destroy.",
            rich_help_panel=_SAFETY,
        ),
    ] = False
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Take over pins that belong to another project.", rich_help_panel=_SAFETY),
    ] = False


class ChangeOverrides(msgspec.Struct, frozen=True):
    """The same for a plan that changes maps."""

    approve_deletes: Annotated[
        bool,
        typer.Option(
            "--approve-deletes",
            help="Allow more deletes and updates than `limits` permits.",
            rich_help_panel=_SAFETY,
        ),
    ] = False
    allow_recreate: Annotated[
        bool,
        typer.Option(
            "--allow-recreate",
            help="Recreate maps that cannot be changed; contents are lost, loaded programs keep the old map.",
            rich_help_panel=_SAFETY,
        ),
    ] = False
    allow_overcommit: Annotated[
        bool,
        typer.Option(
            "--allow-overcommit", help="Apply although kernel memory may be too small.", rich_help_panel=_SAFETY
        ),
    ] = False
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove pins that the spec does not name.", rich_help_panel=_SAFETY)
    ] = False


NO_CHANGES: Final = ChangeOverrides()
"""Of a verb that does not have these options."""
