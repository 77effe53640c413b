"""Whatever lives comes back: random maps, exported and given back as a spec, plan to no changes."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioner.adopt import export_entries
from provisioner.adopt.exporting import export_live
from provisioner.codec.btf_emit import btf_of
from provisioner.codec.build import build
from provisioner.kernel import bpffs, maps
from provisioner.kernel.fd import InnerId, MapFd
from provisioner.language.read_types import read_type
from provisioner.model.errors import Problems
from provisioner.model.location import Location
from provisioner.model.map_shape import MapShape
from provisioner.model.tree import MappingNode, ScalarNode
from provisioner.model.type_expr import TypeExpr
from provisioner.model.types import Type
from provisioner.model.uapi import MapFlag, MapType
from provisioner.project.opening import load

HERE: Final = Location("test")


def named(text: str) -> TypeExpr:
    type_ = read_type(ScalarNode(text, HERE), Problems())
    assert type_ is not None
    return type_


def formed(form: str, **members: str) -> TypeExpr:
    pairs = tuple((ScalarNode(name, HERE), ScalarNode(text, HERE)) for name, text in members.items())
    type_ = read_type(MappingNode(((ScalarNode(form, HERE), MappingNode(pairs, HERE)),), HERE), Problems())
    assert type_ is not None
    return type_


TYPES: Final = {
    "pair": formed("struct", port="be16", weight="u64"),
    "address": formed("union", v4="ipv4", v6="ipv6"),
    "level": formed("enum", low="0", high="1"),
    "text": named("char[6]"),
    "target": formed("struct", to="address", kind="level", name="text", ok="bool", tags="u16[3]"),
    "grid": formed("struct", cells="pair[2]"),
}
SIMPLE: Final = ["u8", "be16", "u32", "s64", "bool", "mac", "ipv6", "char[5]", "bytes[3]"]
CHOICES: Final = [*SIMPLE, *TYPES]


def type_of(name: str) -> Type:
    problems = Problems()
    type_ = build(named(name), TYPES, byteorder=sys.byteorder, problems=problems)
    assert type_ is not None, list(problems)
    return type_


@dataclass(frozen=True)
class Plan:
    """A map to make: what kind, with BTF or not, and what goes into each of its slots."""

    outer: MapType
    inner: MapType
    key: str
    value: str
    with_btf: bool
    shared: bool
    slots: dict[bytes, dict[bytes, bytes]]
    capacities: list[int]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    inner = draw(st.sampled_from([MapType.HASH, MapType.ARRAY, MapType.LPM_TRIE]))
    outer = draw(st.sampled_from([MapType.HASH_OF_MAPS, MapType.ARRAY_OF_MAPS]))
    key = {MapType.ARRAY: "u32", MapType.LPM_TRIE: draw(st.sampled_from(["cidr4", "cidr6"]))}.get(inner)
    key = key or draw(st.sampled_from(CHOICES))
    value = draw(st.sampled_from(CHOICES))
    keys: st.SearchStrategy[bytes] = st.binary(min_size=type_of(key).size, max_size=type_of(key).size)
    if inner is MapType.ARRAY:
        keys = st.integers(0, 7).map(lambda number: number.to_bytes(4, sys.byteorder))
    elif inner is MapType.LPM_TRIE:
        size = type_of(key).size - 4
        keys = st.tuples(st.integers(0, 8 * size), st.binary(min_size=size, max_size=size)).map(
            lambda pair: pair[0].to_bytes(4, sys.byteorder) + pair[1]
        )
    values = st.binary(min_size=type_of(value).size, max_size=type_of(value).size)
    zeros = st.just(bytes(type_of(value).size))
    slots = st.integers(0, 7).map(lambda number: number.to_bytes(4, sys.byteorder))
    contents = st.dictionaries(keys, values | zeros, max_size=5)
    drawn = draw(st.dictionaries(slots, contents, max_size=4))
    room = draw(st.lists(st.sampled_from([8, 8, 16]), min_size=len(drawn), max_size=len(drawn)))
    return Plan(outer, inner, key, value, draw(st.booleans()), draw(st.booleans()), drawn, room)


@contextmanager
def made(plan: Plan, path: Path) -> Iterator[None]:
    """The map of `plan`, pinned at `path`."""
    key, value = type_of(plan.key), type_of(plan.value)
    flags = {MapType.LPM_TRIE: MapFlag.NO_PREALLOC, MapType.ARRAY: MapFlag.INNER_MAP}.get(plan.inner, MapFlag(0))
    shape = MapShape(plan.inner, key.size, value.size, 8, flags)
    data, key_id, value_id = btf_of(key, value, sys.byteorder)
    with maps.load_btf(data) as btf:

        def inner(capacity: int) -> MapFd:
            sized = shape.with_capacity(capacity)
            if not plan.with_btf:
                return maps.create(sized)
            return maps.create(sized, btf=btf, btf_key_type_id=key_id, btf_value_type_id=value_id)

        with inner(8) as dummy, maps.create(MapShape(plan.outer, 4, 4, 8), "any", inner=dummy) as outer:
            bpffs.pin(outer, path)
            for (slot, entries), capacity in zip(plan.slots.items(), plan.capacities, strict=True):
                with inner(capacity) as fd:
                    for entry_key, entry_value in entries.items():
                        maps.update(fd, entry_key, entry_value)
                    maps.insert_inner(outer, slot, fd)
            if plan.shared and plan.slots:
                first = maps.lookup(outer, next(iter(plan.slots)), 4) or b""
                with maps.open_id(InnerId(int.from_bytes(first, sys.byteorder))) as fd:
                    maps.insert_inner(outer, (5).to_bytes(4, sys.byteorder), fd)
    try:
        yield
    finally:
        bpffs.unpin(path)


_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _early_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_entries, "LONG", 3)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=plans(), tables=st.booleans())
def test_what_is_exported_plans_to_no_changes(plan: Plan, tables: bool, pin_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / str(next(_numbers))
    folder.mkdir()
    with made(plan, pin_root / "any"):
        done = export_live([pin_root / "any"], (), (), None, "adopted", tables=tables)
        for name, data in done.files.items():
            (folder / name).write_bytes(data)
        (folder / "spec.yaml").write_text(done.spec)
        planned = load([folder / "spec.yaml"]).plan()
        assert (planned.steps, planned.hazards, planned.blocked) == ((), (), ())
        if plan.slots:
            change = planned.maps["any"]
            assert int(change.slots.unchanged.sum()) == int(change.desired.entries.counts.sum())
    shutil.rmtree(folder)
