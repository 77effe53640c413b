"""Damaged files of every kind that a user names: each is refused as bad input, or read, and nothing changes."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import pyarrow
import yaml
from hypothesis import strategies as st
from hypothesis.stateful import rule
from pyarrow import parquet

from tests.conftest import SOURCES, compile_bpf
from tests.promises import oracle, wishes
from tests.promises.states import Project, Ran
from tests.promises.wishes import Wish

_TEXTS: Final = (
    b"\0",
    b"\xff",
    b"\x1b[2J",
    b"\n",
    b"<<<<<<< HEAD\n",
    b"&a ",
    b"*a ",
    b"{",
    b'"',
    b"\xe2\x80\x8b",
    b"\t",
    b"null",
)
_NUMBERS: Final = (b"-1", b"4294967296", b"18446744073709551616", b"1" + 20 * b"0", b"1e999", b"0x", b"nan")


INPUTS: Final = ("spec", "spec", "include", "overlay", "object", "raw", "csv", "ndjson", "parquet")


def damage(data: bytes, chance: random.Random) -> bytes:
    """Cut it, flip bits, put something else in the place of a part or of a number, or repeat a part."""
    at = chance.randrange(len(data) + 1)
    size = chance.choice((0, 1, 1, 4, 50))
    match chance.randrange(6):
        case 0:
            return data[:at]
        case 1 | 2:
            changed = bytearray(data)
            for _ in range(chance.randint(1, 4)):
                changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            return bytes(changed)
        case 3:
            return data[:at] + chance.choice(_TEXTS) + data[at + size :]
        case 4 if numbers := list(re.finditer(rb"\d+", data)):
            number = chance.choice(numbers)
            return data[: number.start()] + chance.choice(_NUMBERS) + data[number.end() :]
        case _:
            return data[:at] + data[at : at + size] * chance.choice((0, 2, 100)) + data[at + size :]


@cache
def _tables() -> Mapping[str, bytes]:
    """Good tables of two columns, by the ends of their names."""
    keys, values = [1, 2, 3], [10, 20, 30]
    stream = io.BytesIO()
    parquet.write_table(pyarrow.table({"key": keys, "value": values}), stream)
    rows = list(zip(keys, values, strict=True))
    return {
        "csv": "".join(f"{key},{value}\n" for key, value in [("key", "value"), *rows]).encode(),
        "ndjson": "".join(f'{{"key": {key}, "value": {value}}}\n' for key, value in rows).encode(),
        "parquet": stream.getvalue(),
    }


def _map(entries: Any) -> dict[str, Any]:
    return {"type": "hash", "key": "u32", "value": "u32", "max_entries": 8, "entries": entries}


def _dumped(tree: Mapping[str, Any]) -> bytes:
    return bytes(yaml.dump(tree, Dumper=yaml.CSafeDumper, sort_keys=False, encoding="utf-8"))


class DamagedFiles(Project):
    """Each kind of file beside the project's own, or in its place."""

    @rule(wish=wishes.wishes, kind=st.sampled_from(INPUTS), number=st.integers(0, 1 << 16))
    def damage_an_input(self, wish: Wish, kind: str, number: int) -> None:
        part = {"maps": {"extra": _map({1: 1, 2: 2})}}
        match kind:
            case "spec":
                self._read_damaged(wish, {}, "edge.yaml", _dumped(wish.tree(self.theirs)), number)
            case "include":
                self._read_damaged(wish, {"include": ["part.yaml"]}, "part.yaml", _dumped(part), number)
            case "overlay":
                words = ("--overlay", str(self.folder / "over.yaml"))
                self._read_damaged(wish, {}, "over.yaml", _dumped(part), number, *words)
            case "object":
                data = compile_bpf(SOURCES / "globals.bpf.c").read_bytes()
                self._read_damaged(wish, {"objects": {"globals": {"file": "some.o"}}}, "some.o", data, number)
            case "raw":
                raw = {1: {"from": "value.bin", "format": "raw"}}
                self._read_damaged(wish, {"maps": {"extra": _map(raw)}}, "value.bin", bytes(4), number)
            case _:
                entries = {"from": f"table.{kind}", "key": "key", "value": "value"}
                self._read_damaged(wish, {"maps": {"extra": _map(entries)}}, f"table.{kind}", _tables()[kind], number)

    def _read_damaged(
        self, wish: Wish, also: Mapping[str, Any], name: str, data: bytes, number: int, *words: str
    ) -> None:
        """Plan with the spec of a wish and what is `also` in it; an eighth of the files is not damaged."""
        tree = wish.tree(self.theirs)
        tree |= {key: tree.get(key, {}) | value if isinstance(value, dict) else value for key, value in also.items()}
        (self.folder / "edge.yaml").write_bytes(_dumped(tree))
        chance, is_good = random.Random(number), number % 8 == 0
        (self.folder / name).write_bytes(data if is_good else damage(data, chance))
        before = self._look()
        words = (str(self.folder / "edge.yaml"), *words, *self._root, "--force", "--take-over")
        planned = Ran("plan", *words)
        self.ends[f"damaged file {planned.status}"] += 1
        assert planned.status in ((0, 2, 4, 5) if is_good else (0, 1, 2, 4, 5)), planned
        if planned.status == 5:
            assert oracle.ANOTHER_KIND in oracle.excuses(wish, before, self.templates) or not is_good, planned
        if planned.status == 1:
            applied = Ran("apply", *words, "--yes")
            assert applied.status == 1, applied
            assert all(error["id"] != "bug" and error["message"] for error in (*planned.errors, *applied.errors))
        assert self._look() == before

    @rule(wish=wishes.wishes, number=st.integers(0, 1 << 16))
    def damage_a_saved_plan(self, wish: Wish, number: int) -> None:
        """It is refused as malformed or as another plan; or what is changed is not what binds it."""
        wish = self._as_live(wish)
        spec, file, before = self._write(wish), self.folder / "edge.plan", self._look()
        planned = Ran("plan", spec, *self._root, "--out", str(file))
        if planned.status == 5:
            return
        file.write_bytes(damage(file.read_bytes(), random.Random(number)))
        ran = Ran("apply", spec, "--yes", *self._root, "--plan", str(file))
        self.ends[f"damaged file {ran.status}"] += 1
        assert ran.status in (0, 1, 4), ran
        after = self._look()
        if after != before:
            assert ran.end == "applied", ran
            assert not (wrong := list(oracle.wrong(wish, before, after, made=self.made))), "\n".join(wrong)
            self._remember_templates(wish, after)

    @rule(wish=wishes.wishes, number=st.integers(0, 1 << 16))
    def plan_against_a_snapshot(self, wish: Wish, number: int) -> None:
        """The plan of another machine is the plan of this one; a damaged snapshot is refused, or read."""
        spec, file, before = self._write(self._as_live(wish)), self.folder / "edge.snapshot", self._look()
        live = Ran("plan", spec, *self._root)
        taken = Ran("export", "--snapshot", str(file), spec, *self._root)
        if live.status == 5:
            assert taken.status == 5, taken
            return
        against = ("plan", spec, *self._root, "--against", str(file))
        elsewhere = Ran(*against)
        assert (taken.status, elsewhere.status) == (0, live.status), (live, taken, elsewhere)
        for part in ("digest", "steps", "blocked", "changes"):
            assert elsewhere.document[part] == live.document[part], part
        file.write_bytes(damage(file.read_bytes(), random.Random(number)))
        damaged = Ran(*against)
        self.ends[f"damaged file {damaged.status}"] += 1
        assert damaged.status in (0, 1, 2, 4), damaged
        assert self._look() == before
