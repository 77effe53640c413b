"""Maps, programs and objects with new names: what they hold stays, and nothing is created again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.apply import contents, moves
from provisioner.desired.loading import SpecError
from provisioner.kernel import bpffs, links, maps
from provisioner.model.errors import ApplyError, HostError, Problem, RefusedError
from provisioner.model.record import Meta
from provisioner.observed import digested, metamap
from provisioner.planning.changes import Action
from provisioner.planning.hazards import Overrides
from provisioner.planning.steps import MovePins
from provisioner.views.plan_report import report
from tests.apply.conftest import Bench
from tests.conftest import SOURCES, Veth, compile_bpf

Compile = Callable[[str], Path]
MOVED = "moved: [{from: tenants, to: customers}, {from: index, to: lookup}]\n"


def spec(outer: str, plain: str, *, more: str = "", rest: str = "") -> str:
    return f"""
pin_inner_maps: true
inner_templates: {{rules: {{type: hash, key: u32, value: u32, max_entries: 8}}}}
outer_maps:
  {outer}:
    type: hash_of_maps
    key: u32
    max_entries: 8
    inner: rules
    inner_maps: {{1: {{entries: {{1: 1}}}}, 2: {{}}{more}}}
maps:
  {plain}: {{type: hash, key: u32, value: u32, max_entries: 8, contents: present, entries: {{7: 7}}}}
{rest}"""


BEFORE, AFTER = spec("tenants", "index"), spec("customers", "lookup", rest=MOVED)


@pytest.fixture
def project(bench: Bench) -> Bench:
    """A project under the old names, with an entry that another process wrote."""
    bench.overrides = Overrides()
    bench.allow_outside = True
    bench.settle(BEFORE)
    with maps.open_pin(bench.root / "index") as fd:
        maps.update(fd, bytes(4), b"\x09\0\0\0")
    return bench


def pins(bench: Bench, *programs: str) -> dict[str, int]:
    """All pins of maps, less those of `programs`, by their paths, with the ids of the maps."""
    names = {}
    for path in sorted(bench.root.rglob("*")):
        if path.is_file() and path.name not in ("_meta", "_tmp-_meta", *programs):
            with maps.open_pin(path) as fd:
                names[str(path.relative_to(bench.root))] = int(maps.info(fd).id)
    return names


def renamed(before: dict[str, int]) -> dict[str, int]:
    def new(path: str) -> str:
        return path.replace("tenants", "customers").replace("index", "lookup")

    return {new(path): number for path, number in before.items()}


def record(bench: Bench) -> Meta:
    return metamap.read(bench.root / "_meta")


def test_maps_keep_all_that_they_hold(project: Bench) -> None:
    before, slots = pins(project), project.ids("tenants")
    plan = project.plan(AFTER)
    assert [change.action for change in plan.maps.values()] == [Action.UNCHANGED] * 2
    assert (plan.hazards, plan.blocked) == ((), ())
    assert [(node.label, node.address) for node in report(plan).nodes] == [
        ("tenants -> customers", "customers"),
        ("index -> lookup", "lookup"),
    ]
    project.settle(AFTER)
    assert pins(project) == renamed(before)
    assert project.ids("customers") == slots
    assert project.entries("lookup")[bytes(4)] == b"\x09\0\0\0"
    meta = record(project)
    assert set(meta.maps) == set(meta.pins) == set(meta.types) == {"customers", "lookup"}
    assert project.apply(spec("customers", "lookup"))[0].steps == (), "the entries can go once the move is done"


def test_what_else_changes_changes_in_place(project: Bench) -> None:
    before, first = pins(project), project.ids("tenants")[b"\x01\0\0\0"]
    text = spec("customers", "lookup", more=", 3: {}", rest=MOVED).replace("{1: 1}", "{1: 10}")
    plan, _ = project.settle(text)
    assert project.tree("customers")[b"\x01\0\0\0"] == {b"\x01\0\0\0": b"\x0a\0\0\0"}
    assert project.ids("customers")[b"\x01\0\0\0"] == first
    assert renamed(before).items() <= pins(project).items()
    assert [type(step) for step in plan.steps].index(MovePins) == 0


@pytest.mark.parametrize("fails_at", ["a rename", "a later step", "the verification"])
def test_a_failure_brings_the_old_names_back(fails_at: str, project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    before, meta = pins(project), record(project)
    problem = Problem("the test lets this fail", id="test")

    def fail(*_: object) -> None:
        raise HostError(problem)

    match fails_at:
        case "a rename":
            monkeypatch.setattr(moves, "_move_directory", fail)
        case "a later step":
            monkeypatch.setattr(contents, "publish", fail)
        case _:
            monkeypatch.setattr("provisioner.project.project.remaining", lambda *_: (problem,))
    with pytest.raises(ApplyError) as failed:
        project.apply(spec("customers", "lookup", more=", 3: {}", rest=MOVED))
    assert failed.value.status == "rolled_back"
    assert (pins(project), record(project)) == (before, meta)


def test_killed_between_any_two_renames_the_next_apply_finishes(project: Bench) -> None:
    slots, index = project.ids("tenants"), pins(project)["index"]
    for names in (1, 1, 0, 0):  # each apply gets one rename further: a pin, its directory, a pin, the record
        kill_at_second_rename(project)
        plan = project.plan(AFTER)
        assert all(change.action is Action.UNCHANGED for change in plan.maps.values())
        assert len([name for name in ("tenants", "index") if (project.root / name).exists()]) == names
    project.settle(AFTER)
    assert (project.ids("customers"), pins(project)["lookup"]) == (slots, index)


def kill_at_second_rename(bench: Bench) -> None:
    """Apply in a process of its own, which ends before its second rename."""
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        return
    rename, count = bpffs.rename, 0

    def counted(old: Path, new: Path) -> None:
        nonlocal count
        count += 1
        if count == 2:
            os._exit(0)
        rename(old, new)

    bpffs.rename = counted
    try:
        bench.apply(AFTER)
    finally:
        os._exit(0)


def test_a_snapshot_and_a_saved_plan_know_the_move(project: Bench) -> None:
    loaded = project.load(AFTER)
    offline, online = loaded.plan(against=loaded.snapshot()), loaded.plan()
    assert [step.describe() for step in offline.steps] == [step.describe() for step in online.steps]
    assert offline.digest == online.digest
    loaded.apply(expected=online.digest)
    with pytest.raises(RefusedError) as refused:
        loaded.apply(expected=online.digest)
    assert [problem.id for problem in refused.value.problems] == ["stale-plan"]


def test_every_reader_finds_what_has_the_old_names(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = project.load(AFTER)
    plan = loaded.plan()
    monkeypatch.setattr(digested, "_FEWEST", 1)
    assert loaded.plan(digests=True).digest == loaded.plan(probe=True).digest == plan.digest
    assert [(node.address, node.after is not None) for node in loaded.live().nodes] == [
        ("customers", True),
        ("lookup", True),
    ]
    assert {"moved_from": "tenants"} in [fact.data for fact in loaded.explain("customers[1]")]
    assert [f"pin: {project.root / name}" in loaded.export().spec for name in ("tenants", "index")] == [True, True]


def test_a_session_and_a_target_make_all_moves(project: Bench) -> None:
    before = pins(project)
    with project.load(AFTER).session() as session:
        session.apply()
        assert pins(project) == renamed(before)
    project.destroy(AFTER)
    project.settle(BEFORE)
    project.load(AFTER).apply(targets=["lookup"])
    assert {"customers", "lookup"} == {path for path in pins(project) if "/" not in path}
    assert project.plan(AFTER).steps == ()


def test_a_part_is_destroyed_under_its_new_name(project: Bench) -> None:
    before = pins(project)
    project.load(AFTER, contents=False).destroy(targets=["lookup"])
    assert {path: number for path, number in renamed(before).items() if path != "lookup"} == pins(project)
    assert project.plan(AFTER).maps["lookup"].action is Action.CREATE


def test_both_names_live_is_refused(project: Bench) -> None:
    with maps.open_pin(project.root / "index") as fd:
        bpffs.pin(fd, project.root / "lookup")
    before = pins(project)
    with pytest.raises(RefusedError) as refused:
        project.apply(AFTER)
    assert [(problem.id, problem.address) for problem in refused.value.problems] == [("moved-both-live", "lookup")]
    assert pins(project) == before
    bpffs.unpin(project.root / "lookup")


def test_a_pin_of_another_owner_is_not_taken(project: Bench) -> None:
    with maps.open_pin(project.root / "index") as fd:
        bpffs.pin(fd, project.root / "theirs")
    text = spec("tenants", "index", rest="  mine: {type: hash, key: u32, value: u32, max_entries: 8}\n")
    with pytest.raises(RefusedError) as refused:
        project.apply(text + "moved: [{from: theirs, to: mine}]\n")
    assert [(problem.id, problem.address) for problem in refused.value.problems] == [("ownership", "mine")]
    bpffs.unpin(project.root / "theirs")


def test_on_a_new_host_a_move_does_nothing_and_destroy_finds_the_old_names(project: Bench) -> None:
    project.destroy(AFTER)
    assert not project.root.exists()
    project.settle(AFTER)
    assert set(project.ids("customers")) == {b"\x01\0\0\0", b"\x02\0\0\0"}


@pytest.mark.parametrize(
    ("moved", "id_"),
    [
        ("{from: tenants, to: clients}", "moved-unknown"),
        ("{from: lookup, to: customers}", "moved-declared"),
        ("{from: a, to: customers}, {from: a, to: lookup}", "duplicate-key"),
    ],
)
def test_a_move_that_names_nothing_is_an_error_at_its_place(moved: str, id_: str, bench: Bench) -> None:
    with pytest.raises(SpecError) as wrong:
        bench.load(spec("customers", "lookup", rest=f"moved: [{moved}]\n"))
    problem = wrong.value.problems[0]
    assert (problem.id, problem.where is not None and problem.where.line > 1) == (id_, True)


def hooked(file: Path, veth: Veth, object_: str, pin: str, moved: str = "") -> str:
    attach = f"attach: {{xdp: {{interface: {veth.name}, mode: generic}}}}"
    return f"""
objects:
  {object_}: {{file: {file}, variables: {{level: -2}}, programs: {{globals: {{pin: {pin}, {attach}}}}}}}
{moved}"""


def test_an_attached_program_and_its_object_get_new_names(bench: Bench, bpf_object: Compile, veth: Veth) -> None:
    bench.allow_outside = True
    file = bpf_object("globals")
    bench.settle(hooked(file, veth, "loader", "drop_all"))
    with links.open_program_pin(bench.root / "drop_all") as program:
        number = links.program_info(program).id
    with links.open_link_pin(bench.root / "_link_drop_all") as link:
        attached = links.info(link).id
    moved = "moved: [{from: drop_all, to: edge_filter}, {from: loader, to: edge_object}]\n"
    plan, _ = bench.settle(hooked(file, veth, "edge_object", "edge_filter", moved))
    assert [change.action for change in plan.objects.values()] == [Action.UNCHANGED]
    assert [change.action for change in plan.links] == [Action.UNCHANGED]
    assert not [path.name for path in bench.root.iterdir() if "loader" in path.name or "drop_all" in path.name]
    with links.open_program_pin(bench.root / "edge_filter") as program:
        assert links.program_info(program).id == number
    with links.open_link_pin(bench.root / "_link_edge_filter") as link:
        assert (links.info(link).id, links.info(link).prog_id) == (attached, number)
    meta = record(bench)
    assert (set(meta.objects), set(meta.attachments), set(meta.used_maps)) == (
        {"edge_object"},
        {"_link_edge_filter"},
        {"edge_filter"},
    )


def test_a_renamed_map_of_an_object_is_carried_into_the_new_object(bench: Bench) -> None:
    """The object file has the new name, too: its programs go on with the same map."""
    bench.allow_outside, bench.overrides = True, Overrides()
    source = SOURCES / "stats.bpf.c"
    renamed_source = bench.folder / "stats.bpf.c"
    renamed_source.write_text(source.read_text().replace("vips", "frontends"))

    def text(file: Path, name: str, moved: str = "") -> str:
        return f"""
inner_templates: {{backends: {{type: array, key: u32, value: u32, max_entries: 2, contents: present}}}}
objects: {{stats: {{file: {file}, programs: {{count: {{}}}}}}}}
outer_maps:
  {name}: {{object: stats, inner: backends, inner_maps: {{0: {{entries: {{0: 5}}}}}}}}
{moved}"""

    bench.settle(text(compile_bpf(source), "vips"))
    before, slots = pins(bench, "count")["vips"], bench.ids("vips")
    moved = "moved: [{from: vips, to: frontends}]\n"
    plan, _ = bench.settle(text(compile_bpf(renamed_source), "frontends", moved))
    assert plan.objects["stats"].carried == ("frontends",)
    assert (pins(bench, "count"), bench.ids("frontends")) == ({"frontends": before}, slots)
    with links.open_program_pin(bench.root / "count") as program:
        assert before in links.program_info(program).map_ids


def test_a_snapshot_knows_a_moved_program_as_the_user_of_a_map_that_is_replaced(
    bench: Bench, bpf_object: Compile
) -> None:
    """The program is loaded again with the new map: it is no program of others, whatever its pin is called."""
    bench.allow_outside, bench.overrides = True, Overrides()

    def text(pin: str, size: int, moved: str = "") -> str:
        return f"""
inner_templates: {{inner: {{type: hash, key: u32, value: u32, max_entries: 8}}}}
objects: {{presets: {{file: {bpf_object("presets")}, programs: {{look: {{pin: {pin}}}}}}}}}
outer_maps:
  colours: {{object: presets, inner: inner, max_entries: {size}, inner_maps: {{1: {{entries: {{1: 1}}}}}}}}
{moved}"""

    bench.settle(text("look", 8))
    loaded = bench.load(text("gaze", 16, "moved: [{from: look, to: gaze}]\n"))
    offline, online = loaded.plan(against=loaded.snapshot()), loaded.plan()
    assert (offline.blocked, offline.hazards) == (online.blocked, online.hazards) == ((), ())
    assert offline.digest == online.digest
