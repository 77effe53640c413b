"""Snapshots: the plan that a host would make, made elsewhere, without root and without BPF."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from provisioner.cli.snapshots import about
from provisioner.kernel import bpffs, maps
from provisioner.kernel import host as this_host
from provisioner.kernel.fd import InnerId
from provisioner.model.errors import InputError
from provisioner.model.map_shape import MapShape
from provisioner.model.special_fields import Special
from provisioner.model.uapi import MapType
from provisioner.observed.snapshot import Held, Snapshot
from provisioner.observed.snapshot_format import HeaderDocument, from_bytes, to_bytes
from provisioner.observed.snapshot_take import take
from provisioner.planning.plan import Plan
from provisioner.project.opening import load
from provisioner.report import sentences
from provisioner.report.model import Against
from tests import pages
from tests.apply.conftest import Bench
from tests.apply.test_ownership import u32
from tests.cli.support import environment, parsed, run
from tests.conftest import Veth, remove_tree
from tests.problems import raises

SPEC = """
types: {pair: {struct: {port: be16, weight: u32}}}
inner_templates:
  acl: {type: lpm_trie, key: cidr4, value: u8, max_entries: 64}
  pairs: {type: array, key: u32, value: pair, max_entries: 8, migrate: auto}
  counts: {type: percpu_hash, key: u32, value: u64, max_entries: 8, contents: ignore}
maps:
  active: {type: array, key: u32, value: ifindex, max_entries: 2, entries: {0: lo}}
outer_maps:
  tenants:
    type: hash_of_maps
    key: u32
    max_entries: 64
    inner: acl
    inner_maps: {1: {entries: {10.0.0.0/8: 1}}, 2: {}, 700: {max_entries: 128}}
  vips:
    {type: array_of_maps, key: u32, max_entries: 8, inner: pairs, inner_maps: {3: {entries: {1: {port: 1, weight: 2}}}}}
  stats: {type: hash_of_maps, key: u32, max_entries: 8, inner: counts, inner_maps: {1: {}}}
"""

CHANGES = {
    "nothing": ("active", "active"),
    "an entry": ("10.0.0.0/8: 1", "10.0.0.0/8: 2"),
    "an array's entry": ("weight: 2", "weight: 3"),
    "a slot": ("2: {},", ""),
    "a capacity": ("max_entries: 128", "max_entries: 256"),
    "the plain map": ("{0: lo}", "{1: 7}"),
    "other types": ("be16, weight", "u16, weight"),
    "a new map": ("maps:\n  active:", "maps:\n  more: {type: hash, key: u32, value: u32, max_entries: 8}\n  active:"),
    "another template": ("value: u8, max_entries: 64", "value: u16, max_entries: 64"),
    "a migration": ("value: u8, max_entries: 64", "value: u16, migrate: auto, max_entries: 64"),
    "a migration of members": ("weight: u32}", "weight: u64}"),
    "the data plane's own": ("inner_maps: {1: {}}}", "inner_maps: {1: {}, 2: {}}}"),
}


def carried(snapshot: Snapshot) -> Snapshot:
    """As it comes out of its file."""
    return from_bytes(to_bytes(snapshot), "snapshot")


def plan_against(snapshot: Snapshot, bench: Bench, text: str) -> Plan:
    bench.load(text)
    project = load(
        [bench.folder / "spec.yaml"], pin_root=str(bench.root), host=snapshot.host(), lookups=snapshot.lookups()
    )
    return project.plan(bench.overrides, against=snapshot)


@pytest.mark.parametrize("change", CHANGES)
def test_the_plan_is_that_of_the_host(bench: Bench, change: str) -> None:
    bench.apply(SPEC)
    snapshot = carried(take(bench.load(SPEC).desired))
    text = SPEC.replace(*CHANGES[change])
    there, here = bench.plan(text), plan_against(snapshot, bench, text)
    assert (here.digest, here.blocked, here.hazards) == (there.digest, there.blocked, there.hazards)
    assert [step.describe() for step in here.steps] == [step.describe() for step in there.steps]
    assert bool(here.steps) == (change != "nothing")


def test_a_host_without_any_of_it(bench: Bench) -> None:
    snapshot = carried(take(bench.load(SPEC).desired))
    assert plan_against(snapshot, bench, SPEC).digest == bench.plan(SPEC).digest


def test_objects_programs_and_links(bench: Bench, veth: Veth, bpf_object: Callable[[str], Path]) -> None:
    (bench.folder / "router.o").write_bytes(bpf_object("router").read_bytes())
    text = f"""
objects:
  router: {{file: router.o, programs: {{xdp_router: {{attach: {{xdp: {{interface: {veth.name}, mode: native}}}}}}}}}}
inner_templates: {{any: {{type: array, key: u32, value: u64, max_entries: 8, flags: [inner_map]}}}}
outer_maps: {{vips: {{object: router, inner: any, inner_maps: {{1: {{}}}}}}}}
"""
    bench.apply(text)
    snapshot = carried(take(bench.load(text).desired))
    for changed in (
        text,
        text.replace("native", "generic"),
        text.replace(f"interface: {veth.name}", f"interface: {veth.peer}"),
    ):
        there, here = bench.plan(changed), plan_against(snapshot, bench, changed)
        assert here.digest == there.digest
        assert [change.action for change in here.links] == [change.action for change in there.links]


def test_adopted_maps_and_what_the_snapshot_does_not_cover(bench: Bench, pin_root: Path) -> None:
    for name in ("one", "two"):
        with maps.create(MapShape(MapType.HASH, 4, 4, 8), name) as fd:
            maps.update(fd, bytes(4), bytes(4))
            bpffs.pin(fd, pin_root / name)

    def text(name: str) -> str:
        fields = f"pin: {pin_root}/{name}, type: hash, key: u32, value: u32, max_entries: 8, entries: {{}}"
        return f"maps: {{{name}: {{{fields}}}}}"

    snapshot = carried(take(bench.load(text("one")).desired))
    assert plan_against(snapshot, bench, text("one")).digest == bench.plan(text("one")).digest
    with raises(InputError, "snapshot-mismatch") as caught:
        plan_against(snapshot, bench, text("two"))
    assert f"{pin_root}/two" in str(caught.value)
    gone = carried(take(bench.load(text("none")).desired))
    assert [refusal.rule for refusal in plan_against(gone, bench, text("none")).blocked] == ["adopted-missing"]


def test_entries_that_were_not_the_specs_are_not_in_it(bench: Bench) -> None:
    bench.apply(SPEC)
    snapshot = carried(take(bench.load(SPEC).desired))
    with raises(InputError, "snapshot-mismatch") as caught:
        plan_against(snapshot, bench, SPEC.replace("max_entries: 8, contents: ignore", "max_entries: 8"))
    assert str(caught.value).startswith("stats: ")


def test_entries_of_slots_that_the_spec_would_delete_are_in_it(bench: Bench) -> None:
    """The plan counts them, also of a map whose other contents the spec ignores."""
    bench.apply(SPEC.replace("inner_maps: {1: {}}}", "inner_maps: {1: {}, 2: {}}}"))
    with maps.open_id(InnerId(bench.ids("stats")[u32(2)])) as inner:
        maps.update(inner, u32(7), bytes(8 * this_host.possible_cpus()))
    snapshot = carried(take(bench.load(SPEC).desired))
    assert plan_against(snapshot, bench, SPEC).digest == bench.plan(SPEC).digest


def test_a_map_in_two_outer_maps_has_the_entries_that_one_of_them_lists(bench: Bench) -> None:
    ignored = "others: {type: hash_of_maps, key: u32, max_entries: 8, inner: ignored, inner_maps: {1: {}}}"
    template = "ignored: {type: lpm_trie, key: cidr4, value: u8, max_entries: 64, contents: ignore}"
    text = SPEC.replace("outer_maps:", f"outer_maps:\n  {ignored}").replace("\nmaps:", f"\n  {template}\nmaps:")
    bench.apply(text)
    with (
        maps.open_pin(bench.root / "others") as outer,
        maps.open_id(InnerId(bench.ids("tenants")[u32(1)])) as inner,
    ):
        maps.insert_inner(outer, u32(1), inner)
    snapshot = carried(take(bench.load(text).desired))
    assert plan_against(snapshot, bench, text).digest == bench.plan(text).digest


def test_another_pin_root_is_another_project(bench: Bench) -> None:
    snapshot = carried(take(bench.load(SPEC).desired))
    other = dataclasses.replace(bench, root=bench.root.parent / "other")
    with raises(InputError, "snapshot-mismatch") as caught:
        plan_against(snapshot, other, SPEC)
    assert f"{bench.root}, " in str(caught.value) and f"{other.root} " in str(caught.value)


def test_it_says_whose_it_is_and_how_old(bench: Bench) -> None:
    snapshot = take(bench.load(SPEC).desired)
    header = snapshot.header
    assert header.possible_cpus == this_host.read_host().possible_cpus
    said = about(replace(snapshot, header=replace(header, taken="2020-01-01T00:00:00+00:00")))
    assert (said.host, said.kernel) == (os.uname().nodename, os.uname().release)
    assert said.age_seconds > 6 * 365 * 86400


@pytest.mark.parametrize(
    ("seconds", "age"),
    [
        (-1, "in the future by this host's clock"),
        (0, "0 seconds old"),
        (61, "1 minute old"),
        (7200, "2 hours old"),
        (90000, "1 day old"),
    ],
)
def test_how_old_it_is_in_words(seconds: int, age: str) -> None:
    said = sentences.against(Against("edge-1", "6.18.5", "2026-01-01T00:00:00+00:00", seconds))
    assert said == f"Compared with a snapshot of edge-1 (Linux 6.18.5), taken 2026-01-01T00:00:00+00:00, {age}."


@pytest.fixture
def edge(kernel: Path, tmp_path: Path) -> Iterator[Path]:
    spec = tmp_path / "edge.yaml"
    spec.write_text(f"version: 1\nname: edge\npin_root: {kernel}/edge\n{SPEC}")
    yield spec
    if (kernel / "edge").exists():
        remove_tree(kernel / "edge")


def test_the_command_line_with_neither_root_nor_bpf(edge: Path) -> None:
    assert run("apply", edge, "--yes").status == 0
    file = edge.with_name("host.snapshot")
    done = run("export", "--snapshot", file, edge)
    assert (done.status, done.out, done.err) == (0, "", "")
    edge.write_text(edge.read_text().replace("10.0.0.0/8: 1", "10.0.0.0/8: 2"))
    there = run("plan", edge, "--format", "json")
    here = bare("plan", edge, "--against", file, "--format", "json")
    assert (here.returncode, here.stderr) == (2, "")
    document = parsed(here.stdout)
    against = document.pop("against")
    assert document == there.document
    assert (against["host"], against["kernel"]) == (os.uname().nodename, os.uname().release)
    assert against["age_seconds"] >= 0
    output = bare("plan", edge, "--against", file).stdout
    assert output.startswith("Compared with a snapshot of ")
    assert output.endswith(run("plan", edge).out)


def bare(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Without any capability and without a bpffs; the files stay readable for root's own user id."""
    script = 'umount -a -t bpf; exec setpriv --bounding-set=-all --inh-caps=-all "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-m", "provisioner", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--snapshot", "x"), "--snapshot needs the FILES"),
        (("--snapshot", "x", "spec.yaml", "--pin", "/sys/fs/bpf/x"), "--snapshot needs the FILES"),
        (("spec.yaml",), "FILES need --snapshot"),
    ],
)
def test_what_goes_together(words: tuple[str, ...], says: str) -> None:
    done = run("export", *words)
    assert (done.status, done.out) == (64, "")
    assert says in done.err


def test_what_is_no_snapshot(edge: Path) -> None:
    for data in (b"", b"PK\x05\x06" + bytes(18), b"version: 1\n"):
        with raises(InputError, "malformed-snapshot"):
            from_bytes(data, "x")
    done = run("plan", edge, "--against", edge.with_name("none"))
    assert (done.status, done.out) == (1, "")
    assert "can't read the snapshot" in done.err


def test_one_that_was_cut_or_is_newer(bench: Bench) -> None:
    data = to_bytes(take(bench.load(SPEC).desired))
    for end in range(0, len(data), 97):
        with raises(InputError, "malformed-snapshot"):
            from_bytes(data[:end], "x")


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    """As JSON has it."""
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return list(field.default) if isinstance(field.default, tuple) else field.default


def test_the_page_has_every_field_of_the_header() -> None:
    page = (pages.ROOT / "docs" / "snapshots.md").read_text()
    table = page.partition("The fields of `header.json`.")[2].partition("\nA shape has")[0]
    documented: dict[str, Any] = {}
    for names, _, default in (line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("| `")):
        for name in re.findall(r"`(\w+)`", names):
            documented[name] = json.loads(default.strip(" `")) if "`" in default else msgspec.NODEFAULT
    assert documented == {field.encode_name: default_of(field) for field in msgspec.structs.fields(HeaderDocument)}
    shape = page.partition("\nA shape has")[2].partition("\n\n")[0]
    for part in (MapShape, Special):
        assert {f"`{field.encode_name}`" for field in msgspec.structs.fields(part)} <= set(re.findall(r"`\w+`", shape))


def test_a_million_entries_take_a_few_megabytes(bench: Bench) -> None:
    snapshot = take(bench.load(SPEC).desired)
    random = np.random.default_rng(1)
    count = 1_000_000
    held = Held(
        MapShape(MapType.HASH, 4, 8, 0),
        np.arange(1, 10_001, dtype=np.uint32),
        np.full(10_000, 128, np.uint32),
        np.full(10_000, count // 10_000, np.int64),
        random.integers(0, 256, (count, 4), np.uint8),
        random.integers(0, 256, (count, 8), np.uint8),
    )
    data = to_bytes(Snapshot.of(snapshot.header, snapshot.maps, [held]))
    assert len(data) < 16_000_000
    read = from_bytes(data, "x").held[0]
    assert np.array_equal(read.values, held.values)
