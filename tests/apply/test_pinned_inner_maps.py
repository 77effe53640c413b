"""`pin_inner_maps`: inner maps have pins, and CAP_BPF alone is enough. `pin_mode`, `pin_group`: who may open them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.apply import Options
from provisioner.desired.loading import SpecError
from provisioner.kernel import bpffs, maps, reading
from provisioner.kernel.fd import MapFd
from provisioner.model.errors import HostError, InterruptError
from provisioner.model.map_shape import MapShape
from provisioner.model.pins import LOCK
from provisioner.model.uapi import MapType
from provisioner.planning.hazards import Overrides
from provisioner.project import Project
from provisioner.project.opening import load
from tests import pages
from tests.conftest import remove_tree
from tests.features import others_may_look
from tests.privileges import as_nobody, without
from tests.problems import raises

GROUP = 65534
HEAD = "version: 1\nname: edge\n"
PINNED = HEAD + "pin_inner_maps: true\n"
BODY = """\
inner_templates:
  rules: {type: hash, key: u32, value: u32, max_entries: 8}
  wide: {type: array, key: u32, value: {struct: {a: u64, b: u64}}, max_entries: 4}
shared_inner_maps:
  common: {inner: rules, entries: {9: 9}}
outer_maps:
  tenants:
    type: hash_of_maps
    key: u32
    max_entries: 8
    inner: rules
    inner_maps: {1: {entries: {1: 1}}, 2: {entries: {2: 2}}, 3..4: {shared: common}}
  vips: {type: array_of_maps, key: u32, max_entries: 4, inner: wide, inner_maps: {0: {entries: {0: {a: 1, b: 1}}}}}
"""
ALL = Overrides(approve_deletes=True)


class Edge:
    """A project on disk, and its pin root."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.spec, self.root = folder / "spec.yaml", root

    def load(self, text: str) -> Project:
        self.spec.write_text(text)
        return load(self.spec, pin_root=str(self.root))

    def apply(self, text: str) -> None:
        project = self.load(text)
        project.apply(ALL)
        assert project.plan().steps == ()

    def words(self, verb: str, *options: str) -> tuple[str | Path, ...]:
        return (verb, self.spec, "--pin-root", self.root, *options)

    def given(self, verb: str, *options: str) -> tuple[str | Path, ...]:
        """The same with the spec on standard input: another user cannot read the tests' files."""
        return (verb, "-", "--pin-root", self.root, *options)

    def pinned(self) -> dict[str, set[int]]:
        """The ids that are pinned, by outer map; each pin is of the map that it is named by."""
        ids: dict[str, set[int]] = {}
        for path in (self.root / "_inner").glob("*/*"):
            with maps.open_pin(path, readonly=True) as fd:
                assert maps.info(fd).id == int(path.name)
            ids.setdefault(path.parent.name, set()).add(int(path.name))
        return ids

    def slots(self) -> dict[str, set[int]]:
        """The ids in the slots of each outer map."""
        held = {}
        for name in ("tenants", "vips"):
            with maps.open_pin(self.root / name) as fd:
                held[name] = set(reading.read_slots(fd, maps.info(fd).shape)[1].tolist())
        return held


@pytest.fixture
def edge(tmp_path: Path, kernel: Path) -> Iterator[Edge]:
    project = Edge(tmp_path, kernel / "edge")
    yield project
    if project.root.exists():
        remove_tree(project.root)


def change(text: str) -> str:
    """One slot in place, one deleted, one replaced."""
    return text.replace("{1: 1}", "{1: 2}").replace("2: {entries: {2: 2}}, ", "").replace("a: 1", "a: 2")


def test_every_inner_map_in_a_slot_is_pinned_by_its_id_and_no_other(edge: Edge) -> None:
    edge.apply(PINNED + BODY)
    assert edge.pinned() == edge.slots()
    assert len(edge.pinned()["tenants"]) == 3, "a shared inner map has one pin"
    before = edge.pinned()
    edge.apply(change(PINNED + BODY))
    assert edge.pinned() == edge.slots() != before


def test_pins_come_and_go_with_the_spec_while_the_maps_stay(edge: Edge) -> None:
    edge.apply(HEAD + BODY)
    before = edge.slots()
    edge.apply(PINNED + BODY)
    assert edge.pinned() == edge.slots() == before
    edge.apply(HEAD + BODY)
    assert edge.pinned() == {}
    assert not (edge.root / "_inner").exists()
    assert edge.slots() == before


def test_a_pin_that_was_lost_is_made_again_and_one_of_no_slot_goes(edge: Edge) -> None:
    edge.apply(PINNED + BODY)
    for path in (edge.root / "_inner/vips").iterdir():
        path.unlink()
    with maps.create(MapShape(MapType.HASH, 4, 4, 8)) as stray:
        bpffs.pin(stray, edge.root / f"_inner/tenants/{maps.info(stray).id}")
    project = edge.load(PINNED + BODY)
    assert [step.describe() for step in project.plan().steps][:1] == ["remove what a killed apply left behind"]
    edge.apply(PINNED + BODY)
    assert edge.pinned() == edge.slots()


@pytest.mark.parametrize("safe_points", range(1, 6))
def test_an_apply_that_is_taken_back_takes_back_pins_as_well(edge: Edge, safe_points: int) -> None:
    edge.apply(PINNED + BODY)
    before = edge.pinned()
    passed = iter([""] * safe_points)
    options = Options(interrupted=lambda: next(passed, "SIGTERM"))
    with pytest.raises(InterruptError):
        edge.load(change(PINNED + BODY)).apply(ALL, options)
    assert edge.pinned() == edge.slots() == before


@pytest.mark.parametrize("verb", ["plan", "show", "apply", "destroy"])
def test_cap_bpf_alone_is_enough(edge: Edge, verb: str) -> None:
    edge.apply(PINNED + BODY)
    edge.load(change(PINNED + BODY))
    options = {"plan": ("--exit-zero",), "show": ()}.get(verb, ("--yes", "--force"))
    done = without("bpf", *edge.words(verb, *options))
    assert done.status == 0, done.err
    if verb == "destroy":
        assert not edge.root.exists()
    if verb == "apply":
        assert edge.pinned() == edge.slots()
        assert without("bpf", *edge.words("plan")).status == 0


def test_cap_bpf_alone_makes_it_all(edge: Edge) -> None:
    edge.load(PINNED + BODY)
    done = without("bpf", *edge.words("apply", "--yes"))
    assert done.status == 0, done.err
    assert edge.pinned() == edge.slots()


def test_an_inner_map_that_another_process_put_into_a_slot_is_said(edge: Edge) -> None:
    edge.apply(PINNED + BODY)
    with maps.open_pin(edge.root / "tenants") as outer, foreign() as fd:
        number = maps.info(fd).id
        maps.insert_inner(outer, (0).to_bytes(4, "little"), fd)
    done = without("bpf", *edge.words("plan"))
    assert done.status == 5
    assert f"inner map {number} has no pin in {edge.root}/_inner/tenants" in done.err
    kept = PINNED + BODY.replace("max_entries: 8\n", "max_entries: 8\n    extra_inner_maps: keep\n")
    edge.load(kept)
    done = without("bpf", *edge.words("plan"))
    assert done.status == 0, "what is kept need not be read"
    edge.apply(kept)
    assert number not in edge.pinned()["tenants"], "what is not ours gets no pin"


def foreign() -> MapFd:
    return maps.create(MapShape(MapType.HASH, 4, 4, 8))


# --- who may -----------------------------------------------------------------------------------------------------

(GUIDE,) = pages.fences(__file__, "privileges.md")
SHOWN = HEAD + GUIDE.text.replace("monitoring", f"'{GROUP}'") + BODY


def access(root: Path) -> set[tuple[str, int, int]]:
    """Kind, mode and group of all that is below the pin root, itself included; the lock is for writers alone."""
    modes = set()
    for folder, folders, files in os.walk(root):
        if LOCK in folders:
            folders.remove(LOCK)
        for path in (Path(folder), *(Path(folder) / name for name in files)):
            status = path.stat()
            modes.add(("folder" if path.is_dir() else "pin", status.st_mode & 0o7777, status.st_gid))
    return modes


def test_all_pins_and_folders_have_the_mode_and_group_of_the_spec(edge: Edge) -> None:
    edge.apply(SHOWN)
    assert access(edge.root) == {("folder", 0o750, GROUP), ("pin", 0o640, GROUP)}
    edge.apply(change(SHOWN))
    assert access(edge.root) == {("folder", 0o750, GROUP), ("pin", 0o640, GROUP)}
    edge.apply(SHOWN.replace("0640", "0600"))
    assert access(edge.root) == {("folder", 0o700, GROUP), ("pin", 0o600, GROUP)}


def test_what_another_process_changed_is_planned_and_mended(edge: Edge) -> None:
    edge.apply(SHOWN)
    (edge.root / "tenants").chmod(0o666)
    os.chown(edge.root / "_inner", -1, 0)
    plan = edge.load(SHOWN).plan()
    assert [step.describe() for step in plan.steps if "mode" in step.describe()] == ["set mode and group of 2 pins"]
    edge.apply(SHOWN)
    assert access(edge.root) == {("folder", 0o750, GROUP), ("pin", 0o640, GROUP)}


def test_modes_that_the_spec_does_not_name_are_left(edge: Edge) -> None:
    edge.apply(PINNED + BODY)
    (edge.root / "tenants").chmod(0o604)
    assert edge.load(PINNED + BODY).plan().steps == ()


def test_another_user_in_the_group_shows_and_plans_without_any_capability(edge: Edge, bpffs_mount: Path) -> None:
    bpffs_mount.chmod(0o755)
    edge.apply(SHOWN)
    shown = as_nobody(*edge.given("show"), text=SHOWN, group=GROUP)
    if not others_may_look(shown.err):
        assert shown.status == 5
        return
    assert shown.status == 0, shown.err
    assert shown.out == without("bpf", *edge.words("show")).out
    assert as_nobody(*edge.given("plan"), text=SHOWN, group=GROUP).status == 0
    refused = as_nobody(*edge.given("apply", "--yes"), text=SHOWN, group=GROUP)
    assert (refused.status, "access-denied" in refused.err) == (5, True), "a reader cannot hold the lock"
    outside = as_nobody(*edge.given("show"), text=SHOWN, group=1)
    assert outside.status == 5
    assert "pin_mode" in outside.err
    refused = as_nobody(*edge.given("apply", "--yes"), text=change(SHOWN), group=GROUP)
    assert refused.status == 5
    assert "give it CAP_BPF" in refused.err


def test_a_group_that_is_not_there(edge: Edge) -> None:
    project = edge.load(SHOWN.replace(f"'{GROUP}'", "no-such-group"))
    with raises(HostError, "unknown-group"):
        project.plan()


def test_a_group_that_this_process_may_not_give_pins_to(edge: Edge) -> None:
    edge.load(SHOWN)
    done = without("bpf", *edge.words("apply", "--yes"))
    assert done.status == 5
    assert "CAP_CHOWN is needed to give pins to another group" in done.err
    assert not edge.root.exists()


@pytest.mark.parametrize("mode", ["0440", "640x", "0755", "0140"])
def test_a_mode_that_makes_no_sense(edge: Edge, mode: str) -> None:
    with raises(SpecError, "invalid-name") as caught:
        edge.load(SHOWN.replace("0640", mode))
    assert mode in str(caught.value)
