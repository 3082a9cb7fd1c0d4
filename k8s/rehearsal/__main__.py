"""A day of the cluster on one machine, in some minutes: `python -m k8s.rehearsal`.

Nodes of Ray are started as an overlay's manifests say, each with an address and a read-only root of
its own (pods.py), beside Redis and an S3 server. The served student has callers all the time. A
distillation is submitted; a worker's node dies; the head dies and comes back; the job is submitted
again, as the operator does. No call may be lost, and nothing that was finished may be done again.

Needs Linux, kubectl, redis-server, ip and unshare, and root or user namespaces.
"""

import argparse
import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from k8s.rehearsal import pods
from k8s.rehearsal.pods import HOST, PORTS, ROOT, Pod
from k8s.rehearsal.traffic import Callers, LoadBalancer

from diffusiontalker import storage
from diffusiontalker.errors import UserError

Json = dict[str, Any]
S3_PORT, SERVICE_PORT = 18333, 80
BACK_OFF = 2
"""How often the job may be submitted again; ``backoffLimit`` of the manifest."""


def main() -> None:
    """Run the rehearsal; exit status 1 if something was lost or done again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--overlay", default="staging")
    parser.add_argument("--out", type=Path, help="where the report is written, as JSON")
    parser.add_argument("overrides", nargs="*", help="settings of the distillation")
    given = parser.parse_args()
    pods.isolate()
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
        try:
            report = rehearse(given.overlay, given.overrides, Path(folder))
        except Exception:
            for log in sorted(Path(folder).glob("*.log")):
                say(f"{log.name}:\n{log.read_text(errors='replace')[-9000:]}")
            raise
    text = json.dumps(report, indent=1)
    if given.out:
        given.out.write_text(text)
    print(text)
    sys.exit(bool(report["faults"]))


def rehearse(overlay: str, overrides: list[str], folder: Path) -> Json:
    """The whole of it; returns what was seen."""
    manifests = built(overlay)
    service = manifests["RayService", "student"]["spec"]
    job = manifests["RayJob", "distill"]["spec"]
    pods.network(folder)
    environment = environment_of(manifests)
    store(folder, environment)
    redis(folder, environment)
    head, workers = pods.ray_pods(service["rayClusterConfig"], environment, folder, workers=2)
    say(f"head {head.command.split(' start ')[1]}")
    client = Cluster(f"http://{head.address}:{PORTS['dashboard']}", environment, folder)

    def complete() -> bool:
        """Whether all nodes are there; those that have ended are started again, as the operator
        does, and workers after the head, as its init container has it."""
        for pod in (head, *(workers if client.nodes() else ())):
            if not pod.runs:
                pod.start()
        return client.nodes() == 1 + len(workers)

    wait("the cluster", complete)
    client.deploy(service["serveConfigV2"])
    LoadBalancer(HOST, SERVICE_PORT, [(pod.address, PORTS["serve"]) for pod in workers]).start()
    wait("the student", lambda: client.running("diffusiontalker"))
    callers = Callers(
        f"http://{HOST}:{SERVICE_PORT}", environment["DIFFUSIONTALKER_API_KEYS"].split("=")[1], 2
    )
    entrypoint = " ".join([job["entrypoint"], *map(shlex.quote, overrides)])
    first = client.submit(entrypoint)
    metrics: set[str] = set()
    wait("the encoder", lambda: client.stages() >= {"encoder"} or client.ended(first))
    metrics |= exported(head, *workers)
    say("a worker's node dies, and another takes its place")
    workers[0].kill()
    wait("its death is seen", lambda: client.nodes() == 2)
    wait("its replacement", complete)
    wait("the teacher", lambda: client.stages() >= {"teacher"} or client.ended(first))
    metrics |= exported(head, *workers)
    finished = client.stages()
    say(client.log(first))
    say(f"the head dies; finished: {', '.join(sorted(finished))}")
    head.kill()
    time.sleep(5)
    wait("the head", complete)
    attempts, status, log = [first], "", ""
    while len(attempts) <= BACK_OFF and status != "SUCCEEDED":
        attempts.append(client.submit(entrypoint))
        own = attempts[-1]
        wait("the job", lambda own=own: client.ended(own), seconds=1200)
        status, log = client.status(attempts[-1]), client.log(attempts[-1])
    say(log)
    metrics |= exported(head, *workers)
    wait("the student again", lambda: client.running("diffusiontalker"))
    calls = callers.stop()
    again = sorted(name for name in finished if f"{name:<12} is there already: kept" not in log)
    report: Json = {
        "calls": calls, "attempts": len(attempts), "status": status,
        "finished_before_the_head_died": sorted(finished), "done_again": again,
        "metrics": sorted(metrics),
    }  # fmt: skip
    report["faults"] = [
        *([f"{calls['lost']:g} calls were lost"] if calls.get("lost") else []),
        *(f"{name} was done again" for name in again),
        *([] if status == "SUCCEEDED" else [f"the job ended as {status}"]),
        *([] if calls.get("answered") else ["no call was answered"]),
    ]
    return report


def say(line: str) -> None:
    """What happens, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def wait(what: str, ready: Callable[[], bool], seconds: float = 600) -> None:
    """Until it is; raises TimeoutError."""
    begun = time.monotonic()
    while not ready():
        if time.monotonic() - begun > seconds:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.5)
    say(f"{what}: after {time.monotonic() - begun:.1f} s")


def built(overlay: str) -> dict[tuple[str, str], Json]:
    """The objects of an overlay, by kind and name."""
    own = Path(sys.executable).with_name("kubectl")  # make installs one
    kubectl = str(own) if own.is_file() else "kubectl"
    command = [kubectl, "kustomize", str(ROOT / "k8s" / "overlays" / overlay)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    objects = yaml.safe_load_all(text)
    return {(found["kind"], found["metadata"]["name"]): found for found in objects}


def environment_of(manifests: dict[tuple[str, str], Json]) -> dict[str, str]:
    """Of every pod: the image's, the storage's, and made-up secrets (``SECRET_name_key``)."""
    dockerfile = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    *_, line = re.findall(r"^ENV (.*)$", dockerfile, re.MULTILINE)
    image = dict(pair.split("=", 1) for pair in line.split())
    bin_folder = Path(sys.executable).parent
    return {
        **image,
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "platform"),  # for the package, which the image has installed
        **manifests["ConfigMap", "storage"]["data"],
        "AWS_ENDPOINT_URL": f"http://{HOST}:{S3_PORT}",
        "AWS_ACCESS_KEY_ID": "rehearsal",
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
        "DIFFUSIONTALKER_API_KEYS": f"rehearsal={secrets.token_hex(16)}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "SECRET_redis_password": secrets.token_hex(16),
    }


def store(folder: Path, environment: dict[str, str]) -> None:
    """An S3 server with the bucket of the overlay."""
    keys = {
        "accessKey": environment["AWS_ACCESS_KEY_ID"],
        "secretKey": environment["AWS_SECRET_ACCESS_KEY"],
    }
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "rehearsal", "credentials": [keys], "actions": actions}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "s3").mkdir()
    weed = Path(sys.executable).with_name("weed")
    start(
        folder, "weed", [str(weed), "mini", f"-dir={folder / 's3'}", f"-ip={HOST}",
        f"-ip.bind={HOST}", f"-s3.port={S3_PORT}", f"-s3.config={folder / 's3.json'}",
        "-master.telemetry=false", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0",
        "-s3.port.lance=0"],
    )  # fmt: skip
    import botocore.session

    client = botocore.session.Session().create_client(
        "s3", endpoint_url=environment["AWS_ENDPOINT_URL"], aws_access_key_id=keys["accessKey"],
        aws_secret_access_key=keys["secretKey"], region_name=environment["AWS_DEFAULT_REGION"],
    )  # fmt: skip
    bucket = environment["RUNS"].removeprefix("s3://").split("/")[0]

    def made() -> bool:
        try:
            client.create_bucket(Bucket=bucket)
        except Exception:  # it is still starting
            return False
        return True

    wait("S3", made)


def redis(folder: Path, environment: dict[str, str]) -> None:
    """Redis as components/gcs-fault-tolerance starts it."""
    command = ["redis-server", "--appendonly", "yes", "--dir", str(folder), "--bind", HOST,
               "--requirepass", environment["SECRET_redis_password"]]  # fmt: skip
    start(folder, "redis", command)


def start(folder: Path, name: str, command: list[str]) -> None:
    """A server beside the cluster; it ends with this program."""
    with (folder / f"{name}.log").open("wb") as log:
        subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)


def exported(*nodes: Pod) -> set[str]:
    """The names of the metrics that Prometheus would collect from nodes."""
    found: set[str] = set()
    for pod in nodes:
        address = f"http://{pod.address}:{PORTS['metrics']}/metrics"
        try:
            with urllib.request.urlopen(address, timeout=10) as response:
                text = response.read().decode()
        except OSError:
            continue
        found |= set(re.findall(r"^(ray_(?:serve|train|diffusiontalker)\w*)", text, re.MULTILINE))
    return found


class Cluster:
    """What the operator asks of the head, with the cluster's token."""

    def __init__(self, address: str, environment: dict[str, str], folder: Path) -> None:
        self.address, self.environment, self.folder = address, environment, folder

    def _request(self, path: str, body: Json | None = None) -> Json:
        token = self.environment["RAY_AUTH_TOKEN"]
        request = urllib.request.Request(
            self.address + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer: Json = json.loads(response.read())
        return answer

    def _get(self, path: str) -> Json:
        """What the head answers; nothing where it does not."""
        try:
            return self._request(path)
        except (OSError, ValueError):
            return {}

    def nodes(self) -> int:
        """Nodes that are alive."""
        found = self._get("/api/v0/nodes?detail=true").get("data", {}).get("result", {})
        return sum(node["state"] == "ALIVE" for node in found.get("result", []))

    def running(self, application: str) -> bool:
        """Whether an application of Ray Serve runs."""
        found = self._get("/api/serve/applications/").get("applications", {})
        return bool(found.get(application, {}).get("status") == "RUNNING")

    def deploy(self, configuration: str) -> None:
        """As the operator does with ``serveConfigV2``."""
        path = self.folder / "serve.yaml"
        path.write_text(configuration)
        subprocess.run(
            [sys.executable, "-m", "ray.serve.scripts", "deploy", str(path), "-a", self.address],
            env=self.environment, cwd=ROOT, capture_output=True, check=True,
        )  # fmt: skip

    def submit(self, entrypoint: str) -> str:
        """Submit a job as the operator does in HTTPMode, so that a shell on the head expands the
        entry point's variables; returns its id."""
        identifier = f"distill-{secrets.token_hex(4)}"
        self._request("/api/jobs/", {"entrypoint": entrypoint, "submission_id": identifier})
        return identifier

    def status(self, job: str) -> str:
        """PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED; empty where the head does not answer."""
        return str(self._get(f"/api/jobs/{job}").get("status", ""))

    def ended(self, job: str) -> bool:
        """Whether a job has."""
        return self.status(job) in ("SUCCEEDED", "FAILED", "STOPPED")

    def log(self, job: str) -> str:
        """What it printed."""
        return str(self._get(f"/api/jobs/{job}/logs").get("logs", ""))

    def stages(self) -> set[str]:
        """Stages of the run that are finished, by what lies in S3."""
        names = ("RUNS", *(key for key in self.environment if key.startswith("AWS_")))
        os.environ.update({key: self.environment[key] for key in names})
        try:
            sizes = storage.sizes(storage.location(self.environment["RUNS"]))
        except UserError:  # nothing is there yet
            return set()
        found = (re.search(r"/([a-z0-9-]+)-[0-9a-f]+/stage\.json$", f"/{name}") for name in sizes)
        return {match[1] for match in found if match}


if __name__ == "__main__":
    main()
