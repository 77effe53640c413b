"""The provisioner without its start-up and its report: how long each part takes inside one process.

`python -m benchmarks.inside SPEC` creates what SPEC says, plans again and destroys it, and prints seconds as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command does, before NumPy is imported

import provisioner
from provisioner.apply import Options
from provisioner.apply.run import apply_plan
from provisioner.kernel import locking

Made = TypeVar("Made")


def main(spec: str) -> None:
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Made]) -> Made:
        start = time.perf_counter()
        made = work()
        seconds[name] = time.perf_counter() - start
        return made

    project = timed("load", lambda: provisioner.load([Path(spec)]))
    first = timed("plan", lambda: project.plan())
    with locking.lock(Path(first.desired.pin_root), 0, create=True):
        # No look afterwards: that is what the next line measures.
        timed("steps", lambda: apply_plan(first, Options(), tuple))
    again = timed("observe", lambda: project.plan())
    verified = timed("verify", lambda: project.plan(digests=True))
    timed("destroy", lambda: project.destroy())
    if again.steps or verified.steps:
        raise SystemExit("the second plan has changes")
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(sys.argv[1])
