"""A spec that is not in a file, as the text of one: it is composed and checked like any other."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, Final

MAPPING_NAME: Final = "<mapping>"
"""The name of the file in messages. Its lines are those of `json.dumps(spec, indent=1)`."""


class NamedText(io.StringIO):
    """The text of a spec that is not in a file, with its name in messages."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.spec_name: Final = name


class MappingText(NamedText):
    """The text of a spec that was given as a mapping. Values without a form in JSON are written by `str`."""

    def __init__(self, spec: Mapping[Any, Any]) -> None:
        super().__init__(json.dumps(spec, indent=1, ensure_ascii=False, default=str), MAPPING_NAME)
