"""The recipes for Salt and Puppet: the commands that the guide shows, guard and command, as those tools run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.cli.conftest import Project

GUIDE: Final = (Path(__file__).parents[2] / "docs" / "gitops.md").read_text()


def salt() -> tuple[str, str]:
    """Guard and command."""
    found = re.search(r"```yaml\n# Salt\n(.*?)```", GUIDE, re.DOTALL)
    assert found is not None
    state = {
        key: value for one in yaml.safe_load(found[1])["provisioner-edge"]["cmd.run"] for key, value in one.items()
    }
    return state["unless"], state["name"]


def puppet() -> tuple[str, str]:
    found = re.search(r"```puppet\n(.*?)```", GUIDE, re.DOTALL)
    assert found is not None
    words = dict(re.findall(r"(\w+) +=> '([^']*)'", found[1]))
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
