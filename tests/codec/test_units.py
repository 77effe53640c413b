"""Units of durations and sizes, each by the next smaller one, and the words that users write for them."""

from __future__ import annotations

import numpy as np
import pytest

from provisioner.codec.units import UNITS, Quantity
from provisioner.model.types import InvalidTextError
from tests.codec.support import built, option

STEPS = [
    ("us", 1000, "ns"), ("ms", 1000, "us"), ("s", 1000, "ms"), ("min", 60, "s"), ("h", 60, "min"), ("d", 24, "h"),
    ("KB", 1000, "B"), ("MB", 1000, "KB"), ("GB", 1000, "MB"), ("TB", 1000, "GB"),
    ("KiB", 1024, "B"), ("MiB", 1024, "KiB"), ("GiB", 1024, "MiB"), ("TiB", 1024, "GiB"),
]  # fmt: skip


def quantity(unit: str) -> Quantity:
    type_ = built(option("u64", unit=unit))
    assert isinstance(type_, Quantity)
    return type_


def test_every_unit_is_in_the_table() -> None:
    assert {unit for unit, _, _ in STEPS} | {"ns", "B"} == set(UNITS)


@pytest.mark.parametrize(("unit", "count", "smaller"), STEPS)
def test_a_unit_is_so_many_of_the_next_one(unit: str, count: int, smaller: str) -> None:
    small = quantity(smaller)
    assert int.from_bytes(small.parse_one(f"7{unit}"), "little") == 7 * count
    assert quantity(unit).parse_one(f"{7 * count}{smaller}") == quantity(unit).parse_one("7")
    with pytest.raises(InvalidTextError):
        quantity(unit).parse_one(f"{count + 1}{smaller}")


@pytest.mark.parametrize(
    ("unit", "text", "hint"),
    [
        ("ns", "5usecs", "write 5us"), ("ns", "5msec", "write 5ms"), ("ns", "5secs", "write 5s"),
        ("ns", "5m", "write 5min"), ("ns", "5hr", "write 5h"), ("ns", "5days", "write 5d"),
        ("B", "5b", "write 5B"), ("B", "5bytes", "write 5B"), ("B", "5Ki", "write 5KiB"), ("B", "5mi", "write 5MiB"),
        ("B", "5gib", "write 5GiB"), ("B", "5TI", "write 5TiB"),
        ("B", "5k", "known: B, KB"), ("B", "5kb", "known: B, KB"), ("B", "5days", "known: B, KB"),
        ("ns", "5Ki", "known: ns"),
    ],
)  # fmt: skip
def test_other_words_for_a_unit(unit: str, text: str, hint: str) -> None:
    """`k` can mean 1000 or 1024, and `M` is no minute: they are not replaced."""
    with pytest.raises(InvalidTextError) as refused:
        quantity(unit).parse_one(text)
    assert refused.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("unit", "count", "text"),
    [
        ("ns", 0, "0ns"), ("ns", 1500, "1500ns"), ("ns", 2000, "2us"), ("ns", 60 * 10**9, "1min"), ("s", 7200, "2h"),
        ("s", 90, "90s"), ("min", 1440, "1d"), ("B", 1024, "1KiB"), ("B", 3 << 20, "3MiB"), ("B", 1500, "1500B"),
        ("KiB", 5, "5KiB"), ("KiB", 2048, "2MiB"),
    ],
)  # fmt: skip
def test_a_count_is_shown_in_the_largest_unit_that_is_exact(unit: str, count: int, text: str) -> None:
    rows = np.frombuffer(count.to_bytes(8, "little"), np.uint8)[np.newaxis]
    assert quantity(unit).decode(rows) == [text]
