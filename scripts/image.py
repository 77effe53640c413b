"""Write a container image from tar files: `image.py ARCHIVE NAME LAYER... [-- ENTRYPOINT...]`.

`ctr image import` reads the archive. No registry and no build tool are needed.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path


def write(archive: Path, name: str, layers: Sequence[Path], entrypoint: Sequence[str] = ()) -> None:
    """An image with these layers, the lowest first."""
    digests = [_digest(layer) for layer in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Entrypoint": list(entrypoint)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
    }
    encoded = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(encoded).hexdigest()}.json"
    names = [f"{digest}.tar" for digest in digests]
    partial = archive.with_suffix(".partial")
    with tarfile.open(partial, "w") as image:
        _add(image, config_name, encoded)
        for member, layer in zip(names, layers, strict=True):
            image.add(layer, member)
        _add(
            image, "manifest.json", json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": names}]).encode()
        )
    partial.rename(archive)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _add(image: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    image.addfile(info, io.BytesIO(content))


if __name__ == "__main__":
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    write(Path(words[0]), words[1], [Path(word) for word in words[2:end]], words[end + 1 :])
