"""A program counts packets while the shape of its maps changes, again and again: each packet is counted."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from provisioner.kernel import cpus, maps, reading
from provisioner.kernel.fd import InnerId, MapFd
from tests.apply.conftest import ALL, Bench, bench
from tests.promises.test_torn_reads import u32

__all__ = ["bench"]

PAUSE = 0.0002
"""Seconds between packets, so that the system has time for the rest."""


def spec(file: Path, size: int) -> str:
    return f"""
inner_templates:
  per_mark:
    type: hash
    key: u32
    value: {{btf: struct stats, from: traffic}}
    max_entries: 64
    contents: ignore
    on_conflict: sum
    migrate: auto
objects:
  traffic: {{file: {file}, programs: {{count: {{attach: {{tcx: {{interface: lo, direction: ingress}}}}}}}}}}
maps:
  totals:
    object: traffic
    key: u32
    value: {{btf: struct stats, from: traffic}}
    contents: ignore
    on_conflict: sum
    migrate: auto
outer_maps:
  interfaces: {{object: traffic, inner: per_mark, max_entries: {size}, inner_maps: {{1: {{}}}}}}
"""


@contextmanager
def traffic() -> Iterator[list[int]]:
    """Packets on the loopback interface, one after the other; gives how many were sent."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    stop, sent = threading.Event(), [0]
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source,
    ):
        sink.bind(("127.0.0.1", 0))  # without it, each packet has an ICMP message for an answer
        source.connect(sink.getsockname())

        def send() -> None:
            while not stop.wait(PAUSE):
                sent[0] += source.send(b"x")

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield sent
        finally:
            stop.set()
            thread.join()


def packets(fd: MapFd) -> int:
    """What the first member counts, in all entries of a map, on all CPUs."""
    shape = maps.info(fd).shape
    _, values = reading.read_entries(fd, shape, len(cpus.possible()))
    width = 4 if shape.value_size == 4 else 8
    each = values.reshape(-1, shape.value_size)  # of each entry and CPU
    return int(np.ascontiguousarray(each[:, :width]).view(f"u{width}").sum())


def test_each_packet_is_counted_while_the_shape_changes(
    bench: Bench, bpf_object: Callable[[str], Path], full_sweep: bool, figures: list[str]
) -> None:
    bench.allow_outside, bench.overrides = True, ALL
    files = bpf_object("traffic"), bpf_object("traffic_wide")
    bench.apply(spec(files[0], 8))
    migrations = 300 if full_sweep else 6
    with traffic() as sent:
        for number in range(1, migrations + 1):
            plan, _ = bench.apply(spec(files[number % 2], 8 + number % 3))
            assert plan.maps["interfaces"].keeps_contents
            assert plan.maps["totals"].keeps_contents
    with maps.open_id(InnerId(bench.ids("interfaces")[u32(1)])) as inner, maps.open_pin(bench.root / "totals") as plain:
        assert packets(inner) == packets(plain) == sent[0] > 0
    figures.append(f"lost packets: 0 of {sent[0]:,} counted over {migrations} migrations")


INNER_TYPES: Final = {
    "hashes": "hash",
    "arrays": "array",
    "percpu_hashes": "percpu_hash",
    "percpu_arrays": "percpu_array",
    "lrus": "lru_hash",
}
MEMBERS: Final = ("{hits: u64}", "{hits: u64, dropped: u64}")


def of_each_type(file: Path, members: str) -> str:
    """A spec whose program counts in an inner map of each type."""
    template = f"key: u32, value: {{struct: {members}}}, contents: ignore, on_conflict: sum, migrate: auto"
    templates = [
        f"  {name}: {{type: {kind}, {template}, max_entries: {1024 if name == 'lrus' else 16}}}"
        for name, kind in INNER_TYPES.items()
    ]
    templates.append("  flows: {type: hash, key: u32, value: u64, max_entries: 64, contents: ignore, on_replace: copy}")
    outer = [
        f"  {name}: {{object: counting, key: u32, inner: {name}, inner_maps: {{1: {{}}}}}}"
        for name in (*INNER_TYPES, "flows")
    ]
    attach = "{tcx: {interface: lo, direction: ingress}}"
    return "\n".join(
        (
            "inner_templates:",
            *templates,
            f"objects: {{counting: {{file: {file}, programs: {{counter: {{attach: {attach}}}}}}}}}",
            "outer_maps:",
            *outer,
        )
    )


def test_each_packet_is_counted_in_each_type_while_values_get_a_member_and_lose_it(
    bench: Bench, bpf_object: Callable[[str], Path], full_sweep: bool, figures: list[str]
) -> None:
    bench.allow_outside, bench.overrides = True, ALL
    file = bpf_object("counting")
    bench.apply(of_each_type(file, MEMBERS[0]))
    applies = 200 if full_sweep else 2
    with traffic() as sent:
        for number in range(1, applies + 1):
            plan, _ = bench.apply(of_each_type(file, MEMBERS[number % 2]))
            assert all(plan.maps[name].keeps_contents for name in INNER_TYPES)
    for name in INNER_TYPES:
        with maps.open_id(InnerId(bench.ids(name)[u32(1)])) as inner:
            assert packets(inner) == sent[0] > 0, name
    migrations = applies * len(INNER_TYPES)
    figures.append(
        f"lost packets: 0 of {sent[0] * len(INNER_TYPES):,} counted over {migrations:,} migrations of 5 types"
    )
