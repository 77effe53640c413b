"""What a shell completes: spec files, and addresses of the spec before them. A faulty spec completes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import typer

_SPECS = (".yaml", ".yml", ".json")


def files(incomplete: str) -> list[str]:
    """Spec files and folders that begin so."""
    return sorted(_files(incomplete))


def files_and_address(context: typer.Context, incomplete: str) -> list[str]:
    """Spec files and, where one is given already, addresses in it."""
    given = [name for name in context.params.get("files") or () if name != incomplete]
    return sorted(_files(incomplete)) + (_addresses(given, incomplete) if given else [])


def targets(context: typer.Context, incomplete: str) -> list[str]:
    """Maps, slots and objects of the spec files that are given already."""
    # click gives up at an option whose value is still to come: the words before it are left over.
    given = context.params.get("files") or context.args
    return _addresses(list(given), incomplete, targets=True) if given else []


def _files(incomplete: str) -> Iterator[str]:
    folder, slash, start = incomplete.rpartition("/")
    try:
        for found in Path(folder + slash or ".").iterdir():
            if found.name.startswith(start) and (start[:1] == "." or found.name[0] != "."):
                if found.is_dir():
                    yield f"{folder}{slash}{found.name}/"
                elif found.suffix in _SPECS:
                    yield f"{folder}{slash}{found.name}"
    except OSError:
        return


def _addresses(given: list[str], incomplete: str, *, targets: bool = False) -> list[str]:
    from provisioner import ProvisionerError, load

    try:
        return list(load(given, allow_outside=True).complete(incomplete, targets=targets))
    except ProvisionerError:  # a spec with a fault completes nothing; other verbs tell of it
        return []
