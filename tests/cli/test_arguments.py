"""What needs no kernel: help, usage errors, validate, schema, plans against nothing; and what start-up leaves out."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner import __version__
from provisioner.cli import app, verbs
from provisioner.cli.console import Console
from provisioner.cli.meter import pace
from provisioner.cli.signals import Interrupts
from provisioner.language import schema_file
from tests.cli.support import COMMAND, SPEC, environment, lasting, on_terminal, run

OWN_STATUSES = {
    "validate": ["5"],
    "plan": ["2", "4", "5"],
    "apply": ["3", "4", "5"],
    "destroy": ["3", "4", "5"],
    "list": ["5"],
    "show": ["4", "5"],
    "explain": ["4", "5"],
    "graph": ["4", "5"],
    "watch": ["5"],
    "init": ["5"],
    "export": ["4", "5"],
    "doctor": ["5"],
    "schema": [],
}
"""Beside those of every verb. A verb that takes the lock can end with 75."""

USAGE = "error[usage]: "

VERBS = list(verbs.VERBS)


@pytest.mark.parametrize("words", [("--version",), ("--version", "--version")])
def test_version(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert (done.status, done.out, done.err) == (0, f"provisioner {__version__}\n", "")


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_documents_exit_statuses(verb: str) -> None:
    done = run(verb, "--help")
    assert done.status == 0
    documented = re.findall(r"^ +(\d+) {2,}\S", done.out, re.MULTILINE)
    lock = ["75"] if "3" in OWN_STATUSES[verb] else []
    assert documented == ["0", "1", *OWN_STATUSES[verb], "64", "70", "74", *lock, "130"]
    assert [line for line in done.out.splitlines() if len(line) > 80] == []


def test_help_is_a_word_too() -> None:
    whole = run("--help")
    assert whole.status == 0
    for words in ((), ("help",)):
        assert run(*words) == whole
    assert run("help", "plan") == run("plan", "--help")
    assert run("version") == run("--version")


def test_the_help_fits_a_terminal() -> None:
    """24 lines of 80 columns, one of them for the prompt, with all verbs."""
    lines = run("--help").out.splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    assert [name for name in VERBS if not any(line.startswith(f"  {name} ") for line in lines)] == []


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("apply", {"--yes", "--plan", "--full", "--target", "--format"}),
        ("plan", {"--against", "--out", "--exit-zero", "--full", "--target", "--format"}),
    ],
)
def test_the_first_screen_of_help_has_what_most_people_need(verb: str, options: set[str]) -> None:
    shown = run(verb, "--help").out
    first = "\n".join(shown.splitlines()[:23])
    assert options | {"--help"} <= set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", first, re.MULTILINE))
    groups = re.findall(r"^(\w[\w ]*):$", shown, re.MULTILINE)
    assert groups == ["Arguments", "Options", "More options", "Spec", "Safety checks", "Output"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("plna",), "hint: did you mean `plan`?"),
        (("lint",), "hint: did you mean `validate`?"),
        (("plan", "x.yaml", "--dry-run"), "hint: leave it out"),
        (("apply", "x.yaml", "--dry-run"), "hint: `provisioner plan`"),
        (("apply", "x.yaml", "--auto-approve"), "hint: write `--yes`"),
        (("apply", "x.yaml", "-auto-approve"), "hint: write `--yes`"),
        (("plan", "x.yaml", "-out=p"), "hint: write `--out`"),
        (("plan", "-target", "m", "x.yaml"), "hint: write `--target`"),
        (("--quiet", "plan", "x.yaml"), "hint: write options after the command: `provisioner plan --quiet`"),
        (("taint", "x"), "hint: `provisioner apply --replace ADDRESS`"),
        (("-V",), "hint: write `--version`"),
        (("init", "a.o", "b.o"), "hint: run `provisioner init OBJECT.o` once for each object"),
        (("doctor", "a.yaml"), "hint: leave it out"),
        (("list", "a.yaml"), "hint: leave it out"),
        (("plan",), "Missing argument 'FILES...'"),
        (("plan", "x.yaml", "--no-such"), "No such option: --no-such"),
        (("plan", "x.yaml", "--format", "xml"), "'xml' is not one of 'text', 'json'"),
        (("plan", "x.yaml", "--against", "empty", "--out", "p"), "--out"),
        (("plan", "x.yaml", "--out", "-"), "for --out: `-` is standard output"),
        (("watch", "x.yaml", "--status-file", "-"), "for --status-file: `-` is standard output"),
        (("watch", "x.yaml", "--metrics-file", "-"), "for --metrics-file: `-` is standard output"),
        (("export", "--pin", "/x", "--dir", "-"), "for --dir: `-` is standard output"),
        (("apply", "x.yaml"), "--yes"),
        (("destroy", "x.yaml"), "--yes"),
        (("apply", "x.yaml", "--yes", "--lock-timeout", "-1"), "-1.0 is not in the range"),
    ],
)
def test_usage_errors_end_with_64(words: tuple[str, ...], says: str) -> None:
    done = run(*words)
    assert (done.status, done.out) == (64, "")
    assert done.err.startswith(USAGE)
    assert says in done.err
    assert "\n  hint: " in done.err


@pytest.mark.parametrize("words", [("--format", "json"), ("--format=json",)])
def test_usage_errors_are_json_where_that_is_asked_for(words: tuple[str, ...]) -> None:
    done = run("plan", "x.yaml", *words, "--no-such")
    assert done.status == 64
    assert "--no-such" in done.errors[0]["message"]


def test_a_sound_spec_is_valid(spec: Path) -> None:
    done = run("validate", spec)
    assert (done.status, done.err) == (0, "")
    assert done.out == "edge is valid: 1 outer map, 2 inner maps, 1 map, 4 entries.\n"
    assert run("validate", "--quiet", spec).out == ""
    assert run("validate", spec, "--format", "json").document["valid"] is True


WRONG = SPEC.replace("{1: 10, 2: 20}", "{1: 10, 2: many}").replace("{7: 70}", "{-7: 70}")


def test_every_error_is_reported_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").write_text(WRONG)
    done = run("validate", tmp_path / "edge.yaml")
    assert (done.status, done.out) == (1, "")
    lines = done.err.splitlines()
    places = [line for line in lines if re.match(r"\S+edge\.yaml:\d+:\d+: error\[[a-z-]+\]: ", line)]
    assert [place.split(":")[1] for place in places] == ["14", "15"]
    at = lines.index(places[0])
    caret = lines[at + 2].index("^")
    assert lines[at + 1][caret:].startswith("many")
    assert lines[-1] == "2 errors"


def test_errors_as_json_go_to_standard_error(tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").write_text(WRONG)
    for verb in ("validate", "plan"):
        done = run(verb, tmp_path / "edge.yaml", "--format", "json")
        assert (done.status, done.out) == (1, "")
        assert [(error["line"], error["address"]) for error in done.errors] == [(14, "tenants[1]"), (15, "tenants[2]")]


def test_errors_as_annotations_are_the_result(tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").write_text(WRONG)
    done = run("validate", tmp_path / "edge.yaml", "--format", "github")
    assert (done.status, done.err) == (1, "")
    annotation = r"^::error title=[a-z-]+,file=\S+edge\.yaml,line=(\d+),col=\d+::"
    assert re.findall(annotation, done.out, re.MULTILINE) == ["14", "15"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = run("plan", tmp_path / "none.yaml")
    assert (done.status, done.out) == (1, "")
    assert "error[unreadable-file]: " in done.err


def test_standard_input_and_overlays(tmp_path: Path) -> None:
    over = tmp_path / "over.yaml"
    over.write_text("outer_maps: {tenants: {max_entries: 128}}\n")
    done = run("plan", "-", "--against", "empty", "--overlay", over, text=SPEC)
    assert done.status == 2
    assert "128 slots" in done.out


def test_a_dash_is_standard_output(
    kernel: Path, spec: Path, tmp_path: Path, bpf_object: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    object_file = bpf_object("router")
    assert run("init", object_file, "--out", "-") == run("init", object_file)
    words = ("export", str(spec), "--pin-root", str(kernel / "edge"), "--snapshot", "-")
    written = subprocess.run([*COMMAND, *words], capture_output=True, check=True, env=environment())
    Path("snapshot").write_bytes(written.stdout)
    assert run("plan", spec, "--pin-root", kernel / "edge", "--against", "snapshot").status == 2
    asked = on_terminal(*words, answer="")
    assert (asked.status, "a snapshot is not text" in asked.out) == (64, True)
    assert not Path("-").exists()


def test_a_plan_against_nothing(spec: Path) -> None:
    done = run("plan", spec, "--against", "empty", "--pin-root", "/sys/fs/bpf/elsewhere")
    assert (done.status, done.err) == (2, "")
    assert done.out.splitlines()[0] == "edge  pin root /sys/fs/bpf/elsewhere"
    assert "\x1b" not in done.out
    assert run("plan", spec, "--against", "empty", "--exit-zero").status == 0
    document = run("plan", spec, "--against", "empty", "--format", "json").document
    assert document["summary"]["inner_maps"]["create"] == 2
    assert document["changed"] is True
    assert "result" not in document


def test_steps_are_listed_where_more_is_asked_for(spec: Path) -> None:
    assert "Steps:\n  1. " in run("plan", spec, "--against", "empty", "-v").out


def test_colours(spec: Path) -> None:
    words = ("plan", spec, "--against", "empty")
    assert "\x1b[32m+\x1b[0m tenants" in run(*words, "--color", "always").out
    assert "\x1b[32m+\x1b[0m tenants" in on_terminal(*words, answer="").out
    assert "\x1b" not in lasting(on_terminal(*words, answer="", NO_COLOR="1").out)
    assert "\x1b" not in lasting(on_terminal(*words, "--color", "never", answer="").out)


@pytest.mark.parametrize(("of", "name"), [("spec", schema_file.SPEC_SCHEMA), ("output", schema_file.OUTPUT_SCHEMA)])
def test_schema(of: str, name: str) -> None:
    done = run("schema", of)
    assert done.status == 0
    assert done.out == schema_file.text(name)


_OF_SOME_PLANS = {"provisioner.bytecode.assembler", "provisioner.kernel.objects"}


@pytest.mark.parametrize(
    ("words", "absent"),
    [
        (("--version",), {"typer", "numpy", "yaml", "rich", "jsonschema"}),
        (("--help",), {"numpy", "yaml", "rich", "jsonschema"}),
        (("schema",), {"numpy", "yaml", "rich", "jsonschema"}),
        (("plan", "-", "--against", "empty"), {"rich", "pyarrow", *_OF_SOME_PLANS}),
        (("validate", "no-such-file.yaml"), {"jsonschema"}),
    ],
)
def test_nothing_is_imported_that_is_not_needed(words: tuple[str, ...], absent: set[str]) -> None:
    done = run(*words, text=SPEC, python=("-X", "importtime"))
    imported = set(re.findall(r"\| +([\w.]+)$", done.err, re.MULTILINE))
    assert imported
    assert not imported & absent


def test_a_reader_that_leaves_is_no_error(spec: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "plan", spec, "--against", "empty"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr as stderr:
        assert stderr.read() == b""
    assert process.wait() == 141


def test_a_bug_is_called_one(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise ValueError("of ours")

    assert app.guarded(Console("text", "never", quiet=False, verbose=False), work) == 70
    assert capsys.readouterr().err.splitlines()[0] == "error[bug]: this is a bug: ValueError: of ours"
    assert app.guarded(Console("text", "never", quiet=False, verbose=True), work) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_signal_is_a_flag_until_the_second_one() -> None:
    before = signal.getsignal(signal.SIGINT)
    interrupts = Interrupts()
    assert interrupts() == ""
    interrupts.listen()
    os.kill(os.getpid(), signal.SIGTERM)
    assert interrupts() == "SIGTERM"
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    interrupts.ignore()
    assert signal.getsignal(signal.SIGINT) is before


def test_while_nothing_is_changed_a_signal_ends_the_work_at_once() -> None:
    interrupts = Interrupts()
    interrupts.listen()
    with interrupts.reading():
        pass
    with pytest.raises(KeyboardInterrupt), interrupts.reading():
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interrupts.reading():
        pytest.fail("it came before")
    interrupts.ignore()


METER = """
import time

from provisioner.cli.meter import Meter
from provisioner.apply.progress import Progress

meter = Meter(True, {patience})
meter.planned = 3
meter.begin("first")
meter("second: 7", Progress(grace_periods=2, done=7, total=700))
time.sleep({patience} and 0 or 0.5)
meter.stop()
print(meter.grace_periods)
"""


def test_an_apply_that_takes_long_says_how_far_it_is() -> None:
    def shown(patience: float) -> str:
        script = METER.format(patience=patience)
        return on_terminal("-c", script, answer="", started=(sys.executable,)).out

    assert shown(60).splitlines()[-1] == "2"
    assert "second:" not in shown(60)
    pace = "[0-9,]+ a second, about [0-9,]+ s left; grace periods: 2 done, 1 rem"
    assert re.search(f"second: 7 of 700, {pace}", shown(0))
    assert lasting(shown(0)) == shown(60)


COMPARED = """
import time

from provisioner.cli.meter import Meter

meter = Meter(True, 0)
meter.begin("comparing")
time.sleep(0.3)
meter.compared(5, 10)
meter.compared(6, 10)
meter.compared(10, 10)
meter.stop()
"""


def test_a_comparison_says_how_far_it_is() -> None:
    shown = on_terminal("-c", COMPARED, answer="", started=(sys.executable,)).out
    assert re.search(
        "comparing inner maps with the live state: 5 of 10, [0-9]+ a second, about [0-9]+ s left ...", shown
    )
    assert "6 of 10" not in shown, "not with each block"
    assert lasting(shown).strip() == ""


def test_the_pace_of_what_is_published() -> None:
    assert pace(4096, 10_000, 2.0) == " of 10,000, 2,048 a second, about 3 s left"
    assert (pace(0, 10_000, 2.0), pace(10_000, 10_000, 2.0), pace(5, 0, 1.0)) == ("", "", "")


def test_output_survives_a_poor_locale(spec: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "plan", spec, "--against", "empty"],
        capture_output=True,
        env=environment(PYTHONIOENCODING="ascii"),
    )
    assert done.returncode == 2
