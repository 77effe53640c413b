"""The recipes for Salt and Puppet: the guard and the command of each in the guide."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import pages
from tests.cli.conftest import Project

SALT, PUPPET = (block.text for block in pages.fences(__file__, "gitops.md"))


def salt() -> tuple[str, str]:
    """The guard and the command."""
    state = {
        key: value
        for arguments in yaml.safe_load(SALT)["provisioner-edge"]["cmd.run"]
        for key, value in arguments.items()
    }
    return state["unless"], state["name"]


def puppet() -> tuple[str, str]:
    words = dict(re.findall(r"(\w+) +=> '([^']*)'", PUPPET))
    return words["unless"], words["command"]


@pytest.mark.parametrize("recipe", [salt(), puppet()], ids=["salt", "puppet"])
def test_the_guard_says_whether_there_is_work(project: Project, recipe: tuple[str, str]) -> None:
    guard, command = (
        words.replace("/etc/provisioner/edge.yaml", f"--pin-root={project.root} {project.spec}") for words in recipe
    )
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(words: str) -> int:
        return subprocess.run(
            words, shell=True, env=environment, stdin=subprocess.DEVNULL, capture_output=True
        ).returncode

    assert run(guard) == 2
    assert run(command) == 0
    assert run(guard) == 0, "the second run has nothing to do"
    project.edit("7: 70", "7: seventy")
    assert run(guard) == run(command) == 1
