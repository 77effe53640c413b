"""What a large array costs: a plan without changes, by reading and by digests, and what is beside it.

`python -m benchmarks.large_array [ROUNDS] [ELEMENTS]`, as root. It prints the table in docs/benchmarks.md: medians of
the rounds, in which C reads the array by batches in one thread.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.aims import Aim
from benchmarks.contenders import compiled
from benchmarks.measure import Sample, Series, as_installed, run

_ELEMENTS: Final = 1 << 25
"""As many as the largest array of a load balancer: 512 rings of 65,536 servers."""

_LISTED: Final = 1000
_OWNED: Final = 131_072

_SPEC: Final = """\
version: 1
name: benchmark
maps:
  rings:
    {{type: array, key: u32, value: u32, max_entries: {elements}{more},
     entries: {{from: rings.csv, key: key, value: value}}}}
  other: {{type: hash, key: u32, value: u32, max_entries: 8, entries: {{1: 2}}}}
"""

_MORE: Final = {"whole": "", "owned": f", owned_keys: 0..{_OWNED - 1}", "mapped": ", flags: [mmapable]"}


def main(arguments: Sequence[str]) -> None:
    rounds = int(arguments[0]) if arguments else 5
    elements = int(arguments[1]) if arguments[1:] else _ELEMENTS
    with (
        tempfile.TemporaryDirectory(prefix="pins-", dir="/sys/fs/bpf") as pins,
        tempfile.TemporaryDirectory() as folder,
    ):
        as_installed(folder)
        print("\n".join(table(measure(Path(folder), Path(pins), rounds, elements))))


@dataclass(frozen=True, slots=True)
class LargeArray:
    """What C takes to read the array, and what each command of ours takes."""

    limit: Series
    ours: dict[str, Series]


def measure(folder: Path, pins: Path, rounds: int, elements: int = _ELEMENTS) -> LargeArray:
    """All of it once a round, so that what slows the machine slows all alike."""
    (folder / "rings.csv").write_text(
        "key,value\n" + "".join(f"{number * (_OWNED // _LISTED)},{number + 1}\n" for number in range(_LISTED)), "ascii"
    )
    specs = {name: folder / f"{name}.yaml" for name in _MORE}
    for name, more in _MORE.items():
        specs[name].write_text(_SPEC.format(elements=elements, more=more), "ascii")
    program, whole = compiled(folder, "array"), [str(specs["whole"])]
    limit, ours = Series(), {name: Series() for name in ("plan", "plan --probe", "owned", "show", "explain", "mapped")}
    for name, root in (("whole", "edge"), ("mapped", "mapped")):
        _provisioner("apply", str(specs[name]), "--yes", "--pin-root", f"{pins}/{root}")
    try:
        for _ in range(rounds):
            limit.add(run([str(program), f"{pins}/edge/rings", str(elements)]))
            for name, words in (
                ("plan", ["plan", *whole]),
                ("plan --probe", ["plan", "--probe", *whole]),
                ("owned", ["plan", str(specs["owned"])]),
                ("show", ["show", *whole, "other"]),
                ("explain", ["explain", *whole, "other[1]"]),
            ):
                ours[name].add(_provisioner(*words, "--pin-root", f"{pins}/edge"))
            ours["mapped"].add(_provisioner("plan", str(specs["mapped"]), "--pin-root", f"{pins}/mapped"))
    finally:
        for name, root in (("whole", "edge"), ("mapped", "mapped")):
            _provisioner("destroy", str(specs[name]), "--yes", "--pin-root", f"{pins}/{root}")
    return LargeArray(limit, ours)


def table(measured: LargeArray) -> Iterator[str]:
    """The lines of the table."""
    c_wall, c_cpu = measured.limit.median_of("seconds"), measured.limit.median_of("cpu")
    yield "|  | wall s | / C | CPU s | / C | peak MB |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    yield f"| C, by batches in one thread | {c_wall:.2f} |  | {c_cpu:.2f} |  |  |"
    for name, series in measured.ours.items():
        wall, cpu = series.wall, series.cpu
        yield f"| {name} | {wall:.2f} | {wall / c_wall:.2f} | {cpu:.2f} | {cpu / c_cpu:.2f} | {series.peak:.0f} |"


def aims(measured: LargeArray) -> Iterator[Aim]:
    """Memory speed for what is read, and nothing for what is not."""
    limit, what = measured.limit.median_of("seconds"), f"array of {_ELEMENTS:,} u32"
    yield Aim(f"{what}: plan without changes / C", measured.ours["plan"].wall / limit, 0.6)
    yield Aim(f"{what}: plan --probe without changes / C", measured.ours["plan --probe"].wall / limit, 0.1)
    yield Aim(f"{what}: plan that owns {_OWNED:,} of them", measured.ours["owned"].wall, 0.3, "s")
    for name in ("show", "explain"):
        yield Aim(f"{what}: {name} of another map beside it", measured.ours[name].wall, 0.35, "s")


def _provisioner(*words: str) -> Sample:
    return run([sys.executable, "-m", "provisioner", *words], ok=(0,))


if __name__ == "__main__":
    main(sys.argv[1:])
