"""`provisioner` and `python -m provisioner`: as little as possible before it is known what is asked."""

from __future__ import annotations

import gc
import os
import sys


def main() -> int:
    """Run the command line; gives the exit status."""
    if sys.argv[1:] == ["--version"]:
        from provisioner import __version__

        sys.stdout.write(f"provisioner {__version__}\n")
        return 0
    # A start makes many objects and hardly any cycles: looking for those as often as by default takes a tenth of it.
    gc.set_threshold(100_000, 20, 20)
    # No work here is OpenBLAS', which starts a thread per CPU when NumPy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from provisioner.cli.app import run

        status = run(sys.argv[1:])
    except KeyboardInterrupt:
        status = 130
    gc.freeze()  # nor is anything to be found when it ends, where the interpreter looks at every object once more
    return status


if __name__ == "__main__":
    sys.exit(main())
