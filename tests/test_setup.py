"""What scripts/setup.sh installs for each target: the demo needs little, and a later group extends it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
SETUP: Final = ROOT / "scripts" / "setup.sh"


def needs(*groups: str) -> dict[str, set[str]]:
    """By kind (package, python, extra): what the groups need."""
    done = subprocess.run([SETUP, "--print", *groups], check=True, capture_output=True, text=True)
    pairs = [line.split() for line in done.stdout.splitlines()]
    return {kind: {name for other, name in pairs if other == kind} for kind, _ in pairs}


def groups_of(target: str) -> set[str]:
    """The groups that a make target sets up, with all that it depends on."""
    shown = subprocess.run(
        ["make", "--dry-run", "--always-make", target], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return {line.split()[1] for line in shown.splitlines() if line.startswith("scripts/setup.sh ")}


def test_the_demo_installs_the_tool_and_a_bpf_compiler() -> None:
    demo = needs("demo")
    assert demo["python"] == {"."}
    assert {"libbpf1", "clang", "bpftool", "iproute2", "iputils-ping", "python3-venv"} <= demo["package"]
    assert demo["package"].isdisjoint({"chromium", "gcc", "strace", "graphviz", "lintian", "qemu-system-x86"})
    assert "extra" not in demo


def test_linters_need_only_python() -> None:
    assert needs("lint") == {"package": {"python3-venv"}, "python": {".[dev]"}}


@pytest.mark.parametrize(("small", "large"), [("demo", "test"), ("lint", "test"), ("test", "kernels")])
def test_a_larger_group_has_all_of_a_smaller_one(small: str, large: str) -> None:
    assert needs(small)["package"] < needs(large)["package"]
    assert needs(large)["python"] == {".[dev]"}


def test_several_groups_need_what_each_of_them_needs() -> None:
    both, single = needs("demo", "lint"), (needs("demo"), needs("lint"))
    assert both["package"] == single[0]["package"] | single[1]["package"]
    assert both["python"] == {".[dev]"}


@pytest.mark.parametrize("words", [(), ("everything",), ("demo", "--print")])
def test_a_group_that_does_not_exist_is_a_usage_error(words: Iterable[str]) -> None:
    done = subprocess.run([SETUP, *words], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (64, "")
    assert "{demo,lint,test,kernels,recipes,editor,collection,cluster}" in done.stderr


@pytest.mark.parametrize(
    ("exists", "message"), [(False, "setup: there is no "), (True, "setup: Python 3.10.1 is too old: ")]
)
def test_another_interpreter_must_exist_and_be_new_enough(exists: bool, message: str, tmp_path: Path) -> None:
    other = tmp_path / "python"
    if exists:
        other.write_text('#!/bin/sh\n[ "$1" = --version ] || exit 1\necho Python 3.10.1\n')
        other.chmod(0o755)
    done = subprocess.run([SETUP, "lint"], env=os.environ | {"PYTHON": str(other)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(message)


def test_what_boots_kernels_is_named_if_it_is_missing(tmp_path: Path) -> None:
    """An empty PATH: no QEMU and no busybox."""
    script = [sys.executable, str(ROOT / "scripts" / "test_kernels.py"), "--short", "6.1"]
    done = subprocess.run(script, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert "qemu-system-x86_64 is missing: install qemu-system-x86\n" in done.stdout
    assert "busybox is missing: install busybox-static\n" in done.stdout


@pytest.mark.parametrize(
    ("target", "groups"),
    [
        ("demo", {"demo"}),
        ("bpf", {"demo"}),
        ("lint", {"lint"}),
        ("docs", {"lint"}),
        ("setup", {"test"}),
        ("test", {"demo", "test"}),
        ("test-kernels", {"demo", "kernels"}),
        ("test-recipes", {"recipes"}),
        ("test-editor", {"editor"}),
        ("test-collection", {"collection"}),
        ("test-cluster", {"cluster"}),
    ],
)
def test_each_target_sets_up_its_groups(target: str, groups: set[str]) -> None:
    assert groups_of(target) == groups
