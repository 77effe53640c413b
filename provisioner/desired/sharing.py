"""Maps that several objects have in common: one map, which the first object to be loaded creates. Pure.

A project pins maps by their names in one directory, so maps of the same name are one map, or an error. They are one map
if the spec says so (`objects: [a, b]`), or all objects do, by `LIBBPF_PIN_BY_NAME`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.map_shape import shape_differences
from provisioner.model.object_file import MapDef, ObjectInfo
from provisioner.model.spec import OuterMap, PlainMap, Spec
from provisioner.model.uapi import GENERATIONAL_TYPES


def with_sharers(spec: Spec, objects: Mapping[str, ObjectInfo], problems: Problems) -> Spec:
    """The spec, in which each declared map names all objects that pin it by its name."""
    both: list[PlainMap | OuterMap] = [*spec.maps.values(), *spec.outer_maps.values()]
    for each in both:
        _check_names(each, objects, problems)
    plain, outer = dict(spec.maps), dict(spec.outer_maps)
    for name, holders in _in_several(spec, objects):
        declared = spec.outer_maps.get(name) or spec.maps.get(name)
        if not _is_one(name, holders, declared, objects):
            _refuse(name, holders, declared, spec, problems)
        elif isinstance(declared, OuterMap) and declared.objects:
            outer[name] = replace(declared, also=_others(declared, holders))
        elif isinstance(declared, PlainMap) and declared.objects:
            plain[name] = replace(declared, also=_others(declared, holders))
    return replace(spec, maps=plain, outer_maps=outer)


def check_shapes(objects: Mapping[str, ObjectInfo], spec: Spec, problems: Problems) -> None:
    """The objects must declare a map that they have in common in one way, as only one of them creates it."""
    for name, holders in _in_several(spec, objects):
        declared = spec.outer_maps.get(name) or spec.maps.get(name)
        where = declared.where if declared is not None else spec.objects[holders[1]].where
        first, *others = (objects[holder].maps[name] for holder in holders)
        if first.shape.map_type in GENERATIONAL_TYPES:
            kind = first.shape.map_type.word
            what = f"{kind} `{name}` cannot be shared by {_listed(holders)}: an upgrade of one object replaces it"
            problems.add(what, where, "put the programs into one object", name, id="shared-prog-array")
        for holder, other in zip(holders[1:], others, strict=True):
            if difference := _difference(first, other):
                what = f"`{name}` of object `{holder}` differs from that of object `{holders[0]}`: {difference}"
                problems.add(what, where, "compile both with the same definition", name, id="object-mismatch")


def _check_names(declared: PlainMap | OuterMap, objects: Mapping[str, ObjectInfo], problems: Problems) -> None:
    """Every object of a map must have it; that of the first is checked where its shape is looked up."""
    for owner in declared.also:
        info = objects.get(owner)
        if info is not None and declared.name not in info.maps:
            what = f"object `{owner}` has no map `{declared.name}`"
            hint = did_you_mean(declared.name, [name for name, each in info.maps.items() if not each.internal])
            problems.add(what, declared.where, hint, id="unknown-map")


def _in_several(spec: Spec, objects: Mapping[str, ObjectInfo]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names of maps that several objects create, and these objects."""
    holders: dict[str, list[str]] = {}
    for owner, info in objects.items():
        for name, definition in info.maps.items():
            settings = spec.objects[owner].maps.get(name)
            if not definition.internal and (settings is None or settings.autocreate):
                holders.setdefault(name, []).append(owner)
    for name, owners in sorted(holders.items()):
        if len(owners) > 1:
            yield name, tuple(owners)


def _is_one(
    name: str, holders: tuple[str, ...], declared: PlainMap | OuterMap | None, objects: Mapping[str, ObjectInfo]
) -> bool:
    if declared is not None and set(holders) <= set(declared.objects):
        return True
    return all(objects[holder].maps[name].is_pinned_by_name for holder in holders)


def _others(declared: PlainMap | OuterMap, holders: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*declared.also, *(holder for holder in holders if holder != declared.object))))


def _refuse(
    name: str, holders: tuple[str, ...], declared: PlainMap | OuterMap | None, spec: Spec, problems: Problems
) -> None:
    where = declared.where if declared is not None else spec.objects[holders[1]].where
    what = f"{_listed(holders)} each have a map `{name}`, and a project has one pin of this name"
    hint = f"if it is one map, declare it with `objects: [{', '.join(holders)}]`; if not, put one object into a project"
    problems.add(what, where, f"{hint} of its own", name, id="map-in-several-objects")


def _difference(first: MapDef, other: MapDef) -> str:
    difference = shape_differences(first.shape, other.shape)
    if difference or first.inner is None or other.inner is None:
        return difference
    return shape_differences(first.inner.shape, other.inner.shape, capacity=False)


def _listed(holders: tuple[str, ...]) -> str:
    return f"objects {', '.join(f'`{holder}`' for holder in holders)}"
