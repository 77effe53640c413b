"""The command line with fewer capabilities, for real: by the fork server, or as an exec leaves root with them."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from tests import command
from tests.cli.support import Done, environment


def beginning(held: str) -> command.Beginning:
    """How a run begins that has no capability but those in `held`, as setpriv(1) spells them: `bpf,net_admin`."""
    # Before 5.11 what is locked in memory counts; only who has CAP_SYS_RESOURCE may raise that limit.
    limits = {"MEMLOCK": resource.RLIM_INFINITY}
    return command.Beginning(limits=limits, capabilities=tuple(filter(None, held.split(","))))


def without(held: str, *words: str | Path) -> Done:
    """Run `provisioner` with no other capability."""
    return Done(*command.run(words, "", environment(), beginning(held)))


def started_without(held: str, *words: str | Path) -> Done:
    """The same as a process of its own, which root's bounding set leaves with them."""
    done = subprocess.run(command_without(held, *words), input="", capture_output=True, text=True, env=environment())
    return Done(done.returncode, done.stdout, done.stderr)


def command_without(held: str, *words: str | Path) -> list[str]:
    """What to execute for that."""
    bounds = ",".join(["-all", *(f"+{name}" for name in held.split(",") if name)])
    unlimited = ["sh", "-c", 'ulimit -l unlimited 2>&-; exec "$@"', "sh"]
    return [*unlimited, "setpriv", f"--bounding-set={bounds}", sys.executable, "-m", "provisioner", *map(str, words)]


def as_nobody(*words: str | Path, text: str, group: int) -> Done:
    """Run `provisioner` as a real other user, in one group, with no capability; `text` is its standard input."""
    who = ["--reuid=65534", f"--regid={group}", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    started = ["setpriv", *who, sys.executable, "-m", "provisioner", *map(str, words)]
    done = subprocess.run(started, input=text, capture_output=True, text=True, env=environment())
    return Done(done.returncode, done.stdout, done.stderr)
