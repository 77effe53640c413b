"""Maps that another process made and pinned: they are filled and kept in step, and never made or unpinned by us."""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from pathlib import Path

import pytest

from provisioner.kernel import bpffs, locking, maps
from provisioner.kernel.fd import InnerId
from provisioner.model.errors import LockedError, RefusedError
from provisioner.model.map_shape import MapShape
from provisioner.model.pins import LOCK
from provisioner.model.uapi import MapFlag, MapType
from provisioner.planning.hazards import Overrides
from provisioner.views.plan_report import report
from tests.apply import live
from tests.apply.conftest import Bench
from tests.problems import raises

INNER = MapShape(MapType.HASH, 4, 4, 8)
UNLIKE = (INNER, MapShape(MapType.HASH_OF_MAPS, 8, 4, 16))
"""What an outer map with keys of 4 bytes is not."""


def u32(number: int) -> bytes:
    return struct.pack("<I", number)


@dataclass(frozen=True, slots=True)
class Others:
    """Maps of another tool, in a folder of its own: an outer map with slots 1 and 2, and a plain map."""

    folder: Path

    @property
    def outer(self) -> Path:
        return self.folder / "tenants"

    @property
    def plain(self) -> Path:
        return self.folder / "active"

    def add(self, slot: int, entries: dict[int, int]) -> None:
        with maps.open_pin(self.outer) as outer, maps.create(INNER, "theirs") as inner:
            for key, value in entries.items():
                maps.update(inner, u32(key), u32(value))
            maps.insert_inner(outer, u32(slot), inner)

    def tree(self) -> dict[bytes, dict[bytes, bytes]]:
        return live.outer(self.outer)

    def spec(self, inner_maps: str, *, outer: str = "", entries: str = "entries: {0: 7}", capacity: int = 16) -> str:
        return f"""
inner_templates: {{one: {{type: hash, key: u32, value: u32, max_entries: 8}}}}
maps:
  active: {{pin: {self.plain}, type: array, key: u32, value: u32, max_entries: 1, {entries}}}
outer_maps:
  tenants:
    {{pin: {self.outer}, type: hash_of_maps, key: u32, max_entries: {capacity}, inner: one, {outer}
     inner_maps: {{{inner_maps}}}}}
"""


@pytest.fixture
def others(bench: Bench, pin_root: Path) -> Others:
    assert bench.root.parent == pin_root.parent
    maps_ = Others(pin_root)
    with (
        maps.create(INNER, "dummy") as dummy,
        maps.create(MapShape(MapType.HASH_OF_MAPS, 4, 4, 16), "tenants", inner=dummy) as outer,
        maps.create(MapShape(MapType.ARRAY, 4, 4, 1), "active") as plain,
    ):
        bpffs.pin(outer, maps_.outer)
        bpffs.pin(plain, maps_.plain)
        maps.update(plain, u32(0), u32(7))
    maps_.add(1, {10: 100})
    maps_.add(2, {20: 200})
    return maps_


SAME = "1: {entries: {10: 100}}, 2: {entries: {20: 200}}"


def test_what_is_live_already_needs_no_change_and_no_record(bench: Bench, others: Others) -> None:
    plan, result = bench.settle(others.spec(SAME))
    assert (plan.steps, plan.blocked, plan.hazards) == ((), (), ())
    assert result.fds_before == result.fds_after
    assert not bench.root.exists()


def test_from_adoption_to_destroy(bench: Bench, others: Others) -> None:
    text = others.spec("1: {entries: {10: 101}}, 3: {entries: {30: 300}}", entries="entries: {0: 8}")
    bench.settle(text)
    assert others.tree() == {u32(1): {u32(10): u32(101)}, u32(3): {u32(30): u32(300)}}
    assert live.entries(others.plain) == {u32(0): u32(8)}
    bench.destroy(text)
    assert others.tree() == {}
    assert others.plain.exists()
    assert not bench.root.exists()


def test_destroy_takes_back_its_own_slots_alone(bench: Bench, others: Others) -> None:
    text = others.spec("5: {entries: {50: 500}}", outer="extra_inner_maps: keep,")
    bench.settle(text)
    bench.destroy(text)
    assert others.tree() == {u32(1): {u32(10): u32(100)}, u32(2): {u32(20): u32(200)}}


def test_destroy_leaves_the_slots_outside_of_the_owned_keys(bench: Bench, others: Others) -> None:
    text = others.spec("5: {entries: {50: 500}}", outer="owned_keys: 2..9,")
    bench.settle(text)
    assert set(others.tree()) == {u32(1), u32(5)}
    bench.destroy(text)
    assert set(others.tree()) == {u32(1)}


def put_another(pin: Path, shape: MapShape) -> int:
    """Pin a map of another shape in place of what is there, with something in it. Returns its id."""
    with maps.create(INNER) as inner, maps.create(shape, inner=inner if shape.is_outer else None) as fd:
        maps.update(fd, bytes(shape.key_size), u32(inner.number))
        bpffs.pin_replace(fd, pin)
        return int(maps.info(fd).id)


@pytest.mark.parametrize("shape", UNLIKE, ids=["plain", "wider keys"])
def test_destroy_leaves_a_map_that_is_not_the_adopted_one(bench: Bench, others: Others, shape: MapShape) -> None:
    text = others.spec(SAME) + OWN
    bench.settle(text)
    number = put_another(others.outer, shape)
    with raises(RefusedError, "adopted-shape"):
        bench.destroy(text)
    assert bench.root.exists()
    with maps.open_pin(others.outer) as fd:
        assert maps.info(fd).id == number


@pytest.mark.parametrize("shape", UNLIKE, ids=["plain", "wider keys"])
def test_destroy_takes_an_own_pin_whatever_it_is_now(bench: Bench, shape: MapShape) -> None:
    text = "inner_templates: {one: {type: hash, key: u32, value: u32, max_entries: 8}}\nouter_maps:\n" + OWN
    bench.settle(text)
    put_another(bench.root / "own", shape)
    plan, _ = bench.destroy(text)
    (node,) = report(plan, destroy=True).nodes
    assert ("; live it is a hash" in node.text) == (shape == INNER)
    assert not bench.root.exists()


def test_a_map_that_differs_is_not_made_again(bench: Bench, others: Others) -> None:
    plan = bench.plan(others.spec(SAME, capacity=32))
    assert [refusal.rule for refusal in plan.blocked] == ["adopted-shape"]
    assert plan.hazards == (), "it is not said to be made again"
    with raises(RefusedError, "adopted-shape"):
        bench.apply(others.spec(SAME, capacity=32))
    assert len(others.tree()) == 2


def test_a_map_that_is_not_there_is_not_made(bench: Bench, others: Others) -> None:
    bpffs.unpin(others.plain)
    with raises(RefusedError, "adopted-missing"):
        bench.apply(others.spec(SAME))
    assert not bench.root.exists()


def test_two_projects_take_turns_at_one_map(bench: Bench, others: Others) -> None:
    with locking.lock(others.folder), pytest.raises(LockedError) as locked:
        bench.apply(others.spec("1: {}"))
    assert locked.value.problems[0].address == str(others.folder)
    assert not bench.root.exists()
    bench.settle(others.spec("1: {}"))


def test_an_inner_map_of_another_tool_that_stands_in_two_slots_is_not_written_in_place(
    bench: Bench, others: Others
) -> None:
    with maps.open_pin(others.outer) as outer:
        number = int.from_bytes(maps.lookup(outer, u32(1), 4) or b"", "little")
        with maps.open_id(InnerId(number)) as inner:
            maps.insert_inner(outer, u32(2), inner)
    bench.settle(others.spec("1: {entries: {10: 100}}, 2: {entries: {10: 1}}"))
    assert others.tree() == {u32(1): {u32(10): u32(100)}, u32(2): {u32(10): u32(1)}}


def test_an_array_of_maps_is_adopted_too(bench: Bench, pin_root: Path) -> None:
    inner = MapShape(MapType.ARRAY, 4, 8, 4, MapFlag.INNER_MAP)
    path = pin_root / "vips"
    with (
        maps.create(inner) as dummy,
        maps.create(MapShape(MapType.ARRAY_OF_MAPS, 4, 4, 8), "vips", inner=dummy) as outer,
    ):
        bpffs.pin(outer, path)
    text = f"""
inner_templates: {{one: {{type: array, key: u32, value: u64, max_entries: 4, flags: [inner_map]}}}}
outer_maps:
  vips:
    {{pin: {path}, type: array_of_maps, key: u32, max_entries: 8, inner: one, inner_maps: {{3: {{entries: {{1: 5}}}}}}}}
"""
    bench.settle(text)
    assert set(live.outer(path)) == {u32(3)}
    bench.destroy(text)
    assert live.entries(path) == {}


def test_nothing_is_asked_of_a_map_that_user_space_may_not_write(bench: Bench, others: Others) -> None:
    with maps.open_pin(others.plain) as plain:
        maps.freeze(plain)
    bench.settle(others.spec("1: {}"))
    with pytest.raises(Exception) as failed:  # noqa: PT011 (its cause is what matters)
        bench.apply(others.spec("1: {}", entries="entries: {0: 9}"))
    assert "frozen" in str(failed.value) or errno.errorcode[errno.EPERM] in str(failed.value)


# --- the pin root is the folder that others pin in ---------------------------------------------------------------


OWN = """  own: {type: hash_of_maps, key: u32, max_entries: 4, inner: one, inner_maps: {1: {entries: {1: 1}}}}
"""


@pytest.fixture
def guest(bench: Bench, others: Others) -> Bench:
    """A project whose pin root is the folder of the other tool, with a pin there that it knows nothing of."""
    with maps.create(INNER, "stranger") as stranger:
        bpffs.pin(stranger, others.folder / "stranger")
    return Bench(bench.folder, others.folder)


@pytest.mark.parametrize("head", ["", "pin_inner_maps: true\n"])
@pytest.mark.parametrize("name", ["tenants", "another"])
def test_destroy_leaves_the_folder_of_others(guest: Bench, others: Others, head: str, name: str) -> None:
    """Whatever the spec calls the adopted map."""
    before = {path.name: path.stat() for path in others.folder.iterdir()}
    text = head + others.spec("5: {entries: {50: 500}}", outer="extra_inner_maps: keep,") + OWN
    text = text.replace("  tenants:\n", f"  {name}:\n")
    guest.settle(text)
    plan = guest.load(text, contents=False).plan_destroy()
    assert plan.blocked == ()
    assert [hazard.id for hazard in plan.hazards] == ["pin-root-stays"]
    assert "(active, stranger, tenants)" in plan.hazards[0].message
    guest.destroy(text)
    assert set(others.tree()) == {u32(1), u32(2)}, "its own slot is taken back, and no other"
    after = {path.name: path.stat() for path in others.folder.iterdir()}
    assert after.keys() == before.keys(), "its own pins and record are gone"
    assert {name: (one.st_ino, one.st_mode) for name, one in after.items()} == {
        name: (status.st_ino, status.st_mode) for name, status in before.items()
    }
    assert guest.destroy(text)[0].steps == ()


def test_an_adopted_pin_in_the_pin_root_is_never_pruned_nor_closed(guest: Bench, others: Others) -> None:
    text = "pin_mode: '0600'\n" + others.spec(SAME).replace("  tenants:\n", "  another:\n") + OWN
    mode = others.outer.stat().st_mode
    guest.overrides = Overrides(prune=True)
    guest.settle(text)
    assert sorted(path.name for path in others.folder.iterdir()) == [LOCK, "_meta", "active", "own", "tenants"]
    assert others.outer.stat().st_mode == mode
    assert len(others.tree()) == 2
