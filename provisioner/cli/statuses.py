"""The exit statuses, and their meaning in help texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

USAGE: Final = 64
BUG: Final = 70
INTERRUPTED: Final = 130
OUTPUT: Final = 74
PIPE: Final = 141
"""What a shell reports of a command that SIGPIPE ended."""

MEANINGS: Final[Mapping[int, str]] = {
    0: "success; plan: no changes",
    1: "invalid input (spec, table, object file, argument); nothing was changed",
    2: "plan: there are changes (0 with --exit-zero)",
    3: "apply, destroy: failed after a change was visible; the report lists it",
    4: "refused by a check: limits, ownership, prevent_destroy, a stale plan",
    5: "unsupported: privileges, bpffs, libbpf, kernel; nothing was changed",
    USAGE: "usage error",
    BUG: "internal error: a bug in provisioner",
    OUTPUT: "standard output cannot be written (141: its reader is gone)",
    75: "another process holds the lock: try again",
    INTERRUPTED: "interrupted by a signal; the report lists what is live",
}

READING: Final[Mapping[int, str]] = {4: "refused: a symbolic link leads to the pin root"}
"""Meanings for verbs that only read the live state."""

_ALWAYS: Final = (0, 1, USAGE, BUG, OUTPUT, INTERRUPTED)


def listed(numbers: Iterable[int], meanings: Mapping[int, str]) -> str:
    """The end of a help text: each status with its meaning. `meanings` replace the general ones."""
    lines = [f"  {number:<4} {meanings.get(number, MEANINGS[number])}" for number in sorted(numbers)]
    return "\n".join(("\b", "Exit status:", *lines)) + "\n"


def of_verb(numbers: Iterable[int], meanings: Mapping[int, str]) -> str:
    """The statuses of a verb in addition to those of every verb."""
    return listed({*_ALWAYS, *numbers, *meanings}, {0: "success", **meanings})


ALL: Final = listed(MEANINGS, {})
