"""The help of a verb: options in groups, so that the first screen has those that most people need."""

from __future__ import annotations

from typing import Any, Final

from typer.core import TyperCommand

_FIRST: Final = ("Arguments", "Options")
_LAST: Final = ("More options", "Spec", "Safety checks", "Output")
"""Groups that options name by `rich_help_panel`; those that name none are under Options."""

_WIDEST: Final = 26


class VerbCommand(TyperCommand):
    """Typer without rich would give one list, in the order of the parameters."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {title: [] for title in (*_FIRST, *_LAST)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                argument = parameter.param_type_name == "argument"
                title = "Arguments" if argument else getattr(parameter, "rich_help_panel", None) or "Options"
                groups[title].append(record)
        width = max(len(name) for rows in groups.values() for name, _ in rows if len(name) <= _WIDEST)
        for title, rows in groups.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl([(name.ljust(width), text) for name, text in rows], col_max=width)
