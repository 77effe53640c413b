"""Long lines on a narrow terminal."""

from __future__ import annotations

import pytest

from provisioner.report.style import Style, is_mark
from provisioner.report.wrapping import wrapped


@pytest.mark.parametrize(
    ("line", "width", "expected"),
    [
        ("short", 40, ["short"]),
        ("", 40, [""]),
        (
            "  + tenants         hash_of_maps u32 -> lpm_trie acl, 4,096 slots",
            50,
            ["  + tenants         hash_of_maps u32 -> lpm_trie", "                    acl, 4,096 slots"],
        ),
        ("Inner maps: 3 to create. Entries: 5 to insert.", 32, ["Inner maps: 3 to create.", "Entries: 5 to insert."]),
        ("  one two three four five six seven", 30, ["  one two three four five six", "  seven"]),
        ("x" * 50, 40, ["x" * 50]),
        ("  + name  " + "x" * 50 + " y", 40, ["  + name  " + "x" * 50, " " * 10 + "y"]),
        ("abc def", 3, ["abc", "def"]),
    ],
)
def test_lines(line: str, width: int, expected: list[str]) -> None:
    assert list(wrapped(line, width)) == expected


def test_nothing_is_lost_and_marks_take_no_room() -> None:
    colour = Style(True)
    line = (
        f"  {colour('+', 'green')} {colour('tenants', 'bold')}    one {colour('two three four five', 'red')} six seven"
    )
    for width in range(1, 60):
        pieces = list(wrapped(line, width))
        shown = ["".join(char for char in piece if not is_mark(char)) for piece in pieces]
        assert "".join("".join(pieces).split()) == "".join(line.split())
        if width >= 40:
            assert all(len(text) <= width for text in shown)


def test_every_piece_fits_that_can() -> None:
    line = "    ~ [42]                " + " ".join(f"word{number}" for number in range(60))
    assert all(len(piece) <= 80 for piece in wrapped(line, 80))
    assert all(piece.startswith(" " * 26) for piece in list(wrapped(line, 80))[1:])
