"""The arrows of the architecture: which room may know which, and what keeps a room pure."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import provisioner
from tests import pages

PACKAGE = Path(provisioner.__file__).parent

PURE = ("model", "attach", "bytecode", "language", "codec", "object_check", "planning", "report")
"""Rooms that compute values from values. Single modules of other rooms say `Pure.` in their docstring."""

EDGE = {"kernel", "apply", "project"} | {
    f"observed/{module}"
    for module in (
        "observe",
        "live_source",
        "metamap",
        "filter_pins",
        "pinned_btf",
        "holders",
        "snapshot_take",
        "digested",
    )
}
"""Where the kernel is. Reading it is enough to be part of it."""

MACHINE = {"os", "ctypes", "time", "subprocess", "threading", "resource", "fcntl", "datetime", "random", "pathlib"}


def modules(room: str) -> list[Path]:
    directory = PACKAGE / room
    return sorted(directory.rglob("*.py")) if directory.is_dir() else [PACKAGE / f"{room}.py"]


@cache
def tree(module: Path) -> ast.Module:
    return ast.parse(module.read_text())


def imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module != "provisioner":
                yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports(module: Path) -> set[str]:
    """The names of all modules that a module imports, anywhere in it."""
    return set(imported(ast.walk(tree(module))))


def imports_when_loaded(module: Path) -> set[str]:
    """Those that it imports while it is imported itself: not in functions, not for the type checker."""
    return set(imported(_executed(tree(module).body)))


def _executed(body: list[ast.stmt]) -> Iterator[ast.AST]:
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _executed([child for child in ast.iter_child_nodes(node) if isinstance(child, ast.If | ast.Try)])


def dotted(rooms: Iterable[str]) -> set[str]:
    return {f"provisioner.{room.replace('/', '.')}" for room in rooms}


def within(name: str, rooms: set[str]) -> bool:
    return any(name == room or name.startswith(room + ".") for room in rooms)


def says_pure(module: Path) -> bool:
    """By the text of its docstring: this is asked of every module while tests are collected."""
    docstring = re.match(r'"""(.*?)"""', module.read_text(), re.DOTALL)
    return docstring is not None and "Pure." in docstring[1]


def test_the_drawing_names_rooms_that_are_there() -> None:
    (drawing,) = pages.fences(__file__, "how-it-works.md")
    assert drawing.text in (pages.ROOT / "CONTRIBUTING.md").read_text(), "the same for contributors"
    rooms = set(re.findall(r"[A-Za-z]+", drawing.text)) - {"YAML", "live"}
    assert {room for room in rooms if modules(room)[0].is_file()} == rooms


def test_contributors_find_every_room() -> None:
    text = (pages.ROOT / "CONTRIBUTING.md").read_text()
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert {room for room in rooms if f"`{room}/`" in text} == rooms


def test_every_module_is_in_a_room() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_tests_have_the_rooms_of_the_package() -> None:
    tests = {path.name for path in Path(__file__).parent.iterdir() if (path / "__init__.py").is_file()}
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert rooms - tests <= {"observed"}, "a room without tests: those of `observed` are in apply, adopt and promises"


PURE_MODULES = sorted({*(path for room in PURE for path in modules(room)), *filter(says_pure, PACKAGE.rglob("*.py"))})


@pytest.mark.parametrize("module", PURE_MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_pure_module_does_not_touch_the_machine(module: Path) -> None:
    names = {name for name in imports(module) if within(name, MACHINE | dotted(EDGE))}
    assert names <= {"pathlib", "pathlib.PurePath"}, "a PurePath cannot look at a file"


def test_the_model_is_below_everything() -> None:
    for module in modules("model"):
        assert {name for name in imports(module) if within(name, {"provisioner"})} <= {
            name for name in imports(module) if within(name, {"provisioner.model"})
        }, module.name


def room_of(name: str) -> str:
    """The room of a module, by its dotted name: a directory, or a file at the top."""
    first = name.removeprefix("provisioner").lstrip(".").partition(".")[0]
    return first if (first and (PACKAGE / first).is_dir()) or (PACKAGE / f"{first}.py").is_file() else "__init__"


def module_of(name: str) -> str | None:
    """The module that a dotted name is in, None for one outside the package."""
    while within(name, {"provisioner"}):
        path = PACKAGE.parent / name.replace(".", "/")
        if path.with_suffix(".py").is_file() or (path / "__init__.py").is_file():
            return name
        name = name.rpartition(".")[0]
    return None


def arrows(of: Callable[[str], str | None], known: Callable[[Path], set[str]]) -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for module in PACKAGE.rglob("*.py"):
        name = ".".join(module.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        source = of(name)
        targets = {of(target) for target in known(module) if within(target, {"provisioner"})}
        graph.setdefault(source or "", set()).update(target for target in targets - {source} if target)
    return graph


def test_the_arrows_between_rooms_go_one_way() -> None:
    graph = arrows(room_of, imports)
    graph.pop("__init__")  # the public names, from every room
    assert {room for room, known in graph.items() if "__init__" in known} == {"__main__", "cli", "watch"}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"these rooms import each other: {' -> '.join(error.args[1])}")


def test_no_import_is_circular() -> None:
    graph = arrows(module_of, imports_when_loaded)
    graph = {name: known - {name.rpartition(".")[0], "provisioner"} for name, known in graph.items()}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"these modules import each other: {' -> '.join(error.args[1])}")


def test_a_class_has_a_name_of_its_own() -> None:
    names = Counter(
        node.name
        for module in PACKAGE.rglob("*.py")
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ClassDef)
    )
    assert {name: count for name, count in names.items() if count > 1} == {}


def test_ctypes_is_for_libbpf_and_system_calls() -> None:
    users = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if within_ctypes(path)}
    kernel = {f"kernel/{module}.py" for module in ("binding", "calls", "libbpf", "structures", "syscalls")}
    assert users == kernel | {"files/beneath.py"}


def within_ctypes(path: Path) -> bool:
    return any(within(name, {"ctypes"}) for name in imports(path))


def test_the_kernel_seam_knows_nothing_of_specs_and_plans() -> None:
    for module in modules("kernel"):
        ours = {name for name in imports(module) if within(name, {"provisioner"})}
        above = {
            name
            for name in ours
            if not within(name, dotted(("model", "kernel", "bytecode", "codec", "files", "object_check")))
        }
        assert not above - {"provisioner"}, f"{module.name} imports {sorted(above)}"
        states = dotted(("model/spec", "model/desired", "model/observed"))
        assert not {name for name in ours if within(name, states)}, module.name


def test_the_command_line_uses_only_what_every_program_may() -> None:
    """Apart from its own rooms: what it does to a host, `import provisioner` can do as well."""
    words = dotted(
        ("cli", "files", "fleet", "report", "views", "watch", "model/words", "model/errors", "model/location")
    ) | dotted(("language/schema_file", "language/editor_schema", "doctor/finding"))
    public = dotted(provisioner.__all__)
    for module in modules("cli"):
        ours = {name for name in imports(module) if within(name, {"provisioner"})} - {"provisioner"}
        rooms = {f"provisioner.{room}" for room in ("model", "language", "doctor")}
        assert not {name for name in ours - rooms if name not in public and not within(name, words)}, module.name


def test_only_the_command_line_prints_or_exits() -> None:
    for module in PACKAGE.rglob("*.py"):
        if module.relative_to(PACKAGE).parts[0] in ("cli", "__main__.py"):
            continue
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "exit", "quit"), f"{module.name}:{node.lineno}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) != ("sys", "exit"), f"{module.name}:{node.lineno}"
