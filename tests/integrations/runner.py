"""A small runner of composite actions: it covers what this project's own action and its guide use."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

_EXPRESSION: Final = re.compile(r"\$\{\{ *(.*?) *\}\}")


@dataclass(frozen=True, slots=True)
class Ran:
    """The result of a run of an action: exit status, outputs, job summary and log."""

    status: int
    outputs: dict[str, str]
    summary: str
    log: str

    @property
    def commands(self) -> list[str]:
        """The workflow commands that a runner executes: lines of the log, but not between a stop and its end."""
        executed, end = [], ""
        for line in self.log.splitlines():
            command = re.match(r"\s*::([\w-]+)( [^:]*)?::(.*)|\s*##\[([\w-]+)", line)
            if command is None or (end and command[1] != end):
                continue
            if command[1] == "stop-commands":
                end = command[3]
            elif end:
                end = ""
            else:
                executed.append(line.strip())
        assert not end, "commands stay off for the steps that follow"
        return executed


@dataclass(slots=True)
class _Context:
    inputs: dict[str, str]
    steps: dict[str, dict[str, str]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    failed: bool = False

    def value(self, expression: str) -> str:
        """`inputs.verb`, `steps.plan.outputs.changes`, `'a literal'`, or one of `words` (`github.token`)."""
        if expression in self.words:
            return self.words[expression]
        match expression.split("."):
            case ["inputs", name]:
                return self.inputs[name]
            case ["steps", step, "outputs", name]:
                return self.steps.get(step, {}).get(name, "")
            case _:
                assert re.fullmatch(r"'[^']*'", expression), expression
                return expression[1:-1]

    def first(self, expression: str) -> str:
        """`a || b`: the first that is not empty."""
        return next((value for part in expression.split("||") if (value := self.value(part.strip()))), "")

    def runs(self, step: dict[str, Any]) -> bool:
        """Whether a step runs: after a failure, only one whose condition asks for the job's status itself."""
        condition = _EXPRESSION.sub(r"\1", step.get("if", "success()"))
        if "cancelled()" not in condition and self.failed:
            return False
        return any(all(map(self._term, both.split("&&"))) for both in condition.split("||"))

    def _term(self, term: str) -> bool:
        """`a == b`, `a != b`, `success()` or `!cancelled()`: this runner is never cancelled."""
        if term.strip() in ("success()", "!cancelled()"):
            return True
        left, sign, right = re.split(r" *(==|!=) *", term.strip())
        return (self.value(left) == self.value(right)) == (sign == "==")


def run(action: Path, folder: Path, temporary: Path, **inputs: str) -> Ran:
    """Run an action in `folder` with `inputs`, until a step fails."""
    described = yaml.safe_load(action.read_text())
    assert inputs.keys() <= described["inputs"].keys()
    context = _Context(
        {name: inputs.get(name, declared.get("default", "")) for name, declared in described["inputs"].items()}
    )
    files = {name: temporary / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for file in files.values():
        file.write_text("")
    status, log = 0, ""
    for step in described["runs"]["steps"]:
        if not context.runs(step):
            continue
        files["GITHUB_OUTPUT"].write_text("")
        done = _step(step, context, action.parent, folder, temporary, files)
        log += done.stdout
        if "id" in step:
            context.steps[step["id"]] = pairs(files["GITHUB_OUTPUT"].read_text())
        if done.returncode != 0:
            status = done.returncode
            break
    outputs = {
        name: context.first(_EXPRESSION.sub(r"\1", declared["value"]))
        for name, declared in described["outputs"].items()
    }
    return Ran(status, outputs, files["GITHUB_STEP_SUMMARY"].read_text(), log)


def run_job(
    job: dict[str, Any], act: Callable[..., Ran], folder: Path, temporary: Path, words: Mapping[str, str]
) -> list[Ran]:
    """Run the steps of a job: `act` runs this project's action, bash runs scripts, and a checkout exists already.

    Commands are looked up in `temporary` first. Gives the results of the actions.
    """
    context, ran = _Context({}, words=words), []
    for step in job["steps"]:
        if not context.runs(step):
            continue
        if "run" in step:
            assert not _EXPRESSION.search(step["run"])
            given = {name: context.value(_EXPRESSION.sub(r"\1", text)) for name, text in step["env"].items()}
            path = {"PATH": f"{temporary}:{os.environ['PATH']}"}
            subprocess.run(
                ["bash", "-eo", "pipefail", "-c", step["run"]], cwd=folder, env=os.environ | path | given, check=True
            )
        elif not step["uses"].startswith("actions/checkout@"):
            ran.append(act(folder, **step["with"]))
            context.steps[step.get("id", "")] = ran[-1].outputs
            context.failed |= ran[-1].status != 0
    return ran


def _step(
    step: dict[str, Any], context: _Context, action: Path, folder: Path, temporary: Path, files: dict[str, Path]
) -> subprocess.CompletedProcess[str]:
    """A `run` step with `shell: bash`, as GitHub runs it."""
    assert step["shell"] == "bash" and not _EXPRESSION.search(step["run"])
    given = {name: context.value(_EXPRESSION.sub(r"\1", text)) for name, text in step.get("env", {}).items()}
    environment = os.environ | {
        "GITHUB_ACTION_PATH": str(action),
        "RUNNER_TEMP": str(temporary),
        **{name: str(file) for name, file in files.items()},
        **given,
    }
    script = temporary / "step.sh"
    script.write_text(step["run"])
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def pairs(text: str) -> dict[str, str]:
    """`name=value` lines, and `name<<END ... END`."""
    values, lines = {}, iter(text.splitlines())
    for line in lines:
        name, sign, rest = re.fullmatch(r"(\w+)(=|<<)(.*)", line).groups()  # type: ignore[union-attr]
        if sign == "=":
            values[name] = rest
            continue
        held = []
        while (line := next(lines)) != rest:
            held.append(line)
        values[name] = "\n".join(held)
    return values
