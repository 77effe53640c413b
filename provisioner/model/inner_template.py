"""The known properties of the inner maps that an outer map accepts, and their differences from a spec. Pure."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapFlag, MapType, flag_words

_ACCESS: Final = {"write into": "rdonly_prog", "read from": "wronly_prog", "": "neither"}


class InnerFacts(msgspec.Struct, frozen=True):
    """The fields that `bpf_map_meta_equal` compares (kernel/bpf/map_in_map.c); None for what is not known.

    `max_entries` counts for the types that have it fixed. `access` is what programs may not do with values
    (`write into`, `read from`), `special` the first special field of a value, as `bpf_spin_lock at byte 0`; both are
    empty where there is none. `is_bound`, for an array, says whether programs have its bound compiled in: with
    `inner_map` they do not.
    """

    map_type: MapType | None = None
    key_size: int | None = None
    value_size: int | None = None
    max_entries: int | None = None
    map_flags: MapFlag | None = None
    access: str | None = None
    special: str | None = None
    is_bound: bool | None = None

    def extended(
        self,
        *,
        shape: MapShape | None = None,
        map_flags: MapFlag | None = None,
        max_entries: int | None = None,
        access: str | None = None,
        special: str | None = None,
        is_bound: bool | None = None,
    ) -> InnerFacts:
        """These facts with more; the shape of a live map takes precedence."""
        extended = replace(
            self,
            map_flags=self.map_flags if map_flags is None else map_flags,
            max_entries=self.max_entries if max_entries is None else max_entries,
            access=self.access if access is None else access,
            special=self.special if special is None else special,
            is_bound=self.is_bound if is_bound is None else is_bound,
        )
        if shape is None:
            return extended
        return replace(
            extended,
            map_type=shape.map_type,
            key_size=shape.key_size,
            value_size=shape.value_size,
            max_entries=shape.max_entries if shape.has_fixed_capacity else None,
            map_flags=shape.created_flags,
        )


class Probed(msgspec.Struct, frozen=True):
    """The result of a probe of a live outer map: whether it accepts the inner maps of the spec; None if unknown.

    `why` says how its template differs from the spec's; `unseen` what this kernel does not show of it.
    """

    fits: bool | None
    why: str = ""
    unseen: str = ""


def differences(wanted: InnerFacts, live: InnerFacts) -> str:
    """The reasons why the kernel refuses the wanted inner maps: `map_flags 0x1 in the template, 0x0 live`."""
    parts: list[str] = []

    def add(field: str, in_template: str | None, in_live: str | None) -> None:
        if in_template is not None and in_live is not None and in_template != in_live:
            parts.append(f"{field} {in_template} in the template, {in_live} live")

    add("type", _word(wanted.map_type), _word(live.map_type))
    add("key_size", _number(wanted.key_size), _number(live.key_size))
    add("value_size", _number(wanted.value_size), _number(live.value_size))
    add("map_flags", _flags(wanted.map_flags), _flags(live.map_flags))
    if live.map_flags is None and wanted.map_type is live.map_type:
        add("map_flags: of rdonly_prog and wronly_prog,", _access(wanted.access), _access(live.access))
        add("map_flags:", _inner_map(wanted.is_bound), _inner_map(live.is_bound))
    same_flags = live.map_flags in (None, wanted.map_flags) and live.is_bound in (None, wanted.is_bound)
    if wanted.map_type is live.map_type and same_flags:
        add("max_entries", _number(wanted.max_entries), _number(live.max_entries))
    if wanted.value_size == live.value_size:
        add("special field", _special(wanted.special), _special(live.special))
    return ", ".join(parts)


def template_differences(wanted: MapShape, live: MapShape) -> str:
    """The differences of two shapes that the kernel compares, with all special fields: not the name, the BTF, the NUMA
    node, or `map_extra` (`bpf_map_meta_equal`, kernel/bpf/map_in_map.c).
    """
    if wanted == live:
        return ""
    parts = [differences(facts_of(wanted), facts_of(live))]
    if not wanted.same_specials(live):
        parts.append(f"special fields {wanted.specials_in_words()} in the template, {live.specials_in_words()} live")
    return ", ".join(filter(None, parts))


def facts_of(shape: MapShape) -> InnerFacts:
    """The facts of a shape."""
    return InnerFacts().extended(shape=shape)


def _word(map_type: MapType | None) -> str | None:
    return map_type.word if map_type is not None else None


def _number(number: int | None) -> str | None:
    return None if number is None else str(number)


def _access(access: str | None) -> str | None:
    return None if access is None else _ACCESS.get(access, access)


def _inner_map(is_bound: bool | None) -> str | None:
    return None if is_bound is None else "no inner_map" if is_bound else "inner_map"


def _special(special: str | None) -> str | None:
    return special if special is None else special or "none"


def _flags(flags: MapFlag | None) -> str | None:
    return None if flags is None else flag_words(flags)
