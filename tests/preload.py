"""C libraries that are preloaded into commands under test, compiled on first use."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Final

CACHE: Final = Path(tempfile.gettempdir()) / f"provisioner-test-objects-{os.geteuid()}"
"""Compiled objects by the digest of their source: shared by all test processes of this user."""

_HEADER: Final = Path(__file__).with_name("created.h")
"""What the libraries include."""


def build(source: Path) -> Path:
    """Compile a C file to a shared library, once for each content; gives the library's path."""
    digest = hashlib.sha256(source.read_bytes() + _HEADER.read_bytes()).hexdigest()[:16]
    library = CACHE / digest / f"{source.stem}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        temporary = library.with_suffix(f".{os.getpid()}")
        options = ["-O2", "-Wall", "-Werror", "-shared", "-fPIC"]
        subprocess.run(["gcc", *options, str(source), "-o", str(temporary), "-ldl"], check=True)
        temporary.rename(library)
    return library


def variables(library: Path) -> dict[str, str]:
    """The environment variables that preload `library` before those that are preloaded already."""
    return {"LD_PRELOAD": ":".join(filter(None, (str(library), os.environ.get("LD_PRELOAD"))))}
