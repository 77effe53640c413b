"""The part of a spec that `destroy` needs: names, shapes, and the slots of adopted maps. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from provisioner.model.spec import InnerMap, OuterMap, Spec, TableRef


def without_contents(spec: Spec) -> Spec:
    """`spec` without the contents of its maps: enough to destroy the project.

    A map that the project created is removed as a whole. Of an adopted map only the declared slots are removed, so
    their keys are kept.
    """
    return replace(
        spec,
        maps={name: replace(plain, entries=None) for name, plain in spec.maps.items()},
        shared_inner_maps={name: replace(shared, entries=None) for name, shared in spec.shared_inner_maps.items()},
        moved=tuple(move for move in spec.moved if not move.is_slot),
        outer_maps={name: replace(outer, inner_maps=_keys(outer)) for name, outer in spec.outer_maps.items()},
    )


def _keys(outer: OuterMap) -> tuple[InnerMap, ...] | TableRef:
    if not outer.adopts:
        return ()
    if isinstance(outer.inner_maps, TableRef):
        return outer.inner_maps
    return tuple(replace(inner, entries=None) for inner in outer.inner_maps)
