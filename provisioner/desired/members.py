"""Slots of outer maps that have a map of the object (`object_map:`). Pure."""

from __future__ import annotations

from collections.abc import Mapping

from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.map_shape import MapShape, shape_differences
from provisioner.model.object_file import ObjectInfo
from provisioner.model.spec import OuterMap


def check(outer: OuterMap, template: MapShape, objects: Mapping[str, ObjectInfo], problems: Problems) -> None:
    """Each map that `outer` names must be one of its objects, and have the shape of the template."""
    if not isinstance(outer.inner_maps, tuple):
        return
    known = {
        name: each.shape
        for owner in outer.objects
        if owner in objects
        for name, each in objects[owner].maps.items()
        if not each.internal
    }
    for inner in outer.inner_maps:
        name = inner.object_map
        if name is None or not known:
            continue
        if name not in known:
            what = f"object `{outer.object}` has no map `{name}`"
            problems.add(what, inner.where, did_you_mean(name, known), outer.name, id="unknown-map")
        elif difference := shape_differences(known[name], template, capacity=False):
            what = f"map `{name}` does not fit the inner template `{outer.inner}`: {difference}"
            problems.add(what, inner.where, "use a map of this shape", outer.name, id="object-mismatch")
