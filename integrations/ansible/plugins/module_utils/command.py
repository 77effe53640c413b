# Apache License 2.0 (see LICENSE at the top of the project)
"""The provisioner's command line for the modules: it reads one JSON document, and gives errors as text."""

from __future__ import annotations

import json

SPEC = {
    "files": {"type": "list", "elements": "path", "required": True},
    "overlays": {"type": "list", "elements": "path", "default": []},
    "variables": {"type": "dict", "default": {}},
    "pin_root": {"type": "path"},
    "allow_outside": {"type": "bool", "default": False},
    "executable": {"type": "path", "default": "provisioner"},
}
"""The options that all modules have."""


def arguments(params, options=()):
    """The command line of a verb: options, `--`, files. A file with the name of an option is still a file."""
    words = [f"--overlay={overlay}" for overlay in params["overlays"]]
    words += [f"--var={name}={_value(value)}" for name, value in params["variables"].items()]
    if params["pin_root"]:
        words.append(f"--pin-root={params['pin_root']}")
    if params["allow_outside"]:
        words.append("--allow-outside")
    return [*words, *options, "--", *params["files"]]


def _value(value):
    """A variable of the spec as text; true and false as in YAML."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def run(module, verb, words, folder=None):
    """Run a verb with `--format json` in a directory. Gives its exit status, its document (or None) and its errors."""
    executable = module.params["executable"]
    if "/" not in executable:
        executable = module.get_bin_path(executable, required=True, opt_dirs=["/usr/local/bin", "/opt/provisioner/bin"])
    status, out, err = module.run_command([executable, verb, "--format", "json", *words], cwd=folder)
    return status, _parsed(out), _errors(err)


def _parsed(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


def _errors(text):
    document = _parsed(text)
    if document is not None:
        return document["errors"]
    return [{"message": line} for line in text.splitlines() if line]


def in_words(errors):
    """Errors as one message: place, what is wrong, hint."""
    return "; ".join(_text(error) for error in errors) or "the provisioner failed without a message"


def _text(error):
    place = error.get("address") or ""
    if error.get("file"):
        parts = [str(error[part]) for part in ("file", "line", "column") if error.get(part)]
        place = ":".join(parts)
    text = f"{place}: {error['message']}" if place else error["message"]
    text = f"{text} [{error['id']}]" if error.get("id") else text
    return f"{text} ({error['hint']})" if error.get("hint") else text
