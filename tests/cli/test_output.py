"""Standard output that is closed, full, or without a reader: what was done decides the status of each verb."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Project
from tests.cli.support import COMMAND, Done, environment


def closed(command: list[str]) -> Done:
    return _done(["sh", "-c", 'exec "$@" >&-', "sh", *command], subprocess.DEVNULL)


def full(command: list[str]) -> Done:
    with Path("/dev/full").open("wb") as out:
        return _done(command, out.fileno())


def without_reader(command: list[str]) -> Done:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        return _done(command, write_end)
    finally:
        os.close(write_end)


def of_limited_size(command: list[str]) -> Done:
    return _done(["sh", "-c", 'ulimit -f 0; out=$1; shift; exec "$@" > "$out"', "sh", "out", *command], None)


def _done(command: list[str], out: int | None) -> Done:
    streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": subprocess.PIPE}
    buffered = environment() | {"PYTHONUNBUFFERED": ""}  # as users have it: then a write fails when it is flushed
    done = subprocess.run(command, **streams, text=True, env=buffered, check=False)  # type: ignore[call-overload]
    return Done(done.returncode, "", done.stderr)


Broken = Callable[[list[str]], Done]
WAYS: dict[Broken, tuple[int, str]] = {
    closed: (74, "Bad file descriptor"),
    full: (74, "No space left on device"),
    without_reader: (141, ""),
    of_limited_size: (74, "File too large"),
}

READING = [
    ["validate", "SPEC"],
    ["validate", "SPEC", "--format", "json"],
    *(["plan", "SPEC", "--format", form] for form in ("text", "json", "markdown", "html")),
    ["plan", "SPEC", "--against", "empty"],
    ["plan", "SPEC", "--destroy"],
    *(["show", "SPEC", "--format", form] for form in ("text", "json")),
    *(["explain", "SPEC", "tenants", "--format", form] for form in ("text", "json")),
    *(["graph", "SPEC", "--format", form] for form in ("dot", "mermaid")),
    *(["doctor", "--format", form] for form in ("text", "json")),
    ["schema"],
    ["schema", "output"],
    ["init", "OBJECT"],
    ["--help"],
    ["--version"],
    ["plan", "--help"],
]


@pytest.fixture
def command(project: Project, bpf_object: Callable[[str], Path]) -> Callable[[list[str]], list[str]]:
    places = {"SPEC": [str(project.spec), "--pin-root", str(project.root)], "OBJECT": [str(bpf_object("outers"))]}
    return lambda words: [*COMMAND, *(part for word in words for part in places.get(word, [word]))]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def check(done: Done, broken: Broken) -> None:
    status, reason = WAYS[broken]
    assert done.status == status, done.err
    if reason:
        assert f"cannot write standard output: {reason}" in done.err
    else:
        assert done.err == ""
    assert "Traceback" not in done.err


@pytest.mark.parametrize("broken", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_verb_that_reads(words: list[str], broken: Broken, command: Callable[[list[str]], list[str]]) -> None:
    check(broken(command(words)), broken)


@pytest.mark.parametrize("broken", WAYS, ids=lambda way: way.__name__)
def test_nothing_is_done_where_the_plan_cannot_be_shown(
    broken: Broken, command: Callable[[list[str]], list[str]], project: Project
) -> None:
    check(broken(command(["apply", "SPEC", "--yes"])), broken)
    assert not project.root.exists()
    assert project.run("apply", "--yes", "--quiet").status == 0
    check(broken(command(["destroy", "SPEC", "--yes"])), broken)
    assert project.run("plan").status == 0


@pytest.mark.parametrize("broken", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("form", ["json", "markdown", "html"])
def test_what_was_done_counts(
    form: str, broken: Broken, command: Callable[[list[str]], list[str]], project: Project
) -> None:
    """The result in these formats is written when the work is done."""
    _, reason = WAYS[broken]
    for verb in ("apply", "destroy"):
        done = broken(command([verb, "SPEC", "--yes", "--format", form]))
        assert (done.status, reason in done.err) == (0, True), done.err
        assert project.root.exists() == (verb == "apply")


@pytest.mark.parametrize("broken", WAYS, ids=lambda way: way.__name__)
def test_quiet_verbs_need_no_output(
    broken: Broken, command: Callable[[list[str]], list[str]], project: Project
) -> None:
    for verb in ("apply", "destroy"):
        done = broken(command([verb, "SPEC", "--yes", "--quiet"]))
        assert (done.status, done.err) == (0, "")
        assert project.root.exists() == (verb == "apply")


def test_all_streams_can_be_closed(command: Callable[[list[str]], list[str]], project: Project) -> None:
    def run(*words: str) -> int:
        script = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command([*words])]
        return subprocess.run(script, check=False, env=environment()).returncode

    assert run("plan", "SPEC") == 74
    assert run("apply", "SPEC", "--yes") == 74
    assert not project.root.exists()
    assert run("apply", "SPEC", "--yes", "--quiet") == 0
    assert run("plan", "SPEC", "--quiet", "--format", "json") == 74
    assert project.run("plan").status == 0


def test_standard_error_that_is_full_changes_nothing(
    command: Callable[[list[str]], list[str]], project: Project
) -> None:
    with Path("/dev/full").open("wb") as out:
        words = command(["apply", "SPEC", "--yes", "--log-format", "json"])
        assert subprocess.run(words, stderr=out, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert project.run("plan").status == 0
