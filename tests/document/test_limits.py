"""Input that is nested, chained or sized beyond every use: an error at its place, never an exception."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.desired.loading import SpecError
from provisioner.model.errors import Problem
from provisioner.model.host import Host
from provisioner.project.opening import load
from tests.document.support import HEAD, write

MAP = "maps: {m: {type: hash, key: u32, value: u32, max_entries: 4, entries: {from: m.ndjson}}}\n"


def problems(folder: Path, files: dict[str, str]) -> tuple[Problem, ...]:
    """The problems of files of which the first names the others."""
    write(folder, files)
    with pytest.raises(SpecError) as caught:
        load([folder / next(iter(files))], host=Host("little", 2))
    return caught.value.problems


def test_a_chain_of_includes(tmp_path: Path) -> None:
    chain = {f"{number}.yaml": f"include: [{number + 1}.yaml]\n" for number in range(1500)}
    (problem,) = problems(tmp_path, {**chain, "0.yaml": HEAD + chain["0.yaml"], "1500.yaml": "types: {}\n"})
    assert problem.where is not None
    assert problem.where.line == 1


def test_a_chain_of_types(tmp_path: Path) -> None:
    chain = "".join(f"  t{number}: {{struct: {{m: t{number + 1}}}}}\n" for number in range(1500))
    reported = problems(tmp_path, {"edge.yaml": f"{HEAD}types:\n{chain}  t1500: u32\n"})
    assert all(problem.where and problem.where.line for problem in reported)


@pytest.mark.parametrize(
    "written",
    ["u32" + "[1]" * 1500, "char[1000000000]", "bytes[67108865]", "{struct: {a: 'u64[8388608]', b: u8}}"],
)
def test_a_type(tmp_path: Path, written: str) -> None:
    quoted = written if written.startswith("{") else f'"{written}"'
    text = f"{HEAD}maps: {{m: {{type: hash, key: u32, value: {quoted}, max_entries: 1, entries: {{1: x}}}}}}\n"
    (problem,) = problems(tmp_path, {"edge.yaml": text})
    assert problem.where is not None
    assert problem.where.line == 3


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a": ', "}")])
@pytest.mark.parametrize("depth", [100, 900, 100_000])
def test_a_value_of_a_table(tmp_path: Path, opened: str, closed: str, depth: int) -> None:
    row = f'{{"key": 1, "value": {opened * depth}1{closed * depth}}}\n'
    (problem,) = problems(tmp_path, {"edge.yaml": HEAD + MAP, "m.ndjson": row})
    assert problem.where is not None
    assert problem.where.line == 1
