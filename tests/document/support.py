"""Spec texts in a folder -> what the front end makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from io import BytesIO
from pathlib import Path
from textwrap import dedent
from typing import Any

from provisioner import document
from provisioner.document import Document
from provisioner.document.compose import compose
from provisioner.document.events import Events
from provisioner.language import read_spec, schema, schema_file
from provisioner.model.errors import Problem, Problems
from provisioner.model.location import Location
from provisioner.model.spec import Spec
from provisioner.model.tree import MappingNode, RawEntries, ScalarNode, SpecNode

HEAD = "version: 1\nname: edge\n"


@cache
def spec_schema() -> dict[str, Any]:
    return schema_file.load()


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else dedent(content).encode())


def described(problems: Problems, folder: Path) -> list[str]:
    """Each problem as `file:line:column: id`, sorted by place, without the directory."""
    ordered: list[Problem] = sorted(problems, key=lambda problem: problem.where or Location(""))
    return [f"{problem.where}: {problem.id}".replace(f"{folder}/", "") for problem in ordered]


def load(
    folder: Path, *names: str, overlays: tuple[str, ...] = (), outside: bool = False
) -> tuple[Document, list[str]]:
    problems = Problems()
    paths = [folder / name for name in names]
    over = [folder / name for name in overlays]
    loaded = document.load(paths, overlays=over, allow_outside=outside, problems=problems)
    return loaded, described(problems, folder)


def read(text: str | bytes, folder: Path, name: str = "spec.yaml") -> tuple[Spec, list[str]]:
    """All of the front end over one file."""
    write(folder, {name: text})
    problems = Problems()
    loaded = document.load([folder / name], problems=problems)
    if not len(problems):
        schema.check(loaded.tree, spec_schema(), problems)
    return read_spec.read(loaded.tree, problems), described(problems, folder)


def composed(text: str | bytes, *, in_python: bool = False) -> tuple[MappingNode | None, Problems]:
    problems = Problems()
    content = text.encode() if isinstance(text, str) else text
    return compose(Events(BytesIO(content), in_python=in_python), "spec.yaml", problems), problems


def at(tree: SpecNode | None, *path: str) -> SpecNode:
    for name in path:
        assert isinstance(tree, MappingNode)
        tree = tree.get(name)
    assert tree is not None
    return tree


def rows(node: SpecNode) -> list[tuple[dict[tuple[str | int, ...], str | None], Location]]:
    """Each entry of `node` as text by path, with the place of its key; in the order of the file."""
    assert isinstance(node, RawEntries)
    rows_ = []
    for chunk in node.chunks:
        columns = {path: column.texts() for path, column in chunk.columns.items()}
        for row in range(chunk.rows):
            key = next(path for path in columns if path[0] == "key")
            rows_.append(({path: texts[row] for path, texts in columns.items()}, chunk.where(row, key)))
    return sorted(rows_, key=lambda pair: pair[1])


def texts(node: SpecNode) -> list[tuple[str | None, str | None]]:
    """(key, value) of entries whose keys and values are scalars."""
    return [(row["key",], row["value",]) for row, _ in rows(node)]


def scalar(node: SpecNode) -> tuple[str | None, int, int]:
    assert isinstance(node, ScalarNode)
    return node.text, node.where.line, node.where.column
