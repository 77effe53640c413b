"""The types of a map as the record of a project keeps them: as text of the spec language. Pure."""

from __future__ import annotations

from provisioner.codec.display import format_value
from provisioner.codec.owned import Owned, initial_members, member_names
from provisioner.codec.spelling import HERE, Vocabulary, opaque, spell
from provisioner.model.record import RecordedTypes
from provisioner.model.type_expr import OptionType
from provisioner.model.types import Type


def recorded(outer_key: Type | None, key: Type, value: Type) -> RecordedTypes:
    """The types of one map. A type with names of BTF is written with its members, so that it needs no object."""
    vocabulary = Vocabulary({})
    outer = _text(outer_key, vocabulary) if outer_key is not None else ""
    texts = outer, _text(key, vocabulary), _text(value, vocabulary)
    names = {name: spell(expr) for name, expr in sorted(vocabulary.types.items())}
    if not isinstance(value, Owned):
        return RecordedTypes(*texts, names)
    initial = initial_members(value)
    return RecordedTypes(*texts, names, member_names(value.ours), format_value(initial) if initial else "")


def _text(type_: Type, vocabulary: Vocabulary) -> str:
    """A type as text; empty if only BTF can express it. Then its values are hidden where a part is sensitive."""
    expr = vocabulary.express(type_)
    if expr is None and type_.sensitive and type_.size:
        expr = OptionType(opaque(type_.size), True, "", HERE)
    return spell(expr) if expr is not None else ""
