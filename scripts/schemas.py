"""Write what is generated in `schemas/`: `make schemas`.

The strict schema of specs has the names of the table formats, as `provisioner/tables` registers them. The schemas for
editors are made of it: of specs and of parts, with a variable in any field.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from provisioner.language import editor_schema, schema_file
from provisioner.tables import FORMATS

FOLDER: Final = Path(__file__).parent.parent / "schemas"


def files() -> Iterator[tuple[str, str]]:
    """The name and the text of each file that is generated, or has generated parts."""
    spec = schema_file.load()
    names = [format_.name for format_ in FORMATS]
    spec["$defs"]["table_format"]["enum"] = names
    for table in ("table", "long_table"):
        spec["$defs"][table]["properties"]["format"]["examples"] = names
    yield schema_file.STRICT_SCHEMA, _text(spec)
    for name, made in ((schema_file.SPEC_SCHEMA, spec), (schema_file.PART_SCHEMA, editor_schema.part(spec))):
        yield name, _text(editor_schema.with_variables(made))


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write each file."""
    for name, text in files():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
