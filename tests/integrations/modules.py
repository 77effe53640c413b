"""The Python of Ansible's modules, as a fork server: what all modules import is imported once.

A module is a zip archive, from which Python compiles what it imports: most of the CPU time of a task. Of the archive,
Ansible's own modules are not used here, but those of the installed Ansible, which packed them. With the argument
`alone` this process runs one module: on a host that the server cannot enter, they are at least compiled already.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import Any, Final

_IMPORTED: Final = (
    *("base64", "filecmp", "json", "shutil", "stat", "tarfile", "tempfile", "zipfile"),
    "ansible.module_utils._internal._ansiballz._loader",
    "ansible.module_utils.basic",
)


def _prepare() -> None:
    for name in _IMPORTED:
        importlib.import_module(name)


def _run(_: dict[str, Any]) -> int:
    """Run the program on standard input, as the interpreter does; it ends by SystemExit."""
    main = sys.modules["__main__"] = ModuleType("__main__")
    exec(compile(sys.stdin.read(), "<stdin>", "exec"), vars(main))  # noqa: S102 (the interpreter of a test)
    return 0


if __name__ == "__main__":
    if "alone" in sys.argv:
        sys.argv.remove("alone")
        del os.environ["PYTHONPATH"]  # what a module starts has its own environment
        _prepare()
        sys.exit(_run({}))
    from tests import forkserver

    forkserver.serve(_prepare, _run)
