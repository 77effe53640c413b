"""The generated program, its source in C and the system calls of the fall-back carry the same changes over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from provisioner.bytecode.merge_program import CARRIED, KEPT, Changes, EntryEvent, MergeRecord, Winner, merge_program
from provisioner.kernel import batch, calls, cpus, libbpf, maps, objects, programs, reading, structures
from provisioner.kernel.fd import MapFd, ProgramFd
from provisioner.kernel.merging import Merge
from provisioner.kernel.rows import Rows
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from tests import features

Compiled = Callable[[str], Path]
Table = NDArray[np.uint8]

KEYS = 48
RECORDS = 256

VARIANTS = [
    pytest.param("hash_new", MapType.HASH, 1, Winner.NEW, id="hash-new"),
    pytest.param("hash_old", MapType.HASH, 3, Winner.OLD, id="hash-old"),
    pytest.param("hash_sum", MapType.HASH, 2, Winner.SUM, id="hash-sum"),
    pytest.param("array_new", MapType.ARRAY, 3, Winner.NEW, id="array-new"),
    pytest.param("percpu_new", MapType.PERCPU_HASH, 2, Winner.NEW, id="percpu_hash-new"),
]


@pytest.fixture(autouse=True)
def under_the_ledger(kernel: Path) -> None:
    """Nothing may be left behind."""


@pytest.fixture(autouse=True)
def with_programs() -> None:
    features.need_syscall_programs()


def u32(numbers: NDArray[np.int64]) -> Table:
    return np.ascontiguousarray(numbers.astype(np.uint32)).view(np.uint8).reshape(-1, 4)


def few_values(random: np.random.Generator, rows: int, words: int) -> Table:
    """Values that are often equal."""
    return np.repeat(random.integers(0, 3, (rows, 1), np.uint64), words, axis=1).view(np.uint8).reshape(rows, -1)


def some_changes(random: np.random.Generator, shape: MapShape) -> Changes:
    """A change of each key, of a kind that the type has."""
    words = shape.value_size // 8
    kinds = [EntryEvent.UPDATE] if shape.is_array else [EntryEvent.INSERT, EntryEvent.UPDATE]
    kinds += [] if shape.is_array or shape.is_percpu else [EntryEvent.DELETE]
    kind = random.choice(np.array(kinds, np.uint8), KEYS)
    before, after = few_values(random, KEYS, words), few_values(random, KEYS, words)
    before[kind == EntryEvent.INSERT] = 0
    after[kind == EntryEvent.DELETE] = 0
    return Changes(kind, u32(np.arange(KEYS)), before, after)


def filled(random: np.random.Generator, shape: MapShape) -> MapFd:
    """A live map with two thirds of the keys; of a per-CPU map, in this CPU's values."""
    fd = maps.create(shape, "target")
    keys = np.flatnonzero(random.integers(0, 3, KEYS) > 0)
    values = few_values(random, len(keys), shape.value_size // 8)
    stride = reading.value_stride(shape, len(cpus.possible()))
    batch.write_batch(fd, u32(keys), np.ascontiguousarray(np.tile(values, stride // shape.value_size)))
    return fd


def contents(fd: MapFd, shape: MapShape) -> dict[bytes, bytes]:
    keys, values = reading.read_entries(fd, shape, len(cpus.possible()))
    return dict(zip(map(bytes, keys), map(bytes, values), strict=True))


def records_of(changes: Changes, layout: MergeRecord, last: Table) -> Table:
    records = np.zeros((RECORDS, layout.size), np.uint8)
    head = records[:KEYS]
    head[:, :4] = u32(changes.kind.astype(np.int64))
    head[:, layout.key : layout.key + 4] = changes.keys
    head[:, layout.before : layout.before + layout.value_size] = changes.before
    head[:, layout.after : layout.after + layout.value_size] = last
    return records


def run(program: ProgramFd, records: MapFd, table: Table) -> NDArray[np.int32]:
    """The results of a run."""
    index = u32(np.arange(RECORDS))
    batch.write_batch(records, index, table)
    with cpus.running_on(0):
        programs.run(program)
    back, keys, token = np.empty_like(table), np.empty_like(index), calls.new_buffer(8)
    count = structures.Counter(RECORDS)
    libbpf.map_lookup_batch(records.number, None, token, Rows.of(keys).address, Rows.of(back).address, count, None)
    results: NDArray[np.int32] = back[:KEYS, 8:12].copy().view(np.int32).ravel()
    return results


@pytest.mark.parametrize(("name", "map_type", "words", "policy"), VARIANTS)
def test_the_same_as_in_c(
    name: str, map_type: MapType, words: int, policy: Winner, bpf_object: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = MapShape(map_type, 4, words * 8, 64)
    layout, counters = MergeRecord(4, words * 8), tuple((at * 8, 8) for at in range(words))
    random = np.random.default_rng(words)
    changes = some_changes(random, shape)
    last = changes.after
    if policy is Winner.SUM:
        last = (changes.after.view(np.uint64) - changes.before.view(np.uint64)).view(np.uint8)
    table = records_of(changes, layout, last)
    with (
        filled(np.random.default_rng(7), shape) as generated,
        filled(np.random.default_rng(7), shape) as compiled,
        filled(np.random.default_rng(7), shape) as called,
        maps.create(MapShape(MapType.ARRAY, 4, layout.size, RECORDS)) as records,
        maps.create(MapShape(MapType.ARRAY_OF_MAPS, 4, 4, 1), inner=generated) as targets,
    ):
        before = contents(generated, shape)
        maps.insert_inner(targets, bytes(4), generated)
        code = merge_program(layout, policy, counters, records.number, targets.number, is_percpu=shape.is_percpu)
        with programs.load_or_raise(code, "merge") as program:
            ours = run(program, records, table)
        maps.insert_inner(targets, bytes(4), compiled)
        reuse = {"records": records, "targets": targets}
        with objects.load(bpf_object(f"merge_{name}"), reuse=reuse) as loaded:
            theirs = run(loaded.programs["merge"], records, table)
        assert ours.tolist() == theirs.tolist()
        assert set(ours.tolist()) <= {CARRIED, KEPT}
        after = contents(generated, shape)
        assert after == contents(compiled, shape)
        assert after != before
        if not shape.is_percpu:
            monkeypatch.setenv(programs.SWITCH, "off")
            with Merge([called], shape, policy, counters, len(cpus.possible()), KEYS) as merge:
                merge.load()
                assert not merge.runs_in_kernel
                merge.carry(0, changes)
            assert after == contents(called, shape)
