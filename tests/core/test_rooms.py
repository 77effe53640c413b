"""The arrows of the architecture: which room may know which, and what keeps a room pure."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import provisioner
from tests import pages

PACKAGE = Path(provisioner.__file__).parent

VALUES = [
    *("access", "address", "columns", "errors", "facts", "grace", "host", "inner_facts", "kernelfacts", "location"),
    *("objectfile", "places", "shape", "spec", "specials", "state", "typexpr", "uapi", "words"),
]
"""What stands at the top: the words that all rooms speak in."""

EDGE = {"kernel", "apply", "api"} | {
    f"observed/{module}" for module in ("observe", "live_source", "metamap", "pinned_btf", "holders", "snapshot_take")
}
"""Where the kernel is. To read is enough to be part of it."""

PURE = [
    *VALUES,
    *("language", "codec", "object_check", "planning", "report", "explain_programs", "completion"),
    *("document/tree", "document/overlays", "document/merge", "observed/sources", "observed/snapshot", "watch/machine"),
    *(
        f"desired/{module}"
        for module in ("encode", "entries", "ownership", "ranges", "raw_values", "resolve", "rows", "slots")
    ),
    *(
        f"adopt/{module}"
        for module in ("skeleton", "skeleton_types", "spelling", "found", "naming", "export", "export_entries")
    ),
]
MACHINE = {"os", "ctypes", "time", "subprocess", "threading", "resource", "fcntl", "datetime", "random", "pathlib"}


def modules(room: str) -> list[Path]:
    folder = PACKAGE / room
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{room}.py"]


def imports(module: Path) -> Iterator[str]:
    """The names of all modules that a module imports, at any place in it."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def dotted(rooms: Iterable[str]) -> set[str]:
    return {f"provisioner.{room.replace('/', '.')}" for room in rooms}


def within(name: str, rooms: set[str]) -> bool:
    return any(name == room or name.startswith(room + ".") for room in rooms)


def test_the_drawing_names_rooms_that_are_there() -> None:
    (drawing,) = pages.fences(__file__, "how-it-works.md")
    assert drawing.text in (pages.ROOT / "CONTRIBUTING.md").read_text(), "the same for those who change it"
    rooms = set(re.findall(r"[A-Za-z]+", drawing.text)) - {"YAML", "live"}
    assert {room for room in rooms if modules(room)[0].is_file()} == rooms


def test_what_calls_itself_pure_is_among_them() -> None:
    held = {module for room in PURE for module in modules(room)}
    says = {path for path in PACKAGE.rglob("*.py") if "Pure." in (ast.get_docstring(ast.parse(path.read_text())) or "")}
    assert says <= held, says - held


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_knows_nothing_of_the_machine(room: str) -> None:
    for module in modules(room):
        found = {name for name in imports(module) if within(name, MACHINE | dotted(EDGE))}
        if found == {"pathlib", "pathlib.PurePath"}:  # paths that cannot look at a file
            continue
        assert not found, f"{module.name} imports {sorted(found)}"


def room_of(name: str) -> str:
    """The room that a module is in, by its name: a folder, or a file at the top."""
    first = name.removeprefix("provisioner").lstrip(".").partition(".")[0]
    return first if (PACKAGE / first).is_dir() or (PACKAGE / f"{first}.py").is_file() else "__init__"


def test_the_arrows_between_rooms_go_one_way() -> None:
    """No room knows one that knows it. The views of a project plan with it, and it gives them: the one exception."""
    project = {"__init__", "api", "live", "explain"}
    arrows: dict[str, set[str]] = {}
    for module in PACKAGE.rglob("*.py"):
        room = room_of(".".join(module.relative_to(PACKAGE.parent).with_suffix("").parts))
        known = {room_of(name) for name in imports(module) if within(name, {"provisioner"})}
        arrows.setdefault(room, set()).update(known - {room})
    of_project = set().union(*(arrows.pop(room) for room in project)) - project
    arrows = {room: {"api" if one in project else one for one in known} for room, known in arrows.items()}
    try:
        list(TopologicalSorter({**arrows, "api": of_project}).static_order())
    except CycleError as error:
        pytest.fail(f"these know each other: {' -> '.join(error.args[1])}")


def test_only_one_module_knows_ctypes() -> None:
    users = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if within_ctypes(path)}
    assert users == {"kernel/libbpf.py"}


def within_ctypes(path: Path) -> bool:
    return any(within(name, {"ctypes"}) for name in imports(path))


def test_the_kernel_seam_knows_nothing_of_specs_and_plans() -> None:
    above = dotted(("spec", "state", "document", "language", "desired", "observed", "planning", "apply", "report"))
    for module in modules("kernel"):
        found = {name for name in imports(module) if within(name, above)}
        assert not found, f"{module.name} imports {sorted(found)}"


def test_the_command_line_uses_only_what_every_program_may() -> None:
    """Its own words aside: what it does to a host, `import provisioner` can do as well."""
    words = dotted(("cli", "report", "words", "errors", "location", "schemafile", "watch"))
    public = dotted(provisioner.__all__)
    for module in modules("cli"):
        ours = {name for name in imports(module) if within(name, {"provisioner"})} - {"provisioner"}
        assert not {name for name in ours if name not in public and not within(name, words)}, module.name


def test_only_the_command_line_prints_or_exits() -> None:
    for module in PACKAGE.rglob("*.py"):
        if module.relative_to(PACKAGE).parts[0] in ("cli", "cli.py", "__main__.py"):
            continue
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "exit", "quit"), f"{module.name}:{node.lineno}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) != ("sys", "exit"), f"{module.name}:{node.lineno}"
