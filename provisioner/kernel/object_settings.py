"""What is set of an open object before libbpf creates its maps."""

from __future__ import annotations

from collections.abc import Iterable

from provisioner.kernel import libbpf
from provisioner.model.object_settings import MapSettings
from provisioner.model.uapi import MapFlag


def configure(at: int, settings: MapSettings) -> None:
    """Set the size and the NUMA node of the map at `at`, and whether it is created. Raises `KernelError`."""
    if settings.max_entries is not None:
        libbpf.map_set_max_entries(at, settings.max_entries)
    if settings.numa_node is not None:
        libbpf.map_set_numa_node(at, settings.numa_node)
        libbpf.map_set_map_flags(at, libbpf.map_map_flags(at) | MapFlag.NUMA_NODE)
    if not settings.autocreate:
        libbpf.map_set_autocreate(at, False)


def set_variables(at: int, words: Iterable[tuple[int, bytes]]) -> None:
    """Write bytes at offsets of the data section at `at`. Raises `KernelError` for what is not in the section."""
    for offset, data in words:
        libbpf.set_initial_bytes(at, offset, data)
