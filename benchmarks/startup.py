"""Where the CPU time of a small plan without changes goes: the interpreter, each library, our modules, the work.

`python -m benchmarks.startup [ROUNDS]`, as root. It prints the table in docs/benchmarks.md, for the interpreter that
runs it. A part is the difference of two medians: that of processes which import this part and all before it, and that
of processes which import only those before it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.measure import Series, run

_SPEC: Final = """\
version: 1
name: small
inner_templates:
  rules: {type: hash, key: u32, value: u64, max_entries: 64}
outer_maps:
  tenants: {type: hash_of_maps, key: u32, max_entries: 16, inner: rules, inner_maps: {1: {entries: {1: 2, 3: 4}}}}
"""

_HEAD: Final = ("part", "ms", "in all ms")

_LIBRARIES: Final = {"typer": ["typer"], "msgspec and PyYAML": ["msgspec", "yaml"], "NumPy": ["numpy"]}

_IMPORT: Final = """\
import gc, os, sys

def load(names):
    for name in names:
        try:
            __import__(name)
        except ImportError:  # of another system: a library has tried it
            pass

gc.set_threshold(100_000, 20, 20)
os.environ["OPENBLAS_NUM_THREADS"] = "1"
load.__code__ = load.__code__.replace(co_stacksize=8192)
load(sys.argv[1:])
os._exit(0)
"""
"""Imports modules and ends as the command does: provisioner/__main__.py has the reasons."""


def main(arguments: Sequence[str]) -> None:
    rounds = int(arguments[0]) if arguments else 20
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each process would compile all modules
    with (
        tempfile.TemporaryDirectory(prefix="pins-", dir="/sys/fs/bpf") as pins,
        tempfile.TemporaryDirectory() as folder,
    ):
        spec = Path(folder) / "small.yaml"
        spec.write_text(_SPEC, "ascii")
        words = [str(spec), "--pin-root", f"{pins}/small"]
        run([*_command(), "apply", "--yes", *words])
        try:
            print("\n".join(_table(["plan", *words], rounds)))
        finally:
            run([*_command(), "destroy", "--yes", *words])


def _command(*options: str) -> list[str]:
    return [sys.executable, *options, "-c", "from provisioner.__main__ import command; command()"]


def _table(plan: Sequence[str], rounds: int) -> Iterator[str]:
    commands = dict(_imports(plan)) | {"the plan itself": [*_command(), *plan]}
    parts = {name: Series() for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            sample = run(command)
            if turn:  # the first process may compile modules
                parts[name].add(sample)
    yield f"| {' | '.join(_HEAD)} |"
    yield "| --- | ---: | ---: |"
    before = 0.0
    for name, series in parts.items():
        total = series.cpu * 1000
        yield f"| {name} | {total - before:.0f} | {total:.0f} |"
        before = total


def _imports(plan: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Commands that import more and more of the modules that the plan imports."""
    log = subprocess.run([*_command("-X", "importtime"), *plan], capture_output=True, text=True, check=True).stderr
    names = re.findall(r"\| +([\w.]+)$", log, re.MULTILINE)
    standard = [name for name in names if name.partition(".")[0] in sys.stdlib_module_names]
    ours = [name for name in names if name.partition(".")[0] == "provisioner"]
    groups = {"Python": [], **_LIBRARIES, "the rest of the standard library": standard, "our modules": ours}
    done: list[str] = []
    for name, modules in groups.items():
        done += modules
        yield name, [sys.executable, "-c", _IMPORT, *done]


if __name__ == "__main__":
    main(sys.argv[1:])
