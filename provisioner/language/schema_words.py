"""The errors of the JSON Schema as messages, each at the place of the wrong key or value. Pure."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from provisioner.language.scalars import plain
from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.location import Location
from provisioner.model.tree import MappingNode, RawEntries, ScalarNode, SequenceNode, SpecNode
from provisioner.model.types import shown
from provisioner.model.words import foreign_letter, odd_characters

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_KINDS: Final = {"integer": "an integer", "string": "text", "object": "a mapping", "array": "a list", "null": "empty"}
_KERNEL_PREFIX: Final = re.compile(r"(BPF_MAP_TYPE_|BPF_F_|XDP_FLAGS_|XDP_)", re.IGNORECASE)
_WITH_UNIT: Final = re.compile(r"([0-9]{1,20})([.][0-9]+)? *(%|[KMGTkmgt]i?[Bb]?)")
_MANY: Final = 12
"""Names that a hint does not list, because there are too many."""


def name_hint(name: str, expected: str) -> str:
    """The hint for a name that does not match its pattern."""
    foreign = foreign_letter(name)
    return odd_characters(name) or (f"{expected}; {foreign}" if foreign else expected)


class ErrorFormatter:
    """The problems of one jsonschema error."""

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
        """The place of the key of the mapping, or of the mapping itself."""
        return self._key.where if self._key else self._node.where

    @property
    def _named(self) -> str:
        if self._key is None:
            return "this"
        return "this inner map" if self._key is self._data_key else shown(self._key.text or "")

    def add_problems(self) -> None:
        error = self._error
        schema: dict[str, Any] = error.schema if isinstance(error.schema, dict) else {}
        value: Any = error.validator_value
        match error.validator:
            case "additionalProperties":
                self._unknown_fields(schema)
            case "required":
                self._missing(value, schema)
            case "dependentRequired":
                self._dependent(value)
            case "type":
                self._wrong_type([value] if isinstance(value, str) else value, schema)
            case "enum":
                self._unknown_value([str(word) for word in value], schema)
            case "const":
                self._unsupported_version(value)
            case "pattern" | "maxLength" | "minLength":
                self._invalid_text(schema)
            case "minimum" | "maximum":
                self._out_of_range(schema)
            case "minProperties" | "minItems":
                what, hint = f"{self._named} is empty", "write its content, or remove the field"
                self._problems.add(what, self._owner, hint, id="empty-value")
            case "uniqueItems":
                what = f"{self._named} has a duplicate item"
                self._problems.add(what, self._node.where, "remove one of the two", id="duplicate-key")
            case _:
                self._problems.add(f"{self._named}: {error.message}", self._node.where, id="invalid-value")

    def _unsupported_version(self, known: Any) -> None:
        instance = self._error.instance
        if isinstance(instance, type(known)):
            what, hint = f"{self._named} is {instance}, and only {known} is supported", f"write {known}"
        else:
            what, hint = f"{self._named} must be the number {known}", f"write {known} without quotes"
        self._problems.add(what, self._node.where, hint, id="unsupported-version")

    def _out_of_range(self, schema: dict[str, Any]) -> None:
        what = f"{self._named} is {self._error.instance}, which is out of range"
        self._problems.add(what, self._node.where, f"write {_integer_within(schema)}", id="out-of-range")

    def _unknown_value(self, known: list[str], schema: dict[str, Any]) -> None:
        text = str(self._error.instance)
        word = _KERNEL_PREFIX.sub("", text, count=1).lower()
        if re.search("[_-]of[_-]maps?$", word) and "hash_of_maps" not in known:
            hint = "declare it under `outer_maps`; inner maps cannot be outer maps"
        else:
            many = f"`provisioner schema` lists all {len(known)}" if len(known) > _MANY else ""
            hint = f"write `{word}`" if word in known else did_you_mean(text, known, many)
        what = f"{shown(text)} is not a known {schema.get('title', 'value').lower()}"
        self._problems.add(what, self._node.where, hint, id="unknown-value")

    def _unknown_fields(self, schema: dict[str, Any]) -> None:
        known = schema.get("properties", {})
        assert isinstance(self._node, MappingNode)
        present = {name for name, _, _ in self._node.named()}
        for name, key, _ in self._node.named():
            if name not in known:
                title = schema.get("title", "").lower()
                article = "" if title.endswith("s") else "an " if title[:1] in ("a", "e", "i", "o", "u") else "a "
                of = f" of {article}{title}" if title else ""
                many = "`provisioner schema` lists the fields" if len(known) > _MANY else ""
                twice = next(iter(get_close_matches(name, known, n=1)), "")
                if twice in present:  # not the next nearest, which is something else
                    hint = f"`{twice}` is written as well: remove one of the two"
                else:
                    hint = self._member_path(name) or did_you_mean(name, set(known) - present, many)
                self._problems.add(f"{shown(name)} is not a field{of}", key.where, hint, id="unknown-field")

    def _member_path(self, name: str) -> str:
        """A hint for a member of a member in `as:`, which takes one path for each member."""
        *_, parent, member = "", "", *self._error.absolute_path
        return f"write the path of the member: `{member}.{name}: TYPE`" if parent == "as" else ""

    def _missing(self, required: list[str], schema: dict[str, Any]) -> None:
        """The library gives one error per missing key; only the message has its name."""
        missing = next(name for name in required if self._error.message.startswith(f"{name!r} "))
        examples = schema.get("properties", {}).get(missing, {}).get("examples", [])
        example = examples[0] if examples and isinstance(examples[0], (str, int)) else "..."
        is_root = not self._error.absolute_path and self._key is None and "version" in required
        owner = "the spec" if is_root else self._named
        what, hint = f"{owner} has no `{missing}`", f"write `{missing}: {example}`"
        self._problems.missing(what, self._owner, hint, id="missing-field")

    def _dependent(self, rules: dict[str, list[str]]) -> None:
        assert isinstance(self._node, MappingNode)
        for name, key, _ in self._node.named():
            lacking = [other for other in rules.get(name, []) if self._node.get(other) is None]
            if lacking and self._error.message.endswith(f"of {name!r}"):
                what, hint = f"`{name}` needs `{lacking[0]}`", f"write `{lacking[0]}`, or remove `{name}`"
                self._problems.missing(what, key.where, hint, id="missing-field")

    def _invalid_text(self, schema: dict[str, Any]) -> None:
        text = str(self._error.instance)
        if not text:
            what, hint = f"{self._named} is empty", "write a value, or remove the field"
            self._problems.add(what, self._node.where, hint, id="empty-value")
            return
        where = self._node.where
        if isinstance(self._node, MappingNode):  # propertyNames: the text is one of the keys
            where = next(key.where for name, key, _ in self._node.named() if name == text)
        if self._error.validator == "maxLength":
            what = f"the text is longer than {schema['maxLength']} characters"
            self._problems.add(what, where, "shorten it", id="invalid-name")
            return
        expected = schema.get("errorMessage", "")
        hint = name_hint(text, f"write {expected}" if expected else "")
        subject = f"{shown(text)} is not a valid {schema.get('title', 'value').lower()}"
        self._problems.add(subject, where, hint, id="invalid-name")

    def _wrong_type(self, wanted: list[str], schema: dict[str, Any]) -> None:
        kinds = " or ".join("true or false" if kind == "boolean" else _KINDS[kind] for kind in wanted)
        node = self._node
        hint = ""
        match node:
            case ScalarNode(text, _, quoted):
                actual = "empty" if text is None else shown(text)
                if quoted and text is not None and ("integer" in wanted or "boolean" in wanted):
                    actual = f"the text {actual}"
                hint = self._scalar_hint(text, wanted, schema, quoted=quoted)
            case SequenceNode():
                actual = "a list"
            case MappingNode():
                actual = "a mapping"
            case RawEntries():
                actual = "a list of entries"
        where = node.where if isinstance(node, ScalarNode) and node.text is not None else self._owner
        self._problems.add(f"{self._named} must be {kinds}, not {actual}", where, hint, id="wrong-type")

    def _scalar_hint(self, text: str | None, wanted: list[str], schema: dict[str, Any], *, quoted: bool) -> str:
        """What to write in place of a scalar of another type."""
        if text is None:
            return "write {} for an empty mapping" if wanted == ["object"] else ""
        if quoted and ("integer" in wanted or "boolean" in wanted):
            odd = odd_characters(text)
            if odd or type(plain(ScalarNode(text, self._node.where))) in (int, bool):
                return odd or "remove the quotes"
        if "integer" in wanted and (number := _WITH_UNIT.fullmatch(text)):
            digits, fraction, unit = number.groups()
            is_percent = unit == "%" and self._named.endswith("_percent`") and fraction is None
            if is_percent and int(digits) <= schema.get("maximum", 0):
                return f"write {int(digits)}"
            return f"write {_integer_within(schema)}, without a unit"
        if "integer" in wanted and re.fullmatch(r"[-+]?[\d_.:eEoxbA-Fa-f]+", text):
            return "write it in decimal, without leading zeros, points or underscores, or as 0x..."
        if wanted == ["integer"]:
            return f"write {_integer_within(schema)}"
        if "boolean" in wanted:
            return "write true or false"
        if wanted == ["array"]:
            return f"write [{text}]"
        if "string" in wanted:
            return f'write "{text}" in quotes' if len(text) <= 60 else "write it in quotes"
        return ""


def _integer_within(schema: dict[str, Any]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is None or most is None:
        return "an integer" if least is None else f"an integer {least} or more"
    return f"an integer from {least} to {most}"
