"""A first spec of an object file: read the object, and what this kernel lacks of what its programs are loaded for."""

from __future__ import annotations

from pathlib import Path

from provisioner.adopt.skeleton import skeleton
from provisioner.adopt.skeleton_object import kernel_targets
from provisioner.kernel.btf_names import unknown_names
from provisioner.kernel.objects import inspect


def draft(object_file: Path, name: str) -> str:
    """The spec, which names the object `name`. Raises InputError if the object cannot be read."""
    info = inspect(object_file)
    targets = kernel_targets(info)
    unknown = unknown_names(targets.values())
    return skeleton(info, name, [program for program, target in targets.items() if target in unknown])
