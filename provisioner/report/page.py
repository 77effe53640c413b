"""How a page looks, and its one convenience: text that is the same in every page."""

from __future__ import annotations

from typing import Final

STYLE: Final = """\
:root { color-scheme: light dark; --ink: #1f2328; --paper: #fff; --soft: #59636e; --line: #d1d9e0; --wash: #f6f8fa;
  --create: #116329; --update: #7d4e00; --replace: #8250df; --delete: #c31721; --note: #0969da;
  --gone: #ffebe9; --new: #dafbe1 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --soft: #9198a1; --line: #3d444d;
  --wash: #151b23; --create: #3fb950; --update: #d29922; --replace: #bc8cff; --delete: #ff7b72; --note: #4493f8;
  --gone: #4c1a1d; --new: #12361f } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 0.9375rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
code, .tree { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 0.875rem }
code { font-size: 0.92em }
h1 { margin: 0; font-size: 1.5rem } h2 { margin: 1.5rem 0 0.5rem; font-size: 1.1rem }
p { margin: 0.25rem 0 } .soft, .facts { color: var(--soft) }
.verdict { font-weight: 600 }
.counts { border-collapse: collapse; margin: 0.75rem 0 }
.counts :is(th, td) { border: 1px solid var(--line); padding: 0.2rem 0.7rem; text-align: right; font-weight: 400 }
.counts th { background: var(--wash) } .counts tbody th { text-align: left }
.alert { border-left: 0.25rem solid var(--note); background: var(--wash); margin: 0.5rem 0; padding: 0.4rem 0.8rem }
.alert.danger { border-color: var(--update) } .alert.refused { border-color: var(--delete) }
fieldset { border: 0; margin: 1rem 0 0.5rem; padding: 0; display: flex; flex-wrap: wrap; gap: 0.25rem 1rem;
  align-items: center }
input[type=search] { font: inherit; padding: 0.2rem 0.5rem; min-width: 14rem; color: inherit; background: var(--wash);
  border: 1px solid var(--line); border-radius: 0.3rem }
.tree, .tree ul { list-style: none; margin: 0; padding: 0 } .tree ul { padding-left: 1.25rem }
.tree > li { border-top: 1px solid var(--line); padding: 0.3rem 0 }
summary { cursor: pointer } summary:hover { background: var(--wash) }
li.leaf { padding-left: 1.1rem }
.sign { display: inline-block; width: 1.2rem; font-weight: 700; text-align: center }
:is(.create > .sign, .create > details > summary > .sign, tr.create > td > .sign) { color: var(--create) }
:is(.update > .sign, .update > details > summary > .sign, tr.update > td > .sign) { color: var(--update) }
:is(.replace > .sign, .replace > details > summary > .sign, tr.replace > td > .sign) { color: var(--replace) }
:is(.delete > .sign, .delete > details > summary > .sign, tr.delete > td > .sign) { color: var(--delete) }
.label { font-weight: 600 } .facts { padding-left: 2.3rem; font-size: 0.8125rem }
.entries { border-collapse: collapse; width: 100%; margin: 0.1rem 0 0.4rem 1.1rem; table-layout: fixed }
.entries :is(td, th) { padding: 0.05rem 0.5rem; text-align: left; vertical-align: top; font-weight: 400 }
.entries thead { color: var(--soft); font-size: 0.8125rem }
.entries tbody tr:hover { background: var(--wash) }
.entries :is(td, th):first-child { width: 2rem; padding: 0 }
.entries th:nth-child(2) { width: 28% }
bdi { unicode-bidi: isolate }
del { background: var(--gone); text-decoration: none } ins { background: var(--new); text-decoration: none }
.out { display: none }
@media (max-width: 40rem) {
  .tree ul { padding-left: 0.6rem } .facts { padding-left: 1rem }
  .entries { display: block; margin-left: 0.6rem } .entries thead { display: none }
  .entries tbody, .entries tr, .entries td { display: block } .entries td { padding-left: 1.4rem }
  .entries td:first-child { float: left; padding: 0; width: 1.3rem }
  .entries td[data-is]:not(:empty)::before { content: attr(data-is) " "; color: var(--soft) }
  .counts { font-size: 0.8rem } .counts :is(th, td) { padding: 0.2rem 0.3rem; overflow-wrap: normal } }
"""

FILTER: Final = """\
body:has(#only-{0}:checked) .tree :is(li, tbody tr):not(.{0}, .{0} *, :has(.{0})) {{ display: none }}
"""
"""One for each choice of the filter: what is of another kind, is not below, and holds none of it, is not shown."""

SCRIPT: Final = """\
"use strict";
(() => {
  const AT_ONCE = 4;
  const box = document.getElementById("find");
  const tree = document.querySelector(".tree");
  const content = (address, text) => ((address ?? "") + " " + text).toLowerCase();

  // Large pages have parts, whose rows are the text of a noscript: they become elements when they are opened or found.
  const signs = { amp: "&", lt: "<", gt: ">", quot: '"', "#x27": "'" };
  const known = new WeakMap();
  const rows = (part) => {
    if (!known.has(part)) {
      const lines = part.textContent.split("\\n").filter((line) => /^<(li|tr) /.test(line));
      known.set(part, lines.map((line) => content(
        /data-address="([^"]*)"/.exec(line)?.[1], line.startsWith("<tr") ? line.replace(/<[^>]*>/g, "") : "",
      ).replace(/&(amp|lt|gt|quot|#x27);/g, (_, name) => signs[name])));
    }
    return known.get(part);
  };
  const open = (part) => { part.outerHTML = part.textContent; };

  const search = (adds) => {
    const words = box.value.toLowerCase().split(" ").filter(Boolean);
    const matches = (text) => words.every((word) => text.includes(word));
    const parts = [...tree.querySelectorAll("noscript")];
    const hits = new Set(words.length ? parts.filter((part) => rows(part).some(matches)) : parts);
    if (adds && words.length && hits.size <= AT_ONCE) hits.forEach(open);
    for (const part of parts) part.classList.toggle("hit", hits.has(part));
    for (const row of [...tree.querySelectorAll("li, tbody tr")].reverse()) {
      const hit = matches(content(row.dataset.address, row.tagName === "TR" ? row.textContent : ""));
      row.classList.toggle("out", !hit && row.querySelector("li:not(.out), tbody tr:not(.out), .hit") === null);
      if (hit && words.length) {
        for (let up = row.closest("details"); up; up = up.parentElement.closest("details")) up.open = true;
      }
    }
  };
  tree.addEventListener("toggle", ({ target }) => {
    const part = target.open ? target.querySelector(":scope > noscript") : null;
    if (part === null) return;
    open(part);
    if (box.value.trim()) search(false);
  }, true);
  let waiting = 0;
  box.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, 150, true); });
  box.closest("label").hidden = false;
})();
"""
