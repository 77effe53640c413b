"""C libraries that are preloaded into commands under test, compiled on first use."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

CACHE: Final = Path(tempfile.gettempdir()) / f"provisioner-test-objects-{os.geteuid()}"
"""Compiled objects by the digest of their source: shared by all test processes of this user."""

_KEPT: Final = 30 * 24 * 3600.0
"""Seconds after which a file that no test used is removed. Each change of a source makes a new file."""

_HEADER: Final = Path(__file__).with_name("created.h")
"""What the libraries include."""


def build(source: Path) -> Path:
    """Compile a C file to a shared library, once for each content; gives the library's path."""
    digest = hashlib.sha256(source.read_bytes() + _HEADER.read_bytes()).hexdigest()[:16]
    library = CACHE / digest / f"{source.stem}.so"
    if not use(library):
        prune()
        library.parent.mkdir(parents=True, exist_ok=True)
        temporary = library.with_suffix(f".{os.getpid()}")
        options = ["-O2", "-Wall", "-Werror", "-shared", "-fPIC"]
        subprocess.run(["gcc", *options, str(source), "-o", str(temporary), "-ldl"], check=True)
        temporary.rename(library)
    return library


def use(path: Path) -> bool:
    """Whether a file of the cache exists; it is kept from now on as long as a new one."""
    with suppress(FileNotFoundError):
        os.utime(path)
        return True
    return False


def prune(cache: Path = CACHE) -> None:
    """Remove what was not used for long. Called before the cache grows; other test processes may do the same."""
    oldest = time.time() - _KEPT
    for path in [*cache.glob("includes/*"), *cache.glob("*/")]:
        with suppress(FileNotFoundError):
            if max(each.stat().st_mtime for each in (path, *path.glob("*"))) < oldest:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def variables(library: Path) -> dict[str, str]:
    """The environment variables that preload `library` before those that are preloaded already."""
    return {"LD_PRELOAD": ":".join(filter(None, (str(library), os.environ.get("LD_PRELOAD"))))}
