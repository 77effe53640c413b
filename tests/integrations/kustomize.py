"""A small kustomize: resources, components, generated ConfigMaps, and strategic merge patches of whole files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

KEYS: Final[Mapping[str, str]] = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
"""Lists that are merged by a key of their elements. A patch replaces every other list."""

Document = dict[str, Any]


def build(folder: Path, components: Sequence[Path] = ()) -> list[Document]:
    """The documents of a kustomization, and of more components on top."""
    documents: list[Document] = []
    _accumulate(folder, documents)
    for component in components:
        _accumulate(component, documents)
    return documents


def only(documents: Sequence[Document], kind: str) -> Document:
    (document,) = (document for document in documents if document["kind"] == kind)
    return document


def _accumulate(folder: Path, documents: list[Document]) -> None:
    described = yaml.safe_load((folder / "kustomization.yaml").read_text())
    known = {"apiVersion", "kind", "namespace", "resources", "components", "configMapGenerator", "patches", "images"}
    assert described.keys() <= known
    for name in described.get("resources", ()):
        path = folder / name
        documents += build(path) if path.is_dir() else [yaml.safe_load(path.read_text())]
    for generator in described.get("configMapGenerator", ()):
        data = {Path(name).name: (folder / name).read_text() for name in generator["files"]}
        generated = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data}
        same = [document for document in documents if _identity(document) == _identity(generated)]
        assert bool(same) == (generator.get("behavior") == "replace")
        for document in same:
            documents.remove(document)
        documents.append(generated)
    for name in described.get("components", ()):
        _accumulate(folder / name, documents)
    for patch in described.get("patches", ()):
        change = yaml.safe_load((folder / patch["path"]).read_text())
        (at,) = (at for at, document in enumerate(documents) if _identity(document) == _identity(change))
        documents[at] = _merged(documents[at], change)


def _identity(document: Document) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def _merged(base: Document, patch: Document) -> Document:
    result = dict(base)
    for name, value in patch.items():
        if isinstance(value, dict) and isinstance(base.get(name), dict):
            result[name] = _merged(base[name], value)
        elif name in KEYS and name in base:
            result[name] = _merged_list(base[name], value, KEYS[name])
        else:
            result[name] = value
    return result


def _merged_list(base: list[Document], patch: list[Document], key: str) -> list[Document]:
    """Elements of the patch come first, as in kustomize."""
    known = {element[key]: element for element in base}
    changed = [_merged(known.get(element[key], {}), element) for element in patch]
    named = {element[key] for element in patch}
    return changed + [element for element in base if element[key] not in named]
