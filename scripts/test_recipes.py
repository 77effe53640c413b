"""Run the recipes of docs/gitops.md with Salt and Puppet: a dry run, a run, a second run, and an invalid spec.

Run it as root: `scripts/test_recipes.py SALT`. It uses its own mount namespace, bpffs and /etc/provisioner. SALT is a
virtual environment with Salt. Puppet is the package puppet-agent of Debian.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
GUIDE: Final = ROOT / "docs" / "gitops.md"
SPECS: Final = Path("/etc/provisioner")
BPFFS: Final = Path("/sys/fs/bpf")
OWN: Final = "PROVISIONER_RECIPES"
"""The environment variable of the process that is already in the namespace."""

SPEC: Final = """\
version: 1
name: edge
maps: {active: {type: array, key: u32, value: u32, max_entries: 1, entries: {0: 1}}}
"""
INVALID: Final = SPEC.replace("0: 1}", "0: one}")


def main() -> int:
    """Run each tool. The exit status is 1 if one of them does not do what the guide says."""
    if len(sys.argv) != 2:
        print("usage: test_recipes.py SALT")
        return 64
    if OWN not in os.environ:
        inside = ["unshare", "--mount", sys.executable, __file__, *sys.argv[1:]]
        return subprocess.run(inside, env=os.environ | {OWN: "1"}, check=False).returncode
    with tempfile.TemporaryDirectory(prefix="recipes-") as name:
        work = Path(name)
        _prepare(work)
        salt, puppet = _salt(work, Path(sys.argv[1])), _puppet(work)
        # In a dry run, neither tool reports pending changes by its exit status.
        wrong = [
            *_try("salt", work, [*salt, "test=True"], salt, ran=0, idle=0),
            *_try("puppet", work, [*puppet, "--noop"], puppet, ran=2, idle=0),
        ]
    print("\n".join(wrong) or "Salt and Puppet do as the guide says")
    return int(bool(wrong))


def _prepare(work: Path) -> None:
    """Create, in this namespace only: a bpffs, an empty /etc/provisioner, the command where the recipes expect it."""
    for folder in ("etc", "bin", "salt", "conf"):
        (work / folder).mkdir()
    SPECS.mkdir(exist_ok=True)
    (work / "bin/provisioner").symlink_to(Path(sys.executable).parent / "provisioner")
    for command in (
        ("mount", "-t", "bpf", "bpf", str(BPFFS)),
        ("mount", "--bind", str(work / "etc"), str(SPECS)),
        ("mount", "--bind", str(work / "bin"), "/usr/local/bin"),
    ):
        subprocess.run(command, check=True)


def _recipe(tool: str) -> str:
    match = re.search(rf"^```\w+\n# {tool}\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert match is not None, f"the guide has no recipe for {tool}"
    return match[1]


def _salt(work: Path, venv: Path) -> list[str]:
    file = f"{SPECS}/edge.yaml:\n  file.managed: [{{source: 'salt://edge.yaml'}}]\n"
    (work / "salt/edge.sls").write_text(file + _recipe("Salt"))
    (work / "conf/minion").write_text(f"root_dir: {work}/salt-root\nfile_client: local\n")
    options = [f"--config-dir={work}/conf", f"--file-root={work}/salt", "--log-level=error", "--retcode-passthrough"]
    return [str(venv / "bin/salt-call"), "--local", *options, "state.apply", "edge"]


def _puppet(work: Path) -> list[str]:
    file = f"file {{ '{SPECS}/edge.yaml': source => '{work}/salt/edge.yaml' }}\n"
    (work / "site.pp").write_text(file + _recipe("Puppet"))
    folders = [word for name in ("conf", "var", "log", "run") for word in (f"--{name}dir", str(work / "puppet" / name))]
    return ["puppet", "apply", "--detailed-exitcodes", *folders, str(work / "site.pp")]


def _try(tool: str, work: Path, dry: list[str], run: list[str], *, ran: int, idle: int) -> list[str]:
    """The problems. `ran` and `idle` are the exit statuses of a run with changes and of one without."""
    source, wrong = work / "salt/edge.yaml", []
    source.write_text(SPEC)
    for name, command, status, live in (
        ("dry run", dry, 0, False),
        ("first run", run, ran, True),
        ("second run", run, idle, True),
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if (done.returncode, (BPFFS / "edge/active").exists()) != (status, live):
            wrong.append(f"{tool}, {name}: status {done.returncode}\n{done.stdout}{done.stderr}")
        if name == "second run" and "provisioner-edge" in done.stdout and "executed successfully" in done.stdout:
            wrong.append(f"{tool}, {name}: it applied again\n{done.stdout}")
    source.write_text(INVALID)
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    if done.returncode == 0 or "edge.yaml:3:" not in done.stdout:
        wrong.append(f"{tool}, invalid spec: status {done.returncode}\n{done.stdout}{done.stderr}")
    source.write_text(SPEC)
    shutil.copy(source, SPECS / "edge.yaml")
    subprocess.run(["provisioner", "destroy", "--yes", "--quiet", str(SPECS / "edge.yaml")], check=True)
    (SPECS / "edge.yaml").unlink()
    return wrong


if __name__ == "__main__":
    sys.exit(main())
