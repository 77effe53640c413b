"""The cache of compiled objects: what is used stays, and what no test used for long goes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests import preload


def test_what_was_not_used_for_long_is_removed(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a/x.o", "b/x.o", "c/x.o", "includes/a", "includes/b", "includes/c")]
    for path in files:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    long_ago = time.time() - 100 * 24 * 3600
    for path in files[1:3] + files[4:] + [each.parent for each in files[:4]]:
        os.utime(path, (long_ago, long_ago))
    assert preload.use(tmp_path / "c/x.o")
    assert preload.use(tmp_path / "includes/c")
    assert not preload.use(tmp_path / "d/x.o")
    preload.prune(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")) == [
        *("a/x.o", "c/x.o", "includes/a", "includes/c")
    ]
    assert not (tmp_path / "b").exists()
