"""The commands of docs/install.md: they install, in directories of the test's own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests import pages

BUILD, INSTALL, FOR_ME, FOR_ALL = pages.fences(__file__, "install.md")
COMPLETIONS: Final = ("etc/bash_completion.d", "usr/local/share/zsh/site-functions", "etc/fish/completions")


def _run(script: str, folder: Path, **variables: str) -> str:
    """Run the lines of a fence with `folder` as root directory and home. Offline: pip takes no dependencies."""
    script = re.sub(r"(?<= )(?=/(?:opt|usr|etc)/)|^(?=/opt/)", str(folder), script, flags=re.MULTILINE)
    (folder / "home").mkdir(exist_ok=True)
    (folder / "usr/local/bin").mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "HOME": str(folder / "home"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say: without isolation
        "PIP_NO_DEPS": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, env=environment | variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_wheel_is_built_and_installed(tmp_path: Path) -> None:
    assert BUILD.text.endswith(" .\n"), "the source is the checkout"
    _run(BUILD.text.replace(" .\n", f" {pages.ROOT}\n"), tmp_path)
    _run(INSTALL.text, tmp_path)
    installed = tmp_path / "usr/local/bin/provisioner"
    assert installed.resolve().is_relative_to(tmp_path / "opt/provisioner")
    assert subprocess.run([installed, "--version"], capture_output=True, text=True, check=True).stdout


def test_completion_is_installed_for_one_user(tmp_path: Path) -> None:
    # With a second command, bash does not exec the first one: the shell is looked for among the parents.
    assert "bash completion installed" in _run(f"{FOR_ME.text}true\n", tmp_path, SHELL="/bin/bash")
    installed = tmp_path / "home/.bash_completions/provisioner.sh"
    assert str(installed) in (tmp_path / "home/.bashrc").read_text()
    shown = (pages.ROOT / "docs/install.md").read_text()
    assert f"`~/{installed.relative_to(tmp_path / 'home')}`" in shown


def test_completion_is_installed_for_all_users(tmp_path: Path) -> None:
    for folder in COMPLETIONS:
        (tmp_path / folder).mkdir(parents=True)
    _run(FOR_ALL.text, tmp_path)
    for folder in COMPLETIONS:
        (script,) = (tmp_path / folder).iterdir()
        assert "_PROVISIONER_COMPLETE" in script.read_text(), script
