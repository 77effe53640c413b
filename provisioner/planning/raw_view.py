"""A live map as bytes, in the shape that it has: what the spec says of its types does not fit it. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from provisioner.codec.percpu import per_cpu
from provisioner.codec.text import HexBytes
from provisioner.model.desired import DesiredMap
from provisioner.model.map_shape import MapShape, value_stride
from provisioner.model.observed import ObservedMap
from provisioner.model.spec import OnReplace


def as_bytes(desired: DesiredMap, observed: ObservedMap, shape: MapShape) -> DesiredMap:
    """The map by which the live entries are read: bytes, in the shape that the live map has."""
    each = per_cpu(desired.value)
    cpus = each.cpus if each is not None else 1
    size = value_stride(shape, cpus)
    key, value = HexBytes(shape.key_size), HexBytes(size)
    # All entries are read, as for a copy: of an array, not just those that the spec lists.
    everything = replace(desired, on_replace=OnReplace.COPY)
    return replace(everything, shape=observed.shape, entry_shape=shape, key=key, value=value)
