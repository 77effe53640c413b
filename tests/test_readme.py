"""The README's tables against the code; its commands are run with those of the other pages, in test_docs.py."""

from __future__ import annotations

import re
from pathlib import Path

from provisioner.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_every_verb_is_named() -> None:
    listed = set(re.findall(r"^\| `(\w+)[^`]*` \|", README, flags=re.MULTILINE))
    verbs_there = app.all_verbs().registered_commands
    known = {command.name or command.callback.__name__ for command in verbs_there if command.callback}
    assert known <= listed


def test_every_link_leads_somewhere() -> None:
    for name in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / name).exists(), name


def test_every_make_target_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
