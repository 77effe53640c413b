"""A page in headless Chromium: a second page frames it, asks it things, and tells what it heard."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

_PATIENCE_MS: Final = 20_000
"""Of virtual time, which passes as fast as there is nothing to do."""

_ASKER: Final = """\
<!doctype html><meta charset=utf-8><iframe src="{page}" {sandbox} width=1000 height=1000></iframe>
<script>
  addEventListener("load", async () => {{
    const page = document.querySelector("iframe").contentDocument;
    const wait = (ms) => new Promise((done) => setTimeout(done, ms));
    const shown = (what) => [...page.querySelectorAll(what)].filter((one) => one.checkVisibility());
    let answer;
    try {{ answer = await (async () => {{ {script} }})(); }} catch (error) {{ answer = String(error); }}
    document.body.append(Object.assign(document.createElement("output"), {{ textContent: JSON.stringify(answer) }}));
  }});
</script>
"""


def ask(page: str, script: str, folder: Path, *, scripts: bool = True) -> Any:
    """What `script` returns; it has `page` (the document), `shown(selector)` and `wait(ms)`.

    Without `scripts` those of the page are blocked, as by a server's policy.
    """
    (folder / "page.html").write_text(page)
    sandbox = "" if scripts else 'sandbox="allow-same-origin"'
    asker = folder / "asker.html"
    asker.write_text(_ASKER.format(page="page.html", sandbox=sandbox, script=script))
    dumped = chromium("--allow-file-access-from-files", "--dump-dom", asker.as_uri(), folder=folder)
    output = re.search(r"<output>(.*)</output>", dumped, re.DOTALL)
    assert output is not None, dumped
    return json.loads(html.unescape(output[1]))


def chromium(*words: str, folder: Path) -> str:
    """Run Chromium without a screen; it has no network in the tests' namespace."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += [f"--virtual-time-budget={_PATIENCE_MS}", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
