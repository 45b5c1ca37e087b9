"""The manifests of ops/kubernetes, as `kubectl kustomize` renders them, and the schemas that they satisfy."""

import json
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from scripts.stack import places
from scripts.tests import programs

FOLDER = places.PROJECT / "ops" / "kubernetes"
PRODUCTION, EXTERNAL, MONITORING = "overlays/production", "overlays/external", "monitoring"
OVERLAYS = (PRODUCTION, EXTERNAL)
OLDEST, NEWEST = "1.34", "1.37"
"""The releases of Kubernetes that docs/kubernetes.md names."""

Manifest = dict[str, Any]
_KUBECTL = str(Path(sys.executable).with_name("kubectl"))
_CUSTOM_RESOURCES = Path(__file__).with_name("custom_resources")


@lru_cache
def render(name: str) -> tuple[Manifest, ...]:
    """Every object of this folder of ops/kubernetes."""
    return tuple(yaml.safe_load_all(programs.run([_KUBECTL, "kustomize", str(FOLDER / name)])))


def find(name: str, kind: str, *, named: str) -> Manifest:
    [found] = [one for one in of_kind(name, kind) if one["metadata"]["name"] == named]
    return found


def of_kind(name: str, *kinds: str) -> list[Manifest]:
    return [one for one in render(name) if one["kind"] in kinds]


def of_the_shop(name: str) -> dict[str, Manifest]:
    """The Deployments and Jobs of the shop's own processes, by the process's name."""
    return {
        labels(workload)["app.kubernetes.io/component"]: workload
        for workload in of_kind(name, "Deployment", "Job")
        if container(workload)["name"] == "shop"
    }


def labels(workload: Manifest) -> dict[str, str]:
    """Of its pods."""
    return workload["spec"]["template"]["metadata"]["labels"]


def pod(workload: Manifest) -> Manifest:
    return workload["spec"]["template"]["spec"]


def container(workload: Manifest) -> Manifest:
    """The one container of its pod."""
    [found] = pod(workload)["containers"]
    return dict(found)


def every_container(workload: Manifest) -> Iterator[Manifest]:
    yield from pod(workload).get("initContainers", [])
    yield from pod(workload)["containers"]


def environment(name: str, found: Manifest) -> dict[str, Any]:
    """The variables of a container: a value, from a ConfigMap or of its own, or the reference to a secret."""
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(name, "ConfigMap")}
    variables: dict[str, Any] = {}
    for source in found.get("envFrom", []):
        variables |= maps[source["configMapRef"]["name"]]
    for variable in found.get("env", []):
        variables[variable["name"]] = variable.get("value") or variable["valueFrom"]["secretKeyRef"]
    return variables


def autoscaler() -> Manifest:
    return find(PRODUCTION, "HorizontalPodAutoscaler", named="web")["spec"]


def mysql() -> Manifest:
    return find(PRODUCTION, "InnoDBCluster", named="mysql")["spec"]


def mycnf() -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.+)$", mysql()["mycnf"], flags=re.MULTILINE))


def validate(manifest: Manifest, version: str) -> None:
    """Raises `ValidationError` where the schema refuses the object, or doesn't have one of its fields."""
    own = _CUSTOM_RESOURCES / f"{manifest['kind']}.json"
    if own.exists():
        jsonschema.validate(manifest, json.loads(own.read_text()))
    else:
        kubernetes_validate.validate(manifest, version, strict=True)
