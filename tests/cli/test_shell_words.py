"""Words of a completion, read by a shell: each is a single word, and nothing in it runs."""

from __future__ import annotations

import subprocess

import pytest

from provisioner.cli.shell_words import for_bash, for_powershell, for_zsh

WORDS = (
    "edge.yaml",
    "tenants[42]",
    "tenants[10.0.0.0/8]",
    "vips[{vip: 10.0.0.1, port: 443}]",
    "$(id).yaml",
    "\\$(id).yaml",
    "`id`.yaml",
    'it\'s "mine"; id;.yaml',
    "a  b\\.yaml",
    "#a~b!c*?<>|&(){},=.yaml",
    "Bücher.yaml",
)


def test_bash_reads_each_as_one_word() -> None:
    script = "printf '%s\\n' " + " ".join(for_bash(WORDS, "provisioner plan "))
    assert subprocess.run(["bash", "-c", script], capture_output=True, text=True).stdout.splitlines() == list(WORDS)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ('plan "a', ["a b.yaml"]),
        ("plan 'a", ["a b.yaml"]),
        ("plan 'it'\"s", ["a b.yaml"]),
        ('plan "a" b', ["a\\ b.yaml", "\\$\\(id\\).yaml"]),
        ("plan it\\'s", ["a\\ b.yaml", "\\$\\(id\\).yaml"]),
        ("plan '\\'", ["a\\ b.yaml", "\\$\\(id\\).yaml"]),
        ('plan "\\"', ["a b.yaml"]),
    ],
)
def test_within_quotes_bash_gets_no_special_characters(line: str, offered: list[str]) -> None:
    assert for_bash(["a b.yaml", "$(id).yaml"], line) == offered


def test_zsh_evaluates_nothing_but_the_call() -> None:
    script = (
        '_arguments() { local action="${1#"*: :"}"; action="${action//\\\\:/:}"; '
        'eval "words=( ${action:2:-2} )"; printf \'%s\\n\' "${words[@]}"; }\n'
    )
    call = for_zsh([(word, "") for word in WORDS] + [("plan", "the plan's help")])
    read = subprocess.run(["bash", "-c", script + call], capture_output=True, text=True).stdout.splitlines()
    escaped = [word.replace("\\", "\\\\").replace(":", "\\:") for word in WORDS]
    assert read == [*escaped, "plan:the plan's help"]


def test_powershell_reads_what_is_quoted_as_it_is() -> None:
    assert [for_powershell(word) for word in ("edge.yaml", "$(id)", "it's")] == ["edge.yaml", "'$(id)'", "'it''s'"]


def test_no_shell_gets_control_characters() -> None:
    words = ["a\nb", "a\x1b[2J", "a\u00a0b", "a\udcff"]
    assert for_bash(words, "plan ") == []
    assert for_zsh([(word, "") for word in words]) == "_arguments '*\\: \\:(())'".replace("\\", "")
