"""Reads an inventory: a YAML file, or the JSON of `ansible-inventory --list` from a file or standard input."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TextIO

import msgspec
import yaml

from provisioner.document.compose import compose
from provisioner.document.events import Events, syntax_problem
from provisioner.files.reading import SPEC, InputFile, hint_of, read_limited
from provisioner.fleet.inventory import Inventory, of_ansible, of_tree
from provisioner.model.errors import InputError, Problem, Problems
from provisioner.model.location import Location


def read_inventory(name: str, stdin: TextIO | None = None) -> Inventory:
    """The inventory in the file `name`; `-` is standard input. Raises InputError."""
    shown = "<stdin>" if name == "-" else name
    try:
        data = _bytes(name, stdin)
    except OSError as error:
        what = f"cannot read the inventory: {error.strerror}"
        hint = hint_of(error, Path(name)) or "check the path"
        raise InputError(Problem(what, Location(shown), hint, id="unreadable-file")) from error
    problems = Problems()
    inventory = _of_json(data, shown) or _of_yaml(data, shown, name, problems)
    problems.raise_if_any()
    if not inventory.hosts:
        raise InputError(Problem("the inventory has no hosts", Location(shown), id="missing-field"))
    return inventory


def _bytes(name: str, stdin: TextIO | None) -> bytes:
    if name != "-":
        return InputFile(Path(name), SPEC).read()
    buffer = getattr(stdin, "buffer", None)
    return read_limited(buffer, SPEC) if buffer is not None else (stdin.read().encode() if stdin is not None else b"")


def _of_json(data: bytes, shown: str) -> Inventory | None:
    """The inventory of Ansible; None if the text is another one."""
    if not data.lstrip().startswith(b"{"):
        return None
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):  # the reader of YAML says what is wrong
        return None
    return of_ansible(document, shown) if isinstance(document.get("_meta"), dict) else None


def _of_yaml(data: bytes, shown: str, name: str, problems: Problems) -> Inventory:
    directory = "" if name == "-" else str(Path(name).parent)
    try:
        tree = compose(Events(io.BytesIO(data)), shown, problems)
    except yaml.YAMLError as error:
        problems.extend([syntax_problem(error, shown, io.BytesIO(data))])
        return Inventory(())
    if tree is None:
        problems.raise_if_any()
        return Inventory(())
    return of_tree(tree, directory, problems)
