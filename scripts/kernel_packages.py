"""Cloud kernels of Debian, fetched once and stored outside the repository.

Each suite has its own apt state (lists, cache, one source line), so the state of the host does not change. The mirror
is the one that apt of the host uses.
"""

from __future__ import annotations

import lzma
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

SUITES: Final[Mapping[str, str]] = MappingProxyType(
    {"5.10": "bullseye-security", "6.1": "bookworm-security", "6.12": "trixie-security", "newest": "sid"}
)
"""The kernels of the matrix and the Debian suite of each. `newest` is the current kernel of sid."""

_KEYS: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
_META: Final = "linux-image-cloud-amd64"
_PARTS: Final = re.compile(r"\blinux-(?:image|binary|modules)-\d[^\s,|(]*")
"""A kernel is one package before 7.x, and three packages since."""


class FetchError(Exception):
    """A kernel cannot be fetched. This fails the matrix and never skips the kernel."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked kernel: its image, the directory of its modules, and `release`, the output of `uname -r`."""

    image: Path
    modules: Path

    @property
    def release(self) -> str:
        return self.modules.name

    @property
    def config(self) -> Path | None:
        """The build configuration. Kernels of 7.x have none."""
        path = self.image.with_name(f"config-{self.release}")
        return path if path.exists() else None

    def module_files(self, wanted: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
        """The modules `wanted`, each after its dependencies. Built-in modules are left out."""
        files = {_module_name(path): path for path in self.modules.rglob("*.ko*")}
        done: set[str] = set()

        def walk(name: str) -> Iterator[tuple[str, bytes]]:
            if name in done or name not in files:
                return
            done.add(name)
            content = _read_module(files[name])
            for needed in _depends(content):
                yield from walk(needed)
            yield name, content

        for name in wanted:
            yield from walk(name)


def cache() -> Path:
    """The directory of the kernels."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bpf-provisioner" / "kernels"


def get(name: str, *, refresh: bool = False) -> Kernel:
    """The kernel of one suite, from the cache or else the current one. Raises FetchError."""
    folder = cache() / SUITES[name]
    done = folder / "complete"
    if refresh or not done.exists():
        try:
            _fetch(SUITES[name], folder)
        except (OSError, subprocess.CalledProcessError) as error:
            output = error.stderr if isinstance(error, subprocess.CalledProcessError) else ""
            raise FetchError(f"cannot fetch the kernel of {SUITES[name]}: {error}\n{output}") from error
        done.touch()
    release = (folder / "release").read_text().strip()
    tree = folder / release
    modules = _first(tree / "lib/modules" / release, tree / "usr/lib/modules" / release)
    return Kernel(_first(tree / "boot" / f"vmlinuz-{release}", modules / "vmlinuz"), modules)


def _first(*paths: Path) -> Path:
    """The first path that exists: Debian releases differ."""
    for path in paths:
        if path.exists():
            return path
    raise FetchError(f"{paths[0]} is missing: remove {cache()} and try again")


def _fetch(suite: str, folder: Path) -> None:
    state = folder / "apt"
    for needed in ("lists/partial", "cache/archives/partial"):
        (state / needed).mkdir(parents=True, exist_ok=True)
    mirror, suite = _source(suite)
    (state / "sources.list").write_text(f"deb [signed-by={_KEYS}] {mirror} {suite} main\n")
    settings = {
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": state / "lists",
        "Dir::Cache": state / "cache",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "root",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    _run("apt-get", *options, "-q", "update")
    packages = _packages(options)
    release = packages[0].removeprefix("linux-image-").removesuffix("-unsigned")
    tree = folder / release
    if not tree.exists():
        _run("apt-get", *options, "-q", "download", *packages, folder=state)
        unpacked = folder / f"{release}.part"
        for package in sorted(state.glob("*.deb")):
            _run("dpkg-deb", "-x", str(package), str(unpacked))
            package.unlink()
        unpacked.rename(tree)
    (folder / "release").write_text(release + "\n")


def _packages(options: list[str]) -> list[str]:
    """The packages of the current kernel of the suite, the image first."""
    packages: list[str] = []
    ask = [_META]
    while ask:
        shown = _run("apt-cache", *options, "show", "--no-all-versions", ask.pop(0))
        for line in shown.splitlines():
            if line.startswith("Depends:"):
                new = [package for package in _PARTS.findall(line) if package not in packages]
                packages += new
                ask += new
    if not packages:
        raise OSError(f"{_META} depends on no kernel")
    return packages


def _source(suite: str) -> tuple[str, str]:
    """The mirror of a suite of the same kind, and the suite. Security updates often have their own mirror.

    Without a mirror of security updates, use the suite itself, whose kernels are a little older.
    """
    mirrors = _mirrors()
    if not mirrors:
        _run("apt-get", "-q", "update")
        mirrors = _mirrors()
    plain = suite.removesuffix("-security")
    for kind, name in ((suite != plain, suite), (False, plain)):
        if kind in mirrors:
            return mirrors[kind], name
    raise OSError("apt has no Debian mirror: run on Debian")


def _mirrors() -> dict[bool, str]:
    """The first mirror of security updates (True) and of other suites (False). Empty before `apt-get update`."""
    mirrors: dict[bool, str] = {}
    for line in _run("apt-get", "indextargets", "--format", "$(ORIGIN) $(RELEASE) $(SITE)").splitlines():
        origin, release, site = line.split()[-3:]
        if origin == "Debian":
            mirrors.setdefault(release.endswith("-security"), site)
    return mirrors


def _run(*command: str, folder: Path | None = None) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
    return done.stdout


def _module_name(path: Path) -> str:
    return path.name.partition(".ko")[0].replace("-", "_")


def _read_module(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def _depends(module: bytes) -> list[str]:
    """The dependencies of a module, from its `.modinfo`."""
    match = re.search(rb"\0depends=([^\0]*)\0", module)
    return [name.replace("-", "_") for name in match[1].decode().split(",") if name] if match else []
