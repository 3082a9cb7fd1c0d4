"""The objects of k8s/overlays, and what is wrong with them as an API server and KubeRay see it."""

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import celpy
import jsonschema
import kubernetes_validate
import pytest
import yaml
from tests.tools import tool

ROOT = Path(__file__).parents[1]
OVERLAYS = sorted(path.name for path in (ROOT / "k8s" / "overlays").iterdir())
COMPONENTS = sorted(path.name for path in (ROOT / "k8s" / "components").iterdir())
SCHEMAS = ROOT.parent / "shared" / "kuberay-crds-1.7.0"
KUBERNETES = "1.37"
OTHERS = {"kueue.x-k8s.io", "monitoring.coreos.com"}
"""API groups whose kinds have no schema here."""
Object = dict[str, Any]


def kubectl() -> str:
    """The pinned one beside this interpreter, or the machine's."""
    own = Path(sys.executable).with_name("kubectl")
    return str(own) if own.is_file() else tool("kubectl")


@cache
def _text(path: Path) -> str:
    done = subprocess.run([kubectl(), "kustomize", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def built(path: Path) -> list[Object]:
    """The objects of a kustomization."""
    return list(yaml.safe_load_all(_text(path)))


def overlay(name: str) -> list[Object]:
    """The objects of an overlay."""
    return built(ROOT / "k8s" / "overlays" / name)


def of_kind(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """The one object of a kind, or that of a name."""
    (found,) = (o for o in objects if o["kind"] == kind and name in (None, o["metadata"]["name"]))
    return found


def clusters(obj: Object) -> Iterator[Object]:
    """The RayClusterSpec in an object of KubeRay; none in other objects."""
    spec = obj.get("spec", {})
    if obj["kind"] == "RayCluster":
        yield spec
    for part in (spec, spec.get("jobTemplate", {})):
        yield from (part[key] for key in ("rayClusterSpec", "rayClusterConfig") if key in part)


def pods(obj: Object) -> Iterator[tuple[str, Object]]:
    """Names and PodSpecs in an object, of head, groups or a workload's template."""
    for cluster in clusters(obj):
        yield "head", cluster["headGroupSpec"]["template"]["spec"]
        for group in cluster["workerGroupSpecs"]:
            yield group["groupName"], group["template"]["spec"]
    if obj["kind"] in ("StatefulSet", "Deployment"):
        yield obj["metadata"]["name"], obj["spec"]["template"]["spec"]


def schema_faults(obj: Object) -> list[str]:
    """What Kubernetes's schemas or KubeRay's, closed to unknown fields, say, CEL rules included.
    Skips where KubeRay's schemas are not beside the checkout."""
    if obj["apiVersion"].startswith("ray.io/"):
        if not SCHEMAS.is_dir():
            pytest.skip("KubeRay's schemas are not beside the checkout")
        schema, validator = _kuberay(obj["kind"].lower())
        faults = [error.message for error in validator.iter_errors(obj)]
        return faults + list(cel_faults(schema, obj))
    try:
        kubernetes_validate.validate(obj, KUBERNETES, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        if obj["apiVersion"].partition("/")[0] not in OTHERS:
            return [f"Kubernetes has no {obj['kind']} in {obj['apiVersion']}"]
    except kubernetes_validate.ValidationError as error:
        return [str(error.message)]
    return []


@cache
def _kuberay(kind: str) -> tuple[Object, jsonschema.Draft7Validator]:
    definition = yaml.load(
        (SCHEMAS / f"ray.io_{kind}s.yaml").read_text(),
        getattr(yaml, "CSafeLoader", yaml.SafeLoader),
    )
    version = next(v for v in definition["spec"]["versions"] if v["name"] == "v1")
    schema = _closed(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return schema, jsonschema.Draft7Validator(schema)


def _closed(schema: Object) -> Object:
    """The schema with unknown fields refused, as an API server would drop them in silence."""
    out = {k: _closed(v) if isinstance(v, dict) else v for k, v in schema.items()}
    if "properties" in out and "x-kubernetes-preserve-unknown-fields" not in out:
        out.setdefault("additionalProperties", False)
        out["properties"] = {k: _closed(v) for k, v in schema["properties"].items()}
    return out


def cel_faults(schema: Object, value: Any) -> Iterator[str]:
    """The messages of the CEL rules of a schema that a value breaks. Rules about changes
    (``oldSelf``) say nothing about what is made anew."""
    for rule in schema.get("x-kubernetes-validations", ()):
        if "oldSelf" not in rule["rule"] and not _program(rule["rule"]).evaluate(
            {"self": celpy.json_to_cel(value)}
        ):
            yield rule["message"]
    if isinstance(value, dict):
        for key, own in schema.get("properties", {}).items():
            if key in value:
                yield from cel_faults(own, value[key])
    if isinstance(value, list):
        for item in value:
            yield from cel_faults(schema.get("items", {}), item)


@cache
def _program(rule: str) -> Any:
    environment = celpy.Environment()
    return environment.program(environment.compile(rule))
