"""The generated program and its source in C find, count and write the same."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from provisioner.bytecode.lookup_program import Looked, LookupRecord, lookup_program
from provisioner.kernel import batch, map_fields, maps, objects, programs, reading
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from tests import features

INNER = MapShape(MapType.HASH, 4, 8, 8)
LAYOUT = LookupRecord(4, 4, 8)
RECORDS = MapShape(MapType.ARRAY, 4, LAYOUT.size, 8)
"""As in bpf/lookup.bpf.c."""


def asked(state: Looked, slot: int, key: int = 0) -> bytes:
    return struct.pack("=IIIIQQQ", state, 1, 0, 0, slot, key, 5)


@pytest.mark.usefixtures("kernel")
def test_the_same_as_in_c(bpf_object: Callable[[str], Path]) -> None:
    features.need_syscall_programs()
    places = map_fields.fields()
    assert places is not None
    with maps.create(INNER) as inner, maps.create(RECORDS) as records:
        number = maps.info(inner).id
        keys, values = np.arange(3, dtype=np.uint32), np.array([7, 8, 9], np.uint64)
        batch.write_batch(inner, keys.view(np.uint8).reshape(3, 4), values.view(np.uint8).reshape(3, 8))
        with maps.create(MapShape(MapType.HASH_OF_MAPS, 4, 4, 8), inner=inner) as outer:
            maps.insert_inner(outer, struct.pack("=I", 6), inner)
            code = lookup_program(LAYOUT, records.number, outer.number, places.id)
            with (
                programs.load_or_raise(code, "lookup") as generated,
                objects.load(bpf_object("lookup"), reuse={"outer": outer, "records": records}) as loaded,
            ):
                seen = []
                for program in (generated, loaded.programs["lookup"]):
                    rows = [asked(Looked.ASKED, 6, 1), asked(Looked.ASKED, 6, 4), asked(Looked.ASKED, 5, 1)]
                    rows += [asked(Looked.COUNTED, 6), asked(Looked.END, 6), asked(Looked.ASKED, 6, 2)]
                    table = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), LAYOUT.size).copy()
                    indexes = np.arange(len(rows), dtype=np.uint32).view(np.uint8).reshape(-1, 4)
                    batch.write_batch(records, indexes, table)
                    programs.run(program)
                    read = reading.read_first(records, len(rows), LAYOUT.size)
                    seen.append([struct.unpack("=IIIIQQQ", bytes(row)) for row in read])
    assert seen[0] == seen[1]
    assert seen[0] == [
        (Looked.FOUND, number, 0, 0, 6, 1, 8),
        (Looked.MISSING, number, 0, 0, 6, 4, 5),
        (Looked.EMPTY, 0, 0, 0, 5, 1, 5),
        (Looked.COUNTED, number, 3, 0, 6, 0, 5),
        (Looked.END, 1, 0, 0, 6, 0, 5),
        (Looked.ASKED, 1, 0, 0, 6, 2, 5),
    ]


def test_it_writes_the_same_as_in_c(bpf_object: Callable[[str], Path]) -> None:
    features.need_syscall_programs()
    places, frozen_at = map_fields.fields(), map_fields.frozen_at()
    assert places is not None
    assert frozen_at is not None
    with ExitStack() as opened:
        inner, frozen = (opened.enter_context(maps.create(INNER)) for _ in range(2))
        records = opened.enter_context(maps.create(RECORDS))
        number, other = maps.info(inner).id, maps.info(frozen).id
        maps.freeze(frozen)
        outer = opened.enter_context(maps.create(MapShape(MapType.HASH_OF_MAPS, 4, 4, 8), inner=inner))
        for slot, fd in ((6, inner), (7, frozen)):
            maps.insert_inner(outer, struct.pack("=I", slot), fd)
        code = lookup_program(LAYOUT, records.number, outer.number, places.id, frozen_at)
        generated = opened.enter_context(programs.load_or_raise(code, "lookup"))
        reuse = {"outer": outer, "records": records}
        loaded = opened.enter_context(objects.load(bpf_object("lookup"), reuse=reuse))
        runs: list[list[tuple[int, int, int, int]]] = [
            [(Looked.WRITTEN, number, 6, 1), (Looked.DELETED, number, 6, 2), (Looked.DELETED, number, 6, 9)],
            [(Looked.ASKED, 0, 6, 1), (Looked.WRITTEN, other, 6, 0), (Looked.WRITTEN, number, 6, 3)],
            [(Looked.WRITTEN, other, 7, 1), (Looked.WRITTEN, number, 6, 3)],
            [(Looked.WRITTEN, number, 6, 8), (Looked.DELETED, number, 6, 0)],
        ]
        seen = []
        for program in (generated, loaded.programs["lookup"]):
            results = []
            for rows in runs:
                for key in range(8):  # all that it has room for
                    maps.update(inner, struct.pack("=I", key), struct.pack("=Q", key))
                packed = [struct.pack("=IIIIQQQ", *row[:2], 0, 0, *row[2:], 5) for row in rows]
                table = np.frombuffer(b"".join([*packed, bytes(LAYOUT.size)]), np.uint8).reshape(-1, LAYOUT.size)
                indexes = np.arange(len(table), dtype=np.uint32).view(np.uint8).reshape(-1, 4)
                batch.write_batch(records, indexes, table)
                programs.run(program)
                read = [struct.unpack("=IIIIQQQ", row) for row in reading.read_first(records, len(rows), LAYOUT.size)]
                keys, values = (column.tobytes() for column in reading.read_entries(inner, INNER, 1))
                live = dict(
                    zip(struct.unpack(f"={len(keys) // 4}I", keys), struct.iter_unpack("=Q", values), strict=True)
                )
                results.append(([(*row[:3], row[6]) for row in read], {key: value for key, (value,) in live.items()}))
            seen.append(results)
    before = {key: key for key in range(8)}
    assert seen[0] == seen[1]
    assert [run for run, _ in seen[0]] == [
        [(Looked.FOUND, number, 0, 5), (Looked.MISSING, number, 0, 5), (Looked.MISSING, number, 0, 5)],
        [(Looked.FOUND, number, 0, 1), (Looked.OTHER, number, 0, 5), (Looked.WRITTEN, number, 0, 5)],
        [(Looked.OTHER, other, 0, 5), (Looked.WRITTEN, number, 0, 5)],
        [(Looked.FAILED, number, errno.E2BIG, 5), (Looked.DELETED, number, 0, 5)],
    ]
    assert [live for _, live in seen[0]] == [{key: key for key in before if key != 2} | {1: 5}, before, before, before]
