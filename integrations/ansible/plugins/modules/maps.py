#!/usr/bin/python
# Apache License 2.0 (see LICENSE at the top of the project)
"""The module that brings a host's maps to what specs say."""

from __future__ import annotations

DOCUMENTATION = r"""
module: maps
short_description: Bring BPF maps-in-maps to what specs say
version_added: "0.2.0"
author: The provisioner's contributors (@bpf-provisioner)
description:
  - Runs C(provisioner apply) for the spec files of one project, which must be on the host already.
  - In check mode it runs C(provisioner plan), which writes nothing, and says changed exactly when apply would change
    something.
  - What apply would refuse, a limit of deletes for one, fails in check mode too.
  - With diff, shows the keys that differ, with their values before and after. Values of sensitive types are not shown.
attributes:
  check_mode:
    support: full
    description: Says what would change, and writes nothing.
  diff_mode:
    support: full
    description: Shows what changes, decoded.
options:
  files:
    description: Spec files or folders of one project.
    type: list
    elements: path
    required: true
  overlays:
    description: Files that are laid over the spec in this order. What they say wins.
    type: list
    elements: path
    default: []
  state:
    description:
      - V(present) brings the maps to what the spec says.
      - V(absent) detaches and unpins all that the project owns.
    type: str
    choices: [present, absent]
    default: present
  pin_root:
    description: The pin directory, in place of the spec's.
    type: path
  approve_deletes:
    description: Go beyond the spec's limits of deletes.
    type: bool
    default: false
  allow_recreate:
    description: Make live maps anew where they cannot change.
    type: bool
    default: false
  take_over:
    description: Take over pins that another project made.
    type: bool
    default: false
  prune:
    description: Remove pins that the spec does not name.
    type: bool
    default: false
  lock_timeout:
    description: Seconds to wait while another process applies.
    type: float
    default: 30
  allow_outside:
    description: Let the spec name files outside its folder.
    type: bool
    default: false
  executable:
    description: The provisioner's command.
    type: path
    default: provisioner
seealso:
  - module: bpf.provisioner.maps_facts
"""

EXAMPLES = r"""
- name: The spec of the fleet, with what is this site's and this host's
  bpf.provisioner.maps:
    files: [/etc/provisioner/edge.yaml]
    overlays:
      - /etc/provisioner/site.yaml
      - /etc/provisioner/host.yaml

- name: Take all of it away
  bpf.provisioner.maps:
    files: [/etc/provisioner/edge.yaml]
    state: absent
"""

RETURN = r"""
digest:
  description: Of the plan; the same spec and live state give the same.
  type: str
  returned: where there is a plan
summary:
  description: How many outer maps, inner maps, entries and programs there are to create, change and delete.
  type: dict
  returned: where there is a plan
changes:
  description: Each difference, with address, action, reason, before and after; long lists are cut.
  type: list
  elements: dict
  returned: where there is a plan
hazards:
  description: What is worth knowing before it is done.
  type: list
  elements: dict
  returned: where there is a plan
result:
  description: How the apply ended.
  type: dict
  returned: not in check mode
errors:
  description: What is wrong, with file, line, message and hint.
  type: list
  elements: dict
  returned: on failure
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bpf.provisioner.plugins.module_utils import command

_ALLOW = ("approve_deletes", "allow_recreate", "take_over", "prune")
_ALLOW_ABSENT = ("take_over",)
"""What destroy asks for: it has no limits of deletes, and protected maps have no override."""


def overrides(params, absent):
    """The options of apply and destroy that plan takes too."""
    allowed = [name for name in (_ALLOW_ABSENT if absent else _ALLOW) if params[name]]
    return [f"--{name.replace('_', '-')}" for name in allowed]


def difference(document):
    """What Ansible shows with --diff: a line per address, before and after."""
    sides = {"before": [], "after": []}
    for change in document["changes"]:
        # Of what is changed in place, that which is in it says how.
        alone = change["action"] != "update" or change["kind"] == "entry"
        for side, lines in sides.items():
            if alone and change[side] is not None:
                lines.append(f"{change['address']}: {json.dumps(change[side], sort_keys=True)}\n")
        if change.get("omitted"):
            sides["after"].append(f"{change['address']}: {change['omitted']} more\n")
    root = document["pin_root"]
    return {
        "before_header": f"{root} (live)",
        "after_header": f"{root} (spec)",
        "before": "".join(sides["before"]),
        "after": "".join(sides["after"]),
    }


def main():
    """Plan in check mode, else apply or destroy."""
    argument_spec = dict(command.SPEC)
    argument_spec.update({name: {"type": "bool", "default": False} for name in _ALLOW})
    argument_spec["state"] = {"type": "str", "choices": ["present", "absent"], "default": "present"}
    argument_spec["lock_timeout"] = {"type": "float", "default": 30}
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True)
    absent = module.params["state"] == "absent"
    options = overrides(module.params, absent)

    if module.check_mode:
        verb, options = "plan", options + (["--destroy"] if absent else [])
    else:
        verb = "destroy" if absent else "apply"
        options = [*options, "--yes", f"--lock-timeout={module.params['lock_timeout']}"]
    status, document, errors = command.run(module, verb, command.arguments(module.params, options))
    done = status == 0 or (module.check_mode and status == 2)

    told = {"changed": False}
    if document is not None:
        told = {key: document[key] for key in ("digest", "summary", "changes", "hazards", "result") if key in document}
        told["changed"] = _has_changed(document, done)
        if module._diff:
            told["diff"] = difference(document)
    if done:
        module.exit_json(**told)
    if not errors and document is not None:
        errors = [_refusal(one) for one in document["blocked"]]  # a plan says it in its document alone
    module.fail_json(msg=command.in_words(errors), errors=errors, rc=status, **told)


def _has_changed(document, done):
    """Whether something changed, or would; after a failure, whether something is live that was not."""
    result = document.get("result")
    if result is None:
        return done and document["changed"]
    return result["status"] == "applied" or bool(result["live"])


def _refusal(blocked):
    """A rule's refusal, in the words in which apply says it."""
    hint = f"{blocked['override']} allows it" if blocked["override"] else ""
    return {"address": blocked["address"], "message": f"{blocked['rule']}: {blocked['message']}", "hint": hint}


if __name__ == "__main__":
    main()
