"""A host that a real systemd boots as PID 1, in namespaces, with the programs of this machine and its own bpffs.

Its root is the root of this machine under an overlay in memory, so it changes no file of the machine. In
`/etc/systemd/system` there are only the units of the project. PID 1 cannot change the kernel outside its namespaces
(sysctl, modules, the clock, uevents): those files are read-only and those capabilities are dropped.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.integrations.hosts import FOLDER, Host
from tests.watch.conftest import until

ROOT: Final = Path(__file__).parents[2]

_BEGIN: Final = f"""
set -e
echo $$ > "$cgroup/cgroup.procs"
exec setpriv --pdeathsig=KILL unshare --mount --net --pid --ipc --uts --cgroup --fork --kill-child sh -ec '
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
cd "$folder"
mkdir upper work root
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" root
cd root
mount -t proc proc proc
mount --bind -o ro proc/sys proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t bpf bpf sys/fs/bpf
for name in dev etc/systemd/system media run srv tmp var/lib/systemd; do mount -t tmpfs tmpfs "$name"; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
for name in null zero full random urandom tty; do touch "dev/$name"; mount --bind "/dev/$name" "dev/$name"; done
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mkdir srv/checkout srv/python srv/packages
mount --bind -o ro "$checkout" srv/checkout
mount --bind -o ro "$python" srv/python
mount --bind -o ro "$packages" srv/packages
if [ -n "$bytecode" ]; then
    mkdir srv/bytecode
    mount --bind -o ro "$given/bytecode" srv/bytecode
    mount --bind -o ro "$bytecode$checkout" srv/bytecode/srv/checkout
    mount --bind -o ro "$bytecode$python" srv/bytecode/srv/python
    mount --bind -o ro "$bytecode$packages" srv/bytecode/srv/packages
fi
cp srv/checkout/integrations/systemd/* etc/systemd/system
for name in dbus.service dbus.socket systemd-logind.service; do ln -s /dev/null "etc/systemd/system/$name"; done
cp "$given/provisioner" usr/bin/provisioner
chmod 755 usr/bin/provisioner
mkdir -p etc/provisioner .{FOLDER}
cp -r "$given/etc/." etc
pivot_root . mnt
umount -l /mnt
exec setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-sys_boot,-syslog,-mknod env -i container=test \\
    PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=multi-user.target --log-target=journal
'
"""


_COMMAND: Final = f"""\
#!/bin/sh
export PYTHONPATH=/srv/checkout:/srv/packages LD_LIBRARY_PATH=/srv/python/lib
[ ! -d /srv/bytecode ] || export PYTHONPYCACHEPREFIX=/srv/bytecode
exec /srv/python/bin/python{sys.version_info[0]}.{sys.version_info[1]} -m provisioner "$@"
"""
"""The command in /usr/bin, as in a package. The units hide home directories, where a virtual environment may be.

Where the tests have the bytecode elsewhere than beside the source, so has the host: else each start compiles all.
"""


@contextmanager
def booted(name: str, folder: Path, etc: dict[str, str]) -> Iterator[Host]:
    """A host that runs as long as the context. `etc` are files in /etc by path, `folder` is its working directory."""
    given, cgroup = folder / "given", _hierarchy() / f"provisioner-{os.getpid()}-{name}"
    (folder / "root").mkdir()
    for path, text in {"provisioner": _COMMAND, "etc/provisioner/.keep": ""}.items():
        _write(given / path, text)
    for path, text in etc.items():
        _write(given / "etc" / path, text)
    mounted = {"checkout": str(ROOT), "python": sys.base_prefix, "packages": sysconfig.get_path("purelib")}
    bytecode = sys.pycache_prefix or ""
    if bytecode:
        for name, path in mounted.items():
            Path(bytecode + path).mkdir(parents=True, exist_ok=True)
            (given / "bytecode" / "srv" / name).mkdir(parents=True)
    variables = {
        "cgroup": str(cgroup),
        "folder": str(folder / "root"),
        "given": str(given),
        "bytecode": bytecode,
        **mounted,
    }
    cgroup.mkdir()
    with (folder / "boot.log").open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-c", _BEGIN], env=os.environ | variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield _up(name, process, folder / "boot.log")
    finally:
        process.kill()
        process.wait()
        until(lambda: _gone(cgroup), lambda: f"{cgroup} is still in use")


def _up(name: str, process: subprocess.Popen[bytes], log: Path) -> Host:
    """The host, when all jobs of its boot are done."""

    def look() -> Host | None:
        assert process.poll() is None, log.read_text()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if not children or Path(f"/proc/{children[0]}/comm").read_text() != "systemd\n":
            return None
        host = Host(name, int(children[0]))
        done = host.run("systemctl", "is-system-running", "--wait")
        return host if done.stdout.strip() in ("running", "degraded") else None

    return until(look, lambda: f"the host does not boot: {log.read_text()}")


def _gone(cgroup: Path) -> bool | None:
    """Remove a cgroup and all below it. None while it still has processes."""
    try:
        for folder, _, _ in os.walk(cgroup, topdown=False):
            os.rmdir(folder)
    except OSError:
        return None
    return True


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755 if path.name == "provisioner" and path.parent.name == "given" else 0o644)


def _hierarchy() -> Path:
    """The cgroup of this process in the cgroup2 hierarchy of this machine."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    mount = next(fields[1] for fields in mounts if fields[2] == "cgroup2")
    place = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    return Path(mount + place.removeprefix("0::"))
