"""How a project is opened: from the files of its spec, or from its pins; and the projects of a host.

`import provisioner` gives the same names.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from msgspec.structs import replace

from provisioner.codec.resolve import Lookup, at_apply
from provisioner.desired import loading
from provisioner.desired.moved import require_root
from provisioner.document.inputs import Inputs
from provisioner.document.mapping import MappingText, NamedText
from provisioner.kernel.mounts import file_system
from provisioner.model.errors import InputError, Problem, Problems, ProvisionerError
from provisioner.model.given import Given, Outside
from provisioner.model.host import Host
from provisioner.model.location import Location
from provisioner.model.words import odd_characters
from provisioner.observed import pinned_btf
from provisioner.observed.snapshot import Snapshot
from provisioner.project.project import Project

if TYPE_CHECKING:
    from provisioner.report.model import ListedProject

SpecFile = str | os.PathLike[str]
"""A spec file or a directory of spec files; `-` is standard input."""


def load(
    paths: SpecFile | Sequence[SpecFile] | Mapping[Any, Any],
    *,
    overlays: Sequence[SpecFile] = (),
    allow_outside: bool = False,
    pin_root: str | None = None,
    stdin: TextIO | None = None,
    snapshot: Snapshot | None = None,
    host: Host | None = None,
    lookups: Mapping[str, Lookup] | None = None,
    inputs: Inputs | None = None,
    contents: bool = True,
    any_host: bool = False,
    variables: Mapping[str, str | Given] = {},
    environment: Mapping[str, str] | None = None,
) -> Project:
    """Read spec files and the files that they name. Does not read the kernel's state.

    A mapping is a spec itself, with the fields of a file; files that it names are relative to the current directory.
    `inputs` records every file and directory that is read, also if the spec is invalid.
    Without `contents`, tables are not read and entries are not encoded, which is enough for `destroy` only.
    `snapshot` is a snapshot of the project's host. `host` and `lookups` (the numbers of interfaces and cgroups by name)
    default to those of the snapshot, else of this host. For `any_host`, names are not looked up: their numbers are
    known at apply, and the project can be planned against `empty` only.
    `variables` are values for the variables of the spec, by name; `environment` defaults to that of this process.
    Raises SpecError with all problems of all files.
    """
    if isinstance(paths, Mapping):
        stdin = MappingText(paths)
        paths = "-"
    given = _files(paths)
    for path in given:
        if is_pinned(path):
            what, hint = "this is pinned, and not a spec", "show, explain, graph and destroy take a pin root"
            raise InputError(Problem(what, Location(str(path)), hint, id="pin-not-spec"))
    if snapshot is not None:
        host, lookups = host or snapshot.host(), lookups or snapshot.lookups()
    elif any_host:
        lookups = lookups or at_apply()
    source, spec, desired = loading.load(
        given,
        overlays=[Path(overlay) for overlay in overlays],
        allow_outside=allow_outside,
        stdin=stdin,
        host=host,
        lookups=lookups,
        inputs=inputs or Inputs(),
        read_btf=pinned_btf.read if snapshot is None else snapshot.read_btf,
        contents=contents,
        outside=Outside(
            _given(variables),
            os.environ if environment is None else environment,
        ),
    )
    if pin_root is not None:
        if hint := odd_characters(pin_root):
            raise InputError(Problem("this is not a valid pin root", Location(pin_root), hint, id="invalid-name"))
        desired = replace(desired, pin_root=pin_root)
    try:
        require_root(desired)
    except InputError as error:
        raise loading.SpecError(error, source) from error
    return Project(source, spec, desired)


def _files(paths: object) -> list[SpecFile]:
    """The paths of spec files. Raises InputError for values that are not paths."""
    is_list = isinstance(paths, Iterable) and not isinstance(paths, str | bytes | bytearray | memoryview | os.PathLike)
    given: list[Any] = list(paths) if is_list else [paths]  # type: ignore[call-overload]
    for each in given:
        if not isinstance(each, str | os.PathLike):
            what = f"a spec is a mapping, a path or a list of paths, and not {type(each).__name__}"
            raise InputError(Problem(what, id="wrong-type"))
    return given


def _given(variables: object) -> dict[str, Given]:
    """The values of variables. Raises InputError where one is not text."""
    if not isinstance(variables, Mapping):
        what = f"`variables` is a mapping, and not {type(variables).__name__}"
        raise InputError(Problem(what, id="wrong-type"))
    problems = Problems()
    for name, text in variables.items():
        if not isinstance(text, str | Given):
            what = f"the value of variable `{name}` is text, and not {type(text).__name__}"
            problems.add(what, hint=f'write "{text}"' if isinstance(text, int) else "", id="wrong-type")
    problems.raise_if_any()
    return {name: Given(text, "variables") if isinstance(text, str) else text for name, text in variables.items()}


def load_pinned(path: SpecFile) -> Project:
    """A project by its pin root, or by the pin of a map, without its spec: to show, explain, draw and destroy it.

    By the pin of a map, its methods mean that map where they get no address: `destroy` destroys it alone.
    The shapes are those of the live maps, the types those of the project's record, else those of BTF, else bytes.
    A pin of another owner can be shown too. Raises InputError if no map is pinned there, and HostError.
    """
    from provisioner.adopt import pinned

    there = pinned.read(Path(path))
    made = load("-", stdin=NamedText(there.spec, f"<live state of {path}>"))
    return replace(made, desired=replace(made.desired, pinned_programs=there.programs), pinned=there)


def projects() -> tuple[ListedProject, ...]:
    """The projects of this host, by the records that are pinned on any bpffs, in the order of their pin roots."""
    from provisioner.adopt import pinned

    return tuple(each for root in pinned.roots() if (each := _listed(root)) is not None)


def _listed(root: Path) -> ListedProject | None:
    """A project with its totals; with the problem in place of them if it cannot be read. None for one that is gone."""
    from provisioner.adopt import pinned
    from provisioner.report.model import ListedProject

    changed = pinned.changed(root)
    if changed is None:
        return None
    try:
        project = load_pinned(root)
        report = project.live(full=False)
    except ProvisionerError as error:
        if pinned.changed(root) is None:
            return None
        return ListedProject(root.name, str(root), changed, "", None, str(error.problems[0]))
    revision = project.pinned.revision if project.pinned is not None else ""
    return ListedProject(report.project, str(root), changed, revision, report.totals)


def is_pinned(path: SpecFile) -> bool:
    """Whether a path exists on a bpffs: a pin or a pin root, never a spec."""
    return path != "-" and os.path.exists(path) and file_system(Path(path)) == "bpf"


def draft(object_file: SpecFile, out: SpecFile | None = None) -> str:
    """A first spec, from the maps and BTF of a compiled object. Raises InputError if it is not an object.

    `out` is the file that the spec is for: a path of the object that is not absolute is then relative to it.
    """
    absolute = os.path.isabs(object_file) or out is None
    name = str(object_file) if absolute else os.path.relpath(object_file, os.path.dirname(os.path.realpath(out or "")))
    from provisioner.adopt import drafting  # only `init` needs it, and it takes long

    return drafting.draft(Path(object_file), name)
