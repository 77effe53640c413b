"""What is set of an open object before libbpf creates its maps."""

from __future__ import annotations

from collections.abc import Iterable

from provisioner.kernel import calls, libbpf
from provisioner.kernel.reasons import KernelError
from provisioner.model.object_settings import MapSettings, ProgramSettings
from provisioner.model.program_types import PROGRAM_TYPES, WITH_BTF_TARGET
from provisioner.model.uapi import PERF_EVENT_SIZE, STRUCT_OPS_LINK, MapFlag, MapType


def configure(at: int, settings: MapSettings) -> None:
    """Set the sizes and the NUMA node of the map at `at`, and whether it is created. Raises `KernelError`."""
    if settings.max_entries is not None:
        libbpf.map_set_max_entries(at, settings.max_entries)
    if settings.key_size is not None:
        libbpf.map_set_key_size(at, settings.key_size)
    if settings.value_size is not None:
        libbpf.map_set_value_size(at, settings.value_size)
    if settings.numa_node is not None:
        libbpf.map_set_numa_node(at, settings.numa_node)
        libbpf.map_set_map_flags(at, libbpf.map_map_flags(at) | MapFlag.NUMA_NODE)
    if settings.attach is not None:
        libbpf.map_set_map_flags(at, libbpf.map_map_flags(at) | STRUCT_OPS_LINK)
    if not settings.autocreate:
        libbpf.map_set_autocreate(at, False)


def complete(at: int) -> None:
    """Set what the kernel asks of a perf_event_array, and what its definition can leave out for other loaders."""
    if libbpf.map_type(at) == MapType.PERF_EVENT_ARRAY:
        for size, set_size in (
            (libbpf.map_key_size(at), libbpf.map_set_key_size),
            (libbpf.map_value_size(at), libbpf.map_set_value_size),
        ):
            if not size:
                set_size(at, PERF_EVENT_SIZE)


def set_variables(at: int, words: Iterable[tuple[int, bytes]]) -> None:
    """Write bytes at offsets of the data section at `at`. Raises `KernelError` for what is not in the section."""
    for offset, data in words:
        calls.set_initial_bytes(at, offset, data)


def set_program(at: int, settings: ProgramSettings) -> None:
    """Set the type of the program at `at`, and the function of the kernel that it is for. Raises `KernelError`."""
    if settings.type is not None:
        libbpf.program_set_type(at, PROGRAM_TYPES[settings.type].type)
        libbpf.program_set_attach_type(at, PROGRAM_TYPES[settings.type].attach_type)
    if settings.target is not None and libbpf.program_type(at) in WITH_BTF_TARGET:
        try:
            libbpf.program_set_attach_target(at, 0, settings.target.encode())
        except KernelError as error:
            raise error.about(f"{libbpf.program_name(at).decode(errors='replace')}: {settings.target}") from None
