"""Standard output that is closed, full, or without a reader: what was done decides the status of each verb."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Project
from tests.cli.support import COMMAND, Done, environment
from tests.command import USUAL, Beginning, start


@contextmanager
def closed() -> Iterator[tuple[int, Beginning]]:
    with open(os.devnull, "wb") as out:
        yield out.fileno(), Beginning(closed=(1,))


@contextmanager
def full() -> Iterator[tuple[int, Beginning]]:
    with Path("/dev/full").open("wb") as out:
        yield out.fileno(), USUAL


@contextmanager
def without_reader() -> Iterator[tuple[int, Beginning]]:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        yield write_end, USUAL
    finally:
        os.close(write_end)


@contextmanager
def of_limited_size() -> Iterator[tuple[int, Beginning]]:
    with Path("out").open("wb") as out:
        yield out.fileno(), Beginning(limits={"FSIZE": 0})


Broken = Callable[[], AbstractContextManager[tuple[int, Beginning]]]
WAYS: dict[Broken, tuple[int, str]] = {
    closed: (74, "Bad file descriptor"),
    full: (74, "No space left on device"),
    without_reader: (141, ""),
    of_limited_size: (74, "File too large"),
}


def forked(broken: Broken, words: list[str]) -> Done:
    ours, theirs = os.pipe()  # a file would be of limited size, too
    with open(ours) as err:
        with open(os.devnull) as given, broken() as (out, beginning):
            process = start(words, (given.fileno(), out, theirs), environment(), beginning=beginning)
            os.close(theirs)
        return Done(process.wait(), "", err.read())


def alone(broken: Broken, words: list[str]) -> Done:
    """The same as a process of its own."""

    def begin() -> None:
        for number in beginning.closed:
            os.close(number)
        for name, limit in beginning.limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))

    buffered = environment() | {"PYTHONUNBUFFERED": ""}  # as users have it: then a write fails when it is flushed
    with broken() as (out, beginning):
        done = subprocess.run(
            [*COMMAND, *words],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            env=buffered,
            preexec_fn=begin,
        )
    return Done(done.returncode, "", done.stderr)


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


STARTED = [["validate", "SPEC"], ["plan", "SPEC", "--format", "json"], ["--help"], ["--version"]]
"""What is also done by processes of their own, whose interpreter opens the streams, and flushes them at its end."""

Filled = Callable[[list[str]], list[str]]


@pytest.fixture
def filled(project: Project, bpf_object: Callable[[str], Path]) -> Filled:
    """Words with the names of files in them."""
    places = {"SPEC": [str(project.spec), "--pin-root", str(project.root)], "OBJECT": [str(bpf_object("outers"))]}
    return lambda words: [part for word in words for part in places.get(word, [word])]


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
def test_a_verb_that_reads(words: list[str], broken: Broken, filled: Filled) -> None:
    check(forked(broken, filled(words)), broken)


@pytest.mark.parametrize("broken", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("words", STARTED, ids=" ".join)
def test_a_process_of_its_own(words: list[str], broken: Broken, filled: Filled) -> None:
    check(alone(broken, filled(words)), broken)


@pytest.mark.parametrize("broken", WAYS, ids=lambda way: way.__name__)
def test_nothing_is_done_where_the_plan_cannot_be_shown(broken: Broken, filled: Filled, project: Project) -> None:
    check(forked(broken, filled(["apply", "SPEC", "--yes"])), broken)
    assert not project.root.exists()
    assert project.run("apply", "--yes", "--quiet").status == 0
    check(forked(broken, filled(["destroy", "SPEC", "--yes"])), broken)
    assert project.run("plan").status == 0


@pytest.mark.parametrize("broken", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("form", ["json", "markdown", "html"])
def test_what_was_done_counts(form: str, broken: Broken, filled: Filled, project: Project) -> None:
    """The result in these formats is written when the work is done."""
    _, reason = WAYS[broken]
    for verb in ("apply", "destroy"):
        done = forked(broken, filled([verb, "SPEC", "--yes", "--format", form]))
        assert (done.status, reason in done.err) == (0, True), done.err
        assert project.root.exists() == (verb == "apply")


@pytest.mark.parametrize("broken", WAYS, ids=lambda way: way.__name__)
def test_quiet_verbs_need_no_output(broken: Broken, filled: Filled, project: Project) -> None:
    for verb in ("apply", "destroy"):
        done = forked(broken, filled([verb, "SPEC", "--yes", "--quiet"]))
        assert (done.status, done.err) == (0, "")
        assert project.root.exists() == (verb == "apply")


def test_all_streams_can_be_closed(filled: Filled, project: Project) -> None:
    def run(*words: str) -> int:
        script = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *COMMAND, *filled([*words])]
        return subprocess.run(script, check=False, env=environment()).returncode

    assert run("plan", "SPEC") == 74
    assert run("apply", "SPEC", "--yes") == 74
    assert not project.root.exists()
    assert run("apply", "SPEC", "--yes", "--quiet") == 0
    assert run("plan", "SPEC", "--quiet", "--format", "json") == 74
    assert project.run("plan").status == 0


def test_standard_error_that_is_full_changes_nothing(filled: Filled, project: Project) -> None:
    with Path("/dev/full").open("wb") as out:
        words = [*COMMAND, *filled(["apply", "SPEC", "--yes", "--log-format", "json"])]
        assert subprocess.run(words, stderr=out, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert project.run("plan").status == 0


@pytest.mark.parametrize(
    ("words", "status"), [(["plan", "SPEC"], 74), (["validate", "SPEC", "--quiet"], 0), (["x"], 64)]
)
def test_standard_output_and_standard_error_that_are_full(filled: Filled, words: list[str], status: int) -> None:
    """No status of the interpreter (120) takes the place of ours."""
    with Path("/dev/full").open("wb") as out:
        buffered = environment() | {"PYTHONUNBUFFERED": ""}
        done = subprocess.run([*COMMAND, *filled(words)], stdout=out, stderr=out, env=buffered, check=False)
        assert done.returncode == status
