"""The UDP backends of the demo and their client: `udp.py serve ADDRESS PORT...`, `udp.py ask FROM ADDRESS PORT`."""

from __future__ import annotations

import selectors
import socket
import sys

ANSWER_SECONDS = 10.0


def serve(address: str, ports: list[int]) -> None:
    """Answer every datagram with the address and port of the backend. Print `ready` when all are open."""
    selector = selectors.DefaultSelector()
    for port in ports:
        backend = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        backend.bind((address, port))
        selector.register(backend, selectors.EVENT_READ, f"{address}:{port}")
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if isinstance(key.fileobj, socket.socket):
                _, client = key.fileobj.recvfrom(2048)
                key.fileobj.sendto(key.data.encode(), client)


def ask(source: str, address: str, port: int) -> int:
    """Send one datagram and print the backend that answers. The exit status is 1 without an answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((source, 0))
        client.settimeout(ANSWER_SECONDS)
        client.sendto(b"who are you?", (address, port))
        try:
            answer, _ = client.recvfrom(2048)
        except TimeoutError:
            print(f"no answer from {address}:{port}")
            return 1
    print(f"{address}:{port} is answered by {answer.decode()}")
    return 0


def main() -> int:
    match sys.argv[1:]:
        case ["serve", address, *ports]:
            serve(address, [int(port) for port in ports])
        case ["ask", source, address, port]:
            return ask(source, address, int(port))
        case _:
            print(__doc__, file=sys.stderr)
    return 64


if __name__ == "__main__":
    sys.exit(main())
