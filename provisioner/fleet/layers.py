"""The files of one host: patterns with its labels. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Final

import msgspec

from provisioner.fleet.inventory import FleetHost, Layer
from provisioner.model.errors import Problems
from provisioner.model.location import Location

_LABEL: Final = re.compile(r"\{([^{}]*)\}")


class LayerFile(msgspec.Struct, frozen=True):
    """A file of one host, and the pattern that it comes from."""

    path: PurePath
    pattern: PurePath
    is_optional: bool


def files(layers: Iterable[Layer], host: FleetHost, problems: Problems) -> tuple[LayerFile, ...]:
    """The overlays of a host, in order. Errors go to `problems`."""
    chosen = []
    for layer in layers:
        if any(host.labels.get(name) != value for name, value in layer.labels.items()):
            continue
        if layer.is_optional and _lacking(layer.pattern, host.labels):
            continue
        path = filled(layer.pattern, host, layer.where, problems)
        if path is not None:
            directory = PurePath(layer.directory)
            chosen.append(LayerFile(directory / path, directory / layer.pattern, layer.is_optional))
    return tuple(chosen)


def filled(pattern: str, host: FleetHost, where: Location | None, problems: Problems) -> str | None:
    """`pattern` with the labels of the host; None with a Problem if a label is missing or not part of a file name."""
    for name in _lacking(pattern, host.labels):
        hint = f"add it, or make the file optional: `{pattern}?`"  # hosts with the same problem are one group
        problems.add(f"the host has no label `{name}`", where, hint, id="unknown-reference")
        return None
    for name in _LABEL.findall(pattern):
        value = host.labels[name]
        if not value or "/" in value or value.startswith("."):
            what = f"the label `{name}` cannot be a part of a file name"
            problems.add(what, where, "remove slashes and leading dots", id="invalid-name")
            return None
    return _LABEL.sub(lambda match: host.labels[match[1]], pattern)


def _lacking(pattern: str, labels: Mapping[str, str]) -> list[str]:
    return [name for name in _LABEL.findall(pattern) if name not in labels]
