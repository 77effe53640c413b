"""The types of the maps of an object, from its BTF, as a spec writes them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from provisioner.codec.btf import BtfAlias, BtfArray, BtfComposite, BtfEnum, BtfInt, BtfKind, BtfTypes
from provisioner.codec.btf_convert import FIXED_ORDER, enum_type, integer_type
from provisioner.codec.btf_variables import section_name, variables
from provisioner.codec.build import ELEMENTS, Builder, builtins
from provisioner.codec.display import format_value
from provisioner.codec.spelling import Vocabulary, spell
from provisioner.model.errors import Problems
from provisioner.model.location import Location
from provisioner.model.special_fields import STRUCTS
from provisioner.model.type_expr import BtfType

_CANDIDATES: Final = 8
_NOWHERE: Final = Location("")
_CONTEXTS: Final = frozenset({"struct xdp_md", "struct __sk_buff", "struct pt_regs"})


class SkeletonTypes:
    """Types of one object as spec types, `source` being the object's name; those with members are `declared`."""

    def __init__(self, btf: BtfTypes | None, source: str) -> None:
        self._btf = btf
        self._source = source
        self._types: dict[str, int] = {}
        self._used: set[str] = set()

    @property
    def declared(self) -> tuple[str, ...]:
        """Names of the types that the spec must declare."""
        return tuple(self._types)

    def lines(self) -> Iterator[str]:
        """Their declarations."""
        for name, id_ in self._types.items():
            yield from self._type(name, id_)

    def candidates(self) -> list[str]:
        """Structs that a map without a declaration can have, as C writes them."""
        if self._btf is None:
            return []
        names = [
            name
            for name in self._btf.names()
            if name.startswith("struct ")
            and name not in self._used | _CONTEXTS
            and name.removeprefix("struct ") not in STRUCTS
            and self._builder(Problems()).build(BtfType(name, "", (), _NOWHERE)) is not None
        ]
        return names[:_CANDIDATES]

    def variables(self, section: int) -> Iterator[tuple[str, str, str]]:
        """Name, section and type of each variable of a data section that a loader can set."""
        if self._btf is None or not (name := section_name(self._btf, section)):
            return
        for variable in variables(self._btf, section):
            kind = self._builder(Problems()).from_btf_id(variable.type, _NOWHERE, null_pointers=True)
            if kind is not None and kind.mask().any():
                yield variable.name, name, kind.describe()

    def text(self, id_: int, size: int, *, is_index: bool = False) -> tuple[str, str]:
        """A type as the spec writes it, and a comment if it is a guess."""
        written = self._written(id_) if id_ else None
        if written is not None:
            return written, ""
        if is_index:
            return "u32", ""
        if size <= 0:
            return "u32", "  # what type is it?"
        what, them = ("is this byte", "it") if size == 1 else (f"are these {size} bytes", "them")
        return f"bytes[{size}]", f"  # what {what}? BTF has no type for {them}"

    def lpm(self, id_: int, size: int) -> tuple[str, str]:
        said = ""
        if self._btf is not None and id_:
            node = self._btf[self._btf.resolve(id_)]
            said = f"  # struct {node.name}" if isinstance(node, BtfComposite) and node.name else ""
            self._used |= {f"struct {node.name}"} if isinstance(node, BtfComposite) else set()
        match size - 4:
            case 4:
                return "cidr4", said + ("; " if said else "  # ") + "or {lpm_key: be32}?"
            case 16:
                return "cidr6", said + ("; " if said else "  # ") + 'or {lpm_key: "bytes[16]"}?'
            case data:
                return f'{{lpm_key: "bytes[{data}]"}}', said + ("; " if said else "  # ") + "what do the bits mean?"

    def _written(self, id_: int) -> str | None:
        """A BTF type as the spec writes it; None if the spec has no such type."""
        assert self._btf is not None
        node = self._btf[id_]
        match node:
            case BtfAlias(name=name, target=target):
                if name in FIXED_ORDER:
                    return FIXED_ORDER[name][0]
                behind = self._btf[self._btf.resolve(id_)]
                if node.kind is BtfKind.TYPEDEF and isinstance(behind, BtfComposite | BtfEnum) and not behind.name:
                    return self._declare(name, id_)
                return self._written(target)
            case BtfInt(size=size, bits=bits) if size in (1, 2, 4, 8) and bits == 8 * size:
                # Only the encoding distinguishes a C bool from a u8.
                built = self._builder(Problems()).from_btf_id(id_, _NOWHERE)
                return built.describe() if built else integer_type(node, self._btf.byteorder).name
            case BtfEnum(name=name):
                return self._declare(f"enum {name}", id_) if name else enum_type(node, self._btf.byteorder).base.name
            case BtfArray(element, count) if count:
                behind = self._btf[self._btf.resolve(element)]
                if isinstance(behind, BtfInt) and behind.name == "char":
                    return f"char[{count}]"
                inside = self._written(element)
                if inside and inside[0] != "{" and "[" not in inside:
                    return f"{inside}[{count}]"
                return self._inline(id_)
            case BtfComposite(name=name) if name:
                return self._declare(f"{'struct' if node.kind is BtfKind.STRUCT else 'union'} {name}", id_)
            case BtfComposite():
                return self._inline(id_)
            case _:
                return None

    def _inline(self, id_: int) -> str | None:
        """A type without a name, written out; None if a type in it has one."""
        converted = self._builder(Problems()).from_btf_id(id_, _NOWHERE)
        vocabulary = Vocabulary({})
        expr = vocabulary.express(converted) if converted is not None else None
        return spell(expr) if expr is not None and not vocabulary.types else None

    def _declare(self, c_name: str, id_: int) -> str | None:
        """The name of a type of the spec for what C calls `c_name`; None where it can't be converted."""
        assert self._btf is not None
        problems = Problems()
        self._used.add(c_name)
        if self._builder(problems).build(BtfType(c_name, "", (), _NOWHERE)) is None:
            return None
        word = c_name.rpartition(" ")[2]
        taken = {*builtins("little", {}), *ELEMENTS}
        name = word if word not in taken else f"{word}_of_c"
        if name in self._types and self._types[name] != id_:
            return f"{{btf: {c_name}, from: {format_value(self._source)}}}"
        self._types[name] = id_
        return name

    def _builder(self, problems: Problems) -> Builder:
        assert self._btf is not None
        return Builder({}, byteorder=self._btf.byteorder, problems=problems, btf={"": self._btf})

    def _type(self, name: str, id_: int) -> Iterator[str]:
        assert self._btf is not None
        node = self._btf[id_]
        tag = {BtfKind.STRUCT: "struct ", BtfKind.UNION: "union "}
        c_name = node.name if isinstance(node, BtfAlias) else ""
        if isinstance(node, BtfComposite):
            c_name = tag[node.kind] + node.name
        elif isinstance(node, BtfEnum):
            c_name = f"enum {node.name}"
        yield f"  {name}:"
        yield f"    btf: {c_name}"
        yield f"    from: {format_value(self._source)}"
        behind = self._btf[self._btf.resolve(id_)]
        if not isinstance(behind, BtfComposite):
            return
        members, meant = self._members(behind)
        yield f"    # {{{', '.join(members)}}}"
        if meant:
            yield "    # What do these members mean? BTF has only their sizes and byte orders."
            yield f"    # as: {{{', '.join(meant)}}}"

    def _members(self, node: BtfComposite) -> tuple[list[str], list[str]]:
        """Members from BTF, and what some of them can mean."""
        assert self._btf is not None
        members, meant = [], []
        for member in node.members:
            alias = self._btf[member.type]
            behind = self._btf[self._btf.resolve(member.type)]
            if not member.name and isinstance(behind, BtfComposite):
                inside = self._members(behind)
                members += inside[0]
                meant += inside[1]
                continue
            size = self._btf.size_of(member.type)
            c_type = alias.name if isinstance(alias, BtfAlias | BtfInt | BtfComposite | BtfEnum) else ""
            fixed = FIXED_ORDER.get(c_type)
            word = member.name.lower()
            members.append(f"{member.name}: {fixed[0] if fixed else c_type or f'{size} bytes'}")
            if c_type == "__be32":
                meant.append(f"{member.name}: ipv4")
            elif c_type == "in6_addr":
                meant.append(f"{member.name}: ipv6")
            elif size == 6 and "mac" in word:
                meant.append(f"{member.name}: mac")
            elif size == 4 and "ifindex" in word:
                meant.append(f"{member.name}: ifindex")
        return members, meant
