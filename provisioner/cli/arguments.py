"""From what was written on the command line to what the library takes, and what is no use of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from provisioner.cli.console import Console, has_terminal

if TYPE_CHECKING:
    from provisioner import Overrides, Project, Snapshot


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


def with_address(words: Sequence[str]) -> tuple[Sequence[str], str]:
    """Spec files, and the address that may follow them: the last word, where it is no file and could be none."""
    *files, last = words
    if not files or last == "-" or Path(last).exists() or last.endswith((".yaml", ".yml", "/")):
        return words, ""
    return files, last


def overrides(
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


def need_yes(given: bool) -> None:
    if not given and not has_terminal():
        raise typer.BadParameter("there is no terminal to ask on, so it is required", param_hint="--yes")


def refuse_pruned_part(prune: bool, target: Sequence[str] | None) -> None:
    if prune and target:
        raise typer.BadParameter("what the spec does not name is no part of a target", param_hint="--prune")
