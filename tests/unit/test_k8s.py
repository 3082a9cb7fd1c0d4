"""Every object of every overlay against Kubernetes' schemas, and KubeRay's with its own rules."""

import copy
import os
from collections.abc import Callable

import pytest
from tests import manifests
from tests.manifests import COMPONENTS, OVERLAYS, ROOT, Object, of_kind, overlay, schema_faults
from tests.operator_rules import operator_faults


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_object_fits_its_schema(name) -> None:
    objects = overlay(name)
    assert {o["kind"] for o in objects} >= {"RayCluster", "RayJob", "RayCronJob", "RayService"}
    kinds = [o for o in objects if not o["apiVersion"].startswith("ray.io/")]
    assert [(o["kind"], fault) for o in kinds for fault in schema_faults(o)] == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_ray_object_fits_the_operator(name) -> None:
    kuberay = [o for o in overlay(name) if o["apiVersion"].startswith("ray.io/")]
    assert [(o["metadata"]["name"], fault) for o in kuberay for fault in operator_faults(o)] == []
    assert [(o["metadata"]["name"], fault) for o in kuberay for fault in schema_faults(o)] == []


@pytest.mark.parametrize("name", ["incremental-upgrade", "history-server"])
def test_a_component_that_no_overlay_takes_fits_too(name, tmp_path) -> None:
    objects = with_component(name, tmp_path)
    assert [f for o in objects for f in schema_faults(o)] == []
    kuberay = [o for o in objects if o["apiVersion"].startswith("ray.io/")]
    assert [f for o in kuberay for f in operator_faults(o)] == []


def with_component(name: str, folder) -> list[Object]:
    """The overlay dev with one component more. Kustomize takes relative paths alone."""
    base = os.path.relpath(ROOT / "k8s/overlays/dev", folder)
    component = os.path.relpath(ROOT / "k8s/components" / name, folder)
    text = f"resources: [{base}]\ncomponents: [{component}]\n"
    (folder / "kustomization.yaml").write_text(text)
    return manifests.built(folder)


def test_every_component_is_used_or_tested() -> None:
    used = "".join((ROOT / "k8s/overlays" / n / "kustomization.yaml").read_text() for n in OVERLAYS)
    unused = {name for name in COMPONENTS if f"components/{name}\n" not in used}
    assert unused == {"incremental-upgrade", "history-server"}


def container(obj: Object) -> Object:
    (cluster,) = manifests.clusters(obj)
    found: Object = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]
    return found


def cluster_of(obj: Object) -> Object:
    return next(manifests.clusters(obj))


MISTAKES: list[tuple[str, str, Callable[[Object], object]]] = [
    # A field that is misspelt, at every depth.
    ("schema", "RayCluster", lambda o: o["spec"].update(rayVersoin="2.60.0")),
    ("schema", "RayJob", lambda o: o["spec"].update(entrypont="python")),
    ("schema", "RayCronJob", lambda o: o["spec"]["jobTemplate"].update(entrypont="python")),
    ("schema", "RayService", lambda o: o["spec"].update(serveConfig="")),
    ("schema", "RayCluster", lambda o: container(o)["resources"].update(request={})),
    ("schema", "RayCluster", lambda o: container(o).update(securityContext={"runAsNonroot": True})),
    # A wrong type, value or a field that is missing.
    ("schema", "RayCluster", lambda o: o["spec"]["authOptions"].update(mode="tokens")),
    ("schema", "RayCluster", lambda o: o["spec"].update(enableInTreeAutoscaling="yes")),
    ("schema", "RayCluster", lambda o: o["spec"].pop("headGroupSpec")),
    ("schema", "RayJob", lambda o: o["spec"].update(backoffLimit="2")),
    # CEL rules.
    ("schema", "RayJob", lambda o: o["spec"].update(managedBy="somebody")),
    ("schema", "RayJob", lambda o: o["spec"].update(deletionStrategy={"onSuccess": {}})),
    # Built-in kinds.
    ("schema", "PodDisruptionBudget", lambda o: o["spec"].update(minAvailble=1)),
    ("schema", "PodDisruptionBudget", lambda o: o.update(apiVersion="policy/v1beta1")),
    ("schema", "ServiceAccount", lambda o: o.update(automountToken=False)),
    # What the operator alone refuses.
    ("operator", "RayJob", lambda o: o["spec"].update(shutdownAfterJobFinishes=False)),
    ("operator", "RayJob", lambda o: o["spec"].update(clusterSelector={"ray.io/cluster": "a"})),
    ("operator", "RayJob", lambda o: o["spec"].update(activeDeadlineSeconds=0)),
    ("operator", "RayJob", lambda o: o["spec"].update(submitterPodTemplate={})),
    ("operator", "RayJob", lambda o: o["spec"].pop("rayClusterSpec")),
    ("operator", "RayJob", lambda o: o["metadata"].update(name="a" * 48)),
    ("operator", "RayCronJob", lambda o: o["spec"].update(schedule="0 1 * *")),
    ("operator", "RayService", lambda o: o["spec"].update(upgradeStrategy={"type": "Rolling"})),
    ("operator", "RayService", lambda o: o["spec"].update(
        upgradeStrategy={"type": "NewClusterWithIncrementalUpgrade"})),
    ("operator", "RayCluster", lambda o: o["spec"].update(rayVersion="2.51.0")),
    ("operator", "RayCluster", lambda o: container(o).update(readinessProbe={})),
    ("operator", "RayCluster", lambda o: container(o).update(env=[{"name": "RAY_REDIS_ADDRESS"}])),
    ("operator", "RayCluster", lambda o: cluster_of(o)["headGroupSpec"]["template"]["spec"].update(
        restartPolicy="Always")),
    ("operator", "RayCluster", lambda o: cluster_of(o)["workerGroupSpecs"][0].update(
        minReplicas=9)),
    ("operator", "RayCluster", lambda o: cluster_of(o)["workerGroupSpecs"][1].update(
        groupName="cpu")),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_a_planted_mistake_is_found(number) -> None:
    by, kind, plant = MISTAKES[number]
    name = {"RayJob": "distill", "ServiceAccount": "ray-head"}.get(kind)
    obj = copy.deepcopy(of_kind(overlay("dev"), kind, name))
    faults = {"schema": schema_faults, "operator": operator_faults}[by]
    assert faults(obj) == []
    plant(obj)
    assert faults(obj)
