"""Where functions are in a file: damaged files are refused, whatever their tables claim. No BPF system call."""

from __future__ import annotations

import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.kernel import function_offsets, usdt
from provisioner.model.errors import HostError
from tests.problems import raises

ROUNDS = 300
SEARCHES: tuple[Callable[[Path], object], ...] = (
    lambda file: function_offsets.find(file, "no_such_function"),
    lambda file: function_offsets.find_all(file, "*a*"),
    lambda file: usdt.find(file, "provider", "probe"),
)


def ends(file: Path) -> set[str]:
    """How the searches end: `found`, or the id of the error."""
    result = set()
    for search in SEARCHES:
        try:
            search(file)
            result.add("found")
        except HostError as error:
            result |= {problem.id for problem in error.problems}
    return result


def test_words_of_the_headers_at_random(tmp_path: Path) -> None:
    whole, chance, file = Path("/bin/true").read_bytes(), random.Random(3), tmp_path / "program"
    sections = int.from_bytes(whole[40:48], "little")
    seen: set[str] = set()
    for _ in range(ROUNDS):
        data = bytearray(whole)
        for at in (chance.randrange(64), chance.randrange(64, 64 + 56 * 13), chance.randrange(sections, len(whole))):
            size = chance.choice((1, 2, 4, 8))
            data[at : at + size] = chance.choice((b"\xff" * size, bytes(size), chance.randbytes(size)))
        file.write_bytes(data[: chance.choice((len(data), len(data), chance.randrange(len(data))))])
        seen |= ends(file)
    assert seen <= {"found", "attach-target-missing", "attach-unsupported"}
    assert "attach-unsupported" in seen


def test_a_table_of_a_sparse_file_is_not_read_whole(tmp_path: Path) -> None:
    data = bytearray(Path("/bin/true").read_bytes())
    start, size, count = (int.from_bytes(data[at:end], "little") for at, end in ((40, 48), (58, 60), (60, 62)))
    for at in range(start, start + size * count, size):
        data[at + 32 : at + 40] = (1 << 39).to_bytes(8, "little")
    (tmp_path / "program").write_bytes(data)
    os.truncate(tmp_path / "program", 1 << 40)
    assert ends(tmp_path / "program") == {"attach-unsupported"}


def test_a_file_that_is_cut_while_it_is_read_does_not_end_the_process(tmp_path: Path) -> None:
    """A process that reads beyond the end of a mapped file gets SIGBUS."""
    shutil.copy("/bin/true", tmp_path / "program")
    with function_offsets.opened(tmp_path / "program") as image:
        order = function_offsets.byte_order(image, tmp_path / "program")
        os.truncate(tmp_path / "program", 64)
        with pytest.raises(struct.error):
            list(function_offsets.sections(image, order))


@pytest.mark.parametrize("argument", ["4@$08", f"4@${'9' * 5000}", "8@08(%rax)", "4@$0x", "4@$\u0663"])
def test_a_number_that_is_none_is_no_argument(argument: str) -> None:
    with raises(HostError, "attach-unsupported"):
        usdt.encode(argument, "x86_64", 400)
