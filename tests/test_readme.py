"""The README's files and commands, run in the order in which a reader meets them; its tables against the code."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from provisioner.cli import verbs

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()

PARTS = re.compile(
    r"<!-- file: (?P<file>\S+) -->\n```\w+\n(?P<content>.*?)```"
    r"|<!-- edit: (?P<edited>\S+)\n(?P<edit>.*?)-->"
    r"|```console\n(?P<console>.*?)```",
    re.DOTALL,
)


def commands(console: str) -> Iterator[tuple[str, str]]:
    """Each command with the output that is shown below it."""
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def test_every_command_does_what_the_readme_shows(system_bpffs: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ran = 0
    for part in PARTS.finditer(README):
        if part["file"]:
            (tmp_path / part["file"]).write_text(part["content"])
        elif part["edited"]:
            subprocess.run(["sed", "-i", part["edit"], part["edited"]], cwd=tmp_path, check=True)
        else:
            for command, output in commands(part["console"]):
                done = subprocess.run(
                    shlex.split(command), cwd=tmp_path, env=environment, capture_output=True, text=True
                )
                assert done.returncode in (0, 2), done.stderr
                if output:
                    assert done.stdout == output
                ran += 1
    assert ran == 7
    assert not (system_bpffs / "edge").exists()


def test_every_verb_is_named() -> None:
    listed = set(re.findall(r"^\| `(\w+)[^`]*` \|", README, flags=re.MULTILINE))
    verbs_there = verbs.all_verbs().registered_commands
    known = {command.name or command.callback.__name__ for command in verbs_there if command.callback}
    assert known <= listed


def test_every_link_leads_somewhere() -> None:
    for name in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / name).exists(), name


def test_every_make_target_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
