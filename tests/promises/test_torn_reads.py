"""A program that reads while applies run sees all of the old or all of the new; and gets its own map back."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from provisioner.kernel import batch, links, maps
from provisioner.kernel.fd import InnerId
from provisioner.model.errors import ApplyError
from provisioner.planning.plan import Plan
from tests.apply.conftest import Bench, bench

__all__ = ["bench"]

PACKET = bytes(64)
ENTRIES = 4


def u32(number: int) -> bytes:
    return struct.pack("<I", number)


def spec(file: Path, generation: int, room: int = 4, switch: int = 1) -> str:
    value = "{" + ", ".join(f"{name}: {generation}" for name in "abcdefgh") + "}"
    entries = ", ".join(f"{entry}: {value}" for entry in range(ENTRIES))
    return f"""
types:
  wide: {{struct: {{a: u64, b: u64, c: u64, d: u64, e: u64, f: u64, g: u64, h: u64}}}}
inner_templates:
  config: {{type: array, key: u32, value: wide, max_entries: {ENTRIES}, update: replace}}
  counts: {{type: hash, key: u32, value: u64, max_entries: 4, contents: ignore, on_replace: drop}}
objects:
  readers: {{file: {file}, programs: {{reader: {{pin: reader}}, counter: {{pin: counter}}}}}}
maps:
  zz_switch: {{type: hash, key: u32, value: u32, max_entries: 4, after: [configs, counters], entries: {{{switch}: 0}}}}
outer_maps:
  configs: {{object: readers, key: u32, inner: config, inner_maps: {{0: {{entries: {{{entries}}}}}}}}}
  counters: {{object: readers, key: u32, inner: counts, inner_maps: {{0: {{max_entries: {room}}}}}}}
"""


@dataclass(frozen=True, slots=True)
class Figures:
    reads: int
    torn: int
    empty: int
    generation: int
    changes: int


def figures_of(bench: Bench) -> Figures:
    with maps.open_pin(bench.root / "figures") as fd:
        raw = [maps.lookup(fd, u32(index), 8) or b"" for index in range(5)]
    return Figures(*(int.from_bytes(value, "little") for value in raw))


@contextmanager
def running(bench: Bench, pin: str, repeat: int = 100_000) -> Iterator[list[int]]:
    """Run a pinned program over and over in a thread; gives the numbers of runs, a number for each call."""
    stop, started = threading.Event(), threading.Event()
    runs: list[int] = []

    def work() -> None:
        with links.open_program_pin(bench.root / pin) as program:
            while not stop.is_set():
                links.run(program, PACKET, repeat)
                runs.append(repeat)
                started.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert started.wait(60)
        yield runs
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def readers(bench: Bench, bpf_object: Callable[[str], Path]) -> Path:
    bench.allow_outside = True
    return bpf_object("readers")


def test_no_read_is_torn_while_applies_replace(
    bench: Bench, readers: Path, full_sweep: bool, figures: list[str]
) -> None:
    applies, reads = (400, 100_000_000) if full_sweep else (40, 2_000_000)
    bench.apply(spec(readers, 1))
    generation = 1
    with running(bench, "reader"):
        while generation <= applies or figures_of(bench).reads < reads:
            generation += 1
            bench.apply(spec(readers, generation))
    counted = figures_of(bench)
    assert counted.torn == 0
    assert counted.empty == 0
    assert counted.changes >= applies // 4, "the program read while applies ran, and saw them"
    figures.append(
        f"torn reads: 0 of {counted.reads:,} reads while {generation - 1} applies replaced the map, no empty map seen"
    )


def test_the_program_does_see_a_torn_read_where_there_is_one(bench: Bench, readers: Path) -> None:
    """The same map written in place, behind the provisioner's back: the reader must be able to tell."""
    bench.apply(spec(readers, 1))
    keys = np.arange(ENTRIES, dtype=np.uint32)
    with (
        maps.open_id(InnerId(bench.ids("configs")[u32(0)])) as inner,
        running(bench, "reader"),
    ):
        for generation in range(2, 200_000):
            batch.write_batch(inner, keys, np.full((ENTRIES, 8), generation, np.uint64))
            if generation % 100 == 0 and figures_of(bench).torn:
                break
    assert figures_of(bench).torn > 0


def test_a_rollback_brings_back_the_very_map_that_a_program_counts_in(
    bench: Bench, readers: Path, figures: list[str]
) -> None:
    bench.apply(spec(readers, 1))
    inner = bench.ids("counters")[u32(0)]

    def fill(_plan: Plan) -> None:  # so that the last step of every apply fails
        with maps.open_pin(bench.root / "zz_switch") as switch:
            for key in range(100, 103):
                maps.update(switch, u32(key), u32(0))

    def empty() -> None:
        with maps.open_pin(bench.root / "zz_switch") as switch:
            for key in range(100, 103):
                maps.delete(switch, u32(key))

    bench.planned = fill

    def counted() -> int:
        with maps.open_id(InnerId(inner)) as fd:
            return int.from_bytes(maps.lookup(fd, u32(0), 8) or b"", "little")

    attempts = 10
    with running(bench, "counter") as runs:
        before = counted()
        for attempt in range(attempts):
            with pytest.raises(ApplyError) as failed:
                bench.apply(spec(readers, 1, room=8, switch=2 + attempt))
            empty()
            assert failed.value.status == "rolled_back"
            assert bench.ids("counters")[u32(0)] == inner, "the same map, by its id"
            now = counted()
            assert now >= before, "with all that was counted in it"
            before = now
    with links.open_program_pin(bench.root / "counter") as program:
        last = counted()
        links.run(program, PACKET, 1000)
    assert counted() == last + 1000, "and the program goes on counting there"
    figures.append(f"stash: {attempts} failed applies rolled back under {sum(runs):,} counts, the same map each time")
