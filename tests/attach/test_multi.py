"""Programs at several functions at once, and at the probes of a file, on the real kernel."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.kernel import maps
from provisioner.model.errors import ApplyError, HostError, ProvisionerError
from provisioner.planning.changes import Action
from tests import features
from tests.apply.conftest import Bench
from tests.apply.conftest import bench as bench
from tests.attach.support import Compile, Place, comes_to, counted, failing, libc_getppid, link, mounted_tracefs, unlink


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An executable with a probe: at two places, with a semaphore and two arguments."""
    file = tmp_path_factory.mktemp("shop") / "shop"
    subprocess.run(["cc", "-O2", "-o", file, Path(__file__).with_name("shop.c")], check=True)
    return file


PLACES = {
    "uprobe.multi": Place("on_uprobes", "auto", 21, libc_getppid, False),
    "uretprobe.multi": Place("on_uretprobes", "auto", 22, libc_getppid, False),
    "usdt": Place("on_sale", "auto", 23, lambda: None, False),
    "kprobe.multi": Place("on_functions", "auto", 18, unlink, False),
    "kretprobe.multi": Place("on_returns", "auto", 19, unlink, False),
    "kprobe.session": Place("on_session", "auto", 20, unlink, False),
}


@pytest.fixture(params=list(PLACES))
def place(request: pytest.FixtureRequest, shop: Path) -> Iterator[Place]:
    kind = request.param
    features.need_multi_links(kind)
    found = PLACES[kind]
    with mounted_tracefs():
        if kind == "usdt":
            yield Place(found.program, str(shop), found.count, lambda: sell(shop), False)
        else:
            yield Place(found.program, "", found.count, found.run, False)


def sell(shop: Path, price: int = 100, amount: int = 5) -> int:
    return int(subprocess.run([shop, str(price), str(amount)], check=True, capture_output=True).stdout)


def spec(file: Path, place: Place) -> str:
    kind = next(kind for kind, one in PLACES.items() if one.program == place.program)
    target = f"target: '{place.attach}:shop:sale', " if place.attach else ""
    program = f"{place.program}: {{type: {kind}, {target}attach: auto}}"
    return f"objects: {{multi: {{file: {file}, programs: {{{program}}}}}}}\n"


def test_attach_roll_back_upgrade_and_detach(
    place: Place, bench: Bench, bpf_object: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.allow_outside = True
    first, second = spec(bpf_object("multi"), place), spec(bpf_object("multi_v2"), place)
    if not features.has_multi_links(place.program):
        with pytest.raises(ProvisionerError) as refused:
            bench.apply(first)
        # A pattern is looked up in tracefs first, which not every host lets read.
        assert refused.value.problems[0].id in ("attach-unsupported", "not-permitted")
        assert not bench.root.exists()
        return
    bench.settle(first)
    made = link(bench, place)
    assert counted(bench, place) in range(1, 1_000_000), "version 1 counts"
    failing(monkeypatch)
    with pytest.raises(ApplyError) as failed:
        bench.apply(second)
    monkeypatch.undo()
    assert failed.value.status == "rolled_back"
    assert link(bench, place) == made
    assert comes_to(bench, place, range(1, 1_000_000)), "version 1 alone counts again"
    plan, _ = bench.settle(second)
    assert [change.action for change in plan.links] == [Action.UPDATE]
    assert comes_to(bench, place, range(1_000_000, 1 << 60)), "version 2 counts"
    assert link(bench, place).id != made.id
    bench.destroy(second)
    assert not bench.root.exists()


def test_arguments_of_a_probe(shop: Path, bench: Bench, bpf_object: Compile) -> None:
    features.need_multi_links("usdt")
    bench.allow_outside = True
    text = spec(bpf_object("multi"), Place("on_sale", str(shop), 24, lambda: None, False))
    assert sell(shop) == 0
    bench.settle(text)
    place = Place("on_sale", "", 24, lambda: sell(shop, 7, 11), False)
    assert counted(bench, place) == 7 * 11 + 7 * 3, "one place has the amount in a register, the other a constant"
    assert sell(shop) == 2, "the kernel counts the semaphore up for each place"
    with maps.open_pin(bench.root / "__bpf_usdt_specs") as specs:
        size = maps.info(specs).shape.value_size
        before = [maps.lookup(specs, slot.to_bytes(4, "little"), size) for slot in range(3)]
        assert [any(spec or b"") for spec in before] == [True, True, False]
        (bench.root / "_link_on_sale").unlink()
        bench.settle(text)
        assert [maps.lookup(specs, slot.to_bytes(4, "little"), size) for slot in range(3)] == before
    bench.destroy(text)


@pytest.mark.parametrize(
    ("program", "kind", "target", "id_"),
    [
        ("on_uprobes", "uprobe.multi", "libc.so.6:no_such_function*", "attach-target-missing"),
        ("on_uprobes", "uprobe.multi", "/etc/passwd:*", "attach-unsupported"),
        ("on_sale", "usdt", "SHOP:shop:purchase", "attach-target-missing"),
        ("on_sale", "usdt", "/no/such/file:a:b", "attach-target-missing"),
    ],
)
def test_a_target_that_does_not_exist(
    program: str, kind: str, target: str, id_: str, shop: Path, bench: Bench, bpf_object: Compile
) -> None:
    features.need_multi_links(kind)
    bench.allow_outside = True
    settings = f"{{type: {kind}, target: '{target.replace('SHOP', str(shop))}', attach: auto}}"
    with pytest.raises(HostError) as refused:
        bench.apply(f"objects: {{multi: {{file: {bpf_object('multi')}, programs: {{{program}: {settings}}}}}}}\n")
    assert [problem.id for problem in refused.value.problems] == [id_]
    assert not bench.root.exists()
