"""`watch`: keep this host as the spec says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from provisioner.cli.arguments import need_file, variables
from provisioner.cli.command import verb
from provisioner.cli.console import Console
from provisioner.cli.options import Files, SpecOptions

_SIGNALS = "Signals: SIGHUP reads the files again. SIGTERM and SIGINT end the watch and leave the live state as it is."


@verb(
    meanings={
        0: "ended by SIGTERM or SIGINT",
        1: "invalid argument; an invalid spec is only reported",
        5: "--metrics: the port is in use, or prometheus_client is missing",
        130: "interrupted before it was ready, or by a second signal",
    },
    epilog=_SIGNALS,
)
def watch(
    console: Console,
    files: Files,
    spec: SpecOptions,
    report_only: Annotated[bool, typer.Option("--report-only", help="Report differences, and change nothing.")] = False,
    interval: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1, help="Time between comparisons with the live state, +/- 10 %."),
    ] = 60.0,
    poll: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.05, help="Time between checks for changed files.")
    ] = 2.0,
    settle: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Read files after they are unchanged for this long.")
    ] = 1.0,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS:]PORT",
            help="Serve /metrics, /healthz, /readyz and /status; on 127.0.0.1 without an address.",
        ),
    ] = None,
    metrics_file: Annotated[
        Path | None, typer.Option(metavar="FILE.prom", help="Write metrics for the node exporter's textfile collector.")
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Each of FILES is a project of its own.")] = False,
    status_file: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write the status as JSON after each pass.")
    ] = None,
) -> int:
    """Apply the spec when its files change or the live state drifts.

    A change that a check refuses is reported and not made. `provisioner apply` can override the check.
    """
    if "-" in files:
        raise typer.BadParameter("standard input cannot be watched", param_hint="FILES")
    for path, option in ((metrics_file, "--metrics-file"), (status_file, "--status-file")):
        need_file(path, option, "each pass replaces the file")
    # NumPy, which the help does not need, takes 80 ms.
    from provisioner.watch.loop import Watcher
    from provisioner.watch.machine import Pace
    from provisioner.watch.notify import Notifier
    from provisioner.watch.preload import preload
    from provisioner.watch.publishing import Publisher
    from provisioner.watch.reconcile import Aim

    preload()
    if each and spec.pin_root is not None:
        raise typer.BadParameter("it is for one project, and cannot be used with --each", param_hint="--pin-root")
    groups = [[Path(name)] for name in files] if each else [[Path(name) for name in files]]
    names = tuple(tuple(map(str, group)) for group in groups)
    publisher = Publisher(names, _listen(metrics), metrics_file, status_file, console.log)
    rest = tuple(spec.overlay or ()), spec.allow_outside, spec.pin_root, report_only, variables(spec.var)
    aims = [Aim(tuple(group), *rest) for group in groups]
    pace = Pace(interval=interval, poll=poll, settle=settle)
    Watcher(aims, pace, console.log, publisher, Notifier()).run()
    return 0


def _listen(text: str | None) -> tuple[str, int] | None:
    """The address, empty for the default, and the port to serve metrics on."""
    if text is None:
        return None
    address, _, port = text.rpartition(":")
    if not port.isdecimal():
        raise typer.BadParameter(f"`{text}` is not a PORT or ADDRESS:PORT", param_hint="--metrics")
    return address.strip("[]"), int(port)
