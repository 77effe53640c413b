"""The types of a map in the record of a project, read back from the text in which they are kept. Pure."""

from __future__ import annotations

import io

import yaml

from provisioner.document.compose import compose
from provisioner.document.events import Events
from provisioner.language.read_maps import read_from_types
from provisioner.model.errors import Problems
from provisioner.model.record import RecordedTypes
from provisioner.model.spec import FromTypes

_FILE = "record"


def read_recorded(types: RecordedTypes) -> FromTypes | None:
    """The types of one map; None where the text is not one, as another version may have written it."""
    fields = {"outer_key": types.outer_key, "key": types.key, "value": types.value}
    lines = [f"{name}: {text}" for name, text in fields.items() if text]
    lines += ["types:", *(f"  {name}: {text}" for name, text in types.names.items())] if types.names else []
    problems = Problems()
    try:
        tree = compose(Events(io.BytesIO("\n".join(lines).encode())), _FILE, problems)
    except yaml.YAMLError:
        return None
    read = read_from_types(tree, problems) if tree is not None else None
    return read if not len(problems) else None
