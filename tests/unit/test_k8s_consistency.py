"""What several objects, or objects and code, must agree on."""

import re
import shlex
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
import yaml
from serve import cluster_config
from serve.settings import ServeSettings
from tests.manifests import OVERLAYS, ROOT, Object, clusters, of_kind, overlay, pods

from diffusiontalker import __version__, config
from diffusiontalker.errors import UserError

RAY_KINDS = {"RayCluster", "RayJob", "RayCronJob", "RayService"}
OUTSIDE_SECRETS = {"s3", "api-keys", "redis", "student-tls"}
"""Made by hand, as docs/kubernetes.md says; no secret is in the repository."""


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return overlay(request.param)


def ray_objects(objects: list[Object]) -> list[Object]:
    return [o for o in objects if o["kind"] in RAY_KINDS]


def jobs(objects: list[Object]) -> dict[str, Object]:
    """Specifications of jobs by name, the nightly one among them."""
    return {
        o["metadata"]["name"]: o["spec"].get("jobTemplate", o["spec"])
        for o in objects
        if o["kind"] in ("RayJob", "RayCronJob")
    }


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_served_application_is_the_local_one(name) -> None:
    folder = cluster_config.OVERLAYS / name
    expected = cluster_config.of_overlay(folder)
    text = of_kind(overlay(name), "RayService")["spec"]["serveConfigV2"]
    assert yaml.safe_load(text) == expected
    assert (folder / cluster_config.FILE).read_text() == text
    local = yaml.safe_load(cluster_config.LOCAL.read_text())
    assert expected["http_options"] == {**local["http_options"], "host": "0.0.0.0"}
    (here,), (there,) = local.pop("applications"), expected.pop("applications")
    assert {**there, "args": None} == {**here, "args": None}
    changes = yaml.safe_load((folder / cluster_config.CHANGES).read_text())
    assert there["args"].keys() - here["args"].keys() <= {"identities", *changes}
    assert expected.keys() == local.keys()


def test_changes_that_are_no_settings_are_refused(tmp_path) -> None:
    (tmp_path / "storage.env").write_text("RUNS=s3://bucket\n")
    (tmp_path / "serve-changes.yaml").write_text("replicas: {max_replica: 3}\n")
    with pytest.raises(UserError, match="max_replicas"):
        cluster_config.of_overlay(tmp_path)


def test_versions_and_images_agree(objects) -> None:
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )  # fmt: skip
    for obj in ray_objects(objects):
        for cluster in clusters(obj):
            assert cluster["rayVersion"] == pins["ray"]
        images = {pod["containers"][0]["image"] for _, pod in pods(obj)}
        own = {f"diffusiontalker:{__version__}", f"diffusiontalker-cuda:{__version__}"}
        assert images <= own
        for name, pod in pods(obj):
            gpus = pod["containers"][0]["resources"]["limits"].get("nvidia.com/gpu")
            assert ("-cuda:" in pod["containers"][0]["image"]) == (gpus is not None), name
    values = yaml.safe_load((ROOT / "k8s" / "operator-values.yaml").read_text())
    assert values["image"]["tag"] == "v1.7.0"


def test_every_pod_is_restricted(objects) -> None:
    for obj in objects:
        for name, pod in pods(obj):
            assert pod["securityContext"]["runAsNonRoot"] is True, name
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            for container in pod["containers"]:
                own = container["securityContext"]
                assert own["allowPrivilegeEscalation"] is False
                assert own["readOnlyRootFilesystem"] is True
                assert own["capabilities"] == {"drop": ["ALL"]}
                requests = container["resources"]["requests"]
                limits = container["resources"]["limits"]
                # Ray takes CPUs and memory from the limits.
                assert obj["kind"] not in RAY_KINDS or requests == limits
        for cluster in clusters(obj):
            head = cluster["headGroupSpec"]
            assert head["rayStartParams"]["num-cpus"] == "0"
            assert cluster["authOptions"] == {"mode": "token"}
            if "autoscalerOptions" in cluster:
                context = head["template"]["spec"]["containers"][0]["securityContext"]
                assert cluster["autoscalerOptions"]["securityContext"] == context
    namespace = of_kind(objects, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_what_is_named_exists(objects) -> None:
    names = {(o["kind"], o["metadata"]["name"]) for o in objects}
    assert len(names) == len(objects)
    namespaces = {o["metadata"].get("namespace") for o in objects}
    assert namespaces <= {"diffusiontalker", None}
    for obj in objects:
        for where, pod in pods(obj):
            assert ("ServiceAccount", pod.get("serviceAccountName", "ray-head")) in names, where
            volumes = {volume["name"] for volume in pod.get("volumes", ())}
            volumes |= {v["metadata"]["name"] for v in obj["spec"].get("volumeClaimTemplates", ())}
            for container in pod["containers"]:
                assert {m["name"] for m in container["volumeMounts"]} <= volumes
                assert set(references(container)) <= names | {
                    ("Secret", s) for s in OUTSIDE_SECRETS
                }
        for cluster in clusters(obj):
            volumes = {v["name"] for v in cluster["headGroupSpec"]["template"]["spec"]["volumes"]}
            mounts = cluster.get("autoscalerOptions", {}).get("volumeMounts", ())
            assert {mount["name"] for mount in mounts} <= volumes
            redis = cluster.get("gcsFaultToleranceOptions", {}).get("redisAddress", "")
            if redis:
                service = of_kind(objects, "Service", redis.partition(":")[0])
                assert service["spec"]["ports"][0]["port"] == int(redis.partition(":")[2])


def references(container: Object) -> list[tuple[str, str]]:
    """ConfigMaps and Secrets that a container takes its environment from."""
    sources = chain(container.get("envFrom", ()), (e.get("valueFrom", {}) for e in
                    container.get("env", ())))  # fmt: skip
    kinds = {"configMapRef": "ConfigMap", "secretRef": "Secret", "secretKeyRef": "Secret",
             "configMapKeyRef": "ConfigMap"}  # fmt: skip
    return [(kinds[key], ref["name"]) for source in sources for key, ref in source.items()]


def test_credentials_are_on_every_node_and_keys_only_where_they_serve(objects) -> None:
    for obj in ray_objects(objects):
        for name, pod in pods(obj):
            found = set(references(pod["containers"][0]))
            assert found >= {("Secret", "s3"), ("ConfigMap", "storage")}, name
            serves = obj["kind"] == "RayService"
            assert (("Secret", "api-keys") in found) == serves, (obj["kind"], name)


def test_entry_points_exist_and_take_their_settings(objects, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    storage = of_kind(objects, "ConfigMap", "storage")["data"]
    for job in jobs(objects).values():
        command = job["entrypoint"].replace("$RUNS", storage["RUNS"]).replace("$(date +%F)", "day")
        python, script, flag, file, *overrides = shlex.split(command)
        assert (python, flag) == ("python", "--config")
        assert Path(script).is_file()
        assert Path(file).is_file()
        if script == "jobs/prepare.py":
            config.load_data(Path(file), overrides)
            continue
        if script == "jobs/sweep.py":
            config.load_as(config.SweepSettings, Path(file), overrides)
            continue
        kind = config.CompareSettings if script == "jobs/compare.py" else config.Settings
        settings = config.load_as(kind, Path(file), overrides)
        groups = {g["groupName"]: g for g in job["rayClusterSpec"]["workerGroupSpecs"]}
        if settings.resources.gpu:
            assert settings.training.workers <= groups["gpu"]["maxReplicas"]


def test_a_job_can_be_applied_by_its_name(objects) -> None:
    """Applied again with all others, a job that runs is suspended."""
    for obj in objects:
        if obj["kind"] == "RayJob":
            labels = obj["metadata"]["labels"]
            assert labels["app.kubernetes.io/name"] == obj["metadata"]["name"]
            assert labels["app.kubernetes.io/component"] == "job"


def test_all_jobs_end_and_go_away(objects) -> None:
    for job in jobs(objects).values():
        assert job["shutdownAfterJobFinishes"] is True
        assert job["ttlSecondsAfterFinished"] > 0
        assert job["activeDeadlineSeconds"] > 0
        assert job["backoffLimit"] > 0
    assert jobs(objects).keys() == {"prepare", "distill", "sweep", "compare", "sweep-nightly"}
    suspended = {n: j.get("suspend", False) for n, j in jobs(objects).items()}
    assert suspended.pop("sweep-nightly") is False  # the RayCronJob itself is
    assert of_kind(objects, "RayCronJob")["spec"]["suspend"] is True
    assert all(suspended.values())


def test_a_queue_holds_what_its_jobs_ask_for() -> None:
    objects = overlay("prod-gpu")
    queue = of_kind(objects, "ClusterQueue")["spec"]["resourceGroups"][0]["flavors"][0]
    quota = {r["name"]: number(r["nominalQuota"]) for r in queue["resources"]}
    for obj in objects:
        if obj["kind"] != "RayJob":
            continue
        name = obj["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
        assert of_kind(objects, "LocalQueue")["metadata"]["name"] == name
        (cluster,) = clusters(obj)
        assert not cluster["enableInTreeAutoscaling"]
        counts = {"head": 1, **{g["groupName"]: g["replicas"] for g in cluster["workerGroupSpecs"]}}
        for resource, limit in quota.items():
            need = sum(
                counts[group] * number(pod["containers"][0]["resources"]["limits"].get(resource, 0))
                for group, pod in pods(obj)
            )
            assert need <= limit, (obj["metadata"]["name"], resource)


def number(quantity: object) -> float:
    """A quantity of Kubernetes; memory in GiB."""
    return float(re.sub(r"Gi$", "", str(quantity)))


def test_nothing_but_the_serve_port_is_open(objects) -> None:
    """By all policies together; between nodes of Ray everything is."""
    policies = [o for o in objects if o["kind"] == "NetworkPolicy"]
    closed = of_kind(objects, "NetworkPolicy", "default-deny")["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress"]}
    allowed = set()
    for policy in policies:
        for rule in policy["spec"].get("ingress", ()):
            for peer in rule["from"]:
                namespace = peer.get("namespaceSelector", {}).get("matchLabels", {})
                who = namespace.get("kubernetes.io/metadata.name", "own")
                assert peer, "an empty peer is everybody"
                allowed |= {(who, port["port"]) for port in rule.get("ports", [{"port": "all"}])}
    assert allowed <= {
        ("own", "all"), ("own", "redis"), ("kuberay-system", "dashboard"),
        ("kuberay-system", "serve"), ("ingress-nginx", "serve"), ("monitoring", "metrics"),
        ("ingress-nginx", 8089),
    }  # fmt: skip
    assert allowed >= {("own", "all"), ("kuberay-system", "dashboard"), ("kuberay-system", "serve")}
    everything = [
        p for p in policies if any("ports" not in r for r in p["spec"].get("ingress", ()))
    ]
    nodes = {"matchLabels": {"ray.io/is-ray-node": "yes"}}
    for policy in everything:
        assert policy["spec"]["ingress"] == [{"from": [{"podSelector": nodes}]}]
    ports = {
        (port["name"], port["containerPort"])
        for obj in ray_objects(objects) for _, pod in pods(obj)
        for port in pod["containers"][0]["ports"]
    }  # fmt: skip
    assert ports == {("gcs-server", 6379), ("dashboard", 8265), ("metrics", 8080), ("serve", 8000)}


def test_the_ingress_leads_to_the_serve_port(objects) -> None:
    for obj in objects:
        if obj["kind"] != "Ingress":
            continue
        service = of_kind(objects, "RayService")["metadata"]["name"]
        (rule,) = obj["spec"]["rules"]
        services = {p["path"]: p["backend"]["service"] for p in rule["http"]["paths"]}
        assert services.keys() == {"/", "/metrics"}
        assert services["/"] == {"name": f"{service}-serve-svc", "port": {"name": "serve"}}
        closed = of_kind(objects, "Service", services["/metrics"]["name"])
        assert "selector" not in closed["spec"]
        limits = ServeSettings().limits
        annotations = obj["metadata"]["annotations"]
        prefix = "nginx.ingress.kubernetes.io/"
        assert int(annotations[f"{prefix}proxy-read-timeout"]) > limits.request_seconds
        assert int(annotations[f"{prefix}proxy-body-size"][:-1]) * 2**20 > limits.bytes
        for entry in obj["spec"].get("tls", ()):
            assert entry["hosts"] == [rule["host"]]


def test_the_service_outlives_an_upgrade_and_a_drain(objects) -> None:
    service = of_kind(objects, "RayService")
    drain = ServeSettings().replicas.drain_seconds
    assert service["spec"]["rayClusterDeletionDelaySeconds"] > drain
    for name, pod in pods(service):
        assert name == "head" or pod["terminationGracePeriodSeconds"] > drain, name
    assert service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["minReplicas"] >= 1
    budget = of_kind(objects, "PodDisruptionBudget")["spec"]
    # Kubernetes refuses maxUnavailable and percentages for pods that it cannot count.
    assert isinstance(budget["minAvailable"], int)
    assert "maxUnavailable" not in budget


def test_every_selector_finds_its_pods(objects) -> None:
    found = [labels for obj in objects for labels in pod_labels(obj)]
    found.append({"acme.cert-manager.io/http01-solver": "true"})  # cert-manager's pod
    for obj in objects:
        for selector in selectors(obj):
            assert any(selector.items() <= labels.items() for labels in found), (obj, selector)


def pod_labels(obj: Object) -> Iterator[dict[str, str]]:
    """Labels of an object's pods: of their templates, and those that KubeRay gives each pod. It
    gives ``ray.io/originated-from-*`` to clusters alone."""
    for cluster in clusters(obj):
        for kind, groups in (("head", [cluster["headGroupSpec"]]),
                             ("worker", cluster["workerGroupSpecs"])):  # fmt: skip
            for group in groups:
                own = group["template"].get("metadata", {}).get("labels", {})
                yield own | {"ray.io/is-ray-node": "yes", "ray.io/node-type": kind}
    if obj["kind"] in ("StatefulSet", "Deployment"):
        yield obj["spec"]["template"]["metadata"]["labels"]


def selectors(obj: Object) -> Iterator[dict[str, str]]:
    """Labels by which an object selects pods of its namespace."""
    spec = obj.get("spec", {})
    if obj["kind"] == "Service" and "selector" in spec:
        yield spec["selector"]
    if obj["kind"] in ("PodDisruptionBudget", "PodMonitor"):
        yield spec["selector"]["matchLabels"]
    if obj["kind"] == "NetworkPolicy":
        yield spec["podSelector"].get("matchLabels", {})
        for rule in spec.get("ingress", ()):
            for peer in rule["from"]:
                if "namespaceSelector" not in peer:
                    yield peer["podSelector"]["matchLabels"]


def test_the_budget_and_the_ingress_are_of_the_service_alone(objects) -> None:
    budget = of_kind(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    for obj in ray_objects(objects):
        workers = [labels for labels in pod_labels(obj) if labels["ray.io/node-type"] == "worker"]
        assert all((budget.items() <= own.items()) == (obj["kind"] == "RayService")
                   for own in workers)  # fmt: skip
    for obj in objects:
        if obj["kind"] == "NetworkPolicy" and obj["metadata"]["name"] == "ingress":
            assert obj["spec"]["podSelector"]["matchLabels"] == budget


def test_the_replicas_fit_on_the_nodes(objects) -> None:
    service = of_kind(objects, "RayService")["spec"]
    (application,) = yaml.safe_load(service["serveConfigV2"])["applications"]
    replicas = ServeSettings.model_validate(application["args"]).replicas
    group = service["rayClusterConfig"]["workerGroupSpecs"][0]
    cpus = float(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    assert replicas.max_replicas * replicas.num_cpus <= cpus * group["maxReplicas"]
