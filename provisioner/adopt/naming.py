"""The types of live maps in an export: from the user, else from BTF, else plain bytes. Pure.

A chosen type encodes to exactly the bytes that were read.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import msgspec
import numpy as np
from msgspec import field

from provisioner.adopt.found import FoundTypes
from provisioner.codec.btf import BtfTypes
from provisioner.codec.build import Builder
from provisioner.codec.integer import Integer
from provisioner.codec.layout import Struct
from provisioner.codec.spelling import HERE, Vocabulary, opaque
from provisioner.language.read_maps import read_owned_members
from provisioner.language.read_types import read_type
from provisioner.model.errors import InputError, Problems
from provisioner.model.spec import OwnedMembers
from provisioner.model.tree import MappingNode, ScalarNode, SpecNode
from provisioner.model.type_expr import BtfType, LpmKeyType, NamedType, TypeExpr, parts
from provisioner.model.types import ByteOrder, Bytes, Path, Type, leaves
from provisioner.model.uapi import MapType

_PREFIX_SIZE = 4


class Named(msgspec.Struct, frozen=True):
    """The types of one map from the user, and its owned members, which the record of a project has too."""

    outer_key: TypeExpr | None = None
    key: TypeExpr | None = None
    value: TypeExpr | None = None
    members: OwnedMembers | None = None


class Naming(msgspec.Struct, frozen=True):
    """The types of a file: `types` by name, and those of maps by the name of the map."""

    types: Mapping[str, TypeExpr] = field(default_factory=dict)
    maps: Mapping[str, Named] = field(default_factory=dict)

    def btf_types(self) -> Iterator[BtfType]:
        """Every type that comes from BTF."""
        of_maps = (expr for named in self.maps.values() for expr in (named.outer_key, named.key, named.value) if expr)
        written = itertools.chain(self.types.values(), of_maps)
        return (part for expr in written for part in parts(expr) if isinstance(part, BtfType))


def read_naming(tree: MappingNode, problems: Problems) -> Naming:
    """The types of a spec, or of a part of one: `types`, `inner_templates`, `outer_maps` and `maps`."""

    def bodies(section: str) -> Iterator[tuple[str, MappingNode]]:
        node = tree.get(section)
        if isinstance(node, MappingNode):
            yield from ((name, body) for name, _, body in node.named() if isinstance(body, MappingNode))

    def types(body: MappingNode | None) -> tuple[TypeExpr | None, TypeExpr | None]:
        if body is None:
            return None, None
        return read_type(body.get("key"), problems), read_type(body.get("value"), problems)

    declared = tree.get("types")
    pairs = declared.named() if isinstance(declared, MappingNode) else ()
    named = {name: read_type(body, problems) for name, _, body in pairs}
    templates = dict(bodies("inner_templates"))
    maps = {name: Named(None, *types(body), read_owned_members(body)) for name, body in bodies("maps")}
    for name, body in bodies("outer_maps"):
        inner = templates.get(_text(body.get("inner")))
        maps[name] = Named(types(body)[0], *types(inner), read_owned_members(inner) if inner is not None else None)
    return Naming({name: expr for name, expr in named.items() if expr is not None}, maps)


def _text(node: SpecNode | None) -> str:
    return (node.text or "") if isinstance(node, ScalarNode) else ""


class Chosen(msgspec.Struct, frozen=True):
    """A type, and its text in the spec."""

    expr: TypeExpr
    type: Type


class Chooser:
    """Chooses types for the maps of an export; `vocabulary` collects the named types."""

    def __init__(self, naming: Naming, byteorder: ByteOrder, btf: Mapping[str, BtfTypes]) -> None:
        self._byteorder = byteorder
        self._btf = btf
        self.vocabulary = Vocabulary(dict(naming.types))

    def key(
        self,
        types: FoundTypes,
        kind: MapType,
        size: int,
        rows: Bytes,
        given: TypeExpr | None,
        who: str,
        pin: str = "",
    ) -> Chosen:
        """The type of keys, which must represent every byte; keys of an LPM trie have no host bits.

        `pin` is that of the map, by which a spec can name a type of its BTF; empty if it has none.
        """
        if given is not None:
            return self._given_type(given, size, rows, rows, who)
        options: list[TypeExpr | None] = []
        if kind is MapType.LPM_TRIE:
            options += self._lpm(types, size)
        else:
            options.append(self._from_btf(types, types.key_id))
            if options == [None] and (by_pin := self.by_pin(types, types.key_id, pin, rows, loosely=False)):
                return by_pin
        return self._first(options, size, rows, is_index=False)

    def index(self) -> Chosen:
        """The key of an array."""
        return self._built(NamedType("u32", HERE))

    def value(
        self, types: FoundTypes, size: int, rows: Bytes, given: TypeExpr | None, who: str, pin: str = ""
    ) -> Chosen:
        if given is not None:
            return self._given_type(given, size, rows, None, who)
        option = self._from_btf(types, types.value_id)
        if option is None and (by_pin := self.by_pin(types, types.value_id, pin, rows, loosely=True)):
            return by_pin
        return self._first([option], size, rows, is_index=True)

    def by_pin(self, types: FoundTypes, id_: int, pin: str, rows: Bytes, *, loosely: bool) -> Chosen | None:
        """A type that a spec can only name by the pin of the map: one with kernel fields, or unions without a name.

        None if BTF has no name for it, or it cannot represent the live rows.
        """
        if not types.btf or not id_ or not pin:
            return None
        known = BtfTypes(types.btf)
        name = next((name for name, number in known.names().items() if number == id_), "")
        expr = BtfType(name, pin, (), HERE)
        builder = Builder({}, byteorder=self._byteorder, problems=Problems(), btf={pin: known})
        type_ = builder.build(expr) if name else None
        fits = type_ is not None and type_.size == rows.shape[1] and gives_back(type_, rows, loosely=loosely)
        return Chosen(expr, type_) if type_ is not None and fits else None

    def _first(self, options: list[TypeExpr | None], size: int, rows: Bytes, *, is_index: bool) -> Chosen:
        for expr in options:
            if expr is None:
                continue
            chosen = self._try(expr)
            if chosen is not None and chosen.type.size == size and gives_back(chosen.type, rows, loosely=is_index):
                return chosen
        return self._built(opaque(size))

    def _given_type(self, expr: TypeExpr, size: int, rows: Bytes, exactly: Bytes | None, who: str) -> Chosen:
        problems = Problems()
        type_ = self._builder(problems).build(expr)
        where = expr.where
        if type_ is not None and type_.size != size:
            problems.add(f"{type_.describe()} has {type_.size} bytes, but {who} has {size}", where, id="type-size")
        elif type_ is not None and type_.sensitive:
            what = f"{who} is `sensitive`, and an export would write it to a file"
            problems.add(what, where, "remove `sensitive` from the type", id="sensitive-export")
        elif type_ is not None and not gives_back(type_, rows, loosely=exactly is None):
            what = f"{type_.describe()} cannot represent all live bytes of {who}"
            problems.add(what, where, "write bytes[N]", id="type-loses-bytes")
        if type_ is None or len(problems):
            raise InputError(*problems)
        return Chosen(expr, type_)

    def _from_btf(self, types: FoundTypes, id_: int) -> TypeExpr | None:
        converted = self._converted(types, id_)
        return self.vocabulary.express(converted) if converted is not None else None

    def _converted(self, types: FoundTypes, id_: int) -> Type | None:
        if not types.btf or not id_:
            return None
        try:
            known = BtfTypes(types.btf)
            return Builder({}, byteorder=self._byteorder, problems=Problems(), btf={"": known}).from_btf_id(id_, HERE)
        except InputError:
            return None

    def _lpm(self, types: FoundTypes, size: int) -> list[TypeExpr | None]:
        """`cidr4` and `cidr6` if BTF has an address after the length; else bytes with a length."""
        converted = self._converted(types, types.key_id)
        options: list[TypeExpr | None] = []
        if isinstance(converted, Struct) and len(converted.fields) == 2 and converted.fields[1].offset == _PREFIX_SIZE:
            data = converted.fields[1].type
            if data.size == 16:
                options.append(NamedType("cidr6", HERE))
            elif data.size == 4 and (not isinstance(data, Integer) or data.name in ("be32", "u32")):
                options.append(NamedType("cidr4", HERE))
        return [*options, LpmKeyType(opaque(size - _PREFIX_SIZE), HERE)]

    def _try(self, expr: TypeExpr) -> Chosen | None:
        type_ = self._builder(Problems()).build(expr)
        return Chosen(expr, type_) if type_ is not None else None

    def _built(self, expr: TypeExpr) -> Chosen:
        chosen = self._try(expr)
        assert chosen is not None
        return chosen

    def _builder(self, problems: Problems) -> Builder:
        return Builder(self.vocabulary.types, byteorder=self._byteorder, problems=problems, btf=self._btf)


def gives_back(type_: Type, rows: Bytes, *, loosely: bool) -> bool:
    """Whether the text of decoded rows encodes to the same bytes; `loosely` ignores padding.

    A row with nonzero padding only counts as different: in an array, the entry would seem to be missing.
    """
    if not len(rows):
        return True
    rows = type_.normalise(rows)
    expected = rows
    if loosely:
        expected = rows & type_.mask()
        if ((expected == 0).all(axis=1) & (rows != 0).any(axis=1)).any():
            return False
    encoded = np.zeros_like(rows)
    groups: dict[tuple[Path, ...], tuple[list[int], list[list[str]]]] = {}
    for number, value in enumerate(type_.decode(rows)):
        parts = list(leaves(value))
        numbers, texts = groups.setdefault(tuple(path for path, _ in parts), ([], []))
        numbers.append(number)
        texts.append([text for _, text in parts])
    for paths, (numbers, texts) in groups.items():
        out = np.zeros((len(numbers), rows.shape[1]), np.uint8)
        columns = dict(zip(paths, zip(*texts, strict=True), strict=True))
        if type_.encode(columns, out):
            return False
        encoded[numbers] = out
    return np.array_equal(encoded, expected)
