"""A program counts packets while the shape of its maps changes, again and again: each packet is counted."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from provisioner.kernel import maps, reading
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
    """What is counted in all entries of a map."""
    _, values = reading.read_entries(fd, maps.info(fd).shape, 1)
    width = 4 if values.shape[1] == 4 else 8
    return int(np.ascontiguousarray(values[:, :width]).view(f"u{width}").sum())


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
