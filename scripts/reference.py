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
from typing import Any, Final

import typer
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from provisioner.cli import app, statuses
from provisioner.language import schema_file

_WORDS: Final = {
    "object": "mapping",
    "array": "list",
    "string": "string",
    "integer": "integer",
    "boolean": "boolean",
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
    schema = schema_file.load()
    yield "# The spec"
    yield ""
    yield "All fields of a spec file. To see the same in an editor while you type, write the schema to a file with"
    yield "`provisioner schema > provisioner.schema.json`, and put"
    yield "`# yaml-language-server: $schema=provisioner.schema.json` in the first line of the spec."
    yield from _section(schema, "Top level", "top")
    for name in _in_order_of_reference(schema):
        yield from _section(schema["$defs"][name], schema["$defs"][name]["title"], name)


def _in_order_of_reference(schema: dict[str, Any]) -> list[str]:
    """The names of all definitions, in the order of first reference from the top level."""
    names: list[str] = []
    parts = [{**schema, "$defs": {}}]
    while parts:
        for name in re.findall(r'"#/\$defs/(\w+)"', json.dumps(parts.pop(0))):
            if name not in names:
                names.append(name)
                parts.append(schema["$defs"][name])
    return names


def json_page() -> Iterator[str]:
    schema = schema_file.load(schema_file.OUTPUT_SCHEMA)
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
        parameters = [each for each in command.params if not getattr(each, "hidden", False)]
        arguments = [each for each in parameters if each.param_type_name == "argument"]
        yield from ("", f"## `{name}` {{#{name}}}", "")
        yield from (
            "```text",
            " ".join(["provisioner", name, "[OPTIONS]", *(each.make_metavar(context) for each in arguments)]),
        )
        yield from ("```", "", _paragraphs(command.help or ""), "", "| argument or option | meaning |", "|---|---|")
        for parameter in parameters:
            record = parameter.get_help_record(context)
            if record is not None:
                yield f"| `{record[0]}` | {_cell(record[1])} |"


def whole_command() -> Any:
    """The command line with every command, and the options that all of them accept."""
    root: Any = typer.main.get_command(app.all_verbs())
    return root


def exit_status_page() -> Iterator[str]:
    yield "# Exit status"
    yield ""
    yield "All commands use the same exit statuses. They are stable, so scripts can rely on them."
    yield from ("", "| status | meaning |", "|---|---|")
    for status, meaning in re.findall(r"^  (\d+) +(.*)$", statuses.ALL, flags=re.MULTILINE):
        yield f"| {status} | {_cell(meaning)} |"


def _section(part: dict[str, Any], title: str, anchor: str) -> Iterator[str]:
    """One definition with a table of its properties, then the properties that are defined inline."""
    yield from ("", f"## {title} {{#{anchor}}}", "")
    if "description" in part:
        yield part["description"]
    if "pattern" in part or "enum" in part or ("type" in part and "properties" not in part):
        yield from ("", f"*{_kind(part).capitalize()}.*")
    yield from _examples_below(part)
    properties = part.get("properties", {})
    examples = any("examples" in field for field in properties.values())
    if properties:
        yield from ("", "| field | meaning | example |" if examples else "| field | meaning |")
        yield "|---|---|---|" if examples else "|---|---|"
    for name, field in properties.items():
        need = ", **required**" if name in part.get("required", ()) else ""
        kind = f"[{_kind(field)}](#{anchor}-{name})" if _is_inline(field) else _kind(field)
        meaning = f"{_cell(field['description'])} <br>" if "description" in field else ""
        example = f" {_examples(name, field)} |" if examples else ""
        yield f"| `{name}` | {meaning}*{_cell(kind)}{need}* |{example}"
    for name, field in properties.items():
        if _is_inline(field):
            yield from _section(field, field.get("title", f"`{name}`"), f"{anchor}-{name}")
        elif _is_inline(field.get("items", {})):
            yield from _section(field["items"], f"Item of `{name}`", f"{anchor}-{name}")


def _is_inline(part: dict[str, Any]) -> bool:
    """Whether its properties are defined here, not by a reference."""
    return "properties" in part and "$ref" not in part


def _kind(part: dict[str, Any]) -> str:
    """The type in words, with a link if it is a reference."""
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
            return " or ".join(_WORDS.get(str(name), str(name)) for name in types)
        case {"type": "integer", "minimum": int(least), "maximum": int(most)}:
            return f"integer, {least:,} to {most:,}"
        case {"type": str(name)}:
            return _WORDS.get(name, name)
        case _:
            return "any value"


def _examples(name: str, part: dict[str, Any]) -> str:
    """Examples in YAML, one per line. If they only repeat an enum, the first one."""
    examples = part.get("examples", [])
    if len(examples) > 1 and len(examples) >= len(part.get("enum", examples)) and "enum" in part:
        examples = examples[:1]
    return "<br>".join(f"`{name}: {_yaml(example)}`" for example in examples)


def _examples_below(part: dict[str, Any]) -> Iterator[str]:
    if part.get("examples"):
        yield from ("", "```yaml", *(_yaml(example) for example in part["examples"]), "```")


def _yaml(value: object) -> str:
    """One line of YAML. Integer keys are strings in JSON only."""
    written = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return re.sub(r"'([0-9]+)':", r"\1:", written.removesuffix("\n").removesuffix("\n..."))


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.replace("\b", "").split("\n\n"))


def _cell(text: str) -> str:
    """Text in a table: a bar ends its cell, but not within `code`."""
    parts = " ".join(text.split()).split("`")
    return "`".join(part if number % 2 else part.replace("|", "\\|") for number, part in enumerate(parts))
