"""The JSON Schemas of the package: `schemas/` of a checkout, a directory of the package in a wheel."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import PurePath
from typing import Any, Final

SPEC_SCHEMA = "provisioner.schema.json"
PART_SCHEMA = "provisioner.part.schema.json"
OUTPUT_SCHEMA = "plan.schema.json"

VARIABLE: Final = r"\$\{"
"""The pattern by which the files let any field of an editor have `${NAME}`; `load` leaves it out."""

_SCHEMAS = PurePath(__file__).parent.parent / "schemas"


def text(name: str = SPEC_SCHEMA) -> str:
    """The text of the schema file `name`, read once: a long process keeps the version that it started with."""
    return _read(name)


@cache
def _read(name: str) -> str:
    spec: Any = sys.modules[__name__].__spec__  # its loader reads archives, too; `importlib.resources` takes 3 ms
    data: bytes = spec.loader.get_data(str(_SCHEMAS / name))
    return data.decode()


def load(name: str = SPEC_SCHEMA) -> dict[str, Any]:
    """The schema file `name`, parsed, for values whose variables are replaced: each field has its own type only."""
    schema: dict[str, Any] = json.loads(text(name), object_hook=_without_variables)
    return schema


def _without_variables(part: dict[str, Any]) -> dict[str, Any]:
    pattern = part.get("pattern")
    if pattern == VARIABLE:
        types = [name for name in part["type"] if name != "string"]
        del part["pattern"], part["patternErrorMessage"]
        part["type"] = types[0] if len(types) == 1 else types
    elif isinstance(pattern, str) and pattern.endswith(f"|{VARIABLE}"):
        part["pattern"] = pattern.removesuffix(f"|{VARIABLE}")
    return part
