"""The files for Kubernetes: held to its schemas, and to what the provisioner and the other files have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from tests.cli.support import run

FOLDER: Final = Path(__file__).parents[2] / "integrations" / "kubernetes"
MANIFESTS: Final = sorted(path for path in FOLDER.rglob("*.yaml") if path.stem in ("daemonset", "namespace"))
OLDEST: Final = "1.32"


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


def containers(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read(path)["spec"]["template"]["spec"]["containers"]
    return found


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_the_manifests_fit_the_schemas(version: str) -> None:
    for path in MANIFESTS:
        document = read(path)
        if path.parent.name != "base":  # a patch leaves out what the base has
            document["spec"]["selector"] = read(FOLDER / "base" / path.name)["spec"]["selector"]
            for container in document["spec"]["template"]["spec"]["containers"]:
                container.setdefault("image", "as the base")
        kubernetes_validate.validate(document, version, strict=True)


def test_what_the_schemas_would_find() -> None:
    document = read(FOLDER / "base" / "daemonset.yaml")
    document["spec"]["template"]["spec"]["hostNetworks"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, OLDEST, strict=True)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*/kustomization.yaml")), ids=lambda path: path.parent.name)
def test_a_kustomization_names_what_is_there(path: Path) -> None:
    named = read(path)
    generated = [name for one in named.get("configMapGenerator", []) for name in one["files"]]
    for name in [*named["resources"], *generated, *(one["path"] for one in named.get("patches", []))]:
        assert (path.parent / name).exists(), name
    base = read(FOLDER / "base" / "daemonset.yaml")
    for one in named.get("patches", []):
        assert read(path.parent / one["path"])["metadata"]["name"] == base["metadata"]["name"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*/daemonset.yaml")), ids=lambda path: path.parent.name)
def test_the_command_is_one_that_the_provisioner_takes(path: Path) -> None:
    (verb, *words), mounts = next(
        (one["args"], one["volumeMounts"]) for one in containers(path) if one["name"] == "provisioner"
    )
    options = set(re.findall(r"--[a-z-]+", run(verb, "--help").out))
    *given, spec = words
    assert {word.split("=")[0] for word in given} <= options
    assert any(spec.startswith(f"{mount['mountPath']}/") for mount in mounts)


def test_every_mount_has_its_volume() -> None:
    for path in FOLDER.glob("*/daemonset.yaml"):
        volumes = {one["name"] for one in read(path)["spec"]["template"]["spec"]["volumes"]}
        assert {mount["name"] for one in containers(path) for mount in one["volumeMounts"]} <= volumes


def test_the_spec_that_comes_with_it_is_sound() -> None:
    assert run("validate", FOLDER / "base" / "edge.yaml").status == 0
    generator = read(FOLDER / "base" / "kustomization.yaml")["configMapGenerator"][0]
    volumes = read(FOLDER / "base" / "daemonset.yaml")["spec"]["template"]["spec"]["volumes"]
    (volume,) = (one for one in volumes if "configMap" in one)
    assert volume["configMap"]["name"] == generator["name"]
