"""The files for Kubernetes: their schemas, their commands, and what their parts need from each other."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from tests.cli.support import run
from tests.integrations import kustomize
from tests.integrations.kustomize import Document

FOLDER: Final = Path(__file__).parents[2] / "integrations" / "kubernetes"
COMPONENTS: Final = sorted((FOLDER / "components").iterdir())
OLDEST: Final = "1.32"

KUSTOMIZATIONS: Final[Mapping[str, tuple[str, Sequence[Path]]]] = {
    "base": ("base", ()),
    "example": ("example", ()),
    "all": ("base", COMPONENTS),
    "reversed": ("base", COMPONENTS[::-1]),
    **{component.name: ("base", [component]) for component in COMPONENTS},
}
"""The base alone, with each component, and with all of them."""


@cache
def built(name: str) -> list[Document]:
    folder, components = KUSTOMIZATIONS[name]
    return kustomize.build(FOLDER / folder, components)


@pytest.fixture(params=KUSTOMIZATIONS)
def build(request: pytest.FixtureRequest) -> list[Document]:
    return built(request.param)


def pod(build: list[Document]) -> Document:
    spec: Document = kustomize.only(build, "DaemonSet")["spec"]["template"]["spec"]
    return spec


def containers(build: list[Document]) -> Iterator[Document]:
    return chain(pod(build).get("initContainers", ()), pod(build)["containers"])


def container(build: list[Document], name: str) -> Document:
    (described,) = (each for each in containers(build) if each["name"] == name)
    return described


def values(build: list[Document]) -> dict[str, str]:
    """The environment of the provisioner, without what Kubernetes fills in."""
    return {each["name"]: each["value"] for each in container(build, "provisioner")["env"] if "value" in each}


def environment(build: list[Document], node: str) -> dict[str, str]:
    """The environment of the provisioner on a node. `$(NAME)` is a variable that comes earlier, as in Kubernetes."""
    held: dict[str, str] = {}
    for each in container(build, "provisioner")["env"]:
        text = str(each.get("value", node))
        held[each["name"]] = re.sub(r"\$\((\w+)\)", lambda found: held.get(found[1], found[0]), text)
    return held


def script(build: list[Document], name: str) -> str:
    """The script that a container runs with `sh -ec`."""
    described = container(build, name)
    assert described["command"] == ["sh", "-ec"]
    (text,) = described["args"]
    return str(text)


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_the_manifests_fit_the_schemas(build: list[Document], version: str) -> None:
    for document in build:
        if document["apiVersion"] != "monitoring.coreos.com/v1":
            kubernetes_validate.validate(document, version, strict=True)


def test_what_the_schemas_would_find() -> None:
    document = kustomize.only(kustomize.build(FOLDER / "base"), "DaemonSet")
    document["spec"]["template"]["spec"]["hostNetworks"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, OLDEST, strict=True)


def test_every_mount_has_its_volume(build: list[Document]) -> None:
    volumes = {volume["name"] for volume in pod(build)["volumes"]}
    assert {mount["name"] for each in containers(build) for mount in each["volumeMounts"]} <= volumes


def test_the_configmaps_of_the_example_exist_and_have_hashes() -> None:
    build = built("example")
    needed = {volume["configMap"]["name"] for volume in pod(build)["volumes"] if "configMap" in volume}
    assert needed == {document["metadata"]["name"] for document in build if document["kind"] == "ConfigMap"}
    for path in FOLDER.rglob("kustomization.yaml"):
        assert "disableNameSuffixHash" not in path.read_text(), "a changed spec must be a new revision"


def test_all_containers_are_confined(build: list[Document]) -> None:
    assert pod(build)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for each in containers(build):
        security = each["securityContext"]
        assert security["readOnlyRootFilesystem"] and "limits" in each["resources"]
        if each["name"] == "mount-bpffs":
            continue
        assert security["capabilities"]["drop"] == ["ALL"] and not security.get("privileged")
        assert "add" in security["capabilities"] or not security["allowPrivilegeEscalation"]


def test_the_provisioner_sees_a_bpffs_that_is_mounted_later(build: list[Document]) -> None:
    (mount,) = (each for each in container(build, "provisioner")["volumeMounts"] if each["name"] == "bpffs")
    assert (mount["mountPath"], mount["mountPropagation"]) == ("/sys/fs/bpf", "HostToContainer")


@pytest.mark.parametrize("refused", [False, True])
def test_the_watch_starts_only_after_an_apply_that_succeeded(
    build: list[Document], refused: bool, tmp_path: Path
) -> None:
    """Otherwise a rollout continues with a spec that is invalid or refused."""
    record = f'#!/bin/sh\nprintf "%s\\n" "$*" >>{tmp_path}/calls\nexit {4 if refused else 0}\n'
    (tmp_path / "provisioner").write_text(record)
    (tmp_path / "provisioner").chmod(0o755)
    given = values(build)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-ec", script(build, "provisioner")], env=os.environ | given | path)
    calls = [line.split() for line in (tmp_path / "calls").read_text().splitlines()]
    assert done.returncode == (4 if refused else 0)
    assert [call[0] for call in calls] == (["apply"] if refused else ["apply", "watch"])
    mounts = [mount["mountPath"] for mount in container(build, "provisioner")["volumeMounts"]]
    for verb, *words in calls:
        options, (spec,) = words[: words.index("--")], words[words.index("--") + 1 :]
        assert {word.split("=")[0] for word in options} <= set(re.findall(r"--[a-z-]+", run(verb, "--help").out))
        assert any(spec.startswith(f"{mount}/") for mount in mounts)
        for overlay in (word.partition("=")[2] for word in options if word.startswith("--overlay=")):
            assert any(overlay.startswith(f"{mount}/") for mount in mounts)


def test_the_probes_ask_where_metrics_are_served(build: list[Document]) -> None:
    described = container(build, "provisioner")
    metrics = values(build)["METRICS"]
    for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
        asked = described[probe]["httpGet"]
        assert asked["path"] == path and metrics in (
            f"{asked['host']}:{asked['port']}",
            f"0.0.0.0:{asked['port']}",
        )


@pytest.mark.parametrize("name", ["node-values", "all", "reversed"])
def test_a_node_has_the_overlay_of_its_name_or_none(name: str, tmp_path: Path) -> None:
    (tmp_path / "edge-1.yaml").write_text("outer_maps: {tenants: {inner_maps: {43: {entries: {}}}}}\n")
    for node, has in (("edge-1", True), ("edge-2", False)):
        options = environment(built(name), node)["OPTIONS"].replace("/nodes/", f"{tmp_path}/").split()
        planned = run("plan", "--against=empty", *options, FOLDER / "base" / "edge.yaml")
        assert planned.status == 2, planned.err
        assert ("[43]" in planned.out) == has


def test_the_specs_that_come_with_it_are_sound() -> None:
    assert run("validate", FOLDER / "base" / "edge.yaml").status == 0
    for overlay in (*(FOLDER / "example" / "nodes").iterdir(), Path("missing.yaml?")):
        assert run("validate", FOLDER / "example" / "edge.yaml", "--overlay", overlay).status == 0


def test_git_sync_has_the_directory_that_the_provisioner_reads() -> None:
    build = built("git-sync")
    (spec,) = (each["value"] for each in container(build, "provisioner")["env"] if each["name"] == "SPEC")
    for name in ("git-clone", "git-sync"):
        given = {variable["name"]: variable["value"] for variable in container(build, name)["env"]}
        assert spec.startswith(f"{given['GITSYNC_ROOT']}/{given['GITSYNC_LINK']}/")


def test_the_page_names_every_component() -> None:
    page = (FOLDER / "README.md").read_text()
    for component in COMPONENTS:
        assert f"`{component.name}`" in page


def test_a_patch_is_merged_as_kustomize_does(tmp_path: Path) -> None:
    base: dict[str, Any] = {"kind": "DaemonSet", "metadata": {"name": "x"}}
    old = {"containers": [{"name": "a", "args": [1, 2], "env": [{"name": "E", "value": "1"}]}]}
    new = {"containers": [{"name": "b"}, {"name": "a", "args": [3], "env": [{"name": "F", "value": "2"}]}]}
    (tmp_path / "old.yaml").write_text(yaml.dump(base | {"spec": old}))
    (tmp_path / "new.yaml").write_text(yaml.dump(base | {"spec": new}))
    described = {"resources": ["old.yaml"], "patches": [{"path": "new.yaml"}]}
    (tmp_path / "kustomization.yaml").write_text(yaml.dump(described))
    (built,) = kustomize.build(tmp_path)
    variables = [{"name": "F", "value": "2"}, {"name": "E", "value": "1"}]
    assert built["spec"]["containers"] == [{"name": "b"}, {"name": "a", "args": [3], "env": variables}]
