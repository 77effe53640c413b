"""Roll out integrations/kubernetes on a Kubernetes cluster of three nodes: `test_cluster.py DIR [STEP...]`.

DIR is what `scripts/build_cluster.sh` has filled. It runs as root, and prints a Markdown table of what it did and saw.
The exit status is 1 if something was not as the pages say, or if something is left on the machine.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cluster
import yaml
from cluster import Cluster, ClusterError, Document, Node, Tools, until

PROJECT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from tests.integrations import kustomize  # noqa: E402

MANIFESTS: Final = PROJECT / "integrations" / "kubernetes"
COMPONENTS: Final = ("mount-bpffs", "node-values", "pod-monitor")
OWN: Final = "PROVISIONER_CLUSTER"
"""The environment variable of the process that is already in the namespaces."""

NODES: Final = 3
MAP: Final = "/sys/fs/bpf/edge/tenants"
POD: Final = ("--namespace=provisioner", "--selector=app.kubernetes.io/name=provisioner")
SETTLED: Final = 30.0
"""Seconds in which a rollout that has stopped must not go on."""

NET: Final = "08 00 00 00 0a 00 00 00"
ALL: Final = "00 00 00 00 00 00 00 00"
"""The keys of 10.0.0.0/8 and 0.0.0.0/0: the length of the prefix in the byte order of the host, then the address."""

SPEC: Final = """\
version: 1
name: edge
inner_templates:
  acl: {type: lpm_trie, key: cidr4, value: {enum: {deny: 0, allow: 1}, base: u8}, max_entries: 1024}
outer_maps:
  tenants:
    type: hash_of_maps
    key: u32
    max_entries: 4096
    inner: acl
    limits: {delete_percent: 0, at_least: 0}
    inner_maps:
      42: {entries: {10.0.0.0/8: deny, 0.0.0.0/0: allow}}
      44: {entries: {10.0.0.0/8: deny}}
"""
CHANGED: Final = SPEC.replace("10.0.0.0/8: deny, ", "10.0.0.0/8: allow, ")
INVALID: Final = CHANGED.replace("10.0.0.0/8: allow", "10.0.0.0/33: allow")
REFUSED: Final = CHANGED.replace("      44: {entries: {10.0.0.0/8: deny}}\n", "")
OF_NODE_1: Final = "outer_maps: {tenants: {inner_maps: {43: {entries: {10.0.0.0/8: allow}}}}}\n"

OTHER: Final[Document] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "other", "namespace": "default"},
    "spec": {
        "selector": {"matchLabels": {"app": "other"}},
        "template": {
            "metadata": {"labels": {"app": "other"}},
            "spec": {
                "automountServiceAccountToken": False,
                "hostNetwork": True,
                "nodeSelector": {"kubernetes.io/hostname": "node-2"},
                "containers": [{"name": "other", "image": "localhost/pause:1"}],
                "terminationGracePeriodSeconds": 0,
            },
        },
    },
}
"""A pod that a drain of node-2 evicts."""

Bytes = dict[int, dict[str, str]]
"""By slot: the bytes of each key and its value, as bpftool shows them."""


@dataclass(slots=True)
class Trial:
    """The steps, each with what was seen and its duration."""

    cluster: Cluster
    image: str
    rows: list[tuple[str, str, float]] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[list[str]]:
        """What the block adds to the list becomes a row of the table."""
        seen: list[str] = []
        print(f"== {title}", flush=True)
        begin = time.monotonic()
        yield seen
        self.rows.append((title, "; ".join(seen), time.monotonic() - begin))
        print(f"   {self.rows[-1][1]} ({self.rows[-1][2]:.0f} s)", flush=True)

    def table(self) -> str:
        lines = [f"| {title} | {seen} | {seconds:.0f} s |" for title, seen, seconds in self.rows]
        return "\n".join(["| step | seen | time |", "|---|---|---:|", *lines])

    # --- Kubernetes ---------------------------------------------------------------------------------------

    def apply(self, spec: str) -> None:
        """Render a kustomization with this spec, as a user's own, and apply it."""
        folder = self.cluster.work / "kustomization"
        (folder / "nodes").mkdir(parents=True, exist_ok=True)
        (folder / "edge.yaml").write_text(spec)
        (folder / "nodes" / "node-1.yaml").write_text(OF_NODE_1)
        to = os.path.relpath(MANIFESTS, folder)
        described = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "provisioner",
            "resources": [f"{to}/base"],
            "components": [f"{to}/components/{name}" for name in COMPONENTS],
            "configMapGenerator": [
                {"name": "provisioner-spec", "behavior": "replace", "files": ["edge.yaml"]},
                {"name": "provisioner-nodes", "files": ["nodes/node-1.yaml"]},
            ],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(described))
        # The kind belongs to the Prometheus operator. Its rest, ports and environment of the DaemonSet, is applied.
        documents = [each for each in rendered(folder, self.image) if each["kind"] != "PodMonitor"]
        # 1.20 does not know `appArmorProfile`, which it drops.
        words = ("apply", "--namespace=provisioner", "--validate=false", "--filename=-")
        self.cluster.kubectl(*words, text=yaml.safe_dump_all(documents))

    def daemonset(self) -> Document:
        return self.cluster.get("--namespace=provisioner", "daemonset", "provisioner")

    def pods(self) -> dict[str, Document]:
        """By node. A pod that is being replaced is not one of them."""
        items = self.cluster.get("pods", *POD)["items"]
        return {
            item["spec"]["nodeName"]: item
            for item in items
            if "deletionTimestamp" not in item["metadata"] and "nodeName" in item["spec"]
        }

    def finished(self, nodes: int = NODES) -> bool:
        described = self.daemonset()
        status, generation = described["status"], described["metadata"]["generation"]
        counts = [
            status.get(name, 0) for name in ("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable")
        ]
        return status.get("observedGeneration") == generation and counts == [nodes] * 3

    def roll_out(self, nodes: int = NODES) -> int:
        """Wait until the revision is on all nodes. Gives how many pods were unavailable at most."""
        worst = 0

        def done() -> bool:
            nonlocal worst
            worst = max(worst, self.daemonset()["status"].get("numberUnavailable", 0))
            return self.finished(nodes)

        until("the rollout", done)
        return worst

    # --- bytes on the nodes -------------------------------------------------------------------------------

    def bytes(self) -> dict[str, Bytes]:
        return {node.name: contents(node) for node in self.cluster.nodes}

    def maps(self) -> dict[str, int]:
        """The id of the outer map by node: it stays as long as the map."""
        shown = {node.name: node.json("bpftool", "--json", "map", "show", "pinned", MAP) for node in self.cluster.nodes}
        return {name: int(each["id"]) for name, each in shown.items()}


def contents(node: Node) -> Bytes:
    """What bpftool reads on a node; nothing if there is no map."""
    if not node.path(MAP).exists():
        return {}
    held: Bytes = {}
    for slot in node.json("bpftool", "--json", "map", "dump", "pinned", MAP):
        number, inner = (
            int.from_bytes(bytes(int(byte, 16) for byte in slot[side]), sys.byteorder) for side in ("key", "value")
        )
        entries = node.json("bpftool", "--json", "map", "dump", "id", str(inner))
        held[number] = {_hex(entry["key"]): _hex(entry["value"]) for entry in entries}
    return held


def _hex(column: list[str]) -> str:
    return " ".join(byte.removeprefix("0x") for byte in column)


def rendered(folder: Path, image: str) -> list[Document]:
    """The objects of a kustomization, by kubectl, or if it knows no components, by the kustomize of the tests."""
    done = None
    if shutil.which("kubectl"):
        done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    if done is not None and done.returncode == 0:
        documents = [each for each in yaml.safe_load_all(done.stdout) if each]
    else:
        documents = with_hashes(kustomize.build(folder))
    for document in documents:
        if document["kind"] == "DaemonSet":
            pod = document["spec"]["template"]["spec"]
            for container in (*pod.get("initContainers", ()), *pod["containers"]):
                container["image"] = image
    return documents


def with_hashes(documents: list[Document]) -> list[Document]:
    """Each ConfigMap gets a name with a hash of its contents, as kustomize names it, and so do the volumes."""
    names = {}
    for document in documents:
        if document["kind"] == "ConfigMap":
            digest = hashlib.sha256(json.dumps(document["data"], sort_keys=True).encode()).hexdigest()[:10]
            name = document["metadata"]["name"]
            document["metadata"]["name"] = names[name] = f"{name}-{digest}"
    for document in documents:
        if document["kind"] == "DaemonSet":
            for volume in document["spec"]["template"]["spec"]["volumes"]:
                if "configMap" in volume:
                    volume["configMap"]["name"] = names[volume["configMap"]["name"]]
    return documents


# --- the steps ------------------------------------------------------------------------------------------


def expected(verdict: str) -> dict[str, Bytes]:
    """The bytes on each node if 10.0.0.0/8 has this verdict in slot 42: node-1 has slot 43 by its overlay."""
    common: Bytes = {42: {NET: verdict, ALL: "01"}, 44: {NET: "00"}}
    return {f"node-{number}": common | ({43: {NET: "01"}} if number == 1 else {}) for number in range(1, NODES + 1)}


def first_rollout(trial: Trial) -> None:
    with trial.step("roll out, on nodes without a bpffs") as seen:
        for node in trial.cluster.nodes:
            check(not node.path("/sys/fs/bpf/edge").exists(), "a node has maps already")
        trial.apply(SPEC)
        trial.roll_out()
        check(trial.bytes() == expected("00"), trial.bytes())
        seen += [
            f"{NODES} of {NODES} nodes ready",
            "bpftool reads the bytes of the spec",
            "node-1 has the slot of its overlay",
        ]


def changed_revision(trial: Trial) -> None:
    with trial.step("change a value, roll out") as seen:
        before = trial.maps()
        trial.apply(CHANGED)
        worst = trial.roll_out()
        check(trial.bytes() == expected("01"), trial.bytes())
        check(trial.maps() == before, "a map was recreated")
        check(worst == 1, f"{worst} pods were unavailable")
        seen += ["the new bytes on all nodes", "the same maps (ids)", f"at most {worst} node without a ready pod"]


def stopped_revision(trial: Trial, title: str, spec: str, said: str) -> None:
    """A bad revision: it stops at one node, changes no byte, and an undo ends it."""
    with trial.step(title) as seen:
        before, pods = trial.bytes(), trial.pods()
        trial.apply(spec)

        def failed() -> bool:
            changed = [name for name, pod in trial.pods().items() if _uid(pod) != _uid(pods[name])]
            return len(changed) == 1 and _restarts(trial.pods()[changed[0]]) >= 1

        until("the pod of the first node to fail", failed)
        deadline = time.monotonic() + SETTLED
        while time.monotonic() < deadline:
            now = trial.pods()
            kept = [name for name in now if _uid(now[name]) == _uid(pods[name])]
            check(len(kept) == NODES - 1, f"the rollout went on: only {kept} have their pods")
            check(all(_ready(now[name]) for name in kept), f"a pod of the old revision is not ready: {kept}")
            time.sleep(2)
        (at,) = now.keys() - kept
        log = trial.cluster.kubectl("logs", "--namespace=provisioner", now[at]["metadata"]["name"])
        check(said in log, log)
        check(trial.bytes() == before, trial.bytes())
        asked = ("rollout", "status", "--namespace=provisioner", "daemonset/provisioner", "--timeout=1s")
        check("timed out" in trial.cluster.kubectl(*asked, check=False), "rollout status does not wait")
        trial.cluster.kubectl("rollout", "undo", "--namespace=provisioner", "daemonset/provisioner")
        trial.roll_out()
        check(trial.bytes() == before, trial.bytes())
        seen += [
            f"stops at the first node (`{said}`)",
            "no byte changes",
            f"{NODES - 1} pods stay",
            "`rollout undo` ends it",
        ]


def drain(trial: Trial) -> None:
    with trial.step("drain node-2, and uncordon it") as seen:
        trial.cluster.kubectl("apply", "--filename=-", text=yaml.safe_dump(OTHER))
        until("the other pod", lambda: _running(trial, "Running") == 1)
        before, pod = trial.bytes(), _uid(trial.pods()["node-2"])
        trial.cluster.kubectl("drain", "node-2", "--ignore-daemonsets", "--timeout=300s")
        check(_running(trial, "Running") == 0, "the other pod is still there")
        check(_uid(trial.pods()["node-2"]) == pod and _ready(trial.pods()["node-2"]), "the drain removed the pod")
        check(trial.bytes() == before, trial.bytes())
        trial.cluster.kubectl("uncordon", "node-2")
        trial.cluster.kubectl("delete", "deployment", "other")
        seen += ["another pod is evicted", "the provisioner and the maps stay"]


def repair(trial: Trial) -> None:
    with trial.step("change an entry with bpftool on node-3, delete a slot") as seen:
        node = trial.cluster.nodes[2]
        before = contents(node)
        for slot in node.json("bpftool", "--json", "map", "dump", "pinned", MAP):
            if slot["key"][0] == "0x2a":
                inner = int.from_bytes(bytes(int(byte, 16) for byte in slot["value"]), sys.byteorder)
        node.run("bpftool", "map", "update", "id", str(inner), "key", "hex", *NET.split(), "value", "hex", "00")
        node.run("bpftool", "map", "delete", "pinned", MAP, "key", "hex", "2c", "00", "00", "00")
        check(contents(node)[42][NET] == "00" and 44 not in contents(node), "bpftool changed nothing")
        seconds = until("the repair", lambda: contents(node) == before)
        seen += [f"repaired after {seconds:.0f} s (`--interval` is 60 s)"]


def replaced_pod(trial: Trial) -> None:
    with trial.step("delete the pod of node-1") as seen:
        before, maps = trial.bytes(), trial.maps()
        name = trial.pods()["node-1"]["metadata"]["name"]
        trial.cluster.kubectl("delete", "pod", "--namespace=provisioner", name)
        check(trial.bytes() == before and trial.maps() == maps, "the maps went with the pod")
        trial.roll_out()
        check(trial.bytes() == before and trial.maps() == maps, "the new pod changed something")
        seen += ["the maps live on without it", "its successor changes nothing"]


def power_failure(trial: Trial) -> None:
    with trial.step("node-2 loses its power, and starts again") as seen:
        node, before = trial.cluster.nodes[1], trial.bytes()
        node.stop()
        check(contents(node) == {}, "the maps are still there")
        node.start(())
        until("the maps", lambda: contents(node) == before[node.name])
        trial.roll_out()
        check(trial.bytes() == before, trial.bytes())
        seen += ["its pod starts again and creates the maps again"]


def new_node(trial: Trial) -> None:
    with trial.step("add node-4") as seen:
        node = trial.cluster.add_node()
        trial.cluster.wait_for_nodes()
        trial.roll_out(NODES + 1)
        check(contents(node) == expected("01")["node-2"], contents(node))
        seen += ["it gets a pod and the maps by itself"]


def delete(trial: Trial) -> None:
    with trial.step("delete the DaemonSet, destroy on each node") as seen:
        before = trial.bytes()
        trial.cluster.kubectl("delete", "namespace", "provisioner", "--timeout=300s")
        check(trial.bytes() == before, trial.bytes())
        spec = trial.cluster.work / "edge.yaml"
        for node in trial.cluster.nodes:
            spec.write_text(CHANGED)
            provisioner = str(Path(sys.executable).parent / "provisioner")
            node.run(provisioner, "destroy", "--yes", "--quiet", str(spec))
            check(not node.path("/sys/fs/bpf/edge").exists(), f"{node.name} still has pins")
        seen += ["the maps stay until `provisioner destroy`", "then no pin is left"]


def _uid(pod: Document) -> str:
    return str(pod["metadata"]["uid"])


def _ready(pod: Document) -> bool:
    return all(each["ready"] for each in pod["status"].get("containerStatuses", [{"ready": False}]))


def _restarts(pod: Document) -> int:
    return sum(each["restartCount"] for each in pod["status"].get("containerStatuses", ()))


def _running(trial: Trial, phase: str) -> int:
    items = trial.cluster.get("--namespace=default", "pods")["items"]
    return sum(item["status"]["phase"] == phase and "deletionTimestamp" not in item["metadata"] for item in items)


def check(holds: bool, why: Any) -> None:
    if not holds:
        raise ClusterError(str(why))


STEPS: Final[Mapping[str, Callable[[Trial], None]]] = {
    "first": first_rollout,
    "change": changed_revision,
    "invalid": lambda trial: stopped_revision(trial, "break the spec, roll out", INVALID, "edge.yaml:13:"),
    "refused": lambda trial: stopped_revision(trial, "a change that a rule refuses", REFUSED, "--approve-deletes"),
    "drain": drain,
    "drift": repair,
    "pod": replaced_pod,
    "power": power_failure,
    "node": new_node,
    "delete": delete,
}


# --- namespaces, and what must not be left ------------------------------------------------------------------


def main() -> int:
    steps = sys.argv[2:] or list(STEPS)
    if len(sys.argv) < 2 or not STEPS.keys() >= set(steps):
        print(f"usage: test_cluster.py DIR [STEP...]\nsteps: {' '.join(STEPS)}")
        return 64
    folder = Path(sys.argv[1]).resolve()
    if OWN in os.environ:
        return _inside(folder, steps)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another test runs on this machine")
            return 1
        before = _sysctls()
        _remove(folder)
        inside = [
            "unshare",
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--propagation=private",
        ]
        command = [*inside, sys.executable, __file__, str(folder), *steps]
        process = subprocess.Popen(command, env=os.environ | {OWN: "1"}, preexec_fn=_end_with_parent)
        try:
            status = process.wait()
        finally:
            process.kill()
            process.wait()
            left = _remove(folder)
    changed = [f"the sysctl {name} has changed" for name, value in _sysctls().items() if before[name] != value]
    print("\n".join(left + changed) or "nothing is left")
    return int(bool(status or left or changed))


def _end_with_parent() -> None:
    """SIGKILL of this process ends the cluster too (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _inside(folder: Path, steps: Sequence[str]) -> int:
    work = folder / "run"
    work.mkdir()
    image = (folder / "image").read_text().strip()
    archive = folder / "images" / f"provisioner-{image.partition(':')[2]}.tar"
    begin = time.monotonic()
    held = Cluster(work, Tools(folder), [folder / "images" / "pause.tar", archive])
    trial = Trial(held, image)
    try:
        held.start(NODES)
        trial.rows.append((f"start a control plane and {NODES} nodes", "all nodes ready", time.monotonic() - begin))
        for name in steps:
            STEPS[name](trial)
    except ClusterError as error:
        print(f"\nFAILED: {error}\n", *held.report(), sep="\n")
        return 1
    finally:
        print(f"\n{trial.table()}\n", flush=True)
    return 0


def _sysctls() -> dict[str, str]:
    return {name: Path("/proc/sys", name).read_text().strip() for name in (*cluster.SYSCTLS, "net/ipv4/ip_forward")}


def _remove(folder: Path) -> list[str]:
    """Remove cgroups and files, also those of a test that was killed. Gives what is left."""
    deadline = time.monotonic() + 20
    while (left := cluster.remove_groups()) and time.monotonic() < deadline:
        time.sleep(0.2)  # the processes of the namespace are ending
    work = folder / "run"
    if work.exists():
        work.rmdir()  # its files were in the namespace
    return left


if __name__ == "__main__":
    sys.exit(main())
