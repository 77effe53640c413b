"""A snapshot comes from another machine: whatever is in it, a plan is made or the error says what is malformed."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from provisioner import InputError, ProvisionerError, load, read_snapshot
from provisioner.observed.snapshot_format import to_bytes
from provisioner.observed.snapshot_take import take
from tests.apply.conftest import HEAD, Bench
from tests.cli.support import run
from tests.conftest import remove_tree

SPEC: Final = """
types: {pair: {struct: {port: be16, weight: u32}}}
inner_templates:
  acl: {type: lpm_trie, key: cidr4, value: u8, max_entries: 64}
  counts: {type: percpu_hash, key: u32, value: u64, max_entries: 8}
  pairs: {type: array, key: u32, value: pair, max_entries: 2}
maps:
  active: {type: array, key: u32, value: ifindex, max_entries: 2, entries: {0: lo}}
outer_maps:
  tenants:
    {type: hash_of_maps, key: u32, max_entries: 8, inner: acl, inner_maps: {1: {entries: {10.0.0.0/8: 1}}, 2: {}}}
  stats: {type: hash_of_maps, key: u32, max_entries: 8, inner: counts, inner_maps: {1: {entries: {1: 7}}}}
  vips: {type: array_of_maps, key: u32, max_entries: 8, inner: pairs, inner_maps: {3: {}}}
"""
ROUNDS: Final = 50_000 if os.environ.get("PROVISIONER_SWEEP") == "full" else 500

Members = dict[str, bytes]
Header = dict[str, Any]


@pytest.fixture(scope="module")
def members(bpffs_mount: Path, tmp_path_factory: pytest.TempPathFactory) -> Members:
    """Those of a good snapshot, of the pin root that each test plans for; nothing is live there any more."""
    bench = Bench(tmp_path_factory.mktemp("good"), bpffs_mount / "edge")
    bench.apply(SPEC)
    with zipfile.ZipFile(io.BytesIO(to_bytes(take(bench.load(SPEC).desired)))) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    remove_tree(bench.root)
    return found


def packed(members: Members) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def outcome(bench: Bench, data: bytes) -> str:
    """How a plan against a snapshot ends."""
    path, spec = bench.folder / "bad.snapshot", bench.folder / "spec.yaml"
    path.write_bytes(data)
    spec.write_text(HEAD + SPEC)
    try:
        snapshot = read_snapshot(path)
    except InputError as error:
        [problem] = error.problems
        return problem.what if str(problem.where) == str(path) else "without a place"
    try:
        load([spec], pin_root=str(bench.root), snapshot=snapshot).plan(against=snapshot)
    except ProvisionerError as error:
        return f"refused: {error.problems[0].what}"
    return "planned"


def npy(descr: str, shape: tuple[int, ...], data: bytes = b"") -> bytes:
    head = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


ARRAYS: dict[str, bytes] = {
    "objects": npy("|O", (1, 4), b"x" * 32),
    "terabytes": npy("|u1", (1 << 40, 4), b"x"),
    "more bytes than integers have": npy("|u1", (1 << 62, 1 << 62), b""),
    "a negative length": npy("|u1", (-1, 4), b"x" * 16),
    "floats": npy("<f8", (1, 4), b"x" * 32),
    "text": npy("<U4", (1, 4), b"x" * 64),
    "one dimension": npy("|u1", (4,), b"x" * 4),
    "no dimension": npy("|u1", (), b"x"),
    "another width": npy("|u1", (1, 9), b"x" * 9),
    "no rows": npy("|u1", (0, 3), b""),
    "code": b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '|u1', 'shape': (__import__('os'),), }".ljust(117) + b"\n",
    "nothing": b"",
}


COLUMNS = (
    *("maps/1/keys", "maps/1/ids"),
    *("held/0/ids", "held/0/max_entries", "held/0/counts", "held/0/keys", "held/0/values"),
)


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("array", ARRAYS)
def test_an_array_that_does_not_fit_is_named(array: str, name: str, members: Members, bench: Bench) -> None:
    assert outcome(bench, packed({**members, f"{name}.npy": ARRAYS[array]})).startswith("malformed snapshot: ")


@pytest.mark.parametrize("count", [-5, -2, 1 << 62])
def test_a_count_that_does_not_fit_is_named(count: int, members: Members, bench: Bench) -> None:
    with io.BytesIO() as stream:
        counts = np.load(io.BytesIO(members["held/0/counts.npy"]))
        np.save(stream, np.full_like(counts, count))
        changed = {**members, "held/0/counts.npy": stream.getvalue()}
    assert outcome(bench, packed(changed)).startswith("malformed snapshot: ")


def _set(*path: str | int, to: object) -> Callable[[Header], None]:
    def change(header: Header) -> None:
        at: Any = header
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = to

    return change


HEADERS: list[Callable[[Header], None]] = [
    _set("pins", to=None),
    _set("possible_cpus", to="a"),
    _set("possible_cpus", to=1 << 40),
    _set("possible_cpus", to=-1),
    _set("possible_cpus", to=0),
    _set("byteorder", to="middle"),
    _set("taken", to="not a date"),
    _set("taken", to=5),
    _set("taken", to="2020-01-01T00:00:00"),
    _set("taken", to="2020-02-30T00:00:00+00:00"),
    _set("meta", to='{"a":'),
    _set("meta", to="[]"),
    _set("meta", to=5),
    _set("host", to=5),
    _set("maps", to=5),
    _set("maps", 0, "id", to="x"),
    _set("maps", 0, "id", to=1 << 40),
    _set("maps", 0, "shape", to={}),
    _set("maps", 0, "slots", to=1),
    _set("maps", 0, "slots", to=True),
    _set("maps", 0, "shape", "key_size", to=-4),
    _set("maps", 0, "shape", "key_size", to=1 << 40),
    _set("maps", 1, "shape", "key_size", to=8),
    _set("maps", 0, "shape", "map_type", to=-1),
    _set("maps", 0, "shape", "map_flags", to=1 << 40),
    _set("held", 0, "key_size", to=16),
    _set("held", 0, "value_size", to="x"),
    _set("held", 0, "map_type", to=13),
    _set("exists", to="maybe"),
    _set("interfaces", to={"a": "x"}),
    _set("interfaces", to={"a": 1 << 40}),
    _set("programs", to={"a": {}}),
    _set("btf", to=["x"]),
    _set("more", to=1),
]


@pytest.mark.parametrize("change", HEADERS)
def test_a_header_that_does_not_fit_is_refused(
    change: Callable[[Header], None], members: Members, bench: Bench
) -> None:
    header = json.loads(members["header.json"])
    change(header)
    changed = {**members, "header.json": json.dumps(header).encode()}
    assert outcome(bench, packed(changed)).startswith("malformed snapshot: ")


@pytest.mark.parametrize("version", ['"1"', "2", "null", "1.0", '{"\\u001b[31m": 1}'])
def test_the_version_is_shown_as_it_stands(version: str, members: Members, bench: Bench) -> None:
    text = members["header.json"].replace(b'"version":1', b'"version":' + version.encode())
    assert text != members["header.json"]
    what = outcome(bench, packed({**members, "header.json": text}))
    assert what == f"snapshot version {version} is not supported, only 1 is"


def test_a_header_without_end_is_named(members: Members, bench: Bench) -> None:
    begin = b'{"format": "provisioner-snapshot", "version": 1, "more": '
    text = begin + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert outcome(bench, packed({**members, "header.json": text})) == (
        "malformed snapshot: header.json is nested too deeply"
    )


@pytest.mark.parametrize("text", ["\0", "[", "{a: ", "&a *b", "[" * 2000, "u32\n- x", "!!x y"])
def test_recorded_types_that_are_no_types_are_unknown(text: str, members: Members, bench: Bench) -> None:
    header = json.loads(members["header.json"])
    record = json.loads(header["meta"])
    for types in record["types"].values():
        types |= {"key": text, "names": {"t_0": text}}
    header["meta"] = json.dumps(record)
    assert outcome(bench, packed({**members, "header.json": json.dumps(header).encode()})) == "planned"


@pytest.mark.parametrize("text", [b"", b"[1]", b"[" * 100_000 + b"]" * 100_000, b'{"format": NaN}', b'{"format": "x"}'])
def test_a_header_of_something_else_is_refused(text: bytes, members: Members, bench: Bench) -> None:
    assert outcome(bench, packed({**members, "header.json": text})).startswith("malformed snapshot: ")


def test_what_is_missing_is_named(members: Members, bench: Bench) -> None:
    for name in members:
        changed = {other: data for other, data in members.items() if other != name}
        assert outcome(bench, packed(changed)) == f"malformed snapshot: there is no member {name}"


def test_a_bomb_is_not_inflated(bench: Bench) -> None:
    path = bench.folder / "bomb.snapshot"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("header.json", "w") as member:
        for _ in range(300):
            member.write(bytes(1 << 20))
    assert outcome(bench, path.read_bytes()) == (
        "malformed snapshot: header.json has 314,572,800 bytes, more than 268,435,456"
    )


def test_no_damage_is_a_bug(members: Members, bench: Bench) -> None:
    """Members changed at random and packed again, and the file changed and cut: exit statuses of errors only."""
    whole = packed(members)
    assert outcome(bench, whole) == "planned"
    names = sorted(members)
    for number in range(ROUNDS):
        chance = random.Random(number)
        data = bytearray(whole)
        match chance.randrange(4):
            case 0:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            case 1:
                del data[chance.randrange(len(data)) :]
            case _:
                name = chance.choice(names)
                member = bytearray(members[name])
                for _ in range(chance.choice((1, 1, 4))):
                    member[chance.randrange(len(member))] = chance.choice((*b'0129-"[]{},:', chance.randrange(256)))
                data = bytearray(packed({**members, name: bytes(member)}))
        outcome(bench, bytes(data))


def test_the_command_line_ends_with_1(bench: Bench, tmp_path: Path) -> None:
    bench.load(SPEC)
    (tmp_path / "text").write_text("hello")
    done = run("plan", bench.folder / "spec.yaml", "--against", tmp_path / "text")
    assert (done.status, done.out) == (1, "")
    assert f"{tmp_path / 'text'}: error[malformed-snapshot]: malformed snapshot" in done.err
