"""Run the tests that touch the kernel on other kernels: `scripts/test_kernels.py [--short] [KERNEL...] [-- COMMAND]`.

KERNEL is one of `kernel_packages.SUITES`, or `host` for the kernel that runs here; all, if none is named. COMMAND is
run in place of the tests. Ends with 1 where a kernel fails, cannot be fetched or does not come up.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Final

import guest
import kernel_packages
from guest import Done

PROJECT: Final = Path(__file__).resolve().parents[1]
HOST: Final = "host"
PARTS: Final = (
    "tests/kernel tests/apply",
    "tests/cli/test_doctor.py tests/cli/test_privileges.py",
    "tests/promises/test_no_writes.py tests/cli/test_live.py",
)
"""Each in a guest of its own: what an emulated one takes a quarter of an hour for, on an idle machine."""

SHORT: Final = (
    "tests/apply/test_same_bytes.py tests/cli/test_live.py::test_apply_says_how_far_apart_slots_became_visible",
)
"""One spec from nothing to nothing; the command line once, for under emulation each of its starts takes seconds."""

_PYTEST: Final = ".venv/bin/python -m pytest -q -rs --color=no -p no:cacheprovider --durations=10"
_TIMEOUT: Final = 3600.0


def main() -> int:
    """Run the matrix, and say at its end how each kernel did."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that guests end with us
    asked = _arguments()
    commands = [" ".join(asked.command)] if asked.command else [f"{_PYTEST} {part}" for part in asked.parts]
    # A guest writes no byte code, and compiling all of it anew for each process is most of its time.
    subprocess.run([sys.executable, "-m", "compileall", "-q", "provisioner", "tests"], cwd=PROJECT, check=False)
    outcomes: list[tuple[str, str]] = []
    for name, command in product(asked.kernels or (*kernel_packages.SUITES, HOST), commands):
        print(f"== {name}: {command}", flush=True)
        try:
            release, done = _run(name, command, asked.refresh, asked.timeout)
        except (kernel_packages.FetchError, guest.GuestError) as error:
            print(error, flush=True)
            outcomes.append((name, f"FAILED: {str(error).splitlines()[0]}"))
        else:
            verdict = "passed" if done.status == 0 else f"FAILED with exit status {done.status}"
            outcomes.append((name, f"{verdict} in {done.seconds:.0f} s on {release}"))
    for name, outcome in outcomes:
        print(f"== {name:8}{outcome}")
    return int(any("FAILED" in outcome for _, outcome in outcomes))


def _run(name: str, command: str, refresh: bool, timeout: float) -> tuple[str, Done]:
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    if name == HOST:
        started = time.monotonic()
        status = subprocess.run(["sh", "-c", command], cwd=PROJECT, check=False, env=os.environ | environment)
        return os.uname().release, Done(status.returncode, time.monotonic() - started)
    kernel = kernel_packages.get(name, refresh=refresh)
    exports = "".join(f"export {key}={value}; " for key, value in environment.items())
    return kernel.release, guest.run(kernel, PROJECT, exports + command, timeout=timeout)


def _arguments() -> argparse.Namespace:
    words, command = sys.argv[1:], []
    if "--" in words:
        at = words.index("--")
        words, command = words[:at], words[at + 1 :]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    names = (*kernel_packages.SUITES, HOST)
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help=f"one of {', '.join(names)}")
    parser.add_argument("--short", action="store_true", help="only one spec, from nothing to nothing")
    parser.add_argument("--refresh", action="store_true", help="fetch the suites' current kernels anew")
    parser.add_argument("--timeout", type=float, default=_TIMEOUT, metavar="SECONDS", help="for each guest")
    found = parser.parse_args(words)
    unknown = [name for name in found.kernels if name not in names]
    if unknown:
        parser.error(f"no such kernel: {', '.join(unknown)}; there are {', '.join(names)}")
    found.command = command
    found.parts = SHORT if found.short else PARTS
    return found


if __name__ == "__main__":
    sys.exit(main())
