"""YAML -> tree: places, YAML 1.1's traps, entries as columns, and all that is refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from provisioner import document
from provisioner.language.scalars import as_json
from provisioner.model.errors import Problems
from provisioner.model.location import Location
from provisioner.model.tree import MappingNode, RawEntries, SequenceNode
from tests.document.support import at, composed, described, rows, scalar, texts, write

TRAPS = ["12:30:45", "0755", "on", "yes", "1_000", "~", "null", "0o17", "1e3", ".inf", "2001-01-01", "=", "0b1", "True"]


@pytest.mark.parametrize("in_python", [False, True])
@pytest.mark.parametrize("trap", TRAPS)
def test_text_stays_as_written(trap: str, in_python: bool) -> None:
    tree, problems = composed(f"a: {trap}\nmaps: {{m: {{entries: {{{trap}: [{trap}]}}}}}}\n", in_python=in_python)
    assert not len(problems)
    assert scalar(at(tree, "a")) == (trap, 1, 4)
    assert [row for row, _ in rows(at(tree, "maps", "m", "entries"))] == [{("key",): trap, ("value", 0): trap}]


def test_scalars_know_their_place_and_whether_they_were_quoted() -> None:
    tree, _ = composed("a: x\nb:\n  - 'on'\n  - !!str 5\n  - |\n    two\n    lines\nc:\nd: ''\n")
    items = at(tree, "b")
    assert isinstance(items, SequenceNode)
    assert [scalar(item) for item in items.items] == [("on", 3, 5), ("5", 4, 5), ("two\nlines\n", 5, 5)]
    assert [getattr(item, "quoted", None) for item in items.items] == [True, True, True]
    assert scalar(at(tree, "c"))[0] is None
    assert scalar(at(tree, "d"))[0] == ""


def test_entries_are_columns_by_shape() -> None:
    tree, problems = composed("""\
maps:
  m:
    entries:
      1: {a: x, b: y}
      2: {a: z, b: ''}
      3: {a: z, b: }
      4: plain
      ? {k: 5}
      : [6, {c: 7}]
""")
    assert not len(problems)
    read = rows(at(tree, "maps", "m", "entries"))
    assert [row for row, _ in read] == [
        {("key",): "1", ("value", "a"): "x", ("value", "b"): "y"},
        {("key",): "2", ("value", "a"): "z", ("value", "b"): ""},
        {("key",): "3", ("value", "a"): "z", ("value", "b"): None},
        {("key",): "4", ("value",): "plain"},
        {("key", "k"): "5", ("value", 0): "6", ("value", 1, "c"): "7"},
    ]
    assert [where for _, where in read] == [
        Location("spec.yaml", 4, 7),
        Location("spec.yaml", 5, 7),
        Location("spec.yaml", 6, 7),
        Location("spec.yaml", 7, 7),
        Location("spec.yaml", 8, 13),
    ]


def test_the_list_form_gives_the_same_entries() -> None:
    tree, problems = composed("maps: {m: {entries: [{key: 1, value: 2}, {value: 4, key: 3}]}}\n")
    assert not len(problems)
    assert texts(at(tree, "maps", "m", "entries")) == [("1", "2"), ("3", "4")]


def test_many_entries_in_any_mixture_are_all_there() -> None:
    """Runs longer than the window, broken by other shapes, anchors, quotes and aliases."""
    chance = random.Random(1)
    lines: list[str] = []
    expected: list[dict[tuple[str | int, ...], str]] = []
    for number in range(5000):
        kind = chance.choices(["member", "plain", "anchor", "alias", "list"], [600, 30, 1, 1, 1])[0]
        if kind in ("anchor", "alias") and not any("&v" in line for line in lines):
            kind = "anchor"
        values: dict[str, dict[tuple[str | int, ...], str]] = {
            "member": {("value", "a"): f"x{number}", ("value", "b"): "y"},
            "plain": {("value",): f"p{number}"},
            "anchor": {("value",): "shared"},
            "alias": {("value",): "shared"},
            "list": {("value", 0): "q"},
        }
        written = {
            "member": f"{{a: x{number}, b: y}}",
            "plain": f"p{number}",
            "anchor": "&v shared",
            "alias": "*v",
            "list": "[q]",
        }[kind]
        lines.append(f"      {number}: {written}")
        expected.append({("key",): str(number), **values[kind]})
    tree, problems = composed("maps:\n  m:\n    entries:\n" + "\n".join(lines) + "\n")
    assert not len(problems)
    entries = at(tree, "maps", "m", "entries")
    read = rows(entries)
    assert [row for row, _ in read] == expected
    assert [(where.line, where.column) for _, where in read] == [(number + 4, 7) for number in range(5000)]
    assert isinstance(entries, RawEntries)
    assert 256 < max(chunk.rows for chunk in entries.chunks) <= 512


def test_entries_is_a_name_like_any_other_elsewhere() -> None:
    tree, problems = composed("""\
types: {t: {struct: {entries: {struct: {a: u8}}}}}
maps: {entries: {type: array, entries: {1: 2}}}
outer_maps: {o: {key: {struct: {entries: {union: {a: u8}}}}, inner_maps: {entries: {entries: {3: {entries: 4}}}}}}
""")
    assert not len(problems)
    assert isinstance(at(tree, "types", "t", "struct", "entries"), MappingNode)
    assert isinstance(at(tree, "outer_maps", "o", "key", "struct", "entries"), MappingNode)
    assert texts(at(tree, "maps", "entries", "entries")) == [("1", "2")]
    inner = at(tree, "outer_maps", "o", "inner_maps", "entries", "entries")
    assert [row for row, _ in rows(inner)] == [{("key",): "3", ("value", "entries"): "4"}]


def test_a_table_stays_a_mapping() -> None:
    tree, _ = composed("maps: {m: {entries: {from: a.csv, key: k}}, n: {entries: {'from': x, key: y}}}\n")
    assert scalar(at(tree, "maps", "m", "entries", "from"))[0] == "a.csv"
    assert texts(at(tree, "maps", "n", "entries")) == [("from", "x"), ("key", "y")]


def test_aliases() -> None:
    tree, problems = composed("""\
outer_maps:
  o:
    inner_maps:
      1: &body {entries: &e {1: 2}}
      2: *body
      3: {entries: *e}
      4: {entries: [{key: &k {a: 1}, value: 2}, {key: *k, value: 3}]}
      5: {entries: *k}
""")
    assert not len(problems)
    for slot in "123":
        assert texts(at(tree, "outer_maps", "o", "inner_maps", slot, "entries")) == [("1", "2")]
    assert [row for row, _ in rows(at(tree, "outer_maps", "o", "inner_maps", "4", "entries"))] == [
        {("key", "a"): "1", ("value",): "2"},
        {("key", "a"): "1", ("value",): "3"},
    ]
    assert texts(at(tree, "outer_maps", "o", "inner_maps", "5", "entries")) == [("a", "1")]


REFUSED = {
    "duplicate": ("a: 1\nb: 2\na: 3\n", ["spec.yaml:3:1: duplicate-key"]),
    "duplicate in an entry": (
        "maps: {m: {entries: {1: {a: 1, a: 2}}}}",
        ["spec.yaml:1:32: duplicate-key"],
    ),
    "tag": ("a: !!int 5\n", ["spec.yaml:1:4: unsupported-yaml"]),
    "python": (
        "a: !!python/object/apply:os.system [ls]\n",
        ["spec.yaml:1:4: unsupported-yaml"],
    ),
    "tag in entries": ("maps: {m: {entries: {1: 2, 3: !x 4}}}", ["spec.yaml:1:31: unsupported-yaml"]),
    "merge": ("a: &a {x: 1}\nb: {<<: *a}\n", ["spec.yaml:2:5: unsupported-yaml"]),
    "merge in entries": ("maps: {m: {entries: {1: 2, <<: 3}}}", ["spec.yaml:1:28: unsupported-yaml"]),
    "alias": ("a: *x\n", ["spec.yaml:1:4: undefined-alias"]),
    "recursive": ("a: &a [*a]\n", ["spec.yaml:1:8: undefined-alias"]),
    "two documents": ("a: 1\n---\nb: 1\n", ["spec.yaml:2:1: unsupported-yaml"]),
    "key": ("? [1]\n: 2\n", ["spec.yaml:1:3: wrong-type"]),
    "empty key": ("? \n: 2\n", ["spec.yaml:1:2: empty-value"]),
    "only a key": (
        "maps: {m: {entries: [{key: 1}, 2]}}",
        [
            "spec.yaml:1:22: invalid-entry",
            "spec.yaml:1:32: invalid-entry",
        ],
    ),
    "empty value": (
        "maps: {m: {entries: {1: {a: []}}}}",
        ["spec.yaml:1:29: empty-value"],
    ),
    "empty": ("# nothing\n", ["spec.yaml: empty-file"]),
    "only a marker": ("---\n", ["spec.yaml: empty-file"]),
    "list": ("- 1\n", ["spec.yaml:1:1: wrong-type"]),
    "deep": ("a: " + "[" * 99 + "]" * 99, ["spec.yaml:1:67: limit-exceeded"]),
    "deep by aliases": (
        "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 99)),
        ["spec.yaml:64:12: limit-exceeded"],
    ),
    "bomb": (
        "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20)),
        ["spec.yaml:7:10: limit-exceeded"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("in_python", [False, True])
def test_refused(case: str, in_python: bool) -> None:
    text, expected = REFUSED[case]
    _, problems = composed(text, in_python=in_python)
    assert described(problems, Path("/nowhere")) == expected


NO_YAML: dict[str, tuple[bytes, str]] = {
    "tab": (b"a:\n\tb: 1\n", "spec.yaml:2:1: invalid-yaml"),
    "nul": (b"a: 1\nb: x\0y\n", "spec.yaml:2:5: invalid-yaml"),
    "latin": (b"a: 1\nb: \xe9t\xe9\n", "spec.yaml:2:4: invalid-encoding"),
    "utf-32": ("a: 1\n".encode("utf-32"), "spec.yaml: invalid-encoding"),
    "utf-16": ("a: 1\n".encode("utf-16"), "spec.yaml: invalid-encoding"),
    "colon": (b"a: b: c\n", "spec.yaml:1:5: invalid-yaml"),
    "indentation": (b"a: 1\n  b: 2\n", "spec.yaml:2:4: invalid-yaml"),
    "quote": (b"a: 1\nb: 'x\nc: 2\n", "spec.yaml:2:4: invalid-yaml"),
    "bracket": (b"a: [1, 2\nb: 3\n", "spec.yaml:2:2: invalid-yaml"),
    "mixed": (b"- a\nb: 1\n", "spec.yaml:2:1: invalid-yaml"),
    "escape": (b'a: "\\q"\n', "spec.yaml:1:5: invalid-yaml"),
    "handle": (b"a: !e!x 1\n", "spec.yaml:1:4: invalid-yaml"),
    "at": (b"a: @x\n", "spec.yaml:1:4: invalid-yaml"),
}


@pytest.mark.parametrize("case", NO_YAML)
def test_what_is_no_yaml_has_a_place_and_a_hint(case: str, tmp_path: Path) -> None:
    content, place = NO_YAML[case]
    write(tmp_path, {"spec.yaml": content})
    problems = Problems()
    document.load([tmp_path / "spec.yaml"], problems=problems)
    assert described(problems, tmp_path) == [place]
    assert next(iter(problems)).hint


def test_problems_before_a_syntax_error_are_reported_too(tmp_path: Path) -> None:
    write(tmp_path, {"spec.yaml": "a: 1\na: 2\nb: !x 3\nc: [\n"})
    problems = Problems()
    document.load([tmp_path / "spec.yaml"], problems=problems)
    assert [line.split(": ", 1)[0] for line in described(problems, tmp_path)] == [
        "spec.yaml:2:1",
        "spec.yaml:3:4",
        "spec.yaml:5:1",
    ]


def test_the_parser_in_python_gives_the_same_tree() -> None:
    content = (Path(__file__).parents[1] / "language" / "edge.yaml").read_bytes()
    in_c, in_python = (composed(content, in_python=python)[0] for python in (False, True))
    assert in_c is not None
    assert in_python is not None
    assert as_json(in_c) == as_json(in_python)
    for path in (("maps", "active"), ("shared_inner_maps", "default_acl"), ("outer_maps", "vips", "inner_maps", "0")):
        assert rows(at(in_c, *path, "entries")) == rows(at(in_python, *path, "entries"))


def test_fragments_are_left_out_and_anchors_in_them_are_used() -> None:
    tree, problems = composed(
        "x-acl: &acl {1: 2}\nx-map: &map {entries: {3: 4}}\n"
        "maps: {a: {entries: *acl}, b: *map}\nouter_maps: {o: {inner_maps: {7: *map}}}\n"
    )
    assert not len(problems)
    assert tree is not None
    assert [name for name, _, _ in tree.named()] == ["maps", "outer_maps"]
    for path, key in ((("maps", "a"), "1"), (("maps", "b"), "3"), (("outer_maps", "o", "inner_maps", "7"), "3")):
        assert [row[("key",)] for row, _ in rows(at(tree, *path, "entries"))] == [key]


def test_only_top_level_keys_are_fragments() -> None:
    tree, _ = composed("maps: {x-a: {key: u32}}\n")
    assert isinstance(at(tree, "maps", "x-a"), MappingNode)
