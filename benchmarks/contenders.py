"""What the provisioner is compared with: C at the limit, C in the manner of the tutorials, bpftool batch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.data import Case
from benchmarks.measure import Sample, run

SOURCES: Final = Path(__file__).parent / "c"
TYPES: Final = {"hash": 1, "array": 2, "lpm_trie": 11, "array_of_maps": 12, "hash_of_maps": 13}
"""As `enum bpf_map_type` numbers them."""

TUTORIAL_SLOTS: Final = 100
BPFTOOL_SLOTS: Final = 25
SAMPLE_ENTRIES: Final = 100_000
"""How much of a case the slow ways are given: they would take minutes for all of it, and their time is linear."""


class Contenders:
    """Compiled programs in `folder`; what they pin goes below `bpffs`."""

    def __init__(self, folder: Path, bpffs: Path) -> None:
        self._folder = folder
        self._pin = bpffs / "contender"
        for name in ("reference", "tutorial"):
            compiled(folder, name)

    def reference(self, case: Case, verb: str, *more: str) -> Sample:
        """One verb of `c/reference.c`; its output has the `seconds` of the system calls."""
        return run([str(self._folder / "reference"), verb, *self._arguments(case, self._pin), *more])

    def tutorial(self, case: Case) -> Sample:
        """`c/tutorial.c`; nothing stays behind."""
        return run([str(self._folder / "tutorial"), *self._arguments(case, self._pin)])

    def bpftool(self, case: Case) -> Sample:
        """One `bpftool batch` that makes the inner maps, fills them and puts them in their slots."""
        script = self._folder / "bpftool.batch"
        self._pin.mkdir()
        try:
            script.write_text("\n".join(_commands(case, self._pin)) + "\n", encoding="ascii")
            return run(["bpftool", "batch", "file", str(script)])
        finally:
            for pin in self._pin.iterdir():
                pin.unlink()
            self._pin.rmdir()

    @staticmethod
    def _arguments(case: Case, pin: Path) -> list[str]:
        return [str(TYPES[case.outer]), str(TYPES[case.inner]), str(case.slots), str(case.entries), str(pin)]


def compiled(folder: Path, name: str) -> Path:
    """A program of `c/`, compiled into a folder."""
    compiler = os.environ.get("CC") or next((name for name in ("gcc", "cc", "clang") if shutil.which(name)), "gcc")
    source, program = SOURCES / f"{name}.c", folder / name
    subprocess.run([compiler, "-O2", "-o", str(program), str(source), "-lbpf"], check=True)
    return program


def sample_of(case: Case, slots: int) -> Case:
    """A part of `case` that the slow ways can do in seconds."""
    entries = min(case.entries, SAMPLE_ENTRIES)
    return Case(min(case.slots, slots, max(1, SAMPLE_ENTRIES // entries)), entries, case.inner, case.outer)


def _commands(case: Case, folder: Path) -> Iterator[str]:
    key_size = 8 if case.inner == "lpm_trie" else 4
    flags = " flags 1" if case.inner == "lpm_trie" else ""
    inner = f"type {case.inner} key {key_size} value 8 entries {case.entries} name inner{flags}"
    outer = folder / "outer"
    yield f"map create {folder}/template {inner}"
    yield (
        f"map create {outer} type {case.outer} key 4 value 4 entries {case.slots} name outer "
        f"inner_map pinned {folder}/template"
    )
    last = -1
    for slot, key, value in case.rows("base"):
        if slot != last:
            if last >= 0:
                yield _publish(outer, last)
            yield f"map create {folder}/slot{slot} {inner}"
            last = slot
        yield (
            f"map update pinned {folder}/slot{slot} key hex {_key_bytes(case, key).hex(' ')} "
            f"value hex {value.to_bytes(8, 'little').hex(' ')}"
        )
    yield _publish(outer, last)


def _publish(outer: Path, slot: int) -> str:
    key = slot.to_bytes(4, sys.byteorder).hex(" ")
    return f"map update pinned {outer} key hex {key} value pinned {outer.parent}/slot{slot}"


def _key_bytes(case: Case, text: str) -> bytes:
    if case.inner != "lpm_trie":
        return int(text).to_bytes(4, sys.byteorder)
    address, _, length = text.partition("/")
    return int(length).to_bytes(4, sys.byteorder) + bytes(int(part) for part in address.split("."))
