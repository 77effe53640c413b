"""Spec files -> one located tree: files, folders, `include`, overlays.

Everything is composed from YAML's parse events (`yaml_compose`), merged (`merge`), and digested on the way.
"""

from __future__ import annotations

import gc
import glob
import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Literal, TextIO

import msgspec
import yaml

from provisioner.document.compose import compose
from provisioner.document.events import Events, syntax_problem
from provisioner.document.inputs import Inputs
from provisioner.document.merge import Merger, drop, overlay
from provisioner.files.reading import SPEC, InputFile, read_limited
from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.location import Location
from provisioner.model.tree import MARK_COLUMN_BITS, MappingNode, ScalarNode, SequenceNode

STDIN_NAME: Final = "<stdin>"
MAX_LINE: Final = 1 << (MARK_COLUMN_BITS - 1)
"""Bytes of a line whose columns surely fit into a packed mark."""

MAX_INCLUDE_DEPTH: Final = 64
"""Files that include each other in a chain."""

_SENSITIVE: Final = b"sensitive"
_SUFFIXES: Final = (".yaml", ".yml")


class SourceFile(msgspec.Struct, frozen=True):
    """A file that was read; its lines are fetched again only when a message shows one."""

    file: InputFile | None
    content: bytes | None = None

    def lines(self, numbers: Sequence[int]) -> dict[int, str]:
        """Lines by number, counted from 1, without their ends, in one reading; absent ones are left out."""
        wanted = set(numbers)
        found: dict[int, str] = {}
        try:
            raw = io.BytesIO(self.content or b"") if self.file is None else self.file.open()
            with io.TextIOWrapper(raw, "utf-8", "replace") as stream:
                for at, line in enumerate(stream, start=1):
                    if at in wanted:
                        found[at] = line.rstrip("\n")
                        if len(found) == len(wanted):
                            break
        except OSError:  # it is gone by now: messages do without
            pass
        return found


class Document(msgspec.Struct, frozen=True):
    """All files as one tree. `digest` is the SHA-256, in hex, of all that was read, in order.

    `roots` are the folders of the files given: what they name stays inside of these. `overlays` are the files that were
    laid over the others. `is_sensitive` says that a spec file mentions `sensitive`: then no message shows a line of any
    file, because the value of another field can be in the same line.
    """

    tree: MappingNode
    files: Mapping[str, SourceFile]
    digest: str
    roots: tuple[Path, ...]
    overlays: frozenset[str] = frozenset()
    is_sensitive: bool = False

    def line(self, where: Location) -> str | None:
        """The text of the line at `where`, for a caret below it."""
        return self.lines([where]).get(where)

    def lines(self, places: Sequence[Location]) -> dict[Location, str]:
        """The text of the line at each place, each file read once; nothing if a type is sensitive."""
        if self.is_sensitive:
            return {}
        found: dict[Location, str] = {}
        for name in {place.file for place in places} & self.files.keys():
            here = [place for place in places if place.file == name]
            texts = self.files[name].lines([place.line for place in here])
            found |= {place: texts[place.line] for place in here if place.line in texts}
        return found


def load(
    paths: Sequence[Path | Literal["-"]],
    *,
    stdin: TextIO | None = None,
    overlays: Sequence[Path] = (),
    allow_outside: bool = False,
    problems: Problems,
    inputs: Inputs | None = None,
) -> Document:
    """Read `paths` (files, folders, `-` for `stdin`) and what they include, then lay `overlays` on top in order.

    Includes stay inside the folders of the files given, unless `allow_outside`. What is wrong goes to `problems`; the
    tree then holds what could be read. Every file and folder that is read is noted in `inputs`.
    """
    loader = _Loader(stdin, allow_outside, problems, inputs or Inputs())
    with _no_garbage_collection():
        tree = loader.gather(paths)
        base = frozenset(loader.files)
        for path in overlays:
            over = overlay(tree, loader.gather([path]))
            assert isinstance(over, MappingNode)
            tree = over
    return Document(
        tree,
        loader.files,
        loader.digest.hexdigest(),
        tuple(loader.roots),
        frozenset(loader.files) - base,
        loader.is_sensitive,
    )


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A growing tree has no cycles to find, and looking for them again and again costs as much as reading."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Hashed:
    """A stream that digests what is read, and refuses what no mark can hold."""

    def __init__(self, stream: BinaryIO, digest: hashlib._Hash) -> None:
        self._stream = stream
        self._digest = digest
        self._line = 0
        self.begin = b""
        self.is_sensitive = False
        self._end = b""

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        if not self.begin:
            self.begin = data[:2]
            if self.begin in (b"\xff\xfe", b"\xfe\xff"):
                raise _NotText("the file is UTF-16, not UTF-8", "save it as UTF-8")
        self._digest.update(data)
        self.is_sensitive |= _SENSITIVE in self._end + data
        self._end = data[-len(_SENSITIVE) :]
        newline = data.rfind(b"\n")
        self._line = self._line + len(data) if newline < 0 else len(data) - newline - 1
        if self._line > MAX_LINE:
            raise _NotText(f"a line is longer than {MAX_LINE:,} bytes", "write one entry to a line")
        return data


class _NotText(Exception):
    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class _Loader:
    def __init__(self, stdin: TextIO | None, allow_outside: bool, problems: Problems, inputs: Inputs) -> None:
        self._stdin = stdin
        self._allow_outside = allow_outside
        self._problems = problems
        self._inputs = inputs
        self.roots: list[Path] = []
        self._done: set[Path] = set()
        self._stack: list[Path] = []
        self.files: dict[str, SourceFile] = {}
        self.digest = hashlib.sha256()
        self.is_sensitive = False

    def gather(self, paths: Sequence[Path | Literal["-"]]) -> MappingNode:
        """The merged tree of `paths` and all that they include."""
        self._done.clear()
        merger = Merger(self._problems)
        for path in paths:
            if path == "-":
                self.roots.append(Path.cwd())
            else:
                assert isinstance(path, Path)
                self.roots.append((path if os.path.isdir(path) else path.parent).resolve())  # no error here
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
                self._lost(f"cannot read standard input: {error.strerror}", Location(STDIN_NAME))
        self.files[STDIN_NAME] = SourceFile(None, content)
        return self._with_includes(self._composed(io.BytesIO(content), STDIN_NAME), Path())

    def _path_trees(
        self, path: Path, asked_by: ScalarNode | None, roots: tuple[Path, ...] | None
    ) -> Iterator[MappingNode]:
        """The trees of a file, or of a folder's files; `asked_by` is the include that names it.

        Each is below one of `roots`, unless that is None.
        """
        where = asked_by.where if asked_by else Location(str(path))
        self._inputs.note(path)
        try:
            if not path.is_dir():
                yield from self._file_trees(InputFile(path, SPEC, roots), where)
                return
            inside = sorted(child for child in path.iterdir() if child.suffix in _SUFFIXES and child.is_file())
        except OSError as error:
            self._lost(f"can't read {path}: {error.strerror}", where)
            return
        if not inside:
            self._lost(f"no *.yaml or *.yml file in the folder {path}", where, "give a spec file")
        for child in inside:
            yield from self._file_trees(InputFile(child, SPEC, roots), where)

    def _file_trees(self, file: InputFile, where: Location) -> Iterator[MappingNode]:
        path = file.path
        resolved = path.resolve()
        if resolved in self._stack:
            chain = " -> ".join(str(step) for step in (*self._stack[self._stack.index(resolved) :], resolved))
            self._problems.add(f"files include each other in a circle: {chain}", where, "remove one of the includes")
            return
        if resolved in self._done:
            return
        if len(self._stack) >= MAX_INCLUDE_DEPTH:
            what = f"includes are nested deeper than {MAX_INCLUDE_DEPTH} files"
            self._lost(what, where, "include the files from one file, with a pattern such as `tenants/*.yaml`")
            return
        self._done.add(resolved)
        self._stack.append(resolved)
        self.files[str(path)] = SourceFile(file)
        self._inputs.note(path)
        try:
            with file.open() as stream:
                tree = self._composed(stream, str(path))
        except OSError as error:
            near = did_you_mean(path.name, _names_in(path.parent), "check the path")
            self._lost(f"can't read {path}: {error.strerror}", where, near)
        else:
            yield from self._with_includes(tree, path.parent)
        self._stack.pop()

    def _composed(self, stream: BinaryIO, name: str) -> MappingNode | None:
        hashed = _Hashed(stream, self.digest)
        try:
            tree = compose(Events(hashed), name, self._problems)
            self._problems.is_partial |= tree is None
            return tree
        except _NotText as error:
            self._lost(error.what, Location(name), error.hint)
        except yaml.YAMLError as error:
            stream.seek(0)
            raw = stream.read() if isinstance(error, yaml.reader.ReaderError) else b""
            self._problems.extend([syntax_problem(error, name, raw)])
            self._problems.is_partial = True
        finally:
            self.is_sensitive |= hashed.is_sensitive
        return None

    def _lost(self, what: str, where: Location, hint: str = "") -> None:
        """A problem that keeps a part of the spec from being read."""
        self._problems.add(what, where, hint)
        self._problems.is_partial = True

    def _with_includes(self, tree: MappingNode | None, folder: Path) -> Iterator[MappingNode]:
        if tree is None:
            return
        yield drop(tree, "include")
        include = tree.get("include")
        if include is None:
            return
        patterns = include.items if isinstance(include, SequenceNode) else (include,)
        for pattern in patterns:
            if isinstance(pattern, ScalarNode) and pattern.text:
                yield from self._included(pattern, pattern.text, folder)
            else:
                self._lost("`include` is a list of files or patterns", pattern.where, "as in [tenants/*.yaml]")

    def _included(self, pattern: ScalarNode, text: str, folder: Path) -> Iterator[MappingNode]:
        if glob.has_magic(text):
            self._inputs.note(_fixed_part(folder, text))
        try:
            found = sorted(folder / name for name in glob.glob(text, root_dir=folder, recursive=True))
        except (OSError, ValueError) as error:
            self._lost(f"can't look for `{text}`: {error}", pattern.where)
            return
        if not found:
            near = did_you_mean(text, _names_in(folder), f"the pattern is relative to {folder.resolve()}")
            self._lost(f"`{text}` matches no file", pattern.where, near)
        for path in found:
            if glob.has_magic(text):
                self._inputs.note(path.parent)
            resolved = path.resolve()
            if glob.has_magic(text) and self._stack and resolved == self._stack[-1]:
                continue
            if self._allow_outside or is_inside(path, pattern, self.roots, self._problems):
                yield from self._path_trees(path, pattern, None if self._allow_outside else tuple(self.roots))
            else:
                self._problems.is_partial = True


def _read_text(stdin: TextIO) -> bytes:
    """All of a standard input, or of what stands for it. Raises OSError for too much."""
    buffer = getattr(stdin, "buffer", None)
    if buffer is not None:
        return read_limited(buffer, SPEC)
    return stdin.read().encode("utf-8", "surrogateescape")


def is_inside(path: Path, named_by: ScalarNode, roots: Sequence[Path], problems: Problems) -> bool:
    """Whether `path`, links followed, is below one of `roots`; if not, that is told where it is named."""
    try:
        resolved = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links that lead to each other
        problems.add(f"`{named_by.text}` is no path of a file: {error}", named_by.where, "check the path")
        return False
    if any(resolved.is_relative_to(root) for root in roots):
        return True
    hint = "keep files below the spec's folder, or allow it with --allow-outside"
    problems.add(f"`{named_by.text}` leads outside the project folder, to {resolved}", named_by.where, hint)
    return False


def _fixed_part(folder: Path, pattern: str) -> Path:
    """The folder in which a pattern begins to match: that of `tenants/*.yaml` is `tenants`."""
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        folder /= part
    return folder


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(child.name for child in folder.iterdir() if child.suffix in _SUFFIXES)
    except OSError:
        return []
