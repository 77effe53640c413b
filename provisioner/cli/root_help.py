"""The help of `provisioner` itself: all verbs on a terminal of 24 lines, those of every day first."""

from __future__ import annotations

from typing import Any, Final

from typer.core import TyperGroup

from provisioner.cli import verbs

_GROUPS: Final = {"Main commands": verbs.MAIN, "Other commands": verbs.OTHERS}

_END: Final = """
  Options: --version, --install-completion, --show-completion, -h, --help
  Exit status: 0 success, 1 input, 2 changes, 3 failed, 4 refused, 5 host.
  `provisioner COMMAND --help` lists the options and statuses of a command.
"""


class Root(TyperGroup):
    """Click would give a table of options, a column to each summary, and a blank line between groups."""

    def format_options(self, _: Any, formatter: Any) -> None:
        formatter.write("\n")
        width = max(map(len, self.commands))
        for title, names in _GROUPS.items():
            formatter.write(f"{title}:\n")
            for command in (self.commands[name] for name in names):
                formatter.write(f"  {command.name:{width}}  {command.short_help}\n")

    def format_epilog(self, _: Any, formatter: Any) -> None:
        formatter.write(_END)
