"""What the applies of a session cost: one entry, many small changes, a thousand entries, a hundred inner maps.

`python -m benchmarks.session [ROUNDS] [CASE]`, as root. It prints the table in docs/benchmarks.md, and what is wanted:
medians of the rounds, of CPU time in user space and in the kernel, so that other work on the machine and the waits for
grace periods count less. C makes the same changes with the bytes ready in memory: entries one a call, inner maps by
batch.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

import provisioner
from benchmarks.aims import Aim
from benchmarks.contenders import Contenders
from benchmarks.data import Case, write_spec
from benchmarks.measure import Series, run

CASE: Final = Case(10_000, 100)
_ROOT: Final = "edge"
_INSIDE: Final = "PROVISIONER_SESSION"
_MANY: Final = 100


def main(arguments: Sequence[str]) -> None:
    if os.environ.get(_INSIDE):
        _measure_here(arguments[0], arguments[1], int(arguments[2]), int(arguments[3]))
        return
    rounds = int(arguments[0]) if arguments else 5
    name = arguments[1] if arguments[1:] else CASE.name
    slots, entries = (int(part.replace(",", "")) for part in name.split()[0].split("x"))
    with tempfile.TemporaryDirectory() as data:
        measured = measure(Case(slots, entries), Path(data), Path("/sys/fs/bpf"), rounds)
    print("\n".join([*table(measured), "", *map(str, aims(measured))]))


@dataclass(slots=True)
class Sessions:
    """Samples of one case: applies of a session, and what C takes to write 1,000 entries and to replace 100 maps."""

    case: Case
    ours: Series = field(default_factory=Series)
    update: Series = field(default_factory=Series)
    replace: Series = field(default_factory=Series)

    def seconds(self, name: str) -> float:
        """CPU time of `one`, `thousand` or `maps`; `rate` is a number a second."""
        return self.ours.median_of(name)


def measure(case: Case, folder: Path, bpffs: Path, rounds: int) -> Sessions:
    """C and a session in turn, `rounds` times. Leaves nothing in `bpffs`."""
    measured = Sessions(case)
    with tempfile.TemporaryDirectory(prefix="pins-", dir=bpffs) as pins:
        contenders = Contenders(folder, Path(pins))
        spec = write_spec(case, folder, "base", replace=False)
        command = [sys.executable, "-m", "benchmarks.session", str(spec), f"{pins}/{_ROOT}"]
        for _ in range(rounds):
            contenders.reference(case, "create")
            measured.update.add(contenders.reference(case, "update", str(max(1, 1000 // case.entries))))
            measured.replace.add(contenders.reference(case, "replace", str(min(_MANY, case.slots))))
            contenders.reference(case, "destroy")
            measured.ours.add(run(["env", f"{_INSIDE}=1", *command, str(case.slots), str(case.entries)]))
    return measured


def table(measured: Sessions) -> list[str]:
    """The lines of the table."""
    head = "| | one entry ms | applies a second | changes a second | 1,000 entries ms | C ms | ratio "
    head += "| 100 inner maps ms | C ms | ratio |"
    one, thousand, maps = (measured.seconds(name) for name in ("one", "thousand", "maps"))
    c_update, c_replace = measured.update.median_of("seconds"), measured.replace.median_of("seconds")
    cells = (
        measured.case.name,
        f"{one * 1000:.2f}",
        f"{1 / one:,.0f}",
        f"{measured.seconds('rate'):,.0f}",
        f"{thousand * 1000:.1f}",
        f"{c_update * 1000:.1f}",
        f"{thousand / c_update:.1f}",
        f"{maps * 1000:.0f}",
        f"{c_replace * 1000:.0f}",
        f"{maps / c_replace:.1f}",
    )
    return [head, f"| --- {'| ---: ' * (len(cells) - 1)}|", f"| {' | '.join(cells)} |"]


def aims(measured: Sessions) -> Iterator[Aim]:
    """What is wanted of a session, in CPU time."""
    one, maps = measured.seconds("one"), measured.seconds("maps")
    yield Aim("session: an apply of one entry", one * 1000, 1, "ms")
    yield Aim("session: applies of one entry a second", 1 / one, 5000, "", at_least=True)
    c_update, c_replace = measured.update.median_of("seconds"), measured.replace.median_of("seconds")
    yield Aim("session: 1,000 entries of a NumPy array / C, one a call", measured.seconds("thousand") / c_update, 1)
    yield Aim("session: 100 inner maps with other contents", maps * 1000, 10, "ms")
    yield Aim("session: 100 inner maps with other contents / C, which replaces them", maps / c_replace, 2)


def _measure_here(spec: str, root: str, slots: int, entries: int) -> None:
    """Apply a spec, change it by a session, and destroy it; prints the medians, in seconds of CPU time."""
    project = provisioner.load([spec], pin_root=root)
    project.apply()
    declared = next(iter(project.desired.maps.values()))
    outer, outer_keys = declared.name, [row.tobytes() for row in declared.slots.keys]
    keys = [declared.entries.slot(number)[0] for number in range(slots)]
    count = max(1, 1000 // entries)
    table = np.zeros(count * entries, [("outer", "V4"), ("key", "V4"), ("value", "u8")])
    table["outer"] = np.repeat(np.frombuffer(b"".join(outer_keys[:count]), "V4"), entries)
    table["key"] = np.concatenate(keys[:count]).view("V4").ravel()
    with project.session(provisioner.Overrides(approve_deletes=True), interval=None, is_applied=True) as session:

        def one(turn: int) -> None:
            session.set((outer, outer_keys[turn % slots], keys[turn % slots][0].tobytes()), turn)
            session.apply()

        def many(turn: int) -> None:
            for number in range(_MANY):
                session.set((outer, outer_keys[0], keys[0][number % entries].tobytes()), turn)
            session.apply()

        def thousand(turn: int) -> None:
            table["value"] = turn
            session.put(outer, table)
            session.apply()

        def maps(turn: int) -> None:
            for number in range(min(_MANY, slots)):
                contents = np.zeros(entries, [("key", "V4"), ("value", "u8")])
                contents["key"], contents["value"] = keys[number].view("V4").ravel(), turn
                session.set((outer, outer_keys[number]), contents)
            session.apply()

        figures = {
            "one": _median(one, 200),
            "rate": _MANY / _median(many, 20),
            "thousand": _median(thousand, 20),
            "maps": _median(maps, 5),
        }
    project.destroy()
    print(json.dumps(figures))


def _median(change: Callable[[int], None], times: int) -> float:
    taken: list[Any] = []
    for turn in range(times):
        started = time.process_time()
        change(turn + 1000 * times)
        taken.append(time.process_time() - started)
    return float(median(taken))


if __name__ == "__main__":
    main(sys.argv[1:])
