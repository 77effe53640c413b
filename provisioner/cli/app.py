"""The application: from the words of a command line to a verb and its exit status."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Final

import typer

from provisioner import __version__
from provisioner.cli import completion, root_help, statuses, verb_help, verbs
from provisioner.cli.console import Console, LogFormat
from provisioner.cli.guard import USAGE_ERROR, guarded
from provisioner.cli.streams import OutputError, guarded_output
from provisioner.model.errors import Problem, ProvisionerError

__all__ = ["all_verbs", "guarded", "run"]

_HELP: Final = "Declare BPF map-in-map in YAML: plan, apply and destroy it in the kernel."

_MEANT: Final = {
    "--auto-approve": "write `--yes`",
    "--autoapprove": "write `--yes`",
    "--assume-yes": "write `--yes`",
    "--check": "`provisioner plan` shows what apply would do, and changes nothing",
    "--diff": "`provisioner plan` shows what apply would do, and changes nothing",
    "--dry-run": "`provisioner plan` shows what apply would do, and changes nothing",
    "--json": "write `--format json`",
    "--output": "write `--format`",
    "-f": "write the spec files without an option",
    "--file": "write the spec files without an option",
    "--var-file": "write `--overlay FILE`",
    "--timeout": "write `--lock-timeout`",
    "--wait": "write `--lock-timeout`",
    "-V": "write `--version`",
    "check": "did you mean `validate`?",
    "completion": "`provisioner --install-completion` installs it",
    "create": "did you mean `apply`?",
    "delete": "did you mean `destroy`?",
    "deploy": "did you mean `apply`?",
    "describe": "did you mean `show`?",
    "diff": "did you mean `plan`?",
    "get": "did you mean `show`?",
    "import": "did you mean `export`?",
    "lint": "did you mean `validate`?",
    "install": "did you mean `apply`?",
    "ls": "did you mean `list`?",
    "preview": "did you mean `plan`?",
    "projects": "did you mean `list`?",
    "refresh": "did you mean `plan`?",
    "remove": "did you mean `destroy`?",
    "rm": "did you mean `destroy`?",
    "snapshot": "did you mean `export --snapshot FILE`?",
    "state": "did you mean `show`?",
    "status": "did you mean `show`?",
    "taint": "`provisioner apply --replace ADDRESS` recreates a map or inner map",
    "test": "did you mean `validate`?",
    "uninstall": "did you mean `destroy`?",
    "up": "did you mean `apply`?",
}
"""Options and verbs of other tools, with what they are called here."""

_TOO_MANY: Final = {
    "init": "run `provisioner init OBJECT.o` once for each object",
    "doctor": "leave it out: doctor examines this host",
    "list": "leave it out: list shows all projects; `provisioner show PIN_ROOT` shows one",
}
"""Verbs that take one argument or none, with what to do about more."""

_ONE_DASH: Final = re.compile("-[a-z]{3}")

_COMPLETION: Final = frozenset({"--install-completion", "--show-completion"})

_PLAN_IS_DRY: Final = "leave it out: plan changes nothing"


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"provisioner {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def all_verbs() -> typer.Typer:
    """The application with every verb."""
    return _application(verbs.VERBS)


@cache
def command_of(names: tuple[str, ...]) -> Any:
    """The command with some verbs; made once, for who runs command lines again and again."""
    return typer.main.get_command(_application(names))


def _application(names: Iterable[str]) -> typer.Typer:
    """The application with some verbs. Each costs an import, and 2 ms in typer."""
    application = typer.Typer(
        name="provisioner",
        help=_HELP,
        cls=root_help.Root,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    )
    application.callback()(_root)
    for verb in map(verbs.load, names):
        # A short help of our own is wrapped; one that typer makes is cut to a line.
        command = application.command(verb.name, cls=verb_help.VerbCommand, short_help=verb.summary, epilog=verb.epilog)
        command(verb.callback)
    return application


def run(arguments: Sequence[str]) -> int:
    """Run the command line `arguments`; gives the exit status."""
    words = _with_help(arguments)
    names = tuple(words[:1]) if words[0] in verbs.VERBS else tuple(verbs.VERBS)
    asked = os.environ.get("_PROVISIONER_COMPLETE", "")
    if asked.startswith("source") or _COMPLETION & set(words):
        completion.mend_scripts()
    elif asked:
        completion.mend_words()
    command = command_of(names)
    try:
        with guarded_output():
            status = command.main(words, prog_name="provisioner", standalone_mode=False)
            sys.stdout.flush()
    except OutputError as error:  # of --help, which no verb writes
        Console("text", "auto", quiet=False, verbose=False).fail_output(error)
        return error.exit_code
    except USAGE_ERROR as error:
        _report_usage(error, arguments)
        return statuses.USAGE
    return status if isinstance(status, int) else 0


def _with_help(arguments: Sequence[str]) -> list[str]:
    """`help`, `help VERB` and `version` as options; help where nothing is asked for."""
    match list(arguments):
        case [] | ["help"]:
            return ["--help"]
        case ["help", *words]:
            return [*words, "--help"]
        case ["version"]:
            return ["--version"]
        case words:
            return words


def _report_usage(error: Any, arguments: Sequence[str]) -> None:
    context = getattr(error, "ctx", None)
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    path = context.command_path if context is not None else "provisioner"
    hint = _meant(error, arguments)
    if hint:  # ours is better than a word that is spelled alike
        message = message.partition(" (Possible options")[0].partition(" Did you mean")[0]
    hint = hint or f"`{path} --help` lists the options"
    log_format: LogFormat = "json" if _is_given(arguments, "--log-format") else "text"
    form = "json" if _is_given(arguments, "--format") or _is_given(arguments, "-o") else "text"
    console = Console(form, "auto", quiet=False, verbose=False, log_format=log_format)
    console.fail(ProvisionerError(Problem(message, hint=hint, id="usage")))


def _meant(error: Any, arguments: Sequence[str]) -> str:
    """What an unknown option or verb is called here; empty where nothing is known."""
    context = getattr(error, "ctx", None)
    if context is not None and (hint := _with_one_dash(context, arguments)):
        return hint
    unknown = getattr(error, "option_name", None)
    if unknown is None and "unexpected extra argument" in str(error) and context is not None:
        return _TOO_MANY.get(context.info_name, "")
    if unknown is None:
        word = next((word for word in arguments if not word.startswith("-")), "")
        if word in verbs.VERBS:
            return ""
        near = get_close_matches(word, verbs.VERBS, n=1)
        return _MEANT.get(word) or (f"did you mean `{near[0]}`?" if near else "")
    if unknown in ("--dry-run", "--check", "--diff") and arguments[0] == "plan":
        return _PLAN_IS_DRY
    verb = next((word for word in arguments if word in verbs.VERBS), "")
    if verb and unknown not in _MEANT and context is not None and context.parent is None:
        return f"write options after the command: `provisioner {verb} {unknown}`"
    return _MEANT.get(unknown, "")


def _with_one_dash(context: Any, arguments: Sequence[str]) -> str:
    """A long option with a single dash, as Terraform has it: it is read as several short ones."""
    known = {name for parameter in context.command.get_params(context) for name in parameter.opts}
    for word in arguments:
        name = f"-{word.partition('=')[0]}"
        if _ONE_DASH.match(word) and (name in known or name in _MEANT):
            return f"write `{name}`" if name in known else _MEANT[name]
    return ""


def _is_given(arguments: Sequence[str], option: str) -> bool:
    """Whether the command line asks for JSON by this option."""
    return f"{option}=json" in arguments or (option, "json") in pairwise(arguments)
