"""Loads spec files as one located tree: files, directories, `include`, overlays.

Files are composed from YAML parse events (`compose`), merged (`merge`), and digested while they are read.
"""

from __future__ import annotations

import gc
import glob
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Literal, TextIO

import yaml

from provisioner.document import unread
from provisioner.document.compose import compose
from provisioner.document.events import Events, syntax_problem
from provisioner.document.inputs import Inputs
from provisioner.document.mapping import NamedText
from provisioner.document.merge import Merger, overlay
from provisioner.document.source import Document, SourceFile
from provisioner.document.spec_stream import NotSpecError, SpecStream
from provisioner.document.substitute import NO_USES, substitute
from provisioner.document.variables import SECTION, Variables
from provisioner.files.content import conflict_line
from provisioner.files.reading import SPEC, InputFile, hint_of, read_limited
from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.given import NOTHING_GIVEN, Outside, Uses
from provisioner.model.location import Location
from provisioner.model.tree import MappingNode, ScalarNode, SequenceNode

STDIN_NAME: Final = "<stdin>"
MAX_INCLUDE_DEPTH: Final = 64
"""The most files in a chain of includes."""

OPTIONAL: Final = "?"
"""At the end of the name of an overlay: the file can be missing."""


def load(
    paths: Sequence[Path | Literal["-"]],
    *,
    stdin: TextIO | None = None,
    overlays: Sequence[Path] = (),
    allow_outside: bool = False,
    problems: Problems,
    inputs: Inputs | None = None,
    outside: Outside = NOTHING_GIVEN,
) -> Document:
    """Read `paths` (files, directories, `-` for `stdin`) and their includes, then apply `overlays` in order.

    Included files must be in the directories of `paths`, unless `allow_outside`. Variables are replaced by their
    values, which can come from `outside`. Errors go to `problems`; the tree then has what can be read. `inputs` records
    every file and directory that is read.
    """
    inputs = inputs or Inputs()
    loader = _Loader(stdin, allow_outside, problems, inputs, outside)
    with _no_garbage_collection():
        tree = loader.gather(paths)
        base = frozenset(loader.files)
        for path in _present(overlays, inputs):
            over = overlay(tree, loader.gather([path]))
            assert isinstance(over, MappingNode)
            tree = over
        tree, uses = _with_values(tree, loader, outside, problems)
    return Document(
        tree,
        loader.files,
        loader.digest.hexdigest(),
        tuple(loader.roots),
        frozenset(loader.files) - base,
        loader.is_sensitive,
        unread.look_for(loader.directories, loader.files),
        uses,
        loader.values,
    )


def _present(overlays: Sequence[Path], inputs: Inputs) -> Iterator[Path]:
    """The overlays without optional ones (`hosts/edge-1.yaml?`) that do not exist."""
    for path in overlays:
        name = str(path)
        if not name.endswith(OPTIONAL) or os.path.lexists(path):
            yield path
            continue
        inputs.note(named := Path(name.removesuffix(OPTIONAL)))
        if os.path.lexists(named):
            yield named


def _with_values(tree: MappingNode, loader: _Loader, outside: Outside, problems: Problems) -> tuple[MappingNode, Uses]:
    """The tree with the values of its variables. A spec without any is not searched."""
    if not (loader.has_variables or outside.given or tree.get(SECTION) is not None):
        return tree, NO_USES
    variables = Variables(tree.get(SECTION), outside, problems)
    result = substitute(tree, variables, problems) if loader.has_variables else (tree, NO_USES)
    loader.values |= variables.values()
    variables.check(loader.values.keys())
    return result


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A growing tree has no cycles, and searching it for them takes as long as reading."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Loader:
    def __init__(
        self, stdin: TextIO | None, allow_outside: bool, problems: Problems, inputs: Inputs, outside: Outside
    ) -> None:
        self._stdin = stdin
        self._outside = outside
        self._allow_outside = allow_outside
        self._problems = problems
        self._inputs = inputs
        self.roots: list[Path] = []
        self.directories: list[Path] = []
        self._done: set[Path] = set()
        self._stack: list[Path] = []
        self.files: dict[str, SourceFile] = {}
        self.digest = hashlib.sha256()
        self.is_sensitive = False
        self.has_variables = False
        self.values: dict[str, str] = {}

    def gather(self, paths: Sequence[Path | Literal["-"]]) -> MappingNode:
        """The merged tree of `paths` and their includes."""
        self._done.clear()
        merger = Merger(self._problems)
        for path in paths:
            if path == "-":
                self.roots.append(Path.cwd())
            else:
                assert isinstance(path, Path)
                self.roots.append(Path(os.path.realpath(path if os.path.isdir(path) else path.parent)))
            for part in self._stdin_tree() if path == "-" else self._path_trees(path, None, None):
                merger.add(part)
        return merger.tree()

    def _stdin_tree(self) -> Iterator[MappingNode]:
        stdin = self._stdin
        content = b""
        if stdin is not None:
            try:
                content = _read_text(stdin)
            except OSError as error:
                what = f"cannot read standard input: {error.strerror}"
                self._lost(what, Location(STDIN_NAME), id="unreadable-file")
        name = stdin.spec_name if isinstance(stdin, NamedText) else STDIN_NAME
        self.files[name] = SourceFile(None, content)
        return self._with_includes(self._composed(io.BytesIO(content), name), Path())

    def _path_trees(
        self, path: Path, named_by: ScalarNode | None, roots: tuple[Path, ...] | None
    ) -> Iterator[MappingNode]:
        """The trees of a file, or of the files in a directory; `named_by` is the include that names it.

        Each is below one of `roots`, unless that is None.
        """
        where = named_by.where if named_by else Location(str(path))
        self._inputs.note(path)
        try:
            if not path.is_dir():
                yield from self._file_trees(InputFile(path, SPEC, roots), where)
                return
            # What cannot be read is an error: a dangling link must not delete a tenant.
            inside = sorted(child for child in path.iterdir() if unread.is_spec_name(child) and not child.is_dir())
        except OSError as error:
            self._lost(f"cannot read {path}: {error.strerror}", where, hint_of(error, path), id="unreadable-file")
            return
        self.directories.append(path)
        if not inside:
            what = f"the directory {path} has no *.yaml or *.yml file"
            self._lost(what, where, "hidden files and subdirectories are not read", id="no-spec-file")
        for child in inside:
            yield from self._file_trees(InputFile(child, SPEC, roots), where)

    def _file_trees(self, file: InputFile, where: Location) -> Iterator[MappingNode]:
        path = file.path
        resolved = Path(os.path.realpath(path))
        if resolved in self._stack:
            chain = " -> ".join(str(step) for step in (*self._stack[self._stack.index(resolved) :], resolved))
            what = f"files include each other: {chain}"
            self._problems.add(what, where, "remove one of the includes", id="circular-reference")
            return
        if resolved in self._done:
            return
        if len(self._stack) >= MAX_INCLUDE_DEPTH:
            what = f"includes are nested deeper than {MAX_INCLUDE_DEPTH} files"
            hint = "include the files from one file, with a pattern such as `tenants/*.yaml`"
            self._lost(what, where, hint, id="limit-exceeded")
            return
        self._done.add(resolved)
        self._stack.append(resolved)
        self.files[str(path)] = SourceFile(file)
        self._inputs.note(path)
        try:
            with file.open() as stream:
                tree = self._composed(stream, str(path))
        except OSError as error:
            hint = hint_of(error, path)
            if isinstance(error, FileNotFoundError) and not hint:
                hint = did_you_mean(path.name, _names_in(path.parent), "check the path")
            self._lost(f"cannot read {path}: {error.strerror}", where, hint, id="unreadable-file")
        else:
            yield from self._with_includes(tree, path.parent)
        self._stack.pop()

    def _composed(self, stream: BinaryIO, name: str) -> MappingNode | None:
        digested = SpecStream(stream, self.digest)
        try:
            tree = compose(Events(digested), name, self._problems)
            self._problems.is_partial |= tree is None
            return tree
        except NotSpecError as error:
            self._lost(error.what, Location(name), error.hint, id=error.id)
        except yaml.YAMLError as error:
            stream.seek(0)
            if line := conflict_line(stream):
                what, hint = "the file has an unresolved merge conflict", "resolve the conflict"
                self._lost(what, Location(name, line, 1), hint, id="wrong-file-content")
            else:
                self._problems.extend([syntax_problem(error, name, stream)])
                self._problems.is_partial = True
        finally:
            self.is_sensitive |= digested.is_sensitive
            self.has_variables |= digested.has_variables
        return None

    def _lost(self, what: str, where: Location, hint: str = "", *, id: str) -> None:
        """Add a problem because of which a part of the spec cannot be read."""
        self._problems.add(what, where, hint, id=id)
        self._problems.is_partial = True

    def _with_includes(self, tree: MappingNode | None, directory: Path) -> Iterator[MappingNode]:
        if tree is None:
            return
        yield tree.without("include")
        include = tree.get("include")
        if include is None:
            return
        patterns = include.items if isinstance(include, SequenceNode) else (include,)
        variables = Variables(tree.get(SECTION), self._outside, self._problems)
        for pattern in patterns:
            if isinstance(pattern, ScalarNode) and pattern.text:
                expanded = variables.expand(pattern.text, pattern.where)
                self.values |= variables.values()
                if expanded is None:
                    self._problems.is_partial = True
                else:
                    yield from self._included(pattern, expanded.text, directory)
            else:
                what, hint = "`include` must be a list of files or patterns", "write a list such as [tenants/*.yaml]"
                self._lost(what, pattern.where, hint, id="wrong-type")

    def _included(self, pattern: ScalarNode, text: str, directory: Path) -> Iterator[MappingNode]:
        if glob.has_magic(text):
            self._inputs.note(_fixed_part(directory, text))
        try:
            paths = sorted(directory / name for name in glob.glob(text, root_dir=directory, recursive=True))
        except (OSError, ValueError) as error:
            self._lost(f"cannot read `{text}`: {error}", pattern.where, id="unreadable-file")
            return
        if not paths:
            near = did_you_mean(text, _names_in(directory), f"the pattern is relative to {os.path.realpath(directory)}")
            self._lost(f"`{text}` matches no file", pattern.where, near, id="no-spec-file")
        for path in paths:
            if glob.has_magic(text):
                self._inputs.note(path.parent)
            resolved = Path(os.path.realpath(path))
            if glob.has_magic(text) and self._stack and resolved == self._stack[-1]:
                continue
            if self._allow_outside or is_inside(path, pattern, self.roots, self._problems):
                yield from self._path_trees(path, pattern, None if self._allow_outside else tuple(self.roots))
            else:
                self._problems.is_partial = True


def _read_text(stdin: TextIO) -> bytes:
    """All of standard input, or of a replacement for it. Raises OSError if it is too long."""
    buffer = getattr(stdin, "buffer", None)
    if buffer is not None:
        return read_limited(buffer, SPEC)
    return stdin.read().encode("utf-8", "surrogateescape")


def is_inside(path: Path, named_by: ScalarNode, roots: Sequence[Path], problems: Problems) -> bool:
    """Whether `path`, links followed, is below one of `roots`; if not, adds a problem where it is named."""
    try:
        resolved = Path(os.path.realpath(path))
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError for a cycle of links
        what = f"`{named_by.text}` is not a valid path: {error}"
        problems.add(what, named_by.where, "check the path", id="unreadable-file")
        return False
    if any(resolved.is_relative_to(root) for root in roots):
        return True
    hint = "move the file below the directory of the spec, or use --allow-outside"
    leads_to = "" if str(resolved) == named_by.text else f": {resolved}"
    what = f"`{named_by.text}` is outside of the project directory{leads_to}"
    problems.add(what, named_by.where, hint, id="outside-project")
    return False


def _fixed_part(directory: Path, pattern: str) -> Path:
    """The directory in which a pattern begins to match: `tenants` for `tenants/*.yaml`."""
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        directory /= part
    return directory


def _names_in(directory: Path) -> list[str]:
    try:
        return sorted(child.name for child in directory.iterdir() if unread.is_spec_name(child))
    except OSError:
        return []
