"""The build configuration of the running kernel, and the effect of options that are off."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

FOLLOWS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "BPF_SYSCALL": "BPF is not available",
        "BPF_JIT": "programs are interpreted, which is slow",
        "MEMCG": "maps are charged to no memory cgroup",
        "NET": "there are no device, CPU and socket maps",
        "XDP_SOCKETS": "there is no xskmap",
        "INET": "there is no reuseport_sockarray",
        "CGROUPS": "there is no cgroup_array",
        "PERF_EVENTS": "there is no stack_trace map",
    }
)
"""Options, and what is missing without them (include/linux/bpf_types.h)."""


def places(release: str) -> tuple[Path, ...]:
    """The places of a configuration, the kernel's own first."""
    return (
        Path("/proc/config.gz"),
        Path(f"/boot/config-{release}"),
        Path(f"/lib/modules/{release}/config"),
        Path(f"/usr/lib/modules/{release}/config"),
    )


def read(paths: tuple[Path, ...] | None = None) -> tuple[Path, dict[str, bool]] | None:
    """The first configuration that can be read, and which of `FOLLOWS` it has; None without one."""
    for path in paths or places(os.uname().release):
        try:
            data = path.read_bytes()
            text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode(errors="replace")
        except (OSError, EOFError, zlib.error):
            continue
        chosen = set(_chosen(text))
        return path, {option: option in chosen for option in FOLLOWS}
    return None


def _chosen(text: str) -> Iterator[str]:
    """The options that are on, in the kernel or as a module."""
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and value in ("y", "m"):
            yield name.removeprefix("CONFIG_")
