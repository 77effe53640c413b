"""How long a browser takes for the page of a plan of many inner maps, by its own clock.

`.venv/bin/python -m benchmarks.html_page [INNER_MAPS [ENTRIES [OUTER_MAPS]]]` needs Chromium, and no kernel.
"""

from __future__ import annotations

import html as html_text
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from provisioner.report import html
from provisioner.report.model import ALL
from provisioner.views import plan_report
from tests.report import support

_FRAME: Final = """\
<!doctype html><meta charset=utf-8><script>
  const begin = performance.now();
  const measure = (frame) => {
    const page = frame.contentDocument, loaded = performance.now() - begin;
    page.body.getBoundingClientRect();
    const shown = performance.now() - begin, elements = page.querySelectorAll("*").length;
    frame.contentWindow.setTimeout = (search, delay, ...words) => search(...words);
    const box = page.getElementById("find"), searched = performance.now();
    box.value = "tenants0[9][10.0.0.1]";
    box.dispatchEvent(new Event("input"));
    const row = page.querySelector(`[data-address="${box.value}"]`);
    const result = {loaded, shown, elements, visible: row.checkVisibility(), found: performance.now() - searched};
    document.body.append(Object.assign(document.createElement("output"), {textContent: JSON.stringify(result)}));
  };
</script><iframe src=page.html width=1200 height=900 onload=measure(this)></iframe>
"""
"""A page that frames the other one: when that is loaded and laid out, and how long its first search takes, in ms."""


def page(inner_maps: int, entries: int, outer_maps: int, folder: Path) -> str:
    """The whole page of a plan that creates the maps."""
    filled = ", ".join(f"10.0.0.{number}: {number}" for number in range(1, entries + 1))
    maps = "\n".join(
        f"  tenants{number}: {{type: hash_of_maps, key: u32, max_entries: {inner_maps}, inner: rules, "
        f"inner_maps: {{0..{inner_maps // outer_maps - 1}: {{entries: {{{filled}}}}}}}}}"
        for number in range(outer_maps)
    )
    template = f"{{type: hash, key: ipv4, value: u64, max_entries: {entries + 1}}}"
    spec = folder / "spec.yaml"
    spec.write_text(f"version: 1\nname: page\ninner_templates: {{rules: {template}}}\nouter_maps:\n{maps}\n")
    report = plan_report.report(support.plan(None, support.load(spec)), ALL)
    return "".join(html.render(report, lines=None))


def main(inner_maps: int = 10_000, entries: int = 5, outer_maps: int = 1) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begin = time.monotonic()
        text = page(inner_maps, entries, outer_maps, folder)
        made = time.monotonic() - begin
        (folder / "page.html").write_text(text)
        (folder / "frame.html").write_text(_FRAME)
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
        command += ["--allow-file-access-from-files", "--dump-dom", (folder / "frame.html").as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        output = re.search(r"<output>(.*)</output>", done.stdout)
        assert output is not None, done.stdout
        result = json.loads(html_text.unescape(output[1]))
    print(f"{inner_maps:,} inner maps of {entries} entries in {outer_maps} outer maps")
    print(f"{len(text) / 1e6:.1f} MB, written in {made:.1f} s")
    print(f"loaded after {result['loaded'] / 1000:.2f} s, laid out after {result['shown'] / 1000:.2f} s")
    print(f"{result['elements']:,} elements; first search: {result['found'] / 1000:.2f} s, found: {result['visible']}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
