"""`python -m tests.object_check.reader OBJECT BEGIN END EACH` reads mutants BEGIN to END of an object.

A process of its own, because each mutant is opened in a fork, and the fork of a process that holds all tests takes
several times as long. Standard output has the number of each mutant before it is read: four bytes. What ends badly has
`BAD` and 80 bytes of words after it. A mutant whose number EACH divides is read as a user's object is: a child process
opens it first, and its draft is written. The others are opened by this process alone, which then ends with libbpf.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from pathlib import Path
from typing import Final

from provisioner.adopt.skeleton import skeleton
from provisioner.kernel import object_probe, objects
from provisioner.model.errors import InputError
from tests.object_check.mutants import Mutants

BAD: Final = b"\xff" * 4
WORDS: Final = 80
SECONDS: Final = 20
"""Of CPU time for each: then a signal ends this process."""

_survives: Final = object_probe.survives


def outcome(data: bytes, *, whole: bool) -> str:
    """How `init` ends that is given an object: in words that are the same for all good ends."""
    object_probe.survives = _survives if whole else _is_not_asked
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        info = objects.inspect(data)
        if whole:
            skeleton(info, "object")
    except InputError as error:
        return "libbpf crashes" if "libbpf crashes" in str(error) else "done"
    except Exception as error:
        return repr(error)
    return "done"


def _is_not_asked(data: bytes) -> bool:  # noqa: ARG001
    return True


def main() -> None:
    """Read each mutant and say how it ended."""
    path, begin, end, each = Path(sys.argv[1]), *map(int, sys.argv[2:])
    mutants = Mutants(path.read_bytes())
    for number in range(begin, end):
        os.write(1, struct.pack("<I", number))
        if (words := outcome(mutants.make(number), whole=number % each == 0)) != "done":
            os.write(1, BAD + words.encode()[:WORDS].ljust(WORDS))


if __name__ == "__main__":
    main()
