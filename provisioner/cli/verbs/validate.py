"""`validate`: all checks that need no kernel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer

from provisioner.cli import fleet
from provisioner.cli.arguments import load_project
from provisioner.cli.command import verb
from provisioner.cli.console import Console
from provisioner.cli.guard import guarded
from provisioner.cli.options import Files, Hosts, SpecOptions
from provisioner.model.errors import ProvisionerError
from provisioner.report import problems
from provisioner.report.formats import names


@verb(5, formats=(*names("validation"), "github"), meanings={0: "the spec is valid", 1: "the spec is invalid"})
def validate(
    console: Console,
    files: Files,
    spec: SpecOptions,
    kernel: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Report what this kernel refuses or does slowly: 5.10.")
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Each of FILES is a project of its own.")] = False,
    hosts: Hosts = None,
) -> int:
    """Check a spec without a kernel."""
    if hosts is not None:
        if each or kernel is not None:
            raise typer.BadParameter("it cannot be used with --each or --kernel", param_hint="--hosts")
        return fleet.run(console, files, spec, hosts)
    if each and console.format == "json":
        raise typer.BadParameter("--format json writes one document, for one project", param_hint="--each")

    def check(names: Sequence[str]) -> int:
        try:
            project = load_project(console, names, spec, any_host=True)
            advice = None if kernel is None else project.advise(kernel)
        except ProvisionerError as error:
            if console.format != "github":
                raise
            console.pieces(f"{line}\n" for line in problems.github(error.problems))
            return error.exit_code
        if console.format != "github" and not (console.quiet and console.format == "text" and advice is None):
            from provisioner.cli import reports  # NumPy, which the help does not need, takes 80 ms
            from provisioner.report.model import Validation

            reports.validation(console, Validation(project.desired, advice))
        return 0

    projects = [[name] for name in files] if each else [files]
    return max(guarded(console, partial(check, names)) for names in projects)
