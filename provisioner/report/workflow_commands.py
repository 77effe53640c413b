"""Text that a CI runner executes where it appears in the log of a job, made harmless. Pure.

GitHub executes `::name::` at the start of a line and `##[name]` anywhere in it, Azure `##vso[...]`, TeamCity
`##teamcity[...]`. Output can have such text from others: a key of a map, a line of a file.
"""

from __future__ import annotations

import re
from typing import Final

RUNNERS: Final = ("GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION")
"""Variables of the environment, one of which each of these runners sets."""

_OF_A_LINE: Final = re.compile(r"^(\s*):(?=:[a-z][a-z-]*(?: .*)?::)", re.IGNORECASE)
_ANYWHERE: Final = re.compile(r"#(?=#(?:vso|teamcity)?\[)", re.IGNORECASE)


def harmless(line: str) -> str:
    """A line that no runner executes: with a `?`, so that it is as wide as before."""
    return _ANYWHERE.sub("?", _OF_A_LINE.sub(r"\1?", line)) if "::" in line or "##" in line else line
