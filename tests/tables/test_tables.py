"""Tables: each format gives the same entries, and says where a wrong one stands."""

from __future__ import annotations

import csv
import io
import json
import sys
import tracemalloc
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import provisioner
from provisioner.codec.integer import Integer
from provisioner.desired.loading import SpecError
from provisioner.desired.rows import EntryEncoder, EntrySource
from provisioner.model.desired import DesiredMap, DesiredState
from provisioner.model.errors import Problems
from provisioner.model.host import Host
from provisioner.model.location import Location
from provisioner.model.spec import TableColumn, TableRef
from provisioner.model.tree import RawChunk, ScalarNode
from provisioner.tables import read_table
from provisioner.tables.chunks import MAX_PROBLEMS
from provisioner.tables.delimited import scan
from tests.document.support import described, write

HOST = Host("little", 4)
AT = Location("spec.yaml", 7, 9)
FORMATS = ("csv", "tsv", "ndjson", "jsonl", "parquet")
ROWS: list[dict[str, Any]] = [
    {"tenant": 7, "cidr": "10.0.0.0/8", "ip": "192.0.2.1", "port": 443, "on": True, "tag": "0x0102"},
    {"tenant": 9, "cidr": "10.0.0.0/8", "ip": "192.0.2.2", "port": 80, "on": False, "tag": "0xffff"},
    {"tenant": 7, "cidr": "0.0.0.0/0", "ip": "192.0.2.3", "port": 0, "on": True, "tag": "0x0000"},
]
SPEC = """\
version: 1
name: edge
types:
  backend: {{struct: {{ip: ipv4, port: be16, on: bool, tag: "bytes[2]"}}}}
inner_templates:
  acl: {{type: lpm_trie, key: cidr4, value: backend, max_entries: 8}}
outer_maps:
  tenants:
    type: hash_of_maps
    key: u32
    max_entries: 8
    inner: acl
    inner_maps: {inner_maps}
"""


def column(name: str) -> TableColumn:
    return TableColumn((((), name),), AT)


def reference(
    name: str,
    *,
    kind: str | None = None,
    key: TableColumn | None = None,
    value: TableColumn | None = None,
    outer_key: TableColumn | None = None,
    delimiter: str | None = None,
) -> TableRef:
    return TableRef(ScalarNode(name, AT), kind, key, value, outer_key, AT, delimiter)


def read(
    folder: Path, name: str, content: str | bytes | None = None, **parts: Any
) -> tuple[list[dict[tuple[str | int, ...], str | None]], list[str]]:
    """The file's rows as text by path, in the order of its lines, and its problems with their hints left out."""
    if content is not None:
        write(folder, {name: content.encode() if isinstance(content, str) else content})
    problems = Problems()
    read_rows = rows(read_table(reference(name, **parts), folder / name, problems))
    return read_rows, described(problems, folder)


def rows(chunks: Iterable[RawChunk]) -> list[dict[tuple[str | int, ...], str | None]]:
    by_line = []
    for chunk in chunks:
        texts = {path: packed.texts() for path, packed in chunk.columns.items()}
        for row, line in enumerate(chunk.lines()):
            by_line.append((line, {path: column[row] for path, column in texts.items()}))
    return [row for _, row in sorted(by_line, key=lambda pair: pair[0])]


def pairs(rows_: Sequence[dict[tuple[str | int, ...], str | None]]) -> list[tuple[str | None, str | None]]:
    return [(row["key",], row["value",]) for row in rows_]


def as_file(path: Path, table: Sequence[dict[str, Any]]) -> None:
    """`table` in the format of the path's suffix."""
    match path.suffix:
        case ".csv" | ".tsv":
            with path.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, list(table[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
                writer.writeheader()
                writer.writerows({name: csv_text(value) for name, value in row.items()} for row in table)
        case ".ndjson" | ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in table))
        case _:
            columns: dict[str, Any] = {name: [row[name] for row in table] for name in table[0]}
            columns["tag"] = [bytes.fromhex(text[2:]) for text in columns["tag"]]
            columns["port"] = [Decimal(port) for port in columns["port"]]
            pq.write_table(pa.table(columns), path)


def csv_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def load(folder: Path, inner_maps: str, **more: Any) -> DesiredState:
    write(folder, {"spec.yaml": SPEC.format(inner_maps=inner_maps)})
    return provisioner.load([folder / "spec.yaml"], host=HOST, **more).desired


def contents(desired_map: DesiredMap) -> dict[bytes, list[tuple[bytes, bytes]]]:
    """Outer key -> its entries, in bytes."""
    by_slot = {}
    for number, outer in enumerate(desired_map.slots.keys):
        keys, values = desired_map.entries.slot(number)
        by_slot[outer.tobytes()] = [(key.tobytes(), value.tobytes()) for key, value in zip(keys, values, strict=True)]
    return by_slot


def errors(folder: Path, inner_maps: str, **more: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(folder, inner_maps, **more)
    problems = Problems()
    problems.extend(caught.value.problems)
    return described(problems, folder)


INLINE = (
    "{"
    + ", ".join(
        f"{tenant}: {{entries: {{"
        + ", ".join(
            f"{row['cidr']}: {{ip: {row['ip']}, port: {row['port']}, on: {csv_text(row['on'])}, tag: '{row['tag']}'}}"
            for row in ROWS
            if row["tenant"] == tenant
        )
        + "}}"
        for tenant in (7, 9)
    )
    + "}"
)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_what_the_inline_form_gives(tmp_path: Path, suffix: str) -> None:
    as_file(tmp_path / f"acl.{suffix}", ROWS)
    members = "{ip: ip, port: port, on: on, tag: tag}"
    long_form = load(tmp_path, f"{{from: acl.{suffix}, outer_key: tenant, key: cidr, value: {members}}}")
    assert contents(long_form.maps["tenants"]) == contents(load(tmp_path, INLINE).maps["tenants"])
    as_file(tmp_path / f"seven.{suffix}", [row for row in ROWS if row["tenant"] == 7])
    entries = f"{{from: seven.{suffix}, key: cidr, value: {members}}}"
    seven = load(tmp_path, f"{{7: {{entries: {entries}}}}}")
    seven_inline = {key: held for key, held in contents(long_form.maps["tenants"]).items() if key[0] == 7}
    assert contents(seven.maps["tenants"]) == seven_inline


def test_a_wrong_value_is_reported_with_the_inner_map_that_its_row_names(tmp_path: Path) -> None:
    write(tmp_path, {"t.csv": "tenant,cidr,ip\n7,10.0.0.0/8,192.0.2.1\n9,x,192.0.2.2\nz,10.0.0.0/8,y\n"})
    with pytest.raises(SpecError) as caught:
        load(tmp_path, "{from: t.csv, outer_key: tenant, key: cidr, value: {ip: ip}}")
    places = [(problem.address, problem.where) for problem in caught.value.problems]
    table = str(tmp_path / "t.csv")
    assert ("tenants[9]", Location(table, 3, 3)) in places
    assert ("tenants", Location(table, 4, 1)) in places
    assert ("tenants", Location(table, 4, 14)) in places


def nested(folder: Path, suffix: str) -> None:
    table = [
        {"key": "1", "hop": {"ip": "192.0.2.1", "weights": [1, 2]}},
        {"key": "2", "hop": {"ip": "192.0.2.2", "weights": [3, 4]}},
    ]
    if suffix == "ndjson":
        (folder / "t.ndjson").write_text("".join(json.dumps(row) + "\n" for row in table))
    else:
        pq.write_table(pa.Table.from_pylist(table), folder / "t.parquet")


@pytest.mark.parametrize("suffix", ["ndjson", "parquet"])
def test_lists_and_objects_are_reached_whole_or_by_member(tmp_path: Path, suffix: str) -> None:
    nested(tmp_path, suffix)
    whole, problems = read(tmp_path, f"t.{suffix}", value=column("hop"))
    assert not problems
    assert whole[1] == {
        ("key",): "2",
        ("value", "ip"): "192.0.2.2",
        ("value", "weights", 0): "3",
        ("value", "weights", 1): "4",
    }
    member, problems = read(tmp_path, f"t.{suffix}", value=column("hop.ip"))
    assert not problems
    assert pairs(member) == [("1", "192.0.2.1"), ("2", "192.0.2.2")]
    _, problems = read(tmp_path, f"t.{suffix}", value=column("hop.mac"))
    assert problems == ["spec.yaml:7:9: missing-column"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("key,value\n1,2\n", [("1", "2")]),
        ("\ufeffkey,value\r\n1,2\r\n\r\n3,4", [("1", "2"), ("3", "4")]),
        ('value,other,key\n"a,""b""\r\nc",x,"1"\n', [("1", 'a,"b"\r\nc')]),
        ("key,value\n", []),
        ("key,value\n,\n", [("", "")]),
        ("key,value\n1,\0\n", [("1", "\0")]),
        ("key,value\n1, 0755 \n", [("1", " 0755 ")]),
        ("sep=;\r\nkey;value\r\n1;2,5\r\n", [("1", "2,5")]),
        ('\ufeffSEP=;\nkey;value\n1;"a;b"\n', [("1", "a;b")]),
        ('sep=\t\n"key"\tvalue\n1\t2\n', [("1", "2")]),
    ],
)
def test_csv_takes_text_as_it_stands(tmp_path: Path, content: str, expected: list[tuple[str, str]]) -> None:
    table_rows, problems = read(tmp_path, "t.csv", content)
    assert not problems
    assert pairs(table_rows) == expected


@pytest.mark.parametrize("text", ["key|value\n1|2\n", "sep=;\nkey|value\n1|2\n"])
def test_the_delimiter_of_the_spec_counts(tmp_path: Path, text: str) -> None:
    table_rows, problems = read(tmp_path, "t.csv", text, delimiter="|")
    assert (pairs(table_rows), problems) == ([("1", "2")], [])


def test_places_below_the_line_of_the_delimiter_are_exact(tmp_path: Path) -> None:
    assert read(tmp_path, "t.csv", "sep=;\nkey;value\n1;2\n3\n")[1] == ["t.csv:4:2: invalid-row"]
    assert read(tmp_path, "t.csv", "sep=;\nkey;value;key\n")[1] == ["t.csv:2:11: duplicate-key"]
    assert read(tmp_path, "t.csv", "sep=;\n\n")[1] == ["t.csv:2:1: missing-column"]


def test_another_delimiter_is_offered_and_one_without_use_refused(tmp_path: Path) -> None:
    write(tmp_path, {"t.csv": b"key;value\n1;2\n"})
    problems = Problems()
    list(read_table(reference("t.csv"), tmp_path / "t.csv", problems))
    assert {problem.hint.rpartition("write ")[2] for problem in problems} == {'`delimiter: ";"` in the spec'}
    problem, *_ = read(tmp_path, "t.ndjson", '{"key": 1, "value": 2}', delimiter=";")[1]
    assert problem == "spec.yaml:7:9: delimiter-without-use"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(("name", "text"), [("t.csv", "key,value\n1,2\n"), ("t.ndjson", '{"key": 1, "value": 2}\n')])
def test_utf_16_of_spreadsheets_is_named(tmp_path: Path, encoding: str, name: str, text: str) -> None:
    write(tmp_path, {name: text.encode(encoding)})
    problems = Problems()
    assert list(read_table(reference(name), tmp_path / name, problems)) == []
    assert [problem.what for problem in problems] == ["the file is UTF-16, not UTF-8"]


def test_a_table_with_an_invalid_delimiter_is_not_read(tmp_path: Path) -> None:
    """That its columns are missing would be an error of the error."""
    assert read(tmp_path, "t.csv", "key;value\n1;2\n", delimiter="") == ([], [])


def test_ndjson_takes_numbers_by_their_text(tmp_path: Path) -> None:
    lines = [
        '\ufeff{"key": 18446744073709551616, "value": 1.10}',
        "",
        '{"value": true, "key": 1e400}\r',
        '{"key": "\\u00e4", "value": null}',
    ]
    table_rows, problems = read(tmp_path, "t.ndjson", "\n".join(lines))
    assert not problems
    assert pairs(table_rows) == [("18446744073709551616", "1.10"), ("1e400", "true"), ("ä", None)]


def test_parquet_takes_whole_numbers_text_bytes_and_booleans(tmp_path: Path) -> None:
    values = {
        "i8": pa.array([-1, None], pa.int8()),
        "u64": pa.array([2**64 - 1, 0], pa.uint64()),
        "large": pa.array(["a", "b"], pa.large_string()),
        "dictionary": pa.array(["a", "b"]).dictionary_encode(),
        "binary": pa.array([b"\x00\xff", b""]),
        "fixed": pa.array([b"ab", b"cd"], pa.binary(2)),
        "bool": pa.array([True, False]),
        "decimal": pa.array([Decimal("12.00"), Decimal("1.50")], pa.decimal128(10, 2)),
        "null": pa.nulls(2),
    }
    pq.write_table(pa.table({"key": ["1", "2"], **values}), tmp_path / "t.parquet")
    table_rows, problems = read(tmp_path, "t.parquet", value=TableColumn(tuple(((name,), name) for name in values), AT))
    assert not problems
    assert list(table_rows[0].values()) == ["1", "-1", str(2**64 - 1), "a", "a", "0x00ff", "0x6162", "true", "12", None]
    assert list(table_rows[1].values()) == ["2", None, "0", "b", "b", "0x", "0x6364", "false", "1.50", None]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", ["t.csv:1:1: missing-column"]),
        ("\nkey,value\n", ["t.csv:1:1: missing-column"]),
        ("kee,value\n1,2\n", ["spec.yaml:7:9: missing-column"]),
        ("key,a,key,value\n", ["t.csv:1:7: duplicate-key"]),
        (
            "key,value\n1\n\n22,3,x\n4,5\n,,\n",
            [
                "t.csv:2:2: invalid-row",
                "t.csv:4:6: invalid-row",
                "t.csv:6:3: invalid-row",
            ],
        ),
        (
            'key,value\n"a\nb",c\n"d\n\ne","f",g\nh\n',
            ["t.csv:6:8: invalid-row", "t.csv:7:2: invalid-row"],
        ),
        (
            'key,value\n1,"2" \n3\n',
            ["t.csv:2:6: invalid-row", "t.csv:3:2: invalid-row"],
        ),
        ('key,value\n1,2\n3,"4\n5,6\n', ["t.csv:3:3: invalid-row"]),
        ("key,value\n1,2\rx\n", ["t.csv:2:4: invalid-row"]),
        ('"key', ["t.csv:1:1: invalid-row"]),
        ("key,value\n1,ä\n".encode("latin-1"), ["t.csv:2:3: invalid-encoding"]),
        ("\ufeffä\n".encode() + b"\xff", ["t.csv:2:1: invalid-encoding"]),
        ("key,value\n".encode("utf-16"), ["t.csv:1:1: invalid-encoding"]),
        (
            "key,value\n1," + "x" * 200_000 + "\n",
            ["t.csv:2:200003: invalid-row"],
        ),
    ],
)
def test_csv_problems(tmp_path: Path, content: str | bytes, expected: list[str]) -> None:
    assert read(tmp_path, "t.csv", content)[1] == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"key": 1, "value": 2}\n{"key": ?}\n', ["t.ndjson:2:9: invalid-row"]),
        ('{"key": 1, "value": 2}, {}\n', ["t.ndjson:1:23: invalid-row"]),
        ("[1, 2]\n", ["t.ndjson:1:1: invalid-row"]),
        ('{"key": 1, "value": 2, "key": 3}\n', ["t.ndjson:1:1: duplicate-key"]),
        ('{"key": 1, "valeu": 2}\n{"key": 3}\n', ["spec.yaml:7:9: missing-column"]),
        ('{"key": 1, "value": 2}\n{"key": 3}\n', ["t.ndjson:2:1: invalid-row"]),
        ('{"key": 1, "value": Infinity}\n', ["t.ndjson:1:1: invalid-row"]),
        ('{"key": 1, "value": NaN}\n', ["t.ndjson:1:1: invalid-row"]),
        ('{"key": 1, "value": {"a": []}}\n', ["t.ndjson:1:21: empty-value"]),
        ('{"key": 1, "value": "\\ud800"}\n', ["t.ndjson:1:22: invalid-row"]),
        (b'{"key": "\xc3\xa4", "value": "\xff"}', ["t.ndjson:1:24: invalid-encoding"]),
        ("[" * 100_000, ["t.ndjson:1:1: limit-exceeded"]),
    ],
)
def test_ndjson_problems(tmp_path: Path, content: str | bytes, expected: list[str]) -> None:
    assert read(tmp_path, "t.ndjson", content)[1] == expected


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"key": ["1"], "vlaue": ["2"]}, "missing-column"),
        ({"key": ["1"], "value": [1.0]}, "unsupported-column-type"),
        ({"key": ["1"], "value": [[1.0]]}, "unsupported-column-type"),
        ({"key": ["1"], "value": [{"a": 1.0}]}, "unsupported-column-type"),
        ({"key": ["1"], "value": [date(2000, 1, 1)]}, "unsupported-column-type"),
    ],
)
def test_parquet_problems_of_columns(tmp_path: Path, columns: dict[str, Any], expected: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert read(tmp_path, "t.parquet")[1] == [f"spec.yaml:7:9: {expected}"]


def test_a_parquet_file_with_two_columns_of_one_name(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array(["1"])] * 3, ["key", "value", "value"]), tmp_path / "t.parquet")
    assert read(tmp_path, "t.parquet")[1] == ["spec.yaml:7:9: duplicate-key"]


def test_parquet_problems_of_rows_and_files(tmp_path: Path) -> None:
    pq.write_table(pa.table({"value": [[1], []], "key": ["1", "2"]}), tmp_path / "t.parquet")
    assert read(tmp_path, "t.parquet")[1] == ["t.parquet:2:1: empty-value"]
    latin = pa.StringArray.from_buffers(1, pa.array([b"\xe4"]).buffers()[1], pa.py_buffer(b"\xe4"))
    pq.write_table(pa.table({"key": ["1"], "value": latin}), tmp_path / "latin.parquet")
    for problems in (read(tmp_path, "t.parquet", "no Parquet at all")[1], read(tmp_path, "latin.parquet")[1]):
        assert problems == ["spec.yaml:7:9: unreadable-file"]


def test_without_pyarrow_a_hint_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"t.parquet": b""})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    problems = Problems()
    assert not list(read_table(reference("t.parquet"), tmp_path / "t.parquet", problems))
    [problem] = problems
    assert problem.where == AT
    assert problem.hint == "pip install pyarrow"


def test_files_that_cannot_be_read_are_reported_at_the_spec_line(tmp_path: Path) -> None:
    write(tmp_path, {"acl.csv": "key,value\n", "acl.txt": ""})
    (tmp_path / "folder.csv").mkdir()
    problems = Problems()
    assert not list(read_table(reference("acll.csv"), tmp_path / "acll.csv", problems))
    [problem] = problems
    assert (problem.where, problem.id, problem.hint) == (AT, "unreadable-file", "did you mean `acl.csv`?")
    assert read(tmp_path, "folder.csv")[1] == ["spec.yaml:7:9: unreadable-file"]
    assert read(tmp_path, "a\0.csv")[1] == ["spec.yaml:7:9: unreadable-file"]
    assert read(tmp_path, "acl.txt")[1] == ["spec.yaml:7:9: unknown-table-format"]
    assert read(tmp_path, "acl.txt", "key,value\n1,2\n", kind="csv") == ([{("key",): "1", ("value",): "2"}], [])


@pytest.mark.parametrize(("name", "line"), [("t.csv", "x\n"), ("t.ndjson", "x\n"), ("t.ndjson", "{}\n")])
def test_problems_of_one_file_are_bounded(tmp_path: Path, name: str, line: str) -> None:
    head = "key,value\n" if name == "t.csv" else '{"key": 1, "value": 1}\n'
    assert len(read(tmp_path, name, head + line * 5_000)[1]) == MAX_PROBLEMS


BAD = [
    {"tenant": 7, "cidr": "10.0.0.0/8", "ip": "192.0.2.1", "port": 443, "on": True, "tag": "0x0102"},
    {"tenant": 7, "cidr": "11.0.0.0/8", "ip": "192.0.2", "port": 65536, "on": True, "tag": "0x0102"},
]


@pytest.mark.parametrize(
    ("suffix", "ip", "port"),
    [("csv", "3:14", "3:22"), ("tsv", "3:14", "3:22"), ("ndjson", "2:43", "2:62"), ("parquet", "2:3", "2:4")],
)
def test_a_value_of_the_wrong_type_is_reported_at_its_field(tmp_path: Path, suffix: str, ip: str, port: str) -> None:
    as_file(tmp_path / f"bad.{suffix}", BAD)
    table = f"{{from: bad.{suffix}, outer_key: tenant, key: cidr, value: {{ip: ip, port: port, on: on, tag: tag}}}}"
    places = [line.split(": ")[0] for line in errors(tmp_path, table)]
    assert places == [f"bad.{suffix}:{ip}", f"bad.{suffix}:{port}"]


def test_places_far_down_and_after_fields_of_several_lines_are_exact(tmp_path: Path) -> None:
    good = "".join(f"7,10.{number >> 8}.{number & 255}.0/24,192.0.2.1,1,true,0x0000\n" for number in range(3_000))
    text = (
        "tenant,cidr,ip,port,on,tag\n" + good + '9,"1.0.0.0/8",192.0.2.1,"\n1",true,0x0000\n"x",2.0.0.0/8,,1,true,0\n'
    )
    write(tmp_path, {"long.csv": text})
    table = "{from: long.csv, outer_key: tenant, key: cidr, value: {ip: ip, port: port, on: on, tag: tag}}"
    places = [line.split(": ")[0] for line in errors(tmp_path, table)]
    assert set(places) >= {"long.csv:3002:25", "long.csv:3004:1", "long.csv:3004:15"}


@pytest.mark.parametrize(
    ("suffix", "first", "second"), [("csv", 2, "4:3"), ("ndjson", 1, "3:23"), ("parquet", 1, "3:2")]
)
def test_keys_that_stand_twice_name_both_places(tmp_path: Path, suffix: str, first: int, second: str) -> None:
    as_file(tmp_path / f"t.{suffix}", [ROWS[0], ROWS[1], ROWS[0]])
    table = f"{{from: t.{suffix}, outer_key: tenant, key: cidr, value: {{ip: ip, port: port, on: on, tag: tag}}}}"
    with pytest.raises(SpecError) as caught:
        load(tmp_path, table)
    (problem,) = caught.value.problems
    assert (f"{problem.where}".rpartition("/")[2], problem.id) == (f"t.{suffix}:{second}", "duplicate-key")
    assert problem.what.endswith(f"t.{suffix}:{first})")


def test_keys_that_stand_twice_in_one_line_name_both_columns(tmp_path: Path) -> None:
    backend = "{ip: 10.0.0.1, port: 1, on: true, tag: 0x0000}"
    inline = f"{{7: {{entries: [{{value: {backend}, key: 0.0.0.0/0}}, {{key: 0.0.0.0/0, value: {backend}}}]}}}}"
    with pytest.raises(SpecError) as caught:
        load(tmp_path, inline)
    (problem,) = caught.value.problems
    head = "    inner_maps: "
    first, second = (
        len(head) + 1 + inline.index(f"{before}0.0.0.0/0") + len(before) for before in (", key: ", "{key: ")
    )
    assert (f"{problem.where}".rpartition("/")[2], problem.id) == (f"spec.yaml:13:{second}", "duplicate-key")
    assert problem.what.endswith(f"spec.yaml:13:{first})")


def test_tables_stay_inside_the_project_folder(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    as_file(tmp_path / "acl.csv", ROWS)
    (project / "link.csv").symlink_to(tmp_path / "acl.csv")
    table = "{{from: {}, outer_key: tenant, key: cidr, value: {{ip: ip, port: port, on: on, tag: tag}}}}"
    for name in ("../acl.csv", "link.csv", str(tmp_path / "acl.csv")):
        assert errors(project, table.format(name)) == ["spec.yaml:13:24: outside-project"]
        assert len(load(project, table.format(name), allow_outside=True).maps["tenants"].slots.keys) == 2


def test_paths_that_lead_nowhere_are_reported(tmp_path: Path) -> None:
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    for name in ("loop.csv", r'"a\0.csv"'):
        table = f"{{from: {name}, outer_key: tenant, key: cidr, value: ip}}"
        [problem] = errors(tmp_path, table)
        assert problem.startswith("spec.yaml:13:24: ")


def test_a_file_that_changes_while_it_is_read_still_gives_places(tmp_path: Path) -> None:
    for name, before in (("t.csv", "key,value\n1,2\n"), ("t.ndjson", '{"key": 1, "value": 2}\n')):
        write(tmp_path, {name: before})
        [chunk] = read_table(reference(name), tmp_path / name, Problems())
        line = chunk.lines()[0]
        write(tmp_path, {name: "\n?\n"})
        assert chunk.where(0, ("value",)).line == line
        (tmp_path / name).unlink()
        assert chunk.where(0, ("value",)) == Location(str(tmp_path / name), line, 1)


RAW_SPEC = """\
version: 1
name: edge
types:
  backend: {struct: {port: u8, ip: u32}}
maps:
  rings: {type: hash, key: u32, value: "backend[2]", max_entries: 4, entries: ENTRIES}
"""
VALUE = bytes(range(1, 17))


def load_raw(folder: Path, entries: str) -> DesiredMap:
    write(folder, {"spec.yaml": RAW_SPEC.replace("ENTRIES", entries), "a.bin": VALUE, "short.bin": VALUE[:15]})
    return provisioner.load([folder / "spec.yaml"], host=HOST).desired.maps["rings"]


@pytest.mark.parametrize(
    "entries",
    [
        "{5: {from: a.bin, format: raw}, 6: [{port: 1, ip: 2}, {port: 3, ip: 4}]}",
        "[{key: 5, value: {from: a.bin, format: raw}}, {key: 6, value: [{port: 1, ip: 2}, {port: 3, ip: 4}]}]",
    ],
)
def test_one_value_may_come_from_a_raw_file(tmp_path: Path, entries: str) -> None:
    keys, values = load_raw(tmp_path, entries).entries.slot(0)
    assert keys.tolist() == [[5, 0, 0, 0], [6, 0, 0, 0]]
    padding = np.array([0xFF, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF] * 2, np.uint8)
    assert values[0].tolist() == (np.frombuffer(VALUE, np.uint8) & padding).tolist()
    assert values[1].tolist() == [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0]


@pytest.mark.parametrize(
    ("entries", "at", "expected"),
    [
        ("{5: {from: short.bin, format: raw}}", "short", "wrong-length"),
        ("{5: {from: none.bin, format: raw}}", "none", "unreadable-file"),
        (
            "{5: {from: a.bin, format: raw}, 6: {from: a.bin, format: csv}}",
            "csv",
            "unknown-value",
        ),
        ("{from: a.bin}", "a.bin", "raw-without-key"),
    ],
)
def test_raw_problems(tmp_path: Path, entries: str, at: str, expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_raw(tmp_path, entries)
    problems = Problems()
    problems.extend(caught.value.problems)
    line = RAW_SPEC.replace("ENTRIES", entries).splitlines()[5]
    assert described(problems, tmp_path) == [f"spec.yaml:6:{1 + line.index(at)}: {expected}"]


def big_table(path: Path, count: int) -> None:
    is_csv = path.suffix == ".csv"
    line = "{},{}\n" if is_csv else '{{"key": {}, "value": "{}"}}\n'
    with path.open("w") as stream:
        if is_csv:
            stream.write("key,value\n")
        stream.writelines(line.format(number, number * 3) for number in range(count))


@pytest.mark.parametrize(("suffix", "count"), [("csv", 400_000), ("ndjson", 50_000)])
def test_memory_is_the_packed_entries_and_one_chunk(tmp_path: Path, suffix: str, count: int) -> None:
    """Of an entry its key and value are kept, and 13 bytes: line 4, column 2, file 2, inner map 4, whether the
    key is sound 1.

    Memory that grows in place is taken an eighth ahead. A block of CSV is 256 KiB of text; beside it are where its
    fields begin and end, as 8 bytes when they are looked for and 4 when they are kept, and their bytes as numbers: less
    than twelve times the text. The text of all rows would be 5 MB for CSV, and with the places of its fields 18 MB.
    """
    path = tmp_path / f"big.{suffix}"
    big_table(path, count)
    key, value = Integer("u32", 4, False, "little", 32), Integer("u64", 8, False, "little", 64)
    problems = Problems()
    gatherer = EntryEncoder(key, value, problems)
    tracemalloc.start()
    try:
        gatherer.take([EntrySource(read_table(reference(path.name), path, problems), 0, lambda: "tenants[7]")])
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    rows = gatherer.finish()
    assert not len(problems)
    assert len(rows.keys) == count
    assert kept < 9 / 8 * (4 + 8 + 13) * count + 100_000
    assert peak < kept + 12 * (256 << 10)


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TABLES = st.lists(st.tuples(CELLS, CELLS), max_size=40)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


# With LF alone, the `csv` module of some Pythons leaves a carriage return in a field without quotes.
WRITERS = [("\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_MINIMAL)]


def as_csv(table: Sequence[Sequence[str]], end: str, quoting: int) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator=end, quoting=quoting).writerows(table)  # type: ignore[arg-type]
    return stream.getvalue()


@given(TABLES, st.sampled_from(WRITERS))
@settings(deadline=None)
def test_any_text_survives_csv(shelf: Path, table: list[tuple[str, str]], writer: tuple[str, int]) -> None:
    table_rows, problems = read(shelf, "t.csv", as_csv([("key", "value"), *table], *writer))
    assert not problems
    assert pairs(table_rows) == table


@given(TABLES, st.booleans())
@settings(deadline=None)
def test_any_text_survives_ndjson(shelf: Path, table: list[tuple[str, str]], escaped: bool) -> None:
    lines = [json.dumps({"value": value, "key": key}, ensure_ascii=escaped) for key, value in table]
    table_rows, problems = read(shelf, "t.ndjson", "\n".join(lines))
    assert not problems
    assert pairs(table_rows) == table


@given(st.binary(max_size=200), st.sampled_from(["t.csv", "t.tsv", "t.ndjson", "t.parquet"]), st.booleans())
@settings(deadline=None, max_examples=300)
def test_no_bytes_make_it_raise(shelf: Path, data: bytes, name: str, headed: bool) -> None:
    head = {"t.csv": b"key,value\n", "t.tsv": b"key\tvalue\n"}.get(name, b"") if headed else b""
    write(shelf, {name: head + data})
    problems = Problems()
    chunks = read_table(reference(name), shelf / name, problems)
    for chunk in chunks:
        assert chunk.where(chunk.rows - 1, ("value",)).line >= 1
    assert len(problems) <= MAX_PROBLEMS


@given(st.lists(CELLS, min_size=1, max_size=6), st.sampled_from(WRITERS))
@settings(deadline=None)
def test_scan_finds_each_field_where_it_begins(cells: list[str], writer: tuple[str, int]) -> None:
    lines = io.StringIO(as_csv([cells], *writer), newline="\n").readlines()
    record = scan(lines, ",")
    assert record.fault is None
    assert len(record.starts) == len(cells)
    for (down, at), cell in zip(record.starts, cells, strict=True):
        rest = "".join([lines[down][at - 1 :], *lines[down + 1 :]])
        assert rest.startswith((cell, '"' + cell.replace('"', '""') + '"'))
