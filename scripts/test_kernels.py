"""Run the tests of the kernel on other kernels: `scripts/test_kernels.py [--short] [KERNEL...] [-- COMMAND]`.

KERNEL is one of `kernel_packages.SUITES`, or `host` for the running kernel. The default is all of them. COMMAND
replaces the tests. The exit status is 1 if the tests fail on a kernel, or if a kernel cannot be fetched or booted.
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
    "tests/attach",
    "tests/cli/test_doctor.py tests/cli/test_privileges.py",
    "tests/promises/test_no_writes.py tests/cli/test_live.py",
)
"""Each one runs in its own guest: about 15 minutes under emulation on an idle machine."""

SHORT: Final = (
    "tests/apply/test_same_bytes.py tests/cli/test_live.py::test_apply_says_how_far_apart_slots_became_visible",
)
"""Apply and destroy one spec. Only one test starts the command, which takes seconds under emulation."""

_PYTEST: Final = ".venv/bin/python -m pytest -q -rs --color=no -p no:cacheprovider --durations=10"
_TIMEOUT: Final = 3600.0


def main() -> int:
    """Run the matrix, and print the result of each kernel at the end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # guests end with this process
    asked = _arguments()
    names = asked.kernels or (*kernel_packages.SUITES, HOST)
    if missing := [] if set(names) == {HOST} else guest.missing():
        print(*(f"{program} is missing: install {guest.PROGRAMS[program]}" for program in missing), sep="\n")
        print("`make test-kernels` installs what is missing on Debian")
        return 1
    commands = [" ".join(asked.command)] if asked.command else [f"{_PYTEST} {part}" for part in asked.parts]
    # A guest writes no byte code, and would spend most of its time on compiling.
    subprocess.run([sys.executable, "-m", "compileall", "-q", "provisioner", "tests"], cwd=PROJECT, check=False)
    outcomes: list[tuple[str, str]] = []
    for name, command in product(names, commands):
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
    parser.add_argument("--short", action="store_true", help="only apply and destroy one spec")
    parser.add_argument("--refresh", action="store_true", help="fetch the current kernels of the suites again")
    parser.add_argument("--timeout", type=float, default=_TIMEOUT, metavar="SECONDS", help="time limit of each guest")
    parsed = parser.parse_args(words)
    unknown = [name for name in parsed.kernels if name not in names]
    if unknown:
        parser.error(f"unknown kernel: {', '.join(unknown)}; choose from {', '.join(names)}")
    parsed.command = command
    parsed.parts = SHORT if parsed.short else PARTS
    return parsed


if __name__ == "__main__":
    sys.exit(main())
