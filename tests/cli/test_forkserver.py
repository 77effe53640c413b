"""A run by the fork server is like one that a user starts: the same output, errors and status, verb by verb.

So each verb is started once as a process of its own, which has to import what it needs by itself.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests import command
from tests.cli.conftest import Project
from tests.cli.support import COMMAND, Done, environment, run

LIVE: Final[tuple[tuple[str, ...], ...]] = (
    ("plan", "SPEC", "--pin-root", "ROOT", "--format", "json", "--exit-zero"),
    ("plan", "SPEC", "--pin-root", "ROOT", "--format", "html"),
    ("show", "SPEC", "--pin-root", "ROOT", "--format", "json"),
    ("explain", "SPEC", "--pin-root", "ROOT", "tenants[1]"),
    ("graph", "SPEC", "--pin-root", "ROOT"),
    ("export", "--pin", "ROOT/tenants"),
    ("watch", "SPEC", "--pin-root", "ROOT", "--poll", "never"),
    ("apply", "SPEC", "--pin-root", "ROOT", "--yes"),
    ("destroy", "SPEC", "--pin-root", "ROOT", "--yes"),
)
FILES: Final[tuple[tuple[str, ...], ...]] = (
    ("--version",),
    ("--help",),
    ("none-such",),
    ("validate", "SPEC"),
    ("validate", "-"),
    ("plan", "SPEC", "--against", "empty", "--format", "markdown"),
    ("init", "OBJECT"),
    ("schema",),
    ("doctor", "--pin-root", "/none/such"),
)


def started(*words: str | Path) -> Done:
    """The same as a process of its own."""
    done = subprocess.run([*COMMAND, *map(str, words)], input="", capture_output=True, text=True, env=environment())
    return Done(done.returncode, done.stdout, done.stderr)


def alike(words: list[str]) -> None:
    forked, alone = run(*words), started(*words)
    assert (forked.status, forked.out, forked.err) == (alone.status, alone.out, alone.err)


@pytest.mark.parametrize("words", FILES, ids=" ".join)
def test_without_a_kernel(words: tuple[str, ...], spec: Path, bpf_object: Callable[[str], Path]) -> None:
    places = {"SPEC": str(spec), "OBJECT": str(bpf_object("router"))}
    alike([places.get(word, word) for word in words])


@pytest.mark.parametrize("words", LIVE, ids=" ".join)
def test_with_a_live_project(words: tuple[str, ...], project: Project) -> None:
    """Of what is done only the first time, the second run has nothing left to do: both are measured from there."""
    apply = [str(word) for word in ("apply", project.spec, "--pin-root", project.root, "--yes")]
    run(*apply)
    given = [word.replace("SPEC", str(project.spec)).replace("ROOT", str(project.root)) for word in words]
    forked = run(*given)
    run(*apply)
    alone = started(*given)
    assert forked.status == alone.status
    assert settled(forked) == settled(alone)


def settled(done: Done) -> tuple[str, str]:
    """Output and errors less ids, digests and times, which differ from run to run."""
    texts = (re.sub(r"[0-9a-f]{12,}|\d[\d.,:]*", "N", text) for text in (done.out, done.err))
    return next(texts), next(texts)


def test_a_run_has_the_given_directory_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here.yaml").write_text("version: 1\nname: edge\n")
    monkeypatch.chdir(tmp_path)
    assert run("validate", "here.yaml").status == 0
    monkeypatch.setenv("PROVISIONER_LIBBPF", "libnone.so.1")
    assert "libnone.so.1" in run("doctor").out


def test_a_run_that_a_signal_ends(project: Project) -> None:
    """And one whose reader has gone: the fds are those that were given."""
    ours, theirs = os.pipe()
    os.close(ours)
    words = ["show", str(project.spec), "--pin-root", str(project.root)]
    with open(os.devnull, "r+b") as nothing:
        process = command.start(words, (nothing.fileno(), theirs, nothing.fileno()), os.environ)
    os.close(theirs)
    assert process.wait() == 141
