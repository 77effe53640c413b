"""The bpffs goes away in the middle of an apply: unmounted, moved, or hidden by another one; at call after call."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.promises import scenarios
from tests.promises.injection import READING, Injector, words
from tests.promises.scenarios import Live, Scenario, comparable

MOUNT: Final = ("mount", "-t", "bpf", "none")


def command(*parts: str | Path) -> None:
    subprocess.run([str(part) for part in parts], check=True, capture_output=True)


@pytest.fixture
def mount(kernel: Path, tmp_path: Path) -> Iterator[Path]:
    """A bpffs for this test alone."""
    assert kernel.exists()
    folder = tmp_path / "bpffs"
    folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    command(*MOUNT, folder)
    yield folder
    for _ in range(2):
        subprocess.run(["umount", str(folder)], check=False, capture_output=True)


def unmount(folder: Path) -> None:
    command("umount", "-l", folder)


def move(folder: Path) -> None:
    command("mount", "--move", folder, folder.parent / "elsewhere")


def hide(folder: Path) -> None:
    command(*MOUNT, folder)


def mount_again(folder: Path) -> None:
    command(*MOUNT, folder)


def move_back(folder: Path) -> None:
    command("mount", "--move", folder.parent / "elsewhere", folder)


def unhide(folder: Path) -> None:
    command("umount", folder)


WAYS: Final[dict[str, tuple[Callable[[Path], None], Callable[[Path], None]]]] = {
    "unmounted": (unmount, mount_again),
    "moved": (move, move_back),
    "hidden": (hide, unhide),
}
"""How it goes away, and how it comes back; unmounted it comes back empty."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["create", "change"])
def test_the_bpffs_goes_away_during_an_apply(
    name: str, way: str, mount: Path, tmp_path: Path, injector: Injector, full_sweep: bool, figures: list[str]
) -> None:
    away, back = WAYS[way]
    before, after = {"create": (None, scenarios.ONE), "change": (scenarios.ONE, scenarios.OTHER)}[name]
    scenario = Scenario(name, tmp_path, mount / "edge", before, after)
    scenario.begin()
    unhurt = injector.run(*scenario.words(), under=scenario.root)
    assert unhurt.status == 0, unhurt
    wanted = scenario.finish().contents
    changing = [at for at, call in enumerate(unhurt.calls, 1) if call not in READING]
    ends: dict[int, int] = {}
    for at in changing[:: 1 if full_sweep else 9]:
        live_before = scenario.begin()
        ran = injector.run(*scenario.words(), under=scenario.root, at=at, meanwhile=partial(away, mount))
        place = f"{name}: {way} at call {at}, {words(unhurt.calls[at - 1])}: exit {ran.status} {ran.out} {ran.err}"
        ends[ran.status] = ends.get(ran.status, 0) + 1
        stray = scenario.root.exists()
        back(mount)
        # One that had not begun finds the other bpffs, and that is where its pins are.
        assert not stray or (way == "hidden" and ran.status == 0), f"{place}: something was made where it was mounted"
        assert "Traceback" not in ran.err, place
        assert ran.status in (0, 3, 4, 5), place
        if ran.status != 0:
            assert is_reported(json.loads(ran.err)["errors"], scenario.root), place
        live = scenarios.look(scenario.root) if scenario.root.exists() else Live({})
        if ran.status in (4, 5) and way != "unmounted":
            assert comparable(live) == comparable(live_before), place
        assert scenario.finish().contents == wanted, place
        assert not (left := scenarios.leftovers(ran, scenarios.look(scenario.root))), f"{place}: {left}"
    assert ends.keys() & {3, 5}, ends
    figures.append(f"bpffs {way}: {name}: at {sum(ends.values())} calls; exit {dict(sorted(ends.items()))}")


def is_reported(errors: list[dict[str, Any]], root: Path) -> bool:
    """Whether the first error says where it was, and what has happened to it."""
    first = errors[0]
    return str(first["address"]).startswith(str(root)) and ("bpffs" in first["message"]) and bool(first["hint"])
