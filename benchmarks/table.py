"""A table of cases, measured one after the other, with pins and data of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks.data import Case

Row = Callable[[Case, Path, Path, int], str]
"""One row: of a case, with folders for data and for pins, after so many rounds."""


def show(head: Sequence[str], cases: Iterable[Case], row: Row, arguments: Sequence[str]) -> None:
    """Print the table. `arguments` are how many rounds, and the names of cases: all, if there are none."""
    rounds, names = int(arguments[0]) if arguments else 5, arguments[1:]
    print(f"| {' | '.join(head)} |")
    print(f"| --- |{' ---: |' * (len(head) - 1)}")
    with tempfile.TemporaryDirectory(prefix="pins-", dir="/sys/fs/bpf") as pins, tempfile.TemporaryDirectory() as data:
        for case in cases:
            if not names or case.name in names:
                print(row(case, Path(data), Path(pins), rounds), flush=True)
