"""CSV that is read block by block gives what the `csv` module gives row by row: the same texts, lines and problems."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from provisioner.codec.spans import Spans
from provisioner.model.errors import Problem, Problems
from provisioner.model.location import Location
from provisioner.model.spec import TableColumn, TableRef
from provisioner.model.tree import RawChunk
from provisioner.tables import blocks, delimited, read_table
from tests.tables.test_tables import AT, column, reference, rows

Row = tuple[int, dict[tuple[str | int, ...], str | None]]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plain")


def places(chunks: tuple[RawChunk, ...]) -> dict[int, tuple[Location, Location]]:
    """Where key and value of some rows stand, by the row's line."""
    by_line = {}
    for chunk in chunks:
        for row, line in enumerate(chunk.lines()):
            if line < 60 or line % 997 == 0:
                by_line[line] = (chunk.where(row, ("key",)), chunk.where(row, ("value",)))
    return by_line


def result_of(path: Path, table: TableRef) -> tuple[list[Row], list[Problem], tuple[RawChunk, ...]]:
    """Each row with its line, all problems, and the chunks."""
    problems = Problems()
    chunks = tuple(read_table(table, path, problems))
    lines = sorted(line for chunk in chunks for line in chunk.lines())
    return list(zip(lines, rows(chunks), strict=True)), list(problems), chunks


def both_ways(path: Path, block: int, table: TableRef | None = None) -> tuple[tuple[RawChunk, ...], list[Problem]]:
    """The chunks by blocks, found to say the same as those by rows, and the problems of both."""
    table = table or reference(path.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "FEW_BYTES", 0)
        patch.setattr(blocks, "BLOCK_BYTES", block)
        by_blocks, problems, chunks = result_of(path, table)
        patch.setattr(
            delimited._CsvReader, "chunks", lambda reader, stream: reader._by_rows(stream, 0, has_header=True)
        )
        by_rows, same_problems, same_chunks = result_of(path, table)
    assert problems == same_problems
    if not problems:  # else there is nothing that uses the rows
        assert by_blocks == by_rows
        assert places(chunks) == places(same_chunks)
    return chunks, problems


PARTS = [
    "a",
    "1",
    ",",
    "\n",
    "\r\n",
    "\r",
    '"',
    '""',
    "a,b\n",
    '"x,\ny",2\n',
    "é",
    "7,8\n" * 5,
    "7,8\r\n" * 5,
    "\0",
    "\t",
]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from(PARTS), max_size=40).map("".join),
    st.sampled_from(["key,value\n", "key,value\r\n", "\ufeffkey,value\n", '"key",value\n', "value,more,key\n", ""]),
    st.sampled_from([1, 7, 16, 64, 1 << 18]),
)
@example("7,8\n" * 50 + '"7\n', "key,value\n", 16)
@example("7,8\n" * 9 + '7,"8\n' + "7,8\n" * 9 + '",9\n', "key,value\n", 16)
@example("7,8\n\n7,8\n" + "7,8\r\n", "key,value\n", 16)
@example("7,8\n7,8", "key,value\n", 1 << 18)
def test_blocks_say_what_rows_say(shelf: Path, body: str, header: str, block: int) -> None:
    path = shelf / "t.csv"
    path.write_bytes((header + body).encode())
    both_ways(path, block)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=120), st.sampled_from([5, 32, 1 << 18]))
def test_any_bytes(shelf: Path, body: bytes, block: int) -> None:
    """Where a file is no UTF-8, by rows some of the problems before that place are not found: they are read ahead."""
    path = shelf / "b.csv"
    path.write_bytes(b"key,value\n" + b"7,8\n" * 9 + body)
    try:
        body.decode()
    except UnicodeDecodeError:
        problems = Problems()
        list(read_table(reference(path.name), path, problems))
        assert "invalid-encoding" in [problem.id for problem in problems]
    else:
        both_ways(path, block)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_plain_blocks_hold_no_strings(shelf: Path, end: str) -> None:
    """Else nothing here would tell that the fast way is never taken."""
    path = shelf / "plain.csv"
    lines = [f"{number},{number * 3},é{number}" for number in range(5000)]
    path.write_bytes(end.join(["value,key,more", *lines]).encode())
    chunks, problems = both_ways(path, 1 << 12)
    assert not problems
    assert len(chunks) > 5
    assert all(isinstance(column, Spans) for chunk in chunks for column in chunk.columns.values())


def test_one_odd_row_leaves_the_blocks_around_it_plain(shelf: Path) -> None:
    path = shelf / "odd.csv"
    lines = [f"{number},{number}\n" for number in range(5000)]
    lines[2500] = '2500,"a ""quoted"" word"\n'
    path.write_text("key,value\n" + "".join(lines))
    chunks, _ = both_ways(path, 1 << 12)
    odd = [chunk for chunk in chunks if not isinstance(chunk.columns["key",], Spans)]
    assert 0 < sum(chunk.rows for chunk in odd) < 1000
    assert chunks[-1] not in odd


def test_a_column_may_be_wanted_twice_and_others_not_at_all(shelf: Path) -> None:
    path = shelf / "wide.csv"
    path.write_text("a,b,c,d\n" + "".join(f"{n},x,{n + 1},y\n" for n in range(3000)))
    table = reference(path.name, key=column("c"), value=TableColumn(((("from",), "c"), (("to",), "a")), AT))
    both_ways(path, 1 << 10, table)


def long_lines() -> Iterator[str]:
    random.seed(5)
    for _ in range(200):
        yield f"{'k' * random.choice([1, 10, 5000])},{'v' * random.choice([0, 1, 9000])}\n"


@pytest.mark.parametrize("block", [64, 4096])
def test_lines_that_are_longer_than_a_block(shelf: Path, block: int) -> None:
    path = shelf / "long.csv"
    path.write_text("key,value\n" + "".join(long_lines()) + "x" * 140_000 + ",1\n")
    _, problems = both_ways(path, block)
    assert [problem.id for problem in problems] == ["invalid-row"]
