"""What the kernel that runs lacks: found out by trying, and believed only of one that is too old to have it."""

from __future__ import annotations

from typing import Final

from provisioner import kernelfacts
from provisioner.doctor import running_version
from provisioner.kernel import maps
from provisioner.kernel.reasons import KernelError
from provisioner.shape import MapShape
from provisioner.uapi import MapType

_TRIED: Final = {
    MapType.BLOOM_FILTER: MapShape(MapType.BLOOM_FILTER, 0, 8, 16),
    MapType.USER_RINGBUF: MapShape(MapType.USER_RINGBUF, 0, 0, 4096),
}


UNPRIVILEGED: Final = kernelfacts.Fact((5, 19, 0), "c8644cd0efe7")
"""From here on kernel.unprivileged_bpf_disabled forbids others to create and load, and no more."""


def others_may_look(refused: str) -> bool:
    """Whether a process without any capability may open pins. Fails where it may not on a kernel that is new enough.

    `refused` is what it was told, if it was refused.
    """
    if "BPF_OBJ_GET: this process may not do this" not in refused:
        return True
    assert running_version() < UNPRIVILEGED.since, f"it came with {UNPRIVILEGED.source}, but: {refused}"
    return False


def kernel_has(map_type: MapType) -> bool:
    """Whether the kernel makes maps of a type. Fails where it does not although it is new enough to."""
    if map_type not in _TRIED:
        return True
    refused: KernelError | None = None
    try:
        maps.create(_TRIED[map_type]).close()
    except KernelError as error:
        refused = error
    fact = kernelfacts.TYPES[map_type]
    assert refused is None or running_version() < fact.since, f"{map_type.word} came with {fact.source}, but: {refused}"
    return refused is None
