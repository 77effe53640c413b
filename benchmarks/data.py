"""The data of the benchmarks: specs and tables as files, by the same formulas as `c/bench.h`.

Files are written row by row: what this process holds in memory would count as its children's (see `measure`).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, TextIO

Variant = Literal["base", "one", "all"]
"""Contents: as first created; with one value changed; with every value changed."""

CELL_TYPES = {"hash": "u32", "array": "u32", "lpm_trie": "cidr4"}
_PREFIXES = 1 << 24
"""How many prefixes /24 there are."""

_NDJSON = '{"slot": %d, "key": "%s", "value": %d}\n'
_CONVERT = "import sys, pyarrow.csv as c, pyarrow.parquet as p; p.write_table(c.read_csv(sys.argv[1]), sys.argv[2])"


@dataclass(frozen=True, slots=True)
class Case:
    """An outer map with `slots` inner maps of `entries` entries each; types as the kernel calls them."""

    slots: int
    entries: int
    inner: Literal["hash", "array", "lpm_trie"] = "hash"
    outer: Literal["hash_of_maps", "array_of_maps"] = "hash_of_maps"
    source: Literal["csv", "ndjson", "parquet", "yaml"] = "csv"

    @property
    def total(self) -> int:
        return self.slots * self.entries

    @property
    def name(self) -> str:
        inner = self.inner.removesuffix("_trie")
        outer = "" if self.outer == "hash_of_maps" else " in array_of_maps"
        return f"{self.slots:,}x{self.entries:,} {inner}{outer} {self.source.upper()}"

    @property
    def stem(self) -> str:
        """What the names of its files begin with."""
        return self.name.replace(",", "").replace(" ", "-")

    def with_slots(self, slots: int) -> Case:
        """The same with fewer slots, for what would take minutes."""
        return Case(slots, self.entries, self.inner, self.outer, self.source)

    def key(self, slot: int, entry: int) -> str:
        """The text of a key."""
        match self.inner:
            case "hash":
                return str((entry * 2654435761 + slot * 1000003) & 0xFFFFFFFF)
            case "array":
                return str(entry)
            case "lpm_trie":
                prefix = (entry + slot * 7) % _PREFIXES
                return f"{prefix >> 16}.{prefix >> 8 & 0xFF}.{prefix & 0xFF}.0/24"

    def rows(self, variant: Variant) -> Iterator[tuple[int, str, int]]:
        """(slot, text of the key, value); values are 64 bits wide and never zero."""
        changed = (self.slots // 2, self.entries // 2) if variant == "one" else (-1, -1)
        more = 1 if variant == "all" else 0
        for slot in range(self.slots):
            for entry in range(self.entries):
                value = slot * self.entries + entry + 1 + more
                yield slot, self.key(slot, entry), value + ((slot, entry) == changed)


def write_spec(case: Case, folder: Path, variant: Variant, *, replace: bool = False) -> Path:
    """A spec for `case` below `folder`, and its table if it has one; gives the spec's path.

    `replace` asks for a new inner map wherever anything differs.
    """
    spec = folder / f"{case.stem}-{variant}{'-replace' if replace else ''}.yaml"
    table = table_of(spec, case, variant)
    with spec.open("w", encoding="ascii") as out:
        _write_head(case, out, replace)
        if case.source == "yaml":
            _write_inline(case, variant, out)
        else:
            out.write(f"    inner_maps: {{from: {table.name}, outer_key: slot, key: key, value: value}}\n")
    if case.source != "yaml" and not table.exists():
        _write_table(case, variant, table)
    return spec


def table_of(spec: Path, case: Case, variant: Variant) -> Path:
    """The table of `spec`, which a spec with other rules may share."""
    return spec.with_name(f"{case.stem}-{variant}.{case.source}")


def _write_head(case: Case, out: TextIO, replace: bool) -> None:
    shape = f"type: {case.inner}, key: {CELL_TYPES[case.inner]}, value: u64, max_entries: {case.entries}"
    flags = ", flags: [no_prealloc]" if case.inner == "lpm_trie" else ""
    out.write(
        "version: 1\n"
        "name: benchmark\n"
        "inner_templates:\n"
        f"  inner: {{{shape}{flags}}}\n"
        "outer_maps:\n"
        "  outer:\n"
        f"    type: {case.outer}\n"
        "    key: u32\n"
        f"    max_entries: {case.slots}\n"
        "    inner: inner\n"
    )
    if replace:
        out.write("    update: replace\n")


def _write_inline(case: Case, variant: Variant, out: TextIO) -> None:
    rows = case.rows(variant)
    out.write("    inner_maps:\n")
    for slot in range(case.slots):
        out.write(f"      {slot}:\n        entries:\n")
        out.writelines(f"          - {{key: {key}, value: {value}}}\n" for _, key, value in islice(rows, case.entries))


def _write_table(case: Case, variant: Variant, path: Path) -> None:
    rows = case.rows(variant)
    if case.source == "parquet":
        plain = path.with_suffix(".csv")
        with plain.open("w", encoding="ascii") as out:
            _write_csv(rows, out)
        # In a separate process, for its memory: see `measure`.
        subprocess.run([sys.executable, "-c", _CONVERT, str(plain), str(path)], check=True)
        plain.unlink()
        return
    with path.open("w", encoding="ascii") as out:
        if case.source == "ndjson":
            out.writelines(_NDJSON % row for row in rows)
        else:
            _write_csv(rows, out)


def _write_csv(rows: Iterator[tuple[int, str, int]], out: TextIO) -> None:
    out.write("slot,key,value\n")
    out.writelines(f"{slot},{key},{value}\n" for slot, key, value in rows)
