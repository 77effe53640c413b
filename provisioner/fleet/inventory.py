"""The hosts of a fleet with their labels, variables and snapshots: from an inventory file, or from Ansible. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, Final

import msgspec

from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.given import Given, is_variable_name
from provisioner.model.location import Location
from provisioner.model.tree import MappingNode, ScalarNode, SequenceNode, SpecNode

OPTIONAL: Final = "?"
"""At the end of the name of an overlay that can be missing."""

_TOP: Final = frozenset({"hosts", "overlays", "snapshot", "vars"})
_HOST: Final = frozenset({"labels", "vars", "snapshot"})
_LAYER: Final = frozenset({"file", "labels"})


class Layer(msgspec.Struct, frozen=True):
    """An overlay of some hosts. `{label}` in `pattern` is the label of the host; `{host}` is its name.

    Only hosts with all `labels` have it. A file that `is_optional` can be missing. It is relative to `directory`.
    """

    pattern: str
    directory: str = ""
    is_optional: bool = False
    labels: Mapping[str, str] = {}
    where: Location | None = None

    @staticmethod
    def of(text: str, directory: str = "", labels: Mapping[str, str] = {}, where: Location | None = None) -> Layer:
        """A layer as a user writes it: a pattern, and a `?` at its end if the file can be missing."""
        return Layer(text.removesuffix(OPTIONAL), directory, text.endswith(OPTIONAL), labels, where)


class FleetHost(msgspec.Struct, frozen=True):
    """A host: `snapshot` is a pattern, or None."""

    name: str
    labels: Mapping[str, str]
    variables: Mapping[str, Given]
    snapshot: str | None = None


class Inventory(msgspec.Struct, frozen=True):
    """The hosts in order, and the overlays that all of them can have."""

    hosts: tuple[FleetHost, ...]
    layers: tuple[Layer, ...] = ()


def of_tree(tree: MappingNode, directory: str, problems: Problems) -> Inventory:
    """The inventory that a file in `directory` declares. Errors go to `problems`."""
    _known(tree, _TOP, "an inventory", problems)
    name = tree.where.file
    shared = _texts(tree.get("vars"), "`vars`", problems)
    snapshot = _file(tree.get("snapshot"), directory, problems)
    hosts = tree.get("hosts")
    if not isinstance(hosts, MappingNode) or not hosts.pairs:
        where = hosts.where if hosts is not None else tree.where
        problems.add("the inventory has no hosts", where, "write `hosts: {edge-1: {}}`", id="missing-field")
        return Inventory(())
    declared = tuple(
        _host(key, body, name, directory, shared, snapshot, problems)
        for _, key, body in hosts.named()
        if key.text is not None
    )
    return Inventory(declared, tuple(_layers(tree.get("overlays"), directory, problems)))


def _host(
    key: ScalarNode,
    body: SpecNode,
    inventory: str,
    directory: str,
    shared: Mapping[str, str],
    snapshot: str | None,
    problems: Problems,
) -> FleetHost:
    name = key.text or ""
    if not isinstance(body, MappingNode):
        if not (isinstance(body, ScalarNode) and body.text is None):
            problems.add("a host must be a mapping", body.where, "write `labels: {...}`", id="wrong-type")
        body = MappingNode((), key.where)
    _known(body, _HOST, "a host", problems)
    labels = {"host": name, **_texts(body.get("labels"), "`labels`", problems)}
    own = {**shared, **_texts(body.get("vars"), "`vars`", problems)}
    variables = {label: Given(text, f"label in {inventory}") for label, text in labels.items()}
    variables |= {variable: Given(text, f"vars in {inventory}") for variable, text in own.items()}
    return FleetHost(name, labels, variables, _file(body.get("snapshot"), directory, problems) or snapshot)


def _file(node: SpecNode | None, directory: str, problems: Problems) -> str | None:
    """The pattern of a snapshot, relative to the inventory."""
    written = _text(node, "`snapshot`", problems)
    return None if written is None else str(PurePath(directory) / written)


def _layers(node: SpecNode | None, directory: str, problems: Problems) -> Iterator[Layer]:
    if node is None:
        return
    if not isinstance(node, SequenceNode):
        hint = 'write a list such as ["sites/{site}.yaml"]'
        problems.add("`overlays` must be a list", node.where, hint, id="wrong-type")
        return
    for item in node.items:
        if isinstance(item, ScalarNode) and item.text:
            yield Layer.of(item.text, directory, {}, item.where)
        elif isinstance(item, MappingNode):
            _known(item, _LAYER, "an overlay", problems)
            file = _text(item.get("file"), "`file`", problems)
            if file:
                yield Layer.of(file, directory, _texts(item.get("labels"), "`labels`", problems), item.where)
            else:
                problems.add("the overlay has no `file`", item.where, "write `file: ...`", id="missing-field")
        else:
            hint = "write a file, or {file: ..., labels: {...}}"
            problems.add("an overlay must be a file or a mapping", item.where, hint, id="wrong-type")


def _known(node: MappingNode, fields: frozenset[str], owner: str, problems: Problems) -> None:
    for name, key, _ in node.named():
        if name not in fields:
            problems.add(
                f"`{name}` is not a field of {owner}", key.where, did_you_mean(name, fields), id="unknown-field"
            )


def _texts(node: SpecNode | None, what: str, problems: Problems) -> dict[str, str]:
    """A mapping of names to texts."""
    if node is None or (isinstance(node, ScalarNode) and node.text is None):
        return {}
    if not isinstance(node, MappingNode):
        problems.add(f"{what} must be a mapping", node.where, "write {name: value}", id="wrong-type")
        return {}
    texts: dict[str, str] = {}
    for name, key, value in node.named():
        if not is_variable_name(name):
            hint = "write letters, digits and `_`, beginning with a letter or `_`"
            problems.add(f"`{name}` is not a valid name", key.where, hint, id="invalid-name")
        elif isinstance(value, ScalarNode) and value.text is not None:
            texts[name] = value.text
        else:
            problems.add(f"`{name}` must be a single value", value.where, "write text or a number", id="wrong-type")
    return texts


def _text(node: SpecNode | None, what: str, problems: Problems) -> str | None:
    if node is None:
        return None
    if isinstance(node, ScalarNode) and node.text:
        return node.text
    problems.add(f"{what} must be text", node.where, "write the name of a file", id="wrong-type")
    return None


def of_ansible(data: Mapping[str, Any], name: str) -> Inventory:
    """The hosts of `ansible-inventory --list`. Their variables that are text or numbers are labels and variables."""
    hostvars: Mapping[str, Any] = data.get("_meta", {}).get("hostvars", {})
    names = dict.fromkeys(hostvars)
    for group in data.values():
        if isinstance(group, dict) and isinstance(group.get("hosts"), list):
            names |= dict.fromkeys(str(host) for host in group["hosts"])
    hosts = []
    for host in names:
        scalars = {key: _word(value) for key, value in hostvars.get(host, {}).items() if is_variable_name(key)}
        labels = {"inventory_hostname": host, **{key: text for key, text in scalars.items() if text is not None}}
        labels["host"] = host
        variables = {key: Given(text, f"Ansible variable in {name}") for key, text in labels.items()}
        hosts.append(FleetHost(host, labels, variables))
    return Inventory(tuple(hosts))


def _word(value: object) -> str | None:
    match value:
        case bool():
            return str(value).lower()
        case str() | int() | float():
            return str(value)
        case _:
            return None
