"""An apply that fails in the middle takes back what it made visible: the same maps, with the same ids and contents."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from provisioner.apply import Options
from provisioner.apply.progress import Progress
from provisioner.apply.staging import Stager
from provisioner.kernel import maps
from provisioner.kernel.fd import InnerId, MapFd
from provisioner.model.errors import InterruptError, ProvisionerError, RefusedError
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from provisioner.planning.hazards import Overrides
from provisioner.planning.plan import Plan
from tests.apply.conftest import Bench
from tests.problems import raises


def u32(number: int) -> bytes:
    return struct.pack("<I", number)


def spec(inner_maps: str, switch: int = 1, update: str = "auto") -> str:
    return f"""
inner_templates: {{one: {{type: hash, key: u32, value: u32, max_entries: 8, update: {update}}}}}
maps:
  zz_switch: {{type: hash, key: u32, value: u32, max_entries: 4, after: [outer], entries: {{0: {switch}}}}}
outer_maps:
  outer: {{type: hash_of_maps, key: u32, max_entries: 64, inner: one, inner_maps: {{{inner_maps}}}}}
"""


@contextmanager
def frozen(bench: Bench, name: str) -> Iterator[None]:
    """Make the last write of an apply fail: the map is frozen after the plan, and takes none from user space."""

    def freeze(_plan: Plan) -> None:
        with maps.open_pin(bench.root / name) as fd:
            maps.freeze(fd)

    bench.planned = freeze
    yield
    bench.planned = None


BEFORE = "1: {entries: {1: 1}}, 2: {entries: {2: 2}}, 3: {entries: {3: 3}}"
AFTER = "1: {entries: {1: 9, 8: 8}}, 2: {max_entries: 16, entries: {2: 2}}, 4: {entries: {4: 4}}"


@pytest.mark.parametrize("update", ["auto", "replace"])
def test_a_failure_takes_back_every_kind_of_change(bench: Bench, update: str) -> None:
    bench.apply(spec(BEFORE, update=update))
    tree, ids, switch = bench.tree("outer"), bench.ids("outer"), bench.entries("zz_switch")
    with maps.open_id(InnerId(ids[u32(2)])) as inner:
        maps.update(inner, u32(7), u32(77))  # as a data plane would, which knows nothing of applies
    tree[u32(2)][u32(7)] = u32(77)
    with frozen(bench, "zz_switch"), raises(ProvisionerError, "map-frozen") as failed:
        bench.apply(spec(AFTER, switch=2, update=update))
    assert failed.value.exit_code == 3
    assert failed.value.status == "rolled_back"
    assert failed.value.live == ()
    assert bench.tree("outer") == tree
    assert bench.ids("outer") == ids, "the very same maps come back"
    assert bench.entries("zz_switch") == switch


@pytest.mark.parametrize("type_", ["hash", "array", "lpm_trie"])
def test_the_very_bytes_come_back_also_padding(bench: Bench, type_: str) -> None:
    """Entry 1 is changed, 2 deleted, 3 inserted: of an array, that one was zero but for its padding."""
    is_trie = type_ == "lpm_trie"
    shape = f"type: {type_}, value: {{struct: {{a: u8, b: u32}}}}, max_entries: 8, update: in_place, key: " + (
        "cidr4, flags: [no_prealloc]" if is_trie else "u32"
    )

    def padded(entries: dict[int, int], switch: int) -> str:
        host = ".0.0.0/32" if is_trie else ""
        listed = ", ".join(f"{number}{host}: {{a: {a}, b: 1}}" for number, a in entries.items())
        text = spec(f"1: {{entries: {{{listed}}}}}", switch=switch)
        return text.replace("{type: hash, key: u32, value: u32, max_entries: 8, update: auto}", f"{{{shape}}}")

    bench.apply(padded({1: 1, 2: 2}, 1))
    length = u32(32) if is_trie else b""
    dirty = {length + u32(1): b"\1\5\5\5" + u32(1), length + u32(2): b"\2\6\6\6" + u32(1)}
    dirty |= {u32(3): b"\0\7\7\7" + u32(0)} if type_ == "array" else {}
    with maps.open_id(InnerId(bench.ids("outer")[u32(1)])) as inner:
        for key, value in dirty.items():
            maps.update(inner, key, value)
    tree = bench.tree("outer")
    assert dirty.items() <= tree[u32(1)].items()
    with frozen(bench, "zz_switch"), raises(ProvisionerError, "map-frozen") as failed:
        bench.apply(padded({1: 9, 3: 3}, 2))
    assert failed.value.status == "rolled_back"
    assert bench.tree("outer") == tree


def test_without_rollback_the_report_says_what_is_live(bench: Bench) -> None:
    bench.apply(spec(BEFORE))
    bench.options = Options(rollback=False)
    with frozen(bench, "zz_switch"), pytest.raises(ProvisionerError) as failed:
        bench.apply(spec(AFTER, switch=2))
    assert failed.value.status == "partial"
    assert any("outer" in line for line in failed.value.live)
    assert u32(4) in bench.ids("outer")


def test_a_first_apply_that_fails_leaves_nothing(bench: Bench) -> None:
    """The second map does not fit the kernel: the first one is already pinned by then."""
    text = (
        spec(BEFORE) + "  wrong: {type: hash_of_maps, key: u32, max_entries: 4294967295, inner: one, inner_maps: {}}\n"
    )
    bench.overrides = Overrides(allow_overcommit=True)  # or it would be refused before
    with raises(ProvisionerError, "map-too-large"):
        bench.apply(text)
    assert not bench.root.exists()


def test_a_delete_that_was_never_made_is_not_taken_back(bench: Bench) -> None:
    """Nothing was written before it: the map, which takes no write, is as it was, and is not called live."""
    bench.apply(spec(BEFORE))
    switch = bench.entries("zz_switch")
    with frozen(bench, "zz_switch"), raises(ProvisionerError, "map-frozen") as failed:
        bench.apply(spec(BEFORE).replace("entries: {0: 1}", "entries: {}"))
    assert (failed.value.exit_code, failed.value.live) == (5, ())
    assert bench.entries("zz_switch") == switch


@pytest.mark.parametrize("stop_after", [1, 2, 3, 4, 6])
def test_an_interrupt_is_answered_at_the_next_safe_point(bench: Bench, stop_after: int) -> None:
    bench.apply(spec(BEFORE))
    tree, ids = bench.tree("outer"), bench.ids("outer")
    asked = 0

    def interrupted() -> str:
        nonlocal asked
        asked += 1
        return "SIGTERM" if asked > stop_after else ""

    bench.options = Options(interrupted=interrupted)
    with pytest.raises(InterruptError) as stopped:
        bench.apply(spec(AFTER, switch=2))
    assert stopped.value.exit_code == 130
    assert (bench.tree("outer"), bench.ids("outer")) == (tree, ids)
    bench.options = Options()
    bench.settle(spec(AFTER, switch=2))


def test_between_two_inner_maps_of_a_wave_an_interrupt_is_answered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged: list[int] = []
    fill = Stager.fill

    def filled(stager: Stager, fd: MapFd, slot: int) -> None:
        fill(stager, fd, slot)
        staged.append(slot)

    monkeypatch.setattr(Stager, "fill", filled)
    bench.options = Options(interrupted=lambda: "SIGINT" if len(staged) > 1 else "")
    with pytest.raises(InterruptError):
        bench.apply(spec(", ".join(f"{slot}: {{entries: {{1: 1}}}}" for slot in range(40))))
    assert len(staged) < 5, "a wave has all 40"
    assert not bench.root.exists()


def test_an_interrupt_ends_the_comparison_and_takes_all_back(bench: Bench) -> None:
    bench.apply(spec(BEFORE))
    tree, ids = bench.tree("outer"), bench.ids("outer")

    @contextmanager
    def reading() -> Iterator[None]:
        yield
        raise KeyboardInterrupt  # as a signal does in there

    bench.options = Options(reading=reading)
    with pytest.raises(InterruptError) as stopped:
        bench.apply(spec(AFTER, switch=2))
    assert (stopped.value.status, stopped.value.live) == ("interrupted", ())
    assert (bench.tree("outer"), bench.ids("outer")) == (tree, ids)


def test_a_slot_that_changed_since_the_plan_is_never_overwritten(bench: Bench) -> None:
    """Somebody else puts a map into a slot while the first wave is being published."""
    bench.apply(spec(BEFORE, update="replace"))

    done: list[str] = []

    def meddle(what: str, _progress: Progress) -> None:
        if done:
            return
        done.append(what)
        with (
            maps.open_pin(bench.root / "outer") as outer,
            maps.create(MapShape(MapType.HASH, 4, 4, 8)) as foreign,
        ):
            maps.insert_inner(outer, u32(3), foreign)

    bench.options = Options(progress=meddle)
    with raises(ProvisionerError, "changed-since-plan"):
        bench.apply(spec("1: {entries: {1: 5}}, 2: {entries: {2: 2}}", update="replace"))
    assert bench.tree("outer")[u32(1)] == {u32(1): u32(1)}, "what was published is taken back"
    assert bench.tree("outer")[u32(3)] == {}, "what another process wrote stays"


def test_a_stale_plan_is_refused(bench: Bench) -> None:

    project = bench.load(spec(BEFORE))
    digest = project.plan().digest
    assert project.plan().digest == digest, "a plan of the same states has the same digest"
    bench.apply(spec("9: {}"))
    with raises(RefusedError, "stale-plan"):
        bench.load(spec(BEFORE)).apply(bench.overrides, expected=digest)
