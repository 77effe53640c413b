"""`doctor`: what this host supports."""

from __future__ import annotations

import provisioner
from provisioner.cli.command import verb
from provisioner.cli.console import Console
from provisioner.doctor.finding import usable
from provisioner.report.formats import names


@verb(
    formats=names("findings"),
    meanings={0: "this host supports provisioner", 5: "this host does not"},
)
def doctor(console: Console) -> int:
    """Check what this host supports, and why something does not work."""
    from provisioner.cli import reports  # NumPy, which the help does not need, takes 80 ms

    findings = provisioner.examine()
    reports.findings(console, findings)
    return 0 if usable(findings) else provisioner.HostError.exit_code
