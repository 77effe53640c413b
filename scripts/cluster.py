"""A Kubernetes cluster of several nodes on this machine, in namespaces of its own.

Everything runs in one PID, mount and network namespace, so it ends with the first process of that. Each node has its
own mount, network and UTS namespace in it, with /run, /var/lib, /var/log and a bpffs of its own: a real kubelet,
containerd and runc. The nodes share the kernel, and so the ids of BPF objects and the cgroup hierarchies, in which
each node has a part.

All files are in memory, about 500 MB for each node, and end with the mount namespace. No sysctl of the machine
changes: what the kubelet asks for are files of this cluster (`SYSCTLS`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

GROUP: Final = "bpf-provisioner-cluster"
"""The cgroup of the cluster in each hierarchy."""

HIERARCHIES: Final = Path("/sys/fs/cgroup")
HEAD: Final = "192.0.2.1"
API: Final = f"https://{HEAD}:6443"

SYSCTLS: Final[Mapping[str, str]] = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What a kubelet with `protectKernelDefaults` requires."""

_TOKENS: Final[Mapping[str, str]] = {
    "admin": "system:masters",
    "manager": "system:masters",
    "scheduler": "system:masters",
}
_PATIENCE: Final = 600.0
"""Seconds until a part of the cluster must be ready: the machine may be busy."""

Document = dict[str, Any]


class ClusterError(Exception):
    """A part of the cluster does not start, or a command fails."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What `scripts/build_cluster.sh` puts into the cache directory."""

    folder: Path

    def path(self, name: str) -> str:
        return str(self.folder / "bin" / name)

    @property
    def plugins(self) -> str:
        return str(self.folder / "cni")


@dataclass(slots=True)
class Node:
    """A node, by a process in its namespaces."""

    name: str
    address: str
    work: Path
    tools: Tools
    holder: subprocess.Popen[bytes]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def inside(self, *words: str) -> list[str]:
        """A command line that runs in the namespaces of the node."""
        return ["nsenter", f"--target={self.holder.pid}", "--mount", "--net", "--uts", "--", *words]

    def run(self, *words: str, check: bool = True) -> str:
        return run(self.inside(*words), check=check)

    def path(self, path: str) -> Path:
        """The path of a file of the node, outside its namespaces."""
        return Path(f"/proc/{self.holder.pid}/root{path}")

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words))

    def start(self, images: Sequence[Path]) -> None:
        """Start containerd, load the images, start the kubelet."""
        self._containerd()
        for image in images:
            self.run(self.tools.path("ctr"), "--namespace=k8s.io", "images", "import", str(image))
        self._kubelet()

    def stop(self) -> None:
        """End all processes of the node, as if its power failed. /run and the bpffs are gone, /var stays."""
        namespace = Path(f"/proc/{self.holder.pid}/ns/mnt").readlink()
        for hierarchy in hierarchies():
            for file in (hierarchy / GROUP / self.name).glob("**/cgroup.procs"):
                _kill(int(pid) for pid in file.read_text().split())
        _kill(pid for pid in _processes(namespace) if pid != self.holder.pid)
        for process in self.processes:
            process.wait()
        self.processes.clear()
        self.run("sh", "-ec", _FORGET)

    def _containerd(self) -> None:
        nets = self.work / "net.d"
        nets.mkdir(exist_ok=True)
        network = {"type": "ptp", "ipam": {"type": "host-local", "subnet": "198.51.100.0/24"}}
        described = {"cniVersion": "0.4.0", "name": "pods", "plugins": [network]}
        (nets / "10-pods.conflist").write_text(json.dumps(described))
        config = self.work / "containerd.toml"
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        config.write_text(
            "version = 2\n"
            f'[{cri}]\nsandbox_image = "localhost/pause:1"\nstream_server_port = "0"\nrestrict_oom_score_adj = true\n'
            f'[{cri}.cni]\nbin_dir = "{self.tools.plugins}"\nconf_dir = "{nets}"\n'
            f'[plugins."io.containerd.internal.v1.opt"]\npath = "{self.work}/opt"\n'
        )
        self._spawn("containerd", self.tools.path("containerd"), f"--config={config}")
        ask = self.inside(self.tools.path("ctr"), "version")
        until(f"containerd of {self.name}", lambda: succeeds(ask), self._dead)

    def _kubelet(self) -> None:
        config = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{GROUP}/{self.name}",
            "protectKernelDefaults": True,
            "makeIPTablesUtilChains": False,
            "failSwapOn": False,
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "1Mi"},
            "nodeStatusUpdateFrequency": "5s",
        }
        file = self.work / "kubelet.yaml"
        file.write_text(yaml.safe_dump(config))
        self._spawn(
            "kubelet",
            self.tools.path("kubelet"),
            f"--config={file}",
            f"--kubeconfig={self.work / 'kubelet.conf'}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.address}",
            "--container-runtime=remote",
            "--container-runtime-endpoint=unix:///run/containerd/containerd.sock",
            "--v=1",
        )

    def _spawn(self, name: str, *words: str) -> None:
        self.processes.append(spawn(self.work / f"{name}.log", self.inside(*words)))

    def _dead(self) -> str:
        return dead(self.processes)


_BEGIN: Final = """
mount --make-rshared /
for name in lib run log; do mkdir -p "$1/$name"; done
mount --bind "$1/lib" /var/lib
mount --bind "$1/log" /var/log
mount -t tmpfs -o mode=0755 tmpfs /run
while mountpoint --quiet /sys/fs/bpf; do umount /sys/fs/bpf; done
hostname "$2"
ip link set lo up
echo ready
exec sleep infinity
"""
"""A node: `sh -ec _BEGIN sh WORK NAME`. Mounts propagate as with systemd: pods receive them and pass them on."""


_FORGET: Final = """
for path in /run /sys/fs/bpf; do
    while mountpoint --quiet $path; do umount --recursive --lazy $path; done
done
mount -t tmpfs -o mode=0755 tmpfs /run
"""


@dataclass(slots=True)
class Cluster:
    """The control plane and the nodes. `images` are loaded on each node."""

    work: Path
    tools: Tools
    images: Sequence[Path]
    nodes: list[Node] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, count: int) -> None:
        """Start the control plane and `count` nodes, and wait until all are ready."""
        run(["mount", "-t", "tmpfs", "tmpfs", str(self.work)])
        for name, value in SYSCTLS.items():
            file = self.work / name.replace("/", ".")
            file.write_text(f"{value}\n")
            run(["mount", "--bind", str(file), f"/proc/sys/{name}"])
        run(["ip", "link", "set", "lo", "up"])
        run(["ip", "link", "add", "cluster", "type", "bridge"])
        run(["ip", "address", "add", f"{HEAD}/24", "dev", "cluster"])
        run(["ip", "link", "set", "cluster", "up"])
        self._control_plane()
        for _ in range(count):
            self.add_node()
        self.wait_for_nodes()

    def add_node(self) -> Node:
        """One more node; it is not ready yet."""
        number = len(self.nodes) + 1
        name, address = f"node-{number}", f"192.0.2.{10 + number}"
        work = self.work / name
        work.mkdir()
        begin = ["unshare", "--mount", "--net", "--uts", "sh", "-ec", _BEGIN, "sh", str(work), name]
        holder = subprocess.Popen(begin, stdout=subprocess.PIPE)
        assert holder.stdout is not None
        if holder.stdout.readline() != b"ready\n":
            raise ClusterError(f"{name} has no namespaces")
        peer = f"veth{number}"
        run(["ip", "link", "add", peer, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid)])
        run(["ip", "link", "set", peer, "master", "cluster", "up"])
        node = Node(name, address, work, self.tools, holder)
        node.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
        node.run("ip", "link", "set", "eth0", "up")
        node.run("ip", "route", "add", "default", "via", HEAD)
        for hierarchy in hierarchies():
            _create_group(hierarchy, f"{GROUP}/{name}")
        self.nodes.append(node)
        self._kubeconfig(name, work / "kubelet.conf")
        node.start(self.images)
        return node

    def wait_for_nodes(self) -> None:
        def ready() -> bool:
            items = self.get("nodes")["items"]
            return len(items) == len(self.nodes) and all(_condition(item, "Ready") for item in items)

        until("the nodes", ready, self._dead)

    def report(self) -> list[str]:
        """For a failure: the state of the pods, and the ends of the logs."""
        asked = (("get", "pods,daemonsets", "--all-namespaces", "--output=wide"), ("get", "events", "--all-namespaces"))
        logs = sorted(self.work.glob("**/*.log"))
        said = [self.kubectl(*words, check=False)[-4000:] for words in asked]
        return [*said, *(f"-- {log}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)]

    def kubectl(self, *words: str, check: bool = True, text: str | None = None) -> str:
        return run(self.words(*words), check=check, text=text)

    def words(self, *words: str) -> list[str]:
        """The command line of a kubectl."""
        return [self.tools.path("kubectl"), f"--kubeconfig={self.work / 'admin.conf'}", *words]

    def get(self, *words: str) -> Document:
        document: Document = json.loads(self.kubectl("get", "--output=json", *words))
        return document

    def _control_plane(self) -> None:
        data, keys = self.work / "etcd", self.work / "keys"
        keys.mkdir()
        key = keys / "accounts.key"
        run(["openssl", "genrsa", "-out", str(key), "2048"])
        names = [*_TOKENS, *(f"node-{number}" for number in range(1, 10))]
        rows = [f"{name},{_user(name)},{name},{_TOKENS.get(name, 'system:nodes')}" for name in names]
        (keys / "tokens.csv").write_text("".join(f"{row}\n" for row in rows))
        for name in _TOKENS:
            self._kubeconfig(name, self.work / f"{name}.conf")
        self._spawn("etcd", f"--data-dir={data}", "--log-level=warn", "--logger=zap")
        self._spawn(
            "kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            f"--bind-address={HEAD}",
            f"--advertise-address={HEAD}",
            "--service-cluster-ip-range=203.0.113.0/24",
            f"--cert-dir={keys}",
            f"--token-auth-file={keys / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--kubelet-preferred-address-types=InternalIP",
        )
        until("the API server", lambda: succeeds(self.words("get", "--raw=/readyz")), lambda: dead(self.processes))
        common = ["--leader-elect=false", "--bind-address=127.0.0.1", f"--cert-dir={keys}"]
        self._spawn(
            "kube-controller-manager",
            *common,
            f"--kubeconfig={self.work / 'manager.conf'}",
            f"--service-account-private-key-file={key}",
            f"--root-ca-file={keys / 'apiserver.crt'}",
            "--node-monitor-grace-period=5m",  # a node of a busy machine is late
        )
        self._spawn("kube-scheduler", *common, f"--kubeconfig={self.work / 'scheduler.conf'}")

    def _dead(self) -> str:
        return dead([*self.processes, *(process for node in self.nodes for process in node.processes)])

    def _kubeconfig(self, name: str, file: Path) -> None:
        described = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": API, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "it", "user": {"token": name}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }
        file.write_text(yaml.safe_dump(described))

    def _spawn(self, name: str, *words: str) -> None:
        self.processes.append(spawn(self.work / f"{name}.log", [self.tools.path(name), *words]))


def _user(name: str) -> str:
    return name if name in _TOKENS else f"system:node:{name}"


def _condition(item: Document, kind: str) -> bool:
    return any(each["type"] == kind and each["status"] == "True" for each in item["status"].get("conditions", ()))


def until(what: str, ready: Callable[[], bool], failure: Callable[[], str] = str, patience: float = _PATIENCE) -> float:
    """Wait; gives the seconds. `failure` says why it can never be ready, or nothing."""
    begin = time.monotonic()
    while not ready():
        if said := failure():
            raise ClusterError(said)
        if time.monotonic() - begin > patience:
            raise ClusterError(f"{what}: not after {patience:.0f} s")
        time.sleep(0.25)
    return time.monotonic() - begin


def run(words: Sequence[str], *, check: bool = True, text: str | None = None) -> str:
    """Standard output of a command; without `check`, both streams."""
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise ClusterError(f"{' '.join(words)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout if check else done.stdout + done.stderr


def succeeds(words: Sequence[str]) -> bool:
    return subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def spawn(log: Path, words: Sequence[str]) -> subprocess.Popen[bytes]:
    path = f"{Path(words[0]).parent if '/' in words[0] else _bin(words)}:{os.environ['PATH']}"
    with log.open("wb") as file:
        return subprocess.Popen(
            words, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=os.environ | {"PATH": path}
        )


def _bin(words: Sequence[str]) -> Path:
    """The directory of the command that nsenter runs: containerd looks for its shim and runc there."""
    return Path(words[words.index("--") + 1]).parent


def _processes(namespace: Path) -> Iterator[int]:
    """The processes in a mount namespace."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and (entry / "ns/mnt").readlink() == namespace:
                yield int(entry.name)
        except OSError:  # it has ended
            continue


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def dead(processes: Sequence[subprocess.Popen[bytes]]) -> str:
    """The command lines of those that have ended."""
    return "".join(f"it ended: {each.args!r}\n" for each in processes if each.poll() is not None)


# --- cgroups --------------------------------------------------------------------------------------------


def hierarchies() -> Iterator[Path]:
    """The mounted cgroup hierarchies: one of version 2, or one for each controller of version 1."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, path, kind, *_ = line.split()
        if kind in ("cgroup", "cgroup2") and Path(path).is_relative_to(HIERARCHIES):
            yield Path(path)


def _create_group(hierarchy: Path, name: str) -> None:
    """A cpuset of version 1 must name its CPUs and memory nodes before a process can enter it."""
    at = hierarchy
    for part in Path(name).parts:
        at /= part
        at.mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (at / file).exists() and not (at / file).read_text().strip():
                (at / file).write_text((at.parent / file).read_text())


def remove_groups() -> list[str]:
    """Remove the cgroups of the cluster. Gives those that are still there."""
    left = []
    for hierarchy in hierarchies():
        top = hierarchy / GROUP
        for folder, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(folder)
            except OSError as error:
                left.append(f"{folder}: {error.strerror}")
    return left
