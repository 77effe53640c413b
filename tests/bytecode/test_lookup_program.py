"""The generated program and its source in C find and count the same."""

from __future__ import annotations

import struct
from collections.abc import Callable
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
