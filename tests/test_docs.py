"""Every page of the documentation does what it shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from benchmarks import run as benchmarks
from benchmarks.suite import QUICK
from provisioner.cli import app
from tests import pages
from tests.conftest import remove_tree

DOCS = pages.ROOT / "docs"
PAGES = sorted([pages.ROOT / "README.md", *DOCS.rglob("*.md")])
RUN = ("file", "edit", "console", "python", "excerpt", "overlay")
SAID = ("run by", "not run")
PROJECT: dict[str, Any] = tomllib.loads((pages.ROOT / "pyproject.toml").read_text())["project"]


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
    """Make targets, benchmark cases, directories of tests, extras of the package, commands of other files exist."""
    for block in (block for block in pages.blocks(page) if block.word == "not run"):
        for line in block.text.splitlines():
            _check_that_it_could_run(line, f"{page.name}:{block.line}")


def _check_that_it_could_run(line: str, where: str) -> None:
    match shlex.split(line.removeprefix("# "), comments=True):
        case ["make", *targets]:
            subprocess.run(["make", "--dry-run", *targets], cwd=pages.ROOT, check=True, capture_output=True)
        case [".venv/bin/python", "-m", "benchmarks.run", *words]:
            only = benchmarks.parse(words).only
            assert any(only in task.case.name for task in QUICK), only
        case [".venv/bin/python", "-m", "pytest", path]:
            assert (pages.ROOT / path).exists(), path
        case ["pipx" | "uv" | "uvx" | "/opt/provisioner/bin/pip", *words]:
            extras = re.findall(r"\.\[([\w,]+)\]", " ".join(words))
            assert set(",".join(extras).split(",")) <= {"", *PROJECT["optional-dependencies"]}, f"{where}: {line}"
        case ["podman", *_]:
            assert f"#   {line}\n" in (pages.ROOT / "Containerfile").read_text(), f"{where}: {line}"
        case ["apt", "install", package]:
            assert package == f"./dist/{PROJECT['name']}_*.deb"
        case [script, "dist"]:
            assert os.access(pages.ROOT / script, os.X_OK), f"{where}: {script}"
        case _:
            pytest.fail(f"{where}: no check whether this could run: {line}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_fence_is_overlooked(page: Path) -> None:
    """As many as there are lines that begin with a fence: two each."""
    fences = [block for block in pages.blocks(page) if block.word != "edit"]
    assert len(re.findall(r"^ *```", page.read_text(), flags=re.MULTILINE)) == 2 * len(fences)


def test_every_command_that_writes_json_has_a_sample() -> None:
    """What the page shows is what the command prints, as with all pages."""
    page = (DOCS / "json-samples.md").read_text()
    root: Any = typer.main.get_command(app.all_verbs())
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
