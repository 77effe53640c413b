"""The verb `watch`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from provisioner.cli.app import app, guarded
from provisioner.cli.console import Console
from provisioner.cli.options import AllowOutside, ColorOption, Files, Overlay, PinRoot, Quiet, Verbose
from provisioner.model.errors import ProvisionerError

if TYPE_CHECKING:
    from provisioner.watch.metrics import Metrics

_EPILOG = """\b
Signals: SIGHUP reads the files again now; SIGTERM and SIGINT end the watch, and leave what is live.

\b
Exit status:
  0    ended by SIGTERM or SIGINT
  1    bad arguments; a spec that cannot be used is told, and read again when it changes
  5    this host: prometheus_client is missing
  64   usage error
  70   a bug in provisioner
"""


@app.command(epilog=_EPILOG)
def watch(
    files: Files,
    report_only: Annotated[bool, typer.Option("--report-only", help="Say what differs, and change nothing.")] = False,
    interval: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1, help="Compare with what is live this often, give or take a tenth."),
    ] = 60.0,
    poll: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.05, help="Look this often whether files changed.")
    ] = 2.0,
    settle: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Read files once they were quiet for so long.")
    ] = 1.0,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="[ADDRESS:]PORT", help="Serve metrics for Prometheus; on 127.0.0.1 without an address."),
    ] = None,
    metrics_file: Annotated[
        Path | None, typer.Option(metavar="FILE.prom", help="Write metrics for the node exporter's textfile collector.")
    ] = None,
    pin_root: PinRoot = None,
    overlay: Overlay = None,
    allow_outside: AllowOutside = False,
    color: ColorOption = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Keep this host as the spec says: apply when files change, or when what is live drifts from it.

    What a rule refuses stays refused, and is reported: an apply by hand may override it.
    """
    if "-" in files:
        raise typer.BadParameter("standard input cannot be watched", param_hint="FILES")
    console = Console("text", color, quiet=quiet, verbose=verbose)
    paths = tuple(Path(name) for name in files)

    def work() -> int:
        from provisioner.watch.loop import Passed, Watcher
        from provisioner.watch.machine import Pace
        from provisioner.watch.notify import Notifier
        from provisioner.watch.reconcile import Aim

        told = _metrics(metrics, metrics_file)

        def passed(one: Passed) -> None:
            if told is None:
                return
            told.passed(one)
            if metrics_file is not None:
                try:
                    told.write(metrics_file)
                except ProvisionerError as error:  # the upkeep goes on
                    console.fail(error)

        aim = Aim(paths, tuple(overlay or ()), allow_outside, pin_root, report_only)
        pace = Pace(interval=interval, poll=poll, settle=settle)
        Watcher(aim, pace, console.log, passed, Notifier()).run()
        return 0

    return guarded(console, work)


def _metrics(listen: str | None, file: Path | None) -> Metrics | None:
    """The metrics that were asked for, already served; None where none were."""
    if listen is None and file is None:
        return None
    from provisioner.watch.metrics import LOOPBACK, Metrics

    found = Metrics()
    if file is not None:
        found.write(file)  # a path that cannot be is told at once
    if listen is not None:
        address, _, port = listen.rpartition(":")
        if not port.isdecimal():
            raise typer.BadParameter(f"`{listen}` is no port, and no ADDRESS:PORT", param_hint="--metrics")
        found.serve(address.strip("[]") or LOOPBACK, int(port))
    return found
