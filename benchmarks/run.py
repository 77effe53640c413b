"""`python -m benchmarks.run`: measure, print a table, and say which aims were met. Needs root.

It runs in its own mount namespace with its own bpffs: its pins are removed when it ends.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import large_array, outer_maps, session, watched
from benchmarks.aims import Aim, bpftool_seconds, growth, judge, tutorial_seconds
from benchmarks.data import Case
from benchmarks.measure import Series, as_installed
from benchmarks.page import page
from benchmarks.suite import CREATE, FULL, NO_CHANGES, QUICK, ROOT, Measured, StartUp, measure_case, measure_start

_BPFFS: Final = Path("/sys/fs/bpf")
_INSIDE: Final = "PROVISIONER_BENCHMARK_NAMESPACE"
_START_REPEAT: Final = 7


def main(arguments: Sequence[str]) -> None:
    """Parse `arguments`, go to a namespace, measure, print."""
    options = parse(arguments)
    if os.environ.get(_INSIDE) is None:
        _enter_namespace(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that temporary files go, too
    subprocess.run(["mount", "-t", "bpf", "bpf", str(_BPFFS)], check=True)
    os.chdir(ROOT)
    results: dict[Case, Measured] = {}
    with tempfile.TemporaryDirectory(prefix="provisioner-benchmark-") as folder:
        as_installed(folder)
        _say("start-up")
        start = measure_start(_BPFFS, _START_REPEAT)
        for task in FULL if options.full else QUICK:
            if options.only not in task.case.name:
                continue
            results[task.case] = measure_case(task, Path(folder), _BPFFS, options.repeat, _say)
            print("\n".join(_table(results[task.case])), end="\n\n", flush=True)
        sessions = None
        if session.CASE in results:
            _say("sessions")
            sessions = session.measure(session.CASE, Path(folder), _BPFFS, options.repeat)
            print("\n".join(session.table(sessions)), end="\n\n", flush=True)
        rest = [] if options.only else _rest(Path(folder), options.repeat)
    aims = [*judge(results, start), *(session.aims(sessions) if sessions is not None else ()), *rest]
    print("\n".join([*_start_table(start), "", *_growth(results), "", "Aims", *map(str, aims)]))
    if options.markdown is not None:
        options.markdown.write_text("".join(f"{line}\n" for line in page(results, start, aims)), encoding="utf-8")
    if options.json is not None:
        options.json.write_text(json.dumps(_document(results, start, aims), indent=1) + "\n", encoding="utf-8")


def _rest(folder: Path, rounds: int) -> list[Aim]:
    """Print what is not a case of many inner maps: many outer maps, a watch, a large array."""
    _say("many outer maps")
    outer = outer_maps.measure(folder, _BPFFS, rounds)
    _say("watch")
    seconds = watched.measure(folder, _BPFFS, rounds)
    _say("large array")
    array = large_array.measure(folder, _BPFFS, rounds)
    for lines in (outer_maps.table(outer), watched.table(seconds), large_array.table(array)):
        print("\n".join(lines), end="\n\n", flush=True)
    return [*outer_maps.aims(outer), *watched.aims(seconds), *large_array.aims(array)]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What the words of a command line ask for; ends with 2 where they mean nothing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="the sizes that fit in about 7 minutes (default)")
    sizes.add_argument("--full", action="store_true", help="all sizes, up to 10 million entries")
    parser.add_argument("--only", default="", metavar="TEXT", help="of these, the cases with TEXT in their name")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="rounds, of which medians are taken")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write all tables there, for a page")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all medians there too")
    options = parser.parse_args(arguments)
    if options.repeat < 1:
        parser.error("--repeat: at least 1")
    for name in ("json", "markdown"):
        if (path := getattr(options, name)) is not None:
            setattr(options, name, path.absolute())
    return options


def _enter_namespace(arguments: Sequence[str]) -> None:
    """Start again in a private mount namespace; does not return."""
    if os.geteuid() != 0:
        raise SystemExit("benchmarks need root: they make BPF maps")
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "benchmarks.run", *arguments]
    os.execvpe(command[0], command, os.environ | {_INSIDE: "1"})


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _table(measured: Measured) -> list[str]:
    """One case: each verb compared with the C limit, then the alternatives."""
    case = measured.case
    lines = [
        f"{case.name}, {case.total:,} entries",
        f"  {'':24}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}{'graces':>8}{'window ms':>11}{'C limit s':>11}{'ratio':>8}",
    ]
    for name, series in measured.verbs.items():
        limit = measured.limits[name].median_of("seconds")
        ratio = f"{series.wall / limit:.1f}" if limit > 0.001 else "-"
        lines.append(
            f"  {name:24}{series.wall:9.3f}{series.cpu:9.3f}{series.peak:9.0f}{_waits(name, series)}"
            f"{limit:11.3f}{ratio:>8}"
        )
    parts = ("load", "steps", "observe", "verify", "destroy")
    lines.append("  inside: " + ", ".join(f"{name} {measured.inside.median_of(name):.3f} s" for name in parts))
    whole = measured.verbs[CREATE.name].wall
    for who, seconds, scale in (
        ("the tutorials' way", tutorial_seconds(measured), measured.tutorial_scale),
        ("bpftool batch", bpftool_seconds(measured), measured.bpftool_scale),
    ):
        how = f", extrapolated from 1/{scale:g} of it" if scale > 1 else ""
        lines.append(f"  create by {who}: {seconds:.1f} s{how}: {seconds / whole:.1f} times ours")
    return lines


def _waits(verb: str, series: Series) -> str:
    """What an apply reports of its publishing: grace periods, and the time in which its slots became visible."""
    if verb == NO_CHANGES.name:
        return f"{'-':>8}{'-':>11}"
    graces, window = series.median_of("result", "grace_periods"), series.median_of("result", "window_seconds") * 1000
    return f"{graces:8.0f}{f'{window:.1f}' if window else '-':>11}"


def _start_table(start: StartUp) -> list[str]:
    return [
        "Start-up",
        f"  python -c pass           wall {start.bare.wall:.3f} s, CPU {start.bare.cpu:.3f} s",
        f"  provisioner --version    wall {start.version.wall:.3f} s, CPU {start.version.cpu:.3f} s",
        f"  plan without changes     wall {start.plan.wall:.3f} s, CPU {start.plan.cpu:.3f} s, "
        f"{start.plan.peak:.0f} MB  (examples/standalone.yaml)",
    ]


def _growth(results: Mapping[Case, Measured]) -> list[str]:
    """Time and memory per entry, by size."""
    rows = (("entries", "us an entry", "bytes an entry"), *growth(results))
    return ["Growth: hash from CSV, create", *(f"  {entries:>12}{time:>14}{size:>16}" for entries, time, size in rows)]


def _document(results: Mapping[Case, Measured], start: StartUp, aims: Sequence[Aim]) -> dict[str, Any]:
    def as_json(measured: Measured) -> dict[str, Any]:
        return {
            "case": measured.case.name,
            "entries": measured.case.total,
            "verbs": {
                name: {
                    "wall": series.wall,
                    "cpu": series.cpu,
                    "peak_mb": series.peak,
                    "limit": measured.limits[name].median_of("seconds"),
                }
                for name, series in measured.verbs.items()
            },
            "inside": {
                name: measured.inside.median_of(name)
                for name in ("load", "plan", "steps", "observe", "verify", "destroy")
            },
            "tutorial": tutorial_seconds(measured),
            "bpftool_batch": bpftool_seconds(measured),
        }

    return {
        "machine": {"kernel": os.uname().release, "architecture": os.uname().machine, "cores": os.cpu_count()},
        "start": {
            name: {"wall": series.wall, "cpu": series.cpu, "peak_mb": series.peak}
            for name, series in (("bare", start.bare), ("version", start.version), ("plan", start.plan))
        },
        "cases": [as_json(found) for found in results.values()],
        "aims": [
            {"what": aim.what, "value": aim.value, "limit": aim.limit, "unit": aim.unit, "met": aim.met} for aim in aims
        ],
    }


if __name__ == "__main__":
    main(sys.argv[1:])
