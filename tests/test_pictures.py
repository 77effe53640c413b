"""The pictures of the documentation: they are what the script draws, fit a phone, and are on a page."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Final

import pytest

from tests import pages

FOLDER: Final = pages.ROOT / "docs/assets/pictures"
PICTURES: Final = sorted(FOLDER.glob("*.svg"))
TERMINAL: Final = pages.ROOT / "docs/assets/terminal.svg"
README: Final = (pages.ROOT / "README.md").read_text()
PAGES: Final = [pages.ROOT / "README.md", *(pages.ROOT / "docs").glob("*.md")]
CONTENT_WIDTH_OF_A_PHONE: Final = 358  # 390 pixels without the margins of a page
SVG: Final = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make pictures` draws now."""
    folder = tmp_path_factory.mktemp("pictures")
    subprocess.run([sys.executable, pages.ROOT / "scripts/pictures.py", folder], check=True)
    return folder


def test_the_script_draws_all_of_them(drawn: Path) -> None:
    assert [path.name for path in PICTURES] == sorted(path.name for path in drawn.iterdir())


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_it_is_what_the_script_draws(picture: Path, drawn: Path) -> None:
    assert picture.read_text() == (drawn / picture.name).read_text(), "run `make pictures`"


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_a_page_shows_it_with_a_description(picture: Path) -> None:
    shown = [
        words
        for page in PAGES
        for words, path in re.findall(r"!\[([^]]*)\]\(([^)]+)\)", page.read_text())
        if (page.parent / path).resolve() == picture
    ]
    assert shown
    assert all(shown)
    assert ElementTree.parse(picture).findtext(f"{SVG}title")


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_text_on_a_phone_has_12_pixels_and_stays_inside(picture: Path) -> None:
    root = ElementTree.parse(picture).getroot()
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    sizes = [float(size) for size in re.findall(r"font:(?:\d+ )?([\d.]+)px", picture.read_text())]
    assert sizes
    assert min(sizes) * CONTENT_WIDTH_OF_A_PHONE / width >= 12
    for text in root.iter(f"{SVG}text"):
        words = text.text or ""
        length = len(words) * (7.7 if "mono" in text.attrib.get("class", "") else 7)  # of a wide font
        left = float(text.attrib["x"]) - length * {"middle": 0.5, "end": 1}.get(text.attrib.get("text-anchor", ""), 0)
        assert left >= 0, words
        assert left + length <= width, words
        assert 0 < float(text.attrib["y"]) < height, words


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_it_follows_light_and_dark(picture: Path) -> None:
    text = picture.read_text()
    used = set(re.findall(r"var\(--([\w-]+)\)", text))
    for scheme in re.findall(r"\.picture\{(--[^}]*)\}", text):
        assert used <= set(re.findall(r"--([\w-]+):", scheme))
    assert "@media(prefers-color-scheme:dark)" in text
    assert '[data-md-color-scheme="slate"]' in text


@pytest.mark.usefixtures("kernel")
def test_the_terminal_shows_what_the_commands_print(tmp_path: Path) -> None:
    """They run again, as root; durations and fds differ."""
    subprocess.run([sys.executable, pages.ROOT / "scripts/terminal.py", tmp_path / "terminal.svg"], check=True)
    recorded, again = (
        re.sub(r"[\d.]+ s\b|fds \d+ before and \d+ after", "...", path.read_text())
        for path in (TERMINAL, tmp_path / "terminal.svg")
    )
    assert recorded == again, "run `make pictures`"
    assert "Applied: " in again
    assert TERMINAL.stat().st_size < 200_000
    assert "![" in README and f"({TERMINAL.relative_to(pages.ROOT)})" in README
