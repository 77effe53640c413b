"""The Debian package: built, installed into a root of its own by dpkg, run there by Debian's Python, and removed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

import pytest

import provisioner

ROOT: Final = Path(__file__).parent.parent
PYTHON: Final = "/usr/bin/python3"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, with_network: list[str]) -> Path:
    build = [*with_network, str(ROOT / "packaging" / "debian" / "build.sh"), str(tmp_path_factory.mktemp("deb"))]
    environment = os.environ | {"PYTHON": PYTHON, "COMPRESSION": "none"}
    done = subprocess.run(build, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def test_apt_would_install_it_here(package: Path) -> None:
    """Its dependencies are Debian's, under their names and with versions that Debian has."""
    done = subprocess.run(["apt-get", "install", "--simulate", str(package)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"Inst bpf-provisioner ({provisioner.__version__} " in done.stdout


def test_it_is_installed_runs_and_goes(package: Path, tmp_path: Path) -> None:
    for folder in ("updates", "info"):
        (tmp_path / "var/lib/dpkg" / folder).mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").touch()

    def dpkg(*words: str) -> None:
        command = ["dpkg", f"--root={tmp_path}", "--force-depends", f"--log={tmp_path}/log", *words]
        subprocess.run(command, check=True, capture_output=True)

    def run(*words: str) -> str:
        command = [PYTHON, "-sE", str(tmp_path / "usr/bin/provisioner"), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout

    dpkg("--install", str(package))
    dpkg("--verify", "bpf-provisioner")
    assert run("--version").split()[1] == provisioner.__version__
    plan = run("plan", "--against", "empty", "--exit-zero", str(ROOT / "examples" / "standalone.yaml"))
    assert "4 outer maps to create" in plan
    assert (tmp_path / "etc/provisioner").stat().st_mode & 0o777 == 0o700
    dpkg("--verify", "bpf-provisioner")
    assert (tmp_path / "usr/lib/systemd/system/provisioner-watch@.service").exists()
    manual = ["mandoc", "-T", "ascii", str(tmp_path / "usr/share/man/man1/provisioner.1.gz")]
    assert b"User Commands" in subprocess.run(manual, capture_output=True, check=True).stdout
    dpkg("--purge", "bpf-provisioner")
    assert not any((tmp_path / name).exists() for name in ("usr", "etc"))
