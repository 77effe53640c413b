"""The live state as bpftool sees it, which knows nothing of us."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any


def bpftool(*words: str) -> Any:
    done = subprocess.run(["bpftool", "-j", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def raw(part: Any) -> bytes:
    return bytes(int(byte, 16) for byte in part)


def entries(path: Path | None = None, *, map_id: int = 0) -> dict[bytes, bytes]:
    """Key -> value; of a per-CPU map, the values of all CPUs joined."""
    words = ("pinned", str(path)) if path is not None else ("id", str(map_id))
    contents = {}
    for entry in bpftool("map", "dump", *words):
        if "values" in entry:
            contents[raw(entry["key"])] = b"".join(raw(one["value"]) for one in entry["values"])
        elif isinstance(entry.get("value"), list):
            contents[raw(entry["key"])] = raw(entry["value"])
    return contents


def outer(path: Path) -> dict[bytes, dict[bytes, bytes]]:
    """Outer key -> the entries of the inner map in that slot."""
    return {key: entries(map_id=int.from_bytes(value, "little")) for key, value in entries(path).items()}
