"""How a function becomes a verb: shared options are expanded, the console is made, errors become exit statuses.

A verb is a function whose first parameter is the console. A parameter whose type is a group of options (a frozen
struct in `cli/options.py`) has the options as its fields.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, get_type_hints

import msgspec
import typer

from provisioner.cli import statuses
from provisioner.cli.console import Console
from provisioner.cli.guard import guarded
from provisioner.cli.options import OutputOptions

_FORMAT: Final = "format_"
"""The name of the option `--format` in Python."""

Groups = Mapping[str, type[msgspec.Struct]]


class CliVerb(msgspec.Struct, frozen=True):
    """A verb as the application registers it: `callback` takes each option by name, and gives the exit status."""

    name: str
    summary: str
    epilog: str
    callback: Callable[..., int]


def verb(
    *numbers: int, formats: Sequence[str] = (), meanings: Mapping[int, str] = {}, epilog: str = ""
) -> Callable[[Callable[..., int]], CliVerb]:
    """Make a verb of a function. `numbers` are its exit statuses in addition to those of every verb.

    `formats` are the choices of `--format`, the default first; `meanings` are exit statuses with a meaning of their
    own; `epilog` is text before them.
    """

    def decorate(function: Callable[..., int]) -> CliVerb:
        name = function.__name__
        summary = inspect.cleandoc(function.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
        summary = summary.partition(". ")[0].rstrip(".")
        listed = statuses.of_verb(numbers, meanings)
        return CliVerb(name, summary, f"{epilog}\n\n{listed}" if epilog else listed, _expanded(function, formats))

    return decorate


def _expanded(function: Callable[..., int], formats: Sequence[str]) -> Callable[..., int]:
    """`function` with the options of its groups, `--format` and the options of every verb, as typer reads them."""
    _, *own = inspect.signature(function).parameters.values()
    hints = get_type_hints(function, include_extras=True)
    groups = {each.name: hints[each.name] for each in own if _is_group(hints[each.name])}
    parameters = [_parameter(each.name, hints[each.name], each.default) for each in own if each.name not in groups]
    if formats:
        listed = f"Format of the result: {', '.join(formats[:-1])} or {formats[-1]}."
        option = typer.Option("--format", "-o", metavar="FORMAT", help=listed, show_default=False)
        choice = Annotated[Literal[tuple(formats)], option]  # type: ignore[valid-type]
        parameters.append(_parameter(_FORMAT, choice, formats[0]))
    for group in (*groups.values(), OutputOptions):
        parameters += _fields(group)

    def run(**given: Any) -> int:
        output = _taken(OutputOptions, given)
        values = {name: _taken(group, given) for name, group in groups.items()}
        console = Console(
            given.pop(_FORMAT, "text"),
            output.color,
            quiet=output.quiet,
            verbose=output.verbose,
            log_format=output.log_format,
        )
        return guarded(console, lambda: function(console, **given, **values))

    run.__name__ = function.__name__
    run.__doc__ = function.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _is_group(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def _parameter(name: str, hint: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _fields(group: type[msgspec.Struct]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    names = group.__struct_fields__
    return [
        _parameter(name, hints[name], default) for name, default in zip(names, group.__struct_defaults__, strict=True)
    ]


def _taken(group: type[Any], given: dict[str, Any]) -> Any:
    """The group's value, its fields taken out of `given`."""
    return group(**{name: given.pop(name) for name in group.__struct_fields__})
