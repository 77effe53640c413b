"""A hook of mkdocs that generates the reference pages from the code.

spec.md            schemas/provisioner.schema.json
command-line.md    the command line's own help
exit-status.md     the same
json.md            schemas/plan.schema.json
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from provisioner.cli import app
from provisioner.cli.options import add_log_format

_SCHEMAS: Final = Path(__file__).parent.parent / "schemas"
_WORDS: Final = {
    "object": "mapping",
    "array": "list",
    "string": "text",
    "integer": "whole number",
    "boolean": "true or false",
}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Called by mkdocs after it has listed docs/: adds the generated pages."""
    for name, lines in (
        ("spec.md", spec_page()),
        ("command-line.md", command_line_page()),
        ("exit-status.md", exit_status_page()),
        ("json.md", json_page()),
    ):
        files.append(File.generated(config, name, content="".join(f"{line}\n" for line in lines)))
    return files


def spec_page() -> Iterator[str]:
    schema = _load("provisioner.schema.json")
    yield "# The spec"
    yield ""
    yield "All fields of a spec file. To see the same in an editor while you type, write the schema to a file with"
    yield "`provisioner schema > provisioner.schema.json`, and put"
    yield "`# yaml-language-server: $schema=provisioner.schema.json` in the first line of the spec."
    yield from _section(schema, "Top of the file", "top")
    for name in _as_referred_to(schema):
        yield from _section(schema["$defs"][name], schema["$defs"][name]["title"], name)


def _as_referred_to(schema: dict[str, Any]) -> list[str]:
    """The names of all definitions, in the order in which a reader from the top meets them."""
    names: list[str] = []
    parts = [{**schema, "$defs": {}}]
    while parts:
        for name in re.findall(r'"#/\$defs/(\w+)"', json.dumps(parts.pop(0))):
            if name not in names:
                names.append(name)
                parts.append(schema["$defs"][name])
    return names


def json_page() -> Iterator[str]:
    schema = _load("plan.schema.json")
    yield "# JSON output"
    yield ""
    yield schema["description"]
    yield "The JSON Schema is in `schemas/plan.schema.json`. [JSON examples](json-samples.md) shows a document of each"
    yield "command. [Versions](versioning.md) says what stays compatible."
    for name, part in schema["$defs"].items():
        yield from _section(part, f"`{name}`", name)


def command_line_page() -> Iterator[str]:
    root = whole_command()
    yield "# Command line"
    yield ""
    yield f"{root.help} All commands use the same [exit statuses](exit-status.md)."
    for name, command in root.commands.items():
        context = typer.Context(command)
        parameters = [one for one in command.params if not getattr(one, "hidden", False)]
        arguments = [one for one in parameters if one.param_type_name == "argument"]
        yield from ("", f"## `{name}` {{#{name}}}", "")
        yield from (
            "```text",
            " ".join(["provisioner", name, "[OPTIONS]", *(one.make_metavar(context) for one in arguments)]),
        )
        yield from ("```", "", _paragraphs(command.help or ""), "", "| argument or option | meaning |", "|---|---|")
        for one in parameters:
            record = one.get_help_record(context)
            if record is not None:
                yield f"| `{record[0]}` | {_cell(record[1])} |"


def whole_command() -> Any:
    """The command line with every command, and the options that all of them accept."""
    root: Any = typer.main.get_command(app.all_verbs())
    add_log_format(root)
    return root


def exit_status_page() -> Iterator[str]:
    root = whole_command()
    yield "# Exit status"
    yield ""
    yield "All commands use the same exit statuses. They are stable, so scripts can rely on them."
    yield from ("", "| status | meaning |", "|---|---|")
    for status, meaning in re.findall(r"^  (\d+) +(.*)$", root.epilog, flags=re.MULTILINE):
        yield f"| {status} | {_cell(meaning)} |"


def _load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((_SCHEMAS / name).read_text())
    return loaded


def _section(part: dict[str, Any], title: str, anchor: str) -> Iterator[str]:
    """One definition, its properties in a table; those that are mappings of their own fields follow."""
    yield from ("", f"## {title} {{#{anchor}}}", "")
    if "description" in part:
        yield part["description"]
    if "pattern" in part or "enum" in part or ("type" in part and "properties" not in part):
        yield from ("", f"*{_kind(part).capitalize()}.*")
    yield from _examples_below(part)
    properties = part.get("properties", {})
    examples = any("examples" in one for one in properties.values())
    if properties:
        yield from ("", "| field | meaning | example |" if examples else "| field | meaning |")
        yield "|---|---|---|" if examples else "|---|---|"
    for name, one in properties.items():
        need = ", **required**" if name in part.get("required", ()) else ""
        kind = f"[{_kind(one)}](#{anchor}-{name})" if _is_inline(one) else _kind(one)
        meaning = f"{_cell(one['description'])} <br>" if "description" in one else ""
        example = f" {_examples(name, one)} |" if examples else ""
        yield f"| `{name}` | {meaning}*{_cell(kind)}{need}* |{example}"
    for name, one in properties.items():
        if _is_inline(one):
            yield from _section(one, one.get("title", f"`{name}`"), f"{anchor}-{name}")
        elif _is_inline(one.get("items", {})):
            yield from _section(one["items"], f"One of `{name}`", f"{anchor}-{name}")


def _is_inline(part: dict[str, Any]) -> bool:
    """Whether its fields are described in its place, not under a name."""
    return "properties" in part and "$ref" not in part


def _kind(part: dict[str, Any]) -> str:
    """What is to be written there, in words, with a link where that is described elsewhere."""
    match part:
        case {"$ref": str(reference)}:
            name = reference.removeprefix("#/$defs/")
            return f"[{name.replace('_', ' ')}](#{name})"
        case {"const": value}:
            return f"`{json.dumps(value)}`"
        case {"enum": list(values)}:
            return ", ".join(f"`{value}`" for value in values)
        case {"then": dict(then), "else": {"additionalProperties": dict(each)}, "items": dict(item)}:
            return f"mapping of {_kind(each)}, list of {_kind(item)}, or {_kind(then)}"
        case {"then": dict(then), "type": ["object", "array"]}:
            return f"mapping, list, or {_kind(then)}"
        case {"additionalProperties": dict(each), "type": "object"}:
            return f"mapping of names, each to: {_kind(each)}"
        case {"items": dict(item), "type": "array"}:
            return f"list of: {_kind(item)}"
        case {"type": list(types)}:
            return " or ".join(_WORDS.get(str(one), str(one)) for one in types)
        case {"type": "integer", "minimum": int(least), "maximum": int(most)}:
            return f"whole number, {least:,} to {most:,}"
        case {"type": str(one)}:
            return _WORDS.get(one, one)
        case _:
            return "any value"


def _examples(name: str, part: dict[str, Any]) -> str:
    """As they stand in a spec, one below the other; of a choice, the choice itself is example enough."""
    examples = part.get("examples", [])
    if len(examples) > 1 and len(examples) >= len(part.get("enum", examples)) and "enum" in part:
        examples = examples[:1]
    return "<br>".join(f"`{name}: {_yaml(example)}`" for example in examples)


def _examples_below(part: dict[str, Any]) -> Iterator[str]:
    if part.get("examples"):
        yield from ("", "```yaml", *(_yaml(example) for example in part["examples"]), "```")


def _yaml(value: object) -> str:
    """On one line, as a person would write it: keys of mappings are text in JSON alone."""
    written = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return re.sub(r"'([0-9]+)':", r"\1:", written.removesuffix("\n").removesuffix("\n..."))


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(one.split()) for one in text.replace("\b", "").split("\n\n"))


def _cell(text: str) -> str:
    """Text in a table: a bar ends its cell, but not within `code`."""
    parts = " ".join(text.split()).split("`")
    return "`".join(part if number % 2 else part.replace("|", "\\|") for number, part in enumerate(parts))
