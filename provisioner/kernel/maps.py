"""One map at a time: create, open, ask, write, read."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from provisioner.kernel import binding, calls, libbpf, structures
from provisioner.kernel.bpffs import open_pin as open_any_pin
from provisioner.kernel.fd import BtfFd, FdSet, InnerId, MapFd
from provisioner.kernel.reasons import KernelError, Subject
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapFlag, MapType, UpdateFlag, object_name


class MapInfo(msgspec.Struct, frozen=True):
    """The kernel's information about a map; BTF ids are 0 if it has none.

    The shape is as the kernel keeps it, which is not always as it was asked for: a DEVMAP gains `rdonly_prog`, some
    sizes are rounded up, and the NUMA node is never shown.
    """

    id: InnerId
    shape: MapShape
    name: str
    btf_id: int = 0
    btf_key_type_id: int = 0
    btf_value_type_id: int = 0


def create(
    shape: MapShape,
    name: str = "",
    *,
    inner: MapFd | None = None,
    btf: BtfFd | None = None,
    btf_key_type_id: int = 0,
    btf_value_type_id: int = 0,
    btf_vmlinux_value_type_id: int = 0,
) -> MapFd:
    """Create a map. `name` is cut as the kernel would; `inner` is the template of an outer map, needed only now.

    Raises `KernelError` (BPF_MAP_CREATE).
    """
    options = structures.MapCreateOptions(
        map_flags=shape.created_flags,
        map_extra=shape.map_extra,
        numa_node=shape.numa_node or 0,
        inner_map_fd=inner.number if inner else 0,
        btf_fd=btf.number if btf else 0,
        btf_key_type_id=btf_key_type_id,
        btf_value_type_id=btf_value_type_id,
        btf_vmlinux_value_type_id=btf_vmlinux_value_type_id,
    )
    sizes = shape.key_size, shape.value_size, shape.max_entries
    try:
        return MapFd(libbpf.map_create(shape.map_type, object_name(name).encode(), *sizes, options))
    except KernelError as error:
        raise error.about(name or shape.map_type.word) from None


def may_create(map_type: MapType) -> bool:
    """Whether this process has what it takes to create maps of a type: the smallest one is made, and let go of."""
    try:
        create(MapShape(map_type, 4, 4, 1)).close()
    except KernelError as error:
        return error.errno != errno.EPERM
    return True


def info(fd: MapFd) -> MapInfo:
    """The kernel's information about an open map."""
    record = calls.get_info(fd.number, structures.MapInfoRecord())
    shape = MapShape(
        map_type=MapType(record.type),
        key_size=record.key_size,
        value_size=record.value_size,
        max_entries=record.max_entries,
        map_flags=MapFlag(record.map_flags),
        map_extra=record.map_extra,
    )
    return MapInfo(
        id=InnerId(record.id),
        shape=shape,
        name=record.name.decode(errors="replace"),
        btf_id=record.btf_id,
        btf_key_type_id=record.btf_key_type_id,
        btf_value_type_id=record.btf_value_type_id,
    )


def id_of(fd: MapFd) -> InnerId:
    """The id of an open map."""
    return InnerId(calls.get_info(fd.number, structures.MapInfoRecord()).id)


def ids_of(fds: FdSet[MapFd]) -> list[int]:
    """The ids of open maps, in their order: the rest of what the kernel tells of thousands of them costs more."""
    return calls.map_ids_of(fds.numbers())


def is_frozen(fd: MapFd) -> bool:
    """Whether user space can no longer write the map; about 15 us: only fdinfo has it."""
    return _fdinfo(fd).get("frozen") == "1"


def memory(fd: MapFd) -> int:
    """Bytes that the map takes in the kernel, as it reckons them; before Linux 6.3 an estimate from the shape."""
    return int(_fdinfo(fd).get("memlock", "0"))


def _fdinfo(fd: MapFd) -> dict[str, str]:
    lines = Path(f"/proc/self/fdinfo/{fd.number}").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def open_id(inner_id: InnerId) -> MapFd:
    """Open a map by its id. Needs CAP_SYS_ADMIN. Raises `KernelError`, with ENOENT if the map is gone."""
    try:
        return MapFd(libbpf.map_get_fd_by_id(inner_id))
    except KernelError as error:
        raise error.about(f"map id {inner_id}") from None


def open_pin(path: Path, readonly: bool = False) -> MapFd:
    """Open a pinned map. Raises `KernelError` with ENOENT if there is no pin, `HostError` if it is not of a map."""
    return open_any_pin(path, MapFd, readonly)


def open_btf(btf_id: int) -> BtfFd:
    """Open the BTF that a map was created with, to create another one like it."""
    return BtfFd(libbpf.btf_get_fd_by_id(btf_id))


def read_btf(btf_id: int) -> bytes:
    """The BTF with this id, as an object's `.BTF` has it. Raises `KernelError`, with ENOENT if it is gone."""
    with open_btf(btf_id) as fd:
        return calls.btf_data(fd.number)


def load_btf(data: bytes) -> BtfFd:
    """Load BTF into the kernel. Raises `KernelError` (BPF_BTF_LOAD)."""
    return BtfFd(libbpf.btf_load(data, len(data), None))


def update(
    fd: MapFd, key: bytes, value: bytes, flags: UpdateFlag = UpdateFlag.ANY, *, subject: Subject = "", name: str = ""
) -> None:
    """Write one entry. The sizes must be those of the map: the kernel reads as many bytes as its shape says."""
    try:
        libbpf.map_update_elem(fd.number, key, value, flags)
    except KernelError as error:
        raise error.about(name, subject) from None


def insert_inner(outer: MapFd, key: bytes, inner: MapFd, flags: UpdateFlag = UpdateFlag.ANY, *, name: str = "") -> None:
    """Put a map in a slot of an outer map. Waits for an RCU grace period, about 10 ms: `batch.publish` shares it."""
    update(outer, key, inner.number.to_bytes(4, sys.byteorder), flags, subject="inner", name=name)


def delete(fd: MapFd, key: bytes, *, name: str = "") -> None:
    """Delete one entry. Raises `KernelError` with ENOENT if it is not there."""
    try:
        libbpf.map_delete_elem(fd.number, key)
    except KernelError as error:
        raise error.about(name) from None


def lookup(fd: MapFd, key: bytes, value_size: int) -> bytes | None:
    """Read one entry of `value_size` bytes as the system call moves them; None if the key is not there."""
    value = calls.new_buffer(value_size)
    try:
        libbpf.map_lookup_elem(fd.number, key, value)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return value.raw


def freeze(fd: MapFd) -> None:
    """Let user space write the map no more; programs still may. It cannot be undone."""
    libbpf.map_freeze(fd.number)


def map_ids() -> Iterator[InnerId]:
    """The ids of all maps in the kernel, ascending; also some freed during the call. Needs CAP_SYS_ADMIN."""
    return (InnerId(number) for number in ids(libbpf.map_get_next_id))


def ids(next_id: binding.Function[int]) -> Iterator[int]:
    """Walk one of the kernel's lists of ids: maps, programs or links."""
    next_ = structures.Counter(0)
    while True:
        try:
            next_id(next_.value, next_)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        yield next_.value
