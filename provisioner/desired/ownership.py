"""What of a spec says who owns what: names, shapes and, where a map is another's, the slots in it. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from provisioner.model.spec import InnerMap, OuterMap, Spec, TableRef


def without_contents(spec: Spec) -> Spec:
    """`spec` without what its maps hold: all that it takes to take a project away.

    A map that the project made goes whole. Of an adopted one its own slots go, so their keys stay.
    """
    return replace(
        spec,
        maps={name: replace(one, entries=None) for name, one in spec.maps.items()},
        shared_inner_maps={name: replace(one, entries=None) for name, one in spec.shared_inner_maps.items()},
        outer_maps={name: replace(one, inner_maps=_keys(one)) for name, one in spec.outer_maps.items()},
    )


def _keys(outer: OuterMap) -> tuple[InnerMap, ...] | TableRef:
    if outer.pin is None:
        return ()
    if isinstance(outer.inner_maps, TableRef):
        return outer.inner_maps
    return tuple(replace(one, entries=None) for one in outer.inner_maps)
