"""The site as a reader has it: what the search finds, what the copy button copies, what the reference lists."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.cli import command_line
from tests import pages

VERBS = [command.callback.__name__ for command in command_line.all_verbs().registered_commands if command.callback]

Built = Callable[[str], str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`make docs`, with warnings as errors: a broken link is one."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=pages.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def built(site: Path) -> Built:
    """Gives the HTML of a page by its name."""
    return lambda name: (site / name / "index.html").read_text()


def test_it_needs_no_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        fetched = re.findall(
            r'<(?:script|img)[^>]* src="(https?:[^"]*)"|<link rel="stylesheet" href="(https?:[^"]*)"', page.read_text()
        )
        assert not fetched, page


@pytest.mark.parametrize("name", ["spec", "command-line", "exit-status", "json"])
def test_the_reference_is_generated(built: Built, name: str) -> None:
    assert "<h1" in built(name)


@pytest.mark.parametrize("word", ["install", "completion", "pipx", "bpfman"])
def test_the_search_finds(site: Path, word: str) -> None:
    index = json.loads((site / "search/search_index.json").read_text())
    assert any(word in f"{entry['title']} {entry['text']}".lower() for entry in index["docs"])


@pytest.mark.parametrize("verb", VERBS)
def test_the_reference_lists_every_option(built: Built, verb: str) -> None:
    page = built("command-line")
    (section,) = re.findall(rf'<h2 id="{verb}">.*?(?=<h2 |</article>)', page, re.DOTALL)
    shown = subprocess.run(
        [sys.executable, "-m", "provisioner", verb, "--help"], capture_output=True, text=True, check=True
    ).stdout
    options = set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", shown, re.MULTILINE)) - {"--help"}
    assert "--log-format" in options
    assert [option for option in sorted(options) if option not in section] == []


def test_the_home_page_shows_the_readme(built: Built) -> None:
    text = html.unescape(re.sub(r"<[^>]+>", "", built("")))
    for block in pages.blocks(pages.page_named("README.md"))[1:]:
        if block.word in ("file", "console"):
            assert block.text in text


def test_the_copy_button_copies_commands_only(built: Built) -> None:
    """Without prompts, output and notes on exit statuses; a command over several lines is whole."""
    compile_it, *others = _copied(built("tutorial"))
    assert compile_it == (
        "clang -O2 -g -target bpf -I/usr/include/$(uname -m)-linux-gnu \\\n    -c guard.bpf.c -o guard.bpf.o"
    )
    assert "provisioner apply --yes guard.yaml\nprovisioner apply --yes guard.yaml" in others
    assert "provisioner plan guard.yaml" in others
    export = "provisioner export --pin /sys/fs/bpf/lb/tenants --project quotas --types types.yaml"
    assert f"{export}\n{export} > lb.yaml" in _copied(built("adopt"))
    for name in ("tutorial", "adopt", "roll-out"):
        consoles = [block for block in pages.blocks(pages.page_named(f"{name}.md")) if block.language == "console"]
        assert len(_copied(built(name))) == len(consoles)


def _copied(page: str) -> list[str]:
    return [html.unescape(found) for found in re.findall(r' data-copy="([^"]*)"', page)]


def test_links_of_the_readme_lead_to_the_same_place(built: Built) -> None:
    """A page of docs/ is a link of the site; another file of the repository is its path."""
    assert "See <code>examples/edge.yaml</code>." in built("")
