"""What a user gets who wants only the tool: a wheel with the schemas in it, and a command that works."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import provisioner

ROOT = Path(__file__).parent.parent


def test_the_wheel_holds_the_package_and_the_schemas(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for schema in (ROOT / "schemas").glob("*.json"):
        assert f"provisioner/schemas/{schema.name}" in names
    assert "provisioner/py.typed" in names
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


def test_the_installed_command_works(wheel: Path, tmp_path: Path) -> None:
    """Installed alone; what it depends on is lent from here, so that no index is asked again."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    python = str(tmp_path / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", str(wheel)], check=True)
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
    (Path(site) / "lent.pth").write_text(sysconfig.get_path("purelib"))
    command = str(tmp_path / "bin" / "provisioner")

    def run(*words: str) -> str:
        return subprocess.run([command, *words], check=True, capture_output=True, text=True, cwd=tmp_path).stdout

    assert run("--version").split()[1] == provisioner.__version__
    assert json.loads(run("schema"))["$schema"].endswith("2020-12/schema")
    run("validate", str(ROOT / "examples" / "standalone.yaml"))
    tell = [python, "-c", "import provisioner; print(provisioner.__file__)"]
    where = subprocess.run(tell, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert where.startswith(site)


def test_what_is_released_is_what_an_index_takes(wheel: Path, tmp_path: Path) -> None:
    """The wheel, and a source archive that a wheel can be made of."""
    build = "from hatchling.build import build_sdist; import sys; print(build_sdist(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], check=True, capture_output=True, text=True, cwd=ROOT
    )
    archive = tmp_path / done.stdout.split()[-1]
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(archive)], check=True)
    with tarfile.open(archive) as opened:
        names = opened.getnames()
    top = archive.name.removesuffix(".tar.gz")
    for name in ("pyproject.toml", "LICENSE", "provisioner/py.typed", "provisioner/schemas/plan.schema.json"):
        assert f"{top}/{name}" in names
    assert not any(name.endswith(".o") or "/.ci/" in name for name in names)


def test_the_container_file_is_sound() -> None:
    subprocess.run([str(Path(sys.executable).parent / "hadolint"), str(ROOT / "Containerfile")], check=True)


def test_what_repeats_the_version_says_the_same() -> None:
    """The collection, images, wheels and tags of examples, and the manual page."""
    places = {
        "docs/fleet.md": r"bpf-provisioner@v(.+)$",
        "docs/gitops.md": r"(?:bpf-provisioner@|rev: )v(.+)$",
        "integrations/ansible/README.md": r"bpf_provisioner-(.+?)-py3",
        "integrations/gitlab/provisioner.gitlab-ci.yml": r"bpf_provisioner-(.+?)-py3",
        "integrations/kubernetes/components/mount-bpffs/daemonset.yaml": r"image: provisioner:(.+)$",
        "integrations/kubernetes/example/kustomization.yaml": r"newTag: (.+?)}",
        "integrations/ansible/galaxy.yml": r"^version: (.+)$",
        "integrations/kubernetes/base/daemonset.yaml": r"image: provisioner:(.+)$",
        "man/provisioner.1": r'^\.TH .* "provisioner (.+?)"',
    }
    for name, pattern in places.items():
        assert set(re.findall(pattern, (ROOT / name).read_text(), re.MULTILINE)) == {provisioner.__version__}, name


def test_the_container_is_given_all_that_its_package_is_built_from() -> None:
    given = {line.removeprefix("!") for line in (ROOT / ".containerignore").read_text().splitlines() if line[0] == "!"}
    taken = set(re.findall(r'\$source"?/(\w[\w.]*)', (ROOT / "packaging/debian/build.sh").read_text()))
    assert {"man", "provisioner"} <= taken <= given
