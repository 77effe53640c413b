"""The example control plane: lines of JSON from a socket become live entries, and each is answered."""

from __future__ import annotations

import importlib.util
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import provisioner
from tests.apply import live
from tests.conftest import remove_tree

EXAMPLE = Path(__file__).parents[2] / "examples" / "control_plane.py"


def example() -> Any:
    spec = importlib.util.spec_from_file_location("control_plane", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def address(kernel: Path, tmp_path: Path) -> Iterator[Path]:
    """The socket of a control plane that runs in a thread."""
    module, path = example(), tmp_path / "edge.sock"
    project = provisioner.load(module.SPEC, pin_root=str(kernel / "edge"))
    stop = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener, project.session() as session:
        listener.bind(str(path))
        listener.listen()
        session.apply()
        plane = module.ControlPlane(session, listener)
        thread = threading.Thread(target=plane.serve, args=(stop.is_set,))
        thread.start()
        yield path
        stop.set()
        thread.join()
        plane.close()
    remove_tree(kernel / "edge")


def send(address: Path, *lines: object) -> list[Any]:
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.connect(str(address))
        client.sendall(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as answers:
            return [json.loads(next(answers)) for _ in lines]


def prefix(length: int, *octets: int) -> bytes:
    return bytes([length, 0, 0, 0, *octets])


def test_lines_become_live_entries(address: Path, kernel: Path) -> None:
    assert (
        send(
            address,
            {"set": "tenants[42]", "value": {"10.0.0.0/8": "deny", "0.0.0.0/0": "allow"}},
            {"set": "tenants[43]", "value": {}},
        )
        == [{"ok": True}] * 2
    )
    answers = send(
        address,
        {"set": "tenants[42][10.0.0.0/8]", "value": "allow"},
        {"set": "tenants[42][10.0.0.0/80]", "value": "allow"},
        {"set": "tenants[42]"},
        {"delete": "tenants[43]"},
        {"put": "tenants[42]", "value": {"192.0.2.0/24": "deny"}},
    )
    assert [answer["ok"] for answer in answers] == [True, False, False, True, True]
    assert [answer["problems"][0]["id"] for answer in answers if not answer["ok"]] == ["out-of-range", "invalid-line"]
    assert live.outer(kernel / "edge" / "tenants") == {
        (42).to_bytes(4, "little"): {
            prefix(8, 10, 0, 0, 0): b"\1",
            prefix(0, 0, 0, 0, 0): b"\1",
            prefix(24, 192, 0, 2, 0): b"\0",
        }
    }
