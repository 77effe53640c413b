"""A spec that a program has as a mapping, as the text of a file: it is composed and checked like any other."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, Final

MAPPING_NAME: Final = "<mapping>"
"""The name of the file in messages. Its lines are those of `json.dumps(spec, indent=1)`."""


class MappingText(io.StringIO):
    """The text of a spec that was given as a mapping. Values without a form in JSON are written by `str`."""

    def __init__(self, spec: Mapping[Any, Any]) -> None:
        super().__init__(json.dumps(spec, indent=1, ensure_ascii=False, default=str))
