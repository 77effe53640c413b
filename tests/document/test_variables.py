"""Variables: where their values come from, where they are replaced, and the errors. Pure, but for reading the files."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner import document
from provisioner.desired import loading
from provisioner.document import Document
from provisioner.document.inputs import Inputs
from provisioner.document.substitute import sources_at
from provisioner.language import schema
from provisioner.model.desired import DesiredState
from provisioner.model.errors import Problems
from provisioner.model.given import Given, Outside
from provisioner.model.location import Location
from provisioner.model.tree import RawEntries
from tests.document.support import HEAD, at, described, scalar, spec_schema, texts, write

MAP = "maps: {m: {type: hash, key: u32, value: u32, max_entries: %s, entries: %s}}\n"


def load(
    folder: Path, text: str, *overlays: str, environment: dict[str, str] | None = None, **given: str
) -> tuple[Document, list[str]]:
    write(folder, {"spec.yaml": HEAD + text} | {f"over{at}.yaml": over for at, over in enumerate(overlays)})
    problems = Problems()
    outside = Outside({name: Given(value, "--var", True) for name, value in given.items()}, environment or {})
    over = [folder / f"over{at}.yaml" for at in range(len(overlays))]
    source = document.load([folder / "spec.yaml"], overlays=over, problems=problems, outside=outside)
    problems.settle()
    schema.check(source.tree, spec_schema(), problems)
    return source, described(problems, folder)


def desired(folder: Path, text: str, **given: str) -> DesiredState:
    write(folder, {"spec.yaml": HEAD + text})
    return loading.load(
        [folder / "spec.yaml"],
        overlays=(),
        allow_outside=False,
        stdin=None,
        host=None,
        lookups=None,
        inputs=Inputs(),
        outside=Outside({name: Given(value, "--var") for name, value in given.items()}),
    )[2]


def test_the_nearest_source_of_a_value_wins(tmp_path: Path) -> None:
    spec = 'vars: {a: base, b: {env: B, default: none}, c: "${a}/${b}"}\npin_root: /sys/fs/bpf/${c}\n'
    for given, over, environment, expected in (
        ({}, (), {}, "base/none"),
        ({}, (), {"B": "host"}, "base/host"),
        ({}, ("vars: {a: over}\n",), {"B": "host"}, "over/host"),
        ({"a": "given"}, ("vars: {a: over}\n",), {"B": "${a}"}, "given/${a}"),
    ):
        source, problems = load(tmp_path, spec, *over, environment=environment, **given)
        assert problems == []
        assert scalar(at(source.tree, "pin_root"))[0] == f"/sys/fs/bpf/{expected}"


def test_the_use_of_a_variable_has_its_sources(tmp_path: Path) -> None:
    spec = 'vars: {a: 1, b: "${a}${c}", d: {env: D}}\npin_root: /${b}${d}/$${e}\n'
    source, problems = load(tmp_path, spec, environment={"D": "x"}, c="2")
    assert problems == []
    assert scalar(at(source.tree, "pin_root")) == ("/12x/${e}", 4, 11)
    spec_file = str(tmp_path / "spec.yaml")
    assert sources_at(source.uses, Location(spec_file, 4, 11)) == (
        f"${{b}}: {spec_file}:3, ${{a}}: {spec_file}:3, ${{c}}: --var, ${{d}}: environment D"
    )


def test_entries_stay_columns_and_only_those_with_variables_are_made_again(tmp_path: Path) -> None:
    spec = MAP % ("8", '{1: 10, "${key}": 20, 3: "${value}", 4: 40}')
    source, problems = load(tmp_path, spec, key="2", value="30")
    assert problems == []
    entries = at(source.tree, "maps", "m", "entries")
    assert texts(entries) == [("1", "10"), ("2", "20"), ("3", "30"), ("4", "40")]
    assert isinstance(entries, RawEntries)
    assert [chunk.variables for chunk in entries.chunks] == [{1: "${key}: --var", 2: "${value}: --var"}]
    plain, _ = load(tmp_path, MAP % ("8", '{1: 10, 2: "$${x}", 3: ${}'.replace("${}", "3}")))
    assert texts(at(plain.tree, "maps", "m", "entries"))[1] == ("2", "${x}")
    assert not plain.uses


def test_each_row_keeps_its_sources_after_sorting(tmp_path: Path) -> None:
    sources = (
        desired(tmp_path, MAP % ("8", '{3: "${value}", 1: 10, "${key}": 20}'), key="2", value="30").maps["m"].sources
    )
    assert [sources.decided_by(row) for row in range(3)] == ["", "${key}: --var", "${value}: --var"]


def test_the_field_decides_the_type_also_inside_quotes(tmp_path: Path) -> None:
    spec = 'pin_mode: "${mode}"\npin_inner_maps: "${pins}"\n' + MAP % ('"${size}"', "{}")
    assert load(tmp_path, spec, mode="0640", pins="true", size="0x40")[1] == []
    state = desired(tmp_path, spec, mode="640", pins="true", size="0x40")
    assert (state.pin_mode, state.pin_inner_maps, state.maps["m"].shape.max_entries) == (0o640, True, 64)
    assert load(tmp_path, spec, mode="777", pins="yes", size="-1")[1] == [
        "spec.yaml:3:11: invalid-name",
        "spec.yaml:4:17: wrong-type",
        "spec.yaml:5:59: out-of-range",
    ]


def _chain(count: int, times: int) -> str:
    """Variables, each with the one before it several times."""
    return ", ".join(f"a{number}: '{f'${{a{number - 1}}}' * times}'" for number in range(1, count))


@pytest.mark.parametrize(("count", "times"), [(11, 10), (1000, 1)])
def test_variables_that_multiply_have_an_end(tmp_path: Path, count: int, times: int) -> None:
    """Ten to the eleventh characters, and a chain of a thousand."""
    spec = f"vars: {{a0: '0123456789', {_chain(count, times)}}}\npin_root: /${{a{count - 1}}}\n"
    _, problems = load(tmp_path, spec)
    assert {problem.rpartition(": ")[2] for problem in problems} == {"limit-exceeded"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("pin_root: /${nowhere}\n", "3:11: undefined-variable"),
        ("vars: {node: {env: NODE}}\npin_root: /${node}\n", "3:20: undefined-variable"),
        ("vars: {site: }\npin_root: /${site}\n", "4:11: undefined-variable"),
        ('vars: {a: "${b}", b: "${c}", c: "x${b}"}\n', "3:33: circular-reference"),
        ("pin_root: /${1st}\n", "3:11: invalid-variable"),
        ("pin_root: /${open\n", "3:11: invalid-variable"),
        ("vars: {a: {file: x}}\n", "3:12: unknown-field"),
        ("vars: {a-b: 1}\n", "3:8: invalid-name"),
        ('vars: {a: m, b: m}\nmaps: {"${a}": {}, "${b}": {}}\n', "4:20: duplicate-key"),
    ],
)
def test_errors_are_at_the_line_that_causes_them(tmp_path: Path, spec: str, expected: str) -> None:
    _, problems = load(tmp_path, spec)
    assert f"spec.yaml:{expected}" in problems
    assert all(problem.split(":")[1] == expected.split(":")[0] for problem in problems), "nothing else follows from it"


def test_a_given_variable_that_the_spec_does_not_have(tmp_path: Path) -> None:
    assert load(tmp_path, "vars: {node: a}\n", ndoe="b")[1] == ["None: unknown-reference"]
    assert load(tmp_path, "include: ['more/${part}.yaml']\n", part="x")[1] == ["spec.yaml:3:11: no-spec-file"]


def test_an_include_sees_the_variables_of_its_file(tmp_path: Path) -> None:
    write(tmp_path, {"more/ams.yaml": "maps: {m: {}}\n", "more/fra.yaml": "maps: {n: {}}\n"})
    spec = "vars: {site: ams}\ninclude: ['more/${site}.yaml']\n"
    assert at(load(tmp_path, spec)[0].tree, "maps", "m")
    assert at(load(tmp_path, spec, site="fra")[0].tree, "maps", "n")
    assert load(tmp_path, "include: ['more/${site}.yaml']\n")[1] == ["spec.yaml:3:11: undefined-variable"]


def test_an_error_in_a_value_names_its_source(tmp_path: Path) -> None:
    with pytest.raises(loading.SpecError) as caught:
        desired(tmp_path, MAP % ('"${size}"', '{1: "${value}"}'), size="8", value="x")
    (problem,) = caught.value.problems
    assert (problem.id, problem.hint) == ("invalid-number", "${value}: --var")
