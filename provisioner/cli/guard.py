"""The one place that turns errors into messages and exit statuses."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Final

import typer

from provisioner.cli import statuses
from provisioner.cli.console import Console
from provisioner.cli.streams import OutputError
from provisioner.model.errors import Problem, ProvisionerError, unexpected

USAGE_ERROR: Final[type[Exception]] = typer.BadParameter.__bases__[0]
"""typer has no public name for it."""


def guarded(console: Console, work: Callable[[], int]) -> int:
    """Run a verb; every error except a usage error ends here, as a message and an exit status."""
    try:
        status = work()
        sys.stdout.flush()
    except OutputError as error:
        console.fail_output(error)
        return error.exit_code
    except ProvisionerError as error:
        console.fail(error)
        if console.verbose and any(problem.id == "bug" for problem in error.problems):
            traceback.print_exc()
        return error.exit_code
    except KeyboardInterrupt:
        console.fail(ProvisionerError(Problem("interrupted", id="interrupted")))
        return statuses.INTERRUPTED
    except (USAGE_ERROR, typer.Exit):
        raise
    except Exception as error:
        end = unexpected(error)
        console.fail(end)
        if console.verbose:
            traceback.print_exc()
        return end.exit_code
    return status
