"""Words that a shell completes: spec files, and addresses of the spec files before them. An invalid spec has none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

import provisioner
from provisioner.cli import shell_words

_SPECS = (".yaml", ".yml", ".json")

_NO_GLOBS = "local -; set -f\n    "
"""What typer's script for bash leaves out: `tenants[42]` is a word, also where there is a file `tenants4`."""

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

    bash = _completion_shared.COMPLETION_SCRIPT_BASH.replace("local IFS=", _NO_GLOBS + "local IFS=", 1)
    zsh = _completion_shared.COMPLETION_SCRIPT_ZSH.replace("eval $(", 'eval "$(', 1).replace("\n}", '"\n}', 1)
    for shell, script, kind in (
        ("bash", bash, _completion_classes.BashComplete),
        ("zsh", zsh + _FIRST_TAB, _completion_classes.ZshComplete),
    ):
        _completion_shared._completion_scripts[shell] = script
        kind.source_template = script


def mend_words() -> None:
    """Quote the words that typer prints for a shell. Called only where a shell asks for them."""
    from typer._completion_classes import BashComplete, PowerShellComplete, ZshComplete

    def for_bash(self: Any) -> str:
        arguments, incomplete = self.get_completion_args()
        words = (item.value for item in self.get_completions(arguments, incomplete))
        return "\n".join(shell_words.for_bash(words, os.environ["COMP_WORDS"]))

    def for_zsh(self: Any) -> str:
        items = self.get_completions(*self.get_completion_args())
        words = [(item.value, item.help or "") for item in items]
        return shell_words.for_zsh(words) if words else "_files"

    def for_powershell(_: Any, item: Any) -> str:
        return f"{shell_words.for_powershell(item.value)}:::{item.help or ' '}"

    BashComplete.complete = for_bash  # type: ignore[method-assign]
    ZshComplete.complete = for_zsh  # type: ignore[method-assign]
    PowerShellComplete.format_completion = for_powershell  # type: ignore[assignment, method-assign]


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
