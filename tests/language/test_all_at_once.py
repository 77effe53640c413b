"""All problems of all files in one run: what can't be read of one file hides nothing that is wrong elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.desired.loading import SpecError
from provisioner.model.host import Host
from provisioner.project.opening import load

HEAD = "version: 1\nname: edge\n"
MAP = "maps:\n  m:\n    {type: hash, key: u32, value: u8, max_entries: 4, entries: {1: 300}}\n"
TOO_BIG = "a.yaml:5:68: out-of-range"
TEMPLATE = "inner_templates: {t: {type: hash, key: u8, value: u8, max_entries: 4}}\n"
OUTER = "outer_maps: {o: {type: hash_of_maps, key: u8, max_entries: 4, inner: t, inner_maps: {900: {}}}}\n"


def reported(folder: Path, **files: str | bytes) -> list[str]:
    """The problems of specs by file name, as `FILE:LINE:COLUMN: ID`."""
    for name, text in files.items():
        content = text if isinstance(text, bytes) else text.encode()
        (folder / f"{name}.yaml").write_bytes(content)
    with pytest.raises(SpecError) as caught:
        load([folder], host=Host("little", 2), lookups={})
    return [f"{problem.where}: {problem.id}".replace(f"{folder}/", "") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("also", "fault"),
    [
        (
            "  n: {type: array, key: u32, value: {struct: {a: u8}}, max_entries: 4, entries: {0: {}, 1: {a: 2}}}\n",
            "a.yaml:6:85: empty-value",
        ),
        (
            "  n: {type: array, key: u32, value: u8, max_entries: 4, max_entries: 5, entries: {0: 1}}\n",
            "a.yaml:6:57: duplicate-key",
        ),
        (
            "  n: {type: array, key: u32, value: u8, max_entries: !!int 4, entries: {0: 1}}\n",
            "a.yaml:6:54: unsupported-yaml",
        ),
        (
            "  n: {type: array, key: u32, value: u8, max_entries: 4, entries: [{key: 0}, {key: 1, value: 1}]}\n",
            "a.yaml:6:67: invalid-entry",
        ),
        ("  n: *nowhere\n", "a.yaml:6:6: undefined-alias"),
        (
            "  n: {<<: *nowhere, type: array}\n",
            "a.yaml:6:7: unsupported-yaml",
        ),
        ("  n: {[type]: array}\n", "a.yaml:6:7: wrong-type"),
    ],
)
def test_what_yaml_itself_has_wrong_hides_no_other_problem(tmp_path: Path, also: str, fault: str) -> None:
    problems = reported(tmp_path, a=HEAD + MAP + also)
    assert problems[0] == TOO_BIG
    assert fault in problems
    assert set(problems[1:]) <= {fault, "a.yaml:6:11: undefined-alias"}


@pytest.mark.parametrize(
    "unreadable", [b"types: {x: [\n", b"\xff\xfet\0", b"name: caf\xe9\n", b"types:\n\tx: u8\n", b"---\n---\n", b"[1]\n"]
)
def test_a_file_that_cannot_be_read_hides_nothing_of_the_others(tmp_path: Path, unreadable: bytes) -> None:
    """What the lost file may declare is not said to be missing: here `version`, `name`, the template and the type."""
    uses = "  n: {type: hash, key: x, value: u8, max_entries: 4, entries: {1: 1}}\n"
    problems = reported(tmp_path, a="\n\n" + MAP + uses + "maps_: {}\n" + OUTER, b=unreadable)
    assert problems[0] == TOO_BIG
    assert problems[1] == "a.yaml:7:1: unknown-field"
    assert len(problems) == 3
    assert problems[2].startswith("b.yaml:")


def test_what_is_missing_is_reported_where_all_could_be_read(tmp_path: Path) -> None:
    problems = reported(tmp_path, a="\n\n" + MAP, b=OUTER)
    assert problems == [
        "a.yaml:3:1: missing-field",
        "a.yaml:3:1: missing-field",
        TOO_BIG,
        "b.yaml:1:70: unknown-reference",
    ]


def test_a_fault_is_reported_once_and_none_follows_from_it(tmp_path: Path) -> None:
    """An object without a file, keys that mean nothing, a map of which nothing but the type is written."""
    text = (
        "objects: {o: {}}\n"
        + TEMPLATE
        + "outer_maps: {o: {type: hash_of_maps, key: u8, max_entries: 9, inner: t, "
        + "inner_maps: {0: {}, x: {}, y: {}}}}\n"
        + "maps: {m: {type: queue}}\n"
    )
    assert reported(tmp_path, a=HEAD + text) == [
        "a.yaml:3:11: missing-field",
        "a.yaml:5:93: invalid-number",
        "a.yaml:5:100: invalid-number",
        "a.yaml:6:8: missing-field",
        "a.yaml:6:8: missing-field",
        "a.yaml:6:8: unsupported-by-map-type",
    ]


def test_the_line_of_a_table_is_shown_with_a_caret(tmp_path: Path) -> None:
    table = "{from: t.csv, key: k, value: v}"
    spec = f"{HEAD}maps: {{m: {{type: hash, key: u32, value: u8, max_entries: 9, entries: {table}}}}}\n"
    (tmp_path / "a.yaml").write_text(spec)
    (tmp_path / "t.csv").write_text("k,v\n1,300\n")
    with pytest.raises(SpecError) as caught:
        load([tmp_path], host=Host("little", 2), lookups={})
    (problem,) = caught.value.problems
    assert problem.where is not None
    assert caught.value.document.line(problem.where) == "1,300"


def test_types_that_nothing_uses_are_read_too(tmp_path: Path) -> None:
    """Those that an object's BTF would tell are left: there is no map whose object that could be."""
    types = (
        "types: {unused: {struct: {x: u33}}, loop: {struct: {l: loop}}, told: {struct: {x: {btf: struct nothing}}}}\n"
    )
    maps = "maps: {m: {type: hash, key: u32, value: u32, max_entries: 1}}\n"
    assert reported(tmp_path, a=HEAD + types + maps) == [
        "a.yaml:3:30: unknown-type",
        "a.yaml:3:56: circular-reference",
    ]


def test_a_wrong_outer_key_is_reported_in_the_file_that_has_it(tmp_path: Path) -> None:
    """Also when the slots of its map stand in several files."""
    more = "outer_maps: {o: {inner_maps: {900: {}, 901..902: {}}}}\n"
    problems = reported(tmp_path, a=HEAD + TEMPLATE + OUTER.replace("900", "1"), b=more)
    assert problems == [f"b.yaml:1:{column}: out-of-range" for column in (31, 40, 45)]
