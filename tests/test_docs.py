"""Every page of the documentation does what it shows; the site is built without a broken link."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from benchmarks import run as benchmarks
from benchmarks.suite import QUICK
from provisioner.cli import command_line
from tests import pages
from tests.conftest import remove_tree

DOCS = pages.ROOT / "docs"
PAGES = sorted([pages.ROOT / "README.md", *DOCS.rglob("*.md")])
RUN = ("file", "edit", "console", "python", "excerpt", "overlay")
SAID = ("run by", "not run")


def _runs(page: Path) -> bool:
    return any(block.word in RUN for block in pages.blocks(page))


@pytest.fixture
def empty_bpffs(system_bpffs: Path) -> Iterator[Path]:
    """A bpffs at /sys/fs/bpf that a page leaves as it found it; cleaned even if the page fails."""
    before = set(system_bpffs.iterdir())
    yield system_bpffs
    left = sorted(set(system_bpffs.iterdir()) - before)
    for path in left:
        if path.is_dir():
            remove_tree(path)
        else:
            path.unlink()
    subprocess.run(["ip", "link", "del", "veth-a"], check=False, capture_output=True)
    assert not left, f"the page leaves {', '.join(map(str, left))}"


@pytest.mark.usefixtures("empty_bpffs")
@pytest.mark.parametrize("page", [page for page in PAGES if _runs(page)], ids=lambda page: page.stem)
def test_the_page_does_what_it_shows(page: Path, tmp_path: Path) -> None:
    assert pages.run(page, tmp_path) > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_fence_is_run_or_says_why_not(page: Path) -> None:
    for block in pages.blocks(page):
        where = f"{page.name}:{block.line}"
        assert block.word in (*RUN, *SAID), f"{where}: say with a comment what this fence is; see tests/pages.py"
        if block.word == "run by":
            assert f'fences(__file__, "{page.name}")' in (pages.ROOT / block.said).read_text(), (
                f"{where}: {block.said} does not take it"
            )
        if block.word in SAID:
            assert block.said
        if block.language == "console" and block.word == "console":
            assert list(block.commands()), f"{where}: no command"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_not_run_could_be(page: Path) -> None:
    """Targets of make, cases of the benchmarks, folders of tests: they are there."""
    for block in (block for block in pages.blocks(page) if block.word == "not run"):
        for line in block.text.splitlines():
            match shlex.split(line.removeprefix("# "), comments=True):
                case ["make", *targets]:
                    subprocess.run(["make", "--dry-run", *targets], cwd=pages.ROOT, check=True, capture_output=True)
                case [".venv/bin/python", "-m", "benchmarks.run", *words]:
                    only = benchmarks.parse(words).only
                    assert any(only in task.case.name for task in QUICK), only
                case [".venv/bin/python", "-m", "pytest", path]:
                    assert (pages.ROOT / path).exists(), path
                case _:
                    pytest.fail(f"{page.name}:{block.line}: nobody looks whether this could be run: {line}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_fence_is_overlooked(page: Path) -> None:
    """As many as there are lines that begin with a fence: two each."""
    fences = [block for block in pages.blocks(page) if block.word != "edit"]
    assert len(re.findall(r"^ *```", page.read_text(), flags=re.MULTILINE)) == 2 * len(fences)


def test_every_command_that_writes_json_has_a_sample() -> None:
    """What the page shows is what the command prints, as with all pages."""
    page = (DOCS / "json-samples.md").read_text()
    root: Any = typer.main.get_command(command_line.all_verbs())
    writers = {name for name, verb in root.commands.items() if "json" in str(_format(verb))}
    assert writers == set(re.findall(r"^\$ provisioner (\w+) .*--format json", page, flags=re.MULTILINE))


def _format(verb: Any) -> Any:
    """What `--format` of a command may be; None where it has none."""
    return next((one.type.choices for one in verb.params if "--format" in one.opts), None)


def test_dots_stand_for_what_varies() -> None:
    assert pages.agree("id ... of\n", "id 12 of\n")
    assert pages.agree("first\n...\nlast\n", "first\n1\n2\nlast\n")
    assert not pages.agree("id ... of\n", "id 1\n2 of\n")
    assert not pages.agree("first\nlast\n", "first\n1\nlast\n")
    assert not pages.agree("a.c\n", "abc\n")


def test_a_page_that_is_wrong_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for wrong in ("$ echo this\nthat\n", "$ exit 1\n", "$ true # exit status 4\n"):
        page.write_text(f"```console\n{wrong}```\n")
        with pytest.raises(AssertionError):
            pages.run(page, tmp_path)


def test_the_site_is_built_without_a_broken_link(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=pages.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    built = {path.parent.name: path.read_text() for path in (tmp_path / "site").rglob("index.html")}
    for name in ("spec", "command-line", "exit-status", "json"):
        assert "<h1" in built[name]
    for name, text in built.items():
        fetched = re.findall(
            r'<(?:script|img)[^>]* src="(https?:[^"]*)"|<link rel="stylesheet" href="(https?:[^"]*)"', text
        )
        assert not fetched, name
