"""`list`: the projects of this host."""

from __future__ import annotations

import provisioner
from provisioner.cli.command import verb
from provisioner.cli.console import Console
from provisioner.report.formats import names


@verb(5, formats=names("projects"))
def list(console: Console) -> int:
    """List the projects of this host. Needs no spec, and changes nothing.

    A project has a record in its pin root, on any mounted bpffs. `show PIN_ROOT` shows one.
    """
    from provisioner.cli import reports  # NumPy, which the help does not need, takes 80 ms

    reports.projects(console, provisioner.projects())
    return 0
