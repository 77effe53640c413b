"""Whatever is written, the front end ends with Problems or with a Spec, and never with a traceback."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioner.model.errors import InputError
from provisioner.model.host import Host
from provisioner.model.location import Location
from provisioner.project.opening import load
from tests.document.support import at, composed, rows

EDGE = (Path(__file__).parents[1] / "language" / "edge.yaml").read_bytes()
LINES = EDGE.splitlines(keepends=True)
FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

WORDS = [
    *"{}[],:-?|>&*!%@#'\"~ \n\t\0",
    *("<<", "..", "from:", "&a ", "*a", "!!str ", "---\n", "entries:", "key:", "value:", "inner_maps:", "0x", "true"),
    *(
        "{key: 1, value: 2}",
        "possible_cpus",
        "shared:",
        "struct:",
        "u32[4]",
        "9" * 30,
        "null",
        "é",
        "\N{GRINNING FACE}",
    ),
    *("{entries: {1: [2, {}]}}", "after: [a, b]", "type:", "contents: exact", "include:"),
]


def _run(content: bytes) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(content), "utf-8")
    try:
        project = load(["-"], stdin=stdin, host=Host("little", 4))
    except InputError as error:
        problems = error.problems
    else:
        assert project.desired.project
        return
    assert problems
    for problem in problems:
        assert problem.what
        assert problem.where is None or isinstance(problem.where, Location)
        assert str(problem)


@pytest.fixture(autouse=True, scope="module")
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Includes that chance makes find nothing here."""
    pytest.MonkeyPatch().chdir(tmp_path_factory.mktemp("fuzz"))


@FEW
@given(st.binary(max_size=300))
def test_bytes(content: bytes) -> None:
    _run(content)


@FEW
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=40))
def test_words(words: list[str]) -> None:
    _run("".join(words).encode("utf-8", "replace"))


@FEW
@given(st.data())
def test_mutated_specs(data: st.DataObject) -> None:
    content = EDGE
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(content)))
        end = begin + data.draw(st.integers(0, 12))
        content = content[:begin] + data.draw(st.sampled_from(WORDS)).encode() + content[end:]
    _run(content)


@FEW
@given(st.data())
def test_values_in_the_place_of_others(data: st.DataObject) -> None:
    """YAML that holds, in a structure that does not."""
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        key, colon, _ = lines[at].partition(b": ")
        values = [
            "{}",
            "[]",
            "5",
            "x",
            "",
            "[{a: 1}, [2]]",
            "{x: {entries: 3}}",
            '"1"',
            "true",
            "{from: x}",
            "{key: 1}",
        ]
        lines[at] = key + colon + data.draw(st.sampled_from(values)).encode() + b"\n"
    _run(b"".join(lines))


@FEW
@given(st.lists(st.sampled_from(LINES), max_size=60))
def test_lines_in_another_order(lines: list[bytes]) -> None:
    _run(b"".join(lines))


@FEW
@given(
    st.lists(
        st.sampled_from(["1: 2", "3: {a: 4}", "5: [6, 7]", "8: &x 9", "10: *x", "11: !!str 12", "? {a: 1}\n    : 2"])
    )
)
def test_both_parsers_agree_on_entries(entries: list[str]) -> None:
    text = "maps:\n m:\n  entries:\n" + "".join(f"    {entry}\n" for entry in entries)
    in_c, in_python = (composed(text, in_python=python) for python in (False, True))
    assert (in_c[0] is None) == (in_python[0] is None)
    if in_c[0] is not None and in_python[0] is not None and entries:
        assert rows(at(in_c[0], "maps", "m", "entries")) == rows(at(in_python[0], "maps", "m", "entries"))
    assert [str(problem) for problem in in_c[1]] == [str(problem) for problem in in_python[1]]
