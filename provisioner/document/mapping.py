"""A spec that is not in a file, as the text of one: it is composed and checked like any other."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, Final

from provisioner.model.errors import InputError, Problem
from provisioner.model.location import Location

MAPPING_NAME: Final = "<mapping>"
"""The name of the file in messages. Its lines are those of `json.dumps(spec, indent=1)`."""

_NO_FORM: Final = (set, frozenset, bytes, bytearray, memoryview, type)
"""Values of these types have no form in a spec; as text, they could be taken for the contents of a `char[N]`."""

_LONGEST: Final = 1024
"""Bits of an integer that is written in decimal: no type has more, and Python writes none of thousands of digits."""


class NamedText(io.StringIO):
    """The text of a spec that is not in a file, with its name in messages."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.spec_name: Final = name


class MappingText(NamedText):
    """The text of a spec that was given as a mapping. Values without a form in JSON are written by `str`.

    Raises InputError for a value that has no form in a spec, or is nested too deeply.
    """

    def __init__(self, spec: Mapping[Any, Any]) -> None:
        try:
            try:
                text = _dumps(spec)
            except (TypeError, ValueError):  # keys of other types, very large integers, a mapping that contains itself
                text = _dumps(_as_json(spec))
        except RecursionError:
            raise _refused("the mapping is nested too deeply, or contains itself", "", "limit-exceeded") from None
        super().__init__(text, MAPPING_NAME)


class _Key(str):
    """The text of a key, which is equal to no other: two keys with one text are reported as those of a file are."""

    __slots__ = ()

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def _dumps(spec: Any) -> str:
    return json.dumps(spec, indent=1, ensure_ascii=False, default=_as_json)


def _as_json(value: Any) -> Any:
    match value:
        case None | str() | bool() | float():
            return value
        case int():
            return value if value.bit_length() <= _LONGEST else hex(value)
        case Mapping():
            return {_key(name): _as_json(part) for name, part in value.items()}
        case list() | tuple():
            return [_as_json(part) for part in value]
        case _:
            return _text(value)


def _key(name: Any) -> Any:
    if name is None or isinstance(name, str | bool | float):
        return name
    return _as_json(name) if isinstance(name, int) else _Key(_text(name))


def _text(value: Any) -> str:
    if isinstance(value, _NO_FORM) or getattr(value, "shape", ()) != ():
        what = f"a {type(value).__name__} has no form in a spec"
        raise _refused(what, "write numbers, text, lists and mappings", "wrong-type")
    return str(value)


def _refused(what: str, hint: str, id_: str) -> InputError:
    return InputError(Problem(what, Location(MAPPING_NAME), hint, id=id_))
