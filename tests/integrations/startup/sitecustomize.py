"""Read by the Python of Ansible's modules when it starts: a cache of the bytecode of what they import.

A module is a zip archive. Python compiles all that it imports from one each time: 0.3 s of CPU time for each task.
"""

from __future__ import annotations

import marshal
import os
import sys
import zipimport
from contextlib import suppress
from importlib.util import source_hash
from types import CodeType
from typing import Final

os.environ.pop("PYTHONPATH", None)  # what a module starts has its own environment

_CACHE: Final = os.path.join(os.path.dirname(__file__), "..", "..", "..", "build", "bytecode", "zip")
_compile = getattr(zipimport, "_compile_source", None)


def _cached(path: str, source: bytes) -> CodeType:
    assert _compile is not None
    cached = os.path.join(_CACHE, f"{source_hash(source).hex()}.{sys.implementation.cache_tag}")
    with suppress(OSError, EOFError, ValueError, TypeError), open(cached, "rb") as stream:
        known: CodeType = marshal.load(stream)
        return known
    code: CodeType = _compile(path, source)
    with suppress(OSError):
        os.makedirs(_CACHE, exist_ok=True)
        with open(f"{cached}.{os.getpid()}", "wb") as stream:
            marshal.dump(code, stream)
        os.rename(f"{cached}.{os.getpid()}", cached)
    return code


if _compile is not None:
    zipimport._compile_source = _cached  # type: ignore[attr-defined]
