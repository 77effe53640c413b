"""Inner maps whose values hold fields of the kernel's own: locks, timers, pointers; on the real kernel, under load."""

from __future__ import annotations

import errno
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from provisioner.apply import Options
from provisioner.codec.btf import BtfTypes
from provisioner.codec.btf_specials import specials_of
from provisioner.kernel import batch, links, maps
from provisioner.kernel.fd import InnerId
from provisioner.kernel.reasons import KernelError
from provisioner.model.errors import ApplyError, InputError
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from provisioner.observed.snapshot_format import from_bytes, to_bytes
from provisioner.observed.snapshot_take import take
from provisioner.planning.changes import Action, Reason
from provisioner.planning.plan import Plan
from provisioner.report import text
from provisioner.views import plan_report
from tests.apply.conftest import Bench
from tests.apply.live import bpftool
from tests.features import inner_locks_refused, need_field, need_inner_locks, record
from tests.problems import raises

OUTER = ["hash_of_maps", "array_of_maps"]
PACKET = bytes(64)
RUNS, TORN, ARMED, FIRED = range(4)
PARTS = 30  # so many that they fill several cache lines, one of which is written at once


def u32(number: int) -> bytes:
    return struct.pack("<I", number)


@pytest.fixture
def object_file(bench: Bench, bpf_object: Callable[[str], Path]) -> Path:
    bench.allow_outside = True
    return bpf_object("locked")


@pytest.fixture
def locked(bench: Bench, object_file: Path) -> Path:
    """The object, where the kernel takes its inner maps; where it does not, it refuses and nothing is changed."""
    if inner_locks_refused():
        with raises(KernelError, "unsupported-operation"):
            bench.apply(objects(object_file, f"0: {account(7)}"))
        assert not bench.root.exists()
        need_inner_locks()
    return object_file


def account(limit: int, part: int = 1, hits: int = 0) -> str:
    return f"{{limit: {limit}, part: {[part] * PARTS}, hits: {hits}}}"


def objects(file: Path, accounts: str, sessions: str = "0: {idle: 1000, state: 1}") -> str:
    """Both outer maps of the object: `accounts` has an inner map in the ELF, `sessions` has none."""
    return f"""
inner_templates:
  account: {{type: array, key: u32, value: {{btf: struct account}}, max_entries: 8, flags: [inner_map]}}
  session: {{type: hash, key: u32, value: {{btf: struct session}}, max_entries: 8}}
objects:
  locked: {{file: {file}, programs: {{count: {{pin: count}}, arm: {{pin: arm}}}}}}
outer_maps:
  accounts: {{object: locked, inner: account, inner_maps: {{0: {{entries: {{{accounts}}}}}}}}}
  sessions: {{object: locked, key: u32, inner: session, inner_maps: {{0: {{entries: {{{sessions}}}}}}}}}
"""


FROM_BTF = "{btf: struct account, from: locked}"


def standalone(file: Path, outer: str, kind: str, entries: str, value: str = FROM_BTF) -> str:
    flags = ", flags: [inner_map]" if kind == "array" else ""
    return f"""
inner_templates:
  account: {{type: {kind}, key: u32, value: {value}, max_entries: 8{flags}}}
  session: {{type: hash, key: u32, value: {{btf: struct session}}, max_entries: 8}}
objects: {{locked: {{file: {file}}}}}
outer_maps:
  sessions: {{object: locked, key: u32, inner: session, inner_maps: {{}}}}
  own: {{type: {outer}, key: u32, max_entries: 4, inner: account, inner_maps: {{0: {{entries: {{{entries}}}}}}}}}
"""


def figure(bench: Bench, index: int) -> int:
    with maps.open_pin(bench.root / "figures") as fd:
        return int.from_bytes(maps.lookup(fd, u32(index), 8) or b"", "little")


def run(bench: Bench, pin: str, repeat: int = 1) -> int:
    with links.open_program_pin(bench.root / pin) as program:
        return links.run(program, PACKET, repeat)[0]


@contextmanager
def running(bench: Bench, pin: str) -> Iterator[None]:
    """Run a pinned program over and over in a thread."""
    stop, started = threading.Event(), threading.Event()

    def work() -> None:
        while not stop.is_set():
            run(bench, pin, 20_000)
            started.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert started.wait(60)
        yield
    finally:
        stop.set()
        thread.join()


def text_of(plan: Plan) -> str:
    return "\n".join(text.render(plan_report.report(plan)))


def inner_btf(bench: Bench, name: str) -> str:
    """The value type of an inner map, as bpftool reads it back out of the kernel."""
    with maps.open_id(InnerId(bench.ids(name)[u32(0)])) as fd:
        info = maps.info(fd)
    types = {one["id"]: one for one in bpftool("btf", "dump", "id", str(info.btf_id))["types"]}
    members = types[info.btf_value_type_id]["members"]
    return ", ".join(f"{types[one['type_id']]['name']} {one['name']}" for one in members)


def test_maps_of_an_object_are_made_filled_changed_and_emptied(bench: Bench, locked: Path) -> None:
    plan, _ = bench.settle(objects(locked, f"0: {account(7)}, 3: {account(9)}"))
    assert "hits: 0" in text_of(plan)
    assert "lock" not in text_of(plan).replace("locked", ""), "the kernel's own fields are shown nowhere"
    assert run(bench, "count") == 0
    assert run(bench, "arm") == 1, "the timer of a map that only a slot holds can't be started"
    assert figure(bench, RUNS) == 1
    counted = bench.plan(objects(locked, f"0: {account(7)}, 3: {account(9)}"))
    assert "2 -> 1], hits: 1 -> 0}" in text_of(counted)
    assert "{idle: 1000, state: 2 -> 1}" in text_of(counted)
    inner = bench.ids("accounts")[u32(0)], bench.ids("sessions")[u32(0)]
    bench.settle(objects(locked, f"0: {account(8, 5, 100)}", "1: {idle: 5, state: 3}"))
    assert (bench.ids("accounts")[u32(0)], bench.ids("sessions")[u32(0)]) == inner, "written in place, under the lock"
    assert run(bench, "count") == 0
    bench.settle(objects(locked, "", ""))
    assert bench.tree("sessions") == {u32(0): {}}
    bench.destroy(objects(locked, "", ""))
    assert not bench.root.exists()


def test_another_capacity_makes_an_inner_map_that_the_template_takes(bench: Bench, locked: Path) -> None:
    spec = objects(locked, f"0: {account(7)}")
    bench.settle(spec)
    plan, _ = bench.settle(spec.replace("0: {entries", "0: {max_entries: 16, entries"))
    assert {name: plan.maps[name].slots.reason[0] for name in ("accounts", "sessions")} == {
        "accounts": Reason.CAPACITY,
        "sessions": Reason.CAPACITY,
    }
    assert run(bench, "count") == 0


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("kind", ["hash", "array"])
def test_a_standalone_outer_map_takes_the_type_from_an_object(
    bench: Bench, locked: Path, outer: str, kind: str
) -> None:
    bench.settle(standalone(locked, outer, kind, f"0: {account(1)}, 2: {account(2, 3)}"))
    inner = bench.ids("own")[u32(0)]
    bench.settle(standalone(locked, outer, kind, f"0: {account(1)}, 2: {account(9, 3)}"))
    bench.settle(standalone(locked, outer, kind, ""))
    assert bench.ids("own")[u32(0)] == inner
    with maps.open_id(InnerId(inner)) as fd:
        batch.write_batch(fd, np.zeros((1, 4), np.uint8), np.full((1, 16 + 8 * PARTS), 255, np.uint8), locked=True)


def test_a_timer_fires_in_an_inner_map_that_a_process_holds(bench: Bench, locked: Path) -> None:
    spec = objects(locked, f"0: {account(1)}", "0: {idle: 0, state: 0}")
    plan = bench.plan(spec)
    assert [(hazard.id, hazard.address) for hazard in plan.hazards] == [("timers-need-a-holder", "sessions")]
    bench.apply(spec)
    with maps.open_id(InnerId(bench.ids("sessions")[u32(0)])) as held:
        assert run(bench, "arm") == 0
        while not figure(bench, FIRED):
            time.sleep(0.01)
        assert figure(bench, ARMED) == 1
        after = bench.plan(spec)
        assert "{idle: 0, state: 1 -> 0}" in text_of(after), "of the armed timer, nothing is seen"
        assert not after.hazards
        bench.settle(spec)
        batch.delete_batch(held, np.zeros((1, 4), np.uint8))


def test_the_kernel_is_described_by_the_very_names_that_it_knows(bench: Bench, locked: Path) -> None:
    bench.apply(objects(locked, ""))
    assert inner_btf(bench, "accounts").startswith("unsigned int limit, bpf_spin_lock lock, ")
    assert inner_btf(bench, "sessions").startswith("unsigned long long idle, bpf_timer timer, bpf_spin_lock lock")


def test_programs_count_under_the_lock_while_applies_write(bench: Bench, locked: Path) -> None:
    """The program writes the very values, so each apply finds at its end that another process did; and says so."""
    generation = 1
    bench.apply(objects(locked, f"0: {account(0, generation << 32)}"))
    inner = bench.ids("accounts")[u32(0)]
    bench.options = Options(rollback=False)
    with running(bench, "count"):
        while generation < 30 or figure(bench, RUNS) < 500_000:
            generation += 1
            with suppress(ApplyError):
                bench.apply(objects(locked, f"0: {account(generation, generation << 32)}"))
    assert figure(bench, TORN) == 0
    assert bench.ids("accounts")[u32(0)] == inner
    entry = bench.tree("accounts")[u32(0)][u32(0)]
    assert struct.unpack_from("<I", entry)[0] == generation
    assert len(set(struct.unpack_from(f"<{PARTS}Q", entry, 8))) == 1
    bench.settle(objects(locked, f"0: {account(generation, generation << 32)}"))


def test_the_program_does_see_a_torn_write_where_there_is_one(bench: Bench, locked: Path) -> None:
    """The same values written without the lock, behind the provisioner's back: the program must be able to tell."""
    bench.apply(objects(locked, f"0: {account(0, 1)}"))
    patience = time.monotonic() + 180  # on a busy machine, the two hardly ever run at once
    with maps.open_id(InnerId(bench.ids("accounts")[u32(0)])) as fd, running(bench, "count"):
        for generation in count(1):
            maps.update(fd, u32(0), struct.pack(f"<II{PARTS + 1}Q", 0, 0, *[generation << 32] * (PARTS + 1)))
            if generation % 100 == 0 and (figure(bench, TORN) or time.monotonic() > patience):
                break
    assert figure(bench, TORN) > 0


def test_a_template_without_the_lock_is_another_template(bench: Bench, locked: Path) -> None:
    """The kernel compares what it found in the values (`btf_record_equal`), and so do we."""
    plain = "{struct: {limit: u32, room: u32, part: 'u64[30]', hits: u64}}"
    entries = f"0: {account(1).replace('limit: 1', 'limit: 1, room: 0')}"
    bench.settle(standalone(locked, "hash_of_maps", "hash", entries, plain))
    why = "inner maps: special fields bpf_spin_lock at 4 in the template, none live"
    change = bench.plan(standalone(locked, "hash_of_maps", "hash", f"0: {account(1)}")).maps["own"]
    assert (change.action, change.reason) == (Action.REPLACE, why)
    bench.settle(standalone(locked, "hash_of_maps", "hash", f"0: {account(1)}"))
    back = bench.plan(standalone(locked, "hash_of_maps", "hash", entries, plain)).maps["own"]
    assert back.reason == "inner maps: special fields none in the template, bpf_spin_lock at 4 live"


def test_an_empty_outer_map_remembers_the_lock(bench: Bench, locked: Path) -> None:
    spec = standalone(locked, "array_of_maps", "hash", "").replace("0: {entries: {}}", "")
    bench.settle(spec)
    plain = "{struct: {limit: u32, room: u32, part: 'u64[30]', hits: u64}}"
    change = bench.plan(standalone(locked, "array_of_maps", "hash", "", plain)).maps["own"]
    assert change.reason == "inner maps: special fields none in the template, bpf_spin_lock at 4 live"
    bench.settle(standalone(locked, "array_of_maps", "hash", f"0: {account(1)}"))


def test_a_snapshot_tells_the_same_plan(bench: Bench, locked: Path) -> None:
    bench.apply(objects(locked, f"0: {account(1)}"))
    project = bench.load(objects(locked, f"0: {account(2)}"))
    snapshot = from_bytes(to_bytes(take(project.desired)), "snapshot")
    assert project.plan(bench.overrides, against=snapshot).digest == project.plan(bench.overrides).digest


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("limit: 7", "limit: 7, lock: 0", "member `lock` is managed by the kernel"),
        ("limit: 7", "limit: 7, lock: {val: 0}", "member `lock` is managed by the kernel"),
        ("type: hash, key", "type: percpu_hash, key", "values of a percpu_hash cannot have a bpf_timer (byte 8"),
        ("{btf: struct account}", "{btf: struct account, as: {lock: u32}}", "`lock` is managed by the kernel"),
        ("{btf: struct account}", "'bytes[256]'", "special fields bpf_spin_lock at 4 -> none"),
        (
            "{btf: struct session}",
            "{struct: {lock: bpf_spin_lock, n: u32}}",
            "`bpf_spin_lock` is managed by the kernel",
        ),
    ],
)
def test_what_belongs_to_the_kernel_is_refused_with_a_reason(
    bench: Bench, object_file: Path, old: str, new: str, expected: str
) -> None:
    spec = objects(object_file, f"0: {account(7)}")
    assert old in spec
    with pytest.raises(InputError) as refused:
        bench.load(spec.replace(old, new, 1))
    assert expected in refused.value.problems[0].what
    assert refused.value.problems[0].where is not None


def test_padding_that_a_program_left_in_an_array_is_no_entry(bench: Bench) -> None:
    spec = """
maps:
  plain: {type: array, key: u32, value: {struct: {a: u8, b: u32}}, max_entries: 2, entries: {0: {a: 1, b: 2}}}
"""
    bench.settle(spec)
    with maps.open_pin(bench.root / "plain") as fd:
        maps.update(fd, u32(1), b"\0\xff\xff\xff\0\0\0\0")
    assert not bench.plan(spec).changed


KINDS = ["bpf_res_spin_lock", "bpf_timer", "bpf_wq", "kptr task_struct", "kptr_untrusted cgroup"]


@pytest.mark.parametrize("kind", KINDS)
def test_maps_of_one_record_fit_each_other_whoever_made_their_btf(kernel: Path, kind: str) -> None:
    """Each map has BTF of its own; a bare map of the same sizes is refused."""
    assert kernel.is_dir()
    need_field(kind)
    (shape, template), (_, other) = record(kind), record(kind)
    with (
        template,
        other,
        maps.create(shape) as bare,
        maps.create(MapShape(MapType.HASH_OF_MAPS, 4, 4, 1), inner=template) as outer,
    ):
        info = maps.info(other)
        assert specials_of(BtfTypes(maps.read_btf(info.btf_id)), info.btf_value_type_id) == shape.specials
        maps.insert_inner(outer, bytes(4), other)
        with pytest.raises(KernelError) as refused:
            maps.insert_inner(outer, bytes(4), bare)
        assert refused.value.errno == errno.EINVAL
