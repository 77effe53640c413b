"""What a watch costs that has nothing to do: CPU, memory, and system calls per minute.

`python -m benchmarks.idle [SECONDS]`, as root, under `unshare -m`: it mounts its own bpffs. strace counts the
calls of one run; CPU and memory are those of another run, without strace.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_SPEC = """\
version: 1
name: idle
inner_templates:
  rules: {type: hash, key: u32, value: u32, max_entries: 64}
outer_maps:
  tenants:
    type: hash_of_maps
    key: u32
    max_entries: 4096
    inner: rules
    inner_maps:
"""
_SLOTS, _ENTRIES = 100, 10
_TICKS = os.sysconf("SC_CLK_TCK")


def started(spec: Path, root: Path, *options: str) -> subprocess.Popen[str]:
    """A watch that has made its first pass."""
    command = [sys.executable, "-m", "provisioner", "watch", str(spec), "--pin-root", str(root), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until_applied(process)
    return process


def until_applied(process: subprocess.Popen[str]) -> None:
    """Wait for the end of a pass."""
    assert process.stderr is not None
    for line in process.stderr:
        if "applied" in line.split(": ")[0] or "matches the spec" in line:
            return
    raise SystemExit("the watch ended")


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _untraced(spec: Path, root: Path, seconds: float, *options: str) -> tuple[float, float]:
    """Milliseconds of CPU per minute, and MiB resident."""
    process = started(spec, root, *options)
    before = cpu_of(process.pid)
    time.sleep(seconds)
    used = cpu_of(process.pid) - before
    resident = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert resident is not None
    process.terminate()
    process.communicate()
    return used * 1000 * 60 / seconds, int(resident[1]) / 1024


def _traced(spec: Path, root: Path, seconds: float) -> float:
    """System calls per minute."""
    process = started(spec, root)
    with tempfile.NamedTemporaryFile("r") as counts:
        strace = subprocess.Popen(["strace", "-qq", "-f", "-c", "-o", counts.name, "-p", str(process.pid)])
        time.sleep(seconds)
        strace.send_signal(signal.SIGINT)
        strace.wait()
        total = next(line for line in counts if line.rstrip().endswith("total"))
    process.terminate()
    process.communicate()
    return int(total.split()[3]) * 60 / seconds


def main() -> None:
    """Measure, and print."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 120
    with tempfile.TemporaryDirectory() as folder:
        mount, spec = Path(folder) / "bpf", Path(folder) / "idle.yaml"
        mount.mkdir()
        subprocess.run(["mount", "-t", "bpf", "bpf", mount], check=True)
        try:
            entries = ", ".join(f"{key}: {key}" for key in range(_ENTRIES))
            spec.write_text(_SPEC + "".join(f"      {slot}: {{entries: {{{entries}}}}}\n" for slot in range(_SLOTS)))
            root = mount / "idle"
            print(f"{_SLOTS} inner maps of {_ENTRIES} entries, {seconds:g} s each")
            for name, options in (("watch", ()), ("watch --metrics-file", ("--metrics-file", f"{folder}/idle.prom"))):
                cpu, resident = _untraced(spec, root, seconds, *options)
                print(f"{name:22} {cpu:6.0f} ms of CPU a minute, {resident:5.0f} MiB resident")
            print(f"{'watch, traced':22} {_traced(spec, root, seconds):6.0f} system calls a minute")
        finally:
            subprocess.run(["umount", mount], check=True)


if __name__ == "__main__":
    main()
