"""Markdown that stays a comment: short enough, what may hurt on top, and nothing in a value is read as anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from msgspec.structs import replace

from provisioner.planning.hazards import Hazard, Refusal, Severity
from provisioner.report import markdown
from provisioner.report.model import Children, Kind, Node, Outcome, Verb
from tests.report import support

HOSTILE = "@somebody <img src=x> #1 `a` ``b`` **bold** [l](https://e.org) | \x1b[31m \u202e --> ]]> </details>\n# title"


def tokens(text: str) -> Iterator[Token]:
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(text):
        yield token
        yield from token.children or ()


def outside_of_code(text: str) -> str:
    """Everything that a reader of Markdown, or a service that looks for mentions, would look at."""
    return "\n".join(one.content for one in tokens(text) if one.type in ("text", "html_inline", "link_open"))


def test_hostile_values_are_in_code() -> None:
    output = markdown.render(support.report("hostile"))
    assert "@" not in outside_of_code(output)
    blocks = [one.content for one in tokens(output) if one.type == "html_block"]
    assert len(blocks) == 3  # the marker, the fold, and its end
    (tree,) = (one.content for one in tokens(output) if one.type == "fence")
    assert {line[0] for line in tree.splitlines()} == set("+-!")
    assert "\x1b" not in output
    assert "\u202e" not in output


@pytest.mark.parametrize("text", [HOSTILE, "`", "``", " ", "a`", "|", "\\", "\\`", "- x", "<!--", "~~~", "a@b.org"])
def test_code_and_prose_hold_anything(text: str) -> None:
    for output in (markdown.code(text), f"- {markdown.prose(text)}"):
        tokens_ = list(tokens(output))
        assert {one.type for one in tokens_} <= {
            *("paragraph_open", "paragraph_close", "inline", "code_inline", "text"),
            *("bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close"),
        }
        assert "@" not in outside_of_code(output)
        assert "<" not in outside_of_code(output)


def test_what_may_hurt_comes_first() -> None:
    output = markdown.render(support.report("refused"))
    places = [output.index(word) for word in ("> [!CAUTION]", "> [!WARNING]", "**Deletes**", "<details>")]
    assert places == sorted(places)


def entries(count: int, text: str) -> Children:
    node = Node(Kind.ENTRY, Verb.DELETE, "m[1]", "1", text)
    return Children(Kind.ENTRY, count, count, lambda: iter([node] * count))


@pytest.mark.parametrize("text", ["x" * 40, "x" * 5000, "`@" * 400, "\U0001f600" * 300])
@pytest.mark.parametrize("loud", [False, True])
def test_it_is_never_longer_than_a_comment_may_be(text: str, loud: bool) -> None:
    plan = support.report("refused")
    maps = [Node(Kind.MAP, Verb.UPDATE, f"m{n}", f"m{n}", text, children=entries(200, text)) for n in range(50)]
    maps += [Node(Kind.PIN, Verb.DELETE, text, text, text)] * 100
    plan = replace(plan, nodes=tuple(maps))
    if loud:
        hazards = [Hazard("x", severity, text, text) for severity in Severity] * 200
        refusals = [Refusal("rule", text, text, text)] * 200
        plan = replace(plan, hazards=tuple(hazards), blocked=tuple(refusals))
    end = Outcome("partial", 1.0, 1, 1, 1, tuple([text] * 500))
    output = markdown.render(plan, end)
    assert len(output.encode("utf-16-le")) // 2 <= markdown.LIMIT
    assert output.index("Failed in") < 500
    assert "--format html" in output
    assert output.count("<details>") == output.count("</details>")
    assert sum(one.type == "fence" for one in tokens(output)) == output.count("<details>")
    assert output.rstrip().endswith(".")


def test_small_plans_are_whole() -> None:
    for case in ("edit", "first", "hostile", "destroy"):
        assert "The rest is cut" not in markdown.render(support.report(case))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("(max_entries 4)", "(`max_entries` 4)"),
        ("see `x_y`, then", "see `x_y`, then"),
        ("((a_b).", "((`a_b`)."),
        ("(*)", "(`*`)"),
        ("---", "`---`"),
        ("<b>", "`<b>`"),
    ],
)
def test_brackets_stay_outside_of_code(text: str, shown: str) -> None:
    assert markdown.prose(text) == shown


def test_how_an_apply_ended_is_said() -> None:
    output = markdown.render(support.report("edit"), Outcome("rolled_back", 1.5, 2, 5, 5, ("pin `x`",)))
    assert "### `edge`: rolled back" in output
    assert "**Rolled back: all visible changes were reverted" in output


@pytest.mark.parametrize("case", sorted(support.CASES.iterdir()), ids=lambda path: path.name)
def test_no_break_is_shown_as_a_backslash(case: Path) -> None:
    """A backslash breaks a line only where another one of the paragraph follows."""
    assert "\\\n\n" not in support.rendered(case.name)["plan.md"]
