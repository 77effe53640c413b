"""The verbs: a module each, named after its verb. To add one, write its module and put its name here."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from provisioner.cli.command import Verb

VERBS: Final = (
    "validate",
    "plan",
    "apply",
    "destroy",
    "list",
    "show",
    "explain",
    "graph",
    "watch",
    "init",
    "export",
    "doctor",
    "schema",
)
"""In the order of the help."""


def load(name: str) -> Verb:
    """The verb of a name. Its module imports the rooms that it needs, which takes 200 ms where NumPy is among them."""
    module = import_module(f"{__name__}.{name}")
    verb = getattr(module, name)
    assert isinstance(verb, Verb), name
    return verb
