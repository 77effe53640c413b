"""A survey of hosts as text, Markdown, HTML or JSON, and the finding of one host in each format. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol

import msgspec

from provisioner.fleet.examine import Examined, HostState
from provisioner.fleet.survey import HostGroup, Survey
from provisioner.model.words import plural
from provisioner.report import html, jsondoc, markdown, problems, text
from provisioner.report.jsontext import dumps
from provisioner.report.model import CUT, PAGE, Limits
from provisioner.report.page_tree import plain_text
from provisioner.report.style import PLAIN

_NAMES: Final = 8
"""Hosts of a group that a text names."""

_PART: Final = 12_000
"""The longest finding in a comment, in characters."""

_LINES: Final = 2_000
"""The lines of a finding on a page."""


class Surveyed(Protocol):
    @property
    def groups(self) -> list[HostGroup]: ...

    def text(self, group: HostGroup) -> str: ...


class Writer(msgspec.Struct, frozen=True):
    """`part` writes the finding of a host, `whole` a survey that has such parts. `limits` cut lists of entries."""

    part: Callable[[Examined], str]
    whole: Callable[[Survey], Iterable[str]]
    limits: Limits = CUT


def title(survey: Surveyed) -> str:
    """`1,000 hosts: 2 invalid, 40 with changes, 958 unchanged`."""
    counts = dict.fromkeys(reversed(HostState), 0)
    for group in survey.groups:
        counts[group.state] += len(group.members)
    parts = [f"{count:,} {_COUNTED[state]}" for state, count in counts.items() if count]
    return f"{plural(sum(counts.values()), 'host')}: {', '.join(parts)}"


_TITLES: Final[Mapping[HostState, str]] = {
    HostState.VALID: "Valid",
    HostState.UNCHANGED: "No changes",
    HostState.CHANGES: "Changes",
    HostState.REFUSED: "Refused",
    HostState.INVALID: "Invalid",
}
_COUNTED: Final[Mapping[HostState, str]] = {
    HostState.VALID: "valid",
    HostState.UNCHANGED: "unchanged",
    HostState.CHANGES: "with changes",
    HostState.REFUSED: "refused",
    HostState.INVALID: "invalid",
}


def _heading(group: HostGroup) -> str:
    return f"{_TITLES[group.state]} on {plural(len(group.members), 'host')}"


def _named(group: HostGroup) -> tuple[list[str], str]:
    """The first hosts, and how many more there are."""
    names = [member.host for member in group.members[:_NAMES]]
    more = len(group.members) - len(names)
    return names, f" and {more:,} more" if more else ""


# --- text ---------------------------------------------------------------------------------------------------------


def _text_part(examined: Examined) -> str:
    finding = examined.finding
    if finding.report is None:
        return "\n".join(problems.text(finding.problems, finding.excerpts, PLAIN))
    return "\n".join(text.fragment(finding.report, PLAIN)).rstrip("\n")


def _text(survey: Survey) -> Iterator[str]:
    yield f"{title(survey)}."
    for group in survey.groups:
        names, more = _named(group)
        yield ""
        yield f"{_heading(group)}: {', '.join(names)}{more}"
        if part := survey.text(group):
            yield ""
            yield from part.split("\n")


# --- Markdown -----------------------------------------------------------------------------------------------------


def _markdown_part(examined: Examined) -> str:
    finding = examined.finding
    if finding.report is None:
        lines = "\n".join(problems.text(finding.problems, finding.excerpts, PLAIN))[:_PART]
        fence = markdown.fence(lines.split("\n"))
        return f"{fence}text\n{lines}\n{fence}\n" if lines else ""
    return markdown.fragment(finding.report, _PART)


def _markdown(survey: Survey) -> Iterator[str]:
    head = f"<!-- provisioner hosts -->\n### {title(survey)}\n"
    room = markdown.LIMIT - len(head) - 500
    yield head
    groups = survey.groups
    for number, group in enumerate(groups):
        names, more = _named(group)
        part = f"\n**{_heading(group)}**: {', '.join(map(markdown.code, names))}{more}\n\n{survey.text(group)}"
        room -= markdown.length(part)
        if room < 0:
            rest = sum(len(each.members) for each in groups[number:])
            yield f"\n> The rest is cut: {plural(rest, 'host')}. `--format html` shows all groups.\n"
            return
        yield part


# --- HTML ---------------------------------------------------------------------------------------------------------


def _html_part(examined: Examined) -> str:
    finding = examined.finding
    if finding.report is None:
        shown = "\n".join(problems.text(finding.problems, finding.excerpts, PLAIN))
        return "".join(f"<p><code>{plain_text(line)}</code></p>\n" for line in shown.splitlines())
    return "".join(html.fragment(finding.report, _LINES))


def _html(survey: Survey) -> Iterator[str]:
    yield from html.begin(title(survey))
    yield f"<h1>{plain_text(title(survey))}</h1>\n"
    for group in survey.groups:
        names = ", ".join(plain_text(member.host) for member in group.members)
        yield f"<h2>{plain_text(_heading(group))}</h2>\n"
        yield f"<details><summary>{plural(len(group.members), 'host')}</summary><p>{names}</p></details>\n"
        yield survey.text(group)
    yield "</body>\n</html>\n"


# --- JSON ---------------------------------------------------------------------------------------------------------


def _json_part(examined: Examined) -> str:
    finding = examined.finding
    if finding.report is not None:
        return dumps(jsondoc.fragment(finding.report))
    return dumps({"errors": list(map(problems.as_value, finding.problems))} if finding.problems else {})


def _json(survey: Survey) -> Iterator[str]:
    """One group per line, without an object for all of them."""
    groups = survey.groups
    counts = {state.value: sum(len(each.members) for each in groups if each.state is state) for state in HostState}
    head = {"format_version": jsondoc.FORMAT_VERSION, "hosts": sum(counts.values()), "by_state": counts}
    yield f'{dumps(head)[:-1]}, "groups": ['
    for number, group in enumerate(groups):
        hosts = [msgspec.to_builtins(member) for member in group.members]
        own = dumps({"state": group.state.value, "hosts": hosts})[:-1]
        part = survey.text(group)[1:-1]
        yield f"{',' if number else ''}\n{own}{', ' if part else ''}{part}}}"
    yield "\n]}\n"


# --- validation ---------------------------------------------------------------------------------------------------


def _github_part(examined: Examined) -> str:
    return "".join(f"{line}\n" for line in problems.github(examined.finding.problems))


def _github(survey: Survey) -> Iterator[str]:
    for group in survey.groups:
        yield survey.text(group)


WRITERS: Final[Mapping[str, Writer]] = {
    "text": Writer(_text_part, _text),
    "markdown": Writer(_markdown_part, _markdown),
    "html": Writer(_html_part, _html, PAGE),
    "json": Writer(_json_part, _json),
    "github": Writer(_github_part, _github),
}
