"""The verbs: a module each, named after its verb. To add one, write its module and put its name here."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from provisioner.cli.command import CliVerb

MAIN: Final = ("validate", "plan", "apply", "show", "explain", "destroy")
OTHERS: Final = ("list", "graph", "watch", "init", "export", "doctor", "schema")
VERBS: Final = (*MAIN, *OTHERS)
"""In the order of the help."""


def load(name: str) -> CliVerb:
    """The verb of a name. Its module imports the rooms that it needs, which takes 200 ms where NumPy is among them."""
    module = import_module(f"{__name__}.{name}")
    verb = getattr(module, name)
    assert isinstance(verb, CliVerb), name
    return verb
