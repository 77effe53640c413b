"""The site as a reader has it: what the search finds, what the copy button copies, what the reference lists."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provisioner.cli import app
from tests import pages
from tests.cli.support import run
from tests.report import browser

VERBS = [command.callback.__name__ for command in app.all_verbs().registered_commands if command.callback]

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
    shown = run(verb, "--help").out
    options = set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", shown, re.MULTILINE)) - {"--help"}
    assert "--log-format" in options
    assert [option for option in sorted(options) if option not in section] == []


def test_the_home_page_shows_the_readme(built: Built) -> None:
    text = html.unescape(re.sub(r"<[^>]+>", "", built("")))
    for block in pages.blocks(pages.page_named("README.md"))[1:]:
        if block.kind in ("file", "console"):
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


_CLICKER = """\
<!doctype html><meta charset=utf-8><iframe></iframe><script>
  addEventListener("load", async () => {
    const wait = (ms) => new Promise((done) => setTimeout(done, ms));
    const frame = document.querySelector("iframe");
    const loaded = new Promise((done) => frame.addEventListener("load", done));
    frame.src = PAGE;
    await loaded;
    await wait(500);
    const page = frame.contentDocument;
    const copied = [];
    const seen = (changes) => changes.flatMap((change) => [...change.addedNodes]).forEach(
      (node) => node.tagName === "TEXTAREA" && copied.push(node.value));
    new frame.contentWindow.MutationObserver(seen).observe(page.body, {childList: true, subtree: true});
    for (const button of page.querySelectorAll(".language-console [data-clipboard-target]")) {
      button.click();
      await wait(100);
    }
    document.body.append(Object.assign(document.createElement("output"), {textContent: JSON.stringify(copied)}));
  });
</script>
"""


def test_the_copy_button_works_in_a_browser(site: Path, built: Built, tmp_path: Path) -> None:
    """The script of the theme copies through a text area."""
    page = json.dumps((site / "tutorial/index.html").as_uri())
    (tmp_path / "clicker.html").write_text(_CLICKER.replace("PAGE", page))
    assert _answer(tmp_path / "clicker.html", tmp_path) == _copied(built("tutorial"))


def _answer(page: Path, folder: Path) -> Any:
    """What the script of a page writes into `<output>`."""
    shown = browser.chromium("--allow-file-access-from-files", "--dump-dom", page.as_uri(), folder=folder)
    output = re.search(r"<output>(.*)</output>", shown, re.DOTALL)
    assert output is not None, shown
    return json.loads(html.unescape(output[1]))


def _copied(page: str) -> list[str]:
    return [html.unescape(found) for found in re.findall(r' data-copy="([^"]*)"', page)]


def test_links_of_the_readme_lead_to_the_same_place(built: Built) -> None:
    """A page of docs/ is a link of the site; another file of the repository is its path."""
    assert "See <code>examples/edge.yaml</code>." in built("")


def test_pictures_are_part_of_the_page(built: Built) -> None:
    """As images they could not follow the color scheme that a reader chooses on the site."""
    assert built("").count('<svg class="picture"') == 1
    assert 'src="assets/pictures' not in built("")
    assert built("how-it-works").count('<svg class="picture"') == 5


WIDTHS = (1280, 390)
_ASKER = """\
<!doctype html><meta charset=utf-8><body><script>
  addEventListener("load", async () => {
    const answer = [];
    for (const page of PAGES) {
      const frame = document.createElement("iframe");
      frame.style.cssText = `width:${WIDTHS[0]}px;height:800px;border:0`;
      const loaded = new Promise((done) => frame.addEventListener("load", done));
      frame.src = page;
      document.body.append(frame);
      await loaded;
      const its = frame.contentDocument;
      for (const width of WIDTHS) {
        frame.style.width = `${width}px`;
        await new Promise((done) => setTimeout(done, 100));  // until its scripts know
        for (const text of its.querySelectorAll("svg.picture text")) {
          const size = parseFloat(frame.contentWindow.getComputedStyle(text).fontSize);
          answer.push([page, width, "text", size * text.getScreenCTM().a]);
        }
        answer.push([page, width, "page", its.documentElement.scrollWidth]);
        answer.push([page, width, "seen", frame.contentWindow.innerWidth]);
        for (const box of its.querySelectorAll(".md-typeset__table, .md-typeset__scrollwrap"))
          answer.push([page, width, "table", box.scrollWidth - box.clientWidth]);
      }
      frame.remove();
    }
    document.body.append(Object.assign(document.createElement("output"), {textContent: JSON.stringify(answer)}));
  });
</script>
"""


def test_every_page_fits_a_desktop_and_a_phone(site: Path, tmp_path: Path) -> None:
    """No page scrolls sideways, on a desktop no table either, and the text of pictures has at least 12 pixels."""
    folder = tmp_path / "site"
    shutil.copytree(site, folder, copy_function=os.link)
    (worker,) = folder.glob("assets/javascripts/workers/search.*.js")
    worker.unlink()  # on each page it would index the whole site
    addresses = [path.as_uri() for path in sorted(folder.rglob("index.html"))]
    asker = _ASKER.replace("PAGES", json.dumps(addresses)).replace("WIDTHS", json.dumps(WIDTHS))
    (tmp_path / "asker.html").write_text(asker)
    measured = _answer(tmp_path / "asker.html", tmp_path)
    assert len([row for row in measured if row[2] == "page"]) == len(addresses) * len(WIDTHS)
    assert [row for row in measured if row[2] == "seen" and row[3] != row[1]] == []
    assert [row for row in measured if row[2] == "page" and row[3] > row[1]] == []
    wide = {row[0].split("/")[-2]: row[3] for row in measured if row[2] == "table" and row[1] == 1280 and row[3] > 0}
    assert wide == {}, "tables that scroll on a desktop, and by how many pixels"
    texts = [row for row in measured if row[2] == "text"]
    assert texts
    assert [row for row in texts if row[3] < 12] == []
