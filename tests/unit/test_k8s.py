"""Kubernetes manifests against KubeRay's own schemas."""

from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT.parent / "shared" / "kuberay-crds-1.7.0"


def closed(schema: dict) -> dict:
    """The schema with unknown fields refused, as an API server would drop them in silence."""
    out = {k: closed(v) if isinstance(v, dict) else v for k, v in schema.items()}
    if "properties" in out and "x-kubernetes-preserve-unknown-fields" not in out:
        out.setdefault("additionalProperties", False)
        out["properties"] = {k: closed(v) for k, v in schema["properties"].items()}
    return out


def validator(kind: str) -> jsonschema.Draft7Validator:
    path = SCHEMAS / f"ray.io_{kind.lower()}s.yaml"
    if not path.is_file():
        pytest.skip("KubeRay's schemas are not beside the checkout")
    definition = yaml.safe_load(path.read_text())
    version = next(v for v in definition["spec"]["versions"] if v["name"] == "v1")
    schema = closed(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft7Validator(schema)


@pytest.mark.parametrize("path", sorted((ROOT / "k8s").glob("*.yaml")), ids=lambda p: p.name)
def test_manifest_fits_the_schema(path) -> None:
    manifest = yaml.safe_load(path.read_text())
    check = validator(manifest["kind"])
    assert not list(check.iter_errors(manifest))
    manifest["spec"]["entrypont"] = "planted"
    assert list(check.iter_errors(manifest)), "the check cannot fail"


def test_versions_agree() -> None:
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )  # fmt: skip
    manifest = yaml.safe_load((ROOT / "k8s" / "rayjob.yaml").read_text())
    assert manifest["spec"]["rayClusterSpec"]["rayVersion"] == pins["ray"]
