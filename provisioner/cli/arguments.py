"""From the words of a command line to the arguments of the library, and checks of words that contradict each other."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

import provisioner
from provisioner.cli.console import Console, has_terminal
from provisioner.cli.options import NO_CHANGES, ChangeOverrides, OwnershipOverrides, SpecOptions
from provisioner.model.words import visible

if TYPE_CHECKING:
    from provisioner import Given, Overrides, Project, Snapshot


def load_project(
    console: Console,
    files: Sequence[str],
    spec: SpecOptions,
    snapshot: Snapshot | None = None,
    *,
    contents: bool = True,
    any_host: bool = False,
    pins: bool = False,
) -> Project:
    """Read the spec; its lines are the console's excerpts from then on. Raises SpecError.

    With `pins`, a pin root or a pin in place of the spec gives what is pinned there.
    """
    if pins and len(files) == 1 and provisioner.is_pinned(files[0]):
        return provisioner.load_pinned(files[0])
    with console.working("reading the spec"):
        project = provisioner.load(
            files,
            overlays=spec.overlay or (),
            allow_outside=spec.allow_outside,
            pin_root=spec.pin_root,
            stdin=sys.stdin,
            snapshot=snapshot,
            contents=contents,
            any_host=any_host,
            variables=variables(spec.var),
        )
    console.document = project.document
    _note_files(console, project)
    return project


def _note_files(console: Console, project: Project) -> None:
    """The files that were read, with -v; and a warning about files in the same directories that look like specs."""
    if console.verbose:
        console.notes(f"read {visible(name)}" for name in project.document.files)
    if not console.quiet:
        hint = "looks like a spec and is not read: name it, or include it"
        console.notes(f"warning: {visible(str(path))} {hint}" for path in project.document.unread)


def variables(words: Sequence[str] | None) -> dict[str, Given]:
    """The values of `--var NAME=VALUE`; a later one wins."""
    given: dict[str, Given] = {}
    for word in words or ():
        name, equals, text = word.partition("=")
        if not equals or not (name.isascii() and name.isidentifier()):
            raise typer.BadParameter(f"`{visible(word)}` is not NAME=VALUE", param_hint="--var")
        given[name] = provisioner.Given(text, "--var", is_required=True)
    return given


def with_address(words: Sequence[str]) -> tuple[Sequence[str], str]:
    """Spec files, and the address after them: the last word, unless it is a file or looks like one."""
    *files, last = words
    if not files or last == "-" or os.path.exists(last) or last.endswith((".yaml", ".yml", "/")):
        return words, ""
    return files, last


def overrides(ownership: OwnershipOverrides, changes: ChangeOverrides = NO_CHANGES) -> Overrides:
    """The checks that the user overrides."""
    given = provisioner.Overrides(
        changes.approve_deletes, changes.allow_recreate, ownership.take_over, changes.prune, changes.allow_overcommit
    )
    return given | provisioner.Overrides.force() if ownership.force else given


def is_standard_output(path: Path | None) -> bool:
    """Whether an option for an output file has `-`."""
    return path is not None and str(path) == "-"


def need_file(path: Path | None, option: str, why: str) -> None:
    """Refuse `-` as the name of an output file, and say why it has to be one."""
    if is_standard_output(path):
        what = f"`-` is standard output, and {why}: name a file"
        raise typer.BadParameter(what, param_hint=option)


def need_yes(given: bool) -> None:
    """Refuse to run without confirmation if there is no terminal."""
    if not given and not has_terminal():
        raise typer.BadParameter("required, because there is no terminal to ask on", param_hint="--yes")


def refuse_pruned_part(prune: bool, target: Sequence[str] | None) -> None:
    """Refuse --prune with --target: what the spec does not name is outside of every target."""
    if prune and target:
        raise typer.BadParameter("it cannot be used with --target", param_hint="--prune")
