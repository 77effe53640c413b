"""`provisioner` and `python -m provisioner`. Imports as little as possible."""

from __future__ import annotations

import gc
import os
import sys

# Importing `typing` takes longer than all of `--version`.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import NoReturn


def main() -> int:
    """Run the command line; gives the exit status."""
    if sys.argv[1:] == ["--version"]:
        from provisioner import __version__

        try:
            sys.stdout.write(f"provisioner {__version__}\n")
            sys.stdout.flush()
            return 0
        except (OSError, AttributeError):
            pass  # the message is made below
    if sys.argv[1:2] == ["watch"]:
        import signal  # other verbs get to it later

        # SIGHUP asks for the files to be read again. Until the watch handles it, the files are not read yet.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # A start creates many objects and few cycles: the default thresholds cost a tenth of the start.
    gc.set_threshold(100_000, 20, 20)
    # OpenBLAS is not used, but starts a thread per CPU when NumPy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from provisioner.cli.app import run
        from provisioner.cli.streams import open_closed_streams

        open_closed_streams()
        status = run(sys.argv[1:])
    except KeyboardInterrupt:
        status = 130
    return status


def command() -> NoReturn:
    """Run the command line and end the process.

    The interpreter would free all modules first, which takes 15 ms, and a large spec object by object. Files, threads
    and locks are closed by then: none of them is left to an exit handler.
    """
    # Imports nest deeply. CPython from 3.11 on keeps the frames of calls in chunks of 16 KB. A loop at the end of one
    # maps and unmaps the next with each call: 1,400 times in a small plan, which took 10 ms. A frame of 64 KB gets a
    # chunk of 128 KB, with room for all calls below it.
    main.__code__ = main.__code__.replace(co_stacksize=8192)
    status = main()
    try:
        sys.stdout.flush()
    except (OSError, AttributeError):
        sys.exit(status)  # the interpreter tries once more, and says what is wrong
    try:  # noqa: SIM105 (one import more)
        sys.stderr.flush()
    except (OSError, AttributeError):
        pass  # there is nowhere to report it
    os._exit(status)


if __name__ == "__main__":
    command()
