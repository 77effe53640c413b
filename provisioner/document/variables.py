"""The variables of a spec: what `vars:` declares and what is given from outside, and their values in texts. Pure."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.given import Outside, is_variable_name
from provisioner.model.location import Location
from provisioner.model.tree import MappingNode, ScalarNode, SpecNode

SECTION: Final = "vars"
OPENING: Final = "${"
_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_ESCAPED: Final = "$${"

_LONGEST: Final = 1 << 20
"""Characters of a text with its variables: each of them can have the next one several times."""

_DEEPEST: Final = 64
"""Variables in values of variables."""


class Expanded(msgspec.Struct, frozen=True):
    """A text with the values of its variables. `sources` names each variable and where its value comes from."""

    text: str
    sources: str = ""


class _Value(msgspec.Struct, frozen=True):
    text: str
    sources: tuple[str, ...]


class Variables:
    """The variables of one spec. Each problem is reported once, at the reference or the declaration that causes it."""

    def __init__(self, section: SpecNode | None, outside: Outside, problems: Problems) -> None:
        pairs = section.named() if isinstance(section, MappingNode) else ()
        self._declared: dict[str, tuple[ScalarNode, SpecNode]] = {name: (key, value) for name, key, value in pairs}
        self._outside = outside
        self._problems = problems
        self._values: dict[str, _Value | None] = {}
        self._resolving: list[str] = []
        self._expanded: dict[str, Expanded] = {}
        self.used: set[str] = set()

    def expand(self, text: str, where: Location) -> Expanded | None:
        """`text` with the values of its variables; None with a Problem if one of them has no value."""
        known = self._expanded.get(text)
        if known is None:
            value = self._replaced(text, where)
            if value is None:
                return None
            known = self._expanded[text] = Expanded(value.text, ", ".join(dict.fromkeys(value.sources)))
        return known

    def check(self, used: AbstractSet[str]) -> None:
        """Report cycles in declarations that no reference uses, and given variables that do not exist.

        `used` are variables that were used elsewhere.
        """
        for name, (key, value) in self._declared.items():
            if name not in self._values and isinstance(value, ScalarNode) and value.text is not None:
                self._value_of(name, key.where)
        for name, given in self._outside.given.items():
            if given.is_required and name not in self._declared and name not in self.used | used:
                hint = did_you_mean(name, self._declared, f"use it as `${{{name}}}`, or declare it under `vars`")
                self._problems.missing(
                    f"the spec has no variable `{name}` ({given.source})", None, hint, id="unknown-reference"
                )

    def values(self) -> dict[str, str]:
        """The values of all variables that were used."""
        return {name: value.text for name, value in self._values.items() if value is not None}

    def _replaced(self, text: str, where: Location) -> _Value | None:
        parts: list[str] = []
        sources: list[str] = []
        end = length = 0
        for match in _REFERENCE.finditer(text):
            parts.append(text[end : match.start()])
            end = match.end()
            if match[0] == _ESCAPED:
                parts.append(OPENING)
                continue
            value = self._reference(match[1], where)
            if value is None:
                return None
            length += len(value.text)
            if length > _LONGEST:
                what = f"the text with its variables is longer than {_LONGEST:,} characters"
                self._problems.add(what, where, "read long values from a file", id="limit-exceeded")
                return None
            parts.append(value.text)
            sources.extend(value.sources)
        parts.append(text[end:])
        return _Value("".join(parts), tuple(dict.fromkeys(sources)))

    def _reference(self, name: str | None, where: Location) -> _Value | None:
        if name is None or not is_variable_name(name):
            what = "`${` does not begin a variable" if name is None else f"`{name}` is not the name of a variable"
            hint = "write `${name}`, with letters, digits and `_`; for a literal `${`, write `$${`"
            self._problems.add(what, where, hint, id="invalid-variable")
            return None
        self.used.add(name)
        value = self._value_of(name, where)
        if value is None:
            self._problems.ignore(where)
        return value

    def _value_of(self, name: str, where: Location) -> _Value | None:
        if name in self._resolving:
            chain = " -> ".join((*self._resolving[self._resolving.index(name) :], name))
            self._problems.add(f"variables refer to each other: {chain}", where, id="circular-reference")
            return None
        if len(self._resolving) > _DEEPEST:
            what = f"variables are nested deeper than {_DEEPEST} levels"
            self._problems.add(what, where, "write the value", id="limit-exceeded")
            return None
        if name not in self._values:
            self._resolving.append(name)
            self._values[name] = self._resolved(name, where)
            self._resolving.pop()
        return self._values[name]

    def _resolved(self, name: str, where: Location) -> _Value | None:
        given = self._outside.given.get(name)
        if given is not None:
            return _Value(given.text, (f"${{{name}}}: {given.source}",))
        declared = self._declared.get(name)
        if declared is None:
            known = {*self._declared, *self._outside.given}
            hint = did_you_mean(name, known, f"declare it under `vars`, or use `--var {name}=...`")
            self._problems.missing(f"variable `{name}` is undefined", where, hint, id="undefined-variable")
            return None
        match declared[1]:
            case ScalarNode(None):
                hint = f"use `--var {name}=...`, or write a value"
                self._problems.add(f"variable `{name}` has no value", where, hint, id="undefined-variable")
                return None
            case ScalarNode(text, place):
                return self._with_source(name, text or "", place)
            case MappingNode() as value:
                return self._of_environment(name, value)
            case _:  # the schema reports it
                return None

    def _of_environment(self, name: str, declared: MappingNode) -> _Value | None:
        env, default = declared.get("env"), declared.get("default")
        if not isinstance(env, ScalarNode) or not env.text:  # the schema reports it
            return None
        text = self._outside.environment.get(env.text)
        if text is not None:
            return _Value(text, (f"${{{name}}}: environment {env.text}",))
        if isinstance(default, ScalarNode) and default.text is not None:
            return self._with_source(name, default.text, default.where)
        what = f"variable `{name}` has no value: the environment has no `{env.text}`"
        hint = f"set it, use `--var {name}=...`, or write a `default`"
        self._problems.add(what, env.where, hint, id="undefined-variable")
        return None

    def _with_source(self, name: str, text: str, where: Location) -> _Value | None:
        value = self._replaced(text, where)
        return None if value is None else _Value(value.text, (f"${{{name}}}: {where.short()}", *value.sources))
