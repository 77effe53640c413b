"""`python -m tests.object_check.reader OBJECT BEGIN END EACH` reads mutants BEGIN to END of an object.

A process of its own, because each mutant is opened in a fork, and the fork of a process that holds all tests takes
several times as long. Standard output has the number of each mutant before it is read: four bytes. What ends badly has
`BAD` and 80 bytes of words after it. The draft of every mutant whose number EACH divides is written.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from typing import Final

from provisioner.adopt.skeleton import skeleton
from provisioner.kernel import objects
from provisioner.model.errors import InputError
from tests.object_check.mutants import Mutants

BAD: Final = b"\xff" * 4
WORDS: Final = 80


def outcome(data: bytes, *, written: bool) -> str:
    """How `init` ends that is given an object: in words that are the same for all good ends."""
    try:
        info = objects.inspect(data)
        if written:
            skeleton(info, "object")
    except InputError as error:
        return "libbpf crashes" if "libbpf crashes" in str(error) else "done"
    except Exception as error:
        return repr(error)
    return "done"


def main() -> None:
    """Read each mutant and say how it ended."""
    path, begin, end, each = Path(sys.argv[1]), *map(int, sys.argv[2:])
    mutants = Mutants(path.read_bytes())
    for number in range(begin, end):
        os.write(1, struct.pack("<I", number))
        if (words := outcome(mutants.make(number), written=number % each == 0)) != "done":
            os.write(1, BAD + words.encode()[:WORDS].ljust(WORDS))


if __name__ == "__main__":
    main()
