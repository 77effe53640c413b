"""The files in changelog.d/: towncrier makes one bullet of each."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
FRAGMENTS = sorted(path for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md")
KINDS = {
    kind["directory"] for kind in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]["type"]
}


def test_fragments_are_sentences_without_a_bullet() -> None:
    for fragment in FRAGMENTS:
        name = re.fullmatch(r"\+[a-z0-9-]+\.([a-z]+)\.md", fragment.name)
        assert name is not None, fragment.name
        assert name[1] in KINDS, fragment.name
        text = fragment.read_text()
        assert re.match(r"[A-Z`]", text), f"{fragment.name}: begin a sentence; towncrier adds the bullet"
        assert re.search(r"[.)]\n\Z", text), f"{fragment.name}: end the sentence"
        assert not re.search(r"^(- |\* |#|\n)", text, re.MULTILINE), f"{fragment.name}: one change per file"
        assert max(map(len, text.splitlines())) <= 125, f"{fragment.name}: wrap the lines"
