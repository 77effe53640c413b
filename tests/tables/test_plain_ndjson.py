"""NDJSON that is read block by block gives what `json` gives line by line: the same texts, lines and problems."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from provisioner.codec.spans import Spans
from provisioner.model.errors import Problem
from provisioner.model.tree import RawChunk
from provisioner.tables import blocks, ndjson
from tests.tables.test_plain_tables import places, result_of
from tests.tables.test_tables import column, reference

TABLE = reference("t.ndjson", outer_key=column("slot"))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plain")


def both_ways(path: Path, block: int) -> tuple[tuple[RawChunk, ...], list[Problem]]:
    """The chunks by blocks, found to say the same as those by lines, and the problems of both."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", block)
        patch.setattr(ndjson, "FEW_BYTES", 0)
        by_blocks, problems, chunks = result_of(path, TABLE)
        patch.setattr(ndjson, "FEW_BYTES", 1 << 62)
        by_lines, same_problems, same_chunks = result_of(path, TABLE)
    assert problems == same_problems
    if not problems:  # else there is nothing that uses the rows
        assert by_blocks == by_lines
        assert places(chunks) == places(same_chunks)
    return chunks, problems


def plain_rows(chunks: tuple[RawChunk, ...]) -> int:
    """How many rows were read as blocks: else nothing here would tell that the fast way is never taken."""
    return sum(chunk.rows for chunk in chunks if isinstance(next(iter(chunk.columns.values())), Spans))


NUMBER = st.integers(-(10**25), 10**25) | st.integers(-99, 99)
TEXT = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(["10.0.0.1", "a,b", "a:1}", "", "{", "12"])
VALUE = NUMBER | TEXT | st.booleans() | st.none() | st.floats(allow_nan=False) | st.lists(NUMBER, max_size=2)
FORM = st.sampled_from(
    [
        lambda row: json.dumps(row),
        lambda row: json.dumps(row, ensure_ascii=False),
        lambda row: json.dumps(row, separators=(",", ":"), ensure_ascii=False),
        lambda row: "  " + json.dumps(row, separators=(" ,\t", " : "), ensure_ascii=False)[:-1] + " } \r",
        lambda row: json.dumps(dict(reversed(row.items())), ensure_ascii=False),
    ]
)


@settings(deadline=None, max_examples=400)
@given(
    form=FORM,
    kinds=st.tuples(*[st.sampled_from([NUMBER, TEXT, VALUE])] * 3),
    odd=st.sampled_from([[], [], ["", "{}", "[1]"], ['{"slot": 1, "key": 2}'], ["\t"]]),
    block=st.sampled_from([1, 64, 300, 1 << 18]),
    data=st.data(),
)
def test_blocks_say_what_lines_say(
    shelf: Path,
    form: Callable[[dict[str, object]], str],
    kinds: tuple[st.SearchStrategy[object], ...],
    odd: list[str],
    block: int,
    data: st.DataObject,
) -> None:
    path = shelf / "t.ndjson"
    slot, key, value = kinds
    row = st.fixed_dictionaries({"slot": slot, "key": key, "value": value})
    lines = [form(found) for found in data.draw(st.lists(row, max_size=12))]
    lines = data.draw(st.permutations([*lines, *odd])) if odd else lines
    path.write_bytes(("\n".join(lines) + data.draw(st.sampled_from(["", "\n", "\r\n"]))).encode())
    both_ways(path, block)


PARTS = [
    '{"slot": 1, ',
    '"slot"',
    '"key"',
    '"value"',
    ": 2",
    ": 03",
    ':"a"',
    ", ",
    "}",
    "{",
    "\n",
    "\r",
    "é",
    "-",
    "\0",
    "\t",
]
LINE = '{"slot": 1, "key": 2, "value": "3"}\n'


@settings(deadline=None, max_examples=400)
@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join), st.integers(0, 34), st.integers(0, 3))
@example('"value": 3', 22, 1)
@example("", 33, 1)
@example("0", 21, 0)
@example("-", 21, 1)
@example("\t", 31, 0)
@example("\0", 31, 0)
def test_one_place_that_is_odd(shelf: Path, odd: str, at: int, cut: int) -> None:
    """Some bytes of one line of many are others: only a line that is JSON still is read as its neighbours are."""
    path = shelf / "t.ndjson"
    path.write_text(LINE * 5 + LINE[:at] + odd + LINE[at + cut :] + LINE * 5)
    both_ways(path, 1 << 18)
    path.write_text(LINE[:at] + odd + LINE[at + cut :] + LINE * 5)
    both_ways(path, 1 << 18)


@pytest.mark.parametrize(
    ("line", "id_"),
    [
        ('{"slot": 1, "key": 2, "value": 3, "key": 4}', "duplicate-key"),
        ('{"slot": 1, "key": "a\tb", "value": 3}', "invalid-row"),
        ('{"slot": 1, "key": 02, "value": 3}', "invalid-row"),
        ('{"slot": 1, "key": 2, "value": 3},', "invalid-row"),
    ],
)
def test_a_form_that_is_wrong_is_wrong_in_each_line(shelf: Path, line: str, id_: str) -> None:
    path = shelf / "t.ndjson"
    path.write_text(f"{line}\n" * 3)
    _, problems = both_ways(path, 1 << 18)
    assert [problem.id for problem in problems] == [id_] * 3


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60), st.sampled_from([5, 200, 1 << 18]))
def test_any_bytes(shelf: Path, body: bytes, block: int) -> None:
    path = shelf / "t.ndjson"
    path.write_bytes(LINE.encode() * 9 + body)
    both_ways(path, block)


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ('{"slot": 1, "key": 2, "value": 3, "more": 4}', "has one member more"),
        ('{"slot": 1, "key": "2", "value": 3}', "writes a number as text"),
        ('{"slot": 1, "key": 2.0, "value": 3}', "is no whole number"),
        ('{"slot": 1, "key": 12345678901234567890123, "value": 3}', "is longer than what is typed at once"),
        ('{"slot": 1,  "key": 2, "value": 3}', "has another blank"),
        ('{"key": 2, "slot": 1, "value": 3}', "has another order"),
        ('{"slot": 1, "key": "\\u0032", "value": 3}', "has an escape"),
        ("", "is empty"),
    ],
)
def test_an_odd_line_leaves_the_blocks_around_it_plain(shelf: Path, odd: str, why: str) -> None:
    path = shelf / "t.ndjson"
    path.write_text(LINE * 500 + odd + "\n" + LINE * 500)
    chunks, problems = both_ways(path, 1 << 12)
    assert not problems
    assert sum(chunk.rows for chunk in chunks) == 1000 + bool(odd)
    assert 700 < plain_rows(chunks) < 1000, why


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_plain_blocks_hold_no_strings(shelf: Path, end: str) -> None:
    path = shelf / "t.ndjson"
    rows = [
        {"value": number * 3, "more": f"é:{number}", "key": f"10.0.0.{number % 256}", "slot": -number}
        for number in range(5000)
    ]
    path.write_bytes(end.join(json.dumps(row, ensure_ascii=False) for row in rows).encode())
    chunks, problems = both_ways(path, 1 << 12)
    assert not problems
    assert plain_rows(chunks) == 5000
    assert len(chunks) > 50
