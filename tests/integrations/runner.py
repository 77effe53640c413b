"""A runner of composite actions, as small as this project's own action allows."""

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
    """How a run of an action ended: its outputs, its job summary, and what the log shows."""

    status: int
    outputs: dict[str, str]
    summary: str
    log: str


@dataclass(slots=True)
class _Context:
    inputs: dict[str, str]
    steps: dict[str, dict[str, str]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)

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

    def holds(self, condition: str) -> bool:
        """`a == b && c == d || e == f`."""

        def equal(comparison: str) -> bool:
            left, right = comparison.split("==")
            return self.value(left.strip()) == self.value(right.strip())

        return any(all(map(equal, both.split("&&"))) for both in condition.split("||"))


def run(action: Path, folder: Path, temporary: Path, **inputs: str) -> Ran:
    """Run an action in `folder` with `inputs`, up to its first step that fails."""
    described = yaml.safe_load(action.read_text())
    assert inputs.keys() <= described["inputs"].keys()
    context = _Context({name: inputs.get(name, one.get("default", "")) for name, one in described["inputs"].items()})
    files = {name: temporary / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for file in files.values():
        file.write_text("")
    status, log = 0, ""
    for step in described["runs"]["steps"]:
        if "if" in step and not context.holds(step["if"]):
            continue
        files["GITHUB_OUTPUT"].write_text("")
        done = _step(step, context, action.parent, folder, temporary, files)
        log += done.stdout
        if "id" in step:
            context.steps[step["id"]] = pairs(files["GITHUB_OUTPUT"].read_text())
        if done.returncode != 0:
            status = done.returncode
            break
    outputs = {name: context.first(_EXPRESSION.sub(r"\1", one["value"])) for name, one in described["outputs"].items()}
    return Ran(status, outputs, files["GITHUB_STEP_SUMMARY"].read_text(), log)


def run_job(
    job: dict[str, Any], act: Callable[..., Ran], folder: Path, temporary: Path, words: Mapping[str, str]
) -> list[Ran]:
    """Run the steps of a job: this project's action by `act`, what is to be `run` by bash; a checkout is there.

    Commands are looked for in `temporary` first. Gives how the actions ended.
    """
    context, ran = _Context({}, words=words), []
    for step in job["steps"]:
        if "if" in step and not context.holds(step["if"]):
            continue
        if "run" in step:
            given = {name: context.value(_EXPRESSION.sub(r"\1", text)) for name, text in step["env"].items()}
            script = _EXPRESSION.sub(lambda found: context.value(found[1]), step["run"])
            path = {"PATH": f"{temporary}:{os.environ['PATH']}"}
            subprocess.run(
                ["bash", "-eo", "pipefail", "-c", script], cwd=folder, env=os.environ | path | given, check=True
            )
        elif not step["uses"].startswith("actions/checkout@"):
            ran.append(act(folder, **step["with"]))
            context.steps[step.get("id", "")] = ran[-1].outputs
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
    found, lines = {}, iter(text.splitlines())
    for line in lines:
        name, sign, rest = re.fullmatch(r"(\w+)(=|<<)(.*)", line).groups()  # type: ignore[union-attr]
        if sign == "=":
            found[name] = rest
            continue
        held = []
        while (line := next(lines)) != rest:
            held.append(line)
        found[name] = "\n".join(held)
    return found
