"""`make demo`: twice, terminated, and after one that was killed. It leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import pages

REPOSITORY = Path(__file__).parent.parent
PINS = Path("/sys/fs/bpf/edge-demo")


@pytest.fixture
def environment(kernel: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a demo: temporary files are in `tmp_path`. The ledger of `kernel` reports what remains."""
    assert kernel.is_dir()
    return os.environ | {"TMPDIR": str(tmp_path)}


def make_demo(environment: dict[str, str]) -> str:
    """Run `make demo` as the README has it. Gives its output."""
    (shown,) = pages.fences(__file__, "README.md")
    demo, _ = shown.text.splitlines()
    done = subprocess.run(
        ["bash", "-c", demo],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@contextmanager
def demo_that_has_applied(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A running demo, with filled maps and an attached program."""
    command = [REPOSITORY / "scripts" / "demo.sh"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as demo:
        assert demo.stdout is not None
        seen = []
        for line in demo.stdout:
            seen.append(line)
            if line.startswith("== Traffic"):
                break
        assert PINS.is_dir(), "".join(seen)
        yield demo
        demo.stdout.read()


def visible_traces() -> list[str]:
    """What a demo has left: pins, network namespaces and interfaces."""
    namespaces = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
    links = subprocess.run(["ip", "-brief", "link"], check=True, capture_output=True, text=True).stdout
    traces = [line for line in (namespaces + links).splitlines() if "demo" in line]
    return traces + [str(PINS)] * PINS.exists()


def test_demo_runs_twice(environment: dict[str, str]) -> None:
    first = make_demo(environment)
    assert "198.51.100.1:53 is answered by 192.0.2.1:8001" in first
    assert "198.51.100.1:53 is answered by 192.0.2.1:8002" in first
    assert visible_traces() == []
    make_demo(environment)
    assert visible_traces() == []


def test_terminated_demo_cleans_up(environment: dict[str, str], tmp_path: Path) -> None:
    with demo_that_has_applied(environment) as demo:
        demo.terminate()
    assert demo.returncode == 128 + signal.SIGTERM
    assert visible_traces() == []
    assert list(tmp_path.iterdir()) == []


def test_demo_recovers_from_one_that_was_killed(environment: dict[str, str]) -> None:
    with demo_that_has_applied(environment) as demo:
        demo.kill()
    assert visible_traces() != []
    make_demo(environment)
    assert visible_traces() == []
