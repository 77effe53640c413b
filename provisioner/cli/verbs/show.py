"""`show`: the live state."""

from __future__ import annotations

from provisioner.cli import arguments
from provisioner.cli.command import verb
from provisioner.cli.console import Console
from provisioner.cli.options import FilesAndMaybeAddress, Full, SpecOptions
from provisioner.report.formats import names

_YAML = "yaml"


@verb(5, formats=(*names("live"), _YAML))
def show(
    console: Console,
    files: FilesAndMaybeAddress,
    spec: SpecOptions,
    full: Full = False,
) -> int:
    """Show the live state as a tree, decoded with the spec's types: ids, memory, pins, users. Changes nothing.

    A sign marks each difference from the spec, as in a plan. With an address after the files, such as `tenants`,
    `tenants[42]` or `tenants[42][10.0.0.0/8]`, only that part is shown, without cuts.
    `--format yaml` writes the live maps as a spec that adopts them, as `export` does.
    """
    from provisioner.cli import reports  # NumPy, which the help does not need, takes 80 ms

    specs, address = arguments.with_address(files)
    project = arguments.load_project(console, specs, spec, pins=True)
    if console.format == _YAML:
        exported = project.export(address)
        console.notes(f"Note: {note}." for note in exported.notes if not console.quiet)
        console.pieces([exported.spec])
    else:
        reports.live(console, project.live(address, full=full))
    return 0
