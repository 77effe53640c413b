"""The Debian package: built, checked by lintian, and installed by dpkg on a host that systemd boots."""

from __future__ import annotations

import json
import os
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

import pytest

import provisioner
from tests.cli.support import SPEC
from tests.integrations.booted import booted
from tests.integrations.hosts import Host

ROOT: Final = Path(__file__).parent.parent
PYTHON: Final = "/usr/bin/python3"
WATCH: Final = "provisioner-watch@edge.service"
CONFFILE: Final = "/etc/default/provisioner"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, with_network: list[str]) -> Path:
    build = [*with_network, str(ROOT / "packaging" / "debian" / "build.sh"), str(tmp_path_factory.mktemp("deb"))]
    environment = os.environ | {"PYTHON": PYTHON, "COMPRESSION": "none"}
    done = subprocess.run(build, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    subprocess.run(["dpkg-deb", "--extract", str(package), str(folder)], check=True)
    return folder


def test_apt_would_install_it_here(package: Path) -> None:
    """Its dependencies are Debian's, under their names and with versions that Debian has."""
    done = subprocess.run(["apt-get", "install", "--simulate", str(package)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"Inst bpf-provisioner ({provisioner.__version__} " in done.stdout


def test_lintian_has_no_complaint(package: Path) -> None:
    """Stripped libraries, maintainer scripts, conffiles, and more. To save time, this package is not compressed."""
    quick = "--suppress-tags=uses-no-compression-for-data-tarball,uses-no-compression-for-control-tarball"
    done = subprocess.run(["lintian", "--fail-on=error,warning", quick, str(package)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_has_the_licences_of_its_libraries_and_no_tests_of_them(unpacked: Path) -> None:
    library = unpacked / "usr/lib/provisioner"
    copyrights = (unpacked / "usr/share/doc/bpf-provisioner/copyright").read_text()
    bundled = {each.name: each.version for each in distributions(path=[str(library)])}
    assert bundled.keys() > {"bpf-provisioner", "numpy", "msgspec", "PyYAML", "prometheus_client"}
    for name, version in bundled.items():
        assert name == "bpf-provisioner" or f"\n{name} {version}\n---" in copyrights
    assert not [path for path in library.rglob("*") if path.name in ("tests", "conftest.py") or "_tests." in path.name]


def test_no_file_names_the_directory_of_the_build(package: Path, unpacked: Path) -> None:
    for path in unpacked.rglob("*"):
        assert not path.is_file() or os.fsencode(package.parent) not in path.read_bytes()
        assert not path.is_file() or os.fsencode(ROOT) not in path.read_bytes()


def test_completions_alerts_and_schemas_come_with_it(unpacked: Path) -> None:
    shared = unpacked / "usr/share"
    subprocess.run(["bash", "-n", str(shared / "bash-completion/completions/provisioner")], check=True)
    assert (shared / "zsh/vendor-completions/_provisioner").read_text().startswith("#compdef provisioner\n")
    assert (
        (shared / "fish/vendor_completions.d/provisioner.fish").read_text().startswith("complete --command provisioner")
    )
    for installed, source in (("prometheus", ROOT / "integrations/prometheus"), ("schemas", ROOT / "schemas")):
        names = {path.name for path in (shared / "bpf-provisioner" / installed).iterdir()}
        assert names == {path.name for path in source.iterdir()}


def state(host: Host, *names: str) -> list[str]:
    shown = host.run("systemctl", "show", WATCH, *(f"--property={name}" for name in names)).stdout
    values = dict(line.split("=", 1) for line in shown.splitlines())
    return [values[name] for name in names]


def test_it_is_installed_upgraded_removed_and_purged(package: Path, kernel: Path, tmp_path: Path) -> None:
    """The watch runs the new code after an upgrade, and the maps outlive the upgrade and the package."""
    assert kernel.is_dir()
    with booted("debian", tmp_path, {"provisioner/edge/edge.yaml": SPEC}) as host:

        def run(*words: str) -> str:
            done = host.run(*words)
            log = host.run("journalctl", "--output=cat", "--lines=40").stdout
            assert done.returncode == 0, done.stdout + done.stderr + log
            return done.stdout

        run("find", "/usr/bin", "/etc/systemd/system", "-maxdepth", "1", "-name", "provisioner*", "-delete")
        run("rm", "--force", "/usr/sbin/policy-rc.d")  # images of containers forbid restarts with it
        run("rm", "--force", "/var/lib/man-db/auto-update")  # else all pages of the machine are indexed at each change
        host.path("/srv/package.deb").write_bytes(package.read_bytes())
        run("dpkg", "--install", "/srv/package.deb")
        run("dpkg", "--verify", "bpf-provisioner")
        assert run("provisioner", "--version").split()[1] == provisioner.__version__
        assert (
            b"User Commands"
            in subprocess.run(
                ["mandoc", "-T", "ascii", str(host.path("/usr/share/man/man1/provisioner.1.gz"))], capture_output=True
            ).stdout
        )
        completion = run(
            "env", "_PROVISIONER_COMPLETE=complete_bash", "COMP_WORDS=provisioner val", "COMP_CWORD=1", "provisioner"
        )
        assert completion.split() == ["validate"]

        run("systemctl", "start", WATCH)
        shown = run("provisioner", "show", "/etc/provisioner/edge", "--format", "json")
        assert json.loads(shown)["exists"]
        host.path(CONFFILE).write_text("OPTIONS=--interval=30\n")
        before = state(host, "MainPID")
        run("dpkg", "--install", "/srv/package.deb")
        assert state(host, "MainPID") != before and state(host, "ActiveState") == ["active"]
        assert run("provisioner", "show", "/etc/provisioner/edge", "--format", "json") == shown
        assert host.path(CONFFILE).read_text() == "OPTIONS=--interval=30\n"
        assert b"--interval=30" in host.path(f"/proc/{state(host, 'MainPID')[0]}/cmdline").read_bytes()

        run("systemctl", "stop", WATCH)
        run("dpkg", "--install", "/srv/package.deb")
        assert state(host, "ActiveState") == ["inactive"], "an upgrade starts no watch"
        run("systemctl", "start", WATCH)
        run("dpkg", "--remove", "bpf-provisioner")
        assert state(host, "ActiveState") == ["inactive"]
        assert host.path("/sys/fs/bpf/edge/tenants").exists()
        assert not host.path("/usr/lib/provisioner").exists() and host.path(CONFFILE).exists()
        run("dpkg", "--purge", "bpf-provisioner")
        assert not host.path(CONFFILE).exists()
        assert host.path("/etc/provisioner/edge/edge.yaml").exists(), "specs of the administrator stay"
