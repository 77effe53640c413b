"""The pre-commit hooks: pre-commit runs them in the repository of a user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

import provisioner
from tests import pages

ROOT = Path(__file__).parents[2]
SPEC = (ROOT / "examples" / "standalone.yaml").read_text()

(GUIDE,) = pages.fences(__file__, "gitops.md")
HOST = "outer_maps: {hosts_by_site: {inner_maps: {9: {entries: {}}}}}\n"


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@localhost", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout as a repository with a tag. It has uncommitted files too."""
    folder = tmp_path_factory.mktemp("hooks")
    for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        source, target = ROOT / name, folder / name
        if name.startswith(("tests/", "benchmarks/")) or not source.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "everything")
    git(folder, "tag", f"v{provisioner.__version__}")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pre-commit installs the hooks: once for all repositories, as a user has it."""
    return tmp_path_factory.mktemp("cache")


class Repository:
    """The repository of a user, with the hooks in its configuration."""

    def __init__(self, folder: Path, hooks: Path, cache: Path) -> None:
        self.folder = folder
        self._environment = os.environ | {
            "PRE_COMMIT_HOME": str(cache),
            # The dependencies and build tools of the project come from this environment, not from an index. pip inverts
            # this variable.
            "PIP_NO_BUILD_ISOLATION": "0",
            "PYTHONPATH": sysconfig.get_path("purelib"),
        }
        git(folder, "init", "--quiet")
        self.write(".pre-commit-config.yaml", GUIDE.text.replace("https://example.org/bpf-provisioner", str(hooks)))

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)

    def commit(self) -> tuple[int, str]:
        """The exit status and the output of pre-commit for all changes."""
        git(self.folder, "add", "--all")
        done = subprocess.run(
            [sys.executable, "-m", "pre_commit", "run", "--color=never"],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr


def test_changed_specs_are_validated(hooks: Path, cache: Path, tmp_path: Path) -> None:
    repository = Repository(tmp_path, hooks, cache)
    repository.write("specs/one.yaml", SPEC)
    repository.write("specs/two.yaml", SPEC)
    repository.write("fleet/base.yaml", SPEC)
    repository.write("fleet/hosts/edge-1.yaml", HOST)
    status, output = repository.commit()
    assert status == 0, output
    git(tmp_path, "commit", "--quiet", "--message", "sound", "--no-verify")

    repository.write("specs/two.yaml", SPEC.replace("vlan: 4094", "vlan: 70000"))
    repository.write("fleet/hosts/edge-1.yaml", HOST.replace("9:", "nine:"))
    status, output = repository.commit()
    assert status == 1
    assert "specs/two.yaml:38:" in output and "70000" in output
    assert "fleet/hosts/edge-1.yaml:1:" in output and "nine" in output
    assert "one.yaml" not in output


def test_a_file_with_the_name_of_an_option_is_a_file(hooks: Path, cache: Path, tmp_path: Path) -> None:
    repository = Repository(tmp_path, hooks, cache)
    config = tmp_path / ".pre-commit-config.yaml"
    config.write_text(config.read_text().replace("^specs/", "^--"))
    repository.write("--help.yaml", SPEC.replace("vlan: 4094", "vlan: 70000"))
    status, output = repository.commit()
    assert status == 1 and "--help.yaml:38:" in output


def test_pre_commit_takes_the_manifest() -> None:
    subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-manifest", ".pre-commit-hooks.yaml"], check=True, cwd=ROOT
    )


def test_the_guide_names_the_hooks() -> None:
    guide = (ROOT / "docs" / "gitops.md").read_text()
    for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text()):
        assert f"id: {hook['id']}" in guide
