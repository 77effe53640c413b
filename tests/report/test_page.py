"""The page in a browser: what is seen, what the filters leave, and that nothing in a value is ever run."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from provisioner.report import html
from provisioner.report.formats import Layout
from tests.report import support
from tests.report.browser import ask


def test_all_is_seen_without_a_script_and_filtered_too(tmp_path: Path) -> None:
    script = """
      const seen = () => shown('.tree .label, .tree tbody td:nth-child(2)').map((one) => one.textContent);
      const choose = (id) => { page.getElementById(id).checked = true; return seen(); };
      return {all: seen(), find: shown('#find').length, del: choose('only-delete'), replace: choose('only-replace'),
              back: choose('only-all').length};
    """
    shown = ask(support.page("edit"), script, tmp_path, scripts=False)
    assert shown["find"] == 0
    assert {"tenants", "[42]", "192.0.2.9", "vips", "active"} <= set(shown["all"])
    assert shown["del"] == ["tenants", "[0]", "192.0.2.3", "[7]"]
    assert shown["replace"] == ["tenants", "[3]", "vips", "[0]", "1"]
    assert shown["back"] == len(shown["all"])


def test_the_search_finds_addresses_and_values(tmp_path: Path) -> None:
    script = """
      const seen = () => shown('.tree .label, .tree tbody td:nth-child(2)').map((one) => one.textContent);
      const box = page.getElementById('find');
      const find = async (text) => {
        box.value = text; box.dispatchEvent(new Event('input')); await wait(500); return seen();
      };
      return {visible: shown('#find').length, key: await find('192.0.2.9'), address: await find('vips[0][1]'),
              value: await find('192.0.2.13'), none: await find('nowhere'), all: (await find('')).length};
    """
    shown = ask(support.page("edit"), script, tmp_path)
    assert shown["visible"] == 1
    assert shown["key"] == ["tenants", "[42]", "192.0.2.9"]
    assert shown["address"] == shown["value"] == ["vips", "[0]", "1"]
    assert shown["none"] == []
    assert shown["all"] > 10


_RUN = """
  await wait(500);
  page.querySelectorAll('*').forEach((one) => one.dispatchEvent(new MouseEvent('mouseover', {bubbles: true})));
  return {hit: window.hit ?? null, scripts: page.scripts.length, images: page.images.length,
          drawings: page.querySelectorAll('svg, a').length, text: page.querySelector('.tree').textContent};
"""


def test_hostile_values_are_text(tmp_path: Path) -> None:
    shown = ask(support.page("hostile"), _RUN, tmp_path)
    assert (shown["hit"], shown["scripts"], shown["images"], shown["drawings"]) == (None, 1, 0, 0)
    for text in ("</script><script>parent.hit=1</script>", "<!-- comment", "&amp;", "\\u202eright to left\\u200f"):
        assert text in shown["text"]
    assert "\u202e" not in shown["text"]
    assert "\x1b" not in shown["text"]


def test_the_page_would_not_run_what_were_not_escaped(tmp_path: Path) -> None:
    hole = "<script>parent.hit=1</script><img src=x onerror=parent.hit=2><b onmouseover=parent.hit=3>"
    whole = support.page("edit").replace("hash_of_maps", hole)
    assert ask(whole, _RUN, tmp_path)["hit"] is None
    without = whole.replace("Content-Security-Policy", "X-Nothing")
    assert ask(without, _RUN, tmp_path)["hit"] is not None


def test_it_names_nothing_that_a_network_would_be_asked_for() -> None:
    page = support.page("edit")
    assert not any(word in page for word in ("src=", "href=", "url(", "@import", "fetch("))


def test_a_page_has_an_end() -> None:
    report = support.report("edit")
    short = "".join(html.render(report, lines=3))
    assert short.count("<li class=") + short.count("<tr class=") < 20
    assert "... and " in short
    assert "... and " not in "".join(html.render(report, lines=None))


def test_many_maps_are_folded_and_few_are_open() -> None:
    few = support.report("edit")
    (tenants,) = (node for node in few.nodes if node.address == "tenants")
    many = replace(few, nodes=(tenants,) * 21)
    first = '<li class="update" data-address="tenants"><details{}>'
    assert first.format(" open") in "".join(html.render(few))
    page = "".join(html.render(many))
    assert page.count(first.format("")) == 21
    assert first.format(" open") not in page


def test_a_page_that_is_kept_says_where_and_when() -> None:
    made = "".join(html.RENDERERS.plan(support.report("edit"), None, Layout(made="on edge-1, 2026-11-27 20:31:05 UTC")))
    assert "<p class=soft>on edge-1, 2026-11-27 20:31:05 UTC, revision sha256:" in made
