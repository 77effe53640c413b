"""Run a command in a virtual machine: another kernel with the user space of this host.

The root of the guest is the root of the host, read-only, through virtiofs. The directory of the project is writable at
its own path, so the guest uses the virtual environment of the host. `/tmp` and other writable directories are in
memory. Three serial ports carry the console, the output of the command, and its exit status.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from kernel_packages import Kernel

MODULES: Final = ("virtio_pci", "virtiofs", "veth", "dummy", "sch_ingress", "cls_bpf", "cls_u32")
CPUS: Final = 2
MEMORY: Final = "1G"

PROGRAMS: Final = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "virtiofsd": "virtiofsd, or qemu-system-common before Debian 13",
}
"""What runs a guest, and the Debian package of each."""

_VIRTIOFSD: Final = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")
_KVM_SECONDS: Final = 3.0
_BOOTS: Final = 3
_BOOT_SECONDS: Final = 180.0
_BEGUN: Final = "begun"

_INIT: Final = """\
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /host
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do
    [ ! -e "$module" ] || insmod "$module"
done
mount -t virtiofs -o ro root /host || poweroff -f
for folder in /host/tmp /host/run /host/var/tmp; do
    mount -t tmpfs tmpfs "$folder"
done
chmod 1777 /host/tmp /host/var/tmp
mkdir -p "/host$project"
mount -t virtiofs project "/host$project" || poweroff -f
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo +memory > /sys/fs/cgroup/cgroup.subtree_control
mount -t tracefs tracefs /sys/kernel/tracing
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
ln -sf /proc/self/fd /dev/fd
for folder in proc sys dev; do
    mount --move "/$folder" "/host/$folder"
done
mount -t tmpfs tmpfs /host/boot
[ ! -e /config ] || cp /config "/host/boot/config-$(uname -r)"
ip link set lo up
echo 1 > /host/sys/kernel/rcu_expedited
date -s "@$now" > /host/dev/null
echo begun > /host/dev/ttyS2
chroot /host /bin/sh -c "$command" < /host/dev/null > /host/dev/ttyS1 2>&1
echo "status $?" > /host/dev/ttyS2
poweroff -f
"""


class GuestError(Exception):
    """The guest gave no exit status. The message has the last lines of the console."""


@dataclass(frozen=True, slots=True)
class Done:
    """The exit status of a command in the guest, and the seconds until it was there."""

    status: int
    seconds: float


def run(
    kernel: Kernel, project: Path, command: str, *, timeout: float, say: Callable[[bytes], object] | None = None
) -> Done:
    """Run `command` in a shell in `project`, under `kernel`. `say` gets the output as it is written.

    A guest that ends or hangs before the command starts is booted again, because QEMU 7.2 loses some kernels early in
    their boot. Raises GuestError.
    """
    if say is None:
        say = sys.stdout.buffer.write
    console = ""
    for _ in range(_BOOTS):
        with tempfile.TemporaryDirectory(prefix="guest-") as name:
            folder = Path(name)
            started = time.monotonic()
            _boot(kernel, project, command, folder, timeout, say)
            report = (folder / "status").read_text().split()
            if report[:1] == [_BEGUN]:
                if len(report) == 3:
                    return Done(int(report[2]), time.monotonic() - started)
                raise GuestError(f"the command did not end: guest died, or {timeout:.0f} s passed\n{_tail(folder)}")
            console = _tail(folder)
    raise GuestError(f"the guest of {kernel.release} does not boot\n{console}")


def missing() -> list[str]:
    """The programs of PROGRAMS that this host does not have."""
    return [name for name in PROGRAMS if _program(name) is None]


def _program(name: str) -> str | None:
    known = (path for path in _VIRTIOFSD if name == "virtiofsd" and Path(path).exists())
    return next(known, None) or shutil.which(name)


def _required(name: str) -> str:
    path = _program(name)
    if path is None:
        raise GuestError(f"{name} is missing: install {PROGRAMS[name]}")
    return path


def _tail(folder: Path) -> str:
    """The last lines of the log of the machine and of its console."""
    lines = [
        line for name in ("log", "console") for line in (folder / name).read_text(errors="replace").splitlines()[-25:]
    ]
    return "\n".join(lines)


def _boot(
    kernel: Kernel, project: Path, command: str, folder: Path, timeout: float, say: Callable[[bytes], object]
) -> None:
    _initramfs(kernel, project, command, folder)
    for port in ("console", "output", "status", "log"):
        (folder / port).touch()
    with ExitStack() as stack:
        for share, source, cached in (("root", Path("/"), "always"), ("project", project, "auto")):
            stack.enter_context(_virtiofsd(folder / f"{share}.sock", source, cached))
        machine = stack.enter_context(_process(_qemu(kernel, folder), folder / "log"))
        output = stack.enter_context((folder / "output").open("rb"))
        started, status = time.monotonic(), folder / "status"
        while machine.poll() is None and time.monotonic() < started + timeout:
            time.sleep(0.1)
            _pass_on(output.read(), say)
            if time.monotonic() > started + _BOOT_SECONDS and not status.stat().st_size:
                break
        machine.kill()
        machine.wait()
        _pass_on(output.read(), say)


def _pass_on(data: bytes, say: Callable[[bytes], object]) -> None:
    if data:
        say(data.replace(b"\r\n", b"\n"))
        sys.stdout.flush()


def _qemu(kernel: Kernel, folder: Path) -> list[str]:
    ports = [word for port in ("console", "output", "status") for word in ("-serial", f"file:{folder / port}")]
    shares = [
        word
        for share in ("root", "project")
        for word in (
            "-chardev",
            f"socket,id={share},path={folder / share}.sock",
            "-device",
            f"vhost-user-fs-pci,chardev={share},tag={share}",
        )
    ]
    return [
        _required("qemu-system-x86_64"),
        *("-machine", "q35,memory-backend=memory", "-smp", str(CPUS), "-m", MEMORY),
        *("-object", f"memory-backend-memfd,id=memory,size={MEMORY},share=on"),
        *_accelerator(kernel),
        *("-nodefaults", "-no-user-config", "-nographic", "-no-reboot"),
        *ports,
        *shares,
        *("-kernel", str(kernel.image), "-initrd", str(folder / "initramfs")),
        *(
            "-append",
            f"console=ttyS0 panic=-1 quiet mitigations=off random.trust_cpu=on lsm=bpf{_without_cx16(kernel)}",
        ),
    ]


def _accelerator(kernel: Kernel) -> list[str]:
    return ["-accel", "kvm", "-cpu", "host"] if _kvm_works(kernel.image) else ["-accel", "tcg", "-cpu", "max"]


def _without_cx16(kernel: Kernel) -> str:
    """Older slab allocators fail with the cmpxchg16b of TCG. Newer kernels need it for a timer in a map."""
    return " clearcpuid=141" if int(kernel.release.partition(".")[0]) < 7 else ""


@cache
def _kvm_works(image: Path) -> bool:
    """Whether a kernel without a root reaches its panic. On nested machines /dev/kvm may exist and run nothing."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    command = [
        *("qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-machine", "q35", "-m", "512", "-smp", str(CPUS)),
        *("-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio", "-kernel", str(image)),
        *("-append", "console=ttyS0 panic=-1"),
    ]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_KVM_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return b"Kernel panic" in done.stdout


@contextmanager
def _virtiofsd(socket: Path, source: Path, cached: str) -> Iterator[None]:
    """Share a directory. The daemon ends with the guest. Both versions of virtiofsd have these options."""
    command = [
        _required("virtiofsd"),
        f"--socket-path={socket}",
        "-o",
        f"source={source},cache={cached},sandbox=chroot",
    ]
    with _process(command, socket.with_name("log")) as daemon:
        while not socket.exists():
            if daemon.poll() is not None:
                raise GuestError(f"virtiofsd failed with exit status {daemon.returncode}: run as root")
            time.sleep(0.02)
        yield


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as stream:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _initramfs(kernel: Kernel, project: Path, command: str, folder: Path) -> None:
    """busybox, the modules in the order of loading, and an init that runs the command."""
    tree = folder / "initramfs.d"
    (tree / "bin").mkdir(parents=True)
    (tree / "modules").mkdir()
    shutil.copy(_required("busybox"), tree / "bin/busybox")
    if kernel.config is not None:
        shutil.copy(kernel.config, tree / "config")
    for number, (name, content) in enumerate(kernel.module_files(MODULES)):
        (tree / "modules" / f"{number:02}-{name}.ko").write_bytes(content)
    settings = {"project": str(project), "command": f"cd {shlex.quote(str(project))} && {command}"}
    lines = [f"{key}={shlex.quote(value)}\n" for key, value in settings.items()]
    head, rest = _INIT.split("\n", 1)
    (tree / "init").write_text(f"{head}\n{''.join(lines)}now={int(time.time())}\n{rest}")
    (tree / "init").chmod(0o755)
    archive = ["sh", "-c", "find . | busybox cpio -o -H newc"]
    done = subprocess.run(archive, cwd=tree, check=True, capture_output=True)
    (folder / "initramfs").write_bytes(done.stdout)
