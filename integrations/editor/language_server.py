"""A client of yaml-language-server over its standard streams: as much of the protocol as a test needs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class LanguageServer:
    """A running server. Files are opened with their text; `diagnostics` waits for those of one file."""

    def __init__(self, command: Path, root: Path) -> None:
        self._process = subprocess.Popen(
            [str(command), "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._last = 0
        self._diagnostics: dict[str, list[Json]] = {}
        self.ask("initialize", {"processId": None, "rootUri": root.as_uri(), "capabilities": {}})
        self.tell("initialized", {})
        settings = {"yaml": {"validate": True, "hover": True, "completion": True, "schemaStore": {"enable": False}}}
        self.tell("workspace/didChangeConfiguration", {"settings": settings})

    def close(self) -> None:
        self.ask("shutdown", None)
        self.tell("exit", None)
        with self._process:  # closes its streams
            self._process.wait(timeout=20)

    def open(self, path: Path, text: str | None = None) -> str:
        uri = path.as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": path.read_text() if text is None else text}
        self.tell("textDocument/didOpen", {"textDocument": document})
        return uri

    def diagnostics(self, uri: str) -> list[Json]:
        while uri not in self._diagnostics:
            self._read()
        return self._diagnostics.pop(uri)

    def labels(self, uri: str, line: int, character: int) -> set[str]:
        """What is offered at a place, lines and characters from 0."""
        answer = self.ask("textDocument/completion", _at(uri, line, character))
        items = answer["items"] if isinstance(answer, dict) else answer or []
        return {item["label"] for item in items}

    def hover(self, uri: str, line: int, character: int) -> str:
        answer = self.ask("textDocument/hover", _at(uri, line, character))
        return str(answer["contents"]["value"]) if answer else ""

    def ask(self, method: str, parameters: Any) -> Any:
        self._last += 1
        number = self._last
        self._write({"id": number, "method": method, "params": parameters})
        while True:
            message = self._read()
            if message.get("id") == number and "method" not in message:
                return message.get("result")

    def tell(self, method: str, parameters: Any) -> None:
        self._write({"method": method, "params": parameters})

    def _write(self, message: Mapping[str, Any]) -> None:
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
        self._process.stdin.flush()

    def _read(self) -> Json:
        """The next message; requests of the server are answered with nothing, diagnostics are kept."""
        stream = self._process.stdout
        assert stream is not None
        length = 0
        while line := stream.readline().strip():
            name, _, value = line.partition(b": ")
            length = int(value) if name.lower() == b"content-length" else length
        if not length:
            raise EOFError("the language server ended")
        message: Json = json.loads(stream.read(length))
        if message.get("method") == "textDocument/publishDiagnostics":
            self._diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif "method" in message and "id" in message:
            empty = [None] * len(message["params"]["items"]) if "items" in (message.get("params") or {}) else None
            self._write({"id": message["id"], "result": empty})
        return message


def _at(uri: str, line: int, character: int) -> Json:
    return {"textDocument": {"uri": uri}, "position": {"line": line, "character": character}}
