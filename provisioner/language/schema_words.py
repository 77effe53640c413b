"""The schema's errors in plain words, each at the place of the key or value that is wrong. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.location import Location
from provisioner.model.tree import MappingNode, RawEntries, ScalarNode, SequenceNode, SpecNode

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_HOW: Final = {"integer": "a whole number", "string": "a text", "object": "a mapping", "array": "a list"}


def short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


class ErrorFormatter:
    """One jsonschema error in words."""

    def __init__(
        self, error: ValidationError, root: SpecNode, key: ScalarNode | None, problems: Problems, *, is_data: bool
    ) -> None:
        """`is_data` says that `key` is an outer key, which can be sensitive: no message repeats it."""
        self._error = error
        self._problems = problems
        self._node: SpecNode = root
        self._key = key
        self._data_key = key if is_data else None
        for step in error.absolute_path:
            if isinstance(self._node, MappingNode):
                self._key = next(key for name, key, _ in self._node.named() if name == step)
                below = self._node.get(str(step))
                assert below is not None
                self._node = below
            elif isinstance(self._node, SequenceNode) and isinstance(step, int):
                self._key = None
                self._node = self._node.items[step]

    @property
    def _owner(self) -> Location:
        """The key that the mapping in question stands under, or its own place."""
        return self._key.where if self._key else self._node.where

    @property
    def _named(self) -> str:
        if self._key is None:
            return "this"
        return "this inner map" if self._key is self._data_key else f"`{short(self._key.text)}`"

    def _add(self, what: str, where: Location, hint: str = "") -> None:
        self._problems.add(what, where, hint)

    def tell(self) -> None:
        error = self._error
        schema: dict[str, Any] = error.schema if isinstance(error.schema, dict) else {}
        value: Any = error.validator_value
        shown = f"`{short(error.instance)}`"
        match error.validator:
            case "additionalProperties":
                self._unknown_keys(schema)
            case "required":
                self._missing(value, schema)
            case "dependentRequired":
                self._dependent(value)
            case "type":
                self._wrong_type([value] if isinstance(value, str) else value)
            case "enum":
                self._unknown_word(shown, [str(word) for word in value], schema)
            case "const":
                if isinstance(error.instance, type(value)):
                    what, hint = f"is {shown}, and only {value} is known", f"write {value}"
                else:
                    what, hint = f"is no number: only {value} is known", f"write {value}, without quotes"
                self._add(f"{self._named} {what}", self._node.where, hint)
            case "pattern" | "maxLength" | "minLength":
                self._bad_text(shown, schema)
            case "minimum" | "maximum":
                least, most = schema.get("minimum"), schema.get("maximum")
                bounds = f"at least {least}" if most is None else f"from {least} to {most}"
                self._add(
                    f"{self._named} is {error.instance}, out of range", self._node.where, f"a whole number {bounds}"
                )
            case "minProperties" | "minItems":
                self._add(f"{self._named} is empty", self._owner, "write what belongs in it, or leave it out")
            case "uniqueItems":
                self._add(f"{self._named} has the same item twice", self._node.where, "keep one")
            case _:
                self._add(f"{self._named}: {error.message}", self._node.where)

    def _unknown_word(self, shown: str, known: list[str], schema: dict[str, Any]) -> None:
        if shown.endswith("_of_maps`"):
            hint = "a map of maps stands under `outer_maps`, and maps nest one level deep"
        else:
            many = f"`provisioner schema` lists all {len(known)}" if len(known) > 12 else ""
            hint = did_you_mean(shown.strip("`"), known, many)
        self._add(f"{shown} is no {schema.get('title', 'word').lower()} that is known", self._node.where, hint)

    def _unknown_keys(self, schema: dict[str, Any]) -> None:
        known = schema.get("properties", {})
        assert isinstance(self._node, MappingNode)
        present = {name for name, _, _ in self._node.named()}
        for name, key, _ in self._node.named():
            if name not in known:
                title = schema.get("title", "").lower()
                article = "" if title.endswith("s") else "an " if title[:1] in ("a", "e", "i", "o", "u") else "a "
                of = f" of {article}{title}" if title else ""
                hint = did_you_mean(
                    name,
                    set(known) - present,
                    "`provisioner schema` says what can stand here" if len(known) > 12 else "",
                )
                self._add(f"`{short(name)}` is no key{of}", key.where, hint)

    def _missing(self, required: list[str], schema: dict[str, Any]) -> None:
        """The library gives one error per missing key; the message alone says which."""
        missing = next(name for name in required if self._error.message.startswith(f"{name!r} "))
        examples = schema.get("properties", {}).get(missing, {}).get("examples", [])
        example = examples[0] if examples and isinstance(examples[0], (str, int)) else "..."
        is_root = not self._error.absolute_path and self._key is None and "version" in required
        owner = "the spec" if is_root else self._named
        self._problems.missing(f"{owner} has no `{missing}`", self._owner, f"write `{missing}: {example}`")

    def _dependent(self, rules: dict[str, list[str]]) -> None:
        assert isinstance(self._node, MappingNode)
        for name, key, _ in self._node.named():
            lacking = [other for other in rules.get(name, []) if self._node.get(other) is None]
            if lacking and self._error.message.endswith(f"of {name!r}"):
                self._problems.missing(
                    f"`{name}` stands only beside `{lacking[0]}`", key.where, f"write `{lacking[0]}`, or remove it"
                )

    def _bad_text(self, shown: str, schema: dict[str, Any]) -> None:
        if self._error.instance == "":
            self._add(f"{self._named} is empty", self._node.where, "write a value, or leave the key out")
            return
        where = self._node.where
        if isinstance(self._node, MappingNode):  # propertyNames: the text in question is one of the keys
            where = next(key.where for name, key, _ in self._node.named() if name == self._error.instance)
        if self._error.validator == "maxLength":
            self._add(f"this is longer than {schema['maxLength']} characters", where, "shorten it")
            return
        expected = schema.get("errorMessage", "")
        self._add(f"{shown} can't stand here", where, f"write {expected}" if expected else "")

    def _wrong_type(self, wanted: list[str]) -> None:
        what = " or ".join("true or false" if kind == "boolean" else _HOW[kind] for kind in wanted)
        node = self._node
        hint = ""
        match node:
            case ScalarNode(text, _, quoted):
                is_now = "empty" if text is None else f"`{short(text)}`"
                if quoted and text is not None and ("integer" in wanted or "boolean" in wanted):
                    is_now, hint = f'the text "{short(text)}"', "remove the quotes"
                elif "integer" in wanted and text and re.fullmatch(r"[-+]?[\d_.:eEoxbA-Fa-f]+", text):
                    hint = "write it in decimal, without leading zeros, points or underscores, or as 0x..."
                elif "boolean" in wanted:
                    hint = "write true or false"
                elif text is None and wanted == ["object"]:
                    hint = "write {} where nothing is meant to be in it"
                elif "string" in wanted and text is not None:
                    hint = f'write "{short(text)}" in quotes'
            case SequenceNode():
                is_now = "a list"
            case MappingNode():
                is_now = "a mapping"
            case RawEntries():
                is_now = "a list of entries"
        where = node.where if isinstance(node, ScalarNode) and node.text is not None else self._owner
        self._add(f"{self._named} must be {what}, and is {is_now}", where, hint)
