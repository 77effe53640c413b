"""Files in the directories of a project that look like specs and are not read: hidden, renamed, or in a subdirectory.

A tenant whose file is renamed is deleted by the next apply, so such files are worth a warning.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Final

from provisioner.files.reading import SPEC, InputFile

_SUFFIXES: Final = frozenset({".yaml", ".yml"})
_NAME: Final = re.compile(r"\.ya?ml", re.IGNORECASE)
"""In the name of a file that is, or was, YAML: `a.yaml.bak`."""

_SPEC: Final = re.compile(rb"^(?:outer_maps|inner_templates|shared_inner_maps|inner_maps)[ \t]*:", re.MULTILINE)
_MAX_BYTES: Final = 1 << 16
_MAX_DEPTH: Final = 3
_MAX_FILES: Final = 1000
"""Limits on the search, which is for a warning only."""


def is_spec_name(path: Path) -> bool:
    """Whether a file of this name is read from a directory: `*.yaml` and `*.yml` in any case, not hidden."""
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


def look_for(directories: Iterable[Path], read: Container[str]) -> tuple[Path, ...]:
    """Files that look like specs in the `directories` and below, without those that were `read`; sorted."""
    names = {path for directory in directories for path in _candidates(directory)}
    return tuple(path for path in sorted(names)[:_MAX_FILES] if str(path) not in read and _is_spec(path))


def _candidates(directory: Path) -> Iterator[Path]:
    depth = len(directory.parts)
    for place, subdirectories, files in os.walk(directory):
        here = Path(place)
        at_end = len(here.parts) - depth >= _MAX_DEPTH
        subdirectories[:] = [] if at_end else sorted(name for name in subdirectories if not name.startswith("."))
        yield from (here / name for name in files if _NAME.search(name))


def _is_spec(path: Path) -> bool:
    try:
        with InputFile(path, SPEC).open() as stream:
            return bool(_SPEC.search(stream.read(_MAX_BYTES)))
    except OSError:
        return False
