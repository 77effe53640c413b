"""Words that a shell completes: spec files, and addresses of the spec files before them. An invalid spec has none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import typer

import provisioner

_SPECS = (".yaml", ".yml", ".json")

_FIRST_TAB = """
# zsh loads this file as the function _%(prog_name)s at the first Tab, and then expects its answer.
if [[ ${funcstack[1]} == _%(prog_name)s ]]; then
  %(complete_func)s "$@"
fi
"""
"""What typer's script for zsh leaves out: without it, the first Tab of each shell does nothing."""


def mend_scripts() -> None:
    """Complete the scripts that typer installs and prints. Called only where one is asked for."""
    from typer import _completion_classes, _completion_shared

    script = _completion_shared.COMPLETION_SCRIPT_ZSH
    if "funcstack" not in script:
        whole = script + _FIRST_TAB
        _completion_shared._completion_scripts["zsh"] = whole
        _completion_classes.ZshComplete.source_template = whole


def files(incomplete: str) -> list[str]:
    """Spec files and directories."""
    return sorted(_files(incomplete))


def files_and_address(context: typer.Context, incomplete: str) -> list[str]:
    """Spec files and, after the first one, its addresses."""
    given = [name for name in context.params.get("files") or () if name != incomplete]
    return sorted(_files(incomplete)) + (_addresses(given, incomplete) if given else [])


def targets(context: typer.Context, incomplete: str) -> list[str]:
    """Maps, slots and objects of the spec files before the option."""
    # click stops at an option without a value: the words before it are left in `args`.
    given = context.params.get("files") or context.args
    return _addresses(list(given), incomplete, targets=True) if given else []


def _files(incomplete: str) -> Iterator[str]:
    directory, slash, start = incomplete.rpartition("/")
    try:
        for path in Path(directory + slash or ".").iterdir():
            if path.name.startswith(start) and (start[:1] == "." or path.name[0] != "."):
                if path.is_dir():
                    yield f"{directory}{slash}{path.name}/"
                elif path.suffix in _SPECS:
                    yield f"{directory}{slash}{path.name}"
    except OSError:
        return


def _addresses(given: list[str], incomplete: str, *, targets: bool = False) -> list[str]:
    try:
        return list(provisioner.load(given, allow_outside=True).complete(incomplete, targets=targets))
    except provisioner.ProvisionerError:  # other verbs report the faults of the spec
        return []
