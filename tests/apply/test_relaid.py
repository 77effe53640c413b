"""Members that change within the size of a key or value: migrated, or counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.apply import Status
from provisioner.kernel import maps
from provisioner.kernel.fd import InnerId
from provisioner.model.errors import RefusedError
from provisioner.planning.changes import Action
from provisioner.planning.hazards import Overrides
from provisioner.planning.plan import Plan
from tests.apply.conftest import Bench
from tests.conftest import SOURCES, compile_bpf

ONE = (1).to_bytes(4, "little")
SEVEN = (7).to_bytes(4, "little")


def spec(members: str, policy: str = "", *, contents: str = "present", room: int = 8) -> str:
    return f"""
types: {{counter: {{struct: {{{members}}}}}}}
inner_templates: {{counts: {{type: hash, key: u32, value: counter, max_entries: 8, contents: {contents}, {policy}}}}}
outer_maps:
  tenants: {{type: hash_of_maps, key: u32, max_entries: {room}, inner: counts, inner_maps: {{1: {{}}}}}}
maps:
  total: {{type: array, key: u32, value: counter, max_entries: 8, contents: {contents}, {policy}}}
"""


OLD, NEW = "hits: u32, zone: u16, kind: u8, flag: u8", "kind: u8, flag: u8, zone: u16, hits: u32"


def value(members: str, **numbers: int) -> bytes:
    sizes = {"u32": 4, "u16": 2, "u8": 1}
    pairs = (each.split(": ") for each in members.split(", "))
    return b"".join(numbers[name].to_bytes(sizes[word], "little") for name, word in pairs)


NUMBERS = {"hits": 1000, "zone": 300, "kind": 5, "flag": 1}


@pytest.fixture
def live(bench: Bench) -> Bench:
    """Maps in which another process wrote an entry each."""
    bench.overrides = Overrides()
    bench.settle(spec(OLD))
    for path in ("tenants", "total"):
        with maps.open_pin(bench.root / path) as fd:
            number = maps.info(fd).id if path == "total" else bench.ids("tenants")[ONE]
        with maps.open_id(InnerId(number)) as fd:
            maps.update(fd, SEVEN, value(OLD, **NUMBERS))
    return bench


def hazards(plan: Plan) -> list[tuple[str, str]]:
    return [(each.address, each.message) for each in plan.hazards if each.id == "entries-reinterpreted"]


def test_members_that_move_are_migrated(live: Bench) -> None:
    plan, _ = live.settle(spec(NEW, "migrate: auto"))
    assert [change.action for change in plan.maps.values()] == [Action.REPLACE] * 2
    assert hazards(plan) == []
    expected = value(NEW, **NUMBERS)
    assert (live.tree("tenants")[ONE], live.entries("total")[SEVEN]) == ({SEVEN: expected}, expected)
    live.settle(spec(OLD, "migrate: auto", room=16))
    assert live.tree("tenants")[ONE] == {SEVEN: value(OLD, **NUMBERS)}, "also where the outer map grows"


def test_a_migration_that_was_not_recorded_is_not_repeated(live: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a kill between the last pin and the record: the new maps are newer than it."""
    with monkeypatch.context() as patched:
        patched.setattr("provisioner.apply.pins.record", lambda *_: None)
        patched.setattr("provisioner.project.project.remaining", lambda *_: ())
        live.apply(spec(NEW, "migrate: auto"))
    plan, _ = live.apply(spec(NEW, "migrate: auto"))
    assert [change.action for change in plan.maps.values()] == [Action.UNCHANGED] * 2
    assert live.tree("tenants")[ONE] == {SEVEN: value(NEW, **NUMBERS)}


def test_without_migrate_entries_are_counted_once(live: Bench) -> None:
    plan = live.plan(spec(NEW))
    assert [address for address, _ in hazards(plan)] == ["tenants", "total"]
    assert hazards(plan)[1][1] == (
        "members changed and the size did not (value: kind from byte 6 to 0, value: flag from byte 7 to 1, "
        "value: zone from byte 4 to 2, value: hits from byte 0 to 4): 1 entry keeps the bytes of the old layout; "
        "`migrate` converts them"
    )
    live.settle(spec(NEW))
    assert hazards(live.plan(spec(NEW))) == []


def test_an_apply_of_one_slot_leaves_the_types_of_the_others_in_the_record(live: Bench) -> None:
    text = spec(NEW).replace("{1: {}}", "{1: {}, 2: {}}")
    live.load(text).apply(live.overrides, targets=["tenants[2]"])
    assert [address for address, _ in hazards(live.plan(text))] == ["tenants", "total"]
    live.load(text).apply(live.overrides, targets=["tenants"])
    assert [address for address, _ in hazards(live.plan(text))] == ["total"]
    _, again = live.load(text).apply(live.overrides, targets=["tenants[2]"])
    assert again.status is Status.UNCHANGED


def test_entries_that_the_spec_lists_are_written_as_it_says(live: Bench) -> None:
    plan, _ = live.settle(spec(NEW, "migrate: auto", contents="exact"))
    assert hazards(plan) == []
    assert live.tree("tenants")[ONE] == {}


def test_a_member_with_another_name_is_kept_or_refused(live: Bench) -> None:
    renamed = OLD.replace("hits", "packets")
    with pytest.raises(RefusedError) as refused:
        live.apply(spec(renamed, "migrate: auto"))
    assert {problem.id for problem in refused.value.problems} == {"migrate-loss"}
    assert "hits is now packets" in hazards(live.plan(spec(renamed)))[0][1]
    plan, _ = live.settle(spec(renamed, "migrate: {rename: {hits: packets}}"))
    assert ([change.action for change in plan.maps.values()], hazards(plan)) == ([Action.UNCHANGED] * 2, [])


def test_a_snapshot_knows_the_recorded_types(live: Bench) -> None:
    project = live.load(spec(NEW, "migrate: auto"))
    assert project.plan(against=project.snapshot()).digest == project.plan().digest


OBJECT = """
objects: {{traffic: {{file: {file}, programs: {{count: {{}}}}}}}}
inner_templates:
  counts:
    type: hash
    key: u32
    value: {{btf: struct stats, from: traffic}}
    max_entries: 64
    contents: ignore
    {policy}
outer_maps:
  interfaces: {{object: traffic, inner: counts, inner_maps: {{1: {{}}}}}}
"""
TOTALS = "maps: {{totals: {{object: traffic, key: u32, value: {type}, contents: ignore, {policy}}}}}\n"


@pytest.fixture
def versions(bench: Bench) -> tuple[Path, Path]:
    """An object, and one in which the members of a struct have other places."""
    text = "#define WIDE 1\n" + (SOURCES / "traffic.bpf.c").read_text()
    files = []
    for name, members in (("one", ("packets", "bytes")), ("two", ("bytes", "packets"))):
        source = bench.folder / name / "traffic.bpf.c"
        source.parent.mkdir()
        old, new = (f"\t__u64 {a};\n\t__u64 {b};\n" for a, b in (("packets", "bytes"), members))
        assert old in text
        source.write_text(text.replace(old, new))
        files.append(compile_bpf(source))
    bench.allow_outside, bench.overrides = True, Overrides()
    return files[0], files[1]


def both(first: int, second: int) -> bytes:
    return first.to_bytes(8, "little") + second.to_bytes(8, "little")


def write(bench: Bench) -> None:
    with maps.open_pin(bench.root / "totals") as fd:
        maps.update(fd, ONE, both(3, 200))
    with maps.open_id(InnerId(bench.ids("interfaces")[ONE])) as fd:
        maps.update(fd, ONE, both(3, 200))


def test_an_upgraded_object_finds_its_members(bench: Bench, versions: tuple[Path, Path]) -> None:
    def text(file: Path) -> str:
        totals = TOTALS.format(type="{btf: struct stats, from: traffic}", policy="migrate: auto")
        return OBJECT.format(file=file, policy="migrate: auto") + totals

    bench.settle(text(versions[0]))
    write(bench)
    plan, _ = bench.settle(text(versions[1]))
    assert (plan.objects["traffic"].carried, plan.objects["traffic"].lost) == ((), ())
    assert bench.tree("interfaces")[ONE] == bench.entries("totals") | {} == {ONE: both(200, 3)}


@pytest.mark.parametrize("totals", ["", "{btf: struct stats, from: traffic}", "{struct: {a: u64, b: u64}}"])
def test_an_upgrade_without_migrate_is_counted(totals: str, bench: Bench, versions: tuple[Path, Path]) -> None:
    """Declared or not, and whatever the spec calls the members: then the BTF of the live map shows the change."""

    def text(file: Path) -> str:
        return OBJECT.format(file=file, policy="") + (TOTALS.format(type=totals, policy="") if totals else "")

    bench.settle(text(versions[0]))
    write(bench)
    plan, _ = bench.settle(text(versions[1]))
    assert sorted(address for address, _ in hazards(plan)) == ["interfaces", "totals"]
    assert all("1 entry keeps" in message for _, message in hazards(plan))
    assert bench.entries("totals") == {ONE: both(3, 200)}


def test_an_object_of_the_same_types_has_no_hazard(bench: Bench, bpf_object: Callable[[str], Path]) -> None:
    bench.allow_outside = True
    text = OBJECT.format(file="FILE", policy="") + TOTALS.format(type="{struct: {a: u32}}", policy="")
    file = bpf_object("traffic")
    bench.settle(text.replace("FILE", str(file)))
    with maps.open_pin(bench.root / "totals") as fd:
        maps.update(fd, ONE, ONE)
    changed = bench.folder / "changed.bpf.c"
    source = (SOURCES / "traffic.bpf.c").read_text()
    assert "zero = {}" in source
    changed.write_text(source.replace("return length;", "return length + 1;"))
    plan, _ = bench.settle(text.replace("FILE", str(compile_bpf(changed))))
    assert (plan.objects["traffic"].reason, hazards(plan)) == ("the object file changed", [])
