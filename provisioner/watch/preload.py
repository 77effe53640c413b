"""Everything that a watch may need later, imported and read at its start.

An upgrade replaces the package under a running watch: a module that is imported only then is of another version.
"""

from __future__ import annotations

import pkgutil
from contextlib import suppress
from importlib import import_module

import provisioner
from provisioner.language import schema_file

_OF_OTHERS = "jsonschema.validators"
"""What the first invalid spec imports. The first pass imports all other packages that a spec needs."""


def preload() -> None:
    """Import every module of the package, and read the schema."""
    for module in pkgutil.walk_packages(provisioner.__path__, "provisioner."):
        if module.name != "provisioner.__main__":
            with suppress(ImportError):  # an optional package is not installed
                import_module(module.name)
    import_module(_OF_OTHERS)
    schema_file.text(schema_file.STRICT_SCHEMA)
