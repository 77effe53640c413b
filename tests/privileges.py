"""The command line with fewer capabilities, for real: root's bounding set is what an exec leaves it with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cli.support import Done, environment


def without(held: str, *words: str | Path) -> Done:
    """Run `provisioner` with no capability but those in `held`, as setpriv(1) spells them: `bpf,net_admin`."""
    bounds = ",".join(["-all", *(f"+{name}" for name in held.split(",") if name)])
    command = ["setpriv", f"--bounding-set={bounds}", sys.executable, "-m", "provisioner", *map(str, words)]
    # Before 5.11 what is locked in memory counts; only who has CAP_SYS_RESOURCE may raise that limit.
    unlimited = ["sh", "-c", 'ulimit -l unlimited 2>&-; exec "$@"', "sh"]
    done = subprocess.run([*unlimited, *command], input="", capture_output=True, text=True, env=environment())
    return Done(done.returncode, done.stdout, done.stderr)


def as_nobody(*words: str | Path, text: str, group: int) -> Done:
    """Run `provisioner` as a real other user, in one group, with no capability; `text` is its standard input."""
    who = ["--reuid=65534", f"--regid={group}", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    command = ["setpriv", *who, sys.executable, "-m", "provisioner", *map(str, words)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment())
    return Done(done.returncode, done.stdout, done.stderr)
