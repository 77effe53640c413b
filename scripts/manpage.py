"""Generate the manual page from the help of the command line: `make man`.

It uses the macros of man(7), which groff and mandoc support.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer

from provisioner import __version__
from provisioner.cli import app, statuses

_CHANGELOG: Final = Path(__file__).parent.parent / "CHANGELOG.md"

_FILES: Final = (
    ("/sys/fs/bpf", "pins of all projects, unless a spec sets `pin_root`"),
    ("<pin_root>/_meta", "the record of the project: objects, templates and pins"),
)

_ENVIRONMENT: Final = (
    ("NO_COLOR", "no colors, as with `--color never`"),
    ("SUDO_USER", "the user that the audit line of an apply names"),
)


def page() -> Iterator[str]:
    """The lines of the page."""
    root: Any = typer.main.get_command(app.all_verbs())
    commands = dict(sorted(root.commands.items()))
    yield f'.TH PROVISIONER 1 "{_released()}" "provisioner {__version__}" "User Commands"'
    yield ".SH NAME"
    yield rf"provisioner \- {_text(root.help).rstrip('.')}"
    yield ".SH SYNOPSIS"
    for name, command in commands.items():
        if name != min(commands):
            yield ".br"
        yield rf"\fBprovisioner {_text(name)}\fR [options] {_text(_arguments(command))}".rstrip()
    yield ".SH DESCRIPTION"
    yield from _paragraphs(
        "A spec declares outer maps, plain maps and programs, and their contents. plan compares it with the live "
        "kernel, apply makes the changes, and a second apply changes nothing."
    )
    yield ".SH COMMANDS"
    for name, command in commands.items():
        yield f'.SS "provisioner {_text(name)} {_text(_arguments(command))}"'
        yield from _paragraphs(command.help or "")
        yield from _options(command)
    yield ".SH EXIT STATUS"
    for status, meaning in re.findall(r"^  (\d+) +(.*)$", statuses.ALL, flags=re.MULTILINE):
        yield from _tagged(rf"\fB{status}\fR", meaning)
    yield ".SH ENVIRONMENT"
    for name, meaning in _ENVIRONMENT:
        yield from _tagged(rf"\fB{name}\fR", meaning)
    yield ".SH FILES"
    for name, meaning in _FILES:
        yield from _tagged(rf"\fI{_text(name)}\fR", meaning)
    yield ".SH SEE ALSO"
    yield r".BR bpf (2),"
    yield r".BR bpftool (8),"
    yield r".BR bpftool\-map (8)"


def _released() -> str:
    """The date of the newest release."""
    match = re.search(r"^## \[[^]]+\] - (\S+)", _CHANGELOG.read_text(), flags=re.MULTILINE)
    return match[1] if match else ""


def _arguments(command: Any) -> str:
    context = typer.Context(command)
    return " ".join(
        parameter.make_metavar(context) for parameter in command.params if parameter.param_type_name == "argument"
    )


def _options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        if parameter.param_type_name != "option" or parameter.hidden:
            continue
        record = parameter.get_help_record(typer.Context(command))
        if record is not None:
            names, meaning = record
            yield from _tagged(rf"\fB{_text(names)}\fR", meaning)


def _tagged(tag: str, meaning: str) -> Iterator[str]:
    yield ".TP"
    yield tag
    yield _line(meaning)


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.replace("\b", "").split("\n\n")):
        if number:
            yield ".PP"
        yield _line(" ".join(paragraph.split()))


def _line(text: str) -> str:
    """Text with `code` in bold, and without a control character at its start."""
    marked = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", _text(text))
    return rf"\&{marked}" if marked[:1] in (".", "'") else marked


def _text(text: str) -> str:
    return text.replace("\\", r"\e").replace("-", r"\-")


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in page())
