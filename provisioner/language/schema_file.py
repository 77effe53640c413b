"""The JSON Schemas of the package: `schemas/` of a checkout, a directory of the package in a wheel."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import PurePath
from typing import Any

STRICT_SCHEMA = "spec.schema.json"
"""The schema of specs whose variables are replaced: each field has its own type only. The next two are made of it."""

SPEC_SCHEMA = "provisioner.schema.json"
PART_SCHEMA = "provisioner.part.schema.json"
OUTPUT_SCHEMA = "plan.schema.json"

_SCHEMAS = PurePath(__file__).parent.parent / "schemas"


def text(name: str) -> str:
    """The text of the schema file `name`, read once: a long process keeps the version that it started with."""
    return _read(name)


@cache
def _read(name: str) -> str:
    spec: Any = sys.modules[__name__].__spec__  # its loader reads archives, too; `importlib.resources` takes 3 ms
    data: bytes = spec.loader.get_data(str(_SCHEMAS / name))
    return data.decode()


def load(name: str = STRICT_SCHEMA) -> dict[str, Any]:
    """The schema file `name`, parsed."""
    schema: dict[str, Any] = json.loads(text(name))
    return schema
