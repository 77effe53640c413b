"""The tables of the README against the code. test_docs.py runs its commands."""

from __future__ import annotations

import re
from pathlib import Path

from provisioner.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_every_command_is_listed() -> None:
    listed = set(re.findall(r"^\| `(\w+)[^`]*` \|", README, flags=re.MULTILINE))
    commands = app.all_verbs().registered_commands
    known = {command.name or command.callback.__name__ for command in commands if command.callback}
    assert known <= listed


def test_every_link_has_a_target() -> None:
    for name in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / name).exists(), name


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
