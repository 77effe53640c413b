"""Text of others acts on nothing that shows it: terminals, logs, JSON, Markdown, HTML."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from msgspec.structs import replace

from provisioner.cli.console import Console
from provisioner.model.errors import Problem, ProvisionerError
from provisioner.report import formats, logs
from provisioner.report.formats import Layout, renderers
from provisioner.report.logs import LogLevel, LogLine
from provisioner.report.model import Against, Explanation, Fact, Outcome, ReportLive, StepLine
from provisioner.report.style import Style, on_terminal
from provisioner.views import plan_report
from tests.report import support

EVIL = "a\x1b]0;title\x07\x9b31m\r\nerror: b\u202ec\udcff"
"""An escape sequence, its 8-bit form, a new line, a turn of the direction of writing, a byte that is not UTF-8."""

HARMLESS = {"\n", "\t"}


def unsafe(text: str) -> set[str]:
    return {char for char in text if not char.isprintable()} - HARMLESS


def plan(tmp_path: Path) -> Iterable[tuple[formats.Renderers, object]]:
    spec = tmp_path / "edge.yaml"
    spec.write_text("version: 1\nname: edge\nmaps: {m: {type: hash, key: u32, value: 'char[64]', max_entries: 8}}\n")
    report = plan_report.report(support.plan(None, support.load(spec)))
    (node,) = report.nodes
    node = replace(node, label=EVIL, address=EVIL, text=EVIL, reason=EVIL, source=EVIL)
    evil = replace(
        report,
        project=EVIL,
        pin_root=EVIL,
        nodes=(node,),
        steps=(StepLine("create", EVIL),),
        targets=(EVIL,),
        against=Against(EVIL, EVIL, EVIL, 1),
        sources={"name": EVIL},
    )
    end = Outcome("partial", 1.0, 1, 5, 5, (EVIL,))
    for name in formats.names("plan"):
        own = renderers(name)
        yield own, own.plan(evil, end, Layout(steps=True))


def others() -> Iterable[tuple[formats.Renderers, object]]:
    for name in formats.names("live"):
        own = renderers(name)
        assert own.live is not None
        yield own, own.live(ReportLive(EVIL, EVIL, True, ()), Layout())
    for name in formats.names("explanation"):
        own = renderers(name)
        assert own.explanation is not None
        fact = Fact(EVIL, EVIL, {"live": EVIL})
        yield own, own.explanation(Explanation(EVIL, EVIL, (fact,), Against(EVIL, EVIL, EVIL, 1)), Layout())


def console() -> Console:
    return Console("text", "always", quiet=False, verbose=False)


def test_every_format_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = 0
    for own, parts in (*plan(tmp_path), *others()):
        assert isinstance(parts, Iterable)
        (console().lines if own.is_text else console().pieces)(parts)
        text = capsys.readouterr().out
        assert unsafe(text.replace("\x1b[1m", "").replace("\x1b[0m", "")) == set()
        assert "\nerror: b" not in text, "no line of its own"
        shown += "title" in text
    assert shown == len(formats.names("plan")) + len(formats.names("live")) + len(formats.names("explanation"))


@pytest.mark.parametrize(
    "write",
    [
        lambda it: it.notes([EVIL]),
        lambda it: it.log(LogLine(LogLevel.ERROR, "error", EVIL, {"address": EVIL})),
        lambda it: it.fail(ProvisionerError(Problem("wrong", address=EVIL, hint=EVIL))),
    ],
    ids=["note", "log", "error"],
)
def test_standard_error_shows_it(write: Callable[[Console], None], capsys: pytest.CaptureFixture[str]) -> None:
    write(Console("text", "never", quiet=False, verbose=False))
    text = capsys.readouterr().err
    assert unsafe(text) == set()
    assert "title" in text


def test_a_json_log_has_it_as_it_is() -> None:
    line = logs.as_json(LogLine(LogLevel.ERROR, "error", EVIL), "now")
    assert unsafe(line) == set()
    assert json.loads(line)["message"] == EVIL


def test_colors_are_marks_until_they_are_printed() -> None:
    style = Style(True)
    assert on_terminal(style("a\x1bb", "red"), style) == "\x1b[31ma\\x1bb\x1b[0m"
    assert on_terminal(Style(False)("a", "red")) == "a"


@pytest.mark.parametrize("name", formats.FORMATS)
def test_a_format_has_the_documents_that_it_is_registered_with(name: str) -> None:
    own = renderers(name)
    has = [document for document in own.__struct_fields__ if document not in ("limits", "is_text")]
    assert [each for each in has if getattr(own, each) is not None] == list(formats.FORMATS[name].documents)
