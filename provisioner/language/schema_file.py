"""The JSON Schemas of the package: `schemas/` of a checkout, a directory of the package in a wheel."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

SPEC_SCHEMA = "provisioner.schema.json"
PART_SCHEMA = "provisioner.part.schema.json"
OUTPUT_SCHEMA = "plan.schema.json"


@cache
def text(name: str = SPEC_SCHEMA) -> str:
    """The text of the schema file `name`, read once: a long process keeps the version that it started with."""
    return files("provisioner").joinpath("schemas", name).read_text("utf-8")


def load(name: str = SPEC_SCHEMA) -> dict[str, Any]:
    """The schema file `name`, parsed."""
    schema: dict[str, Any] = json.loads(text(name))
    return schema
