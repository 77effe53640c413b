"""Files, folders, includes and overlays -> one tree."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from provisioner import document
from provisioner.document import spec_stream
from provisioner.model.errors import Problems
from provisioner.model.location import Location
from provisioner.model.tree import ScalarNode, SequenceNode
from tests.document.support import HEAD, at, described, load, scalar, texts, write


def test_files_beside_each_other(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a.yaml": HEAD + "maps: {m: {type: hash, entries: {1: 2}}}\nouter_maps: {o: {inner_maps: [{key: 1}]}}\n",
            "b.yml": HEAD + "maps: {m: {entries: {3: 4}}, n: {type: array}}\n"
            "outer_maps: {o: {inner_maps: [{key: 2}]}}\n",
            "c.txt": "not: yaml: at all",
        },
    )
    loaded, problems = load(tmp_path, ".")
    assert problems == []
    assert texts(at(loaded.tree, "maps", "m", "entries")) == [("1", "2"), ("3", "4")]
    assert scalar(at(loaded.tree, "maps", "n", "type"))[0] == "array"
    listed = at(loaded.tree, "outer_maps", "o", "inner_maps")
    assert isinstance(listed, SequenceNode)
    assert [scalar(at(item, "key"))[0] for item in listed.items] == ["1", "2"]
    assert [Path(name).name for name in loaded.files] == ["a.yaml", "b.yml"]


def test_the_same_key_in_two_files_names_both_places(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a.yaml": HEAD + "types: {t: {struct: {a: u8}}}\nmaps: {m: {type: hash}}\n",
            "b.yaml": "name: other\ntypes: {t: {struct: {b: u8}}}\nmaps: {m: {type: hash}}\n",
            "c.yaml": "name: edge\nversion: 1\nmaps: {m: [1]}\n",
        },
    )
    _, problems = load(tmp_path, "a.yaml", "b.yaml", "c.yaml")
    assert problems == [
        "b.yaml:1:1: duplicate-key",
        "b.yaml:2:9: duplicate-key",
        "b.yaml:3:12: duplicate-key",
        "c.yaml:3:8: duplicate-key",
    ]


def test_include_is_relative_to_its_file_and_reads_each_file_once(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "main.yaml": HEAD + "include: [tenants/*.yaml, more]\n",
            "tenants/1.yaml": "maps: {a: {}}\n",
            "tenants/2.yaml": "maps: {b: {}}\ninclude: [deep/x.yaml, '1.yaml']\n",
            "tenants/deep/x.yaml": "maps: {c: {}}\n",
            "more/y.yaml": "maps: {d: {}}\n",
        },
    )
    loaded, problems = load(tmp_path, "main.yaml")
    assert problems == []
    assert at(loaded.tree, "maps", "a") and at(loaded.tree, "maps", "c") and at(loaded.tree, "maps", "d")
    assert loaded.tree.get("include") is None


INCLUDES = {
    "none": ("include: [tenant/*.yaml]\n", ["main.yaml:1:11: no-spec-file"]),
    "circle": (
        "include: [tenants/back.yaml]\n",
        ["tenants/back.yaml:1:11: circular-reference"],
    ),
    "itself": (
        "include: [main.yaml]\n",
        ["main.yaml:1:11: circular-reference"],
    ),
    "no list": ("include: {a: b}\n", ["main.yaml:1:10: wrong-type"]),
    "empty folder": ("include: [empty]\n", ["main.yaml:1:11: no-spec-file"]),
    "nul": ('include: ["a\\0b"]\n', ["main.yaml:1:11: no-spec-file"]),
}


@pytest.mark.parametrize("case", INCLUDES)
def test_includes_that_are_wrong(case: str, tmp_path: Path) -> None:
    text, expected = INCLUDES[case]
    write(tmp_path, {"main.yaml": text, "tenants/back.yaml": "include: [../main.yaml]\n"})
    (tmp_path / "empty").mkdir()
    _, problems = load(tmp_path, "main.yaml")
    assert [problem.replace(str(tmp_path) + "/", "").replace("tenants/../", "") for problem in problems] == expected


def test_a_pattern_that_matches_its_own_file_means_the_others(tmp_path: Path) -> None:
    write(tmp_path, {"main.yaml": "include: ['*.yaml']\nname: x\n", "other.yaml": "version: 1\n"})
    loaded, problems = load(tmp_path, "main.yaml")
    assert problems == []
    assert scalar(at(loaded.tree, "version"))[0] == "1"


def test_includes_stay_inside_unless_allowed(tmp_path: Path) -> None:
    write(tmp_path, {"in/main.yaml": "include: [../out.yaml, link.yaml]\n", "out.yaml": "name: x\n"})
    (tmp_path / "in/link.yaml").symlink_to(tmp_path / "out.yaml")
    _, problems = load(tmp_path, "in/main.yaml")
    assert problems == [
        "in/main.yaml:1:11: outside-project",
        "in/main.yaml:1:24: outside-project",
    ]
    loaded, problems = load(tmp_path, "in/main.yaml", outside=True)
    assert problems == []
    assert scalar(at(loaded.tree, "name"))[0] == "x"


def test_overlays_win_leaf_by_leaf_and_places_say_from_where(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "base.yaml": "maps: {m: {type: hash, max_entries: 5, entries: {1: a, 2: b, 3: {x: c}}, after: [p, q]}}\n",
            "prod.yaml": "maps: {m: {max_entries: 9, entries: {2: B, 4: D}, after: [r]}, n: {type: array}}\n",
            "site.yaml": "maps: {m: {max_entries: 10, entries: {3: C}}}\n",
        },
    )
    loaded, problems = load(tmp_path, "base.yaml", overlays=("prod.yaml", "site.yaml"))
    assert problems == []
    over = at(loaded.tree, "maps", "m", "max_entries")
    assert isinstance(over, ScalarNode)
    assert (over.text, Path(over.where.file).name) == ("10", "site.yaml")
    assert scalar(at(loaded.tree, "maps", "m", "type"))[0] == "hash"
    assert sorted(texts(at(loaded.tree, "maps", "m", "entries"))) == [("1", "a"), ("2", "B"), ("3", "C"), ("4", "D")]
    after = at(loaded.tree, "maps", "m", "after")
    assert isinstance(after, SequenceNode)
    assert [scalar(item)[0] for item in after.items] == ["r"]


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"more.yaml": "name: x\n"})
    problems = Problems()
    loaded = document.load(
        ["-"], stdin=io.StringIO("version: 1\nversion: 2\ninclude: [more.yaml]\n"), problems=problems
    )
    assert described(problems, tmp_path) == [
        "<stdin>:2:1: duplicate-key",
    ]
    assert scalar(at(loaded.tree, "name"))[0] == "x"
    assert loaded.line(Location("<stdin>", 2, 1)) == "version: 2"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, {"edge.yaml": HEAD})
    (tmp_path / "folder").mkdir()
    _, problems = load(tmp_path, "egde.yaml", "folder", "edge.yaml/x")
    assert problems == [
        "edge.yaml/x: unreadable-file",
        "egde.yaml: unreadable-file",
        "folder: no-spec-file",
    ]


def test_lines_for_carets_and_a_digest_of_all_sources(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "name: x\nmaps: {}\n", "b.yaml": "version: 1\n"})
    loaded, _ = load(tmp_path, "a.yaml", "b.yaml")
    assert loaded.line(Location(str(tmp_path / "a.yaml"), 2, 1)) == "maps: {}"
    assert loaded.line(Location(str(tmp_path / "a.yaml"), 9, 1)) is None
    assert loaded.line(Location("elsewhere", 1, 1)) is None
    same, _ = load(tmp_path, "a.yaml", "b.yaml")
    assert same.digest == loaded.digest
    write(tmp_path, {"b.yaml": "version: 1 # changed\n"})
    assert load(tmp_path, "a.yaml", "b.yaml")[0].digest != loaded.digest


def test_a_line_that_no_mark_can_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a lower limit, for the sake of the test's time."""
    monkeypatch.setattr(spec_stream, "MAX_LINE", 1 << 20)
    write(tmp_path, {"a.yaml": "a: " + "x" * (1 << 21)})
    _, problems = load(tmp_path, "a.yaml")
    assert problems == ["a.yaml: limit-exceeded"]
