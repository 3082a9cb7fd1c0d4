"""What KubeRay 1.7's operator refuses although its schemas allow it (its validation.go)."""

import re
from collections.abc import Iterator

from tests.manifests import Object, clusters

NAME_LENGTHS = {"RayCluster": 63, "RayJob": 47, "RayService": 47, "RayCronJob": 47}
UPGRADES = ("NewCluster", "NewClusterWithIncrementalUpgrade", "None")
REDIS = ("REDIS_PASSWORD", "RAY_REDIS_ADDRESS", "REDIS_USERNAME")


def operator_faults(obj: Object) -> list[str]:
    """Of one object of KubeRay's."""
    found = []
    name, spec = obj["metadata"]["name"], obj["spec"]
    if len(name) > NAME_LENGTHS[obj["kind"]] or not re.fullmatch(
        "[a-z]([a-z0-9-]*[a-z0-9])?", name
    ):
        found.append(f"{name}: the name is too long, or no DNS label")
    for cluster in clusters(obj):
        found += _cluster(cluster)
    if obj["kind"] == "RayJob":
        found += _job(spec)
    if obj["kind"] == "RayCronJob":
        found += _job(spec["jobTemplate"])
        if len(spec["schedule"].split()) != 5:
            found.append("schedule: needs five fields")
    if obj["kind"] == "RayService":
        found += _service(spec)
    return found


def _cluster(spec: Object) -> Iterator[str]:
    head = spec["headGroupSpec"]
    groups = [("head", head), *((g["groupName"], g) for g in spec["workerGroupSpecs"])]
    autoscaling = spec.get("enableInTreeAutoscaling", False)
    version = spec.get("autoscalerOptions", {}).get("version")
    env = {e["name"] for e in head["template"]["spec"]["containers"][0].get("env", ())}
    for name, group in groups:
        pod, params = group["template"]["spec"], group.get("rayStartParams", {})
        own = {"num-cpus", "num-gpus", "memory", "resources"} & params.keys()
        if own and group.get("resources"):
            yield f"{name}: resources and rayStartParams"
        if "labels" in params:
            yield f"{name}: rayStartParams.labels"
        if autoscaling and version == "v2" and pod.get("restartPolicy", "Never") != "Never":
            yield f"{name}: restartPolicy with autoscaler v2"
        if group.get("suspend") and autoscaling:
            yield f"{name}: suspend with autoscaling"
        # The operator injects its probes; one of ours would replace them.
        if {"livenessProbe", "readinessProbe"} & pod["containers"][0].keys():
            yield f"{name}: a probe of its own"
    if len({name for name, _ in groups}) < len(groups):
        yield "two groups of one name"
    for group in spec["workerGroupSpecs"]:
        low, high = group["minReplicas"], group["maxReplicas"]
        if not low <= group.get("replicas", low) <= high:
            yield f"{group['groupName']}: replicas outside minReplicas and maxReplicas"
    if version and "RAY_enable_autoscaler_v2" in env:
        yield "autoscalerOptions.version and RAY_enable_autoscaler_v2"
    if env & set(REDIS) or "redis-password" in head.get("rayStartParams", {}):
        yield "Redis in the head's environment instead of gcsFaultToleranceOptions"
    release = tuple(map(int, spec.get("rayVersion", "0").split(".")))
    if spec.get("authOptions", {}).get("mode") == "token" and release < (2, 52):
        yield "authOptions.mode: token before Ray 2.52"


def _job(spec: Object) -> Iterator[str]:
    shutdown, selector = spec.get("shutdownAfterJobFinishes"), spec.get("clusterSelector")
    if spec.get("suspend") and (not shutdown or selector):
        yield "suspend without shutdownAfterJobFinishes, or with clusterSelector"
    if spec.get("ttlSecondsAfterFinished", 0) and not shutdown:
        yield "ttlSecondsAfterFinished without shutdownAfterJobFinishes"
    if not selector and "rayClusterSpec" not in spec:
        yield "neither rayClusterSpec nor clusterSelector"
    if selector and spec.get("backoffLimit"):
        yield "backoffLimit with clusterSelector"
    if spec.get("activeDeadlineSeconds", 1) <= 0 or spec.get("backoffLimit", 0) < 0:
        yield "activeDeadlineSeconds or backoffLimit below its minimum"
    if spec.get("submissionMode") in ("HTTPMode", "SidecarMode") and (
        {"submitterPodTemplate", "submitterConfig"} & spec.keys()
    ):
        yield "a submitter's pod without K8sJobMode"
    if spec.get("submissionMode") == "InteractiveMode" and spec.get("backoffLimit"):
        yield "backoffLimit with InteractiveMode"


def _service(spec: Object) -> Iterator[str]:
    upgrade = spec.get("upgradeStrategy", {})
    if upgrade.get("type", "NewCluster") not in UPGRADES:
        yield f"upgradeStrategy.type {upgrade['type']}"
    if spec.get("rayClusterDeletionDelaySeconds", 0) < 0:
        yield "rayClusterDeletionDelaySeconds below 0"
    if upgrade.get("type") == "NewClusterWithIncrementalUpgrade":
        options = upgrade.get("clusterUpgradeOptions", {})
        if not spec["rayClusterConfig"].get("enableInTreeAutoscaling"):
            yield "an incremental upgrade without the autoscaler"
        if not options.get("gatewayClassName") or options.get("intervalSeconds", 0) <= 0:
            yield "an incremental upgrade without gatewayClassName and intervalSeconds"
        for key in ("stepSizePercent", "maxSurgePercent"):
            if not 0 <= options.get(key, 100) <= 100:
                yield f"{key} outside 0 to 100"
