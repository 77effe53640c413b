"""Ranges of keys: `100..199`, `possible_cpus`. Pure."""

from __future__ import annotations

import numpy as np

from provisioner.desired.rows import encode_columns, key_chunk
from provisioner.model.errors import Problems
from provisioner.model.host import Host
from provisioner.model.spec import KeyRange
from provisioner.model.types import Type


def number_range(written: KeyRange, kind: Type, host: Host, problems: Problems, address: str) -> tuple[int, int] | None:
    """The first and last number of a range of keys; None with a problem added."""
    order = kind.number_order
    if order is None:
        what = f"ranges need an unsigned integer key, and the key of {address} is {kind.describe()}"
        problems.add(what, written.where, "list the keys", address, id="invalid-range")
        return None
    if written.first is None or written.last is None:
        return 0, host.possible_cpus - 1
    ends = np.zeros((2, kind.size), np.uint8)
    chunk = key_chunk(((),), [[written.first], [written.last]], written.where)
    if not encode_columns([chunk], lambda _: address, "key", kind, ends, problems).all():
        return None
    first, last = (int.from_bytes(row.tobytes(), order) for row in ends)
    if last < first:
        hint = "write the smaller number first"
        problems.add("the range ends before it begins", written.where, hint, address, id="invalid-range")
        return None
    return first, last
